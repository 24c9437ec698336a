//! TLSOptions: what handshakes with clients are held to, by host; that no request comes in under other options than its
//! host's; and that one that can't be had lets nobody in.

use std::io;

use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, client::Resumption, version};
use serde_json::{Value, json};

use crate::support::{
    Answer, Authority, Backend, Cert, Client, H2, Headgate, Ingress, Manifests, Middleware, Secret,
    cert::client_config, eventually, manifests::service_of, request,
};

const HOST: &str = "a.test";
const H2_ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

fn option(name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "TLSOption",
        "metadata": { "name": name, "namespace": "default" },
        "spec": spec,
    })
}

fn authority(name: &str, authorities: &[&Authority]) -> Value {
    let pem: String = authorities.iter().map(|authority| authority.pem.as_str()).collect();
    Secret::new(name, "Opaque", &[("ca.crt", &pem)]).into()
}

fn mutual(secret: &str) -> Value {
    json!({ "clientAuth": { "secretNames": [secret] } })
}

/// An Ingress for a host that names no TLSOption.
fn plain(host: &str) -> Ingress {
    Ingress::new(&host.replace('*', "any")).rule(host, &[("/", "Prefix", "app")])
}

/// One that names the TLSOption `name`.
fn under(host: &str, name: &str) -> Ingress {
    plain(host).traefik("router.tls.options", &format!("default-{name}@kubernetescrd"))
}

/// A backend `app` behind these Ingresses; TLSOptions and Secrets are for files of their own.
fn app(ingresses: impl IntoIterator<Item = Ingress>) -> (Backend, Manifests) {
    let backend = Backend::named("app");
    let mut objects = service_of("app", &[&backend]);
    objects.extend(ingresses.into_iter().map(Value::from));
    (backend, Manifests::of(objects))
}

fn client() -> ClientConfig {
    client_config(&[], &[])
}

/// A GET over a new connection. Over TLS 1.3 a client learns only then that its certificate was refused.
fn get(gate: &Headgate, host: &str, config: ClientConfig) -> io::Result<Answer> {
    let mut client = Client::tls_with(gate.websecure(), Some(host), config)?;
    client.send(request("GET", "/", host, &[], b"")).try_answer(true)?.ok_or(io::ErrorKind::UnexpectedEof.into())
}

/// Whether a client comes in; whoever does must reach the backend. A change may come between a handshake and its request.
#[track_caller]
fn comes_in(gate: &Headgate, host: &str, config: ClientConfig) -> bool {
    match get(gate, host, config) {
        Ok(answer) if answer.status == 421 => false,
        Ok(answer) => {
            assert_eq!((answer.status, answer.text().as_str()), (200, "app"), "{host}");
            true
        }
        Err(_) => false,
    }
}

#[track_caller]
fn assert_said(gate: &Headgate, code: &str) {
    let said = gate.api("/api/diagnostics").to_string();
    assert!(said.contains(&format!("\"{code}\"")), "{code}: {said}");
}

