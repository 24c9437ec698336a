//! What happens to a request and its answer for a user's reason: Traefik's HTTP middlewares.
//!
//! `compile` builds a [`Chain`] for each route, in the order of the annotation; `proxy::forward` runs
//! [`Chain::request`] before an endpoint is picked and [`Chain::response`] on the way back. Everything that can be
//! decided when the table is compiled (header values, regexes, password hashes) is held ready here. Nothing in this
//! room knows Kubernetes types, and nothing opens a socket.

pub mod basic_auth;
pub mod headers;
mod invalid;
pub mod redirect_scheme;
pub mod strip_prefix;

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, Response, StatusCode, header, response};

pub use basic_auth::BasicAuth;
pub use headers::Headers;
pub use invalid::InvalidField;
pub use redirect_scheme::RedirectScheme;
pub use strip_prefix::StripPrefix;

use crate::{body::Body, target::Target};

/// A request as middlewares see and change it. Its body is not theirs to touch.
#[derive(Debug)]
pub struct Head {
    /// The request method.
    pub method: Method,
    /// Normalised path, and query.
    pub target: Target,
    /// The client's headers; forwarded headers of untrusted peers are gone already, hop-by-hop headers are not.
    pub headers: HeaderMap,
    /// The host the request was routed by: lower case, without port and trailing dot. Empty when there is none.
    pub host: String,
    /// The port in the Host header or authority, if one was there.
    pub port: Option<u16>,
    /// The Host that is sent upstream in place of the client's, where a middleware sets one.
    pub upstream_host: Option<http::HeaderValue>,
    /// Whether the client speaks TLS: to us, or to a trusted proxy that says so in X-Forwarded-Proto.
    pub secure: bool,
    /// The client: the peer, or what a trusted peer says.
    pub client: IpAddr,
    /// The authenticated user, for the access log.
    pub user: Option<String>,
}

impl Head {
    /// `http` or `https`, as the client sees it.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// One middleware, ready to run.
#[derive(Debug)]
pub enum Middleware {
    /// `headers`
    Headers(Box<Headers>),
    /// `redirectScheme`
    RedirectScheme(RedirectScheme),
    /// `stripPrefix`
    StripPrefix(StripPrefix),
    /// `basicAuth`
    BasicAuth(Box<BasicAuth>),
}

/// The middlewares of a route, outermost first. `chain` has been expanded, `sticky` is an option of the route. A clone
/// shares the steps: the routes of an Ingress mostly have the same.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    steps: Arc<[Middleware]>,
}

impl Chain {
    /// A chain of these steps, outermost first.
    pub fn new(steps: Vec<Middleware>) -> Self {
        Self { steps: steps.into() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs the request side. `Err` is an answer instead of going on, and the number of steps it has passed (so
    /// that [`Chain::response`] runs only those outside of it).
    ///
    /// # Errors
    /// The answer of the middleware that refused, redirected or answered the request.
    pub async fn request(&self, head: &mut Head) -> Result<(), (Response<Body>, usize)> {
        for (index, step) in self.steps.iter().enumerate() {
            let flow = match step {
                Middleware::Headers(m) => m.request(head),
                Middleware::RedirectScheme(m) => m.request(head),
                Middleware::StripPrefix(m) => m.request(head),
                Middleware::BasicAuth(m) => m.request(head).await,
            };
            if let Flow::Respond(answer) = flow {
                return Err((answer, index));
            }
        }
        Ok(())
    }

    /// Runs the answer side, innermost first, of the first `passed` steps.
    pub fn response(&self, head: &Head, answer: &mut response::Parts, passed: usize) {
        for step in self.steps.iter().take(passed).rev() {
            if let Middleware::Headers(m) = step {
                m.response(head, answer);
            }
        }
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }
}

/// What a middleware decides on the request side.
#[derive(Debug)]
pub enum Flow {
    /// Go on to the next.
    Continue,
    /// This is the answer.
    Respond(Response<Body>),
}

/// A plain-text answer, as Traefik writes its own: the status text as body.
pub fn plain(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::from(status.canonical_reason().unwrap_or("")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
