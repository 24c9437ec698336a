//! Service port and EndpointSlices → `balance::Service` and its endpoints.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::view::View;
use crate::{
    balance::{Candidate, Identity, Options, Policy, Scheme, ServiceKey},
    diagnostic::{Diagnostic, Subject},
    dialect::{self, ServiceOptions},
    objects::{
        EndpointSlice, Key, Kind, ObjectId, Service,
        ingress::{BackendPort, ServiceBackend},
        service::ServicePort,
        store::Store,
    },
    settings::Claims,
};

/// What Kubernetes forgets a client after, where `timeoutSeconds` is absent.
const AFFINITY_SECONDS: i64 = 10_800;

/// A backend of an Ingress, found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) key: ServiceKey,
    pub(super) options: Options,
    pub(super) annotations: ServiceOptions,
    /// The host to resolve, of an ExternalName Service.
    pub(super) external: Option<Arc<str>>,
}

/// Finds the Service port that a backend names. `Err` is a diagnostic's code, message and help, to be said of the
/// Ingress.
pub(super) fn find(
    view: &View<'_>,
    namespace: &Arc<str>,
    backend: &ServiceBackend,
    claims: &Claims,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Found, (&'static str, String, String)> {
    let key = Key { namespace: Arc::clone(namespace), name: Arc::clone(&backend.name) };
    let service = view.service(&key).ok_or_else(|| {
        let help =
            format!("create the Service, or correct the name; namespace {namespace} is the one that is searched");
        ("ServiceNotFound", format!("Service {key} does not exist"), help)
    })?;
    let port = find_port(service, &backend.port).ok_or_else(|| {
        let known: Vec<String> = service
            .spec
            .ports
            .iter()
            .map(|p| if p.name.is_empty() { p.port.to_string() } else { format!("{} ({})", p.port, p.name) })
            .collect();
        let wanted = match (&backend.port.name, backend.port.number) {
            (Some(name), _) => format!("named {name}"),
            (None, Some(number)) => number.to_string(),
            (None, None) => "(none given)".to_owned(),
        };
        let help = format!("its ports are: {}", known.join(", "));
        ("ServicePortNotFound", format!("Service {key} has no port {wanted}"), help)
    })?;
    if matches!(&*port.protocol, "UDP" | "SCTP") {
        let text = format!("port {} of Service {key} is {}, HTTP needs TCP", port.port, port.protocol);
        return Err(("ServicePortNotTcp", text, "name a TCP port".into()));
    }
    let subject = ObjectId::new(Kind::Service, key.clone()).subject();
    let (annotations, said) = dialect::traefik::service(&service.meta, subject.clone());
    diagnostics.extend(said);

    let external = (&*service.spec.kind == "ExternalName").then(|| Arc::clone(&service.spec.external_name));
    if external.is_some() && !claims.external_name {
        let text = format!("Service {key} is of type ExternalName, which is not allowed");
        let help = "start Headgate with --allow-external-name, or use a Service with endpoints";
        return Err(("ExternalNameNotAllowed", text, help.into()));
    }
    let server_name = external.clone().unwrap_or_else(|| format!("{}.{}.svc", key.name, key.namespace).into());
    let options = Options {
        scheme: scheme(&annotations, port, &subject, service, diagnostics),
        policy: policy(service),
        pass_host: annotations.pass_host_header,
        server_name,
    };
    if annotations.native_lb || annotations.node_port_lb {
        let text = "service.nativelb and service.nodeportlb are not supported: requests go straight to the endpoints";
        diagnostics.push(
            Diagnostic::warning(subject, "metadata.annotations", "AnnotationNotSupported", text)
                .at(service.meta.origin.clone()),
        );
    }
    let key = ServiceKey { namespace: key.namespace, name: key.name, port: port.port };
    Ok(Found { key, options, annotations, external })
}

fn find_port<'a>(service: &'a Service, wanted: &BackendPort) -> Option<&'a ServicePort> {
    let ports = &service.spec.ports;
    match (&wanted.name, wanted.number) {
        (Some(name), _) => ports.iter().find(|p| p.name == *name),
        (None, Some(number)) => ports.iter().find(|p| p.port == number),
        (None, None) => None,
    }
}

