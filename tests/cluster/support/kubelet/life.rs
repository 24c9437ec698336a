//! The life of one pod: scheduled, given an address, run and run again, ended with grace, deleted.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container as Spec, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};
use serde_json::json;
use tokio::{
    sync::watch,
    task::block_in_place,
    time::{Instant, sleep, sleep_until},
};

use super::{
    super::{network::PodNetwork, process::Process},
    AGAIN, Host, NODE_NAME, Record, probe, sandbox,
    status::{self, Container, State},
};

/// Between the end of a container and its next start; a real kubelet starts with 10 s.
const RESTART: Duration = Duration::from_secs(1);

/// Why a pod's container is no longer wanted.
enum End {
    /// Deleted, with its grace still to come.
    Terminating,
    /// No longer there: no grace.
    Gone,
}

/// Lives it.
pub(super) async fn live(host: Arc<Host>, record: Arc<Record>, mut pod: watch::Receiver<Pod>) {
    let first = pod.borrow().clone();
    let Some(spec) = first.spec.as_ref() else { return };
    let Some(container) = spec.containers.first() else { return };
    if spec.node_name.is_none() && first.metadata.deletion_timestamp.is_none() && !bind(&host, &record).await {
        return;
    }
    let (state, states) = watch::channel(State::default());
    let reported = tokio::spawn(status::report(host.client.clone(), Arc::clone(&record), first.clone(), states));
    let end = if sandbox::runs(container) {
        run(&host, &record, container, &mut pod, &state).await
    } else {
        // Somebody else's image: there in name and address only.
        started(&record, &state);
        set_ready(&record, &state, true);
        terminating(&mut pod).await
    };
    set_ready(&record, &state, false);
    drop(state);
    if matches!(end, End::Terminating) {
        let _ = reported.await;
        delete(&host, &record).await;
    } else {
        reported.abort();
    }
}

