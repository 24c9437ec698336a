//! An answer's body on its way from an HTTP/1 endpoint: unframed strictly, its connection given back at its end.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    Pool,
    chunked::{Chunked, Piece},
    framing::Ending,
    http1::Http1,
    idle::Idle,
    upload::Upload,
};
use crate::body::BodyError;

/// A body that is being received. At its end the connection goes back to its pool.
#[derive(Debug)]
pub(crate) struct Download {
    connection: Option<Rc<RefCell<Box<Http1>>>>,
    ending: Ending,
    chunked: Chunked,
    keep: bool,
    idle: Idle,
    upload: Option<Sending>,
    pool: Rc<Pool>,
}

impl Download {
    pub(super) fn new(
        connection: Box<Http1>,
        ending: Ending,
        keep: bool,
        idle: Idle,
        upload: Option<Upload>,
        pool: Rc<Pool>,
    ) -> Self {
        let connection = Rc::new(RefCell::new(connection));
        // The endpoint answers while it still takes the request's body. Each way goes on by itself: a client may
        // send everything before it reads anything.
        let upload = upload.map(|upload| Sending::start(upload, Rc::clone(&connection)));
        Self { connection: Some(connection), ending, chunked: Chunked::default(), keep, idle, upload, pool }
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
                self.idle.moved();
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
        let sent = self.upload.as_ref().is_none_or(|upload| upload.done.get());
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

/// The rest of a request's body, sent by a task of its own.
#[derive(Debug)]
struct Sending {
    task: tokio::task::JoinHandle<()>,
    /// All of it is out. A task that has ended otherwise leaves a connection that nobody may use again: the next
    /// request on it would be read as this one's body.
    done: Rc<Cell<bool>>,
}

impl Sending {
    fn start(mut upload: Upload, connection: Rc<RefCell<Box<Http1>>>) -> Self {
        let done = Rc::new(Cell::new(false));
        let flag = Rc::clone(&done);
        let task = tokio::task::spawn_local(async move {
            let sent = std::future::poll_fn(|cx| {
                let connection = &mut **connection.borrow_mut();
                upload.poll(&mut connection.out, &mut connection.stream, cx)
            });
            match sent.await {
                Ok(()) => flag.set(true),
                Err(error) => tracing::debug!(%error, "the rest of a request's body was not sent"),
            }
        });
        Self { task, done }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.task.abort();
    }
}