#[test]
fn a_client_has_to_show_a_certificate_of_the_authority() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (backend, manifests) = app([under(HOST, "o"), plain("free.test")]);
    manifests.put("options", [option("o", mutual("ca")), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let (good, bad, own) = (ours.issue(&["client"]), theirs.issue(&["client"]), Cert::new(&["client"]));
    for version in [&version::TLS12, &version::TLS13] {
        let config = || client_config(&[version], &[]);
        assert!(comes_in(&gate, HOST, good.shown_by(config())), "{version:?}");
        let before = backend.heads();
        assert!(!comes_in(&gate, HOST, bad.shown_by(config())), "another authority's: {version:?}");
        assert!(!comes_in(&gate, HOST, own.shown_by(config())), "its own: {version:?}");
        assert!(!comes_in(&gate, HOST, config()), "none: {version:?}");
        assert_eq!(backend.heads(), before);
        assert!(comes_in(&gate, "free.test", config()), "others are not concerned");
    }
    assert_eq!(gate.get(HOST, "/").status, 404, "there is no such route without TLS");
    assert_eq!(gate.api("/api/diagnostics"), json!([]));
    let routes = gate.api("/api/routes");
    let of = |host: &str| {
        routes.as_array().unwrap().iter().find(|route| route["host"] == host).unwrap()["tlsOptions"].clone()
    };
    assert_eq!((of(HOST), of("free.test")), (json!("default/o"), Value::Null));
}

/// The example of docs/tls.md, with the Secret that its commands make.
#[test]
fn the_example_of_the_docs_is_served() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tls.md");
    let page = std::fs::read_to_string(page).unwrap();
    let example = page.split("```yaml\n").find_map(|rest| {
        let (example, _) = rest.split_once("```")?;
        example.contains("kind: TLSOption").then_some(example)
    });
    let backend = Backend::named("app");
    let clients = Authority::new("clients");
    let manifests = Manifests::of(service_of("app", &[&backend]));
    manifests.text("example.yaml", example.unwrap());
    manifests.put("ca", [authority("clients-ca", &[&clients])]);
    let gate = Headgate::start(&manifests);
    assert!(comes_in(&gate, "app.local", clients.issue(&["ali"]).shown_by(client())));
    assert!(!comes_in(&gate, "app.local", client()));
    assert_eq!(gate.api("/api/diagnostics"), json!([]));
}

