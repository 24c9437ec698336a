use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use proptest::prelude::*;

use super::*;
use crate::{
    body::BodyError,
    middleware::{
        Middleware,
        upstream::tests::{Fake, read, request},
    },
};

/// A body of these frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn frames(data: &[&[u8]], trailers: &[(&'static str, &'static str)]) -> Body {
    let mut all: VecDeque<_> = data.iter().map(|data| Frame::data(Bytes::copy_from_slice(data))).collect();
    if !trailers.is_empty() {
        let fields =
            trailers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        all.push_back(Frame::trailers(fields.collect()));
    }
    Body::stream(Frames(all))
}

fn answer(kind: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    answer.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    answer
}

fn call_of(kind: &'static str, body: &'static [u8]) -> Request {
    let mut request = request("POST", "http://a.test/pkg.Service/Method", body);
    request.head.headers.insert("content-type", HeaderValue::from_static(kind));
    request
}

/// Through the middleware, to an endpoint that gives this answer.
async fn run(origins: &[&str], mut request: Request, answer: Response<Body>) -> (Response<Body>, Fake, Request) {
    let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
    let mut fake = Fake { answers: [answer].into(), ..Fake::default() };
    let answer = fake.run(&Middleware::GrpcWeb(GrpcWeb::new(&origins).into()), &mut request).await;
    (answer, fake, request)
}

fn get<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

const MESSAGE: &[u8] = b"\x00\x00\x00\x00\x02hi";
const STATUS: &[u8] = b"\x80\x00\x00\x00\x10grpc-status: 0\r\n";

#[tokio::test]
async fn a_binary_call_and_its_answer() {
    for (sent, asked, answered) in [
        ("application/grpc-web", "application/grpc", "application/grpc-web+proto"),
        ("application/grpc-web+proto", "application/grpc+proto", "application/grpc-web+proto"),
        (
            "Application/gRPC-Web+json; charset=utf-8",
            "application/grpc+json; charset=utf-8",
            "application/grpc-web+proto",
        ),
    ] {
        let body = frames(&[MESSAGE], &[("grpc-status", "0")]);
        let (answer, fake, request) = run(&[], call_of(sent, MESSAGE), answer("application/grpc+proto", body)).await;
        let seen = &fake.seen[0];
        assert_eq!(get(&seen.head.headers, "content-type"), Some(asked));
        assert_eq!((seen.body.as_deref(), seen.kind), (Some(MESSAGE), BodyKind::Chunked));
        assert!(request.trailers, "the endpoint is asked for them");
        assert_eq!(get(answer.headers(), "content-type"), Some(answered));
        assert_eq!(read(answer.into_body()).await, ([MESSAGE, STATUS].concat(), None));
    }
}

#[tokio::test]
async fn a_text_call_and_its_answer() {
    // A client may pad wherever it flushes, and break lines.
    let text = b"AAAAAAJoaQ==AAAAAAJ\r\noaQ==";
    let body = frames(&[MESSAGE, MESSAGE], &[("grpc-status", "0")]);
    let request = call_of("application/grpc-web-text+proto", text);
    let (answer, fake, _) = run(&[], request, answer("application/grpc", body)).await;
    assert_eq!(get(&fake.seen[0].head.headers, "content-type"), Some("application/grpc+proto"));
    assert_eq!(fake.seen[0].body.as_deref(), Some(&[MESSAGE, MESSAGE].concat()[..]));
    assert_eq!(get(answer.headers(), "content-type"), Some("application/grpc-web-text"));
    let parts = [MESSAGE, MESSAGE, STATUS].map(|part| STANDARD.encode(part)).concat();
    assert_eq!(read(answer.into_body()).await.0, parts.as_bytes());
}

#[tokio::test]
async fn a_client_may_ask_for_text_by_accept() {
    let mut request = call_of("application/grpc-web+proto", MESSAGE);
    request.head.headers.insert("accept", HeaderValue::from_static("application/grpc-web-text+proto"));
    let (answer, fake, _) = run(&[], request, answer("application/grpc", frames(&[MESSAGE], &[]))).await;
    assert_eq!(fake.seen[0].body.as_deref(), Some(MESSAGE));
    assert_eq!(get(answer.headers(), "content-type"), Some("application/grpc-web-text"));
    assert_eq!(read(answer.into_body()).await.0, STANDARD.encode(MESSAGE).as_bytes());
}

