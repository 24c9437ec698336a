//! What two hostile reviews found, each as the attack or the accident that showed it: connections that carry another
//! client's bytes, tunnels past the rules, uploads cut short, drains that lose requests, endpoints that stay aside.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::support::{
    Backend, Cert, Client, Conn, DEADLINE, H2, Headgate, HyperBackend, Ingress, Manifests, Middleware, Pods, Secret,
    Service, eventually,
    h2::{full, streamed},
    headgate::terminated_at_once,
    hyper_backend::unwelcome_trailers,
    manifests::{app, service_at, service_of, service_of_pods},
    pause, request,
};

/// `user:secret`, as `basicAuth` wants it and as a client sends it.
const USERS: &str = "user:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

fn credentials() -> String {
    format!("Basic {}", STANDARD.encode("user:secret"))
}

/// A `basicAuth` named `auth` and its Secret.
fn auth() -> [Value; 2] {
    let middleware = Middleware::new("auth", json!({ "basicAuth": { "secret": "users" } }));
    [middleware.into(), Secret::new("users", "Opaque", &[("users", USERS)]).into()]
}

const CHUNKED: &str = "POST /early HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nAAAAA\r\n";

/// A backend that begins its answer to `/early` before it has the body, dribbles until told to end, and keeps waiting
/// for the rest of the body. What else comes on that connection is handed out when it closes.
fn early() -> (mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>, Backend) {
    let (go, wait) = mpsc::channel::<()>();
    let (tails, seen) = mpsc::channel();
    let shared = Mutex::new((wait, tails));
    let backend = Backend::scripted("early", move |conn| {
        while let Some(head) = conn.head()? {
            if !head.first.contains("/early") {
                conn.body(head)?;
                conn.whoami()?;
                continue;
            }
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            let shared = shared.lock().unwrap();
            loop {
                conn.write("5\r\nhello\r\n")?;
                if shared.0.recv_timeout(Duration::from_millis(50)) != Err(mpsc::RecvTimeoutError::Timeout) {
                    break;
                }
            }
            conn.write("0\r\n\r\n")?;
            let _ = shared.1.send(conn.wire.rest()?);
            return Ok(());
        }
        Ok(())
    });
    (go, seen, backend)
}

/// An upload that `fails` after the answer has begun: the next client's request comes on a connection of its own.
#[track_caller]
fn is_not_pooled(flags: &[&str], fails: impl FnOnce(&mut Client)) {
    let (go, tails, backend) = early();
    let flags = [&["--workers", "1"], flags].concat();
    let gate = Headgate::start_with(&app("app.test", &backend), &flags);
    let mut client = gate.connect();
    client.send(CHUNKED);
    assert!(client.wire.head().unwrap().unwrap().first.contains(" 200 "));
    assert_eq!(client.wire.chunk().unwrap(), b"hello");
    fails(&mut client);
    go.send(()).unwrap();
    // Whether the client gets the end of its answer is another matter.
    while client.wire.chunk().is_ok_and(|chunk| !chunk.is_empty()) {}

    assert_eq!(gate.get_with("app.test", "/victim", &[("Cookie", "secret=1")]).text(), "early");
    assert_eq!(backend.only().target(), "/victim");
    assert_eq!(backend.connections(), 2, "on a connection of its own");
    drop((client, gate));
    if let Ok(tail) = tails.recv_timeout(DEADLINE) {
        let tail = String::from_utf8_lossy(&tail);
        assert!(!tail.contains("victim") && !tail.contains("secret"), "{tail:?}");
    }
}

#[test]
fn a_bad_chunk_after_the_answer_began_ends_the_endpoints_connection() {
    is_not_pooled(&[], |client| {
        client.send("ZZ\r\n");
        pause(Duration::from_millis(400));
    });
}

#[test]
fn an_upload_that_stalls_after_the_answer_began_ends_the_endpoints_connection() {
    is_not_pooled(&["--body-timeout", "300ms"], |_| pause(Duration::from_millis(1_000)));
}

