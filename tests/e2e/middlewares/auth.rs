//! Types that ask who the client is, or tell the backend of it: `digestAuth`, `forwardAuth`, `passTLSClientCert`.

use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::{Fixture, HOST, closes};
use crate::support::{
    Answer, Backend, Cert, Client, Headgate, HyperBackend, Ingress, Manifests, Middleware, Secret,
    backend::{Conn, answer},
    cert::Authority,
    client::request,
    eventually,
    manifests::service_of,
};

fn md5(text: &str) -> String {
    Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The line of `anna`, whose password is "secret".
fn anna(realm: &str) -> String {
    format!("anna:{realm}:{}\n", md5(&format!("anna:{realm}:secret")))
}

/// Through `digestAuth` with these lines of users and these other fields.
fn digest(users: &str, fields: Value) -> Fixture {
    let mut spec = json!({ "secret": "users" });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let secret = Secret::new("users", "Opaque", &[("users", users)]);
    Fixture::new(&["m"], [Middleware::new("m", json!({ "digestAuth": spec })).into(), secret.into()])
}

/// A client that knows a password.
struct Login<'a> {
    user: &'a str,
    password: &'a str,
    method: &'a str,
    target: &'a str,
    uri: &'a str,
    nonce: &'a str,
    count: u32,
}

impl<'a> Login<'a> {
    fn new(nonce: &'a str) -> Self {
        Self { user: "anna", password: "secret", method: "GET", target: "/a?b=c", uri: "/a?b=c", nonce, count: 1 }
    }

    #[track_caller]
    fn send(&self, gate: &Headgate, body: &[u8]) -> Answer {
        let Self { user, password, method, target, uri, nonce, count } = self;
        let (ha1, ha2) = (md5(&format!("{user}:traefik:{password}")), md5(&format!("{method}:{uri}")));
        let response = md5(&format!("{ha1}:{nonce}:{count:08x}:cn:auth:{ha2}"));
        let authorization = format!(
            "Digest username=\"{user}\", realm=\"traefik\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, \
             response=\"{response}\", qop=auth, nc={count:08x}, cnonce=\"cn\""
        );
        gate.send(method, HOST, target, &[("Authorization", &authorization), ("X-User", "root")], body)
    }

    fn status(&self, gate: &Headgate) -> u16 {
        self.send(gate, b"").status
    }
}

/// The nonce of a challenge, and whether it says stale.
#[track_caller]
fn challenge(answer: &Answer) -> (String, bool) {
    assert_eq!((answer.status, answer.text().as_str()), (401, "401 Unauthorized"));
    let text = answer.get("www-authenticate").unwrap();
    let rest = text.strip_prefix("Digest realm=\"traefik\", nonce=\"").unwrap_or_else(|| panic!("{text}"));
    let (nonce, rest) = rest.split_once('"').unwrap();
    let stale = rest == ", algorithm=MD5, qop=\"auth\", stale=true";
    assert!(stale || rest == ", algorithm=MD5, qop=\"auth\"", "{text}");
    (nonce.to_owned(), stale)
}

#[test]
fn digest_auth_takes_a_proof_of_the_password_once() {
    let fixture = digest(&anna("traefik"), json!({ "removeHeader": true, "headerField": "X-User" }));
    let gate = fixture.start();
    let (nonce, stale) = challenge(&gate.get(HOST, "/a?b=c"));
    assert!(!stale);
    let login = Login::new(&nonce);
    assert_eq!(login.send(&gate, b"").text(), "app");
    let seen = fixture.backend.only();
    assert_eq!((seen.get("authorization"), seen.head.all("x-user")), (None, vec!["anna"]));

    // Again with the same count: a listener has nothing of what was heard. Both workers know.
    for _ in 0..8 {
        let (other, stale) = challenge(&login.send(&gate, b""));
        assert!(stale && other != nonce);
    }
    for count in [5, 2, 3, 4] {
        assert_eq!(Login { count, ..Login::new(&nonce) }.status(&gate), 200, "{count}");
    }
    let post = Login { method: "POST", count: 6, ..Login::new(&nonce) };
    assert_eq!(post.send(&gate, b"body").status, 200);
    assert_eq!(fixture.backend.count(), 6);
}

