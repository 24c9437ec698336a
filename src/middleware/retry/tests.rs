use std::sync::Arc;

use super::*;
use crate::{
    body::BodyKind,
    middleware::{
        Chain, InFlight, Middleware, StripPrefix,
        source::Source,
        upstream::tests::{Fake, answer, failed, request},
    },
};

fn settings(attempts: u32) -> Settings {
    Settings {
        attempts,
        initial_interval: Duration::ZERO,
        timeout: Duration::ZERO,
        statuses: Statuses::default(),
        most: DEFAULT_MOST,
        unreachable: true,
        any_method: false,
    }
}

fn by_status(attempts: u32) -> Settings {
    Settings { statuses: [500..=599].into_iter().collect(), ..settings(attempts) }
}

fn retry(settings: Settings) -> Middleware {
    Middleware::Retry(Arc::new(Retry::new(settings).unwrap()))
}

/// The status that comes out, and how often an endpoint was asked.
async fn tried(settings: Settings, method: &str, body: &'static [u8], statuses: &[u16]) -> (u16, usize) {
    let mut fake = Fake::of(statuses);
    let answer = fake.run(&retry(settings), &mut request(method, "http://a.test/", body)).await;
    assert_eq!(fake.retried, fake.seen.len() - 1, "each further try is counted");
    (answer.status().as_u16(), fake.seen.len())
}

#[tokio::test]
async fn what_was_not_sent_is_tried_again_whatever_the_method() {
    for method in ["GET", "POST", "PATCH", "LOCK"] {
        for body in [&b""[..], b"body"] {
            assert_eq!(tried(settings(3), method, body, &[0, 0, 200]).await, (200, 3), "{method}");
            assert_eq!(tried(settings(2), method, body, &[0, 0, 200]).await, (502, 2), "{method}");
            assert_eq!(tried(settings(1), method, body, &[0, 200]).await, (502, 1), "{method}");
            assert_eq!(tried(by_status(3), method, body, &[0, 0, 200]).await, (200, 3), "{method}");
        }
    }
    let off = Settings { unreachable: false, ..by_status(3) };
    assert_eq!(tried(off, "POST", b"", &[0, 200]).await, (502, 1));
}

#[tokio::test]
async fn an_answer_is_the_last_word_unless_its_status_is_named() {
    assert_eq!(tried(settings(3), "GET", b"", &[502, 200]).await, (502, 1));
    assert_eq!(tried(settings(3), "GET", b"", &[504, 200]).await, (504, 1));
    assert_eq!(tried(by_status(3), "GET", b"", &[503, 500, 200]).await, (200, 3));
    assert_eq!(tried(by_status(3), "PUT", b"body", &[503, 500, 599]).await, (599, 3));
    assert_eq!(tried(by_status(3), "GET", b"", &[499, 200]).await, (499, 1));
    for method in ["POST", "PATCH", "LOCK"] {
        assert_eq!(tried(by_status(3), method, b"body", &[503, 200]).await, (503, 1), "{method}");
        let any = Settings { any_method: true, ..by_status(3) };
        assert_eq!(tried(any, method, b"body", &[503, 200]).await, (200, 2), "{method}");
    }
}

#[tokio::test]
async fn a_switch_of_protocols_is_never_tried_again() {
    let all = Settings { statuses: [100..=599].into_iter().collect(), ..settings(3) };
    let mut fake = Fake::default();
    fake.answers.push_back(answer(101, ""));
    let out = fake.run(&retry(all), &mut request("GET", "http://a.test/", b"")).await;
    assert_eq!((out.status().as_u16(), fake.seen.len()), (101, 1));
}

#[tokio::test]
async fn without_an_endpoint_there_is_nothing_to_try() {
    let mut fake = Fake::default();
    fake.answers.push_back(failed(503, true));
    let out = fake.run(&retry(settings(3)), &mut request("GET", "http://a.test/", b"")).await;
    assert_eq!((out.status().as_u16(), fake.seen.len()), (503, 1));
}

