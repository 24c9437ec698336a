//! After 101: two connections become one tunnel. Each direction ends by itself; a tunnel in which nothing moves for
//! the tunnel limit is closed.

use std::{
    cell::Cell,
    io::IoSlice,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional_with_sizes};

use super::{upstream::Stream, worker::Hold};
use crate::{
    clock::{self, Deadline},
    middleware::Permits,
};

/// Bytes that are copied at once, each way.
const BUFFER: usize = 16 * 1_024;

/// How long the client may take to take its 101 and what the endpoint has said behind it.
const FIRST: Duration = Duration::from_secs(60);

/// Joins client and endpoint, in a task of this worker. `said` is what the endpoint has sent behind its 101.
pub(crate) fn join(client: OnUpgrade, mut endpoint: Stream, said: Bytes, limit: Duration, hold: (Hold, Permits)) {
    tokio::task::spawn_local(async move {
        let _hold = hold;
        let Ok(Ok(client)) = clock::limit(FIRST, client).await else { return };
        let mut client = TokioIo::new(client);
        let greet = async {
            client.write_all(&said).await?;
            client.flush().await
        };
        if !matches!(clock::limit(FIRST, greet).await, Ok(Ok(()))) {
            return;
        }
        let moved = Rc::new(Cell::new(clock::now_ms()));
        let mut client = Noted { inner: &mut client, moved: Rc::clone(&moved) };
        let mut endpoint = Noted { inner: &mut endpoint, moved: Rc::clone(&moved) };
        let mut copying = std::pin::pin!(copy_bidirectional_with_sizes(&mut client, &mut endpoint, BUFFER, BUFFER));
        let mut idle = Deadline::after(limit);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        std::future::poll_fn(|cx| {
            if copying.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            while !limit.is_zero() && idle.poll(cx).is_ready() {
                let end = moved.get().saturating_add(limit_ms);
                if end <= clock::now_ms() {
                    return Poll::Ready(());
                }
                idle.set(end);
            }
            Poll::Pending
        })
        .await;
    });
}

/// Notes when bytes move.
struct Noted<'a, S> {
    inner: &'a mut S,
    moved: Rc<Cell<u64>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<'_, S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut *this.inner).poll_read(cx, buffer);
        if read.is_ready() {
            this.moved.set(clock::now_ms());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<'_, S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut *this.inner).poll_write(cx, bytes);
        if written.is_ready() {
            this.moved.set(clock::now_ms());
        }
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut *self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut *self.get_mut().inner).poll_shutdown(cx)
    }
}
