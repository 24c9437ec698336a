//! What happens to a request and its answer for a user's reason: Traefik's HTTP middlewares.
//!
//! `compile` builds a [`Chain`] for each route, in the order of the annotation; `proxy::forward` sends each request
//! through it ([`Chain::run`]), and is itself the [`Upstream`] at its inner end. Everything that can be decided when the
//! table is compiled (header values, regexes, password hashes) is held ready here. Nothing in this room knows
//! Kubernetes types, and nothing opens a socket.

pub mod add_prefix;
pub mod basic_auth;
pub mod buffering;
mod chain;
pub mod circuit_breaker;
pub mod compress;
mod content_type;
pub mod digest_auth;
pub mod encoded_characters;
pub mod errors;
pub mod expression;
pub mod forward_auth;
pub mod grpc_web;
pub mod headers;
pub mod in_flight;
mod invalid;
pub mod ip_allow_list;
pub mod kept;
pub mod list;
mod login;
pub mod pass_tls_client_cert;
pub mod pattern;
mod process_key;
pub mod rate_limit;
mod redirect;
pub mod redirect_regex;
pub mod redirect_scheme;
pub mod replace_path;
pub mod replace_path_regex;
pub mod retry;
mod rewrite;
pub mod source;
mod spelling;
pub mod statuses;
pub mod strip_prefix;
pub mod strip_prefix_regex;
mod upstream;
mod vouched;

use std::{fmt::Debug, net::IpAddr, sync::Arc};

use http::{HeaderMap, Method, Response, StatusCode, header};
use rustls_pki_types::CertificateDer;
use smallvec::SmallVec;

pub use add_prefix::AddPrefix;
pub use basic_auth::BasicAuth;
pub use buffering::Buffering;
pub use chain::{Boxed, Chain, Next};
pub use circuit_breaker::CircuitBreaker;
pub use compress::Compress;
pub use digest_auth::{DigestAuth, Spent};
pub use encoded_characters::EncodedCharacters;
pub use errors::Errors;
pub use forward_auth::ForwardAuth;
pub use grpc_web::GrpcWeb;
pub use headers::Headers;
pub use in_flight::InFlight;
pub use invalid::InvalidField;
pub use ip_allow_list::IpAllowList;
pub use pass_tls_client_cert::PassTlsClientCert;
pub use rate_limit::RateLimit;
pub use redirect_regex::RedirectRegex;
pub use redirect_scheme::RedirectScheme;
pub use replace_path::ReplacePath;
pub use replace_path_regex::ReplacePathRegex;
pub use retry::Retry;
pub use statuses::Statuses;
pub use strip_prefix::StripPrefix;
pub use strip_prefix_regex::StripPrefixRegex;
pub use upstream::{Failed, Upstream};

use crate::{
    body::{Body, BodyKind},
    target::Target,
};

/// A request on its way inwards.
#[derive(Debug)]
pub struct Request {
    /// What most middlewares see and change.
    pub head: Head,
    /// The body: the client's own as it comes, or what a middleware has put in its place.
    pub body: Body,
    /// How the body is framed towards the endpoint. Who replaces the body says so here.
    pub kind: BodyKind,
    /// Whether the client wants to switch protocols (WebSocket): its answer may be a 101, which is passed on as it is.
    pub upgrade: bool,
    /// Whether its answer may end with trailers: the client takes them, or a middleware makes something of them.
    pub trailers: bool,
    /// What it is counted by until its answer has ended, tunnels included.
    pub permits: Permits,
    /// The digest proof that it has spent: it counts for all tries of this request, and for no other's.
    pub spent: Spent,
}

impl Request {
    /// One that wants no other protocol and no trailers, and that nothing has counted yet.
    pub fn new(head: Head, body: Body, kind: BodyKind) -> Self {
        Self { head, body, kind, upgrade: false, trailers: false, permits: Permits::new(), spent: Spent::default() }
    }
}

/// See [`Request::permits`].
pub type Permits = SmallVec<[Box<dyn Permit>; 1]>;

