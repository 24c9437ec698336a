use http::Method;

use super::*;
use crate::middleware::headers::tests::{answer_of, head};

fn redirect(scheme: &str, port: &str, permanent: bool) -> RedirectScheme {
    RedirectScheme::new(Some(scheme), Some(port), permanent).unwrap()
}

/// The status and Location of the answer; `None` where the request goes on.
fn run(redirect: RedirectScheme, url: &str, method: Method) -> Option<(u16, String)> {
    let mut head = head(method, url);
    match redirect.request(&mut head) {
        Flow::Around | Flow::Continue => None,
        Flow::Respond(answer) => {
            let location = answer.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
            Some((answer.status().as_u16(), location.unwrap_or_default()))
        }
    }
}

#[test]
fn where_it_leads() {
    for (scheme, port, from, to) in [
        ("https", "", "http://a.example/x?y=1", Some("https://a.example/x?y=1")),
        ("https", "443", "http://a.example/", Some("https://a.example/")),
        ("https", "8443", "http://a.example/", Some("https://a.example:8443/")),
        ("HTTPS", "", "http://a.example:8080/", Some("https://a.example/")),
        ("https", "", "http://[::1]:8080/", Some("https://[::1]/")),
        ("http", "80", "https://a.example/", Some("http://a.example/")),
        ("https", "", "https://a.example/", None),
        ("https", "", "https://a.example:443/", None),
        ("https", "8443", "https://a.example:8443/", None),
        ("https", "8443", "https://a.example/", Some("https://a.example:8443/")),
        ("https", "", "https://a.example:8443/", Some("https://a.example/")),
        ("http", "", "http://a.example:80/", None),
    ] {
        let got = run(redirect(scheme, port, false), from, Method::GET);
        assert_eq!(got, to.map(|to| (302, to.to_owned())), "{from} to {scheme} {port}");
    }
}

#[test]
fn the_status_keeps_the_method() {
    for (permanent, method, status) in [
        (false, Method::GET, 302),
        (false, Method::POST, 307),
        (false, Method::HEAD, 307),
        (true, Method::GET, 301),
        (true, Method::PUT, 308),
    ] {
        let got = run(redirect("https", "", permanent), "http://a.example/", method.clone());
        assert_eq!(got.map(|(status, _)| status), Some(status), "{method} {permanent}");
    }
    let mut head = head(Method::GET, "http://a.example/");
    let (status, _, body) = answer_of(redirect("https", "", false).request(&mut head));
    assert_eq!((status, body.as_str()), (302, "Found"));
}

#[test]
fn the_path_is_the_normalised_one() {
    for (path, to) in [
        ("/a/../../b//c", "/b/c"),
        ("//evil.example/x", "/evil.example/x"),
        ("/%61%0d%0aSet-Cookie:x", "/a%0D%0ASet-Cookie:x"),
        ("/a\"<>{}|^`b?q=\"{", "/a%22%3C%3E%7B%7D%7C%5E%60b?q=%22%7B"),
        ("/é", "/%C3%A9"),
    ] {
        // Some of these are refused by the parser of targets already; then there is nothing to redirect.
        let Ok(target) = path.parse::<http::uri::PathAndQuery>() else { continue };
        let mut head = head(Method::GET, "http://a.example/");
        head.target = crate::target::Target::new(target).unwrap();
        let Flow::Respond(answer) = redirect("https", "", false).request(&mut head) else { panic!("{path}") };
        assert_eq!(answer.headers()["location"], format!("https://a.example{to}"), "{path}");
    }
}

#[test]
fn a_host_that_is_none_is_refused() {
    for host in ["", "a b", "a.example/x", "a@b", "a:b", "[::1", "[]", "a\r\nSet-Cookie: x", "é", "%0d"] {
        let mut head = head(Method::GET, "http://a.example/");
        head.host = host.to_owned();
        let (status, headers, _) = answer_of(redirect("https", "", false).request(&mut head));
        assert_eq!(status, 400, "{host:?}");
        assert!(!headers.contains_key("location"), "{host:?}");
    }
}

#[test]
fn invalid_fields() {
    for (scheme, port, field) in [
        (None, None, "scheme"),
        (Some(""), None, "scheme"),
        (Some("ftp"), None, "scheme"),
        (Some("https"), Some("0"), "port"),
        (Some("https"), Some("65536"), "port"),
        (Some("https"), Some("https"), "port"),
    ] {
        assert_eq!(RedirectScheme::new(scheme, port, false).unwrap_err().field, field, "{scheme:?} {port:?}");
    }
}
