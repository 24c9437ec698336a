//! Users and their passwords, as htpasswd files and `kubernetes.io/basic-auth` Secrets hold them.

use std::{collections::HashMap, fmt, str::FromStr};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha1::{Digest as _, Sha1};
use subtle::ConstantTimeEq;
use tokio::sync::oneshot;

use super::{
    cache::{Cache, Digest},
    md5_crypt::Md5Crypt,
    pool::Pool,
    refusal::Refusal,
};
use crate::middleware::{
    InvalidField,
    process_key::{labelled, process_key},
};

/// The highest bcrypt cost: each step doubles the time, and all routes share the threads. 15 takes seconds.
const MAX_BCRYPT_COST: u32 = 15;

const FIELD: &str = "secret";
const HELP: &str = "Make the lines with `htpasswd -nB NAME` (bcrypt); MD5 (`-m`) and SHA1 (`-s`) are read too";

/// Too many passwords wait to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy;

/// Users with hashed passwords; its `Debug` shows no hash.
pub struct Users {
    /// Never empty.
    passwords: HashMap<Box<str>, Stored>,
    /// Checked in place of an unknown user's password: the one that takes longest.
    decoy: Stored,
    /// What every refusal costs, so that its time doesn't tell who exists.
    refusal: Refusal,
    key: &'static hmac::Key,
}

/// A password as it is kept.
#[derive(Clone)]
pub(super) enum Stored {
    /// bcrypt or MD5
    Slow(Slow),
    /// `{SHA}`
    Sha1([u8; 20]),
    /// A password that was given as such: its digest under this process's key.
    Keyed(hmac::Tag),
}

/// A hash that takes long, as text.
#[derive(Clone)]
pub(super) enum Slow {
    /// The hash, and its cost.
    Bcrypt(Box<str>, u32),
    Md5(Box<str>),
}

impl Users {
    /// Reads lines of `user:hash` (htpasswd): bcrypt (`$2a$`, `$2b$`, `$2y$`), MD5 (`$apr1$`, `$1$`), `{SHA}`. Blank
    /// lines and those that start with `#` are skipped; of two lines for one user the later counts, as in Traefik.
    ///
    /// # Errors
    /// [`InvalidField`] `secret` with the line (and nothing of it) that can't be read, or when there is nobody.
    pub fn htpasswd(text: &[u8]) -> Result<Self, InvalidField> {
        let invalid = |message: String| InvalidField::new(FIELD, message, HELP);
        let text = std::str::from_utf8(text).map_err(|_| invalid("the users are no UTF-8 text".to_owned()))?;
        let mut passwords = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((user, hash)) = line.split_once(':').filter(|(user, _)| !user.is_empty()) else {
                return Err(invalid(format!("line {number} is not `user:hash`")));
            };
            let stored = Stored::parse(hash)
                // Not who it is: whoever may name a Secret need not be one who may read it.
                .map_err(|why| invalid(format!("line {number}: the hash {why}")))?;
            passwords.insert(Box::from(user), stored);
        }
        let decoy = passwords.values().max_by_key(|stored| stored.slowness()).cloned();
        let decoy = decoy.ok_or_else(|| invalid("the Secret has no users".to_owned()))?;
        let refusal = Refusal::of(passwords.values());
        Ok(Self { passwords, decoy, refusal, key: process_key()? })
    }

    /// One user with a password that is known as such, as `kubernetes.io/basic-auth` Secrets have it. It is kept as a
    /// keyed digest only.
    ///
    /// # Errors
    /// [`InvalidField`] `secret` when either is empty, or the name can't be sent (it is no UTF-8, or has a colon).
    pub fn single(user: &[u8], password: &[u8]) -> Result<Self, InvalidField> {
        let help = "Set both `username` and `password` in the Secret";
        let name = std::str::from_utf8(user).ok().filter(|name| !name.is_empty() && !name.contains(':'));
        let Some(name) = name else {
            return Err(InvalidField::new(FIELD, "the user name is empty, no UTF-8 text, or has a colon", help));
        };
        if password.is_empty() {
            return Err(InvalidField::new(FIELD, "the password is empty", help));
        }
        let key = process_key()?;
        let stored = Stored::Keyed(hmac::sign(key, &labelled(b"password", &[password])));
        let passwords = HashMap::from([(Box::from(name), stored.clone())]);
        Ok(Self { passwords, decoy: stored, refusal: Refusal::default(), key })
    }

    /// Whether this is a user with this password.
    ///
    /// # Errors
    /// [`Busy`] when the answer would take too long to get.
    pub(super) async fn check(&self, user: &str, password: &[u8]) -> Result<bool, Busy> {
        let (stored, exists) = match self.passwords.get(user) {
            Some(stored) => (stored, true),
            None => (&self.decoy, false),
        };
        let right = match stored {
            Stored::Slow(hash) => return self.check_slow(hash, exists, user, password).await,
            Stored::Sha1(expected) => {
                let given: [u8; 20] = Sha1::digest(password).into();
                bool::from(given.ct_eq(expected)) & exists
            }
            Stored::Keyed(tag) => {
                // `verify` compares in constant time.
                hmac::verify(self.key, &labelled(b"password", &[password]), tag.as_ref()).is_ok() & exists
            }
        };
        if right || self.refusal.is_free() {
            return Ok(right);
        }
        let (refusal, password) = (self.refusal.clone(), password.to_vec());
        on_a_thread(move || {
            refusal.complete(None, &password);
            false
        })
        .await
    }

    async fn check_slow(&self, hash: &Slow, exists: bool, user: &str, password: &[u8]) -> Result<bool, Busy> {
        let parts = [user.as_bytes(), password, hash.text().as_bytes()];
        let tag = hmac::sign(self.key, &labelled(b"session", &parts));
        let digest = Digest::try_from(tag.as_ref()).map_err(|_| Busy)?;
        let cache = Cache::global();
        if cache.contains(&digest) {
            return Ok(exists);
        }
        let (hash, refusal, password) = (hash.clone(), self.refusal.clone(), password.to_vec());
        on_a_thread(move || {
            // A browser opens several connections at once: the first of them has computed it meanwhile.
            if exists && cache.contains(&digest) {
                return true;
            }
            let right = hash.matches(&password) & exists;
            if right {
                cache.insert(digest);
            } else {
                refusal.complete(Some(&hash), &password);
            }
            right
        })
        .await
    }
}

