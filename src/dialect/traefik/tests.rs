use proptest::prelude::*;

use super::*;
use crate::{
    diagnostic::Severity,
    dialect::{PathMatcher, SameSite, Scheme, StickyOptions},
};

fn meta(annotations: &[(&str, &str)]) -> Meta {
    let annotations = annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Meta { name: "x".into(), annotations, ..Meta::default() }
}

fn subject() -> Subject {
    Subject { kind: "Ingress", namespace: "ns".into(), name: "x".into() }
}

fn router(annotations: &[(&str, &str)]) -> (RouteOptions, Vec<Diagnostic>) {
    let keys: Vec<_> = annotations.iter().map(|(key, value)| (format!("{PREFIX}{key}"), *value)).collect();
    ingress(&meta(&keys.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>()), subject())
}

fn on_service(annotations: &[(&str, &str)]) -> (ServiceOptions, Vec<Diagnostic>) {
    let full = |key: &str| if key.starts_with(OUR_PREFIX) { key.to_owned() } else { format!("{PREFIX}{key}") };
    let keys: Vec<_> = annotations.iter().map(|(key, value)| (full(key), *value)).collect();
    service(&meta(&keys.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>()), subject())
}

/// A valid and an invalid value for each key.
fn samples(key: &str) -> (&'static str, &'static str) {
    match key {
        "router.entrypoints" => ("web, websecure", "web,,x"),
        "router.middlewares" | "service.middlewares" => ("ns-a@kubernetescrd, b@file", "a, b c"),
        "router.priority" => ("-42", "9223372036854775808"),
        "router.pathmatcher" => ("PathRegexp", "pathregexp"),
        "router.rulesyntax" => ("v2", "v1"),
        "router.tls.certresolver" | "router.tls.domains.n.main" | "service.sticky.cookie.name" => ("some", "a\nb"),
        "router.tls.domains.n.sans" => ("a.test,b.test", ","),
        "router.tls.options" | "service.serverstransport" => ("ns-a@kubernetescrd", "a@b@c"),
        "router.observability.traceverbosity" => ("detailed", "loud"),
        "service.serversscheme" => ("h2c", "gopher"),
        "service.sticky.cookie.samesite" => ("Lax", "loose"),
        "service.sticky.cookie.maxage" => ("3600", "1h"),
        "service.sticky.cookie.path" => ("/app", "app"),
        "service.sticky.cookie.domain" => (".example.com", "a b"),
        _ => ("true", "yes"),
    }
}

fn check_table<D: Default>(table: &[Known<D>]) {
    for known in table {
        let (valid, invalid) = samples(known.key);
        assert_eq!((known.read)(&mut D::default(), valid), Ok(()), "{} {valid}", known.key);
        for invalid in [invalid, "", "a\u{0}b", "tr\u{7f}ue", "a\r\nSet-Cookie: b", "\u{1b}[2J"] {
            assert!((known.read)(&mut D::default(), invalid).is_err(), "{} {invalid:?}", known.key);
        }
        assert_eq!(known.key, known.key.to_ascii_lowercase());
    }
}

#[test]
fn every_key_takes_a_valid_value_and_refuses_an_invalid_one() {
    check_table(ROUTER);
    check_table(SERVICE);
    check_table(OURS);
}

#[test]
fn an_invalid_value_costs_itself_or_closes_the_route() {
    for known in ROUTER {
        let name = known.key.replace(".n.", ".0.");
        let (options, diagnostics) = router(&[(&name, samples(known.key).1)]);
        assert_eq!((diagnostics.len(), diagnostics[0].severity), (1, Severity::Error), "{name}");
        assert_eq!(diagnostics[0].field, format!("metadata.annotations[{PREFIX}{name}]"));
        assert_eq!(options.closed.is_some(), known.guards, "{name}");
    }
    for known in SERVICE {
        let (options, diagnostics) = on_service(&[(known.key, samples(known.key).1)]);
        assert_eq!((diagnostics.len(), diagnostics[0].severity), (1, Severity::Error), "{}", known.key);
        assert_eq!(options.closed.is_some(), known.guards, "{}", known.key);
    }
    let guards =
        ROUTER.iter().filter(|k| k.guards).map(|k| k.key).chain(SERVICE.iter().filter(|k| k.guards).map(|k| k.key));
    assert_eq!(
        guards.collect::<Vec<_>>(),
        [
            "router.entrypoints",
            "router.middlewares",
            "router.tls",
            "router.tls.options",
            "service.serverstransport",
            "service.middlewares"
        ]
    );
}

