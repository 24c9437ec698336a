//! The limit on silence of an exchange's bodies. Both directions share the moment in which something last moved: a
//! stream that is quiet one way while the other flows is no stalled one (a gRPC watch).

use std::{
    cell::Cell,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use crate::clock::{self, Deadline};

/// One direction's view of the limit.
#[derive(Debug)]
pub(crate) struct Idle {
    last_ms: Rc<Cell<u64>>,
    limit: Duration,
    deadline: Deadline,
}

impl Idle {
    /// A limit that begins now; none if it is zero.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { last_ms: Rc::new(Cell::new(clock::now_ms())), limit, deadline: Deadline::after(limit) }
    }

    /// The other direction's view of the same limit.
    pub(crate) fn other(&self) -> Self {
        Self { last_ms: Rc::clone(&self.last_ms), limit: self.limit, deadline: Deadline::after(self.limit) }
    }

    /// Something has moved.
    pub(crate) fn moved(&self) {
        self.last_ms.set(clock::now_ms());
    }

    /// Ready when nothing has moved for the limit, either way.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.limit.is_zero() {
            return Poll::Pending;
        }
        let limit_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        loop {
            std::task::ready!(self.deadline.poll(cx));
            let end = self.last_ms.get().saturating_add(limit_ms);
            if end <= clock::now_ms() {
                return Poll::Ready(());
            }
            self.deadline.set(end);
        }
    }
}
