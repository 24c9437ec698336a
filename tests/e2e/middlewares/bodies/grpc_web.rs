//! `grpcWeb`

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{over_h2c, served};
use crate::{
    middlewares::HOST,
    support::{Backend, H2, Headgate, HyperBackend, h2},
};

const MESSAGE: &[u8] = b"\x00\x00\x00\x00\x02hi";
/// What the endpoint's trailers become.
const STATUS: &[u8] = b"\x80\x00\x00\x00\x10grpc-status: 0\r\n";

/// An endpoint that sends what it gets back, with `grpc-status: 0` as its trailers.
fn echo(origins: Value) -> (HyperBackend, Headgate) {
    let backend = HyperBackend::h2c("app");
    let gate = Headgate::start(&over_h2c(&backend, json!({ "grpcWeb": { "allowOrigins": origins } })));
    (backend, gate)
}

#[test]
fn a_call_becomes_grpc_and_its_answer_grpc_web() {
    let (backend, gate) = echo(json!(null));
    let headers = [("Content-Type", "application/grpc-web+proto"), ("X-Grpc-Web", "1")];
    let answer = gate.send("POST", HOST, "/echo", &headers, MESSAGE);
    assert_eq!((answer.status, answer.get("content-type")), (200, Some("application/grpc-web+proto")));
    assert_eq!(answer.body, [MESSAGE, STATUS].concat());
    assert_eq!((answer.get("trailer"), answer.trailers.len()), (None, 0), "they are in the body now");
    let seen = backend.only();
    assert_eq!(seen.headers["content-type"], "application/grpc+proto");
    assert_eq!(seen.headers["te"], "trailers", "though HTTP/1.1 brought none");
    assert!(!seen.headers.contains_key("content-length"));
}

