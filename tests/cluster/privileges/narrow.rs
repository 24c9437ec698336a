//! Fewer rights than those of deploy/base: one namespace, Secrets by their names, nothing to write; by the lines of
//! docs/permissions.md.

use serde_json::json;

use super::{
    ALL_WRITTEN, NOTHING_WRITTEN,
    audit::{asked_by, refused},
    rule,
    scene::{Scene, Seen, WHOLE},
};
use crate::support::{Cluster, Deployed, LIMIT, Namespace, until};

const DOCS: &str = include_str!("../../../docs/permissions.md");

/// The block of the docs that holds this.
fn block(containing: &str) -> &'static str {
    let blocks = DOCS.split("```").skip(1).step_by(2);
    let mut found = blocks.filter(|block| block.contains(containing));
    let (block, other) = (found.next().unwrap(), found.next());
    assert!(other.is_none(), "two blocks hold {containing}");
    block.split_once('\n').unwrap().1
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn one_namespace_and_secrets_by_their_names() {
    // As the docs say: in a folder beside deploy/.
    let folder = tempfile::tempdir().unwrap();
    for part in ["deploy", "crds"] {
        let from = format!("{}/{part}", env!("CARGO_MANIFEST_DIR"));
        let copied = std::process::Command::new("cp").args(["-r", &from]).arg(folder.path()).status().unwrap();
        assert!(copied.success());
    }
    let own = folder.path().join("mine");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("kustomization.yaml"), block("resourceNames")).unwrap();
    let headgate = Deployed::apply(own.to_str().unwrap(), 1, &["--drain-delay=0s"]);
    let scene = Scene::of(headgate, Namespace::default());
    let gate = scene.headgate.gate();
    scene.until_so(&gate, &WHOLE, &scene.wrong_ingress(), ALL_WRITTEN, &["secrets"]);
    assert_eq!(gate.forbidden(), ["secrets"], "that they can't be had by type is said, and each can by its name");
    let said = gate.diagnostics().into_iter().find(|said| said["code"] == "Forbidden").unwrap();
    assert_eq!(said["severity"], "warning");
    let asked = asked_by(&gate);
    let namespaces = [&*scene.space.name, &*scene.headgate.namespace];
    for event in &asked {
        let (resource, namespace) = (&event["objectRef"]["resource"], &event["objectRef"]["namespace"]);
        let of_none = resource == "ingressclasses" || resource == "customresourcedefinitions";
        assert!(of_none || namespaces.iter().any(|known| namespace == known), "{event}");
    }
    let by_type = |uri: &String| uri.contains("/secrets?") && uri.contains("type%3Dkubernetes.io%2Ftls");
    assert!(refused(&asked).iter().all(by_type), "{:?}", refused(&asked));

    // The lines that show what it may.
    for line in block("can-i").lines().filter_map(|line| line.strip_prefix("$ kubectl ")) {
        let shown = Cluster::get().kubectl(&line.split(' ').collect::<Vec<_>>());
        assert!(shown.contains("ingresses.networking.k8s.io"), "{line}: {shown}");
    }

    // A Secret that is not among them is missing, wherever it is named; nothing else is.
    let names = json!([{"op": "replace", "path": "/rules/3/resourceNames", "value": ["users"]}]).to_string();
    scene.space.kubectl(&["patch", "role", "headgate-watched", "--type=json", "-p", &names]);
    let gate = scene.restarted();
    scene.until_ready(&gate);
    let seen = Seen { own_certificate: false, ..WHOLE };
    scene.until_so(&gate, &seen, &scene.wrong_ingress(), ALL_WRITTEN, &["secrets"]);
    assert_eq!(gate.forbidden(), ["secrets", "secrets with metadata.name=shop-tls"]);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn read_only_asks_for_nothing_that_writes() {
    let scene = Scene::new(&["--read-only"]);
    let writes = [
        rule("networking.k8s.io", "ingresses/status", &[], &["patch"]),
        rule("events.k8s.io", "events", &[], &["create", "patch"]),
        rule("coordination.k8s.io", "leases", &[], &["create"]),
        rule("coordination.k8s.io", "leases", &["headgate"], &["get", "update"]),
        rule("", "secrets", &[], &["create"]),
    ];
    scene.grant_all_but(&writes);
    let gate = scene.restarted();
    scene.until_ready(&gate);
    scene.until_so(&gate, &WHOLE, &scene.wrong_ingress(), NOTHING_WRITTEN, &[]);
    // What is wrong is known, and still not written.
    until("what is wrong is known", LIMIT, || {
        gate.diagnostics().iter().any(|said| said["kind"] == "Ingress").then_some(())
    });
    let asked = asked_by(&gate);
    let reads = |verb: &serde_json::Value| verb == "list" || verb == "watch";
    assert!(!asked.is_empty() && asked.iter().all(|event| reads(&event["verb"])), "{asked:?}");
    assert_eq!(refused(&asked), <[String; 0]>::default());
}
