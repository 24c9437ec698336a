//! The API server goes away and comes back: traffic doesn't notice, and what has changed meanwhile is caught up with.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use k8s_openapi::api::{discovery::v1::EndpointSlice, networking::v1::Ingress};
use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::support::{Cluster, Deployed, Gate, LIMIT, Load, Namespace, Target, get, until};

/// Within this a change is followed, once the API server is ready again.
const FOLLOWED: Duration = Duration::from_secs(2);

/// How long the long outage is.
const OUTAGE: Duration = Duration::from_secs(30);

/// A cluster with something of each kind that changes.
struct Scene {
    headgate: Deployed,
    space: Namespace,
    gate: Gate,
    /// The addresses of the backend's pods and their names.
    pods: Vec<(String, String)>,
    pid: u32,
}

impl Scene {
    #[track_caller]
    fn new() -> Self {
        let headgate = Deployed::apply("base", 1, &["--log-level=info,headgate=debug,kube_client=off"]);
        let space = Namespace::new("outage");
        space.whoami("app", 2, &[]);
        let pods = space.ready_endpoints("app");
        space.apply(&list(&[
            ingress("steady", None),
            ingress("marked", Some(&format!("{}-mark@kubernetescrd", space.name))),
            ingress("deleted", None),
            mark("1"),
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "moved" },
                "spec": { "ports": [{ "name": "http", "port": 80 }] } }),
            slice(&pods[0].0),
            route("moved", "moved", None),
        ]));
        let gate = headgate.gate();
        let pid = gate.record.process().unwrap().pid();
        let scene = Self { headgate, space, gate, pods, pid };
        until("all is served", LIMIT, || {
            let served = scene.is_served("steady") && scene.is_served("deleted");
            (served && scene.is_marked("1") && scene.is_moved_to(0)).then_some(())
        });
        scene
    }

    fn target(&self, name: &str) -> Target {
        Target::new(self.gate.http, &format!("{name}.example"))
    }

    fn status(&self, name: &str) -> Option<u16> {
        Some(get(&self.target(name), None).ok()?.status)
    }

    fn is_served(&self, name: &str) -> bool {
        self.status(name) == Some(200)
    }

    fn is_marked(&self, with: &str) -> bool {
        get(&self.target("marked"), None).is_ok_and(|answer| answer.get("x-mark") == Some(with))
    }

    fn is_moved_to(&self, pod: usize) -> bool {
        let name = Some(self.pods[pod].1.as_str());
        get(&self.target("moved"), None).is_ok_and(|answer| answer.get("x-pod") == name)
    }

    /// A load that must not notice anything.
    fn load(&self) -> Load {
        Load { rate: 400, ..Load::new(vec![self.target("steady"), self.target("marked")]) }
    }

    /// Panics if Headgate was started again.
    #[track_caller]
    fn assert_same_process(&self) {
        let process = self.gate.record.process().unwrap();
        assert_eq!((process.pid(), process.exit().is_none()), (self.pid, true), "Headgate has been restarted");
        let restarts = self.headgate.restarts();
        assert_eq!(restarts, 0, "the pod has been restarted");
    }

    fn log_lines(&self, text: &str) -> usize {
        self.gate.record.process().unwrap().log().lines().filter(|line| line.contains(text)).count()
    }

    /// Until the outage is among the diagnostics.
    #[track_caller]
    fn until_told(&self) {
        until("the diagnostics say that the API server is away", LIMIT, || {
            (self.gate.messages("Unreachable").len() == 1).then_some(())
        });
    }

    /// The outage was said once, nothing else was, and it is no longer said.
    #[track_caller]
    fn assert_told_once(&self) {
        until("the outage is cleared from the diagnostics", LIMIT, || {
            self.gate.messages("Unreachable").is_empty().then_some(())
        });
        assert_eq!(self.log_lines("the API server is away"), 1, "said once");
        // A server that starts may refuse for a moment: that is no news for anybody.
        for code in ["Forbidden", "NotInstalled", "Refused"] {
            let said = self.gate.messages(code);
            assert!(said.is_empty(), "{code}: {said:?}");
        }
        let refused = ["we may not list", "knows no middlewares", "can't be watched", "the Lease may not be used"];
        let said = refused.map(|text| self.log_lines(text));
        assert_eq!(said, [0; 4], "{refused:?} in the log");
    }

    /// Makes a change as soon as the API server takes it, and waits until it is followed.
    #[track_caller]
    fn follow(&self, what: &str, ready: Instant, change: impl Fn() -> bool, followed: impl Fn() -> bool) {
        until(&format!("{what}: the API server takes it"), LIMIT, || change().then_some(()));
        let taken = Instant::now();
        self.caught_up(what, ready, taken, followed);
    }

    /// Waits until a change that was made at `taken` is followed; within the time from then on.
    #[track_caller]
    fn caught_up(&self, what: &str, ready: Instant, taken: Instant, followed: impl Fn() -> bool) {
        until(what, LIMIT, || followed().then_some(()));
        let took = taken.elapsed();
        eprintln!(
            "{what}: followed {took:.1?} after the change, {:.1?} after /readyz of the API server",
            ready.elapsed()
        );
        assert!(took <= FOLLOWED, "{what}: {took:?} is too long");
    }

    fn ingresses(&self) -> Api<Ingress> {
        self.space.cluster.api(&self.space.name)
    }

    fn adds(&self, name: &str) -> bool {
        let ingress: Ingress = serde_json::from_value(ingress(name, None)).unwrap();
        taken(self.space.cluster.block_on(self.ingresses().create(&PostParams::default(), &ingress)), 409)
    }

    fn deletes(&self, name: &str) -> bool {
        taken(self.space.cluster.block_on(self.ingresses().delete(name, &DeleteParams::default())), 404)
    }

    fn marks(&self, with: &str) -> bool {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("traefik.io", "v1alpha1", "Middleware"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.space.cluster.client(), &self.space.name, &kind);
        let patch = json!({ "spec": mark(with)["spec"] });
        patched(self.space.cluster, &api, "mark", patch)
    }

    fn moves_to(&self, pod: usize) -> bool {
        let api: Api<EndpointSlice> = self.space.cluster.api(&self.space.name);
        let patch = json!({ "endpoints": slice(&self.pods[pod].0)["endpoints"] });
        patched(self.space.cluster, &api, "moved-1", patch)
    }
}

