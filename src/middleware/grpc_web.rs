//! `grpcWeb`: translates gRPC-Web, which browsers can speak, to gRPC and back, and answers the browser's questions
//! about it (CORS).
//!
//! gRPC-Web (grpc/doc/PROTOCOL-WEB.md) is gRPC whose trailers stand in the body, as a last frame, and whose body may be
//! base64 text. So a call's Content-Type is changed, its text decoded, and its endpoint asked for trailers; those become
//! the last frame of the answer. Everything is translated piece by piece ([`body`]). What is no gRPC-Web passes as it is.

mod body;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use self::body::{Framed, Unwrapped};
use super::{Flow, Head, Next, Request, Upstream};
use crate::body::{Body, BodyKind};

const GRPC: &[u8] = b"application/grpc";
const WEB: &[u8] = b"application/grpc-web";
const TEXT: &[u8] = b"application/grpc-web-text";

/// How long a browser may remember the answer to a preflight, in seconds, as in Traefik.
const REMEMBERED: &str = "600";

/// Traefik's `grpcWeb`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcWeb {
    origins: Origins,
}

/// The origins whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origins {
    Any,
    Listed(Box<[String]>),
}

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Binary,
    /// base64
    Text,
}

impl GrpcWeb {
    /// `allowOrigins`; `*` is any.
    pub fn new(allow_origins: &[String]) -> Self {
        let any = allow_origins.iter().any(|origin| origin == "*");
        Self { origins: if any { Origins::Any } else { Origins::Listed(allow_origins.into()) } }
    }

    /// Answers preflights of calls; picks out calls.
    pub fn request(&self, head: &Head) -> Flow {
        if is_preflight(head) {
            return Flow::Respond(self.preflight(&head.headers));
        }
        if call(head).is_some() { Flow::Around } else { Flow::Continue }
    }

    /// Translates a call, and its answer.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        let Some(asked) = call(&request.head) else { return next.run(request).await };
        let allowed = self.allowed(&request.head.headers);
        let form = if wants_text(&request.head.headers) { Form::Text } else { asked };
        unwrap(request, asked);
        let mut answer = next.run(request).await;
        let called = is_grpc(answer.headers());
        if called {
            wrap(&mut answer, form);
        }
        self.share(answer.headers_mut(), allowed);
        answer
    }

    /// What Access-Control-Allow-Origin is for this request; `None` where its origin may not call, or it has none.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        match &self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(list) => {
                list.iter().any(|listed| listed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
            }
        }
    }

    /// Whose answers may be read by whom. `*` never comes with credentials: any page on the web could use the user's
    /// cookies then.
    fn grant(&self, headers: &mut HeaderMap, allowed: Option<HeaderValue>) -> bool {
        if matches!(self.origins, Origins::Listed(_)) {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        let Some(origin) = allowed else { return false };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        match self.origins {
            Origins::Any => headers.remove(header::ACCESS_CONTROL_ALLOW_CREDENTIALS),
            Origins::Listed(_) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"))
            }
        };
        true
    }

    /// The CORS fields of an answer: its page may read all of its fields.
    fn share(&self, headers: &mut HeaderMap, allowed: Option<HeaderValue>) {
        if !self.grant(headers, allowed) {
            return;
        }
        let own = |name: &&HeaderName| !name.as_str().starts_with("access-control-") && *name != header::VARY;
        let mut names: Vec<&str> = headers.keys().filter(own).map(HeaderName::as_str).collect();
        for status in ["grpc-status", "grpc-message"] {
            if !names.contains(&status) {
                names.push(status);
            }
        }
        if let Ok(names) = HeaderValue::try_from(names.join(", ")) {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, names);
        }
    }

    fn preflight(&self, asked: &HeaderMap) -> Response<Body> {
        let mut answer = Response::new(Body::Empty);
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
        let post = asked.get(header::ACCESS_CONTROL_REQUEST_METHOD).is_some_and(|method| method == "POST");
        if self.grant(headers, self.allowed(asked).filter(|_| post)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
            if let Ok(names) = HeaderValue::try_from(requested(asked).collect::<Vec<_>>().join(", ")) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
            }
        }
        answer
    }
}

/// The request headers that a preflight asks for.
fn requested(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).map(str::trim);
    names.filter(|name| HeaderName::from_bytes(name.as_bytes()).is_ok())
}

/// A browser's question before a call: known by the header that all gRPC-Web clients send. Other preflights are the
/// endpoint's affair.
fn is_preflight(head: &Head) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        && requested(&head.headers).any(|name| name.eq_ignore_ascii_case("x-grpc-web"))
}

/// What stands behind one of our types: a suffix (`+proto`), parameters, or nothing.
fn after<'a>(value: &'a HeaderValue, kind: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = value.as_bytes().split_at_checked(kind.len())?;
    let ends = matches!(rest.first(), None | Some(b'+' | b';' | b' '));
    (found.eq_ignore_ascii_case(kind) && ends).then_some(rest)
}

/// Whether a request is a gRPC-Web call, and how its body is written.
fn call(head: &Head) -> Option<Form> {
    let value = head.headers.get(header::CONTENT_TYPE).filter(|_| head.method == Method::POST)?;
    match (after(value, WEB), after(value, TEXT)) {
        (Some(_), _) => Some(Form::Binary),
        (_, Some(_)) => Some(Form::Text),
        (None, None) => None,
    }
}

/// A client may take text although it sends bytes (PROTOCOL-WEB.md, "Text-encoded streams").
fn wants_text(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).is_some_and(|accept| after(accept, TEXT).is_some())
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| after(value, GRPC).is_some())
}

/// The same type in another protocol; what stands behind it stays.
fn renamed(headers: &mut HeaderMap, from: &[u8], to: &[u8]) {
    let rest = headers.get(header::CONTENT_TYPE).and_then(|value| after(value, from)).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_bytes(&[to, rest].concat()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
}

/// Makes gRPC of a gRPC-Web call.
fn unwrap(request: &mut Request, form: Form) {
    renamed(&mut request.head.headers, if form == Form::Text { TEXT } else { WEB }, GRPC);
    // gRPC's servers want to be told that trailers are understood.
    request.trailers = true;
    if request.kind.has_bytes() {
        // Without a length, as gRPC's own clients send.
        request.kind = BodyKind::Chunked;
        request.body = Body::stream(Unwrapped::new(std::mem::take(&mut request.body), form));
    }
}

/// Makes gRPC-Web of a gRPC answer. One that is all in its head (`grpc-status` there, and no body) stays so.
fn wrap(answer: &mut Response<Body>, form: Form) {
    let headers = answer.headers_mut();
    renamed(headers, GRPC, if form == Form::Text { TEXT } else { WEB });
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::TRAILER);
    let body = std::mem::take(answer.body_mut());
    if !matches!(body, Body::Empty) {
        *answer.body_mut() = Body::stream(Framed::new(body, form));
    }
}

#[cfg(test)]
mod tests;
