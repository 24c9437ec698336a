//! What the types that change where a request goes do on the wire, `encodedCharacters` and `contentType` with them.

use std::sync::{Mutex, mpsc};

use serde_json::{Value, json};

use super::{Fixture, HOST, closes};
use crate::support::{Answer, Backend, Headgate, Ingress, Manifests, Middleware, manifests::service_of, request};

/// What the backend got for a target: its own target, and a header.
#[track_caller]
fn forwarded(fixture: &Fixture, gate: &Headgate, sent: &str, header: &str) -> (String, Vec<String>) {
    assert_eq!(gate.get(HOST, sent).status, 200, "{sent}");
    let seen = fixture.backend.requests().pop().unwrap();
    (seen.target().to_owned(), seen.head.all(header).into_iter().map(str::to_owned).collect())
}

/// Asserts that these targets are 400 with an empty body, and don't reach the backend.
#[track_caller]
fn refuses(fixture: &Fixture, gate: &Headgate, targets: &[&str]) {
    let before = fixture.backend.heads();
    for target in targets {
        let answer = gate.get(HOST, target);
        assert_eq!((answer.status, answer.body.len()), (400, 0), "{target}");
    }
    assert_eq!(fixture.backend.heads(), before, "{targets:?}");
}

#[test]
fn add_prefix_puts_it_before_the_path() {
    let fixture = Fixture::one(json!({ "addPrefix": { "prefix": "api/v1" } }));
    let gate = fixture.start();
    for (sent, becomes) in
        [("/x?y=1", "/api/v1/x?y=1"), ("/", "/api/v1/"), ("/a%2fb/../c", "/api/v1/c"), ("/../x", "/api/v1/x")]
    {
        assert_eq!(forwarded(&fixture, &gate, sent, "x-forwarded-prefix"), (becomes.to_owned(), vec![]), "{sent}");
    }
}

#[test]
fn prefixes_are_added_in_the_order_of_the_annotation() {
    let add =
        |name: &str, prefix: &str| Value::from(Middleware::new(name, json!({ "addPrefix": { "prefix": prefix } })));
    let fixture = Fixture::new(&["one", "two"], [add("one", "/p1"), add("two", "/p2")]);
    let gate = fixture.start();
    assert_eq!(forwarded(&fixture, &gate, "/q", "x").0, "/p2/p1/q");
}

#[test]
fn strip_prefix_regex_takes_what_it_matches_at_the_start() {
    let fixture = Fixture::one(json!({ "stripPrefixRegex": { "regex": ["/v[0-9]+", "/t/(a|b)"] } }));
    let gate = fixture.start();
    for (sent, becomes, told) in [
        ("/v1/x?y=1", "/x?y=1", &["/v1"][..]),
        ("/v12", "/", &["/v12"]),
        ("/v1/v2/x", "/v2/x", &["/v1"]),
        ("/t/b/x", "/x", &["/t/b"]),
        ("/x/v1", "/x/v1", &[]),
        ("/v1%2fx", "/%2Fx", &["/v1"]),
        ("/%76%31/x", "/x", &["/v1"]),
    ] {
        let (target, prefix) = forwarded(&fixture, &gate, sent, "x-forwarded-prefix");
        assert_eq!((target.as_str(), prefix), (becomes, told.iter().map(|t| (*t).to_owned()).collect()), "{sent}");
    }
    refuses(&fixture, &gate, &["/v1../x", "/v1..", "/v1..?/x"]);
}

#[test]
fn replace_path_tells_the_old_one() {
    let fixture = Fixture::one(json!({ "replacePath": { "path": "/new" } }));
    let gate = fixture.start();
    for (sent, becomes, told) in
        [("/x?y=1", "/new?y=1", "/x"), ("/a%2fb/%20c", "/new", "/a%2Fb/%20c"), ("/new", "/new", "/new")]
    {
        let expected = (becomes.to_owned(), vec![told.to_owned()]);
        assert_eq!(forwarded(&fixture, &gate, sent, "x-replaced-path"), expected, "{sent}");
    }
}

