//! `buffering`: reads requests and answers whole before they go on, within limits, and may send a request again.
//!
//! A slow client costs the endpoint no time then, nor a slow reader. Both bodies are in memory up to a limit and on disk
//! beyond it (`super::kept`). Since the request is whole, [`retry`] can say when another answer is wanted.

mod retry;

use std::time::Duration;

use http::{Method, Response, StatusCode};

use self::retry::Predicate;
use super::{
    Failed, InvalidField, Next, Request, Upstream,
    kept::{Kept, Limits},
    plain,
};
use crate::body::{Body, BodyError};

/// Traefik's default of `memRequestBodyBytes` and `memResponseBodyBytes`.
pub const MEMORY: u64 = 1 << 20;

/// So often a request is sent again at most, whatever the expression says (Traefik's number).
const MOST_RETRIES: u32 = 10;

/// Traefik's `buffering` as it is written. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Options {
    /// `maxRequestBodyBytes`; 0 is any.
    pub max_request: u64,
    /// `memRequestBodyBytes`; 0 is none, all is on disk.
    pub mem_request: u64,
    /// `maxResponseBodyBytes`; 0 is any.
    pub max_response: u64,
    /// `memResponseBodyBytes`; 0 is none, all is on disk.
    pub mem_response: u64,
    /// `retryExpression`
    pub retry: Option<String>,
}

/// Traefik's `buffering`, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Buffering {
    request: Sizes,
    answer: Sizes,
    retry: Option<Predicate>,
}

/// The limits of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    memory: u64,
    most: u64,
}

impl Sizes {
    fn new(memory: u64, most: u64) -> Self {
        Self { memory, most: if most == 0 { u64::MAX } else { most } }
    }

    fn limits(self, idle: Duration) -> Limits {
        Limits { memory: self.memory, most: self.most, idle }
    }
}

impl Buffering {
    /// # Errors
    /// [`InvalidField`] for an expression that is none.
    pub fn new(options: &Options) -> Result<Self, InvalidField> {
        let text = options.retry.as_deref().filter(|text| !text.trim().is_empty());
        Ok(Self {
            request: Sizes::new(options.mem_request, options.max_request),
            answer: Sizes::new(options.mem_response, options.max_response),
            retry: text.map(Predicate::new).transpose()?,
        })
    }

    /// Reads the request, sends it on, reads the answer; once more where the expression says so.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        let idle = next.upstream().body_idle();
        let mut kept = None;
        if request.kind.has_bytes() {
            match Kept::read(std::mem::take(&mut request.body), self.request.limits(idle)).await {
                Ok(whole) => kept = Some(whole),
                Err(unkept) => {
                    if let BodyError::NoRoom(error) = &unkept.error {
                        // Ours to answer for: the client's own failures are of other kinds.
                        tracing::warn!(%error, "there is no room on disk for the body of a request");
                    }
                    return refused(unkept.status());
                }
            }
        }
        let kind = kept.as_ref().map_or(request.kind, Kept::kind);
        // What is inside may change the head; with nothing inside, nobody does.
        let came = (self.retry.is_some() && !next.is_innermost()).then(|| request.head.clone());
        let method = request.head.method.clone();
        let mut attempt = 1;
        loop {
            request.kind = kind;
            request.body = kept.as_ref().map_or(Body::Empty, Kept::body);
            let answer = next.run(request).await;
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                return answer;
            }
            // Not even read, if another one is wanted anyway.
            if !self.again(attempt, &method, answer.status()) {
                let answer = self.whole(answer, idle).await;
                if !self.again(attempt, &method, answer.status()) {
                    return answer;
                }
            }
            if let Some(came) = &came {
                request.head.clone_from(came);
            }
            attempt += 1;
            next.upstream().retried();
            // Endpoints that fail at once must not keep the worker from everybody else.
            tokio::task::yield_now().await;
        }
    }

    /// Whether the request is to be sent again after this attempt.
    fn again(&self, attempt: u32, method: &Method, status: StatusCode) -> bool {
        let holds = |predicate: &Predicate| predicate.holds(attempt, method, status);
        attempt <= MOST_RETRIES && self.retry.as_ref().is_some_and(holds)
    }

    /// The answer with its whole body, or what the client hears instead.
    async fn whole(&self, answer: Response<Body>, idle: Duration) -> Response<Body> {
        let (parts, body) = answer.into_parts();
        let stream = match body {
            Body::Full(bytes) if bytes.len() as u64 > self.answer.most => return too_large(),
            Body::Stream(stream) => stream,
            whole => return Response::from_parts(parts, whole),
        };
        // The endpoint has a limit of its own on silence, which is this one; another source may have none.
        match Kept::read(Body::Stream(stream), self.answer.limits(idle)).await {
            Ok(kept) => Response::from_parts(parts, kept.body()),
            Err(unkept) => {
                tracing::debug!(error = %unkept.error, "an answer's body is not buffered");
                match &unkept.error {
                    // Not the endpoint's fault: nothing is lost yet, and to ask again would do everything twice.
                    BodyError::NoRoom(error) => {
                        tracing::warn!(%error, "there is no room on disk for the body of an answer");
                        // What can't be kept can't be measured before it is sent.
                        let unlimited = self.answer.most == u64::MAX;
                        if unlimited { Response::from_parts(parts, unkept.into_body()) } else { too_large() }
                    }
                    BodyError::TooLarge => too_large(),
                    BodyError::Stalled => broken(StatusCode::GATEWAY_TIMEOUT),
                    _ => broken(StatusCode::BAD_GATEWAY),
                }
            }
        }
    }
}

/// What a client hears whose request is not read, in Traefik's words.
fn refused(status: StatusCode) -> Response<Body> {
    let mut answer = plain(status);
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        *answer.body_mut() = Body::from("Request Entity Too Large");
    }
    answer
}

/// The endpoint's fault, so 500 and not 413, which would blame the client (Traefik's documentation, against its code).
fn too_large() -> Response<Body> {
    plain(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer that broke off has not been begun, so that the client can be told.
fn broken(status: StatusCode) -> Response<Body> {
    let mut answer = plain(status);
    answer.extensions_mut().insert(Failed { unsent: false });
    answer
}

#[cfg(test)]
mod tests;