#[test]
fn all_options_of_an_ingress() {
    let (options, diagnostics) = router(&[
        ("Router.EntryPoints", " web ,websecure"),
        ("router.middlewares", "ns-a@kubernetescrd,\n  ns-b@kubernetescrd\n"),
        ("router.priority", "42"),
        ("router.pathmatcher", "Path"),
        ("router.tls", "true"),
        ("router.tls.options", "ns-modern@kubernetescrd"),
        ("router.observability.accesslogs", "false"),
        ("router.observability.metrics", "true"),
    ]);
    assert_eq!(diagnostics, []);
    let expected = RouteOptions {
        entrypoints: Some(vec!["web".into(), "websecure".into()]),
        middlewares: vec!["ns-a@kubernetescrd".into(), "ns-b@kubernetescrd".into()],
        priority: Some(42),
        path_matcher: PathMatcher::Path,
        tls: Some(true),
        tls_options: Some("ns-modern@kubernetescrd".into()),
        access_log: Some(false),
        metrics: Some(true),
        closed: None,
    };
    assert_eq!(options, expected);
    assert_eq!(router(&[]), (RouteOptions::default(), vec![]));
}

#[test]
fn all_options_of_a_service() {
    let (options, diagnostics) = on_service(&[
        ("service.serversscheme", "https"),
        ("service.serverstransport", "ns-t@kubernetescrd"),
        ("service.passhostheader", "false"),
        ("service.middlewares", "ns-a@kubernetescrd"),
        ("service.nativelb", "true"),
        ("service.nodeportlb", "1"),
        ("service.sticky.cookie", "true"),
        ("service.sticky.cookie.name", "my cookie;x"),
        ("service.sticky.cookie.secure", "true"),
        ("service.sticky.cookie.httponly", "true"),
        ("service.sticky.cookie.samesite", "STRICT"),
        ("service.sticky.cookie.maxage", "-1"),
        ("service.sticky.cookie.path", "/a b"),
        ("service.sticky.cookie.domain", "example.com"),
        ("headgate.dev/sticky-slide", "true"),
        ("headgate.dev/sticky-strip", "true"),
    ]);
    assert_eq!(diagnostics, []);
    let sticky = StickyOptions {
        name: Some("my cookie;x".into()),
        secure: true,
        http_only: true,
        same_site: Some(SameSite::Strict),
        max_age: Some(-1),
        path: Some("/a b".into()),
        domain: Some("example.com".into()),
        slide: true,
        strip: true,
    };
    let expected = ServiceOptions {
        scheme: Some(Scheme::Https),
        pass_host_header: false,
        native_lb: true,
        node_port_lb: true,
        sticky: Some(sticky),
        middlewares: vec!["ns-a@kubernetescrd".into()],
        servers_transport: Some("ns-t@kubernetescrd".into()),
        closed: None,
    };
    assert_eq!(options, expected);
    assert_eq!(on_service(&[]), (ServiceOptions::default(), vec![]));
}

#[test]
fn a_sticky_cookie_is_asked_for_by_its_switch_or_any_of_its_fields() {
    let sticky = |annotations: &[(&str, &str)]| on_service(annotations).0.sticky.is_some();
    assert!(sticky(&[("service.sticky.cookie", "true")]));
    assert!(sticky(&[("service.sticky.cookie.name", "a")]));
    assert!(sticky(&[("service.sticky.cookie.secure", "false")]));
    assert!(!sticky(&[("service.sticky.cookie", "false"), ("service.sticky.cookie.name", "a")]));
    let (options, diagnostics) =
        on_service(&[("service.sticky.cookie", "true"), ("service.sticky.cookie.maxage", "0")]);
    assert_eq!((options.sticky.unwrap().max_age, diagnostics), (None, vec![]));
    let (options, diagnostics) = on_service(&[("headgate.dev/sticky-slide", "true")]);
    assert_eq!((options.sticky, diagnostics[0].code), (None, "NoEffect"));
}

