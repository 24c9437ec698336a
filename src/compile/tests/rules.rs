use super::*;

/// An Ingress for x.test with these paths and path types.
fn paths(paths: &[(&str, &str)]) -> Value {
    let mut ingress = ingress_of("a", "i", &[("x.test", "/")]);
    let path = |(path, kind): &(&str, &str)| json!({"path": path, "pathType": kind, "backend": backend("s")});
    ingress["spec"]["rules"][0]["http"]["paths"] = paths.iter().map(path).collect();
    ingress
}

fn with(ingress: Value) -> Compiler {
    compiled(&[service("a", "s"), services::slice("e", 1), ingress])
}

#[test]
fn what_can_not_be_read_is_closed() {
    let compiler = with(paths(&[
        ("/", "Prefix"),
        ("/word", "Exactly"),
        ("bare", "Prefix"),
        ("/../up", "Prefix"),
        ("/case", "exact"),
        ("/q?x", "Prefix"),
    ]));
    let at = |path: &str| closed(&compiler, "x.test", path);
    assert_eq!(at("/word/below").unwrap(), "pathType Exactly does not exist");
    assert_eq!(at("/bare").unwrap(), "the path \"bare\" is invalid: it does not start with /");
    assert_eq!(at("/up/x").unwrap(), "the path \"/../up\" is invalid: it has .. above the root");
    assert_eq!((at("/case"), at("/"), at("/other")), (None, None, None));
    assert_eq!(compiler.table().lookup(0, "x.test", "/case").unwrap().path, "/case".into());
    let said = said(&compiler, "InvalidPathType");
    assert_eq!(said.len(), 2, "{said:?}");
    let all = compiler.diagnostics();
    let lost: Vec<_> = all.iter().filter(|d| d.message.contains("go to other rules")).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
}

#[test]
fn paths_are_compared_in_one_spelling() {
    let compiler = with(paths(&[("/caf\u{e9} bar", "Exact"), ("/a%40b", "Prefix"), ("/tab\there", "Prefix")]));
    assert_eq!(closed(&compiler, "x.test", "/caf%C3%A9%20bar"), None);
    assert_eq!(closed(&compiler, "x.test", "/a@b/c"), None);
    assert_eq!(said(&compiler, "InvalidPath").len(), 1);
}

#[test]
fn an_expression_that_is_none_is_said_to_match_nothing() {
    let ingress = annotated(paths(&[("/(", "ImplementationSpecific")]), "router.pathmatcher", "PathRegexp");
    let compiler = with(ingress);
    assert_eq!(closed(&compiler, "x.test", "/("), Some("404".to_owned()));
    let [said] = &said(&compiler, "InvalidRegex")[..] else { panic!("one") };
    assert!(said.contains("its requests go to other rules, or are 404") && !said.contains('\n'), "{said}");
}

#[test]
fn a_dot_is_no_host() {
    for host in [".", "..", "*.", "*..", "a..b", "*"] {
        let compiler = with(ingress_of("a", "i", &[(host, "/")]));
        assert_eq!(closed(&compiler, "x.test", "/"), Some("404".to_owned()), "{host}");
        assert_eq!(said(&compiler, "InvalidHost").len(), 1, "{host}");
    }
}

#[test]
fn without_an_entrypoint_routes_are_closed() {
    for (key, value, open) in [
        ("router.entrypoints", "wbe", false),
        ("router.entrypoints", "web", true),
        ("router.entrypoints", "web,nothing", true),
    ] {
        let compiler = with(annotated(ingress_of("a", "i", &[("x.test", "/")]), key, value));
        assert_eq!(closed(&compiler, "x.test", "/").is_none(), open, "{value}");
    }
    let ingress = annotated(ingress_of("a", "i", &[("x.test", "/")]), "router.entrypoints", "web");
    let compiler = with(annotated(ingress, "router.tls", "true"));
    assert!(compiler.table().lookup(0, "x.test", "/").is_none());
    let route = compiler.table().lookup(1, "x.test", "/").unwrap();
    assert!(matches!(route.action, Action::Closed(_)));
}

#[test]
fn the_same_fault_is_said_once() {
    let mut ingress = paths(&[("/a", "Prefix"), ("/b", "Prefix"), ("/c", "Prefix")]);
    for nth in 0..3 {
        ingress["spec"]["rules"][0]["http"]["paths"][nth]["backend"] = backend("gone");
    }
    let said = said(&with(ingress), "ServiceNotFound");
    let text = "Service a/gone does not exist; answered with 503 (and 2 more)";
    assert_eq!(said, [format!("Ingress a/i spec.rules[0].http.paths[0].backend: {text}")]);
}

#[test]
fn conflicts_tell_who_wins_and_why() {
    let mut older = ingress_of("b", "old", &[("x.test", "/old")]);
    older["metadata"]["creationTimestamp"] = json!("2020-01-01T00:00:00Z");
    let compiler = compiled(&[
        ingress_of("a", "i", &[("x.test", "/"), ("x.test", "/"), ("x.test", "/old")]),
        ingress_of("a", "j", &[("x.test", "/")]),
        older,
    ]);
    let said = said(&compiler, "RouteConflict").join("\n");
    for part in [
        "an earlier rule of this Ingress (spec.rules[0].http.paths[0]), which wins",
        "Ingress a/i, which comes first by name and wins",
        "Ingress b/old, which is older and wins",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn acme_challenges_are_known_by_their_path() {
    for (path, kind, acme) in [
        ("/.well-known/acme-challenge/token", "Exact", true),
        ("/.well-known/acme-challenge/token", "ImplementationSpecific", true),
        ("/.well-known/acme-challenge/", "Prefix", true),
        ("/.well-known/acme-challenge", "Prefix", true),
        ("/.well-known/acme-challenges", "Prefix", false),
        ("/.well-known", "Prefix", false),
    ] {
        let compiler = with(paths(&[(path, kind)]));
        assert_eq!(compiler.table().lookup(0, "x.test", path).unwrap().acme, acme, "{path} {kind}");
    }
}
