//! The harness itself: that its pods, endpoints, ends and absences are what a cluster's are.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
};

use k8s_openapi::api::{core::v1::ConfigMap, discovery::v1::Endpoint};

use crate::support::{Cluster, LIMIT, Load, Namespace, Target, get, until};

fn target(address: &str) -> Target {
    let address: Ipv4Addr = address.parse().unwrap();
    Target::new(SocketAddr::from((address, 8080)), "whoami")
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn fifteen_pods_become_fifteen_endpoints_that_answer() {
    let space = Namespace::new("harness");
    space.whoami("whoami", 15, &[]);
    let endpoints = space.ready_endpoints("whoami");
    let addresses: BTreeSet<_> = endpoints.iter().map(|(address, _)| address).collect();
    assert_eq!(addresses.len(), 15, "{endpoints:?}");
    for (address, pod) in &endpoints {
        let answer = get(&target(address), None).unwrap();
        assert_eq!(answer.get("x-pod"), Some(pod.as_str()), "{address}");
    }
    let pods = space.kubectl(&["get", "pods", "--no-headers"]);
    assert_eq!(pods.lines().filter(|line| line.contains("1/1") && line.contains("Running")).count(), 15, "{pods}");
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_deleted_pod_serves_for_its_grace_and_is_gone_when_it_ends() {
    let space = Namespace::new("harness");
    space.whoami("whoami", 2, &["--drain-delay=3s"]);
    let (address, pod) = space.ready_endpoints("whoami").remove(0);
    let endpoint = || -> Option<Endpoint> {
        let slices = space.cluster.slices(&space.name, "whoami");
        let mut endpoints = slices.into_iter().flat_map(|slice| slice.endpoints);
        endpoints.find(|endpoint| endpoint.addresses.first() == Some(&address))
    };
    space.kubectl(&["delete", "pod", &pod, "--wait=false"]);
    let conditions = until("it is terminating", LIMIT, || {
        let conditions = endpoint()?.conditions?;
        (conditions.terminating == Some(true)).then_some(conditions)
    });
    assert_eq!((conditions.ready, conditions.serving), (Some(false), Some(true)));
    assert_eq!(get(&target(&address), None).unwrap().get("x-pod"), Some(pod.as_str()));
    until("its endpoint is gone", LIMIT, || endpoint().is_none().then_some(()));
    let record = space.record(&pod);
    let moments = record.moments();
    assert!(moments.terminating.unwrap() < moments.ended.unwrap());
    assert!(record.process().unwrap().exit().unwrap().status.success(), "it ended by itself");
    let log = record.process().unwrap().log();
    assert_eq!(log.matches("listens on").count(), 1, "{log}");
    space.rolled_out("whoami");
    space.until_endpoints("whoami", 2);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_pod_that_dies_is_started_again() {
    let space = Namespace::new("harness");
    space.whoami("whoami", 1, &[]);
    let (address, pod) = space.ready_endpoints("whoami").remove(0);
    let record = space.record(&pod);
    let first = record.process().unwrap();
    first.signal("KILL");
    until("another process runs", LIMIT, || record.process().filter(|process| process.pid() != first.pid()).map(drop));
    until("it is told", LIMIT, || {
        let pods = space.pods("app=whoami");
        let status = pods.first()?.status.as_ref()?.container_statuses.as_ref()?.first()?;
        (status.restart_count == 1 && status.ready).then_some(())
    });
    assert_eq!(get(&target(&address), None).unwrap().get("x-pod"), Some(pod.as_str()));
}

/// A pod is what its manifest says: user, rights, root, files, variables.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_pod_has_what_its_manifest_gives_it_and_no_more() {
    let space = Namespace::new("harness");
    space.apply(
        "\
apiVersion: v1
kind: Pod
metadata: { name: strict, labels: { app: strict } }
spec:
  securityContext: { runAsNonRoot: true, runAsUser: 1234, runAsGroup: 2345 }
  containers:
  - name: whoami
    image: registry.example/headgate:1.2.3
    args: [whoami, --listen, '$(ADDRESS):8080', --name, '$(NODE)']
    env:
    - { name: ADDRESS, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
    - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
    readinessProbe: { httpGet: { path: /readyz, port: 8080 } }
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
    volumeMounts: [{ name: scratch, mountPath: /var/lib/scratch }]
  volumes: [{ name: scratch, emptyDir: {} }]
",
    );
    space.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/strict"]);
    let record = space.record("strict");
    let answer = get(&target(&record.address.to_string()), None).unwrap();
    assert_eq!(answer.get("x-pod"), Some("node-1"));

    let pid = record.process().unwrap().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((line("Uid:"), line("Gid:")), (vec!["1234".to_owned(); 4], vec!["2345".to_owned(); 4]));
    assert_eq!((line("CapEff:"), line("CapBnd:")), (vec!["0".repeat(16)], vec!["0".repeat(16)]));
    assert_eq!(line("NoNewPrivs:"), ["1"]);
    let root = format!("/proc/{pid}/root");
    let file = |path: &str| std::fs::read_to_string(format!("{root}{path}")).unwrap();
    // Not by the link /var/run, which would be followed from our own root.
    let account = "/run/secrets/kubernetes.io/serviceaccount";
    assert_eq!(file(&format!("{account}/namespace")), space.name);
    assert!(file(&format!("{account}/ca.crt")).contains("BEGIN CERTIFICATE"));
    assert_eq!(file(&format!("{account}/token")).split('.').count(), 3);
    assert!(std::fs::write(format!("{root}/new"), "").is_err(), "the root is read-only");
    assert!(std::fs::write(format!("{root}/var/lib/scratch/new"), "").is_ok(), "an emptyDir isn't");
}

/// Otherwise its silence elsewhere would prove nothing.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_load_counts_what_fails() {
    let space = Namespace::new("harness");
    space.whoami("whoami", 1, &[]);
    let (address, pod) = space.ready_endpoints("whoami").remove(0);
    let load = Load::new(vec![target(&address)]).start();
    until("it is served", LIMIT, || (load.done() >= 100).then_some(()));
    space.record(&pod).process().unwrap().signal("KILL");
    let outcome = load.finish(400, LIMIT);
    assert!(outcome.answered >= 100, "{outcome}");
    assert!(outcome.failures.iter().any(|failure| failure.why.contains("refused")), "{outcome}");
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn the_api_server_comes_back_with_its_state() {
    let space = Namespace::new("harness");
    space.whoami("whoami", 2, &[]);
    let before = space.ready_endpoints("whoami");
    space.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: kept }\ndata: { key: value }\n");
    let targets = before.iter().map(|(address, _)| target(address)).collect();
    let load = Load::new(targets).start();

    space.cluster.kill_apiserver();
    assert!(space.cluster.try_kubectl(&["get", "namespaces", "--request-timeout=2s"]).is_err());
    space.cluster.compact_etcd();
    space.cluster.start_apiserver();

    let kept: ConfigMap = space.cluster.find(&space.name, "kept").unwrap();
    assert_eq!(kept.data.unwrap()["key"], "value");
    assert_eq!(space.ready_endpoints("whoami"), before);
    // Controllers and kubelet follow again.
    space.kubectl(&["scale", "deployment/whoami", "--replicas=3"]);
    space.until_endpoints("whoami", 3);
    let outcome = load.stop();
    outcome.assert_no_failure();
    assert!(outcome.answered > 0);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn what_pods_ask_is_in_the_audit_log() {
    let space = Namespace::new("harness");
    let token = space.kubectl(&["create", "token", "default"]);
    let asked = Cluster::get().try_kubectl(&["-n", &space.name, "get", "secrets", "--token", token.trim()]);
    assert!(asked.unwrap_err().contains("forbidden"));
    let account = space.account("default");
    until("the refusal is in the log", LIMIT, || {
        let audit = space.cluster.audit();
        let mut own = audit.iter().filter(|event| event["user"]["username"] == account.as_str());
        own.find(|event| {
            event["verb"] == "list"
                && event["objectRef"]["resource"] == "secrets"
                && event["responseStatus"]["code"] == 403
        })
        .map(drop)
    });
}