/// Plays the scheduler. Whether the pod is there to be run.
async fn bind(host: &Host, record: &Record) -> bool {
    let api: Api<Pod> = Api::namespaced(host.client.clone(), &record.namespace);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": record.name, "uid": record.uid },
        "target": { "apiVersion": "v1", "kind": "Node", "name": NODE_NAME },
    });
    loop {
        let parameters = PostParams::default();
        let bound: kube::Result<serde_json::Value> =
            api.create_subresource("binding", &record.name, &parameters, &binding).await;
        match bound {
            Ok(_) => return true,
            Err(kube::Error::Api(refused)) if refused.code == 404 => return false,
            // Bound already, before an answer was lost.
            Err(kube::Error::Api(refused)) if refused.code == 409 => return true,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Runs the container, and again whenever it ends, until the pod is to end.
async fn run(
    host: &Host,
    record: &Arc<Record>,
    container: &Spec,
    pod: &mut watch::Receiver<Pod>,
    state: &watch::Sender<State>,
) -> End {
    let network = match block_in_place(|| PodNetwork::new(record.address)) {
        Ok(network) => network,
        Err(why) => panic!("no network for {}: {why}", record.name),
    };
    loop {
        let now = pod.borrow().clone();
        let prepared = tokio::select! {
            prepared = sandbox::prepare(host, record, container, &now) => prepared,
            end = terminating(pod) => return end,
        };
        let process = prepared
            .and_then(|mut command| Process::spawn(&mut command, &record.log).map_err(|error| error.to_string()));
        let process = match process {
            Ok(process) => Arc::new(process),
            Err(why) => {
                state.send_modify(|state| state.container = Container::Waiting(why));
                tokio::select! {
                    () = sleep(RESTART) => continue,
                    end = terminating(pod) => return end,
                }
            }
        };
        record.runs(Arc::clone(&process));
        started(record, state);
        let lived = async {
            // An end that was asked for is no crash.
            let end = tokio::select! {
                biased;
                end = terminating(pod) => end,
                exit = process.ended() => {
                    record.note(|moments| moments.ended = Some(exit.at));
                    return None;
                }
            };
            record.note(|moments| moments.terminating = Some(std::time::Instant::now()));
            Some(stop(host, record, container, pod, &process, end).await)
        };
        let end = tokio::select! {
            end = lived => end,
            () = probe::follow(container, record, state, &process) => unreachable!("probes go on for ever"),
        };
        if let Some(end) = end {
            record.note(|moments| moments.ended = process.exit().map(|exit| exit.at));
            // The runtime takes the network away before the API server hears of the end.
            block_in_place(|| drop(network));
            let code = process.exit().and_then(|exit| exit.status.code()).unwrap_or(137);
            state.send_modify(|state| {
                state.container = Container::Ended(code);
                state.ready = false;
            });
            return end;
        }
        set_ready(record, state, false);
        state.send_modify(|state| {
            state.container = Container::Waiting("it ended; back-off".to_owned());
            state.restarts += 1;
        });
        tokio::select! {
            () = sleep(RESTART) => {}
            end = terminating(pod) => return end,
        }
    }
}

/// Ends the process with the grace that the pod has; the probes go on beside it.
async fn stop(
    host: &Host,
    record: &Record,
    container: &Spec,
    pod: &mut watch::Receiver<Pod>,
    process: &Process,
    end: End,
) -> End {
    if matches!(end, End::Gone) {
        process.signal("KILL");
        process.ended().await;
        return End::Gone;
    }
    let grace = pod.borrow().metadata.deletion_grace_period_seconds.unwrap_or(30);
    let deadline = Instant::now() + Duration::from_secs(u64::try_from(grace).unwrap_or_default());
    let mut hurried = host.hurry.subscribe();
    let before = container.lifecycle.as_ref().and_then(|cycle| cycle.pre_stop.as_ref()?.sleep.as_ref());
    let before = Duration::from_secs(before.and_then(|sleep| u64::try_from(sleep.seconds).ok()).unwrap_or_default());
    let politely = async {
        sleep(before).await;
        process.signal("TERM");
        process.ended().await;
    };
    let gone = async { while pod.changed().await.is_ok() {} };
    let end = tokio::select! {
        () = politely => End::Terminating,
        () = sleep_until(deadline) => End::Terminating,
        _ = hurried.wait_for(|hurry| hurry.contains(&record.namespace)) => End::Terminating,
        () = gone => End::Gone,
    };
    process.signal("KILL");
    process.ended().await;
    end
}

async fn terminating(pod: &mut watch::Receiver<Pod>) -> End {
    match pod.wait_for(|pod| pod.metadata.deletion_timestamp.is_some()).await {
        Ok(_) => End::Terminating,
        Err(_) => End::Gone,
    }
}

fn started(record: &Record, state: &watch::Sender<State>) {
    state.send_modify(|state| {
        state.container = Container::Running;
        state.started_at = status::now();
    });
    record.note(|moments| moments.ended = None);
}

/// Sets the pod's readiness; told to the API server where it changes.
pub(super) fn set_ready(record: &Record, state: &watch::Sender<State>, ready: bool) {
    let changed = state.send_if_modified(|state| {
        let changed = state.ready != ready;
        if changed {
            state.ready = ready;
            state.ready_since = status::now();
        }
        changed
    });
    if changed && ready {
        record.note(|moments| moments.ready = moments.ready.or_else(|| Some(std::time::Instant::now())));
    }
}

/// Tells the API server that nothing is left of it.
async fn delete(host: &Host, record: &Record) {
    let api: Api<Pod> = Api::namespaced(host.client.clone(), &record.namespace);
    let preconditions = Preconditions { uid: Some(record.uid.clone()), resource_version: None };
    let now = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..Default::default() };
    loop {
        match api.delete(&record.name, &now).await {
            Ok(_) | Err(kube::Error::Api(_)) => return,
            Err(_) => sleep(AGAIN).await,
        }
    }
}
