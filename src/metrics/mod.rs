//! What Headgate counts, and how it is told to Prometheus.
//!
//! - `shard.rs`: requests and durations, one shard for each worker thread; a record costs a few plain loads and stores;
//! - `process.rs`: what the kernel says of this process;
//! - `encode.rs`: the text that a scrape gets, shards summed.
//!
//! What happens seldom (a connection, a retry, a reload) is one shared atomic here. The room takes labels and numbers
//! and knows nothing of tables, sockets or Kubernetes objects.

mod encode;
mod process;
mod shard;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

pub use shard::{Series, Shard};

use shard::{Registry, ShardSeries};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the number.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ids of labels: never given twice in a process, never 0, which stands for "no label".
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The labels that a request takes from its route. A table that replaces another carries them over wherever names are
/// the same: new labels with old names would start a second series, and the sum of both falls when the first is
/// dropped, which Prometheus takes for a restart.
#[derive(Debug)]
pub struct RouteLabels {
    id: u64,
    /// Namespace of the Ingress.
    pub namespace: Arc<str>,
    /// Name of the Ingress.
    pub ingress: Arc<str>,
    /// Name of the Service that its rule names; empty where there is none.
    pub service: Arc<str>,
    retired: AtomicBool,
}

impl RouteLabels {
    /// Labels with an id of their own.
    pub fn new(
        namespace: impl Into<Arc<str>>,
        ingress: impl Into<Arc<str>>,
        service: impl Into<Arc<str>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            namespace: namespace.into(),
            ingress: ingress.into(),
            service: service.into(),
            retired: AtomicBool::new(false),
        })
    }

    /// Says that no table holds this route any more; its series go after a while (see [`Shard::sweep`]).
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

/// The label that a request takes from the endpoint that answered it. To be carried over like [`RouteLabels`].
#[derive(Debug)]
pub struct EndpointLabels {
    id: u64,
    /// Name of the pod, or its address where there is no pod.
    pub pod: Arc<str>,
    retired: AtomicBool,
}

impl EndpointLabels {
    /// A label with an id of its own.
    pub fn new(pod: impl Into<Arc<str>>) -> Arc<Self> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, pod: pod.into(), retired: AtomicBool::new(false) })
    }

    /// Says that the endpoint is gone; its series go after a while (see [`Shard::sweep`]).
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }
}

/// Why a request was answered before any route had it (label `reason` of `headgate_refused_requests_total`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Two parsers could read it differently, or none can: 400.
    Malformed,
    /// The head is larger than the limit: 431.
    HeadTooLarge,
    /// The head did not come in time: 408, or no answer.
    HeadTimeout,
    /// The connection is not for this host: 421.
    Misdirected,
    /// A method that Headgate does not serve (CONNECT): 501.
    Method,
    /// No route matches: 404.
    NoRoute,
}

impl Refusal {
    const ALL: [Self; 6] =
        [Self::Malformed, Self::HeadTooLarge, Self::HeadTimeout, Self::Misdirected, Self::Method, Self::NoRoute];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::Misdirected => "misdirected",
            Self::Method => "method",
            Self::NoRoute => "no_route",
        }
    }
}

/// Namespace and name of a Secret.
type SecretKey = (Arc<str>, Arc<str>);

/// Connections of one entrypoint.
#[derive(Debug, Default)]
pub struct EntrypointMetrics {
    /// `headgate_connections_open`.
    pub open: Gauge,
    /// `headgate_connections_total`: accepted since the start.
    pub total: Counter,
}

/// What is written back to a cluster.
#[derive(Debug, Default)]
pub struct ReportMetrics {
    /// `headgate_leader`: 1 while this replica holds the Lease.
    pub leader: Gauge,
    /// `headgate_status_writes_total{result="ok"}`: statuses of Ingresses written.
    pub status_ok: Counter,
    /// `headgate_status_writes_total{result="error"}`: attempts that failed.
    pub status_error: Counter,
    /// `headgate_events_total{result="ok"}`: Events written.
    pub events_ok: Counter,
    /// `headgate_events_total{result="error"}`: attempts that failed.
    pub events_error: Counter,
    /// `headgate_events_total{result="dropped"}`: never tried, because too many were waiting.
    pub events_dropped: Counter,
}

