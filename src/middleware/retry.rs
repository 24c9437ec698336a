//! `retry`: sends a request once more when no endpoint could be reached, or, if the user names statuses, when the answer
//! has one of them.
//!
//! The first is safe for every method: no endpoint has seen a byte. For the second the request's body is read whole
//! beforehand, and methods that may do something twice are left out unless the user wants them.

mod lent;

use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::Instant;

use self::lent::Lent;
use super::{
    Failed, InvalidField, Next, Request, Statuses, Upstream,
    kept::{Kept, Limits, Unkept},
    plain,
};
use crate::body::{Body, BodyError};

/// Bytes of a body that is kept for another try, unless the user says otherwise (Traefik's default).
pub const DEFAULT_MOST: u64 = 2 << 20;

/// A body is kept in memory up to this size, and on disk beyond it.
const MEMORY: u64 = DEFAULT_MOST;

/// What `retry` is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// How long to wait before the second try, about; zero is not at all.
    pub initial_interval: Duration,
    /// No try begins later than this after the request came; zero is no limit.
    pub timeout: Duration,
    /// Answers that are not taken while there are tries left.
    pub statuses: Statuses,
    /// The longest body, in bytes, that is kept for another try.
    pub most: u64,
    /// Whether to try again when no endpoint could be reached.
    pub unreachable: bool,
    /// Whether statuses count for POST, PATCH and LOCK too.
    pub any_method: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Retry {
    settings: Settings,
    /// Each wait is so many times as long as the one before, so that the last is about twice the first.
    growth: f64,
}

impl Retry {
    /// # Errors
    /// When there is nothing that would be tried, or nothing to try again for.
    pub fn new(settings: Settings) -> Result<Self, InvalidField> {
        if settings.attempts == 0 {
            let help = "write how often a request is tried in all, the first time included";
            return Err(InvalidField::new("attempts", "attempts is 0 or missing, so that nothing would be sent", help));
        }
        if !settings.unreachable && settings.statuses.is_empty() {
            let text = "disableRetryOnNetworkError is set and status is empty, so that nothing is ever tried again";
            return Err(InvalidField::new("disableRetryOnNetworkError", text, "name statuses, or remove it"));
        }
        let growth = 2_f64.powf(1.0 / f64::from(settings.attempts.saturating_sub(1).max(1)));
        Ok(Self { settings, growth })
    }

    /// Sends the request until its answer will do, or there is no try or no time left.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        if self.settings.attempts == 1 {
            return next.run(request).await;
        }
        let begun = Instant::now();
        let source = match self.source(request, next.upstream().body_idle()).await {
            Ok(source) => source,
            Err(unkept) => return plain(unkept.status()),
        };
        // What is inside may change the head; with nothing inside, nobody does.
        let came = (!next.is_innermost()).then(|| request.head.clone());
        let kind = request.kind;
        let mut interval = self.settings.initial_interval;
        for _ in 1..self.settings.attempts {
            request.body = source.body.body();
            let answer = next.run(request).await;
            if !self.again(&answer, &source) {
                return answer;
            }
            let wait = interval.mul_f64(0.5 + fastrand::f64());
            if !self.settings.timeout.is_zero() && begun.elapsed() + wait >= self.settings.timeout {
                return answer;
            }
            drop(answer);
            next.release(request);
            interval = interval.mul_f64(self.growth);
            if wait.is_zero() {
                // Endpoints that refuse at once must not keep the worker from everybody else.
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(wait).await;
            }
            next.upstream().retried();
            if let Some(came) = &came {
                request.head.clone_from(came);
            }
            request.kind = kind;
        }
        request.body = source.body.body();
        next.run(request).await
    }

    /// Where the body of each try comes from.
    ///
    /// # Errors
    /// When the client's body can't be read.
    async fn source(&self, request: &mut Request, idle: Duration) -> Result<Source, Unkept> {
        let settings = &self.settings;
        let twice = settings.any_method || !matches!(request.head.method.as_str(), "POST" | "PATCH" | "LOCK");
        let by_status = twice && !settings.statuses.is_empty();
        if !request.kind.has_bytes() {
            return Ok(Source { by_status, body: Whole::Empty });
        }
        let body = std::mem::take(&mut request.body);
        if !by_status {
            return Ok(Source { by_status, body: Whole::Lent(Lent::new(body)) });
        }
        match Kept::read(body, Limits { memory: MEMORY, most: settings.most, idle }).await {
            Ok(kept) => {
                request.kind = kept.kind();
                Ok(Source { by_status, body: Whole::Kept(kept) })
            }
            // The request goes on all the same. It can't be sent twice once it has been begun.
            Err(unkept) if matches!(unkept.error, BodyError::TooLarge | BodyError::NoRoom(_)) => {
                tracing::debug!(error = %unkept.error, "a request's body is not kept for another try");
                Ok(Source { by_status: false, body: Whole::Lent(Lent::new(unkept.into_body())) })
            }
            Err(unkept) => Err(unkept),
        }
    }

    /// Whether this answer is not the last word.
    fn again(&self, answer: &Response<Body>, source: &Source) -> bool {
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            return false;
        }
        if source.by_status && self.settings.statuses.contains(status) {
            return true;
        }
        // 503 is no endpoint's: there is none, or this process has no connection left. That is no better at once.
        let failed = answer.extensions().get::<Failed>();
        let unreachable = failed.is_some_and(|failed| failed.unsent) && status != StatusCode::SERVICE_UNAVAILABLE;
        self.settings.unreachable && unreachable && source.body.is_whole()
    }
}

/// What each try is made from.
#[derive(Debug)]
struct Source {
    /// Whether a try may follow one that was answered.
    by_status: bool,
    body: Whole,
}

/// A body that is still whole.
#[derive(Debug)]
enum Whole {
    Empty,
    Kept(Kept),
    Lent(Lent),
}

impl Whole {
    fn body(&self) -> Body {
        match self {
            Self::Empty => Body::Empty,
            Self::Kept(kept) => kept.body(),
            Self::Lent(lent) => lent.body(),
        }
    }

    fn is_whole(&self) -> bool {
        match self {
            Self::Empty | Self::Kept(_) => true,
            Self::Lent(lent) => lent.is_whole(),
        }
    }
}

#[cfg(test)]
mod tests;
