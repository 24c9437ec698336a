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
use smallvec::SmallVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::{clock, settings::Limits};

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

const NONE: u8 = 0;
const FRAGMENT: u8 = 1;
const LENGTHS: u8 = 2;

/// What a connection is doing, and since when. Shared between hyper's IO (which must be `Send`) and the connection's
/// task on the same thread, hence the atomics; none of them is contended.
#[derive(Debug)]
pub(crate) struct Activity {
    phase: AtomicU8,
    since_ms: AtomicU64,
    /// When a write first found the client not reading; 0 while it reads.
    stalled_ms: AtomicU64,
    /// What the present head's raw bytes show and hyper doesn't tell.
    suspicion: AtomicU8,
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
            suspicion: AtomicU8::new(NONE),
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
            self.enter(IDLE);
        }
    }

    /// What is wrong with the present head although hyper has taken it; asked once for each request.
    pub(crate) fn take_suspicion(&self) -> Option<&'static str> {
        match self.suspicion.load(Ordering::Relaxed) {
            NONE => None,
            found => {
                self.suspicion.store(NONE, Ordering::Relaxed);
                Some(if found == FRAGMENT {
                    "the request target has a fragment"
                } else {
                    "several Content-Length headers"
                })
            }
        }
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

    /// Notes a read; true while it is of a head, and whether that head begins with it.
    fn on_read(&self) -> (bool, bool) {
        match self.phase.load(Ordering::Relaxed) {
            _ if self.http2.load(Ordering::Relaxed) => (false, false),
            IDLE => {
                self.enter(HEAD);
                (true, true)
            }
            HEAD => (true, false),
            _ => (false, false),
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
    scan: Scan,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, before: Bytes, activity: Arc<Activity>) -> Self {
        Self { inner, before, activity, scan: Scan::default() }
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

/// Reads a head's lines as they pass, for the two faults that hyper mends without a word: it cuts a fragment off the
/// target, and makes one of two Content-Lengths that agree. Only the first head of a pipeline is seen; in those behind
/// it either fault has one reading, and what is forwarded is written anew.
#[derive(Debug, Default)]
struct Scan {
    /// Lines that have ended.
    lines: usize,
    lengths: usize,
    over: bool,
    /// The start of a line that the next read goes on with.
    begun: SmallVec<[u8; 16]>,
    fragment: bool,
}

const LENGTH: &[u8] = b"content-length:";

impl Scan {
    fn look(&mut self, bytes: &[u8]) -> Option<u8> {
        let mut rest = bytes;
        while !self.over && !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest);
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if self.lines == 0 {
                self.fragment |= memchr::memchr(b'#', line).is_some();
            }
            let room = LENGTH.len().saturating_sub(self.begun.len());
            let whole = self.begun.is_empty();
            if !whole || end.is_none() {
                self.begun.extend_from_slice(line.get(..room.min(line.len())).unwrap_or_default());
            }
            let Some(end) = end else { break };
            let start = if whole { line } else { &self.begun };
            if start.first().is_some_and(|b| b | 0x20 == b'c')
                && start.get(..LENGTH.len()).is_some_and(|s| s.eq_ignore_ascii_case(LENGTH))
            {
                self.lengths += 1;
            }
            self.over = self.lines > 0 && matches!(start, b"" | b"\r");
            self.lines += 1;
            self.begun.clear();
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        match (self.fragment, self.lengths) {
            (true, _) => Some(FRAGMENT),
            (false, 2..) => Some(LENGTHS),
            _ => None,
        }
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
        let read = buffer.filled().get(start..).unwrap_or_default();
        if let (true, begins) = if read.is_empty() { (false, false) } else { this.activity.on_read() } {
            if begins {
                this.scan = Scan::default();
            }
            if let Some(found) = this.scan.look(read) {
                this.activity.suspicion.store(found, Ordering::Relaxed);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn look(head: &[u8], step: usize) -> Option<u8> {
        let mut scan = Scan::default();
        head.chunks(step).filter_map(|bytes| scan.look(bytes)).last()
    }

    #[test]
    fn faults_are_seen_in_any_pieces() {
        for (head, found) in [
            (&b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"[..], Some(FRAGMENT)),
            (b"GET /a HTTP/1.1\r\nX: #\r\n\r\n", None),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nHost: a\r\nCONTENT-length: 1\r\n\r\nx", Some(LENGTHS)),
            (b"POST / HTTP/1.1\nContent-Length:1\nContent-Length:1\n\n", Some(LENGTHS)),
            (b"POST / HTTP/1.1\r\nContent-Length: 40\r\n\r\nContent-Length: 1\r\nContent-Length: 1\r\n", None),
            (b"POST / HTTP/1.1\r\nContent-Lengths: 1\r\nContent-Length: 1\r\n\r\n", None),
            (b"\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Some(LENGTHS)),
        ] {
            for step in 1..=head.len() {
                assert_eq!(look(head, step), found, "{:?} by {step}", String::from_utf8_lossy(head));
            }
        }
    }
}