#[test]
fn digest_auth_refuses_everything_else() {
    let fixture = digest(&anna("traefik"), json!({}));
    let gate = fixture.start();
    let (nonce, _) = challenge(&gate.get(HOST, "/"));
    let right = || Login::new(&nonce);
    for (what, login) in [
        ("another password", Login { password: "Secret", ..right() }),
        ("another user", Login { user: "sven", ..right() }),
        ("another target", Login { target: "/admin", ..right() }),
        ("another query", Login { target: "/a?b=d", ..right() }),
        ("the same path in another spelling", Login { target: "/x/../a?b=c", ..right() }),
        ("a path before it", Login { uri: "/", ..right() }),
    ] {
        let (_, stale) = challenge(&login.send(&gate, b""));
        assert!(!stale, "{what}");
    }
    let get_as_post = Login { method: "GET", ..right() }.send(&gate, b"");
    assert_eq!(get_as_post.status, 200);
    for nonce in ["", "abc", "dcd98b7102dd2f0e8b11d0f600bfb0c093"] {
        let (_, stale) = challenge(&Login::new(nonce).send(&gate, b""));
        assert!(stale, "right but for the nonce {nonce:?}");
    }
    for header in ["Digest", "Digest username=\"anna\"", "Basic YW5uYTpzZWNyZXQ=", "Bearer x"] {
        assert_eq!(gate.get_with(HOST, "/", &[("Authorization", header)]).status, 401, "{header:?}");
    }
    assert_eq!(fixture.backend.count(), 1);
}

#[test]
fn digest_auth_stands_before_a_rewrite_or_behind_it() {
    let strip = Middleware::new("strip", json!({ "stripPrefix": { "prefixes": ["/a"] } }));
    let auth = Middleware::new("auth", json!({ "digestAuth": { "secret": "users" } }));
    let secret = Secret::new("users", "Opaque", &[("users", &anna("traefik"))]);
    for order in [["auth", "strip"], ["strip", "auth"]] {
        let objects = [strip.clone().into(), auth.clone().into(), secret.clone().into()];
        let fixture = Fixture::new(&order, objects);
        let gate = fixture.start();
        let (nonce, _) = challenge(&gate.get(HOST, "/"));
        let login = Login { target: "/a//b/../c", uri: "/a//b/../c", ..Login::new(&nonce) };
        assert_eq!(login.status(&gate), 200, "{order:?}");
        assert_eq!(fixture.backend.only().target(), "/c");
    }
}

#[test]
fn digest_auth_takes_all_tries_of_a_request_for_one() {
    for outer in [
        json!({ "retry": { "attempts": 3, "status": ["503"] } }),
        json!({ "buffering": { "retryExpression": "ResponseCode() == 503 && Attempts() <= 2" } }),
    ] {
        let secret = Secret::new("users", "Opaque", &[("users", &anna("traefik"))]);
        let auth = Middleware::new("auth", json!({ "digestAuth": { "secret": "users", "headerField": "X-User" } }));
        let backend = Backend::canned("app", answer(503, &[], b"app"));
        let mut objects = service_of("app", &[&backend]);
        objects.push(Ingress::simple(HOST, "app").middlewares(&["again", "auth"]).into());
        objects.extend([Middleware::new("again", outer.clone()).into(), auth.into(), secret.into()]);
        let fixture = Fixture { backend, manifests: Manifests::of(objects) };
        let gate = fixture.start();
        let (nonce, _) = challenge(&gate.get(HOST, "/a?b=c"));
        let login = Login::new(&nonce);
        assert_eq!(login.status(&gate), 503, "{outer}");
        let seen = fixture.backend.requests();
        assert_eq!(seen.len(), 3, "{outer}");
        assert!(seen.iter().all(|seen| seen.head.all("x-user") == ["anna"]), "{outer}");
        let (_, stale) = challenge(&login.send(&gate, b""));
        assert!(stale, "another request has it to itself: {outer}");
    }
}

#[test]
fn digest_auth_follows_its_secret() {
    let fixture = digest(&anna("traefik"), json!({}));
    let gate = fixture.start();
    let (nonce, _) = challenge(&gate.get(HOST, "/"));
    assert_eq!(Login::new(&nonce).status(&gate), 200);
    let mut objects = service_of("app", &[&fixture.backend]);
    let sven = format!("sven:traefik:{}", md5("sven:traefik:secret"));
    objects.extend([
        Value::from(Ingress::simple(HOST, "app").middlewares(&["m"])),
        Middleware::new("m", json!({ "digestAuth": { "secret": "users" } })).into(),
        Secret::new("users", "Opaque", &[("users", &sven)]).into(),
    ]);
    fixture.manifests.put("main", objects);
    let mut count = 1;
    eventually("the new user is in", || {
        count += 1;
        Login { user: "sven", count, ..Login::new(&nonce) }.status(&gate) == 200
    });
    let (_, stale) = challenge(&Login { count: count + 1, ..Login::new(&nonce) }.send(&gate, b""));
    assert!(!stale, "and the old one out");
}