#[test]
fn replace_path_regex_replaces_every_match() {
    let fixture = Fixture::one(json!({ "replacePathRegex": {
        "regex": "^/(?:api|rest)/(?P<id>[^/]+)(.*)", "replacement": "/${id}$2?a=b",
    } }));
    let gate = fixture.start();
    for (sent, becomes, told) in [
        ("/api/x/y?z=1", "/x/y%3Fa=b?z=1", &["/api/x/y"][..]),
        ("/rest/a%2fb", "/a%2Fb%3Fa=b", &["/rest/a%2Fb"]),
        ("/other/x", "/other/x", &[]),
    ] {
        let (target, old) = forwarded(&fixture, &gate, sent, "x-replaced-path");
        assert_eq!((target.as_str(), old), (becomes, told.iter().map(|t| (*t).to_owned()).collect()), "{sent}");
    }
    let fixture = Fixture::one(json!({ "replacePathRegex": { "regex": "^/api(.*)", "replacement": "$1" } }));
    let gate = fixture.start();
    assert_eq!(forwarded(&fixture, &gate, "/api", "x-replaced-path").0, "/");
    refuses(&fixture, &gate, &["/api../x", "/api%2e%2e/x"]);
}

#[test]
fn what_a_client_says_of_replaced_paths_is_dropped() {
    let fixture = Fixture::new(
        &["one", "two"],
        [
            Value::from(Middleware::new("one", json!({ "replacePath": { "path": "/one" } }))),
            Middleware::new("two", json!({ "replacePathRegex": { "regex": "^/one", "replacement": "/two" } })).into(),
            Ingress::new("open").rule("open.test", &[("/", "Prefix", "app")]).into(),
        ],
    );
    let gate = fixture.start();
    let forged = [("X-Replaced-Path", "/forged"), ("X_Replaced-Path", "/forged"), ("X-Forwarded-Prefix", "/forged")];
    for (host, target, told) in [(HOST, "/two", &["/x", "/one"][..]), ("open.test", "/x", &[])] {
        assert_eq!(gate.get_with(host, "/x", &forged).status, 200);
        let seen = fixture.backend.requests().pop().unwrap();
        assert_eq!((seen.target(), seen.head.all("x-replaced-path").as_slice()), (target, told), "{host}");
        assert!(!seen.head.headers.iter().any(|(_, value)| value.contains("forged")), "{host}: {:?}", seen.head);
    }
}

/// The status and Location of an answer.
fn redirect(answer: &Answer) -> (u16, Option<&str>) {
    (answer.status, answer.get("location"))
}

#[test]
fn redirect_regex_matches_the_whole_url() {
    let rule = |permanent| {
        json!({ "redirectRegex": {
            "regex": "^https?://m\\.test(?::[0-9]+)?/old/(.*)", "replacement": "https://new.test/${1}", "permanent": permanent,
        } })
    };
    for (permanent, get, post) in [(false, 302, 307), (true, 301, 308)] {
        let fixture = Fixture::one(rule(permanent));
        let gate = fixture.start();
        for (host, sent, to) in [
            (HOST, "/old/x?y=1", "https://new.test/x?y=1"),
            ("M.test:8080", "/old//a/../b%2fc", "https://new.test/b%2Fc"),
            (HOST, "/old//evil.test/", "https://new.test/evil.test/"),
            (HOST, "/old/\"{x}", "https://new.test/%22%7Bx%7D"),
        ] {
            let answer = gate.get(host, sent);
            assert_eq!(redirect(&answer), (get, Some(to)), "{host}{sent}");
        }
        let answer = gate.send("POST", HOST, "/old/x", &[], b"x");
        assert_eq!(redirect(&answer), (post, Some("https://new.test/x")));
        assert_eq!(redirect(&gate.https(HOST, "/old/x")), (get, Some("https://new.test/x")));
        assert_eq!(fixture.backend.heads(), 0);
        assert_eq!(gate.get(HOST, "/other").text(), "app", "no match");
    }
}

