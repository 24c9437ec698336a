//! Requests that two parsers could read differently: refused before a backend sees a byte, or read in the one way
//! that RFC 9112 gives and forwarded in clean framing. Each case is raw bytes on a socket of its own.

use crate::support::{Backend, Headgate, manifests::app};

/// A gate before one backend at `app.test`.
fn gate() -> (Backend, Headgate) {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    (backend, gate)
}

/// Sends each and asserts one of the statuses, a closed connection, and silence at the backend.
#[track_caller]
fn refused(expected: &[u16], cases: &[(&str, &[u8])]) {
    let (backend, gate) = gate();
    for (what, bytes) in cases {
        let mut client = gate.connect();
        let answer = client.send(bytes).try_answer(true);
        let answer = answer.unwrap_or_else(|e| panic!("{what}: {e}"));
        let answer = answer.unwrap_or_else(|| panic!("{what}: closed without an answer"));
        assert!(expected.contains(&answer.status), "{what}: {} {:?}", answer.status, answer.text());
        let behind = client.wire.rest().unwrap_or_else(|e| panic!("{what}: the connection stays open: {e}"));
        assert!(behind.is_empty(), "{what}: more than one answer: {:?}", String::from_utf8_lossy(&behind));
        assert_eq!((backend.heads(), backend.connections()), (0, 0), "{what}: it reached the backend");
    }
    assert_eq!(gate.get("app.test", "/").status, 200, "a good request is served after all of them");
}

/// A second request in the bytes of the first one's body.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

#[test]
fn content_lengths() {
    let post =
        |headers: &str| format!("POST / HTTP/1.1\r\nHost: app.test\r\n{headers}\r\nhello{SMUGGLED}").into_bytes();
    let cases = [
        ("two that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n")),
        ("two that agree", post("Content-Length: 5\r\nContent-Length: 5\r\n")),
        ("a list that agrees", post("Content-Length: 5, 5\r\n")),
        ("a list that differs", post("Content-Length: 5, 6\r\n")),
        ("a plus sign", post("Content-Length: +5\r\n")),
        ("a minus sign", post("Content-Length: -5\r\n")),
        ("hexadecimal", post("Content-Length: 0x5\r\n")),
        ("a fraction", post("Content-Length: 5.0\r\n")),
        ("nothing", post("Content-Length: \r\n")),
        ("words", post("Content-Length: five\r\n")),
        ("inner space", post("Content-Length: 1 5\r\n")),
        ("more than 64 bits", post("Content-Length: 18446744073709551621\r\n")),
        ("one of them folded in another case", post("Content-Length: 5\r\ncontent-length: 0\r\n")),
    ];
    refused(&[400], &cases.each_ref().map(|(what, bytes)| (*what, bytes.as_slice())));
}

