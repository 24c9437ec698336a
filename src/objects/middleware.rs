//! The Middleware custom resource, `traefik.io/v1alpha1`: Traefik's fields with Traefik's names, and `sticky`.
//!
//! [`MiddlewareSpec`] is at once the source of crds/ (`super::crd` prints its schema, so that these docstrings are
//! what `kubectl explain` shows) and what manifests and API answers are read into. It has all types and fields of
//! Traefik v3.7, also those that nothing serves yet, so that a file for Traefik can be read. Whether values make sense
//! is for `compile` and `middleware`. The types are in files by what they do.

mod answers;
mod auth;
mod chain;
mod client_cert;
mod errors;
mod headers;
mod ip;
mod limits;
mod redirect;
mod resilience;
mod rewrite;
mod sticky;
mod values;

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

pub use answers::{Compress, ContentType, GrpcWeb};
pub use auth::{BasicAuth, ClientTls, DigestAuth, ForwardAuth, ForwardAuthTls};
pub use chain::{Chain, MiddlewareRef};
pub use client_cert::{CertInfo, CertIssuer, CertSubject, PassTlsClientCert};
pub use errors::{
    ErrorService, Errors, HealthCheck, PassiveHealthCheck, ResponseForwarding, ServiceCookie, ServiceKind,
    ServiceSticky, Strategy,
};
pub use headers::Headers;
pub use ip::{IpAllowList, IpStrategy, IpWhiteList, SourceCriterion};
pub use limits::{Buffering, InFlightReq, RateLimit, Redis};
pub use redirect::{RedirectRegex, RedirectScheme};
pub use resilience::{CircuitBreaker, Retry};
pub use rewrite::{AddPrefix, EncodedCharacters, ReplacePath, ReplacePathRegex, StripPrefix, StripPrefixRegex};
pub use sticky::{Cookie, SameSite, Sticky};
pub use values::{AnyJson, Duration, IntOrString, StatusRange};

use super::{Custom, NoEffect};

/// `traefik.io/v1alpha1` Middleware, as it was written.
pub type Middleware = Custom<MiddlewareSpec>;

// Large types are boxed: there is one in a Middleware, and room for all in each.
/// What the middleware does: exactly one of these types.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "traefik.io",
    version = "v1alpha1",
    kind = "Middleware",
    root = "MiddlewareResource",
    plural = "middlewares",
    singular = "middleware",
    namespaced,
    doc = "A Middleware changes or answers requests before they reach a backend. Ingresses name it in the annotation \
           traefik.ingress.kubernetes.io/router.middlewares as NAMESPACE-NAME@kubernetescrd."
)]
#[schemars(transform = one_type)]
#[serde(rename_all = "camelCase")]
pub struct MiddlewareSpec {
    /// Keeps a client on the pod that answered it first, by a signed cookie (Headgate's own type).
    pub sticky: Option<Sticky>,
    /// Sets and removes headers of requests and answers, answers CORS preflights, sets security headers.
    pub headers: Option<Box<Headers>>,
    /// Redirects requests that come by another scheme or port.
    pub redirect_scheme: Option<RedirectScheme>,
    /// Removes a prefix from the path before the request is forwarded.
    pub strip_prefix: Option<StripPrefix>,
    /// Asks for a user name and password.
    pub basic_auth: Option<BasicAuth>,
    /// Several middlewares under one name.
    pub chain: Option<Chain>,
    /// Puts a prefix before the path.
    pub add_prefix: Option<AddPrefix>,
    /// Removes what a regular expression matches from the start of the path.
    pub strip_prefix_regex: Option<StripPrefixRegex>,
    /// Replaces the path.
    pub replace_path: Option<ReplacePath>,
    /// Replaces the path by a regular expression.
    pub replace_path_regex: Option<ReplacePathRegex>,
    /// Redirects by a regular expression over the whole URL.
    pub redirect_regex: Option<RedirectRegex>,
    /// Asks for a user name and password by HTTP Digest.
    pub digest_auth: Option<Box<DigestAuth>>,
    /// Asks another server whether a request may pass.
    pub forward_auth: Option<Box<ForwardAuth>>,
    /// Lets only some client addresses pass.
    pub ip_allow_list: Option<Box<IpAllowList>>,
    /// Deprecated name of ipAllowList.
    pub ip_white_list: Option<Box<IpWhiteList>>,
    /// Limits how many requests come in a time.
    pub rate_limit: Option<Box<RateLimit>>,
    /// Limits how many requests run at once.
    pub in_flight_req: Option<Box<InFlightReq>>,
    /// Reads whole requests and answers before it passes them on.
    pub buffering: Option<Box<Buffering>>,
    /// Stops asking a backend that fails.
    pub circuit_breaker: Option<Box<CircuitBreaker>>,
    /// Compresses answers.
    pub compress: Option<Box<Compress>>,
    /// Guesses the type of answers that have none.
    pub content_type: Option<ContentType>,
    /// Shows pages of another service in place of errors.
    pub errors: Option<Box<Errors>>,
    /// Tries a failed request again.
    pub retry: Option<Box<Retry>>,
    /// Tells the backend about the client's certificate.
    #[serde(rename = "passTLSClientCert")]
    pub pass_tls_client_cert: Option<PassTlsClientCert>,
    /// Translates gRPC-Web to gRPC.
    pub grpc_web: Option<GrpcWeb>,
    /// Allows or refuses reserved characters in encoded form.
    pub encoded_characters: Option<EncodedCharacters>,
    /// A Traefik plugin's name, and its configuration.
    pub plugin: Option<BTreeMap<String, AnyJson>>,
}