#[test]
fn whatever_is_said_of_tls_asks_for_tls_unless_it_is_denied() {
    for key in ["certresolver", "options", "domains.0.main", "domains[12].sans"] {
        let (options, diagnostics) = router(&[(&format!("router.tls.{key}"), "le")]);
        assert_eq!(options.tls, Some(true), "{key}");
        let inert = key != "options";
        assert_eq!(
            diagnostics.iter().map(|d| d.severity).collect::<Vec<_>>(),
            vec![Severity::Info; usize::from(inert)],
            "{key}"
        );
    }
    assert_eq!(router(&[("router.tls", "false"), ("router.tls.certresolver", "le")]).0.tls, Some(false));
    for key in [
        "router.tls.domains.x.main",
        "router.tls.domains.0",
        "router.tls.domains..main",
        "router.tls.domains.0.mein.x.y.z",
    ] {
        assert_eq!(router(&[(key, "a")]).1[0].code, "UnknownAnnotation", "{key}");
    }
}

#[test]
fn an_unknown_key_is_pointed_out_and_closes_if_it_looks_like_a_protection() {
    let one = |key: &str| {
        let (options, mut diagnostics) = router(&[(key, "a@b")]);
        assert!(diagnostics.len() <= 1);
        (options.closed.is_some(), diagnostics.pop().map(|d| (d.severity, d.help)))
    };
    let help = |name: &str| format!("did you mean {PREFIX}{name}?");
    assert_eq!(one("router.middleware"), (true, Some((Severity::Error, help("router.middlewares")))));
    assert_eq!(one("router.prioritty"), (false, Some((Severity::Warning, help("router.priority")))));
    assert_eq!(one("router.something-else"), (false, Some((Severity::Warning, String::new()))));
    // Traefik passes over these; so that a closed route would be a surprise.
    assert_eq!(one("rooter.middlewares"), (false, Some((Severity::Warning, help("router.middlewares")))));
    assert_eq!(
        on_service(&[("headgate.dev/sticky-slides", "true")]).1[0].help,
        "did you mean headgate.dev/sticky-slide?"
    );
}

#[test]
fn a_key_on_the_wrong_kind_is_sent_where_it_belongs() {
    let (options, diagnostics) = router(&[("service.sticky.cookie", "true"), ("service.middlewares", "")]);
    assert_eq!((options, diagnostics.len()), (RouteOptions::default(), 2));
    assert!(diagnostics.iter().all(|d| d.code == "MisplacedAnnotation" && d.message.contains("a Service")));
    let (options, diagnostics) = on_service(&[("router.tls", "true")]);
    assert_eq!((options, diagnostics[0].code), (ServiceOptions::default(), "MisplacedAnnotation"));
    let ours =
        meta(&[("headgate.dev/sticky-slide", "true"), ("headgate.dev/else", "x"), ("other.dev/router.tls", "x")]);
    let codes: Vec<_> = ingress(&ours, subject()).1.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["UnknownAnnotation", "MisplacedAnnotation"]);
}

#[test]
fn of_keys_that_differ_in_letter_case_the_one_in_lower_case_counts() {
    for [first, second] in [["router.priority", "router.Priority"], ["ROUTER.priority", "router.priority"]] {
        let lower =
            if first == "router.priority" { [(first, "1"), (second, "2")] } else { [(first, "2"), (second, "1")] };
        let (options, diagnostics) = router(&lower);
        assert_eq!((options.priority, options.closed), (Some(1), None));
        assert_eq!((diagnostics[0].code, diagnostics[0].severity), ("DuplicateAnnotation", Severity::Warning));
    }
    let prefix = "Traefik.Ingress.Kubernetes.io/router.tls";
    let (options, _) = ingress(&meta(&[(prefix, "true"), (&format!("{PREFIX}router.tls"), "true")]), subject());
    assert_eq!((options.tls, options.closed), (Some(true), None));
}

#[test]
fn spellings_that_contradict_each_other_on_a_protection_close() {
    let (options, diagnostics) = router(&[("router.middlewares", "a@file"), ("router.Middlewares", "b@file")]);
    assert_eq!(options.middlewares, ["a@file".into()]);
    assert!(options.closed.is_some());
    assert_eq!((diagnostics[0].code, diagnostics[0].severity), ("DuplicateAnnotation", Severity::Error));
    let (options, diagnostics) = on_service(&[("service.middlewares", "a@file"), ("SERVICE.middlewares", "")]);
    assert_eq!((options.closed.is_some(), diagnostics[0].severity), (true, Severity::Error));
    let (options, diagnostics) = router(&[("router.middlewares", "a@file"), ("router.Middlewares", " a@file\n")]);
    assert_eq!((options.closed, diagnostics[0].severity), (None, Severity::Warning));
}

