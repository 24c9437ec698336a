//! TLS that ends here: which certificate a handshake gets, what is served over it, and what 421 is for.

use rustls::{ProtocolVersion, version};
use serde_json::Value;

use crate::support::{
    Backend, Cert, Client, H2, Headgate, Ingress, Manifests, Secret, cert::client_config, eventually,
    manifests::service_of,
};

/// One backend `app`, and the objects for it.
fn app() -> (Backend, Vec<Value>) {
    let backend = Backend::named("app");
    let objects = service_of("app", &[&backend]);
    (backend, objects)
}

/// An Ingress named after its Secret, for one host with TLS.
fn secured(host: &str, secret: &str) -> Ingress {
    Ingress::new(secret).rule(host, &[("/", "Prefix", "app")]).tls(&[host], secret)
}

/// The certificate that a handshake with this SNI gets.
#[track_caller]
fn served(gate: &Headgate, sni: Option<&str>) -> Vec<u8> {
    Client::tls(gate.websecure(), sni).certificate()
}

#[test]
fn the_exact_name_is_served_before_the_wildcard() {
    let (_backend, mut objects) = app();
    let (exact, wild, other) = (Cert::new(&["a.wild.test"]), Cert::new(&["*.wild.test"]), Cert::new(&["other.test"]));
    objects.extend([
        Value::from(Secret::tls("wild", &wild)),
        Secret::tls("exact", &exact).into(),
        Secret::tls("other", &other).into(),
        secured("*.wild.test", "wild").into(),
        secured("a.wild.test", "exact").into(),
        secured("other.test", "other").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(served(&gate, Some("a.wild.test")), exact.der);
    assert_eq!(served(&gate, Some("A.WILD.TEST")), exact.der);
    assert_eq!(served(&gate, Some("b.wild.test")), wild.der);
    assert_eq!(served(&gate, Some("other.test")), other.der);
    let fallback = served(&gate, Some("c.b.wild.test"));
    assert!(![&exact.der, &wild.der, &other.der].contains(&&fallback), "one label only");
    assert_eq!(gate.https("b.wild.test", "/").text(), "app");
}

#[test]
fn the_default_certificate_is_the_given_one_or_self_signed() {
    let (_backend, mut objects) = app();
    objects.push(Ingress::simple("plain.test", "app").into());
    let manifests = Manifests::of(objects);
    let gate = Headgate::start(&manifests);
    let made = served(&gate, Some("plain.test"));
    assert_eq!(served(&gate, None), made, "one for all");
    assert_eq!(gate.https("plain.test", "/").text(), "app", "a host without a certificate is served all the same");
    assert_eq!(Client::tls(gate.websecure(), None).get("plain.test", "/").text(), "app", "without SNI the Host routes");

    let given = Cert::new(&["default.test"]);
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    std::fs::write(&cert, &given.pem).unwrap();
    std::fs::write(&key, &given.key).unwrap();
    let flags = ["--default-cert", cert.to_str().unwrap(), "--default-key", key.to_str().unwrap()];
    let gate = Headgate::start_with(&manifests, &flags);
    assert_eq!(served(&gate, Some("plain.test")), given.der);
    assert_eq!(served(&gate, None), given.der);
}

#[test]
fn a_rotation_applies_to_new_handshakes_and_open_connections_live_on() {
    let (_backend, mut objects) = app();
    let (old, new) = (Cert::new(&["r.test"]), Cert::new(&["r.test"]));
    objects.push(secured("r.test", "cert").into());
    let manifests = Manifests::of(objects);
    manifests.put("cert", [Secret::tls("cert", &old)]);
    let gate = Headgate::start(&manifests);
    let mut open = Client::tls(gate.websecure(), Some("r.test"));
    let h2 = H2::tls(gate.websecure(), "r.test");
    assert_eq!(open.certificate(), old.der);
    assert_eq!(open.get("r.test", "/").text(), "app");

    manifests.put("cert", [Secret::tls("cert", &new)]);
    eventually("the new certificate is served", || served(&gate, Some("r.test")) == new.der);
    assert_eq!(open.get("r.test", "/").text(), "app");
    assert_eq!(h2.get("r.test", "/").status, 200, "a rotation is no reason for 421");

    manifests.remove("cert");
    eventually("without the Secret, the default", || served(&gate, Some("r.test")) != new.der);
    assert_eq!(gate.https("r.test", "/").text(), "app");
}

#[test]
fn tls_1_2_and_1_3_and_nothing_older_is_spoken() {
    let (_backend, mut objects) = app();
    objects.push(Ingress::simple("v.test", "app").into());
    let gate = Headgate::start(&Manifests::of(objects));
    for (version, expected) in
        [(&version::TLS12, ProtocolVersion::TLSv1_2), (&version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let config = client_config(&[version], &[]);
        let mut client = Client::tls_with(gate.websecure(), Some("v.test"), config).unwrap();
        assert_eq!(client.session().protocol_version(), Some(expected));
        assert_eq!(client.get("v.test", "/").text(), "app");
    }
    // A ClientHello that knows nothing above TLS 1.1.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let reply = Client::connect(gate.websecure()).send(&hello).rest();
    assert!(reply.is_empty() || reply[0] == 0x15, "an alert or nothing, but {reply:?}");
}

#[test]
fn alpn_chooses_h2_before_http_1_1() {
    let (_backend, mut objects) = app();
    objects.push(Ingress::simple("alpn.test", "app").into());
    let gate = Headgate::start(&Manifests::of(objects));
    for (offered, chosen) in [
        (vec![&b"http/1.1"[..], b"h2"], Some(&b"h2"[..])),
        (vec![&b"http/1.1"[..]], Some(&b"http/1.1"[..])),
        (vec![], None),
    ] {
        let config = client_config(&[], &offered);
        let mut client = Client::tls_with(gate.websecure(), Some("alpn.test"), config).unwrap();
        assert_eq!(client.session().alpn_protocol(), chosen);
        if chosen != Some(b"h2") {
            assert_eq!(client.get("alpn.test", "/").text(), "app");
        }
    }
}

#[test]
fn a_misdirected_h2_request_is_421() {
    let (_backend, mut objects) = app();
    let (a, b, wild) = (Cert::new(&["a.test"]), Cert::new(&["b.test"]), Cert::new(&["*.w.test"]));
    objects.extend([
        Value::from(Secret::tls("a", &a)),
        Secret::tls("b", &b).into(),
        Secret::tls("w", &wild).into(),
        secured("a.test", "a").into(),
        secured("b.test", "b").into(),
        secured("*.w.test", "w").into(),
        Ingress::simple("bare.test", "app").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    let h2 = H2::tls(gate.websecure(), "a.test");
    assert_eq!(h2.get("a.test", "/").status, 200);
    assert_eq!(h2.get("b.test", "/").status, 421, "b.test has a certificate of its own");
    assert_eq!(h2.get("bare.test", "/").status, 200, "bare.test has none");
    assert_eq!(h2.get("a.test", "/").status, 200, "the connection goes on");

    let h2 = H2::tls(gate.websecure(), "one.w.test");
    assert_eq!(h2.get("two.w.test", "/").status, 200, "one wildcard certificate, one connection");

    let mut h1 = Client::tls(gate.websecure(), Some("a.test"));
    assert_eq!(h1.get("b.test", "/").text(), "app", "over HTTP/1.1 only differing TLS options count");
}

#[test]
fn spec_tls_serves_both_and_router_tls_makes_a_route_tls_only() {
    let (_backend, mut objects) = app();
    let (both, only) = (Cert::new(&["both.test"]), Cert::new(&["only.test"]));
    objects.extend([
        Value::from(Secret::tls("both", &both)),
        Secret::tls("only", &only).into(),
        secured("both.test", "both").into(),
        secured("only.test", "only").traefik("router.tls", "true").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.get("both.test", "/").text(), "app");
    assert_eq!(gate.https("both.test", "/").text(), "app");
    assert_eq!(gate.get("only.test", "/").status, 404);
    assert_eq!(gate.https("only.test", "/").text(), "app");
    assert_eq!(served(&gate, Some("only.test")), only.der);
}

#[test]
fn a_broken_secret_breaks_only_itself() {
    let (_backend, mut objects) = app();
    let (good, other) = (Cert::new(&["good.test"]), Cert::new(&["mismatch.test"]));
    let mismatched = [("tls.crt", other.pem.as_str()), ("tls.key", good.key.as_str())];
    objects.extend([
        Value::from(Secret::tls("good", &good)),
        Secret::new("garbage", "kubernetes.io/tls", &[("tls.crt", "no certificate"), ("tls.key", "no key")]).into(),
        Secret::new("half", "kubernetes.io/tls", &[("tls.crt", &good.pem)]).into(),
        Secret::new("mismatch", "kubernetes.io/tls", &mismatched).into(),
        secured("garbage.test", "garbage").into(),
        secured("half.test", "half").into(),
        secured("mismatch.test", "mismatch").into(),
        secured("missing.test", "missing").into(),
        secured("good.test", "good").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(served(&gate, Some("good.test")), good.der);
    let fallback = served(&gate, None);
    for host in ["garbage.test", "half.test", "mismatch.test", "missing.test"] {
        assert_eq!(served(&gate, Some(host)), fallback, "{host}");
        assert_eq!(gate.https(host, "/").text(), "app", "{host}");
    }
    let said = gate.api("/api/diagnostics").to_string();
    for name in ["garbage", "half", "mismatch", "missing"] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn one_bad_entry_does_not_cost_the_others_of_its_ingress() {
    let (_backend, mut objects) = app();
    let good = Cert::new(&["second.test"]);
    let ingress = Ingress::new("two")
        .rule("first.test", &[("/", "Prefix", "app")])
        .rule("second.test", &[("/", "Prefix", "app")])
        .tls(&["first.test"], "missing")
        .tls(&["second.test"], "good");
    objects.extend([Value::from(Secret::tls("good", &good)), ingress.into()]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(served(&gate, Some("second.test")), good.der);
}

#[test]
fn a_secret_serves_only_ingresses_of_its_own_namespace() {
    let (_backend, mut objects) = app();
    let theirs = Cert::new(&["theirs.test"]);
    objects
        .extend([Value::from(Secret::tls("cert", &theirs).namespace("theirs")), secured("theirs.test", "cert").into()]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_ne!(served(&gate, Some("theirs.test")), theirs.der);
}

#[test]
fn an_unexpired_certificate_is_served_before_an_expired_one() {
    let (_backend, mut objects) = app();
    let (expired, valid) = (Cert::until(&["e.test"], 2020), Cert::new(&["e.test"]));
    // By name and by age, the expired one would come first.
    objects.extend([
        Value::from(Secret::tls("a-expired", &expired)),
        Secret::tls("b-valid", &valid).into(),
        secured("e.test", "a-expired").created("2020-01-01T00:00:00Z").into(),
        Ingress::new("b").tls(&["e.test"], "b-valid").rule("e.test", &[("/b", "Prefix", "app")]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(served(&gate, Some("e.test")), valid.der);
}

#[test]
fn plain_http_can_be_redirected_as_a_whole() {
    let (backend, mut objects) = app();
    objects.push(Ingress::simple("app.test", "app").into());
    // That a route exists over TLS only is no reason not to lead there.
    objects
        .push(Ingress::new("only").traefik("router.tls", "true").rule("only.test", &[("/in", "Prefix", "app")]).into());
    let manifests = Manifests::of(objects);
    for (flag, location) in
        [("--redirect-to-https", "https://app.test/x?y=1"), ("--redirect-to-https=8443", "https://app.test:8443/x?y=1")]
    {
        let gate = Headgate::start_with(&manifests, &[flag]);
        let answer = gate.get("app.test:8080", "/x?y=1");
        assert!([301, 302, 307, 308].contains(&answer.status), "{}", answer.status);
        assert_eq!(answer.get("location"), Some(location), "never the port we bind");
        assert_eq!(backend.heads(), 0);
        // A POST must be repeated as a POST.
        assert!([307, 308].contains(&gate.send("POST", "app.test", "/", &[], b"x").status));
    }
    let gate = Headgate::start_with(&manifests, &["--redirect-to-https"]);
    assert_eq!(gate.https("app.test", "/").text(), "app");
    assert_eq!(gate.get("only.test", "/in/x").get("location"), Some("https://only.test/in/x"));
    assert_eq!((gate.get("only.test", "/out").status, gate.get("none.test", "/").status), (404, 404));
    assert_eq!(Headgate::start(&manifests).get("only.test", "/in").status, 404, "without the flag");
}

#[test]
fn a_handshake_that_fails_leaves_the_others_alone() {
    let (_backend, mut objects) = app();
    objects.push(Ingress::simple("app.test", "app").into());
    let gate = Headgate::start(&Manifests::of(objects));
    let mut plain = Client::connect(gate.websecure());
    plain.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let reply = plain.rest();
    assert!(!reply.starts_with(b"HTTP/1.1 200"), "{reply:?}");
    assert_eq!(gate.https("app.test", "/").text(), "app");
}
