//! One HTTP/1.1 exchange with an endpoint, on a connection of our own: no task, no channel, nothing shared.
//!
//! [`Http1::exchange`] writes a head that is serialised already and reads the answer's head; the body comes with it
//! if it is there already (nearly always, for small ones), else as a [`Download`] that gives the connection back to
//! its pool at its end. Framing is read strictly (RFC 9112 §6.3); what is odd is never forwarded.

use std::{
    cell::RefCell,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::io::poll_read_buf;

use super::{
    Pool,
    chunked::{Chunked, Piece},
    stream::Stream,
    upload::{Outbox, Upload},
};
use crate::{
    body::{Body, BodyError},
    clock::Deadline,
    proxy::error::Error,
};

/// More header lines than this are refused.
const MOST_HEADERS: usize = 128;
/// An endpoint may send so many informational answers before its own.
const MOST_INFORMATIONAL: usize = 32;
/// The first read of a connection has room for this; reads grow while they fill their room.
const FIRST_READ: usize = 8 * 1_024;
const LARGEST_READ: usize = 128 * 1_024;

/// A connection to an endpoint that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: Stream,
    /// Read and not used yet.
    inbox: BytesMut,
    out: Outbox,
    room: usize,
    /// Whether it has served a request before.
    pub(crate) reused: bool,
    /// When it became idle.
    pub(crate) idle_since_ms: u64,
}

/// How the answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    Length(u64),
    Chunked,
    Close,
}

/// An answer's head.
#[derive(Debug)]
struct AnswerHead {
    status: StatusCode,
    headers: HeaderMap,
    ending: Ending,
    keep: bool,
}

/// What an exchange gives.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// End-to-end headers: hop-by-hop fields are gone.
    pub(crate) headers: HeaderMap,
    /// The body, or a connection switched to another protocol.
    pub(crate) body: AnswerBody,
}

/// The rest of an answer.
#[derive(Debug)]
pub(crate) enum AnswerBody {
    /// A body.
    Body(Body),
    /// After 101: the connection, and what the endpoint has already said on it.
    Switched(Box<Stream>, Bytes),
}

/// What an exchange needs to know of its request.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Whether it is a HEAD: its answer has no body, whatever its fields say.
    pub(crate) head_request: bool,
    /// Whether it asked for another protocol.
    pub(crate) upgrade: bool,
    /// The longest wait for the answer.
    pub(crate) response_limit: Duration,
    /// The longest wait between two pieces of a body.
    pub(crate) body_limit: Duration,
    /// The longest head of an answer, in bytes.
    pub(crate) head_bytes: usize,
}

impl Http1 {
    /// A fresh connection.
    pub(crate) fn new(stream: Stream) -> Self {
        let (inbox, out) = (BytesMut::new(), Outbox::default());
        Self { stream, inbox, out, room: FIRST_READ, reused: false, idle_since_ms: 0 }
    }

    /// Where the next request's head is to be written.
    pub(crate) fn begin(&mut self) -> &mut BytesMut {
        self.out.head.clear();
        &mut self.out.head
    }