#[tokio::test]
async fn what_is_no_base64_breaks_the_call_off() {
    for text in ["AAA", "AAAA A==", "AAAA====", "=AAA", "AA=A", "AAAA!AAA", "AA-_"] {
        let mut body = Unwrapped::new(frames(&[text.as_bytes()], &[]), Form::Text);
        let broken = loop {
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(broken, Some(Err(BodyError::Framing(_)))), "{text}: {broken:?}");
        assert!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    }
}

#[tokio::test]
async fn an_answer_that_is_all_in_its_head_stays_so() {
    let mut refused = answer("application/grpc", Body::Empty);
    refused.headers_mut().insert("grpc-status", HeaderValue::from_static("12"));
    refused.headers_mut().insert("trailer", HeaderValue::from_static("grpc-status"));
    let (answer, ..) = run(&[], call_of("application/grpc-web", MESSAGE), refused).await;
    assert_eq!(get(answer.headers(), "content-type"), Some("application/grpc-web"));
    assert_eq!((get(answer.headers(), "grpc-status"), get(answer.headers(), "trailer")), (Some("12"), None));
    assert!(read(answer.into_body()).await.0.is_empty());
}

#[tokio::test]
async fn an_answer_that_is_no_grpc_passes_as_it_is() {
    for kind in ["text/plain", "application/grpc-web", "application/json"] {
        let (answer, ..) =
            run(&[], call_of("application/grpc-web-text", b"AAAA"), answer(kind, Body::from("oops"))).await;
        assert_eq!(get(answer.headers(), "content-type"), Some(kind));
        assert_eq!(read(answer.into_body()).await.0, b"oops");
    }
}

#[tokio::test]
async fn other_requests_pass_as_they_are() {
    let get_call = |method: &str, kind: &'static str| {
        let mut request = call_of(kind, b"AAAA");
        request.head.method = method.parse().unwrap();
        request
    };
    for (method, kind) in [
        ("GET", "application/grpc-web"),
        ("POST", "application/grpc"),
        ("POST", "application/grpc-webbing"),
        ("POST", "application/json"),
        ("OPTIONS", "text/plain"),
    ] {
        let body = frames(&[MESSAGE], &[("grpc-status", "0")]);
        let (answer, fake, request) = run(&["*"], get_call(method, kind), answer("application/grpc", body)).await;
        assert_eq!(get(&fake.seen[0].head.headers, "content-type"), Some(kind));
        assert_eq!((fake.seen[0].body.as_deref(), request.trailers), (Some(&b"AAAA"[..]), false));
        assert_eq!(answer.headers().len(), 1);
        assert!(read(answer.into_body()).await.1.is_some(), "its trailers stay trailers");
    }
}

