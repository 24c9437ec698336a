//! ServersTransports: how connections to the pods of a Service are made, and that a bad one closes its routes.

use rustls::{CipherSuite, ProtocolVersion};
use serde_json::{Value, json};

use crate::support::{
    Authority, Backend, Cert, Client, Headgate, HyperBackend, Ingress, Manifests, Secret, Service, eventually,
    manifests::service_at,
};

const HOST: &str = "secure.test";
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The name that pods of the Service `secure` have in the cluster.
const OWN_NAME: &str = "secure.default.svc";

fn transport(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "ServersTransport",
        "metadata": { "name": name, "namespace": "default" },
        "spec": spec,
    })
}

fn ca_secret(name: &str, pem: &str) -> Value {
    Secret::new(name, "Opaque", &[("ca.crt", pem)]).into()
}

fn named(service: &str) -> Service {
    Service::new(service)
        .traefik("service.serversscheme", "https")
        .traefik("service.serverstransport", "default-t@kubernetescrd")
}

/// Service, slice and Ingress for a backend that the transport `t` leads to. The transport and its Secrets are in files
/// of their own.
fn secure(backend: &HyperBackend, spec: Value) -> Manifests {
    let mut objects = service_at(named("secure"), backend.addr);
    objects.push(Ingress::simple(HOST, "secure").into());
    let manifests = Manifests::of(objects);
    manifests.put("transport", [transport("t", spec)]);
    manifests
}

/// What is said of the objects, as text.
fn said(gate: &Headgate) -> String {
    gate.api("/api/diagnostics").to_string()
}

#[test]
fn a_pod_is_believed_by_the_authority_of_a_secret_and_by_no_other() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let backend = HyperBackend::tls("secure", &ours.issue(&[OWN_NAME]), &ALPN);
    for field in ["rootCAs", "rootCAsSecrets"] {
        let roots = if field == "rootCAs" { json!([{ "secret": "ca" }]) } else { json!(["ca"]) };
        let manifests = secure(&backend, json!({ field: roots }));
        manifests.put("ca", [ca_secret("ca", &ours.pem)]);
        let gate = Headgate::start(&manifests);
        assert_eq!(gate.get(HOST, "/").text(), "secure");
        // A change of the Secret counts at once, for connections that stand as well.
        manifests.put("ca", [ca_secret("ca", &other.pem)]);
        gate.until(HOST, "/", "nobody vouches for the pod", |a| a.status == 502);
        manifests.put("ca", [ca_secret("ca", &format!("{}{}", other.pem, ours.pem))]);
        gate.until(HOST, "/", "one of two vouches for the pod", |a| a.text() == "secure");
    }
}

/// The example of docs/tls.md, with the Secrets that its commands make.
#[test]
fn the_example_of_the_docs_is_served() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```yaml\n").find_map(|rest| {
        let (example, _) = rest.split_once("```")?;
        example.contains("kind: ServersTransport").then_some(example)
    });
    let (pods, clients) = (Authority::new("pods"), Authority::new("clients"));
    let config = clients.server_config(&pods.issue(&["app.internal"]), &ALPN);
    let backend = HyperBackend::tls_of("app", config);
    let manifests = Manifests::new();
    manifests.text("example.yaml", example.unwrap());
    let mut objects = service_at(Service::new("app"), backend.addr).split_off(1);
    objects.extend([
        Value::from(Ingress::simple("app.test", "app")),
        ca_secret("app-ca", &pods.pem),
        Secret::tls("gate-client", &clients.issue(&["gate"])).into(),
    ]);
    manifests.put("rest", objects);
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get("app.test", "/").text(), "app");
    assert_eq!(said(&gate), "[]");
}

#[test]
fn roots_of_a_transport_stand_instead_of_the_flags() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let backend = HyperBackend::tls("secure", &ours.issue(&[OWN_NAME]), &ALPN);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, &ours.pem).unwrap();
    let flags = ["--upstream-ca-file", file.to_str().unwrap()];
    let manifests = secure(&backend, json!({}));
    let gate = Headgate::start_with(&manifests, &flags);
    assert_eq!(gate.get(HOST, "/").text(), "secure", "an empty transport is as the flags say");
    manifests.put("ca", [ca_secret("ca", &other.pem)]);
    manifests.put("transport", [transport("t", json!({ "rootCAs": [{ "secret": "ca" }] }))]);
    gate.until(HOST, "/", "the flag's authority no longer counts", |a| a.status == 502);
    let insecure = Headgate::start_with(&manifests, &["--upstream-insecure-skip-verify"]);
    assert_eq!(insecure.get(HOST, "/").status, 502, "who names roots wants them looked at");
}