    /// Whether an idle connection may carry another request.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.inbox.is_empty() && self.stream.is_idle()
    }

    /// Sends the request whose head is in `out` and waits for the answer. `upload` is taken when its body has been
    /// sent in full or handed on to a task of its own; what is left in it was not sent.
    ///
    /// # Errors
    /// [`Error`]; the connection is then dropped with `self`.
    pub(crate) async fn exchange(
        mut self: Box<Self>,
        asked: &Asked,
        upload: &mut Option<Upload>,
        pool: &Rc<Pool>,
    ) -> Result<Answer, Error> {
        self.out.sent = false;
        let mut deadline = Deadline::after(asked.response_limit);
        let mut informational = 0;
        let head =
            std::future::poll_fn(|cx| self.poll_head(asked, upload, &mut deadline, &mut informational, cx)).await?;
        Ok(self.answer(head, asked, upload.take(), pool))
    }

    fn poll_head(
        &mut self,
        asked: &Asked,
        upload: &mut Option<Upload>,
        deadline: &mut Deadline,
        informational: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<AnswerHead, Error>> {
        loop {
            let mut broken = None;
            match upload {
                Some(body) => match body.poll(&mut self.out, &mut self.stream, cx) {
                    Poll::Ready(Ok(())) => {
                        *upload = None;
                        deadline.restart(asked.response_limit);
                    }
                    Poll::Ready(Err(error @ Error::Client(_))) => return Poll::Ready(Err(error)),
                    // It may have answered before it stopped listening (413): read on.
                    Poll::Ready(Err(error)) => broken = Some(error),
                    Poll::Pending => {}
                },
                None => {
                    if let Poll::Ready(Err(_)) = self.out.poll_flush(&mut self.stream, cx) {
                        broken = Some(Error::Closed { sent: self.out.sent });
                    }
                }
            }
            let Some(head) = ready!(self.poll_read_head(asked, broken, deadline, cx))? else { continue };
            match head.status.as_u16() {
                100 => {
                    if let Some(upload) = upload {
                        upload.open();
                    }
                }
                101 if asked.upgrade => return Poll::Ready(Ok(head)),
                101 => return Poll::Ready(Err(Error::Malformed("it switches protocols without being asked to"))),
                102..=199 => {}
                _ => return Poll::Ready(Ok(head)),
            }
            *informational += 1;
            if *informational > MOST_INFORMATIONAL {
                return Poll::Ready(Err(Error::Malformed("it sends informational answers without end")));
            }
            deadline.restart(asked.response_limit);
        }
    }

    /// A head out of the inbox, read on as far as needed. `None` after an upload has moved on, to look at it again.
    fn poll_read_head(
        &mut self,
        asked: &Asked,
        mut broken: Option<Error>,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<AnswerHead>, Error>> {
        loop {
            if !self.inbox.is_empty() {
                if let Some(head) = self.parse(asked)? {
                    return Poll::Ready(Ok(Some(head)));
                }
                if self.inbox.len() > asked.head_bytes {
                    return Poll::Ready(Err(Error::Malformed("its head is too long")));
                }
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                    let none_yet = self.inbox.is_empty();
                    let error = if none_yet { Error::Closed { sent: self.out.sent } } else { Error::Incomplete };
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if let Some(error) = broken.take() {
                        return Poll::Ready(Err(error));
                    }
                    ready!(deadline.poll(cx));
                    return Poll::Ready(Err(Error::ResponseTimeout));
                }
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
        if self.inbox.capacity() - self.inbox.len() < self.room / 2 {
            self.inbox.reserve(self.room);
        }
        let space = self.inbox.capacity() - self.inbox.len();
        let read = ready!(poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.inbox))?;
        if read == space && self.room < LARGEST_READ {
            self.room *= 4;
        }
        Poll::Ready(Ok(read))
    }

    fn parse(&mut self, asked: &Asked) -> Result<Option<AnswerHead>, Error> {
        let mut slots = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        let length = match config.parse_response_with_uninit_headers(&mut parsed, &self.inbox, &mut slots) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(Error::Malformed("it has too many headers")),
            Err(_) => return Err(Error::Malformed("its head is not HTTP/1")),
        };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(Error::Malformed("its status is not a number from 100 to 599"))?;
        let old = parsed.version == Some(0);
        // Where each value stands in the inbox, so that they can share its memory.
        let base = self.inbox.as_ptr() as usize;
        let mut places: smallvec::SmallVec<[(HeaderName, usize, usize); 24]> = smallvec::SmallVec::new();
        for field in parsed.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| Error::Malformed("a header's name can't be read"))?;
            places.push((name, (field.value.as_ptr() as usize).wrapping_sub(base), field.value.len()));
        }
        let bytes = self.inbox.split_to(length).freeze();
        let mut framing = FramingFields::default();
        let mut headers = HeaderMap::with_capacity(places.len() + 2);
        for (name, at, length) in places {
            let value = if length == 0 { Bytes::new() } else { bytes.slice(at..at + length) };
            let value = HeaderValue::from_maybe_shared(value)
                .map_err(|_| Error::Malformed("a header's value has a control byte"))?;
            if framing.keep_out(&name, &value)? {
                continue;
            }
            headers.append(name, value);
        }
        framing
            .finish(&mut headers, status, old, asked)
            .map(|(ending, keep)| Some(AnswerHead { status, headers, ending, keep }))
    }

    fn answer(mut self: Box<Self>, head: AnswerHead, asked: &Asked, upload: Option<Upload>, pool: &Rc<Pool>) -> Answer {
        let AnswerHead { status, headers, ending, keep } = head;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let said = self.inbox.split().freeze();
            return Answer { status, headers, body: AnswerBody::Switched(Box::new(self.stream), said) };
        }
        let whole = match ending {
            Ending::None => Some(Bytes::new()),
            Ending::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= self.inbox.len() => Some(self.inbox.split_to(length).freeze()),
                _ => None,
            },
            Ending::Chunked | Ending::Close => None,
        };
        // One that still waits for its 100 is not sent at all: the endpoint has answered without it.
        let unwanted = upload.as_ref().is_some_and(Upload::is_untouched);
        let (keep, upload) = if unwanted { (false, None) } else { (keep, upload) };
        let body = match whole {
            Some(bytes) => {
                // An upload that is still under way ends here: the endpoint has answered without it.
                if keep && upload.is_none() {
                    pool.put(self);
                }
                bytes.into()
            }
            None => Body::stream(Download::new(self, ending, keep, asked.body_limit, upload, Rc::clone(pool))),
        };
        Answer { status, headers, body: AnswerBody::Body(body) }
    }
}

