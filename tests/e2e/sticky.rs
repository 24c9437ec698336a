//! Sticky cookies, as DESIGN §2 describes them: Traefik's document unchanged, values that nobody can read or make.

use std::{fs, path::PathBuf};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Answer, Backend, Headgate, Ingress, Manifests, Middleware, Pods, Service, Slice, eventually,
    headgate::run,
    manifests::{service_of, service_of_pods},
};

const HOST: &str = "nginx-test.local";

/// DESIGN's document, as users have it.
const DOCUMENT: &str = "\
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: sticky-sessions
  namespace: default
spec:
  sticky:
    cookie:
      name: sticky
      secure: true
      sameSite: lax
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: nginx-test
  annotations:
    traefik.ingress.kubernetes.io/router.middlewares: default-sticky-sessions@kubernetescrd
spec:
  ingressClassName: traefik
  rules:
    - host: nginx-test.local
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: nginx-test
                port:
                  number: 80
";

/// The document, with the Service and a slice of the test's choice beside it.
fn sticky(slice: Slice) -> Manifests {
    let manifests = Manifests::new();
    manifests.text("document.yaml", DOCUMENT);
    manifests.put("service", [Service::new("nginx-test")]);
    manifests.put("pods", [slice]);
    manifests
}

fn slice(pods: &Pods, range: std::ops::Range<usize>) -> Slice {
    Slice::of("nginx-test", pods.port, &pods.all[range])
}

