//! What is done about backends that fail: they are asked again (`retry`), left in peace (`circuitBreaker`), and their
//! answers replaced (`errors`).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use super::{Fixture, HOST, closes};
use crate::support::{
    Authority, Backend, Conn, H2, Headgate, HyperBackend, Ingress, Manifests, Middleware, Secret, Service, Slice,
    backend::answer,
    eventually,
    h2::{empty, full},
    manifests::{service_at, service_of},
};

/// A backend that gives these statuses to its requests in turn, and 200 when there is none left.
fn giving(statuses: &[u16]) -> Backend {
    let (statuses, next) = (statuses.to_vec(), AtomicUsize::new(0));
    Backend::scripted("app", move |conn| {
        while conn.request()?.is_some() {
            let status = statuses.get(next.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(200);
            conn.write(answer(status, &[], format!("app {status}").as_bytes()))?;
        }
        Ok(())
    })
}

/// A backend that gives the status that the path names: `/503`.
fn as_asked(conn: &mut Conn) -> io::Result<()> {
    while let Some(request) = conn.request()? {
        let first = request.target().trim_start_matches('/').split('/').next().and_then(|status| status.parse().ok());
        let headers = [("X-App", "1"), ("Set-Cookie", "app=1"), ("WWW-Authenticate", "Basic realm=\"app\"")];
        let headers = if first == Some(401) { &headers[..] } else { &headers[..2] };
        conn.write(answer(first.unwrap_or(200), headers, b"app"))?;
    }
    Ok(())
}

/// The fixture's objects around a backend of one's own.
fn before(backend: Backend, spec: Value, objects: impl IntoIterator<Item = Value>) -> Fixture {
    let mut all = service_of("app", &[&backend]);
    all.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    all.push(Middleware::new("m", spec).into());
    all.extend(objects);
    Fixture { backend, manifests: Manifests::of(all) }
}

fn retry(backend: Backend, spec: Value) -> Fixture {
    before(backend, json!({ "retry": spec }), [])
}

fn metric(gate: &Headgate, name: &str) -> u64 {
    let text = gate.admin("/metrics").text();
    let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn retry_asks_another_pod_sticky_session_or_not() {
    let (pinned, other) = (Backend::scripted("pinned", as_asked), Backend::named("other"));
    let mut objects = service_of("app", &[&pinned, &other]);
    objects.push(Ingress::simple(HOST, "app").middlewares(&["session", "again"]).into());
    objects.push(Middleware::new("session", json!({ "sticky": { "cookie": { "name": "s" } } })).into());
    objects.push(Middleware::new("again", json!({ "retry": { "attempts": 4, "status": ["503"] } })).into());
    let gate = Headgate::start(&Manifests::of(objects));
    let mut cookie = String::new();
    eventually("a session at the pod that fails", || {
        let answer = gate.get(HOST, "/");
        cookie = format!("s={}", answer.cookie("s").expect("a session"));
        answer.text() == "app"
    });
    let before = pinned.count();
    let answer = gate.get_with(HOST, "/503", &[("Cookie", &cookie)]);
    assert_eq!((answer.status, pinned.count() - before), (200, 1));
    assert!(answer.cookie("s").is_some(), "the session moves");
}

#[test]
fn retry_asks_again_for_named_statuses() {
    let by_status = json!({ "attempts": 3, "status": ["404", "500-503"] });
    for (given, status, tries) in
        [(&[503, 500, 200][..], 200, 3), (&[503, 404, 502, 200], 502, 3), (&[504, 200], 504, 1), (&[], 200, 1)]
    {
        let fixture = retry(giving(given), by_status.clone());
        let gate = fixture.start();
        let sent = gate.send("PUT", HOST, "/x?y=z", &[("X-Sent", "1")], b"the body");
        assert_eq!((sent.status, sent.text()), (status, format!("app {status}")), "{given:?}");
        let requests = fixture.backend.requests();
        assert_eq!(requests.len(), tries, "{given:?}");
        for seen in &requests {
            assert_eq!((seen.target(), seen.body.as_slice()), ("/x?y=z", &b"the body"[..]));
            assert_eq!((seen.get("x-sent"), seen.get("content-length")), (Some("1"), Some("8")));
        }
        assert_eq!(metric(&gate, "headgate_retries_total"), tries as u64 - 1, "{given:?}");
    }
}

#[test]
fn retry_spares_methods_that_may_do_something_twice() {
    for (any, tries) in [(false, 1), (true, 2)] {
        for method in ["POST", "PATCH", "LOCK"] {
            let spec = json!({ "attempts": 2, "status": ["500"], "retryNonIdempotentMethod": any });
            let fixture = retry(giving(&[500, 200]), spec);
            let status = fixture.start().send(method, HOST, "/", &[], b"body").status;
            assert_eq!((status, fixture.backend.count()), (if any { 200 } else { 500 }, tries), "{method}");
        }
    }
}

#[test]
fn retry_sends_long_bodies_once_unless_they_may_be_kept() {
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(|n| (n as u8 ^ (n >> 8) as u8).to_le_bytes()).collect();
    for (most, status, tries) in
        [(Value::Null, 500, 1), (json!(-1), 200, 3), (json!(3_000_000), 200, 3), (json!(10), 500, 1)]
    {
        for chunked in [false, true] {
            let spec = json!({ "attempts": 3, "status": ["500"], "maxRequestBodyBytes": most });
            let fixture = retry(giving(&[500, 500, 200]), spec);
            let gate = fixture.start();
            let sent = if chunked {
                // The length shows only at the end.
                let mut client = gate.connect();
                client.send(format!("PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n"));
                for piece in body.chunks(100_000) {
                    client.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
                }
                client.send("0\r\n\r\n").answer()
            } else {
                gate.send("PUT", HOST, "/", &[], &body)
            };
            assert_eq!(sent.status, status, "{most}");
            let requests = fixture.backend.requests();
            assert_eq!(requests.len(), tries, "{most}");
            assert!(requests.iter().all(|seen| seen.body == body), "{most}");
        }
    }
}

#[test]
fn retry_keeps_trailers() {
    let fixture = retry(giving(&[500]), json!({ "attempts": 2, "status": ["500"] }));
    let gate = fixture.start();
    let sent = format!(
        "PUT / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\n\r\n"
    );
    assert_eq!(gate.connect().send(sent).answer().status, 200);
    let requests = fixture.backend.requests();
    assert_eq!(requests.len(), 2);
    for seen in requests {
        assert_eq!((seen.body.as_slice(), seen.get("content-length")), (&b"body"[..], None));
        assert_eq!(seen.trailers, [("x-sum".to_owned(), "7".to_owned())]);
    }
}

#[test]
fn retry_waits_for_an_endpoint_that_can_not_be_reached() {
    for (method, body) in [("POST", &b"the body"[..]), ("GET", b"")] {
        let mut fixture = retry(giving(&[]), json!({ "attempts": 100_000, "initialInterval": "5ms" }));
        fixture.backend.refuse();
        let gate = Headgate::start_with(&fixture.manifests, &["--access-log", "json"]);
        thread::scope(|scope| {
            let sent = scope.spawn(|| gate.send(method, HOST, "/", &[], body));
            eventually("it is tried again", || metric(&gate, "headgate_retries_total") > 3);
            fixture.backend.resume();
            assert_eq!(sent.join().unwrap().status, 200);
        });
        assert_eq!(fixture.backend.only().body, body, "nothing of it was lost, and it came once");
        let mut line = None;
        eventually("the access log", || {
            line = gate.log().into_iter().find(|line| line.contains("\"RetryAttempts\""));
            line.is_some()
        });
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(line["RetryAttempts"], metric(&gate, "headgate_retries_total"));
    }
}

#[test]
fn retry_takes_what_was_sent_for_sent() {
    // It reads the request and closes: no byte of an answer, but the request has been seen.
    let backend = Backend::scripted("app", |conn| conn.request().map(|_| ()));
    let fixture = retry(backend, json!({ "attempts": 5 }));
    assert_eq!(fixture.start().send("POST", HOST, "/", &[], b"once").status, 502);
    assert_eq!(fixture.backend.count(), 1);
}

#[test]
fn retry_ends_with_its_timeout() {
    let mut fixture = retry(giving(&[]), json!({ "attempts": 1000, "initialInterval": "30s", "timeout": "1s" }));
    fixture.backend.refuse();
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/").status, 502);
    assert_eq!(metric(&gate, "headgate_retries_total"), 0);
}

#[test]
fn retry_without_any_endpoint_answers_at_once() {
    let gate = Headgate::start(&Manifests::of([
        Value::from(Service::new("app")),
        Ingress::simple(HOST, "app").middlewares(&["m"]).into(),
        Middleware::new("m", json!({ "retry": { "attempts": 1000, "initialInterval": "30s" } })).into(),
    ]));
    assert_eq!(gate.get(HOST, "/").text(), "no available server");
}

#[test]
fn retry_lets_tunnels_pass() {
    let backend = Backend::scripted("app", |conn| {
        if conn.head()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")?;
            let all = conn.wire.rest()?;
            conn.write(all.to_ascii_uppercase())?;
        }
        Ok(())
    });
    let fixture = retry(backend, json!({ "attempts": 3, "status": ["100-599"] }));
    let gate = fixture.start();
    let mut client = gate.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n"));
    assert_eq!(client.bodiless().status, 101);
    client.send("through").wire.finish();
    assert_eq!(client.rest(), b"THROUGH");
    assert_eq!(fixture.backend.heads(), 1);
}

#[test]
fn retry_of_requests_over_http2() {
    let fixture = retry(giving(&[500, 503]), json!({ "attempts": 3, "status": ["500-599"] }));
    let gate = fixture.start();
    let client = H2::plain(gate.web());
    let request = client.request("PUT", HOST, "/").body(full("the body")).unwrap();
    let answer = client.send(request).unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "app 200"));
    assert!(fixture.backend.requests().iter().all(|seen| seen.body == b"the body"));
    assert_eq!(fixture.backend.count(), 3);
}

