//! Who may come (`ipAllowList`), how often (`rateLimit`), and how many at once (`inFlightReq`).

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};

use super::{Fixture, HOST, closes};
use crate::support::{
    Answer, Backend, Client, H2, Headgate, Ingress, Manifests, Middleware, eventually, h2::block_on,
    manifests::service_of, request,
};

/// A client of our choice on this machine.
fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, last).into()
}

/// A GET of `/` from 127.0.0.`last`.
#[track_caller]
fn from(gate: &Headgate, last: u8, headers: &[(&str, &str)]) -> Answer {
    Client::connect_from(address(last), gate.web()).get_with(HOST, "/", headers)
}

#[track_caller]
fn status(gate: &Headgate, headers: &[(&str, &str)]) -> u16 {
    gate.get_with(HOST, "/", headers).status
}

const TRUSTED: [&str; 2] = ["--trusted-ips", "127.0.0.1"];

#[test]
fn only_clients_on_the_list_pass() {
    for kind in ["ipAllowList", "ipWhiteList"] {
        let fixture = Fixture::one(json!({ kind: { "sourceRange": ["127.0.0.2", "127.0.0.4/31"] } }));
        let gate = fixture.start();
        for (client, allowed) in [(1, false), (2, true), (3, false), (4, true), (5, true), (6, false)] {
            let answer = from(&gate, client, &[]);
            let expected = if allowed { (200, "app") } else { (403, "Forbidden") };
            assert_eq!((answer.status, answer.text().as_str()), expected, "{kind}: 127.0.0.{client}");
        }
        assert_eq!(fixture.backend.heads(), 3, "{kind}");
        assert_eq!(gate.send("POST", HOST, "/", &[], b"unread").status, 403, "{kind}");
    }
}

#[test]
fn the_refusal_of_an_allow_list_can_have_another_status() {
    for (code, text) in [(404, "Not Found"), (503, "Service Unavailable"), (204, "")] {
        let fixture = Fixture::one(json!({ "ipAllowList": { "sourceRange": ["10.0.0.1"], "rejectStatusCode": code } }));
        let answer = fixture.start().get(HOST, "/");
        assert_eq!((answer.status, answer.text().as_str()), (code, text));
    }
}

#[test]
fn a_forged_address_opens_no_allow_list() {
    let fixture = Fixture::one(json!({ "ipAllowList": { "sourceRange": ["10.0.0.0/8", "127.0.0.2"] } }));
    let forged = [
        ("X-Forwarded-For", "10.0.0.1"),
        ("X_Forwarded_For", "10.0.0.1"),
        ("X-Real-Ip", "10.0.0.1"),
        ("Forwarded", "for=10.0.0.1"),
    ];
    let untrusted = fixture.start();
    assert_eq!(status(&untrusted, &forged), 403);
    assert_eq!(from(&untrusted, 2, &[("X-Forwarded-For", "192.0.2.1")]).status, 200, "nor does it close one");
    // Who is trusted speaks for others.
    let trusted = Headgate::start_with(&fixture.manifests, &TRUSTED);
    assert_eq!(status(&trusted, &[("X-Forwarded-For", "10.0.0.1")]), 200);
    assert_eq!(status(&trusted, &[("X-Forwarded-For", "10.0.0.1, 192.0.2.1")]), 403, "the client's own word");
    assert_eq!(status(&trusted, &[("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-For", "192.0.2.1")]), 403);
    assert_eq!(from(&trusted, 3, &forged).status, 403);
}

#[test]
fn a_trusted_proxy_is_not_taken_for_its_client() {
    // The proxy itself is on the list, and a client tries to hide behind it.
    let fixture = Fixture::one(json!({ "ipAllowList": { "sourceRange": ["127.0.0.1"] } }));
    let gate = Headgate::start_with(&fixture.manifests, &TRUSTED);
    assert_eq!(status(&gate, &[]), 200, "the proxy for itself");
    for hidden in ["\u{e9}, 192.0.2.1", "127.0.0.1, 192.0.2.1", "unknown, 192.0.2.1", ", 192.0.2.1"] {
        assert_eq!(status(&gate, &[("X-Forwarded-For", hidden)]), 403, "{hidden}");
    }
}