#[test]
fn an_answer_that_is_whole_before_the_upload_ends_the_endpoints_connection() {
    // The backend goes on waiting for the body, as a server does that has answered early.
    let backend = Backend::scripted("whole", |conn| {
        while let Some(head) = conn.head()? {
            if head.first.contains("/early") {
                conn.whoami()?;
                return conn.wire.rest().map(|_| ());
            }
            conn.body(head)?;
            conn.whoami()?;
        }
        Ok(())
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--workers", "1"]);
    let mut client = gate.connect();
    assert_eq!(client.send(CHUNKED).answer().text(), "whole");
    assert_eq!(gate.get("app.test", "/victim").text(), "whole");
    assert_eq!((backend.only().target(), backend.connections()), ("/victim", 2));
}

#[test]
fn http_2_is_no_protocol_to_switch_to() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    for (connection, asked, passed) in [
        ("Upgrade", "foo, h2c", Some("foo")),
        ("Upgrade, HTTP2-Settings", "H2C, foo", Some("foo")),
        ("Upgrade, HTTP2-Settings", "h2c", None),
    ] {
        let headers = [("Connection", connection), ("Upgrade", asked), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")];
        assert_eq!(gate.get_with("app.test", "/", &headers).status, 200);
        let seen = backend.requests().pop().unwrap();
        assert_eq!((seen.get("upgrade"), seen.get("http2-settings")), (passed, None), "{connection}: {asked}");
        assert!(!seen.get("connection").unwrap_or_default().to_ascii_lowercase().contains("settings"), "{seen:?}");
    }
}

#[test]
fn a_switch_to_another_protocol_than_asked_for_is_502() {
    for (given, status) in [("foo", 101), ("h2c", 502), ("bar", 502), ("foo, bar", 502)] {
        let text = format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {given}\r\n\r\n");
        let backend = Backend::canned("pushy", text);
        let gate = Headgate::start(&app("app.test", &backend));
        let mut client = gate.connect();
        client.send(request("GET", "/", "app.test", &[("Connection", "Upgrade"), ("Upgrade", "foo, h2c")], b""));
        assert_eq!(client.bodiless().status, status, "{given}");
    }
}

#[test]
fn an_absolute_target_without_a_path_has_the_root_path() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    for (target, line) in [("http://app.test?q=1", "GET /?q=1 HTTP/1.1"), ("http://app.test", "GET / HTTP/1.1")] {
        assert_eq!(gate.get("app.test", target).status, 200, "{target}");
        assert_eq!(backend.requests().pop().unwrap().head.first, line, "{target}");
    }
}

/// Sends a body of 25 bytes in 2.5 s.
fn slowly(client: &mut Client, path: &str) {
    client.send(format!("POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 25\r\n\r\n"));
    for _ in 0..25 {
        pause(Duration::from_millis(100));
        client.send("x");
    }
}

#[test]
fn the_limit_on_answers_runs_from_the_end_of_the_upload() {
    let backend = Backend::named("app");
    let h2c = HyperBackend::h2c("h2c");
    let mut objects = service_of("app", &[&backend]);
    objects.extend(service_at(Service::new("h2c").app_protocol("kubernetes.io/h2c"), h2c.addr));
    objects.push(Ingress::new("app").rule("app.test", &[("/", "Prefix", "app"), ("/collect", "Exact", "h2c")]).into());
    let gate = Headgate::start_with(&Manifests::of(objects), &["--response-timeout", "1500ms"]);
    for (path, name) in [("/", "app"), ("/collect", "h2c")] {
        let mut client = gate.connect();
        slowly(&mut client, path);
        let answer = client.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, name));
    }
    assert_eq!((backend.only().body.len(), h2c.collected().0.len()), (25, 25));
}

