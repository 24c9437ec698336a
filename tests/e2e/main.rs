//! End to end: the real binary on real sockets, manifests from a directory, backends in this process.

// A test that meets the unexpected should stop there and say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod support;

mod admin;
mod balance;
mod commands;
mod drain;
mod examples_served;
mod forwarding;
mod h2;
mod hostile;
mod middlewares;
mod reload;
mod routing;
mod servers_transport;
mod smuggling;
mod sticky;
mod timeouts;
mod tls;
mod tls_options;
mod upgrade;
