//! What of a request reaches the backend, and what of its answer reaches the client.

use std::sync::{Mutex, mpsc};

use serde_json::Value;

use crate::support::{
    Backend, Cert, Client, Headgate, HyperBackend, Ingress, Manifests, Service,
    backend::{Recorded, answer},
    eventually,
    manifests::{app, service_at, service_of},
    request,
};

/// Sends a GET with these headers and says what the backend saw.
#[track_caller]
fn seen(flags: &[&str], host: &str, headers: &[(&str, &str)]) -> Recorded {
    let backend = Backend::named("app");
    let gate = Headgate::start_with(&app("app.test", &backend), flags);
    assert_eq!(gate.get_with(host, "/", headers).status, 200);
    backend.only()
}

/// The client's answer to what a backend sends, over one connection; the second request shows that it goes on.
#[track_caller]
fn through(bytes: &str) -> (Client, Headgate, Backend) {
    let backend = Backend::canned("canned", bytes);
    let gate = Headgate::start(&app("app.test", &backend));
    (gate.connect(), gate, backend)
}

#[test]
fn forwarded_headers_are_ours() {
    let request = seen(&[], "app.test", &[]);
    assert_eq!(request.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.head.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(request.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.head.all("x-forwarded-host"), ["app.test"]);
    assert_eq!(request.head.all("x-forwarded-port"), ["80"]);
    assert_eq!(request.head.all("host"), ["app.test"]);
    let server = request.head.all("x-forwarded-server");
    assert!(server.len() == 1 && !server[0].is_empty(), "{server:?}");
}

#[test]
fn the_forwarded_port_is_that_of_the_host_never_the_one_we_bind() {
    let request = seen(&[], "app.test:8123", &[]);
    assert_eq!(request.head.all("x-forwarded-port"), ["8123"]);
    assert_eq!(request.head.all("x-forwarded-host"), ["app.test:8123"]);
    assert_eq!(request.head.all("host"), ["app.test:8123"]);

    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    assert_eq!(gate.https("app.test", "/").status, 200);
    let secure = backend.only();
    assert_eq!((secure.get("x-forwarded-proto"), secure.get("x-forwarded-port")), (Some("https"), Some("443")));
}

/// What a client may not say about itself.
const SPOOFED: [(&str, &str); 22] = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.test"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Server", "evil"),
    ("X-Real-Ip", "203.0.113.9"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Forwarded-Uri", "/evil"),
    ("X-Forwarded-Method", "EVIL"),
    ("X-Forwarded-Tls-Client-Cert", "evil"),
    ("X-Forwarded-Tls-Client-Cert-Info", "evil"),
    ("X_Forwarded_For", "203.0.113.9"),
    ("X_Forwarded-Proto", "https"),
    ("X-Forwarded_Host", "evil.test"),
    ("x_forwarded_port", "1"),
    ("X_Real_Ip", "203.0.113.9"),
    ("X_REAL-IP", "203.0.113.9"),
    ("X_Forwarded_Prefix", "/evil"),
    ("X-Forwarded-Tls_Client_Cert", "evil"),
    ("X_Forwarded_Server", "evil"),
    ("X-Replaced-Path", "/evil"),
    ("X_Replaced_Path", "/evil"),
];

#[test]
fn what_a_client_says_under_these_names_is_dropped() {
    let request = seen(&[], "app.test", &SPOOFED);
    for (name, value) in &request.head.headers {
        assert!(
            !value.contains("evil") && !value.contains("EVIL") && !value.contains("203.0.113.9"),
            "{name}: {value}"
        );
        assert!(!name.contains('_'), "{name}: {value}");
    }
    assert_eq!(request.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.head.all("x-forwarded-port"), ["80"]);
}

#[test]
fn other_names_with_underscores_pass() {
    let request = seen(&[], "app.test", &[("My_Header", "1"), ("X_Request_Id", "2")]);
    assert_eq!((request.get("my_header"), request.get("x_request_id")), (Some("1"), Some("2")));
}

