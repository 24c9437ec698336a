use std::{cmp::Reverse, sync::Arc};

use proptest::prelude::*;
use regex::Regex;

use super::*;
use crate::{metrics::RouteLabels, middleware::Chain};

fn route(name: &str, entrypoints: u32) -> Arc<Route> {
    Arc::new(Route {
        labels: RouteLabels::new("ns", name, "svc"),
        host: "".into(),
        path: "".into(),
        entrypoints: Entrypoints(entrypoints),
        action: Action::NoService("".into()),
        chain: Chain::default(),
        middlewares: Box::default(),
        tls: None,
        sticky: None,
        acme: false,
        access_log: true,
        metrics: true,
    })
}

/// A rule of host `h`; priority 0 stands for none.
fn rule(priority: i64, matcher: Matcher, name: &str) -> Rule {
    let length = match &matcher {
        Matcher::Exact(path) | Matcher::Prefix(path) => path.len().max(1),
        Matcher::Regex { written, .. } => written.len(),
    };
    let implicit = path::implicit_priority("h", &"x".repeat(length));
    Rule {
        priority: if priority == 0 { implicit } else { priority },
        explicit: priority != 0 && priority != Rule::LAST,
        matcher,
        route: route(name, 3),
    }
}

fn exact(path: &str) -> Matcher {
    Matcher::Exact(path.into())
}

fn found(paths: &Paths, path: &str) -> String {
    paths.lookup(0, path).map_or_else(|| "-".to_owned(), |r| r.labels.ingress.to_string())
}

#[test]
fn hosts_are_read_one_way() {
    for (authority, expected) in [
        ("Example.COM", Some(("example.com", None))),
        ("example.com.:8080", Some(("example.com", Some(8080)))),
        ("example.com:", Some(("example.com", None))),
        ("10.0.0.1:80", Some(("10.0.0.1", Some(80)))),
        ("[::1]:80", Some(("[::1]", Some(80)))),
        ("[::1]", Some(("[::1]", None))),
        ("a_b.example", Some(("a_b.example", None))),
        ("", None),
        (".", None),
        ("a b", None),
        ("a:b", None),
        ("a:99999", None),
        ("a:+1", None),
        ("user@a", None),
        ("a,b", None),
        ("[::1", None),
        ("[x]:1", None),
        ("::1", None),
        ("a/b", None),
    ] {
        let read = host_of(authority);
        let read = read.as_ref().map(|(host, port)| (&**host, *port));
        assert_eq!(read, expected, "{authority}");
    }
}

#[test]
fn exact_beats_wildcard_beats_none_and_leftovers_fall_through() {
    let mut hosts = Hosts::default();
    hosts.set("a.example", Some(Paths::new(vec![rule(0, Matcher::prefix("/x"), "exact")])));
    hosts.set("*.example", Some(Paths::new(vec![rule(0, Matcher::prefix("/y"), "wild")])));
    hosts.set("", Some(Paths::new(vec![rule(0, Matcher::prefix("/"), "any")])));
    let look =
        |hosts: &Hosts, host: &str, path: &str| hosts.lookup(0, host, path).map(|r| r.labels.ingress.to_string());
    let at = |host: &str, path: &str| look(&hosts, host, path);
    assert_eq!(at("a.example", "/x/1").as_deref(), Some("exact"));
    assert_eq!(at("a.example", "/y").as_deref(), Some("wild"));
    assert_eq!(at("a.example", "/z").as_deref(), Some("any"));
    assert_eq!(at("b.a.example", "/y").as_deref(), Some("any"), "a wildcard is one label");
    assert_eq!(at("example", "/y").as_deref(), Some("any"));
    assert_eq!(at("", "/y").as_deref(), Some("any"));
    hosts.set("", None);
    assert_eq!(look(&hosts, "other", "/"), None);
}

