//! Requests to endpoints that speak HTTP/2: streams shared out over as many connections as they need.

use std::{
    cell::{Cell, RefCell},
    pin::{Pin, pin},
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

use super::{chunked::forbidden_trailer, idle::Idle, stream::Stream};
use crate::{
    body::{Body, BodyError},
    clock::{self, Deadline},
    proxy::{error::Error, worker::LocalExecutor},
};

/// Streams on one connection before another is opened, where the endpoint allows more.
const STREAMS: usize = 100;

/// Bytes of an answer that an endpoint may send before the client has taken them.
const STREAM_WINDOW: u32 = 256 << 10;

/// A connection to an endpoint that speaks HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2 {
    sender: SendRequest<Outgoing>,
    streams: Rc<Streams>,
}

/// How a connection is found out that has died without a word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ping {
    /// Silence before a ping is sent; zero is none.
    pub(super) silence: Duration,
    /// From the ping to its answer.
    pub(super) limit: Duration,
    /// Whether a connection without streams is looked after, too.
    pub(super) while_idle: bool,
}

impl Default for Ping {
    fn default() -> Self {
        Self { silence: Duration::from_secs(20), limit: Duration::from_secs(10), while_idle: false }
    }
}

/// What is known of a connection's streams.
#[derive(Debug)]
struct Streams {
    open: Cell<usize>,
    /// What the endpoint allows at once.
    most: Cell<usize>,
    idle_since_ms: Cell<u64>,
}

impl Http2 {
    /// Greets the endpoint; the connection then lives in a task of this worker.
    pub(super) async fn start(stream: Stream, head_bytes: usize, ping: Ping) -> Result<Self, Error> {
        let mut builder = Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            // Room for all streams: clients that don't read theirs must not stall the others.
            .initial_connection_window_size(STREAM_WINDOW * STREAMS as u32)
            .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(ping.silence).filter(|silence| !silence.is_zero()))
            .keep_alive_timeout(ping.limit)
            .keep_alive_while_idle(ping.while_idle);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Error::Http2)?;
        let idle_since_ms = Cell::new(clock::now_ms());
        let streams = Rc::new(Streams { open: Cell::new(0), most: Cell::new(STREAMS), idle_since_ms });
        let seen = Rc::clone(&streams);
        tokio::task::spawn_local(async move {
            let mut connection = pin!(connection);
            let ended = std::future::poll_fn(|cx| {
                let polled = connection.as_mut().poll(cx);
                seen.most.set(connection.current_max_send_streams());
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "an HTTP/2 connection to an endpoint ended");
            }
        });
        Ok(Self { sender, streams })
    }

    /// Whether it can take one more stream.
    pub(super) fn has_room(&self) -> bool {
        self.sender.is_ready() && self.streams.open.get() < STREAMS.min(self.streams.most.get())
    }

    /// Whether it is of no more use at this time.
    pub(super) fn is_spent(&self, idle_limit_ms: u64) -> bool {
        let idle = self.streams.open.get() == 0;
        let since = self.streams.idle_since_ms.get();
        self.sender.is_closed() || (idle && since.saturating_add(idle_limit_ms) < clock::now_ms())
    }

    /// A place for one more stream on it.
    pub(super) fn reserve(&self) -> Turn {
        self.streams.open.set(self.streams.open.get() + 1);
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
struct Place(Rc<Streams>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.idle_since_ms.set(clock::now_ms());
    }
}

