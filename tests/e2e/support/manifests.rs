//! Kubernetes objects for a test, and the directory they are read from. Objects are written as JSON documents in
//! .yaml files (JSON is YAML); each write replaces its file by a rename, as careful editors do.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Backend, Cert, Pods};

/// A directory of manifests.
#[derive(Clone)]
pub(crate) struct Manifests {
    dir: Arc<TempDir>,
}

impl Manifests {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { dir: Arc::new(tempfile::tempdir().unwrap()) }
    }

    /// One with these objects.
    pub(crate) fn of(objects: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        let manifests = Self::new();
        manifests.put("main", objects);
        manifests
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The file that [`Manifests::put`] writes under a name.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!("{name}.yaml"))
    }

    /// Writes (or replaces) `NAME.yaml`.
    pub(crate) fn put(&self, name: &str, objects: impl IntoIterator<Item = impl Into<Value>>) {
        let documents: Vec<String> = objects.into_iter().map(|o| o.into().to_string()).collect();
        self.text(&format!("{name}.yaml"), &documents.join("\n---\n"));
    }

    /// Writes (or replaces) a file with this text.
    pub(crate) fn text(&self, file: &str, text: &str) {
        let hidden = self.path().join(format!(".{file}.new"));
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, self.path().join(file)).unwrap();
    }

    /// Deletes `NAME.yaml`.
    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.file(name)).unwrap();
    }
}

macro_rules! object {
    ($name:ident) => {
        impl From<$name> for Value {
            fn from(object: $name) -> Self {
                object.0
            }
        }

        impl $name {
            /// Moves it into a namespace.
            pub(crate) fn namespace(mut self, namespace: &str) -> Self {
                self.0["metadata"]["namespace"] = namespace.into();
                self
            }
        }
    };
}

/// An Ingress.
#[derive(Clone)]
pub(crate) struct Ingress(Value);
object!(Ingress);

impl Ingress {
    /// In namespace `default`, without a class.
    pub(crate) fn new(name: &str) -> Self {
        Self(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": { "name": name, "namespace": "default", "annotations": {} },
            "spec": {},
        }))
    }

    /// `/` of a host to port 80 of a Service; the Ingress is named like the Service.
    pub(crate) fn simple(host: &str, service: &str) -> Self {
        Self::new(service).rule(host, &[("/", "Prefix", service)])
    }

    pub(crate) fn class(mut self, class: &str) -> Self {
        self.0["spec"]["ingressClassName"] = class.into();
        self
    }

    pub(crate) fn created(mut self, timestamp: &str) -> Self {
        self.0["metadata"]["creationTimestamp"] = timestamp.into();
        self
    }

    /// An annotation of Traefik's: `router.middlewares`.
    pub(crate) fn traefik(self, key: &str, value: &str) -> Self {
        self.annotation(&format!("traefik.ingress.kubernetes.io/{key}"), value)
    }

    pub(crate) fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = value.into();
        self
    }

    /// Middlewares of namespace `default`, by name.
    pub(crate) fn middlewares(self, names: &[&str]) -> Self {
        let refs: Vec<String> = names.iter().map(|n| format!("default-{n}@kubernetescrd")).collect();
        self.traefik("router.middlewares", &refs.join(","))
    }

    /// A rule of (path, pathType, service) on port 80; an empty host is none.
    pub(crate) fn rule(self, host: &str, paths: &[(&str, &str, &str)]) -> Self {
        let paths = paths.iter().map(|(path, kind, service)| path_to(path, kind, service, &json!({ "number": 80 })));
        let paths = paths.collect();
        self.push_rule(host, paths)
    }

    /// A rule of one path to a named port.
    pub(crate) fn rule_to_named_port(self, host: &str, path: &str, service: &str, port: &str) -> Self {
        self.push_rule(host, vec![path_to(path, "Prefix", service, &json!({ "name": port }))])
    }

    /// A rule of one path to a port by its number.
    pub(crate) fn rule_to_port(self, host: &str, path: &str, service: &str, port: u16) -> Self {
        self.push_rule(host, vec![path_to(path, "Prefix", service, &json!({ "number": port }))])
    }

    fn push_rule(mut self, host: &str, paths: Vec<Value>) -> Self {
        let mut rule = json!({ "http": { "paths": paths } });
        if !host.is_empty() {
            rule["host"] = host.into();
        }
        let rules = &mut self.0["spec"]["rules"];
        match rules.as_array_mut() {
            Some(rules) => rules.push(rule),
            None => *rules = json!([rule]),
        }
        self
    }

    pub(crate) fn default_backend(mut self, service: &str) -> Self {
        self.0["spec"]["defaultBackend"] = json!({ "service": { "name": service, "port": { "number": 80 } } });
        self
    }

    pub(crate) fn tls(mut self, hosts: &[&str], secret: &str) -> Self {
        let entry = json!({ "hosts": hosts, "secretName": secret });
        let tls = &mut self.0["spec"]["tls"];
        match tls.as_array_mut() {
            Some(entries) => entries.push(entry),
            None => *tls = json!([entry]),
        }
        self
    }
}