#[test]
fn an_empty_value_is_none() {
    for known in ROUTER {
        for empty in ["", " \n"] {
            let (options, diagnostics) = router(&[(&known.key.replace(".n.", ".0."), empty)]);
            let tls = known.key.starts_with("router.tls").then_some(true);
            assert_eq!(options, RouteOptions { tls, ..RouteOptions::default() }, "{}", known.key);
            assert_eq!(diagnostics.len(), 1);
            assert_eq!((diagnostics[0].code, diagnostics[0].severity), ("EmptyAnnotation", Severity::Info));
        }
    }
    for known in SERVICE {
        let (options, diagnostics) = on_service(&[(known.key, "")]);
        let sticky = known.key.starts_with("service.sticky.cookie").then(StickyOptions::default);
        assert_eq!(options, ServiceOptions { sticky, ..ServiceOptions::default() }, "{}", known.key);
        assert_eq!((diagnostics[0].code, diagnostics[0].severity), ("EmptyAnnotation", Severity::Info));
    }
    assert_eq!(router(&[("router.tls", "false"), ("router.tls.certresolver", "")]).0.tls, Some(false));
    for list in [",", "a@file,", "a@file, ,b@file"] {
        let (options, diagnostics) = router(&[("router.middlewares", list)]);
        assert_eq!((options.closed.is_some(), diagnostics[0].severity), (true, Severity::Error), "{list}");
    }
}

#[test]
fn every_note_says_what_to_do() {
    for known in ROUTER.iter().filter(|known| known.inert.is_some()) {
        let (_, diagnostics) = router(&[(&known.key.replace(".n.", ".0."), samples(known.key).0)]);
        assert!(diagnostics.iter().all(|d| d.severity == Severity::Info && !d.help.is_empty()), "{}", known.key);
        assert_eq!(diagnostics.len(), 1, "{}", known.key);
    }
}

#[test]
fn an_unknown_key_of_ours_is_pointed_out_on_both_kinds() {
    let of = |key: &str| meta(&[(key, "true")]);
    for (key, help) in [("sticky-slied", "did you mean headgate.dev/sticky-slide?"), ("else", "")] {
        let key = format!("{OUR_PREFIX}{key}");
        for said in [ingress(&of(&key), subject()).1, service(&of(&key), subject()).1] {
            assert_eq!(said.len(), 1, "{key}: {said:?}");
            assert_eq!(
                (said[0].code, said[0].severity, &*said[0].help),
                ("UnknownAnnotation", Severity::Warning, help)
            );
        }
    }
}

#[test]
fn an_allow_list_of_everybody_closes_nothing_and_is_no_fault() {
    for key in
        ["nginx.ingress.kubernetes.io/whitelist-source-range", "traefik.ingress.kubernetes.io/whitelist-source-range"]
    {
        // As cert-manager writes it on its solvers' Ingresses.
        for everybody in ["0.0.0.0/0,::/0", " 10.0.0.0/8, 0::0/0 , 0.0.0.0/0"] {
            let (options, said) = ingress(&meta(&[(key, everybody)]), subject());
            assert_eq!((options.closed, said), (None, vec![]), "{key}: {everybody}");
        }
        for some in ["0.0.0.0/0", "::/0", "0.0.0.0/1,::/0", "0.0.0.0,::/0", "x/0,::/0"] {
            assert!(ingress(&meta(&[(key, some)]), subject()).0.closed.is_some(), "{key}: {some}");
        }
    }
    let (options, _) =
        ingress(&meta(&[("nginx.ingress.kubernetes.io/denylist-source-range", "0.0.0.0/0,::/0")]), subject());
    assert!(options.closed.is_some());
}

