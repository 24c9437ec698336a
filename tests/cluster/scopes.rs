//! What Headgate looks at and what it leaves alone: namespaces, labels, classes, and the overlays of deploy/ that choose.

use std::io::Write as _;

use k8s_openapi::api::{core::v1::Secret, networking::v1::Ingress, policy::v1::PodDisruptionBudget};

use crate::support::{Asked, Cluster, Deployed, Gate, LIMIT, Namespace, Target, asked, get, until};

/// An Ingress for NAME.example, in a class or in none, to the Service `shop`.
fn ingress(name: &str, class: Option<&str>, labels: &str) -> String {
    let class = class.map(|class| format!("  ingressClassName: {class}\n")).unwrap_or_default();
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: {name}, labels: {{ {labels} }} }}
spec:
{class}  rules:
  - host: {name}.example
    http:
      paths:
      - {{ path: /, pathType: Prefix, backend: {{ service: {{ name: shop, port: {{ number: 80 }} }} }} }}
"
    )
}

fn status(gate: &Gate, host: &str) -> u16 {
    get(&Target::new(gate.http, host), None).map(|answer| answer.status).unwrap_or_default()
}

#[track_caller]
fn until_status(gate: &Gate, host: &str, wanted: u16) {
    until(&format!("{host} answers {wanted}"), LIMIT, || (status(gate, host) == wanted).then_some(()));
}

/// Plays the load balancer in front of Headgate.
fn lend(cluster: &Cluster) {
    cluster.load_balancer("headgate", "headgate", &["203.0.113.7".parse().unwrap()]);
}

fn has_status(space: &Namespace, name: &str) -> bool {
    let found: Option<Ingress> = space.cluster.find(&space.name, name);
    found.and_then(|i| i.status?.load_balancer?.ingress).is_some_and(|entries| !entries.is_empty())
}

#[track_caller]
fn until_has_status(space: &Namespace, name: &str) {
    until(&format!("{name} has a status"), LIMIT, || has_status(space, name).then_some(()));
}