fn path_to(path: &str, kind: &str, service: &str, port: &Value) -> Value {
    json!({ "path": path, "pathType": kind, "backend": { "service": { "name": service, "port": port } } })
}

/// A Service.
#[derive(Clone)]
pub(crate) struct Service(Value);
object!(Service);

impl Service {
    /// Port 80, unnamed.
    pub(crate) fn new(name: &str) -> Self {
        Self(json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "name": name, "namespace": "default", "annotations": {} },
            "spec": { "type": "ClusterIP", "ports": [{ "port": 80 }] },
        }))
    }

    /// These ports instead: (name, number).
    pub(crate) fn ports(mut self, ports: &[(&str, u16)]) -> Self {
        self.0["spec"]["ports"] = ports.iter().map(|(name, port)| json!({ "name": name, "port": port })).collect();
        self
    }

    pub(crate) fn app_protocol(mut self, protocol: &str) -> Self {
        self.0["spec"]["ports"][0]["appProtocol"] = protocol.into();
        self
    }

    /// An annotation of Traefik's: `service.sticky.cookie`.
    pub(crate) fn traefik(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][format!("traefik.ingress.kubernetes.io/{key}")] = value.into();
        self
    }

    pub(crate) fn affinity(mut self, affinity: &str, timeout_seconds: u32) -> Self {
        self.0["spec"]["sessionAffinity"] = affinity.into();
        self.0["spec"]["sessionAffinityConfig"] = json!({ "clientIP": { "timeoutSeconds": timeout_seconds } });
        self
    }

    /// An ExternalName Service with one port.
    pub(crate) fn external(mut self, name: &str, port: u16) -> Self {
        self.0["spec"] = json!({ "type": "ExternalName", "externalName": name, "ports": [{ "port": port }] });
        self
    }
}

/// An EndpointSlice.
#[derive(Clone)]
pub(crate) struct Slice(Value);
object!(Slice);

