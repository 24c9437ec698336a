//! `compress`: compresses answers for clients that can read them so.
//!
//! Around all that is inside: the client's Accept-Encoding says which coding ([`accept`]); the answer's head says
//! whether it may be compressed at all; its body, whether it is long enough. Of a body of unknown length as many bytes
//! are taken beforehand as decide that, and never one that would have to be waited for. The rest happens piece by piece
//! as the body is sent ([`body`]).

mod accept;
mod body;
mod encoder;
mod types;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, response};
use http_body::Body as _;

pub use self::accept::Coding;
use self::{
    accept::Codings,
    body::{Compressed, Opened},
    encoder::Encoder,
    types::Types,
};
use super::{Flow, Head, InvalidField, Next, Request, Upstream, list};
use crate::body::Body;

/// Traefik's default of `minResponseBodyBytes`, which 0 means too.
const MINIMUM: u64 = 1_024;

/// A body that is in memory anyway is compressed at once up to this length, so that its new length can be told. A
/// longer one would keep the worker's other requests waiting.
const AT_ONCE: usize = 64 * 1_024;

/// Traefik's `compress` as it is written.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `excludedContentTypes`
    pub excluded_content_types: Vec<String>,
    /// `includedContentTypes`
    pub included_content_types: Vec<String>,
    /// `minResponseBodyBytes`; 0 is the default, 1024.
    pub min_response_body_bytes: u64,
    /// `encodings`, the preferred first; `None` is the default: gzip, br, zstd.
    pub encodings: Option<Vec<String>>,
    /// `defaultEncoding`
    pub default_encoding: Option<String>,
}

/// Traefik's `compress`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compress {
    types: Types,
    minimum: u64,
    codings: Codings,
}

impl Compress {
    /// # Errors
    /// [`InvalidField`] for both lists of types at once, a type that is none, an encoding that there is none of, an
    /// empty list of encodings, and a default that is not in it.
    pub fn new(options: &Options) -> Result<Self, InvalidField> {
        let minimum = match options.min_response_body_bytes {
            0 => MINIMUM,
            bytes => bytes,
        };
        let types = Types::new(&options.excluded_content_types, &options.included_content_types)?;
        let codings = Codings::new(options.encodings.as_deref(), options.default_encoding.as_deref())?;
        Ok(Self { types, minimum, codings })
    }

    /// Leaves alone what the client wants to have as it is. The request's own type counts too, as in Traefik: gRPC
    /// clients name theirs, and some readers of event streams.
    pub fn request(&self, head: &Head) -> Flow {
        if self.types.request_is_excluded(&head.headers) || no_transform(&head.headers) {
            return Flow::Continue;
        }
        Flow::Around
    }