/// The fields of an answer that frame it or concern only this connection.
#[derive(Debug, Default)]
struct FramingFields {
    length: Option<u64>,
    encodings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    named: Vec<HeaderName>,
    upgrade: Option<HeaderValue>,
}

impl FramingFields {
    /// Whether a field is kept out of what is forwarded.
    fn keep_out(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Error> {
        match name.as_str() {
            "content-length" => {
                let text = value.to_str().unwrap_or_default();
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let length = digits.then(|| text.parse().ok()).flatten();
                let length = length.ok_or(Error::Malformed("its Content-Length is not a number"))?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(Error::Malformed("it has two Content-Lengths"));
                }
                self.length = Some(length);
                Ok(true)
            }
            "transfer-encoding" => {
                self.encodings += 1;
                self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                Ok(true)
            }
            "connection" => {
                for token in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    if token.eq_ignore_ascii_case(b"close") {
                        self.close = true;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    } else if let Ok(name) = HeaderName::from_bytes(token) {
                        self.named.push(name);
                    }
                }
                Ok(true)
            }
            "upgrade" => {
                self.upgrade = Some(value.clone());
                Ok(true)
            }
            "keep-alive" | "proxy-connection" | "te" | "proxy-authenticate" => Ok(true),
            _ => Ok(false),
        }
    }

    /// How the body ends (RFC 9112 §6.3), and whether the connection can be used again.
    fn finish(
        self,
        headers: &mut HeaderMap,
        status: StatusCode,
        old: bool,
        asked: &Asked,
    ) -> Result<(Ending, bool), Error> {
        for name in &self.named {
            headers.remove(name);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let protocol = self.upgrade.ok_or(Error::Malformed("it switches to no protocol"))?;
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
            return Ok((Ending::None, false));
        }
        let mut keep = !self.close && (!old || self.keep_alive);
        let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
        if self.encodings > 0 {
            if self.encodings > 1 || !self.chunked || old {
                return Err(Error::Malformed("its Transfer-Encoding is not chunked"));
            }
            // Transfer-Encoding overrides; such a connection is not used again (RFC 9112 §6.3 rule 3).
            keep &= self.length.is_none();
        } else if let Some(length) =
            self.length.filter(|_| !matches!(status.as_u16(), 204) && !status.is_informational())
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if bodiless || asked.head_request {
            return Ok((Ending::None, keep));
        }
        Ok(match (self.encodings, self.length) {
            (1.., _) => (Ending::Chunked, keep),
            (0, Some(length)) => (Ending::Length(length), keep),
            (0, None) => (Ending::Close, false),
        })
    }
}