/// `service.serversscheme`, then `appProtocol`, then Traefik's reading of port 443 and names that start with `https`.
fn scheme(
    annotations: &ServiceOptions,
    port: &ServicePort,
    subject: &Subject,
    service: &Service,
    diagnostics: &mut Vec<Diagnostic>,
) -> Scheme {
    if let Some(scheme) = annotations.scheme {
        return match scheme {
            dialect::Scheme::Http => Scheme::Http,
            dialect::Scheme::Https => Scheme::Https,
            dialect::Scheme::H2c => Scheme::H2c,
        };
    }
    match port.app_protocol.as_deref() {
        Some("kubernetes.io/h2c") => Scheme::H2c,
        Some("https" | "kubernetes.io/wss") => Scheme::Https,
        Some("http" | "kubernetes.io/ws") => Scheme::Http,
        other => {
            if let Some(other) = other {
                let text = format!("appProtocol {other} is not known; http is spoken");
                let help = "known are http, https, kubernetes.io/h2c, kubernetes.io/ws and kubernetes.io/wss";
                diagnostics.push(
                    Diagnostic::warning(subject.clone(), "spec.ports[].appProtocol", "UnknownAppProtocol", text)
                        .help(help)
                        .at(service.meta.origin.clone()),
                );
                return Scheme::Http;
            }
            if port.port == 443 || port.name.starts_with("https") { Scheme::Https } else { Scheme::Http }
        }
    }
}

fn policy(service: &Service) -> Policy {
    if &*service.spec.session_affinity != "ClientIP" {
        // A timeout beside `None` is ignored, as the API server does.
        return Policy::RoundRobin;
    }
    let config = service.spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
    let seconds = config.and_then(|c| c.timeout_seconds).filter(|s| *s > 0).unwrap_or(AFFINITY_SECONDS);
    Policy::ClientIp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000))
}

/// The endpoints of a Service port from all its slices: those of its primary family, the other only where that one
/// has none.
pub(super) fn candidates(store: &Store, key: &ServiceKey) -> Vec<Candidate> {
    let object = Key { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) };
    let Some(service) = store.service(&object) else { return Vec::new() };
    let Some(port) = service.spec.ports.iter().find(|p| p.port == key.port) else { return Vec::new() };
    let primary = match service.spec.ip_families.first().map(|f| &**f) {
        Some(family) => family,
        None if service.spec.cluster_ip.contains(':') => "IPv6",
        None => "IPv4",
    };
    let of = |wanted: bool| -> Vec<Candidate> {
        let slices = store.slices_of(&object).filter(|s| (&*s.address_type == primary) == wanted);
        slices.flat_map(|slice| of_slice(slice, &port.name)).collect()
    };
    let first = of(true);
    if first.is_empty() { of(false) } else { first }
}

fn of_slice<'a>(slice: &'a EndpointSlice, port_name: &'a str) -> impl Iterator<Item = Candidate> + 'a {
    let port = slice.ports.iter().find(|p| *p.name == *port_name && !matches!(&*p.protocol, "UDP" | "SCTP"));
    let port = port.and_then(|p| p.port);
    slice.endpoints.iter().filter_map(move |endpoint| {
        let port = port?;
        let conditions = endpoint.conditions;
        let ready = conditions.ready.unwrap_or(true) && conditions.terminating != Some(true);
        // Where `serving` is absent it is what `ready` says (a slice written by hand).
        let serving = conditions.serving.unwrap_or_else(|| conditions.ready.unwrap_or(true));
        if !ready && !serving {
            return None;
        }
        let address = SocketAddr::new(*endpoint.addresses.first()?, port);
        let identity = match &endpoint.target_ref {
            Some(target) if !target.name.is_empty() => Identity::Target {
                kind: Arc::clone(&target.kind),
                namespace: Arc::clone(&target.namespace),
                name: Arc::clone(&target.name),
                port,
            },
            _ => Identity::Address(address),
        };
        Some(Candidate { address, identity, ready })
    })
}

/// The endpoints of an ExternalName Service from the addresses that its name has; those that must not be reached
/// are left out.
pub fn external_candidates(addresses: &[IpAddr], port: u16, allow_loopback: bool) -> Vec<Candidate> {
    let allowed = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(v4) => !(v4.is_unspecified() || v4.is_link_local() || (v4.is_loopback() && !allow_loopback)),
        IpAddr::V6(v6) => !(v6.is_unspecified() || v6.is_unicast_link_local() || (v6.is_loopback() && !allow_loopback)),
    };
    let usable = addresses.iter().copied().filter(|ip| allowed(*ip));
    usable
        .map(|ip| {
            let address = SocketAddr::new(ip, port);
            Candidate { address, identity: Identity::Address(address), ready: true }
        })
        .collect()
}
