use http::Method;
use proptest::prelude::*;

use super::*;
use crate::middleware::headers::tests::{answer_of, head};

/// The status and Location of the answer; `None` where the request goes on.
fn ask(regex: &str, replacement: &str, permanent: bool, method: Method, url: &str) -> Option<(u16, String)> {
    let mut head = head(method, url);
    match RedirectRegex::new(regex, replacement, permanent).unwrap().request(&mut head) {
        Flow::Around | Flow::Continue => None,
        Flow::Respond(answer) => {
            let location = answer.headers().get("location").map(|v| v.to_str().unwrap().to_owned());
            Some((answer.status().as_u16(), location.unwrap_or_default()))
        }
    }
}

fn location(regex: &str, replacement: &str, url: &str) -> Option<String> {
    let (status, location) = ask(regex, replacement, false, Method::GET, url)?;
    assert!(status == 302 || (status == 400 && location.is_empty()), "{status}");
    Some(if status == 302 { location } else { "400".to_owned() })
}

#[test]
fn where_it_leads() {
    for (regex, replacement, from, to) in [
        (
            r"^(?:http?:\/\/)(foo)(\.com)(:\d+)(.*)$",
            "https://${1}bar$2:443$4",
            "http://foo.com:80/",
            Some("https://foobar.com:443/"),
        ),
        (r"^(?:http?:\/\/)(foo)(\.com)(:\d+)(.*)$", "https://${1}bar$2:443$4", "http://bar.com:80/", None),
        ("^http://", "https://$1", "http://foo/x?y=1", Some("https://foo/x?y=1")),
        ("^http://(.*)", "https://$1", "http://foo:81/x?y=1", Some("https://foo:81/x?y=1")),
        ("https://foo", "http://foo", "https://foo/", Some("http://foo/")),
        ("http://foo:80", "http://foo:88", "http://foo:80/", Some("http://foo:88/")),
        ("http://foo:80", "http://foo:88", "http://foo/", None),
        (
            "^https?://www.old.com/(.*)",
            "https://new.com/$1",
            "https://www.old.com/a%2fb?c=d",
            Some("https://new.com/a%2Fb?c=d"),
        ),
        (
            "^https?://old.com(.*)",
            "https://new.com$1",
            "http://old.com//evil.com/x",
            Some("https://new.com/evil.com/x"),
        ),
        ("^http://[^/]+/(.*)", "/n/$1", "http://a/x", Some("/n/x")),
        ("^http://a/([^/]+)/(.*)", "https://$1.b.com/$2", "http://a/t/x", Some("https://t.b.com/x")),
        ("^http://a(/.*)", "//b.com$1", "http://a/x", Some("//b.com/x")),
        ("^http://a/(.*)", "app://open/$1", "http://a/x", Some("app://open/x")),
        ("^(.*)$", "$1", "http://a/x", None),
        ("^http://a/x$", "http://a/x#top", "http://a/x", Some("http://a/x#top")),
        (r"\?q=(.*)$", "/$1", "http://a/x?q=//b", Some("http://a/x///b")),
        (".*", "", "http://a/x", Some("400")),
    ] {
        assert_eq!(location(regex, replacement, from).as_deref(), to, "{regex} {replacement} {from}");
    }
}

#[test]
fn the_status_keeps_the_method() {
    for (permanent, method, status) in [
        (false, Method::GET, 302),
        (false, Method::HEAD, 307),
        (false, Method::POST, 307),
        (true, Method::GET, 301),
        (true, Method::POST, 308),
    ] {
        let got = ask("^http:", "https:", permanent, method.clone(), "http://a/");
        assert_eq!(got, Some((status, "https://a/".to_owned())), "{method} {permanent}");
    }
}

