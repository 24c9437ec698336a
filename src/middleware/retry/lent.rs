//! A body that is lent to each try until one of them has begun to read it.

use std::{
    cell::{Cell, RefCell},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::body::{Body, BodyError};

/// The body, for as long as nobody has touched it.
#[derive(Clone, Debug)]
pub(super) struct Lent(Rc<Slot>);

#[derive(Debug)]
struct Slot {
    body: RefCell<Body>,
    touched: Cell<bool>,
}

impl Lent {
    /// A body to lend.
    pub(super) fn new(body: Body) -> Self {
        Self(Rc::new(Slot { body: RefCell::new(body), touched: Cell::new(false) }))
    }

    /// Whether nothing of it has been asked for yet.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.touched.get()
    }

    /// The body, for one try.
    pub(super) fn body(&self) -> Body {
        Body::stream(self.clone())
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.touched.set(true);
        Pin::new(&mut *self.0.body.borrow_mut()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.body.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.body.borrow().size_hint()
    }
}
