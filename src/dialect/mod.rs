//! Annotations made into typed options, one file for each vocabulary.
//!
//! The types here are what any dialect can say of a route or a service; `compile` reads only them and never sees an
//! annotation. A dialect takes the metadata of one object and gives its options and diagnostics; an invalid annotation
//! costs only itself, unless it concerns protection: then it closes the route, so that nothing is served unprotected
//! because of a typing error.

pub mod traefik;

use std::sync::Arc;

/// What annotations say of all routes of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteOptions {
    /// Names of the entrypoints that serve it; `None` for the default ones.
    pub entrypoints: Option<Vec<Arc<str>>>,
    /// References to middlewares as written, trimmed, in order.
    pub middlewares: Vec<Arc<str>>,
    /// Goes before every other order when set; higher first.
    pub priority: Option<i64>,
    /// How paths of type ImplementationSpecific match.
    pub path_matcher: PathMatcher,
    /// True: only on entrypoints that speak TLS. False and `None`: on all its entrypoints, with TLS and without.
    pub tls: Option<bool>,
    /// Reference to a TLSOption as written, also one that can't be read: then the routes are closed.
    pub tls_options: Option<Arc<str>>,
    /// Whether requests are logged; `None` for what is set globally.
    pub access_log: Option<bool>,
    /// Whether requests are counted; `None` for what is set globally.
    pub metrics: Option<bool>,
    /// Why the routes must answer 503: an annotation that concerns protection is invalid, or not understood.
    pub closed: Option<String>,
}

/// How a path of type ImplementationSpecific matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PathMatcher {
    /// The whole path.
    Path,
    /// Whole elements from the start of the path.
    #[default]
    PathPrefix,
    /// A regular expression.
    PathRegexp,
    /// The annotation names none of these: such paths are closed, others of the Ingress are not concerned.
    Invalid,
}

/// What annotations say of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// How endpoints are spoken to; `None` for what the port says.
    pub scheme: Option<Scheme>,
    /// Whether the client's Host is sent on; true unless it says otherwise.
    pub pass_host_header: bool,
    /// Whether the Service's own address is used instead of its endpoints.
    pub native_lb: bool,
    /// Whether node addresses and node ports are used instead of endpoints.
    pub node_port_lb: bool,
    /// A sticky cookie, if one is asked for.
    pub sticky: Option<StickyOptions>,
    /// References to middlewares as written, trimmed, in order; innermost.
    pub middlewares: Vec<Arc<str>>,
    /// Reference to a ServersTransport as written.
    pub servers_transport: Option<Arc<str>>,
    /// Why routes to this Service must answer 503: an annotation that concerns protection is invalid.
    pub closed: Option<String>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            scheme: None,
            pass_host_header: true,
            native_lb: false,
            node_port_lb: false,
            sticky: None,
            middlewares: Vec::new(),
            servers_transport: None,
            closed: None,
        }
    }
}

/// How endpoints are spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1
    Http,
    /// HTTP/1.1 over TLS
    Https,
    /// HTTP/2 without TLS, by prior knowledge
    H2c,
}

/// The attributes of a sticky cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StickyOptions {
    /// The name as written; `None` for the derived one.
    pub name: Option<Arc<str>>,
    /// `Secure`
    pub secure: bool,
    /// `HttpOnly`
    pub http_only: bool,
    /// `SameSite`; `None` for no such attribute.
    pub same_site: Option<SameSite>,
    /// `Max-Age` in seconds; `None` for a session cookie, negative as Traefik has it: `Max-Age=0`.
    pub max_age: Option<i64>,
    /// `Path`; `None` for `/`.
    pub path: Option<Arc<str>>,
    /// `Domain`; `None` for no such attribute.
    pub domain: Option<Arc<str>>,
    /// Whether it is sent with each answer, so that `Max-Age` counts from the last request. Ours.
    pub slide: bool,
    /// Whether it is kept from the backend. Ours.
    pub strip: bool,
}

/// The `SameSite` attribute of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// `None`
    None,
    /// `Lax`
    Lax,
    /// `Strict`
    Strict,
}