#[test]
fn a_faulty_digest_auth_closes_the_route() {
    let auth = |fields: Value| Value::from(Middleware::new("m", json!({ "digestAuth": fields })));
    let named = || auth(json!({ "secret": "users" }));
    let users = |data: &[(&str, &str)]| Value::from(Secret::new("users", "Opaque", data));
    let line = anna("traefik");
    closes("no Secret named", [auth(json!({ "realm": "traefik" }))]);
    closes("no such Secret", [named()]);
    closes("a Secret without keys", [named(), users(&[])]);
    closes("a Secret with two keys", [named(), users(&[("a", &line), ("b", &line)])]);
    closes("nobody", [named(), users(&[("users", "# nobody\n")])]);
    closes("lines of basicAuth", [named(), users(&[("users", "anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")])]);
    closes("users of another realm", [named(), users(&[("users", &anna("other"))])]);
    closes("a hash that is none", [named(), users(&[("users", "anna:traefik:abc")])]);
    closes("a realm with a colon", [auth(json!({ "secret": "users", "realm": "a:b" })), users(&[("users", &line)])]);
    closes(
        "a header that is none",
        [auth(json!({ "secret": "users", "headerField": "X User" })), users(&[("users", &line)])],
    );
    let elsewhere = Value::from(Secret::new("users", "Opaque", &[("users", &line)]).namespace("other"));
    closes("a Secret of another namespace", [named(), elsewhere]);
}

#[test]
fn a_certificate_header_of_the_clients_own_never_reaches_the_backend() {
    let fixture = Fixture::one(json!({ "passTLSClientCert": { "pem": true, "info": { "sans": true } } }));
    let forged = [
        ("X-Forwarded-Tls-Client-Cert", "forged"),
        ("X_Forwarded_Tls_Client_Cert", "forged"),
        ("X-Forwarded-Tls-Client-Cert-Info", "forged"),
        ("X-Forwarded-Tls-Client-Cert_Info", "forged"),
        ("X.Forwarded.Tls.Client.Cert.Info", "forged"),
        ("X-Forwarded-Prefix", "kept"),
    ];
    // From a trusted peer they come as far as the middleware.
    for flags in [&["--trusted-ips", "127.0.0.0/8"][..], &[]] {
        let gate = Headgate::start_with(&fixture.manifests, flags);
        assert_eq!(gate.get_with(HOST, "/", &forged).status, 200);
        let seen = fixture.backend.requests().pop().unwrap();
        assert!(!seen.head.headers.iter().any(|(_, value)| value == "forged"), "{flags:?}: {:?}", seen.head.headers);
        assert_eq!(seen.get("x-forwarded-prefix").is_some(), !flags.is_empty());
    }
}

#[test]
fn trailers_never_bear_the_name_of_a_header_that_a_login_vouches_for() {
    let auth = server(200, &[], "");
    let forward = json!({ "forwardAuth": {
        "address": format!("http://{}/", auth.addr),
        "authResponseHeaders": ["X-User"],
        "authResponseHeadersRegex": "^X-Role-",
    } });
    let basic = json!({ "basicAuth": { "secret": "users", "headerField": "X-User" } });
    for (spec, left) in [(basic, "x-role-admin"), (forward, "")] {
        for outer in [json!({ "retry": { "attempts": 2, "status": ["500"] } }), json!({ "contentType": {} })] {
            let users = Secret::new("users", "Opaque", &[("users", "anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")]);
            let (outer, auth) = (Middleware::new("outer", outer), Middleware::new("auth", spec.clone()));
            let fixture = Fixture::new(&["outer", "auth"], [outer.into(), auth.into(), users.into()]);
            let gate = fixture.start();
            let sent = format!(
                "PUT / HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Basic YW5uYTpzZWNyZXQ=\r\n\
                 Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\
                 X-User: root\r\nx_user: root\r\nX-Role-Admin: root\r\nX-Sum: 7\r\n\r\n"
            );
            assert_eq!(gate.connect().send(sent).answer().status, 200);
            let seen = fixture.backend.only();
            let mut names: Vec<&str> = seen.trailers.iter().map(|(name, _)| name.as_str()).collect();
            names.sort_unstable();
            let expected: Vec<&str> = [left, "x-sum"].into_iter().filter(|name| !name.is_empty()).collect();
            assert_eq!((names, seen.body.as_slice()), (expected, &b"body"[..]), "{spec}");
        }
    }
}

