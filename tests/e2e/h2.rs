//! HTTP/2 in and out: over TLS, with prior knowledge, gRPC-like trailers, streams both ways.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use http_body_util::BodyExt;
use hyper::body::Frame;
use serde_json::Value;

use crate::support::{
    Backend, H2, Headgate, HyperBackend, Ingress, Manifests, Service,
    h2::{block_on, collect, empty, full, streamed},
    manifests::{app, service_at},
};

/// A gate before an h2c backend, by `appProtocol`.
fn grpc() -> (HyperBackend, Headgate) {
    let backend = HyperBackend::h2c("grpc");
    let mut objects = service_at(Service::new("grpc").app_protocol("kubernetes.io/h2c"), backend.addr);
    objects.push(Ingress::simple("grpc.test", "grpc").into());
    let gate = Headgate::start(&Manifests::of(objects));
    (backend, gate)
}

#[test]
fn clients_that_do_not_read_stall_no_others_on_their_connection_to_a_backend() {
    let backend = HyperBackend::h2c("grpc");
    let mut objects = service_at(Service::new("grpc").app_protocol("kubernetes.io/h2c"), backend.addr);
    objects.push(Ingress::simple("grpc.test", "grpc").into());
    let gate = Headgate::start_with(&Manifests::of(objects), &["--workers", "1"]);
    // A connection is there, which all that follow share.
    assert_eq!(gate.get("grpc.test", "/").text(), "grpc");
    let mut unread = Vec::new();
    for _ in 0..12 {
        let mut client = gate.connect();
        client.send("GET /large HTTP/1.1\r\nHost: grpc.test\r\n\r\n");
        unread.push(client);
    }
    crate::support::eventually("all are asked", || backend.seen().len() == 13);
    // Meanwhile all buffers on their way fill up.
    for _ in 0..300 {
        assert_eq!(gate.get("grpc.test", "/").text(), "grpc");
    }
    drop(unread);
}

#[test]
fn over_tls_and_with_prior_knowledge_to_an_http_1_1_backend() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    for (h2, proto) in [(H2::tls(gate.websecure(), "app.test"), "https"), (H2::plain(gate.web()), "http")] {
        let answer = h2.get("app.test", "/x?y");
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "app"));
        let seen = backend.requests().pop().unwrap();
        assert_eq!(seen.head.first, "GET /x?y HTTP/1.1");
        assert_eq!(seen.head.all("host"), ["app.test"]);
        assert_eq!(seen.get("x-forwarded-proto"), Some(proto));
        assert_eq!(seen.get("x-forwarded-host"), Some("app.test"));
    }
}

