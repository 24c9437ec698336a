//! How requests have ended of late: the counts that an expression asks for, over vulcand/oxy's windows of time.
//!
//! A window is a ring of periods. A count of one period is one atomic word with the number of the period in its upper
//! half, so that who comes first in a new period starts it anew by the same compare-and-swap that counts: no lock, no
//! sweep, and nothing lost.
//!
//! oxy computes quantiles from a histogram. An expression only ever compares a quantile with a constant, which is to
//! ask how many requests were no slower than that constant: two counts, exact at any latency.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use http::StatusCode;

/// One thing to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Count {
    /// Every request, over the last ten seconds.
    All,
    /// Those that ended with 502 or 504, over the last ten seconds. Failures of the client or of this process have
    /// other statuses.
    NetworkErrors,
    /// Those that ended with these codes, over the last ten seconds.
    Codes(Range<i64>),
    /// Every request, over the last minute.
    Timed,
    /// Those that took no more than so many whole milliseconds, over the last minute.
    AtMost(u64),
}

impl Count {
    fn is_timed(&self) -> bool {
        matches!(self, Self::Timed | Self::AtMost(_))
    }

    /// How a window is cut for it: the milliseconds of a period, and how many there are.
    fn ring(&self) -> (u64, usize) {
        if self.is_timed() { (10_000, 6) } else { (1_000, 10) }
    }

    fn fits(&self, status: StatusCode, took: Duration) -> bool {
        match self {
            Self::All | Self::Timed => true,
            Self::NetworkErrors => matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT),
            Self::Codes(codes) => codes.contains(&i64::from(status.as_u16())),
            Self::AtMost(ms) => took.as_millis() <= u128::from(*ms),
        }
    }
}

/// What an expression asks for, each thing once.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted(Vec<Count>);

impl Wanted {
    /// Asks for a count; gives where it will be found.
    pub(super) fn add(&mut self, count: Count) -> usize {
        if let Some(known) = self.0.iter().position(|other| *other == count) {
            return known;
        }
        self.0.push(count);
        self.0.len() - 1
    }
}

/// The counts.
#[derive(Debug)]
pub(super) struct Window {
    counts: Vec<(Count, Box<[Tally]>)>,
    times: bool,
}

impl Window {
    /// Nothing counted yet.
    pub(super) fn new(Wanted(counts): Wanted) -> Self {
        let times = counts.iter().any(Count::is_timed);
        let counts = counts.into_iter().map(|count| {
            let tallies = (0..count.ring().1).map(|_| Tally::default()).collect();
            (count, tallies)
        });
        Self { counts: counts.collect(), times }
    }

    /// Another of the same counts, with nothing counted.
    pub(super) fn fresh(&self) -> Self {
        Self::new(Wanted(self.counts.iter().map(|(count, _)| count.clone()).collect()))
    }

    /// Whether it is asked how long requests take.
    pub(super) fn times(&self) -> bool {
        self.times
    }

    /// Counts a request that has ended now.
    pub(super) fn note(&self, status: StatusCode, took: Duration, now_ms: u64) {
        for (count, tallies) in self.counts.iter().filter(|(count, _)| count.fits(status, took)) {
            let (period, place) = place(count.ring(), now_ms);
            if let Some(tally) = tallies.get(place) {
                tally.add(period);
            }
        }
    }

    /// How many there were within the window that ends now.
    pub(super) fn get(&self, index: usize, now_ms: u64) -> u64 {
        let Some((count, tallies)) = self.counts.get(index) else { return 0 };
        let (period, _) = place(count.ring(), now_ms);
        let oldest = (u64::from(period) + 1).saturating_sub(tallies.len() as u64);
        tallies.iter().map(|tally| tally.get(oldest..=u64::from(period))).sum()
    }

    /// Forgets everything.
    pub(super) fn reset(&self) {
        for tally in self.counts.iter().flat_map(|(_, tallies)| tallies) {
            tally.0.store(0, Ordering::Relaxed);
        }
    }
}

/// The number of the period, and its place in the ring.
fn place((period_ms, places): (u64, usize), now_ms: u64) -> (u32, usize) {
    let period = u32::try_from(now_ms / period_ms).unwrap_or(u32::MAX);
    (period, usize::try_from(period).unwrap_or_default() % places.max(1))
}

/// The number of a period, and what was counted in it.
#[derive(Debug, Default)]
struct Tally(AtomicU64);

impl Tally {
    fn add(&self, period: u32) {
        let added = |word: u64| {
            let (of, count) = split(word);
            // A thread whose clock is behind counts for the newer period.
            Some(if of >= period { join(of, count.saturating_add(1)) } else { join(period, 1) })
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, added);
    }

    fn get(&self, periods: std::ops::RangeInclusive<u64>) -> u64 {
        let (of, count) = split(self.0.load(Ordering::Relaxed));
        if periods.contains(&u64::from(of)) { u64::from(count) } else { 0 }
    }
}

fn join(period: u32, count: u32) -> u64 {
    u64::from(period) << 32 | u64::from(count)
}

fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