/// `forwardAuth` that asks this server, with these other fields.
fn asking(auth: &Backend, fields: Value) -> Fixture {
    let mut spec = json!({ "address": format!("http://{}/verify?from=gate", auth.addr) });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    Fixture::one(json!({ "forwardAuth": spec }))
}

/// An auth server that gives this answer.
fn server(status: u16, headers: &[(&str, &str)], body: &str) -> Backend {
    Backend::canned("auth", answer(status, headers, body.as_bytes()))
}

#[test]
fn forward_auth_asks_by_get_with_the_requests_head() {
    let auth = server(200, &[("X-Auth-User", "anna")], "welcome");
    let fixture = asking(&auth, json!({ "authResponseHeaders": ["X-Auth-User"] }));
    let gate = fixture.start();
    let answer = gate.send(
        "POST",
        HOST,
        "/a/b?c=d",
        &[
            ("Cookie", "session=1"),
            ("Content-Type", "text/plain"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Uri", "/public"),
            ("X-Forwarded-Method", "OPTIONS"),
            ("X_Forwarded_Host", "other.test"),
        ],
        b"hello",
    );
    assert_eq!((answer.status, answer.text().as_str()), (200, "app"));
    let asked = auth.only();
    assert_eq!(asked.head.first, "GET /verify?from=gate HTTP/1.1");
    assert_eq!(asked.head.all("host"), [auth.addr.to_string()]);
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/a/b?c=d"),
        ("x-forwarded-host", HOST),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "80"),
        ("x-forwarded-for", "127.0.0.1"),
        ("cookie", "session=1"),
        ("content-type", "text/plain"),
    ] {
        assert_eq!(asked.head.all(name), [value], "{name}");
    }
    assert_eq!((asked.body.len(), asked.get("content-length"), asked.get("x_forwarded_host")), (0, None, None));
    let seen = fixture.backend.only();
    assert_eq!((seen.body.as_slice(), seen.get("x-auth-user")), (&b"hello"[..], Some("anna")));
    assert_eq!((seen.get("x-forwarded-uri"), seen.get("x-forwarded-method")), (None, None));
    assert_eq!(auth.connections(), 1);
}

#[test]
fn forward_auth_headers_are_never_the_clients() {
    let forged = [
        ("X-Auth-User", "root"),
        ("X_Auth_User", "root"),
        ("X-Auth_User", "root"),
        ("X.Auth.User", "root"),
        ("X-Role-Admin", "root"),
        ("x_role_admin", "root"),
        ("Authorization", "root"),
        ("X-Other", "kept"),
    ];
    let fields = json!({
        "authResponseHeaders": ["x-auth-user", "Authorization"],
        "authResponseHeadersRegex": "^X-Role-",
        "headerField": "X-Auth-User",
    });
    for (sent, expected) in [(&[][..], None), (&[("X-Auth-User", "anna"), ("X-Role-Reader", "yes")][..], Some("anna"))]
    {
        let auth = server(204, sent, "");
        let fixture = asking(&auth, fields.clone());
        let gate = Headgate::start_with(&fixture.manifests, &["--access-log", "json"]);
        assert_eq!(gate.get_with(HOST, "/", &forged).status, 200);
        let seen = fixture.backend.only();
        assert!(!seen.head.headers.iter().any(|(_, value)| value == "root"), "{:?}", seen.head.headers);
        assert_eq!((seen.get("x-auth-user"), seen.get("x-other")), (expected, Some("kept")));
        assert_eq!(seen.get("x-role-reader"), expected.map(|_| "yes"));
        eventually("the access log names the user", || {
            let user = format!("\"ClientUsername\":\"{}\"", expected.unwrap_or("-"));
            gate.log().iter().any(|line| line.contains("\"DownstreamStatus\":200") && line.contains(&user))
        });
    }
}