#[test]
fn the_order_within_a_host() {
    let regex = |text: &str| Matcher::Regex { built: Regex::new(text).unwrap(), written: text.into() };
    for padding in [0, 20] {
        let mut rules = vec![
            rule(0, Matcher::prefix("/foo"), "prefix"),
            rule(0, Matcher::prefix("/foo/"), "shadowed"),
            rule(0, exact("/foo"), "exact"),
            rule(0, Matcher::prefix("/foo/bar"), "longer"),
            rule(0, regex("^/re/[0-9]+$"), "regex"),
            rule(0, Matcher::prefix("/"), "root"),
            rule(Rule::LAST, Matcher::prefix("/"), "default"),
            rule(99, exact("/first"), "priority"),
            rule(0, exact("/first"), "late"),
            rule(1, Matcher::prefix("/low/deep"), "low"),
        ];
        rules.extend((0..padding).map(|n| rule(0, exact(&format!("/pad/{n}")), "pad")));
        let paths = Paths::new(rules);
        for (path, name) in [
            ("/foo", "exact"),
            ("/foo/", "prefix"),
            ("/foo/x", "prefix"),
            ("/foobar", "root"),
            ("/foo/bar", "longer"),
            ("/foo/barx", "prefix"),
            ("/re/12", "regex"),
            ("/re/x", "root"),
            ("/first", "priority"),
            ("/low/deep", "root"),
            ("/", "root"),
        ] {
            assert_eq!(found(&paths, path), name, "{path} with {padding} more rules");
        }
    }
}

#[test]
fn a_rule_of_another_entrypoint_does_not_shadow() {
    for padding in [0, 20] {
        let mut rules = vec![
            Rule { route: route("tls", 2), ..rule(0, Matcher::prefix("/a"), "") },
            Rule { route: route("web", 1), ..rule(0, Matcher::prefix("/a"), "") },
            Rule { route: route("both", 3), ..rule(0, Matcher::prefix("/"), "") },
        ];
        rules.extend((0..padding).map(|n| rule(0, exact(&format!("/pad/{n}")), "pad")));
        let paths = Paths::new(rules);
        let at = |entrypoint| paths.lookup(entrypoint, "/a").map(|r| r.labels.ingress.to_string());
        assert_eq!(at(0).as_deref(), Some("web"));
        assert_eq!(at(1).as_deref(), Some("tls"));
        assert_eq!(at(2), None);
    }
}

/// The rules of DESIGN §2, said as plainly as possible.
fn naive(rules: &[(i64, bool, String)], path: &str) -> Option<usize> {
    let elements = |p: &str| p.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let matches = |(_, exact, rule): &(i64, bool, String)| {
        if *exact { rule == path } else { elements(path).starts_with(&elements(rule)) }
    };
    let key = |(priority, exact, rule): &(i64, bool, String)| {
        let length = if *exact { rule.len() } else { rule.trim_end_matches('/').len() };
        let implicit = path::implicit_priority("h", &"x".repeat(length.max(1)));
        (if *priority == 0 { implicit } else { *priority }, *exact, length)
    };
    rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| matches(rule))
        .max_by_key(|(index, rule)| (key(rule), Reverse(*index)))
        .map(|(index, _)| index)
}

proptest! {
    #[test]
    fn lookup_agrees_with_the_naive_model(
        rules in proptest::collection::vec((prop_oneof![4 => Just(0_i64), 1 => 26_i64..36], any::<bool>(), "(/[ab]{1,2}){0,3}/?"), 0..24),
        path in "(/[ab]{1,2}){1,4}/?",
    ) {
        let rules: Vec<_> = rules.into_iter().map(|(p, e, r)| (p, e, if r.is_empty() { "/".into() } else { r })).collect();
        let table = Paths::new(rules.iter().enumerate().map(|(index, (priority, is_exact, path))| {
            let matcher = if *is_exact { exact(path) } else { Matcher::prefix(path) };
            rule(*priority, matcher, &index.to_string())
        }).collect());
        let expected = naive(&rules, &path).map_or_else(|| "-".to_owned(), |i| i.to_string());
        prop_assert_eq!(found(&table, &path), expected);
    }

    #[test]
    fn host_of_is_stable_and_never_panics(authority in "\\PC{0,30}") {
        if let Some((host, _)) = host_of(&authority) {
            let once = host.into_owned();
            prop_assert_eq!(host_of(&once).map(|(h, p)| (h.into_owned(), p)), Some((once.clone(), None)));
        }
    }
}

fn named(name: &str) -> Arc<TlsOptions> {
    let id = tls::OptionsId::Object("ns".into(), name.into());
    Arc::new(TlsOptions { id, ..TlsOptions::default() })
}

/// A rule for everything that names TLS options, or none, on these entrypoints.
fn held(options: Option<&str>, entrypoints: u32, acme: bool) -> Rule {
    let plain = rule(0, Matcher::prefix("/"), "x");
    let route =
        Route { tls: options.map(named), entrypoints: Entrypoints(entrypoints), acme, ..plain.route.closed("") };
    Rule { route: Arc::new(route), ..plain }
}

