//! A kubelet and scheduler of one node, small and honest: each pod is a network namespace with a mount namespace of its
//! own, in which the pod's first container really runs, is probed, restarted and ended with grace.
//!
//! `mod.rs` follows the pods and keeps a record of each; `life` is the life of one, `sandbox` how its process is
//! started, `volumes` and `env` what it is given, `probe` how it is asked, `status` what is told to the API server.

mod env;
mod life;
mod probe;
mod sandbox;
mod status;
mod volumes;

use std::{
    collections::{HashMap, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, ResourceExt as _,
    api::{Patch, PatchParams, PostParams},
    runtime::watcher::{self, Event, watcher},
};
use serde_json::json;
use tokio::{sync::watch, time::sleep};

use super::{network, process::Process};

/// The one node's name.
pub(crate) const NODE_NAME: &str = "node-1";

/// How soon an API server that is away is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(200);

/// What every pod's life needs.
pub(crate) struct Host {
    pub(crate) client: Client,
    /// The binary that images named `headgate…` stand for.
    pub(crate) headgate: PathBuf,
    /// Where pods' roots and volumes are.
    pub(crate) state: PathBuf,
    /// Where pods' output goes: NAMESPACE.POD.log.
    pub(crate) logs: PathBuf,
    /// Namespaces whose pods get no grace any more.
    hurry: watch::Sender<HashSet<String>>,
}

/// When things happened to a pod.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    /// Its first readiness.
    pub(crate) ready: Option<Instant>,
    /// Its deletion was seen.
    pub(crate) terminating: Option<Instant>,
    /// Its process ended, for the last time.
    pub(crate) ended: Option<Instant>,
}

/// What is known of a pod; kept when the pod is gone.
pub(crate) struct Record {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) log: PathBuf,
    uid: String,
    moments: Mutex<Moments>,
    process: Mutex<Option<Arc<Process>>>,
}

impl Record {
    /// When things happened to it.
    pub(crate) fn moments(&self) -> Moments {
        *self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its container's process, running or ended.
    pub(crate) fn process(&self) -> Option<Arc<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, change: impl FnOnce(&mut Moments)) {
        change(&mut self.moments.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn runs(&self, process: Arc<Process>) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
    }
}

/// The kubelet.
pub(crate) struct Kubelet {
    host: Arc<Host>,
    records: Mutex<Vec<Arc<Record>>>,
}

impl Kubelet {
    /// Registers the node.
    pub(crate) async fn register(client: Client, headgate: PathBuf, state: PathBuf, logs: PathBuf) -> Self {
        let nodes: Api<Node> = Api::all(client.clone());
        let node = json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": NODE_NAME, "labels": {
                "kubernetes.io/hostname": NODE_NAME, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            }},
        });
        nodes.create(&PostParams::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
        let capacity = json!({ "cpu": "64", "memory": "256Gi", "pods": "65536" });
        let status = json!({ "status": {
            "capacity": capacity, "allocatable": capacity,
            "addresses": [
                { "type": "InternalIP", "address": network::NODE.to_string() },
                { "type": "Hostname", "address": NODE_NAME },
            ],
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the tests' kubelet",
                "lastHeartbeatTime": status::now(), "lastTransitionTime": status::now(),
            }],
        }});
        nodes.patch_status(NODE_NAME, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        // The API server marks each new node; the controller that would take the mark away again doesn't run.
        let untainted = json!({ "spec": { "taints": null } });
        nodes.patch(NODE_NAME, &PatchParams::default(), &Patch::Merge(untainted)).await.unwrap();
        let host = Host { client, headgate, state, logs, hurry: watch::Sender::default() };
        Self { host: Arc::new(host), records: Mutex::default() }
    }

    /// Follows all pods, for ever; through every absence of the API server.
    pub(crate) async fn run(self: Arc<Self>) {
        let api: Api<Pod> = Api::all(self.host.client.clone());
        let mut pods: HashMap<String, watch::Sender<Pod>> = HashMap::new();
        let mut listed: HashSet<String> = HashSet::new();
        let mut events = pin!(watcher(api, watcher::Config::default()));
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Apply(pod)) => self.see(&mut pods, pod),
                Ok(Event::Delete(pod)) => drop(pods.remove(&uid(&pod))),
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(pod)) => {
                    listed.insert(uid(&pod));
                    self.see(&mut pods, pod);
                }
                Ok(Event::InitDone) => pods.retain(|uid, _| listed.contains(uid)),
                Err(_) => sleep(AGAIN).await,
            }
        }
    }

    fn see(&self, pods: &mut HashMap<String, watch::Sender<Pod>>, pod: Pod) {
        let uid = uid(&pod);
        if let Some(known) = pods.get(&uid) {
            known.send_replace(pod);
            return;
        }
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let log = self.host.logs.join(format!("{namespace}.{name}.log"));
        let record = Arc::new(Record {
            address: network::next_address(),
            log,
            namespace,
            name,
            uid: uid.clone(),
            moments: Mutex::default(),
            process: Mutex::default(),
        });
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&record));
        let (sender, receiver) = watch::channel(pod);
        pods.insert(uid, sender);
        tokio::spawn(life::live(Arc::clone(&self.host), record, receiver));
    }

    /// Every pod that ever was in a namespace, oldest first.
    pub(crate) fn records(&self, namespace: &str) -> Vec<Arc<Record>> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().filter(|record| record.namespace == namespace).cloned().collect()
    }

    /// The latest pod of this name.
    pub(crate) fn record(&self, namespace: &str, name: &str) -> Option<Arc<Record>> {
        self.records(namespace).into_iter().rev().find(|record| record.name == name)
    }

    /// Gives the pods of a namespace no grace any more: its test is over.
    pub(crate) fn hurry(&self, namespace: &str) {
        self.host.hurry.send_modify(|hurry| {
            hurry.insert(namespace.to_owned());
        });
    }

    /// Takes that back, for a namespace that outlives a test.
    pub(crate) fn leisure(&self, namespace: &str) {
        self.host.hurry.send_modify(|hurry| {
            hurry.remove(namespace);
        });
    }
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}
