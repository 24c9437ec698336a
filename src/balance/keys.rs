//! The keys that sign sticky cookies: the first signs, all verify.

use std::fmt;

use aws_lc_rs::{digest, hmac, rand};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// The fewest bytes of a key.
const SHORTEST: usize = 32;

/// Signing keys, the signing one first. Never empty.
#[derive(Clone)]
pub struct Keys {
    keys: Vec<hmac::Key>,
    fingerprint: [u8; 32],
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

    fn of(raw: &[Vec<u8>]) -> Result<Self, KeysError> {
        if raw.is_empty() {
            return Err(KeysError::Empty);
        }
        let mut context = digest::Context::new(&digest::SHA256);
        for key in raw {
            context.update(&(key.len() as u64).to_be_bytes());
            context.update(key);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        Ok(Self { keys: raw.iter().map(|k| hmac::Key::new(hmac::HMAC_SHA256, k)).collect(), fingerprint })
    }

    /// The keys, the signing one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &hmac::Key> {
        self.keys.iter()
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
}
