//! JSON views. Types of their own: what is shown is decided here, whatever the inside looks like.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::State;
use crate::{
    balance::{Policy, Service},
    clock,
    table::{Action, path::Listed},
};

/// The JSON of a view, or nothing where there is none of that name.
pub fn view(name: &str, state: &State) -> Option<String> {
    let json = match name {
        "routes" => serde_json::to_string_pretty(&routes(state)),
        "services" => serde_json::to_string_pretty(&services(state)),
        "endpoints" => serde_json::to_string_pretty(&endpoints(state)),
        "certificates" => serde_json::to_string_pretty(&certificates(state)),
        "diagnostics" => serde_json::to_string_pretty(&diagnostics(state)),
        "version" => serde_json::to_string_pretty(&Version { version: env!("CARGO_PKG_VERSION") }),
        _ => return None,
    };
    json.ok()
}

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RouteView {
    host: String,
    path: String,
    path_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<i64>,
    default_backend: bool,
    entrypoints: Vec<String>,
    namespace: Arc<str>,
    ingress: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    middlewares: Vec<Arc<str>>,
    /// The TLSOption that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_options: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sticky_cookie: Option<String>,
    /// `forward`, `noService` or `closed`.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

fn routes(state: &State) -> Vec<RouteView> {
    let table = state.table.load();
    let names = &state.settings.claims.entrypoints;
    let mut all = Vec::new();
    for (host, paths) in table.hosts.list() {
        for Listed { kind: path_type, path, regex: _, priority, default_backend, route } in paths.list() {
            let (status, reason) = match &route.action {
                Action::Forward(_) => ("forward", None),
                Action::NoService(reason) => ("noService", Some(reason.to_string())),
                Action::Closed(reason) => ("closed", Some(reason.to_string())),
            };
            let service = match &route.action {
                Action::Forward(service) => Some(service.key.to_string()),
                _ => None,
            };
            all.push(RouteView {
                host: host.clone(),
                path: path.to_owned(),
                path_type,
                priority,
                default_backend,
                entrypoints: names
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| route.entrypoints.contains(*index))
                    .map(|(_, (name, _))| name.clone())
                    .collect(),
                namespace: Arc::clone(&route.labels.namespace),
                ingress: Arc::clone(&route.labels.ingress),
                service,
                middlewares: route.middlewares.to_vec(),
                tls_options: route.tls.as_ref().map(|options| options.id.to_string()),
                sticky_cookie: route.sticky.as_ref().map(|s| s.name().to_owned()),
                state: status,
                reason,
            });
        }
    }
    all
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceView {
    namespace: Arc<str>,
    name: Arc<str>,
    port: u16,
    scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip_affinity_seconds: Option<u64>,
    endpoints: Vec<EndpointView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointView {
    address: String,
    pod: Arc<str>,
    /// Takes new sessions; otherwise it is terminating and keeps those it has.
    ready: bool,
    /// Set aside after failed connects.
    set_aside: bool,
}

fn services(state: &State) -> Vec<ServiceView> {
    let table = state.table.load();
    let mut by_key: BTreeMap<_, Arc<Service>> = BTreeMap::new();
    for (_, paths) in table.hosts.list() {
        for listed in paths.list() {
            if let Action::Forward(service) = &listed.route.action {
                by_key.insert(service.key.clone(), Arc::clone(service));
            }
        }
    }
    let now = clock::precise_ms();
    let view = |service: Arc<Service>| {
        let set = service.endpoints().load();
        let endpoints = set.endpoints().iter().enumerate().map(|(index, endpoint)| EndpointView {
            address: endpoint.address.to_string(),
            pod: Arc::clone(&endpoint.pod),
            ready: set.is_ready(index),
            set_aside: endpoint.live.is_aside(now),
        });
        ServiceView {
            namespace: Arc::clone(&service.key.namespace),
            name: Arc::clone(&service.key.name),
            port: service.key.port,
            scheme: service.options.scheme.as_str(),
            client_ip_affinity_seconds: match service.options.policy {
                Policy::ClientIp(ms) => Some(ms / 1_000),
                Policy::RoundRobin => None,
            },
            endpoints: endpoints.collect(),
        }
    };
    by_key.into_values().map(view).collect()
}

/// An endpoint with the service it is of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacedEndpoint {
    namespace: Arc<str>,
    service: Arc<str>,
    port: u16,
    #[serde(flatten)]
    endpoint: EndpointView,
}

fn endpoints(state: &State) -> Vec<PlacedEndpoint> {
    let of = |service: ServiceView| {
        let ServiceView { namespace, name, port, endpoints, .. } = service;
        endpoints.into_iter().map(move |endpoint| PlacedEndpoint {
            namespace: Arc::clone(&namespace),
            service: Arc::clone(&name),
            port,
            endpoint,
        })
    };
    services(state).into_iter().flat_map(of).collect()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CertificateView {
    host: String,
    namespace: Arc<str>,
    secret: Arc<str>,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
}

fn certificates(state: &State) -> Vec<CertificateView> {
    let table = state.table.load();
    let mut all: Vec<CertificateView> = table
        .certs
        .iter()
        .map(|(host, cert)| CertificateView {
            host,
            namespace: Arc::clone(&cert.id.namespace),
            secret: Arc::clone(&cert.id.name),
            names: cert.names.clone(),
            not_before: cert.not_before,
            not_after: cert.not_after,
        })
        .collect();
    all.sort_by(|a, b| a.host.cmp(&b.host));
    all
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiagnosticView {
    severity: &'static str,
    kind: &'static str,
    namespace: Arc<str>,
    name: Arc<str>,
    field: String,
    code: &'static str,
    message: String,
    help: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
}

fn diagnostics(state: &State) -> Vec<DiagnosticView> {
    let all = state.diagnostics.load();
    let view = all.iter().map(|d| DiagnosticView {
        severity: d.severity.as_str(),
        kind: d.subject.kind,
        namespace: Arc::clone(&d.subject.namespace),
        name: Arc::clone(&d.subject.name),
        field: d.field.clone(),
        code: d.code,
        message: d.message.clone(),
        help: d.help.clone(),
        origin: d.origin.as_ref().map(ToString::to_string),
    });
    view.collect()
}