#[test]
fn an_upload_that_is_never_answered_is_504() {
    let backend = Backend::scripted("mute", |conn| {
        conn.request()?;
        conn.head().map(|_| ())
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--response-timeout", "500ms"]);
    let mut client = gate.connect();
    slowly(&mut client, "/");
    assert_eq!(client.answer().status, 504);
    assert_eq!(backend.count(), 1);
}

/// A TLS server that reads slowly and answers with how many bytes of body came.
fn slow_tls_server() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    let config = Arc::new(Cert::new(&["app.test"]).server_config(&[b"http/1.1"]));
    std::thread::spawn(move || {
        while let Ok((tcp, _)) = listener.accept() {
            let config = Arc::clone(&config);
            std::thread::spawn(move || {
                let tls = rustls::ServerConnection::new(config).unwrap();
                // A broken upload shows at its client.
                let _ = count_slowly(rustls::StreamOwned::new(tls, tcp));
            });
        }
    });
    addr
}

fn count_slowly(mut tls: impl Read + Write) -> io::Result<()> {
    let (mut buffer, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
    let end = loop {
        let read = tls.read(&mut piece)?;
        buffer.extend_from_slice(&piece[..read]);
        match buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            Some(at) => break at + 4,
            None if read == 0 => return Ok(()),
            None => {}
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    let length: usize = length.unwrap_or_default();
    let mut got = buffer.len() - end;
    pause(Duration::from_millis(250));
    while got < length {
        match tls.read(&mut piece)? {
            0 => break,
            read => got += read,
        }
        pause(Duration::from_micros(100));
    }
    let count = got.to_string();
    write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{count}", count.len())?;
    tls.flush()
}

#[test]
fn large_uploads_reach_a_slow_tls_backend_whole() {
    let mut objects = service_at(Service::new("app").traefik("service.serversscheme", "https"), slow_tls_server());
    objects.push(Ingress::simple("app.test", "app").into());
    let gate = Headgate::start_with(&Manifests::of(objects), &["--upstream-insecure-skip-verify"]);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let gate = &gate;
            scope.spawn(move || {
                for n in (lane..20).step_by(4) {
                    let body = vec![b'x'; 7_000_000 + n * 70_001];
                    let answer = gate.send("POST", "app.test", "/", &[], &body);
                    assert_eq!((answer.status, answer.text()), (200, body.len().to_string()), "upload {n}");
                }
            });
        }
    });
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// `END_STREAM` and `END_HEADERS`
const WHOLE: u8 = 5;
const ACK: u8 = 1;

#[test]
fn an_h2_client_that_takes_nothing_is_dropped_and_frees_the_endpoints() {
    let no_window: &[u8] = &[0, 4, 0, 0, 0, 0];
    // Without a window from the start, and with the usual one that is never opened again.
    for settings in [no_window, &[]] {
        let backend = Backend::scripted("large", |conn| {
            while conn.request()?.is_some() {
                conn.write(crate::support::backend::answer(200, &[], &vec![b'x'; 2_000_000]))?;
            }
            Ok(())
        });
        let gate = Headgate::start_with(&app("app.test", &backend), &["--body-timeout", "500ms"]);
        let mut client = gate.connect();
        let get = [b"\x82\x86\x84\x41\x08", &b"app.test"[..]].concat();
        client.send(PREFACE).send(frame(SETTINGS, 0, 0, settings));
        for stream in [1, 3, 5, 7, 9] {
            client.send(frame(HEADERS, WHOLE, stream, &get));
        }
        eventually("all are at the backend", || backend.heads() == 5);
        // Sooner than by the keep-alive of HTTP/2, which is not answered either: that takes 30 s.
        eventually("the endpoint's connections are freed", || backend.open() == 0);
        client.rest();
    }
}

/// An h2c backend by hand: answers 200 to all streams but those of `fault`, counted over all connections from 1; such a
/// one gets what `says` makes of its stream, and with `closes` the connection ends there.
fn h2c_with_a_fault(fault: fn(usize) -> bool, closes: bool, says: fn(u32) -> Vec<u8>) -> Backend {
    let asked = Mutex::new(0);
    Backend::scripted("raw", move |conn: &mut Conn| {
        if conn.wire.exact(PREFACE.len())? != PREFACE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        conn.write(frame(SETTINGS, 0, 0, &[]))?;
        loop {
            let head = conn.wire.exact(9)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = conn.wire.exact(usize::try_from(length).unwrap())?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4] & ACK) {
                (SETTINGS, 0) => conn.write(frame(SETTINGS, ACK, 0, &[]))?,
                (PING, 0) => conn.write(frame(PING, ACK, 0, &payload))?,
                (HEADERS, _) => {
                    let turn = {
                        let mut asked = asked.lock().unwrap();
                        *asked += 1;
                        *asked
                    };
                    // 0x88 is `:status: 200`.
                    conn.write(if fault(turn) { says(stream) } else { frame(HEADERS, WHOLE, stream, &[0x88]) })?;
                    if fault(turn) && closes {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    })
}

#[test]
fn what_an_h2c_endpoint_has_not_processed_is_sent_again() {
    let refused: fn(u32) -> Vec<u8> = |stream| frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes());
    // The last stream that was processed is the one before.
    let going: fn(u32) -> Vec<u8> = |stream| frame(GOAWAY, 0, 0, &[(stream - 2).to_be_bytes(), [0; 4]].concat());
    for (what, closes, says) in [("REFUSED_STREAM", false, refused), ("GOAWAY", true, going)] {
        let backend = h2c_with_a_fault(|turn| turn == 2, closes, says);
        let mut objects = service_at(Service::new("app").app_protocol("kubernetes.io/h2c"), backend.addr);
        objects.push(Ingress::simple("app.test", "app").into());
        let gate = Headgate::start_with(&Manifests::of(objects), &["--workers", "1"]);
        for n in 1..=4 {
            assert_eq!(gate.get("app.test", "/").status, 200, "{what}, request {n}");
        }
    }
}

#[test]
fn an_h2c_endpoint_that_refuses_every_stream_is_not_asked_for_ever() {
    let backend = h2c_with_a_fault(|turn| turn > 1, false, |stream| frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes()));
    let mut objects = service_at(Service::new("app").app_protocol("kubernetes.io/h2c"), backend.addr);
    objects.push(Ingress::simple("app.test", "app").into());
    let gate = Headgate::start_with(&Manifests::of(objects), &["--workers", "1"]);
    assert_eq!(gate.get("app.test", "/").status, 200);
    assert_eq!(gate.get("app.test", "/").status, 502);
}

#[test]
fn requests_that_wait_when_the_drain_begins_are_answered() {
    let backend = Backend::named("app");
    let flags = ["--workers", "1", "--drain-delay", "0s"];
    let mut gate = Headgate::start_with(&app("app.test", &backend), &flags);
    // They all wait in the queue of the listening socket.
    gate.freeze();
    let mut clients: Vec<Client> = (0..200).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.send(request("GET", "/", "app.test", &[], b""));
    }
    gate.sigterm();
    gate.thaw();
    let answers = clients.iter_mut().map(|client| client.try_answer(true));
    let good = answers.filter(|a| matches!(a, Ok(Some(a)) if a.status == 200 && a.text() == "app")).count();
    assert_eq!(good, 200);
    assert_eq!(gate.wait_exit().code(), Some(0));
}