#[test]
fn an_allow_list_by_depth() {
    let list = json!({ "sourceRange": ["10.0.0.0/8"], "ipStrategy": { "depth": 2 } });
    let fixture = Fixture::one(json!({ "ipAllowList": list }));
    let trusted = Headgate::start_with(&fixture.manifests, &TRUSTED);
    for (forwarded, expected) in [
        ("10.0.0.1, 192.0.2.1", 200),
        ("10.0.0.1:80,192.0.2.1", 200),
        ("192.0.2.9, 10.0.0.1, 192.0.2.1", 200),
        ("10.0.0.1, 192.0.2.9, 192.0.2.1", 403),
        ("10.0.0.1", 403),
        ("nonsense, 10.0.0.1", 403),
    ] {
        assert_eq!(status(&trusted, &[("X-Forwarded-For", forwarded)]), expected, "{forwarded}");
    }
    let lines = [("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-For", "192.0.2.1")];
    assert_eq!(status(&trusted, &lines), 200, "lines are one list");
    assert_eq!(status(&trusted, &[]), 403, "too short");
    let untrusted = fixture.start();
    assert_eq!(status(&untrusted, &[("X-Forwarded-For", "10.0.0.1, 192.0.2.1")]), 403);
}

#[test]
fn an_allow_list_that_passes_proxies_over() {
    let list = json!({ "sourceRange": ["10.0.0.0/8"], "ipStrategy": { "excludedIPs": ["192.0.2.0/24"] } });
    let fixture = Fixture::one(json!({ "ipAllowList": list }));
    let gate = Headgate::start_with(&fixture.manifests, &TRUSTED);
    for (forwarded, expected) in [
        ("10.0.0.1, 192.0.2.1, 192.0.2.2", 200),
        ("10.0.0.1", 200),
        ("10.0.0.1, 198.51.100.1, 192.0.2.2", 403),
        ("10.0.0.1, unknown, 192.0.2.2", 403),
        ("192.0.2.1, 192.0.2.2", 403),
        ("", 403),
    ] {
        assert_eq!(status(&gate, &[("X-Forwarded-For", forwarded)]), expected, "{forwarded}");
    }
}

/// One request in an hour and no more, unless `fields` say otherwise: no test waits for a bucket to fill.
fn rare(fields: Value) -> Value {
    let mut limit = json!({ "average": 1, "period": "1h" });
    for (name, value) in fields.as_object().unwrap() {
        limit[name] = value.clone();
    }
    json!({ "rateLimit": limit })
}

#[test]
fn a_burst_passes_and_the_rest_is_told_when_to_come() {
    let fixture = Fixture::one(rare(json!({ "burst": 3 })));
    let gate = fixture.start();
    assert_eq!([(); 3].map(|()| gate.get(HOST, "/").status), [200; 3]);
    for method in ["GET", "POST"] {
        let answer = gate.send(method, HOST, "/", &[], if method == "POST" { b"unread" } else { b"" });
        assert_eq!((answer.status, answer.text().as_str()), (429, "Too Many Requests"));
        assert_eq!(answer.get("content-type"), Some("text/plain; charset=utf-8"));
        let seconds: u32 = answer.get("retry-after").unwrap().parse().unwrap();
        assert!((1..=3_600).contains(&seconds), "{seconds}");
        let text = answer.get("x-retry-in").unwrap();
        assert!(text.starts_with("59m") && text.ends_with('s'), "{text}");
    }
    assert_eq!(from(&gate, 2, &[]).status, 200, "another client has a bucket of its own");
    assert_eq!(fixture.backend.heads(), 4);
}