impl MiddlewareSpec {
    /// The types that are set, by their field names. Traefik's rule is that there is exactly one; an empty section
    /// (`compress: {}`) counts, `null` does not, as the API server drops it.
    pub fn kinds(&self) -> Vec<&'static str> {
        let all = [
            ("sticky", self.sticky.is_some()),
            ("headers", self.headers.is_some()),
            ("redirectScheme", self.redirect_scheme.is_some()),
            ("stripPrefix", self.strip_prefix.is_some()),
            ("basicAuth", self.basic_auth.is_some()),
            ("chain", self.chain.is_some()),
            ("addPrefix", self.add_prefix.is_some()),
            ("stripPrefixRegex", self.strip_prefix_regex.is_some()),
            ("replacePath", self.replace_path.is_some()),
            ("replacePathRegex", self.replace_path_regex.is_some()),
            ("redirectRegex", self.redirect_regex.is_some()),
            ("digestAuth", self.digest_auth.is_some()),
            ("forwardAuth", self.forward_auth.is_some()),
            ("ipAllowList", self.ip_allow_list.is_some()),
            ("ipWhiteList", self.ip_white_list.is_some()),
            ("rateLimit", self.rate_limit.is_some()),
            ("inFlightReq", self.in_flight_req.is_some()),
            ("buffering", self.buffering.is_some()),
            ("circuitBreaker", self.circuit_breaker.is_some()),
            ("compress", self.compress.is_some()),
            ("contentType", self.content_type.is_some()),
            ("errors", self.errors.is_some()),
            ("retry", self.retry.is_some()),
            ("passTLSClientCert", self.pass_tls_client_cert.is_some()),
            ("grpcWeb", self.grpc_web.is_some()),
            ("encodedCharacters", self.encoded_characters.is_some()),
            ("plugin", self.plugin.is_some()),
        ];
        all.into_iter().filter_map(|(name, set)| set.then_some(name)).collect()
    }

    /// The Secrets that are named, all in the Middleware's own namespace.
    pub fn secrets(&self) -> Vec<&str> {
        let basic = self.basic_auth.iter().filter_map(|auth| auth.secret.as_deref());
        let digest = self.digest_auth.iter().filter_map(|auth| auth.secret.as_deref());
        let tls = self.forward_auth.iter().filter_map(|auth| auth.tls.as_ref());
        let tls = tls.flat_map(|tls| [tls.ca_secret.as_deref(), tls.cert_secret.as_deref()]).flatten();
        basic.chain(digest).chain(tls).collect()
    }

    /// What was written, is valid, and does nothing: for warnings.
    pub fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = self.headers.as_ref().map(|headers| headers.without_effect()).unwrap_or_default();
        if self.sticky.as_ref().is_some_and(|s| s.cookie.is_none()) {
            found.push(NoEffect::new(
                "spec.sticky",
                "has no cookie, so nothing sticks",
                "Write `cookie: {}` for defaults",
            ));
        }
        found.extend(self.strip_prefix.iter().flat_map(StripPrefix::without_effect));
        found.extend(self.forward_auth.iter().flat_map(|auth| auth.without_effect()));
        found.extend(self.pass_tls_client_cert.iter().flat_map(PassTlsClientCert::without_effect));
        found.extend(self.strip_prefix_regex.as_ref().and_then(StripPrefixRegex::without_effect));
        found.extend(self.add_prefix.as_ref().and_then(AddPrefix::without_effect));
        found.extend(self.encoded_characters.as_ref().and_then(EncodedCharacters::without_effect));
        found.extend(self.content_type.as_ref().and_then(ContentType::without_effect));
        found.extend(self.ip_allow_list.iter().flat_map(|list| list.without_effect()));
        found.extend(self.ip_white_list.iter().flat_map(|list| list.without_effect()));
        found.extend(self.rate_limit.iter().flat_map(|limit| limit.without_effect()));
        found.extend(self.in_flight_req.iter().flat_map(|limit| limit.without_effect()));
        found.extend(self.errors.iter().flat_map(|errors| errors.without_effect()));
        found.extend(self.grpc_web.iter().flat_map(GrpcWeb::without_effect));
        found.extend(self.retry.iter().flat_map(|retry| retry.without_effect()));
        found
    }
}

/// Traefik's rule that a Middleware has one type, for the API server: not two. A plugin beside another type is let
/// pass, as Traefik serves that where it has no plugins; and none, as rules can't see `plugin`, whose values have no
/// schema.
fn one_type(schema: &mut Schema) {
    let types = schema.get("properties").and_then(serde_json::Value::as_object);
    let set: Vec<String> = types
        .into_iter()
        .flat_map(|types| types.keys())
        .filter(|name| *name != "plugin")
        .map(|name| format!("has(self.{name})"))
        .collect();
    let rule = format!("[{}].filter(set, set).size() <= 1", set.join(", "));
    let message = "a Middleware has one type: write a Middleware for each, and name them in order";
    schema.insert("x-kubernetes-validations".to_owned(), serde_json::json!([{ "rule": rule, "message": message }]));
}

#[cfg(test)]
mod tests;