#[test]
fn every_answer_says_close_once_the_end_is_announced() {
    let backend = Backend::named("app");
    let mut objects = service_of("app", &[&backend]);
    objects.extend(auth());
    objects.extend([
        Value::from(Ingress::simple("app.test", "app")),
        Ingress::new("closed").rule("closed.test", &[("/", "Prefix", "app")]).middlewares(&["missing"]).into(),
        Ingress::new("gone").rule("gone.test", &[("/", "Prefix", "gone")]).into(),
        Ingress::new("locked").rule("locked.test", &[("/", "Prefix", "app")]).middlewares(&["auth"]).into(),
    ]);
    let gate = Headgate::start_with(&Manifests::of(objects), &["--redirect-to-https", "--drain-delay", "1m"]);
    let look = |close: bool| {
        for (secure, host, status) in [
            (false, "unknown.test", 404),
            (false, "app.test", 301),
            (true, "app.test", 200),
            (true, "unknown.test", 404),
            (true, "closed.test", 503),
            (true, "gone.test", 503),
            (true, "locked.test", 401),
        ] {
            let answer = if secure { gate.https(host, "/") } else { gate.get(host, "/") };
            let said = answer.get("connection").map(str::to_ascii_lowercase);
            assert_eq!((answer.status, said.as_deref()), (status, close.then_some("close")), "{host}");
        }
    };
    look(false);
    gate.sigterm();
    eventually("readiness fails", || gate.admin("/readyz").status == 503);
    look(true);
}

#[test]
fn a_signal_right_after_the_ready_line_is_heard() {
    let backend = Backend::named("app");
    let manifests = app("app.test", &backend);
    for _ in 0..20 {
        assert_eq!(terminated_at_once(manifests.path()).code(), Some(0));
    }
}

/// When a body comes whose request is answered with 401 whatever is in it.
#[derive(Clone, Copy, Debug)]
enum Comes {
    AtOnce,
    AfterTheAnswer,
}

