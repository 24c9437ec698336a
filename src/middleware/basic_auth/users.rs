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
    /// Checked in place of an unknown user's password, so that it takes as long: the first user's.
    decoy: Stored,
    key: &'static hmac::Key,
}

/// A password as it is kept.
#[derive(Clone)]
enum Stored {
    /// A hash that takes long: bcrypt or MD5, as text.
    Slow(Slow),
    /// `{SHA}`
    Sha1([u8; 20]),
    /// A password that was given as such: its digest under this process's key.
    Keyed(hmac::Tag),
}

#[derive(Clone)]
enum Slow {
    Bcrypt(Box<str>),
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
        let (mut passwords, mut first) = (HashMap::new(), None);
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
            first.get_or_insert(user);
            passwords.insert(Box::from(user), stored);
        }
        let decoy = first.and_then(|user| passwords.get(user)).cloned();
        let decoy = decoy.ok_or_else(|| invalid("the Secret has no users".to_owned()))?;
        Ok(Self { passwords, decoy, key: process_key()? })
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
        Ok(Self { passwords: HashMap::from([(Box::from(name), stored.clone())]), decoy: stored, key })
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
        match stored {
            Stored::Slow(hash) => self.check_slow(hash, exists, user, password).await,
            Stored::Sha1(expected) => {
                let given: [u8; 20] = Sha1::digest(password).into();
                Ok(bool::from(given.ct_eq(expected)) & exists)
            }
            Stored::Keyed(tag) => {
                // `verify` compares in constant time.
                Ok(hmac::verify(self.key, &labelled(b"password", &[password]), tag.as_ref()).is_ok() & exists)
            }
        }
    }

    async fn check_slow(&self, hash: &Slow, exists: bool, user: &str, password: &[u8]) -> Result<bool, Busy> {
        let parts = [user.as_bytes(), password, hash.text().as_bytes()];
        let tag = hmac::sign(self.key, &labelled(b"session", &parts));
        let digest = Digest::try_from(tag.as_ref()).map_err(|_| Busy)?;
        let cache = Cache::global();
        if cache.contains(&digest) {
            return Ok(exists);
        }
        let (reply, answer) = oneshot::channel();
        let (hash, password) = (hash.clone(), password.to_vec());
        Pool::global().submit(Box::new(move || {
            // The client has gone: nobody waits for the answer.
            if reply.is_closed() {
                return;
            }
            // A browser opens several connections at once: the first of them has computed it meanwhile.
            let known = exists && cache.contains(&digest);
            let right = known || (hash.matches(&password) & exists);
            if right && !known {
                cache.insert(digest);
            }
            // An error says that the client has gone meanwhile.
            let _ = reply.send(right);
        }))?;
        answer.await.map_err(|_| Busy)
    }
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
                4..=MAX_BCRYPT_COST => Ok(Self::Slow(Slow::Bcrypt(hash.into()))),
                cost => Err(format!("has a bcrypt cost of {cost}; it must be from 4 to {MAX_BCRYPT_COST}")),
            };
        }
        Err("is of a kind that is not supported".to_owned())
    }
}

impl Slow {
    fn text(&self) -> &str {
        match self {
            Self::Bcrypt(hash) | Self::Md5(hash) => hash,
        }
    }

    /// Computes the hash. Takes from a tenth of a millisecond (MD5) to seconds.
    fn matches(&self, password: &[u8]) -> bool {
        match self {
            // Only the first 72 bytes count, as when the hash was made.
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Md5(hash) => Md5Crypt::parse(hash)
                .is_some_and(|parts| parts.digest_of(password).as_bytes().ct_eq(parts.digest.as_bytes()).into()),
        }
    }
}
