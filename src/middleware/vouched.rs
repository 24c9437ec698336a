//! Request headers that a middleware vouches for: what stands there is what it says of the client, and what a client
//! sends under such a name, in any spelling, must not be taken for it.
//!
//! The middleware itself clears them in the head of each request that it lets pass. Here is what it can't do by itself:
//! they are taken out of what is asked on behalf of a request that has not been there yet, and out of trailers, which
//! come only when the request has passed.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{Chain, Middleware, spelling};
use crate::body::{Body, BodyError};

impl Middleware {
    /// Whether it may vouch for any header.
    pub(super) fn vouches(&self) -> bool {
        matches!(self, Self::BasicAuth(_) | Self::DigestAuth(_) | Self::ForwardAuth(_) | Self::PassTlsClientCert(_))
    }

    /// Whether it vouches for the header of this name.
    fn vouches_for(&self, name: &HeaderName) -> bool {
        match self {
            Self::BasicAuth(m) => m.vouches_for(name),
            Self::DigestAuth(m) => m.vouches_for(name),
            Self::ForwardAuth(m) => m.vouches_for(name),
            Self::PassTlsClientCert(m) => m.vouches_for(name),
            _ => false,
        }
    }
}

/// Removes the headers that one of these vouches for.
pub(super) fn remove(steps: &[Middleware], headers: &mut HeaderMap) {
    for step in steps {
        spelling::remove_if(headers, |name| step.vouches_for(name));
    }
}

impl Chain {
    /// A request's body as the endpoint gets it: without trailers under the names of headers that a middleware of this
    /// chain vouches for. Many servers put trailers among the headers (RFC 9110 §6.5.1 lets them).
    pub fn clean_trailers(&self, body: Body) -> Body {
        let streams = matches!(body, Body::Client(_) | Body::Stream(_));
        if self.vouches && streams { Body::stream(Cleaned { steps: Arc::clone(&self.steps), body }) } else { body }
    }
}

/// A body whose trailers are cleaned.
struct Cleaned {
    steps: Arc<[Middleware]>,
    body: Body,
}

impl HttpBody for Cleaned {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let mut polled = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            remove(&this.steps, trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::HeaderValue;
    use http_body_util::StreamBody;

    use super::*;
    use crate::middleware::{PassTlsClientCert, upstream::tests::read};

    #[tokio::test]
    async fn only_trailers_that_are_vouched_for_go() {
        let vouching = Chain::new(vec![Middleware::PassTlsClientCert(PassTlsClientCert::default())]);
        for (chain, left) in [(vouching, 1), (Chain::new(vec![Middleware::ContentType]), 3)] {
            let mut trailers = HeaderMap::new();
            for name in ["x_forwarded-tls-client-cert", "x-forwarded-tls-client-cert-info", "x-sum"] {
                trailers.insert(HeaderName::from_static(name), HeaderValue::from_static("1"));
            }
            let frames = [Ok(Frame::data(Bytes::from_static(b"data"))), Ok(Frame::trailers(trailers))];
            let body = chain.clean_trailers(Body::stream(StreamBody::new(stream::iter(frames))));
            let (data, trailers) = read(body).await;
            let trailers = trailers.unwrap();
            assert_eq!((data.as_slice(), trailers.len()), (&b"data"[..], left));
            assert!(trailers.contains_key("x-sum"));
        }
    }
}