#[test]
fn tls_options_are_those_of_the_most_specific_host_that_has_rules_there() {
    let mut table = Table::default();
    let options = |table: &Table, on: usize, host: &str| table.tls(on, host).id.to_string();
    table.hosts.set("plain.example", Some(Paths::new(vec![held(None, 3, false)])));
    assert_eq!(options(&table, 1, "plain.example"), "default");
    table.hosts.set("*.example", Some(Paths::new(vec![held(Some("wild"), 2, false)])));
    table.hosts.set("own.example", Some(Paths::new(vec![held(Some("own"), 2, false), held(None, 3, false)])));
    table.hosts.set("web-only.example", Some(Paths::new(vec![held(None, 1, false)])));
    table.hosts.set("challenge.example", Some(Paths::new(vec![held(None, 3, true)])));
    for (host, expected) in [
        ("own.example", "ns/own"),
        // Its rules say nothing, which is the default: a carve-out from the wildcard.
        ("plain.example", "default"),
        ("web-only.example", "ns/wild"),
        ("challenge.example", "ns/wild"),
        ("any.example", "ns/wild"),
        ("a.any.example", "default"),
        ("example", "default"),
        ("", "default"),
    ] {
        assert_eq!(options(&table, 1, host), expected, "{host}");
    }
    assert_eq!(options(&table, 0, "any.example"), "default", "not on this entrypoint");
    table.hosts.set("", Some(Paths::new(vec![held(Some("all"), 2, false)])));
    for (host, expected) in
        [("", "ns/all"), ("elsewhere", "ns/all"), ("10.0.0.1", "ns/all"), ("plain.example", "default")]
    {
        assert_eq!(options(&table, 1, host), expected, "{host}");
    }
    for host in ["", "*.example", "own.example"] {
        table.hosts.set(host, None);
    }
    assert!(["", "own.example", "any.example"].iter().all(|host| options(&table, 1, host) == "default"));
}

#[test]
fn each_entrypoint_has_the_strictest_of_its_own_rules() {
    let modern = |name: &str| {
        let versions = crate::balance::transport::Versions {
            oldest: crate::balance::transport::Version::Tls13,
            ..Default::default()
        };
        let terms = tls::Terms { versions, ..tls::Terms::default() };
        TlsOptions { policy: Ok(Arc::new(tls::Policy { terms, ..tls::Policy::default() })), ..(*named(name)).clone() }
    };
    let mut strict = held(None, 4, false);
    strict.route = Arc::new(Route { tls: Some(Arc::new(modern("z"))), ..strict.route.closed("") });
    let paths = Paths::new(vec![held(Some("a"), 6, false), strict]);
    let default = Arc::new(TlsOptions::default());
    let of = |on: usize| paths.tls(on, &default).map(|options| options.id.to_string());
    assert_eq!(of(0), None);
    assert_eq!(of(1), Some("ns/a".to_owned()));
    assert_eq!(of(2), Some("ns/z".to_owned()));
}

#[test]
fn the_default_stands_for_rules_that_name_none() {
    let mutual = tls::Terms { client_auth: tls::ClientAuth::Require, ..tls::Terms::default() };
    let strict = TlsOptions {
        policy: Ok(Arc::new(tls::Policy { terms: mutual, ..tls::Policy::default() })),
        ..TlsOptions::default()
    };
    let refused = TlsOptions { policy: Err("broken".into()), ..TlsOptions::default() };
    let of = |rules: Vec<Rule>, on: usize, default: &TlsOptions| {
        let (paths, default) = (Paths::new(rules), Arc::new(default.clone()));
        paths.tls(on, &default).unwrap().id.to_string()
    };
    let mixed = || vec![held(Some("lax"), 2, false), held(None, 3, false)];
    let plain = TlsOptions::default();
    assert_eq!(of(mixed(), 1, &plain), "ns/lax");
    for default in [&strict, &refused] {
        assert_eq!(of(mixed(), 1, default), "default", "one laxer rule must not switch it off");
        assert_eq!(
            of(vec![held(Some("lax"), 2, false), held(None, 1, false)], 1, default),
            "ns/lax",
            "it is elsewhere"
        );
        assert_eq!(of(vec![held(Some("lax"), 2, false), held(None, 3, true)], 1, default), "ns/lax", "a challenge");
    }
}
