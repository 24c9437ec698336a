//! Headgate as its users install it: the manifests of deploy/, rendered by real kubectl, applied by real kubectl, with
//! the flags that a test adds; the load balancer in front is played.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::{
    Cluster,
    http::{Target, get},
    kubelet::Record,
    network::PodNetwork,
    until::{LIMIT, until, within},
};

/// The port of the admin server, on the pod's loopback.
const ADMIN: &str = "127.0.0.1:9000";

/// A pod of Headgate that is ready.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// /healthz, /readyz and /metrics.
    pub(crate) health: SocketAddr,
    pub(crate) record: Arc<Record>,
}

impl Gate {
    fn of(cluster: &Cluster, pod: &Pod) -> Option<Self> {
        let ready = pod.status.as_ref()?.conditions.as_ref()?.iter().any(|c| c.type_ == "Ready" && c.status == "True");
        if !ready || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let record = cluster.kubelet.record(&pod.namespace()?, &pod.name_any())?;
        let at = |name: &str| {
            let container = pod.spec.as_ref()?.containers.first()?;
            let port = container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name))?;
            Some(SocketAddr::from((record.address, u16::try_from(port.container_port).ok()?)))
        };
        Some(Self { http: at("web")?, https: at("websecure")?, health: at("health")?, record })
    }

    /// The status that a path of the health server is answered with, if it is.
    pub(crate) fn health(&self, path: &str) -> Option<u16> {
        let target = Target { path: path.to_owned(), ..Target::new(self.health, "health") };
        Some(get(&target, None).ok()?.status)
    }

    /// The messages of the diagnostics of a code.
    #[track_caller]
    pub(crate) fn messages(&self, code: &str) -> Vec<String> {
        let message = |diagnostic: &Value| diagnostic["message"].as_str().unwrap_or_default().to_owned();
        self.diagnostics().iter().filter(|diagnostic| diagnostic["code"] == code).map(message).collect()
    }

    /// The pod's network namespace, as nsenter takes it.
    pub(crate) fn network(&self) -> PathBuf {
        PodNetwork::path_of(self.record.address)
    }

    /// What the admin server answers at a path. It listens on the pod's loopback, so curl asks from inside the pod.
    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> String {
        let mut inside = Command::new("nsenter");
        inside.arg(format!("--net={}", self.network().display()));
        inside.args(["curl", "--silent", "--show-error", "--fail", "--max-time", "20"]);
        let output = inside.arg(format!("http://{ADMIN}{path}")).output().unwrap();
        assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Everything that it says is wrong.
    #[track_caller]
    pub(crate) fn diagnostics(&self) -> Vec<Value> {
        serde_json::from_str(&self.admin("/api/diagnostics")).unwrap()
    }

    /// What it says is wrong under this code.
    #[track_caller]
    pub(crate) fn said(&self, code: &str) -> Vec<Value> {
        self.diagnostics().into_iter().filter(|said| said["code"] == code).collect()
    }

    /// What it has written to its log so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.record.log).unwrap_or_default()
    }
}

/// An installation; taken away on drop, without its CRDs.
pub(crate) struct Deployed {
    cluster: &'static Cluster,
    /// Without CRDs: other tests' objects would go with them.
    manifests: String,
    pub(crate) namespace: String,
    /// Kind and name of what makes the pods, as kubectl takes it.
    workload: String,
}