#[tokio::test]
async fn trailers_are_written_as_fields() {
    let trailers = [("grpc-status", "3"), ("grpc-message", "no%20such"), ("x-trace-bin", "AAEC")];
    let (answer, ..) =
        run(&[], call_of("application/grpc-web", MESSAGE), answer("application/grpc", frames(&[], &trailers))).await;
    let (bytes, _) = read(answer.into_body()).await;
    let text = b"grpc-status: 3\r\ngrpc-message: no%20such\r\nx-trace-bin: AAEC\r\n";
    assert_eq!(bytes, [b"\x80\x00\x00\x00", &[u8::try_from(text.len()).unwrap()][..], text].concat());
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_the_answer() {
    let answered = async |origins: &[&str], origin: Option<&'static str>| {
        let mut request = call_of("application/grpc-web", MESSAGE);
        request.head.headers.extend(origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin))));
        let mut answer = answer("application/grpc", frames(&[MESSAGE], &[]));
        answer.headers_mut().insert("x-own", HeaderValue::from_static("1"));
        answer.headers_mut().insert("access-control-allow-origin", HeaderValue::from_static("https://backend.test"));
        answer.headers_mut().insert("access-control-allow-credentials", HeaderValue::from_static("true"));
        let (answer, ..) = run(origins, request, answer).await;
        let get = |name| get(answer.headers(), name).map(str::to_owned);
        (
            get("access-control-allow-origin"),
            get("access-control-allow-credentials"),
            get("access-control-expose-headers"),
            get("vary"),
        )
    };
    let some = |text: &str| Some(text.to_owned());
    let exposed = some("content-type, x-own, grpc-status, grpc-message");
    let good = "https://good.test";
    assert_eq!(
        answered(&["https://other.test", good], Some(good)).await,
        (some(good), some("true"), exposed.clone(), some("Origin"))
    );
    assert_eq!(answered(&["*"], Some("https://any.test")).await, (some("*"), None, exposed, None), "no credentials");
    // Then the endpoint's own word stands.
    let own = (some("https://backend.test"), some("true"), None, some("Origin"));
    for origin in ["https://good.test.evil.test", "http://good.test", "https://good.test:444", "null"] {
        assert_eq!(answered(&[good], Some(origin)).await, own, "{origin}");
    }
    assert_eq!(answered(&[good], None).await, own);
    assert_eq!(answered(&[], Some(good)).await, own);
}

#[tokio::test]
async fn preflights_of_calls_are_answered() {
    let asked = async |origins: &[&str], headers: &[(&'static str, &'static str)]| {
        let mut request = request("OPTIONS", "http://a.test/pkg.Service/Method", b"");
        for (name, value) in headers {
            request.head.headers.append(*name, HeaderValue::from_static(value));
        }
        let (answer, fake, _) = run(origins, request, answer("text/plain", Body::Empty)).await;
        (fake.seen.is_empty(), answer.status().as_u16(), answer.headers().clone())
    };
    let wanted = ("access-control-request-headers", "content-type, X-Grpc-Web, authorization,b ad");
    let post = ("access-control-request-method", "POST");
    let good = ("origin", "https://good.test");
    let (ours, status, headers) = asked(&["https://good.test"], &[good, post, wanted]).await;
    assert_eq!((ours, status), (true, 204));
    for (name, value) in [
        ("access-control-allow-origin", "https://good.test"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "POST"),
        ("access-control-allow-headers", "content-type, X-Grpc-Web, authorization"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(get(&headers, name), Some(value));
    }
    assert_eq!(headers.get_all("vary").iter().count(), 2);

    let (_, _, headers) = asked(&["*"], &[good, post, wanted]).await;
    assert_eq!(get(&headers, "access-control-allow-origin"), Some("*"));
    assert_eq!(get(&headers, "access-control-allow-credentials"), None, "or any page could use the user's cookies");

    for (origins, headers) in [
        (&["https://good.test"][..], [("origin", "https://evil.test"), post, wanted]),
        (&[], [good, post, wanted]),
        (&["*"], [good, ("access-control-request-method", "DELETE"), wanted]),
    ] {
        let (ours, status, headers) = asked(origins, &headers).await;
        assert_eq!((ours, status, get(&headers, "access-control-allow-origin")), (true, 204, None));
    }
    // A preflight of something else is the endpoint's.
    let (ours, ..) =
        asked(&["*"], &[good, post, ("access-control-request-headers", "content-type, x-grpc-webs")]).await;
    assert!(!ours);
    let (ours, ..) = asked(&["*"], &[good, wanted]).await;
    assert!(!ours);
}

proptest! {
    /// However text is cut into pieces, and wherever it is padded, the bytes are the same.
    #[test]
    fn text_is_decoded_however_it_comes(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
        cuts in proptest::collection::vec(1_usize..9, 1..40),
    ) {
        let text: String = parts.iter().map(|part| STANDARD.encode(part)).collect();
        let mut rest = text.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (bytes, _) = runtime.block_on(read(Body::stream(Unwrapped::new(frames(&pieces, &[]), Form::Text))));
        prop_assert_eq!(bytes, parts.concat());
    }
}
