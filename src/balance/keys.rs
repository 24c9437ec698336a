//! The keys that sign sticky cookies: the first signs, all verify.

use std::fmt;

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The fewest bytes of a key.
const SHORTEST: usize = 32;

/// Signing keys, the signing one first. Never empty.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<Key>,
    fingerprint: [u8; 32],
}

/// A key, and a digest by which it is known again.
#[derive(Clone)]
struct Key {
    hmac: hmac::Key,
    digest: [u8; 32],
}

/// What is wrong with a key file. Lines count from 1; the key itself is never repeated.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No line with a key.
    #[error("it holds no key; write one base64 key of at least 32 bytes a line, e.g. `openssl rand -base64 32`")]
    Empty,
    /// A line that is no base64.
    #[error("line {0} is not base64; make a key with `openssl rand -base64 32`")]
    NotBase64(usize),
    /// A key of fewer than 32 bytes.
    #[error("line {0} holds a key of {1} bytes, at least 32 are needed; make one with `openssl rand -base64 32`")]
    TooShort(usize, usize),
    /// The system gave no random bytes.
    #[error("the system has no random bytes to give")]
    NoRandomness,
}

impl Keys {
    /// Reads `--cookie-keys-file`: one base64 key of at least 32 bytes a line; blank lines and `#` comments are
    /// skipped.
    ///
    /// # Errors
    /// [`KeysError`] with the line.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut raw = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = STANDARD.decode(line).map_err(|_| KeysError::NotBase64(index + 1))?;
            if key.len() < SHORTEST {
                return Err(KeysError::TooShort(index + 1, key.len()));
            }
            raw.push(key);
        }
        Self::of(&raw)
    }

    /// One key that nobody else has and that dies with the process.
    ///
    /// # Errors
    /// [`KeysError::NoRandomness`]
    pub fn random() -> Result<Self, KeysError> {
        let mut key = vec![0; SHORTEST];
        rand::fill(&mut key).map_err(|_| KeysError::NoRandomness)?;
        Self::of(&[key])
    }

    /// These keys for as long as other replicas may not have heard of the first one: the one that signed before goes on
    /// signing. `None` where that makes no difference: the first is known already, or the old one is gone.
    pub fn introduced_after(&self, before: &Self) -> Option<Self> {
        let (first, signer) = (self.keys.first()?, before.keys.first()?);
        if before.keys.iter().any(|key| key.digest == first.digest) {
            return None;
        }
        let at = self.keys.iter().position(|key| key.digest == signer.digest)?;
        let mut keys = self.keys.clone();
        keys.get_mut(..=at)?.rotate_right(1);
        Some(Self::new(keys))
    }

    fn of(raw: &[Vec<u8>]) -> Result<Self, KeysError> {
        if raw.is_empty() {
            return Err(KeysError::Empty);
        }
        let key = |raw: &Vec<u8>| {
            let mut digest = [0; 32];
            digest.copy_from_slice(digest::digest(&digest::SHA256, raw).as_ref());
            Key { hmac: hmac::Key::new(hmac::HMAC_SHA256, raw), digest }
        };
        Ok(Self::new(raw.iter().map(key).collect()))
    }

    fn new(keys: Vec<Key>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for key in &keys {
            context.update(&key.digest);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Self { keys, fingerprint }
    }

    /// The keys, the signing one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &hmac::Key> {
        self.keys.iter().map(|key| &key.hmac)
    }
}

impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_keys() {
        let key = STANDARD.encode([7; 32]);
        let both = format!("# first signs\n{key}\n\n{}\n", STANDARD.encode([8; 40]));
        assert_eq!(Keys::parse(&both).unwrap().keys.len(), 2);
        assert_ne!(Keys::parse(&both).unwrap(), Keys::parse(&key).unwrap());
        assert_eq!(Keys::parse(" \n"), Err(KeysError::Empty));
        assert_eq!(Keys::parse("\nnot base64!"), Err(KeysError::NotBase64(2)));
        assert_eq!(Keys::parse(&STANDARD.encode([7; 31])), Err(KeysError::TooShort(1, 31)));
        assert_ne!(Keys::random().unwrap(), Keys::random().unwrap());
    }
    #[test]
    fn a_new_first_key_lets_the_old_one_sign_for_a_while() {
        let line = |n: u8| STANDARD.encode([n; 32]);
        let keys = |of: &[u8]| Keys::parse(&of.iter().map(|n| line(*n) + "\n").collect::<String>()).unwrap();
        let introduced = |now: &[u8], before: &[u8]| keys(now).introduced_after(&keys(before));
        assert_eq!(introduced(&[2, 1], &[1]), Some(keys(&[1, 2])));
        assert_eq!(introduced(&[3, 2, 1, 0], &[1, 2]), Some(keys(&[1, 3, 2, 0])));
        // Known before, or nobody left who could sign in its place.
        assert_eq!(introduced(&[2, 1], &[1, 2]), None);
        assert_eq!(introduced(&[1, 2], &[1]), None);
        assert_eq!(introduced(&[2], &[1]), None);
    }
}
