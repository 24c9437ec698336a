//! One HTTP/1.1 exchange with an endpoint, on a connection of our own: no task, no channel, nothing shared.
//!
//! [`Http1::exchange`] writes a head that is serialised already and reads the answer's head; the body comes with it
//! if it is there already (nearly always, for small ones), else as a [`Download`] that gives the connection back to
//! its pool at its end. Framing is read strictly (RFC 9112 §6.3); what is odd is never forwarded.

use std::{
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio_util::io::poll_read_buf;

use super::{
    Pool,
    download::Download,
    framing::{Ending, FramingFields},
    idle::Idle,
    stream::Stream,
    upload::{Outbox, Upload},
};
use crate::{body::Body, clock::Deadline, proxy::error::Error};

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
    pub(super) stream: Stream,
    /// Read and not used yet.
    pub(super) inbox: BytesMut,
    pub(super) out: Outbox,
    room: usize,
    /// Whether it has served a request before.
    pub(crate) reused: bool,
    /// When it became idle.
    pub(crate) idle_since_ms: u64,
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
    /// Whether the request's body has been sent to its end.
    pub(crate) all_sent: bool,
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
    /// The protocols that it asked to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The longest wait for the answer.
    pub(crate) response_limit: Duration,
    /// The longest silence of the bodies.
    pub(crate) idle: Idle,
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
        self.inbox.is_empty() && self.out.is_empty() && self.stream.is_idle()
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
        self.out.sent = 0;
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
            let sent = self.out.sent;
            match upload {
                Some(body) => match body.poll(&mut self.out, &mut self.stream, cx) {
                    Poll::Ready(Ok(())) => {
                        *upload = None;
                        deadline.restart(asked.response_limit);
                    }
                    Poll::Ready(Err(error @ Error::Client(_))) => return Poll::Ready(Err(error)),
                    // It may have answered before it stopped listening (413): read on.
                    Poll::Ready(Err(error)) => broken = Some(error),
                    Poll::Pending if self.out.sent > sent => deadline.restart(asked.response_limit),
                    Poll::Pending => {}
                },
                None => {
                    if let Poll::Ready(Err(_)) = self.out.poll_flush(&mut self.stream, cx) {
                        broken = Some(Error::Closed { sent: self.out.sent > 0 });
                    }
                }
            }
            // While the client owes the rest of the body, the endpoint owes nothing.
            let waiting = upload.is_some() && broken.is_none() && self.out.is_empty();
            if waiting {
                deadline.restart(asked.response_limit);
            }
            let limit = if waiting { None } else { Some(&mut *deadline) };
            let Some(head) = ready!(self.poll_read_head(asked, broken, limit, cx))? else { continue };
            match head.status.as_u16() {
                100 => {
                    if let Some(upload) = upload {
                        upload.open();
                    }
                }
                101 if asked.upgrade.is_some() => return Poll::Ready(Ok(head)),
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
        deadline: Option<&mut Deadline>,
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
                    let error = if none_yet { Error::Closed { sent: self.out.sent > 0 } } else { Error::Incomplete };
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => {
                    if let Some(error) = broken.take() {
                        return Poll::Ready(Err(error));
                    }
                    let Some(deadline) = deadline else { return Poll::Pending };
                    ready!(deadline.poll(cx));
                    return Poll::Ready(Err(Error::ResponseTimeout));
                }
            }
        }
    }

    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<usize>> {
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
        asked.idle.moved();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let said = self.inbox.split().freeze();
            let body = AnswerBody::Switched(Box::new(self.stream), said);
            return Answer { status, headers, body, all_sent: true };
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
        let all_sent = upload.is_none() && !unwanted;
        let body = match whole {
            Some(bytes) => {
                // An upload that is still under way ends here: the endpoint has answered without it.
                if keep && all_sent {
                    pool.put(self);
                }
                bytes.into()
            }
            None => Body::stream(Download::new(self, ending, keep, asked.idle.other(), upload, Rc::clone(pool))),
        };
        Answer { status, headers, body: AnswerBody::Body(body), all_sent }
    }
}
