//! A request's body on its way to an HTTP/1 endpoint: taken from the client as the endpoint takes it, framed anew.

use std::{
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::{chunked::forbidden_trailer, idle::Idle, stream::Stream};
use crate::{
    body::{Body, BodyError},
    clock::Deadline,
    proxy::error::Error,
};

/// Bytes on their way out, written with as few system calls as they allow.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// The request's head, or a chunk-size line.
    pub(crate) head: BytesMut,
    data: Bytes,
    tail: Bytes,
    /// Bytes of the present request that the socket has taken.
    pub(crate) sent: u64,
    /// TLS may hold back what it has taken.
    held: bool,
}

impl Outbox {
    /// Whether nothing waits to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.data.is_empty() && self.tail.is_empty() && !self.held
    }

    /// Writes until everything is out.
    pub(crate) fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            let written = match (self.head.is_empty(), self.data.is_empty(), self.tail.is_empty()) {
                (true, true, true) => {
                    if self.held {
                        ready!(Pin::new(&mut *stream).poll_flush(cx))?;
                        self.held = false;
                    }
                    return Poll::Ready(Ok(()));
                }
                (false, true, true) => ready!(Pin::new(&mut *stream).poll_write(cx, &self.head))?,
                _ => {
                    let slices = [IoSlice::new(&self.head), IoSlice::new(&self.data), IoSlice::new(&self.tail)];
                    ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &slices))?
                }
            };
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.sent += written as u64;
            self.held = stream.is_tls();
            self.advance(written);
        }
    }

    fn advance(&mut self, mut written: usize) {
        let from_head = written.min(self.head.len());
        self.head.advance(from_head);
        written -= from_head;
        let from_data = written.min(self.data.len());
        self.data.advance(from_data);
        written -= from_data;
        self.tail.advance(written.min(self.tail.len()));
    }
}

/// How the body is framed towards the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`
    Length,
    /// `Transfer-Encoding: chunked`
    Chunked,
}

/// A body that is being sent.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Body,
    framing: Framing,
    /// `Expect: 100-continue`: the body stays untouched until the endpoint wants it, or this deadline passes.
    gate: Option<Deadline>,
    idle: Idle,
    touched: bool,
    over: bool,
}

impl Upload {
    /// A body to send; `gate` is how long to wait for the endpoint's 100, if the client expects one.
    pub(crate) fn new(body: Body, framing: Framing, gate: Option<Duration>, idle: Idle) -> Self {
        let gate = gate.map(Deadline::after);
        Self { body, framing, gate, idle, touched: false, over: false }
    }

    /// The endpoint wants the body.
    pub(crate) fn open(&mut self) {
        self.gate = None;
    }

    /// Whether nothing of the body has been asked from the client yet.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// The body itself, if it is untouched.
    pub(crate) fn into_body(self) -> Body {
        self.body
    }

    /// Sends on; ready when the whole body is out.
    pub(crate) fn poll(
        &mut self,
        out: &mut Outbox,
        stream: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            let busy = !out.is_empty();
            let flushed = out.poll_flush(stream, cx);
            // While the endpoint doesn't read, the limit on its answer stands.
            ready!(flushed).map_err(|_| Error::Closed { sent: out.sent > 0 })?;
            if busy {
                self.idle.moved();
            }
            if self.over {
                return Poll::Ready(Ok(()));
            }
            if let Some(gate) = &mut self.gate {
                ready!(gate.poll(cx));
                self.gate = None;
                self.idle.moved();
            }
            self.touched = true;
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                ready!(self.idle.poll(cx));
                return Poll::Ready(Err(Error::Client(BodyError::Stalled)));
            };
            self.idle.moved();
            match frame {
                None => self.end(out, None),
                Some(Err(error)) => return Poll::Ready(Err(Error::Client(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => self.data(out, data),
                    Err(frame) => self.end(out, frame.into_trailers().ok()),
                },
            }
        }
    }

    fn data(&self, out: &mut Outbox, data: Bytes) {
        if self.framing == Framing::Chunked {
            out.head.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
            out.tail = Bytes::from_static(b"\r\n");
        }
        out.data = data;
    }

    fn end(&mut self, out: &mut Outbox, trailers: Option<HeaderMap>) {
        self.over = true;
        if self.framing == Framing::Chunked {
            out.head.extend_from_slice(b"0\r\n");
            for (name, value) in trailers.iter().flat_map(HeaderMap::iter).filter(|(name, _)| !forbidden_trailer(name))
            {
                out.head.extend_from_slice(name.as_str().as_bytes());
                out.head.extend_from_slice(b": ");
                out.head.extend_from_slice(value.as_bytes());
                out.head.extend_from_slice(b"\r\n");
            }
            out.head.extend_from_slice(b"\r\n");
        }
    }
}
