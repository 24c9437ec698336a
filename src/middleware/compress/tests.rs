use std::{
    collections::VecDeque,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll, Waker},
};

use compression_codecs::{
    BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder,
    core::util::{PartialBuffer, WriteBuffer},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use proptest::prelude::*;

use super::*;
use crate::{
    body::BodyError,
    middleware::{
        Middleware,
        upstream::tests::{Fake, read, request},
    },
};

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

/// What a client has once these bytes are there; `None` when they are not the coding's.
fn decoded(coding: Coding, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder: Box<dyn DecodeV2> = match coding {
        Coding::Gzip => Box::new(GzipDecoder::new()),
        Coding::Brotli => Box::new(BrotliDecoder::new()),
        Coding::Zstd => Box::new(ZstdDecoder::new()),
    };
    let (mut input, mut out) = (PartialBuffer::new(bytes), Vec::new());
    loop {
        let mut room = [0; 4_096];
        let mut buffer = WriteBuffer::new_initialized(&mut room);
        let ended = decoder.decode(&mut input, &mut buffer).ok()?;
        out.extend_from_slice(buffer.written());
        if ended || (input.unwritten().is_empty() && !buffer.has_no_spare_space()) {
            return Some(out);
        }
    }
}

enum Step {
    Data(Bytes),
    Trailers,
    Wait,
    Break,
}

/// A body of these steps; after the last it has ended.
struct Script {
    steps: VecDeque<Step>,
    length: Option<u64>,
}

impl HttpBody for Script {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Step::Trailers) => {
                let fields = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("\"t\""))]);
                Poll::Ready(Some(Ok(Frame::trailers(fields))))
            }
            Some(Step::Break) => Poll::Ready(Some(Err(BodyError::Incomplete))),
            Some(Step::Wait) => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn script(steps: impl IntoIterator<Item = Step>) -> Body {
    Body::stream(Script { steps: steps.into_iter().collect(), length: None })
}

fn data(text: impl Into<Bytes>) -> Step {
    Step::Data(text.into())
}

/// Text that compresses.
fn text(length: usize) -> String {
    "the quick brown fox ".chars().cycle().take(length).collect()
}

fn compress(options: &Options) -> Middleware {
    Middleware::Compress(Compress::new(options).unwrap().into())
}

fn answer(headers: &[(&'static str, &'static str)], body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    for (name, value) in headers {
        answer.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    answer
}

/// What becomes of an answer for a client that takes gzip only.
async fn gzipped(answer: Response<Body>) -> Response<Body> {
    run(&Options::default(), &[("accept-encoding", "gzip")], answer).await
}

async fn run(options: &Options, asked: &[(&'static str, &'static str)], answer: Response<Body>) -> Response<Body> {
    let mut fake = Fake { answers: [answer].into(), ..Fake::default() };
    let mut request = request("GET", "http://a.test/", b"");
    for (name, value) in asked {
        request.head.headers.append(*name, HeaderValue::from_static(value));
    }
    fake.run(&compress(options), &mut request).await
}

fn get<'a>(answer: &'a Response<Body>, name: &str) -> Option<&'a str> {
    answer.headers().get(name).map(|value| value.to_str().unwrap())
}

/// One poll of a body: its bytes, or `None` while there are none.
fn poll(body: &mut Body) -> Option<Vec<u8>> {
    match Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => None,
        Poll::Ready(Some(frame)) => Some(frame.unwrap().into_data().unwrap().to_vec()),
        Poll::Ready(None) => panic!("it has ended"),
    }
}

