use http::Method;
use proptest::prelude::*;

use super::*;
use crate::{
    middleware::headers::tests::{answer_of, head},
    target::{AboveRoot, normalise},
};

/// The path and X-Forwarded-Prefix after it; an answer's status where the request doesn't go on.
fn run(expressions: &[&str], path: &str) -> Result<(String, Option<String>), u16> {
    let mut head = head(Method::GET, &format!("http://a.example{path}"));
    match StripPrefixRegex::new(expressions).unwrap().request(&mut head) {
        Flow::Continue => {
            let told = head.headers.get("x-forwarded-prefix").map(|v| v.to_str().unwrap().to_owned());
            Ok((head.target.path().to_owned(), told))
        }
        flow => {
            let (status, _, body) = answer_of(flow);
            assert_eq!(body, "");
            Err(status)
        }
    }
}

#[test]
fn what_is_stripped() {
    let three = &["/a/api/", "/b/([a-z0-9]+)/", "/c/[a-z0-9]+/[0-9]+/"][..];
    for (expressions, path, left, told) in [
        (three, "/a/test", "/a/test", None),
        (three, "/a/api/", "/", Some("/a/api/")),
        (three, "/a/api/test/", "/test/", Some("/a/api/")),
        (three, "/b/api", "/b/api", None),
        (three, "/b/api2/test2", "/test2", Some("/b/api2/")),
        (three, "/c/api/123/test3", "/test3", Some("/c/api/123/")),
        (three, "/c/api/abc/test4", "/c/api/abc/test4", None),
        (three, "/a/api/a%2Fb", "/a%2Fb", Some("/a/api/")),
        (&["/v[0-9]+"], "/x/v1/y", "/x/v1/y", None),
        (&["/v[0-9]+"], "/v1/v2", "/v2", Some("/v1")),
        (&["/v[0-9]+"], "/v1%2Fx", "/%2Fx", Some("/v1")),
        (&["/v[0-9]+"], "/%76%31/x", "/x", Some("/v1")),
        (&[" /t/(a|b) "], "/t/a/x", "/x", Some("/t/a")),
        (&["a*", "/b"], "/b/c", "/c", Some("/b")),
        (&["/.."], "/%2Fx", "/%2Fx", None),
        (&["/..."], "/%2Fx", "/x", Some("/%2F")),
        (&[], "/x", "/x", None),
    ] {
        let told = told.map(str::to_owned);
        assert_eq!(run(expressions, path), Ok((left.to_owned(), told)), "{expressions:?} {path}");
    }
}

#[test]
fn what_leaves_the_root_is_refused() {
    assert_eq!(run(&["/v[0-9]+"], "/v1../x"), Err(400));
}

#[test]
fn what_is_invalid() {
    for (expressions, field) in [(vec!["/a", "("], "regex[1]"), (vec![" "], "regex[0]"), (vec!["/a"; 101], "regex")] {
        assert_eq!(StripPrefixRegex::new(expressions).unwrap_err().field, field);
    }
}

proptest! {
    #[test]
    fn the_rest_is_always_normal(expression in "/[ab.]{0,4}", path in "/[a-b./%2F]{0,10}") {
        let Ok(path) = path.parse::<http::uri::PathAndQuery>() else { return Ok(()) };
        let Ok(target) = crate::target::Target::new(path) else { return Ok(()) };
        let mut head = head(Method::GET, "http://a.example/");
        head.target = target;
        if matches!(StripPrefixRegex::new([expression]).unwrap().request(&mut head), Flow::Continue) {
            let left = head.target.path();
            prop_assert_eq!(&*normalise(left, AboveRoot::Refuse).unwrap(), left);
        }
    }
}
