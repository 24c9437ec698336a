use serde_json::json;

use super::*;
use crate::balance::transport::{Version, Versions};

fn option(spec: serde_json::Value) -> TlsOption {
    serde_json::from_value(json!({ "metadata": { "namespace": "ns", "name": "o" }, "spec": spec })).unwrap()
}

fn read(spec: serde_json::Value) -> Result<(Terms, Vec<Quiet>), Wrong> {
    let store = Store::default();
    terms(&View::new(&store), &option(spec))
}

#[test]
fn an_empty_object_is_as_if_there_were_none() {
    let (terms, quiet) = read(json!({})).unwrap();
    assert!(terms == Terms::default() && quiet.is_empty());
    let empty = json!({
        "cipherSuites": [], "curvePreferences": [], "alpnProtocols": [], "clientAuth": {}, "minVersion": "",
        "sniStrict": false, "disableSessionTickets": false,
    });
    assert!(read(empty).unwrap().0 == Terms::default());
}

#[test]
fn every_field_counts() {
    let (terms, quiet) = read(json!({
        "minVersion": "VersionTLS13",
        "cipherSuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
        "curvePreferences": ["X25519"],
        "clientAuth": { "clientAuthType": "RequireAnyClientCert" },
        "sniStrict": true,
        "alpnProtocols": ["http/1.1", "h2"],
        "disableSessionTickets": true,
    }))
    .unwrap();
    let expected = Terms {
        versions: Versions { oldest: Version::Tls13, newest: Version::Tls13 },
        suites: Some(vec![0x1301, 0x1302, 0x1303, 0xc02f]),
        groups: Some(vec![0x1d]),
        client_auth: ClientAuth::Require,
        roots: None,
        sni_strict: true,
        protocols: vec![Protocol::Http1, Protocol::Http2],
        tickets: false,
    };
    assert!(terms == expected, "{terms:?}");
    assert!(quiet.is_empty());
}

#[test]
fn what_is_not_spoken_is_left_out_and_told() {
    let fields = |spec| -> Vec<String> { read(spec).unwrap().1.into_iter().map(|(field, _)| field).collect() };
    assert_eq!(fields(json!({ "minVersion": "VersionTLS10" })), ["minVersion"]);
    assert_eq!(fields(json!({ "alpnProtocols": ["h2", "acme-tls/1"] })), ["alpnProtocols[1]"]);
    let suites = ["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"];
    assert_eq!(fields(json!({ "cipherSuites": suites })), ["cipherSuites[0]"]);
    assert_eq!(fields(json!({ "curvePreferences": ["CurveP521", "CurveP256"] })), ["curvePreferences[0]"]);
}

#[test]
fn what_cannot_be_held_to_is_wrong() {
    let field = |spec: serde_json::Value| read(spec.clone()).err().unwrap_or_else(|| panic!("{spec}")).field;
    for (spec, expected) in [
        (json!({ "minVersion": "TLS12" }), "minVersion"),
        (json!({ "maxVersion": "VersionTLS11" }), "maxVersion"),
        (json!({ "minVersion": "VersionTLS13", "maxVersion": "VersionTLS12" }), "minVersion"),
        (json!({ "cipherSuites": ["AES"] }), "cipherSuites[0]"),
        (json!({ "curvePreferences": ["P-256"] }), "curvePreferences[0]"),
        (json!({ "alpnProtocols": ["h3"] }), "alpnProtocols[0]"),
        (json!({ "alpnProtocols": ["acme-tls/1"] }), "alpnProtocols"),
        (json!({ "clientAuth": { "secretNames": [""] } }), "clientAuth.secretNames[0]"),
        (json!({ "clientAuth": { "secretNames": ["missing"] } }), "clientAuth.secretNames[0]"),
        (json!({ "clientAuth": { "clientAuthType": "RequireAndVerifyClientCert" } }), "clientAuth.secretNames"),
        (json!({ "clientAuth": { "clientAuthType": "VerifyClientCertIfGiven" } }), "clientAuth.secretNames"),
    ] {
        assert_eq!(field(spec), expected);
    }
    // A Secret that is missing is wrong also where its certificates would not be looked at.
    let quiet = json!({ "clientAuth": { "secretNames": ["missing"], "clientAuthType": "NoClientCert" } });
    assert_eq!(field(quiet), "clientAuth.secretNames[0]");
}

#[test]
fn equal_terms_are_one_policy_for_as_long_as_somebody_has_it() {
    let mut policies = Policies::default();
    let one = policies.of(Terms::default());
    assert!(Arc::ptr_eq(&one, &policies.of(Terms::default())));
    let strict = policies.of(Terms { sni_strict: true, ..Terms::default() });
    assert!(!Arc::ptr_eq(&one, &strict));
    drop((one, strict));
    policies.of(Terms::default());
    assert_eq!(policies.0.len(), 1);
}
