//! The process's settings: made once by `cli::flags`, never changed. No default lives anywhere else.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::net::CidrSet;

/// Everything that flags and environment decide.
#[derive(Debug)]
pub struct Settings {
    /// What decides which Ingresses are ours and how they are read.
    pub claims: Claims,
    /// The listening sockets, in the order of their index in the table.
    pub entrypoints: Vec<Entrypoint>,
    /// Worker threads.
    pub workers: usize,
    /// Limits on every wait.
    pub limits: Limits,
    /// Peers whose forwarded headers and PROXY headers are believed.
    pub trusted: CidrSet,
    /// Whether trusted peers may send a PROXY protocol header.
    pub proxy_protocol: bool,
    /// `--redirect-to-https`: the port that plain HTTP is redirected to.
    pub redirect_to_https: Option<u16>,
    /// How backends that speak TLS are verified.
    pub upstream_tls: UpstreamTls,
    /// This host's name, for X-Forwarded-Server.
    pub hostname: String,
}

/// What decides which Ingresses are ours and how objects are read. All that `compile` needs to know of the process.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// `spec.controller` values of IngressClasses that are ours.
    pub controllers: Vec<String>,
    /// Names of classes that are ours even where there is no IngressClass object of that name.
    pub classes: Vec<String>,
    /// Ingresses without any class are ours.
    pub unclassed: bool,
    /// Where there is no IngressClass object at all, every Ingress is ours (files).
    pub any_when_no_class: bool,
    /// ExternalName Services may be used.
    pub external_name: bool,
    /// ExternalName may lead to loopback addresses (files).
    pub external_loopback: bool,
    /// Middlewares of other namespaces may be named.
    pub cross_namespace: bool,
    /// Names of the entrypoints, in the order of their index; those with TLS are marked.
    pub entrypoints: Vec<(String, bool)>,
    /// Whether Traefik's own unsigned cookies count as pins.
    pub legacy_cookies: bool,
}

/// A named listening socket.
#[derive(Clone, Debug)]
pub struct Entrypoint {
    /// `web`, `websecure`, or a name of the user's.
    pub name: String,
    /// Where to listen.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// A limit on every wait; zero is none.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// TLS handshake, PROXY header included.
    pub handshake: Duration,
    /// From the first byte of a request to the end of its head.
    pub header: Duration,
    /// An idle client connection.
    pub keepalive: Duration,
    /// Between two pieces of a body, either way.
    pub body: Duration,
    /// Connecting to an endpoint, TLS included.
    pub connect: Duration,
    /// From the request's end to the first byte of the answer.
    pub response: Duration,
    /// An idle connection to an endpoint.
    pub upstream_idle: Duration,
    /// A tunnel (WebSocket) in which nothing moves.
    pub tunnel: Duration,
    /// From SIGTERM to closed listeners.
    pub drain_delay: Duration,
    /// From closed listeners to the end.
    pub drain: Duration,
    /// Bytes of a request or response head.
    pub head_bytes: usize,
}

/// How backends that speak TLS are verified.
#[derive(Clone, Debug, Default)]
pub struct UpstreamTls {
    /// More trusted roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// Any certificate will do.
    pub insecure_skip_verify: bool,
}
