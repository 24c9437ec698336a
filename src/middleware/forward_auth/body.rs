//! A request's body, read whole into memory, so that it can be sent twice.

use std::{
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;

use crate::{
    body::{Body, BodyError, BodyKind},
    clock,
    middleware::{Permit, Request},
};

/// The most bytes of one request's body where the Middleware gives no limit.
pub(super) const MOST: u64 = 10 << 20;

/// The most bytes that are held for all requests at once.
const BUDGET: u64 = 256 << 20;

/// How long the client may pause within its body.
const PAUSE: Duration = Duration::from_secs(60);

/// Bytes that are held now, for all routes.
static HELD: AtomicU64 = AtomicU64::new(0);

/// A part of the budget, given back when the request is over.
#[derive(Debug)]
struct Share {
    of: &'static AtomicU64,
    bytes: u64,
}

impl Permit for Share {}

impl Share {
    fn new(of: &'static AtomicU64) -> Self {
        Self { of, bytes: 0 }
    }

    /// Whether so many bytes more fit in.
    fn grow(&mut self, bytes: u64, budget: u64) -> bool {
        let before = self.of.fetch_add(bytes, Ordering::Relaxed);
        self.bytes = self.bytes.saturating_add(bytes);
        before.saturating_add(bytes) <= budget
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads the body and leaves it with the request, in memory.
///
/// # Errors
/// 401 for a body that is longer than `most` (as Traefik answers it), 503 when too much is held already, 408 when it
/// stalls, 400 when it breaks off.
pub(super) async fn keep(request: &mut Request, most: u64) -> Result<Bytes, StatusCode> {
    if let BodyKind::Length(length) = request.kind
        && length > most
    {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let mut share = Share::new(&HELD);
    let bytes = read(&mut request.body, most, &mut |bytes| share.grow(bytes, BUDGET)).await.map_err(status)?;
    request.permits.push(Box::new(share));
    // Trailers that may have come are gone: the length is known now.
    request.kind = BodyKind::Length(bytes.len() as u64);
    request.body = Body::from(bytes.clone());
    Ok(bytes)
}

/// Why a body could not be read.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is longer than allowed.
    TooLong,
    /// It does not fit into what is held at once.
    NoRoom,
    /// It broke off or stalled.
    Broken(BodyError),
}

fn status(why: Unread) -> StatusCode {
    match why {
        Unread::TooLong => StatusCode::UNAUTHORIZED,
        Unread::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        Unread::Broken(BodyError::Stalled) => StatusCode::REQUEST_TIMEOUT,
        Unread::Broken(_) => StatusCode::BAD_REQUEST,
    }
}

/// Reads a body of at most so many bytes. `room` is asked before each piece is taken.
pub(super) async fn read(body: &mut Body, most: u64, room: &mut impl FnMut(u64) -> bool) -> Result<Bytes, Unread> {
    let mut read = BytesMut::new();
    let mut only = Bytes::new();
    loop {
        let next = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let frame = match clock::limit(PAUSE, next).await {
            Ok(None) => break,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Err(Unread::Broken(error)),
            Err(clock::Elapsed) => return Err(Unread::Broken(BodyError::Stalled)),
        };
        let Ok(data) = frame.into_data() else { continue };
        let so_far = read.len().saturating_add(only.len()).saturating_add(data.len());
        if so_far as u64 > most {
            return Err(Unread::TooLong);
        }
        if !room(data.len() as u64) {
            return Err(Unread::NoRoom);
        }
        // Mostly there is one piece, which then need not be copied.
        if only.is_empty() && read.is_empty() {
            only = data;
            continue;
        }
        read.extend_from_slice(&std::mem::take(&mut only));
        read.extend_from_slice(&data);
    }
    Ok(if only.is_empty() { read.freeze() } else { only })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        static OF: AtomicU64 = AtomicU64::new(0);
        let (mut one, mut other) = (Share::new(&OF), Share::new(&OF));
        assert!(one.grow(6, 10) && other.grow(4, 10));
        assert!(!other.grow(1, 10));
        drop(other);
        assert!(one.grow(4, 10) && !one.grow(1, 10));
        drop(one);
        assert_eq!(OF.load(Ordering::Relaxed), 0);
    }
}
