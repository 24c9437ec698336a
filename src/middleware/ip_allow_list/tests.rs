use http::{HeaderValue, Method};

use super::{
    super::headers::tests::{answer_of, head},
    *,
};

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

fn from(client: &str) -> Head {
    let mut head = head(Method::GET, "http://a.test/");
    head.client = client.parse().unwrap();
    head
}

#[test]
fn only_those_on_the_list_pass() {
    let allowed = list(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]);
    let middleware = IpAllowList::new(&allowed, Strategy::default(), None).unwrap();
    for client in ["10.1.2.3", "192.0.2.1", "2001:db8::7", "::ffff:10.0.0.1"] {
        assert!(matches!(middleware.request(&from(client)), Flow::Continue), "{client}");
    }
    for client in ["11.0.0.1", "192.0.2.2", "2001:db9::7", "::1"] {
        let (status, headers, body) = answer_of(middleware.request(&from(client)));
        assert_eq!((status, body.as_str()), (403, "Forbidden"), "{client}");
        assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
    }
}

#[test]
fn a_client_that_is_not_known_is_refused() {
    let strategy = Strategy::Depth { skip: 1, ipv6_prefix: None };
    let middleware = IpAllowList::new(&list(&["0.0.0.0/0", "::/0"]), strategy, None).unwrap();
    let mut request = from("10.0.0.1");
    assert_eq!(answer_of(middleware.request(&request)).0, 403);
    request.headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1, 192.0.2.2"));
    assert!(matches!(middleware.request(&request), Flow::Continue));
}

#[test]
fn the_refusal_has_the_status_that_is_asked_for() {
    let refused = |status: i64| {
        let middleware = IpAllowList::new(&list(&["10.0.0.1"]), Strategy::default(), Some(status)).unwrap();
        let (status, headers, body) = answer_of(middleware.request(&from("10.0.0.2")));
        (status, headers.contains_key(header::CONTENT_TYPE), body)
    };
    for (asked, status, body) in [
        (0, 403, "Forbidden"),
        (404, 404, "Not Found"),
        (418, 418, "I'm a teapot"),
        (425, 425, "Too Early"),
        (503, 503, "Service Unavailable"),
        (302, 302, "Found"),
    ] {
        assert_eq!(refused(asked), (status, true, body.to_owned()));
    }
    for bodiless in [204, 304] {
        assert_eq!(refused(bodiless), (u16::try_from(bodiless).unwrap(), false, String::new()));
    }
}

#[test]
fn what_is_wrong_is_said() {
    let wrong = |entries: &[&str], status: Option<i64>| {
        IpAllowList::new(&list(entries), Strategy::default(), status).unwrap_err().field
    };
    assert_eq!(wrong(&[], None), "sourceRange");
    assert_eq!(wrong(&["10.0.0.1", "10.0.0.0/33"], None), "sourceRange[1]");
    for status in [-1, 1, 99, 100, 101, 299, 418_000, 600, 999, i64::MAX] {
        assert_eq!(wrong(&["10.0.0.1"], Some(status)), "rejectStatusCode", "{status}");
    }
}