/// What was asked since there were `before` requests, and refused.
fn refused(cluster: &Cluster, before: usize) -> Vec<Asked> {
    let all = asked(cluster).split_off(before);
    all.into_iter().filter(|asked| asked.code == 401 || asked.code == 403).collect()
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn two_namespaces_are_served_and_a_third_is_not() {
    let spaces = ["one", "two", "three"].map(|name| {
        let space = Namespace::new(name);
        space.whoami("shop", 1, &[]);
        space
    });
    let [one, two, three] = &spaces;
    let flags = [one, two].map(|space| format!("--watch-namespace={}", space.name));
    let before = asked(one.cluster).len();
    let headgate = Deployed::apply("base", 1, &flags.each_ref().map(String::as_str));
    lend(one.cluster);
    let gate = headgate.gate();
    three.apply(&ingress("three", Some("headgate"), ""));
    one.apply(&ingress("one", Some("headgate"), ""));
    two.apply(&ingress("two", Some("headgate"), ""));
    until_status(&gate, "one.example", 200);
    until_status(&gate, "two.example", 200);
    until_has_status(one, "one");
    until_has_status(two, "two");
    assert_eq!(status(&gate, "three.example"), 404);
    assert!(!has_status(three, "three"));
    one.kubectl(&["delete", "ingress", "one"]);
    until_status(&gate, "one.example", 404);
    let looked: Vec<_> = asked(one.cluster).split_off(before);
    let elsewhere = looked.iter().filter(|asked| asked.namespace == three.name);
    assert_eq!(elsewhere.count(), 0, "{looked:#?}");
    let everywhere: Vec<_> = looked.iter().filter(|asked| asked.namespace.is_empty()).collect();
    let unscoped = ["ingressclasses", "customresourcedefinitions"];
    assert!(everywhere.iter().all(|asked| unscoped.contains(&&*asked.resource)), "{everywhere:#?}");
}

/// By the overlay, whose Role is all that it may do there.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn one_namespace_is_served_by_its_role_alone() {
    let before = asked(Cluster::get()).len();
    let headgate = Deployed::apply("overlays/namespaced", 1, &[]);
    let space = Namespace::default();
    let other = Namespace::new("other");
    for space in [&space, &other] {
        space.whoami("shop", 1, &[]);
    }
    lend(space.cluster);
    let gate = headgate.gate();
    let account = format!("--as=system:serviceaccount:{}:headgate", headgate.namespace);
    for (namespace, may) in [("default", "yes"), (other.name.as_str(), "no"), ("headgate", "no")] {
        let traefiks = ["middlewares.traefik.io", "serverstransports.traefik.io", "tlsoptions.traefik.io"];
        for kind in ["ingresses", "services", "endpointslices", "secrets"].into_iter().chain(traefiks) {
            let said = space.cluster.shell(&format!("kubectl auth can-i list {kind} -n {namespace} {account}"));
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim(), may, "{kind} of {namespace}");
        }
    }

    let certificate = space.tls_secret("shop-tls", "shop.example");
    other.apply(&ingress("elsewhere", Some("headgate"), ""));
    space.apply(
        "\
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: stamp }
spec: { headers: { customResponseHeaders: { X-Stamp: 'yes' } } }
",
    );
    let text = ingress("shop", Some("headgate"), "")
        .replace(
            ", labels: {  }",
            ", annotations: { traefik.ingress.kubernetes.io/router.middlewares: default-stamp@kubernetescrd }",
        )
        .replace("  rules:", "  tls: [{ hosts: [shop.example], secretName: shop-tls }]\n  rules:");
    space.apply(&text);
    let target = Target::https(gate.https, "shop.example");
    until("it is served with its certificate and Middleware", LIMIT, || {
        let mut client = target.connect().ok()?;
        let answer = client.get(&target.host, "/");
        let whole = answer.status == 200 && answer.get("x-stamp") == Some("yes");
        (whole && client.certificate() == certificate).then_some(())
    });
    until_has_status(&space, "shop");
    space.apply(&ingress("broken", Some("headgate"), "").replace("name: shop", "name: nobody"));
    until("its Event is written", LIMIT, || {
        space.kubectl(&["describe", "ingress", "broken"]).contains("ServiceNotFound").then_some(())
    });
    assert_eq!(status(&gate, "elsewhere.example"), 404);
    assert!(!has_status(&other, "elsewhere"));
    assert!(space.cluster.find::<Secret>("headgate", "headgate-cookie-keys").is_some());
    let refused = refused(space.cluster, before);
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_selector_of_labels_is_followed() {
    let headgate = Deployed::apply("base", 1, &["--ingress-selector=tier=public"]);
    let space = Namespace::new("labels");
    space.whoami("shop", 1, &[]);
    lend(space.cluster);
    space.apply(&ingress("inner", Some("headgate"), "tier: inner"));
    space.apply(&ingress("public", Some("headgate"), "tier: public"));
    let gate = headgate.gate();
    until_status(&gate, "public.example", 200);
    until_has_status(&space, "public");
    assert_eq!(status(&gate, "inner.example"), 404);
    space.kubectl(&["label", "--overwrite", "ingress", "inner", "tier=public"]);
    until_status(&gate, "inner.example", 200);
    space.kubectl(&["label", "--overwrite", "ingress", "public", "tier-"]);
    until_status(&gate, "public.example", 404);
}