#[test]
fn forward_auth_gives_the_servers_refusal_to_the_client() {
    let headers = [
        ("Set-Cookie", "a=1; Path=/"),
        ("Set-Cookie", "b=2"),
        ("WWW-Authenticate", "Bearer realm=\"x\""),
        ("Location", "/login?rd=%2F"),
        ("Keep-Alive", "timeout=5"),
        ("Connection", "X-Hop"),
        ("X-Hop", "1"),
    ];
    for status in [302, 401, 403, 429, 503] {
        let auth = server(status, &headers, "go away");
        let fixture = asking(&auth, json!({}));
        let gate = fixture.start();
        let refused = gate.send("POST", HOST, "/", &[], b"unread");
        assert_eq!((refused.status, refused.text().as_str()), (status, "go away"));
        assert_eq!(refused.head.all("set-cookie"), ["a=1; Path=/", "b=2"]);
        assert_eq!(refused.get("www-authenticate"), Some("Bearer realm=\"x\""));
        assert_eq!(refused.get("location"), Some(&*format!("http://{}/login?rd=%2F", auth.addr)));
        assert_eq!((refused.get("keep-alive"), refused.get("x-hop")), (None, None));
        assert_eq!(fixture.backend.heads(), 0);
        let head = gate.connect().send(request("HEAD", "/", HOST, &[], b"")).bodiless();
        assert_eq!((head.status, fixture.backend.heads()), (status, 0));
    }
    let auth = server(302, &headers, "");
    let gate = asking(&auth, json!({ "preserveLocationHeader": true })).start();
    assert_eq!(gate.get(HOST, "/").get("location"), Some("/login?rd=%2F"));
    let auth = server(401, &headers, "");
    let gate = asking(&auth, json!({ "authSigninURL": "https://login.test/?a=b" })).start();
    let sent = gate.get(HOST, "/");
    assert_eq!(
        (sent.status, sent.get("location"), sent.get("set-cookie")),
        (302, Some("https://login.test/?a=b"), None)
    );
}