impl Deployed {
    /// `kubectl apply -k` of a folder below deploy/, with flags added to the container's own, and so many replicas if
    /// it is a Deployment; returns once it is rolled out.
    #[track_caller]
    pub(crate) fn apply(folder: &str, replicas: usize, flags: &[&str]) -> Self {
        let cluster = Cluster::get();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(folder);
        let rendered = cluster.kubectl(&["kustomize", &path.display().to_string()]);
        let mut objects = objects(&rendered);
        let (crds, _): (Vec<_>, Vec<_>) =
            objects.iter().cloned().partition(|o| o["kind"] == "CustomResourceDefinition");
        objects.retain(|object| object["kind"] != "CustomResourceDefinition");
        let workload = objects.iter_mut().find(|o| o["kind"] == "Deployment" || o["kind"] == "DaemonSet");
        let workload = workload.expect("a Deployment or DaemonSet");
        if workload["kind"] == "Deployment" {
            workload["spec"]["replicas"] = json!(replicas);
        }
        let container = &mut workload["spec"]["template"]["spec"]["containers"][0];
        let args = container["args"].as_array_mut().expect("the container's args");
        args.extend(flags.iter().map(|flag| json!(flag)));
        let namespace = workload["metadata"]["namespace"].as_str().unwrap_or("default").to_owned();
        let kind = workload["kind"].as_str().unwrap_or_default().to_lowercase();
        let workload = format!("{kind}/{}", workload["metadata"]["name"].as_str().unwrap_or_default());

        // What a test that failed has left behind has the same names.
        until("no earlier installation is on its way out", LIMIT, || {
            let phase = ["get", "namespace", &namespace, "-o", "jsonpath={.status.phase}"];
            (!cluster.try_kubectl(&phase).is_ok_and(|phase| phase == "Terminating")).then_some(())
        });
        if !crds.is_empty() {
            cluster.apply(&["--server-side"], &list(&crds));
            // An error, too, while one that is new has no conditions at all.
            let wait = ["wait", "--for=condition=Established", "--timeout=60s", "crd", "--all"];
            until("the definitions are established", LIMIT, || cluster.try_kubectl(&wait).ok());
        }
        let manifests = list(&objects);
        let deployed = Self { cluster, manifests, namespace, workload };
        cluster.kubelet.leisure(&deployed.namespace);
        cluster.apply(&[], &deployed.manifests);
        deployed.rolled_out();
        deployed.publish();
        deployed
    }

    /// Plays the load balancer: gives our Service the addresses of the pods that are ready now.
    pub(crate) fn publish(&self) {
        let services: Vec<Service> = self.cluster.list(&self.namespace, "");
        let balanced =
            |service: &&Service| service.spec.as_ref().and_then(|s| s.type_.as_deref()) == Some("LoadBalancer");
        let addresses: Vec<_> = self.gates().iter().map(|gate| gate.http.ip()).collect();
        for service in services.iter().filter(balanced) {
            self.cluster.load_balancer(&self.namespace, &service.name_any(), &addresses);
        }
    }

    /// Until every pod is as it is asked to be.
    #[track_caller]
    pub(crate) fn rolled_out(&self) {
        let args = ["-n", &self.namespace, "rollout", "status", "--timeout=120s", &self.workload];
        if let Err(said) = self.cluster.try_kubectl(&args) {
            let pods = self.cluster.try_kubectl(&["-n", &self.namespace, "describe", "pods"]).unwrap_or_default();
            panic!("{} is not rolled out: {said}\n{pods}", self.workload);
        }
    }

    /// The ready pods.
    pub(crate) fn gates(&self) -> Vec<Gate> {
        let pods: Vec<Pod> = self.cluster.list(&self.namespace, "");
        pods.iter().filter_map(|pod| Gate::of(self.cluster, pod)).collect()
    }

    /// The one ready pod.
    #[track_caller]
    pub(crate) fn gate(&self) -> Gate {
        until("a pod of Headgate is ready", LIMIT, || self.gates().into_iter().next())
    }

    /// How often containers of its pods were started again.
    pub(crate) fn restarts(&self) -> i32 {
        let pods: Vec<Pod> = self.cluster.list(&self.namespace, "");
        let statuses = pods.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
        statuses.map(|status| status.restart_count).sum()
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.cluster.show_logs(&self.namespace);
        }
        self.cluster.kubelet.hurry(&self.namespace);
        self.cluster.delete(&self.manifests);
        // The next installation has the same names.
        within(LIMIT, || {
            let gone = self.cluster.try_kubectl(&["get", "namespace", &self.namespace, "-o", "name"]).is_err();
            gone.then_some(())
        });
    }
}

/// The documents of a YAML stream that kubectl has printed.
fn objects(yaml: &str) -> Vec<Value> {
    let documents = yaml.split("\n---\n").filter(|document| !document.trim().is_empty());
    documents.map(|document| serde_saphyr::from_str(document).expect("kubectl prints YAML")).collect()
}

fn list(objects: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string()
}
