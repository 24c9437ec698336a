//! `spec.errors` of a Middleware, with Traefik's own way to name a Service: all of its fields, so that manifests
//! written for Traefik are taken as they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NoEffect,
    chain::MiddlewareRef,
    values::{IntOrString, StatusRange},
};

/// Shows pages of another service in place of errors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Errors {
    /// The answers that are replaced: codes and ranges, such as 404 and 500-599.
    pub status: Option<Vec<StatusRange>>,
    /// Statuses to send in place of others: "418": 404, "500-503": 500. Without it, the status stays.
    pub status_rewrites: Option<BTreeMap<String, i64>>,
    /// The service that has the pages.
    pub service: Option<ErrorService>,
    /// The path of the page, such as /{status}.html. {status}, {originalStatus} and {url} stand for the status that is
    /// sent, the backend's, and the escaped URL of the request.
    pub query: Option<String>,
    /// The request headers that the service gets. Without it, all; an empty list is none.
    pub error_request_headers: Option<Vec<String>>,
}

/// A Service, and how it is talked to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorService {
    /// Its name.
    pub name: String,
    /// What the name is of.
    pub kind: Option<ServiceKind>,
    /// Its namespace. Without it, the Middleware's.
    pub namespace: Option<String>,
    /// The number or the name of its port.
    pub port: Option<IntOrString>,
    /// http, https or h2c. Without it, https for port 443, else http.
    pub scheme: Option<String>,
    /// How its pods take turns.
    pub strategy: Option<Strategy>,
    /// Whether it gets the Host that the client sent. Default: true.
    pub pass_host_header: Option<bool>,
    /// How answers are passed on.
    pub response_forwarding: Option<ResponseForwarding>,
    /// The ServersTransport that says how connections are made.
    pub servers_transport: Option<String>,
    /// Its weight among others, for a TraefikService.
    #[schemars(range(min = 0))]
    pub weight: Option<i64>,
    /// Talks to the Service's cluster address in place of its pods. Default: false.
    #[serde(rename = "nativeLB")]
    pub native_lb: Option<bool>,
    /// Talks to the nodes' addresses and the Service's node port in place of its pods. Default: false.
    #[serde(rename = "nodePortLB")]
    pub node_port_lb: Option<bool>,
    /// Keeps a client on a pod, by a cookie.
    pub sticky: Option<ServiceSticky>,
    /// Middlewares between this one and the service.
    pub middlewares: Option<Vec<MiddlewareRef>>,
    /// Asks pods again and again whether they are well.
    pub health_check: Option<HealthCheck>,
    /// Sets pods aside whose answers fail.
    pub passive_health_check: Option<PassiveHealthCheck>,
}

/// What the name is of: Service, or TraefikService. Default: Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    /// A Service.
    Service,
    /// Traefik's own kind.
    TraefikService,
}

/// How its pods take turns: wrr (by weight), p2c (the less busy of two), hrw (by the client's address), leasttime (the
/// one that answers first). RoundRobin is the deprecated name of wrr. Default: wrr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// In turn, by weight.
    Wrr,
    /// The less busy of two.
    P2c,
    /// By a hash of the client's address.
    Hrw,
    /// The one that answers first.
    LeastTime,
    /// Deprecated name of wrr.
    #[serde(rename = "RoundRobin")]
    RoundRobin,
}

/// How answers are passed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResponseForwarding {
    /// How often what came of an answer is sent on, as a duration. Negative: at once. Default: 100ms.
    pub flush_interval: Option<String>,
}

/// A sticky session, as Traefik's services have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSticky {
    /// The cookie that names the pod.
    pub cookie: Option<ServiceCookie>,
}

/// The cookie of a sticky session, as Traefik's services have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceCookie {
    /// The name of the cookie.
    pub name: Option<String>,
    /// Sets the attribute Secure: browsers send the cookie over https only.
    pub secure: Option<bool>,
    /// Sets the attribute HttpOnly: scripts in the page can't read the cookie.
    pub http_only: Option<bool>,
    /// The attribute SameSite: none, lax or strict. Without it, browsers take lax.
    pub same_site: Option<String>,
    /// Sets the attribute Max-Age, in seconds. 0 or absent: until the browser closes.
    pub max_age: Option<i64>,
    /// Sets the attribute Path. Without it, `/`.
    pub path: Option<String>,
    /// Sets the attribute Domain. Without it, the cookie is for the exact host.
    pub domain: Option<String>,
}

/// How pods are asked whether they are well.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthCheck {
    /// The scheme to ask by. Without it, the service's.
    pub scheme: Option<String>,
    /// http or grpc. Default: http.
    pub mode: Option<String>,
    /// The path to ask for.
    pub path: Option<String>,
    /// The method to ask with. Default: GET.
    pub method: Option<String>,
    /// The status of a pod that is well. Without it, 200 to 399.
    pub status: Option<i64>,
    /// The port to ask at. Without it, the service's.
    pub port: Option<i64>,
    /// How often pods that are well are asked. Default: 30s.
    pub interval: Option<IntOrString>,
    /// How often pods that are not well are asked. Without it, as often as the others.
    pub unhealthy_interval: Option<IntOrString>,
    /// How long an answer may take. Default: 5s.
    pub timeout: Option<IntOrString>,
    /// The Host to ask with.
    pub hostname: Option<String>,
    /// Whether redirects are followed. Default: true.
    pub follow_redirects: Option<bool>,
    /// Headers to ask with.
    pub headers: Option<BTreeMap<String, String>>,
}

/// When a pod is set aside because its answers fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassiveHealthCheck {
    /// The time that failures are counted in, and that the pod is set aside for. Default: 10s.
    pub failure_window: Option<IntOrString>,
    /// How many failures in a row set it aside. Default: 1.
    pub max_failed_attempts: Option<i64>,
}

impl Errors {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = Vec::new();
        if self.status.as_deref().unwrap_or_default().is_empty() {
            let help = "Name the statuses that get a page, such as 500-599";
            found.push(NoEffect::new("spec.errors.status", "names no status, so no page is ever shown", help));
        }
        found.extend(self.service.iter().flat_map(ErrorService::without_effect));
        found
    }
}

impl ErrorService {
    /// What was written and does nothing. A page is asked for once, of any pod: nothing of these could be missed.
    fn without_effect(&self) -> Vec<NoEffect> {
        let by_turns = matches!(self.strategy, None | Some(Strategy::Wrr | Strategy::RoundRobin));
        let straight = "has no effect: pods are asked themselves";
        let aside = "has no effect: pods that can't be reached are set aside by themselves";
        let all = [
            ("strategy", !by_turns, "has no effect: pods are asked in turn"),
            ("responseForwarding", self.response_forwarding.is_some(), "has no effect: a page is sent on as it comes"),
            ("weight", self.weight.is_some(), "has no effect: there is one service"),
            ("nativeLB", self.native_lb == Some(true), straight),
            ("nodePortLB", self.node_port_lb == Some(true), straight),
            ("sticky", self.sticky.is_some(), "has no effect: pages are the same from each pod"),
            ("healthCheck", self.health_check.is_some(), aside),
            ("passiveHealthCheck", self.passive_health_check.is_some(), aside),
        ];
        let idle = all.into_iter().filter(|(_, set, _)| *set);
        idle.map(|(field, _, why)| NoEffect::new(format!("spec.errors.service.{field}"), why, "Remove it")).collect()
    }
}
