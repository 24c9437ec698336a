//! Also holds what the tests of the other middlewares share.

use http::{Method, Request, Response, StatusCode};

use super::*;
use crate::{body::Body, target::Target};

/// A request for an absolute URL, from a client on this machine.
pub(crate) fn head(method: Method, url: &str) -> Head {
    let request = Request::builder().uri(url).body(()).unwrap();
    let uri = request.uri();
    Head {
        method,
        target: Target::new(uri.path_and_query().unwrap().clone()).unwrap(),
        headers: HeaderMap::new(),
        host: uri.host().unwrap().to_owned(),
        port: uri.port_u16(),
        upstream_host: None,
        secure: uri.scheme_str() == Some("https"),
        client: [127, 0, 0, 1].into(),
        peer: [127, 0, 0, 1].into(),
        client_certs: None,
        user: None,
    }
}

/// The status, headers and body of an answer that must be one.
pub(crate) fn answer_of(flow: Flow) -> (u16, HeaderMap, String) {
    let Flow::Respond(answer) = flow else { panic!("the request goes on") };
    let (parts, body) = answer.into_parts();
    let text = match body {
        Body::Empty => String::new(),
        Body::Full(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
        Body::Client(_) | Body::Stream(_) => panic!("a stream"),
    };
    (parts.status.as_u16(), parts.headers, text)
}

fn get(headers: &[(&'static str, &str)]) -> Head {
    let mut head = head(Method::GET, "http://a.example/");
    for (name, value) in headers {
        head.headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    head
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

/// Runs a request through, and a backend's answer with these headers back.
fn answered(options: &Options, head: &mut Head, backend: &[(&'static str, &'static str)]) -> HeaderMap {
    let headers = Headers::new(options).unwrap();
    assert!(matches!(headers.request(head), Flow::Continue));
    let mut parts = Response::new(()).into_parts().0;
    for (name, value) in backend {
        parts.headers.append(*name, HeaderValue::from_static(value));
    }
    headers.response(head, &mut parts);
    parts.headers
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn custom_request_headers() {
    let options = Options {
        custom_request_headers: pairs(&[
            ("X-Set", "new"),
            ("X-Gone", ""),
            ("X-Lines", "a\n  b\n"),
            ("Host", "inner.example:81"),
            ("X-Forwarded-For", ""),
            ("X-Forwarded-Proto", "https"),
        ]),
        ..Options::default()
    };
    let mut head =
        get(&[("x-set", "old"), ("x-set", "older"), ("x-gone", "1"), ("x-kept", "1"), ("x-forwarded-for", "1.1.1.1")]);
    answered(&options, &mut head, &[]);
    let all: Vec<(&str, &str)> = head.headers.iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
    for expected in [
        ("x-set", "new"),
        ("x-lines", "a   b"),
        ("x-kept", "1"),
        ("x-forwarded-for", ""),
        ("x-forwarded-proto", "https"),
    ] {
        assert!(all.contains(&expected), "{expected:?} in {all:?}");
    }
    assert_eq!(all.len(), 5);
    assert_eq!(head.upstream_host.unwrap(), "inner.example:81");
    assert_eq!(head.host, "a.example");
}

#[test]
fn an_empty_host_changes_nothing() {
    let options = Options { custom_request_headers: pairs(&[("host", "")]), ..Options::default() };
    let mut head = get(&[]);
    answered(&options, &mut head, &[]);
    assert_eq!((head.upstream_host, head.headers.len()), (None, 0));
}

#[test]
fn custom_response_headers_win_over_security_headers() {
    let options = Options {
        custom_response_headers: pairs(&[("X-Frame-Options", "ALLOWALL"), ("Server", ""), ("X-Café", "")]),
        ..Options::default()
    };
    assert_eq!(Headers::new(&options).unwrap_err().field, "customResponseHeaders.X-Café");
    let options = Options {
        custom_response_headers: pairs(&[("X-Frame-Options", "ALLOWALL"), ("Server", "")]),
        frame_deny: true,
        ..Options::default()
    };
    let headers = answered(&options, &mut get(&[]), &[("server", "a"), ("server", "b"), ("x-frame-options", "c")]);
    assert_eq!(text(&headers, "x-frame-options"), Some("ALLOWALL"));
    assert!(!headers.contains_key("server"));
}

#[test]
fn the_proxys_own_headers_are_refused() {
    for name in [
        "Connection",
        "content-length",
        "Transfer-Encoding",
        "Upgrade",
        "Keep-Alive",
        "TE",
        "Trailer",
        "Proxy-Authorization",
        "proxy-connection",
    ] {
        let request = Options { custom_request_headers: pairs(&[(name, "x")]), ..Options::default() };
        assert_eq!(Headers::new(&request).unwrap_err().field, format!("customRequestHeaders.{name}"));
        let response = Options { custom_response_headers: pairs(&[(name, "")]), ..Options::default() };
        assert_eq!(Headers::new(&response).unwrap_err().field, format!("customResponseHeaders.{name}"));
    }
    for (name, value) in [("Bad Name", "x"), ("", "x"), ("X:Y", "x"), ("X-A", "a\0b"), ("Host", "a b"), ("Host", "u@h")]
    {
        let options = Options { custom_request_headers: pairs(&[(name, value)]), ..Options::default() };
        assert_eq!(Headers::new(&options).unwrap_err().field, format!("customRequestHeaders.{name}"), "{value:?}");
    }
}

fn preflight(options: &Options, headers: &[(&'static str, &str)]) -> Option<HeaderMap> {
    let mut head = get(headers);
    head.method = Method::OPTIONS;
    match Headers::new(options).unwrap().request(&mut head) {
        Flow::Continue => None,
        flow => {
            let (status, headers, body) = answer_of(flow);
            assert_eq!((status, body.as_str(), text(&headers, "content-length")), (200, "", Some("0")));
            Some(headers)
        }
    }
}

const PREFLIGHT: [(&str, &str); 3] = [
    ("origin", "https://b.example"),
    ("access-control-request-method", "PUT"),
    ("access-control-request-headers", "x-a, x-b"),
];

#[test]
fn preflights() {
    let options = Options {
        access_control_allow_methods: list(&["GET", "PUT"]),
        access_control_allow_headers: list(&["X-A"]),
        access_control_allow_origin_list: list(&["https://b.example"]),
        access_control_max_age: Some(0),
        custom_response_headers: pairs(&[("X-Custom", "1")]),
        ..Options::default()
    };
    let headers = preflight(&options, &PREFLIGHT).unwrap();
    assert_eq!(text(&headers, "access-control-allow-origin"), Some("https://b.example"));
    assert_eq!(text(&headers, "access-control-allow-methods"), Some("GET,PUT"));
    assert_eq!(text(&headers, "access-control-allow-headers"), Some("X-A"));
    assert_eq!(text(&headers, "access-control-max-age"), Some("0"));
    assert_eq!(headers.len(), 5);

    let foreign = [("origin", "https://c.example"), PREFLIGHT[1]];
    let headers = preflight(&options, &foreign).unwrap();
    assert!(!headers.contains_key("access-control-allow-origin"));

    assert!(preflight(&options, &PREFLIGHT[..1]).is_none());
    assert!(preflight(&options, &PREFLIGHT[1..]).is_none());
    assert!(preflight(&Options { frame_deny: true, ..Options::default() }, &PREFLIGHT).is_none());
    let mut plain_get = get(&PREFLIGHT);
    assert!(matches!(Headers::new(&options).unwrap().request(&mut plain_get), Flow::Continue));
}

#[test]
fn any_origin_with_credentials_is_named() {
    let mut options = Options {
        access_control_allow_methods: list(&["*"]),
        access_control_allow_headers: list(&["*"]),
        access_control_allow_origin_list: list(&["*"]),
        ..Options::default()
    };
    let said = |options: &Options| {
        let headers = preflight(options, &PREFLIGHT).unwrap();
        ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"]
            .map(|name| text(&headers, name).unwrap().to_owned())
    };
    assert_eq!(said(&options), ["*", "*", "*"]);
    options.access_control_allow_credentials = true;
    assert_eq!(said(&options), ["https://b.example", "PUT", "x-a, x-b"]);
}

#[test]
fn cors_of_answers() {
    let options = Options {
        access_control_allow_origin_list: list(&["https://b.example"]),
        access_control_allow_origin_list_regex: list(&[r"^https://[a-z]+\.c\.example$"]),
        access_control_expose_headers: list(&["X-A", "X-B"]),
        access_control_allow_credentials: true,
        add_vary_header: true,
        ..Options::default()
    };
    let with =
        |origin: &str| answered(&options, &mut get(&[("origin", origin)]), &[("access-control-allow-origin", "mine")]);
    assert_eq!(text(&with("https://b.example"), "access-control-allow-origin"), Some("https://b.example"));
    assert_eq!(text(&with("https://x.c.example"), "access-control-allow-origin"), Some("https://x.c.example"));
    // The backend's own stays where nothing is said.
    assert_eq!(text(&with("https://x.c.example.evil"), "access-control-allow-origin"), Some("mine"));
    let headers = with("https://b.example");
    assert_eq!(text(&headers, "access-control-expose-headers"), Some("X-A,X-B"));
    assert_eq!(text(&headers, "access-control-allow-credentials"), Some("true"));
    assert_eq!(text(&headers, "vary"), Some("Origin"));
}

#[test]
fn any_origin_without_one() {
    let options = Options { access_control_allow_origin_list: list(&["*"]), ..Options::default() };
    assert_eq!(text(&answered(&options, &mut get(&[]), &[]), "access-control-allow-origin"), Some("*"));
}

#[test]
fn vary() {
    let options = Options { add_vary_header: true, ..Options::default() };
    for (before, after) in [
        (&[][..], "Origin"),
        (&["Accept-Encoding"], "Accept-Encoding,Origin"),
        (&["Accept-Encoding, origin"], "Accept-Encoding, origin"),
        (&["*"], "*"),
        (&["A", "B"], "A,B,Origin"),
    ] {
        let backend: Vec<(&'static str, &'static str)> = before.iter().map(|value| ("vary", *value)).collect();
        assert_eq!(text(&answered(&options, &mut get(&[]), &backend), "vary"), Some(after), "{before:?}");
    }
}

#[test]
fn regexes_are_bounded() {
    for pattern in ["(", r"\w{1000}{1000}"] {
        let options = Options { access_control_allow_origin_list_regex: list(&["a", pattern]), ..Options::default() };
        assert_eq!(Headers::new(&options).unwrap_err().field, "accessControlAllowOriginListRegex[1]");
    }
}

#[test]
fn allowed_hosts() {
    let options = Options {
        allowed_hosts: list(&["a.example", "B.example.:8080", "[::1]"]),
        hosts_proxy_headers: list(&["X-Host"]),
        custom_response_headers: pairs(&[("X-Custom", "1")]),
        ..Options::default()
    };
    let headers = Headers::new(&options).unwrap();
    for (url, header, ok) in [
        ("http://a.example/", "", true),
        ("http://a.example:8443/", "", true),
        ("http://b.example:8080/", "", true),
        ("http://b.example/", "", false),
        ("http://[::1]:80/", "", true),
        ("http://c.example/", "", false),
        ("http://c.example/", "A.Example", true),
        ("http://a.example/", "c.example", false),
    ] {
        let mut head = head(Method::GET, url);
        head.headers.insert("x-host", HeaderValue::from_static(header));
        match headers.request(&mut head) {
            Flow::Continue => assert!(ok, "{url} {header}"),
            flow => {
                assert!(!ok, "{url} {header}");
                let (status, headers, body) = answer_of(flow);
                assert_eq!((status, body.trim_end()), (StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "Bad Host"));
                assert_eq!(text(&headers, "x-custom"), Some("1"));
            }
        }
    }
    let development = Options { is_development: true, ..options };
    assert!(matches!(
        Headers::new(&development).unwrap().request(&mut head(Method::GET, "http://c.example/")),
        Flow::Continue
    ));
}

#[test]
fn strict_transport_security() {
    let sts = |options: &Options, url: &str| {
        let mut head = head(Method::GET, url);
        head.headers.insert("x-proto", HeaderValue::from_static("https"));
        text(&answered(options, &mut head, &[]), "strict-transport-security").map(str::to_owned)
    };
    let mut options =
        Options { sts_seconds: 60, sts_include_subdomains: true, sts_preload: true, ..Options::default() };
    let value = Some("max-age=60; includeSubDomains; preload".to_owned());
    assert_eq!(sts(&options, "https://a.example/"), value);
    assert_eq!(sts(&options, "http://a.example/"), None);
    options.ssl_proxy_headers = pairs(&[("X-Proto", "https")]);
    assert_eq!(sts(&options, "http://a.example/"), value);
    options.ssl_proxy_headers = pairs(&[("X-Proto", "HTTPS")]);
    assert_eq!(sts(&options, "http://a.example/"), None);
    options.force_sts_header = true;
    assert_eq!(sts(&options, "http://a.example/"), value);
    options.is_development = true;
    assert_eq!(sts(&options, "https://a.example/"), None);
    options = Options { sts_preload: true, force_sts_header: true, ..Options::default() };
    assert_eq!(sts(&options, "https://a.example/"), None);
    options.sts_seconds = -1;
    assert_eq!(Headers::new(&options).unwrap_err().field, "stsSeconds");
}

#[test]
fn security_headers() {
    let options = Options {
        frame_deny: true,
        content_type_nosniff: true,
        browser_xss_filter: true,
        content_security_policy: "default-src 'self';\n  img-src *\n".to_owned(),
        content_security_policy_report_only: "default-src 'none'".to_owned(),
        public_key: "pin".to_owned(),
        referrer_policy: "no-referrer".to_owned(),
        permissions_policy: "camera=()".to_owned(),
        ..Options::default()
    };
    let headers = answered(&options, &mut get(&[]), &[("x-frame-options", "backend")]);
    for (name, value) in [
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("x-xss-protection", "1; mode=block"),
        ("content-security-policy", "default-src 'self';   img-src *"),
        ("content-security-policy-report-only", "default-src 'none'"),
        ("public-key-pins", "pin"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=()"),
    ] {
        assert_eq!(text(&headers, name), Some(value), "{name}");
    }
    assert_eq!(headers.len(), 8);
    let custom = Options {
        custom_frame_options_value: "SAMEORIGIN".to_owned(),
        custom_browser_xss_value: "0".to_owned(),
        ..options
    };
    let headers = answered(&custom, &mut get(&[]), &[]);
    assert_eq!(text(&headers, "x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(text(&headers, "x-xss-protection"), Some("0"));
}
