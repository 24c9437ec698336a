use http::Method;

use super::*;
use crate::middleware::headers::tests::head;

fn run(prefix: &str, path: &str) -> String {
    let mut head = head(Method::GET, &format!("http://a.example{path}"));
    assert!(matches!(AddPrefix::new(prefix).unwrap().request(&mut head), Flow::Continue));
    assert!(head.headers.is_empty());
    let query = head.target.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", head.target.path())
}

#[test]
fn what_it_becomes() {
    for (prefix, path, becomes) in [
        ("/a", "/b?c=d", "/a/b?c=d"),
        ("a", "/", "/a/"),
        ("/a/", "/b", "/a/b"),
        ("//a//b", "/c", "/a/b/c"),
        ("/a", "/b%2Fc", "/a/b%2Fc"),
        ("/é ?", "/b", "/%C3%A9%20%3F/b"),
        ("/%41%2f/100%", "/b", "/A%2F/100%25/b"),
        ("/a/../b", "/c", "/b/c"),
        ("/a/.", "/c", "/a/c"),
        ("/", "/b", "/b"),
        ("/a", "/..b", "/a/..b"),
    ] {
        assert_eq!(run(prefix, path), becomes, "{prefix} {path}");
    }
}

#[test]
fn what_is_no_prefix() {
    for prefix in ["", "/..", "/a/../..", "/a\n", "/%00"] {
        assert_eq!(AddPrefix::new(prefix).unwrap_err().field, "prefix", "{prefix:?}");
    }
}
