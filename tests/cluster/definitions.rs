//! The definition of Middlewares: ours on a bare cluster and over Traefik's, Traefik's over ours, and none at all. Those
//! of the other kinds: that they are taken and keep every field.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    sticky::DOCUMENT,
    support::{Cluster, Deployed, LIMIT, Load, Namespace, Overlay, Target, asked, get, until},
};

/// As it is in the repository, in the chart, and printed by `headgate crds`.
const OURS: &str = include_str!("../../crds/traefik.io_middlewares.yaml");
const EVERY_TYPE: &str = include_str!("../crd/one-of-every-type.yaml");
const NAME: &str = "middlewares.traefik.io";
const OTHERS: [&str; 2] = [
    include_str!("../../crds/traefik.io_serverstransports.yaml"),
    include_str!("../../crds/traefik.io_tlsoptions.yaml"),
];
const EVERY_FIELD: &str = include_str!("../crd/every-field.yaml");

/// A definition as Traefik's is: it knows no `spec.sticky`, and allows several types at once.
fn traefiks() -> String {
    let ours = OURS.split_once("\n---\n").map_or(OURS, |(_, definition)| definition);
    let mut definition: Value = serde_saphyr::from_str(ours).unwrap();
    let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let sticky = spec["properties"].as_object_mut().unwrap().remove("sticky");
    let one_type = spec.as_object_mut().unwrap().remove("x-kubernetes-validations");
    assert!(sticky.is_some() && one_type.is_some(), "{spec}");
    definition.to_string()
}

/// For the time of a test the definition is the test's own; afterwards it is ours again, as if nothing had been.
struct Definitions(&'static Cluster);

impl Definitions {
    /// No definition, and so no Middlewares.
    fn none() -> Self {
        let own = Self(Cluster::get());
        own.remove();
        own
    }

    /// Ours.
    fn ours() -> Self {
        let own = Self::none();
        own.0.apply(&["--server-side"], OURS);
        own.established();
        own
    }

    fn remove(&self) {
        self.0.kubectl(&["delete", "crd", NAME, "--ignore-not-found", "--timeout=60s"]);
    }

    fn established(&self) {
        self.0.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", NAME]);
    }

    /// Traefik's over what is there, as Helm 3 upgrades a chart: a merge patch, which replaces the list of versions.
    fn traefiks(&self) {
        let traefiks: Value = serde_json::from_str(&traefiks()).unwrap();
        let patch = json!({ "spec": { "versions": traefiks["spec"]["versions"] } }).to_string();
        self.0.kubectl(&["patch", "crd", NAME, "--type=merge", "--field-manager=helm", "-p", &patch]);
    }

    /// Ours again, by the line that the diagnostic says.
    fn ours_again(&self) {
        let args = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.0.try_kubectl_with(&args, OURS).unwrap();
    }
}

impl Drop for Definitions {
    fn drop(&mut self) {
        let _ = self.0.try_kubectl(&["delete", "crd", NAME, "--ignore-not-found", "--timeout=60s"]);
        let _ = self.0.try_kubectl_with(&["apply", "--server-side", "-f", "-"], OURS);
        let _ = self.0.try_kubectl(&["wait", "--for=condition=Established", "--timeout=60s", "crd", NAME]);
    }
}

/// `kubectl apply` of custom resources, as soon as the server serves their definition.
#[track_caller]
fn until_applied(space: &Namespace, manifests: &str) {
    until("the server takes them", LIMIT, || {
        space.cluster.try_kubectl_with(&["apply", "-n", &space.name, "-f", "-"], manifests).ok()
    });
}

/// The spec of a custom resource as the server shows it, and its version.
fn shown(space: &Namespace, kind: &str, name: &str) -> (Value, String) {
    let object: Value = serde_json::from_str(&space.kubectl(&["get", kind, name, "-o", "json"])).unwrap();
    (object["spec"].clone(), object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned())
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn ours_are_taken_by_a_bare_cluster_and_keep_every_field() {
    let definitions = Definitions::none();
    let space = Namespace::default();
    for args in [&["apply", "--server-side", "-f", "-"][..], &["apply", "-f", "-"]] {
        definitions.remove();
        definitions.0.try_kubectl_with(args, OURS).unwrap();
        definitions.established();
        until_applied(&space, EVERY_TYPE);
        let documents = EVERY_TYPE.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
        let mut count = 0;
        for sent in documents {
            let name = sent["metadata"]["name"].as_str().unwrap();
            assert_eq!(shown(&space, "middleware", name).0, sent["spec"], "{name}");
            count += 1;
        }
        assert!(count > 20, "{count} Middlewares");
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn the_other_kinds_are_taken_and_keep_every_field() {
    let space = Namespace::default();
    for definition in OTHERS {
        space.cluster.apply(&["--server-side", "--force-conflicts"], definition);
    }
    until_applied(&space, EVERY_FIELD);
    for text in EVERY_FIELD.split("\n---\n") {
        let sent: Value = serde_saphyr::from_str(text).unwrap();
        let (kind, name) = (sent["kind"].as_str().unwrap(), sent["metadata"]["name"].as_str().unwrap());
        assert_eq!(shown(&space, kind, name).0, sent["spec"], "{kind}");
    }
    let both = json!({
        "apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransport", "metadata": { "name": "wrong" },
        "spec": { "rootCAs": [{ "secret": "a", "configMap": "b" }] },
    });
    let said = space.cluster.try_kubectl_with(&["apply", "-f", "-"], &both.to_string()).unwrap_err();
    assert!(said.contains("in a Secret or in a ConfigMap, not in both"), "{said}");
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn without_a_definition_of_tls_options_only_hosts_that_name_one_wait_for_it() {
    let headgate = Deployed::apply("overlays/replace-traefik", 1, &[]);
    let space = Namespace::default();
    space.whoami("app", 1, &[]);
    let ingress = |host: &str, annotations: &str| {
        format!(
            "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: {host}, annotations: {{ {annotations} }} }}
spec:
  ingressClassName: traefik
  rules:
  - host: {host}
    http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: app, port: {{ number: 80 }} }} }} }}] }}