#[test]
fn retry_with_a_faulty_field_closes_the_route() {
    for spec in [
        json!({}),
        json!({ "attempts": 0 }),
        json!({ "attempts": -1 }),
        json!({ "attempts": 2, "disableRetryOnNetworkError": true }),
        json!({ "attempts": 2, "status": ["500,502"] }),
        json!({ "attempts": 2, "status": ["5xx"] }),
        json!({ "attempts": 2, "status": ["502-500"] }),
        json!({ "attempts": 2, "initialInterval": "soon" }),
        json!({ "attempts": 2, "timeout": "-1s" }),
        json!({ "attempts": 2, "status": ["500"], "maxRequestBodyBytes": -2 }),
        json!({ "attempts": "many" }),
    ] {
        closes(&spec.to_string(), [Middleware::new("m", json!({ "retry": spec })).into()]);
    }
}

fn breaker(backend: Backend, spec: Value) -> Fixture {
    before(backend, json!({ "circuitBreaker": spec }), [])
}

#[test]
fn circuit_breaker_stops_asking_what_fails() {
    for (expression, failing) in [
        ("NetworkErrorRatio() > 0.30", 502),
        ("NetworkErrorRatio() > 0.30", 504),
        ("ResponseCodeRatio(500, 600, 0, 600) > 0.25", 500),
        (
            "LatencyAtQuantileMS(50.0) > 100000 || NetworkErrorRatio() >= 0.9 && ResponseCodeRatio(502, 503, 0, 600) > 0.5",
            502,
        ),
        ("(LatencyAtQuantileMS(99.9) >= 0)", 404),
    ] {
        let backend = Backend::scripted("app", as_asked);
        let fixture = breaker(backend, json!({ "expression": expression, "fallbackDuration": "1h" }));
        let gate = fixture.start();
        let path = format!("/{failing}");
        assert_eq!(gate.get(HOST, &path).status, failing, "{expression}");
        gate.until(HOST, &path, "open", |answer| answer.status == 503);
        let before = fixture.backend.heads();
        for _ in 0..8 {
            // Over several connections, so that each worker has some.
            let answer = gate.get(HOST, "/200");
            assert_eq!((answer.status, answer.text().as_str()), (503, "Service Unavailable"), "{expression}");
        }
        assert_eq!(fixture.backend.heads(), before, "{expression}");
    }
}

