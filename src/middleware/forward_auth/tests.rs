use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use proptest::prelude::*;

use super::*;
use crate::{
    body::{BodyError, BodyKind},
    middleware::{
        Head, Middleware, Permits, Spent,
        headers::tests::head,
        upstream::tests::{Fake, Seen, service},
    },
};

const ADDRESS: &str = "http://auth.test:81/verify?from=gate";

fn defaults() -> Options {
    Options { max_body_size: -1, max_response_body_size: -1, ..Options::default() }
}

fn build(options: &Options) -> Result<ForwardAuth, InvalidField> {
    ForwardAuth::new(service("auth"), Address::parse(ADDRESS).unwrap(), options)
}

fn list(items: &[&str]) -> Vec<String> {
    items.iter().map(|item| (*item).to_owned()).collect()
}

fn answer(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        answer.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    answer
}

/// A body that comes in these pieces.
fn pieces(pieces: &[&'static str]) -> Body {
    let frames: Vec<_> =
        pieces.iter().map(|p| Ok::<_, BodyError>(Frame::data(Bytes::from_static(p.as_bytes())))).collect();
    Body::stream(StreamBody::new(stream::iter(frames)))
}

/// A body that breaks off.
fn broken() -> Body {
    let frames = [Ok(Frame::data(Bytes::from_static(b"a"))), Err(BodyError::Incomplete)];
    Body::stream(StreamBody::new(stream::iter(frames)))
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

impl Seen {
    fn all(&self, name: &str) -> Vec<&str> {
        all(&self.head.headers, name)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(self.body.as_deref().unwrap()).unwrap()
    }
}

/// A request and what comes of it.
struct Case {
    options: Options,
    head: Head,
    body: Body,
    kind: BodyKind,
    verdict: Response<Body>,
    backend: Response<Body>,
}

struct Outcome {
    status: u16,
    headers: HeaderMap,
    body: Result<String, BodyError>,
    asked: Vec<Seen>,
    reached: Vec<Seen>,
}

impl Outcome {
    #[track_caller]
    fn asked(&self) -> &Seen {
        assert_eq!(self.asked.len(), 1);
        &self.asked[0]
    }

    #[track_caller]
    fn reached(&self) -> &Seen {
        assert_eq!((self.reached.len(), self.status), (1, 200));
        &self.reached[0]
    }

    fn all(&self, name: &str) -> Vec<&str> {
        all(&self.headers, name)
    }
}

impl Case {
    fn new(options: Options) -> Self {
        Self {
            options,
            head: head(Method::GET, "http://app.test/a/b?c=d"),
            body: Body::Empty,
            kind: BodyKind::None,
            verdict: answer(200, &[], ""),
            backend: answer(200, &[], "app"),
        }
    }

    fn sending(mut self, headers: &[(&str, &str)]) -> Self {
        self.head.headers = answer(200, headers, "").into_parts().0.headers;
        self
    }

    fn with_body(mut self, method: Method, body: Body, kind: BodyKind) -> Self {
        (self.head.method, self.body, self.kind) = (method, body, kind);
        self
    }

    fn verdict(mut self, status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Self {
        self.verdict = answer(status, headers, body);
        self
    }

    fn backend(mut self, headers: &[(&str, &str)]) -> Self {
        self.backend = answer(200, headers, "app");
        self
    }

    fn run(self) -> Outcome {
        let middleware = Middleware::ForwardAuth(Arc::new(build(&self.options).unwrap()));
        let mut fake = Fake { answers: [self.backend].into(), fetched: [self.verdict].into(), ..Fake::default() };
        let upgrade = self.head.headers.contains_key("upgrade");
        let mut request = Request {
            head: self.head,
            body: self.body,
            kind: self.kind,
            upgrade,
            trailers: false,
            permits: Permits::new(),
            spent: Spent::default(),
        };
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let (parts, body) = fake.run(&middleware, &mut request).await.into_parts();
            let body = match body.collect().await {
                Ok(body) => Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap()),
                Err(error) => Err(error),
            };
            let (asked, reached) = fake.seen.into_iter().partition(|seen| seen.service.is_some());
            Outcome { status: parts.status.as_u16(), headers: parts.headers, body, asked, reached }
        })
    }
}