impl Turn {
    /// Sends the request and waits for the answer's head; the limit on that runs from the end of the request's body,
    /// which `progress` tells. On an error, what was never sent comes back.
    pub(crate) async fn send(
        mut self,
        request: Request<Outgoing>,
        response_limit: Duration,
        progress: Rc<Progress>,
        mut idle: Idle,
    ) -> Result<Response<Body>, (Error, Option<Request<Outgoing>>)> {
        match clock::limit(response_limit, self.sender.ready()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err((Error::Closed { sent: false }, Some(request))),
        }
        let mut answer = pin!(self.sender.try_send_request(request));
        let mut deadline = Deadline::after(response_limit);
        let mut sending = true;
        let answer = std::future::poll_fn(|cx| {
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(Ok(answer));
            }
            // An endpoint that takes no more of the body leaves the body's own limit unlooked at: look here.
            if !progress.over() && idle.poll(cx).is_ready() {
                let client = progress.owed.get();
                return Poll::Ready(Err(if client {
                    Error::Client(BodyError::Stalled)
                } else {
                    Error::ResponseTimeout
                }));
            }
            if std::mem::replace(&mut sending, !progress.over()) {
                deadline.restart(response_limit);
            }
            loop {
                ready!(deadline.poll(cx));
                if progress.over() {
                    return Poll::Ready(Err(Error::ResponseTimeout));
                }
                // The client still owes its body, for which it has a limit of its own.
                deadline.restart(response_limit);
            }
        })
        .await;
        match answer {
            Err(error) => Err((error, None)),
            Ok(Err(mut error)) => {
                let request = error.take_message();
                // hyper tells of a stream that was reset, not why: the client's fault must not be the endpoint's.
                let broken = progress.broken.take().map(Error::Client);
                Err((broken.unwrap_or_else(|| classify(error.into_error())), request))
            }
            Ok(Ok(answer)) => {
                let place = self.place;
                idle.moved();
                Ok(answer.map(|body| Body::stream(Received { body, idle, _place: place })))
            }
        }
    }
}

/// What a failed stream means for another try (RFC 9113 §8.7): one that was refused, or is above a GOAWAY's last id,
/// was not processed.
fn classify(error: hyper::Error) -> Error {
    let cause = std::error::Error::source(&error).and_then(|e| e.downcast_ref::<h2::Error>());
    match cause {
        Some(h2) if h2.reason() == Some(h2::Reason::REFUSED_STREAM) => Error::Closed { sent: false },
        Some(h2) if h2.is_go_away() || h2.is_io() => Error::Closed { sent: true },
        None if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => {
            Error::Closed { sent: true }
        }
        _ => Error::Http2(error),
    }
}

/// Trailers without the fields that must not come behind a body.
fn cleaned(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut fields) => {
            let forbidden: Vec<_> = fields.keys().filter(|name| forbidden_trailer(name)).cloned().collect();
            for name in forbidden {
                fields.remove(name);
            }
            Frame::trailers(fields)
        }
        Err(frame) => frame,
    }
}

/// How far a request's body has come.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    over: Cell<bool>,
    /// Whether the client is who is waited for, and not the endpoint.
    owed: Cell<bool>,
    /// Why it broke off, if it did.
    broken: RefCell<Option<BodyError>>,
}

impl Progress {
    /// Whether the body has been taken to its end.
    pub(crate) fn over(&self) -> bool {
        self.over.get()
    }
}

/// A request's body as hyper's client takes it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    body: Option<Body>,
    idle: Idle,
    progress: Rc<Progress>,
}

impl Outgoing {
    /// A body, or none.
    pub(crate) fn new(body: Option<Body>, idle: Idle) -> Self {
        let progress = Rc::new(Progress { over: Cell::new(body.is_none()), ..Progress::default() });
        Self { body, idle, progress }
    }

    /// Tells how far the body has come.
    pub(crate) fn progress(&self) -> Rc<Progress> {
        Rc::clone(&self.progress)
    }

    /// The body has broken off. Why is kept for the client; hyper needs but know that it has.
    fn broken(&self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        *self.progress.broken.borrow_mut() = Some(error);
        Poll::Ready(Some(Err(BodyError::Incomplete)))
    }

    /// The body that was not sent.
    pub(crate) fn into_body(self) -> Option<Body> {
        self.body
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(Some(Err(error))) => this.broken(error),
            Poll::Ready(frame) => {
                this.idle.moved();
                this.progress.owed.set(false);
                this.progress.over.set(frame.is_none() || HttpBody::is_end_stream(body));
                Poll::Ready(frame.map(|f| f.map(cleaned)))
            }
            Poll::Pending => {
                this.progress.owed.set(true);
                ready!(this.idle.poll(cx));
                this.broken(BodyError::Stalled)
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
    idle: Idle,
    _place: Place,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                this.idle.moved();
                Poll::Ready(frame.map(|f| f.map(cleaned).map_err(BodyError::Hyper)))
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
