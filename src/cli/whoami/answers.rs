//! What whoami answers to each path. Takes a request and what is known of its connection, gives the whole response.

use std::{convert::Infallible, fmt::Write as _, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HOST, SERVER, TRAILER},
};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use serde_json::json;
use tokio::time::sleep;

use super::websocket;

pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

const POD: HeaderName = HeaderName::from_static("x-pod");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// One piece of `/data`.
static PIECE: [u8; 16 * 1024] = [b'x'; 16 * 1024];

/// What is known beside the request.
pub(super) struct Seen {
    pub(super) name: Arc<str>,
    pub(super) local: SocketAddr,
    pub(super) peer: SocketAddr,
    /// Whether SIGTERM came.
    pub(super) ending: bool,
}

/// Answers one request.
pub(super) async fn answer(seen: &Seen, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut response = match path.as_str() {
        "/api" => whole(JSON, api(seen, &request)),
        "/health" | "/healthz" => whole(TEXT, "ok\n"),
        "/readyz" if seen.ending => unavailable("ending\n"),
        "/readyz" => whole(TEXT, "ok\n"),
        "/data" => match number(&request, "size", 0) {
            Some(size) => data(size),
            None => bad("size is no number\n"),
        },
        "/echo" => echo(request),
        "/sleep" => match number(&request, "ms", 0) {
            Some(ms) => {
                sleep(Duration::from_millis(ms)).await;
                whole(TEXT, format!("slept {ms} ms\n"))
            }
            None => bad("ms is no number\n"),
        },
        "/stream" => match (number(&request, "n", 10), number(&request, "ms", 100)) {
            (Some(n), Some(ms)) => pieces(n, Duration::from_millis(ms)),
            _ => bad("n or ms is no number\n"),
        },
        "/trailers" => trailers(seen),
        "/ws" => websocket::upgrade(request),
        _ => match path.strip_prefix("/status/") {
            Some(code) => status(code),
            None => whole(HTML, page(seen, &request)),
        },
    };
    response.headers_mut().insert(SERVER, HeaderValue::from_static("whoami"));
    // A name given on the command line may be no header value; the page shows it all the same.
    if let Ok(name) = HeaderValue::from_str(&seen.name) {
        response.headers_mut().insert(POD, name);
    }
    Ok(response)
}

/// A response with its body in memory.
pub(super) fn whole(media_type: HeaderValue, body: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(body.into()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

/// 400 with a reason.
pub(super) fn bad(why: &'static str) -> Response<Body> {
    let mut response = whole(TEXT, why);
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

fn unavailable(why: &'static str) -> Response<Body> {
    let mut response = whole(TEXT, why);
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// The page: the name in its first line as HTML (`<p>NAME</p>`), where the scripts of the guide look for it.
fn page(seen: &Seen, request: &Request<Incoming>) -> String {
    let (name, target) = (escape(&seen.name), request.uri().path_and_query().map_or("/", |target| target.as_str()));
    let mut page = format!("<!doctype html><p>{name}</p>\n<pre>\nIP: {}\nRemoteAddr: {}\n", seen.local.ip(), seen.peer);
    // Writing to a String can't fail.
    let _ = writeln!(page, "{} {} {:?}", escape(request.method().as_str()), escape(target), request.version());
    if !request.headers().contains_key(HOST)
        && let Some(authority) = request.uri().authority()
    {
        let _ = writeln!(page, "Host: {}", escape(authority.as_str()));
    }
    for (name, value) in request.headers() {
        let _ = writeln!(page, "{}: {}", title_case(name), escape(&String::from_utf8_lossy(value.as_bytes())));
    }
    page.push_str("</pre>\n");
    page
}

/// `x-forwarded-for` as people write it: `X-Forwarded-For`.
fn title_case(name: &HeaderName) -> String {
    let mut first = true;
    let raise = |letter: char| {
        let raised = if first { letter.to_ascii_uppercase() } else { letter };
        first = letter == '-';
        raised
    };
    name.as_str().chars().map(raise).collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// The request as JSON. A header holds a list, because a field can come more than once.
fn api(seen: &Seen, request: &Request<Incoming>) -> String {
    let mut headers = serde_json::Map::new();
    for name in request.headers().keys() {
        let values = request.headers().get_all(name).iter();
        let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        headers.insert(name.to_string(), json!(values));
    }
    let authority = request.uri().authority().map(|authority| authority.as_str());
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let answer = json!({
        "name": &*seen.name,
        "ip": seen.local.ip(),
        "remoteAddr": seen.peer,
        "method": request.method().as_str(),
        "path": request.uri().path_and_query().map(|target| target.as_str()),
        "version": format!("{:?}", request.version()),
        "host": host.or(authority),
        "headers": headers,
    });
    format!("{answer}\n")
}

/// A number of the query; `None` where it is there and can't be read.
fn number(request: &Request<Incoming>, key: &str, default: u64) -> Option<u64> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    match pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key) {
        Some((_, value)) => value.parse().ok(),
        None => Some(default),
    }
}

fn status(code: &str) -> Response<Body> {
    // Below 200 would be an interim response, which is no answer.
    let Some(code) = code.parse().ok().filter(|code| *code >= 200).and_then(|code| StatusCode::from_u16(code).ok())
    else {
        return bad("the status is no number from 200 to 999\n");
    };
    let mut response = whole(TEXT, format!("{code}\n"));
    *response.status_mut() = code;
    response
}

fn echo(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = Response::new(body.boxed_unsync());
    // HTTP/1.1 sends the trailers on only where the response announces them.
    for name in [CONTENT_TYPE, TRAILER] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn data(size: u64) -> Response<Body> {
    let body = stream::unfold(size, |left| async move {
        let piece = PIECE.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(&PIECE);
        let rest = left.saturating_sub(piece.len() as u64);
        (left > 0).then(|| (Ok(Frame::data(Bytes::from_static(piece))), rest))
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, BINARY);
    response.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(size));
    response
}

fn pieces(n: u64, pause: Duration) -> Response<Body> {
    let body = stream::unfold(0, move |sent: u64| async move {
        if sent >= n {
            return None;
        }
        if sent > 0 {
            sleep(pause).await;
        }
        let sent = sent.saturating_add(1);
        Some((Ok(Frame::data(Bytes::from(format!("piece {sent} of {n}\n")))), sent))
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

fn trailers(seen: &Seen) -> Response<Body> {
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from_static("0"));
    if let Ok(name) = HeaderValue::from_str(&seen.name) {
        fields.insert("x-trailer", name);
    }
    let frames = [Frame::data(Bytes::from_static(b"trailers follow\n")), Frame::trailers(fields)];
    let mut response = Response::new(StreamBody::new(stream::iter(frames.map(Ok))).boxed_unsync());
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response.headers_mut().insert(TRAILER, HeaderValue::from_static("grpc-status, x-trailer"));
    response
}