/// Whether a change was made, now or by a request before whose answer was lost.
fn taken<T>(answer: kube::Result<T>, already: u16) -> bool {
    match answer {
        Ok(_) => true,
        Err(kube::Error::Api(status)) => status.code == already,
        Err(_) => false,
    }
}

fn patched<K: Clone + DeserializeOwned + Debug>(cluster: &Cluster, api: &Api<K>, name: &str, patch: Value) -> bool {
    cluster.block_on(api.patch(name, &PatchParams::default(), &Patch::Merge(patch))).is_ok()
}

fn list(items: &[Value]) -> String {
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// An Ingress of NAME.example to the backend.
fn ingress(name: &str, middleware: Option<&str>) -> Value {
    route(name, "app", middleware)
}

fn route(name: &str, service: &str, middleware: Option<&str>) -> Value {
    let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
    let annotations = middleware.map(|name| json!({ "traefik.ingress.kubernetes.io/router.middlewares": name }));
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": { "name": name, "annotations": annotations },
        "spec": { "ingressClassName": "headgate", "rules": [{
            "host": format!("{name}.example"),
            "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
        }]},
    })
}

/// A Middleware that adds a header to answers.
fn mark(with: &str) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware", "metadata": { "name": "mark" },
        "spec": { "headers": { "customResponseHeaders": { "X-Mark": with } } },
    })
}

/// The endpoints of the Service that has no selector: one pod of the backend.
fn slice(address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": "moved-1", "labels": { "kubernetes.io/service-name": "moved" } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080 }],
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
    })
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn half_a_minute_without_the_api_server_is_not_noticed_and_then_caught_up_with() {
    let scene = Scene::new();
    let cluster = scene.space.cluster;
    let load = scene.load().start();
    cluster.kill_apiserver();
    let killed = Instant::now();
    scene.until_told();
    eprintln!("the outage is among the diagnostics after {:.1?}", killed.elapsed());
    until("the outage has lasted long enough", 2 * OUTAGE, || (killed.elapsed() >= OUTAGE).then_some(()));
    assert_eq!(scene.gate.health("/readyz"), Some(200), "an outage makes nobody unready");
    cluster.start_apiserver();
    let ready = Instant::now();
    eprintln!("away for {:.1?}", killed.elapsed());

    // At once, and all at the same time: a server that has just started is slow.
    std::thread::scope(|scope| {
        let scene = &scene;
        scope.spawn(move || {
            scene.follow(
                "an Ingress deleted",
                ready,
                || scene.deletes("deleted"),
                || scene.status("deleted") == Some(404),
            );
        });
        scope.spawn(move || {
            scene.follow("an Ingress added", ready, || scene.adds("added"), || scene.is_served("added"));
        });
        scope.spawn(move || {
            scene.follow("a Middleware changed", ready, || scene.marks("2"), || scene.is_marked("2"));
        });
        scope.spawn(move || {
            scene.follow("endpoints changed", ready, || scene.moves_to(1), || scene.is_moved_to(1));
        });
    });
    scene.assert_told_once();
    // The controllers, which are less eager to come back: pods come and go by a Deployment.
    scene.space.kubectl(&["scale", "deployment/app", "--replicas=3"]);
    let endpoints = || (scene.space.ready_endpoints("app").len() == 3).then_some(());
    until("the controllers are back as well", 4 * LIMIT, endpoints);
    let outcome = load.finish(5_000, 2 * LIMIT);
    outcome.assert_no_failure();
    eprintln!("{outcome}");
    scene.assert_same_process();
}

