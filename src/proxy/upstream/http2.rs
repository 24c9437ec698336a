//! Requests to endpoints that speak HTTP/2: streams shared out over as many connections as they need.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioIo, TokioTimer};

use super::stream::Stream;
use crate::{
    body::{Body, BodyError},
    clock::{self, Deadline},
    proxy::{error::Error, worker::LocalExecutor},
};

/// Streams on one connection before another is opened, where the endpoint allows more.
const STREAMS: usize = 100;

/// A connection to an endpoint that speaks HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2 {
    sender: SendRequest<Outgoing>,
    streams: Rc<Cell<usize>>,
    idle_since_ms: Cell<u64>,
}

impl Http2 {
    /// Greets the endpoint; the connection then lives in a task of this worker.
    pub(super) async fn start(stream: Stream, head_bytes: usize) -> Result<Self, Error> {
        let mut builder = Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10));
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Error::Http2)?;
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
            }
        });
        Ok(Self { sender, streams: Rc::default(), idle_since_ms: Cell::new(clock::now_ms()) })
    }

    /// Whether it can take one more stream.
    pub(super) fn has_room(&self) -> bool {
        self.sender.is_ready() && self.streams.get() < STREAMS
    }

    /// Whether it is of no more use at this time.
    pub(super) fn is_spent(&self, idle_limit_ms: u64) -> bool {
        let idle = self.streams.get() == 0;
        self.sender.is_closed() || (idle && self.idle_since_ms.get().saturating_add(idle_limit_ms) < clock::now_ms())
    }

    /// A place for one more stream on it.
    pub(super) fn reserve(&self) -> Turn {
        self.streams.set(self.streams.get() + 1);
        self.idle_since_ms.set(clock::now_ms());
        Turn { sender: self.sender.clone(), place: Place(Rc::clone(&self.streams)) }
    }
}

/// One stream's turn on a connection.
#[derive(Debug)]
pub(crate) struct Turn {
    sender: SendRequest<Outgoing>,
    place: Place,
}

#[derive(Debug)]
struct Place(Rc<Cell<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Turn {
    /// Sends the request and waits for the answer's head. On an error, what was never sent comes back.
    pub(crate) async fn send(
        mut self,
        request: Request<Outgoing>,
        response_limit: Duration,
        body_limit: Duration,
    ) -> Result<Response<Body>, (Error, Option<Request<Outgoing>>)> {
        if let Err(error) = self.sender.ready().await {
            return Err((Error::Http2(error), Some(request)));
        }
        let answer = clock::limit(response_limit, self.sender.try_send_request(request)).await;
        match answer {
            Err(elapsed) => Err((elapsed.into(), None)),
            Ok(Err(mut error)) => {
                let request = error.take_message();
                Err((Error::Http2(error.into_error()), request))
            }
            Ok(Ok(answer)) => {
                let place = self.place;
                Ok(answer.map(|body| {
                    Body::stream(Received { body, idle: Deadline::after(body_limit), body_limit, _place: place })
                }))
            }
        }
    }
}

/// A request's body as hyper's client takes it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    body: Option<Incoming>,
    idle: Deadline,
    limit: Duration,
}

impl Outgoing {
    /// A body, or none.
    pub(crate) fn new(body: Option<Incoming>, limit: Duration) -> Self {
        Self { body, idle: Deadline::after(limit), limit }
    }

    /// The body that was not sent.
    pub(crate) fn into_incoming(self) -> Option<Incoming> {
        self.body
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.idle.restart(this.limit);
                Poll::Ready(frame.map(|f| f.map_err(BodyError::Hyper)))
            }
            Poll::Pending => {
                ready!(this.idle.poll(cx));
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

/// An answer's body; it holds its stream's place on the connection.
#[derive(Debug)]
struct Received {
    body: Incoming,
    idle: Deadline,
    body_limit: Duration,
    _place: Place,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.idle.restart(this.body_limit);
                Poll::Ready(frame.map(|f| f.map_err(BodyError::Hyper)))
            }
            Poll::Pending => {
                ready!(this.idle.poll(cx));
                Poll::Ready(Some(Err(BodyError::Stalled)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
