//! A client's connection as hyper sees it: bytes pass through, and what they say about time is noted.
//!
//! hyper's own header timer costs an allocation and a timer for each request. Here a read or a write stores a number
//! in [`Activity`]; the connection's task looks at it when its coarse deadline comes up.

use std::{
    io::IoSlice,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{clock, settings::Limits};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

/// What a connection is doing, and since when. Shared between hyper's IO (which must be `Send`) and the connection's
/// task on the same thread, hence the atomics; none of them is contended.
#[derive(Debug)]
pub(crate) struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    /// When a write first found the client not reading; 0 while it reads.
    stalled_ms: AtomicU64,
    /// A request line had a `#` in it.
    fragment: AtomicBool,
    /// Whether the first line of the present head is over.
    line_over: AtomicBool,
    http2: AtomicBool,
    streams: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        Self {
            // A new connection owes its first request: the header limit stands from the start.
            phase: AtomicU8::new(HEAD),
            since_ms: AtomicU64::new(clock::now_ms()),
            stalled_ms: AtomicU64::new(0),
            fragment: AtomicBool::new(false),
            line_over: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            streams: AtomicU64::new(0),
        }
    }
}

impl Activity {
    /// HTTP/2: heads are hyper's to time; only a connection without streams is idle.
    pub(crate) fn is_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// A request is being served.
    pub(crate) fn begin(&self) {
        self.streams.store(self.streams.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// Its answer has been made in full.
    pub(crate) fn end(&self) {
        let left = self.streams.load(Ordering::Relaxed).saturating_sub(1);
        self.streams.store(left, Ordering::Relaxed);
        if left == 0 {
            self.line_over.store(false, Ordering::Relaxed);
            self.enter(IDLE);
        }
    }

    /// Whether the present request's line had a `#`; asked once for each request.
    pub(crate) fn take_fragment(&self) -> bool {
        self.fragment.load(Ordering::Relaxed) && self.fragment.swap(false, Ordering::Relaxed)
    }

    /// When the connection has to be closed if nothing more happens, in milliseconds of the thread's clock.
    pub(crate) fn expires_at(&self, limits: &Limits) -> u64 {
        let after = |since: u64, limit: std::time::Duration| {
            if limit.is_zero() {
                u64::MAX
            } else {
                since.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
            }
        };
        let since = self.since_ms.load(Ordering::Relaxed);
        let waiting = match self.phase.load(Ordering::Relaxed) {
            IDLE => after(since, limits.keepalive),
            HEAD => after(since, limits.header),
            _ => u64::MAX,
        };
        match self.stalled_ms.load(Ordering::Relaxed) {
            0 => waiting,
            stalled => waiting.min(after(stalled, limits.body)),
        }
    }

    /// Whether a request's head is being waited for (as against an idle connection).
    pub(crate) fn in_head(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == HEAD
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        self.since_ms.store(clock::now_ms(), Ordering::Relaxed);
    }

    fn on_read(&self, bytes: &[u8]) {
        if bytes.is_empty() || self.http2.load(Ordering::Relaxed) {
            return;
        }
        match self.phase.load(Ordering::Relaxed) {
            IDLE => self.enter(HEAD),
            HEAD => {}
            _ => return,
        }
        if !self.line_over.load(Ordering::Relaxed) {
            // hyper drops a fragment without a word, so the request line is looked at as it passes.
            let end = memchr::memchr(b'\n', bytes);
            let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            if memchr::memchr(b'#', line).is_some() {
                self.fragment.store(true, Ordering::Relaxed);
            }
            self.line_over.store(end.is_some(), Ordering::Relaxed);
        }
    }

    fn on_write(&self, progress: bool) {
        if progress {
            if self.stalled_ms.load(Ordering::Relaxed) != 0 {
                self.stalled_ms.store(0, Ordering::Relaxed);
            }
        } else if self.stalled_ms.load(Ordering::Relaxed) == 0 {
            self.stalled_ms.store(clock::now_ms(), Ordering::Relaxed);
        }
    }
}

/// A client's connection with its [`Activity`], and bytes that were read from it already.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    before: Bytes,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, before: Bytes, activity: Arc<Activity>) -> Self {
        Self { inner, before, activity }
    }

    /// Gives bytes back that were read too far.
    pub(crate) fn rewind(mut self, read: Bytes) -> Self {
        if self.before.is_empty() {
            self.before = read;
        } else {
            self.before = [read, std::mem::take(&mut self.before)].concat().into();
        }
        self
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let start = buffer.filled().len();
        if this.before.is_empty() {
            std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        } else {
            let take = this.before.len().min(buffer.remaining());
            buffer.put_slice(this.before.get(..take).unwrap_or_default());
            this.before.advance(take);
        }
        this.activity.on_read(buffer.filled().get(start..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.activity.on_write(written.is_ready());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.activity.on_write(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