#[test]
fn a_given_name_is_asked_for_and_is_the_only_one() {
    let ours = Authority::new("ours");
    let spec = |name: &str| json!({ "serverName": name, "rootCAs": [{ "secret": "ca" }] });
    let inner = HyperBackend::tls("inner", &ours.issue(&["inner.example"]), &ALPN);
    let manifests = secure(&inner, spec("inner.example"));
    manifests.put("ca", [ca_secret("ca", &ours.pem)]);
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get(HOST, "/").text(), "inner");
    assert_eq!(inner.peer().sni.as_deref(), Some("inner.example"));
    let asked = inner.only().uri;
    assert_eq!(asked.host(), Some(HOST), "the Host is still the client's");

    let own = HyperBackend::tls("own", &ours.issue(&[OWN_NAME, "127.0.0.1"]), &ALPN);
    let manifests = secure(&own, spec("inner.example"));
    manifests.put("ca", [ca_secret("ca", &ours.pem)]);
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get(HOST, "/").status, 502, "neither the Service's name nor the address will do");
    manifests.put("transport", [transport("t", json!({ "rootCAs": [{ "secret": "ca" }] }))]);
    gate.until(HOST, "/", "without a name they do", |a| a.text() == "own");
}

#[test]
fn any_certificate_will_do_for_that_service_only() {
    let backend = HyperBackend::tls("secure", &Cert::new(&["stranger.example"]), &ALPN);
    let mut objects = service_at(named("secure"), backend.addr);
    objects.extend(service_at(Service::new("strict").traefik("service.serversscheme", "https"), backend.addr));
    objects.extend([
        Value::from(Ingress::simple(HOST, "secure")),
        Ingress::simple("strict.test", "strict").into(),
        transport("t", json!({ "insecureSkipVerify": true })),
    ]);
    let manifests = Manifests::of(objects.clone());
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get(HOST, "/").text(), "secure");
    assert_eq!(gate.get("strict.test", "/").status, 502);

    // The other way round: one that is to be looked at, where the flag says that none is.
    objects.pop();
    objects.push(transport("t", json!({ "insecureSkipVerify": false })));
    let lenient = Headgate::start_with(&Manifests::of(objects), &["--upstream-insecure-skip-verify"]);
    assert_eq!(lenient.get(HOST, "/").status, 502);
    assert_eq!(lenient.get("strict.test", "/").text(), "secure");
}

#[test]
fn a_pod_that_asks_for_a_certificate_is_shown_one() {
    let (ours, theirs, other) = (Authority::new("ours"), Authority::new("theirs"), Authority::new("other"));
    let own = ours.issue(&[OWN_NAME]);
    let (wrong, right) = (other.issue(&["gate"]), theirs.issue(&["gate"]));
    for alpn in [&ALPN[..1], &ALPN[1..]] {
        let backend = HyperBackend::tls_of("secure", theirs.server_config(&own, alpn));
        let spec = |names: &[&str]| json!({ "rootCAs": [{ "secret": "ca" }], "certificatesSecrets": names });
        let manifests = secure(&backend, spec(&[]));
        manifests.put("ca", [ca_secret("ca", &ours.pem)]);
        manifests.put("certs", [Secret::tls("wrong", &wrong), Secret::tls("right", &right)]);
        let gate = Headgate::start(&manifests);
        assert_eq!(gate.get(HOST, "/").status, 502, "none is shown");
        manifests.put("transport", [transport("t", spec(&["right"]))]);
        gate.until(HOST, "/", "the right one is shown", |a| a.text() == "secure");
        assert_eq!(backend.peer().certificate, Some(right.der.clone()));
        manifests.put("transport", [transport("t", spec(&["wrong"]))]);
        gate.until(HOST, "/", "only one of another authority is there", |a| a.status == 502);
        manifests.put("transport", [transport("t", spec(&["wrong", "right"]))]);
        gate.until(HOST, "/", "of two, the one that fits is shown", |a| a.text() == "secure");
        assert_eq!(backend.peer().certificate, Some(right.der.clone()));
        // Rotation.
        let renewed = theirs.issue(&["gate"]);
        manifests.put("certs", [Secret::tls("wrong", &wrong), Secret::tls("right", &renewed)]);
        eventually("the new certificate is shown", || {
            assert_eq!(gate.get(HOST, "/").status, 200);
            backend.peer().certificate == Some(renewed.der.clone())
        });
    }
}