/// A request with a sticky cookie of this value.
#[track_caller]
fn with(gate: &Headgate, value: &str) -> Answer {
    let answer = gate.get_with(HOST, "/", &[("Cookie", &format!("sticky={value}"))]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// A new session: (pod, cookie value).
#[track_caller]
fn session(gate: &Headgate) -> (String, String) {
    let answer = gate.get(HOST, "/");
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.text(), answer.cookie("sticky").expect("a sticky cookie for a new session"))
}

/// New sessions until each of the pods has one, in the order of the pods.
#[track_caller]
fn sessions(gate: &Headgate, pods: &[Backend]) -> Vec<String> {
    let mut found = vec![None; pods.len()];
    eventually("a session at each pod", || {
        let (pod, value) = session(gate);
        let index = pods.iter().position(|p| p.name() == pod).expect("one of the pods");
        found[index] = Some(value);
        found.iter().all(Option::is_some)
    });
    found.into_iter().flatten().collect()
}

/// Files of signing keys, one base64 key of 32 bytes a line.
struct Keys {
    _dir: TempDir,
    path: PathBuf,
}

impl Keys {
    fn new(keys: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = Self { path: dir.path().join("keys"), _dir: dir };
        this.set(keys);
        this
    }

    /// Each key is one byte, repeated.
    fn set(&self, keys: &[u8]) {
        let lines: String = keys.iter().map(|key| STANDARD.encode([*key; 32]) + "\n").collect();
        self.text(&lines);
    }

    fn text(&self, text: &str) {
        let hidden = self.path.with_extension("new");
        fs::write(&hidden, text).unwrap();
        fs::rename(hidden, &self.path).unwrap();
    }

    fn start(&self, manifests: &Manifests) -> Headgate {
        Headgate::start_with(manifests, &["--cookie-keys-file", self.path.to_str().unwrap()])
    }
}

#[test]
fn the_documents_cookie_is_written_as_traefik_writes_it() {
    let pods = Pods::start("nginx-test", 15);
    let gate = Headgate::start(&sticky(slice(&pods, 0..15)));
    let answer = gate.get(HOST, "/");
    let lines = answer.head.all("set-cookie");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let value = answer.cookie("sticky").unwrap();
    assert_eq!(lines[0], format!("sticky={value}; Path=/; Secure; SameSite=Lax"));
    assert!(
        value.bytes().all(|b| b.is_ascii_graphic() && !b"\",;\\".contains(&b)),
        "cookie octets (RFC 6265): {value}"
    );
}

#[test]
fn a_hundred_requests_with_the_cookie_reach_one_pod() {
    let pods = Pods::start("nginx-test", 15);
    let gate = Headgate::start(&sticky(slice(&pods, 0..15)));
    let (pod, value) = session(&gate);
    for _ in 0..100 {
        let answer = with(&gate, &value);
        assert_eq!((answer.text(), answer.cookie("sticky")), (pod.clone(), None));
    }
    let mut client = gate.connect();
    let other_cookies = format!("a=b; sticky={value}; c=\"d e\"");
    for cookie in [other_cookies.as_str(), &format!("sticky={value};x=y"), &format!("x=y;sticky={value}")] {
        let answer = client.get_with(HOST, "/", &[("Cookie", cookie)]);
        assert_eq!((answer.text(), answer.cookie("sticky")), (pod.clone(), None), "{cookie}");
    }
    let answer = client.get_with(HOST, "/", &[("Cookie", "a=b"), ("Cookie", &format!("sticky={value}"))]);
    assert_eq!((answer.text(), answer.cookie("sticky")), (pod.clone(), None), "two Cookie lines");

    let requests: Vec<_> = pods.all.iter().flat_map(Backend::requests).collect();
    let passed_on = requests.iter().filter(|r| r.head.all("cookie").iter().any(|c| c.contains(&value))).count();
    assert_eq!(passed_on, 104, "the cookie is passed on to the backend");
}

#[test]
fn new_sessions_are_shared_out_exactly() {
    let pods = Pods::start("nginx-test", 15);
    let gate = Headgate::start(&sticky(slice(&pods, 0..15)));
    for _ in 0..30 {
        session(&gate);
    }
    assert_eq!(pods.counts(), [2; 15]);
}

#[test]
fn a_cookie_that_does_not_verify_gets_a_normal_answer_and_a_new_one() {
    let pods = Pods::start("nginx-test", 15);
    let gate = Headgate::start(&sticky(slice(&pods, 0..15)));
    let (_, value) = session(&gate);
    let replaced = |forged: &str, what: &str| {
        let fresh = with(&gate, forged).cookie("sticky");
        let fresh = fresh.unwrap_or_else(|| panic!("{what} was taken for a pin: {forged:?}"));
        assert_ne!(fresh, forged, "{what}");
    };
    for length in 0..value.len() {
        replaced(&value[..length], "a truncated value");
    }
    for index in 0..value.len() {
        let mut flipped = value.clone().into_bytes();
        flipped[index] = if flipped[index] == b'A' { b'B' } else { b'A' };
        replaced(std::str::from_utf8(&flipped).unwrap(), "a changed value");
    }
    replaced(&format!("{value}A"), "a longer value");
    replaced(&format!("{value}{value}"), "a doubled value");
    if value != value.to_ascii_lowercase() {
        replaced(&value.to_ascii_lowercase(), "another case");
    }
    replaced(&"A".repeat(value.len()), "a value of the right length");
    replaced(&"A".repeat(8 * 1024), "8 KiB");
    replaced(&format!("{value}.").repeat(8 * 1024 / value.len()), "8 KiB of pins");
    replaced("nginx-test-a", "a pod's name");
    replaced("127.0.0.2", "an address");
    replaced("%00,x=y", "odd bytes");
}

#[test]
fn the_pin_of_one_service_means_nothing_to_another() {
    let (ours, theirs) = (Pods::start("ours", 3), Pods::start("theirs", 3));
    let mut objects = service_of_pods("ours", &ours);
    objects.extend(service_of_pods("theirs", &theirs));
    objects.extend([
        Value::from(Middleware::sticky("pin", "sticky")),
        Ingress::simple("ours.test", "ours").middlewares(&["pin"]).into(),
        Ingress::simple("theirs.test", "theirs").middlewares(&["pin"]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    let value = gate.get("ours.test", "/").cookie("sticky").unwrap();
    let cookie = format!("sticky={value}");
    let pods: Vec<String> = (0..3)
        .map(|_| {
            let answer = gate.get_with("theirs.test", "/", &[("Cookie", &cookie)]);
            let fresh = answer.cookie("sticky").expect("a new cookie");
            assert_ne!(fresh, value);
            answer.text()
        })
        .collect();
    assert_eq!(pods.iter().collect::<std::collections::BTreeSet<_>>().len(), 3, "still round-robin: {pods:?}");
}

#[test]
fn nothing_can_be_read_from_the_value() {
    let pods = Pods::start("nginx-test", 15);
    let gate = Headgate::start(&sticky(slice(&pods, 0..15)));
    let values = sessions(&gate, &pods.all);
    let length = values[0].len();
    for (index, (value, pod)) in values.iter().zip(&pods.all).enumerate() {
        assert_eq!(value.len(), length, "the length tells nothing");
        let mut readings = vec![value.clone().into_bytes()];
        for part in value.split(['.', '~', '-', '_', '|', ':', '!']).chain([value.as_str()]) {
            for engine in [&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD] {
                readings.extend(engine.decode(part));
            }
        }
        let ip: std::net::Ipv4Addr = pod.addr.ip().to_string().parse().unwrap();
        let secrets = [
            pod.name().as_bytes().to_vec(),
            b"nginx".to_vec(),
            ip.to_string().into_bytes(),
            ip.octets().to_vec(),
            pods.port.to_string().into_bytes(),
            format!("index={index}").into_bytes(),
        ];
        for reading in &readings {
            for secret in &secrets {
                assert!(
                    !reading.windows(secret.len()).any(|w| w == secret.as_slice()),
                    "{value:?} reads as {reading:?}, which holds {secret:?}"
                );
            }
        }
    }
    // Neighbouring pods have nothing in common beyond the version and the service.
    for pair in values.windows(2) {
        let same = pair[0].bytes().zip(pair[1].bytes()).filter(|(a, b)| a == b).count();
        assert!(length - same >= 12, "{pair:?} differ in {} places only", length - same);
    }
}

#[test]
fn a_restart_with_the_same_key_changes_nothing() {
    let pods = Pods::start("nginx-test", 3);
    let manifests = sticky(slice(&pods, 0..3));
    let keys = Keys::new(&[1]);
    let before = sessions(&keys.start(&manifests), &pods.all);
    let gate = keys.start(&manifests);
    for (value, pod) in before.iter().zip(&pods.all) {
        let answer = with(&gate, value);
        assert_eq!((answer.text().as_str(), answer.cookie("sticky")), (pod.name(), None));
    }
    assert_eq!(sessions(&gate, &pods.all), before, "replicas agree without talking");
}

#[test]
fn without_a_key_file_a_restart_forgets_and_a_warning_says_so() {
    let pods = Pods::start("nginx-test", 3);
    let manifests = sticky(slice(&pods, 0..3));
    let first = Headgate::start(&manifests);
    let (_, value) = session(&first);
    eventually("a warning about the random key", || first.stderr().contains("--cookie-keys-file"));
    let second = Headgate::start(&manifests);
    assert!(with(&second, &value).cookie("sticky").is_some());
}

#[test]
fn scaling_up_keeps_every_pin() {
    let pods = Pods::start("nginx-test", 15);
    let manifests = sticky(slice(&pods, 0..3));
    let gate = Headgate::start(&manifests);
    let values = sessions(&gate, &pods.all[..3]);
    manifests.put("pods", [slice(&pods, 0..15)]);
    eventually("new sessions reach new pods", || session(&gate).0 == pods.all[14].name());
    for (value, pod) in values.iter().zip(&pods.all) {
        for _ in 0..4 {
            let answer = with(&gate, value);
            assert_eq!((answer.text().as_str(), answer.cookie("sticky")), (pod.name(), None));
        }
    }
}

#[test]
fn the_sessions_of_a_removed_endpoint_move_once() {
    let pods = Pods::start("nginx-test", 3);
    let manifests = sticky(slice(&pods, 0..3));
    let gate = Headgate::start(&manifests);
    let values = sessions(&gate, &pods.all);
    manifests.put("pods", [slice(&pods, 1..3)]);
    let gone = pods.all[0].name();
    eventually("the pin of the removed pod is replaced", || with(&gate, &values[0]).text() != gone);
    let moved = with(&gate, &values[0]);
    let fresh = moved.cookie("sticky").expect("a new pin in the same answer");
    for _ in 0..6 {
        let answer = with(&gate, &fresh);
        assert_eq!((answer.text(), answer.cookie("sticky")), (moved.text(), None));
    }
    for (value, pod) in values[1..].iter().zip(&pods.all[1..]) {
        assert_eq!(with(&gate, value).text(), pod.name(), "the others stay");
    }
}

#[test]
fn a_terminating_endpoint_keeps_its_sessions_and_gets_no_new_one() {
    let pods = Pods::start("nginx-test", 3);
    let manifests = sticky(slice(&pods, 0..3));
    let gate = Headgate::start(&manifests);
    let values = sessions(&gate, &pods.all);
    let going = &pods.all[0];
    let terminating = slice(&pods, 1..3).terminating(going, true);
    manifests.put("pods", [terminating]);
    // Two in a row at the others, three times over: round-robin over two, so the change is live.
    eventually("no new session at the terminating pod", || (0..6).all(|_| session(&gate).0 != going.name()));
    let before = going.count();
    for _ in 0..10 {
        assert_ne!(session(&gate).0, going.name());
    }
    assert_eq!(going.count(), before);
    for _ in 0..5 {
        let answer = with(&gate, &values[0]);
        assert_eq!((answer.text().as_str(), answer.cookie("sticky")), (going.name(), None));
    }
    manifests.put("pods", [slice(&pods, 1..3).terminating(going, false)]);
    eventually("once it no longer serves, they move", || with(&gate, &values[0]).text() != going.name());
    assert!(with(&gate, &values[0]).cookie("sticky").is_some());
}

#[test]
fn a_pinned_endpoint_that_refuses_costs_nothing_and_the_session_moves() {
    let mut pods = Pods::start("nginx-test", 3);
    let gate = Headgate::start(&sticky(slice(&pods, 0..3)));
    let (pod, value) = session(&gate);
    pods.named(&pod).refuse();
    let answer = gate.send("POST", HOST, "/", &[("Cookie", &format!("sticky={value}"))], b"kept whole");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(answer.text(), pod);
    let fresh = answer.cookie("sticky").expect("a new pin in the same answer");
    assert_eq!(pods.named(&answer.text()).requests().last().unwrap().body, b"kept whole");
    for _ in 0..6 {
        let again = with(&gate, &fresh);
        assert_eq!((again.text(), again.cookie("sticky")), (answer.text(), None));
    }
}

#[test]
fn several_services_share_one_cookie_name_on_one_host() {
    let (a, b) = (Pods::start("a", 3), Pods::start("b", 3));
    let mut objects = service_of_pods("a", &a);
    objects.extend(service_of_pods("b", &b));
    objects.extend([
        Value::from(Middleware::sticky("pin", "sticky")),
        Ingress::new("both").rule(HOST, &[("/a", "Prefix", "a"), ("/b", "Prefix", "b")]).middlewares(&["pin"]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    let first = gate.get(HOST, "/a");
    let of_a = first.cookie("sticky").unwrap();
    let second = gate.get_with(HOST, "/b", &[("Cookie", &format!("sticky={of_a}"))]);
    let both = second.cookie("sticky").expect("the pin of b beside that of a");
    for _ in 0..10 {
        for (path, pod) in [("/a", first.text()), ("/b", second.text())] {
            let answer = gate.get_with(HOST, path, &[("Cookie", &format!("sticky={both}"))]);
            assert_eq!((answer.text(), answer.cookie("sticky")), (pod, None), "{path}");
        }
    }
    // A value counts only as a whole: what is added to it by another hand takes the good pins with it.
    let spoilt = format!("{both}.AAAA");
    assert!(gate.get_with(HOST, "/a", &[("Cookie", &format!("sticky={spoilt}"))]).cookie("sticky").is_some());
}

#[test]
fn an_issued_value_never_grows_with_what_a_client_sends() {
    let pods = Pods::start("nginx-test", 3);
    let gate = Headgate::start(&sticky(slice(&pods, 0..3)));
    let (_, value) = session(&gate);
    for junk in ["AAAA".repeat(500), format!("{value}.{}", "B".repeat(value.len() - 1)), format!("x.{value}")] {
        let fresh = with(&gate, &junk).cookie("sticky").expect("a new cookie");
        assert_eq!(fresh.len(), value.len(), "for {junk:?}: {fresh:?}");
    }
}

/// `st` in `default` on port 80, with these annotations.
fn annotated(annotations: &[(&str, &str)], pods: &Pods) -> Manifests {
    let service = annotations.iter().fold(Service::new("st"), |s, (key, value)| s.traefik(key, value));
    let slice = Slice::of("st", pods.port, &pods.all);
    Manifests::of([Value::from(service), slice.into(), Ingress::simple(HOST, "st").into()])
}

#[test]
fn service_annotations_make_a_cookie_with_traefiks_default_name() {
    let pods = Pods::start("st", 3);
    let gate = Headgate::start(&annotated(&[("service.sticky.cookie", "true")], &pods));
    let answer = gate.get(HOST, "/");
    // `_` and the first five hex digits of SHA-1("_TRAEFIK_BACKEND_default-st-80@kubernetes").
    let value = answer.cookie("_5dfd0").unwrap_or_else(|| panic!("{:?}", answer.head.headers));
    assert_eq!(answer.get("set-cookie"), Some(format!("_5dfd0={value}; Path=/").as_str()));
    let again = gate.get_with(HOST, "/", &[("Cookie", &format!("_5dfd0={value}"))]);
    assert_eq!((again.text(), again.get("set-cookie")), (answer.text(), None));
}

#[test]
fn every_field_of_the_service_annotations_is_honoured() {
    let pods = Pods::start("st", 2);
    let annotations = [
        ("service.sticky.cookie.name", "my cookie;x"),
        ("service.sticky.cookie.secure", "true"),
        ("service.sticky.cookie.httponly", "true"),
        ("service.sticky.cookie.samesite", "strict"),
        ("service.sticky.cookie.maxage", "3600"),
        ("service.sticky.cookie.path", "/shop"),
        ("service.sticky.cookie.domain", "nginx-test.local"),
    ];
    let gate = Headgate::start(&annotated(&annotations, &pods));
    let answer = gate.get(HOST, "/");
    let value = answer.cookie("my_cookie_x").unwrap_or_else(|| panic!("{:?}", answer.head.headers));
    let attributes = "Path=/shop; Domain=nginx-test.local; Max-Age=3600; HttpOnly; Secure; SameSite=Strict";
    assert_eq!(answer.get("set-cookie"), Some(format!("my_cookie_x={value}; {attributes}").as_str()));
}

#[test]
fn every_field_of_the_middleware_is_honoured() {
    let pods = Pods::start("st", 2);
    let cookie = json!({
        "name": "full", "secure": true, "httpOnly": true, "sameSite": "none", "maxAge": 60, "path": "/x",
        "domain": "nginx-test.local",
    });
    let mut objects = service_of_pods("st", &pods);
    objects.extend([
        Value::from(Middleware::new("pin", json!({ "sticky": { "cookie": cookie } }))),
        Ingress::simple(HOST, "st").middlewares(&["pin"]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    let answer = gate.get(HOST, "/");
    let value = answer.cookie("full").unwrap();
    let attributes = "Path=/x; Domain=nginx-test.local; Max-Age=60; HttpOnly; Secure; SameSite=None";
    assert_eq!(answer.get("set-cookie"), Some(format!("full={value}; {attributes}").as_str()));
}

#[test]
fn an_annotation_of_false_turns_stickiness_off() {
    let pods = Pods::start("st", 2);
    let annotations = [("service.sticky.cookie", "false"), ("service.sticky.cookie.name", "off")];
    let gate = Headgate::start(&annotated(&annotations, &pods));
    assert_eq!(gate.get(HOST, "/").get("set-cookie"), None);
}

#[test]
fn keys_are_rotated_without_losing_a_session() {
    let pods = Pods::start("nginx-test", 3);
    let manifests = sticky(slice(&pods, 0..3));
    let keys = Keys::new(&[1]);
    let gate = keys.start(&manifests);
    let old = sessions(&gate, &pods.all);

    keys.set(&[2, 1]);
    eventually("new sessions are signed with the new first key", || !old.contains(&session(&gate).1));
    for (value, pod) in old.iter().zip(&pods.all) {
        assert_eq!(with(&gate, value).text(), pod.name(), "the old key still verifies");
    }
    let new = sessions(&gate, &pods.all);

    keys.text("not a key\n");
    eventually("the faulty file is reported", || gate.stderr().contains(keys.path.to_str().unwrap()));
    for (value, pod) in new.iter().zip(&pods.all) {
        let answer = with(&gate, value);
        assert_eq!((answer.text().as_str(), answer.cookie("sticky")), (pod.name(), None), "the last good keys stay");
    }

    keys.set(&[2]);
    eventually("the old key no longer verifies", || with(&gate, &old[0]).cookie("sticky").is_some());
    for (value, pod) in new.iter().zip(&pods.all) {
        let answer = with(&gate, value);
        assert_eq!((answer.text().as_str(), answer.cookie("sticky")), (pod.name(), None));
    }
}

#[test]
fn a_faulty_key_file_at_start_is_an_error() {
    let manifests = Manifests::new();
    let keys = Keys::new(&[]);
    for (text, what) in [("", "no key"), ("not base64!\n", "no base64"), ("c2hvcnQ=\n", "less than 32 bytes")] {
        keys.text(text);
        let path = keys.path.to_str().unwrap();
        let args = ["run", "--manifests", manifests.path().to_str().unwrap(), "--cookie-keys-file", path];
        let output =
            run(args.into_iter().chain(["--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]));
        assert!(!output.status.success(), "{what}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(path), "{what}: {said}");
    }
}

#[test]
fn traefiks_own_values_are_taken_only_when_asked_for() {
    let backend = Backend::named("only");
    let other = Backend::named("other");
    let mut objects = service_of("app", &[&backend, &other]);
    objects.extend([
        Value::from(Middleware::sticky("pin", "sticky")),
        Ingress::simple(HOST, "app").middlewares(&["pin"]).into(),
    ]);
    let manifests = Manifests::of(objects);
    let url = format!("http://{}", other.addr);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, url.as_bytes());
    let legacy: String = digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();

    let strict = Headgate::start(&manifests);
    let pods: Vec<String> = (0..2).map(|_| with(&strict, &legacy).text()).collect();
    assert_ne!(pods[0], pods[1], "no pin: round-robin");

    let lenient = Headgate::start_with(&manifests, &["--accept-legacy-cookies"]);
    for _ in 0..4 {
        let answer = with(&lenient, &legacy);
        assert_eq!(answer.text(), "other");
        let fresh = answer.cookie("sticky").expect("replaced by a signed one");
        assert_ne!(fresh, legacy);
        assert_eq!(with(&lenient, &fresh).text(), "other");
    }
}
