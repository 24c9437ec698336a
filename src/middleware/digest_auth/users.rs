//! Users and their HA1 hashes, as htdigest files hold them.

use std::{collections::HashMap, fmt};

use super::unhex;
use crate::middleware::InvalidField;

const FIELD: &str = "secret";
const HELP: &str = "Make the lines with `htdigest FILE REALM USER`: user:realm:hash, with the realm of the Middleware";

/// The users of one realm; its `Debug` shows no hash.
pub(super) struct Users {
    /// Never empty.
    hashes: HashMap<Box<[u8]>, [u8; 16]>,
    /// Computed with in place of an unknown user's.
    decoy: [u8; 16],
}

impl Users {
    /// Reads lines of `user:realm:HA1`. Blank lines and those that start with `#` are skipped, lines of other realms
    /// have to be valid; of two lines for one user the later counts.
    ///
    /// # Errors
    /// [`InvalidField`] `secret` with the line (and nothing of it) that can't be read, or when nobody is of the realm.
    pub(super) fn htdigest(text: &[u8], realm: &str) -> Result<Self, InvalidField> {
        let invalid = |message: String| InvalidField::new(FIELD, message, HELP);
        let text = std::str::from_utf8(text).map_err(|_| invalid("the users are no UTF-8 text".to_owned()))?;
        let (mut hashes, mut others) = (HashMap::new(), 0);
        for (index, line) in text.lines().enumerate() {
            let (number, line) = (index + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = line.split(':').collect();
            let [user, of, hash] = parts.as_slice() else {
                return Err(invalid(format!("line {number} is not `user:realm:hash`")));
            };
            if user.is_empty() {
                return Err(invalid(format!("line {number} has no user")));
            }
            let hash = unhex(hash.as_bytes());
            // Not who it is: whoever may name a Secret need not be one who may read it.
            let hash = hash.ok_or_else(|| invalid(format!("line {number}: the hash is not 32 hexadecimal digits")))?;
            if *of == realm {
                hashes.insert(Box::from(user.as_bytes()), hash);
            } else {
                others += 1;
            }
        }
        if hashes.is_empty() {
            let others = if others > 0 { ", only of others" } else { "" };
            return Err(invalid(format!("the Secret has no users of the realm {realm:?}{others}")));
        }
        Ok(Self { hashes, decoy: [0x5a; 16] })
    }

    /// A user's hash and true, or another hash and false.
    pub(super) fn find(&self, user: &[u8]) -> (&[u8; 16], bool) {
        self.hashes.get(user).map_or((&self.decoy, false), |hash| (hash, true))
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.hashes.len()).finish_non_exhaustive()
    }
}
