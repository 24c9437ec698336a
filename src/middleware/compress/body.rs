//! Bodies on their way: a beginning that was read to decide, and the compressed form of what goes on.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Encoder;
use crate::body::{Body, BodyError, Stream};

/// So many bytes are given to the encoder at once.
const PIECE: usize = 16 * 1_024;
/// So much output is worth sending; what is less waits for more, if there is more.
const ENOUGH: usize = 8 * 1_024;
/// So many bytes are taken in one turn. Then the worker's other requests have theirs, whatever has come of it.
const TURN: usize = 64 * 1_024;

type Piece = Result<Frame<Bytes>, BodyError>;

/// A body of unknown length after a look at its beginning. Both are whole.
#[derive(Debug)]
pub(super) enum Opened {
    /// At least as long as asked, or not there yet.
    Long(Body),
    /// It has ended before.
    Short(Body),
}

impl Opened {
    /// Reads on until `minimum` bytes are there. Never waits: a stream that has nothing to say for now is long, or the
    /// client would get not even its head.
    pub(super) async fn read(mut rest: Stream, minimum: u64) -> Self {
        let mut begun = Begun::default();
        let mut length = 0;
        let long = std::future::poll_fn(|cx| {
            while length < minimum {
                match rest.as_mut().poll_frame(cx) {
                    Poll::Pending => return Poll::Ready(true),
                    Poll::Ready(None) => return Poll::Ready(false),
                    Poll::Ready(Some(piece)) => {
                        let data = piece.as_ref().ok().and_then(Frame::data_ref).map(|data| data.len() as u64);
                        length += data.unwrap_or(0);
                        begun.pieces.push_back(piece);
                        // Trailers and errors end it.
                        if data.is_none() {
                            return Poll::Ready(false);
                        }
                    }
                }
            }
            Poll::Ready(true)
        })
        .await;
        if long {
            begun.rest = Some(rest);
            return Self::Long(Body::stream(begun));
        }
        Self::Short(begun.whole().map_or_else(Body::stream, Body::from))
    }
}

/// A body whose first pieces have been read.
#[derive(Default)]
struct Begun {
    pieces: VecDeque<Piece>,
    rest: Option<Stream>,
}

impl Begun {
    /// All of it as bytes, if it is nothing but bytes.
    fn whole(self) -> Result<Bytes, Self> {
        let data = |piece: &Piece| piece.as_ref().ok().and_then(Frame::data_ref).cloned();
        match self.pieces.iter().map(data).collect::<Option<Vec<_>>>() {
            Some(all) => Ok(all.concat().into()),
            None => Err(self),
        }
    }
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        match (self.pieces.pop_front(), &mut self.rest) {
            (Some(piece), _) => Poll::Ready(Some(piece)),
            (None, Some(rest)) => rest.as_mut().poll_frame(cx),
            (None, None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.rest.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

/// The compressed form of a body. What has come is sent compressed as soon as nothing more is there, so that event
/// streams and long polls are as quick as without.
#[derive(Debug)]
pub(super) struct Compressed {
    inner: Body,
    encoder: Encoder,
    /// Read and not compressed yet.
    input: Bytes,
    /// Compressed and not sent yet.
    out: BytesMut,
    trailers: Option<HeaderMap>,
    over: bool,
}

impl Compressed {
    pub(super) fn new(encoder: Encoder, inner: Body) -> Self {
        Self { inner, encoder, input: Bytes::new(), out: BytesMut::new(), trailers: None, over: false }
    }

    fn sent(&mut self) -> Poll<Option<Piece>> {
        Poll::Ready(Some(Ok(Frame::data(self.out.split().freeze()))))
    }

    fn broken(&mut self, error: BodyError) -> Poll<Option<Piece>> {
        self.over = true;
        self.inner = Body::Empty;
        self.out.clear();
        Poll::Ready(Some(Err(error)))
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Poll<Option<Piece>> {
        if let Err(error) = self.encoder.finish(&mut self.out) {
            return self.broken(error.into());
        }
        self.over = true;
        self.trailers = trailers;
        self.sent()
    }
}

impl HttpBody for Compressed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        let this = &mut *self;
        let mut taken = 0;
        loop {
            if this.over {
                return Poll::Ready(this.trailers.take().map(|fields| Ok(Frame::trailers(fields))));
            }
            if !this.input.is_empty() {
                if taken >= TURN {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let piece = this.input.split_to(this.input.len().min(PIECE));
                taken += piece.len();
                if let Err(error) = this.encoder.write(&piece, &mut this.out) {
                    return this.broken(error.into());
                }
                if this.out.len() >= ENOUGH {
                    return this.sent();
                }
                continue;
            }
            match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Pending => {
                    return match this.encoder.flush(&mut this.out) {
                        Err(error) => this.broken(error.into()),
                        Ok(()) if this.out.is_empty() => Poll::Pending,
                        Ok(()) => this.sent(),
                    };
                }
                Poll::Ready(None) => return this.finish(None),
                Poll::Ready(Some(Err(error))) => return this.broken(error),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => this.input = data,
                    Err(frame) => return this.finish(frame.into_trailers().ok()),
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.over && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
