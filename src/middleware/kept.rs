//! A body that is read whole before it goes on, so that it can be sent any number of times: what `retry` and `buffering`
//! are built on.
//!
//! The first bytes are kept in memory, up to a limit of each body and one of the process; what is beyond is in a
//! temporary file that has no name any more. Reading stops at a maximum, and when nothing comes for too long. What
//! could not be kept whole can still be passed on as it is: what was read, then the rest.

mod replay;
mod store;

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame};

use self::{
    replay::{Joined, Replay},
    store::{Budget, Room, Store, Writer},
};
use crate::{
    body::{Body, BodyError, BodyKind},
    clock,
};

/// All bodies of the process together keep so much in memory; beyond that, they are on disk from their first byte on.
/// When that is full too, no more is kept: clients must not fill a node's disk.
static ROOM: Room = Room { memory: Budget::of(64 << 20), disk: Budget::of(4 << 30) };

/// How much of a body is kept, and where.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes that are kept in memory; the rest is on disk.
    pub memory: u64,
    /// Bytes in all; a longer body is [`BodyError::TooLarge`].
    pub most: u64,
    /// The longest wait for the next piece; zero is none. A longer one is [`BodyError::Stalled`].
    pub idle: Duration,
}

/// A body as it was read, to its end.
#[derive(Clone, Debug)]
pub struct Kept {
    store: Store,
    trailers: Option<HeaderMap>,
}

impl Kept {
    /// Reads a body to its end. Of one that says beforehand that it is too long, nothing is read.
    ///
    /// # Errors
    /// [`Unkept`] when it is too long, breaks off or stalls, or when there is no room on disk.
    pub async fn read(body: Body, limits: Limits) -> Result<Self, Unkept> {
        Self::read_within(body, limits, &ROOM).await
    }

    async fn read_within(mut body: Body, limits: Limits, room: &'static Room) -> Result<Self, Unkept> {
        let mut writer = Writer::new(limits.memory, room);
        let mut trailers = None;
        let (error, next) = loop {
            if body.size_hint().lower() > limits.most.saturating_sub(writer.length()) {
                break (BodyError::TooLarge, None);
            }
            let data = match clock::limit(limits.idle, next_frame(&mut body)).await {
                Err(_) => break (BodyError::Stalled, None),
                Ok(None) => match writer.finish().await {
                    Ok(store) => return Ok(Self { store, trailers }),
                    Err((written, error)) => {
                        let error = BodyError::NoRoom(error);
                        return Err(Unkept { error, written, trailers, next: None, rest: Body::Empty });
                    }
                },
                Ok(Some(Err(error))) => break (error, None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => data,
                    Err(frame) => {
                        trailers = frame.into_trailers().ok();
                        continue;
                    }
                },
            };
            if data.len() as u64 > limits.most.saturating_sub(writer.length()) {
                break (BodyError::TooLarge, Some(data));
            }
            if let Err(error) = writer.write(data).await {
                break (BodyError::NoRoom(error), None);
            }
        };
        Err(Unkept { error, written: writer.stop(), trailers: None, next, rest: body })
    }

    /// Its length in bytes, without trailers.
    pub fn length(&self) -> u64 {
        self.store.length()
    }

    /// How it is framed now that its length is known. Only a chunked body can have trailers (RFC 9112 §7.1.2).
    pub fn kind(&self) -> BodyKind {
        if self.trailers.is_some() { BodyKind::Chunked } else { BodyKind::Length(self.length()) }
    }

    /// The body, from its start. A long one keeps its place among all that are kept until it has been handed over.
    pub fn body(&self) -> Body {
        match (self.store.in_memory(), &self.trailers) {
            (Some(bytes), None) if bytes.len() <= store::PIECE => bytes.clone().into(),
            (_, trailers) => Body::stream(Replay::new(self.store.clone(), trailers.clone())),
        }
    }
}

/// A body that was not kept whole, and why.
#[derive(Debug)]
pub struct Unkept {
    /// What stopped the reading.
    pub error: BodyError,
    written: Store,
    trailers: Option<HeaderMap>,
    /// Read and not kept.
    next: Option<Bytes>,
    rest: Body,
}

impl Unkept {
    /// The body as it came: what was read, then what is still to be read. Of one that broke off, that is again an
    /// error, or an early end.
    pub fn into_body(self) -> Body {
        let Self { written, trailers, next, rest, .. } = self;
        if written.length() == 0 && trailers.is_none() && next.is_none() {
            return rest;
        }
        Body::stream(Joined::new(Replay::new(written, trailers), next, rest))
    }

    /// What a client hears whose request can't be read: 413 and 408 where it is the client's doing, 400 where its
    /// connection or framing broke, 500 where there is no room for it.
    pub fn status(&self) -> StatusCode {
        match self.error {
            BodyError::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::Stalled => StatusCode::REQUEST_TIMEOUT,
            BodyError::NoRoom(_) | BodyError::Io(_) => StatusCode::INTERNAL_SERVER_ERROR,
            BodyError::Incomplete | BodyError::Framing(_) | BodyError::Hyper(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// The next frame of a body; `None` at its end.
async fn next_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, BodyError>> {
    std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

#[cfg(test)]
mod tests;
