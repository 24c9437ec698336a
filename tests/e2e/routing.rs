//! Which Ingress rule a request takes. The first five tests are the thirty requests of the (archived)
//! ingress-controller-conformance suite; the others follow DESIGN §2 "Claiming" and "Routing".

use serde_json::{Value, json};

use crate::support::{
    Backend, Cert, Client, Headgate, Ingress, Manifests, Middleware, Pods, Secret, Service, Slice,
    client::request,
    eventually,
    manifests::{app, ingress_class, service_at, service_of, service_of_pods},
};

/// One backend behind each of these Services, and the objects for them.
fn services(names: &[&str]) -> (Vec<Backend>, Vec<Value>) {
    let backends: Vec<Backend> = names.iter().map(|name| Backend::named(name)).collect();
    let objects = backends.iter().flat_map(|b| service_of(b.name(), &[b])).collect();
    (backends, objects)
}

/// Asserts for each (host, target): the status, and for 200 which backend answered.
#[track_caller]
fn expect(gate: &Headgate, cases: &[(&str, &str, &str)]) {
    for (host, target, expected) in cases {
        let answer = gate.get(host, target);
        let got = if answer.status == 200 { answer.text() } else { answer.status.to_string() };
        assert_eq!(&got, expected, "{host}{target}");
    }
}

#[test]
fn conformance_default_backend() {
    let echo = Backend::named("echo-service");
    let mut objects = service_of("echo-service", &[&echo]);
    objects.push(Ingress::new("default-backend").default_backend("echo-service").into());
    let gate = Headgate::start(&Manifests::of(objects));
    let address = gate.web().to_string();
    let cases = [
        ("GET", "my-host", "/"),
        ("GET", "my-host", "/sub-path"),
        ("POST", "some-host", "/"),
        ("PUT", &address, "/resource"),
        ("DELETE", "some-host", "/resource"),
        ("PATCH", "my-host", "/resource"),
    ];
    for (index, (method, host, target)) in cases.into_iter().enumerate() {
        let answer = gate.send(method, host, target, &[("User-Agent", "Go-http-client/1.1")], b"");
        assert_eq!((answer.status, answer.text().as_str()), (200, "echo-service"), "{method} {target}");
        assert!(answer.head.first.starts_with("HTTP/1.1 "), "{:?}", answer.head.first);
        for name in ["Content-Length", "Content-Type", "Date", "Server"] {
            assert_eq!(answer.head.all(name).len(), 1, "{method} {target}: one {name} in {:?}", answer.head.headers);
        }
        let seen = &echo.requests()[index];
        assert_eq!(seen.head.first, format!("{method} {target} HTTP/1.1"));
        assert_eq!(seen.get("user-agent"), Some("Go-http-client/1.1"));
    }
}

#[test]
fn conformance_host_rules() {
    let (backends, mut objects) = services(&["wildcard-foo-com"]);
    let named = Backend::named("foo-bar-com");
    let cert = Cert::new(&["foo.bar.com"]);
    let ingress = Ingress::new("host-rules")
        .tls(&["foo.bar.com"], "conformance-tls")
        .rule("*.foo.com", &[("/", "Prefix", "wildcard-foo-com")])
        .rule_to_named_port("foo.bar.com", "/", "foo-bar-com", "http");
    objects.extend([
        Service::new("foo-bar-com").ports(&[("http", 8080)]).into(),
        Slice::new("foo-bar-com", "a", named.addr.port()).port_name("http").endpoint(&named).into(),
        Secret::tls("conformance-tls", &cert).into(),
        ingress.into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));

    let mut secure = Client::tls(gate.websecure(), Some("foo.bar.com"));
    assert_eq!(secure.certificate(), cert.der);
    assert_eq!(secure.get("foo.bar.com", "/").text(), "foo-bar-com");
    assert_eq!(named.only().get("host"), Some("foo.bar.com"));

    expect(
        &gate,
        &[
            ("foo.bar.com", "/", "foo-bar-com"),
            ("subdomain.bar.com", "/", "404"),
            ("bar.foo.com", "/", "wildcard-foo-com"),
            ("baz.bar.foo.com", "/", "404"),
            ("foo.com", "/", "404"),
        ],
    );
    assert_eq!(backends[0].only().get("host"), Some("bar.foo.com"));
}

