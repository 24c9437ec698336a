//! Listening sockets: bound before anything is served, one for each worker and entrypoint, all on one port by
//! SO_REUSEPORT; and the loop that accepts.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    rc::Rc,
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{connection, worker::Worker};
use crate::{
    drain::{Phase, Watch},
    settings::Entrypoint,
};

/// Connections that wait to be accepted, for each worker.
const BACKLOG: i32 = 4_096;

/// A bound socket and the index of its entrypoint.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) entrypoint: usize,
    pub(crate) listener: StdListener,
}

/// Binds an entrypoint for this many workers. With port 0 the system chooses one, the same for all.
///
/// # Errors
/// When the address can't be had; that it is taken is found out although SO_REUSEPORT would hide it.
pub(crate) fn bind(entrypoint: &Entrypoint, workers: usize) -> io::Result<(SocketAddr, Vec<StdListener>)> {
    let mut address = entrypoint.address;
    if address.port() != 0 {
        drop(socket(address, false)?);
    }
    let mut listeners = Vec::with_capacity(workers);
    for _ in 0..workers.max(1) {
        let listener = socket(address, true)?;
        address = listener.local_addr()?;
        listeners.push(listener);
    }
    Ok((address, listeners))
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` takes IPv4 as well, whatever the system's default.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the listeners are to close, then what is queued still (closing a socket would reset it).
pub(crate) async fn accept(worker: Rc<Worker>, bound: Bound, mut drain: Watch) {
    let listener = match TcpListener::from_std(bound.listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "an entrypoint can't be served");
            return;
        }
    };
    let mut pause = Pause::default();
    loop {
        tokio::select! {
            biased;
            // First, or a flood of connections would keep the drain away.
            _ = drain.wait_for(|phase| *phase >= Phase::Closing) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    pause = Pause::default();
                    connection::spawn(&worker, bound.entrypoint, stream, peer);
                }
                Err(error) => pause.after(&error).await,
            },
        }
    }
    // What is left in the queue would be reset. The socket itself is asked: the runtime may not have heard yet that
    // there is something in the queue.
    let listener = match listener.into_std() {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "what waits in the queue of an entrypoint is lost"),
    };
    loop {
        match listener.accept() {
            Ok((stream, peer)) => match adopt(stream) {
                Ok(stream) => connection::spawn(&worker, bound.entrypoint, stream, peer),
                Err(error) => tracing::debug!(%peer, %error, "a queued connection is lost"),
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => break,
        }
    }
}

/// A connection that was accepted outside of the runtime.
fn adopt(stream: StdStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    TcpStream::from_std(stream)
}

/// Whether the next connection may well be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, PermissionDenied};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted | PermissionDenied)
}

/// What to do after a failed accept: nothing for a connection that is gone already, a growing pause when the system
/// is out of file descriptors or memory.
#[derive(Debug, Default)]
struct Pause(u32);

impl Pause {
    async fn after(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        if self.0 == 0 {
            tracing::warn!(%error, "accepting connections fails; pausing between tries");
        }
        self.0 = (self.0 + 1).min(5);
        tokio::time::sleep(Duration::from_millis(5 << self.0)).await;
    }
}