    /// Sends the request on, and compresses the answer if all agree to it.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        let headers = &request.head.headers;
        // The answer to a HEAD has no body, but says what a GET would vary by.
        let coding = if request.head.method == Method::HEAD { None } else { self.codings.choose(headers) };
        let known = coding.and_then(|_| headers.get(header::IF_NONE_MATCH).cloned());
        let answer = next.run(request).await;
        self.answer(coding, known.as_ref(), answer).await
    }

    async fn answer(
        &self,
        coding: Option<Coding>,
        known: Option<&HeaderValue>,
        answer: Response<Body>,
    ) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        if parts.status == StatusCode::NOT_MODIFIED {
            not_modified(&mut parts.headers, known);
            return Response::from_parts(parts, body);
        }
        if !self.suits(&parts) {
            return Response::from_parts(parts, body);
        }
        // Whatever comes of this answer, another client may get the other form.
        vary(&mut parts.headers);
        let Some(coding) = coding else { return Response::from_parts(parts, body) };
        let body = match self.compressed(coding, body).await {
            Ok(body) => {
                transformed(&mut parts.headers, coding);
                body
            }
            Err(as_it_was) => as_it_was,
        };
        Response::from_parts(parts, body)
    }

    /// Whether an answer with this head is one to compress.
    fn suits(&self, answer: &response::Parts) -> bool {
        let status = answer.status;
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
        // Bytes of a range belong to the representation that they were cut from.
        let partial = status == StatusCode::PARTIAL_CONTENT || answer.headers.contains_key(header::CONTENT_RANGE);
        !bodiless
            && !partial
            && !answer.headers.contains_key(header::CONTENT_ENCODING)
            && !no_transform(&answer.headers)
            && self.types.suits(&answer.headers)
    }

    /// The body compressed; or as it was, if it is too short, or there are too many at once already.
    async fn compressed(&self, coding: Coding, body: Body) -> Result<Body, Body> {
        let (body, length) = match body {
            Body::Full(bytes) => {
                let length = bytes.len() as u64;
                (Body::Full(bytes), Some(length))
            }
            Body::Stream(stream) => match stream.size_hint().exact() {
                Some(length) => (Body::Stream(stream), Some(length)),
                None => match Opened::read(stream, self.minimum).await {
                    Opened::Long(body) => (body, None),
                    Opened::Short(body) => return Err(body),
                },
            },
            body @ (Body::Empty | Body::Client(_)) => return Err(body),
        };
        if length.is_some_and(|length| length < self.minimum) {
            return Err(body);
        }
        let Some(encoder) = Encoder::new(coding, length) else { return Err(body) };
        match body {
            Body::Full(bytes) if bytes.len() <= AT_ONCE => match at_once(encoder, &bytes) {
                Ok(smaller) if smaller.len() < bytes.len() => Ok(smaller.into()),
                _ => Err(bytes.into()),
            },
            body => Ok(Body::stream(Compressed::new(encoder, body))),
        }
    }
}

fn at_once(mut encoder: Encoder, bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut out = BytesMut::new();
    encoder.write(bytes, &mut out)?;
    encoder.finish(&mut out)?;
    Ok(out.freeze())
}

/// Whether somebody forbids to change the form of a body (RFC 9111 §5.2.1.6, §5.2.2.6).
fn no_transform(headers: &HeaderMap) -> bool {
    list::has(headers, &header::CACHE_CONTROL, b"no-transform")
}

/// Tells caches that the answer depends on Accept-Encoding (RFC 9110 §12.5.5).
fn vary(headers: &mut HeaderMap) {
    if !list::has(headers, &header::VARY, b"accept-encoding") && !list::has(headers, &header::VARY, b"*") {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// The head of an answer whose body is compressed.
fn transformed(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(header::CONTENT_LENGTH);
    // A range of what the endpoint has is no range of what the client gets.
    headers.remove(header::ACCEPT_RANGES);
    // Sums over other bytes than those that are sent (RFC 9530).
    for sum in ["content-md5", "digest", "content-digest", "repr-digest"] {
        headers.remove(sum);
    }
    if let Some(weak) = headers.get(header::ETAG).and_then(weakened) {
        headers.insert(header::ETAG, weak);
    }
}

/// A strong validator promises the same bytes each time, which nobody can of a compressed form (RFC 9110 §8.8.1).
/// `None` if it is weak already, or none.
fn weakened(tag: &HeaderValue) -> Option<HeaderValue> {
    let tag = tag.as_bytes();
    tag.starts_with(b"\"").then(|| HeaderValue::from_bytes(&[b"W/", tag].concat()).ok()).flatten()
}

/// A client that asked by the weakened validator gets that one, or it could not tell which of its copies is meant (RFC
/// 9111 §4.3.4).
fn not_modified(headers: &mut HeaderMap, known: Option<&HeaderValue>) {
    let weak = headers.get(header::ETAG).and_then(weakened);
    if let (Some(weak), Some(known)) = (weak, known)
        && known.as_bytes().split(|b| *b == b',').any(|tag| tag.trim_ascii() == weak.as_bytes())
    {
        headers.insert(header::ETAG, weak);
        vary(headers);
    }
}

#[cfg(test)]
mod tests;
