//! What middlewares reach the network by: the proxy has the sockets.

use std::{sync::Arc, time::Duration};

use http::Response;

use super::Request;
use crate::{balance::Service, body::Body};

/// The way from the innermost middleware to an endpoint, and from any of them to another service.
pub trait Upstream {
    /// Sends the request to an endpoint of the route's service. There is always an answer: where no endpoint gives one,
    /// it is the proxy's own and bears [`Failed`].
    fn forward(&mut self, request: &mut Request) -> impl Future<Output = Response<Body>>;

    /// Asks an endpoint of another service. The request gets the forwarded headers of the one that is being served, and
    /// its Host unless `head.upstream_host` is set. Where no endpoint answers, the answer bears [`Failed`].
    fn fetch(&mut self, service: &Arc<Service>, request: Request) -> impl Future<Output = Response<Body>>;

    /// Notes that a middleware sends the request once more: for the metric and the access log.
    fn retried(&mut self) {}

    /// The longest silence in the middle of a body, for who reads the client's by itself; zero is no limit.
    fn body_idle(&self) -> Duration {
        Duration::ZERO
    }
}

/// An extension of answers that the proxy makes itself because no endpoint has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whether it is sure that no endpoint has seen a byte of the request, so that it may be sent again, whatever its
    /// method.
    pub unsent: bool,
}

#[cfg(test)]
pub(crate) mod tests;