#[test]
fn a_trusted_peer_is_believed() {
    let said = [
        ("X-Forwarded-For", "198.51.100.7, 203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "outside.test"),
        ("X-Forwarded-Port", "8443"),
        ("X-Forwarded-Prefix", "/outer"),
        ("X-Replaced-Path", "/outer/x"),
        ("X-Real-Ip", "203.0.113.9"),
    ];
    let request = seen(&["--trusted-ips", "127.0.0.1/32,10.0.0.0/8"], "app.test", &said);
    assert_eq!(request.head.all("x-forwarded-for"), ["198.51.100.7, 203.0.113.9, 127.0.0.1"]);
    for (name, value) in &said[1..] {
        assert_eq!(request.head.all(name), [*value], "{name}");
    }
    let untrusted = seen(&["--trusted-ips", "10.0.0.0/8"], "app.test", &said);
    assert_eq!(untrusted.head.all("x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn proxy_protocol_of_a_trusted_peer_names_the_client() {
    let backend = Backend::named("app");
    let flags = ["--proxy-protocol", "--trusted-ips", "127.0.0.0/8"];
    let gate = Headgate::start_with(&app("app.test", &backend), &flags);
    let get = request("GET", "/", "app.test", &[], b"");

    let mut v1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 80\r\n".to_vec();
    v1.extend(&get);
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    v2.extend([203, 0, 113, 8, 192, 0, 2, 1, 0xc7, 0x38, 0, 80]);
    v2.extend(&get);
    let mut unknown = b"PROXY UNKNOWN\r\n".to_vec();
    unknown.extend(&get);
    for (bytes, client) in [(v1, "203.0.113.7"), (v2, "203.0.113.8"), (unknown, "127.0.0.1")] {
        assert_eq!(gate.connect().send(bytes).answer().status, 200);
        assert_eq!(backend.requests().pop().unwrap().get("x-real-ip"), Some(client));
    }
    let before = backend.heads();
    for bad in ["PROXY TCP4 203.0.113.7\r\n", "PROXY TCP4 a b c d\r\n", "PROXY TCP9 1.2.3.4 1.2.3.4 1 1\r\n"] {
        let mut bytes = bad.as_bytes().to_vec();
        bytes.extend(&get);
        let reply = gate.connect().send(bytes).rest();
        assert!(!reply.starts_with(b"HTTP/1.1 200"), "{bad:?}");
    }
    assert_eq!(backend.heads(), before);
}

#[test]
fn proxy_protocol_of_anyone_else_is_no_request() {
    let backend = Backend::named("app");
    let flags = ["--proxy-protocol", "--trusted-ips", "10.0.0.0/8"];
    let gate = Headgate::start_with(&app("app.test", &backend), &flags);
    assert_eq!(gate.get("app.test", "/").status, 200, "a direct client without it is served");
    let mut bytes = b"PROXY TCP4 203.0.113.7 192.0.2.1 51000 80\r\n".to_vec();
    bytes.extend(request("GET", "/", "app.test", &[], b""));
    let reply = gate.connect().send(bytes).rest();
    assert!(!reply.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&reply));
    assert_eq!(backend.count(), 1);
}

#[test]
fn hop_by_hop_headers_go_no_further() {
    let request = seen(
        &[],
        "app.test",
        &[
            ("Connection", "keep-alive, X-First"),
            ("Connection", "X-Second"),
            ("X-First", "1"),
            ("X-Second", "2"),
            ("X-Third", "3"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eA=="),
            ("TE", "gzip"),
            ("Upgrade", "h2c"),
        ],
    );
    for name in ["x-first", "x-second", "keep-alive", "proxy-connection", "proxy-authorization", "te", "upgrade"] {
        assert_eq!(request.get(name), None, "{name}");
    }
    assert_eq!(request.get("x-third"), Some("3"));
}

#[test]
fn connection_cannot_take_our_own_headers_away() {
    let request = seen(&[], "app.test", &[("Connection", "X-Forwarded-For, X-Real-Ip, X-Forwarded-Proto, Host")]);
    assert_eq!(request.head.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(request.head.all("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(request.head.all("x-forwarded-proto"), ["http"]);
    assert_eq!(request.head.all("host"), ["app.test"]);
}

#[test]
fn connection_cannot_take_away_what_a_trusted_proxy_says_of_its_client() {
    let said = [
        ("Connection", "X-Forwarded-For, X-Forwarded-Proto, X-Other"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Other", "1"),
    ];
    let request = seen(&["--trusted-ips", "127.0.0.1/32"], "app.test", &said);
    assert_eq!(request.head.all("x-forwarded-for"), ["203.0.113.9, 127.0.0.1"]);
    assert_eq!(request.head.all("x-real-ip"), ["203.0.113.9"]);
    assert_eq!((request.get("x-forwarded-proto"), request.get("x-other")), (Some("https"), None));
}

#[test]
fn what_has_no_place_in_a_path_is_encoded() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    for (sent, forwarded) in
        [("/a\\..\\b", "/a%5C..%5Cb"), ("/{x}|\"y\"", "/%7Bx%7D%7C%22y%22"), ("/a[1]?{q}", "/a[1]?{q}")]
    {
        let mut client = gate.connect();
        assert_eq!(
            client.send(format!("GET {sent} HTTP/1.1\r\nHost: app.test\r\n\r\n")).answer().status,
            200,
            "{sent}"
        );
        assert_eq!(backend.requests().pop().unwrap().target(), forwarded, "{sent}");
    }
}

#[test]
fn hop_by_hop_headers_of_an_answer_go_no_further_either() {
    let (mut client, _gate, _backend) = through(
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-First\r\nConnection: X-Second\r\nX-First: 1\r\nX-Second: 2\r\n\
         X-Third: 3\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = client.get("app.test", "/");
    for name in ["x-first", "x-second", "keep-alive", "proxy-authenticate"] {
        assert_eq!(answer.get(name), None, "{name}");
    }
    assert_eq!((answer.get("x-third"), answer.text().as_str()), (Some("3"), "ok"));
    assert_eq!(client.get("app.test", "/").status, 200, "the connection goes on");
}

#[test]
fn everything_else_passes_as_it_is() {
    let headers = [
        ("Accept", "text/html, */*;q=0.1"),
        ("Authorization", "Bearer x"),
        ("Cookie", "a=1; b=\"2\""),
        ("User-Agent", "test/1"),
        ("Forwarded", "for=192.0.2.43"),
        ("X-Twice", "1"),
        ("X-Twice", "2"),
        ("X-Empty", ""),
        ("X-Latin", "caf\u{e9}"),
        ("Range", "bytes=0-1"),
    ];
    let request = seen(&[], "app.test", &headers);
    for (name, value) in headers.iter().filter(|(name, _)| *name != "X-Twice") {
        assert_eq!(request.get(name), Some(*value), "{name}");
    }
    assert_eq!(request.head.all("x-twice"), ["1", "2"]);
    let none = seen(&[], "app.test", &[]);
    for name in ["user-agent", "accept-encoding", "via", "connection", "content-length", "transfer-encoding"] {
        assert_eq!(none.get(name), None, "{name} is not invented");
    }
}

#[test]
fn continue_comes_from_the_backend() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::scripted("careful", move |conn| {
        while let Some(head) = conn.head()? {
            assert_eq!(head.get("expect"), Some("100-continue"));
            let _ = wait.lock().unwrap().recv();
            conn.write("HTTP/1.1 100 Continue\r\n\r\n")?;
            conn.body(head)?;
            conn.whoami()?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    eventually("the head is at the backend before any of the body", || backend.heads() == 1);
    go.send(()).unwrap();
    let interim = client.bodiless();
    assert_eq!(interim.status, 100);
    let answer = client.send("body").answer();
    assert_eq!((answer.status, backend.only().body.as_slice()), (200, &b"body"[..]));
}

#[test]
fn a_backend_that_refuses_the_body_is_heard_at_once() {
    let backend = Backend::scripted("strict", |conn| {
        if conn.head()?.is_some() {
            conn.write(answer(413, &[("Connection", "close")], b"too large"))?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 400000000\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
    assert_eq!(gate.connect().send(request("POST", "/", "app.test", &[], b"small")).answer().status, 413);
}

#[test]
fn head_has_the_length_and_no_body() {
    let backend = Backend::scripted("head", |conn| {
        while let Some(request) = conn.request()? {
            match request.method() {
                "HEAD" => conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")?,
                _ => conn.whoami()?,
            }
        }
        Ok(())
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--workers", "1"]);
    let mut client = gate.connect();
    for _ in 0..3 {
        let answer = client.send(request("HEAD", "/", "app.test", &[], b"")).bodiless();
        assert_eq!((answer.status, answer.get("content-length")), (200, Some("1234")));
        assert_eq!(client.get("app.test", "/").text(), "head");
    }
    assert_eq!(backend.connections(), 1, "and the upstream connection goes on too");
}

#[test]
fn answers_without_a_body_have_none() {
    for status in ["204 No Content", "304 Not Modified"] {
        let (mut client, _gate, _backend) = through(&format!("HTTP/1.1 {status}\r\nETag: \"x\"\r\n\r\n"));
        for _ in 0..2 {
            let answer = client.get("app.test", "/");
            assert_eq!(answer.head.first.split(' ').nth(1), status.split(' ').next());
            assert_eq!((answer.get("etag"), answer.get("transfer-encoding")), (Some("\"x\""), None));
        }
    }
}

#[test]
fn trailers_pass_both_ways_and_forbidden_ones_do_not() {
    let backend = Backend::scripted("trailers", |conn| {
        while conn.request()?.is_some() {
            conn.write(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 6\r\nContent-Length: 9\r\n\r\n",
            )?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send(
        "POST / HTTP/1.1\r\nHost: app.test\r\nTE: trailers\r\nTrailer: X-Count\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\ndata\r\n0\r\nX-Count: 4\r\nHost: evil.test\r\nTransfer-Encoding: chunked\r\nAuthorization: x\r\n\r\n",
    );
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "abc"));
    let lower = |trailers: &[(String, String)]| {
        trailers.iter().map(|(name, value)| format!("{}: {value}", name.to_ascii_lowercase())).collect::<Vec<_>>()
    };
    assert_eq!(lower(&answer.trailers), ["x-sum: 6"]);
    let seen = backend.only();
    assert_eq!((seen.get("te"), seen.body.as_slice()), (Some("trailers"), &b"data"[..]));
    assert_eq!(lower(&seen.trailers), ["x-count: 4"]);
    assert_eq!(client.get("app.test", "/").status, 200, "the connection goes on");
}

#[test]
fn a_request_body_streams() {
    let (seen, pieces) = mpsc::channel();
    let seen = Mutex::new(seen);
    let backend = Backend::scripted("stream", move |conn| {
        while conn.head()?.is_some() {
            loop {
                let piece = conn.wire.chunk()?;
                let last = piece.is_empty();
                let _ = seen.lock().unwrap().send(piece);
                if last {
                    conn.wire.trailers()?;
                    break;
                }
            }
            conn.whoami()?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in ["one", "two", "three"] {
        client.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
        let mut got = Vec::new();
        while got.len() < piece.len() {
            got.extend(pieces.recv_timeout(crate::support::DEADLINE).expect("each piece before the next is sent"));
        }
        assert_eq!(got, piece.as_bytes());
    }
    assert_eq!(client.send("0\r\n\r\n").answer().text(), "stream");
}

#[test]
fn an_answer_streams() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::scripted("stream", move |conn| {
        while conn.request()?.is_some() {
            conn.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for event in ["one", "two", "six"] {
                conn.write(format!("3\r\n{event}\r\n"))?;
                let _ = wait.lock().unwrap().recv();
            }
            conn.write("0\r\n\r\n")?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send(request("GET", "/", "app.test", &[], b""));
    let head = client.wire.head().unwrap().unwrap();
    assert!(head.chunked(), "{head:?}");
    for event in ["one", "two", "six"] {
        assert_eq!(client.wire.chunk().unwrap(), event.as_bytes(), "before the next is sent");
        go.send(()).unwrap();
    }
    assert!(client.wire.chunk().unwrap().is_empty());
}

#[test]
fn large_bodies_arrive_whole_both_ways() {
    let backend = Backend::scripted("mirror", |conn| {
        while let Some(request) = conn.request()? {
            conn.write(answer(200, &[], &request.body))?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let body: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut client = gate.connect();
    let echoed = client.send(request("PUT", "/", "app.test", &[], &body)).answer();
    assert!(echoed.body == body, "{} of {} bytes", echoed.body.len(), body.len());
    let mut chunked = b"PUT / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for piece in body.chunks(50_000) {
        chunked.extend(format!("{:X};ext=1\r\n", piece.len()).bytes());
        chunked.extend(piece);
        chunked.extend(b"\r\n");
    }
    chunked.extend(b"0\r\n\r\n");
    let echoed = client.send(chunked).answer();
    assert!(echoed.body == body, "{} of {} bytes", echoed.body.len(), body.len());
}

#[test]
fn a_known_length_stays_a_known_length() {
    let (mut client, _gate, backend) = through("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfixed");
    let answer = client.send(request("POST", "/", "app.test", &[], b"body")).answer();
    assert_eq!((answer.get("content-length"), answer.get("transfer-encoding")), (Some("5"), None));
    let seen = backend.only();
    assert_eq!((seen.get("content-length"), seen.get("transfer-encoding")), (Some("4"), None));
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let backend = Backend::scripted("old", |conn| {
        if conn.request()?.is_some() {
            conn.write("HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    for _ in 0..2 {
        let answer = client.get("app.test", "/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "until the end"));
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_passed_off_as_whole() {
    for cut in [
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    ] {
        let backend = Backend::scripted("cut", move |conn| {
            if conn.request()?.is_some() {
                conn.write(cut)?;
            }
            Ok(())
        });
        let gate = Headgate::start(&app("app.test", &backend));
        let mut client = gate.connect();
        client.send(request("GET", "/", "app.test", &[], b""));
        if let Ok(Some(answer)) = client.try_answer(true) {
            assert_eq!(answer.status, 502, "{:?} for {cut:?}", answer.text());
        }
    }
}

#[test]
fn interim_answers_of_a_backend_are_dropped() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let whole = format!("{early}{early}HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal");
    let (mut client, _gate, _backend) = through(&whole);
    for _ in 0..2 {
        let answer = client.get("app.test", "/");
        assert_eq!((answer.status, answer.text().as_str(), answer.get("link")), (200, "final", None));
    }
}

#[test]
fn the_authority_of_an_absolute_target_replaces_the_host() {
    let (backend, other) = (Backend::named("app"), Backend::named("other"));
    let mut objects = service_of("app", &[&backend]);
    objects.extend(service_of("other", &[&other]));
    objects.extend([Value::from(Ingress::simple("app.test", "app")), Ingress::simple("other.test", "other").into()]);
    let gate = Headgate::start(&Manifests::of(objects));
    let mut client = gate.connect();
    let answer = client.send("GET http://app.test/x?y HTTP/1.1\r\nHost: other.test\r\n\r\n").answer();
    assert_eq!(answer.text(), "app");
    let seen = backend.only();
    assert_eq!(seen.head.first, "GET /x?y HTTP/1.1");
    assert_eq!(seen.head.all("host"), ["app.test"]);
    assert_eq!(other.heads(), 0);
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let backend = Backend::canned(
        "chunks",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    );
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
    let text = String::from_utf8(client.rest()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 ") && !head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, "abcdef", "closed at its end");
    assert_eq!(backend.only().head.first, "GET / HTTP/1.1");

    let length = Backend::named("length");
    let gate = Headgate::start(&app("app.test", &length));
    let mut client = gate.connect();
    for _ in 0..2 {
        let answer = client.send("GET / HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n").answer();
        assert_eq!(answer.text(), "length", "kept alive when asked for");
    }
}

#[test]
fn close_closes_and_keep_alive_keeps() {
    let backend = Backend::named("app");
    let gate = Headgate::start_with(&app("app.test", &backend), &["--workers", "1"]);
    let mut client = gate.connect();
    for _ in 0..5 {
        assert_eq!(client.get("app.test", "/").status, 200);
    }
    assert_eq!(client.get_with("app.test", "/", &[("Connection", "close")]).status, 200);
    assert!(client.rest().is_empty());
    assert_eq!(backend.connections(), 1, "a client's close is not the upstream's");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::scripted("path", |conn| {
        while let Some(request) = conn.request()? {
            conn.write(answer(200, &[], request.target().as_bytes()))?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    let all: Vec<u8> = (0..5).flat_map(|n| request("GET", &format!("/{n}"), "app.test", &[], b"")).collect();
    client.send(all);
    for n in 0..5 {
        assert_eq!(client.answer().text(), format!("/{n}"));
    }
}

#[test]
fn https_backends_are_verified_unless_told_otherwise() {
    let cert = Cert::new(&["backend.test"]);
    let backend = HyperBackend::tls("secure", &cert, &[b"http/1.1"]);
    for service in [
        Service::new("secure").traefik("service.serversscheme", "https"),
        Service::new("secure").app_protocol("https"),
        Service::new("secure").ports(&[("https-web", 80)]),
    ] {
        let mut objects = service_at(service, backend.addr);
        // The slice's port is found by the name of the Service's port.
        let name = objects[0]["spec"]["ports"][0]["name"].clone();
        if !name.is_null() {
            objects[1]["ports"][0]["name"] = name;
        }
        objects.push(Ingress::simple("secure.test", "secure").into());
        let manifests = Manifests::of(objects);
        let strict = Headgate::start(&manifests);
        assert_eq!(strict.get("secure.test", "/").status, 502, "a certificate that nobody vouches for");
        let lenient = Headgate::start_with(&manifests, &["--upstream-insecure-skip-verify"]);
        assert_eq!(lenient.get("secure.test", "/").text(), "secure");
    }
    assert!(backend.seen().iter().all(|parts| parts.headers.get("host").is_some_and(|h| h == "secure.test")));
}

#[test]
fn a_given_authority_vouches_for_https_backends() {
    // Good for the Host and for the address, whichever of them is verified.
    let cert = Cert::new(&["secure.test", "127.0.0.1"]);
    let backend = HyperBackend::tls("secure", &cert, &[b"h2", b"http/1.1"]);
    let mut objects = service_at(Service::new("secure").traefik("service.serversscheme", "https"), backend.addr);
    objects.push(Ingress::simple("secure.test", "secure").into());
    let manifests = Manifests::of(objects);
    let dir = tempfile::tempdir().unwrap();
    let (good, other) = (dir.path().join("good.pem"), dir.path().join("other.pem"));
    std::fs::write(&good, &cert.pem).unwrap();
    std::fs::write(&other, &Cert::new(&["secure.test", "127.0.0.1"]).pem).unwrap();
    let gate = Headgate::start_with(&manifests, &["--upstream-ca-file", good.to_str().unwrap()]);
    assert_eq!(gate.get("secure.test", "/").text(), "secure");
    let gate = Headgate::start_with(&manifests, &["--upstream-ca-file", other.to_str().unwrap()]);
    assert_eq!(gate.get("secure.test", "/").status, 502);
}

#[test]
fn the_host_can_be_that_of_the_endpoint() {
    let backend = Backend::named("app");
    let mut objects = service_at(Service::new("app").traefik("service.passhostheader", "false"), backend.addr);
    objects.push(Ingress::simple("app.test", "app").into());
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.get("app.test", "/").status, 200);
    let seen = backend.only();
    assert_eq!(seen.head.all("host"), [backend.addr.to_string()]);
    assert_eq!(seen.get("x-forwarded-host"), Some("app.test"));
}

#[test]
fn a_client_that_goes_away_frees_the_backend() {
    let backend = Backend::scripted("patient", |conn| {
        conn.request()?;
        // Waits for the proxy to close; it has nothing else to send.
        conn.head()?;
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    client.send(request("GET", "/", "app.test", &[], b""));
    eventually("the request is at the backend", || backend.count() == 1);
    drop(client);
    eventually("its upstream connection is closed", || backend.open() == 0);
}