#[test]
fn a_limit_is_exact_over_all_workers() {
    let fixture = Fixture::one(rare(json!({ "burst": 25 })));
    let gate = Headgate::start_with(&fixture.manifests, &["--workers", "4"]);
    let passed: usize = std::thread::scope(|scope| {
        let work = || (0..20).filter(|_| gate.get(HOST, "/").status == 200).count();
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(passed, 25);
}

#[test]
fn a_bucket_fills_again() {
    // Half a second for a token, of which a quarter may be waited for.
    let fixture = Fixture::one(json!({ "rateLimit": { "average": 2 } }));
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/").status, 200);
    for _ in 0..2 {
        gate.until(HOST, "/", "passes after some time", |answer| answer.status == 200);
    }
}

#[test]
fn an_average_of_none_limits_nothing() {
    let fixture = Fixture::one(json!({ "rateLimit": { "average": 0, "burst": 1 } }));
    let gate = fixture.start();
    assert_eq!([(); 10].map(|()| gate.get(HOST, "/").status), [200; 10]);
    assert!(gate.api("/api/diagnostics").to_string().contains("NoEffect"));
}

#[test]
fn a_forged_address_gives_no_new_bucket() {
    let fixture = Fixture::one(rare(json!({})));
    let untrusted = fixture.start();
    assert_eq!(status(&untrusted, &[("X-Forwarded-For", "10.0.0.1")]), 200);
    for forged in ["X-Forwarded-For", "X_Forwarded_For", "X-Real-Ip", "Forwarded"] {
        assert_eq!(status(&untrusted, &[(forged, "10.0.0.2")]), 429, "{forged}");
    }
    let trusted = Headgate::start_with(&fixture.manifests, &TRUSTED);
    for client in ["10.0.0.1", "10.0.0.2", "2001:db8::1", "2001:db8::2"] {
        assert_eq!(status(&trusted, &[("X-Forwarded-For", client)]), 200, "{client}");
        assert_eq!(status(&trusted, &[("X-Forwarded-For", client)]), 429, "{client}");
        let forged = format!("203.0.113.7, {client}");
        assert_eq!(status(&trusted, &[("X-Forwarded-For", &forged)]), 429, "{forged}");
    }
}

#[test]
fn sources_by_depth_and_network() {
    let criterion = json!({ "ipStrategy": { "depth": 1, "ipv6Subnet": 64 } });
    let fixture = Fixture::one(rare(json!({ "sourceCriterion": criterion })));
    let gate = Headgate::start_with(&fixture.manifests, &TRUSTED);
    for (forwarded, expected) in [
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
        ("192.0.2.1", 200),
        ("192.0.2.2", 200),
        ("192.0.2.1:4711", 429),
        ("unknown", 200),
        ("", 429),
    ] {
        assert_eq!(status(&gate, &[("X-Forwarded-For", forwarded)]), expected, "{forwarded}");
    }
    let untrusted = fixture.start();
    assert_eq!(status(&untrusted, &[("X-Forwarded-For", "192.0.2.1")]), 200);
    assert_eq!(from(&untrusted, 2, &[("X-Forwarded-For", "192.0.2.2")]).status, 429, "those without one are one");
}

#[test]
fn sources_by_header() {
    let criterion = json!({ "requestHeaderName": "X-Api-Key" });
    let fixture = Fixture::one(rare(json!({ "sourceCriterion": criterion })));
    let gate = fixture.start();
    let long = "k".repeat(30_000);
    let other = format!("{long}l");
    for key in ["one", "two", "", &long, &other] {
        assert_eq!(status(&gate, &[("X-Api-Key", key)]), 200, "{} bytes", key.len());
        assert_eq!(status(&gate, &[("X-Api-Key", key)]), 429, "{} bytes", key.len());
    }
    assert_eq!(status(&gate, &[]), 429, "none is like an empty one");
}

#[test]
fn sources_by_what_is_known_of_the_client() {
    let criterion = json!({ "requestHeaderName": "X-Real-Ip" });
    let fixture = Fixture::one(rare(json!({ "sourceCriterion": criterion })));
    let gate = fixture.start();
    assert_eq!(from(&gate, 2, &[]).status, 200);
    assert_eq!(from(&gate, 3, &[]).status, 200);
    assert_eq!(from(&gate, 2, &[("X-Real-Ip", "10.0.0.1")]).status, 429);
}

#[test]
fn sources_by_host() {
    let backend = Backend::named("app");
    let mut objects = service_of("app", &[&backend]);
    objects.extend([
        Value::from(Ingress::new("app").rule("*.m.test", &[("/", "Prefix", "app")]).middlewares(&["m"])),
        Middleware::new("m", rare(json!({ "sourceCriterion": { "requestHost": true } }))).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.get("a.m.test", "/").status, 200);
    assert_eq!(gate.get("b.m.test", "/").status, 200);
    for same in ["a.m.test", "A.M.test", "a.m.test:8080", "a.m.test."] {
        assert_eq!(gate.get(same, "/").status, 429, "{same}");
    }
}

#[test]
fn a_shared_limit_is_told_to_be_local() {
    let fixture = Fixture::one(rare(json!({ "redis": { "endpoints": ["127.0.0.1:1"], "secret": "redis" } })));
    let gate = fixture.start();
    assert_eq!([(); 2].map(|()| gate.get(HOST, "/").status), [200, 429]);
    let said = gate.api("/api/diagnostics").to_string();
    assert!(said.contains("LocalLimit") && said.contains("warning"), "{said}");
}

/// A backend behind `/` and `/b` of the host, with this limit, and a header of each answer that tells which version of
/// the manifests it was made under.
struct Versions {
    backend: Backend,
    manifests: Manifests,
}

impl Versions {
    fn new(limit: &Value) -> Self {
        let versions = Self { backend: Backend::named("app"), manifests: Manifests::new() };
        versions.put("1", limit, &[]);
        versions
    }

    fn put(&self, version: &str, limit: &Value, more: &[(&str, &str)]) {
        let header = json!({ "headers": { "customResponseHeaders": { "X-Version": version } } });
        let ingress = Ingress::new("app").rule(HOST, &[("/", "Prefix", "app"), ("/b", "Prefix", "app")]);
        let ingress = ingress.middlewares(&["version", "m"]);
        let ingress = more.iter().fold(ingress, |ingress, (key, value)| ingress.traefik(key, value));
        let mut objects = service_of("app", &[&self.backend]);
        objects.extend([
            Value::from(ingress),
            Middleware::new("version", header).into(),
            Middleware::new("m", limit.clone()).into(),
        ]);
        self.manifests.put("main", objects);
    }
}

/// The first answer to a GET of `/` that is made under this version.
#[track_caller]
fn under(gate: &Headgate, version: &str) -> Answer {
    let mut last = None;
    gate.until(HOST, "/", version, |answer| {
        last = Some(answer.clone());
        answer.get("x-version") == Some(version)
    });
    last.unwrap()
}

#[test]
fn each_route_has_buckets_of_its_own() {
    let versions = Versions::new(&rare(json!({})));
    let gate = Headgate::start(&versions.manifests);
    for path in ["/", "/b"] {
        assert_eq!(gate.get(HOST, path).status, 200, "{path}");
        assert_eq!(gate.get(HOST, path).status, 429, "{path}");
        assert_eq!(gate.get(HOST, &format!("{path}?x")).status, 429, "{path}");
    }
}

#[test]
fn buckets_outlive_changes_of_other_things() {
    let limit = rare(json!({ "burst": 2 }));
    let versions = Versions::new(&limit);
    let gate = Headgate::start(&versions.manifests);
    assert_eq!([(); 3].map(|()| gate.get(HOST, "/").status), [200, 200, 429]);
    versions.put("2", &limit, &[]);
    assert_eq!(under(&gate, "2").status, 429, "another Middleware of the route");
    versions.put("3", &limit, &[("router.priority", "7")]);
    assert_eq!(under(&gate, "3").status, 429, "the Ingress itself");
    versions.put("4", &rare(json!({ "burst": 3 })), &[]);
    assert_eq!(under(&gate, "4").status, 200, "the limit itself: buckets are full again");
}

#[test]
fn what_runs_is_still_counted_after_changes_of_other_things() {
    let go = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&go);
    let limit = json!({ "inFlightReq": { "amount": 1 } });
    let backend = Backend::scripted("app", move |conn| {
        while let Some(seen) = conn.request()? {
            if seen.target() == "/b" {
                eventually("the test lets go", || released.load(Ordering::SeqCst));
            }
            conn.whoami()?;
        }
        Ok(())
    });
    let versions = Versions { backend, manifests: Manifests::new() };
    versions.put("1", &limit, &[]);
    let gate = Headgate::start(&versions.manifests);
    let mut running = gate.connect();
    running.send(request("GET", "/b", HOST, &[], b""));
    eventually("the backend has it", || versions.backend.count() == 1);
    assert_eq!(gate.get(HOST, "/b").status, 429);
    versions.put("2", &limit, &[]);
    assert_eq!(under(&gate, "2").status, 200, "the other route");
    assert_eq!(gate.get(HOST, "/b").status, 429);
    go.store(true, Ordering::SeqCst);
    assert_eq!(running.answer().status, 200);
    gate.until(HOST, "/b", "passes again", |answer| answer.status == 200);
}

/// A backend that answers `/` at once, a request for `/hold` with the beginning of a body, and with its end when it is
/// let go, and one for `/silent` not at all. An upgrade becomes a tunnel until the client ends it.
struct Held {
    fixture: Fixture,
    go: Arc<AtomicBool>,
}

impl Held {
    fn new(limit: Value) -> Self {
        let go = Arc::new(AtomicBool::new(false));
        let released = Arc::clone(&go);
        let backend = Backend::scripted("app", move |conn| {
            while let Some(seen) = conn.request()? {
                if seen.get("upgrade").is_some() {
                    conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")?;
                    conn.wire.rest()?;
                    return Ok(());
                }
                if seen.target() == "/" {
                    conn.whoami()?;
                    continue;
                }
                if seen.target() == "/silent" {
                    eventually("the test lets go", || released.load(Ordering::SeqCst));
                    return Ok(());
                }
                conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")?;
                eventually("the test lets go", || released.load(Ordering::SeqCst));
                conn.write("4\r\nlast\r\n0\r\n\r\n")?;
            }
            Ok(())
        });
        let mut objects = service_of("app", &[&backend]);
        objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
        objects.push(Middleware::new("m", json!({ "inFlightReq": limit })).into());
        Self { fixture: Fixture { backend, manifests: Manifests::of(objects) }, go }
    }
}

#[test]
fn a_request_counts_until_its_answer_has_ended() {
    let held = Held::new(json!({ "amount": 2 }));
    let gate = held.fixture.start();
    let mut clients = [(); 2].map(|()| gate.connect());
    for client in &mut clients {
        client.send(request("GET", "/hold", HOST, &[], b""));
        assert_eq!(client.wire.head().unwrap().unwrap().first, "HTTP/1.1 200 OK");
    }
    let answer = gate.get(HOST, "/");
    assert_eq!((answer.status, answer.text().as_str()), (429, "max connections reached: 2"));
    assert_eq!(answer.get("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(gate.send("POST", HOST, "/", &[], b"unread").status, 429);
    assert_eq!(gate.get("m.test:8080", "/").status, 429, "the same host");
    held.go.store(true, Ordering::SeqCst);
    for client in &mut clients {
        assert_eq!(client.wire.chunks().unwrap().0, b"firstlast");
    }
    gate.until(HOST, "/", "passes again", |answer| answer.status == 200);
}

#[test]
fn a_request_counts_until_its_client_has_gone() {
    for http2 in [false, true] {
        let held = Held::new(json!({ "amount": 1 }));
        let gate = held.fixture.start();
        if http2 {
            let client = H2::plain(gate.web());
            let ask = client.request("GET", HOST, "/hold").body(crate::support::h2::empty()).unwrap();
            let answer = block_on(client.start(ask)).unwrap();
            assert_eq!(gate.get(HOST, "/").status, 429);
            drop(answer);
        } else {
            let mut client = gate.connect();
            client.send(request("GET", "/hold", HOST, &[], b""));
            assert!(client.wire.head().unwrap().is_some());
            assert_eq!(gate.get(HOST, "/").status, 429);
            drop(client);
        }
        gate.until(HOST, "/", "passes again", |answer| answer.status == 200);
        let mut waiting = gate.connect();
        waiting.send(request("POST", "/silent", HOST, &[], b"body"));
        eventually("the backend has it", || held.fixture.backend.requests().iter().any(|r| r.target() == "/silent"));
        assert_eq!(gate.get(HOST, "/").status, 429);
        drop(waiting);
        gate.until(HOST, "/", "passes again", |answer| answer.status == 200);
        held.go.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_request_counts_while_it_waits_for_its_answer_and_not_after_an_error() {
    let go = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&go);
    let backend = Backend::scripted("app", move |conn| {
        conn.request()?;
        eventually("the test lets go", || released.load(Ordering::SeqCst));
        // And closes without an answer.
        Ok(())
    });
    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    objects.push(Middleware::new("m", json!({ "inFlightReq": { "amount": 1 } })).into());
    let gate = Headgate::start(&Manifests::of(objects));
    let mut waiting = gate.connect();
    waiting.send(request("POST", "/", HOST, &[], b"body"));
    eventually("the backend has it", || backend.count() == 1);
    assert_eq!(gate.get(HOST, "/").status, 429);
    go.store(true, Ordering::SeqCst);
    assert_eq!(waiting.answer().status, 502);
    gate.until(HOST, "/", "the next gets its own error", |answer| answer.status == 502);
}

#[test]
fn a_tunnel_counts_until_it_ends() {
    let held = Held::new(json!({ "amount": 1 }));
    let gate = held.fixture.start();
    let mut tunnel = gate.connect();
    tunnel.send(request("GET", "/", HOST, &[("Connection", "Upgrade"), ("Upgrade", "own")], b""));
    assert_eq!(tunnel.bodiless().status, 101);
    assert_eq!(gate.get(HOST, "/").status, 429);
    assert_eq!(gate.get(HOST, "/").status, 429);
    drop(tunnel);
    gate.until(HOST, "/", "passes again", |answer| answer.status == 200);
}

#[test]
fn what_runs_is_counted_by_source() {
    let held = Held::new(json!({ "amount": 1, "sourceCriterion": { "ipStrategy": {} } }));
    let gate = held.fixture.start();
    let mut one = Client::connect_from(address(2), gate.web());
    one.send(request("GET", "/hold", HOST, &[], b""));
    assert!(one.wire.head().unwrap().is_some());
    assert_eq!(from(&gate, 2, &[]).status, 429);
    assert_eq!(from(&gate, 2, &[("X-Forwarded-For", "10.0.0.1")]).status, 429, "forged");
    assert_eq!(from(&gate, 3, &[]).status, 200);
    held.go.store(true, Ordering::SeqCst);
}

#[test]
fn nothing_passes_a_limit_of_none() {
    for limit in [json!({ "inFlightReq": {} }), json!({ "inFlightReq": { "amount": 0 } })] {
        let fixture = Fixture::one(limit);
        let answer = fixture.start().get(HOST, "/");
        assert_eq!((answer.status, answer.text().as_str()), (429, "max connections reached: 0"));
        assert_eq!(fixture.backend.heads(), 0);
    }
}

#[test]
fn faulty_limits_close_the_route() {
    for spec in [
        json!({ "ipAllowList": {} }),
        json!({ "ipWhiteList": { "sourceRange": [] } }),
        json!({ "ipAllowList": { "sourceRange": ["0.0.0.0/0"], "rejectStatusCode": 299 } }),
        json!({ "ipAllowList": { "sourceRange": ["0.0.0.0/0"], "ipStrategy": { "ipv6Subnet": 200 } } }),
        json!({ "rateLimit": { "average": 1, "period": "-1s" } }),
        json!({ "rateLimit": { "average": 1, "sourceCriterion": { "requestHost": true, "requestHeaderName": "X" } } }),
        json!({ "inFlightReq": { "amount": -1 } }),
    ] {
        closes(&spec.to_string(), [Middleware::new("m", spec.clone()).into()]);
    }
}
