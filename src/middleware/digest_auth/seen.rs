//! Which counts of which nonces were used: bounded, and sure. What can't be kept any more is refused from then on, never
//! taken a second time.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::nonce::{Id, LIFETIME_MS};

/// The nonces are shared out over so many locks, as the workers have one memory of them: a proof that one worker took
/// must not pass at the next.
const SHARDS: usize = 16;

/// How many nonces of a shard are remembered: 16,384 sessions in all, a megabyte or so. Only who has a password adds
/// one.
const EACH: usize = 1_024;

/// How far behind the highest count another may come in: browsers send several requests at once.
const WINDOW: u32 = 128;

/// What was used.
#[derive(Debug)]
pub(super) struct Seen {
    shards: [Mutex<Shard>; SHARDS],
}

impl Default for Seen {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// The oldest nonce first.
    counts: BTreeMap<Id, Counts>,
    /// The youngest nonce that was forgotten: it and all that are older, unless they are remembered, may have been used.
    forgotten: Option<Id>,
}

/// The counts that were used, as far as [`WINDOW`] behind the highest.
#[derive(Clone, Copy, Debug)]
struct Counts {
    highest: u32,
    /// Bit n: whether `highest - n` was used.
    used: u128,
}

impl Seen {
    /// Whether this count of this nonce comes for the first time, as far as it can be known. Notes it.
    pub(super) fn first_time(&self, id: Id, count: u32, now_ms: u64) -> bool {
        let shard = usize::try_from(id.unique % SHARDS as u64).ok().and_then(|index| self.shards.get(index));
        shard.is_some_and(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).first_time(id, count, now_ms))
    }
}

impl Shard {
    fn first_time(&mut self, id: Id, count: u32, now_ms: u64) -> bool {
        // RFC 7616 §3.4: the first is 1.
        if count == 0 {
            return false;
        }
        if let Some(counts) = self.counts.get_mut(&id) {
            return counts.first_time(count);
        }
        if self.forgotten.is_some_and(|forgotten| id <= forgotten) {
            return false;
        }
        while let Some((oldest, _)) = self.counts.first_key_value().map(|(id, counts)| (*id, *counts)) {
            let outdated = now_ms.saturating_sub(oldest.made_ms) > LIFETIME_MS;
            if !outdated && self.counts.len() < EACH {
                break;
            }
            if !outdated && id < oldest {
                return false;
            }
            self.counts.pop_first();
            self.forgotten = self.forgotten.max(Some(oldest));
        }
        self.counts.insert(id, Counts { highest: count, used: 1 });
        true
    }
}

impl Counts {
    fn first_time(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.used = self.used.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let bit = if behind < WINDOW { 1_u128 << behind } else { return false };
        let first = self.used & bit == 0;
        self.used |= bit;
        first
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn id(made_ms: u64, unique: u64) -> Id {
        Id { made_ms, unique: unique * SHARDS as u64 }
    }

    #[test]
    fn counts_may_come_out_of_order_and_never_twice() {
        let seen = Seen::default();
        let take = |count| seen.first_time(id(1, 1), count, 1);
        assert!(!take(0));
        for count in [5, 1, 3, 2, 4, 6] {
            assert!(take(count), "{count}");
            assert!(!take(count), "{count}");
        }
        assert!(take(6 + WINDOW));
        assert!(!take(6), "used");
        assert!(take(7));
        assert!(take(u32::MAX) && !take(u32::MAX));
        assert!(!take(8), "too far behind to be known");
    }

    #[test]
    fn what_is_forgotten_is_refused() {
        let seen = Seen::default();
        for number in 0..2 * EACH as u64 {
            assert!(seen.first_time(id(100 + number, number), 1, 0), "{number}");
        }
        assert_eq!(seen.shards.iter().map(|s| s.lock().unwrap().counts.len()).sum::<usize>(), EACH);
        for number in 0..2 * EACH as u64 {
            assert!(!seen.first_time(id(100 + number, number), 1, 0), "{number}");
        }
        assert!(!seen.first_time(id(100, 99), 1, 0), "older than what was forgotten, and not known");
        assert!(seen.first_time(id(100 + 2 * EACH as u64, 99), 1, 0));
    }

    #[test]
    fn the_outdated_make_room() {
        let seen = Seen::default();
        for number in 0..10 {
            assert!(seen.first_time(id(1, number), 1, 1));
        }
        assert!(seen.first_time(id(2 + LIFETIME_MS, 11), 1, 2 + LIFETIME_MS));
        assert_eq!(seen.shards[0].lock().unwrap().counts.len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_passes_twice(tries in prop::collection::vec((0_u64..4, 1_u32..400), 0..300)) {
            let seen = Seen::default();
            let mut passed = HashSet::new();
            let mut highest = std::collections::HashMap::new();
            for (nonce, count) in tries {
                let top = highest.get(&nonce).copied().unwrap_or(0);
                let first = seen.first_time(id(1, nonce), count, 1);
                let known = count + WINDOW > top;
                prop_assert_eq!(first, known && !passed.contains(&(nonce, count)), "{} of {}", count, nonce);
                if first {
                    passed.insert((nonce, count));
                    highest.insert(nonce, top.max(count));
                }
            }
        }
    }
}
