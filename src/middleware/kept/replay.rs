//! Kept bytes as a body again.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::store::Store;
use crate::body::{Body, BodyError};

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>>>>;

/// All of a store from its start, then trailers.
pub(super) struct Replay {
    store: Store,
    at: u64,
    /// The piece that the disk is asked for.
    reading: Option<Reading>,
    trailers: Option<HeaderMap>,
}

impl Replay {
    /// A body of these bytes and trailers.
    pub(super) fn new(store: Store, trailers: Option<HeaderMap>) -> Self {
        Self { store, at: 0, reading: None, trailers }
    }

    fn hand(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.at += data.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl HttpBody for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if this.at >= this.store.length() {
            return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
        }
        if let Some(data) = this.store.at_hand(this.at) {
            return this.hand(data);
        }
        let (store, at) = (&this.store, this.at);
        let reading = this.reading.get_or_insert_with(|| Box::pin(store.clone().piece(at)));
        let read = ready!(reading.as_mut().poll(cx));
        this.reading = None;
        match read {
            Ok(data) if data.is_empty() => Poll::Ready(Some(Err(BodyError::Incomplete))),
            Ok(data) => this.hand(data),
            Err(error) => Poll::Ready(Some(Err(error.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.at >= self.store.length() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.store.length().saturating_sub(self.at);
        if self.trailers.is_none() {
            return SizeHint::with_exact(left);
        }
        // A body whose length is told has no trailers over HTTP/1.
        let mut hint = SizeHint::new();
        hint.set_lower(left);
        hint
    }
}

/// What was read of a body, then what is still to be read.
pub(super) struct Joined {
    read: Replay,
    next: Option<Bytes>,
    rest: Body,
}

impl Joined {
    /// These, one after the other.
    pub(super) fn new(read: Replay, next: Option<Bytes>, rest: Body) -> Self {
        Self { read, next, rest }
    }
}

impl HttpBody for Joined {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.read.is_end_stream() {
            return Pin::new(&mut this.read).poll_frame(cx);
        }
        match this.next.take() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_end_stream() && self.next.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let before = self.read.size_hint().lower() + self.next.as_ref().map_or(0, |data| data.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(before.saturating_add(upper));
        }
        hint.set_lower(before.saturating_add(rest.lower()));
        hint
    }
}