#[test]
fn text_is_decoded_and_encoded() {
    let (backend, gate) = echo(json!([]));
    // In two messages, cut within a group, the first padded.
    let mut client = gate.connect();
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/grpc-web-text\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    client.send("6\r\nAAAAAA\r\n").send("12\r\nJoaQ==AAAAAAJoaQ==\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.get("content-type")), (200, Some("application/grpc-web-text")));
    let text = String::from_utf8(answer.body).unwrap();
    // Each group by itself: padding stands wherever a piece ends.
    let groups = text.as_bytes().chunks(4).map(|group| STANDARD.decode(group).unwrap());
    assert_eq!(groups.collect::<Vec<_>>().concat(), [MESSAGE, MESSAGE, STATUS].concat(), "{text}");
    assert_eq!(backend.only().headers["content-type"], "application/grpc");
}

#[test]
fn messages_pass_one_by_one() {
    let (_backend, gate) = echo(json!([]));
    let mut client = gate.connect();
    client.send(format!(
        "POST /echo HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/grpc-web\r\nTransfer-Encoding: chunked\r\n\r\n"
    ));
    client.send([&b"7\r\n"[..], MESSAGE, b"\r\n"].concat());
    assert_eq!(client.wire.head().unwrap().unwrap().get("content-type"), Some("application/grpc-web"));
    for _ in 0..3 {
        assert_eq!(client.wire.chunk().unwrap(), MESSAGE, "before the next is sent");
        client.send([&b"7\r\n"[..], MESSAGE, b"\r\n"].concat());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.wire.chunks().unwrap().0, [MESSAGE, STATUS].concat());
}

#[test]
fn over_http2_too() {
    let (_backend, gate) = echo(json!([]));
    let client = H2::plain(gate.web());
    let request = client.request("POST", HOST, "/echo").header("content-type", "application/grpc-web+proto");
    let answer = client.send(request.body(h2::full(MESSAGE)).unwrap()).unwrap();
    assert_eq!(answer.body, [MESSAGE, STATUS].concat());
    assert!(answer.trailers.is_empty());
}

#[test]
fn everything_else_passes_as_it_is() {
    let (backend, gate) = echo(json!(["*"]));
    let client = H2::plain(gate.web());
    let request = client.request("POST", HOST, "/echo").header("content-type", "application/grpc");
    let answer = client.send(request.body(h2::full(MESSAGE)).unwrap()).unwrap();
    assert_eq!((answer.body.as_ref(), &answer.trailers["grpc-status"]), (MESSAGE, &"0".parse().unwrap()));
    let answer = gate.send("POST", HOST, "/x", &[("Content-Type", "text/plain"), ("Origin", "https://a.test")], b"hi");
    assert_eq!((answer.text().as_str(), answer.get("access-control-allow-origin")), ("app", None));
    // An answer that is no gRPC: the client reads its status.
    let answer = gate.send("POST", HOST, "/x", &[("Content-Type", "application/grpc-web-text")], b"AAAA");
    assert_eq!(answer.text(), "app");
    assert_eq!(backend.seen().len(), 3);
}

#[test]
fn what_is_no_base64_is_a_bad_request() {
    let (_backend, gate) = echo(json!([]));
    for text in ["AAAAAAJoaQ=", "####", "AAAAAAJoaQ"] {
        let answer =
            gate.send("POST", HOST, "/collect", &[("Content-Type", "application/grpc-web-text")], text.as_bytes());
        assert_eq!(answer.status, 400, "{text}");
    }
}

#[test]
fn an_endpoint_that_can_not_be_reached_is_said_to_the_page() {
    let mut backend = Backend::named("app");
    backend.refuse();
    let gate = served(backend, json!({ "grpcWeb": { "allowOrigins": ["https://good.test"] } }));
    let headers = [("Content-Type", "application/grpc-web"), ("Origin", "https://good.test")];
    let answer = gate.send("POST", HOST, "/", &headers, MESSAGE);
    assert_eq!((answer.status, answer.text().as_str()), (502, "Bad Gateway"));
    assert_eq!(answer.get("access-control-allow-origin"), Some("https://good.test"), "or it could not see the status");
}

#[test]
fn only_pages_of_allowed_origins_may_call() {
    let (backend, gate) = echo(json!(["https://good.test"]));
    let call = |origin: &str| {
        gate.send("POST", HOST, "/echo", &[("Content-Type", "application/grpc-web"), ("Origin", origin)], MESSAGE)
    };
    let good = call("https://good.test");
    assert_eq!(good.get("access-control-allow-origin"), Some("https://good.test"));
    assert_eq!(good.get("access-control-allow-credentials"), Some("true"));
    assert_eq!(good.get("vary"), Some("Origin"));
    let exposed = good.get("access-control-expose-headers").unwrap();
    assert!(exposed.contains("grpc-status") && exposed.contains("grpc-message"), "{exposed}");
    for origin in ["https://evil.test", "https://good.test.evil.test", "null"] {
        assert_eq!(call(origin).get("access-control-allow-origin"), None, "{origin}");
    }

    let before = backend.seen().len();
    let preflight = |origin: &str| {
        let wanted = ("Access-Control-Request-Headers", "content-type,x-grpc-web,x-user-agent");
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST"), wanted];
        gate.send("OPTIONS", HOST, "/pkg.Service/Method", &headers, b"")
    };
    let good = preflight("https://good.test");
    assert_eq!((good.status, good.get("access-control-allow-origin")), (204, Some("https://good.test")));
    assert_eq!(good.get("access-control-allow-methods"), Some("POST"));
    assert_eq!(good.get("access-control-allow-headers"), Some("content-type, x-grpc-web, x-user-agent"));
    assert_eq!(good.get("access-control-max-age"), Some("600"));
    let evil = preflight("https://evil.test");
    assert_eq!((evil.status, evil.get("access-control-allow-origin")), (204, None));
    assert_eq!(backend.seen().len(), before, "answered here");
    // A preflight of something else is the endpoint's.
    gate.send("OPTIONS", HOST, "/x", &[("Origin", "https://good.test"), ("Access-Control-Request-Method", "PUT")], b"");
    assert_eq!(backend.seen().len(), before + 1);
}

#[test]
fn any_origin_may_call_without_the_users_cookies() {
    let (_backend, gate) = echo(json!(["*"]));
    let headers = [("Content-Type", "application/grpc-web"), ("Origin", "https://evil.test")];
    let answer = gate.send("POST", HOST, "/echo", &headers, MESSAGE);
    assert_eq!(answer.get("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.get("access-control-allow-credentials"), None);
}
