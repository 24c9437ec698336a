//! Service port and EndpointSlices → `balance::Service` and its endpoints.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::{pool::Use, transport::Asking, view::View};
use crate::{
    balance::{Candidate, Identity, Options, Policy, Scheme, ServiceKey},
    diagnostic::{Diagnostic, Origin, Subject},
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
    /// Where the Service was read from.
    pub(super) origin: Option<Origin>,
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
    if !is_tcp(&port.protocol) {
        let text = format!("port {} of Service {key} is {}, HTTP needs TCP", port.port, port.protocol);
        return Err(("ServicePortNotTcp", text, "name a TCP port".into()));
    }
    let subject = subject(&key);
    let (mut annotations, said) = dialect::traefik::service(&service.meta, subject.clone());
    diagnostics.extend(said);

    let external = (&*service.spec.kind == "ExternalName").then(|| Arc::clone(&service.spec.external_name));
    if external.is_some() && !claims.external_name {
        let text = format!("Service {key} is of type ExternalName, which is not allowed");
        let help = "start Headgate with --allow-external-name, or use a Service with endpoints";
        return Err(("ExternalNameNotAllowed", text, help.into()));
    }
    let server_name = external.clone().unwrap_or_else(|| format!("{}.{}.svc", key.name, key.namespace).into());
    let mut options = Options {
        scheme: scheme(&annotations, port, &subject, service, diagnostics),
        policy: policy(service),
        pass_host: annotations.pass_host_header,
        server_name,
        transport: None,
    };
    if let Some(reference) = &annotations.servers_transport {
        let asking = Asking { view, claims, meta: &service.meta, scheme: options.scheme };
        match asking.named(reference, diagnostics) {
            Ok(transport) => options.transport = Some(transport),
            Err(reason) => drop(annotations.closed.get_or_insert(reason)),
        }
    }
    if annotations.native_lb || annotations.node_port_lb {
        let text = "service.nativelb and service.nodeportlb are not supported: requests go straight to the endpoints";
        diagnostics.push(
            Diagnostic::warning(subject, "metadata.annotations", "AnnotationNotSupported", text)
                .at(service.meta.origin.clone()),
        );
    }
    let key = ServiceKey { namespace: key.namespace, name: key.name, port: port.port };
    Ok(Found { key, options, annotations, external, origin: service.meta.origin.clone() })
}

/// An absent protocol is TCP.
fn is_tcp(protocol: &str) -> bool {
    !matches!(protocol, "UDP" | "SCTP")
}

/// The port that is wanted. A number may be there for UDP too (HTTP/3): the TCP port is the one that is meant.
fn find_port<'a>(service: &'a Service, wanted: &BackendPort) -> Option<&'a ServicePort> {
    let is_wanted = |port: &&ServicePort| match (&wanted.name, wanted.number) {
        (Some(name), _) => port.name == *name,
        (None, Some(number)) => port.port == number,
        (None, None) => false,
    };
    let ports = &service.spec.ports;
    ports.iter().filter(|p| is_tcp(&p.protocol)).find(is_wanted).or_else(|| ports.iter().find(is_wanted))
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

/// The Service of a key, and its port.
fn look<'a>(store: &'a Store, key: &ServiceKey) -> Option<(Key, &'a Arc<Service>, &'a ServicePort)> {
    let object = Key { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) };
    let service = store.service(&object)?;
    let port = find_port(service, &BackendPort { name: None, number: Some(key.port) })?;
    Some((object, service, port))
}

/// Why a Service port has no endpoint at all, said of the Service.
pub(super) fn empty(store: &Store, key: &ServiceKey) -> Option<Diagnostic> {
    let (object, service, port) = look(store, key)?;
    let slices: Vec<&Arc<EndpointSlice>> = store.slices_of(&object).collect();
    let from_file = service.meta.origin.is_some();
    let (text, help) = if slices.is_empty() {
        let help = if from_file {
            format!("add an EndpointSlice with the label kubernetes.io/service-name: {}", key.name)
        } else {
            "correct its selector, or start pods that it selects".to_owned()
        };
        ("it has no EndpointSlice".to_owned(), help)
    } else if !slices.iter().any(|s| port_of(s, &port.name).is_some()) {
        let names: std::collections::BTreeSet<String> = slices
            .iter()
            .flat_map(|s| &s.ports)
            .filter(|p| p.port.is_some() && is_tcp(&p.protocol))
            .map(|p| if p.name.is_empty() { "one without a name".to_owned() } else { p.name.to_string() })
            .collect();
        let wanted = if port.name.is_empty() { "without a name".to_owned() } else { format!("named {}", port.name) };
        let known = names.into_iter().collect::<Vec<_>>().join(", ");
        let known =
            if known.is_empty() { "they have none that can be used".to_owned() } else { format!("they have {known}") };
        let text = format!("its EndpointSlices have no port {wanted} for its port {}: {known}", port.port);
        (text, "a port of an EndpointSlice bears the name of the Service's port".to_owned())
    } else {
        let count: usize = slices.iter().filter(|s| port_of(s, &port.name).is_some()).map(|s| s.endpoints.len()).sum();
        match count {
            0 => ("its EndpointSlices hold no endpoint".to_owned(), "start pods that it selects".to_owned()),
            1 => ("its endpoint is not ready".to_owned(), READINESS.to_owned()),
            _ => (format!("none of its {count} endpoints is ready"), READINESS.to_owned()),
        }
    };
    let text = format!("{text}, so its routes are answered with 503");
    let said = Diagnostic::warning(subject(&object), "", "NoEndpoints", text);
    Some(said.help(help).at(service.meta.origin.clone()))
}

const READINESS: &str = "look at the pods: do they run, and does their readiness probe succeed?";

/// A name that leads only to addresses that must not be reached.
pub(super) fn refused(store: &Store, used: &Use, name: &str) -> Diagnostic {
    let object = Key { namespace: Arc::clone(&used.key.namespace), name: Arc::clone(&used.key.name) };
    let text = format!("{name} leads only to loopback or link-local addresses, which are refused");
    let help = "name a host outside of this one";
    if used.is_url() {
        // No object of its own: the Middlewares of the namespace name it.
        let subject = Subject { kind: "Host", namespace: object.namespace, name: object.name };
        let text = format!("{text}; what Middlewares ask there fails");
        return Diagnostic::warning(subject, "", "ExternalAddressRefused", text).help(help);
    }
    let origin = store.service(&object).and_then(|s| s.meta.origin.clone());
    Diagnostic::warning(
        subject(&object),
        "spec.externalName",
        "ExternalAddressRefused",
        format!("{text}; answered with 503"),
    )
    .help(help)
    .at(origin)
}

fn subject(key: &Key) -> Subject {
    ObjectId::new(Kind::Service, key.clone()).subject()
}

/// The number that a slice has for a port of the Service.
fn port_of(slice: &EndpointSlice, name: &str) -> Option<u16> {
    slice.ports.iter().filter(|p| *p.name == *name && is_tcp(&p.protocol)).find_map(|p| p.port)
}

/// The endpoints of a Service port from all its slices: those of its primary family, the other only where that one
/// has none.
pub(super) fn candidates(store: &Store, key: &ServiceKey) -> Vec<Candidate> {
    let Some((object, service, port)) = look(store, key) else { return Vec::new() };
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
    let port = port_of(slice, port_name);
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
