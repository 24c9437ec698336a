//! `compress`

use std::sync::{Mutex, mpsc};

use compression_codecs::{
    BrotliDecoder, DecodeV2, GzipDecoder, ZstdDecoder,
    core::util::{PartialBuffer, WriteBuffer},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::{over, over_h2c, served, text};
use crate::{
    middlewares::{Fixture, HOST},
    support::{Answer, Backend, H2, Headgate, HyperBackend, backend::answer, h2},
};

/// What a client has once these bytes are there.
fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut decoder: Box<dyn DecodeV2> = match coding {
        "gzip" => Box::new(GzipDecoder::new()),
        "br" => Box::new(BrotliDecoder::new()),
        "zstd" => Box::new(ZstdDecoder::new()),
        other => panic!("no coding {other:?}"),
    };
    let (mut input, mut out) = (PartialBuffer::new(bytes), Vec::new());
    loop {
        let mut room = [0; 4_096];
        let mut buffer = WriteBuffer::new_initialized(&mut room);
        let ended = decoder.decode(&mut input, &mut buffer).unwrap();
        out.extend_from_slice(buffer.written());
        if ended || (input.unwritten().is_empty() && !buffer.has_no_spare_space()) {
            return out;
        }
    }
}

/// What a backend that answers with these bytes gives through `compress` to a request with these headers.
fn asked(compress: Value, answer: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
    let gate = served(Backend::canned("app", answer), json!({ "compress": compress }));
    gate.get_with(HOST, "/", headers)
}

fn long(headers: &[(&str, &str)]) -> Vec<u8> {
    answer(200, headers, text(20_000).as_bytes())
}

/// The same, of no known length.
fn chunked(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len()).into_bytes()
}

const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

#[test]
fn each_encoding_by_the_clients_wish() {
    let fixture = over(
        Backend::canned("app", long(&[("ETag", "\"v1\""), ("Accept-Ranges", "bytes")])),
        json!({ "compress": {} }),
    );
    let gate = fixture.start();
    for (accept, coding) in [
        ("gzip, deflate, br, zstd", "gzip"),
        ("br;q=1, gzip;q=0.8", "br"),
        ("zstd", "zstd"),
        ("*", "gzip"),
        ("gzip;q=0, *", "br"),
    ] {
        let answer = gate.get_with(HOST, "/", &[("Accept-Encoding", accept)]);
        assert_eq!((answer.status, answer.get("content-encoding")), (200, Some(coding)), "{accept}");
        let length = answer.head.length();
        assert!(length.is_none_or(|length| length == answer.body.len()), "{length:?} of {}", answer.body.len());
        assert!(answer.body.len() < 2_000, "{accept}: {} bytes", answer.body.len());
        assert_eq!(decoded(coding, &answer.body), text(20_000).as_bytes(), "{accept}");
        assert_eq!((answer.get("etag"), answer.get("accept-ranges")), (Some("W/\"v1\""), None));
        assert_eq!(answer.head.all("vary"), ["Accept-Encoding"]);
    }
    for accept in [
        &[][..],
        &[("Accept-Encoding", "")],
        &[("Accept-Encoding", "deflate")],
        &[("Accept-Encoding", "identity, br;q=0.5")],
    ] {
        let answer = gate.get_with(HOST, "/", accept);
        assert_eq!((answer.get("content-encoding"), answer.get("etag")), (None, Some("\"v1\"")), "{accept:?}");
        assert_eq!(answer.body, text(20_000).as_bytes());
        assert_eq!(answer.head.all("vary"), ["Accept-Encoding"], "caches must know");
    }
    let seen = fixture.backend.requests();
    assert_eq!(seen[0].get("accept-encoding"), Some("gzip, deflate, br, zstd"), "passed on, as Traefik does");
}

