//! What Headgate writes to the cluster: the status of Ingresses, Events on objects that are wrong; and that it writes
//! no more than that, or nothing at all.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::{
    core::v1::{Pod, Secret, Service},
    events::v1::Event,
    networking::v1::Ingress,
};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;

use crate::support::{Asked, Deployed, LIMIT, Load, NODE, Namespace, Overlay, Target, asked, get, until};

/// For what Headgate does at an even pace, or only once in a minute.
const LONG: Duration = Duration::from_secs(240);

/// An Ingress of class `headgate` for NAME.example.
fn ingress(name: &str, service: &str) -> String {
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: {name} }}
spec:
  ingressClassName: headgate
  rules:
  - host: {name}.example
    http:
      paths:
      - {{ path: /, pathType: Prefix, backend: {{ service: {{ name: {service}, port: {{ number: 80 }} }} }} }}
"
    )
}

/// The addresses in an Ingress's status, IPs and host names alike.
fn addresses(space: &Namespace, name: &str) -> Vec<String> {
    let found: Option<Ingress> = space.cluster.find(&space.name, name);
    let entries = found.and_then(|i| i.status?.load_balancer?.ingress).unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.ip.or(entry.hostname)).collect()
}

#[track_caller]
fn until_addresses(space: &Namespace, name: &str, wanted: &[&str]) {
    let what = format!("the status of {name} is {wanted:?}");
    until(&what, LONG, || (addresses(space, name) == wanted).then_some(()));
}

fn version(space: &Namespace, name: &str) -> Option<String> {
    space.cluster.find::<Ingress>(&space.name, name)?.metadata.resource_version
}

/// The writes of statuses in a namespace, so far.
fn writes(space: &Namespace) -> Vec<Asked> {
    let mut all = asked(space.cluster);
    all.retain(|asked| asked.resource == "ingresses/status" && asked.namespace == space.name);
    all
}

/// A patch of the Service that Headgate publishes.
fn patch_service(space: &Namespace, patch: &str, more: &[&str]) {
    let args = ["-n", "headgate", "patch", "service", "headgate", "--type=merge", "-p", patch];
    space.cluster.kubectl(&[&args, more].concat());
}

/// Plays the load balancer in front.
fn lend(space: &Namespace, entries: &serde_json::Value) {
    let patch = json!({ "status": { "loadBalancer": { "ingress": entries } } });
    patch_service(space, &patch.to_string(), &["--subresource=status"]);
}

/// The Events about an object of this name.
fn events(space: &Namespace, name: &str) -> Vec<Event> {
    let all: Vec<Event> = space.cluster.list(&space.name, "");
    all.into_iter().filter(|event| event.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name)).collect()
}