"
        )
    };
    let named = "traefik.ingress.kubernetes.io/router.tls.options: default-modern@kubernetescrd";
    space.apply(&ingress("free.local", ""));
    space.apply(&ingress("held.local", named));
    let gate = headgate.gate();
    let (free, held) = (Target::https(gate.https, "free.local"), Target::https(gate.https, "held.local"));
    let serves = |target: &Target| get(target, None).is_ok_and(|answer| answer.status == 200);
    let modern = "\
apiVersion: traefik.io/v1alpha1
kind: TLSOption
metadata: { name: modern }
spec: { minVersion: VersionTLS13 }
";
    let missing = || gate.said("NotInstalled").len();
    space.cluster.kubectl(&["delete", "crd", "tlsoptions.traefik.io", "--timeout=60s"]);
    until("it says what is missing", LIMIT, || (missing() == 1).then_some(()));
    until("others are served", LIMIT, || serves(&free).then_some(()));
    assert!(!serves(&held));
    assert_eq!(gate.said("NotInstalled")[0]["name"], "tlsoptions.traefik.io");
    space.cluster.apply(&["--server-side"], OTHERS[1]);
    until_applied(&space, modern);
    until("it is served", LIMIT, || serves(&held).then_some(()));
    until("nothing is missed", LIMIT, || (missing() == 0).then_some(()));
    assert_eq!(headgate.gate().record.name, gate.record.name, "not by a restart");
}

