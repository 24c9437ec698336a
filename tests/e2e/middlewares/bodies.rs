//! Middlewares that deal with bodies: they change their form, or read them whole.

mod buffering;
mod compress;
mod grpc_web;

use std::ops::Deref;

use serde_json::{Value, json};

use super::{Fixture, HOST};
use crate::support::{Backend, Headgate, HyperBackend, Ingress, Manifests, Middleware, Service, manifests};

/// A backend of the test's own behind one middleware.
fn over(backend: Backend, spec: Value) -> Fixture {
    let mut all = manifests::service_of("app", &[&backend]);
    all.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    all.push(Middleware::new("m", spec).into());
    Fixture { backend, manifests: Manifests::of(all) }
}

/// Headgate, with a backend that the test doesn't look at.
struct Served {
    gate: Headgate,
    _backend: Backend,
}

impl Deref for Served {
    type Target = Headgate;

    fn deref(&self) -> &Headgate {
        &self.gate
    }
}

/// As [`over`], started.
fn served(backend: Backend, spec: Value) -> Served {
    let Fixture { backend, manifests } = over(backend, spec);
    Served { gate: Headgate::start(&manifests), _backend: backend }
}

/// An endpoint that speaks HTTP/2 behind one middleware.
fn over_h2c(backend: &HyperBackend, spec: Value) -> Manifests {
    let service = Service::new("app").app_protocol("kubernetes.io/h2c");
    let mut all = manifests::service_at(service, backend.addr);
    all.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    all.push(Middleware::new("m", spec).into());
    Manifests::of(all)
}

/// Text of this length that compresses well.
fn text(length: usize) -> String {
    "the quick brown fox ".chars().cycle().take(length).collect()
}

/// Upgrades through this middleware, and talks through the tunnel.
#[track_caller]
fn lets_a_tunnel_through(spec: Value) {
    let backend = Backend::scripted("app", |conn| {
        if conn.request()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\n")?;
            let said = conn.wire.exact(5)?;
            conn.write(said)?;
        }
        Ok(())
    });
    let gate = served(backend, spec);
    let mut client = gate.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\n"));
    let answer = client.bodiless();
    assert_eq!((answer.status, answer.get("upgrade")), (101, Some("own-protocol")));
    assert_eq!(answer.get("vary"), None, "untouched");
    client.send("hello");
    assert_eq!(client.rest(), b"hello");
}

/// For `closes`.
fn m(spec: Value) -> [Value; 1] {
    [Middleware::new("m", spec).into()]
}

#[test]
fn what_is_wrong_closes_the_route() {
    for (what, spec) in [
        (
            "both lists of types",
            json!({ "compress": { "excludedContentTypes": ["a/b"], "includedContentTypes": ["a/b"] } }),
        ),
        ("a type that is none", json!({ "compress": { "excludedContentTypes": ["text"] } })),
        ("no encoding at all", json!({ "compress": { "encodings": [] } })),
        ("an unknown encoding", json!({ "compress": { "encodings": ["deflate"] } })),
        ("a default that is not listed", json!({ "compress": { "encodings": ["br"], "defaultEncoding": "gzip" } })),
        ("a negative minimum", json!({ "compress": { "minResponseBodyBytes": -1 } })),
        ("a negative size", json!({ "buffering": { "maxRequestBodyBytes": -1 } })),
        ("an expression that is none", json!({ "buffering": { "retryExpression": "Attempts() <" } })),
        ("an unknown function", json!({ "buffering": { "retryExpression": "Latency() > 1" } })),
        ("origins that are no list", json!({ "grpcWeb": { "allowOrigins": "*" } })),
    ] {
        super::closes(what, m(spec));
    }
}
