//! `rateLimit`: limits how many requests of a source come in a time, by a token bucket for each.
//!
//! The count is exact over all workers of the process. A request that would be a little too early waits for its token,
//! and holds nothing meanwhile; others are answered with 429 and told when to come again. At most 65,536 sources are
//! remembered, each in a few dozen bytes, and none whose bucket is full.

mod bucket;

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    Flow, Head, plain,
    source::{Key, SHARDS, Shard, Source, Table, fit},
};
use crate::{body::Body, clock};
use bucket::{Bucket, Turn};

const X_RETRY_IN: HeaderName = HeaderName::from_static("x-retry-in");

/// How many sources a limiter remembers (Traefik's number).
const MOST_SOURCES: usize = 65_536;

/// How many of them a shard has room for.
const MOST_OF_SHARD: usize = MOST_SOURCES / SHARDS;

/// After so many nanoseconds, the next shard is looked through for sources that need not be remembered: all of them
/// in 16 s.
const SWEEP_NS: u64 = 250_000_000;

/// Traefik's `rateLimit`, ready to run.
#[derive(Debug)]
pub struct RateLimit {
    settings: Settings,
    /// When the bucket of each source will be full again.
    buckets: Table<u128>,
    /// When the next shard is looked through, and which.
    sweep_at_ns: AtomicU64,
    swept: AtomicUsize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    /// None where nothing is limited.
    bucket: Option<Bucket>,
    source: Source,
}

impl RateLimit {
    /// `average` requests of a source in each `period` (a second if it is zero), and up to `burst` at once (at least
    /// one). An average of 0 limits nothing.
    pub fn new(average: u64, period: Duration, burst: u64, source: Source) -> Self {
        let period = if period.is_zero() { Duration::from_secs(1) } else { period };
        Self::of(Settings { bucket: (average > 0).then(|| Bucket::new(average, period, burst)), source })
    }

    fn of(settings: Settings) -> Self {
        Self { settings, buckets: Table::default(), sweep_at_ns: AtomicU64::new(0), swept: AtomicUsize::new(0) }
    }

    /// The same limit, with full buckets.
    pub fn fresh(&self) -> Self {
        Self::of(self.settings.clone())
    }

    /// Whether the other has the same settings.
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// Lets the request pass, at once or after a short wait, or answers 429.
    pub async fn request(&self, head: &Head) -> Flow {
        let Some(bucket) = &self.settings.bucket else { return Flow::Continue };
        match self.take(bucket, self.settings.source.key(head), clock::precise_ns()) {
            Turn::Now => {}
            // Boxed, so that requests that don't wait carry no timer.
            Turn::In(wait) => Box::pin(tokio::time::sleep(wait)).await,
            Turn::Refused(wait) => return Flow::Respond(refusal(wait)),
        }
        Flow::Continue
    }

    fn take(&self, bucket: &Bucket, key: Key, now_ns: u64) -> Turn {
        let now = bucket.units(now_ns);
        self.sweep(now_ns, now);
        let mut shard = self.buckets.of(key);
        if let Some(full_at) = shard.get_mut(&key) {
            return bucket.take(full_at, now);
        }
        if shard.len() >= MOST_OF_SHARD {
            make_room(&mut shard, now);
        }
        bucket.take(shard.entry(key).or_insert(now), now)
    }

    /// Now and then, forgets the sources of one shard whose buckets are full.
    fn sweep(&self, now_ns: u64, now: u128) {
        let due = self.sweep_at_ns.load(Ordering::Relaxed);
        let next = now_ns.saturating_add(SWEEP_NS);
        if now_ns < due || self.sweep_at_ns.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let mut shard = self.buckets.at(self.swept.fetch_add(1, Ordering::Relaxed));
        shard.retain(|_, full_at| *full_at > now);
        fit(&mut shard);
    }
}

/// Forgets what need not be remembered; if that is little, also the quarter of sources that would be forgotten first.
/// Those start anew, as in Traefik: a limiter that turns new sources away would let anyone shut out everyone.
fn make_room(shard: &mut Shard<u128>, now: u128) {
    shard.retain(|_, full_at| *full_at > now);
    let few = MOST_OF_SHARD / 4;
    if shard.len() <= MOST_OF_SHARD - few {
        return;
    }
    let mut times: Vec<u128> = shard.values().copied().collect();
    let (_, first, _) = times.select_nth_unstable(few);
    shard.retain(|_, full_at| *full_at > *first);
}

fn refusal(wait: Duration) -> Response<Body> {
    let mut answer = plain(StatusCode::TOO_MANY_REQUESTS);
    let seconds = wait.as_nanos().div_ceil(1_000_000_000);
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
    if let Ok(text) = HeaderValue::try_from(duration_text(wait)) {
        headers.insert(X_RETRY_IN, text);
    }
    answer
}

/// As Go writes durations (`1m30.5s`), but with `us` for microseconds: header values are ASCII (RFC 9110 §5.5), and
/// Go reads that as well.
fn duration_text(duration: Duration) -> String {
    let ns = duration.as_nanos();
    match ns {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}us", decimal(ns, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(ns, 6)),
        _ => {
            let minutes = duration.as_secs() / 60;
            let seconds = decimal(ns - u128::from(minutes) * 60_000_000_000, 9);
            match minutes {
                0 => format!("{seconds}s"),
                1..60 => format!("{minutes}m{seconds}s"),
                _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
            }
        }
    }
}

/// A number of nanoseconds with the decimal point before the last `digits`, and no zeros behind.
fn decimal(ns: u128, digits: usize) -> String {
    let unit = 10_u128.pow(u32::try_from(digits).unwrap_or(0));
    let text = format!("{}.{:0digits$}", ns / unit, ns % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests;
