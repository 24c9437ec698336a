use http::Method;
use proptest::prelude::*;

use super::*;
use crate::{
    middleware::headers::tests::{answer_of, head},
    target::{AboveRoot, normalise},
};

/// The path after it, with the query, and X-Replaced-Path; an answer's status where the request doesn't go on.
fn run(regex: &str, replacement: &str, path: &str) -> Result<(String, Option<String>), u16> {
    let mut head = head(Method::GET, &format!("http://a.example{path}"));
    match ReplacePathRegex::new(regex, replacement).unwrap().request(&mut head) {
        Flow::Continue => {
            let query = head.target.query().map(|query| format!("?{query}")).unwrap_or_default();
            let told = head.headers.get("x-replaced-path").map(|v| v.to_str().unwrap().to_owned());
            Ok((format!("{}{query}", head.target.path()), told))
        }
        flow => {
            let (status, _, body) = answer_of(flow);
            assert_eq!(body, "");
            Err(status)
        }
    }
}

#[test]
fn what_it_becomes() {
    for (regex, replacement, path, becomes, told) in [
        ("^/old/(.*)", "/new/$1", "/old/x?y=/old/", "/new/x?y=/old/", Some("/old/x")),
        ("^/old/(.*)", "/new/$1", "/other", "/other", None),
        ("^/old/(.*)", "/new/$1", "/old/a%2fb%20c", "/new/a%2Fb%20c", Some("/old/a%2Fb%20c")),
        (" ^/old ", " /new\n", "/old/x", "/new/x", Some("/old/x")),
        ("/who", "/i", "/who/and/who", "/i/and/i", Some("/who/and/who")),
        ("/who", "", "/who/and/who", "/and", Some("/who/and/who")),
        ("^/(.*)", "/$1", "/x", "/x", Some("/x")),
        ("^/(.*)", "/x?y=$1 é", "/a?b=1", "/x%3Fy=a%20%C3%A9?b=1", Some("/a")),
        ("^/api", "", "/api", "/", Some("/api")),
        ("^/a/", "", "/a/b", "/b", Some("/a/b")),
        (
            r"^(?i)/downloads/([^/]+)/([^/]+)$",
            "/downloads/$1-$2",
            "/Downloads/a/b",
            "/downloads/a-b",
            Some("/Downloads/a/b"),
        ),
        ("/aaa/bbb", "/x", "/aaa%2Fbbb", "/aaa%2Fbbb", None),
        ("/$", "", "/a/", "/a", Some("/a/")),
    ] {
        let told = told.map(str::to_owned);
        assert_eq!(run(regex, replacement, path), Ok((becomes.to_owned(), told)), "{regex} {replacement} {path}");
    }
}

#[test]
fn what_has_no_reading_is_refused() {
    for (regex, replacement, path) in [
        ("^/api(.*)", "$1", "/api../x"),
        ("25", "", "/%252e%252e/x"),
        ("^/(.*)", "/../$1", "/x"),
        ("25", "00", "/%25"),
        ("5", "zz", "/%25"),
    ] {
        assert_eq!(run(regex, replacement, path), Err(400), "{regex} {replacement} {path}");
    }
}

#[test]
fn what_is_invalid() {
    for (regex, replacement, field) in
        [("", "/x", "regex"), ("(", "/x", "regex"), ("/a", "/%zz", "replacement"), ("/a", "/b\u{7}c", "replacement")]
    {
        assert_eq!(ReplacePathRegex::new(regex, replacement).unwrap_err().field, field, "{regex} {replacement}");
    }
}

proptest! {
    #[test]
    fn the_result_is_always_normal(replacement in "[a-b./%2F$1{}?# ]{0,8}", path in "/[a-b./%2F]{0,10}") {
        let Ok(path) = path.parse::<http::uri::PathAndQuery>() else { return Ok(()) };
        let Ok(target) = crate::target::Target::new(path) else { return Ok(()) };
        let Ok(middleware) = ReplacePathRegex::new("(a|%2F)b?", &replacement) else { return Ok(()) };
        let mut head = head(Method::GET, "http://a.example/");
        head.target = target;
        if matches!(middleware.request(&mut head), Flow::Continue) {
            let left = head.target.path();
            prop_assert_eq!(&*normalise(left, AboveRoot::Refuse).unwrap(), left);
            prop_assert!(!left.contains(['?', '#', ' ']));
        }
    }
}