/// Has one of the password threads compute this.
async fn on_a_thread(check: impl FnOnce() -> bool + Send + 'static) -> Result<bool, Busy> {
    let (reply, answer) = oneshot::channel();
    Pool::global().submit(Box::new(move || {
        // Else the client has gone, and nobody waits for the answer.
        if !reply.is_closed() {
            // An error says that it has gone meanwhile.
            let _ = reply.send(check());
        }
    }))?;
    answer.await.map_err(|_| Busy)
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.passwords.len()).finish_non_exhaustive()
    }
}

impl Stored {
    /// What is wrong with it reads on from "the hash".
    fn parse(hash: &str) -> Result<Self, String> {
        if let Some(encoded) = hash.strip_prefix("{SHA}") {
            let bytes = STANDARD.decode(encoded).ok().and_then(|bytes| <[u8; 20]>::try_from(bytes).ok());
            return bytes.map(Self::Sha1).ok_or_else(|| "starts like SHA1 but is no base64 of 20 bytes".to_owned());
        }
        if hash.starts_with("$apr1$") || hash.starts_with("$1$") {
            let valid = Md5Crypt::parse(hash).map(|_| Self::Slow(Slow::Md5(hash.into())));
            return valid.ok_or_else(|| "starts like MD5 but has not its form".to_owned());
        }
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
            let parts = bcrypt::HashParts::from_str(hash).map_err(|_| "starts like bcrypt but has not its form")?;
            return match parts.get_cost() {
                cost @ 4..=MAX_BCRYPT_COST => Ok(Self::Slow(Slow::Bcrypt(hash.into(), cost))),
                cost => Err(format!("has a bcrypt cost of {cost}; it must be from 4 to {MAX_BCRYPT_COST}")),
            };
        }
        Err("is of a kind that is not supported".to_owned())
    }

    /// Greater for what takes longer.
    fn slowness(&self) -> u32 {
        match self {
            Self::Sha1(_) | Self::Keyed(_) => 0,
            Self::Slow(Slow::Md5(_)) => 1,
            Self::Slow(Slow::Bcrypt(_, cost)) => *cost,
        }
    }
}

impl Slow {
    fn text(&self) -> &str {
        match self {
            Self::Bcrypt(hash, _) | Self::Md5(hash) => hash,
        }
    }

    /// Computes the hash. Takes from a tenth of a millisecond (MD5) to seconds.
    fn matches(&self, password: &[u8]) -> bool {
        match self {
            // Only the first 72 bytes count, as when the hash was made.
            Self::Bcrypt(hash, _) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Md5(hash) => Md5Crypt::parse(hash)
                .is_some_and(|parts| parts.digest_of(password).as_bytes().ct_eq(parts.digest.as_bytes()).into()),
        }
    }
}
