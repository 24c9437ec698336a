//! What is remembered of each source, by all workers together.
//!
//! The meaning of a limit is one count for the whole process, so that workers must meet somewhere. They meet in one
//! of 64 shards, chosen by the source, for as long as it takes to look one entry up and change a number. A table that
//! nobody has asked yet has no shards at all: each route has its own.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use hashbrown::HashMap;

use super::Key;

/// How many shards there are but one.
const OTHERS: usize = 63;

/// How many shards there are.
pub(in crate::middleware) const SHARDS: usize = OTHERS + 1;

/// The sources of a limiter, with a value for each.
#[derive(Debug)]
pub(in crate::middleware) struct Table<V>(OnceLock<Box<Shards<V>>>);

/// A part of the sources.
pub(in crate::middleware) type Shard<V> = HashMap<Key, V>;

#[derive(Debug)]
struct Shards<V> {
    first: Padded<V>,
    others: [Padded<V>; OTHERS],
}

/// In a cache line of its own, so that neighbours don't slow each other down.
#[derive(Debug)]
#[repr(align(64))]
struct Padded<V>(Mutex<Shard<V>>);

impl<V> Default for Padded<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<V> Table<V> {
    /// The shard that has this source, locked. Not to be held over an await.
    pub(in crate::middleware) fn of(&self, key: Key) -> MutexGuard<'_, Shard<V>> {
        // The key is a hash already. The shard's own hash is another one.
        self.at(usize::try_from(key.0 >> 64 & OTHERS as u128).unwrap_or(0))
    }

    /// A shard by its number, modulo their count.
    pub(in crate::middleware) fn at(&self, number: usize) -> MutexGuard<'_, Shard<V>> {
        let make = || Box::new(Shards { first: Padded::default(), others: std::array::from_fn(|_| Padded::default()) });
        let shards = self.0.get_or_init(make);
        let shard = shards.others.get(number % SHARDS).unwrap_or(&shards.first);
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives memory back when a shard holds much less than it has room for.
pub(in crate::middleware) fn fit<V>(shard: &mut Shard<V>) {
    if shard.capacity() > 64 && shard.len() < shard.capacity() / 8 {
        shard.shrink_to(shard.len() * 2);
    }
}