/// Nothing of a body that nobody reads is taken for a head.
#[track_caller]
fn spoils_nothing(gate: &Headgate, expect: &str, comes: Comes) {
    for body in ["{\"c\":\"#ffffff\"}", "#", "Content-Length: 1\r\nContent-Length: 1\r\n"] {
        let length = body.len();
        let mut client = gate.connect();
        client.send(format!("POST /locked HTTP/1.1\r\nHost: app.test\r\n{expect}Content-Length: {length}\r\n\r\n"));
        if matches!(comes, Comes::AtOnce) {
            // In a packet of its own, before the answer.
            pause(Duration::from_millis(50));
            client.send(body);
        }
        assert_eq!(client.answer().status, 401);
        if matches!(comes, Comes::AfterTheAnswer) {
            client.send(body);
        }
        client.send(request("GET", "/next", "app.test", &[("Authorization", &credentials())], b""));
        // Closed is as good as served.
        if let Ok(Some(answer)) = client.try_answer(true) {
            assert_eq!((answer.status, answer.text().as_str()), (200, "app"), "{expect:?} {body:?} {comes:?}");
        }
    }
}

#[test]
fn a_body_that_nobody_reads_spoils_no_request() {
    let backend = Backend::scripted("app", |conn| {
        while let Some(head) = conn.head()? {
            if head.first.contains("/locked") {
                pause(Duration::from_millis(200));
                return conn.write(crate::support::backend::answer(401, &[], b"no"));
            }
            conn.body(head)?;
            conn.whoami()?;
        }
        Ok(())
    });
    let mut objects = service_of("app", &[&backend]);
    objects.extend(auth());
    objects.push(Ingress::simple("app.test", "app").middlewares(&["auth"]).into());
    for manifests in [app("app.test", &backend), Manifests::of(objects)] {
        let gate = Headgate::start(&manifests);
        for expect in ["Expect: 100-continue\r\n", ""] {
            spoils_nothing(&gate, expect, Comes::AtOnce);
            spoils_nothing(&gate, expect, Comes::AfterTheAnswer);
        }
    }
}

#[test]
fn a_number_sign_in_a_header_is_no_fragment_wherever_its_piece_begins() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    let first = request("GET", "/1", "app.test", &[("Cookie", "a=#1")], b"");
    let second = request("GET", "/2", "app.test", &[("Cookie", "a=#2; b=#3")], b"");
    for cut in 1..second.len() {
        let (start, rest) = second.split_at(cut);
        let mut client = gate.connect();
        assert_eq!(client.send([&first, start].concat()).answer().status, 200, "the first, cut at {cut}");
        assert_eq!(client.send(rest).answer().status, 200, "the second, cut at {cut}");
    }
    assert_eq!(backend.count(), 2 * (second.len() - 1));
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_not_used_again() {
    let backend = Backend::named("app");
    let flags = ["--workers", "1", "--upstream-idle-timeout", "300ms"];
    let gate = Headgate::start_with(&app("app.test", &backend), &flags);
    let mut client = gate.connect();
    for n in 1..=6 {
        assert_eq!(client.get("app.test", "/").status, 200);
        assert_eq!(backend.connections(), n, "each request on a fresh connection");
        // Between two looks at the pools, which come once a second.
        pause(Duration::from_millis(450));
    }
}

/// In the metrics of the admin server.
const CONNECT_FAILURES: &str = "headgate_upstream_connect_failures_total ";

/// A gate before four pods, of which the second refuses connections.
fn one_of_four_refuses() -> (Pods, Headgate) {
    let mut pods = Pods::start("app", 4);
    let mut objects = service_of_pods("app", &pods);
    objects.push(Ingress::simple("app.test", "app").into());
    pods.all[1].refuse();
    let gate = Headgate::start_with(&Manifests::of(objects), &["--workers", "1"]);
    (pods, gate)
}

#[test]
fn a_burst_at_a_refusing_endpoint_is_one_failure() {
    let (mut pods, gate) = one_of_four_refuses();
    gate.freeze();
    let mut clients: Vec<Client> = (0..20).map(|_| gate.connect()).collect();
    for client in &mut clients {
        client.send(request("GET", "/", "app.test", &[], b""));
    }
    let begun = Instant::now();
    gate.thaw();
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    pods.all[1].resume();
    let before = pods.all[1].count();
    gate.until("app.test", "/", "the endpoint is asked again", |_| pods.all[1].count() > before);
    // 0.5 s; counted one by one, the five failures would make 5 s.
    assert!(begun.elapsed() < Duration::from_secs(3), "back after {:?}", begun.elapsed());
}