#[test]
fn transfer_encodings() {
    let post =
        |headers: &str| format!("POST / HTTP/1.1\r\nHost: app.test\r\n{headers}\r\n0\r\n\r\n{SMUGGLED}").into_bytes();
    let cases = [
        ("an unknown coding", post("Transfer-Encoding: xchunked\r\n")),
        ("chunked is not last", post("Transfer-Encoding: chunked, identity\r\n")),
        ("another coding before", post("Transfer-Encoding: gzip, chunked\r\n")),
        ("identity", post("Transfer-Encoding: identity\r\n")),
        ("chunked twice in a list", post("Transfer-Encoding: chunked, chunked\r\n")),
        ("chunked twice in lines", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        ("identity in a second line", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")),
        ("a vertical tab", post("Transfer-Encoding: \x0bchunked\r\n")),
        ("quotes", post("Transfer-Encoding: \"chunked\"\r\n")),
        ("a parameter", post("Transfer-Encoding: chunked;q=1\r\n")),
        ("nothing", post("Transfer-Encoding: \r\n")),
        ("an empty list element", post("Transfer-Encoding: ,chunked\r\n")),
        ("unknown, with a length", post("Content-Length: 5\r\nTransfer-Encoding: chunke\r\n")),
        ("in HTTP/1.0", b"POST / HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec()),
    ];
    refused(&[400, 501], &cases.each_ref().map(|(what, bytes)| (*what, bytes.as_slice())));
}

#[test]
fn header_lines() {
    let get = |lines: &str| format!("GET / HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n").into_bytes();
    let cases = [
        ("a folded line", get("X-Folded: one\r\n two\r\n")),
        ("a folded line by a tab", get("X-Folded: one\r\n\ttwo\r\n")),
        ("a folded Transfer-Encoding", get("Transfer-Encoding:\r\n chunked\r\n")),
        ("space before the colon", get("Content-Length : 5\r\n")),
        ("a tab before the colon", get("Transfer-Encoding\t: chunked\r\n")),
        ("space in a name", get("X Y: 1\r\n")),
        ("no colon", get("Transfer-Encoding chunked\r\n")),
        ("no name", get(": 1\r\n")),
        ("a name with a bracket", get("X(Y): 1\r\n")),
        ("a name with a control byte", get("X\x01Y: 1\r\n")),
        ("a name with a byte above ASCII", get("X\u{e9}: 1\r\n")),
        ("a control byte in a value", get("X-Value: a\x01b\r\n")),
        ("NUL in a value", get("X-Value: a\0b\r\n")),
        ("DEL in a value", get("X-Value: a\x7fb\r\n")),
        ("a bare CR in a value", get("X-Value: a\rb\r\n")),
        ("a bare CR as line end", get("X-Value: a\rTransfer-Encoding: chunked\r\n")),
        ("space before the first header", b"GET / HTTP/1.1\r\n Host: app.test\r\n\r\n".to_vec()),
    ];
    refused(&[400], &cases.each_ref().map(|(what, bytes)| (*what, bytes.as_slice())));
}

#[test]
fn hosts() {
    let get = |hosts: &str| format!("GET / HTTP/1.1\r\n{hosts}\r\n").into_bytes();
    let cases = [
        ("none", get("")),
        ("two that differ", get("Host: app.test\r\nHost: other.test\r\n")),
        ("two that agree", get("Host: app.test\r\nHost: app.test\r\n")),
        ("a path", get("Host: app.test/evil\r\n")),
        ("user information", get("Host: evil@app.test\r\n")),
        ("a space", get("Host: app.test evil\r\n")),
        ("a list", get("Host: app.test, other.test\r\n")),
        ("a port that is none", get("Host: app.test:eighty\r\n")),
        ("a port out of range", get("Host: app.test:99999\r\n")),
        ("a fragment", get("Host: app.test#x\r\n")),
        ("a query", get("Host: app.test?x\r\n")),
        ("a percent sign", get("Host: app%2Etest\r\n")),
        ("an open bracket", get("Host: [::1\r\n")),
        ("a control byte", get("Host: app.test\x01\r\n")),
        ("none, with an absolute target in HTTP/1.1", b"GET http://app.test/ HTTP/1.1\r\n\r\n".to_vec()),
        ("two, with an absolute target", b"GET http://app.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec()),
    ];
    refused(&[400], &cases.each_ref().map(|(what, bytes)| (*what, bytes.as_slice())));
}

#[test]
fn request_lines() {
    let line = |line: &str| format!("{line}\r\nHost: app.test\r\n\r\n").into_bytes();
    let cases = [
        ("a fragment", line("GET /a#b HTTP/1.1")),
        ("NUL in the path", line("GET /a\0b HTTP/1.1")),
        ("an encoded NUL", line("GET /a%00b HTTP/1.1")),
        ("a control byte in the path", line("GET /a\x01b HTTP/1.1")),
        ("DEL in the path", line("GET /a\x7fb HTTP/1.1")),
        ("a control byte in the query", line("GET /a?b\x02 HTTP/1.1")),
        ("an incomplete escape", line("GET /a%4 HTTP/1.1")),
        ("an escape that is none", line("GET /a%zz HTTP/1.1")),
        ("a space in the target", line("GET /a b HTTP/1.1")),
        ("a tab as separator", line("GET\t/\tHTTP/1.1")),
        ("no version", line("GET /")),
        ("no target", line("GET HTTP/1.1")),
        ("a relative target", line("GET a/b HTTP/1.1")),
        ("a backslash for a slash", line("GET \\a HTTP/1.1")),
        ("a method with a colon", line("G:T / HTTP/1.1")),
        ("an absolute target with user information", line("GET http://evil@app.test/ HTTP/1.1")),
        ("an absolute target without an authority", line("GET http:///x HTTP/1.1")),
    ];
    refused(&[400], &cases.each_ref().map(|(what, bytes)| (*what, bytes.as_slice())));
    let versions = [
        ("version 1.2", line("GET / HTTP/1.2")),
        ("version 2.0 in HTTP/1 syntax", line("GET / HTTP/2.0")),
        ("version 3.7", line("GET / HTTP/3.7")),
        ("a version in lower case", line("GET / http/1.1")),
        ("another protocol", line("GET / SIP/1.1")),
    ];
    refused(&[400, 505], &versions.each_ref().map(|(what, bytes)| (*what, bytes.as_slice())));
}

#[test]
fn connect_is_not_implemented() {
    refused(
        &[501],
        &[
            ("an authority", b"CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\n"),
            ("our own host", b"CONNECT app.test:80 HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        ],
    );
}

#[test]
fn heads_that_are_too_large() {
    let long = format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Long: {}\r\n\r\n", "a".repeat(200_000));
    let lines: String = (0..2_000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n");
    let target = format!("GET /{} HTTP/1.1\r\nHost: app.test\r\n\r\n", "a".repeat(200_000));
    let (backend, gate) = gate();
    for (what, bytes, expected) in
        [("a long header", long, &[431][..]), ("many headers", many, &[431]), ("a long target", target, &[414, 431])]
    {
        let mut client = gate.connect();
        // An answer may be lost to a reset where the client is still sending; the backend must have nothing either way.
        if let Ok(Some(answer)) = client.send(bytes).try_answer(true) {
            assert!(expected.contains(&answer.status), "{what}: {}", answer.status);
        }
        assert_eq!(backend.heads(), 0, "{what}");
    }
    assert_eq!(gate.get("app.test", "/").status, 200);
}

#[test]
fn chunks_that_are_none() {
    // The head may be on its way upstream before a bad chunk shows. What counts: no backend gets a whole request out
    // of it, the bytes behind it are never a request, and the client is not told that all went well.
    let (backend, gate) = gate();
    for (what, body) in [
        ("a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a minus sign", "-5\r\nhello\r\n0\r\n\r\n"),
        ("inner space", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("no size", "\r\nhello\r\n0\r\n\r\n"),
        ("no hexadecimal digit", "g\r\nhello\r\n0\r\n\r\n"),
        ("more than 64 bits", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("data longer than said", "3\r\nhello\r\n0\r\n\r\n"),
        ("no line end behind the data", "5\r\nhelloX\r\n0\r\n\r\n"),
        ("a bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("a bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("a trailer without a colon", "0\r\nX-Trailer\r\n\r\n"),
        ("a folded trailer", "0\r\nX-Trailer: a\r\n b\r\n\r\n"),
    ] {
        let head = "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = gate.connect();
        client.send(format!("{head}{body}{SMUGGLED}"));
        // Data that is shorter than its size waits for more: end it.
        client.wire.finish();
        let reply = client.rest();
        let text = String::from_utf8_lossy(&reply);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
            "{what}: {text:?}"
        );
        assert_eq!(text.matches("HTTP/1.1 ").count().min(2), usize::from(!text.is_empty()), "{what}: {text:?}");
        assert_eq!(backend.count(), 0, "{what}: the backend has a whole request: {:#?}", backend.requests());
    }
    assert_eq!(gate.get("app.test", "/").status, 200);
}

#[test]
fn transfer_encoding_over_content_length_is_read_so_and_ends_the_connection() {
    for head in
        ["Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 900\r\n"]
    {
        let (backend, gate) = gate();
        let mut client = gate.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: app.test\r\n{head}\r\n5\r\nhello\r\n0\r\n\r\n{SMUGGLED}"));
        let answer = client.answer();
        assert_eq!(answer.status, 200);
        assert!(client.rest().is_empty(), "nothing is answered behind it");
        let seen = backend.only();
        assert_eq!(seen.body, b"hello");
        // Clean framing: one of the two, never both.
        let framing = (seen.head.all("transfer-encoding").len(), seen.head.all("content-length").len());
        assert!(framing == (1, 0) || framing == (0, 1), "{:?}", seen.head);
    }
}

#[test]
fn a_lone_line_feed_ends_a_line_and_goes_no_further() {
    let (backend, gate) = gate();
    let answer = gate.connect().send("GET /x HTTP/1.1\nHost: app.test\nX-One: 1\n\n").answer();
    assert_eq!(answer.status, 200);
    let seen = backend.only();
    // The backend's reader knows CRLF only.
    assert_eq!((seen.head.first.as_str(), seen.get("x-one")), ("GET /x HTTP/1.1", Some("1")));
}

#[test]
fn our_own_framing_reaches_the_backend() {
    let (backend, gate) = gate();
    let mut client = gate.connect();
    client.send(
        "POST / HTTP/1.1\r\nhOsT: app.test\r\ntRANSFER-eNCODING: ChunkeD\r\n\r\n\
         00005;name=\"value\"\r\nhello\r\n000\r\n\r\n",
    );
    assert_eq!(client.answer().status, 200);
    let seen = backend.only();
    assert_eq!(seen.body, b"hello");
    if let Some(coding) = seen.get("transfer-encoding") {
        assert_eq!(coding, "chunked");
    }
}

#[test]
fn a_body_on_a_get_does_not_become_the_next_request() {
    let (backend, gate) = gate();
    let mut client = gate.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()));
    assert_eq!(client.answer().status, 200);
    assert_eq!(client.get("app.test", "/next").status, 200);
    let targets: Vec<String> = backend.requests().iter().map(|r| r.target().to_owned()).collect();
    assert_eq!(targets, ["/", "/next"]);
    assert_eq!(backend.requests()[0].body, SMUGGLED.as_bytes());
}

#[test]
fn an_unread_body_of_a_refused_route_is_no_request_either() {
    let (backend, gate) = gate();
    let mut client = gate.connect();
    let length = SMUGGLED.len();
    client.send(format!("POST / HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"));
    assert_eq!(client.answer().status, 404);
    // Either the body is read and the connection goes on, or it ends here.
    client.send("GET /real HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n");
    let _ = client.rest();
    assert!(backend.requests().iter().all(|r| r.target() == "/real"), "{:#?}", backend.requests());
}

#[test]
fn a_backend_cannot_answer_twice() {
    // What a backend sends behind its answer must not be taken for the answer to another client's request.
    let backend = Backend::scripted("poison", |conn| {
        while let Some(request) = conn.request()? {
            let body = request.target().as_bytes().to_vec();
            let mut bytes = crate::support::backend::answer(200, &[], &body);
            bytes.extend(crate::support::backend::answer(200, &[], b"poisoned"));
            conn.write(bytes)?;
        }
        Ok(())
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--workers", "1"]);
    for n in 0..10 {
        let answer = gate.get("app.test", &format!("/{n}"));
        assert_ne!(answer.text(), "poisoned");
        assert!(answer.status == 502 || answer.text() == format!("/{n}"), "{} {:?}", answer.status, answer.text());
    }
}

#[test]
fn answers_that_could_be_read_in_two_ways_are_502() {
    for (what, text) in [
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        ("a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nab"),
        ("a folded line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nab"),
        ("space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nab"),
        ("a control byte", "HTTP/1.1 200 OK\r\nX: a\x01\r\nContent-Length: 2\r\n\r\nab"),
    ] {
        let backend = Backend::canned("bad", text);
        let gate = Headgate::start(&app("app.test", &backend));
        assert_eq!(gate.get("app.test", "/").status, 502, "{what}");
    }
}