/// All numbers of the process. One of these, shared by all.
#[derive(Debug)]
pub struct Metrics {
    /// `headgate_upstream_connects_total`: connections opened to endpoints.
    pub upstream_connects: Counter,
    /// `headgate_upstream_connect_failures_total`: connections that could not be opened.
    pub upstream_connect_failures: Counter,
    /// `headgate_retries_total`: requests sent again, to the same endpoint or another.
    pub retries: Counter,
    /// `headgate_access_log_dropped_total`: see `proxy::access_log`, which counts here.
    pub access_log_dropped: Arc<Counter>,
    /// `headgate_config_reloads_total`: tables published.
    pub config_reloads: Counter,
    /// `headgate_config_last_reload_success_timestamp_seconds`, Unix time.
    pub config_last_reload: Gauge,
    /// `headgate_diagnostics{severity="error"}`.
    pub diagnostics_error: Gauge,
    /// `headgate_diagnostics{severity="warning"}`.
    pub diagnostics_warning: Gauge,
    /// `headgate_diagnostics{severity="info"}`.
    pub diagnostics_info: Gauge,
    /// `headgate_routes` in the table in force.
    pub routes: Gauge,
    /// `headgate_services` in the table in force.
    pub services: Gauge,
    /// `headgate_endpoints` of all services in the table in force.
    pub endpoints: Gauge,
    /// `headgate_ready`: 1 when `/readyz` says yes.
    pub ready: Gauge,
    /// What the room `report` writes to the cluster.
    pub report: ReportMetrics,
    refused: [Counter; Refusal::ALL.len()],
    entrypoints: Mutex<BTreeMap<Arc<str>, Arc<EntrypointMetrics>>>,
    certificates: Mutex<BTreeMap<SecretKey, i64>>,
    registry: Arc<Registry>,
    shards: Mutex<Vec<Arc<ShardSeries>>>,
}

impl Metrics {
    /// Series that are told apart by pod, in the whole process; beyond, see [`Metrics::with_max_series`].
    pub const DEFAULT_MAX_SERIES: usize = 10_000;

    /// All zero, with the default limit.
    pub fn new() -> Arc<Self> {
        Self::with_max_series(Self::DEFAULT_MAX_SERIES)
    }

    /// All zero. Beyond `max_series` pairs of route and endpoint, a new pair counts under its route alone, with an
    /// empty pod; beyond twice as many, under one series whose labels are all empty.
    pub fn with_max_series(max_series: usize) -> Arc<Self> {
        Arc::new(Self {
            upstream_connects: Counter::default(),
            upstream_connect_failures: Counter::default(),
            retries: Counter::default(),
            access_log_dropped: Arc::default(),
            config_reloads: Counter::default(),
            config_last_reload: Gauge::default(),
            diagnostics_error: Gauge::default(),
            diagnostics_warning: Gauge::default(),
            diagnostics_info: Gauge::default(),
            routes: Gauge::default(),
            services: Gauge::default(),
            endpoints: Gauge::default(),
            ready: Gauge::default(),
            report: ReportMetrics::default(),
            refused: Default::default(),
            entrypoints: Mutex::default(),
            certificates: Mutex::default(),
            registry: Arc::new(Registry::new(max_series)),
            shards: Mutex::default(),
        })
    }

    /// A new shard, for one worker thread to keep as long as it lives. Its numbers stay when it is dropped.
    pub fn shard(&self) -> Shard {
        let (shard, series) = Shard::new(Arc::clone(&self.registry));
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(series);
        shard
    }

    /// The counters of an entrypoint, made at the first call; to be kept, since the call takes a lock.
    pub fn entrypoint(&self, name: &str) -> Arc<EntrypointMetrics> {
        let mut entrypoints = self.entrypoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = entrypoints.get(name) {
            return Arc::clone(known);
        }
        Arc::clone(entrypoints.entry(name.into()).or_default())
    }

    /// Counts a request that no route had.
    pub fn refuse(&self, reason: Refusal) {
        if let Some(counter) = self.refused.get(reason as usize) {
            counter.inc();
        }
    }

    /// Replaces `headgate_certificate_expiry_seconds`: namespace and name of each Secret, and the Unix time at which
    /// its certificate ends.
    pub fn set_certificates(&self, certificates: impl IntoIterator<Item = (Arc<str>, Arc<str>, i64)>) {
        let by_secret = certificates.into_iter().map(|(namespace, secret, expiry)| ((namespace, secret), expiry));
        *self.certificates.lock().unwrap_or_else(PoisonError::into_inner) = by_secret.collect();
    }
}

#[cfg(test)]
mod tests;
