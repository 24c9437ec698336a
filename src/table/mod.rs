//! The routing table: immutable, built by `compile`, looked up by every request and every handshake.
//!
//! entrypoint and host and path -> [`Route`] ([`host`], [`path`]); server name -> certificate ([`certs`]); entrypoint and
//! host -> how handshakes are done ([`tls`]). It holds `balance` services and `middleware` chains, and knows neither Kubernetes types nor sockets.

pub mod certs;
pub mod host;
pub mod path;
pub mod route;
pub mod tls;

use std::sync::Arc;

pub use certs::{Cert, CertId, Certs};
pub use host::{Hosts, host_of};
pub use path::{Matcher, Paths, Rule};
pub use route::{Action, Entrypoints, Route};
pub use tls::TlsOptions;

/// Everything that requests and handshakes are looked up in. Replaced whole.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Rules by host and path.
    pub hosts: Hosts,
    /// Certificates by server name.
    pub certs: Arc<Certs>,
    /// How handshakes are done for rules that name no TLSOption.
    pub tls: Arc<TlsOptions>,
}

impl Table {
    /// The route of a request.
    pub fn lookup(&self, entrypoint: usize, host: &str, path: &str) -> Option<&Arc<Route>> {
        self.hosts.lookup(entrypoint, host, path)
    }

    /// How handshakes are done for a host (see [`host_of`]; empty where the client names none).
    pub fn tls(&self, entrypoint: usize, host: &str) -> &Arc<TlsOptions> {
        self.hosts.tls(entrypoint, host, &self.tls)
    }
}

#[cfg(test)]
mod tests;