/// A body that is being received. At its end the connection goes back to its pool.
#[derive(Debug)]
pub(crate) struct Download {
    connection: Option<Rc<RefCell<Box<Http1>>>>,
    ending: Ending,
    chunked: Chunked,
    keep: bool,
    idle: Deadline,
    limit: Duration,
    upload: Option<tokio::task::JoinHandle<()>>,
    pool: Rc<Pool>,
}

impl Download {
    fn new(
        connection: Box<Http1>,
        ending: Ending,
        keep: bool,
        limit: Duration,
        upload: Option<Upload>,
        pool: Rc<Pool>,
    ) -> Self {
        let connection = Rc::new(RefCell::new(connection));
        // The endpoint answers while it still takes the request's body. Each way goes on by itself: a client may
        // send everything before it reads anything.
        let upload = upload.map(|mut upload| {
            let connection = Rc::clone(&connection);
            tokio::task::spawn_local(async move {
                let sent = std::future::poll_fn(|cx| {
                    let connection = &mut **connection.borrow_mut();
                    upload.poll(&mut connection.out, &mut connection.stream, cx)
                });
                if let Err(error) = sent.await {
                    tracing::debug!(%error, "the rest of a request's body was not sent");
                }
            })
        });
        let idle = Deadline::after(limit);
        Self { connection: Some(connection), ending, chunked: Chunked::default(), keep, idle, limit, upload, pool }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        let Some(connection) = &self.connection else { return Poll::Ready(Ok(Piece::End)) };
        let connection = &mut **connection.borrow_mut();
        loop {
            let piece = match &mut self.ending {
                Ending::None | Ending::Length(0) => Piece::End,
                Ending::Chunked => self.chunked.next(&mut connection.inbox).map_err(BodyError::Framing)?,
                Ending::Length(_) | Ending::Close if connection.inbox.is_empty() => Piece::NeedMore,
                Ending::Length(left) => {
                    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(connection.inbox.len());
                    *left -= take as u64;
                    Piece::Data(connection.inbox.split_to(take).freeze())
                }
                Ending::Close => Piece::Data(connection.inbox.split().freeze()),
            };
            if piece != Piece::NeedMore {
                self.idle.restart(self.limit);
                return Poll::Ready(Ok(piece));
            }
            match connection.poll_fill(cx) {
                Poll::Ready(Ok(0)) if self.ending == Ending::Close => return Poll::Ready(Ok(Piece::End)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(BodyError::Incomplete)),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                Poll::Pending => {
                    ready!(self.idle.poll(cx));
                    return Poll::Ready(Err(BodyError::Stalled));
                }
            }
        }
    }

    /// The body is over: the connection goes back, if nothing speaks against it.
    fn give_back(&mut self) {
        let sent = self.upload.as_ref().is_none_or(tokio::task::JoinHandle::is_finished);
        let connection = self.connection.take().and_then(Rc::into_inner);
        if let (true, true, Some(connection)) = (self.keep, sent, connection) {
            self.pool.put(connection.into_inner());
        }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = match ready!(self.poll_piece(cx)) {
            Ok(piece) => piece,
            Err(error) => {
                self.connection = None;
                return Poll::Ready(Some(Err(error)));
            }
        };
        match piece {
            Piece::Data(data) => {
                if self.ending == Ending::Length(0) {
                    self.give_back();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Piece::Trailers(fields) => {
                self.give_back();
                Poll::Ready(Some(Ok(Frame::trailers(fields))))
            }
            Piece::End | Piece::NeedMore => {
                self.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.connection.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.ending {
            Ending::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}
