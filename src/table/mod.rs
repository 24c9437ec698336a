//! The routing table: immutable, built by `compile`, looked up by every request and every handshake.
//!
//! entrypoint and host and path -> [`Route`] ([`host`], [`path`]); server name -> certificate ([`certs`]). It holds
//! `balance` services and `middleware` chains, and knows neither Kubernetes types nor sockets.

pub mod certs;
pub mod host;
pub mod path;
pub mod route;

use std::sync::Arc;

pub use certs::{Cert, CertId, Certs};
pub use host::{Hosts, host_of};
pub use path::{Matcher, Paths, Rule};
pub use route::{Action, Entrypoints, Route};

/// Everything that requests and handshakes are looked up in. Replaced whole.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Rules by host and path.
    pub hosts: Hosts,
    /// Certificates by server name.
    pub certs: Arc<Certs>,
}

impl Table {
    /// The route of a request.
    pub fn lookup(&self, entrypoint: usize, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.hosts.lookup(entrypoint, host, path)
    }
}

#[cfg(test)]
mod tests;