#[test]
fn a_pod_must_bear_the_uri() {
    let ours = Authority::new("ours");
    let uri = "spiffe://cluster.test/ns/default/sa/secure";
    let named = HyperBackend::tls("named", &ours.issue(&[OWN_NAME, uri]), &ALPN);
    let unnamed = HyperBackend::tls("unnamed", &ours.issue(&[uri]), &ALPN);
    let other = HyperBackend::tls("other", &ours.issue(&[OWN_NAME, "spiffe://cluster.test/ns/default/sa/x"]), &ALPN);
    let stranger = HyperBackend::tls("stranger", &Authority::new("x").issue(&[OWN_NAME, uri]), &ALPN);
    for (insecure, backend, status) in [
        (false, &named, 200),
        (false, &unnamed, 502),
        (false, &other, 502),
        (false, &stranger, 502),
        (true, &unnamed, 200),
        (true, &other, 502),
        (true, &stranger, 502),
    ] {
        let roots = json!([{ "secret": "ca" }]);
        let spec = json!({ "rootCAs": roots, "peerCertURI": uri, "insecureSkipVerify": insecure });
        let manifests = secure(backend, spec);
        manifests.put("ca", [ca_secret("ca", &ours.pem)]);
        let gate = Headgate::start(&manifests);
        let answer = gate.get(HOST, "/");
        assert_eq!(answer.status, status, "insecureSkipVerify {insecure}: {}", answer.text());
    }
}