#[test]
fn circuit_breaker_stays_closed_where_its_expression_does_not_hold() {
    let expression = "ResponseCodeRatio(500, 600, 0, 600) > 0.5 || LatencyAtQuantileMS(50.0) > 100000";
    let fixture = breaker(Backend::scripted("app", as_asked), json!({ "expression": expression }));
    let gate = fixture.start();
    for _ in 0..10 {
        assert_eq!(gate.get(HOST, "/200").status, 200);
        assert_eq!(gate.get(HOST, "/500").status, 500);
        assert_eq!(gate.get(HOST, "/404").status, 404);
    }
}

#[test]
fn circuit_breaker_can_answer_by_another_status() {
    for (code, text) in [(429, "Too Many Requests"), (599, ""), (204, "")] {
        let spec = json!({ "expression": "NetworkErrorRatio() > 0.3", "fallbackDuration": 3600, "responseCode": code });
        let mut fixture = breaker(giving(&[]), spec);
        fixture.backend.refuse();
        let gate = fixture.start();
        assert_eq!(gate.get(HOST, "/").status, 502);
        gate.until(HOST, "/", "open", |answer| answer.status == code);
        assert_eq!(gate.get(HOST, "/").text(), text);
    }
}

#[test]
fn circuit_breaker_closes_again() {
    let broken = Arc::new(AtomicBool::new(true));
    let state = Arc::clone(&broken);
    let backend = Backend::scripted("app", move |conn| {
        while conn.request()?.is_some() {
            let status = if state.load(Ordering::SeqCst) { 502 } else { 200 };
            conn.write(answer(status, &[], b"app"))?;
        }
        Ok(())
    });
    let spec = json!({
        "expression": "NetworkErrorRatio() > 0.3",
        "checkPeriod": "1ms",
        "fallbackDuration": "100ms",
        "recoveryDuration": "200ms",
    });
    let fixture = breaker(backend, spec);
    let gate = fixture.start();
    gate.until(HOST, "/", "open", |answer| answer.status == 503);
    // It comes back, finds the backend broken, and opens again.
    let before = fixture.backend.heads();
    eventually("it tries", || {
        gate.get(HOST, "/");
        fixture.backend.heads() > before
    });
    gate.until(HOST, "/", "open again", |answer| answer.status == 503);
    broken.store(false, Ordering::SeqCst);
    let mut well = 0;
    eventually("a hundred in a row", || {
        well = if gate.get(HOST, "/").status == 200 { well + 1 } else { 0 };
        well == 100
    });
}

