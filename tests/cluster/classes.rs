//! IngressClasses: which Ingresses are served, and which have our address in their status.

use k8s_openapi::api::{events::v1::Event, networking::v1::Ingress};

use crate::support::{Cluster, Deployed, Gate, LIMIT, Namespace, Target, get, until};

/// What a load balancer would give.
const ADDRESS: &str = "203.0.113.7";

const TRAEFIK: &str = "traefik.io/ingress-controller";

/// An IngressClass; taken away on drop.
struct Class(&'static str);

impl Class {
    fn new(name: &'static str, controller: &str) -> Self {
        let class = format!(
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {{ name: {name} }}\n\
             spec: {{ controller: {controller} }}\n"
        );
        Cluster::get().apply(&[], &class);
        Self(name)
    }
}

impl Drop for Class {
    fn drop(&mut self) {
        let _ = Cluster::get().try_kubectl(&["delete", "ingressclass", self.0, "--ignore-not-found"]);
    }
}

/// Headgate, its address, and a Service `app` to name.
struct Scene {
    space: Namespace,
    gate: Gate,
    _headgate: Deployed,
}

impl Scene {
    fn new(flags: &[&str]) -> Self {
        let headgate = Deployed::apply("base", 1, flags);
        let space = Namespace::new("classes");
        space.whoami("app", 1, &[]);
        space.cluster.load_balancer(&headgate.namespace, "headgate", &[ADDRESS.parse().unwrap()]);
        Self { gate: headgate.gate(), space, _headgate: headgate }
    }

    /// An Ingress for the host NAME.example.
    fn ingress(&self, name: &str, field: Option<&str>, annotation: Option<&str>) {
        let field = field.map(|class| format!("  ingressClassName: {class}\n")).unwrap_or_default();
        let annotation = annotation.map(|class| format!("  annotations: {{ kubernetes.io/ingress.class: {class} }}\n"));
        let annotation = annotation.unwrap_or_default();
        self.space.apply(&format!(
            "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
{annotation}spec:
{field}  rules:
  - host: {name}.example
    http:
      paths:
      - {{ path: /, pathType: Prefix, backend: {{ service: {{ name: app, port: {{ number: 80 }} }} }} }}
"
        ));
    }

    fn answers(&self, name: &str) -> u16 {
        get(&Target::new(self.gate.http, &format!("{name}.example")), None).unwrap().status
    }

    fn object(&self, name: &str) -> Ingress {
        self.space.cluster.find(&self.space.name, name).unwrap()
    }

    fn status(&self, name: &str) -> Vec<String> {
        let balancer = self.object(name).status.and_then(|status| status.load_balancer);
        balancer.and_then(|balancer| balancer.ingress).into_iter().flatten().filter_map(|entry| entry.ip).collect()
    }

    /// Until it is served and has our address.
    #[track_caller]
    fn until_ours(&self, name: &str) {
        until(&format!("{name} is served"), LIMIT, || (self.answers(name) == 200).then_some(()));
        until(&format!("{name} has our address"), LIMIT, || (self.status(name) == [ADDRESS]).then_some(()));
    }

    /// Until it is not served any more, and has no address.
    #[track_caller]
    fn until_let_go(&self, name: &str) {
        until(&format!("{name} is not served"), LIMIT, || (self.answers(name) == 404).then_some(()));
        until(&format!("{name} has no address"), LIMIT, || self.status(name).is_empty().then_some(()));
    }

    /// That it is not served, and that nothing was ever written to it by us. For what is not ours there is nothing to
    /// wait for: something that was made later has to be seen before.
    #[track_caller]
    fn assert_untouched(&self, name: &str) {
        assert_eq!(self.answers(name), 404, "{name}");
        let managers: Vec<_> = self.object(name).metadata.managed_fields.unwrap_or_default();
        let managers: Vec<_> = managers.into_iter().filter_map(|fields| fields.manager).collect();
        assert!(!managers.iter().any(|manager| manager == "headgate"), "{name} was written to by {managers:?}");
        assert!(self.status(name).is_empty(), "{name}");
    }

    fn default_class(&self, class: &str, value: &str) {
        let annotation = format!("ingressclass.kubernetes.io/is-default-class={value}");
        self.space.cluster.kubectl(&["annotate", "--overwrite", "ingressclass", class, &annotation]);
    }

    /// The codes of what is wrong with an Ingress.
    fn said(&self, name: &str) -> Vec<String> {
        let mut all = self.gate.diagnostics();
        all.retain(|said| said["kind"] == "Ingress" && said["name"] == name && said["namespace"] == *self.space.name);
        all.iter().filter_map(|said| said["code"].as_str().map(str::to_owned)).collect()
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn an_ingress_is_ours_by_its_class() {
    let scene = Scene::new(&[]);
    let _foreign = Class::new("foreign", "example.com/another");
    let _traefik = Class::new("traefik", TRAEFIK);
    let not_ours = ["foreign", "absent", "traefik", "legacy-foreign", "unclassed"];
    scene.ingress("foreign", Some("foreign"), None);
    scene.ingress("absent", Some("absent"), None);
    scene.ingress("traefik", Some("traefik"), None);
    scene.ingress("legacy-foreign", None, Some("foreign"));
    scene.ingress("unclassed", None, None);
    scene.ingress("legacy", None, Some("headgate"));
    scene.ingress("ours", Some("headgate"), None);
    scene.until_ours("legacy");
    scene.until_ours("ours");
    not_ours.iter().for_each(|name| scene.assert_untouched(name));

    // Nobody serves an Ingress of a class that is not there, which is said to its author. The others are somebody's.
    let event = until("the missing class is said on the Ingress", LIMIT, || {
        let mut events: Vec<Event> = scene.space.cluster.list(&scene.space.name, "");
        let about = |event: &Event| event.regarding.clone().unwrap_or_default();
        events.retain(|event| about(event).kind.as_deref() == Some("Ingress"));
        assert!(events.iter().all(|event| about(event).name.as_deref() == Some("absent")), "{events:?}");
        events.pop()
    });
    assert_eq!(event.reason.as_deref(), Some("IngressClassNotFound"));
    assert!(event.note.as_deref().is_some_and(|note| note.contains("IngressClass absent does not exist")), "{event:?}");
    assert_eq!(scene.said("absent"), ["IngressClassNotFound"]);
    for name in ["foreign", "traefik", "legacy-foreign", "unclassed"] {
        assert!(scene.said(name).is_empty(), "{name}");
    }

    // The class comes, and is ours.
    let absent = Class::new("absent", "headgate.dev/ingress-controller");
    scene.until_ours("absent");
    assert!(scene.said("absent").is_empty());
    drop(absent);
    scene.until_let_go("absent");

    // It stops being ours, and is again.
    let class = |class: &str| {
        let patch = format!(r#"{{"spec": {{"ingressClassName": "{class}"}}}}"#);
        scene.space.kubectl(&["patch", "ingress", "ours", "-p", &patch]);
    };
    class("foreign");
    scene.until_let_go("ours");
    class("headgate");
    scene.until_ours("ours");

    // The API server writes the default class into an Ingress that is made without one; those that were there before
    // stay without.
    scene.default_class("headgate", "true");
    scene.until_ours("unclassed");
    scene.ingress("defaulted", None, None);
    scene.until_ours("defaulted");
    assert_eq!(scene.object("defaulted").spec.unwrap().ingress_class_name.as_deref(), Some("headgate"));
    assert_eq!(scene.object("unclassed").spec.unwrap().ingress_class_name, None);
    scene.default_class("headgate", "false");
    scene.until_let_go("unclassed");
    scene.until_ours("defaulted");
    // What others default to is theirs.
    scene.default_class("foreign", "true");
    scene.ingress("defaulted-elsewhere", None, None);
    scene.ingress("last", Some("headgate"), None);
    scene.until_ours("last");
    ["foreign", "traefik", "legacy-foreign", "defaulted-elsewhere"]
        .iter()
        .for_each(|name| scene.assert_untouched(name));
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_class_that_is_deleted_takes_its_routes_along_and_brings_them_back() {
    let scene = Scene::new(&[]);
    scene.ingress("field", Some("headgate"), None);
    scene.ingress("annotation", None, Some("headgate"));
    ["field", "annotation"].iter().for_each(|name| scene.until_ours(name));
    let cluster = scene.space.cluster;
    let class = cluster.kubectl(&["get", "ingressclass", "headgate", "-o", "yaml", "--show-managed-fields=false"]);
    cluster.kubectl(&["delete", "ingressclass", "headgate"]);
    for name in ["field", "annotation"] {
        scene.until_let_go(name);
        assert_eq!(scene.said(name), ["IngressClassNotFound"]);
    }
    let kept = class.lines().filter(|line| !line.contains("resourceVersion:") && !line.contains("uid:"));
    cluster.apply(&[], &kept.collect::<Vec<_>>().join("\n"));
    ["field", "annotation"].iter().for_each(|name| scene.until_ours(name));
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn flags_claim_more() {
    let scene = Scene::new(&[
        "--controller-name=headgate.dev/ingress-controller,traefik.io/ingress-controller",
        "--ingress-class=traefik",
        "--claim-unclassed",
    ]);
    let traefik = Class::new("traefik", TRAEFIK);
    let other = Class::new("other", TRAEFIK);
    let _foreign = Class::new("foreign", "example.com/another");
    scene.ingress("traefik", Some("traefik"), None);
    scene.ingress("other", Some("other"), None);
    scene.ingress("unclassed", None, None);
    scene.ingress("legacy", None, Some("traefik"));
    scene.ingress("foreign", Some("foreign"), None);
    ["traefik", "other", "unclassed", "legacy"].iter().for_each(|name| scene.until_ours(name));
    scene.assert_untouched("foreign");
    // With the class `other` it is seen to be gone that both are.
    drop(traefik);
    drop(other);
    scene.until_let_go("other");
    ["traefik", "unclassed", "legacy"].iter().for_each(|name| {
        assert_eq!(scene.answers(name), 200, "{name}");
        assert_eq!(scene.status(name), [ADDRESS], "{name}");
        assert!(scene.said(name).is_empty(), "{name}");
    });
    // Who makes the class says whose it is.
    let _taken = Class::new("traefik", "example.com/another");
    scene.until_let_go("traefik");
    assert_eq!(scene.answers("unclassed"), 200);
}
