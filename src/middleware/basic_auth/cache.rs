//! What was right once: keyed digests of user, password and hash, so that a session computes a slow hash only once.
//!
//! Failures are not kept: guesses would push out what is right, and stay as slow as they should be.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, OnceLock, PoisonError},
};

/// How many entries a half may have: a session too many costs one hash.
const HALF: usize = 512;

/// A keyed digest; it says nothing about what it was made of to those who lack the key.
pub(super) type Digest = [u8; 32];

/// A bounded set that forgets what was not asked for lately: two halves, the older of which is dropped when the
/// younger is full.
#[derive(Default)]
pub(super) struct Cache {
    halves: Mutex<Halves>,
}

#[derive(Default)]
struct Halves {
    young: HashSet<Digest>,
    old: HashSet<Digest>,
}

impl Cache {
    /// The cache of this process; it outlives the routing tables.
    pub(super) fn global() -> &'static Self {
        static CACHE: OnceLock<Cache> = OnceLock::new();
        CACHE.get_or_init(Self::default)
    }

    /// Whether it is known; keeps it for longer if so.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        let mut halves = self.halves.lock().unwrap_or_else(PoisonError::into_inner);
        if halves.young.contains(digest) {
            return true;
        }
        let known = halves.old.remove(digest);
        if known {
            halves.insert(*digest);
        }
        known
    }

    /// Remembers it.
    pub(super) fn insert(&self, digest: Digest) {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
    }
}

impl Halves {
    fn insert(&mut self, digest: Digest) {
        if self.young.len() >= HALF {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: usize) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&number.to_be_bytes());
        digest
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::default();
        cache.insert(digest(0));
        for number in 1..10 * HALF {
            cache.insert(digest(number));
            assert!(cache.contains(&digest(0)), "{number}");
        }
        assert!(!cache.contains(&digest(1)));
        assert!(cache.contains(&digest(10 * HALF - 1)));
        let halves = cache.halves.lock().unwrap();
        assert!(halves.young.len() + halves.old.len() <= 2 * HALF);
    }
}