#[test]
fn encodings_and_their_default() {
    let encodings = json!({ "encodings": ["zstd", "br"], "defaultEncoding": "br" });
    for (headers, coding) in [
        (&[("Accept-Encoding", "br, zstd, gzip")][..], Some("zstd")),
        (&[("Accept-Encoding", "*")], Some("br")),
        (&[], Some("br")),
        (&[("Accept-Encoding", "gzip")], None),
    ] {
        let answer = asked(encodings.clone(), long(&[]), headers);
        assert_eq!(answer.get("content-encoding"), coding, "{headers:?}");
    }
}

#[test]
fn short_answers_stay_as_they_are() {
    for (minimum, length, compressed) in [(json!(null), 1_023, false), (json!(0), 1_024, true), (json!(10), 100, true)]
    {
        let body = text(length);
        for whole in [answer(200, &[], body.as_bytes()), chunked(&body)] {
            let answer = asked(json!({ "minResponseBodyBytes": minimum }), whole, &[GZIP]);
            assert_eq!(answer.get("content-encoding").is_some(), compressed, "{length} of {minimum}");
            assert_eq!(answer.head.all("vary"), ["Accept-Encoding"]);
            let bytes = if compressed { decoded("gzip", &answer.body) } else { answer.body };
            assert_eq!(bytes, body.as_bytes());
        }
    }
    let answer = asked(json!({}), chunked("short"), &[GZIP]);
    assert_eq!(answer.get("content-length"), Some("5"), "known by now");
}

#[test]
fn a_long_answer_of_unknown_length() {
    let body = text(3_000_000);
    let answer = asked(json!({}), chunked(&body), &[GZIP]);
    assert_eq!((answer.get("content-encoding"), answer.get("content-length")), (Some("gzip"), None));
    assert!(decoded("gzip", &answer.body) == body.as_bytes());
}

#[test]
fn answers_that_are_left_alone() {
    for headers in [
        &[("Content-Encoding", "br")][..],
        &[("Content-Type", "image/png")],
        &[("Cache-Control", "no-transform")],
        &[("Content-Range", "bytes 0-19999/30000")],
    ] {
        // The canned head has a type already; the first counts.
        let whole = String::from_utf8(long(headers)).unwrap();
        let whole =
            if headers[0].0 == "Content-Type" { whole.replacen("Content-Type: text/plain\r\n", "", 1) } else { whole };
        let answer = asked(json!({}), whole.into_bytes(), &[GZIP]);
        assert_eq!(answer.body, text(20_000).as_bytes(), "{headers:?}");
        assert_eq!(answer.get("vary"), None, "{headers:?}");
    }
    let partial =
        asked(json!({}), answer(206, &[("Content-Range", "bytes 0-19999/30000")], text(20_000).as_bytes()), &[GZIP]);
    assert_eq!((partial.status, partial.get("content-encoding")), (206, None));
    let no_transform = asked(json!({}), long(&[]), &[GZIP, ("Cache-Control", "no-transform")]);
    assert_eq!(no_transform.get("content-encoding"), None, "the client's own wish");
}

#[test]
fn types_that_are_excluded_or_included() {
    let of = |fields: Value, headers: &[(&str, &str)]| {
        asked(fields, long(&[]), &[&[GZIP], headers].concat()).get("content-encoding").is_some()
    };
    assert!(!of(json!({ "excludedContentTypes": ["text/plain"] }), &[]));
    assert!(of(json!({ "excludedContentTypes": ["text/html"] }), &[]));
    assert!(!of(json!({ "excludedContentTypes": ["text/html"] }), &[("Content-Type", "text/html; charset=utf-8")]));
    assert!(of(json!({ "includedContentTypes": ["text/*"] }), &[]));
    assert!(!of(json!({ "includedContentTypes": ["text/html"] }), &[]));
    assert!(!of(json!({}), &[("Content-Type", "application/grpc")]), "gRPC, always");
}

