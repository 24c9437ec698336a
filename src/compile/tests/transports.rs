//! How connections are made: what a ServersTransport, or a Middleware that asks a server, comes to.

use std::time::Duration;

use super::*;
use crate::{
    balance::{Transport, transport::Version},
    compile::transport::{OfMiddleware, of_middleware},
};

fn transport(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "traefik.io/v1alpha1", "kind": "ServersTransport", "metadata": meta("a", name), "spec": spec})
}

fn ca(name: &str, key: &str, pem: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("a", name), "stringData": {key: pem}})
}

fn secured(scheme: &str) -> Value {
    let service = annotated(service("a", "s"), "service.serverstransport", "a-t@kubernetescrd");
    annotated(service, "service.serversscheme", scheme)
}

/// What `s` is connected to by, with a ServersTransport and Secrets `cert` and `ca`.
fn made(spec: Value) -> Arc<Transport> {
    let certs = &*CERTS;
    let objects = [
        ingress_of("a", "i", &[("x.test", "/")]),
        secured("https"),
        transport("t", spec),
        secret("a", "cert", &certs[0]),
        ca("ca", "ca.crt", &certs[1].0),
    ];
    let compiler = compiled(&objects);
    let service = compiler.services().next().unwrap();
    let made = service.options.transport.clone();
    made.unwrap_or_else(|| panic!("{:?}", compiler.diagnostics().iter().map(ToString::to_string).collect::<Vec<_>>()))
}

#[test]
fn every_field_is_in_the_transport() {
    let spec = json!({
        "serverName": "inner.example",
        "insecureSkipVerify": false,
        "rootCAs": [{"secret": "ca"}],
        "rootCAsSecrets": ["ca"],
        "certificatesSecrets": ["cert"],
        "cipherSuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        "minVersion": "VersionTLS12",
        "maxVersion": "VersionTLS12",
        "maxIdleConnsPerHost": 7,
        "forwardingTimeouts": {
            "dialTimeout": "1s", "responseHeaderTimeout": 0, "idleConnTimeout": "1m30s", "readIdleTimeout": 4,
            "pingTimeout": "0s",
        },
        "disableHTTP2": true,
        "peerCertURI": "spiffe://x/y",
    });
    let transport = made(spec);
    let parts = transport.parts();
    assert_eq!(parts.server_name.as_ref().unwrap().to_str(), "inner.example");
    assert_eq!(parts.insecure, Some(false));
    assert_eq!(parts.roots.as_ref().unwrap().certificates.len(), 2);
    assert_eq!(parts.certificates.len(), 1);
    assert_eq!(parts.suites.as_deref(), Some([0x1301, 0x1302, 0x1303, 0xc02f].as_slice()));
    assert_eq!((parts.versions.oldest, parts.versions.newest), (Version::Tls12, Version::Tls12));
    assert_eq!(parts.most_idle, Some(7));
    let waits = parts.waits;
    let seconds = |wait: Option<Duration>| wait.unwrap().as_secs();
    assert_eq!((seconds(waits.connect), seconds(waits.response), seconds(waits.idle)), (1, 0, 90));
    assert_eq!((seconds(waits.silence), seconds(waits.ping)), (4, 15), "a ping of 0 is 15 s, as in Go");
    assert!(parts.http1_only);
    assert_eq!(parts.peer_uri.as_deref(), Some("spiffe://x/y"));
}

#[test]
fn what_is_absent_or_empty_is_left_to_the_flags() {
    let nothing = json!({"serverName": "", "rootCAs": [], "cipherSuites": [], "minVersion": "", "peerCertURI": "",
        "maxIdleConnsPerHost": 0, "forwardingTimeouts": {}, "disableHTTP2": false});
    assert_eq!(made(nothing), made(json!({})));
    assert!(!made(json!({"maxIdleConnsPerHost": 1})).parts().concerns_tls());
    assert_eq!(made(json!({"maxIdleConnsPerHost": -1})).parts().most_idle, Some(0));
}

