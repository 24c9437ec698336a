use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body as HttpBody, Frame};

use super::*;
use crate::{
    body::BodyKind,
    middleware::{
        Chain, Middleware, StripPrefix,
        upstream::tests::{Fake, answer, read, request},
    },
};

/// A body of these frames, of unknown length.
struct Frames(VecDeque<Result<Frame<Bytes>, BodyError>>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front())
    }
}

fn frames(data: &[&'static str], last: Option<Result<Frame<Bytes>, BodyError>>) -> Body {
    let data = data.iter().map(|data| Ok(Frame::data(Bytes::from_static(data.as_bytes()))));
    Body::stream(Frames(data.chain(last).collect()))
}

fn trailers() -> Frame<Bytes> {
    Frame::trailers(HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("\"t\""))]))
}

fn options() -> Options {
    Options { max_request: 0, mem_request: MEMORY, max_response: 0, mem_response: MEMORY, retry: None }
}

fn buffering(options: &Options) -> Middleware {
    Middleware::Buffering(Buffering::new(options).unwrap().into())
}

fn retrying(expression: &str) -> Middleware {
    buffering(&Options { retry: Some(expression.to_owned()), ..options() })
}

fn of(body: Body) -> Response<Body> {
    Response::new(body)
}

#[tokio::test]
async fn a_request_is_whole_before_it_goes_on() {
    for memory in [MEMORY, 3, 0] {
        let mut fake = Fake::default();
        let mut request = request("POST", "http://a.test/", b"x");
        request.body = frames(&["abc", "", "defg"], None);
        request.kind = BodyKind::Chunked;
        let answer = fake.run(&buffering(&Options { mem_request: memory, ..options() }), &mut request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(fake.bodies(), [b"abcdefg"]);
        assert_eq!(fake.seen[0].kind, BodyKind::Length(7));
    }
    let mut fake = Fake::default();
    let mut none = request("GET", "http://a.test/", b"");
    fake.run(&buffering(&options()), &mut none).await;
    assert_eq!(fake.seen[0].kind, BodyKind::None, "no body is no empty body");
}

#[tokio::test]
async fn a_request_that_is_too_large_goes_nowhere() {
    let limited = buffering(&Options { max_request: 4, ..options() });
    for (body, status) in [("", 200), ("abcd", 200), ("abcde", 413)] {
        let mut fake = Fake::default();
        let mut whole = request("POST", "http://a.test/", body.as_bytes());
        let answer = fake.run(&limited, &mut whole).await;
        assert_eq!((answer.status().as_u16(), fake.seen.len()), (status, usize::from(status == 200)), "{body}");
        if status == 413 {
            assert_eq!(read(answer.into_body()).await.0, b"Request Entity Too Large");
        }
        let mut fake = Fake::default();
        let mut pieces = request("POST", "http://a.test/", b"x");
        pieces.body = frames(&[body], None);
        pieces.kind = BodyKind::Chunked;
        assert_eq!(fake.run(&limited, &mut pieces).await.status(), status, "{body} of unknown length");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_goes_nowhere() {
    for (error, status) in [
        (BodyError::Incomplete, 400),
        (BodyError::Framing("x"), 400),
        (BodyError::Stalled, 408),
        (BodyError::Io(std::io::ErrorKind::StorageFull.into()), 500),
    ] {
        let mut fake = Fake::default();
        let mut request = request("POST", "http://a.test/", b"x");
        request.body = frames(&["abc"], Some(Err(error)));
        request.kind = BodyKind::Chunked;
        let answer = fake.run(&buffering(&options()), &mut request).await;
        assert_eq!((answer.status().as_u16(), fake.seen.len()), (status, 0));
    }
}

#[tokio::test]
async fn an_answer_is_whole_before_it_goes_on() {
    for memory in [MEMORY, 0] {
        let mut fake = Fake { answers: [of(frames(&["abc", "de"], None))].into(), ..Fake::default() };
        let middleware = buffering(&Options { mem_response: memory, ..options() });
        let answer = fake.run(&middleware, &mut request("GET", "http://a.test/", b"")).await;
        assert_eq!(answer.body().size_hint().exact(), Some(5), "its length can be told");
        assert_eq!(read(answer.into_body()).await.0, b"abcde");
    }
    let mut fake = Fake { answers: [of(frames(&["abc"], Some(Ok(trailers()))))].into(), ..Fake::default() };
    let answer = fake.run(&buffering(&options()), &mut request("GET", "http://a.test/", b"")).await;
    assert_eq!(answer.body().size_hint().exact(), None, "a body with a length has no trailers");
    let (bytes, fields) = read(answer.into_body()).await;
    assert_eq!((bytes.as_slice(), fields.is_some()), (&b"abc"[..], true));
}

#[tokio::test]
async fn an_answer_that_there_is_no_room_for_is_passed_on_and_nobodys_fault() {
    for (max_response, status) in [(0, 200), (10, 500)] {
        let full = BodyError::NoRoom(std::io::ErrorKind::StorageFull.into());
        let answers = [of(frames(&["abc"], Some(Err(full))))].into();
        let mut fake = Fake { answers, ..Fake::default() };
        let retry = Some("IsNetworkError()".to_owned());
        let middleware = buffering(&Options { max_response, retry, ..options() });
        let answer = fake.run(&middleware, &mut request("POST", "http://a.test/", b"x")).await;
        assert_eq!((answer.status().as_u16(), fake.seen.len()), (status, 1));
        assert!(answer.extensions().get::<Failed>().is_none());
        if status == 200 {
            assert_eq!(read(answer.into_body()).await.0, b"abc", "what was read is not lost");
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_breaks_off() {
    let limited = buffering(&Options { max_response: 4, ..options() });
    let broken = |error| frames(&["ab"], Some(Err(error)));
    for (body, status, failed) in [
        (Body::from("abcd"), 200, false),
        (frames(&["ab", "cd"], None), 200, false),
        (Body::from("abcde"), 500, false),
        (frames(&["ab", "cde"], None), 500, false),
        (broken(BodyError::Incomplete), 502, true),
        (broken(BodyError::Stalled), 504, true),
    ] {
        let mut fake = Fake { answers: [of(body)].into(), ..Fake::default() };
        let answer = fake.run(&limited, &mut request("GET", "http://a.test/", b"")).await;
        let mark = answer.extensions().get::<Failed>().copied();
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(mark, failed.then_some(Failed { unsent: false }));
        if status != 200 {
            let text = answer.status().canonical_reason().unwrap().as_bytes();
            assert_eq!(read(answer.into_body()).await.0, text);
        }
    }
}

#[tokio::test]
async fn switched_protocols_pass() {
    let mut fake = Fake::of(&[101]);
    let middleware = retrying("ResponseCode() == 101");
    let answer = fake.run(&middleware, &mut request("GET", "http://a.test/", b"")).await;
    assert_eq!((answer.status().as_u16(), fake.seen.len()), (101, 1));
}

#[tokio::test]
async fn the_expression_says_when_to_try_again() {
    for (expression, method, answers, tries) in [
        ("IsNetworkError() && Attempts() <= 2", "POST", &[502, 504, 502, 200][..], 3),
        ("IsNetworkError() && Attempts() <= 2", "POST", &[502, 200], 2),
        ("IsNetworkError() && Attempts() <= 2", "POST", &[503, 200], 1),
        ("IsNetworkError()", "GET", &[502; 20], 11),
        ("Attempts() < 4", "GET", &[200; 20], 4),
        ("ResponseCode() >= 500 || ResponseCode() == 429", "GET", &[500, 429, 404], 3),
        ("RequestMethod() == \"GET\" && ResponseCode() == 503", "GET", &[503, 200], 2),
        ("RequestMethod() == \"GET\" && ResponseCode() == 503", "POST", &[503, 200], 1),
        ("RequestMethod() != `POST` && ResponseCode() != 200", "PUT", &[503, 200], 2),
        ("", "GET", &[502, 200], 1),
    ] {
        let mut fake = Fake::of(answers);
        let answer = fake.run(&retrying(expression), &mut request(method, "http://a.test/", b"body")).await;
        assert_eq!(fake.seen.len(), tries, "{expression} for {method}");
        assert_eq!(answer.status().as_u16(), answers[tries - 1]);
        assert_eq!(fake.bodies(), vec![b"body"; tries], "whole each time");
        assert_eq!(fake.retried, tries - 1);
    }
}

#[tokio::test]
async fn each_try_has_the_head_that_came() {
    let strip = Middleware::StripPrefix(StripPrefix::new(["/a"]).unwrap().into());
    let chain = Chain::new(vec![retrying("Attempts() < 3"), strip]);
    let mut fake = Fake::default();
    chain.run(&mut request("GET", "http://a.test/a/a/b", b""), &mut fake).await;
    let paths: Vec<_> = fake.seen.iter().map(|seen| seen.head.target.path()).collect();
    assert_eq!(paths, ["/a/b"; 3]);
    assert!(fake.seen.iter().all(|seen| seen.head.headers.get_all("x-forwarded-prefix").iter().count() == 1));
}

#[tokio::test]
async fn an_answer_that_broke_off_is_a_network_error() {
    let broken = of(frames(&["ab"], Some(Err(BodyError::Incomplete))));
    let mut fake = Fake { answers: [broken, answer(200, "whole")].into(), ..Fake::default() };
    let answer =
        fake.run(&retrying("IsNetworkError() && Attempts() < 2"), &mut request("GET", "http://a.test/", b"")).await;
    assert_eq!(read(answer.into_body()).await.0, b"whole");
}

#[test]
fn expressions_that_mean_nothing() {
    for (text, said) in [
        ("Attempts()", "Attempts() has to be compared, such as Attempts() == …"),
        ("Attempts() < 2.5", "Attempts() is compared with a whole number"),
        ("Attempts(1) < 2", "Attempts takes no arguments"),
        ("IsNetworkError() == 1", "IsNetworkError() is true or false: it can't be compared"),
        ("RequestMethod() < \"GET\"", "RequestMethod() is compared by == or != with text in quotes"),
        ("RequestMethod() == 1", "RequestMethod() is compared by == or != with text in quotes"),
        ("NetworkErrorRatio() > 0.5", "there is no function NetworkErrorRatio"),
        ("Attempts() < 2 &&", "expected the name of a function at its end"),
    ] {
        let wrong = Predicate::new(text).unwrap_err();
        assert_eq!(wrong.message, format!("retryExpression can't be read: {said}"), "{text}");
    }
    let holds = |text: &str| Predicate::new(text).unwrap().holds(3, &Method::GET, StatusCode::OK);
    assert!(holds("Attempts() == 3 && ResponseCode() < 300") && !holds("Attempts() > 3"));
}
