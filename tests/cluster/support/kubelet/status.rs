//! What the API server is told of a pod: its state as the status that endpoints, Deployments and people read.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use super::{super::network, AGAIN, Record};

/// Where a pod's container is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Container {
    /// It can't start, for this reason, or hasn't yet.
    #[default]
    Created,
    Waiting(String),
    Running,
    /// It ended with this code, for good.
    Ended(i32),
}

/// What a status is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) container: Container,
    pub(super) ready: bool,
    /// When `ready` last changed, and the container started, as Kubernetes writes times.
    pub(super) ready_since: String,
    pub(super) started_at: String,
    pub(super) restarts: i32,
}

/// Now, as Kubernetes writes times.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Tells the newest state whenever it has changed, until its sender is gone and the last one is told.
pub(super) async fn report(
    client: Client,
    record: std::sync::Arc<Record>,
    pod: Pod,
    mut state: watch::Receiver<State>,
) {
    let api: Api<Pod> = Api::namespaced(client, &record.namespace);
    let start = now();
    loop {
        let newest = state.borrow_and_update().clone();
        let status = status(&pod, record.address, &start, &newest);
        let patch = json!({ "metadata": { "uid": record.uid }, "status": status });
        match api.patch_status(&record.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {}
            // Gone, or another pod of that name.
            Err(kube::Error::Api(refused)) if refused.code == 404 || refused.code == 409 => return,
            Err(_) => {
                sleep(AGAIN).await;
                continue;
            }
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

fn status(pod: &Pod, address: Ipv4Addr, start: &str, state: &State) -> Value {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let running = state.container == Container::Running;
    let phase = match &state.container {
        Container::Created | Container::Waiting(_) if state.restarts == 0 => "Pending",
        Container::Ended(0) => "Succeeded",
        Container::Ended(_) => "Failed",
        _ => "Running",
    };
    let is = |yes: bool| if yes { "True" } else { "False" };
    let condition =
        |kind: &str, yes: bool, since: &str| json!({ "type": kind, "status": is(yes), "lastTransitionTime": since });
    let now_in = match &state.container {
        Container::Created => json!({ "waiting": { "reason": "ContainerCreating" } }),
        Container::Waiting(why) => json!({ "waiting": { "reason": "CreateContainerError", "message": why } }),
        Container::Running => json!({ "running": { "startedAt": state.started_at } }),
        Container::Ended(code) => json!({ "terminated": {
            "exitCode": code, "reason": if *code == 0 { "Completed" } else { "Error" },
            "startedAt": state.started_at, "finishedAt": now(),
        }}),
    };
    let since = if state.ready_since.is_empty() { start } else { &state.ready_since };
    json!({
        "phase": phase,
        "startTime": start,
        "hostIP": network::NODE, "hostIPs": [{ "ip": network::NODE }],
        "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [
            condition("PodScheduled", true, start),
            condition("Initialized", true, start),
            condition("ContainersReady", state.ready, since),
            condition("Ready", state.ready, since),
        ],
        "containerStatuses": [{
            "name": container.map(|c| &c.name), "image": container.and_then(|c| c.image.as_ref()), "imageID": "",
            "ready": state.ready, "started": running, "restartCount": state.restarts, "state": now_in,
        }],
    })
}
