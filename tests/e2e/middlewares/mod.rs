//! Traefik's middlewares on real requests: what they do, in which order, and that a faulty one closes its route.

mod auth;
mod bodies;
mod limits;
mod paths;
mod resilience;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{Answer, Backend, Headgate, Ingress, Manifests, Middleware, Secret, manifests::service_of};

pub(crate) const HOST: &str = "m.test";

/// A backend behind these middlewares of namespace `default`, in this order.
pub(crate) struct Fixture {
    pub(crate) backend: Backend,
    pub(crate) manifests: Manifests,
}

impl Fixture {
    pub(crate) fn new(order: &[&str], objects: impl IntoIterator<Item = Value>) -> Self {
        let backend = Backend::named("app");
        let mut all = service_of("app", &[&backend]);
        all.push(Ingress::simple(HOST, "app").middlewares(order).into());
        all.extend(objects);
        Self { backend, manifests: Manifests::of(all) }
    }

    /// One middleware named `m`.
    pub(crate) fn one(spec: Value) -> Self {
        Self::new(&["m"], [Middleware::new("m", spec).into()])
    }

    pub(crate) fn start(&self) -> Headgate {
        Headgate::start(&self.manifests)
    }
}

/// Asserts that a faulty `m` closes the route, and that the backend has nothing.
#[track_caller]
pub(crate) fn closes(what: &str, objects: impl IntoIterator<Item = Value>) {
    let fixture = Fixture::new(&["m"], objects);
    let gate = fixture.start();
    let answer = gate.get(HOST, "/");
    assert_eq!(answer.status, 503, "{what}: {}", answer.text());
    assert_eq!(fixture.backend.heads(), 0, "{what}");
    let said = gate.api("/api/diagnostics").to_string();
    assert!(said.contains('m') && said.contains("error"), "{what}: {said}");
}

