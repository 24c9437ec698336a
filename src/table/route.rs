//! One route: a host and path rule of one Ingress, with everything that its requests need.

use std::sync::Arc;

use super::tls::TlsOptions;
use crate::{
    balance::{Service, Sticky},
    metrics::RouteLabels,
    middleware::Chain,
};

/// Which entrypoints a route is served on: bit `n` is the entrypoint of index `n` in the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entrypoints(pub u32);

impl Entrypoints {
    /// Whether the entrypoint of this index is one of them.
    pub fn contains(self, index: usize) -> bool {
        index < 32 && self.0 & (1 << index) != 0
    }

    /// Whether the two have one in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a route does with a request.
#[derive(Debug)]
pub enum Action {
    /// Send it to an endpoint of this service.
    Forward(Arc<Service>),
    /// The service or its port does not exist: 503, after the middlewares have had their say.
    NoService(Box<str>),
    /// A protection could not be built: 503 before anything else, so that nothing is served open.
    Closed(Box<str>),
}

/// One host and path rule, compiled.
#[derive(Debug)]
pub struct Route {
    /// Namespace, Ingress and service, as metrics and the access log name them.
    pub labels: Arc<RouteLabels>,
    /// The rule's host; empty for every host.
    pub host: Arc<str>,
    /// The rule's path as the user wrote it.
    pub path: Arc<str>,
    /// Where it is served.
    pub entrypoints: Entrypoints,
    /// What it does.
    pub action: Action,
    /// Its middlewares.
    pub chain: Chain,
    /// Names of its middlewares, outermost first, for people.
    pub middlewares: Box<[Arc<str>]>,
    /// The TLSOption that it names; it is on entrypoints that speak TLS only then.
    pub tls: Option<Arc<TlsOptions>>,
    /// Its sticky cookie.
    pub sticky: Option<Sticky>,
    /// An ACME HTTP-01 challenge: never redirected to https.
    pub acme: bool,
    /// Whether its requests are logged (`router.observability.accesslogs`).
    pub access_log: bool,
    /// Whether its requests are counted (`router.observability.metrics`).
    pub metrics: bool,
}

impl Route {
    /// The same rule, closed.
    pub fn closed(&self, reason: impl Into<Box<str>>) -> Self {
        Self {
            labels: Arc::clone(&self.labels),
            host: Arc::clone(&self.host),
            path: Arc::clone(&self.path),
            entrypoints: self.entrypoints,
            action: Action::Closed(reason.into()),
            chain: Chain::default(),
            middlewares: self.middlewares.clone(),
            tls: self.tls.clone(),
            sticky: None,
            acme: self.acme,
            access_log: self.access_log,
            metrics: self.metrics,
        }
    }
}
