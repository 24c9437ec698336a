use super::*;

fn tls(mut ingress: Value, hosts: &[&str], secret: &str) -> Value {
    ingress["spec"]["tls"] = json!([{"hosts": hosts, "secretName": secret}]);
    ingress
}

/// Whose certificate a host gets, as `namespace/name`; `-` for the default one.
fn served(compiler: &Compiler, host: &str) -> String {
    let cert = compiler.table().certs.lookup(host, NOW);
    cert.map_or_else(|| "-".to_owned(), |cert| format!("{}/{}", cert.id.namespace, cert.id.name))
}

#[test]
fn a_host_of_another_namespace_is_not_taken_by_a_catch_all() {
    for thief in ["", "*.test"] {
        let compiler = compiled(&[
            ingress_of("victim", "i", &[("x.test", "/")]),
            tls(ingress_of("evil", "i", &[(thief, "/")]), &["x.test", "y.test"], "c"),
            secret("evil", "c", &CERTS[1]),
        ]);
        assert_eq!(served(&compiler, "x.test"), "-", "{thief:?}");
        assert_eq!(served(&compiler, "y.test"), "evil/c", "{thief:?}");
        let said = said(&compiler, "TlsHostOfOthers");
        assert!(said.len() == 1 && said[0].contains("x.test"), "{said:?}");
    }
}

#[test]
fn a_catch_all_does_not_take_a_wildcard_of_another_namespace() {
    let compiler = compiled(&[
        ingress_of("victim", "i", &[("*.test", "/")]),
        tls(ingress_of("evil", "i", &[("", "/")]), &["x.test"], "c"),
        secret("evil", "c", &CERTS[0]),
    ]);
    assert_eq!(served(&compiler, "x.test"), "-");
}

#[test]
fn a_wildcard_certificate_is_not_served_for_hosts_of_others() {
    let mut objects = vec![
        ingress_of("other", "i", &[("x.test", "/")]),
        tls(ingress_of("a", "i", &[("*.test", "/")]), &["*.test"], "wild"),
        secret("a", "wild", &CERTS[1]),
    ];
    let compiler = compiled(&objects);
    assert_eq!((served(&compiler, "x.test").as_str(), served(&compiler, "y.test").as_str()), ("-", "a/wild"));
    // With its own certificate, even an expired one, nothing else is served for it.
    objects[0] = tls(objects[0].clone(), &["x.test"], "own");
    objects.push(secret("other", "own", &CERTS[2]));
    assert_eq!(served(&compiled(&objects), "x.test"), "other/own");
    // Once the wildcard's namespace has a rule for the host too, its certificate counts again, behind that one.
    objects.push(ingress_of("a", "j", &[("x.test", "/p")]));
    assert_eq!(served(&compiled(&objects), "x.test"), "a/wild");
}

#[test]
fn a_wildcard_of_another_namespace_serves_its_hosts_only() {
    let compiler = compiled(&[
        ingress_of("other", "i", &[("*.test", "/")]),
        tls(ingress_of("a", "i", &[("x.test", "/")]), &["*.test"], "wild"),
        secret("a", "wild", &CERTS[1]),
    ]);
    assert_eq!((served(&compiler, "x.test").as_str(), served(&compiler, "y.test").as_str()), ("a/wild", "-"));
}

#[test]
fn the_valid_comes_before_the_expired_and_the_older_before_the_younger() {
    let mut older = tls(ingress_of("b", "i", &[("x.test", "/b")]), &["x.test"], "c");
    older["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    let younger = tls(ingress_of("a", "i", &[("x.test", "/a")]), &["x.test"], "c");
    let objects = |cert| vec![older.clone(), younger.clone(), secret("b", "c", cert), secret("a", "c", &CERTS[0])];
    assert_eq!(served(&compiled(&objects(&CERTS[0])), "x.test"), "b/c");
    assert_eq!(served(&compiled(&objects(&CERTS[2])), "x.test"), "a/c");
    // The order follows the age, also when nothing else changes.
    let mut store = Store::default();
    for value in objects(&CERTS[0]) {
        store.apply(object(&value));
    }
    let mut compiler = Compiler::new(claims(), keys());
    take(&mut compiler, &mut store);
    let mut aged = older.clone();
    aged["metadata"]["creationTimestamp"] = json!("2026-06-01T00:00:00Z");
    store.apply(object(&aged));
    take(&mut compiler, &mut store);
    assert_eq!(served(&compiler, "x.test"), "a/c");
}

#[test]
fn without_hosts_the_rules_name_them_else_the_certificate() {
    let compiler = compiled(&[tls(ingress_of("a", "i", &[("y.test", "/")]), &[], "c"), secret("a", "c", &CERTS[1])]);
    assert_eq!((served(&compiler, "y.test").as_str(), served(&compiler, "z.test").as_str()), ("a/c", "-"));
    let compiler = compiled(&[tls(ingress_of("a", "i", &[("", "/")]), &[], "c"), secret("a", "c", &CERTS[1])]);
    assert_eq!((served(&compiler, "y.test").as_str(), served(&compiler, "other").as_str()), ("a/c", "-"));
}

#[test]
fn certificates_that_are_not_valid_are_told() {
    for (years, code) in [
        ((2020, 2021), Some("CertificateExpired")),
        ((2099, 2100), Some("CertificateNotYetValid")),
        ((2020, 2100), None),
    ] {
        let cert = pem(&["x.test"], years);
        let ingress = tls(ingress_of("a", "i", &[("x.test", "/")]), &["x.test"], "c");
        let mut compiler = compiled(&[ingress, secret("a", "c", &cert)]);
        let all = compiler.diagnostics();
        let codes: Vec<_> = all.iter().map(|d| d.code).filter(|c| c.starts_with("Certificate")).collect();
        assert_eq!(codes, code.into_iter().collect::<Vec<_>>());
        if code.is_none() {
            let not_after = compiler.table().certs.lookup("x.test", NOW).unwrap().not_after;
            compiler.set_now(not_after - 6 * 86_400);
            assert_eq!(said(&compiler, "CertificateExpiresSoon").len(), 1);
        }
    }
}

#[test]
fn one_secret_that_is_wrong_is_said_once() {
    let hosts = ["a.test", "b.test", "c.test", "d.test", "e.test"];
    let compiler = compiled(&[tls(ingress_of("a", "i", &hosts.map(|host| (host, "/"))), &hosts, "gone")]);
    let said = said(&compiler, "SecretInvalid");
    assert!(said.len() == 1 && said[0].contains("a.test, b.test, c.test and 2 more get the default"), "{said:?}");
}