#[test]
fn a_path_does_not_choose_the_host() {
    for (regex, replacement, from) in [
        // Replacements that lack a slash.
        ("^http://a/(.*)", "https://new.com$1", "http://a/.evil.com/x"),
        ("^http://a/(.*)", "https://new.com$1", "http://a/@evil.com/x"),
        ("^http://a/(.*)", "https://new.com$1", "http://a/:80@evil.com/"),
        ("^http://a/(.*)", "https://new.com$1", "http://a/:8080/"),
        ("^http://a/([^/]*)", "https://new.com$1:443", "http://a/@evil.com/x"),
        ("^http://a/(.*)", "https:$1::", "http://a/evil.com"),
        // A name where a label was meant.
        ("^http://a/(.*)", "https://$1.new.com/", "http://a/evil.com/x"),
        (r"^http://a/.*to=(.*)", "https://$1.new.com/", "http://a/?to=evil.com?"),
        // Paths that become hosts.
        ("^http://a(/.*)", "/$1", "http://a/evil.com/x"),
        ("^http://a(/.*)", "https:/$1", "http://a/evil.com/x"),
        ("^http://a(/.*)", "https://$1", "http://a/evil.com/x"),
        (r"^http://a/x\?(.*)", "$1", "http://a/x?//evil.com/x"),
        ("^http://a/(.*)", "$1", "http://a/https:/evil.com/x"),
        ("^http://a/(.*)", "$1", "http://a/javascript:alert(1)"),
        ("^http://a/(.*)", "https://$1", "http://a/evil.com/x"),
    ] {
        assert_eq!(location(regex, replacement, from).as_deref(), Some("400"), "{regex} {replacement} {from}");
    }
}

#[test]
fn nothing_is_echoed_that_was_not_understood() {
    for host in ["", "a b", "a.example/x", "a@b", "[::1", "a\r\nSet-Cookie: x", "é"] {
        let mut head = head(Method::GET, "http://a.example/");
        head.host = host.to_owned();
        let (status, headers, _) = answer_of(RedirectRegex::new("^", "x", false).unwrap().request(&mut head));
        assert_eq!(status, 400, "{host:?}");
        assert!(!headers.contains_key("location"), "{host:?}");
    }
    let odd = "http://a/%0d%0aSet-Cookie:%20x/é\"<>\\^`{|}?q=\"é\\";
    let Ok(target) = odd.trim_start_matches("http://a").parse::<http::uri::PathAndQuery>() else { return };
    let mut head = head(Method::GET, "http://a/");
    head.target = crate::target::Target::new(target).unwrap();
    let (_, headers, _) = answer_of(RedirectRegex::new("^http:", "https:", false).unwrap().request(&mut head));
    let expected = "https://a/%0D%0ASet-Cookie:%20x/%C3%A9%22%3C%3E%5C%5E%60%7B%7C%7D?q=%22%C3%A9%5C";
    assert_eq!(headers["location"], expected);
}

#[test]
fn what_is_invalid() {
    for (regex, replacement, field) in [("", "/x", "regex"), ("(", "/x", "regex"), ("/a", "/b\n", "replacement")] {
        assert_eq!(RedirectRegex::new(regex, replacement, false).unwrap_err().field, field, "{regex} {replacement}");
    }
}

#[test]
fn a_location_that_grows_beyond_measure_is_refused() {
    let path = "a".repeat(300);
    assert_eq!(location("a", &"b".repeat(300), &format!("http://x/{path}")).as_deref(), Some("400"));
}

/// The host that a browser goes to, in the shortest of the WHATWG's rules; `None` for a path on the same host.
fn host_of_browser(location: &str) -> Option<String> {
    let rest = match location.split_once(':') {
        Some((scheme, rest)) if scheme.bytes().all(|b| b.is_ascii_alphanumeric()) => rest,
        _ if location.starts_with("//") => location,
        _ => return None,
    };
    let rest = rest.trim_start_matches(['/', '\\']);
    let authority = rest.split(['/', '\\', '?', '#']).next().unwrap();
    let host = authority.rsplit('@').next().unwrap();
    Some(host.split(':').next().unwrap().to_owned())
}

proptest! {
    #[test]
    fn no_path_leads_to_a_host_of_its_own(
        path in "/[ev./:@%?=]{0,12}",
        replacement in "(https?://n|//n|/|https:)[n/:@]{0,3}(\\$1|\\$2)[n/:@]{0,3}(\\$1|\\$2)?",
        slash in "/?",
    ) {
        let Ok(target) = path.parse::<http::uri::PathAndQuery>() else { return Ok(()) };
        let Ok(target) = crate::target::Target::new(target) else { return Ok(()) };
        let mut head = head(Method::GET, "http://host/");
        head.target = target;
        let regex = format!("^http://host{slash}([^/]*)(.*)$");
        let middleware = RedirectRegex::new(&regex, &replacement, false).unwrap();
        let Flow::Respond(answer) = middleware.request(&mut head) else { return Ok(()) };
        if let Some(location) = answer.headers().get("location") {
            let location = location.to_str().unwrap();
            // The author writes `n` only, the path has `e` and `v`: no host ends in the latter.
            let host = host_of_browser(location).unwrap_or_default();
            prop_assert!(!host.ends_with(['e', 'v']), "{} gives {}", path, location);
        }
    }
}
