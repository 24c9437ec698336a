//! Every file under examples/ does on the wire what its first lines promise. The endpoints keep their addresses; only
//! their port is replaced by one that is free, so that nothing else on this machine is in the way.

use std::{fs, path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::support::{Client, Headgate, Manifests, Pods};

/// An example, served, with its pods.
struct Example {
    gate: Headgate,
    pods: Pods,
    _manifests: Manifests,
}

impl Example {
    /// `count` pods from 127.0.0.11 on, named as the example's slice names them.
    fn start(file: &str, pods: &str, count: u8) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("port: 8081"), "the examples' pods listen on 8081");
        let pods = Pods::start_at(pods, 11, count);
        let manifests = Manifests::new();
        manifests.text(file, &text.replace("port: 8081", &format!("port: {}", pods.port)));
        let gate = Headgate::start(&manifests);
        Self { gate, pods, _manifests: manifests }
    }
}

#[test]
fn sticky_sessions() {
    let example = Example::start("sticky-sessions.yaml", "nginx-test", 15);
    let first = example.gate.get("nginx-test.local", "/");
    let value = first.cookie("sticky").unwrap();
    assert_eq!(first.get("set-cookie"), Some(format!("sticky={value}; Path=/; Secure; SameSite=Lax").as_str()));
    for _ in 0..20 {
        let again = example.gate.get_with("nginx-test.local", "/", &[("Cookie", &format!("sticky={value}"))]);
        assert_eq!((again.text(), again.cookie("sticky")), (first.text(), None));
    }
}

#[test]
fn the_distribution_script_shows_two_for_each() {
    let example = Example::start("sticky-sessions.yaml", "nginx-test", 15);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/distribution.sh");
    let address = format!("http://{}", example.gate.web());
    let output = Command::new("bash").arg(script).arg(address).output().expect("bash (and curl) to run the script");
    let said = String::from_utf8(output.stdout).unwrap();
    let (_, summary) = said.split_once("Distribution Summary:\n").unwrap_or_else(|| panic!("{said}"));
    let lines: Vec<&str> = summary.lines().collect();
    assert_eq!(lines.len(), 15, "{said}");
    assert!(lines.iter().all(|l| l.starts_with("  nginx-test-") && l.ends_with(": 2 requests")), "{said}");
}

#[test]
fn client_ip_affinity() {
    let example = Example::start("clientip-affinity.yaml", "affinity", 3);
    let pod = |client: [u8; 4]| {
        let answer = Client::connect_from(client.into(), example.gate.web()).get("affinity.local", "/");
        assert_eq!(answer.status, 200);
        answer.text()
    };
    for last in 1..10 {
        let first = pod([127, 1, 0, last]);
        assert!((0..5).all(|_| pod([127, 1, 0, last]) == first), "client {last}");
    }
}

#[test]
fn tls() {
    let example = Example::start("tls.yaml", "secure", 2);
    assert!(example.gate.get("secure.local", "/").text().starts_with("secure-"));
    let mut client = Client::tls(example.gate.websecure(), Some("secure.local"));
    assert!(client.get("secure.local", "/").text().starts_with("secure-"));
    let (_, certificate) = x509_parser::parse_x509_certificate(&client.certificate())
        .map(|(rest, c)| (rest.len(), c.subject().to_string()))
        .unwrap();
    assert_eq!(certificate, "CN=secure.local");
}

#[test]
fn redirect_to_https() {
    let example = Example::start("redirect-to-https.yaml", "redirect", 2);
    let answer = example.gate.get("redirect.local", "/x");
    assert_eq!((answer.status, answer.get("location")), (301, Some("https://redirect.local/x")));
    assert!(example.gate.https("redirect.local", "/x").text().starts_with("redirect-"));
}

#[test]
fn basic_auth() {
    let example = Example::start("basic-auth.yaml", "vault", 2);
    assert_eq!(example.gate.get("vault.local", "/").status, 401);
    let credentials = format!("Basic {}", STANDARD.encode("ali:open sesame"));
    let answer = example.gate.get_with("vault.local", "/", &[("Authorization", &credentials)]);
    assert_eq!(answer.status, 200);
    let seen = example.pods.all.iter().flat_map(|pod| pod.requests()).next().unwrap();
    assert_eq!((seen.get("x-user"), seen.get("authorization")), (Some("ali"), None));
}

#[test]
fn wildcard() {
    let example = Example::start("wildcard.yaml", "pod", 3);
    // Pods a and b are behind the wildcard, pod c behind the exact host.
    for _ in 0..4 {
        assert_eq!(example.gate.get("any.wild.local", "/").status, 200);
    }
    assert_eq!(example.gate.get("exact.wild.local", "/").text(), "pod-c");
    assert_eq!(example.pods.counts(), [2, 2, 1]);
    for host in ["two.labels.wild.local", "wild.local"] {
        assert_eq!(example.gate.get(host, "/").status, 404, "{host}");
    }
}

#[test]
fn headers() {
    let example = Example::start("headers.yaml", "headers", 2);
    let answer = example.gate.get_with("headers.local", "/", &[("X-Debug", "1"), ("Origin", "https://app.local")]);
    assert_eq!((answer.get("server"), answer.get("x-frame-options")), (None, Some("DENY")));
    assert_eq!(answer.get("access-control-allow-origin"), Some("https://app.local"));
    let seen = example.pods.all.iter().flat_map(|pod| pod.requests()).next().unwrap();
    assert_eq!((seen.get("x-environment"), seen.get("x-debug")), (Some("example"), None));
}

#[test]
fn strip_prefix() {
    let example = Example::start("strip-prefix.yaml", "strip", 2);
    assert_eq!(example.gate.get("strip.local", "/api/users").status, 200);
    let seen = example.pods.all.iter().flat_map(|pod| pod.requests()).next().unwrap();
    assert_eq!((seen.target(), seen.get("x-forwarded-prefix")), ("/users", Some("/api")));
    assert_eq!(example.gate.get("strip.local", "/users").status, 404);
}