/// What kubectl says is in docs/replace-traefik-on-k3s.md.
#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn ours_go_over_traefiks_whoever_has_applied_it() {
    let definitions = Definitions::none();
    let space = Namespace::default();
    let server_side = ["apply", "--server-side", "-f", "-"];
    let forced = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
    let client_side = ["apply", "-f", "-"];
    let makers: [(&str, &[&str], bool); 4] = [
        ("Helm 3, which K3s uses", &["create", "--field-manager=helm", "-f", "-"], true),
        ("Helm 4", &["apply", "--server-side", "--field-manager=helm", "-f", "-"], true),
        ("kubectl apply", &client_side, false),
        ("kubectl apply --server-side", &server_side, false),
    ];
    let sticky = DOCUMENT.split("---").next().unwrap();
    for (who, maker, conflicts) in makers {
        for ways in [&[&server_side[..], &forced][..], &[&client_side]] {
            definitions.remove();
            definitions.0.try_kubectl_with(maker, &traefiks()).unwrap();
            definitions.established();
            until("it is Traefik's", LIMIT, || {
                let said = definitions.0.try_kubectl_with(&client_side, sticky).err()?;
                said.contains(r#"unknown field "spec.sticky""#).then_some(())
            });
            for way in ways {
                let said = definitions.0.try_kubectl_with(way, OURS);
                if conflicts && *way == server_side {
                    let said = said.unwrap_err();
                    assert!(said.contains(r#"conflict with "helm""#) && said.contains("--force-conflicts"), "{said}");
                    assert_eq!(said.matches(".spec.versions").count(), 1, "{said}");
                } else {
                    said.unwrap_or_else(|said| panic!("{who}: {said}"));
                }
            }
            until_applied(&space, sticky);
            space.kubectl(&["delete", "middleware", "sticky-sessions"]);
        }
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn wrong_fields_are_refused_in_words_that_a_person_understands() {
    let _definitions = Definitions::ours();
    let space = Namespace::default();
    let cookie = |field: Value| json!({ "sticky": { "cookie": field } });
    let cases = [
        (
            cookie(json!({ "sameSite": "some" })),
            "spec.sticky.cookie.sameSite",
            r#""some": must be none, lax or strict"#,
        ),
        (cookie(json!({ "nmae": "a" })), "unknown field", r#""spec.sticky.cookie.nmae""#),
        (cookie(json!({ "name": "my pin" })), "spec.sticky.cookie.name", r#""my pin": a cookie's name is of letters"#),
        (cookie(json!({ "path": "shop" })), "spec.sticky.cookie.path", r#""shop": a cookie's path starts with /"#),
        (cookie(json!({ "domain": "a;b" })), "spec.sticky.cookie.domain", r#""a;b": a cookie has no semicolon"#),
        (cookie(json!({ "secure": "yes" })), "spec.sticky.cookie.secure", "must be of type boolean"),
        (cookie(json!({ "maxAge": "1h" })), "spec.sticky.cookie.maxAge", "must be of type integer"),
        (json!({ "sticky": {}, "headers": { "frameDeny": true } }), "spec", "a Middleware has one type"),
    ];
    for (spec, field, words) in cases {
        let object = json!({
            "apiVersion": "traefik.io/v1alpha1", "kind": "Middleware", "metadata": { "name": "wrong" }, "spec": spec,
        });
        let said = space.cluster.try_kubectl_with(&["apply", "-f", "-"], &object.to_string()).expect_err(words);
        assert!(said.contains(field) && said.contains(words), "{spec}: {said}");
    }
}

/// Served at nginx-test.local, with sessions that stick.
struct Shop {
    headgate: Deployed,
    space: Namespace,
    /// Pods and the cookies that lead to them.
    sessions: Vec<(String, String)>,
}

impl Shop {
    fn new() -> Self {
        let headgate = Deployed::apply("overlays/replace-traefik", 1, &[]);
        let space = Namespace::default();
        space.whoami("nginx-test", 3, &[]);
        until_applied(&space, DOCUMENT);
        let mut shop = Self { headgate, space, sessions: Vec::new() };
        shop.until_served();
        shop.sessions = (0..6).map(|_| shop.session()).collect();
        shop
    }

    fn target(&self) -> Target {
        Target::new(self.headgate.gate().http, "nginx-test.local")
    }

    fn until_served(&self) {
        let target = self.target();
        until("it is served", LIMIT, || (get(&target, None).ok()?.status == 200).then_some(()));
    }

    fn until_closed(&self) {
        let target = self.target();
        until("it is closed", LIMIT, || (get(&target, None).ok()?.status == 503).then_some(()));
    }

    /// A new one.
    #[track_caller]
    fn session(&self) -> (String, String) {
        let answer = get(&self.target(), None).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        (answer.get("x-pod").unwrap().to_owned(), answer.cookie("sticky").expect("a cookie"))
    }

    /// New ones begin, and those from before stick.
    #[track_caller]
    fn sticks(&self) {
        self.session();
        for (pod, cookie) in &self.sessions {
            let answer = get(&self.target(), Some(&format!("sticky={cookie}"))).unwrap();
            assert_eq!((answer.get("x-pod"), answer.cookie("sticky")), (Some(pod.as_str()), None));
        }
    }

    /// Until Headgate has read Middlewares anew since `before`, and all that it read is in force.
    fn until_read_since(&self, before: usize) {
        until("Middlewares are listed anew", LIMIT, || (self.readings() > before).then_some(()));
        // News about Middlewares come one after the other: with this one, what was there before has come.
        let stamp = format!("stamp-{}", self.readings());
        let object = format!(
            "\
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {{ name: {stamp} }}
spec: {{ headers: {{ customResponseHeaders: {{ X-Stamp: {stamp} }} }} }}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {stamp}
  annotations: {{ traefik.ingress.kubernetes.io/router.middlewares: default-{stamp}@kubernetescrd }}
spec:
  ingressClassName: traefik
  rules:
  - host: {stamp}.local
    http: {{ paths: [{{ path: /, pathType: Prefix, backend: {{ service: {{ name: nginx-test, port: {{ number: 80 }} }} }} }}] }}
"
        );
        until_applied(&self.space, &object);
        let target = Target::new(self.headgate.gate().http, &format!("{stamp}.local"));
        until("the stamp is there", LIMIT, || {
            (get(&target, None).ok()?.get("x-stamp") == Some(stamp.as_str())).then_some(())
        });
    }

    /// How often Middlewares were listed or watched.
    fn readings(&self) -> usize {
        asked(self.space.cluster).iter().filter(|asked| asked.resource == "middlewares" && asked.code == 200).count()
    }

    fn no_sticky(&self) -> Vec<Value> {
        self.headgate.gate().said("NoSticky")
    }

    fn until_no_sticky(&self, is_said: bool) {
        until("what the definition lacks is told", LIMIT, || {
            (self.no_sticky().len() == usize::from(is_said)).then_some(())
        });
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn traefiks_over_ours_ends_no_session_and_ours_again_mends_it() {
    let definitions = Definitions::ours();
    let shop = Shop::new();
    let load = Load { cookie: Some("sticky"), rate: 200, ..Load::new(vec![shop.target()]) }.start();
    let (before, version) = shop.space_shown();
    assert_eq!(before["sticky"]["cookie"]["name"], "sticky");
    shop.until_no_sticky(false);

    let readings = shop.readings();
    definitions.traefiks();
    shop.until_no_sticky(true);
    shop.until_read_since(readings);
    // The server shows less of the same version.
    assert_eq!(shop.space_shown(), (json!({}), version.clone()));
    shop.sticks();
    let refused = definitions.0.try_kubectl_with(&["apply", "-f", "-"], DOCUMENT).unwrap_err();
    assert!(refused.contains(r#"strict decoding error: unknown field "spec.sticky""#), "{refused}");
    let said = shop.no_sticky().remove(0);
    assert_eq!((&said["name"], &said["severity"]), (&json!(NAME), &json!("warning")), "{said}");
    let help = said["help"].as_str().unwrap();
    assert!(help.contains("headgate crds | kubectl apply --server-side --force-conflicts -f -"), "{help}");

    let readings = shop.readings();
    definitions.ours_again();
    shop.until_no_sticky(false);
    shop.until_read_since(readings);
    assert_eq!(shop.space_shown(), (before, version));
    shop.sticks();
    let outcome = load.stop();
    outcome.assert_no_failure();
    assert!(outcome.moves.is_empty(), "{:?}", outcome.moves);
}

impl Shop {
    /// The spec of the sticky Middleware as the server shows it, and its version.
    fn space_shown(&self) -> (Value, String) {
        shown(&self.space, "middleware", "sticky-sessions")
    }

    /// That what is said of the closed route leads to the definition.
    #[track_caller]
    fn is_explained(&self) {
        let said = self.headgate.gate().said("MiddlewareInvalid");
        let of = |kind: &str| said.iter().find(|said| said["kind"] == kind).unwrap_or_else(|| panic!("{said:#?}"));
        let text = |said: &Value| format!("{} {}", said["message"], said["help"]);
        let ingress = text(of("Ingress"));
        assert!(ingress.contains("Middleware default/sticky-sessions") && ingress.contains("503"), "{ingress}");
        let middleware = text(of("Middleware"));
        assert!(middleware.contains("no middleware type"), "{middleware}");
        assert!(
            middleware.contains("headgate crds | kubectl apply --server-side --force-conflicts -f -"),
            "{middleware}"
        );
        assert_eq!(self.no_sticky().len(), 1);
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_start_with_traefiks_closes_the_route_says_why_and_ours_again_opens_it() {
    let definitions = Definitions::ours();
    let shop = Shop::new();
    definitions.traefiks();
    shop.until_no_sticky(true);
    shop.space.cluster.kubectl(&["-n", "headgate", "rollout", "restart", "deployment/headgate"]);
    shop.headgate.rolled_out();
    shop.until_closed();
    shop.is_explained();
    until("kubectl describe says it too", LIMIT, || {
        let described = shop.space.kubectl(&["describe", "middleware", "sticky-sessions"]);
        described.contains("MiddlewareInvalid").then_some(())
    });

    definitions.ours_again();
    shop.until_served();
    shop.until_no_sticky(false);
    shop.sticks();
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn what_is_written_while_traefiks_is_there_loses_its_sticky() {
    let definitions = Definitions::ours();
    let shop = Shop::new();
    definitions.traefiks();
    shop.until_no_sticky(true);
    until("the server shows less", LIMIT, || (shop.space_shown().0 == json!({})).then_some(()));
    shop.space.kubectl(&["annotate", "middleware", "sticky-sessions", "note=1"]);
    shop.until_closed();
    shop.is_explained();
    definitions.ours_again();
    shop.until_no_sticky(false);
    until_applied(&shop.space, DOCUMENT);
    shop.until_served();
    shop.sticks();
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn without_a_definition_what_names_a_middleware_is_closed_until_there_is_one() {
    let definitions = Definitions::none();
    let overlay = Overlay::new(
        "\
resources: [DEPLOY/overlays/replace-traefik]
patches:
  - patch: |
      $patch: delete
      apiVersion: apiextensions.k8s.io/v1
      kind: CustomResourceDefinition
      metadata: { name: middlewares.traefik.io }
",
    );
    let headgate = Deployed::apply(overlay.path(), 1, &[]);
    let space = Namespace::default();
    space.whoami("nginx-test", 3, &[]);
    let (middleware, ingress) = DOCUMENT.split_once("---\n").unwrap();
    space.apply(ingress);
    let plain: String = ingress
        .lines()
        .filter(|line| !line.contains("annotations:") && !line.contains("router.middlewares"))
        .map(|line| format!("{line}\n"))
        .collect();
    space.apply(
        &plain.replace("name: nginx-test\nspec", "name: plain\nspec").replace("nginx-test.local", "plain.local"),
    );
    let gate = headgate.gate();
    let plain = Target::new(gate.http, "plain.local");
    let sticky = Target::new(gate.http, "nginx-test.local");
    until("what names none is served", LIMIT, || (get(&plain, None).ok()?.status == 200).then_some(()));
    until("what names one is closed", LIMIT, || (get(&sticky, None).ok()?.status == 503).then_some(()));
    let said = gate.said("NotInstalled");
    assert_eq!(said.len(), 1, "{said:#?}");
    assert_eq!(said[0]["name"], NAME);
    assert!(said[0]["help"].as_str().unwrap().contains("headgate crds | kubectl apply"), "{said:#?}");

    space.cluster.apply(&["--server-side"], OURS);
    until_applied(&space, middleware);
    let applied = Instant::now();
    until("it is served", LIMIT, || {
        let answer = get(&sticky, None).ok()?;
        (answer.status == 200 && answer.cookie("sticky").is_some()).then_some(())
    });
    eprintln!("the route was open {:?} after the Middleware was there", applied.elapsed());
    until("nothing is missed", LIMIT, || gate.said("NotInstalled").is_empty().then_some(()));

    // It goes again, as with the chart traefik-crd, and all Middlewares with it: nothing falls through.
    definitions.remove();
    until("it is closed again", LIMIT, || (get(&sticky, None).ok()?.status == 503).then_some(()));
    until("that is said", LIMIT, || (gate.said("NotInstalled").len() == 1).then_some(()));
    let said = gate.said("NotInstalled");
    let message = said[0]["message"].as_str().unwrap();
    assert!(!message.contains("stays in use"), "{message}");
    space.cluster.apply(&["--server-side"], OURS);
    until_applied(&space, middleware);
    until("it is served again", LIMIT, || (get(&sticky, None).ok()?.status == 200).then_some(()));
    assert_eq!(headgate.gate().record.name, gate.record.name, "not by a restart");
}