/// As far as a node of this harness goes: it has no ports of its own to give.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_daemon_set_serves_on_each_node() {
    let headgate = Deployed::apply("overlays/daemonset", 1, &[]);
    let space = Namespace::new("daemons");
    space.whoami("shop", 2, &[]);
    let certificate = space.tls_secret("shop-tls", "shop.example");
    let text = ingress("shop", Some("headgate"), "");
    space.apply(&text.replace("  rules:", "  tls: [{ hosts: [shop.example], secretName: shop-tls }]\n  rules:"));
    let gate = headgate.gate();
    until_status(&gate, "shop.example", 200);
    let mut client = Target::https(gate.https, "shop.example").connect().unwrap();
    assert_eq!(client.get("shop.example", "/").status, 200);
    assert_eq!(client.certificate(), certificate);
    assert_eq!(headgate.gates().len(), 1, "one pod a node");
    let pod = gate.record.name.as_str();
    let port = ["-n", "headgate", "get", "pod", pod, "-o", "jsonpath={.spec.containers[0].ports[*].hostPort}"];
    assert_eq!(space.cluster.kubectl(&port), "80 443");
    assert!(space.cluster.list::<PodDisruptionBudget>("headgate", "").is_empty());
    // Node by node.
    space.cluster.kubectl(&["-n", "headgate", "rollout", "restart", "daemonset/headgate"]);
    headgate.rolled_out();
    until("the new pod serves", LIMIT, || {
        let gate = headgate.gates().into_iter().find(|gate| gate.record.name != pod)?;
        (status(&gate, "shop.example") == 200).then_some(())
    });
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn in_traefiks_place_its_class_is_served_while_its_object_is_away_too() {
    let headgate = Deployed::apply("overlays/replace-traefik", 1, &[]);
    let space = Namespace::new("traefik");
    space.whoami("shop", 1, &[]);
    lend(space.cluster);
    space.apply(&ingress("classed", Some("traefik"), ""));
    // The API server writes the default class into it.
    space.apply(&ingress("defaulted", None, ""));
    space.apply(&ingress("foreign", Some("nginx"), ""));
    let gate = headgate.gate();
    until_status(&gate, "classed.example", 200);
    until_status(&gate, "defaulted.example", 200);
    until_has_status(&space, "defaulted");
    assert_eq!(space.kubectl(&["get", "ingress", "defaulted", "-o", "jsonpath={.spec.ingressClassName}"]), "traefik");

    space.cluster.kubectl(&["delete", "ingressclass", "traefik"]);
    // Made later than that, so that what it does is in force.
    space.apply(&ingress("unclassed", None, ""));
    space.apply(&ingress("later", Some("traefik"), ""));
    until_status(&gate, "unclassed.example", 200);
    until_status(&gate, "later.example", 200);
    assert_eq!(space.kubectl(&["get", "ingress", "unclassed", "-o", "jsonpath={.spec.ingressClassName}"]), "");
    for host in ["classed.example", "defaulted.example"] {
        assert_eq!(status(&gate, host), 200, "{host}");
    }
    until_has_status(&space, "unclassed");
    until_has_status(&space, "later");
    assert_eq!(status(&gate, "foreign.example"), 404);
    assert!(!has_status(&space, "foreign"));
    assert!(has_status(&space, "classed"), "its status stays while the class is away");
    assert!(gate.said("IngressClassNotFound").iter().all(|said| said["name"] == "foreign"));

    space.cluster.apply(
        &[],
        "\
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: { name: traefik }
spec: { controller: example.com/somebody-else }
",
    );
    until_status(&gate, "classed.example", 404);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn beside_traefik_everything_is_served_and_nothing_written() {
    let before = asked(Cluster::get()).len();
    let headgate = Deployed::apply("overlays/beside-traefik", 1, &[]);
    let space = Namespace::new("beside");
    space.whoami("shop", 1, &[]);
    lend(space.cluster);
    let status_of_traefik = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}}"#;
    space.apply(&ingress("shop", Some("traefik"), ""));
    space.apply(&ingress("broken", Some("traefik"), "").replace("name: shop", "name: nobody"));
    space.kubectl(&["patch", "ingress", "shop", "--subresource=status", "--type=merge", "-p", status_of_traefik]);
    let gate = headgate.gate();
    until_status(&gate, "shop.example", 200);
    until("what is wrong is known", LIMIT, || (!gate.said("ServiceNotFound").is_empty()).then_some(()));
    let ports = ["-n", "headgate", "get", "service", "headgate", "-o", "jsonpath={.spec.ports[*].port}"];
    assert_eq!(space.cluster.kubectl(&ports), "8000 8443");
    drop(headgate);
    let all = asked(space.cluster).split_off(before);
    let written: Vec<_> = all.iter().filter(|asked| asked.writes()).collect();
    assert!(!all.is_empty() && written.is_empty(), "{written:#?}");
    let found: Ingress = space.cluster.find(&space.name, "shop").unwrap();
    let managers = found.metadata.managed_fields.unwrap_or_default();
    assert!(managers.iter().all(|entry| entry.manager.as_deref() != Some("headgate")), "{managers:#?}");
}

/// With the kubectl of this harness; Helm where it is installed.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn deploy_check_finds_nothing() {
    let output = Cluster::get().shell(&format!("{}/deploy/check", env!("CARGO_MANIFEST_DIR")));
    std::io::stderr().write_all(&output.stderr).unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert_eq!(printed.lines().filter(|line| line.ends_with(" builds")).count(), 5, "{printed}");
}
