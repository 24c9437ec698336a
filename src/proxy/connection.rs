//! One client connection, from accept to close: PROXY header, TLS, then HTTP/1.1 or HTTP/2, with a limit on every
//! wait and its part in a drain.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::TcpStream,
};

use super::{
    forward,
    io::{self, Activity, Watched},
    proxy_protocol::{self, Outcome},
    tls,
    worker::{LocalExecutor, Worker},
};
use crate::{
    body::Body,
    clock::{self, Deadline},
    drain::Phase,
    metrics::Refusal,
    net::canonical,
    settings::Limits,
    table::{CertId, TlsOptions, tls::Shaken},
};

/// Who is at the other end of a connection, and how they came.
#[derive(Debug)]
pub(crate) struct Client {
    /// The peer, or what a trusted peer's PROXY header says.
    pub(crate) address: IpAddr,
    /// The same as a header value.
    pub(crate) text: HeaderValue,
    /// Whether its forwarded headers are believed.
    pub(crate) trusted: bool,
    /// The index of the entrypoint.
    pub(crate) entrypoint: usize,
    /// What TLS has told.
    pub(crate) tls: Option<Tls>,
    /// What the connection is doing.
    pub(crate) activity: Arc<Activity>,
    /// Pieces of answers over HTTP/2 that the client has not taken, and since when.
    pub(crate) unread: RefCell<HashMap<u64, u64>>,
}

impl Client {
    /// Notes a piece that is handed over, until it is taken.
    pub(crate) fn hand(&self) -> u64 {
        thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
        let id = NEXT.get();
        NEXT.set(id + 1);
        self.unread.borrow_mut().insert(id, clock::now_ms());
        id
    }

    /// When the connection has to be closed if nothing more happens.
    fn expires_at(&self, limits: &Limits) -> u64 {
        // Only when no stream moves: one that a client has paused must not cost its neighbours.
        let unread = self.unread.borrow();
        let stalled = unread.len() as u64 >= self.activity.streams();
        let youngest = unread.values().max().copied().filter(|_| stalled);
        let unread = youngest.map_or(u64::MAX, |since| io::after(since, limits.body));
        self.activity.expires_at(limits).min(unread)
    }
}

/// What a handshake has told.
#[derive(Debug)]
pub(crate) struct Tls {
    /// The server name, as hosts are written in the table.
    pub(crate) name: Option<String>,
    /// The certificate entry that was served; `None` for the default certificate.
    pub(crate) cert: Option<CertId>,
    /// For the access log.
    pub(crate) version: Option<&'static str>,
    /// The options that the handshake was done under.
    pub(crate) options: Arc<TlsOptions>,
    /// What it has come to.
    pub(crate) shaken: Shaken,
    /// The client's certificate and those it came with, if it showed one.
    pub(crate) client_certs: Option<Arc<[CertificateDer<'static>]>>,
}

/// Serves a connection in a task of its own.
pub(crate) fn spawn(worker: &Rc<Worker>, entrypoint: usize, stream: TcpStream, peer: SocketAddr) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let _hold = worker.connection(entrypoint);
        serve(&worker, entrypoint, stream, peer).await;
    });
}