#[test]
fn circuit_breaker_belongs_to_its_route_and_outlives_other_changes() {
    let backend = Backend::scripted("app", as_asked);
    let spec = json!({ "circuitBreaker": { "expression": "NetworkErrorRatio() > 0.3", "fallbackDuration": "1h" } });
    let objects = |other: &str| {
        let mut objects = service_of("app", &[&backend]);
        let paths = [("/502", "Prefix", "app"), ("/", "Prefix", "app")];
        objects.extend([
            Value::from(Ingress::new("app").rule(HOST, &paths).middlewares(&["m"])),
            Middleware::new("m", spec.clone()).into(),
            Ingress::simple(other, "app").namespace("default").into(),
        ]);
        objects.last_mut().unwrap()["metadata"]["name"] = json!("other");
        objects
    };
    let manifests = Manifests::of(objects("before.test"));
    let gate = Headgate::start(&manifests);
    gate.until(HOST, "/502", "open", |answer| answer.status == 503);
    assert_eq!(gate.get(HOST, "/200").status, 200, "the other path is another route");
    manifests.put("main", objects("after.test"));
    gate.until("after.test", "/", "the change is in", |answer| answer.status == 200);
    assert_eq!(gate.get(HOST, "/502").status, 503, "still open");
}

#[test]
fn circuit_breaker_is_not_for_clients_to_open() {
    let expression = "NetworkErrorRatio() > 0.0 || ResponseCodeRatio(500, 600, 0, 600) > 0.0";
    let fixture = breaker(giving(&[]), json!({ "expression": expression, "checkPeriod": "1ms" }));
    let gate = fixture.start();
    for _ in 0..5 {
        let mut client = gate.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nshort")).wire.finish();
        client.rest();
        let mut client = gate.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"));
        client.rest();
    }
    assert_eq!(gate.get(HOST, "/").status, 200);
}