#[tokio::test]
async fn each_try_has_the_whole_body_and_the_head_as_it_came() {
    let inside = StripPrefix::new(["/a"]).unwrap();
    let chain = Chain::new(vec![retry(by_status(3)), Middleware::StripPrefix(Arc::new(inside))]);
    let mut fake = Fake::of(&[500, 0, 200]);
    let mut request = request("PUT", "http://a.test/a/a/x", b"body");
    request.kind = BodyKind::Chunked;
    assert_eq!(chain.run(&mut request, &mut fake).await.status(), 200);
    assert_eq!(fake.bodies(), [b"body", b"body"], "the one in the middle was never sent");
    for seen in &fake.seen {
        assert_eq!(seen.kind, BodyKind::Length(4), "its length is known now");
        assert_eq!(seen.head.target.path(), "/a/x", "stripped once");
        assert_eq!(seen.head.headers.get_all("x-forwarded-prefix").iter().count(), 1);
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_goes_on_and_is_sent_once() {
    let short = Settings { most: 3, ..by_status(3) };
    let mut fake = Fake::of(&[0, 500, 200]);
    let mut long = request("PUT", "http://a.test/", b"body");
    let out = fake.run(&retry(short.clone()), &mut long).await;
    assert_eq!((out.status().as_u16(), fake.seen.len()), (500, 2), "not sent at first, then sent");
    assert_eq!(fake.bodies(), [b"body"]);
    // One whose length shows only when it is read.
    let mut fake = Fake::of(&[0, 500, 200]);
    let mut long = request("PUT", "http://a.test/", b"");
    let inner = Lent::new(Body::from("body"));
    long.body = Body::stream(Unsized(inner));
    long.kind = BodyKind::Chunked;
    let out = fake.run(&retry(short), &mut long).await;
    assert_eq!((out.status().as_u16(), fake.bodies()), (500, vec![&b"body"[..]]));
    assert_eq!(fake.seen[1].kind, BodyKind::Chunked);
}

/// A body that doesn't say how long it is.
struct Unsized(Lent);

impl http_body::Body for Unsized {
    type Data = bytes::Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, BodyError>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

#[tokio::test]
async fn a_body_that_was_begun_is_not_sent_again() {
    let mut fake = Fake::default();
    let lent = Lent::new(Body::from("body"));
    assert!(lent.is_whole());
    let _ = crate::middleware::upstream::tests::read(lent.body()).await;
    assert!(!lent.is_whole());
    // Reset while the request was being written, with a part of the body taken already.
    fake.answers.push_back(failed(502, false));
    let out = fake.run(&retry(settings(3)), &mut request("POST", "http://a.test/", b"body")).await;
    assert_eq!((out.status().as_u16(), fake.seen.len()), (502, 1));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault() {
    let mut fake = Fake::default();
    let mut broken = request("PUT", "http://a.test/", b"x");
    broken.body =
        Body::stream(http_body_util::StreamBody::new(futures_util::stream::iter([Err(BodyError::Incomplete)])));
    let out = fake.run(&retry(by_status(3)), &mut broken).await;
    assert_eq!((out.status().as_u16(), fake.seen.len()), (400, 0));
}

#[tokio::test(start_paused = true)]
async fn waits_grow_to_twice_the_first_and_end_with_the_timeout() {
    let begun = Instant::now();
    let patient = Settings { initial_interval: Duration::from_secs(1), ..settings(5) };
    assert_eq!(tried(patient.clone(), "GET", b"", &[0, 0, 0, 0, 200]).await, (200, 5));
    // Four waits of 1, 1.19, 1.41 and 1.68 seconds, each by half more or less.
    let waited = begun.elapsed().as_secs_f64();
    assert!((2.64..=7.93).contains(&waited), "{waited}");

    let begun = Instant::now();
    let short = Settings { timeout: Duration::from_secs(3), ..patient.clone() };
    let (status, tries) = tried(short, "GET", b"", &[0, 0, 0, 0, 200]).await;
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!((502, 2..5).0 == status && (2..5).contains(&tries), "{tries}");

    let begun = Instant::now();
    let none = Settings { timeout: Duration::from_millis(1), ..patient };
    assert_eq!(tried(none, "GET", b"", &[0, 200]).await, (502, 1));
    assert!(begun.elapsed().is_zero());
}

#[test]
fn settings_that_never_try_are_refused() {
    assert_eq!(Retry::new(settings(0)).unwrap_err().field, "attempts");
    let nothing = Settings { unreachable: false, ..settings(2) };
    assert_eq!(Retry::new(nothing).unwrap_err().field, "disableRetryOnNetworkError");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_another_try_holds_no_place_of_those_inside() {
    let limit = Middleware::InFlight(Arc::new(InFlight::new(1, Source::Host)));
    let waiting = Settings { initial_interval: Duration::from_secs(60), ..by_status(2) };
    let chain = Chain::new(vec![retry(waiting), limit]);
    let (mut first, mut second) = (request("GET", "http://a.test/", b""), request("GET", "http://a.test/", b""));
    let (mut failing, mut fine) = (Fake::of(&[503, 200]), Fake::of(&[]));
    let one = chain.run(&mut first, &mut failing);
    let other = async {
        // Long before the first one's second try.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let status = chain.run(&mut second, &mut fine).await.status();
        second.permits.clear();
        status
    };
    let (one, other) = tokio::join!(one, other);
    assert_eq!((one.status(), other), (StatusCode::OK, StatusCode::OK));
}