#[test]
fn redirect_regex_passes_what_stays_the_same() {
    let fixture = Fixture::one(json!({ "redirectRegex": { "regex": "^http://(.*)$", "replacement": "http://$1" } }));
    let gate = fixture.start();
    assert_eq!(gate.get(HOST, "/x").text(), "app");
    let to_https = json!({ "redirectRegex": { "regex": "^http://(.*)$", "replacement": "https://$1" } });
    let fixture = Fixture::one(to_https);
    let gate = fixture.start();
    assert_eq!(redirect(&gate.get("m.test:80", "/x?y")), (302, Some("https://m.test:80/x?y")));
    assert_eq!(gate.https(HOST, "/x").text(), "app");
}

#[test]
fn redirect_regex_leads_nowhere_a_path_says() {
    let fixture = Fixture::one(json!({ "redirectRegex": {
        "regex": "^http://m.test/(?:(a)|(b)|c)/(.*)", "replacement": "https://new.test$3",
    } }));
    let gate = fixture.start();
    for target in ["/a/.evil.test/", "/b/@evil.test/", "/c/:80@evil.test", "/a/:1/", "/c/x"] {
        let answer = gate.get(HOST, target);
        assert_eq!(redirect(&answer), (400, None), "{target}");
    }
    for raw in ["GET http://m.test HTTP/1.1\r\nHost: m.test\r\n\r\n", "GET /c/x HTTP/1.0\r\nHost: m.test\r\n\r\n"] {
        let answer = gate.connect().send(raw).answer();
        assert!(answer.get("location").is_none(), "{raw}");
    }
    assert!(fixture.backend.heads() <= 1, "the one that doesn't match");
}