#[test]
fn head_and_not_modified_have_no_body_to_compress() {
    let backend = Backend::scripted("app", |conn| {
        while let Some(request) = conn.request()? {
            if request.get("if-none-match").is_some() {
                conn.write("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n")?;
            } else {
                conn.write("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 20000\r\n\r\n")?;
            }
        }
        Ok(())
    });
    let gate = served(backend, json!({ "compress": {} }));
    let mut client = gate.connect();
    let head = client.send(format!("HEAD / HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\n\r\n")).bodiless();
    assert_eq!((head.get("content-encoding"), head.get("content-length")), (None, Some("20000")));
    assert_eq!(head.get("vary"), Some("Accept-Encoding"));
    let known = client.get_with(HOST, "/", &[GZIP, ("If-None-Match", "W/\"v1\"")]);
    assert_eq!((known.status, known.get("etag")), (304, Some("W/\"v1\"")), "the one that we have told");
}

#[test]
fn events_are_there_as_soon_as_they_are_sent() {
    for coding in ["gzip", "br", "zstd"] {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let backend = Backend::scripted("app", move |conn| {
            if conn.request()?.is_some() {
                conn.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                for event in ["data: one\n\n", "data: two\n\n"] {
                    // Not before the client has read all that there was.
                    let _ = wait.lock().unwrap().recv();
                    conn.write(format!("{:x}\r\n{event}\r\n", event.len()))?;
                }
                let _ = wait.lock().unwrap().recv();
                conn.write("0\r\n\r\n")?;
            }
            Ok(())
        });
        let gate = served(backend, json!({ "compress": {} }));
        let mut client = gate.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: {coding}\r\n\r\n"));
        let head = client.wire.head().unwrap().unwrap();
        assert_eq!((head.get("content-encoding"), head.chunked()), (Some(coding), true));
        let mut read = Vec::new();
        for so_far in ["data: one\n\n", "data: one\n\ndata: two\n\n"] {
            go.send(()).unwrap();
            while decoded(coding, &read).len() < so_far.len() {
                read.extend(client.wire.chunk().unwrap());
            }
            assert_eq!(decoded(coding, &read), so_far.as_bytes());
        }
        go.send(()).unwrap();
        read.extend(client.wire.chunks().unwrap().0);
        assert_eq!(decoded(coding, &read), b"data: one\n\ndata: two\n\n");
    }
}

#[test]
fn trailers_come_behind_a_compressed_body() {
    let backend = HyperBackend::h2c("app");
    let gate = Headgate::start(&over_h2c(&backend, json!({ "compress": {} })));
    let client = H2::plain(gate.web());
    let request = client.request("POST", HOST, "/echo").header("accept-encoding", "zstd");
    let request = request.header("content-type", "text/plain").body(h2::full(text(50_000))).unwrap();
    let answer = client.send(request).unwrap();
    assert_eq!(answer.headers["content-encoding"], "zstd");
    assert_eq!(decoded("zstd", &answer.body), text(50_000).as_bytes());
    assert_eq!(answer.trailers["grpc-status"], "0");
}

#[test]
fn a_broken_answer_stays_broken() {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let backend = Backend::scripted("app", move |conn| {
        if conn.request()?.is_some() {
            conn.write(format!("{head}{:x}\r\n{}\r\n", 5_000, text(5_000)))?;
        }
        Ok(())
    });
    let gate = served(backend, json!({ "compress": {} }));
    let client = H2::plain(gate.web());
    let request = client.request("GET", HOST, "/").header("accept-encoding", "gzip").body(h2::empty()).unwrap();
    let broken = h2::block_on(async { client.start(request).await?.into_body().collect().await });
    assert!(broken.is_err(), "a client can tell it from a whole one");
}

#[test]
fn tunnels_pass() {
    super::lets_a_tunnel_through(json!({ "compress": { "defaultEncoding": "gzip" } }));
}

#[test]
fn our_own_answers_pass() {
    let mut fixture = Fixture::one(json!({ "compress": { "minResponseBodyBytes": 1 } }));
    fixture.backend.refuse();
    let gate = fixture.start();
    let answer = gate.get_with(HOST, "/", &[GZIP]);
    assert_eq!((answer.status, answer.text().as_str()), (502, "Bad Gateway"), "it would not get smaller");
}
