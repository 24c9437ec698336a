//! Sockets: from a client's bytes to an endpoint's and back. The hot path.
//!
//! The life of a request, with the file of each step:
//! 1. [`listener`] accepts; each [`worker`] (a thread with a runtime of its own) has its own socket on the same port.
//! 2. [`connection`] reads a PROXY header ([`proxy_protocol`]), does the TLS handshake ([`tls`]) and hands the bytes
//!    ([`io`]) to hyper, HTTP/1.1 or HTTP/2.
//! 3. [`admit`] refuses what two parsers could read differently and makes one host and one path of the rest.
//! 4. [`forward`] knows the order: table, middlewares, endpoint, connection, answer. Nothing else does.
//! 5. [`upstream`] has the connections to endpoints; [`headers`] writes what leaves; [`replay`] says what may be sent
//!    twice; [`upgrade`] joins two connections after a 101.
//! 6. [`respond`] makes our own answers; [`error`] says whose fault it was; [`record`] counts and logs
//!    ([`access_log`]).
//!
//! This room knows the table, never an Ingress, an annotation or the store.

pub mod access_log;
mod admit;
mod connection;
mod error;
mod forward;
mod headers;
mod io;
mod listener;
pub mod proxy_protocol;
mod record;
mod replay;
mod respond;
pub mod tls;
mod upgrade;
mod upstream;
mod worker;

use std::{io as std_io, net::SocketAddr, sync::Arc, thread};

use access_log::AccessLog;
use listener::Bound;
use rustls::sign::CertifiedKey;
use worker::Common;

use crate::{
    drain::Watch,
    metrics::Metrics,
    settings::{Entrypoint, Settings},
    shared::Shared,
    table::Table,
};

/// Listeners that are bound and not served yet.
#[derive(Debug)]
pub struct Listeners {
    /// The addresses that were bound, in the order of the entrypoints.
    pub addresses: Vec<SocketAddr>,
    by_worker: Vec<Vec<Bound>>,
}

/// An entrypoint that can't be bound.
#[derive(Debug, thiserror::Error)]
#[error("entrypoint {name} can't listen on {address}")]
pub struct BindError {
    /// The entrypoint's name.
    pub name: String,
    /// The address it was to have.
    pub address: SocketAddr,
    /// Why not.
    pub source: std_io::Error,
}

/// Binds every entrypoint for every worker, before anything is served.
///
/// # Errors
/// The first entrypoint that can't be bound.
pub fn bind(entrypoints: &[Entrypoint], workers: usize) -> Result<Listeners, BindError> {
    let mut listeners = Listeners { addresses: Vec::new(), by_worker: Vec::new() };
    listeners.by_worker.resize_with(workers.max(1), Vec::new);
    for (index, entrypoint) in entrypoints.iter().enumerate() {
        let wrong = |source| BindError { name: entrypoint.name.clone(), address: entrypoint.address, source };
        let (address, sockets) = listener::bind(entrypoint, workers).map_err(wrong)?;
        listeners.addresses.push(address);
        for (of_worker, listener) in listeners.by_worker.iter_mut().zip(sockets) {
            of_worker.push(Bound { entrypoint: index, listener });
        }
    }
    Ok(listeners)
}

/// What the proxy needs besides its listeners.
#[derive(Debug)]
pub struct Proxy {
    /// Flags.
    pub settings: Arc<Settings>,
    /// The table, as control publishes it.
    pub table: Arc<Shared<Table>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// The certificate of hosts that have none.
    pub default_certificate: Arc<CertifiedKey>,
    /// When it is to end.
    pub drain: Watch,
}

/// The worker threads.
#[derive(Debug)]
pub struct Running(Vec<thread::JoinHandle<()>>);

impl Running {
    /// Waits until every worker has ended.
    pub fn join(self) {
        for thread in self.0 {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

/// The stack of a worker, in bytes: middlewares that stand around others are levels of it, of a debug build's size.
/// What is not touched takes no memory.
const STACK: usize = 16 << 20;

/// Starts the workers.
///
/// # Errors
/// When TLS can't be set up or a thread can't be had.
pub fn start(proxy: Proxy, listeners: Listeners) -> std_io::Result<Running> {
    let Proxy { settings, table, metrics, access_log, default_certificate, drain } = proxy;
    let handshakes = Arc::new(tls::Handshakes::new(Arc::clone(&table), default_certificate)?);
    let client_tls = upstream::ClientTls::new(&settings.upstream_tls)?;
    let common = Common { settings, table, metrics, access_log, handshakes, client_tls, drain };
    let mut threads = Vec::new();
    for (index, bound) in listeners.by_worker.into_iter().enumerate() {
        let common = common.clone();
        let thread = thread::Builder::new().name(format!("worker-{index}")).stack_size(STACK).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                // Look at the sockets after so many tasks: batches of requests, with fewer system calls.
                .event_interval(61)
                .build_local(tokio::runtime::LocalOptions::default());
            match runtime {
                Ok(runtime) => runtime.block_on(worker::run(common, bound)),
                Err(error) => tracing::error!(%error, "a worker has no runtime"),
            }
        })?;
        threads.push(thread);
    }
    Ok(Running(threads))
}
