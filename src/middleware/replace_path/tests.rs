use http::Method;

use super::*;
use crate::middleware::headers::tests::head;

#[test]
fn what_it_becomes() {
    for (path, old, becomes, told) in [
        ("/new", "/x?y=1", "/new?y=1", "/x"),
        ("new", "/x", "/new", "/x"),
        ("", "/x", "/", "/x"),
        ("/new", "/a%2fb%20c", "/new", "/a%2Fb%20c"),
        ("/a%2Fb", "/x", "/a%2Fb", "/x"),
        ("/new?x=1#y z", "/x?k=1", "/new%3Fx=1%23y%20z?k=1", "/x"),
        ("/a/../b//c", "/x", "/b/c", "/x"),
        ("/new", "/new", "/new", "/new"),
    ] {
        let mut head = head(Method::GET, &format!("http://a.example{old}"));
        assert!(matches!(ReplacePath::new(path).unwrap().request(&mut head), Flow::Continue));
        let query = head.target.query().map(|query| format!("?{query}")).unwrap_or_default();
        assert_eq!(format!("{}{query}", head.target.path()), becomes, "{path}");
        assert_eq!(head.headers["x-replaced-path"], told, "{path}");
    }
}

#[test]
fn each_replacement_is_told() {
    let mut head = head(Method::GET, "http://a.example/x");
    for path in ["/one", "/two"] {
        assert!(matches!(ReplacePath::new(path).unwrap().request(&mut head), Flow::Continue));
    }
    let told: Vec<_> = head.headers.get_all("x-replaced-path").iter().collect();
    assert_eq!(told, ["/x", "/one"]);
}

#[test]
fn what_is_no_path() {
    for path in ["/..", "/a/../../b", "/a%zz", "/100%", "/%00", "/a\tb"] {
        assert_eq!(ReplacePath::new(path).unwrap_err().field, "path", "{path:?}");
    }
}