#[test]
fn each_type_of_client_authentication_asks_for_what_it_says() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let types = [
        ("NoClientCert", [true, true, true]),
        ("RequestClientCert", [true, true, true]),
        ("RequireAnyClientCert", [false, true, true]),
        ("VerifyClientCertIfGiven", [true, true, false]),
        ("RequireAndVerifyClientCert", [false, true, false]),
    ];
    let host = |kind: &str| format!("{}.test", kind.to_lowercase());
    let (_backend, manifests) = app(types.map(|(kind, _)| under(&host(kind), &kind.to_lowercase())));
    let spec = |kind: &str| json!({ "clientAuth": { "clientAuthType": kind, "secretNames": ["ca"] } });
    manifests.put("options", types.map(|(kind, _)| option(&kind.to_lowercase(), spec(kind))));
    manifests.put("ca", [authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let (good, bad) = (ours.issue(&["client"]), theirs.issue(&["client"]));
    for (kind, expected) in types {
        let clients = [client(), good.shown_by(client()), bad.shown_by(client())];
        let came = clients.map(|config| comes_in(&gate, &host(kind), config));
        assert_eq!(came, expected, "{kind}: without one, with ours, with theirs");
    }
    // Not looked at, which is not what somebody who names authorities expects.
    let said = gate.api("/api/diagnostics");
    let quiet = said.as_array().unwrap().iter().filter(|said| said["code"] == "NoEffect").count();
    assert_eq!(quiet, 3, "{said}");
}

#[test]
fn pods_can_be_told_of_the_certificate_that_came_with_the_connection() {
    let ours = Authority::new("ours");
    let told = plain(HOST).middlewares(&["tell"]).traefik("router.tls.options", "default-o@kubernetescrd");
    let (backend, manifests) = app([told]);
    let ask = json!({ "clientAuth": { "clientAuthType": "VerifyClientCertIfGiven", "secretNames": ["ca"] } });
    let tell = Middleware::new("tell", json!({ "passTLSClientCert": { "info": { "sans": true } } }));
    manifests.put("options", [option("o", ask), authority("ca", &[&ours]), tell.into()]);
    let gate = Headgate::start(&manifests);
    for version in [&version::TLS12, &version::TLS13] {
        let config = resuming(&ours.issue(&["client.test"]).shown_by(client_config(&[version], &[])));
        // A session that is resumed is still that client's.
        for _ in 0..2 {
            kind(&gate, HOST, &config).unwrap();
            let seen = backend.requests().pop().unwrap();
            let told = seen.get("x-forwarded-tls-client-cert-info").unwrap_or_default();
            assert!(told.contains("client.test"), "{version:?}: {told:?}");
        }
        assert_eq!(kind(&gate, HOST, &config).unwrap(), HandshakeKind::Resumed);
        assert!(comes_in(&gate, HOST, client_config(&[version], &[])));
        assert_eq!(backend.requests().pop().unwrap().get("x-forwarded-tls-client-cert-info"), None);
    }
}

#[test]
fn whoever_shows_a_certificate_has_its_key() {
    let ours = Authority::new("ours");
    let (_backend, manifests) = app([under(HOST, "any"), under("b.test", "mutual")]);
    let any = json!({ "clientAuth": { "clientAuthType": "RequireAnyClientCert" } });
    manifests.put("options", [option("any", any), option("mutual", mutual("ca")), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let (good, other) = (ours.issue(&["client"]), ours.issue(&["other"]));
    let stolen = Cert { pem: good.pem.clone(), key: other.key, der: good.der.clone() };
    for version in [&version::TLS12, &version::TLS13] {
        for host in [HOST, "b.test"] {
            let config = || client_config(&[version], &[]);
            assert!(comes_in(&gate, host, good.shown_by(config())));
            assert!(!comes_in(&gate, host, stolen.forged_by(config())), "{host} {version:?}");
        }
    }
}

#[test]
fn versions_suites_and_curves_are_held_to() {
    let (_backend, manifests) =
        app(["modern", "old", "suite", "curve"].map(|name| under(&format!("{name}.test"), name)));
    let suite = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    manifests.put(
        "options",
        [
            option("modern", json!({ "minVersion": "VersionTLS13" })),
            option("old", json!({ "maxVersion": "VersionTLS12" })),
            option("suite", json!({ "cipherSuites": [suite] })),
            option("curve", json!({ "curvePreferences": ["CurveP384"] })),
        ],
    );
    let gate = Headgate::start(&manifests);
    let (v12, v13) = (|| client_config(&[&version::TLS12], &[]), || client_config(&[&version::TLS13], &[]));
    assert!(!comes_in(&gate, "modern.test", v12()) && comes_in(&gate, "modern.test", v13()));
    assert!(comes_in(&gate, "old.test", v12()) && !comes_in(&gate, "old.test", v13()));
    let session = |host: &str, config| Client::tls_with(gate.websecure(), Some(host), config).unwrap();
    let chosen = session("suite.test", v12()).session().negotiated_cipher_suite().unwrap().suite();
    assert_eq!(chosen, rustls::CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256);
    assert!(comes_in(&gate, "suite.test", v13()), "suites of TLS 1.3 are always on");
    for config in [v12(), v13()] {
        let group = session("curve.test", config).session().negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::secp384r1);
    }
}

#[test]
fn protocols_are_those_of_the_list() {
    let (_backend, manifests) = app([under(HOST, "h1"), under("b.test", "h1-first")]);
    let first = json!({ "alpnProtocols": ["http/1.1", "h2", "acme-tls/1"] });
    manifests.put("options", [option("h1", json!({ "alpnProtocols": ["http/1.1"] })), option("h1-first", first)]);
    let gate = Headgate::start(&manifests);
    let chosen = |host: &str, offered: &[&[u8]]| {
        let client = Client::tls_with(gate.websecure(), Some(host), client_config(&[], offered)).ok()?;
        client.session().alpn_protocol().map(<[u8]>::to_vec)
    };
    assert_eq!(chosen(HOST, &H2_ALPN).as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(chosen("b.test", &H2_ALPN).as_deref(), Some(&b"http/1.1"[..]), "the order is ours");
    assert_eq!(chosen("b.test", &[b"h2"]).as_deref(), Some(&b"h2"[..]));
    assert!(Client::tls_with(gate.websecure(), Some(HOST), client_config(&[], &[b"h2"])).is_err());
    assert!(comes_in(&gate, HOST, client()), "who offers none speaks HTTP/1.1");
}

#[test]
fn sni_strict_shows_nobody_the_default_certificate() {
    let cert = Cert::new(&["own.test"]);
    let ingresses = [under("own.test", "strict").tls(&["own.test"], "own"), under("bare.test", "strict")];
    let (_backend, manifests) = app(ingresses.into_iter().chain([plain("free.test")]));
    let strict = || json!({ "sniStrict": true });
    manifests.put("own", [Secret::tls("own", &cert)]);
    manifests.put("options", [option("strict", strict())]);
    let gate = Headgate::start(&manifests);
    assert!(comes_in(&gate, "own.test", client()) && !comes_in(&gate, "bare.test", client()));
    assert!(comes_in(&gate, "free.test", client()));
    let without_name = || Client::tls_with(gate.websecure(), None, client()).is_ok();
    assert!(without_name());
    manifests.put("options", [option("strict", json!({})), option("default", strict())]);
    eventually("the default is strict", || !without_name());
    assert!(!comes_in(&gate, "free.test", client()) && !comes_in(&gate, "elsewhere.test", client()));
    assert!(comes_in(&gate, "bare.test", client()), "it names options of its own");
}

/// A client that resumes sessions, with a memory of its own.
fn resuming(config: &ClientConfig) -> ClientConfig {
    let mut config = config.clone();
    config.resumption = Resumption::in_memory_sessions(8);
    config
}

/// One request over a new connection of this client, so that it has read its tickets.
fn kind(gate: &Headgate, host: &str, config: &ClientConfig) -> io::Result<HandshakeKind> {
    let mut client = Client::tls_with(gate.websecure(), Some(host), config.clone())?;
    let answer = client.send(request("GET", "/", host, &[], b"")).try_answer(true)?;
    answer.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(client.session().handshake_kind().unwrap())
}

#[test]
fn no_session_of_laxer_options_goes_on_under_stricter_ones() {
    let ours = Authority::new("ours");
    for version in [&version::TLS12, &version::TLS13] {
        let (_backend, manifests) = app([under(HOST, "o"), under("b.test", "no-tickets")]);
        let no_tickets = option("no-tickets", json!({ "disableSessionTickets": true }));
        manifests.put("rest", [no_tickets, authority("ca", &[&ours])]);
        manifests.put("options", [option("o", json!({}))]);
        let gate = Headgate::start(&manifests);
        let config = resuming(&client_config(&[version], &[]));
        let mut kinds = (0..2).map(|_| kind(&gate, HOST, &config).unwrap());
        assert_ne!(kinds.next().unwrap(), HandshakeKind::Resumed);
        assert_eq!(kinds.next().unwrap(), HandshakeKind::Resumed, "{version:?}");
        manifests.put("options", [option("o", mutual("ca"))]);
        eventually("a certificate is asked for", || !comes_in(&gate, HOST, client()));
        assert!(kind(&gate, HOST, &config).is_err(), "a ticket without a certificate: {version:?}");
        // One that has a certificate goes on with it, until its authority is another.
        let config = resuming(&ours.issue(&["client"]).shown_by(client_config(&[version], &[])));
        kind(&gate, HOST, &config).unwrap();
        assert_eq!(kind(&gate, HOST, &config).unwrap(), HandshakeKind::Resumed, "{version:?}");
        manifests.put("rest", [authority("ca", &[&Authority::new("theirs")])]);
        eventually("the ticket is worth nothing", || kind(&gate, HOST, &config).is_err());
    }
}

#[test]
fn without_tickets_every_handshake_is_whole() {
    let (_backend, manifests) = app([under(HOST, "o")]);
    manifests.put("options", [option("o", json!({ "disableSessionTickets": true }))]);
    let gate = Headgate::start(&manifests);
    for version in [&version::TLS12, &version::TLS13] {
        let config = resuming(&client_config(&[version], &[]));
        for _ in 0..3 {
            assert_ne!(kind(&gate, HOST, &config).unwrap(), HandshakeKind::Resumed, "{version:?}");
        }
    }
}

#[test]
fn a_request_for_a_host_with_other_options_is_misdirected() {
    let ours = Authority::new("ours");
    let hosts = [under("mutual.test", "o"), under("lax.test", "lax"), under("same.test", "lax")];
    let (backend, manifests) = app(hosts.into_iter().chain([plain("free.test")]));
    manifests.put(
        "options",
        [option("o", mutual("ca")), option("lax", json!({ "minVersion": "VersionTLS13" })), authority("ca", &[&ours])],
    );
    let gate = Headgate::start(&manifests);
    let shown = |config: ClientConfig| ours.issue(&["client"]).shown_by(config);
    let connect = |sni: Option<&str>, config| Client::tls_with(gate.websecure(), sni, config).unwrap();
    let before = backend.heads();
    for (sni, host) in [
        (Some("free.test"), "mutual.test"),
        (Some("lax.test"), "mutual.test"),
        (Some("unknown.test"), "mutual.test"),
        (None, "mutual.test"),
        (None, "lax.test"),
        // Stricter ones are others, too.
        (Some("mutual.test"), "lax.test"),
        (Some("mutual.test"), "free.test"),
        (Some("free.test"), "MUTUAL.test.:443"),
    ] {
        let mut client = connect(sni, shown(client()));
        let answer = client.get(host, "/");
        assert_eq!((answer.status, answer.get("connection")), (421, Some("close")), "{sni:?} {host}");
        if let Some(sni) = sni {
            let h2 = H2::tls_with(gate.websecure(), sni, shown(client_config(&[], &H2_ALPN)));
            assert_eq!(h2.get(host, "/").status, 421, "{sni} {host}");
            if sni != "unknown.test" {
                assert_eq!(h2.get(sni, "/").status, 200, "the connection goes on");
            }
        }
    }
    let reached = backend.heads() - before;
    assert_eq!(reached, 5, "only what the connections were for");
    // The same options are the same; so are equal ones.
    assert_eq!(connect(Some("lax.test"), client()).get("same.test", "/").status, 200);
    assert_eq!(connect(None, client()).get("free.test", "/").status, 200);
    let h2 = H2::tls_with(gate.websecure(), "lax.test", client_config(&[], &H2_ALPN));
    assert_eq!(h2.get("same.test", "/").status, 200);
}

#[test]
fn a_path_that_leads_to_a_route_with_other_options_is_closed() {
    let ours = Authority::new("ours");
    let exact = Ingress::new("exact").rule("x.wild.test", &[("/own", "Prefix", "app")]);
    let (backend, manifests) = app([under("*.wild.test", "o"), exact]);
    manifests.put("options", [option("o", mutual("ca")), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let config = || ours.issue(&["client"]).shown_by(client());
    assert!(comes_in(&gate, "y.wild.test", config()) && !comes_in(&gate, "y.wild.test", client()));
    // The exact host has options of its own: those by default. What its rules leave over is the wildcard's.
    let before = backend.heads();
    for config in [client(), config()] {
        let mut client = Client::tls_with(gate.websecure(), Some("x.wild.test"), config).unwrap();
        assert_eq!(client.get("x.wild.test", "/other").status, 503);
        assert_eq!(client.get("x.wild.test", "/own").status, 200);
    }
    assert_eq!(backend.heads(), before + 2);
    assert_eq!(gate.get("x.wild.test", "/other").status, 404, "nor does it exist without TLS");
}

#[test]
fn of_several_options_of_one_host_the_strictest_count() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let rule = |path: &str, name: &str| {
        let ingress = Ingress::new(&format!("at-{name}")).rule(HOST, &[(path, "Prefix", "app")]);
        ingress.traefik("router.tls.options", &format!("default-{name}@kubernetescrd"))
    };
    let none = Ingress::new("none").rule(HOST, &[("/", "Prefix", "app")]);
    let (_backend, manifests) = app([rule("/modern", "modern"), rule("/mutual", "mutual"), none]);
    let modern = option("modern", json!({ "minVersion": "VersionTLS13" }));
    manifests.put("options", [modern, option("mutual", mutual("ca")), option("others", mutual("theirs"))]);
    manifests.put("ca", [authority("ca", &[&ours]), authority("theirs", &[&theirs])]);
    let gate = Headgate::start(&manifests);
    assert!(!comes_in(&gate, HOST, client()), "a certificate is asked for, whatever the path is");
    let good = ours.issue(&["client"]);
    let statuses = |config: ClientConfig| {
        let mut client = Client::tls_with(gate.websecure(), Some(HOST), good.shown_by(config)).unwrap();
        ["/modern", "/mutual", "/others", "/"].map(|path| client.get(HOST, path).status)
    };
    assert_eq!(statuses(client_config(&[&version::TLS13], &[])), [200; 4]);
    assert_eq!(statuses(client_config(&[&version::TLS12], &[])), [503, 200, 200, 200], "it asks for TLS 1.3");
    assert_said(&gate, "TLSOptionConflict");
    // Nobody can have a certificate of both authorities.
    manifests.put("others", [rule("/others", "others")]);
    eventually("what can't be kept to is closed", || statuses(client()) == [200, 200, 503, 200]);
    assert_eq!(gate.get(HOST, "/").text(), "app", "what names none is served without TLS as before");
}

#[test]
fn options_that_cannot_be_had_let_nobody_in() {
    let ours = Authority::new("ours");
    let wrong = [
        ("missing", None),
        ("no-secret", Some(mutual("gone"))),
        ("no-authority", Some(mutual("empty"))),
        ("no-version", Some(json!({ "minVersion": "TLS1.3" }))),
        ("misspelt", Some(json!({ "sniStrikt": true }))),
        ("nobody", Some(json!({ "clientAuth": { "clientAuthType": "RequireAndVerifyClientCert" } }))),
    ];
    let host = |name: &str| format!("{name}.test");
    let all = wrong.iter().map(|(name, _)| under(&host(name), name)).collect::<Vec<_>>();
    let invalid = plain("invalid.test").traefik("router.tls.options", "a b@kubernetescrd");
    let (backend, manifests) = app(all.into_iter().chain([invalid, plain("free.test")]));
    manifests.put("options", wrong.iter().filter_map(|(name, spec)| Some(option(name, spec.clone()?))));
    manifests.put("empty", [Value::from(Secret::new("empty", "Opaque", &[("tls.crt", "x")]))]);
    let gate = Headgate::start(&manifests);
    let shown = |config| ours.issue(&["client"]).shown_by(config);
    for name in wrong.iter().map(|(name, _)| *name).chain(["invalid"]) {
        for config in [client(), shown(client())] {
            let error = Client::tls_with(gate.websecure(), Some(&host(name)), config).unwrap_err();
            assert!(error.to_string().contains("AccessDenied"), "{name}: {error}");
        }
        // Nor by a connection for another host.
        let mut other = Client::tls(gate.websecure(), Some("free.test"));
        assert_eq!(other.get(&host(name), "/").status, 503, "{name}");
        assert_eq!(gate.get(&host(name), "/").status, 404, "{name}");
    }
    assert_eq!(backend.heads(), 0);
    for code in ["TLSOptionNotFound", "TLSOptionInvalid", "SecretNotFound", "SecretInvalid", "UnknownField"] {
        assert_said(&gate, code);
    }
    assert!(comes_in(&gate, "free.test", client()));
    // What was missing is there.
    manifests.put("missing", [option("missing", mutual("gone")), authority("gone", &[&ours])]);
    eventually("they are served", || {
        ["missing", "no-secret"].iter().all(|name| comes_in(&gate, &host(name), shown(client())))
    });
    assert!(!comes_in(&gate, &host("missing"), client()));
}

#[test]
fn a_change_applies_to_the_next_handshake_and_open_connections_live_on() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (_backend, manifests) = app([under(HOST, "o")]);
    manifests.put("options", [option("o", mutual("ca"))]);
    manifests.put("ca", [authority("ca", &[&old])]);
    let gate = Headgate::start(&manifests);
    let (before, after) = (old.issue(&["client"]), new.issue(&["client"]));
    let mut open = Client::tls_with(gate.websecure(), Some(HOST), before.shown_by(client())).unwrap();
    let h2 = H2::tls_with(gate.websecure(), HOST, before.shown_by(client_config(&[], &H2_ALPN)));
    assert_eq!((open.get(HOST, "/").status, h2.get(HOST, "/").status.as_u16()), (200, 200));
    manifests.put("ca", [authority("ca", &[&old, &new])]);
    eventually("the new authority counts", || comes_in(&gate, HOST, after.shown_by(client())));
    assert!(comes_in(&gate, HOST, before.shown_by(client())));
    manifests.put("ca", [authority("ca", &[&new])]);
    eventually("the old one doesn't", || !comes_in(&gate, HOST, before.shown_by(client())));
    assert_eq!((open.get(HOST, "/").status, h2.get(HOST, "/").status.as_u16()), (200, 200), "no reason for 421");
    manifests.put("options", [option("o", json!({ "minVersion": "VersionTLS13" }))]);
    eventually("nobody is asked any more", || comes_in(&gate, HOST, client()));
    assert!(!comes_in(&gate, HOST, client_config(&[&version::TLS12], &[])));
    // More is asked of clients: whoever has not been asked must not stay.
    let mut unasked = Client::tls(gate.websecure(), Some(HOST));
    assert_eq!(unasked.get(HOST, "/").status, 200);
    manifests.put("options", [option("o", mutual("ca"))]);
    eventually("they are asked again", || !comes_in(&gate, HOST, client()));
    assert_eq!(unasked.get(HOST, "/").status, 421);
    assert_eq!(open.get(HOST, "/").status, 200, "it was asked then");
}

#[test]
fn the_default_is_for_every_host_that_names_none() {
    let ours = Authority::new("ours");
    let named_default = plain("default.test").traefik("router.tls.options", "default");
    let (_backend, manifests) = app([under(HOST, "lax"), plain("free.test"), named_default]);
    manifests.put("rest", [option("lax", json!({})), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let comes = |host: &str| comes_in(&gate, host, client_config(&[&version::TLS12], &[]));
    assert!(comes(HOST) && comes("free.test") && comes("default.test"));
    assert_eq!(gate.get("default.test", "/").status, 404, "whoever names options is there with TLS only");
    manifests.put("default", [option("default", json!({ "minVersion": "VersionTLS13" }))]);
    eventually("the default counts", || !comes("free.test") && !comes("default.test"));
    assert!(comes(HOST));
    assert_eq!(gate.get("free.test", "/").text(), "app", "without TLS it is served as before");
    let old = Client::tls_with(gate.websecure(), None, client_config(&[&version::TLS12], &[]));
    assert!(old.is_err(), "nor does a client without a name");
    manifests.put("default", [option("default", mutual("gone"))]);
    eventually("one that can't be had refuses", || {
        Client::tls_with(gate.websecure(), Some("free.test"), client()).is_err()
    });
    assert!(comes(HOST));
    assert_said(&gate, "SecretNotFound");
    manifests.remove("default");
    eventually("as without any", || comes("free.test") && comes("default.test"));
    let version = Client::tls(gate.websecure(), None).session().protocol_version();
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
}

#[test]
fn one_rule_with_laxer_options_does_not_switch_off_the_default() {
    let ours = Authority::new("ours");
    let lax = |name: &str, host: &str| {
        let ingress = Ingress::new(name).rule(host, &[("/zzz", "Prefix", "app")]);
        ingress.traefik("router.tls.options", "default-lax@kubernetescrd")
    };
    let named_default = plain("default.test").traefik("router.tls.options", "default");
    // All rules of x.wild.test name lax options; what they leave over is the wildcard's, which names none.
    let all = [plain(HOST), lax("evil", HOST), named_default, lax("evil2", "default.test"), plain("*.wild.test")];
    let (backend, manifests) = app(all.into_iter().chain([lax("evil3", "x.wild.test")]));
    manifests.put("options", [option("default", mutual("ca")), option("lax", json!({})), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let shown = || ours.issue(&["client"]).shown_by(client());
    for host in [HOST, "default.test"] {
        assert!(!comes_in(&gate, host, client()), "{host}");
        assert!(comes_in(&gate, host, shown()), "{host}");
    }
    let before = backend.heads();
    let mut nobody = Client::tls_with(gate.websecure(), Some("x.wild.test"), client()).unwrap();
    assert_eq!((nobody.get("x.wild.test", "/zzz").status, nobody.get("x.wild.test", "/secret").status), (200, 503));
    let h2 = H2::tls_with(gate.websecure(), "x.wild.test", client_config(&[], &H2_ALPN));
    assert_eq!(["/zzz", "/secret"].map(|path| h2.get("x.wild.test", path).status.as_u16()), [200, 503]);
    assert_eq!(backend.heads(), before + 2);
    assert_said(&gate, "TLSOptionConflict");
    assert_eq!(gate.get(HOST, "/").text(), "app", "what names none is served without TLS as before");
    assert_eq!(gate.get("x.wild.test", "/secret").text(), "app");
    manifests.put("options", [option("default", mutual("gone")), option("lax", json!({}))]);
    eventually("a default that can't be had refuses", || {
        Client::tls_with(gate.websecure(), Some(HOST), client()).is_err()
    });
    assert_eq!(nobody.get("x.wild.test", "/secret").status, 503);
}

#[test]
fn a_default_that_cannot_be_read_lets_nobody_in() {
    let ours = Authority::new("ours");
    let (backend, manifests) = app([plain(HOST), under("lax.test", "lax")]);
    let misspelt = json!({ "clientAuth": { "secretNames": ["ca"], "clientAuthType": "RequireAndVerify" } });
    manifests.put("default", [option("default", misspelt)]);
    manifests.put("rest", [option("lax", json!({})), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let shown = || ours.issue(&["client"]).shown_by(client());
    for (host, config) in [(HOST, client()), (HOST, shown()), ("unknown.test", client())] {
        let error = Client::tls_with(gate.websecure(), Some(host), config).unwrap_err();
        assert!(error.to_string().contains("AccessDenied"), "{host}: {error}");
    }
    assert_eq!(backend.heads(), 0);
    assert!(comes_in(&gate, "lax.test", client()), "it names another");
    assert_said(&gate, "WrongShape");
    manifests.put("default", [option("default", mutual("ca"))]);
    eventually("it is mended", || comes_in(&gate, HOST, shown()));
    assert!(!comes_in(&gate, HOST, client()));
}

#[test]
fn rules_without_a_host_are_for_every_name_that_nobody_else_has() {
    let ours = Authority::new("ours");
    let any = Ingress::new("any").rule("", &[("/", "Prefix", "app")]);
    let any = any.traefik("router.tls.options", "default-o@kubernetescrd");
    let (_backend, manifests) = app([any, plain("free.test")]);
    manifests.put("options", [option("o", mutual("ca")), authority("ca", &[&ours])]);
    let gate = Headgate::start(&manifests);
    let shown = || ours.issue(&["client"]).shown_by(client());
    assert!(comes_in(&gate, "whatever.test", shown()) && !comes_in(&gate, "whatever.test", client()));
    assert!(comes_in(&gate, "free.test", client()));
    let mut nameless = Client::tls_with(gate.websecure(), None, shown()).unwrap();
    assert_eq!(nameless.get("10.0.0.1", "/").status, 200);
    assert_eq!(nameless.get("free.test", "/").status, 421);
}
