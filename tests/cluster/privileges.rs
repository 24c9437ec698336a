//! Least privilege: what fails without each of the permissions of deploy/base is what docs/permissions.md says, and
//! nothing else; nothing is asked beyond them, and none of them is for nothing.

mod audit;
mod narrow;
mod scene;

use serde_json::{Value, json};

use self::scene::{Scene, Seen, WHOLE};
use crate::support::{LIMIT, until};

/// What fails while a permission is missing.
enum Fails {
    Nothing,
    /// It does not become ready, and says that it waits for this.
    Readiness(&'static str),
    /// Requests are answered so, and it says that it can't read this.
    Traffic(Seen, &'static str),
    /// Something is not written, which this line of the log says, once.
    Writing(&'static str, Written),
}

/// What is written about an Ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Written {
    status: bool,
    event: bool,
}

const ALL_WRITTEN: Written = Written { status: true, event: true };
const NOTHING_WRITTEN: Written = Written { status: false, event: false };

/// Without the right to Secrets: passwords can't be checked, and hosts have the default certificate.
const NO_SECRETS: Seen = Seen { stranger: 503, friend: 503, own_certificate: false, ..WHOLE };
/// Without the right to Middlewares: what names one is closed.
const NO_MIDDLEWARES: Seen = Seen { header: 503, sticky: 503, stranger: 503, friend: 503, ..WHOLE };
/// Without the right to ServersTransports.
const NO_TRANSPORTS: Seen = Seen { transport: 503, ..WHOLE };
/// Without the right to TLSOptions.
const NO_TLS_OPTIONS: Seen = Seen { held: false, ..WHOLE };

impl Scene {
    /// One permission less from the start on, what fails then, and that all is well once it is granted, without a
    /// restart.
    #[track_caller]
    fn without(&self, what: &str, missing: &[Value], fails: &Fails) {
        eprintln!("without {what}");
        self.grant_all_but(missing);
        let gate = self.restarted();
        // Not before: the pod that has ended might have written about it.
        let ingress = self.wrong_ingress();
        let process = gate.record.process().unwrap().pid();
        match fails {
            Fails::Readiness(resource) => {
                until("it says what it waits for", LIMIT, || (gate.waits_for() == [*resource]).then_some(()));
                let kind = resource.split(' ').next().unwrap_or_default();
                assert_eq!((gate.resources_forbidden(), gate.readiness()), (vec![kind.to_owned()], 503), "{what}");
                let log = gate.record.process().unwrap().log();
                let line = format!("we may not list and watch {resource}");
                assert_eq!(log.matches(&line).count(), 1, "{what}:\n{log}");
            }
            Fails::Nothing | Fails::Traffic(..) | Fails::Writing(..) => self.until_ready(&gate),
        }
        match fails {
            Fails::Nothing => self.until_so(&gate, &WHOLE, &ingress, ALL_WRITTEN, &[]),
            Fails::Readiness(_) => {}
            Fails::Traffic(seen, resource) => self.until_so(&gate, seen, &ingress, ALL_WRITTEN, &[*resource]),
            Fails::Writing(line, written) => {
                let log = || gate.record.process().unwrap().log();
                until("it says what it may not write", LIMIT, || log().contains(line).then_some(()));
                self.until_so(&gate, &WHOLE, &ingress, *written, &[]);
                assert_eq!(log().matches(line).count(), 1, "said once:\n{}", log());
            }
        }
        self.grant_all_but(&[]);
        self.until_ready(&gate);
        self.until_so(&gate, &WHOLE, &ingress, ALL_WRITTEN, &[]);
        assert_eq!(gate.record.process().unwrap().pid(), process, "{what}: it was started again");
    }
}

/// A rule of the API group with this resource, with some of the verbs.
fn rule(group: &str, resource: &str, names: &[&str], verbs: &[&str]) -> Value {
    let mut rule = json!({"apiGroups": [group], "resources": [resource], "verbs": verbs});
    if !names.is_empty() {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// `rule`, for what is listed and watched.
fn reads(group: &str, resource: &str) -> Value {
    rule(group, resource, &[], &["list", "watch"])
}

const NETWORKING: &str = "networking.k8s.io";

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn without_a_permission_fails_what_the_docs_say_and_nothing_else() {
    let scene = Scene::new(&[]);
    let definitions =
        rule("apiextensions.k8s.io", "customresourcedefinitions", &["middlewares.traefik.io"], &["list", "watch"]);
    let keys = rule("", "secrets", &["headgate-cookie-keys"], &["list", "watch"]);
    let make_lease = rule("coordination.k8s.io", "leases", &[], &["create"]);
    let hold_lease = rule("coordination.k8s.io", "leases", &["headgate"], &["get", "update"]);
    let make_keys = rule("", "secrets", &[], &["create"]);
    let no_status = "the status of Ingresses may not be written";
    let no_lease = "the Lease may not be used";
    let each = [
        ("ingressclasses", reads(NETWORKING, "ingressclasses"), Fails::Readiness("ingressclasses.networking.k8s.io")),
        ("the definition", definitions, Fails::Nothing),
        ("ingresses", reads(NETWORKING, "ingresses"), Fails::Readiness("ingresses.networking.k8s.io")),
        ("services", reads("", "services"), Fails::Readiness("services")),
        ("slices", reads("discovery.k8s.io", "endpointslices"), Fails::Readiness("endpointslices.discovery.k8s.io")),
        ("secrets", reads("", "secrets"), Fails::Traffic(NO_SECRETS, "secrets")),
        ("middlewares", reads("traefik.io", "middlewares"), Fails::Traffic(NO_MIDDLEWARES, "middlewares.traefik.io")),
        (
            "transports",
            reads("traefik.io", "serverstransports"),
            Fails::Traffic(NO_TRANSPORTS, "serverstransports.traefik.io"),
        ),
        ("TLS options", reads("traefik.io", "tlsoptions"), Fails::Traffic(NO_TLS_OPTIONS, "tlsoptions.traefik.io")),
        (
            "status",
            rule(NETWORKING, "ingresses/status", &[], &["patch"]),
            Fails::Writing(no_status, Written { status: false, event: true }),
        ),
        (
            "events",
            rule("events.k8s.io", "events", &[], &["create", "patch"]),
            Fails::Writing("Events may not be written", Written { status: true, event: false }),
        ),
        ("holding the Lease", hold_lease, Fails::Writing(no_lease, NOTHING_WRITTEN)),
        ("reading the keys by name", keys.clone(), Fails::Nothing),
        ("making the keys, which are there", make_keys.clone(), Fails::Nothing),
    ];
    for (what, missing, fails) in &each {
        scene.without(what, std::slice::from_ref(missing), fails);
    }
    // Each rule was one of these; two more count only where there is nothing yet.
    assert_eq!(scene.rules().len(), each.len() + 1);
    scene.remove("lease", "headgate");
    scene.without("making the Lease", &[make_lease], &Fails::Writing(no_lease, NOTHING_WRITTEN));

    // Neither by the ClusterRole nor by the Role.
    let secrets = [reads("", "secrets"), keys];
    scene.without("reading the keys", &secrets, &Fails::Readiness("secrets with metadata.name=headgate-cookie-keys"));

    scene.grant_all_but(&[make_keys]);
    scene.remove("secret", "headgate-cookie-keys");
    let gate = scene.restarted();
    let log = || gate.record.process().unwrap().log();
    let line = "the Secret of cookie keys does not exist and may not be made";
    until("it says that there are no keys", LIMIT, || log().contains(line).then_some(()));
    assert_eq!((gate.readiness(), log().matches(line).count()), (503, 1));
    scene.grant_all_but(&[]);
    scene.until_ready(&gate);
    scene.until_so(&gate, &WHOLE, &scene.wrong_ingress(), ALL_WRITTEN, &[]);
    audit::assert_nothing_beyond(&scene);
}

/// What the role is taken away from goes on with what it has read. A watch that runs is not ended by that: the API
/// server is, which ends them all.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn permissions_that_are_taken_away_cost_nothing_that_was_read() {
    let scene = Scene::new(&[]);
    let gate = scene.headgate.gate();
    let process = gate.record.process().unwrap().pid();
    scene.until_so(&gate, &WHOLE, &scene.wrong_ingress(), ALL_WRITTEN, &[]);
    scene.grant_all_but(&scene.rules());
    let cluster = scene.space.cluster;
    cluster.kill_apiserver();
    cluster.start_apiserver();
    let lost = [
        "endpointslices.discovery.k8s.io",
        "ingressclasses.networking.k8s.io",
        "ingresses.networking.k8s.io",
        "middlewares.traefik.io",
        "secrets",
        "secrets with metadata.name=headgate-cookie-keys",
        "secrets with metadata.name=users",
        "serverstransports.traefik.io",
        "services",
        "tlsoptions.traefik.io",
    ];
    until("it says what it can't follow any more", LIMIT, || (gate.forbidden() == lost).then_some(()));
    let said = gate.diagnostics();
    let mut api = said.iter().filter(|said| said["kind"] == "API");
    assert!(api.all(|said| said["message"].as_str().unwrap().contains("stays in use")), "{said:?}");
    assert_eq!((scene.seen(&gate).unwrap(), gate.readiness()), (WHOLE, 200));
    let ingress = scene.wrong_ingress();

    scene.grant_all_but(&[]);
    scene.until_so(&gate, &WHOLE, &ingress, ALL_WRITTEN, &[]);
    assert_eq!(gate.record.process().unwrap().pid(), process, "it was started again");
    audit::assert_nothing_beyond(&scene);
}
