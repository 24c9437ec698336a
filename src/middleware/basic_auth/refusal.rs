//! What a refusal costs: as much for every user of a file, and for one who is not in it, whatever hash is theirs.
//!
//! Where hashes are mixed, the time would else tell whether a user exists, and whose hash is a weak one.

use std::{hint::black_box, ops::Range};

use super::{
    md5_crypt::Md5Crypt,
    users::{Slow, Stored},
};

/// The sum of what is computed before a password is refused: one MD5 hash if any user has one, and one bcrypt hash of
/// the highest cost that any user has.
#[derive(Clone, Default)]
pub(super) struct Refusal {
    md5: Option<Box<str>>,
    bcrypt: Option<u32>,
}

impl Refusal {
    /// That of a file with these.
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Stored>) -> Self {
        let mut whole = Self::default();
        for stored in all {
            match stored {
                Stored::Slow(Slow::Bcrypt(_, cost)) => whole.bcrypt = whole.bcrypt.max(Some(*cost)),
                Stored::Slow(Slow::Md5(hash)) => whole.md5 = Some(hash.clone()),
                Stored::Sha1(_) | Stored::Keyed(_) => {}
            }
        }
        whole
    }

    /// Whether there is nothing that takes long.
    pub(super) fn is_free(&self) -> bool {
        self.md5.is_none() && self.bcrypt.is_none()
    }

    /// Computes what is left when this hash has been.
    pub(super) fn complete(&self, done: Option<&Slow>, password: &[u8]) {
        let (md5, costs) = self.left(done);
        if let Some(parts) = md5.and_then(Md5Crypt::parse) {
            black_box(parts.digest_of(password));
        }
        for cost in costs {
            // What comes out is of no interest, nor whether anything does.
            let _ = black_box(bcrypt::hash_with_salt(password, cost, [0; 16]));
        }
    }

    /// The MD5 hash and the costs of the bcrypt hashes that are left. Each cost takes twice as long as the one below:
    /// one of `n` and one each of `n` to `m - 1` are as long as one of `m`.
    fn left(&self, done: Option<&Slow>) -> (Option<&str>, Range<u32>) {
        let most = self.bcrypt.unwrap_or(0);
        let whole = if most == 0 { 0..0 } else { most..most + 1 };
        match done {
            None => (self.md5.as_deref(), whole),
            Some(Slow::Md5(_)) => (None, whole),
            Some(Slow::Bcrypt(_, cost)) => (self.md5.as_deref(), *cost..most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_costs_the_same() {
        let bcrypt = |cost| Slow::Bcrypt("".into(), cost);
        let md5 = || Slow::Md5("$1$x$0AXOYAuOs.uNCmG2qRI8W.".into());
        for (file, expected) in [
            (vec![], (0, 0)),
            (vec![md5()], (1, 0)),
            (vec![bcrypt(10)], (0, 1 << 10)),
            (vec![bcrypt(4), bcrypt(12), bcrypt(10)], (0, 1 << 12)),
            (vec![bcrypt(5), md5(), bcrypt(11)], (1, 1 << 11)),
        ] {
            let stored: Vec<Stored> = file.iter().cloned().map(Stored::Slow).chain([Stored::Sha1([0; 20])]).collect();
            let refusal = Refusal::of(stored.iter());
            assert_eq!(refusal.is_free(), file.is_empty());
            for done in file.iter().map(Some).chain([None]) {
                let own = match done {
                    None => (0, 0),
                    Some(Slow::Md5(_)) => (1, 0),
                    Some(Slow::Bcrypt(_, cost)) => (0, 1 << cost),
                };
                let (md5, costs) = refusal.left(done);
                let left = (usize::from(md5.is_some()), costs.map(|cost| 1_usize << cost).sum::<usize>());
                assert_eq!((own.0 + left.0, own.1 + left.1), expected);
            }
        }
    }
}