async fn serve(worker: &Rc<Worker>, entrypoint: usize, stream: TcpStream, peer: SocketAddr) {
    let limits = &worker.settings.limits;
    let Some(entry) = worker.settings.entrypoints.get(entrypoint) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut address = canonical(peer.ip());
    let trusted = worker.settings.trusted.contains(address);
    let mut stream = stream;
    let mut before = Bytes::new();
    let mut limit = limits.handshake;
    if worker.settings.proxy_protocol && trusted {
        let begun = clock::precise_ms();
        match clock::limit(limit, read_proxy_header(&mut stream)).await {
            Ok(Ok((source, rest))) => {
                address = source.map_or(address, |s| canonical(s.ip()));
                before = rest;
            }
            Ok(Err(why)) => {
                worker.metrics.refuse(Refusal::Malformed);
                tracing::debug!(%peer, why, "a PROXY header is refused");
                return;
            }
            Err(_) => return worker.metrics.refuse(Refusal::HeadTimeout),
        }
        limit = limit.saturating_sub(Duration::from_millis(clock::precise_ms() - begun)).max(clock::TICK);
    }
    let Ok(text) = HeaderValue::try_from(address.to_string()) else { return };
    // A PROXY header stands in for its sender: what the client behind it says of itself is not believed.
    let trusted = worker.settings.trusted.contains(address);
    let activity = Arc::new(Activity::default());
    let mut client = Client {
        address,
        text,
        trusted,
        entrypoint,
        tls: None,
        activity: Arc::clone(&activity),
        unread: RefCell::default(),
    };
    if !entry.tls {
        let io = Watched::new(stream, before, activity);
        return http(worker, client, io, false).await;
    }
    let cipher = Arc::new(Activity::default());
    cipher.is_opaque();
    let raw = Watched::new(stream, before, cipher);
    let by_name = |name: Option<&str>| Arc::clone(worker.table().tls(entrypoint, name.unwrap_or_default()));
    match clock::limit(limit, worker.handshakes.accept(raw, by_name)).await {
        Ok(Ok((stream, options))) => {
            let session = stream.get_ref().1;
            let name = session.server_name().map(tls::host_name);
            let table = worker.table();
            let cert = name.as_deref().and_then(|n| table.certs.lookup(n, tls::unix_now())).map(|c| c.id.clone());
            let version = session.protocol_version().and_then(|v| v.as_str());
            let client_certs = session.peer_certificates().map(Arc::from);
            let shaken = tls::shaken(session, cert.is_some());
            client.tls = Some(Tls { name, cert, version, options, shaken, client_certs });
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            activity.restart();
            let io = Watched::new(stream, Bytes::new(), activity);
            http(worker, client, io, is_http2).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
        Err(_) => worker.metrics.refuse(Refusal::HeadTimeout),
    }
}

/// Reads a PROXY header. A trusted peer may send one or not; what was read too far comes back.
async fn read_proxy_header(stream: &mut TcpStream) -> Result<(Option<SocketAddr>, Bytes), &'static str> {
    let mut read = BytesMut::with_capacity(256);
    loop {
        match proxy_protocol::parse(&read) {
            Outcome::NeedMore => {}
            Outcome::Absent => return Ok((None, read.freeze())),
            Outcome::Parsed { source, length, .. } => return Ok((source, read.split_off(length).freeze())),
            Outcome::Invalid(why) => return Err(why),
        }
        match stream.read_buf(&mut read).await {
            Ok(0) | Err(_) => return Err("the connection ended within it"),
            Ok(_) => {}
        }
    }
}

/// What hyper calls for each request. Its future is stored in the connection, not boxed for each.
fn requests(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
) -> impl Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: 'static> + use<> {
    let (worker, client) = (Rc::clone(worker), Rc::clone(client));
    service_fn(move |request| {
        let answer = forward::forward(Rc::clone(&worker), Rc::clone(&client), request);
        async { Ok(answer.await) }
    })
}

async fn http<S>(worker: &Rc<Worker>, client: Client, io: Watched<S>, is_http2: bool)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Rc::new(client);
    if is_http2 {
        return http2(worker, &client, io).await;
    }
    let head_bytes = worker.settings.limits.head_bytes;
    let connection = http1::Builder::new()
        .max_buf_size(head_bytes.max(8_192))
        .serve_connection(TokioIo::new(io), requests(worker, &client))
        .with_upgrades();
    let mut connection = pin!(Some(connection));
    let ended = watch(worker, &client, |cx, close| {
        let Some(mut connection) = connection.as_mut().as_pin_mut() else { return Poll::Ready(Ok(())) };
        if close {
            connection.as_mut().graceful_shutdown();
        }
        connection.poll(cx)
    })
    .await;
    match ended {
        // Prior knowledge: what was read goes to HTTP/2 from its first byte.
        Some(Err(error)) if error.is_parse_version_h2() && client.tls.is_none() => {
            let parts =
                connection.get_mut().take().and_then(hyper::server::conn::http1::UpgradeableConnection::into_parts);
            if let Some(parts) = parts {
                let io = parts.io.into_inner().rewind(parts.read_buf);
                http2(worker, &client, io).await;
            }
        }
        Some(Err(error)) => note(worker, &error),
        Some(Ok(())) | None => {}
    }
}