#[test]
fn versions_and_suites_are_those_that_are_given() {
    let backend = HyperBackend::tls("secure", &Cert::new(&[OWN_NAME]), &ALPN);
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    for (more, version, negotiated) in [
        (json!({ "minVersion": "VersionTLS12" }), ProtocolVersion::TLSv1_3, None),
        (json!({ "maxVersion": "VersionTLS12" }), ProtocolVersion::TLSv1_2, None),
        (
            json!({ "maxVersion": "VersionTLS12", "cipherSuites": [suite] }),
            ProtocolVersion::TLSv1_2,
            Some(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        ),
    ] {
        let mut spec = more;
        spec["insecureSkipVerify"] = true.into();
        let gate = Headgate::start(&secure(&backend, spec));
        assert_eq!(gate.get(HOST, "/").status, 200);
        let peer = backend.peer();
        assert_eq!(peer.version, Some(version));
        assert!(negotiated.is_none() || peer.suite == negotiated, "{peer:?}");
        assert_eq!(said(&gate), "[]");
    }
}

#[test]
fn http2_can_be_left_out() {
    let backend = HyperBackend::tls("secure", &Cert::new(&[OWN_NAME]), &ALPN);
    for (off, version) in [(false, http::Version::HTTP_2), (true, http::Version::HTTP_11)] {
        let gate = Headgate::start(&secure(&backend, json!({ "insecureSkipVerify": true, "disableHTTP2": off })));
        assert_eq!(gate.get(HOST, "/").status, 200);
        assert_eq!(backend.seen().last().unwrap().version, version);
    }
}

#[test]
fn connections_stay_over_changes_that_do_not_concern_them() {
    let backend = HyperBackend::tls("secure", &Cert::new(&[OWN_NAME]), &ALPN[1..]);
    let ours = Authority::new("ours");
    let spec = json!({ "insecureSkipVerify": true, "forwardingTimeouts": { "idleConnTimeout": "1h" } });
    let manifests = secure(&backend, spec.clone());
    let gate = Headgate::start(&manifests);
    // One connection of the client's is one worker's.
    let mut client = Client::connect(gate.web());
    assert_eq!(client.get(HOST, "/").status, 200);
    let first = backend.peer().connection;
    let mut written = transport("t", spec.clone());
    written["metadata"]["labels"] = json!({ "touched": "true" });
    manifests.put("transport", [written]);
    let more = Ingress::new("more").rule("more.test", &[("/", "Prefix", "secure")]);
    manifests.put("more", [Value::from(more), ca_secret("ca", &ours.pem)]);
    gate.until("more.test", "/", "the change is live", |a| a.status == 200);
    assert_eq!(client.get(HOST, "/").status, 200);
    assert_eq!(backend.peer().connection, first);

    let mut spec = spec;
    spec["serverName"] = "other.example".into();
    manifests.put("transport", [transport("t", spec)]);
    eventually("a changed transport has connections of its own", || {
        assert_eq!(client.get(HOST, "/").status, 200);
        backend.peer().sni.as_deref() == Some("other.example")
    });
}

/// A Service in the clear that names a transport with these timeouts and more.
fn plain(backend: &Backend, scheme: &str, spec: Value) -> Manifests {
    let service = named("secure").traefik("service.serversscheme", scheme);
    let mut objects = service_at(service, backend.addr);
    objects.extend([Value::from(Ingress::simple(HOST, "secure")), transport("t", spec)]);
    Manifests::of(objects)
}

#[test]
fn an_answer_may_take_as_long_as_the_transport_says() {
    let slow = Backend::scripted("slow", |conn| {
        conn.request()?;
        // Until the proxy gives up, and closes.
        conn.head().map(drop)
    });
    let timeouts = json!({ "forwardingTimeouts": { "responseHeaderTimeout": "200ms" } });
    let gate = Headgate::start_with(&plain(&slow, "http", timeouts), &["--response-timeout", "0"]);
    assert_eq!(gate.get(HOST, "/").status, 504);

    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let patient = Backend::scripted("patient", move |conn| {
        conn.request()?;
        let _ = wait.lock().unwrap().recv();
        conn.whoami()
    });
    // Any time, where the flag's would be over long before the answer.
    let timeouts = json!({ "forwardingTimeouts": { "responseHeaderTimeout": 0 } });
    let flags = ["--response-timeout", "100ms"];
    let gate = Headgate::start_with(&plain(&patient, "http", timeouts), &flags);
    let mut client = Client::connect(gate.web());
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let strict = Backend::scripted("strict", |conn| {
        conn.request()?;
        conn.head().map(drop)
    });
    let flagged = Headgate::start_with(&plain(&strict, "http", json!({})), &flags);
    assert_eq!(flagged.get(HOST, "/").status, 504, "the flag's limit has passed");
    drop(release);
    assert_eq!(client.answer().text(), "patient");
}

#[test]
fn connecting_may_take_as_long_as_the_transport_says() {
    // It takes the connection, and no part in the handshake.
    let deaf = Backend::scripted("deaf", |conn| conn.wire.rest().map(drop));
    let spec = json!({ "forwardingTimeouts": { "dialTimeout": "200ms" } });
    let gate = Headgate::start_with(&plain(&deaf, "https", spec), &["--connect-timeout", "0"]);
    assert_eq!(gate.get(HOST, "/").status, 504);
}

#[test]
fn an_idle_connection_is_kept_as_long_as_the_transport_says() {
    let backend = Backend::named("app");
    let spec = json!({ "forwardingTimeouts": { "idleConnTimeout": "100ms" } });
    let gate = Headgate::start_with(&plain(&backend, "http", spec), &["--upstream-idle-timeout", "1h"]);
    assert_eq!(gate.get(HOST, "/").status, 200);
    eventually("it is closed", || backend.open() == 0);
}

#[test]
fn no_idle_connection_need_be_kept() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&plain(&backend, "http", json!({ "maxIdleConnsPerHost": -1 })));
    for nth in 1..4 {
        assert_eq!(gate.get(HOST, "/").status, 200);
        assert_eq!(backend.connections(), nth);
    }
    let backend = Backend::named("app");
    let spec = json!({ "maxIdleConnsPerHost": 1, "forwardingTimeouts": { "idleConnTimeout": "0s" } });
    let gate = Headgate::start_with(&plain(&backend, "http", spec), &["--workers", "1"]);
    for _ in 0..3 {
        assert_eq!(gate.get(HOST, "/").status, 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_pod_that_says_nothing_more_over_http2_is_found_out() {
    // An empty SETTINGS frame, and no word more: no answer to a ping either.
    let silent = Backend::scripted("silent", |conn| {
        conn.write([0, 0, 0, 4, 0, 0, 0, 0, 0])?;
        conn.wire.rest().map(drop)
    });
    let spec = json!({ "forwardingTimeouts": { "readIdleTimeout": "100ms", "pingTimeout": "100ms" } });
    let gate = Headgate::start_with(&plain(&silent, "h2c", spec), &["--response-timeout", "0"]);
    assert_eq!(gate.get(HOST, "/").status, 502);
}

#[test]
fn a_bad_transport_closes_the_routes_of_its_services() {
    let ours = Authority::new("ours");
    let backend = HyperBackend::tls("secure", &ours.issue(&[OWN_NAME]), &ALPN);
    let (missing, secrets) = (json!([{ "secret": "nowhere" }]), json!([{ "secret": "empty" }]));
    for (spec, word) in [
        (json!({ "rootCAs": missing }), "SecretNotFound"),
        (json!({ "rootCAs": secrets }), "SecretInvalid"),
        (json!({ "rootCAs": [{ "configMap": "ca" }] }), "ServersTransportInvalid"),
        (json!({ "rootCAs": [{}] }), "ServersTransportInvalid"),
        (json!({ "rootCAsSecrets": ["nowhere"] }), "SecretNotFound"),
        (json!({ "certificatesSecrets": ["nowhere"] }), "SecretNotFound"),
        (json!({ "certificatesSecrets": ["empty"] }), "SecretInvalid"),
        (json!({ "serverName": "no name" }), "ServersTransportInvalid"),
        (json!({ "peerCertURI": "no uri" }), "ServersTransportInvalid"),
        (json!({ "minVersion": "1.2" }), "ServersTransportInvalid"),
        (json!({ "cipherSuites": ["AES"] }), "ServersTransportInvalid"),
        (json!({ "forwardingTimeouts": { "dialTimeout": "soon" } }), "ServersTransportInvalid"),
        (json!({ "spiffe": {} }), "ServersTransportInvalid"),
        (json!({ "serversName": "x.example" }), "UnknownField"),
    ] {
        let mut spec = spec;
        if spec["insecureSkipVerify"].is_null() {
            spec["insecureSkipVerify"] = true.into();
        }
        let manifests = secure(&backend, spec.clone());
        manifests.put("empty", [Secret::new("empty", "Opaque", &[("x", "y")])]);
        let gate = Headgate::start(&manifests);
        assert_eq!(gate.get(HOST, "/").status, 503, "{spec}");
        let said = said(&gate);
        assert!(said.contains(word) && said.contains("\"ServersTransport\""), "{spec}: {said}");
    }
    assert_eq!(backend.seen().len(), 0);
}

#[test]
fn a_secret_that_comes_later_opens_the_routes() {
    let ours = Authority::new("ours");
    let backend = HyperBackend::tls("secure", &ours.issue(&[OWN_NAME]), &ALPN);
    let manifests = secure(&backend, json!({ "rootCAs": [{ "secret": "ca" }] }));
    manifests.remove("transport");
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get(HOST, "/").status, 503, "the transport is missing");
    assert!(said(&gate).contains("ServersTransportNotFound"));
    manifests.put("transport", [transport("t", json!({ "rootCAs": [{ "secret": "ca" }] }))]);
    eventually("the transport is seen", || said(&gate).contains("SecretNotFound"));
    assert_eq!(gate.get(HOST, "/").status, 503, "its Secret is missing");
    manifests.put("ca", [ca_secret("ca", &ours.pem)]);
    gate.until(HOST, "/", "all is there", |a| a.text() == "secure");
    manifests.remove("ca");
    gate.until(HOST, "/", "the Secret is gone", |a| a.status == 503);
}
