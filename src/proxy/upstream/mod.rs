//! Connections to endpoints: one set of pools for each worker, shared with nobody.
//!
//! [`Upstreams::of`] gives a worker's view of a service: its endpoint set with a [`Pool`] for each endpoint. A pool is
//! a stack of idle HTTP/1 connections (the hottest is used first, the rest age out) and a list of HTTP/2 ones.
//! Pools of endpoints that have left go with the view that held them.

mod chunked;
mod connect;
mod download;
mod framing;
pub(crate) mod http1;
pub(crate) mod http2;
pub(crate) mod idle;
mod stream;
mod tls;
pub(crate) mod upload;

use std::{
    cell::RefCell,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use hashbrown::HashMap;
use http::HeaderValue;

use http1::Http1;
use http2::{Http2, Ping, Turn};
pub(crate) use stream::Stream;
pub(crate) use tls::ClientTls;

use super::error::Error;
use crate::{
    balance::{Endpoint, EndpointSet, Options, Scheme, Service, Transport, transport::Parts},
    clock,
    metrics::Metrics,
    settings::Limits,
};

/// At most so many idle connections are kept for each endpoint and worker.
const MOST_IDLE: usize = 256;

/// What the pools of a service need: as the process's flags say, or as its transport does.
#[derive(Debug)]
pub(crate) struct Context {
    /// Limits on waits.
    pub(crate) limits: Limits,
    /// `None` for settings by which nothing can be spoken; `compile` lets none through.
    tls: Option<ClientTls>,
    ping: Ping,
    /// So many idle connections of an endpoint are kept.
    most_idle: usize,
    workers: usize,
    metrics: Arc<Metrics>,
}

impl Context {
    /// As flags say.
    pub(crate) fn new(limits: Limits, tls: ClientTls, workers: usize, metrics: Arc<Metrics>) -> Self {
        Self { limits, tls: Some(tls), ping: Ping::default(), most_idle: MOST_IDLE, workers, metrics }
    }

    /// As flags say where a transport does not.
    fn with(&self, parts: &Parts) -> Self {
        let tls = self.tls.as_ref().map(|tls| tls.with(parts)).transpose();
        let tls = tls.unwrap_or_else(|error| {
            tracing::error!(%error, "TLS to a service's endpoints can't be set up as its ServersTransport says");
            None
        });
        let waits = parts.waits;
        let limits = Limits {
            connect: waits.connect.unwrap_or(self.limits.connect),
            response: waits.response.unwrap_or(self.limits.response),
            upstream_idle: waits.idle.unwrap_or(self.limits.upstream_idle),
            ..self.limits
        };
        let ping = Ping {
            silence: waits.silence.unwrap_or(self.ping.silence),
            limit: waits.ping.unwrap_or(self.ping.limit),
            while_idle: waits.silence.is_some(),
        };
        // The number is the process's: each worker has its part of it.
        let share = |most: usize| if most == 0 { 0 } else { (most / self.workers.max(1)).max(1) };
        let most_idle = parts.most_idle.map_or(self.most_idle, share);
        Self { limits, tls, ping, most_idle, workers: self.workers, metrics: Arc::clone(&self.metrics) }
    }

    /// How long an idle connection is kept.
    fn idle_ms(&self) -> u64 {
        let idle = self.limits.upstream_idle;
        if idle.is_zero() { u64::MAX } else { u64::try_from(idle.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// A worker's connections to all endpoints.
#[derive(Debug)]
pub(crate) struct Upstreams {
    views: RefCell<HashMap<u64, Rc<View>, foldhash::fast::RandomState>>,
    context: Rc<Context>,
    /// By the fingerprint of a transport: services that name the same one share what is made of it.
    transports: RefCell<HashMap<[u8; 32], Weak<Context>, foldhash::fast::RandomState>>,
}

/// A worker's view of a service: the endpoint set as of a version, with a pool for each endpoint.
#[derive(Debug)]
pub(crate) struct View {
    version: u64,
    used_ms: std::cell::Cell<u64>,
    service: Arc<Service>,
    context: Rc<Context>,
    pub(crate) set: Arc<EndpointSet>,
    pools: Box<[Rc<Pool>]>,
}

impl View {
    /// The pool of the endpoint at an index of the set.
    pub(crate) fn pool(&self, index: usize) -> Option<&Rc<Pool>> {
        self.pools.get(index)
    }
}

impl Upstreams {
    pub(crate) fn new(context: Context) -> Self {
        Self { views: RefCell::default(), context: Rc::new(context), transports: RefCell::default() }
    }

    /// The view of a service as it is now. One atomic load when nothing has changed.
    pub(crate) fn of(&self, service: &Arc<Service>) -> Rc<View> {
        let mut views = self.views.borrow_mut();
        if let Some(view) = views.get(&service.id)
            && view.version == service.endpoints().version()
        {
            view.used_ms.set(clock::now_ms());
            return Rc::clone(view);
        }
        let view = self.view(service, views.get(&service.id));
        views.insert(service.id, Rc::clone(&view));
        view
    }

    fn view(&self, service: &Arc<Service>, before: Option<&Rc<View>>) -> Rc<View> {
        let (version, set) = service.endpoints().snapshot();
        // A service's options never change: with others it is another one, whose pools are its own.
        let context = before.map_or_else(|| self.context(service), |before| Rc::clone(&before.context));
        let old: HashMap<u64, &Rc<Pool>> =
            before.iter().flat_map(|v| v.pools.iter()).map(|p| (p.endpoint.live.id, p)).collect();
        let pools = set.endpoints().iter().map(|endpoint| match old.get(&endpoint.live.id) {
            Some(pool) => Rc::clone(pool),
            None => Rc::new(Pool::new(Arc::clone(endpoint), service.options.clone(), Rc::clone(&context))),
        });
        let pools = pools.collect();
        Rc::new(View { version, used_ms: clock::now_ms().into(), service: Arc::clone(service), context, set, pools })
    }

    /// What a service's pools need, made once for each transport.
    fn context(&self, service: &Service) -> Rc<Context> {
        let Some(transport) = service.options.transport.as_deref() else { return Rc::clone(&self.context) };
        let mut made = self.transports.borrow_mut();
        if let Some(context) = made.get(Transport::fingerprint(transport)).and_then(Weak::upgrade) {
            return context;
        }
        let context = Rc::new(self.context.with(transport.parts()));
        made.insert(*transport.fingerprint(), Rc::downgrade(&context));
        context
    }

    /// Closes what has been idle for too long, and forgets services that nobody asks for any more. Once a second.
    pub(crate) fn sweep(&self) {
        let now = clock::now_ms();
        let mut views = self.views.borrow_mut();
        views.retain(|_, view| view.used_ms.get().saturating_add(60_000) > now);
        for view in views.values_mut() {
            if view.version != view.service.endpoints().version() {
                let service = Arc::clone(&view.service);
                let used = view.used_ms.get();
                *view = self.view(&service, Some(view));
                view.used_ms.set(used);
            }
            for pool in &view.pools {
                pool.sweep(now);
            }
        }
        self.transports.borrow_mut().retain(|_, context| context.strong_count() > 0);
    }
}

/// The connections to one endpoint.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) endpoint: Arc<Endpoint>,
    options: Options,
    /// The endpoint's address as a Host, for services that are not passed the client's.
    pub(crate) authority: Option<HeaderValue>,
    #[expect(clippy::vec_box, reason = "a connection keeps its box from request to request")]
    idle: RefCell<Vec<Box<Http1>>>,
    http2: RefCell<Vec<Http2>>,
    context: Rc<Context>,
}

/// A connection to send a request on.
#[derive(Debug)]
pub(crate) enum Connection {
    /// HTTP/1.1, all of it.
    Http1(Box<Http1>),
    /// HTTP/2, a stream of it.
    Http2(Turn),
}

impl Pool {
    fn new(endpoint: Arc<Endpoint>, options: Options, context: Rc<Context>) -> Self {
        let authority = HeaderValue::try_from(endpoint.address.to_string()).ok();
        Self { endpoint, options, authority, idle: RefCell::default(), http2: RefCell::default(), context }
    }

    /// The limits on waits for its endpoint.
    pub(crate) fn limits(&self) -> &Limits {
        &self.context.limits
    }

    /// An idle connection, if there is one that still stands; HTTP/1 only for a request that wants to switch protocols.
    pub(crate) fn idle(&self, upgrade: bool) -> Option<Connection> {
        loop {
            let Some(mut connection) = self.idle.borrow_mut().pop() else { break };
            // The sweep comes once a second; an endpoint may close on the second.
            if connection.idle_since_ms.saturating_add(self.context.idle_ms()) >= clock::now_ms()
                && connection.is_usable()
            {
                connection.reused = true;
                return Some(Connection::Http1(connection));
            }
        }
        if upgrade && self.options.scheme == Scheme::Https {
            return None;
        }
        let http2 = self.http2.borrow();
        http2.iter().find(|c| c.has_room()).map(|c| Connection::Http2(c.reserve()))
    }

    /// A fresh connection; over TLS, HTTP/1 only for a request that wants to switch protocols.
    ///
    /// # Errors
    /// The endpoint is told to have failed when it can't be reached.
    pub(crate) async fn connect(&self, upgrade: bool) -> Result<Connection, Error> {
        let limit = self.limits().connect;
        self.context.metrics.upstream_connects.inc();
        let connecting = connect::connect(&self.endpoint, &self.options, self.context.tls.as_ref(), upgrade);
        let connected = clock::limit(limit, connecting).await;
        let (stream, http2) = match connected.map_err(|_| Error::ConnectTimeout).flatten() {
            Ok(connected) => connected,
            Err(error) => {
                self.context.metrics.upstream_connect_failures.inc();
                if error.is_connect() {
                    self.endpoint.live.failed(clock::precise_ms());
                }
                return Err(error);
            }
        };
        self.endpoint.live.succeeded();
        if !http2 {
            return Ok(Connection::Http1(Box::new(Http1::new(stream))));
        }
        let greeting = clock::limit(limit, Http2::start(stream, self.limits().head_bytes, self.context.ping)).await;
        let connection = greeting.map_err(|_| Error::ConnectTimeout).flatten()?;
        let turn = connection.reserve();
        self.http2.borrow_mut().push(connection);
        Ok(Connection::Http2(turn))
    }

    /// Takes an HTTP/1 connection back whose exchange is over.
    pub(super) fn put(&self, mut connection: Box<Http1>) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.context.most_idle && !self.endpoint.live.is_retired() && connection.is_usable() {
            connection.idle_since_ms = clock::now_ms();
            idle.push(connection);
        }
    }

    fn sweep(&self, now: u64) {
        let idle_ms = self.context.idle_ms();
        // The stack's bottom is the longest idle.
        let mut idle = self.idle.borrow_mut();
        let spent = idle.iter().take_while(|c| c.idle_since_ms.saturating_add(idle_ms) < now).count();
        drop(idle.drain(..spent));
        self.http2.borrow_mut().retain(|c| !c.is_spent(idle_ms));
    }

    /// The longest wait for a 100 before a body is sent without it.
    pub(crate) const CONTINUE: Duration = Duration::from_secs(1);
}