async fn http2<S>(worker: &Rc<Worker>, client: &Rc<Client>, io: Watched<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.activity.is_http2();
    let head_bytes = worker.settings.limits.head_bytes;
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .max_concurrent_streams(250)
        .max_header_list_size(u32::try_from(head_bytes).unwrap_or(u32::MAX))
        .initial_stream_window_size(256 * 1_024)
        .initial_connection_window_size(1 << 20)
        .max_send_buf_size(128 * 1_024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(io), requests(worker, client));
    let mut connection = pin!(connection);
    let ended = watch(worker, client, |cx, close| {
        if close {
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    });
    if let Some(Err(error)) = ended.await {
        note(worker, &error);
    }
}

/// How long a connection that has just been accepted, or is in the middle of a head, is waited for when the listeners
/// have closed; and how long a client has for its part of an orderly end.
const GRACE: Duration = Duration::from_secs(1);

/// Polls a connection to its end, or until its time is up. `poll` gets true once when the connection is to close
/// after what is in flight.
async fn watch(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    mut poll: impl FnMut(&mut Context<'_>, bool) -> Poll<hyper::Result<()>>,
) -> Option<hyper::Result<()>> {
    let limits = &worker.settings.limits;
    // How often a connection looks at its limits: each look finds the real end.
    let step = [limits.header, limits.keepalive, limits.body, GRACE * 10].into_iter().filter(|l| !l.is_zero()).min();
    let step_ms = u64::try_from(step.unwrap_or(GRACE).as_millis()).unwrap_or(u64::MAX).max(1);
    let mut look = Deadline::after(GRACE);
    let mut look_at = 0;
    let mut closing = false;
    // When an orderly end was begun because a limit had passed.
    let mut expired_at = None;
    let mut draining_since = None;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(ended) = poll(cx, false) {
            return Poll::Ready(Some(ended));
        }
        if worker.phase() >= Phase::Forced {
            return Poll::Ready(None);
        }
        // Woken by the clock, or for the first time: everything else pays one comparison.
        while look_at <= clock::now_ms() || worker.phase() >= Phase::Closing {
            let now = clock::now_ms();
            let end = client.expires_at(limits);
            if end <= now {
                if client.activity.in_head() {
                    worker.metrics.refuse(Refusal::HeadTimeout);
                    return Poll::Ready(None);
                }
                expired_at.get_or_insert(now);
            }
            // What was asked for at the last moment, or has moved on meanwhile, is not cut.
            if end <= now && expired_at.is_some_and(|at| io::after(at, GRACE) <= now) {
                return Poll::Ready(None);
            }
            let mut next = now.saturating_add(step_ms).min(end.max(now + 1));
            let mut close = expired_at.is_some();
            if worker.phase() >= Phase::Closing {
                // What is under way ends by itself (its answer says `Connection: close`); what is idle goes at once;
                // a head that is on its way gets a moment. hyper cuts both of the latter when told to close.
                let since = *draining_since.get_or_insert(now);
                // An idle one may still have bytes of its last answer to write: hyper sees to those.
                if client.activity.in_head() && io::after(since, GRACE * 2) <= now {
                    return Poll::Ready(None);
                }
                close |= client.activity.is_idle() || io::after(since, GRACE) <= now;
                next = next.min(now + 100);
            }
            if close
                && !std::mem::replace(&mut closing, true)
                && let Poll::Ready(ended) = poll(cx, true)
            {
                return Poll::Ready(Some(ended));
            }
            if expired_at.is_some() {
                next = next.min(now + 100);
            }
            look_at = next;
            look.set(next);
            if look.poll(cx).is_pending() {
                break;
            }
        }
        Poll::Pending
    })
    .await
}

fn note(worker: &Worker, error: &hyper::Error) {
    if error.is_parse_too_large() {
        worker.metrics.refuse(Refusal::HeadTooLarge);
    } else if error.is_parse() {
        worker.metrics.refuse(Refusal::Malformed);
    }
    tracing::debug!(%error, "a client connection ended");
}
