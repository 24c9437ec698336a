//! The one cluster of a run: started by the first test that asks for it, shared by all, ended with the namespaces that
//! `tests/cluster/run` made.

use std::{
    collections::HashMap,
    fmt::Debug,
    fs,
    io::{BufRead as _, BufReader},
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{core::v1::Service, core::v1::ServiceAccount, discovery::v1::EndpointSlice},
};
use kube::{
    Api, Client, Config, Resource,
    api::{ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{
    control_plane::ControlPlane,
    kubectl::Kubectl,
    kubelet::Kubelet,
    network,
    until::{LIMIT, until},
};

/// The cluster.
pub(crate) struct Cluster {
    runtime: Runtime,
    control_plane: ControlPlane,
    kubectl: Kubectl,
    client: Client,
    pub(crate) kubelet: Arc<Kubelet>,
    logs: PathBuf,
}

impl Cluster {
    /// The cluster of this run; ready, with its default namespace usable.
    pub(crate) fn get() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(Self::start)
    }

    fn start() -> Self {
        let variable = |name: &str| {
            PathBuf::from(std::env::var_os(name).unwrap_or_else(|| {
                panic!("{name} is not set: run these tests by tests/cluster/run, which makes the namespaces they need")
            }))
        };
        let kubetest = variable("HEADGATE_CLUSTER_KUBETEST");
        let headgate = variable("HEADGATE_CLUSTER_HEADGATE");
        let logs = variable("HEADGATE_CLUSTER_LOGS");
        let state = variable("HEADGATE_CLUSTER_STATE");
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        network::start().unwrap();
        let control_plane = ControlPlane::start(&kubetest, &state, &logs);
        let kubectl = Kubectl {
            program: control_plane.kubectl(),
            kubeconfig: control_plane.kubeconfig(),
            home: state.join("home"),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
        let (client, kubelet) = runtime.block_on(async {
            let client = client(&control_plane.kubeconfig()).await;
            let kubelet = Arc::new(Kubelet::register(client.clone(), headgate, state, logs.clone()).await);
            tokio::spawn(Arc::clone(&kubelet).run());
            (client, kubelet)
        });
        let cluster = Self { runtime, control_plane, kubectl, client, kubelet, logs };
        until("the namespace default has its service account", LIMIT, || {
            cluster.find::<ServiceAccount>("default", "default")
        });
        cluster
    }

    /// Runs a future of the Kubernetes client to its end.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }

    /// The administrator's client.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The API of a kind in a namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// An object, if it is there.
    pub(crate) fn find<K>(&self, namespace: &str, name: &str) -> Option<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        self.block_on(self.api(namespace).get_opt(name)).unwrap_or_else(|error| panic!("get {name}: {error}"))
    }

    /// The objects of a kind whose labels match.
    pub(crate) fn list<K>(&self, namespace: &str, labels: &str) -> Vec<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + DeserializeOwned + Debug,
    {
        let listed = self.block_on(self.api(namespace).list(&ListParams::default().labels(labels)));
        listed.unwrap_or_else(|error| panic!("list {labels}: {error}")).items
    }

    /// The EndpointSlices of a Service.
    pub(crate) fn slices(&self, namespace: &str, service: &str) -> Vec<EndpointSlice> {
        self.list(namespace, &format!("kubernetes.io/service-name={service}"))
    }

    /// What kubectl prints; it must succeed.
    #[track_caller]
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.kubectl.run(args, "")
    }

    /// The same where it may fail.
    ///
    /// # Errors
    /// What it says on standard error.
    pub(crate) fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        self.kubectl.attempt(args, "")
    }

    /// `kubectl apply` of a text, with options.
    #[track_caller]
    pub(crate) fn apply(&self, options: &[&str], manifests: &str) -> String {
        self.kubectl.run(&[&["apply", "-f", "-"], options].concat(), manifests)
    }

    /// Deletes the objects of a text, and doesn't wait for them to be gone.
    pub(crate) fn delete(&self, manifests: &str) {
        let _ = self.kubectl.attempt(&["delete", "--ignore-not-found", "--wait=false", "-f", "-"], manifests);
    }

    /// `kubectl` with this on its standard input.
    ///
    /// # Errors
    /// What it says on standard error.
    pub(crate) fn try_kubectl_with(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        self.kubectl.attempt(args, stdin)
    }

    /// Plays the load balancer: gives a Service its external addresses.
    #[track_caller]
    pub(crate) fn load_balancer(&self, namespace: &str, service: &str, addresses: &[IpAddr]) {
        let ingress: Vec<_> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
        let status = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
        let api: Api<Service> = self.api(namespace);
        self.block_on(api.patch_status(service, &PatchParams::default(), &Patch::Merge(status))).unwrap();
    }

    /// Kills the API server as a crash would.
    pub(crate) fn kill_apiserver(&self) {
        self.control_plane.kill_apiserver();
    }

    /// Starts it again with the state it had; returns when it is ready.
    pub(crate) fn start_apiserver(&self) {
        self.control_plane.start_apiserver();
    }

    /// Compacts etcd: a watch from an older revision than now gets 410.
    pub(crate) fn compact_etcd(&self) {
        self.control_plane.compact_etcd();
    }

    /// What pods have asked the API server so far, as audit events.
    pub(crate) fn audit(&self) -> Vec<Value> {
        let Ok(file) = fs::File::open(self.control_plane.audit_log()) else { return Vec::new() };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        // The last line may be half written.
        lines.filter_map(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// What a pod wrote, for people: its last lines.
    pub(crate) fn show_logs(&self, namespace: &str) {
        const LINES: usize = 60;
        let mut shown = HashMap::new();
        for record in self.kubelet.records(namespace) {
            let Ok(text) = fs::read_to_string(&record.log) else { continue };
            let lines: Vec<_> = text.lines().collect();
            shown.insert(record.name.clone(), lines[lines.len().saturating_sub(LINES)..].join("\n"));
        }
        for (name, text) in shown {
            eprintln!("--- the last lines of {namespace}/{name} ---\n{text}");
        }
        eprintln!("--- all logs are in {} ---", self.logs.display());
    }
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}