#[test]
fn circuit_breaker_with_a_faulty_field_closes_the_route() {
    for spec in [
        json!({}),
        json!({ "expression": "" }),
        json!({ "expression": "NetworkErrorRatio() > 1" }),
        json!({ "expression": "NetworkErrorRatio()" }),
        json!({ "expression": "NetworkErrors() > 0.5" }),
        json!({ "expression": "NetworkErrorRatio() > 0.5 and" }),
        json!({ "expression": "LatencyAtQuantileMS(50) > 100" }),
        json!({ "expression": "NetworkErrorRatio() > 0.5", "responseCode": 42 }),
        json!({ "expression": "NetworkErrorRatio() > 0.5", "responseCode": 101 }),
        json!({ "expression": "NetworkErrorRatio() > 0.5", "checkPeriod": "often" }),
        json!({ "expression": "NetworkErrorRatio() > 0.5", "fallbackDuration": "-1s" }),
        json!({ "expression": "NetworkErrorRatio() > 0.5", "recoveryDuration": -1 }),
    ] {
        closes(&spec.to_string(), [Middleware::new("m", json!({ "circuitBreaker": spec })).into()]);
    }
}

/// Error pages of Service `pages`, with these fields besides, before a backend that gives what it is asked for.
fn errors(pages: &Backend, fields: Value, order: &[&str], objects: impl IntoIterator<Item = Value>) -> Fixture {
    let mut spec = json!({ "status": ["400-599"], "service": { "name": "pages", "port": 80 } });
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    let backend = Backend::scripted("app", as_asked);
    let mut all = service_of("app", &[&backend]);
    all.extend(service_of("pages", &[pages]));
    all.push(Ingress::simple(HOST, "app").middlewares(order).into());
    all.push(Middleware::new("m", json!({ "errors": spec })).into());
    all.extend(objects);
    Fixture { backend, manifests: Manifests::of(all) }
}

fn pages(status: u16) -> Backend {
    Backend::canned("pages", answer(status, &[("X-Page", "1"), ("Set-Cookie", "page=1")], b"a page"))
}

#[test]
fn errors_shows_the_page_under_the_status_that_was() {
    for page_status in [200, 404, 302] {
        let pages = pages(page_status);
        let fixture = errors(&pages, json!({ "query": "/{status}.html?from={url}" }), &["m"], []);
        let gate = fixture.start();
        let headers = [("X-Sent", "1"), ("Cookie", "a=b"), ("Content-Type", "text/plain"), ("If-None-Match", "*")];
        let sent = gate.send("POST", HOST, "/503/a%2Fb?x=y", &headers, b"for the app only");
        assert_eq!((sent.status, sent.text().as_str()), (503, "a page"), "{page_status}");
        assert_eq!((sent.get("x-page"), sent.get("x-app")), (Some("1"), None));
        assert_eq!(sent.head.all("set-cookie"), ["page=1"]);
        let asked = pages.only();
        assert_eq!(asked.head.first, "GET /503.html?from=http%3A%2F%2Fm.test%2F503%2Fa%252Fb%3Fx%3Dy HTTP/1.1");
        assert_eq!((asked.get("host"), asked.get("x-sent"), asked.get("cookie")), (Some(HOST), Some("1"), Some("a=b")));
        assert_eq!((asked.get("x-forwarded-for"), asked.get("x-forwarded-host")), (Some("127.0.0.1"), Some(HOST)));
        assert_eq!((asked.get("content-length"), asked.get("transfer-encoding")), (None, None));
        assert_eq!((asked.get("if-none-match"), asked.body.len()), (None, 0));
        assert_eq!(gate.get(HOST, "/200").text(), "app");
        assert_eq!(gate.get(HOST, "/399").text(), "app");
    }
}

#[test]
fn errors_never_turns_refused_authentication_into_anything_else() {
    let users = Secret::new("users", "Opaque", &[("users", "sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=")]);
    let auth = Middleware::new("auth", json!({ "basicAuth": { "secret": "users", "realm": "vault" } }));
    let pages = pages(200);
    let fixture = errors(&pages, json!({}), &["m", "auth"], [auth.into(), users.into()]);
    let gate = fixture.start();
    for _ in 0..2 {
        let refused = gate.get(HOST, "/200");
        assert_eq!((refused.status, refused.text().as_str()), (401, "a page"));
        assert_eq!(refused.head.all("www-authenticate"), ["Basic realm=\"vault\""]);
    }
    assert_eq!(fixture.backend.heads(), 0);
    let allowed = gate.get_with(HOST, "/200", &[("Authorization", "Basic c2hhOnNlY3JldA==")]);
    assert_eq!((allowed.status, allowed.text().as_str()), (200, "app"));
    // And a backend's own.
    let asked = gate.get_with(HOST, "/401", &[("Authorization", "Basic c2hhOnNlY3JldA==")]);
    assert_eq!((asked.status, asked.get("www-authenticate")), (401, Some("Basic realm=\"app\"")));
}