#[test]
fn a_body_goes_both_ways() {
    let backend = Backend::scripted("mirror", |conn| {
        while let Some(request) = conn.request()? {
            conn.write(crate::support::backend::answer(200, &[], &request.body))?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let h2 = H2::plain(gate.web());
    let body: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    let request = h2.request("POST", "app.test", "/").body(full(body.clone())).unwrap();
    assert_eq!(h2.send(request).unwrap().body, body);
}

#[test]
fn many_streams_share_a_connection() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    let h2 = H2::tls(gate.websecure(), "app.test");
    let answers = block_on(futures_util::future::join_all((0..50).map(|n| {
        let request = h2.request("GET", "app.test", &format!("/{n}")).body(empty()).unwrap();
        let h2 = h2.clone();
        async move { collect(h2.start(request).await?).await }
    })));
    assert!(answers.iter().all(|a| a.as_ref().is_ok_and(|a| a.status == 200 && a.text() == "app")), "{answers:?}");
    assert_eq!(backend.count(), 50);
}

#[test]
fn no_hop_by_hop_header_reaches_an_h2_client() {
    let text = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n\
                Proxy-Connection: keep-alive\r\nX-End: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let backend = Backend::canned("hop", text);
    let gate = Headgate::start(&app("app.test", &backend));
    let answer = H2::plain(gate.web()).get("app.test", "/");
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.headers.get("x-end"), Some(&HeaderValue::from_static("2")));
    for name in ["connection", "x-hop", "keep-alive", "proxy-connection", "transfer-encoding"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

#[test]
fn a_grpc_like_call_passes_with_its_trailers() {
    let (backend, gate) = grpc();
    for h2 in [H2::plain(gate.web()), H2::tls(gate.websecure(), "grpc.test")] {
        let request = h2
            .request("POST", "grpc.test", "/echo")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(full("\0\0\0\0\u{3}abc"))
            .unwrap();
        let answer = h2.send(request).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers.get("content-type"), Some(&HeaderValue::from_static("application/grpc")));
        assert_eq!(answer.body, "\0\0\0\0\u{3}abc");
        assert_eq!(answer.trailers.get("grpc-status"), Some(&HeaderValue::from_static("0")));
    }
    for seen in backend.seen() {
        assert_eq!((seen.version, seen.uri.path()), (Version::HTTP_2, "/echo"));
        assert_eq!(seen.headers.get("te"), Some(&HeaderValue::from_static("trailers")));
        assert_eq!(seen.uri.authority().map(|a| a.as_str()), Some("grpc.test"));
    }
}

#[test]
fn streams_flow_both_ways_at_once() {
    let (_backend, gate) = grpc();
    let h2 = H2::plain(gate.web());
    let (sender, body) = streamed();
    let request = h2.request("POST", "grpc.test", "/echo").body(body).unwrap();
    block_on(async {
        sender.send(Frame::data(Bytes::from_static(b"first"))).unwrap();
        let mut answer = h2.start(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        // Each message comes back before the next is sent: nothing on the way waits for the end.
        for message in ["first", "second", "third"] {
            if message != "first" {
                sender.send(Frame::data(Bytes::from(message))).unwrap();
            }
            let mut got = Vec::new();
            while got.len() < message.len() {
                let frame = answer.body_mut().frame().await.unwrap().unwrap();
                got.extend_from_slice(frame.data_ref().unwrap());
            }
            assert_eq!(got, message.as_bytes());
        }
        drop(sender);
        let frame = answer.body_mut().frame().await.unwrap().unwrap();
        let trailers = frame.trailers_ref().unwrap();
        assert_eq!(trailers.get("grpc-status"), Some(&HeaderValue::from_static("0")));
    });
}

#[test]
fn request_trailers_reach_an_http_1_1_backend() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    let h2 = H2::plain(gate.web());
    let (sender, body) = streamed();
    sender.send(Frame::data(Bytes::from_static(b"data"))).unwrap();
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("7"))]);
    sender.send(Frame::trailers(trailers)).unwrap();
    drop(sender);
    let request = h2.request("POST", "app.test", "/").header("trailer", "x-sum").body(body).unwrap();
    assert_eq!(h2.send(request).unwrap().status, 200);
    let seen = backend.only();
    assert_eq!(seen.body, b"data");
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "7".to_owned())]);
}

#[test]
fn several_cookie_fields_become_one() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    let h2 = H2::plain(gate.web());
    let request = h2.request("GET", "app.test", "/").header("cookie", "a=1").header("cookie", "b=2");
    assert_eq!(h2.send(request.body(empty()).unwrap()).unwrap().status, 200);
    // RFC 9113 §8.2.3: joined with "; " before they enter HTTP/1.1.
    assert_eq!(backend.only().head.all("cookie"), ["a=1; b=2"]);
}

#[test]
fn http_1_1_clients_reach_an_h2c_backend() {
    let (backend, gate) = grpc();
    assert_eq!(gate.get("grpc.test", "/x").text(), "grpc");
    let seen = backend.only();
    assert_eq!((seen.version, seen.uri.path()), (Version::HTTP_2, "/x"));
}

#[test]
fn the_annotation_h2c_does_as_the_app_protocol_does() {
    let backend = HyperBackend::h2c("h2c");
    let mut objects = service_at(Service::new("h2c").traefik("service.serversscheme", "h2c"), backend.addr);
    objects.push(Value::from(Ingress::simple("h2c.test", "h2c")));
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.get("h2c.test", "/").text(), "h2c");
    assert_eq!(backend.only().version, Version::HTTP_2);
}

#[test]
fn an_unknown_path_over_h2_is_404_and_the_connection_goes_on() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    let h2 = H2::plain(gate.web());
    assert_eq!(h2.get("unknown.test", "/").status, 404);
    assert_eq!(h2.get("app.test", "/").status, 200);
    assert!(!h2.closed());
}
