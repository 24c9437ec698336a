use http::Method;
use proptest::prelude::*;

use super::{
    super::{
        headers::tests::{answer_of, head},
        source::Strategy,
    },
    *,
};

const SECOND: u64 = 1_000_000_000;

fn limit(average: u64, period: Duration, burst: u64) -> RateLimit {
    RateLimit::new(average, period, burst, Source::Client(Strategy::default()))
}

impl RateLimit {
    fn at(&self, source: u64, now_ns: u64) -> Turn {
        self.take(self.settings.bucket.as_ref().unwrap(), Key::of(&source.to_be_bytes()), now_ns)
    }

    fn sources(&self) -> usize {
        (0..SHARDS).map(|shard| self.buckets.at(shard).len()).sum()
    }
}

#[test]
fn a_burst_passes_then_one_at_a_time() {
    let limit = limit(10, Duration::from_secs(1), 3);
    assert_eq!([(); 3].map(|()| limit.at(1, SECOND)), [Turn::Now; 3]);
    assert_eq!(limit.at(1, SECOND), Turn::Refused(Duration::from_millis(100)));
    assert_eq!(limit.at(2, SECOND), Turn::Now, "another source has a bucket of its own");
    // Half the time of a token may be waited for: 1 / (2 × 10) s.
    assert_eq!(limit.at(1, SECOND + 49_000_000), Turn::Refused(Duration::from_millis(51)));
    assert_eq!(limit.at(1, SECOND + 50_000_000), Turn::In(Duration::from_millis(50)));
    assert_eq!(limit.at(1, SECOND + 60_000_000), Turn::Refused(Duration::from_millis(140)), "its token is taken");
    assert_eq!(
        [(); 4].map(|()| limit.at(1, 2 * SECOND)),
        [Turn::Now, Turn::Now, Turn::Now, Turn::Refused(Duration::from_millis(100))]
    );
}

#[test]
fn a_slow_rate_waits_half_a_second_at_most() {
    let limit = limit(1, Duration::from_secs(60), 1);
    assert_eq!(limit.at(1, 0), Turn::Now);
    assert_eq!(limit.at(1, 0), Turn::Refused(Duration::from_secs(60)));
    assert_eq!(limit.at(1, 59 * SECOND), Turn::Refused(Duration::from_secs(1)));
    assert_eq!(limit.at(1, 59 * SECOND + SECOND / 2), Turn::In(Duration::from_millis(500)));
}

#[test]
fn the_rate_is_floored_for_the_wait_only() {
    // 2.5 in a second: a token takes 0.4 s, and a quarter of a second is waited.
    let limit = limit(5, Duration::from_secs(2), 1);
    assert_eq!(limit.at(1, 0), Turn::Now);
    assert_eq!(limit.at(1, 140_000_000), Turn::Refused(Duration::from_millis(260)));
    assert_eq!(limit.at(1, 150_000_000), Turn::In(Duration::from_millis(250)));
}

#[test]
fn rates_beyond_the_clock_are_exact_too() {
    // Three tokens in a nanosecond.
    let limit = limit(3 * SECOND, Duration::from_secs(1), 1);
    let passed = (0..1_000).flat_map(|ns| [ns; 5]).filter(|ns| limit.at(1, *ns) == Turn::Now).count();
    assert_eq!(passed, 1_000, "a bucket of one has one token at a time");
    let thirds = super::tests::limit(3, Duration::from_nanos(1_000), 3);
    let passed = (0..=30_000).filter(|ns| !matches!(thirds.at(1, *ns), Turn::Refused(_))).count();
    assert_eq!(passed, 3 + 90, "no rounding adds up");
}

#[test]
fn the_largest_settings_do_not_overflow() {
    let limit = limit(u64::MAX, Duration::MAX, u64::MAX);
    assert_eq!([0, u64::MAX / 2, u64::MAX].map(|now| limit.at(1, now)), [Turn::Now; 3]);
    let slowest = super::tests::limit(1, Duration::MAX, 1);
    assert_eq!(slowest.at(1, u64::MAX), Turn::Now);
    assert_eq!(slowest.at(1, u64::MAX), Turn::Refused(Duration::from_nanos(i64::MAX as u64)));
}

#[tokio::test]
async fn an_average_of_none_limits_nothing() {
    let limit = limit(0, Duration::from_secs(1), 1);
    for _ in 0..100 {
        assert!(matches!(limit.request(&head(Method::GET, "http://a.test/")).await, Flow::Continue));
    }
    assert_eq!(limit.sources(), 0);
}

#[tokio::test]
async fn who_comes_too_soon_is_told_when_to_come() {
    let limit = limit(1, Duration::from_secs(3_600), 0);
    assert!(matches!(limit.request(&head(Method::GET, "http://a.test/")).await, Flow::Continue), "a burst is one");
    let (status, headers, body) = answer_of(limit.request(&head(Method::GET, "http://a.test/")).await);
    assert_eq!((status, body.as_str()), (429, "Too Many Requests"));
    let seconds: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&seconds), "{seconds}");
    let text = headers["x-retry-in"].to_str().unwrap();
    assert!(text.starts_with("59m") && text.ends_with('s'), "{text}");
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test(start_paused = true)]
async fn who_comes_a_little_too_soon_waits() {
    // A token in 2 s: one that comes within the last half second is waited for.
    let limit = limit(1, Duration::from_secs(2), 1);
    let bucket = limit.settings.bucket.as_ref().unwrap();
    let request = head(Method::GET, "http://a.test/");
    let key = limit.settings.source.key(&request);
    let soon = bucket.units(clock::precise_ns()) + bucket.units(300_000_000);
    limit.buckets.of(key).insert(key, soon);
    let begun = tokio::time::Instant::now();
    assert!(matches!(limit.request(&request).await, Flow::Continue));
    assert!(begun.elapsed() > Duration::ZERO, "by the clock that this test moves");
}

