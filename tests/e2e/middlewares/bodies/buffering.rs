//! `buffering`

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{over, served, text};
use crate::{
    middlewares::{Fixture, HOST},
    support::{
        Backend, Conn, H2, Headgate, Ingress, Manifests, Middleware, backend::answer, eventually, h2,
        manifests::service_of,
    },
};

fn buffering(fields: Value) -> Value {
    json!({ "buffering": fields })
}

/// A backend that sends bodies back, of no told length.
fn echo() -> Backend {
    Backend::scripted("app", |conn| {
        while let Some(request) = conn.request()? {
            conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for piece in request.body.chunks(50_000) {
                conn.write([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat())?;
            }
            conn.write("0\r\n\r\n")?;
        }
        Ok(())
    })
}

fn chunked(body: &str) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let (first, second) = body.split_at(body.len() / 2);
    format!("{head}{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len()).into_bytes()
}

#[test]
fn requests_and_answers_are_whole() {
    for memory in [json!(null), json!(1_000), json!(0)] {
        let fields = json!({ "memRequestBodyBytes": memory, "memResponseBodyBytes": memory });
        let fixture = over(echo(), buffering(fields));
        let gate = fixture.start();
        let body = text(3_000_000);
        let answer = gate.connect().send(chunked(&body)).answer();
        assert_eq!((answer.status, answer.get("transfer-encoding")), (200, None));
        assert_eq!(answer.get("content-length"), Some("3000000"), "known by now");
        assert!(answer.body == body.as_bytes());
        let seen = fixture.backend.only();
        assert_eq!((seen.get("content-length"), seen.get("transfer-encoding")), (Some("3000000"), None));
        assert!(seen.body == body.as_bytes());
    }
}

#[test]
fn an_endpoint_hears_nothing_of_half_a_request() {
    let fixture = Fixture::one(buffering(json!({})));
    let gate = fixture.start();
    let mut slow = gate.connect();
    slow.send(format!("POST /slow HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf "));
    // Meanwhile others are served.
    assert_eq!(gate.get(HOST, "/").text(), "app");
    assert_eq!(fixture.backend.heads(), 1);
    assert_eq!(slow.send("other").answer().text(), "app");
    assert_eq!(fixture.backend.requests()[1].body, b"half other");
}

#[test]
fn a_request_without_a_body_stays_without() {
    let fixture = Fixture::one(buffering(json!({})));
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/").text(), "app");
    let seen = fixture.backend.only();
    assert_eq!((seen.get("content-length"), seen.get("transfer-encoding")), (None, None));
    let mut client = gate.connect();
    let head = client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).bodiless();
    assert_eq!((head.status, head.get("content-length")), (200, Some("4")));
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    let fixture = Fixture::one(buffering(json!({ "maxRequestBodyBytes": 10 })));
    let gate = fixture.start();
    assert_eq!(gate.send("POST", HOST, "/", &[], b"0123456789").status, 200);
    assert_eq!(gate.connect().send(chunked("0123456789")).answer().status, 200);
    let before = fixture.backend.heads();
    // What says so beforehand is not even read, and not asked for.
    for headers in ["", "Expect: 100-continue\r\n"] {
        let head = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 11\r\n{headers}\r\n");
        let answer = gate.connect().send(head).answer();
        assert_eq!((answer.status, answer.text().as_str()), (413, "Request Entity Too Large"), "{headers:?}");
    }
    let answer = gate.connect().send(chunked("0123456789a")).answer();
    assert_eq!(answer.status, 413, "what doesn't, when it is too much");
    let client = H2::plain(gate.web());
    let request = client.request("POST", HOST, "/").body(h2::full("0123456789a")).unwrap();
    assert_eq!(client.send(request).unwrap().status, 413);
    assert_eq!(fixture.backend.heads(), before);
}

#[test]
fn a_client_that_waits_is_told_to_go_on() {
    let fixture = Fixture::one(buffering(json!({ "maxRequestBodyBytes": 10 })));
    let gate = fixture.start();
    let mut client = gate.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(client.bodiless().status, 100);
    assert_eq!(client.send("hello").answer().status, 200);
    let seen = fixture.backend.only();
    assert_eq!((seen.body.as_slice(), seen.get("expect")), (&b"hello"[..], None), "the body is there already");
}

#[test]
fn a_client_that_stalls_or_breaks_off_is_not_waited_for() {
    let fixture = Fixture::one(buffering(json!({})));
    let gate = Headgate::start_with(&fixture.manifests, &["--body-timeout", "1s"]);
    let mut slow = gate.connect();
    slow.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf "));
    assert_eq!(slow.answer().status, 408);
    let mut gone = gate.connect();
    gone.send(format!("POST / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 10\r\n\r\nhalf "));
    gone.wire.finish();
    gone.rest();
    assert_eq!(gate.get(HOST, "/").text(), "app");
    assert_eq!(fixture.backend.heads(), 1, "neither came to it");
}