#[test]
fn encoded_characters_are_refused_unless_allowed() {
    let names = [
        ("allowEncodedSlash", "%2f"),
        ("allowEncodedBackSlash", "%5c"),
        ("allowEncodedSemicolon", "%3b"),
        ("allowEncodedPercent", "%25"),
        ("allowEncodedQuestionMark", "%3f"),
        ("allowEncodedHash", "%23"),
    ];
    let fixture = Fixture::one(json!({ "encodedCharacters": {} }));
    let gate = fixture.start();
    let all: Vec<String> =
        names.iter().flat_map(|(_, c)| [format!("/a{c}b"), format!("/{}", c.to_uppercase())]).collect();
    refuses(&fixture, &gate, &all.iter().map(String::as_str).collect::<Vec<_>>());
    for target in ["/a%20b;c?d=%2F%25", "/%61/%C3%A9"] {
        assert_eq!(gate.get(HOST, target).status, 200, "{target}");
    }
    assert_eq!(gate.get(HOST, "/a%00b").status, 400, "always");
    for (name, escape) in names {
        let fixture = Fixture::one(json!({ "encodedCharacters": { name: true } }));
        let gate = fixture.start();
        let path = format!("/a{}b", escape.to_uppercase());
        assert_eq!(forwarded(&fixture, &gate, &path, "x").0, path);
        let others: Vec<String> = names.iter().filter(|(_, e)| *e != escape).map(|(_, e)| format!("/{e}")).collect();
        refuses(&fixture, &gate, &others.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

/// `m` before a backend that answers with these bytes.
fn typed(spec: Value, bytes: &[u8]) -> Answer {
    let backend = Backend::canned("app", bytes);
    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    objects.push(Middleware::new("m", spec).into());
    Headgate::start(&Manifests::of(objects)).get(HOST, "/")
}

#[test]
fn content_type_names_what_has_no_name() {
    let on = || json!({ "contentType": {} });
    for (spec, head, body, kind) in [
        (on(), "", "<!DOCTYPE html><p>", Some("text/html; charset=utf-8")),
        (on(), "", "{}", Some("text/plain; charset=utf-8")),
        (on(), "", "\u{1}\u{2}", Some("application/octet-stream")),
        (on(), "Content-Type: a/b\r\n", "<html>", Some("a/b")),
        (on(), "Content-Encoding: gzip\r\n", "<html>", None),
        (on(), "", "", None),
        (json!({ "contentType": { "autoDetect": false } }), "", "<html>", None),
        (json!({ "contentType": { "autoDetect": true } }), "", "<html>", Some("text/html; charset=utf-8")),
        (json!({ "headers": { "frameDeny": true } }), "", "<html>", None),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = typed(spec.clone(), bytes.as_bytes());
        assert_eq!((answer.get("content-type"), answer.text()), (kind, body.trim().to_owned()), "{spec} {head}{body}");
    }
    for bodiless in ["204 No Content", "304 Not Modified"] {
        let answer = typed(on(), format!("HTTP/1.1 {bodiless}\r\n\r\n").as_bytes());
        assert_eq!(answer.get("content-type"), None, "{bodiless}");
    }
}

#[test]
fn content_type_looks_at_the_first_piece_of_a_stream_only() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::scripted("app", move |conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n<html>\n\r\n")?;
        let _ = wait.lock().unwrap().recv();
        conn.write("3\r\nend\r\n0\r\n\r\n")
    });
    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    objects.push(Middleware::new("m", json!({ "contentType": {} })).into());
    let gate = Headgate::start(&Manifests::of(objects));
    let mut client = gate.connect();
    client.send(request("GET", "/", HOST, &[], b""));
    let head = client.wire.head().unwrap().unwrap();
    assert_eq!(head.get("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(client.wire.chunk().unwrap(), b"<html>\n", "before the rest is there");
    go_on.send(()).unwrap();
    assert_eq!(client.wire.chunks().unwrap().0, b"end");
}

#[test]
fn content_type_leaves_heads_and_tunnels_alone() {
    let backend = Backend::scripted("app", |conn| {
        while let Some(request) = conn.request()? {
            if request.get("upgrade").is_some() {
                conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello")?;
                return Ok(());
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")?;
        }
        Ok(())
    });
    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple(HOST, "app").middlewares(&["m"]).into());
    objects.push(Middleware::new("m", json!({ "contentType": {} })).into());
    let gate = Headgate::start(&Manifests::of(objects));
    let head = gate.connect().send(request("HEAD", "/", HOST, &[], b"")).bodiless();
    assert_eq!((head.status, head.get("content-type"), head.get("content-length")), (200, None, Some("6")));
    let upgrade = request("GET", "/", HOST, &[("Connection", "upgrade"), ("Upgrade", "x")], b"");
    let mut client = gate.connect();
    let switched = client.send(upgrade).bodiless();
    assert_eq!((switched.status, switched.get("content-type")), (101, None));
    assert_eq!(client.rest(), b"hello");
}

#[test]
fn a_wrong_field_closes_the_route() {
    let m = |spec: Value| [Value::from(Middleware::new("m", spec))];
    for (what, spec) in [
        ("no prefix", json!({ "addPrefix": {} })),
        ("a prefix above the root", json!({ "addPrefix": { "prefix": "/../x" } })),
        ("an expression that is none", json!({ "stripPrefixRegex": { "regex": ["/a", "("] } })),
        ("a path above the root", json!({ "replacePath": { "path": "/.." } })),
        ("half an escape", json!({ "replacePath": { "path": "/100%" } })),
        ("no expression", json!({ "replacePathRegex": { "replacement": "/x" } })),
        ("look-around", json!({ "replacePathRegex": { "regex": "^/(?!x)", "replacement": "/x" } })),
        (
            "an expression that is too big",
            json!({ "redirectRegex": { "regex": "((a{1000}){1000}){1000}", "replacement": "/x" } }),
        ),
        ("a line break", json!({ "redirectRegex": { "regex": "x", "replacement": "/x\r\nSet-Cookie: a=b" } })),
        ("a plugin", json!({ "plugin": { "demo": { "a": 1 } } })),
    ] {
        closes(what, m(spec));
    }
}

#[test]
fn a_plugin_is_named() {
    let fixture = Fixture::one(json!({ "plugin": { "geoblock": { "countries": ["XX"] } } }));
    let said = fixture.start().api("/api/diagnostics").to_string();
    assert!(said.contains("it is a plugin of Traefik's (`geoblock`), and those can't be run here"), "{said}");
}
