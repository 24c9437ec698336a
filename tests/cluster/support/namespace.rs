//! A namespace for one test, with the pods and objects in it; emptied and deleted on drop.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use k8s_openapi::api::core::v1::{Pod, ServiceAccount};

use super::{
    Cluster,
    cert::Cert,
    kubelet::Record,
    until::{LIMIT, until, within},
};

/// What a test may leave behind, in the order in which it is taken away.
const KINDS: &str = "ingresses,deployments,daemonsets,replicasets,pods,secrets,configmaps,poddisruptionbudgets";

/// A namespace.
pub(crate) struct Namespace {
    pub(crate) cluster: &'static Cluster,
    pub(crate) name: String,
    /// Whether it was there before, and stays.
    stays: bool,
}

impl Namespace {
    /// A new one, usable by pods.
    #[track_caller]
    pub(crate) fn new(prefix: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let cluster = Cluster::get();
        let name = format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        cluster.kubectl(&["create", "namespace", &name]);
        let made = Self { cluster, name, stays: false };
        until("the namespace has its service account", LIMIT, || cluster.find::<ServiceAccount>(&made.name, "default"));
        made
    }

    /// `default`, for documents that say so.
    pub(crate) fn default() -> Self {
        let cluster = Cluster::get();
        cluster.kubelet.leisure("default");
        Self { cluster, name: "default".to_owned(), stays: true }
    }

    /// `kubectl apply` in here.
    #[track_caller]
    pub(crate) fn apply(&self, manifests: &str) {
        self.cluster.apply(&["-n", &self.name], manifests);
    }

    /// `kubectl -n` this namespace.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.cluster.kubectl(&[&["-n", &self.name], args].concat())
    }

    /// A Deployment of `headgate whoami` on port 8080 and a Service of its name on port 80; returns once all of it is
    /// ready. `args` are whoami's own, beside the address.
    #[track_caller]
    pub(crate) fn whoami(&self, name: &str, replicas: usize, args: &[&str]) {
        self.apply(&whoami(name, replicas, args));
        self.rolled_out(name);
        self.until_endpoints(name, replicas);
    }

    /// Until a Deployment is as it is asked to be, by `kubectl rollout status`.
    #[track_caller]
    pub(crate) fn rolled_out(&self, deployment: &str) {
        self.kubectl(&["rollout", "status", "--timeout=120s", &format!("deployment/{deployment}")]);
    }

    /// Until the slices of a Service hold exactly so many ready endpoints.
    #[track_caller]
    pub(crate) fn until_endpoints(&self, service: &str, count: usize) {
        until(&format!("{service} has {count} ready endpoints"), LIMIT, || {
            (self.ready_endpoints(service).len() == count).then_some(())
        });
    }

    /// The ready endpoints of a Service: address and pod's name.
    pub(crate) fn ready_endpoints(&self, service: &str) -> Vec<(String, String)> {
        let slices = self.cluster.slices(&self.name, service);
        let endpoints = slices.into_iter().flat_map(|slice| slice.endpoints);
        let ready = endpoints.filter(|endpoint| endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(true));
        let named =
            ready.filter_map(|endpoint| Some((endpoint.addresses.first()?.clone(), endpoint.target_ref?.name?)));
        let mut named: Vec<_> = named.collect();
        named.sort();
        named
    }

    /// The name that a service account of this namespace has as a user.
    pub(crate) fn account(&self, name: &str) -> String {
        format!("system:serviceaccount:{}:{name}", self.name)
    }

    /// A TLS Secret, made by `kubectl create secret tls` from a fresh certificate, which is returned (DER).
    #[track_caller]
    pub(crate) fn tls_secret(&self, name: &str, host: &str) -> Vec<u8> {
        let made = Cert::new(&[host]);
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        std::fs::write(&cert, &made.pem).unwrap();
        std::fs::write(&key, &made.key).unwrap();
        let (cert, key) = (format!("--cert={}", cert.display()), format!("--key={}", key.display()));
        self.kubectl(&["create", "secret", "tls", name, &cert, &key]);
        made.der
    }

    /// The pods whose labels match.
    pub(crate) fn pods(&self, labels: &str) -> Vec<Pod> {
        self.cluster.list(&self.name, labels)
    }

    /// What is known of a pod, here or gone.
    #[track_caller]
    pub(crate) fn record(&self, pod: &str) -> Arc<Record> {
        let record = self.cluster.kubelet.record(&self.name, pod);
        record.unwrap_or_else(|| panic!("the node never saw a pod {}/{pod}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.show_logs(&self.name);
        }
        self.cluster.kubelet.hurry(&self.name);
        let delete = ["-n", &self.name, "delete", "--wait=false", "--ignore-not-found"];
        let _ = self.cluster.try_kubectl(&[&delete[..], &["--all", KINDS]].concat());
        if self.stays {
            let others = ["services", "--field-selector=metadata.name!=kubernetes"];
            let _ = self.cluster.try_kubectl(&[&delete[..], &others].concat());
            // Nobody has it where Traefik's kinds were never installed.
            for kind in ["middlewares.traefik.io", "serverstransports.traefik.io", "tlsoptions.traefik.io"] {
                let _ = self.cluster.try_kubectl(&[&delete[..], &["--all", kind]].concat());
            }
        } else {
            let _ = self.cluster.try_kubectl(&["delete", "namespace", &self.name, "--wait=false"]);
        }
        within(LIMIT, || {
            let records = self.cluster.kubelet.records(&self.name);
            let ended = |record: &Arc<Record>| record.process().is_none_or(|process| process.exit().is_some());
            records.iter().all(ended).then_some(())
        });
    }
}

/// The manifests of [`Namespace::whoami`].
pub(crate) fn whoami(name: &str, replicas: usize, args: &[&str]) -> String {
    let args: String = args.iter().map(|arg| format!(", '{arg}'")).collect();
    format!(
        "\
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: {name} }}
spec:
  replicas: {replicas}
  selector: {{ matchLabels: {{ app: {name} }} }}
  template:
    metadata: {{ labels: {{ app: {name} }} }}
    spec:
      containers:
      - name: whoami
        image: headgate:test
        args: [whoami, --listen, '0.0.0.0:8080'{args}]
        ports: [{{ name: http, containerPort: 8080 }}]
        readinessProbe: {{ httpGet: {{ path: /healthz, port: http }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: {name} }}
spec:
  selector: {{ app: {name} }}
  ports: [{{ name: http, port: 80, targetPort: http }}]
"
    )
}