#[test]
fn an_answer_that_is_too_large_or_broken_is_replaced() {
    let of = |bytes: &'static str| {
        let backend = Backend::scripted("app", move |conn| {
            if conn.request()?.is_some() {
                conn.write(bytes)?;
            }
            Ok(())
        });
        let gate = served(backend, buffering(json!({ "maxResponseBodyBytes": 10 })));
        let answer = gate.get(HOST, "/");
        (answer.status, answer.text())
    };
    let own = |status: u16, text: &str| (status, text.to_owned());
    assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789"), own(200, "0123456789"));
    let too_large = own(500, "Internal Server Error");
    assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n0123456789a"), too_large);
    assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n0"), too_large);
    assert_eq!(of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789a\r\n0\r\n\r\n"), too_large);
    assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n01234"), own(502, "Bad Gateway"));
    assert_eq!(of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"), own(502, "Bad Gateway"));
}

/// A backend that does the first for so many requests, and answers the next.
fn failing(
    times: usize,
    fail: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static,
) -> (Backend, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let backend = Backend::scripted("app", move |conn| {
        while conn.request()?.is_some() {
            if seen.fetch_add(1, Ordering::SeqCst) < times {
                fail(conn)?;
            } else {
                conn.whoami()?;
            }
        }
        Ok(())
    });
    (backend, count)
}

#[test]
fn the_expression_says_when_to_try_again() {
    let unavailable = |conn: &mut Conn| conn.write(answer(503, &[], b"later"));
    for (expression, failures, status, tries) in [
        ("ResponseCode() == 503 && Attempts() <= 2", 2, 200, 3),
        ("ResponseCode() == 503 && Attempts() <= 2", 5, 503, 3),
        ("ResponseCode() == 503", 50, 503, 11),
        ("IsNetworkError()", 5, 503, 1),
        ("RequestMethod() == \"GET\" && ResponseCode() == 503", 5, 503, 1),
        ("RequestMethod() == \"POST\" && (ResponseCode() == 500 || ResponseCode() > 502)", 1, 200, 2),
    ] {
        let (backend, count) = failing(failures, unavailable);
        let fixture = over(backend, buffering(json!({ "retryExpression": expression })));
        let gate = fixture.start();
        assert_eq!(gate.send("POST", HOST, "/", &[], b"body").status, status, "{expression}");
        assert_eq!(count.load(Ordering::SeqCst), tries, "{expression}");
        assert!(fixture.backend.requests().iter().all(|request| request.body == b"body"), "{expression}");
    }
}

#[test]
fn an_endpoint_that_hangs_up_is_a_network_error() {
    let (backend, count) = failing(2, |_| Err(io::ErrorKind::ConnectionAborted.into()));
    let gate = served(backend, buffering(json!({ "retryExpression": "IsNetworkError() && Attempts() <= 2" })));
    assert_eq!(gate.send("POST", HOST, "/", &[], b"body").text(), "app");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn tunnels_pass() {
    super::lets_a_tunnel_through(buffering(json!({ "retryExpression": "Attempts() < 5" })));
}

/// More than the system's buffers take for a client that doesn't read; two of them are still kept in memory.
const LARGE: usize = 24 << 20;

/// A gate before a backend of large answers, all kept in memory, that serves two requests of a host at once.
fn large(flags: &[&str]) -> (Backend, Headgate) {
    let backend = Backend::scripted("app", |conn| {
        while let Some(request) = conn.request()? {
            let length = if request.target() == "/large" { LARGE } else { 0 };
            conn.write(answer(200, &[], &vec![b'x'; length]))?;
        }
        Ok(())
    });
    let mut objects = service_of("app", &[&backend]);
    objects.extend([
        Ingress::simple(HOST, "app").middlewares(&["count", "whole"]).into(),
        Middleware::new("count", json!({ "inFlightReq": { "amount": 2 } })).into(),
        Middleware::new("whole", buffering(json!({ "memResponseBodyBytes": LARGE }))).into(),
    ]);
    let gate = Headgate::start_with(&Manifests::of(objects), flags);
    (backend, gate)
}

#[test]
fn an_answer_that_nobody_reads_counts_until_it_is_taken() {
    let (backend, gate) = large(&[]);
    let mut unread: Vec<_> = (0..2).map(|_| gate.connect()).collect();
    for client in &mut unread {
        client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    }
    eventually("both are asked for", || backend.heads() == 2);
    // The pod has answered when it takes the next request on one of its connections, or shows a head to a client.
    for client in &mut unread {
        assert!(client.wire.head().unwrap().unwrap().first.contains("200"));
    }
    assert_eq!(gate.get(HOST, "/").status, 429, "their answers are made, and not taken");
    drop(unread);
    eventually("what is given up counts no longer", || gate.get(HOST, "/").status == 200);
}

#[test]
fn a_client_that_takes_a_kept_answer_slowly_is_not_taken_for_idle() {
    let (_backend, gate) = large(&["--keepalive-timeout", "1s"]);
    let mut slow = gate.connect();
    slow.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n"));
    // One after the other, each closed as idle: longer than an idle one is left alone after it was told to end.
    for _ in 0..4 {
        let mut idle = gate.connect();
        assert_eq!(idle.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).answer().status, 200);
        assert_eq!(idle.rest(), b"");
    }
    assert_eq!(slow.answer().body.len(), LARGE);
}