impl Slice {
    /// A slice of `service` with one unnamed port and no endpoints yet.
    pub(crate) fn new(service: &str, suffix: &str, port: u16) -> Self {
        Self(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": format!("{service}-{suffix}"),
                "namespace": "default",
                "labels": { "kubernetes.io/service-name": service },
            },
            "addressType": "IPv4",
            "ports": [{ "name": "", "port": port, "protocol": "TCP" }],
            "endpoints": [],
        }))
    }

    /// These pods, ready.
    pub(crate) fn of(service: &str, port: u16, pods: &[Backend]) -> Self {
        pods.iter().fold(Self::new(service, "pods", port), |slice, pod| slice.endpoint(pod))
    }

    pub(crate) fn port_name(mut self, name: &str) -> Self {
        self.0["ports"][0]["name"] = name.into();
        self
    }

    pub(crate) fn ipv6(mut self) -> Self {
        self.0["addressType"] = "IPv6".into();
        self
    }

    /// A ready endpoint.
    pub(crate) fn endpoint(self, pod: &Backend) -> Self {
        self.endpoint_with(pod, json!({ "ready": true, "serving": true, "terminating": false }))
    }

    /// An endpoint that is going: `serving` or not.
    pub(crate) fn terminating(self, pod: &Backend, serving: bool) -> Self {
        self.endpoint_with(pod, json!({ "ready": false, "serving": serving, "terminating": true }))
    }

    /// An endpoint with these conditions.
    pub(crate) fn endpoint_with(mut self, pod: &Backend, conditions: Value) -> Self {
        let endpoint = json!({
            "addresses": [pod.addr.ip().to_string()],
            "conditions": conditions,
            "targetRef": { "kind": "Pod", "namespace": "default", "name": pod.name() },
        });
        self.0["endpoints"].as_array_mut().unwrap().push(endpoint);
        self
    }

    /// An endpoint of which only the address is known.
    pub(crate) fn address(mut self, addr: SocketAddr) -> Self {
        self.0["endpoints"].as_array_mut().unwrap().push(json!({ "addresses": [addr.ip().to_string()] }));
        self
    }
}

/// A Service on port 80 and a slice for each backend.
pub(crate) fn service_of(name: &str, backends: &[&Backend]) -> Vec<Value> {
    let slices = backends
        .iter()
        .enumerate()
        .map(|(index, backend)| Slice::new(name, &index.to_string(), backend.addr.port()).endpoint(backend).into());
    std::iter::once(Service::new(name).into()).chain(slices).collect()
}

/// A Service on port 80 and one slice of all pods.
pub(crate) fn service_of_pods(name: &str, pods: &Pods) -> Vec<Value> {
    vec![Service::new(name).into(), Slice::of(name, pods.port, &pods.all).into()]
}

/// A Service on port 80 for a server at any address, as a Service object of the test's making.
pub(crate) fn service_at(service: Service, addr: SocketAddr) -> Vec<Value> {
    let name = service.0["metadata"]["name"].as_str().unwrap().to_owned();
    vec![service.into(), Slice::new(&name, "only", addr.port()).address(addr).into()]
}

/// `/` of a host to one backend: Ingress, Service and slice, all named `app`.
pub(crate) fn app(host: &str, backend: &Backend) -> Manifests {
    let mut objects = service_of("app", &[backend]);
    objects.push(Ingress::simple(host, "app").into());
    Manifests::of(objects)
}

/// A Secret.
#[derive(Clone)]
pub(crate) struct Secret(Value);
object!(Secret);

impl Secret {
    /// Type `kubernetes.io/tls`.
    pub(crate) fn tls(name: &str, cert: &Cert) -> Self {
        Self::new(name, "kubernetes.io/tls", &[("tls.crt", &cert.pem), ("tls.key", &cert.key)])
    }

    /// Any type and keys.
    pub(crate) fn new(name: &str, kind: &str, data: &[(&str, &str)]) -> Self {
        let data: Value =
            data.iter().map(|(key, value)| ((*key).to_owned(), Value::from(STANDARD.encode(value)))).collect();
        Self(json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": "default" },
            "type": kind,
            "data": data,
        }))
    }
}

/// A Middleware of `traefik.io/v1alpha1`.
#[derive(Clone)]
pub(crate) struct Middleware(Value);
object!(Middleware);

impl Middleware {
    pub(crate) fn new(name: &str, spec: Value) -> Self {
        Self(json!({
            "apiVersion": "traefik.io/v1alpha1",
            "kind": "Middleware",
            "metadata": { "name": name, "namespace": "default" },
            "spec": spec,
        }))
    }

    /// `sticky.cookie` with a name only.
    pub(crate) fn sticky(name: &str, cookie: &str) -> Self {
        Self::new(name, json!({ "sticky": { "cookie": { "name": cookie } } }))
    }
}

/// The IngressClass `traefik`, as K3s has it.
pub(crate) fn ingress_class(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": { "name": name },
        "spec": { "controller": controller },
    })
}
