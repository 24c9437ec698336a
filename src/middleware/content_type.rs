//! `contentType`: guesses the type of answers whose backend has not said it.
//!
//! Stands around what is inside, because it has to see the first bytes of an answer's body. It waits for the first piece
//! only, and not for long; the rest streams on. Without this middleware nothing is guessed.

mod sniff;

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, response};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Flow, Head, Next, Request, Upstream};
use crate::{
    body::{Body, BodyError, Stream},
    clock,
};

/// How long an answer's head is held back for the first bytes of its body. Who sends a head long before the body (a
/// stream of events) wants it to arrive.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers to HEAD have no body to look at.
pub(super) fn request(head: &Head) -> Flow {
    if head.method == Method::HEAD { Flow::Continue } else { Flow::Around }
}

/// Sends the request on, and adds a Content-Type to an answer that has a body and no type.
pub(super) async fn around<U: Upstream>(request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
    let (mut parts, body) = next.run(request).await.into_parts();
    if !is_untyped(&parts) {
        return Response::from_parts(parts, body);
    }
    let body = match body {
        Body::Full(bytes) => {
            name(&mut parts, &bytes);
            Body::Full(bytes)
        }
        Body::Stream(mut rest) => match clock::limit(PATIENCE, poll_fn(|cx| rest.as_mut().poll_frame(cx))).await {
            Ok(Some(first)) => {
                if let Some(bytes) = first.as_ref().ok().and_then(Frame::data_ref) {
                    name(&mut parts, bytes);
                }
                Body::stream(Begun { first: Some(first), rest })
            }
            Ok(None) => Body::Empty,
            Err(clock::Elapsed) => Body::Stream(rest),
        },
        other => other,
    };
    Response::from_parts(parts, body)
}

/// Whether an answer may have a body that nobody has named. As in Go, one with a Content-Encoding is left alone: its
/// bytes tell nothing of what it is. So do those of a part of a file.
fn is_untyped(answer: &response::Parts) -> bool {
    let without = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::PARTIAL_CONTENT];
    !answer.status.is_informational()
        && !without.contains(&answer.status)
        && !answer.headers.contains_key(header::CONTENT_TYPE)
        && answer.headers.get(header::CONTENT_ENCODING).is_none_or(HeaderValue::is_empty)
}

fn name(answer: &mut response::Parts, begin: &[u8]) {
    if !begin.is_empty() {
        answer.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(sniff::sniff(begin)));
    }
}

/// A body whose first piece has been looked at.
struct Begun {
    first: Option<Result<Frame<Bytes>, BodyError>>,
    rest: Stream,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.rest.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.first.as_ref().and_then(|first| first.as_ref().ok()?.data_ref());
        let held = held.map_or(0, |bytes| bytes.len() as u64);
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(held));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests;