#[test]
fn retry_after_is_rounded_up() {
    for (wait, seconds, text) in [
        (Duration::from_nanos(1), "1", "1ns"),
        (Duration::from_millis(1_000), "1", "1s"),
        (Duration::from_millis(1_001), "2", "1.001s"),
        (Duration::from_secs(3_600), "3600", "1h0m0s"),
    ] {
        let answer = refusal(wait);
        assert_eq!(answer.headers()["retry-after"], seconds);
        assert_eq!(answer.headers()["x-retry-in"], text);
    }
}

#[test]
fn durations_as_go_writes_them() {
    for (ns, text) in [
        (0, "0s"),
        (1, "1ns"),
        (999, "999ns"),
        (1_000, "1us"),
        (1_100, "1.1us"),
        (2_200_000, "2.2ms"),
        (999_999_999, "999.999999ms"),
        (1_000_000_000, "1s"),
        (3_300_000_000, "3.3s"),
        (59_999_999_999, "59.999999999s"),
        (60_000_000_000, "1m0s"),
        (245_000_000_000, "4m5s"),
        (245_001_000_000, "4m5.001s"),
        (18_367_001_000_000, "5h6m7.001s"),
        (360_000_000_000_000, "100h0m0s"),
    ] {
        assert_eq!(duration_text(Duration::from_nanos(ns)), text);
    }
}

#[test]
fn sources_are_bounded_and_new_ones_always_have_a_place() {
    let limit = limit(1, Duration::from_secs(3_600), 1);
    for source in 0..200_000 {
        assert_eq!(limit.at(source, source), Turn::Now, "{source}");
    }
    let sources = limit.sources();
    assert!((MOST_SOURCES / 2..=MOST_SOURCES).contains(&sources), "{sources}");
    assert!(matches!(limit.at(199_999, 200_000), Turn::Refused(_)), "the latest are remembered");
    let room: usize = (0..SHARDS).map(|shard| limit.buckets.at(shard).capacity()).sum();
    assert!(room <= 2 * MOST_SOURCES, "{room}");
}

#[test]
fn sources_with_full_buckets_are_forgotten() {
    let limit = limit(1, Duration::from_secs(1), 1);
    for source in 0..30_000 {
        limit.at(source, 0);
    }
    assert_eq!(limit.sources(), 30_000);
    // One client goes on; in 16 s, all shards are looked through.
    for quarter in 0..64 {
        limit.at(u64::MAX, 2 * SECOND + quarter * SWEEP_NS);
    }
    assert_eq!(limit.sources(), 1);
    let room: usize = (0..SHARDS).map(|shard| limit.buckets.at(shard).capacity()).sum();
    assert!(room < 64 * SHARDS, "and their memory is given back: {room}");
}

#[test]
fn a_fresh_one_has_full_buckets() {
    let used = limit(1, Duration::from_secs(60), 1);
    assert_eq!(used.at(1, 0), Turn::Now);
    let fresh = used.fresh();
    assert!(fresh.is_like(&used));
    assert_eq!(fresh.at(1, 0), Turn::Now);
    assert!(!limit(2, Duration::from_secs(60), 1).is_like(&used));
    assert!(!limit(1, Duration::from_secs(60), 2).is_like(&used));
    assert!(!RateLimit::new(1, Duration::from_secs(60), 1, Source::Host).is_like(&used));
}

#[test]
fn workers_count_together() {
    let limit = limit(1, Duration::from_secs(3_600), 100);
    let passed: usize = std::thread::scope(|scope| {
        let work = || (0..1_000).filter(|_| limit.at(1, SECOND) == Turn::Now).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 100);
}

/// A token bucket as one would write it down: a number of tokens, which may be owed, and a time.
struct Naive {
    rate: f64,
    burst: f64,
    patience: f64,
    tokens: f64,
}

impl Naive {
    /// Lets time pass; how long a request would wait for its token then, in seconds.
    fn wait(&mut self, passed: f64) -> f64 {
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        ((1.0 - self.tokens) / self.rate).max(0.0)
    }
}

proptest! {
    #[test]
    fn as_a_bucket_of_real_numbers(
        average in 1_u64..5_000,
        period_ms in 1_u64..100_000,
        burst in 1_u64..30,
        gaps in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..2_000_000, 0_u64..20 * SECOND], 1..120),
        scale in 1_u64..1_000,
    ) {
        let limit = limit(average, Duration::from_millis(period_ms), burst);
        let rate = average as f64 * 1_000.0 / period_ms as f64;
        let patience = if rate < 1.0 { 0.5 } else { 0.5 / rate.floor() };
        let mut naive = Naive { rate, burst: burst as f64, patience, tokens: burst as f64 };
        let mut now = 0;
        for gap in gaps {
            now += gap / scale;
            let wait = naive.wait((gap / scale) as f64 / 1e9);
            let turn = limit.at(1, now);
            // Real numbers are rounded: at the very edges, either may be right.
            let edge = |at: f64| (wait - at).abs() < 2e-6;
            let (goes, said) = match turn {
                Turn::Now => (true, 0.0),
                Turn::In(said) => (true, said.as_secs_f64()),
                Turn::Refused(said) => (false, said.as_secs_f64()),
            };
            prop_assert!((said - wait).abs() < 2e-6, "{turn:?} where {wait} s are to wait");
            prop_assert!(goes == (wait <= naive.patience) || edge(naive.patience), "{turn:?} where {wait} s are to wait");
            prop_assert!((turn == Turn::Now) == (wait == 0.0) || edge(0.0), "{turn:?} where {wait} s are to wait");
            if goes {
                naive.tokens -= 1.0;
            }
        }
    }
}