#[test]
fn the_question_is_a_get_about_the_request() {
    let mut case = Case::new(defaults()).sending(&[
        ("cookie", "session=1"),
        ("authorization", "Bearer x"),
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("content-type", "text/plain"),
    ]);
    case = case.with_body(Method::POST, pieces(&["the ", "body"]), BodyKind::Chunked);
    let outcome = case.run();
    let asked = outcome.asked();
    assert_eq!((&asked.head.method, asked.service.as_deref()), (&Method::GET, Some("default/auth:80")));
    assert_eq!((asked.head.target.path(), asked.head.target.query()), ("/verify", Some("from=gate")));
    assert_eq!(asked.head.upstream_host.as_ref().unwrap(), "auth.test:81");
    assert_eq!((asked.text(), asked.kind), ("", BodyKind::None));
    assert_eq!(asked.all("cookie"), ["session=1"]);
    assert_eq!(asked.all("authorization"), ["Bearer x"]);
    assert_eq!(asked.all("x-forwarded-method"), ["POST"]);
    assert_eq!(asked.all("x-forwarded-uri"), ["/a/b?c=d"]);
    let reached = outcome.reached();
    assert_eq!((&reached.head.method, reached.head.target.path()), (&Method::POST, "/a/b"));
    assert_eq!((reached.text(), reached.kind), ("the body", BodyKind::Chunked));
    assert_eq!((reached.all("x-forwarded-method"), &reached.head.upstream_host), (vec![], &None));
    assert_eq!(outcome.body.unwrap(), "app");
}

#[test]
fn it_is_asked_by_the_requests_method_if_that_is_wanted() {
    let options = Options { preserve_request_method: true, ..defaults() };
    for (method, kind) in [
        (Method::GET, BodyKind::None),
        (Method::HEAD, BodyKind::None),
        (Method::DELETE, BodyKind::None),
        (Method::POST, BodyKind::Length(0)),
        (Method::PUT, BodyKind::Length(0)),
    ] {
        let outcome = Case::new(options.clone()).with_body(method.clone(), "x".into(), BodyKind::Length(1)).run();
        let asked = outcome.asked();
        assert_eq!((&asked.head.method, asked.kind, asked.text()), (&method, kind, ""));
        assert_eq!(asked.all("x-forwarded-method"), [method.as_str()]);
    }
}

#[test]
fn forwarded_headers_of_a_trusted_peer() {
    let sent = [
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "outer.test"),
        ("x-forwarded-uri", "/outer"),
        ("x-forwarded-method", "PUT"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-tls-client-cert", "abc"),
        ("x-forwarded-prefix", "/p"),
        ("x-other", "1"),
        ("x-real-ip", "1.2.3.4"),
        ("x_forwarded_uri", "/odd"),
        ("x-forwarded.port", "1"),
        ("x_real_ip", "1.2.3.4"),
    ];
    let ours = ("x-forwarded-uri", "/a/b?c=d");
    let seen = |trust, only: &[&str]| {
        let options = Options { trust_forward_header: trust, auth_request_headers: list(only), ..defaults() };
        let outcome = Case::new(options).sending(&sent).run();
        let mut seen: Vec<(String, String)> = outcome
            .asked()
            .head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
            .collect();
        seen.sort_unstable();
        let reached: Vec<_> = sent.iter().filter(|(name, value)| outcome.reached().all(name) == [*value]).collect();
        assert_eq!(reached.len(), sent.len(), "the request itself is as it was");
        seen
    };
    let sorted = |pairs: &[(&str, &str)]| {
        let mut pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        pairs.sort_unstable();
        pairs
    };
    let (method, prefix, other) = (("x-forwarded-method", "GET"), ("x-forwarded-prefix", "/p"), ("x-other", "1"));
    assert_eq!(seen(Some(true), &[]), sorted(&sent));
    assert_eq!(seen(Some(false), &[]), sorted(&[ours, method, other]));
    assert_eq!(seen(None, &[]), sorted(&[ours, method, prefix, other, sent[5], sent[6], sent[9]]));
    assert_eq!(
        seen(Some(true), &["X-Other"]),
        sorted(&[sent[0], sent[1], sent[2], sent[3], sent[4], sent[5], sent[6], other])
    );
    assert_eq!(seen(Some(false), &["X-Other", "x-other", "X-None"]), sorted(&[ours, method, other]));
    assert_eq!(seen(Some(false), &["X-Real-Ip", "X_Forwarded_Uri"]), sorted(&[ours, method]));
    assert_eq!(
        seen(None, &["x-other", "X-Forwarded-Port", "X-Forwarded-For"]),
        sorted(&[ours, method, other, sent[5]])
    );
}

