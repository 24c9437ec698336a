use http::{HeaderName, HeaderValue, Method};

use super::{
    super::headers::tests::{answer_of, head},
    *,
};
use crate::body::BodyKind;

fn request(key: &'static str) -> Request {
    let mut head = head(Method::GET, "http://a.test/");
    head.headers.insert("x-key", HeaderValue::from_static(key));
    Request::new(head, Body::Empty, BodyKind::None)
}

fn limit(most: u64) -> InFlight {
    InFlight::new(most, Source::Header(HeaderName::from_static("x-key")))
}

/// How many sources are remembered.
fn sources(limit: &InFlight) -> usize {
    (0..super::super::source::SHARDS).map(|shard| limit.running.at(shard).len()).sum()
}

#[test]
fn requests_of_a_source_are_counted_until_they_end() {
    let limit = limit(2);
    let (mut one, mut two, mut three) = (request("a"), request("a"), request("a"));
    assert!(matches!(limit.request(&mut one), Flow::Continue));
    assert!(matches!(limit.request(&mut two), Flow::Continue));
    let (status, headers, body) = answer_of(limit.request(&mut three));
    assert_eq!((status, body.as_str()), (429, "max connections reached: 2"));
    assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    assert!(three.permits.is_empty());
    assert!(matches!(limit.request(&mut request("b")), Flow::Continue), "another source");

    // What is left of a request when its answer has begun.
    let permits = std::mem::take(&mut one.permits);
    drop(one);
    assert!(matches!(limit.request(&mut three), Flow::Respond(_)), "its answer goes on");
    drop(permits);
    assert!(matches!(limit.request(&mut three), Flow::Continue));
    assert_eq!(sources(&limit), 1);
    drop((two, three));
    assert_eq!(sources(&limit), 0, "a source without requests is forgotten");
}

#[test]
fn nothing_passes_a_limit_of_none() {
    let limit = limit(0);
    let (status, _, body) = answer_of(limit.request(&mut request("a")));
    assert_eq!((status, body.as_str()), (429, "max connections reached: 0"));
    assert_eq!(sources(&limit), 0);
}

#[test]
fn another_of_the_same_settings_counts_anew() {
    let (limit, mut one, mut two) = (limit(1), request("a"), request("a"));
    assert!(matches!(limit.request(&mut one), Flow::Continue));
    let fresh = limit.fresh();
    assert!(fresh.is_like(&limit));
    assert!(matches!(fresh.request(&mut two), Flow::Continue));
    assert!(!super::tests::limit(2).is_like(&limit));
    assert!(!InFlight::new(1, Source::Host).is_like(&limit));
}

#[test]
fn workers_count_together() {
    let limit = limit(7);
    let passed: usize = std::thread::scope(|scope| {
        let work = || (0..1_000).filter(|_| limit.enter(Key::of(b"a"))).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(passed, 7);
}