/// What happens while all watches are broken, and is compacted before they come back, is known only from new lists.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn what_was_changed_and_compacted_meanwhile_is_caught_up_with() {
    let scene = Scene::new();
    let cluster = scene.space.cluster;
    let load = scene.load().start();
    let relisted = |kind: &str| scene.log_lines(&format!("too far behind; listing again of=\"{kind}\""));
    let kinds = ["ingresses.networking.k8s.io", "endpointslices.discovery.k8s.io", "middlewares.traefik.io"];
    let before = kinds.map(relisted);
    cluster.kill_apiserver();
    let killed = Instant::now();
    // Behind everybody's back: after the last version that Headgate has seen, and before the compaction.
    let other = cluster.other_apiserver();
    cluster.apply(
        &["--server", &other.url, "-n", &scene.space.name],
        &list(&[ingress("added", None), mark("2"), slice(&scene.pods[1].0)]),
    );
    let delete = ["--server", &other.url, "-n", &scene.space.name, "delete", "ingress", "deleted"];
    cluster.kubectl(&delete);
    cluster.compact_etcd();
    drop(other);
    scene.until_told();
    assert!(scene.is_served("deleted") && scene.is_marked("1") && scene.is_moved_to(0), "the last good state");
    assert_eq!(scene.status("added"), Some(404));

    cluster.start_apiserver();
    let ready = Instant::now();
    eprintln!("away for {:.1?}", killed.elapsed());
    std::thread::scope(|scope| {
        let scene = &scene;
        let caught_up = move |what: &str, followed: &dyn Fn() -> bool| scene.caught_up(what, ready, ready, followed);
        scope.spawn(move || caught_up("an Ingress deleted while away", &|| scene.status("deleted") == Some(404)));
        scope.spawn(move || caught_up("an Ingress added while away", &|| scene.is_served("added")));
        scope.spawn(move || caught_up("a Middleware changed while away", &|| scene.is_marked("2")));
        scope.spawn(move || caught_up("endpoints changed while away", &|| scene.is_moved_to(1)));
    });
    scene.follow("endpoints changed afterwards", ready, || scene.moves_to(0), || scene.is_moved_to(0));
    let after = kinds.map(relisted);
    assert!(before.iter().zip(after).all(|(before, after)| after > *before), "410 for each: {before:?} {after:?}");
    scene.assert_told_once();
    let outcome = load.stop();
    outcome.assert_no_failure();
    eprintln!("{outcome}");
    scene.assert_same_process();
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn started_while_the_api_server_is_away_it_becomes_ready_by_itself() {
    let scene = Scene::new();
    let cluster = scene.space.cluster;
    let record = &scene.gate.record;
    let started_after = |before: u32| {
        until("another process runs and is not ready", LIMIT, || {
            let process = record.process().filter(|process| process.pid() != before)?;
            (scene.gate.health("/readyz") == Some(503)).then_some(process)
        })
    };
    cluster.kill_apiserver();
    record.process().unwrap().signal("KILL");
    let first = started_after(scene.pid);
    assert_eq!(scene.gate.health("/healthz"), Some(200), "it is alive, or it would be started again and again");

    // It can be told to end before it is ready.
    let told = Instant::now();
    first.signal("TERM");
    let exit = until("it ends", LIMIT, || first.exit());
    let took = exit.at.saturating_duration_since(told);
    eprintln!("ended {took:.1?} after SIGTERM while not ready");
    assert!(exit.status.success() && took < Duration::from_secs(5), "{exit:?} after {took:?}");

    let second = started_after(first.pid());
    // Requests that come too early wait; not one is told that there is nothing.
    let early = std::thread::spawn({
        let target = scene.target("steady");
        move || {
            let mut client = target.connect().unwrap();
            client.send(target.bytes(None));
            until("a request from before it was ready is answered", 2 * LIMIT, || {
                Some(client.try_answer(true).ok()??.status)
            })
        }
    });
    cluster.start_apiserver();
    let ready = Instant::now();
    until("it is ready", LIMIT, || (scene.gate.health("/readyz") == Some(200)).then_some(()));
    eprintln!("ready {:.1?} after /readyz of the API server", ready.elapsed());
    for name in ["steady", "marked", "deleted", "moved"] {
        assert_eq!(scene.status(name), Some(200), "{name}, asked as soon as Headgate was ready");
    }
    assert_eq!(early.join().unwrap(), 200);
    assert_eq!(record.process().unwrap().pid(), second.pid(), "by itself");
}