#[test]
fn the_coding_is_the_clients_choice_then_ours() {
    let chosen = |names: &[&str], default: Option<&str>, accept: &[&'static str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let codings = Codings::new((!names.is_empty()).then_some(&names), default).unwrap();
        let lines = accept.iter().map(|line| (header::ACCEPT_ENCODING, HeaderValue::from_static(line)));
        codings.choose(&lines.collect()).map_or("-", Coding::name)
    };
    for (names, default, accept, expected) in [
        // Without Accept-Encoding only a default is sent; an empty one wants nothing.
        (&[][..], None, &[][..], "-"),
        (&[], Some("br"), &[], "br"),
        (&[], Some("br"), &[""], "-"),
        (&[], None, &["deflate, identity"], "-"),
        // The list's order among equals.
        (&[], None, &["zstd, br, gzip"], "gzip"),
        (&["zstd", "br"], None, &["br, gzip, zstd"], "zstd"),
        (&["br"], None, &["gzip, zstd"], "-"),
        // Weights first.
        (&[], None, &["gzip;q=0.5, br;q=0.8, zstd;q=0.7"], "br"),
        (&[], None, &["gzip;q=0.5", "br ; q=0.8"], "br"),
        (&[], None, &["gzip;q=0.999, zstd"], "zstd"),
        (&[], None, &["gzip;q=0, br;q=0.001"], "br"),
        (&[], None, &["gzip;q=0"], "-"),
        // Any.
        (&[], None, &["*"], "gzip"),
        (&["br", "gzip"], None, &["*"], "br"),
        (&[], Some("zstd"), &["*"], "zstd"),
        (&[], Some("zstd"), &["gzip, *"], "zstd"),
        (&[], Some("zstd"), &["gzip, *;q=0.5"], "gzip"),
        (&[], Some("zstd"), &["zstd;q=0, *"], "gzip"),
        (&[], None, &["gzip;q=0, *"], "br"),
        (&[], None, &["*;q=0"], "-"),
        (&[], None, &["*;q=0, br"], "br"),
        // Plain, where that is preferred.
        (&[], None, &["identity, gzip;q=0.5"], "-"),
        (&[], None, &["identity, gzip"], "gzip"),
        (&[], None, &["identity;q=0.5, gzip;q=0.6"], "gzip"),
        // Names in any case, and the old one.
        (&[], None, &["GZIP;Q=0.5, X"], "gzip"),
        (&[], None, &["x-gzip"], "gzip"),
        // What can't be read is not wanted.
        (&[], None, &["gzip;q=1.1"], "-"),
        (&[], None, &["gzip;q=0.1234, br;q=x"], "-"),
        (&[], None, &["gzip;level=9"], "gzip"),
    ] {
        assert_eq!(chosen(names, default, accept), expected, "{accept:?} of {names:?}, default {default:?}");
    }
}

#[test]
fn what_can_not_be_built() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let wrong = |options: Options| Compress::new(&options).unwrap_err().to_string();
    let encodings = |names: &[&str]| Options { encodings: Some(list(names)), ..Options::default() };
    let excluded = |names: &[&str]| Options { excluded_content_types: list(names), ..Options::default() };
    let default = |name: &str| Options { default_encoding: Some(name.to_owned()), ..encodings(&["br"]) };
    assert_eq!(wrong(encodings(&[])), "encodings: encodings is empty, so that nothing would be compressed");
    assert_eq!(
        wrong(encodings(&["gzip", "deflate"])),
        "encodings[1]: \"deflate\" is no encoding that answers can be compressed with"
    );
    assert_eq!(wrong(default("gzip")), "defaultEncoding: \"gzip\" is not one of the encodings");
    assert!(Compress::new(&default("")).is_ok());
    for bad in ["text", "text/", "/html", "te xt/html", "*/html", ""] {
        assert_eq!(wrong(excluded(&["text/css", bad])), format!("excludedContentTypes[1]: {bad:?} is no content type"));
    }
    let both = Options { included_content_types: list(&["text/css"]), ..excluded(&["text/html"]) };
    assert!(wrong(both).contains("can't stand together"));
}

#[tokio::test]
async fn the_head_of_a_compressed_answer() {
    let headers = [
        ("content-type", "text/plain"),
        ("content-length", "2000"),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("repr-digest", "x"),
        ("etag", "\"v1\""),
        ("vary", "Origin"),
    ];
    for (coding, accept) in ALL.into_iter().zip(["gzip", "br", "zstd"]) {
        let answer =
            run(&Options::default(), &[("accept-encoding", accept)], answer(&headers, Body::from(text(2_000)))).await;
        assert_eq!(get(&answer, "content-encoding"), Some(accept));
        for gone in ["content-length", "accept-ranges", "content-md5", "repr-digest"] {
            assert_eq!(get(&answer, gone), None, "{gone}");
        }
        assert_eq!(get(&answer, "etag"), Some("W/\"v1\""), "the bytes are others now");
        let vary: Vec<_> = answer.headers().get_all("vary").iter().collect();
        assert_eq!(vary, ["Origin", "Accept-Encoding"]);
        assert!(matches!(answer.body(), Body::Full(_)), "its new length is known");
        let (bytes, _) = read(answer.into_body()).await;
        assert!(bytes.len() < 300, "{accept}: {} bytes", bytes.len());
        assert_eq!(decoded(coding, &bytes).unwrap(), text(2_000).as_bytes(), "{accept}");
    }
}

