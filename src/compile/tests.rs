mod certs;
mod claims;
mod middlewares;
mod rules;
mod services;
mod tls_options;
mod transports;

use std::{collections::BTreeMap, sync::LazyLock};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    objects::{Object, store::Store},
    table::Action,
};

fn object(value: &Value) -> Object {
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = Kind::of(&text("apiVersion"), &text("kind")).unwrap();
    let value = value.clone();
    match kind {
        Kind::Ingress => Object::Ingress(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::IngressClass => Object::IngressClass(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::Service => Object::Service(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::EndpointSlice => Object::EndpointSlice(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::Secret => Object::Secret(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::Middleware => Object::Middleware(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::ServersTransport => Object::ServersTransport(Arc::new(serde_json::from_value(value).unwrap())),
        Kind::TlsOption => Object::TlsOption(Arc::new(serde_json::from_value(value).unwrap())),
    }
}

fn meta(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn claims() -> Claims {
    Claims {
        controllers: vec!["headgate.dev/ingress-controller".into()],
        classes: vec!["by-name".to_owned(), "theirs".to_owned()],
        unclassed: true,
        any_when_no_class: true,
        external_name: true,
        external_loopback: false,
        cross_namespace: true,
        entrypoints: vec![("web".into(), false), ("websecure".into(), true)],
        legacy_cookies: false,
    }
}

fn keys() -> Keys {
    Keys::parse("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
}

/// The time of all tests: 2027-01-15.
const NOW: i64 = 1_800_000_000;

/// Chain and key, both PEM, of a certificate for these names that is valid for these years.
fn pem(names: &[&str], years: (i32, i32)) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Two good certificates, one of them a wildcard, and one that has expired.
static CERTS: LazyLock<[(String, String); 3]> =
    LazyLock::new(|| [pem(&["x.test"], (2020, 2100)), pem(&["*.test"], (2020, 2100)), pem(&["x.test"], (2020, 2021))]);

fn secret(ns: &str, name: &str, (chain, key): &(String, String)) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(ns, name),
        "stringData": {"tls.crt": chain, "tls.key": key, "ca.crt": chain}})
}

/// An Ingress with a backend `s:80` under each host and path.
fn ingress_of(ns: &str, name: &str, rules: &[(&str, &str)]) -> Value {
    let rule = |(host, path): &(&str, &str)| json!({"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend("s")}]}});
    let rules: Vec<Value> = rules.iter().map(rule).collect();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta(ns, name), "spec": {"rules": rules}})
}

fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

fn service(ns: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(ns, name), "spec": {"ports": [{"port": 80}]}})
}

fn annotated(mut value: Value, key: &str, text: &str) -> Value {
    value["metadata"]["annotations"][format!("traefik.ingress.kubernetes.io/{key}")] = json!(text);
    value
}

/// These objects, compiled.
fn compiled(objects: &[Value]) -> Compiler {
    let mut store = Store::default();
    for value in objects {
        store.apply(object(value));
    }
    let mut compiler = Compiler::new(claims(), keys());
    take(&mut compiler, &mut store);
    compiler
}

/// What is said with this code: subject, field and message.
fn said(compiler: &Compiler, code: &str) -> Vec<String> {
    let all = compiler.diagnostics();
    let found = all.iter().filter(|d| d.code == code);
    found.map(|d| format!("{} {}: {}", d.subject, d.field, d.message)).collect()
}

/// Why a request is answered with 503, or nothing where it is forwarded; `404` where no rule takes it.
fn closed(compiler: &Compiler, host: &str, path: &str) -> Option<String> {
    match compiler.table().lookup(0, host, path).map(|route| &route.action) {
        None => Some("404".to_owned()),
        Some(Action::Closed(reason) | Action::NoService(reason)) => Some(reason.to_string()),
        Some(Action::Forward(_)) => None,
    }
}

/// Everything that a request could notice, and everything that is said.
fn picture(compiler: &Compiler) -> Vec<String> {
    let mut lines = Vec::new();
    for (host, paths) in compiler.table().hosts.list() {
        for listed in paths.list() {
            let (kind, path, priority, route) = (listed.kind, listed.path, listed.priority, listed.route);
            let to = match &route.action {
                Action::Forward(service) => {
                    let set = service.endpoints().load();
                    let pods = set.endpoints().iter().enumerate();
                    let pods: Vec<_> = pods.map(|(i, e)| format!("{}:{}", e.address, set.is_ready(i))).collect();
                    format!("{} {:?} {pods:?}", service.key, service.options)
                }
                Action::NoService(reason) => format!("no service: {reason}"),
                Action::Closed(reason) => format!("closed: {reason}"),
            };
            let sticky = route.sticky.as_ref().map(|s| {
                let group = s.group().load();
                let mut members: Vec<_> = group.values().map(|s| s.key.to_string()).collect();
                members.sort();
                format!("{} {members:?}", s.name())
            });
            lines.push(format!(
                "{host} {path} {kind} {priority:?} {:?} {} {:?} {sticky:?} -> {to}",
                route.entrypoints,
                route.labels.ingress,
                (&route.middlewares, route.tls.as_ref().map(|options| &options.id)),
            ));
        }
    }
    for host in ["x.test", "y.test", "a.x.test", "other"] {
        let cert = compiler.table().certs.lookup(host, NOW);
        lines.push(format!("certificate of {host}: {:?}", cert.map(|c| (&c.id, c.not_after))));
    }
    for (on, host) in [(0, "x.test"), (1, "x.test"), (1, "a.test"), (1, "other"), (1, "")] {
        let options = compiler.table().tls(on, host);
        let terms = options.policy.as_ref().map(|policy| {
            let certificates = policy.terms.roots.as_ref().map(|roots| Arc::clone(&roots.certificates));
            (policy.terms.versions, policy.terms.client_auth, certificates)
        });
        lines.push(format!("TLS of {host} on {on}: {} {terms:?}", options.id));
    }
    lines.extend(compiler.foreign().map(|(key, class)| format!("{key} is of class {class:?}")));
    lines.extend(compiler.diagnostics().iter().map(ToString::to_string));
    lines
}

fn take(compiler: &mut Compiler, store: &mut Store) {
    let changes = store.take_changes();
    let outcome = compiler.apply(store, &changes, NOW);
    for (service, set) in outcome.endpoints {
        service.endpoints().store(set);
    }
    for (group, services) in outcome.groups {
        let members = services.into_iter().map(|s| (s.endpoints().load().tags()[0], s)).collect();
        group.store(Arc::new(members));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(Value),
    Delete(Kind, String, String),
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("a-b".to_owned())]
}

fn ingress() -> impl Strategy<Value = Value> {
    let reference = prop_oneof![
        Just(None),
        Just(Some("a-m1@kubernetescrd")),
        Just(Some("a-b-m1@kubernetescrd")),
        Just(Some("a-m2@kubernetescrd")),
    ];
    let host = prop_oneof![Just(""), Just("x.test"), Just("*.test")];
    let path = prop_oneof![Just("/"), Just("/p"), Just("/p/q")];
    let class = prop_oneof![Just(None), Just(Some("ours")), Just(Some("theirs"))];
    let options = prop_oneof![
        3 => Just(None),
        1 => Just(Some("default")),
        2 => Just(Some("a-o1@kubernetescrd")),
        1 => Just(Some("a-b-o1@kubernetescrd")),
    ];
    let tls = prop_oneof![
        2 => Just(None),
        1 => Just(Some(json!([]))),
        2 => Just(Some(json!(["x.test"]))),
        1 => Just(Some(json!(["*.test", "y.test"]))),
    ];
    (namespace(), 0..3, host, path, reference, class, 0..3, any::<(bool, bool)>(), (tls, 0..3, options)).prop_map(
        |(ns, name, host, path, reference, class, service, (default, older), (tls, cert, options))| {
            let mut meta = meta(&ns, &format!("i{name}"));
            if older {
                meta["creationTimestamp"] = json!("2025-01-01T00:00:00Z");
            }
            if let Some(reference) = reference {
                meta["annotations"] = json!({"traefik.ingress.kubernetes.io/router.middlewares": reference});
            }
            if let Some(options) = options {
                meta["annotations"]["traefik.ingress.kubernetes.io/router.tls.options"] = json!(options);
            }
            let backend = json!({"service": {"name": format!("s{service}"), "port": {"number": 80}}});
            let mut spec = json!({"rules": [{"host": host, "http": {"paths": [
                {"path": path, "pathType": "Prefix", "backend": backend}]}}]});
            if let Some(class) = class {
                spec["ingressClassName"] = json!(class);
            }
            if default {
                spec["defaultBackend"] = json!({"service": {"name": "s0", "port": {"number": 80}}});
            }
            if let Some(hosts) = tls {
                spec["tls"] = json!([{"hosts": hosts, "secretName": format!("cert{cert}")}]);
            }
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta, "spec": spec})
        },
    )
}

fn others() -> impl Strategy<Value = Value> {
    let service = (namespace(), 0..3, any::<bool>(), 0..4).prop_map(|(ns, name, affinity, annotation)| {
        let mut meta = meta(&ns, &format!("s{name}"));
        let prefix = "traefik.ingress.kubernetes.io/service";
        if annotation == 1 {
            meta["annotations"] = json!({format!("{prefix}.sticky.cookie.name"): "c"});
        }
        if annotation > 1 {
            meta["annotations"] = json!({
                format!("{prefix}.serversscheme"): "https",
                format!("{prefix}.serverstransport"): format!("a-t{annotation}@kubernetescrd"),
            });
        }
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
            "sessionAffinity": if affinity { "ClientIP" } else { "None" }, "ports": [{"port": 80, "name": "http"}]}})
    });
    let slice = (namespace(), 0..3, 0..3, 1..6_u8).prop_map(|(ns, name, service, last)| {
        let mut meta = meta(&ns, &format!("e{name}"));
        meta["labels"] = json!({"kubernetes.io/service-name": format!("s{service}")});
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": [format!("10.0.0.{last}")], "conditions": {"ready": last != 1}}]})
    });
    let middleware = (namespace(), 1..3, 0..4).prop_map(|(ns, name, kind)| {
        let spec = match kind {
            0 => json!({"stripPrefix": {"prefixes": ["/p"]}}),
            1 => json!({"sticky": {"cookie": {"name": "m"}}}),
            2 => json!({"basicAuth": {"secret": "users"}}),
            _ => json!({"chain": {"middlewares": [{"name": "m1"}]}}),
        };
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "Middleware", "metadata": meta(&ns, &format!("m{name}")), "spec": spec})
    });
    let secret = (namespace(), 0..5_usize, 0..3).prop_map(|(ns, what, name)| match CERTS.get(what) {
        Some(cert) => secret(&ns, &format!("cert{name}"), cert),
        None => {
            let data = if what == 3 { "u:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=" } else { "" };
            let name = if what == 3 { "users".to_owned() } else { format!("cert{name}") };
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(&ns, &name), "stringData": {"users": data}})
        }
    });
    let transport = (namespace(), 2..4, 0..5).prop_map(|(ns, name, kind)| {
        let spec = match kind {
            0 => json!({}),
            1 => json!({"certificatesSecrets": ["cert0"]}),
            2 => json!({"rootCAs": [{"secret": "cert1"}]}),
            3 => json!({"serverName": "x.example", "certificatesSecrets": ["cert0", "cert1"]}),
            _ => json!({"maxIdle": 1}),
        };
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransport", "metadata": meta(&ns, &format!("t{name}")), "spec": spec})
    });
    let options = (namespace(), 0..2, 0..5).prop_map(|(ns, name, kind)| {
        let spec = match kind {
            0 => json!({}),
            1 => json!({"minVersion": "VersionTLS13"}),
            2 => json!({"clientAuth": {"secretNames": ["cert0"]}}),
            3 => json!({"clientAuth": {"secretNames": ["cert0", "cert1"]}}),
            _ => json!({"sniStrikt": true}),
        };
        let name = if name == 0 { "default" } else { "o1" };
        json!({"apiVersion": "traefik.io/v1alpha1", "kind": "TLSOption", "metadata": meta(&ns, name), "spec": spec})
    });
    let class = any::<(bool, bool)>().prop_map(|(ours, default)| {
        let name = if ours { "ours" } else { "theirs" };
        let mut meta = meta("", name);
        if default {
            meta["annotations"] = json!({"ingressclass.kubernetes.io/is-default-class": "true"});
        }
        let controller = if ours { "headgate.dev/ingress-controller" } else { "example.com/other" };
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": meta, "spec": {"controller": controller}})
    });
    prop_oneof![3 => service, 4 => slice, 3 => middleware, 3 => secret, 2 => transport, 2 => options, 1 => class]
}

