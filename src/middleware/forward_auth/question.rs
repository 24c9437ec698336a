//! What the server is asked: the request's head, as a request of its own.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{Address, Options, names};
use crate::{
    body::{Body, BodyError, BodyKind},
    middleware::{
        Head, InvalidField, Request,
        kept::{Kept, Limits},
        spelling,
    },
};

/// So much of a body that is sent along is kept in memory; the rest is on disk.
pub(super) const MEMORY: u64 = 1 << 20;

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// What Traefik sets on each question, whatever has been there. The proxy sets For, Proto, Host and Port where they are
/// missing.
const SET: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    METHOD,
    URI,
];

/// What else is a forwarded header to Traefik.
const OTHERS: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-forwarded-tls-client-cert"),
    HeaderName::from_static("x-forwarded-tls-client-cert-info"),
];

/// Whether a header says of the client what only a proxy knows. The server may take any spelling of the name for it, so
/// that is asked of the one with dashes.
fn is_forwarded(dashed: &str) -> bool {
    dashed == "x-real-ip" || dashed.starts_with("x-forwarded-")
}

/// What goes into a question.
#[derive(Debug)]
pub(super) struct Question {
    /// See [`Options::trust_forward_header`].
    trust: Option<bool>,
    /// The headers that are sent; all, if there are none.
    only: Box<[HeaderName]>,
    same_method: bool,
    /// The most bytes of a body, if it is sent.
    body: Option<u64>,
}

impl Question {
    pub(super) fn new(options: &Options) -> Result<Self, InvalidField> {
        let mut only = names(&options.auth_request_headers, "authRequestHeaders")?;
        if !only.is_empty() && options.trust_forward_header == Some(true) {
            let more: Vec<HeaderName> = SET.into_iter().chain(OTHERS).filter(|name| !only.contains(name)).collect();
            only.extend(more);
        }
        let most = u64::try_from(options.max_body_size).unwrap_or(u64::MAX);
        Ok(Self {
            trust: options.trust_forward_header,
            only: only.into(),
            same_method: options.preserve_request_method,
            body: options.forward_body.then_some(most),
        })
    }

    /// The body to send along. The request keeps it as well. `idle` is the longest silence within it.
    ///
    /// # Errors
    /// The status of the answer: 401 for a body that is too long (as Traefik answers it), others where it does not come
    /// or can't be kept.
    pub(super) async fn body(&self, request: &mut Request, idle: Duration) -> Result<Option<Kept>, StatusCode> {
        let Some(most) = self.body.filter(|_| request.kind.has_bytes()) else { return Ok(None) };
        let limits = Limits { memory: MEMORY, most, idle };
        let kept = Kept::read(std::mem::take(&mut request.body), limits).await.map_err(|why| match why.error {
            BodyError::TooLarge => StatusCode::UNAUTHORIZED,
            _ => why.status(),
        })?;
        (request.body, request.kind) = (kept.body(), kept.kind());
        Ok(Some(kept))
    }

    /// The question about a request.
    pub(super) fn about(&self, head: &Head, address: &Address, body: Option<&Kept>) -> Request {
        let method = if self.same_method { head.method.clone() } else { Method::GET };
        let kind = match body {
            Some(kept) => kept.kind(),
            // RFC 9110 §8.6: a method that usually has a body says that there is none.
            None if matches!(method, Method::POST | Method::PUT | Method::PATCH) => BodyKind::Length(0),
            None => BodyKind::None,
        };
        let body = body.map_or(Body::Empty, Kept::body);
        let head = Head {
            method,
            target: address.target.clone(),
            headers: self.headers(head),
            host: head.host.clone(),
            port: head.port,
            upstream_host: Some(address.authority.clone()),
            secure: head.secure,
            client: head.client,
            peer: head.peer,
            client_certs: head.client_certs.clone(),
            user: None,
        };
        Request::new(head, body, kind)
    }

    fn headers(&self, head: &Head) -> HeaderMap {
        let mut headers = if self.only.is_empty() {
            head.headers.clone()
        } else {
            let mut headers = HeaderMap::with_capacity(self.only.len() + 8);
            for name in &self.only {
                for value in head.headers.get_all(name) {
                    headers.append(name.clone(), value.clone());
                }
            }
            headers
        };
        match self.trust {
            Some(true) => {}
            Some(false) => spelling::remove_if(&mut headers, |name| is_forwarded(&spelling::dashed(name))),
            None => spelling::remove_if(&mut headers, |name| {
                let dashed = spelling::dashed(name);
                SET.contains(name) || (is_forwarded(&dashed) && dashed != name.as_str())
            }),
        }
        let path = match head.target.query() {
            Some(query) => format!("{}?{query}", head.target.path()),
            None => head.target.path().to_owned(),
        };
        let uri = HeaderValue::from_maybe_shared(bytes::Bytes::from(path));
        let method = HeaderValue::from_str(head.method.as_str());
        for (name, value) in [(URI, uri.ok()), (METHOD, method.ok())] {
            if let (false, Some(value)) = (headers.contains_key(&name), value) {
                headers.insert(name, value);
            }
        }
        headers
    }
}
