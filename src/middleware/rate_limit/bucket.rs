//! The arithmetic of a token bucket, with one number for each source (GCRA, the generic cell rate algorithm): the
//! time at which its bucket will be full again. A bucket that is full is like one that was never asked, so that it
//! need not be remembered.
//!
//! Exact: times are counted in units of 1/average nanoseconds, in which a token takes `period` units to come, without
//! rounding. All sums stay below 2^128, as settings are below 2^63 and the clock's nanoseconds below 2^64.

use std::time::Duration;

/// What all sources of a limiter have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Units in a nanosecond.
    average: u128,
    /// How long a token takes to come.
    period: u128,
    /// How long a whole bucket takes to fill.
    full: u128,
    /// How long a request may wait for its token.
    patience: u128,
}

/// When a request may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is a token for it.
    Now,
    /// Its token is taken, and comes in this time.
    In(Duration),
    /// It would have to wait too long, this long: no token is taken.
    Refused(Duration),
}

impl Bucket {
    /// Holds `burst` tokens, of which `average` come in a `period`. A request waits for its own at most about half the
    /// time that one takes to come, by Traefik's reckoning: 1 / (2 × ⌊rate⌋) s, and half a second below one in a second.
    pub(super) fn new(average: u64, period: Duration, burst: u64) -> Self {
        const SECOND: u128 = 1_000_000_000;
        // Larger ones mean nothing else: a token in 292 years, 2^63 tokens.
        let most = i64::MAX as u128;
        let average = u128::from(average).clamp(1, most);
        let period = period.as_nanos().clamp(1, most);
        let rate = average * SECOND / period;
        let patience = if rate == 0 { SECOND / 2 } else { SECOND / rate.saturating_mul(2) };
        Self { average, period, full: u128::from(burst).clamp(1, most) * period, patience: patience * average }
    }

    /// A time of the clock, in nanoseconds, in the bucket's units.
    pub(super) fn units(&self, now_ns: u64) -> u128 {
        u128::from(now_ns) * self.average
    }

    /// A request comes at `now`, in units. `full_at` is when the bucket will be full again: a time that has passed is
    /// now.
    pub(super) fn take(&self, full_at: &mut u128, now: u128) -> Turn {
        let next = (*full_at).max(now) + self.period;
        let wait = (next - now).saturating_sub(self.full);
        if wait > self.patience {
            return Turn::Refused(self.duration(wait));
        }
        *full_at = next;
        if wait == 0 { Turn::Now } else { Turn::In(self.duration(wait)) }
    }

    /// In whole nanoseconds, rounded up: after it, the token is there.
    fn duration(&self, units: u128) -> Duration {
        Duration::from_nanos(u64::try_from(units.div_ceil(self.average)).unwrap_or(u64::MAX))
    }
}