#[test]
fn the_turns_of_an_endpoint_that_is_aside_fall_to_all_others_alike() {
    let (pods, gate) = one_of_four_refuses();
    let failures = || {
        let metrics = gate.admin("/metrics").text();
        let line = metrics.lines().find(|l| l.starts_with(CONNECT_FAILURES)).map(str::to_owned);
        line.and_then(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).expect("the metric of failed connects")
    };
    let mut client = gate.connect();
    eventually("30 requests while it is aside", || {
        // Until it is tried, and is aside from now on.
        let before = failures();
        while failures() <= before {
            assert_eq!(client.get("app.test", "/").status, 200);
        }
        let (failed, counts) = (failures(), pods.counts());
        for _ in 0..30 {
            assert_eq!(client.get("app.test", "/").status, 200);
        }
        // Tried again among them, on a slow machine: those say nothing.
        if failures() > failed {
            return false;
        }
        let grown: Vec<usize> = pods.counts().iter().zip(&counts).map(|(now, then)| now - then).collect();
        assert_eq!(grown, [10, 0, 10, 10]);
        true
    });
}

#[test]
fn unwelcome_trailers_neither_reach_an_h2c_backend_nor_come_from_one() {
    let backend = HyperBackend::h2c("h2c");
    let mut objects = service_at(Service::new("h2c").app_protocol("kubernetes.io/h2c"), backend.addr);
    objects.push(Ingress::simple("h2c.test", "h2c").into());
    let gate = Headgate::start(&Manifests::of(objects));

    let h2 = H2::plain(gate.web());
    let (sender, body) = streamed();
    sender.send(Frame::data(Bytes::from_static(b"data"))).unwrap();
    sender.send(Frame::trailers(unwelcome_trailers())).unwrap();
    drop(sender);
    let answer = h2.send(h2.request("POST", "h2c.test", "/collect").body(body).unwrap()).unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "h2c"));
    let names = |trailers: &http::HeaderMap| trailers.keys().map(|n| n.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&answer.trailers), ["x-sum"]);
    let (body, trailers) = backend.collected();
    assert_eq!((body.as_slice(), names(&trailers)), (&b"data"[..], vec!["x-sum".to_owned()]));

    let trailers: String =
        unwelcome_trailers().iter().map(|(n, v)| format!("{n}: {}\r\n", v.to_str().unwrap())).collect();
    let mut client = gate.connect();
    client.send(format!(
        "POST /collect HTTP/1.1\r\nHost: h2c.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n{trailers}\r\n"
    ));
    assert_eq!(client.answer().text(), "h2c");
    assert_eq!(names(&backend.collected().1), ["x-sum"]);
    let answer = h2.send(h2.request("POST", "h2c.test", "/collect").body(full("data")).unwrap()).unwrap();
    assert_eq!(names(&answer.trailers), ["x-sum"]);
}

#[test]
fn a_protected_path_is_protected_in_every_spelling() {
    let backend = Backend::named("app");
    for rule in ["/@admin", "/%40admin"] {
        let mut objects = service_of("app", &[&backend]);
        objects.extend(auth());
        objects.extend([
            Value::from(Ingress::simple("app.test", "app")),
            Ingress::new("admin").rule("app.test", &[(rule, "Prefix", "app")]).middlewares(&["auth"]).into(),
        ]);
        let gate = Headgate::start(&Manifests::of(objects));
        for path in ["/@admin", "/%40admin", "/%40%61dmin/x", "/x/../%40admin"] {
            assert_eq!(gate.get("app.test", path).status, 401, "{path} under {rule}");
        }
        assert_eq!(gate.get_with("app.test", "/%40admin", &[("Authorization", &credentials())]).status, 200);
        assert_eq!(gate.get("app.test", "/").status, 200);
    }
}

#[test]
fn a_low_priority_takes_nothing_from_longer_paths() {
    let (open, admin) = (Backend::named("open"), Backend::named("admin"));
    let mut objects = service_of("open", &[&open]);
    objects.extend(service_of("admin", &[&admin]));
    objects.extend([
        Value::from(Ingress::simple("app.test", "open").traefik("router.priority", "1")),
        Ingress::new("admin").rule("app.test", &[("/admin", "Prefix", "admin")]).into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    for (path, name) in [("/admin", "admin"), ("/admin/x", "admin"), ("/", "open"), ("/adminx", "open")] {
        assert_eq!(gate.get("app.test", path).text(), name, "{path}");
    }
}