#[test]
fn what_the_server_says_replaces_what_the_client_says() {
    let options = Options {
        auth_response_headers: list(&["X-User", "X-Groups", "X_Groups", "x-user"]),
        auth_response_headers_regex: Some("^X-Auth-".to_owned()),
        header_field: Some("X-Name".to_owned()),
        ..defaults()
    };
    let forged = [
        ("X-User", "root"),
        ("x_user", "root"),
        ("x.user", "root"),
        ("x-groups", "root"),
        ("X-Auth-Role", "root"),
        ("x_auth_role", "root"),
        ("x-auth.level", "root"),
        ("x-name", "me"),
        ("authority", "kept"),
    ];
    let outcome = Case::new(options.clone())
        .sending(&forged)
        .verdict(
            204,
            &[("X-User", "anna"), ("X-User", "second"), ("X-Auth-Level", "1"), ("x-name", "Anna"), ("x-more", "1")],
            "",
        )
        .run();
    let reached = outcome.reached();
    assert_eq!(reached.all("x-user"), ["anna", "second"]);
    assert_eq!(reached.all("x-auth-level"), ["1"]);
    assert_eq!(
        (reached.all("x-name"), reached.all("authority"), reached.head.headers.len()),
        (vec!["me"], vec!["kept"], 5)
    );
    assert_eq!(reached.head.user.as_deref(), Some("Anna"));

    let outcome = Case::new(options).sending(&forged).run();
    let reached = outcome.reached();
    assert_eq!(
        reached.head.headers.len(),
        2,
        "none of them survives where the server sends none: {:?}",
        reached.head.headers
    );
    assert_eq!(reached.head.user, None);
}

#[test]
fn a_pattern_is_read_as_go_reads_it() {
    for (pattern, fits) in
        [(r"^\QX-Auth.\E", false), (r"^\Qx-auth-\E", true), (r"^X-\w{4}-", true), ("^X-[[:alpha:]]+-", true)]
    {
        let options = Options { auth_response_headers_regex: Some(pattern.to_owned()), ..defaults() };
        let outcome = Case::new(options).verdict(200, &[("x-auth-level", "1")], "").run();
        assert_eq!(outcome.reached().all("x-auth-level").len(), usize::from(fits), "{pattern}");
    }
}

#[test]
fn a_pattern_for_everything_spares_what_is_not_the_servers_to_say() {
    let options = Options { auth_response_headers_regex: Some(".".to_owned()), ..defaults() };
    let outcome = Case::new(options)
        .sending(&[("host", "app.test"), ("content-length", "3"), ("cookie", "a=1")])
        .with_body(Method::POST, "abc".into(), BodyKind::Length(3))
        .verdict(200, &[("content-length", "0"), ("connection", "close"), ("host", "evil"), ("x-any", "1")], "")
        .run();
    let reached = outcome.reached();
    assert_eq!((reached.all("host"), reached.all("content-length")), (vec!["app.test"], vec!["3"]));
    assert_eq!((reached.all("connection"), reached.all("cookie"), reached.all("x-any")), (vec![], vec![], vec!["1"]));
}

#[test]
fn a_refusal_is_the_clients_answer() {
    for status in [300, 302, 400, 401, 403, 404, 429, 500, 503] {
        let outcome = Case::new(defaults())
            .verdict(
                status,
                &[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("www-authenticate", "Bearer")],
                pieces(&["go ", "away"]),
            )
            .run();
        assert_eq!((outcome.status, outcome.reached.len()), (status, 0));
        assert_eq!(outcome.all("set-cookie"), ["a=1", "b=2"]);
        assert_eq!(outcome.all("www-authenticate"), ["Bearer"]);
        assert_eq!(outcome.body.unwrap(), "go away");
    }
}

#[test]
fn a_relative_location_is_the_servers() {
    for (preserve, sent, expected) in [
        (false, "/login?rd=1", "http://auth.test:81/login?rd=1"),
        (false, "https://login.test/", "https://login.test/"),
        (true, "/login?rd=1", "/login?rd=1"),
    ] {
        let options = Options { preserve_location_header: preserve, ..defaults() };
        let outcome = Case::new(options).verdict(302, &[("location", sent)], "").run();
        assert_eq!((outcome.status, outcome.all("location")), (302, vec![expected]));
    }
}