/// Something that a request holds, and gives back when it is dropped.
pub trait Permit: Debug {}

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request method.
    pub method: Method,
    /// Normalised path, and query.
    pub target: Target,
    /// The client's headers; forwarded headers of untrusted peers are gone already, hop-by-hop headers are not.
    pub headers: HeaderMap,
    /// The host the request was routed by: lower case, without port and trailing dot. Empty when there is none.
    pub host: String,
    /// The port in the Host header or authority, if one was there.
    pub port: Option<u16>,
    /// The Host that is sent upstream in place of the client's, where a middleware sets one.
    pub upstream_host: Option<http::HeaderValue>,
    /// Whether the client speaks TLS: to us, or to a trusted proxy that says so in X-Forwarded-Proto.
    pub secure: bool,
    /// The client: the peer, or what a trusted peer says.
    pub client: IpAddr,
    /// The other end of the connection, or of the PROXY header's.
    pub peer: IpAddr,
    /// The client's certificate and those it came with (DER), if it showed one on this connection.
    pub client_certs: Option<Arc<[CertificateDer<'static>]>>,
    /// The authenticated user, for the access log.
    pub user: Option<String>,
}

impl Head {
    /// `http` or `https`, as the client sees it.
    pub fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }
}

/// One middleware, ready to run. A clone is the same one: it shares its state.
#[derive(Clone, Debug)]
pub enum Middleware {
    /// `headers`
    Headers(Arc<Headers>),
    /// `redirectScheme`
    RedirectScheme(RedirectScheme),
    /// `redirectRegex`
    RedirectRegex(Arc<RedirectRegex>),
    /// `addPrefix`
    AddPrefix(Arc<AddPrefix>),
    /// `stripPrefix`
    StripPrefix(Arc<StripPrefix>),
    /// `stripPrefixRegex`
    StripPrefixRegex(Arc<StripPrefixRegex>),
    /// `replacePath`
    ReplacePath(Arc<ReplacePath>),
    /// `replacePathRegex`
    ReplacePathRegex(Arc<ReplacePathRegex>),
    /// `encodedCharacters`
    EncodedCharacters(EncodedCharacters),
    /// `contentType`
    ContentType,
    /// `basicAuth`
    BasicAuth(Arc<BasicAuth>),
    /// `digestAuth`
    DigestAuth(Arc<DigestAuth>),
    /// `forwardAuth`
    ForwardAuth(Arc<ForwardAuth>),
    /// `passTLSClientCert`
    PassTlsClientCert(PassTlsClientCert),
    /// `ipAllowList`, `ipWhiteList`
    IpAllowList(Arc<IpAllowList>),
    /// `rateLimit`
    RateLimit(Arc<RateLimit>),
    /// `inFlightReq`
    InFlight(Arc<InFlight>),
    /// `buffering`
    Buffering(Arc<Buffering>),
    /// `compress`
    Compress(Arc<Compress>),
    /// `grpcWeb`
    GrpcWeb(Arc<GrpcWeb>),
    /// `retry`
    Retry(Arc<Retry>),
    /// `circuitBreaker`
    CircuitBreaker(Arc<CircuitBreaker>),
    /// `errors`
    Errors(Arc<Errors>),
}

impl Middleware {
    /// One of the same settings that has seen no request yet, if this one remembers requests: each route has its own.
    /// `None` for those that all routes may share.
    pub fn fresh(&self) -> Option<Self> {
        match self {
            Self::RateLimit(m) => Some(Self::RateLimit(Arc::new(m.fresh()))),
            Self::InFlight(m) => Some(Self::InFlight(Arc::new(m.fresh()))),
            Self::CircuitBreaker(m) => Some(Self::CircuitBreaker(Arc::new(m.fresh()))),
            _ => None,
        }
    }

    /// Whether the other has the same settings, so that what this one remembers may stand for it.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::RateLimit(m), Self::RateLimit(other)) => m.is_like(other),
            (Self::InFlight(m), Self::InFlight(other)) => m.is_like(other),
            (Self::CircuitBreaker(m), Self::CircuitBreaker(other)) => m.is_like(other),
            _ => false,
        }
    }
}

/// What a middleware decides on the request side.
#[derive(Debug)]
pub enum Flow {
    /// Go on to the next.
    Continue,
    /// This is the answer.
    Respond(Response<Body>),
    /// It stands around all that is inside of it.
    Around,
}

/// A plain-text answer, as Traefik writes its own: the status text as body.
pub fn plain(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::from(status.canonical_reason().unwrap_or("")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
