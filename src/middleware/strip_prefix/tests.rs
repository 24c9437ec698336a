use http::Method;
use proptest::prelude::*;

use super::*;
use crate::middleware::headers::tests::{answer_of, head};

/// The path and X-Forwarded-Prefix after it; an answer's status where the request doesn't go on.
fn run(prefixes: &[&str], path: &str) -> Result<(String, Vec<String>), u16> {
    let mut head = head(Method::GET, &format!("http://a.example{path}"));
    match StripPrefix::new(prefixes).unwrap().request(&mut head) {
        Flow::Continue => {
            let told = head.headers.get_all("x-forwarded-prefix").iter();
            let told = told.map(|v| std::str::from_utf8(v.as_bytes()).unwrap().to_owned()).collect();
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
    for (prefixes, path, left, told) in [
        (&["/api"][..], "/api/x", "/x", Some("/api")),
        (&["/api"], "/api", "/", Some("/api")),
        (&["/api"], "/apiary", "/ary", Some("/api")),
        (&["/api/"], "/api/x", "/x", Some("/api/")),
        (&["/api/"], "/api", "/api", None),
        (&["/api"], "/API/x", "/API/x", None),
        (&["/b", "/a", "/a/b"], "/a/b/c", "/b/c", Some("/a")),
        (&["api"], "/api", "/api", None),
        (&[], "/api", "/api", None),
        (&["", "/api"], "/api/x", "/x", Some("/api")),
        (&["/"], "/x", "/x", Some("/")),
        (&["/api "], "/api%20x", "/x", Some("/api")),
        (&["/é"], "/%c3%a9/x", "/x", Some("/é")),
        (&["/%c3%A9"], "/%C3%a9/x", "/x", Some("/%c3%A9")),
        (&["/%61"], "/a/x", "/x", Some("/%61")),
        (&["/a{b}"], "/a{b}/x", "/x", Some("/a{b}")),
        (&["/a{b}"], "/a%7Bb%7d/x", "/x", Some("/a{b}")),
        (&["/a%2"], "/a%2Fb", "/a%2Fb", None),
        (&["/a/b"], "/a%2Fb/x", "/a%2Fb/x", None),
        (&["/a%2fb"], "/a%2Fb/x", "/x", Some("/a%2fb")),
    ] {
        let told = told.map(str::to_owned).into_iter().collect::<Vec<_>>();
        assert_eq!(run(prefixes, path), Ok((left.to_owned(), told)), "{prefixes:?} {path}");
    }
}

#[test]
fn what_leaves_the_root_is_refused() {
    assert_eq!(run(&["/api"], "/api../x"), Err(400));
}

#[test]
fn prefixes_add_up_and_the_query_stays() {
    let mut head = head(Method::GET, "http://a.example/a/b/c?q=/a");
    for prefix in ["/a", "/b"] {
        assert!(matches!(StripPrefix::new([prefix]).unwrap().request(&mut head), Flow::Continue));
    }
    let told: Vec<&HeaderValue> = head.headers.get_all("x-forwarded-prefix").iter().collect();
    assert_eq!(told, ["/a", "/b"]);
    assert_eq!((head.target.path(), head.target.query()), ("/c", Some("q=/a")));
}

#[test]
fn a_prefix_no_path_can_have() {
    assert_eq!(StripPrefix::new(["/a", "/b\nc"]).unwrap_err().field, "prefixes[1]");
}

proptest! {
    #[test]
    fn the_rest_is_always_normal(prefix in "/[a-b./%2F]{0,4}", path in "/[a-b./%2F]{0,10}") {
        let Ok(path) = path.parse::<http::uri::PathAndQuery>() else { return Ok(()) };
        let Ok(target) = crate::target::Target::new(path) else { return Ok(()) };
        let mut head = head(Method::GET, "http://a.example/");
        head.target = target;
        if matches!(StripPrefix::new([prefix]).unwrap().request(&mut head), Flow::Continue) {
            let left = head.target.path();
            prop_assert_eq!(&*crate::target::normalise(left, crate::target::AboveRoot::Refuse).unwrap(), left);
        }
    }
}