#[test]
fn what_is_of_ingress_nginx_is_pointed_out_once_and_closes_where_it_protects() {
    let nginx = |annotations: &[(&str, &str)]| {
        let keys: Vec<_> =
            annotations.iter().map(|(key, value)| (format!("nginx.ingress.kubernetes.io/{key}"), *value)).collect();
        ingress(&meta(&keys.iter().map(|(key, value)| (key.as_str(), *value)).collect::<Vec<_>>()), subject())
    };
    let (options, said) =
        nginx(&[("ssl-redirect", "true"), ("rewrite-target", "/$1"), ("auth-proxy-set-headers", "a/b")]);
    assert_eq!((options.closed, said.len()), (None, 1));
    assert_eq!((said[0].code, said[0].severity), ("AnnotationOfAnotherDialect", Severity::Warning));
    for key in ["ssl-redirect", "rewrite-target", "auth-proxy-set-headers"] {
        assert!(said[0].message.contains(&format!("nginx.ingress.kubernetes.io/{key}")), "{}", said[0]);
    }
    for key in [
        "auth-type",
        "auth-secret",
        "auth-url",
        "auth-signin",
        "auth-tls-secret",
        "auth-tls-verify-client",
        "whitelist-source-range",
        "allowlist-source-range",
        "denylist-source-range",
        "satisfy",
        "enable-modsecurity",
        "enable-global-auth",
        "Auth-Type",
    ] {
        let (options, said) = nginx(&[(key, "true"), ("ssl-redirect", "true")]);
        assert!(options.closed.is_some_and(|reason| reason.contains(key)), "{key}");
        assert_eq!(said.iter().map(|d| d.severity).collect::<Vec<_>>(), [Severity::Warning, Severity::Error], "{key}");
        assert!(said[1].message.contains(key) && said[1].help.contains("Middleware"), "{}", said[1]);
    }
    for (key, value) in [("enable-modsecurity", "false"), ("enable-global-auth", "false"), ("auth-url", "")] {
        let (options, said) = nginx(&[(key, value)]);
        assert_eq!((options.closed, said[0].severity), (None, Severity::Warning), "{key}");
    }
    assert_eq!(nginx(&[]), (RouteOptions::default(), vec![]));
}

#[test]
fn what_is_of_traefik_1_is_pointed_out_and_closes_where_it_protects() {
    for (key, middleware) in [
        ("auth-type", "basicAuth"),
        ("auth-secret", "basicAuth"),
        ("auth-realm", "basicAuth"),
        ("auth-tls-insecure", "Middleware"),
        ("whitelist-source-range", "ipAllowList"),
        ("whiteList-source-range", "ipAllowList"),
        ("ip-white-list-source-range", "ipAllowList"),
    ] {
        let (options, said) = router(&[(key, "basic")]);
        assert!(options.closed.is_some_and(|reason| reason.contains(key)), "{key}");
        assert_eq!((said.len(), said[0].severity, said[0].code), (1, Severity::Error, "AnnotationOfAnotherDialect"));
        assert!(said[0].help.contains(middleware) && said[0].help.contains("router.middlewares"), "{}", said[0]);
    }
    let (options, said) = router(&[("redirect-entry-point", "https"), ("rule-type", "PathPrefixStrip")]);
    assert_eq!((options.closed, said.len(), said[0].severity), (None, 1, Severity::Warning));
    assert!(said[0].message.contains("redirect-entry-point") && said[0].message.contains("rule-type"), "{}", said[0]);
}

#[test]
fn an_unknown_path_matcher_closes_only_the_paths_it_is_for() {
    let (options, diagnostics) = router(&[("router.pathmatcher", "Path(`/`) || Host")]);
    assert_eq!((options.path_matcher, options.closed), (PathMatcher::Invalid, None));
    assert!(diagnostics[0].message.contains("is none of Path, PathPrefix, PathRegexp"), "{}", diagnostics[0]);
}

const ZERO: char = '\0';

proptest! {
    #[test]
    fn no_value_gets_through_with_control_characters(
        key in 0..ROUTER.len() + SERVICE.len(),
        value in "[a-z@,/ \t\r\n\u{0}\u{7f}]{0,12}",
    ) {
        let bad = value.trim().split(',').any(|v| v.trim().chars().any(char::is_control));
        let (found, closed) = match key.checked_sub(ROUTER.len()) {
            None => {
                let (options, found) = router(&[(&ROUTER[key].key.replace(".n.", ".3."), &value)]);
                (found, options.closed.is_some() == (ROUTER[key].guards && bad) || !bad)
            }
            Some(key) => {
                let (options, found) = on_service(&[(SERVICE[key].key, &value)]);
                (found, options.closed.is_some() == (SERVICE[key].guards && bad) || !bad)
            }
        };
        prop_assert!(closed);
        prop_assert!(!bad || found.iter().any(|d| d.severity == Severity::Error), "{value:?}: {found:?}");
        prop_assert!(found.iter().all(|d| !d.to_string().contains(ZERO)));
    }

    #[test]
    fn no_key_makes_a_panic(
        key in "(?i)(router|service)?[.\\[]?(tls|sticky|domains)?[.\\[0-9\\]äß]{0,6}[a-zé]{0,8}",
        value in ".{0,20}",
    ) {
        router(&[(&key, &value)]);
        on_service(&[(&key, &value)]);
    }
}