/// Replaces Headgate's pod, and waits until only the new one is left.
fn restart(headgate: &Deployed, space: &Namespace) {
    space.cluster.kubectl(&["-n", &headgate.namespace, "rollout", "restart", "deployment/headgate"]);
    headgate.rolled_out();
    until("the old pod is gone", LIMIT, || {
        let pods: Vec<Pod> = space.cluster.list(&headgate.namespace, "");
        (pods.len() == 1).then_some(())
    });
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn the_status_follows_the_published_service_through_its_types() {
    let headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("status");
    let count = |text: &str| headgate.gate().log().matches(text).count();
    let log = |text: &str| until(&format!("the log says {text}"), LIMIT, || (count(text) > 0).then_some(()));
    space.apply(&ingress("a", "none"));
    lend(&space, &json!([{ "ip": "203.0.113.7" }, { "hostname": "lb.example" }]));
    until_addresses(&space, "a", &["203.0.113.7", "lb.example"]);
    let printed = space.kubectl(&["get", "ingress", "a"]);
    assert!(printed.contains("203.0.113.7,lb.example"), "{printed}");
    lend(&space, &json!([{ "ip": "203.0.113.8" }]));
    until_addresses(&space, "a", &["203.0.113.8"]);
    let none = "has no address of a load balancer yet";
    let before = count(none);
    lend(&space, &json!([]));
    until("that is noticed", LIMIT, || (count(none) > before).then_some(()));
    assert_eq!(addresses(&space, "a"), ["203.0.113.8"], "what stands is left");

    patch_service(&space, r#"{"spec":{"type":"ClusterIP"}}"#, &[]);
    let service: Service = space.cluster.find("headgate", "headgate").unwrap();
    let own = service.spec.unwrap().cluster_ips.unwrap();
    until_addresses(&space, "a", &own.iter().map(String::as_str).collect::<Vec<_>>());
    patch_service(&space, r#"{"spec":{"externalIPs":["198.51.100.1","198.51.100.2"]}}"#, &[]);
    until_addresses(&space, "a", &["198.51.100.1", "198.51.100.2"]);

    // Without a right to list nodes there is no address to tell: what stands is left.
    patch_service(&space, r#"{"spec":{"type":"NodePort","externalIPs":null}}"#, &[]);
    log("grant list on nodes, or name the addresses with --publish-address");
    space.cluster.kubectl(&["-n", "headgate", "delete", "service", "headgate"]);
    log("the Service headgate/headgate does not exist");
    assert_eq!(addresses(&space, "a"), ["198.51.100.1", "198.51.100.2"]);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_node_port_is_published_with_the_addresses_of_the_nodes() {
    let overlay = Overlay::new("resources: [DEPLOY/base]\ncomponents: [DEPLOY/components/nodeport]\n");
    let _headgate = Deployed::apply(overlay.path(), 1, &[]);
    let space = Namespace::new("status");
    space.apply(&ingress("a", "none"));
    until_addresses(&space, "a", &[&NODE.to_string()]);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn addresses_that_are_given_are_published() {
    let _headgate = Deployed::apply("overlays/daemonset", 1, &["--publish-address=203.0.113.10,gate.example"]);
    let space = Namespace::new("status");
    space.apply(&ingress("a", "none"));
    until_addresses(&space, "a", &["203.0.113.10", "gate.example"]);
}

/// Not when nothing has changed, nor when something else has, nor by a new leader; and taken out when it is no longer
/// true.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_status_is_written_once_and_taken_out_in_the_end() {
    let headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("status");
    lend(&space, &json!([{ "ip": "203.0.113.7" }]));
    let names = ["a", "b", "c"];
    names.iter().for_each(|name| space.apply(&ingress(name, "none")));
    names.iter().for_each(|name| until_addresses(&space, name, &["203.0.113.7"]));

    space.kubectl(&["annotate", "ingress", "a", "note=1"]);
    let before = names.map(|name| version(&space, name));
    // The same addresses in another order, and something else about the Service.
    lend(&space, &json!([{ "ip": "203.0.113.7", "ipMode": "VIP" }]));
    restart(&headgate, &space);
    // Looked at in the order of their names, so that those before it were looked at when this one is written.
    space.apply(&ingress("z", "none"));
    until_addresses(&space, "z", &["203.0.113.7"]);
    assert_eq!(names.map(|name| version(&space, name)), before);
    let written = writes(&space);
    assert_eq!(written.len(), 4, "{written:#?}");

    space.kubectl(&["patch", "ingress", "b", "--type=merge", "-p", r#"{"spec":{"ingressClassName":"other"}}"#]);
    until_addresses(&space, "b", &[]);
    until_addresses(&space, "a", &["203.0.113.7"]);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn an_outsider_who_overwrites_a_status_is_corrected_and_not_fought() {
    let _headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("status");
    lend(&space, &json!([{ "ip": "203.0.113.7" }]));
    space.apply(&ingress("a", "none"));
    until_addresses(&space, "a", &["203.0.113.7"]);
    let outsider = || {
        let status = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.66" }] } } }).to_string();
        space.kubectl(&["patch", "ingress", "a", "--subresource=status", "--type=merge", "-p", &status]);
    };
    outsider();
    until_addresses(&space, "a", &["203.0.113.7"]);
    assert_eq!(writes(&space).len(), 2);
    // Again and again: each is seen, for what comes after it is written, and none is answered at once.
    for round in 0..3 {
        outsider();
        let after = format!("z-{round}");
        space.apply(&ingress(&after, "none"));
        until_addresses(&space, &after, &["203.0.113.7"]);
        assert_eq!(addresses(&space, "a"), ["192.0.2.66"]);
    }
    let of_it = writes(&space).into_iter().filter(|asked| asked.name == "a").count();
    assert_eq!(of_it, 2);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn what_is_wrong_is_an_event_on_the_object_once() {
    let headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("events");
    space.whoami("shop", 1, &[]);
    space.apply(&ingress("broken", "nobody"));
    space.apply(
        "\
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: locked }
spec: { basicAuth: { secret: nowhere } }
",
    );
    let guarded = format!("traefik.ingress.kubernetes.io/router.middlewares: {}-locked@kubernetescrd", space.name);
    let guarded = ingress("guarded", "shop")
        .replace("name: guarded }", &format!("name: guarded, annotations: {{ {guarded} }} }}"));
    space.apply(&guarded);

    let until_said = |object: &str, reason: &str| {
        until(&format!("{reason} on {object}"), LONG, || {
            let reasons: Vec<_> = events(&space, object).into_iter().filter_map(|event| event.reason).collect();
            reasons.iter().any(|said| said == reason).then_some(())
        });
    };
    until_said("broken", "ServiceNotFound");
    until_said("locked", "SecretNotFound");
    until_said("guarded", "MiddlewareInvalid");
    let described = space.kubectl(&["describe", "ingress", "broken"]);
    let line = described.lines().find(|line| line.contains("ServiceNotFound")).expect(&described);
    assert!(line.contains("Warning") && line.contains("headgate.dev/ingress-controller"), "{line}");
    assert!(line.contains(&format!("Service {}/nobody does not exist", space.name)), "{line}");
    let described = space.kubectl(&["describe", "middleware", "locked"]);
    assert!(described.contains("SecretNotFound"), "{described}");

    // Applied a moment before what it needs: nothing was ever wrong.
    let whole = "\
---
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: late }
spec: { sticky: { cookie: { name: late } } }
---
apiVersion: v1
kind: Service
metadata: { name: late }
spec: { selector: { app: shop }, ports: [{ name: http, port: 80, targetPort: http }] }
";
    let late = guarded.replace("guarded", "late").replace("-locked@", "-late@").replace("name: shop", "name: late");
    space.apply(&(late + whole));
    for round in 0..5 {
        space.kubectl(&["annotate", "--overwrite", "ingress", "broken", &format!("round={round}")]);
    }
    // Later than all of this.
    space.apply(&ingress("second", "nobody"));
    until_said("second", "ServiceNotFound");
    assert_eq!(events(&space, "late"), []);
    let said = events(&space, "broken");
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].series.is_none(), "{said:#?}");

    // Put right: no more of it, neither here nor there.
    space.apply("apiVersion: v1\nkind: Service\nmetadata: { name: nobody }\nspec: { selector: { app: shop }, ports: [{ name: http, port: 80, targetPort: http }] }\n");
    until("nobody misses it", LIMIT, || headgate.gate().said("ServiceNotFound").is_empty().then_some(()));
    space.apply(&ingress("third", "anybody"));
    until_said("third", "ServiceNotFound");
    assert_eq!(events(&space, "broken").len(), 1);
    // In here: other tests take the right away.
    let of_events = |a: &Asked| a.resource == "events" && a.namespace == space.name;
    let refused: Vec<_> = asked(space.cluster).into_iter().filter(|a| of_events(a) && a.code >= 300).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_thousand_statuses_delay_no_route_and_no_request() {
    const COUNT: usize = 1_000;
    let headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("many");
    space.whoami("shop", 2, &[]);
    lend(&space, &json!([{ "ip": "203.0.113.7" }]));
    space.apply(&ingress("first", "shop"));
    until_addresses(&space, "first", &["203.0.113.7"]);
    let gate = headgate.gate();
    let load = Load { rate: 200, ..Load::new(vec![Target::new(gate.http, "first.example")]) }.start();

    let api: Api<Ingress> = space.cluster.api(&space.name);
    let create = async |name: String| {
        let object: Ingress = serde_saphyr::from_str(&ingress(&name, "shop")).unwrap();
        api.create(&PostParams::default(), &object).await.unwrap();
    };
    let start = Instant::now();
    let all = stream::iter((0..COUNT).map(|number| create(format!("n-{number:04}"))));
    space.cluster.block_on(all.buffer_unordered(32).collect::<Vec<()>>());
    let created = start.elapsed();

    let mut delays: Vec<Duration> = Vec::new();
    for number in 0..10 {
        let name = format!("z-{number}");
        let target = Target::new(gate.http, &format!("{name}.example"));
        let asked = Instant::now();
        space.cluster.block_on(create(name));
        while get(&target, None).unwrap().status != 200 {
            assert!(asked.elapsed() < LIMIT, "{} is not served", target.host);
        }
        delays.push(asked.elapsed());
        // They are written in the order of their names, so that there are many to come while this one is served.
        assert!(addresses(&space, "n-0999").is_empty(), "the statuses were written before number {number} was served");
    }
    let left = || {
        let list = space.cluster.block_on(api.list(&ListParams::default())).unwrap();
        let has_none = |i: &&Ingress| {
            let status = i.status.as_ref().and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
            status.is_none_or(Vec::is_empty)
        };
        list.items.iter().filter(has_none).count()
    };
    until("all have a status", LONG, || (left() == 0).then_some(()));
    let written = start.elapsed();
    let outcome = load.stop();
    outcome.assert_no_failure();
    assert_eq!(writes(&space).len(), COUNT + 11);
    delays.sort();
    eprintln!(
        "{COUNT} Ingresses created in {created:?}, all statuses {written:?} after the first; a route meanwhile: median \
         {:?}, worst {:?}; {} requests meanwhile, the slowest {:?}",
        delays[delays.len() / 2],
        delays[delays.len() - 1],
        outcome.answered,
        outcome.slowest
    );
}

/// With the rights to write taken away, so that it is seen that it needs none.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn read_only_writes_nothing_and_needs_no_right_to() {
    let overlay = Overlay::new(
        "\
resources: [DEPLOY/overlays/beside-traefik]
patches:
  - target: { kind: ClusterRole, name: headgate }
    patch: |
      - { op: test, path: /rules/9/resources/0, value: ingresses/status }
      - { op: test, path: /rules/10/resources/0, value: events }
      - { op: remove, path: /rules/10 }
      - { op: remove, path: /rules/9 }
  - target: { kind: Role, name: headgate }
    patch: |
      - { op: test, path: /rules/3/verbs/0, value: list }
      - { op: remove, path: /rules/2 }
      - { op: remove, path: /rules/1 }
      - { op: remove, path: /rules/0 }
",
    );
    let before = asked(crate::support::Cluster::get()).len();
    let headgate = Deployed::apply(overlay.path(), 1, &[]);
    let space = Namespace::new("read-only");
    space.whoami("shop", 2, &[]);
    lend(&space, &json!([{ "ip": "203.0.113.7" }]));
    space.apply(&ingress("good", "shop").replace("headgate", "traefik"));
    space.apply(&ingress("broken", "nobody").replace("headgate", "traefik"));
    let gate = headgate.gate();
    let target = Target::new(gate.http, "good.example");
    until("it is served", LIMIT, || (get(&target, None).ok()?.status == 200).then_some(()));
    until("the fault is known", LIMIT, || (gate.said("ServiceNotFound").len() == 1).then_some(()));
    // Time for all that could be written, several times over.
    let load = Load { rate: 100, ..Load::new(vec![target]) }.start();
    load.finish(1_000, LONG).assert_no_failure();

    assert!(addresses(&space, "good").is_empty());
    assert_eq!(events(&space, "broken"), []);
    assert!(space.cluster.find::<Secret>("headgate", "headgate-cookie-keys").is_none());
    let all = asked(space.cluster).split_off(before);
    assert!(all.len() > 5, "{all:#?}");
    let wrong: Vec<_> = all.iter().filter(|asked| asked.writes() || asked.code >= 400).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