fn step() -> impl Strategy<Value = Step> {
    let value = prop_oneof![ingress(), others()];
    (value, 0..3).prop_map(|(value, dice)| {
        if dice == 0 {
            let id = object(&value).id();
            Step::Delete(id.kind, id.key.namespace.to_string(), id.key.name.to_string())
        } else {
            Step::Put(value)
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn step_by_step_is_all_at_once(steps in proptest::collection::vec(step(), 1..40), batch in 1_usize..4) {
        let mut store = Store::default();
        let mut compiler = Compiler::new(claims(), keys());
        for some in steps.chunks(batch) {
            for step in some {
                match step {
                    Step::Put(value) => drop(store.apply(object(value))),
                    Step::Delete(kind, ns, name) => {
                        store.delete(&ObjectId::new(*kind, Key::new(ns.as_str(), name.as_str())));
                    }
                }
            }
            take(&mut compiler, &mut store);
        }
        let mut all = Store::default();
        let mut last = BTreeMap::new();
        for step in &steps {
            match step {
                Step::Put(value) => drop(last.insert(object(value).id(), value)),
                Step::Delete(kind, ns, name) => {
                    last.remove(&ObjectId::new(*kind, Key::new(ns.as_str(), name.as_str())));
                }
            }
        }
        for value in last.into_values() {
            all.apply(object(value));
        }
        let mut fresh = Compiler::new(claims(), keys());
        take(&mut fresh, &mut all);
        prop_assert_eq!(picture(&compiler), picture(&fresh));
    }
}
