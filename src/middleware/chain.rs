//! The middlewares of a route in their order, and how a request goes inwards through them and its answer out again.
//!
//! Most middlewares look at a request before it goes on, or at an answer on its way back: they are run one after the
//! other, without a box. A few stand around all that is inside of them (they may send a request twice, or not at all,
//! or need to see its answer): each of those is given the [`Next`].

use std::{pin::Pin, sync::Arc};

use http::{HeaderMap, Response, StatusCode, response};

use super::{Flow, Head, Middleware, Request, Upstream, content_type, vouched};
use crate::body::Body;

/// The middlewares of a route, outermost first. `chain` has been expanded, `sticky` is an option of the route. A clone
/// shares the steps: the routes of an Ingress mostly have the same.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    pub(super) steps: Arc<[Middleware]>,
    /// Whether one of them vouches for headers.
    pub(super) vouches: bool,
}

impl Chain {
    /// A chain of these steps, outermost first.
    pub fn new(steps: Vec<Middleware>) -> Self {
        Self { vouches: steps.iter().any(Middleware::vouches), steps: steps.into() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Sends a request through all steps to the upstream, and its answer back through them.
    pub async fn run<U: Upstream>(&self, request: &mut Request, upstream: &mut U) -> Response<Body> {
        self.run_from(0, request, upstream).await
    }

    async fn run_from<U: Upstream>(&self, from: usize, request: &mut Request, upstream: &mut U) -> Response<Body> {
        let mut passed = from;
        let answer = loop {
            let Some(step) = self.steps.get(passed) else { break upstream.forward(request).await };
            passed += 1;
            match step.request(request).await {
                Flow::Continue => {}
                Flow::Respond(answer) => break answer,
                Flow::Around => {
                    break step.around(request, Next { chain: self, at: passed, upstream, held: None }).await;
                }
            }
        };
        self.back(from, passed, &request.head, answer)
    }

    /// The answer side of the steps from `from` up to `passed`, innermost first.
    fn back(&self, from: usize, passed: usize, head: &Head, answer: Response<Body>) -> Response<Body> {
        if passed == from || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return answer;
        }
        let (mut parts, body) = answer.into_parts();
        for step in self.steps.iter().take(passed).skip(from).rev() {
            step.response(head, &mut parts);
        }
        Response::from_parts(parts, body)
    }
}

/// An answer that is to come.
pub type Boxed<'a> = Pin<Box<dyn Future<Output = Response<Body>> + 'a>>;

/// All that is inside of a middleware: the further steps, then the endpoint.
#[derive(Debug)]
pub struct Next<'a, U> {
    chain: &'a Chain,
    at: usize,
    upstream: &'a mut U,
    /// How many permits the request had when it was sent on for the first time.
    held: Option<usize>,
}

impl<U: Upstream> Next<'_, U> {
    /// Sends the request on and gives what comes back. May be called again: the request must then be whole again, its
    /// head as it came and its body unread. What it was counted by on its last way is given back first, so that it
    /// never stands in its own way.
    pub fn run<'f>(&'f mut self, request: &'f mut Request) -> Boxed<'f> {
        match self.held {
            None => self.held = Some(request.permits.len()),
            Some(held) => request.permits.truncate(held),
        }
        // In a box of its own, so that what stands around it carries a pointer and not all that is inside.
        Box::pin(self.chain.run_from(self.at, request, self.upstream))
    }

    /// Gives back what the request was counted by on its last way: it is not on its way while it waits for the next.
    pub fn release(&self, request: &mut Request) {
        if let Some(held) = self.held {
            request.permits.truncate(held);
        }
    }

    /// Whether nothing is inside but the endpoint, which leaves the head of a request as it is.
    pub fn is_innermost(&self) -> bool {
        self.at >= self.chain.len()
    }

    /// Removes what a client says under the names of headers that something inside vouches for: from what is asked on
    /// behalf of a request before, or without, its having been there.
    pub fn remove_vouched(&self, headers: &mut HeaderMap) {
        vouched::remove(self.chain.steps.get(self.at..).unwrap_or_default(), headers);
    }

    /// The way to other services than the route's own.
    pub fn upstream(&mut self) -> &mut U {
        self.upstream
    }
}

impl Middleware {
    /// The side of the request.
    async fn request(&self, request: &mut Request) -> Flow {
        let head = &mut request.head;
        match self {
            Self::Headers(m) => m.request(head),
            Self::RedirectScheme(m) => m.request(head),
            Self::RedirectRegex(m) => m.request(head),
            Self::AddPrefix(m) => m.request(head),
            Self::StripPrefix(m) => m.request(head),
            Self::StripPrefixRegex(m) => m.request(head),
            Self::ReplacePath(m) => m.request(head),
            Self::ReplacePathRegex(m) => m.request(head),
            Self::EncodedCharacters(m) => m.request(head),
            Self::ContentType => content_type::request(head),
            Self::BasicAuth(m) => m.request(head).await,
            Self::DigestAuth(m) => m.request(request),
            Self::PassTlsClientCert(m) => m.request(head),
            Self::ForwardAuth(_) => Flow::Around,
            Self::IpAllowList(m) => m.request(head),
            Self::RateLimit(m) => m.request(head).await,
            Self::InFlight(m) => m.request(request),
            Self::Compress(m) => m.request(head),
            Self::GrpcWeb(m) => m.request(head),
            Self::Buffering(_) | Self::Retry(_) | Self::CircuitBreaker(_) | Self::Errors(_) => Flow::Around,
        }
    }

    /// The side of the answer.
    fn response(&self, head: &Head, answer: &mut response::Parts) {
        if let Self::Headers(m) = self {
            m.response(head, answer);
        }
    }

    /// Those that stand around all that is inside of them, each in a box of its own: a route without any doesn't carry
    /// the room for it, nor one for the room of all others.
    fn around<'a, U: Upstream>(&'a self, request: &'a mut Request, mut next: Next<'a, U>) -> Boxed<'a> {
        match self {
            Self::ForwardAuth(m) => Box::pin(m.around(request, next)),
            Self::Buffering(m) => Box::pin(m.around(request, next)),
            Self::Compress(m) => Box::pin(m.around(request, next)),
            Self::GrpcWeb(m) => Box::pin(m.around(request, next)),
            Self::Retry(m) => Box::pin(m.around(request, next)),
            Self::CircuitBreaker(m) => Box::pin(m.around(request, next)),
            Self::Errors(m) => Box::pin(m.around(request, next)),
            Self::ContentType => Box::pin(content_type::around(request, next)),
            // The others have said on the request side what they want.
            _ => Box::pin(async move { next.run(request).await }),
        }
    }

    /// Whether it may stand around all that is inside of it: each such step is a level of the stack.
    pub fn is_level(&self) -> bool {
        matches!(
            self,
            Self::ForwardAuth(_)
                | Self::Buffering(_)
                | Self::Compress(_)
                | Self::GrpcWeb(_)
                | Self::Retry(_)
                | Self::CircuitBreaker(_)
                | Self::Errors(_)
                | Self::ContentType
        )
    }
}

#[cfg(test)]
mod tests;