#[test]
fn the_same_transport_keeps_the_service_and_another_secret_does_not() {
    let mut store = Store::default();
    let spec = json!({"certificatesSecrets": ["cert"]});
    for value in [
        ingress_of("a", "i", &[("x.test", "/")]),
        secured("https"),
        transport("t", spec.clone()),
        secret("a", "cert", &CERTS[0]),
    ] {
        store.apply(object(&value));
    }
    let mut compiler = Compiler::new(claims(), keys());
    let mut id = |value: Option<Value>| {
        value.iter().for_each(|value| {
            store.apply(object(value));
        });
        take(&mut compiler, &mut store);
        compiler.services().next().unwrap().id
    };
    let first = id(None);
    let mut touched = transport("t", spec.clone());
    touched["metadata"]["annotations"] = json!({"x": "y"});
    assert_eq!(id(Some(touched)), first, "its meaning is the same");
    let rotated = id(Some(secret("a", "cert", &CERTS[1])));
    assert_ne!(rotated, first, "another certificate is shown");
    let other = id(Some(transport("t", json!({"certificatesSecrets": ["cert"], "disableHTTP2": true}))));
    assert_ne!(other, rotated);
}

#[test]
fn services_share_what_they_name_alike() {
    let of = |name: &str| {
        let service = annotated(service("a", name), "service.serverstransport", "a-t@kubernetescrd");
        annotated(service, "service.serversscheme", "https")
    };
    let ingress = |name: &str, service: &str| {
        let mut ingress = ingress_of("a", name, &[(&format!("{name}.test"), "/")]);
        ingress["spec"]["rules"][0]["http"]["paths"][0]["backend"] = backend(service);
        ingress
    };
    let objects = [of("s"), of("r"), ingress("i", "s"), ingress("j", "r"), transport("t", json!({"serverName": "x"}))];
    let compiler = compiled(&objects);
    let shared: Vec<_> = compiler.services().filter_map(|service| service.options.transport.as_ref()).collect();
    assert_eq!(shared.len(), 2);
    assert!(Arc::ptr_eq(shared[0], shared[1]));
}

#[test]
fn http2_in_the_clear_without_http2_is_closed() {
    let objects = |scheme: &str| {
        let ingress = ingress_of("a", "i", &[("x.test", "/")]);
        compiled(&[ingress, secured(scheme), transport("t", json!({"disableHTTP2": true}))])
    };
    assert_eq!(closed(&objects("https"), "x.test", "/"), None);
    assert_eq!(closed(&objects("http"), "x.test", "/"), None);
    assert!(closed(&objects("h2c"), "x.test", "/").unwrap().contains("disables HTTP/2"));
}

fn asked<'a>(namespace: &'a Arc<str>, ca: Option<&'a str>, cert: Option<&'a str>) -> OfMiddleware<'a> {
    OfMiddleware {
        field: "forwardAuth.tls",
        namespace,
        ca_secret: ca,
        cert_secret: cert,
        insecure: None,
        server_name: None,
    }
}

#[test]
fn a_middleware_that_asks_a_server_names_secrets_of_its_namespace() {
    let mut store = Store::default();
    store.apply(object(&secret("a", "cert", &CERTS[0])));
    store.apply(object(&ca("older", "tls.ca", &CERTS[0].0)));
    store.apply(object(&ca("empty", "ca.crt", "")));
    let view = View::new(&store);
    let here: Arc<str> = "a".into();
    let nothing = of_middleware(&view, &asked(&here, None, Some(""))).unwrap();
    assert!(nothing.is_none(), "the flags count");
    let both = of_middleware(&view, &asked(&here, Some("older"), Some("cert"))).unwrap().unwrap();
    assert_eq!((both.parts().certificates.len(), both.parts().roots.is_some()), (1, true));
    let named = OfMiddleware { server_name: Some("auth.example"), ..asked(&here, None, None) };
    let named = of_middleware(&view, &named).unwrap().unwrap();
    assert_eq!(named.parts().server_name.as_ref().unwrap().to_str(), "auth.example");
    let insecure = OfMiddleware { insecure: Some(true), ..asked(&here, None, None) };
    assert_eq!(of_middleware(&view, &insecure).unwrap().unwrap().parts().insecure, Some(true));

    let there: Arc<str> = "b".into();
    for (asked, field, code) in [
        (asked(&here, Some("nowhere"), None), "caSecret", "SecretNotFound"),
        (asked(&here, Some("empty"), None), "caSecret", "SecretInvalid"),
        (asked(&here, None, Some("older")), "certSecret", "SecretInvalid"),
        (asked(&there, None, Some("cert")), "certSecret", "SecretNotFound"),
    ] {
        let wrong = of_middleware(&view, &asked).unwrap_err();
        assert_eq!((wrong.field, wrong.code), (format!("forwardAuth.tls.{field}"), Some(code)));
    }
    let read = view.into_reads().objects;
    let secret = |name: &str| ObjectId::new(Kind::Secret, Key::new("a", name));
    assert!(["nowhere", "cert", "empty"].iter().all(|name| read.contains(&secret(name))), "{read:?}");
}