#[test]
fn headers_set_and_delete_on_both_sides() {
    let fixture = Fixture::one(json!({ "headers": {
        "customRequestHeaders": { "X-Set": "yes", "X-Gone": "", "X-Over": "ours" },
        "customResponseHeaders": { "X-Answer": "yes", "Server": "" },
        "frameDeny": true,
        "contentTypeNosniff": true,
        "referrerPolicy": "no-referrer",
    } }));
    let gate = fixture.start();
    let answer = gate.get_with(HOST, "/", &[("X-Gone", "1"), ("X-Over", "theirs")]);
    let seen = fixture.backend.only();
    assert_eq!((seen.get("x-set"), seen.get("x-gone")), (Some("yes"), None));
    assert_eq!(seen.head.all("x-over"), ["ours"]);
    assert_eq!((answer.get("x-answer"), answer.get("server")), (Some("yes"), None));
    assert_eq!(answer.get("x-frame-options"), Some("DENY"));
    assert_eq!(answer.get("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.get("referrer-policy"), Some("no-referrer"));
}

#[test]
fn headers_answer_a_cors_preflight_themselves() {
    let fixture = Fixture::one(json!({ "headers": {
        "accessControlAllowMethods": ["GET", "PUT"],
        "accessControlAllowOriginList": ["https://good.test"],
        "accessControlMaxAge": 100,
        "addVaryHeader": true,
    } }));
    let gate = fixture.start();
    let preflight = |origin: &str| {
        gate.send("OPTIONS", HOST, "/", &[("Origin", origin), ("Access-Control-Request-Method", "PUT")], b"")
    };
    let good = preflight("https://good.test");
    assert_eq!((good.status, good.body.len()), (200, 0));
    assert_eq!(good.get("access-control-allow-origin"), Some("https://good.test"));
    assert_eq!(good.get("access-control-allow-methods"), Some("GET,PUT"));
    assert_eq!(good.get("access-control-max-age"), Some("100"));
    assert_eq!(preflight("https://evil.test").get("access-control-allow-origin"), None);
    assert_eq!(fixture.backend.heads(), 0);

    let plain = gate.get_with(HOST, "/", &[("Origin", "https://good.test")]);
    assert_eq!(plain.get("access-control-allow-origin"), Some("https://good.test"));
    assert_eq!(plain.get("vary"), Some("Origin"));
}

#[test]
fn strict_transport_security_is_said_over_tls_only() {
    let fixture = Fixture::one(json!({ "headers": { "stsSeconds": 600, "stsIncludeSubdomains": true } }));
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/").get("strict-transport-security"), None);
    let secure = gate.https(HOST, "/");
    assert_eq!(secure.get("strict-transport-security"), Some("max-age=600; includeSubDomains"));
}

#[test]
fn redirect_scheme_sends_to_https() {
    for (spec, get, post, location) in [
        (json!({ "scheme": "https" }), 302, 307, "https://m.test/x?y=1"),
        (json!({ "scheme": "https", "permanent": true }), 301, 308, "https://m.test/x?y=1"),
        (json!({ "scheme": "https", "port": "8443" }), 302, 307, "https://m.test:8443/x?y=1"),
        (json!({ "scheme": "https", "port": "443" }), 302, 307, "https://m.test/x?y=1"),
    ] {
        let fixture = Fixture::one(json!({ "redirectScheme": spec }));
        let gate = fixture.start();
        for host in [HOST, "m.test:80", "m.test:8080"] {
            let answer = gate.get(host, "/x?y=1");
            assert_eq!((answer.status, answer.get("location")), (get, Some(location)), "{spec} for {host}");
        }
        assert_eq!(gate.send("POST", HOST, "/", &[], b"x").status, post, "{spec}");
        assert_eq!(fixture.backend.heads(), 0);
        if spec.get("port").is_none() {
            assert_eq!(gate.https(HOST, "/").text(), "app", "already there");
        }
    }
}

#[test]
fn strip_prefix_takes_the_first_that_fits() {
    let fixture = Fixture::one(json!({ "stripPrefix": { "prefixes": ["/api", "/v1"] } }));
    let gate = fixture.start();
    for (sent, forwarded, prefix) in [
        ("/api/x?y=1", "/x?y=1", Some("/api")),
        ("/v1/x", "/x", Some("/v1")),
        ("/api", "/", Some("/api")),
        ("/api/", "/", Some("/api")),
        ("/api/v1/x", "/v1/x", Some("/api")),
        ("/other", "/other", None),
        ("/api/a%2Fb", "/a%2Fb", Some("/api")),
    ] {
        assert_eq!(gate.get(HOST, sent).status, 200, "{sent}");
        let seen = fixture.backend.requests().pop().unwrap();
        assert_eq!((seen.target(), seen.get("x-forwarded-prefix")), (forwarded, prefix), "{sent}");
    }
    let before = fixture.backend.heads();
    assert_eq!(gate.get(HOST, "/api../x").status, 400, "it would leave the root");
    assert_eq!(fixture.backend.heads(), before);
}

/// `user:pass` of a Secret, through `basicAuth` with these other fields.
fn auth(users: &str, fields: Value) -> Fixture {
    let mut spec = json!({ "secret": "users" });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    Fixture::new(
        &["m"],
        [
            Middleware::new("m", json!({ "basicAuth": spec })).into(),
            Secret::new("users", "Opaque", &[("users", users)]).into(),
        ],
    )
}

#[track_caller]
fn login(gate: &Headgate, credentials: &str) -> Answer {
    gate.get_with(HOST, "/", &[("Authorization", &format!("Basic {}", STANDARD.encode(credentials)))])
}

#[test]
fn basic_auth_takes_each_kind_of_hash() {
    // As `openssl passwd -apr1`, `htpasswd -s` and `htpasswd -B` write them, all of "secret".
    let bcrypt = bcrypt::hash_with_result("secret", 4).unwrap().format_for_version(bcrypt::Version::TwoY);
    let users = format!(
        "apr:$apr1$5ZxUbGYM$1IMUnVvZ48CxJWZ0e6B6s0\n# a comment\n\nsha:{{SHA}}5en6G6MezRroT3XKqkdPOmY/BfQ=\nbcrypt:{bcrypt}\n"
    );
    let fixture = auth(&users, json!({}));
    let gate = fixture.start();
    for user in ["apr", "sha", "bcrypt"] {
        assert_eq!(login(&gate, &format!("{user}:secret")).text(), "app", "{user}");
        assert_eq!(login(&gate, &format!("{user}:secret")).text(), "app", "{user} again");
        assert_eq!(login(&gate, &format!("{user}:Secret")).status, 401, "{user}");
    }
    let passed = fixture.backend.requests();
    assert!(passed.iter().all(|r| r.get("authorization").is_some()), "passed on, as Traefik does");
}

#[test]
fn basic_auth_refuses_everything_else() {
    let fixture = auth("sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", json!({ "realm": "the \"vault\"" }));
    let gate = fixture.start();
    let refused = gate.get(HOST, "/");
    assert_eq!((refused.status, refused.text().as_str()), (401, "401 Unauthorized"));
    assert_eq!(refused.get("www-authenticate"), Some("Basic realm=\"the \\\"vault\\\"\""));
    for credentials in ["sha:", "sha", ":secret", "", "nobody:secret", "sha:secret ", "SHA:secret"] {
        assert_eq!(login(&gate, credentials).status, 401, "{credentials:?}");
    }
    for header in ["Bearer x", "Basic", "Basic ###", "Digest username=\"sha\""] {
        assert_eq!(gate.get_with(HOST, "/", &[("Authorization", header)]).status, 401, "{header:?}");
    }
    assert_eq!(fixture.backend.heads(), 0);
    assert_eq!(gate.send("POST", HOST, "/", &[], b"unread").status, 401);
}

#[test]
fn basic_auth_can_hide_the_password_and_name_the_user() {
    let users = "sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let fixture = auth(users, json!({ "removeHeader": true, "headerField": "X-User" }));
    let gate = fixture.start();
    let credentials = format!("Basic {}", STANDARD.encode("sha:secret"));
    let answer = gate.get_with(HOST, "/", &[("Authorization", &credentials), ("X-User", "root")]);
    assert_eq!(answer.status, 200);
    let seen = fixture.backend.only();
    assert_eq!(seen.get("authorization"), None);
    assert_eq!(seen.head.all("x-user"), ["sha"]);
}

#[test]
fn basic_auth_takes_a_secret_of_its_own_type() {
    let secret = Secret::new("users", "kubernetes.io/basic-auth", &[("username", "sha"), ("password", "secret")]);
    let middleware = Middleware::new("m", json!({ "basicAuth": { "secret": "users" } }));
    let fixture = Fixture::new(&["m"], [middleware.into(), secret.into()]);
    let gate = fixture.start();
    assert_eq!(login(&gate, "sha:secret").text(), "app");
    assert_eq!(login(&gate, "sha:other").status, 401);
}

#[test]
fn a_changed_secret_counts_at_once() {
    let fixture = auth("sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", json!({}));
    let gate = fixture.start();
    assert_eq!(login(&gate, "sha:secret").status, 200);
    let mut objects = service_of("app", &[&fixture.backend]);
    objects.extend([
        Value::from(Ingress::simple(HOST, "app").middlewares(&["m"])),
        Middleware::new("m", json!({ "basicAuth": { "secret": "users" } })).into(),
        Secret::new("users", "Opaque", &[("users", "other:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")]).into(),
    ]);
    fixture.manifests.put("main", objects);
    crate::support::eventually("the new user is in", || login(&gate, "other:secret").status == 200);
    assert_eq!(login(&gate, "sha:secret").status, 401, "and the old one out, remembered or not");
}

#[test]
fn a_chain_runs_in_its_order() {
    let set = |name: &str, value: &str| {
        Value::from(Middleware::new(name, json!({ "headers": { "customRequestHeaders": { "X-Last": value } } })))
    };
    let chain = json!({ "chain": { "middlewares": [{ "name": "first" }, { "name": "second" }] } });
    let fixture = Fixture::new(
        &["m", "strip"],
        [
            set("first", "first"),
            set("second", "second"),
            Middleware::new("m", chain).into(),
            Middleware::new("strip", json!({ "stripPrefix": { "prefixes": ["/a"] } })).into(),
        ],
    );
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/a/b").status, 200);
    let seen = fixture.backend.only();
    assert_eq!((seen.get("x-last"), seen.target()), (Some("second"), "/b"));
}

#[test]
fn the_order_of_the_annotation_is_the_order_of_the_request() {
    let strip = |name: &str, prefix: &str| {
        Value::from(Middleware::new(name, json!({ "stripPrefix": { "prefixes": [prefix] } })))
    };
    let fixture = Fixture::new(&["outer", "inner"], [strip("outer", "/a"), strip("inner", "/b")]);
    let gate = fixture.start();
    for (sent, forwarded) in [("/a/b/c", "/c"), ("/b/a/c", "/a/c")] {
        assert_eq!(gate.get(HOST, sent).status, 200);
        assert_eq!(fixture.backend.requests().pop().unwrap().target(), forwarded);
    }
}

#[test]
fn names_with_dots_and_dashes_are_found() {
    let headers = json!({ "headers": { "customRequestHeaders": { "X-Set": "yes" } } });
    for (namespace, name, reference) in [
        ("default", "my.mw", "default-my-mw@kubernetescrd"),
        ("default", "a-b-c", "default-a-b-c@kubernetescrd"),
        ("other-ns", "mw", "other-ns-mw@kubernetescrd"),
    ] {
        let backend = Backend::named("app");
        let mut objects = service_of("app", &[&backend]);
        objects.extend([
            Value::from(Middleware::new(name, headers.clone()).namespace(namespace)),
            Ingress::simple(HOST, "app").traefik("router.middlewares", reference).into(),
        ]);
        let gate = Headgate::start(&Manifests::of(objects));
        assert_eq!(gate.get(HOST, "/").status, 200, "{reference}");
        assert_eq!(backend.only().get("x-set"), Some("yes"), "{reference}");
    }
}

#[test]
fn a_reference_that_two_objects_answer_to_closes_the_route() {
    let headers = json!({ "headers": { "customRequestHeaders": { "X-Set": "yes" } } });
    let backend = Backend::named("app");
    let mut objects = service_of("app", &[&backend]);
    objects.extend([
        Value::from(Middleware::new("b-mw", headers.clone()).namespace("a")),
        Middleware::new("mw", headers).namespace("a-b").into(),
        Ingress::simple(HOST, "app").traefik("router.middlewares", "a-b-mw@kubernetescrd").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.get(HOST, "/").status, 503);
    assert_eq!(backend.heads(), 0);
}

#[test]
fn what_is_missing_or_faulty_closes_the_route() {
    let auth = || Value::from(Middleware::new("m", json!({ "basicAuth": { "secret": "users" } })));
    let m = |spec: Value| Value::from(Middleware::new("m", spec));
    closes("no such middleware", []);
    closes("no Secret", [auth()]);
    closes("a Secret without users", [auth(), Secret::new("users", "Opaque", &[("users", "\n")]).into()]);
    closes("a hash of no known kind", [auth(), Secret::new("users", "Opaque", &[("users", "a:$9$x")]).into()]);
    closes("two types", [m(json!({ "stripPrefix": { "prefixes": ["/a"] }, "redirectScheme": { "scheme": "https" } }))]);
    closes("no type", [m(json!({}))]);
    closes("an unknown type", [m(json!({ "stripPrefx": { "prefixes": ["/a"] } }))]);
    closes("a redirect without a scheme", [m(json!({ "redirectScheme": { "permanent": true } }))]);
    closes("headers without a field", [m(json!({ "headers": {} }))]);
    closes("a header name that is none", [m(json!({ "headers": { "customRequestHeaders": { "X Y": "1" } } }))]);
    closes("a field of the wrong type", [m(json!({ "stripPrefix": { "prefixes": 7 } }))]);
    closes("a chain with a missing link", [m(json!({ "chain": { "middlewares": [{ "name": "nowhere" }] } }))]);
    closes("a chain that holds itself", [m(json!({ "chain": { "middlewares": [{ "name": "m" }] } }))]);
    closes("sticky with a cookie of the wrong shape", [m(json!({ "sticky": { "cookie": 7 } }))]);
}

#[test]
fn a_reference_of_another_provider_closes_the_route() {
    for reference in ["default-m@file", "default-m", "m@kubernetescrd"] {
        let backend = Backend::named("app");
        let mut objects = service_of("app", &[&backend]);
        objects.extend([
            Value::from(Middleware::new("m", json!({ "stripPrefix": { "prefixes": ["/a"] } }))),
            Ingress::simple(HOST, "app").traefik("router.middlewares", reference).into(),
        ]);
        let gate = Headgate::start(&Manifests::of(objects));
        assert_eq!(gate.get(HOST, "/").status, 503, "{reference}");
        assert_eq!(backend.heads(), 0);
    }
}
