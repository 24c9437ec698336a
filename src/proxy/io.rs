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
/// Answered, but the request's body has not come to its end: what is read next is of that.
const REST: u8 = 3;

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
    /// What a head's raw bytes show and hyper doesn't tell.
    suspicion: AtomicU8,
    /// Whether the bytes are not HTTP/1 heads and bodies: HTTP/2, ciphertext, a tunnel.
    opaque: AtomicBool,
    /// Whether the present request's body has not been read to its end.
    owing: AtomicBool,
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
            opaque: AtomicBool::new(false),
            owing: AtomicBool::new(false),
            streams: AtomicU64::new(0),
        }
    }
}

impl Activity {
    /// HTTP/2: heads are hyper's to time; only a connection without streams is idle.
    pub(crate) fn is_http2(&self) {
        self.is_opaque();
        // What was read as the start of a head were frames.
        self.suspicion.store(NONE, Ordering::Relaxed);
        self.enter(IDLE);
    }

    /// From here on the bytes are none that we read.
    pub(crate) fn is_opaque(&self) {
        self.opaque.store(true, Ordering::Relaxed);
    }

    /// The handshake is over: the time for the first head begins.
    pub(crate) fn restart(&self) {
        self.enter(HEAD);
    }

    /// A request is being served.
    pub(crate) fn begin(&self, has_body: bool) {
        self.streams.store(self.streams.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.owing.store(has_body, Ordering::Relaxed);
        self.phase.store(BUSY, Ordering::Relaxed);
    }

    /// Whether the request's body has been read to its end.
    pub(crate) fn body_is_sent(&self, sent: bool) {
        self.owing.store(!sent, Ordering::Relaxed);
    }

    /// Its answer has been made in full.
    pub(crate) fn end(&self) {
        let left = self.streams.load(Ordering::Relaxed).saturating_sub(1);
        self.streams.store(left, Ordering::Relaxed);
        if left == 0 {
            let owing = self.owing.load(Ordering::Relaxed) && !self.opaque.load(Ordering::Relaxed);
            self.enter(if owing { REST } else { IDLE });
        }
    }

    /// What is wrong with a head although hyper has taken it; asked once for each request.
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
        let since = self.since_ms.load(Ordering::Relaxed);
        let waiting = match self.phase.load(Ordering::Relaxed) {
            IDLE => after(since, limits.keepalive),
            HEAD => after(since, limits.header),
            REST => after(since, limits.body),
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

    /// Requests that are being served.
    pub(crate) fn streams(&self) -> u64 {
        self.streams.load(Ordering::Relaxed)
    }

    /// Whether nothing at all is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == IDLE
    }

    fn enter(&self, phase: u8) {
        self.phase.store(phase, Ordering::Relaxed);
        self.since_ms.store(clock::now_ms(), Ordering::Relaxed);
    }

    fn on_read(&self, bytes: &[u8], scan: &mut Scan) {
        if bytes.is_empty() || self.opaque.load(Ordering::Relaxed) {
            return;
        }
        if self.phase.load(Ordering::Relaxed) == IDLE {
            self.enter(HEAD);
        }
        if let Some(found) = scan.look(bytes) {
            self.suspicion.store(found, Ordering::Relaxed);
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

/// This long after a moment; never, for a limit of zero.
pub(crate) fn after(since_ms: u64, limit: std::time::Duration) -> u64 {
    if limit.is_zero() {
        return u64::MAX;
    }
    since_ms.saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
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

/// Reads heads as they pass, for the two faults that hyper mends without a word: it cuts a fragment off the target,
/// and makes one of two Content-Lengths that agree. It follows the stream from head to head over bodies of known
/// length. Behind a chunked body it loses its place and looks no more: either fault has one reading (what is forwarded
/// is written anew), so a miss is no hole, while a look at the wrong place would refuse good requests.
#[derive(Debug, Default)]
struct Scan {
    /// Lines of the present head that have ended.
    lines: usize,
    lengths: usize,
    length: u64,
    /// The start of a line that the next read goes on with.
    begun: SmallVec<[u8; LINE]>,
    /// Bytes of a body that are still to come.
    body: u64,
    lost: bool,
}

/// So much of a line is kept: the longest name looked for, and a number.
const LINE: usize = 48;

impl Scan {
    fn look(&mut self, bytes: &[u8]) -> Option<u8> {
        let mut found = None;
        let mut rest = bytes;
        while !self.lost && !rest.is_empty() {
            if self.body > 0 {
                let skip = usize::try_from(self.body).unwrap_or(usize::MAX).min(rest.len());
                self.body -= skip as u64;
                rest = rest.get(skip..).unwrap_or_default();
                continue;
            }
            let end = memchr::memchr(b'\n', rest);
            let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            if self.lines == 0 && memchr::memchr(b'#', line).is_some() {
                found = Some(FRAGMENT);
            }
            let whole = self.begun.is_empty() && end.is_some();
            if !whole {
                let room = LINE.saturating_sub(self.begun.len()).min(line.len());
                self.begun.extend_from_slice(line.get(..room).unwrap_or_default());
            }
            let Some(end) = end else { break };
            if whole {
                self.line(line);
            } else {
                let begun = std::mem::take(&mut self.begun);
                self.line(&begun);
            }
            if self.lengths > 1 {
                found = found.or(Some(LENGTHS));
            }
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        found
    }

    /// A line (or the start of a long one) has ended.
    fn line(&mut self, line: &[u8]) {
        if matches!(line, b"" | b"\r") {
            if self.lines > 0 {
                *self = Self { body: self.length, lost: self.lost, ..Self::default() };
            }
            // Before a request line, an empty line is skipped (RFC 9112 §2.2).
            return;
        }
        self.lines += 1;
        match line.first().map(|b| b | 0x20) {
            Some(b'c') => {
                if let Some(value) = field(line, b"content-length:") {
                    self.lengths += 1;
                    let digits = std::str::from_utf8(value.trim_ascii()).ok();
                    match digits.and_then(|d| d.parse().ok()) {
                        Some(length) => self.length = length,
                        None => self.lost = true,
                    }
                }
            }
            // A chunked body, or another protocol behind this head.
            Some(b't' | b'u') if field(line, b"transfer-encoding:").or(field(line, b"upgrade:")).is_some() => {
                self.lost = true;
            }
            _ => {}
        }
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(value)
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
        this.activity.on_read(buffer.filled().get(start..).unwrap_or_default(), &mut this.scan);
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

    fn look(stream: &[u8], step: usize) -> Option<u8> {
        let mut scan = Scan::default();
        stream.chunks(step).filter_map(|bytes| scan.look(bytes)).next()
    }

    #[test]
    fn frames_behind_a_preface_are_no_head() {
        let (activity, mut scan) = (Activity::default(), Scan::default());
        activity.on_read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x23\x01\x05\n", &mut scan);
        activity.is_http2();
        assert_eq!(activity.take_suspicion(), None);
    }

    #[test]
    fn faults_are_seen_in_any_pieces_and_only_in_heads() {
        let two = "Content-Length: 1\r\nHost: a\r\nCONTENT-length: 1\r\n";
        for (stream, found) in [
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Some(FRAGMENT)),
            ("\r\nGET /a#b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), Some(FRAGMENT)),
            ("GET /a HTTP/1.1\r\nX: #\r\n\r\n".to_owned(), None),
            (format!("POST / HTTP/1.1\r\n{two}\r\nx"), Some(LENGTHS)),
            (format!("\r\n\r\nPOST / HTTP/1.1\r\n{two}\r\nx"), Some(LENGTHS)),
            ("POST / HTTP/1.1\nContent-Length:1\nContent-Length:1\n\n".to_owned(), Some(LENGTHS)),
            (format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{two}", two.len()), None),
            (format!("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n#\n#GET / HTTP/1.1\r\n{two}\r\n"), Some(LENGTHS)),
            ("GET / HTTP/1.1\r\n\r\nGET /#x HTTP/1.1\r\n\r\n".to_owned(), Some(FRAGMENT)),
            ("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nCookie: a=#1; b=#2\r\n\r\n".to_owned(), None),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n#\n#\r\n0\r\n\r\n".to_owned(), None),
            ("POST / HTTP/1.1\r\nContent-Lengths: 1\r\nContent-Length: 1\r\n\r\n".to_owned(), None),
        ] {
            for step in 1..=stream.len() {
                assert_eq!(look(stream.as_bytes(), step), found, "{stream:?} by {step}");
            }
        }
    }
}