#[test]
fn errors_without_a_page_leaves_the_answer_as_it_was() {
    // The service fails, is not there, or has no pods.
    let failing = pages(500);
    let mut gone = pages(200);
    gone.refuse();
    let nowhere = json!({ "service": { "name": "empty", "port": 80 } });
    for (pages, fields) in [(&failing, json!({})), (&gone, json!({})), (&gone, nowhere)] {
        let fixture = errors(pages, fields, &["m"], [Service::new("empty").into()]);
        let gate = fixture.start();
        let original = gate.get(HOST, "/401");
        assert_eq!((original.status, original.text().as_str()), (401, "app"));
        assert_eq!((original.get("x-app"), original.get("www-authenticate")), (Some("1"), Some("Basic realm=\"app\"")));
        assert_eq!(gate.get(HOST, "/200").text(), "app");
    }
    // The page of the very status is one, though it comes as an error.
    let same = pages(503);
    let fixture = errors(&same, json!({}), &["m"], []);
    assert_eq!(fixture.start().get(HOST, "/503").text(), "a page");
}

#[test]
fn errors_covers_for_a_backend_that_is_gone() {
    let pages = pages(200);
    let mut fixture = errors(&pages, json!({ "query": "{status}" }), &["m"], []);
    fixture.backend.refuse();
    let answer = fixture.start().get(HOST, "/");
    assert_eq!((answer.status, answer.text().as_str()), (502, "a page"));
    assert_eq!(pages.only().target(), "/502");
}

#[test]
fn errors_can_send_other_statuses() {
    let pages = pages(200);
    let fields = json!({
        "query": "/{status}/{originalStatus}",
        "statusRewrites": { "400-499": 404, "418": 410, "500-599": 500, "502-504": 503, "401": 302 },
    });
    let fixture = errors(&pages, fields, &["m"], []);
    let gate = fixture.start();
    for (original, sent) in [(400, 404), (418, 410), (500, 500), (503, 503), (502, 503), (599, 500), (401, 302)] {
        assert_eq!(gate.get(HOST, &format!("/{original}")).status, sent, "{original}");
        assert_eq!(pages.requests().pop().unwrap().target(), format!("/{sent}/{original}"));
    }
    assert_eq!(gate.get(HOST, "/401").get("www-authenticate"), None, "it is no 401 any more");
}

#[test]
fn errors_sends_the_headers_that_it_is_told_to() {
    for (list, sent, secret) in [(json!(["X-Sent"]), Some("1"), None), (json!([]), None, None)] {
        let pages = pages(200);
        let fixture = errors(&pages, json!({ "errorRequestHeaders": list }), &["m"], []);
        let gate = fixture.start();
        gate.get_with(HOST, "/500", &[("X-Sent", "1"), ("Authorization", "secret")]);
        let asked = pages.only();
        assert_eq!((asked.get("x-sent"), asked.get("authorization")), (sent, secret), "{list}");
        assert_eq!((asked.get("host"), asked.get("x-forwarded-for")), (Some(HOST), Some("127.0.0.1")), "{list}");
    }
}

#[test]
fn errors_can_ask_in_the_name_of_the_pod() {
    let pages = pages(200);
    let service =
        json!({ "name": "pages", "port": "80", "passHostHeader": false, "scheme": "http", "kind": "Service" });
    let fixture = errors(&pages, json!({ "service": service }), &["m"], []);
    assert_eq!(fixture.start().get(HOST, "/500").text(), "a page");
    assert_eq!(pages.only().get("host"), Some(pages.addr.to_string().as_str()));
}