#[test]
fn a_401_can_be_a_way_to_sign_in() {
    let options = Options { auth_signin_url: Some("https://login.test/?a=$b".to_owned()), ..defaults() };
    let outcome = Case::new(options.clone()).verdict(401, &[("set-cookie", "a=1"), ("location", "/x")], "no").run();
    assert_eq!(
        (outcome.status, outcome.all("location"), outcome.reached.len()),
        (302, vec!["https://login.test/?a=$b"], 0)
    );
    assert_eq!((outcome.all("set-cookie").len(), outcome.body.unwrap().as_str()), (0, "Found"));
    assert_eq!(Case::new(options.clone()).verdict(403, &[], "").run().status, 403);
    assert_eq!(Case::new(options).run().status, 200);
}

#[test]
fn a_server_that_can_not_be_asked_lets_nobody_pass() {
    for (status, unsent) in [(502, true), (504, false), (200, true)] {
        let mut case = Case::new(defaults()).verdict(status, &[], "Bad Gateway");
        case.verdict.extensions_mut().insert(Failed { unsent });
        let outcome = case.run();
        assert_eq!((outcome.status, outcome.body.unwrap().as_str(), outcome.reached.len()), (500, "", 0));
    }
    let outcome = Case::new(defaults()).verdict(101, &[], "").run();
    assert_eq!((outcome.status, outcome.reached.len()), (500, 0));
    let outcome = Case::new(defaults()).verdict(200, &[], broken()).run();
    assert_eq!((outcome.status, outcome.reached.len()), (500, 0), "an answer that breaks off is none");
}

#[test]
fn answers_of_any_length_and_of_a_limited_one() {
    let long = "x".repeat(100_000);
    let limit = |limit: i64| Options { max_response_body_size: limit, ..defaults() };
    for (options, status, length, expected) in [
        (limit(-1), 200, 100_000, 200),
        (limit(-1), 403, 100_000, 403),
        (limit(99_999), 200, 100_000, 401),
        (limit(99_999), 403, 100_000, 401),
        (limit(100_000), 200, 100_000, 200),
        (limit(100_000), 403, 100_000, 403),
        (limit(0), 200, 1, 401),
        (limit(0), 200, 0, 200),
    ] {
        let outcome = Case::new(options).verdict(status, &[], long[..length].to_owned()).run();
        assert_eq!(outcome.status, expected, "{status} of {length}");
        assert_eq!(outcome.reached.len(), usize::from(expected == 200));
        let body = if expected == 403 { length } else { [0, 3][usize::from(expected == 200)] };
        assert_eq!(outcome.body.unwrap().len(), body);
    }
    let outcome = Case::new(limit(3)).verdict(403, &[], pieces(&["ab", "cd"])).run();
    assert_eq!((outcome.status, outcome.headers.len()), (401, 0));
    assert_eq!(Case::new(limit(4)).verdict(403, &[], pieces(&["ab", "cd"])).run().body.unwrap(), "abcd");
    assert_eq!(Case::new(limit(9)).verdict(403, &[], broken()).run().status, 500);
}

#[test]
fn a_body_goes_to_both() {
    let options = |most| Options { forward_body: true, max_body_size: most, ..defaults() };
    for (most, body, kind, expected) in [
        (-1, pieces(&["the ", "body"]), BodyKind::Chunked, 200),
        (8, pieces(&["the ", "body"]), BodyKind::Chunked, 200),
        (8, pieces(&["the body"]), BodyKind::Length(8), 200),
        (7, pieces(&["the ", "body"]), BodyKind::Chunked, 401),
        (7, pieces(&["the body"]), BodyKind::Length(8), 401),
        (0, pieces(&["x"]), BodyKind::Length(1), 401),
        (-1, broken(), BodyKind::Chunked, 400),
    ] {
        let outcome = Case::new(options(most)).with_body(Method::PUT, body, kind).run();
        assert_eq!((outcome.status, outcome.headers.len()), (expected, 0), "{most} {kind:?}");
        if expected == 200 {
            for seen in [outcome.asked(), outcome.reached()] {
                assert_eq!((seen.text(), seen.kind), ("the body", BodyKind::Length(8)));
            }
            assert_eq!(outcome.asked().head.method, Method::GET);
        } else {
            assert_eq!((outcome.asked.len(), outcome.reached.len()), (0, 0));
        }
    }
    let outcome = Case::new(options(0)).run();
    assert_eq!((outcome.asked().kind, outcome.reached().kind), (BodyKind::None, BodyKind::None));
    let outcome = Case::new(options(0)).with_body(Method::POST, pieces(&[]), BodyKind::Chunked).run();
    assert_eq!((outcome.asked().kind, outcome.reached().kind), (BodyKind::Length(0), BodyKind::Length(0)));
}