#[test]
fn forward_auth_lets_nobody_pass_while_its_server_fails() {
    let mut auth = server(200, &[], "");
    let fixture = asking(&auth, json!({}));
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/").status, 200);
    auth.refuse();
    let refused = gate.get(HOST, "/");
    assert_eq!((refused.status, refused.body.len()), (500, 0));
    assert_eq!(gate.send("POST", HOST, "/", &[], b"unread").status, 500);
    assert_eq!(fixture.backend.count(), 1);
    auth.resume();
    gate.until(HOST, "/", "it passes again", |answer| answer.status == 200);

    for (what, bytes) in [
        ("no HTTP", &b"hello\r\n\r\n"[..]),
        ("a switch of protocols", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
        ("an answer that breaks off", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
    ] {
        let auth = Backend::scripted("auth", move |conn: &mut Conn| {
            conn.request()?;
            conn.write(bytes)
        });
        let fixture = asking(&auth, json!({}));
        let gate = fixture.start();
        assert_eq!(gate.get(HOST, "/").status, 500, "{what}");
        assert_eq!(fixture.backend.heads(), 0, "{what}");
    }
}

#[test]
fn forward_auth_asks_a_service_by_its_name() {
    let auth = server(200, &[], "");
    let spec = |host: &str| json!({ "forwardAuth": { "address": format!("http://{host}/verify") } });
    for host in ["auth.default.svc.cluster.local", "auth.default.svc:80", "Auth.Default.svc.cluster.local."] {
        let mut objects = service_of("auth", &[&auth]);
        objects.push(Middleware::new("m", spec(host)).into());
        let fixture = Fixture::new(&["m"], objects);
        assert_eq!(fixture.start().get(HOST, "/").status, 200, "{host}");
        assert_eq!(auth.requests().pop().unwrap().head.all("host"), [host], "{host}");
    }
    // One without endpoints can't be asked.
    let mut objects = service_of("auth", &[]);
    objects.push(Middleware::new("m", spec("auth.default.svc.cluster.local")).into());
    let fixture = Fixture::new(&["m"], objects);
    assert_eq!(fixture.start().get(HOST, "/").status, 500);
    assert_eq!(fixture.backend.heads(), 0);
}

#[test]
fn forward_auth_needs_no_body_of_an_answer() {
    // Chunked and without end: nobody can wait for it.
    let auth = || {
        Backend::scripted("auth", |conn: &mut Conn| {
            conn.request()?;
            conn.write("HTTP/1.1 200 OK\r\nX-Auth-User: anna\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let piece = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
            loop {
                conn.write(&piece)?;
            }
        })
    };
    let endless = auth();
    let fixture = asking(&endless, json!({ "authResponseHeaders": ["X-Auth-User"] }));
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/").status, 200);
    assert_eq!(fixture.backend.only().get("x-auth-user"), Some("anna"));

    let endless = auth();
    let fixture = asking(&endless, json!({ "maxResponseBodySize": 1_000_000 }));
    let gate = fixture.start();
    let refused = gate.get(HOST, "/");
    assert_eq!((refused.status, refused.body.len(), fixture.backend.heads()), (401, 0, 0));

    // Of a refusal, all of it is the client's.
    let long = "x".repeat(3_000_000);
    let auth = server(403, &[], &long);
    let fixture = asking(&auth, json!({}));
    assert_eq!(fixture.start().get(HOST, "/").body.len(), long.len());
}

#[test]
fn forward_auth_and_the_backend_see_one_path() {
    let auth = server(200, &[], "");
    let fixture = asking(&auth, json!({}));
    let gate = fixture.start();
    for (sent, seen) in [
        ("/public/../admin", "/admin"),
        ("/public/%2e%2e/admin?x=/../y", "/admin?x=/../y"),
        ("/public/.%2E//admin", "/admin"),
        ("//admin/./", "/admin/"),
        ("/%61dmin", "/admin"),
        ("/public/..%2Fadmin", "/public/..%2Fadmin"),
        ("/../admin", "/admin"),
    ] {
        assert_eq!(gate.get(HOST, sent).status, 200, "{sent}");
        let asked = auth.requests().pop().unwrap();
        let reached = fixture.backend.requests().pop().unwrap();
        assert_eq!((asked.head.all("x-forwarded-uri"), reached.target()), (vec![seen], seen), "{sent}");
    }
    // Behind a rewrite, the server sees what the backend will see.
    let strip = Middleware::new("strip", json!({ "stripPrefix": { "prefixes": ["/app"] } }));
    let auth_first = json!({ "forwardAuth": { "address": format!("http://{}/", auth.addr) } });
    for (order, seen) in [(["strip", "m"], "/x"), (["m", "strip"], "/app/x")] {
        let fixture = Fixture::new(&order, [strip.clone().into(), Middleware::new("m", auth_first.clone()).into()]);
        assert_eq!(fixture.start().get(HOST, "/app/x").status, 200);
        assert_eq!(auth.requests().pop().unwrap().head.all("x-forwarded-uri"), [seen]);
        assert_eq!(fixture.backend.only().target(), "/x");
    }
}

#[test]
fn forward_auth_believes_a_trusted_proxy_if_it_is_told_to() {
    let auth = server(200, &[], "");
    let sent = [
        ("X-Forwarded-For", "192.0.2.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outer.test"),
        ("X-Forwarded-Uri", "/outer"),
        ("X-Forwarded-Method", "PUT"),
    ];
    let fixture = asking(&auth, json!({ "trustForwardHeader": false }));
    let gate = Headgate::start_with(&fixture.manifests, &["--trusted-ips", "127.0.0.1"]);
    let odd = [
        ("X-Real-Ip", "192.0.2.8"),
        ("X_Forwarded_For", "192.0.2.8"),
        ("X-Forwarded_Uri", "/odd"),
        ("X-Forwarded-Prefix", "/odd"),
    ];
    assert_eq!(gate.get_with(HOST, "/x", &[&sent[..], &odd[..]].concat()).status, 200);
    let asked = auth.requests().pop().unwrap();
    let passed_on = |value: &str| odd.iter().any(|(_, sent)| *sent == value);
    assert!(!asked.head.headers.iter().any(|(_, value)| passed_on(value)), "{:?}", asked.head.headers);
    for (trust, flags, expected) in [
        (
            json!(true),
            &["--trusted-ips", "127.0.0.1"][..],
            ["192.0.2.7, 127.0.0.1", "https", "outer.test", "/outer", "PUT"],
        ),
        (json!(false), &["--trusted-ips", "127.0.0.1"][..], ["127.0.0.1", "https", HOST, "/x", "GET"]),
        (json!(true), &[][..], ["127.0.0.1", "http", HOST, "/x", "GET"]),
    ] {
        let fixture = asking(&auth, json!({ "trustForwardHeader": trust, "authRequestHeaders": ["Accept"] }));
        let gate = Headgate::start_with(&fixture.manifests, flags);
        assert_eq!(
            gate.get_with(HOST, "/x", &[&sent[..], &[("Accept", "text/css"), ("Cookie", "a=1")]].concat()).status,
            200
        );
        let asked = auth.requests().pop().unwrap();
        let seen: Vec<_> = sent.iter().flat_map(|(name, _)| asked.head.all(name)).collect();
        assert_eq!(seen, expected, "{trust} {flags:?}");
        assert_eq!((asked.get("accept"), asked.get("cookie")), (Some("text/css"), None));
    }
}

#[test]
fn forward_auth_can_send_the_body_as_well() {
    let auth = server(200, &[], "");
    let fixture = asking(&auth, json!({ "forwardBody": true, "maxBodySize": 100_000, "preserveRequestMethod": true }));
    let gate = fixture.start();
    let chunked = |chunks: &[&[u8]]| {
        let mut bytes = request("PUT", "/", HOST, &[("Transfer-Encoding", "chunked")], b"");
        for chunk in chunks {
            bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        }
        bytes.extend(b"0\r\n\r\n");
        gate.connect().send(bytes).answer().status
    };
    let long = vec![b'x'; 100_000];
    assert_eq!(gate.send("PUT", HOST, "/", &[], &long).status, 200);
    assert_eq!(chunked(&[&long[..60_000], &long[60_000..]]), 200);
    let mut waiting = gate.connect();
    waiting.send(request("PUT", "/", HOST, &[("Expect", "100-continue")], &long));
    let mut status = waiting.wire.head().unwrap().unwrap().first;
    if status.starts_with("HTTP/1.1 100") {
        status = waiting.wire.head().unwrap().unwrap().first;
    }
    assert_eq!(status, "HTTP/1.1 200 OK");
    for seen in auth.requests().iter().chain(&fixture.backend.requests()) {
        assert_eq!((seen.method(), seen.get("content-length")), ("PUT", Some("100000")));
        assert!(seen.body == long);
    }
    // Nothing of a longer one is sent anywhere.
    for status in [gate.send("PUT", HOST, "/", &[], &[&long[..], b"x"].concat()).status, chunked(&[&long, b"x"])] {
        assert_eq!(status, 401);
    }
    assert_eq!((auth.heads(), fixture.backend.heads()), (3, 3));
    let nobody = gate.send("POST", HOST, "/", &[], b"");
    assert_eq!(nobody.status, 200);
    assert_eq!(auth.requests().pop().unwrap().get("content-length"), Some("0"));
}

#[test]
fn forward_auth_can_give_cookies_to_the_client() {
    let auth = server(200, &[("Set-Cookie", "session=new; Path=/"), ("Set-Cookie", "internal=1")], "");
    let mut fixture = asking(&auth, json!({ "addAuthCookiesToResponse": ["session", "other"] }));
    let app = answer(200, &[("Set-Cookie", "session=old"), ("Set-Cookie", "theme=x")], b"app");
    fixture.backend = Backend::canned("app", app);
    let mut objects = service_of("app", &[&fixture.backend]);
    objects.push(Ingress::simple("two.test", "app").middlewares(&["m"]).into());
    let spec = json!({ "forwardAuth": {
        "address": format!("http://{}/", auth.addr), "addAuthCookiesToResponse": ["session", "other"],
    } });
    objects.push(Middleware::new("m", spec).into());
    let gate = Headgate::start(&Manifests::of(objects));
    let answer = gate.get("two.test", "/");
    assert_eq!(answer.head.all("set-cookie"), ["theme=x", "session=new; Path=/"]);
}

#[test]
fn forward_auth_lets_a_websocket_through() {
    let auth = server(200, &[("X-Auth-User", "anna"), ("Set-Cookie", "a=1")], "");
    let backend = Backend::scripted("app", |conn: &mut Conn| {
        let Some(head) = conn.head()? else { return Ok(()) };
        let user = head.get("x-auth-user").unwrap_or("nobody").to_owned();
        conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")?;
        let said = conn.wire.exact(5)?;
        conn.write([user.as_bytes(), b":", &said].concat())
    });
    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    let spec = json!({ "forwardAuth": {
        "address": format!("http://{}/", auth.addr),
        "authResponseHeaders": ["X-Auth-User"],
        "addAuthCookiesToResponse": ["a"],
    } });
    objects.push(Middleware::new("m", spec).into());
    let gate = Headgate::start(&Manifests::of(objects));
    let mut client: Client = gate.connect();
    client.send(request("GET", "/ws", HOST, &[("Connection", "Upgrade"), ("Upgrade", "websocket")], b""));
    let head = client.wire.head().unwrap().unwrap();
    assert!(head.first.starts_with("HTTP/1.1 101"), "{head:?}");
    assert_eq!(head.get("set-cookie"), None);
    client.wire.write(b"hello").unwrap();
    assert_eq!(client.wire.exact(10).unwrap(), b"anna:hello");
    let asked = auth.only();
    assert_eq!((asked.method(), asked.get("connection"), asked.get("upgrade")), ("GET", None, None));
}

#[test]
fn forward_auth_checks_its_server_over_tls() {
    let cert = Cert::new(&["127.0.0.1"]);
    let (auth, own, strange) = (HyperBackend::tls("auth", &cert, &[b"http/1.1"]), cert.pem, Cert::new(&["x"]).pem);
    let ask = |tls: Value, secrets: &[(&str, &str)]| {
        let spec = json!({ "forwardAuth": { "address": format!("https://{}/verify", auth.addr), "tls": tls } });
        let secrets = secrets.iter().map(|(key, pem)| Secret::new("ca", "Opaque", &[(*key, *pem)]).into());
        Fixture::new(&["m"], secrets.chain([Middleware::new("m", spec).into()]).collect::<Vec<Value>>())
    };
    for (tls, secrets, expected) in [
        (json!({ "caSecret": "ca" }), &[("ca.crt", own.as_str())][..], 200),
        (json!({ "caSecret": "ca" }), &[("tls.ca", &own)], 200),
        (json!({ "insecureSkipVerify": true }), &[], 200),
        (json!({ "caSecret": "ca" }), &[("ca.crt", &strange)], 500),
        (json!({ "insecureSkipVerify": false }), &[], 500),
        (json!({}), &[], 500),
        (json!({ "caSecret": "ca" }), &[], 503),
        (json!({ "caSecret": "ca" }), &[("ca.crt", "no certificate")], 503),
        (json!({ "certSecret": "ca" }), &[("ca.crt", &own)], 503),
    ] {
        let fixture = ask(tls.clone(), secrets);
        assert_eq!(fixture.start().get(HOST, "/").status, expected, "{tls} {secrets:?}");
        assert_eq!(fixture.backend.heads(), usize::from(expected == 200), "{tls} {secrets:?}");
    }
}

#[test]
fn forward_auth_shows_a_certificate_to_its_server() {
    let authority = Authority::new("auth's clients");
    let (own, ours) = (authority.issue(&["127.0.0.1"]), authority.issue(&["gate.test"]));
    for alpn in [&b"h2"[..], b"http/1.1"] {
        let auth = HyperBackend::tls_of("auth", authority.server_config(&own, &[alpn]));
        let with = |tls: Value| {
            let spec = json!({ "forwardAuth": { "address": format!("https://{}/verify?x=1", auth.addr), "tls": tls } });
            Fixture::new(
                &["m"],
                [
                    Middleware::new("m", spec).into(),
                    Secret::new("ca", "Opaque", &[("tls.ca", &authority.pem)]).into(),
                    Secret::tls("ours", &ours).into(),
                ],
            )
        };
        let without = with(json!({ "caSecret": "ca" }));
        assert_eq!((without.start().get(HOST, "/").status, without.backend.heads()), (500, 0));
        let fixture = with(json!({ "caSecret": "ca", "certSecret": "ours" }));
        assert_eq!(fixture.start().get(HOST, "/x").status, 200);
        assert_eq!(auth.peer().certificate, Some(ours.der.clone()));
        let asked = auth.only();
        assert_eq!(asked.uri.path_and_query().unwrap(), "/verify?x=1");
        assert_eq!(asked.headers["x-forwarded-uri"], "/x");
        let host = asked.uri.authority().map(ToString::to_string);
        let host = host.unwrap_or_else(|| asked.headers["host"].to_str().unwrap().to_owned());
        assert_eq!(host, auth.addr.to_string());
    }
}

#[test]
fn a_faulty_forward_auth_closes_the_route() {
    let auth = |fields: Value| [Value::from(Middleware::new("m", json!({ "forwardAuth": fields })))];
    closes("no address", auth(json!({ "forwardBody": true })));
    for address in ["", "auth", "/verify", "ftp://auth/", "http://u:p@auth/", "http://auth:0/", "http://auth/%zz"] {
        closes(address, auth(json!({ "address": address })));
    }
    let with = |name: &str, value: Value| {
        let mut fields = json!({ "address": "http://127.0.0.1:9/" });
        fields[name] = value;
        auth(fields)
    };
    closes("a name that is none", with("authResponseHeaders", json!(["X Y"])));
    closes("a name that is the proxy's", with("authResponseHeaders", json!(["Content-Length"])));
    closes("a name that is none", with("authRequestHeaders", json!([""])));
    closes("no regular expression", with("authResponseHeadersRegex", json!("(")));
    closes("a name that is none", with("headerField", json!("X Y")));
    closes("no URL", with("authSigninURL", json!("https://login.test/a b")));
    closes("no number", with("maxBodySize", json!("1k")));
}