#[test]
fn conformance_ingress_class() {
    let (_backends, mut objects) = services(&["app"]);
    objects.extend([
        ingress_class("traefik", "traefik.io/ingress-controller"),
        Ingress::simple("ours.test", "app").class("traefik").into(),
        Ingress::new("foreign").class("some-invalid-class-name").rule("foreign.test", &[("/", "Prefix", "app")]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("ours.test", "/", "app"), ("foreign.test", "/", "404")]);
}

#[test]
fn conformance_load_balancing() {
    let pods = Pods::start("echo", 10);
    let mut objects = service_of_pods("echo-service", &pods);
    objects.push(Ingress::new("load-balancing").default_backend("echo-service").into());
    let gate = Headgate::start(&Manifests::of(objects));
    for _ in 0..100 {
        assert_eq!(gate.get("load-balancing", "/").status, 200);
    }
    assert_eq!(pods.counts(), [10; 10]);
}

#[test]
fn conformance_path_rules() {
    let (_backends, mut objects) = services(&[
        "foo-exact",
        "foo-prefix",
        "aaa-slash-bbb-prefix",
        "aaa-prefix",
        "aaa-slash-bbb-slash-prefix",
        "foo-slash-exact",
    ]);
    let ingress = Ingress::new("path-rules")
        .rule("exact-path-rules", &[("/foo", "Exact", "foo-exact")])
        .rule(
            "prefix-path-rules",
            &[
                ("/foo", "Prefix", "foo-prefix"),
                ("/aaa/bbb", "Prefix", "aaa-slash-bbb-prefix"),
                ("/aaa", "Prefix", "aaa-prefix"),
            ],
        )
        .rule("mixed-path-rules", &[("/foo", "Prefix", "foo-prefix"), ("/foo", "Exact", "foo-exact")])
        .rule(
            "trailing-slash-path-rules",
            &[("/aaa/bbb/", "Prefix", "aaa-slash-bbb-slash-prefix"), ("/foo/", "Exact", "foo-slash-exact")],
        );
    objects.push(ingress.into());
    let gate = Headgate::start(&Manifests::of(objects));
    expect(
        &gate,
        &[
            ("exact-path-rules", "/foo", "foo-exact"),
            ("exact-path-rules", "/foo/", "404"),
            ("exact-path-rules", "/FOO", "404"),
            ("exact-path-rules", "/bar", "404"),
            ("prefix-path-rules", "/foo", "foo-prefix"),
            ("prefix-path-rules", "/foo/", "foo-prefix"),
            ("prefix-path-rules", "/FOO", "404"),
            ("prefix-path-rules", "/aaa/bbb", "aaa-slash-bbb-prefix"),
            ("prefix-path-rules", "/aaa/bbb/ccc", "aaa-slash-bbb-prefix"),
            ("prefix-path-rules", "/aaa/ccc", "aaa-prefix"),
            ("prefix-path-rules", "/aaaccc", "404"),
            ("mixed-path-rules", "/foo", "foo-exact"),
            ("trailing-slash-path-rules", "/aaa/bbb", "aaa-slash-bbb-slash-prefix"),
            ("trailing-slash-path-rules", "/aaa/bbb/", "aaa-slash-bbb-slash-prefix"),
            ("trailing-slash-path-rules", "/foo", "404"),
        ],
    );
}

#[test]
fn the_more_specific_host_wins_whatever_the_paths() {
    let (_backends, mut objects) = services(&["exact", "wild", "any"]);
    objects.extend([
        Value::from(Ingress::new("any").rule("", &[("/very/long/path/that/wins/nothing", "Prefix", "any")])),
        Ingress::new("any-root").rule("", &[("/", "Prefix", "any")]).into(),
        Ingress::new("wild").rule("*.wild.test", &[("/deep/path", "Prefix", "wild"), ("/", "Prefix", "wild")]).into(),
        Ingress::new("exact").rule("a.wild.test", &[("/", "Prefix", "exact")]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(
        &gate,
        &[
            ("a.wild.test", "/deep/path", "exact"),
            ("b.wild.test", "/deep/path", "wild"),
            ("b.wild.test", "/", "wild"),
            ("c.b.wild.test", "/", "any"),
            ("wild.test", "/", "any"),
            ("b.wild.test", "/very/long/path/that/wins/nothing", "wild"),
            ("other.test", "/very/long/path/that/wins/nothing/x", "any"),
        ],
    );
}

#[test]
fn a_priority_annotation_beats_the_length_of_paths() {
    let (_backends, mut objects) = services(&["short", "long"]);
    objects.extend([
        Value::from(Ingress::new("long").rule("p.test", &[("/a/b/c", "Exact", "long"), ("/z", "Prefix", "long")])),
        Ingress::new("short").traefik("router.priority", "1000").rule("p.test", &[("/a", "Prefix", "short")]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("p.test", "/a/b/c", "short"), ("p.test", "/z", "long")]);
}

#[test]
fn implementation_specific_follows_the_pathmatcher() {
    let (_backends, mut objects) = services(&["plain", "path", "prefix", "regexp", "broken"]);
    let rule = |name: &str, path: &str| Ingress::new(name).rule("m.test", &[(path, "ImplementationSpecific", name)]);
    objects.extend([
        Value::from(rule("plain", "/plain")),
        rule("path", "/path").traefik("router.pathmatcher", "Path").into(),
        rule("prefix", "/prefix").traefik("router.pathmatcher", "PathPrefix").into(),
        rule("regexp", "/id/[0-9]+$").traefik("router.pathmatcher", "PathRegexp").into(),
        rule("broken", "/broken/[").traefik("router.pathmatcher", "PathRegexp").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(
        &gate,
        &[
            ("m.test", "/plain/x", "plain"),
            ("m.test", "/plainx", "404"),
            ("m.test", "/path", "path"),
            ("m.test", "/path/x", "404"),
            ("m.test", "/prefix/x", "prefix"),
            ("m.test", "/id/42", "regexp"),
            ("m.test", "/id/42a", "404"),
            ("m.test", "/id/", "404"),
            ("m.test", "/broken/x", "503"),
        ],
    );
}

#[test]
fn a_protected_expression_is_never_passed_by() {
    let (_backends, mut objects) = services(&["open", "admin"]);
    let refuse = json!({ "ipAllowList": { "sourceRange": ["192.0.2.1/32"] } });
    objects.push(Middleware::new("refuse", refuse).into());
    objects.push(Ingress::simple("a.test", "open").into());
    let expressions = [r"^/u/\w{1,64}/admin", r"^/\Qadmin.1\E", r"^/\141bc", "^/{caf\u{e9}}", r"^/re(?=x)", r"^/a\\b"];
    for (index, expression) in expressions.into_iter().enumerate() {
        let ingress = Ingress::new(&format!("guarded-{index}")).traefik("router.pathmatcher", "PathRegexp");
        let ingress = ingress.traefik("router.middlewares", "default-refuse@kubernetescrd");
        objects.push(ingress.rule("a.test", &[(expression, "ImplementationSpecific", "admin")]).into());
    }
    let gate = Headgate::start(&Manifests::of(objects));
    expect(
        &gate,
        &[
            ("a.test", "/u/joe/admin", "403"),
            ("a.test", "/u/joe/", "open"),
            ("a.test", "/admin.1", "403"),
            ("a.test", "/abc", "403"),
            ("a.test", "/{caf%C3%A9}", "403"),
            ("a.test", "/%7bcaf%c3%a9%7d", "403"),
            ("a.test", "/a\\b", "403"),
            ("a.test", "/a%5cb", "403"),
            ("a.test", "/rex", "503"),
            ("a.test", "/r", "open"),
        ],
    );
}

#[test]
fn a_default_backend_beside_rules_takes_what_its_own_hosts_leave_over() {
    let (_backends, mut objects) = services(&["api", "rest", "last"]);
    let beside = Ingress::new("beside").rule("own.test", &[("/api", "Prefix", "api")]).default_backend("rest");
    objects.push(beside.into());
    let manifests = Manifests::of(objects.clone());
    let gate = Headgate::start(&manifests);
    expect(&gate, &[("own.test", "/api/x", "api"), ("own.test", "/other", "rest"), ("foreign.test", "/", "404")]);

    objects.push(Ingress::new("catch-all").default_backend("last").into());
    manifests.put("main", objects);
    gate.until("foreign.test", "/", "goes to the catch-all", |a| a.text() == "last");
    expect(&gate, &[("own.test", "/api/x", "api"), ("own.test", "/other", "rest")]);
}

#[test]
fn of_equal_claims_the_older_ingress_wins() {
    let (_backends, mut objects) = services(&["old", "new", "unaged-a", "unaged-b"]);
    let claim = |name: &str, host: &str| Ingress::simple(host, name);
    objects.extend([
        Value::from(claim("new", "age.test").created("2024-06-01T00:00:00Z")),
        claim("old", "age.test").created("2023-06-01T00:00:00Z").into(),
        claim("unaged-b", "name.test").into(),
        claim("unaged-a", "name.test").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("age.test", "/", "old"), ("name.test", "/", "unaged-a")]);
    let said = gate.api("/api/diagnostics").to_string();
    assert!(said.contains("new") && said.contains("unaged-b"), "the losers are told: {said}");
}

#[test]
fn case_port_and_trailing_dot_of_the_host_do_not_matter() {
    let (_backends, mut objects) = services(&["app"]);
    objects.push(Ingress::simple("mixed.test", "app").into());
    let gate = Headgate::start(&Manifests::of(objects));
    for host in ["mixed.test", "MIXED.TEST", "mixed.test:8080", "mixed.test.", "mixed.test.:80"] {
        expect(&gate, &[(host, "/", "app")]);
    }
    expect(&gate, &[("mixed.test.x", "/", "404")]);
}

#[test]
fn the_path_that_is_matched_is_the_path_that_is_forwarded() {
    let (backends, mut objects) = services(&["open", "secret"]);
    objects
        .push(Ingress::new("app").rule("n.test", &[("/", "Prefix", "open"), ("/secret", "Prefix", "secret")]).into());
    let gate = Headgate::start(&Manifests::of(objects));
    for (sent, service, forwarded) in [
        ("/open/../secret/x", "secret", "/secret/x"),
        ("//secret//x", "secret", "/secret/x"),
        ("/%73ecret", "secret", "/secret"),
        ("/./secret/.", "secret", "/secret/"),
        ("/%2e%2e/secret?a=/../b%2f", "secret", "/secret?a=/../b%2f"),
        ("/../../secret", "secret", "/secret"),
        ("/x%2fsecret", "open", "/x%2Fsecret"),
        ("/secret%2Fx", "open", "/secret%2Fx"),
        ("/secret%5cx", "open", "/secret%5Cx"),
        ("/secret;x", "open", "/secret;x"),
        ("/", "open", "/"),
        ("/?", "open", "/?"),
    ] {
        let answer = gate.get("n.test", sent);
        assert_eq!((answer.status, answer.text().as_str()), (200, service), "{sent}");
        let backend = backends.iter().find(|b| b.name() == service).unwrap();
        assert_eq!(backend.requests().last().unwrap().target(), forwarded, "{sent}");
    }
}

#[test]
fn named_ports_choose_their_own_slices() {
    let (web, metrics, other) = (Backend::named("web"), Backend::named("metrics"), Backend::named("web-2"));
    let objects = [
        Value::from(Service::new("app").ports(&[("web", 80), ("metrics", 9090)])),
        Slice::new("app", "web-1", web.addr.port()).port_name("web").endpoint(&web).into(),
        Slice::new("app", "web-2", other.addr.port()).port_name("web").endpoint(&other).into(),
        Slice::new("app", "metrics", metrics.addr.port()).port_name("metrics").endpoint(&metrics).into(),
        Ingress::new("by-name").rule_to_named_port("name.test", "/", "app", "metrics").into(),
        Ingress::new("by-number").rule_to_port("number.test", "/", "app", 80).into(),
        Ingress::new("no-such-name").rule_to_named_port("noname.test", "/", "app", "nothing").into(),
        Ingress::new("no-such-number").rule_to_port("nonumber.test", "/", "app", 81).into(),
    ];
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("name.test", "/", "metrics"), ("noname.test", "/", "503"), ("nonumber.test", "/", "503")]);
    for _ in 0..6 {
        assert_eq!(gate.get("number.test", "/").status, 200);
    }
    assert_eq!((web.count(), other.count(), metrics.count()), (3, 3, 1), "every slice of the port, and no other");
}

#[test]
fn ipv6_endpoints_are_reached() {
    let Ok(backend) = Backend::at(std::net::Ipv6Addr::LOCALHOST.into(), "six") else {
        // A machine without IPv6 has nothing to show here.
        return;
    };
    let slice = Slice::new("six", "a", backend.addr.port()).ipv6().endpoint(&backend);
    let objects = [Value::from(Service::new("six")), slice.into(), Ingress::simple("six.test", "six").into()];
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("six.test", "/", "six")]);
}

#[test]
fn what_is_missing_behind_a_route_is_503_and_no_route_is_404() {
    let (_backends, mut objects) = services(&["app"]);
    objects.extend([
        Value::from(Ingress::simple("missing.test", "nowhere")),
        Service::new("empty").into(),
        Ingress::simple("empty.test", "empty").into(),
        Ingress::simple("app.test", "app").into(),
    ]);
    let manifests = Manifests::of(objects);
    let gate = Headgate::start(&manifests);
    expect(
        &gate,
        &[
            ("missing.test", "/", "503"),
            ("empty.test", "/", "503"),
            ("app.test", "/", "app"),
            ("unknown.test", "/", "404"),
        ],
    );
    let late = Backend::named("nowhere");
    manifests.put("late", service_of("nowhere", &[&late]));
    gate.until("missing.test", "/", "the Service is there now", |a| a.text() == "nowhere");
}

#[test]
fn a_closed_route_answers_503_and_nothing_falls_through_it() {
    let (backends, mut objects) = services(&["admin", "open"]);
    let closed = Ingress::new("admin").rule("c.test", &[("/admin", "Prefix", "admin")]).middlewares(&["auth"]);
    objects.extend([closed.into(), Value::from(Ingress::simple("c.test", "open"))]);
    let manifests = Manifests::of(objects);
    let gate = Headgate::start(&manifests);
    expect(&gate, &[("c.test", "/admin/x", "503"), ("c.test", "/administration", "open"), ("c.test", "/", "open")]);
    assert_eq!(backends[0].heads(), 0);
    assert_eq!(backends[1].count(), 2);

    let headers = Middleware::new("auth", json!({ "headers": { "customRequestHeaders": { "X-Late": "yes" } } }));
    manifests.put("late", [headers]);
    gate.until("c.test", "/admin/x", "opens when its middleware appears", |a| a.text() == "admin");
    assert_eq!(backends[0].only().get("x-late"), Some("yes"));
}

#[test]
fn an_unknown_protecting_annotation_closes_and_another_costs_only_itself() {
    let (_backends, mut objects) = services(&["app"]);
    let priority = Ingress::new("priority").rule("priority.test", &[("/", "Prefix", "app")]);
    objects.extend([
        Value::from(Ingress::simple("typo.test", "app").traefik("router.middlewars", "default-auth@kubernetescrd")),
        priority.traefik("router.priority", "many").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("typo.test", "/", "503"), ("priority.test", "/", "app")]);
    let said = gate.api("/api/diagnostics").to_string();
    assert!(said.contains("router.middlewares"), "did you mean: {said}");
}

#[test]
fn objects_of_different_namespaces_never_mix() {
    let (first, second) = (Backend::named("first"), Backend::named("second"));
    // Joined with a dash, both are "default-foo-bar".
    let mut objects = service_of("foo-bar", &[&first]);
    objects.extend([
        Value::from(Service::new("bar").namespace("default-foo")),
        Slice::new("bar", "a", second.addr.port()).endpoint(&second).namespace("default-foo").into(),
        Ingress::simple("first.test", "foo-bar").into(),
        Ingress::simple("second.test", "bar").namespace("default-foo").into(),
        Ingress::simple("third.test", "foo-bar").namespace("default-foo").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("first.test", "/", "first"), ("second.test", "/", "second"), ("third.test", "/", "503")]);
}

#[test]
fn external_names_are_off_until_they_are_allowed() {
    let backend = Backend::named("external");
    let objects = [
        Value::from(Service::new("external").external("localhost", backend.addr.port())),
        Ingress::new("external").rule_to_port("ext.test", "/", "external", backend.addr.port()).into(),
    ];
    let manifests = Manifests::of(objects);
    expect(&Headgate::start(&manifests), &[("ext.test", "/", "503")]);
    let gate = Headgate::start_with(&manifests, &["--allow-external-name"]);
    gate.until("ext.test", "/", "the name is resolved", |a| a.text() == "external");
}

#[test]
fn classes_decide_who_claims() {
    let (_backends, mut objects) = services(&["app"]);
    let named = |name: &str| Ingress::new(name).rule(&format!("{name}.test"), &[("/", "Prefix", "app")]);
    objects.extend([
        ingress_class("ours", "headgate.dev/ingress-controller"),
        ingress_class("nginx", "k8s.io/ingress-nginx"),
        named("by-field").class("ours").into(),
        named("by-annotation").annotation("kubernetes.io/ingress.class", "ours").into(),
        named("of-nginx").class("nginx").into(),
        named("field-wins").class("nginx").annotation("kubernetes.io/ingress.class", "ours").into(),
        named("unclassed").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    expect(
        &gate,
        &[
            ("by-field.test", "/", "app"),
            ("by-annotation.test", "/", "app"),
            ("of-nginx.test", "/", "404"),
            ("field-wins.test", "/", "404"),
            ("unclassed.test", "/", "app"),
        ],
    );
}

#[test]
fn a_controller_name_takes_over_its_classes_only() {
    let (_backends, mut objects) = services(&["app"]);
    objects.extend([
        ingress_class("mine", "example.test/controller"),
        ingress_class("traefik", "traefik.io/ingress-controller"),
        Ingress::new("mine").class("mine").rule("mine.test", &[("/", "Prefix", "app")]).into(),
        Ingress::new("traefik").class("traefik").rule("traefik.test", &[("/", "Prefix", "app")]).into(),
    ]);
    let gate = Headgate::start_with(&Manifests::of(objects), &["--controller-name", "example.test/controller"]);
    expect(&gate, &[("mine.test", "/", "app"), ("traefik.test", "/", "404")]);
}

#[test]
fn entrypoints_narrow_where_a_route_exists() {
    let (_backends, mut objects) = services(&["app"]);
    let on = |name: &str, list: &str| {
        let rule = Ingress::new(name).rule(&format!("{name}.test"), &[("/", "Prefix", "app")]);
        rule.traefik("router.entrypoints", list)
    };
    objects.extend([
        Value::from(on("web-only", "web")),
        on("secure-only", "websecure").into(),
        on("internal", "internal").into(),
        on("both", "web, websecure").into(),
    ]);
    let gate = Headgate::start_with(&Manifests::of(objects), &["--entrypoint", "internal=127.0.0.1:0"]);
    expect(
        &gate,
        &[
            ("web-only.test", "/", "app"),
            ("secure-only.test", "/", "404"),
            ("internal.test", "/", "404"),
            ("both.test", "/", "app"),
        ],
    );
    assert_eq!(gate.https("web-only.test", "/").status, 404);
    assert_eq!(gate.https("secure-only.test", "/").text(), "app");
    assert_eq!(gate.https("both.test", "/").text(), "app");
    let mut internal = Client::connect(gate.address("internal"));
    assert_eq!(internal.get("internal.test", "/").text(), "app");
    assert_eq!(internal.get("web-only.test", "/").status, 404);
}

#[test]
fn http_1_0_without_a_host_takes_the_rules_without_a_host() {
    let (_backends, mut objects) = services(&["any", "named"]);
    objects.extend([
        Value::from(Ingress::new("any").rule("", &[("/", "Prefix", "any")])),
        Ingress::simple("named.test", "named").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.connect().send("GET / HTTP/1.0\r\n\r\n").answer().text(), "any");
    assert_eq!(gate.connect().send("GET / HTTP/1.0\r\nHost: named.test\r\n\r\n").answer().text(), "named");
}

#[test]
fn every_method_is_routed_alike() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("m.test", &backend));
    let mut client = gate.connect();
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "X-OWN"] {
        let answer = client.send(request(method, "/x", "m.test", &[], b"")).answer();
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(backend.requests().last().unwrap().method(), method);
    }
}

#[test]
fn a_service_can_point_at_an_address_without_a_pod() {
    let backend = Backend::named("bare");
    let mut objects = service_at(Service::new("bare"), backend.addr);
    objects.push(Ingress::simple("bare.test", "bare").into());
    let gate = Headgate::start(&Manifests::of(objects));
    expect(&gate, &[("bare.test", "/", "bare")]);
    eventually("its metrics have a pod label all the same", || {
        gate.admin("/metrics").text().lines().any(|l| l.starts_with("headgate_requests_total{") && l.contains("pod="))
    });
}