#[test]
fn errors_answers_head_without_a_body() {
    let pages = pages(200);
    let fixture = errors(&pages, json!({}), &["m"], []);
    let gate = fixture.start();
    let mut client = gate.connect();
    client.send(format!("HEAD /500 HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    let answer = client.bodiless();
    assert_eq!((answer.status, answer.get("content-length"), answer.get("x-page")), (500, Some("6"), Some("1")));
    // What comes next on the connection is the next answer.
    assert_eq!(client.get(HOST, "/500").text(), "a page");
    assert_eq!(pages.requests()[0].method(), "GET");
    let client = H2::plain(gate.web());
    let answer = client.send(client.request("HEAD", HOST, "/500").body(empty()).unwrap()).unwrap();
    assert_eq!((answer.status.as_u16(), answer.body.len()), (500, 0));
    assert_eq!(client.get(HOST, "/500").text(), "a page");
}

#[test]
fn errors_lets_tunnels_pass() {
    let pages = pages(200);
    let backend = Backend::scripted("app", |conn| {
        if conn.head()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\nhello")?;
        }
        Ok(())
    });
    let spec = json!({ "errors": { "status": ["100-599"], "service": { "name": "pages", "port": 80 } } });
    let fixture = before(backend, spec, service_of("pages", &[&pages]));
    let gate = fixture.start();
    let mut client = gate.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n"));
    assert_eq!(client.bodiless().status, 101);
    assert_eq!(client.rest(), b"hello");
    assert_eq!(pages.heads(), 0);
}

#[test]
fn errors_drops_a_long_answer_for_its_page() {
    let pages = pages(200);
    let long = Backend::scripted("app", |conn| {
        while conn.request()?.is_some() {
            conn.write("HTTP/1.1 500 Long\r\nContent-Length: 100000000\r\n\r\nand so on")?;
        }
        Ok(())
    });
    let spec = json!({ "errors": { "status": ["500"], "service": { "name": "pages", "port": 80 } } });
    let fixture = before(long, spec, service_of("pages", &[&pages]));
    let gate = fixture.start();
    let mut client = gate.connect();
    for _ in 0..3 {
        assert_eq!(client.get(HOST, "/").text(), "a page");
    }
    eventually("the backend's connections are closed", || fixture.backend.open() == 0);
}

#[test]
fn errors_of_a_service_in_another_namespace() {
    let pages = pages(200);
    let service = Value::from(Service::new("pages").namespace("shared"));
    let slice = Value::from(Slice::new("pages", "0", pages.addr.port()).endpoint(&pages).namespace("shared"));
    let fields = json!({ "service": { "name": "pages", "port": 80, "namespace": "shared" } });
    let fixture = errors(&pages, fields, &["m"], [service, slice]);
    assert_eq!(fixture.start().get(HOST, "/500").text(), "a page");
    let gate = Headgate::start_with(&fixture.manifests, &["--allow-cross-namespace=false"]);
    assert_eq!(gate.get(HOST, "/500").status, 503);
    assert_eq!(gate.get(HOST, "/200").status, 503, "closed");
}

#[test]
fn errors_by_tls_with_a_transport_of_its_own() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let pages = HyperBackend::tls("a page by TLS", &ours.issue(&["pages.default.svc"]), &[b"http/1.1"]);
    let transport = |name: &str, ca: &str| {
        json!({
            "apiVersion": "traefik.io/v1alpha1",
            "kind": "ServersTransport",
            "metadata": { "name": name, "namespace": "default" },
            "spec": { "rootCAs": [{ "secret": ca }] },
        })
    };
    for (name, status, text) in
        [("ours", 500, "a page by TLS"), ("default-ours@kubernetescrd", 500, "a page by TLS"), ("other", 500, "app")]
    {
        let service = json!({ "name": "pages", "port": 80, "scheme": "https", "serversTransport": name });
        let spec = json!({ "errors": { "status": ["500"], "service": service } });
        let mut objects = service_at(Service::new("pages"), pages.addr);
        for (name, authority) in [("ours", &ours), ("other", &other)] {
            objects.push(transport(name, name));
            objects.push(Secret::new(name, "Opaque", &[("ca.crt", &authority.pem)]).into());
        }
        let fixture = before(Backend::scripted("app", as_asked), spec, objects);
        let answer = fixture.start().get(HOST, "/500");
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{name}");
    }
}