#[test]
fn cookies_of_the_server_for_the_client() {
    let options = |names: &[&str]| Options { add_auth_cookies_to_response: list(names), ..defaults() };
    let auth = [("set-cookie", "session=new; Path=/; HttpOnly"), ("set-cookie", "other=1"), ("set-cookie", "lang = x")];
    let app = [
        ("set-cookie", "app=1"),
        ("set-cookie", "session=old"),
        ("set-cookie", "session2=1"),
        ("set-cookie", "theme=x"),
    ];
    for (names, expected) in [
        (&[][..], &["app=1", "session=old", "session2=1", "theme=x"][..]),
        (&["session"], &["app=1", "session2=1", "theme=x", "session=new; Path=/; HttpOnly"]),
        (&["lang", "theme"], &["app=1", "session=old", "session2=1", "theme=x", "lang = x"]),
        (&["Session", "none"], &["app=1", "session=old", "session2=1", "theme=x"]),
    ] {
        let outcome = Case::new(options(names)).verdict(200, &auth, "").backend(&app).run();
        assert_eq!(outcome.all("set-cookie"), expected, "{names:?}");
        assert_eq!(outcome.reached().all("set-cookie"), Vec::<&str>::new());
    }
    let mut case = Case::new(options(&["session"])).verdict(200, &auth, "");
    *case.backend.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    assert_eq!(case.run().headers.len(), 0, "101 is passed on as it is");
}

#[test]
fn what_can_not_be_built() {
    let field = |options: Options| build(&options).unwrap_err().field;
    assert_eq!(field(Options { auth_response_headers: list(&["X-A", "X B"]), ..defaults() }), "authResponseHeaders[1]");
    for name in ["Connection", "Content-Length", "Transfer-Encoding", "host", "Proxy-Authorization"] {
        let options = Options { auth_response_headers: list(&["X-A", "X-A", name]), ..defaults() };
        assert!(field(options).starts_with("authResponseHeaders["), "{name}");
    }
    assert_eq!(field(Options { auth_request_headers: list(&[""]), ..defaults() }), "authRequestHeaders[0]");
    assert_eq!(field(Options { header_field: Some("a b".to_owned()), ..defaults() }), "headerField");
    for pattern in ["(", "[", "\\p{L}{999999}"] {
        let options = Options { auth_response_headers_regex: Some(pattern.to_owned()), ..defaults() };
        assert_eq!(field(options), "authResponseHeadersRegex", "{pattern}");
    }
    for url in ["https://login.test/ä", "https://login.test/a b", "a\r\nb"] {
        assert_eq!(field(Options { auth_signin_url: Some(url.to_owned()), ..defaults() }), "authSigninURL", "{url:?}");
    }
    let empty = Some(String::new());
    let options = Options {
        auth_response_headers_regex: empty.clone(),
        header_field: empty.clone(),
        auth_signin_url: empty,
        ..defaults()
    };
    assert!(build(&options).is_ok());
}

proptest! {
    #[test]
    fn no_spelling_of_a_marked_header_survives(
        names in prop::collection::vec("[xX][-_.][uU]ser[-_.]?[a-z]?", 0..6),
        by_regex in any::<bool>(),
    ) {
        let mut options = defaults();
        if by_regex {
            options.auth_response_headers_regex = Some("^X-User(-.)?$".to_owned());
        } else {
            options.auth_response_headers = list(&["X-User", "X-User-a"]);
        }
        let sent: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "forged")).collect();
        let outcome = Case::new(options).sending(&sent).verdict(200, &[("x-user", "anna")], "").run();
        let reached = outcome.reached();
        prop_assert_eq!(reached.all("x-user"), vec!["anna"]);
        for name in reached.head.headers.keys() {
            let dashed = name.as_str().replace(['_', '.'], "-");
            let marked = dashed == "x-user" || (by_regex && dashed.len() == 8 && dashed.starts_with("x-user-")) || dashed == "x-user-a";
            prop_assert!(!marked || name == "x-user", "{}", name);
        }
    }
}
