use std::collections::VecDeque;

use http::{HeaderMap, HeaderName};

use super::*;
use crate::{
    balance::Service,
    body::BodyKind,
    middleware::{Chain, Failed, Middleware, headers::tests::head},
};

/// A backend that gives this answer once.
#[derive(Debug)]
struct Backend(Option<Response<Body>>);

impl Upstream for Backend {
    async fn forward(&mut self, _: &mut Request) -> Response<Body> {
        self.0.take().unwrap()
    }

    async fn fetch(&mut self, _: &std::sync::Arc<Service>, _: Request) -> Response<Body> {
        let mut answer = Response::new(Body::Empty);
        answer.extensions_mut().insert(Failed { unsent: true });
        answer
    }
}

/// A body of these frames, or of one that never comes.
struct Frames(VecDeque<Frame<Bytes>>, bool);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.0.pop_front() {
            None if self.1 => Poll::Pending,
            frame => Poll::Ready(frame.map(Ok)),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum())
    }
}

fn frames(data: &[&'static str]) -> Body {
    Body::stream(Frames(data.iter().map(|d| Frame::data(Bytes::from(*d))).collect(), false))
}

async fn run(method: Method, answer: Response<Body>) -> Response<Body> {
    let mut request = Request::new(head(method, "http://a.example/"), Body::Empty, BodyKind::None);
    Chain::new(vec![Middleware::ContentType]).run(&mut request, &mut Backend(Some(answer))).await
}

fn answer(status: u16, headers: &[(&'static str, &'static str)], body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        answer.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    answer
}

async fn whole(mut body: Body) -> String {
    let mut text = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        text.extend(frame.unwrap().into_data().unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn what_has_no_type_gets_one() {
    for (body, kind) in [
        (Body::from("<html>"), "text/html; charset=utf-8"),
        (Body::from("hello"), "text/plain; charset=utf-8"),
        (frames(&["%PDF-1.7", "\0\0"]), "application/pdf"),
        (frames(&["GIF8", "9a"]), "text/plain; charset=utf-8"),
    ] {
        let answer = run(Method::GET, answer(200, &[], body)).await;
        assert_eq!(answer.headers()["content-type"], kind);
    }
    let error = run(Method::POST, answer(502, &[], Body::from("no"))).await;
    assert_eq!(error.headers()["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test]
async fn the_body_stays_as_it_was() {
    let answer = run(Method::GET, answer(200, &[], frames(&["one", "two", "three"]))).await;
    let body = answer.into_body();
    assert!(!body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(11));
    assert_eq!(whole(body).await, "onetwothree");
}

#[tokio::test]
async fn what_is_left_alone() {
    for (method, status, headers, body) in [
        (Method::GET, 200, &[("content-type", "a/b")][..], Body::from("<html>")),
        (Method::GET, 200, &[("content-type", "")], Body::from("<html>")),
        (Method::GET, 200, &[("content-encoding", "gzip")], Body::from("\u{1f}")),
        (Method::GET, 200, &[], Body::Empty),
        (Method::GET, 200, &[], frames(&[])),
        (Method::GET, 200, &[], frames(&["", "<html>"])),
        (Method::GET, 101, &[], Body::Empty),
        (Method::GET, 204, &[], Body::Empty),
        (Method::GET, 206, &[("content-range", "bytes 5-9/10")], Body::from("<html>")),
        (Method::GET, 304, &[], Body::Empty),
        (Method::HEAD, 200, &[("content-length", "6")], Body::Empty),
    ] {
        let mut expected = HeaderMap::new();
        expected.extend(
            headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        let answer = run(method.clone(), answer(status, headers, body)).await;
        assert_eq!(answer.headers(), &expected, "{method} {status}");
    }
    let encoding = run(Method::GET, answer(200, &[("content-encoding", "")], Body::from("x"))).await;
    assert!(encoding.headers().contains_key("content-type"), "an empty one says nothing");
}

#[tokio::test]
async fn a_body_that_does_not_come_holds_nobody_back() {
    let silent = answer(200, &[], Body::stream(Frames(VecDeque::new(), true)));
    let local = tokio::task::LocalSet::new();
    let answer = local
        .run_until(async {
            tokio::task::spawn_local(clock::drive());
            run(Method::GET, silent).await
        })
        .await;
    assert!(!answer.headers().contains_key("content-type"));
}
