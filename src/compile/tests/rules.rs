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
    let compiler = with(paths(&[
        ("/caf\u{e9} bar", "Exact"),
        ("/a%40b", "Prefix"),
        ("/tab\there", "Prefix"),
        ("/{q}\"\\", "Prefix"),
    ]));
    assert_eq!(closed(&compiler, "x.test", "/%7Bq%7D%22%5C/c"), None);
    assert_eq!(closed(&compiler, "x.test", "/caf%C3%A9%20bar"), None);
    assert_eq!(closed(&compiler, "x.test", "/a@b/c"), None);
    assert_eq!(said(&compiler, "InvalidPath").len(), 1);
}

/// An Ingress whose path is this expression, beside one of `/`.
fn expression(written: &str) -> Compiler {
    let ingress = annotated(paths(&[(written, "ImplementationSpecific")]), "router.pathmatcher", "PathRegexp");
    let open = ingress_of("a", "open", &[("x.test", "/")]);
    compiled(&[service("a", "s"), services::slice("e", 1), ingress, open])
}

/// The name of the Ingress that serves a path, and whether it is closed.
fn taken(compiler: &Compiler, path: &str) -> (String, bool) {
    let table = compiler.table();
    let route = table.lookup(0, "x.test", path).unwrap();
    (route.labels.ingress.to_string(), matches!(route.action, Action::Closed(_)))
}

#[test]
fn expressions_are_read_as_go_reads_them() {
    for (written, path, other) in [
        (r"^/u/\w{1,64}/admin", "/u/joe/admin", "/u/admin"),
        (r"^/\Qadmin.1\E", "/admin.1", "/adminx1"),
        (r"^/\141bc", "/abc", "/141bc"),
        (r"^/{id}", "/%7Bid%7D", "/id"),
        ("^/caf\u{e9}$", "/caf%C3%A9", "/caf%C3"),
        (r"^/[^/]{4} \p{L}$", "/caf%C3%A9%20%C3%A9", "/caf%C3%A9%20%7B"),
        (r#"^/"\\x""#, "/%22%5Cx%22", "/%22x%22"),
        ("^/a%40b%2fc%20d%C3%a9%28%61", "/a@b%2Fc%20d%C3%A9(a", "/a%2540b"),
        (r"^/a%2F[^/]+%25", "/a%2Fb%2Fc%25", "/a/b%25"),
        (r"^/v%[0-9]F", "/v%2F", "/v/"),
    ] {
        let compiler = expression(written);
        assert_eq!(said(&compiler, "InvalidRegex"), Vec::<String>::new());
        assert_eq!(taken(&compiler, path), ("i".to_owned(), false), "{written}");
        assert_eq!(taken(&compiler, other), ("open".to_owned(), false), "{written}");
    }
}

#[test]
fn an_expression_that_is_none_closes_what_it_could_match() {
    for (written, so, shut, open) in [
        ("/re(", "paths with /re in them", &["/re", "/x/rest"][..], &["/", "/r"][..]),
        ("^/re(?=x)", "paths that begin with /re", &["/re", "/rex", "/re/x"], &["/", "/r", "/x/re"]),
        (r"\A/re(?=x)", "paths that begin with /re", &["/rex"], &["/x/re"]),
        ("(?i)^/re(?=x)", "paths that begin with /re", &["/REx"], &["/x/re"]),
        (r"^/a\.bc?(", "paths that begin with /a.b", &["/a.b"], &["/a.c", "/axb"]),
        (r"^/a/x+(", "paths that begin with /a/x", &["/a/x"], &["/a/"]),
        (r"^/caf\u{e9}/(?!x)", "paths that begin with /caf", &["/caf%C3%A9/"], &["/ca"]),
        ("^/caf\u{e9}/(?!x)", "paths that begin with /caf\u{e9}/", &["/caf%C3%A9/"], &["/caf%C3"]),
        ("^/a/(b|c)(?=d)", "paths that begin with /a/", &["/a/"], &["/b"]),
        ("^/a/(?=b)|/c", "all paths of its host", &["/", "/c"], &[]),
        ("^/a/(?=[(])|/c", "all paths of its host", &["/c"], &[]),
        (r"^/a/\Q(\E(?=x)|/c", "all paths of its host", &["/c"], &[]),
        ("(?=/re)", "all paths of its host", &["/", "/x"], &[]),
        ("^/%61(?=x)", "paths that begin with /", &["/", "/ax"], &[]),
        ("^/a((.{1000}){1000}){1000}", "paths that begin with /a", &["/a"], &["/b"]),
    ] {
        // By its length it comes before `/`, whatever it closes.
        let compiler = expression(written);
        for path in shut {
            assert_eq!(taken(&compiler, path), ("i".to_owned(), true), "{written} {path}");
        }
        for path in open {
            assert_eq!(taken(&compiler, path), ("open".to_owned(), false), "{written} {path}");
        }
        let [said] = &said(&compiler, "InvalidRegex")[..] else { panic!("{written}") };
        assert!(said.contains(&format!("{so} are closed (503)")) && !said.contains('\n'), "{said}");
    }
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