#[test]
fn errors_follows_its_service() {
    let (first, second) = (pages(200), Backend::canned("pages", answer(200, &[], b"another page")));
    let fixture = errors(&first, json!({}), &["m"], []);
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/500").text(), "a page");
    let mut objects = service_of("app", &[&fixture.backend]);
    objects.extend(service_of("pages", &[&second]));
    objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    let spec = json!({ "status": ["400-599"], "service": { "name": "pages", "port": 80 } });
    objects.push(Middleware::new("m", json!({ "errors": spec })).into());
    fixture.manifests.put("main", objects);
    gate.until(HOST, "/500", "the new pod", |answer| answer.text() == "another page");
}

#[test]
fn errors_with_a_faulty_field_closes_the_route() {
    let good = json!({ "name": "app", "port": 80 });
    let with = |name: &str, value: Value| {
        let mut service = good.clone();
        service[name] = value;
        json!({ "status": ["500"], "service": service })
    };
    for spec in [
        json!({ "status": ["500"] }),
        json!({ "status": ["500,502"], "service": good }),
        json!({ "status": ["abc"], "service": good }),
        json!({ "status": ["500"], "service": good, "query": "/a#b" }),
        json!({ "status": ["500"], "service": good, "statusRewrites": { "abc": 404 } }),
        json!({ "status": ["500"], "service": good, "statusRewrites": { "500": 2000 } }),
        json!({ "status": ["500"], "service": good, "statusRewrites": { "500": 101 } }),
        json!({ "status": ["401"], "service": good, "statusRewrites": { "401": 200 } }),
        json!({ "status": ["400-499"], "service": good, "statusRewrites": { "400-499": 200 } }),
        json!({ "status": ["500"], "service": good, "errorRequestHeaders": ["X Y"] }),
        json!({ "status": ["500"], "service": { "name": "app" } }),
        json!({ "status": ["500"], "service": { "name": "", "port": 80 } }),
        with("name", json!("nowhere")),
        with("port", json!(81)),
        with("port", json!("nameless")),
        with("port", json!(0)),
        with("kind", json!("TraefikService")),
        with("scheme", json!("ftp")),
        with("serversTransport", json!("other")),
        with("serversTransport", json!("default-other@file")),
        with("middlewares", json!([{ "name": "other" }])),
    ] {
        closes(&spec.to_string(), [Middleware::new("m", json!({ "errors": spec })).into()]);
    }
}

#[test]
fn all_three_work_together() {
    let pages = pages(200);
    let retry = Middleware::new("retry", json!({ "retry": { "attempts": 2, "status": ["500"] } }));
    let breaker = json!({ "expression": "ResponseCodeRatio(500, 600, 0, 600) > 0.5", "fallbackDuration": "1h" });
    let breaker = Middleware::new("breaker", json!({ "circuitBreaker": breaker }));
    let order = ["m", "breaker", "retry"];
    let fixture = errors(&pages, json!({ "query": "{status}" }), &order, [retry.into(), breaker.into()]);
    let gate = fixture.start();
    let answer = gate.get(HOST, "/500");
    assert_eq!((answer.status, answer.text().as_str(), fixture.backend.count()), (500, "a page", 2));
    gate.until(HOST, "/500", "the breaker is open", |answer| answer.status == 503);
    assert_eq!(gate.get(HOST, "/200").text(), "a page");
    assert_eq!(pages.requests().pop().unwrap().target(), "/503");
}

#[test]
fn as_many_may_stand_around_the_rest_as_a_stack_has_room_for() {
    let specs = [
        json!({ "retry": { "attempts": 2 } }),
        json!({ "buffering": {} }),
        json!({ "compress": {} }),
        json!({ "circuitBreaker": { "expression": "NetworkErrorRatio() > 0.9" } }),
    ];
    let names: Vec<String> = (0..33).map(|n| format!("m{n}")).collect();
    let objects = || {
        let spec = |n: usize| specs[n % specs.len()].clone();
        names.iter().enumerate().map(move |(n, name)| Middleware::new(name, spec(n)).into())
    };
    let order: Vec<&str> = names.iter().map(String::as_str).collect();
    let most = Fixture::new(&order[..32], objects());
    let gate = most.start();
    assert_eq!(gate.send("POST", HOST, "/", &[], b"hello").text(), "app");
    assert_eq!(most.backend.only().body, b"hello");
    let more = Fixture::new(&order, objects());
    let gate = more.start();
    assert_eq!((gate.get(HOST, "/").status, more.backend.heads()), (503, 0));
    assert!(gate.api("/api/diagnostics").to_string().contains("33 of its middlewares stand around the rest"));
}
