//! How fast, and how often again: a bucket of tokens, back-off, and chance for both.
//!
//! Takes the time, gives times. It knows nothing of what is paced.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::Instant;

/// So many a second, and a burst after quiet times.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Between two tokens.
    every: Duration,
    /// How far ahead of an even pace a burst may be.
    ahead: Duration,
    /// When the next token would come at an even pace.
    next: Option<Instant>,
}

impl Bucket {
    /// A full bucket. Both numbers are at least 1.
    pub(super) fn new(a_second: u32, burst: u32) -> Self {
        let every = Duration::from_secs(1) / a_second.max(1);
        Self { every, ahead: every * burst.saturating_sub(1), next: None }
    }

    /// When a token is there; not after `now` if one is there now.
    pub(super) fn ready(&self, now: Instant) -> Instant {
        self.next.and_then(|next| next.checked_sub(self.ahead)).unwrap_or(now)
    }

    /// Takes a token, whether one is there or not.
    pub(super) fn take(&mut self, now: Instant) {
        self.next = Some(self.next.unwrap_or(now).max(now) + self.every);
    }
}

/// `first`, doubled with each failure beyond the first, and at most `most`.
pub(super) fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(most)
}

/// `least` to `most`, by chance: those who failed together don't come back together.
pub(super) fn between(least: Duration, most: Duration) -> Duration {
    // A new state has new keys: chance enough for a pause, without a generator to keep.
    let chance = RandomState::new().hash_one(0) >> 32;
    least + most.saturating_sub(least).mul_f64(chance as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_an_even_pace() {
        let start = Instant::now();
        let mut bucket = Bucket::new(50, 100);
        let mut now = start;
        for _ in 0..300 {
            now = now.max(bucket.ready(now));
            bucket.take(now);
        }
        assert_eq!(now - start, Duration::from_millis(200 * 20), "100 at once, then 50 a second");
        let later = now + Duration::from_secs(60);
        let mut at_once = 0;
        while bucket.ready(later) <= later {
            bucket.take(later);
            at_once += 1;
        }
        assert_eq!(at_once, 100, "a long rest fills it to the brim and no more");
    }

    #[test]
    fn back_off_doubles_up_to_its_most() {
        let seconds = |failures| backoff(Duration::from_secs(1), Duration::from_secs(60), failures).as_secs();
        assert_eq!([0, 1, 2, 3, 6, 7, 100, u32::MAX].map(seconds), [1, 1, 2, 4, 32, 60, 60, 60]);
    }

    #[test]
    fn chance_stays_between() {
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(4));
        for _ in 0..1_000 {
            assert!((least..=most).contains(&between(least, most)));
        }
    }
}