#[tokio::test]
async fn vary_is_said_once_and_always() {
    for (vary, expected) in [
        (None, vec!["Accept-Encoding"]),
        (Some("accept-encoding"), vec!["accept-encoding"]),
        (Some("Origin, ACCEPT-ENCODING"), vec!["Origin, ACCEPT-ENCODING"]),
        (Some("*"), vec!["*"]),
    ] {
        let headers: Vec<_> = vary.map(|vary| ("vary", vary)).into_iter().collect();
        let short = gzipped(answer(&headers, Body::from("short"))).await;
        assert_eq!(get(&short, "content-encoding"), None);
        assert_eq!(short.headers().get_all("vary").iter().collect::<Vec<_>>(), expected);
        let plain = run(&Options::default(), &[], answer(&headers, Body::from(text(2_000)))).await;
        assert_eq!(plain.headers().get_all("vary").iter().collect::<Vec<_>>(), expected, "for a client without any");
    }
}

#[tokio::test]
async fn answers_that_stay_as_they_are() {
    let long = || Body::from(text(2_000));
    for headers in [
        &[("content-encoding", "br")][..],
        &[("content-range", "bytes 0-1/3")],
        &[("cache-control", "public, No-Transform")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/grpc+proto")],
        &[("content-type", "image/png")],
        &[("content-type", "Video/mp4; x=y")],
        &[("content-type", "font/woff2")],
        &[("content-type", "nonsense\u{e9}")],
    ] {
        let mut came = answer(&[], long());
        for (name, value) in headers {
            came.headers_mut().append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let before = came.headers().clone();
        let after = gzipped(came).await;
        assert_eq!(*after.headers(), before);
        assert_eq!(read(after.into_body()).await.0, text(2_000).as_bytes());
    }
    for status in [101, 204, 205, 206, 304] {
        let mut came = answer(&[], long());
        *came.status_mut() = StatusCode::from_u16(status).unwrap();
        let after = gzipped(came).await;
        assert!(after.headers().is_empty(), "{status}");
    }
    for asked in [
        [("accept-encoding", "gzip"), ("cache-control", "no-transform")],
        [("accept-encoding", "gzip"), ("content-type", "application/grpc")],
    ] {
        let after = run(&Options::default(), &asked, answer(&[], long())).await;
        assert!(after.headers().is_empty(), "{asked:?}");
    }
    for compressed in ["text/html", "image/svg+xml", "application/json", "application/grpc-web", "text/event-stream"] {
        let after = gzipped(answer(&[("content-type", compressed)], long())).await;
        assert_eq!(get(&after, "content-encoding"), Some("gzip"), "{compressed}");
    }
}

#[tokio::test]
async fn the_lists_of_types() {
    let list = |types: &[&str]| types.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let compressed = async |options: &Options, request: Option<&'static str>, kind: Option<&'static str>| {
        let asked = [("accept-encoding", "gzip")].into_iter().chain(request.map(|kind| ("content-type", kind)));
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        let answer = run(options, &asked.collect::<Vec<_>>(), answer(&headers, Body::from(text(2_000)))).await;
        answer.headers().contains_key("content-encoding")
    };
    let excluded = Options { excluded_content_types: list(&["Text/HTML; charset=x", "font/*"]), ..Options::default() };
    assert!(!compressed(&excluded, None, Some("text/html")).await);
    assert!(!compressed(&excluded, None, Some("TEXT/html;charset=utf-8")).await);
    assert!(!compressed(&excluded, None, Some("font/ttf")).await);
    assert!(compressed(&excluded, None, Some("text/css")).await);
    assert!(compressed(&excluded, None, None).await);
    assert!(!compressed(&excluded, Some("text/html"), Some("text/css")).await, "the request's type counts first");
    let included = Options { included_content_types: list(&["text/html", "image/*"]), ..Options::default() };
    assert!(compressed(&included, None, Some("text/html; charset=utf-8")).await);
    assert!(compressed(&included, None, Some("image/png")).await, "named, so it is wanted");
    assert!(!compressed(&included, None, Some("text/css")).await);
    assert!(!compressed(&included, None, None).await);
    assert!(compressed(&included, Some("text/html"), Some("text/html")).await);
    let all = Options { included_content_types: list(&["*/*"]), ..Options::default() };
    assert!(compressed(&all, None, Some("a/b")).await);
    assert!(!compressed(&all, None, Some("application/grpc")).await, "never");
}

#[tokio::test]
async fn short_bodies_stay_as_they_are() {
    let of = |minimum| Options { min_response_body_bytes: minimum, ..Options::default() };
    for (minimum, length, compressed) in
        [(0, 1_023, false), (0, 1_024, true), (100, 99, false), (100, 100, true), (5_000, 2_000, false)]
    {
        let bodies = [
            Body::from(text(length)),
            Body::stream(Script { steps: [data(text(length))].into(), length: Some(length as u64) }),
            script([data(text(length / 2)), data(text(length - length / 2))]),
        ];
        for body in bodies {
            let after = run(&of(minimum), &[("accept-encoding", "gzip")], answer(&[], body)).await;
            assert_eq!(after.headers().contains_key("content-encoding"), compressed, "{length} of {minimum}");
            let (bytes, _) = read(after.into_body()).await;
            let bytes = if compressed { decoded(Coding::Gzip, &bytes).unwrap() } else { bytes };
            assert_eq!(bytes.len(), length);
        }
    }
    let after = gzipped(answer(&[], script([data("short")]))).await;
    assert!(matches!(after.body(), Body::Full(_)), "its length is known by now");
}

#[tokio::test]
async fn what_does_not_get_smaller_stays() {
    let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(2_000).collect();
    let after = gzipped(answer(&[("etag", "\"v\"")], Body::from(Bytes::from(noise.clone())))).await;
    assert_eq!((get(&after, "content-encoding"), get(&after, "etag")), (None, Some("\"v\"")));
    assert_eq!(read(after.into_body()).await.0, noise);
}

#[tokio::test]
async fn the_answer_to_a_head_request() {
    let mut fake = Fake { answers: [answer(&[("content-length", "2000")], Body::Empty)].into(), ..Fake::default() };
    let mut request = request("HEAD", "http://a.test/", b"");
    request.head.headers.insert("accept-encoding", HeaderValue::from_static("gzip"));
    let after = fake.run(&compress(&Options::default()), &mut request).await;
    assert_eq!((get(&after, "content-encoding"), get(&after, "content-length")), (None, Some("2000")));
    assert_eq!(get(&after, "vary"), Some("Accept-Encoding"));
}

#[tokio::test]
async fn not_modified_tells_the_validator_that_was_asked_by() {
    for (known, tag, expected, vary) in [
        (Some("W/\"v1\""), "\"v1\"", "W/\"v1\"", Some("Accept-Encoding")),
        (Some("\"v0\", W/\"v1\""), "\"v1\"", "W/\"v1\"", Some("Accept-Encoding")),
        (Some("\"v1\""), "\"v1\"", "\"v1\"", None),
        (Some("*"), "\"v1\"", "\"v1\"", None),
        (None, "\"v1\"", "\"v1\"", None),
        (Some("W/\"v1\""), "W/\"v1\"", "W/\"v1\"", None),
    ] {
        let mut came = answer(&[("etag", tag)], Body::Empty);
        *came.status_mut() = StatusCode::NOT_MODIFIED;
        let asked = [("accept-encoding", "gzip")].into_iter().chain(known.map(|known| ("if-none-match", known)));
        let after = run(&Options::default(), &asked.collect::<Vec<_>>(), came).await;
        assert_eq!((get(&after, "etag"), get(&after, "vary")), (Some(expected), vary), "{known:?}");
    }
}

#[tokio::test]
async fn a_stream_is_never_held_up() {
    for coding in ALL {
        let steps = [Step::Wait, data("first "), Step::Wait, Step::Wait, data("second"), Step::Wait, Step::Trailers];
        let options = Options { default_encoding: Some(coding.name().to_owned()), ..Options::default() };
        let after = run(&options, &[], answer(&[("content-type", "text/event-stream")], script(steps))).await;
        assert_eq!(get(&after, "content-encoding"), Some(coding.name()), "its head is there before its body");
        let mut body = after.into_body();
        let first = poll(&mut body).unwrap();
        assert_eq!(decoded(coding, &first).unwrap(), b"first ", "{coding:?}: readable as soon as it is said");
        assert_eq!(poll(&mut body), None);
        let second = [first, poll(&mut body).unwrap()].concat();
        assert_eq!(decoded(coding, &second).unwrap(), b"first second");
        let (end, trailers) = read(body).await;
        assert_eq!(decoded(coding, &[second, end].concat()).unwrap(), b"first second");
        assert_eq!(trailers.unwrap().get("etag").unwrap(), "\"t\"");
    }
}

#[tokio::test]
async fn short_streams_keep_their_trailers_and_their_errors() {
    let after = gzipped(answer(&[], script([data("a"), data("b"), Step::Trailers]))).await;
    assert_eq!(get(&after, "content-encoding"), None);
    let (bytes, trailers) = read(after.into_body()).await;
    assert_eq!((bytes.as_slice(), trailers.is_some()), (&b"ab"[..], true));

    for before in ["a".to_owned(), text(2_000)] {
        let mut body = gzipped(answer(&[], script([data(before), Step::Break]))).await.into_body();
        let broken = loop {
            match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(broken, Some(Err(BodyError::Incomplete))));
        assert!(std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.is_none());
    }
}

#[test]
fn a_long_piece_is_cut_so_that_others_have_their_turn() {
    let zeros = Bytes::from(vec![0; 4 << 20]);
    let mut body = Body::stream(Compressed::new(Encoder::new(Coding::Gzip, None).unwrap(), Body::from(zeros)));
    let mut turns = 0;
    let mut got = Vec::new();
    while !body.is_end_stream() {
        got.extend(poll(&mut body).unwrap_or_default());
        turns += 1;
    }
    assert!(turns > 32, "{turns} turns for 4 MiB");
    assert_eq!(decoded(Coding::Gzip, &got).unwrap().len(), 4 << 20);
}

#[test]
fn all_together_take_no_more_memory_than_they_may() {
    let room: &AtomicU64 = Box::leak(Box::new(AtomicU64::new(4 << 20)));
    for (coding, most) in [(Coding::Gzip, 8), (Coding::Brotli, 2), (Coding::Zstd, 3)] {
        let held: Vec<_> = std::iter::from_fn(|| Encoder::within(room, coding, None)).collect();
        assert_eq!(held.len(), most, "{coding:?}");
        drop(held);
        assert_eq!(room.load(Ordering::Relaxed), 4 << 20, "given back");
    }
}

proptest! {
    /// Whatever the pieces and pauses, the client has the same bytes in the end.
    #[test]
    fn the_bytes_are_the_same(
        seed: u64,
        pieces in proptest::collection::vec((0_usize..60_000, any::<bool>()), 0..8),
        minimum in 1_u64..3_000,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        for coding in ALL {
            let mut whole = Vec::new();
            let mut steps = Vec::new();
            for (length, wait) in &pieces {
                // Half noise, half repetition.
                let piece: Vec<u8> = (0..*length).map(|at| if at % 64 < 32 { random.u8(..) } else { b'x' }).collect();
                whole.extend_from_slice(&piece);
                steps.push(data(piece));
                if *wait {
                    steps.push(Step::Wait);
                }
            }
            let options = Options { min_response_body_bytes: minimum, default_encoding: Some(coding.name().to_owned()), ..Options::default() };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let after = runtime.block_on(run(&options, &[], answer(&[], script(steps))));
            let compressed = after.headers().contains_key("content-encoding");
            let mut body = after.into_body();
            let mut got = Vec::new();
            loop {
                match Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                    Poll::Pending => {}
                    Poll::Ready(Some(frame)) => got.extend(frame.unwrap().into_data().unwrap()),
                    Poll::Ready(None) => break,
                }
            }
            let got = if compressed { decoded(coding, &got).unwrap() } else { got };
            prop_assert!(got == whole, "{coding:?}: {} bytes of {}", got.len(), whole.len());
        }
    }
}
