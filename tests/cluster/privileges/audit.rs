//! What is asked of the API server, by its audit log, against the roles of deploy/base.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    ALL_WRITTEN,
    scene::{Scene, WHOLE},
};
use crate::support::{Cluster, Gate, LIMIT, until};

/// What deploy/components/nodeport adds.
fn nodes() -> Value {
    json!({"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]})
}

/// What Headgate's ServiceAccount has asked in this run so far.
fn asked() -> Vec<Value> {
    let mut all = Cluster::get().audit();
    all.retain(|event| event["user"]["username"] == "system:serviceaccount:headgate:headgate");
    all
}

/// The same, for one pod.
pub(super) fn asked_by(gate: &Gate) -> Vec<Value> {
    let mut all = asked();
    all.retain(|event| event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0] == gate.record.name);
    all
}

/// Those of them that were refused.
pub(super) fn refused(events: &[Value]) -> Vec<String> {
    let forbidden = events.iter().filter(|event| event["responseStatus"]["code"] == 403);
    forbidden.map(|event| event["requestURI"].to_string()).collect()
}

/// Whether a rule allows what was asked, not counting in which namespace.
fn allows(rule: &Value, event: &Value) -> bool {
    let asked = &event["objectRef"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        sub => format!("{}/{sub}", text("resource")),
    };
    let has = |field: &str, word: &str| rule[field].as_array().is_some_and(|all| all.iter().any(|one| one == word));
    has("apiGroups", text("apiGroup"))
        && has("resources", &resource)
        && has("verbs", event["verb"].as_str().unwrap_or_default())
        && (rule["resourceNames"].is_null() || has("resourceNames", text("name")))
}

/// Verbs that a run of some minutes on this API server does without.
fn is_for_later(resource: &str, verb: &str) -> bool {
    // Servers since 1.34 stream a listing as the start of a watch; older ones are asked for a list.
    verb == "list" && resource != "nodes"
        // An Event is repeated after half an hour.
        || (resource, verb) == ("events", "patch")
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn nothing_is_asked_beyond_the_roles_and_nothing_in_them_is_for_nothing() {
    let scene = Scene::new(&[]);
    let gate = scene.headgate.gate();
    scene.until_so(&gate, &WHOLE, &scene.wrong_ingress(), ALL_WRITTEN, &[]);
    let (own, cluster) = (scene.rules_of("role"), scene.rules_of("clusterrole"));
    let used = |rule: &Value, verb: &Value| {
        let one = json!({"apiGroups": rule["apiGroups"], "resources": rule["resources"], "verbs": [verb],
            "resourceNames": rule["resourceNames"]});
        asked_by(&gate).iter().any(|event| allows(&one, event))
    };
    for rule in own.iter().chain(&cluster) {
        let verbs = rule["verbs"].as_array().unwrap().iter();
        let resource = rule["resources"][0].as_str().unwrap();
        for verb in verbs.filter(|verb| !is_for_later(resource, verb.as_str().unwrap())) {
            until(&format!("{verb} of {rule} is used"), LIMIT, || used(rule, verb).then_some(()));
        }
    }
    // With the roles as they are nothing is refused, not even once.
    assert_eq!(refused(&asked_by(&gate)), <[String; 0]>::default());

    assert_nothing_beyond(&scene);
}

/// Whatever happened to Headgate in this run so far, in other tests as well: it asked for nothing beyond the roles.
#[track_caller]
pub(super) fn assert_nothing_beyond(scene: &Scene) {
    let (own, cluster) = (scene.rules_of("role"), scene.rules_of("clusterrole"));
    let all = asked();
    assert!(!all.is_empty());
    for event in &all {
        let at_home = event["objectRef"]["namespace"] == *scene.headgate.namespace;
        let allowed = cluster.iter().chain([&nodes()]).any(|rule| allows(rule, event))
            || at_home && own.iter().any(|rule| allows(rule, event));
        assert!(allowed, "{event}");
    }
}

/// docs/permissions.md has a line for each rule, and no other.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn the_docs_name_each_rule() {
    let scene = Scene::new(&[]);
    let list = |values: &Value| {
        let words: Vec<_> = values.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
    };
    let line = |rule: &Value| {
        let group = match rule["apiGroups"][0].as_str() {
            Some(group) if !group.is_empty() => format!(" of `{group}`"),
            _ => String::new(),
        };
        let names = if rule["resourceNames"].is_null() {
            String::new()
        } else {
            format!(" named {}", list(&rule["resourceNames"]))
        };
        format!("| {}{group}{names} | {} |", list(&rule["resources"]), list(&rule["verbs"]))
    };
    let rules: BTreeSet<_> = scene.rules().iter().chain([&nodes()]).map(line).collect();
    let docs = include_str!("../../../docs/permissions.md");
    let lines = docs.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() >= 3);
    let said: BTreeSet<_> = lines
        .map(|line| {
            let cells: Vec<_> = line.split(" | ").take(2).collect();
            format!("{} |", cells.join(" | "))
        })
        .collect();
    assert_eq!(said, rules);
}
