//! The one body type of requests and answers, whoever made them.
//!
//! A request has the client's own body, unless a middleware has put another in its place. Most answers are
//! [`Body::Full`]: an upstream answer whose bytes came with its head, or one that Headgate makes itself. Only what
//! really streams pays for a box.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// Why a body broke off. hyper then aborts the connection (HTTP/1) or resets the stream (HTTP/2), so that the
/// client can tell a short answer from a whole one.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender closed or broke the connection in the middle.
    #[error("the body ended early")]
    Incomplete,
    /// Nothing came for the body idle limit.
    #[error("the body stalled")]
    Stalled,
    /// The bytes are no valid HTTP/1 framing.
    #[error("the body's framing is invalid: {0}")]
    Framing(&'static str),
    /// A limit of a middleware or a setting was passed.
    #[error("the body is too large")]
    TooLarge,
    /// It was to be kept, and there is no room for it: this process's own lack, and nobody else's fault.
    #[error("there is no room to keep the body: {0}")]
    NoRoom(std::io::Error),
    /// The connection failed.
    #[error("reading the body failed: {0}")]
    Io(#[from] std::io::Error),
    /// hyper's own error.
    #[error("reading the body failed: {0}")]
    Hyper(#[from] hyper::Error),
}

/// A body that streams. Not `Send`: it lives and dies on one worker.
pub type Stream = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>;

/// How a request's body is framed (RFC 9112 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none.
    #[default]
    None,
    /// Of this length.
    Length(u64),
    /// Of unknown length.
    Chunked,
}

impl BodyKind {
    /// Whether there are bytes to send.
    pub fn has_bytes(self) -> bool {
        !matches!(self, Self::None | Self::Length(0))
    }
}

/// The body of a request or an answer.
#[derive(Default)]
pub enum Body {
    /// No body at all.
    #[default]
    Empty,
    /// The whole body, in memory.
    Full(Bytes),
    /// A request's, as the client sends it.
    Client(hyper::body::Incoming),
    /// A body that comes in pieces.
    Stream(Stream),
}

impl Body {
    /// Boxes a streaming body.
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }
}

/// A whole body, handed over piece by piece.
pub struct Pieces(Bytes);

impl Pieces {
    /// Bytes of a piece.
    pub const SIZE: usize = 64 << 10;

    /// These bytes in pieces of [`Pieces::SIZE`].
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let size = self.0.len().min(Self::SIZE);
        Poll::Ready((size > 0).then(|| Ok(Frame::data(self.0.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Full(bytes) => write!(f, "Full({} bytes)", bytes.len()),
            Self::Client(_) => f.write_str("Client"),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(_) => match std::mem::take(this) {
                Self::Full(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                _ => Poll::Ready(None),
            },
            Self::Client(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::Hyper),
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Client(body) => body.is_end_stream(),
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Client(body) => body.size_hint(),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}
