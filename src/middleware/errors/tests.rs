use http::HeaderValue;

use super::*;
use crate::middleware::{
    BasicAuth, Chain, ForwardAuth, Middleware, PassTlsClientCert, StripPrefix, basic_auth, forward_auth,
    upstream::tests::{Fake, answer, failed, read, request, service},
};

fn settings(statuses: &[u16], query: &str) -> Settings {
    Settings {
        statuses: statuses.iter().map(|status| *status..=*status).collect(),
        rewrites: Vec::new(),
        service: service("pages"),
        page: Page::new(query).unwrap(),
        headers: None,
    }
}

fn errors(settings: Settings) -> Middleware {
    Middleware::Errors(Arc::new(Errors::new(settings)))
}

/// An answer and the page for it.
fn fake(answer: Response<Body>, page: Response<Body>) -> Fake {
    Fake { answers: [answer].into(), fetched: [page].into(), ..Fake::default() }
}

fn with(mut answer: Response<Body>, headers: &[(&'static str, &'static str)]) -> Response<Body> {
    for (name, value) in headers {
        answer.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    answer
}

async fn text(answer: Response<Body>) -> (u16, String) {
    let (parts, body) = answer.into_parts();
    (parts.status.as_u16(), String::from_utf8(read(body).await.0).unwrap())
}

#[tokio::test]
async fn a_page_takes_the_place_of_the_answer_and_its_status_stays() {
    for page_status in [200, 404, 302, 403, 500] {
        let mut fake = fake(
            with(answer(500, "secret"), &[("x-app", "1"), ("set-cookie", "a=b")]),
            with(answer(page_status, "page"), &[("x-page", "1")]),
        );
        let mut request = request("POST", "http://a.test/x?y", b"body");
        let out = fake.run(&errors(settings(&[500], "/{status}.html")), &mut request).await;
        assert_eq!(out.headers().get("x-page").map(HeaderValue::as_bytes), Some(&b"1"[..]), "{page_status}");
        assert!(!out.headers().contains_key("x-app") && !out.headers().contains_key("set-cookie"));
        assert_eq!(text(out).await, (500, "page".to_owned()), "{page_status}");
        let asked = &fake.seen[1];
        assert_eq!(asked.service.as_deref(), Some("default/pages:80"));
        assert_eq!((asked.head.method.as_str(), asked.head.target.path()), ("GET", "/500.html"));
        assert_eq!((asked.kind, asked.body.as_deref()), (BodyKind::None, Some(&b""[..])));
    }
}

#[tokio::test]
async fn other_answers_pass() {
    for status in [200, 499, 501, 101] {
        let mut fake = fake(answer(status, "app"), answer(200, "page"));
        let all = settings(&[500, 101], "/");
        let out = fake.run(&errors(all), &mut request("GET", "http://a.test/", b"")).await;
        assert_eq!((out.status().as_u16(), fake.seen.len()), (status, 1));
    }
}

#[tokio::test]
async fn without_a_page_the_answer_goes_out_as_it_was() {
    for page in [failed(502, true), failed(504, false), failed(503, true), answer(503, "down"), answer(599, "down")] {
        let mut fake = fake(with(answer(401, "who?"), &[("www-authenticate", "Basic")]), page);
        let out = fake.run(&errors(settings(&[401], "/")), &mut request("GET", "http://a.test/", b"")).await;
        assert!(out.headers().contains_key("www-authenticate"));
        assert_eq!(text(out).await, (401, "who?".to_owned()));
    }
}

#[tokio::test]
async fn what_belongs_to_the_status_survives_the_page() {
    for (status, name) in [(401, "www-authenticate"), (405, "allow"), (429, "retry-after"), (503, "retry-after")] {
        let original = with(answer(status, ""), &[(name, "first"), (name, "second")]);
        let mut fake = fake(original, with(answer(200, "page"), &[(name, "the page's")]));
        let middleware = errors(settings(&[status], "/"));
        let out = fake.run(&middleware, &mut request("GET", "http://a.test/", b"")).await;
        let values: Vec<_> = out.headers().get_all(name).iter().collect();
        assert_eq!(values, ["first", "second"], "{status}");
        assert_eq!(text(out).await, (status, "page".to_owned()));
    }
    // With another status, they are the page's matter.
    let hidden = Settings { rewrites: vec![(401..=401, StatusCode::NOT_FOUND)], ..settings(&[401], "/") };
    let mut fake = fake(with(answer(401, ""), &[("www-authenticate", "Basic")]), answer(200, "page"));
    let out = fake.run(&errors(hidden), &mut request("GET", "http://a.test/", b"")).await;
    assert!(out.status() == 404 && !out.headers().contains_key("www-authenticate"));
}

#[tokio::test]
async fn the_most_particular_rewrite_decides() {
    let rewrites = [(400..=599, 400), (500..=599, 500), (502..=504, 404), (503..=503, 418), (401..=499, 410)];
    let rewrites = rewrites.map(|(codes, to)| (codes, StatusCode::from_u16(to).unwrap()));
    for (original, sent) in [(503, 418), (504, 404), (511, 500), (400, 400), (404, 410)] {
        let all = Settings {
            rewrites: rewrites.to_vec(),
            ..settings(&[400, 404, 503, 504, 511], "/{status}/{originalStatus}")
        };
        let mut fake = fake(answer(original, "app"), answer(200, "page"));
        let out = fake.run(&errors(all), &mut request("GET", "http://a.test/", b"")).await;
        assert_eq!(out.status().as_u16(), sent, "{original}");
        assert_eq!(fake.seen[1].head.target.path(), format!("/{sent}/{original}"));
    }
}

#[tokio::test]
async fn a_page_is_asked_for_with_the_clients_headers_as_they_came() {
    let chain = |headers: Option<Vec<HeaderName>>| {
        let strip = Middleware::StripPrefix(Arc::new(StripPrefix::new(["/a"]).unwrap()));
        let all = Settings { headers, ..settings(&[500], "/?{url}") };
        Chain::new(vec![errors(all), strip])
    };
    let some = Some(vec![HeaderName::from_static("x-b"), HeaderName::from_static("x-none")]);
    for (headers, expected) in
        [(None, vec!["x-a", "x-b", "x-b"]), (some, vec!["x-b", "x-b"]), (Some(Vec::new()), vec![])]
    {
        let mut fake = fake(answer(500, ""), answer(200, "page"));
        let mut request = request("GET", "http://a.test/a/x", b"");
        for (name, value) in [("x-a", "1"), ("x-b", "1"), ("x-b", "2"), ("if-none-match", "*"), ("range", "bytes=0-1")]
        {
            request.head.headers.append(name, HeaderValue::from_static(value));
        }
        let out = chain(headers).run(&mut request, &mut fake).await;
        assert_eq!(out.status(), 500);
        let asked = &fake.seen[1].head;
        let names: Vec<&str> = asked.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected);
        assert_eq!(asked.target.query(), Some("http%3A%2F%2Fa.test%2Fa%2Fx"), "before anything was stripped");
        assert_eq!(fake.seen[0].head.headers.len(), 6, "the request itself has lost none");
    }
}

#[tokio::test]
async fn head_gets_the_pages_length_and_no_body() {
    let mut fake = fake(answer(500, ""), with(answer(200, "page"), &[("content-length", "4")]));
    let out = fake.run(&errors(settings(&[500], "/")), &mut request("HEAD", "http://a.test/", b"")).await;
    assert_eq!(out.headers().get("content-length").map(HeaderValue::as_bytes), Some(&b"4"[..]));
    assert_eq!(text(out).await, (500, String::new()));
    assert_eq!(fake.seen[1].head.method, Method::GET);
}

#[tokio::test]
async fn lengths_of_bodies_that_are_not_there_are_not_told() {
    let page = with(answer(304, ""), &[("content-length", "269"), ("content-range", "bytes 0-1/2")]);
    let mut first = fake(answer(404, ""), page);
    let out = first.run(&errors(settings(&[404], "/")), &mut request("GET", "http://a.test/", b"")).await;
    assert!(out.status() == 404 && out.headers().is_empty());

    let none = Settings { rewrites: vec![(404..=404, StatusCode::NO_CONTENT)], ..settings(&[404], "/") };
    let mut second = fake(answer(404, ""), with(answer(200, "page"), &[("content-length", "4")]));
    let out = second.run(&errors(none), &mut request("GET", "http://a.test/", b"")).await;
    assert!(out.headers().is_empty());
    assert_eq!(text(out).await, (204, String::new()));
}

#[tokio::test]
async fn who_stands_outside_still_knows_that_no_endpoint_has_answered() {
    let mut fake = fake(failed(502, true), answer(200, "page"));
    let out = fake.run(&errors(settings(&[502], "/")), &mut request("GET", "http://a.test/", b"")).await;
    assert_eq!(out.extensions().get::<Failed>(), Some(&Failed { unsent: true }));
    assert_eq!(text(out).await, (502, "page".to_owned()));
}

#[tokio::test]
async fn a_page_is_never_asked_for_under_a_name_that_the_client_gives_itself() {
    let basic = |password: &[u8], field| {
        let users = basic_auth::Users::single(b"anna", password).unwrap();
        Middleware::BasicAuth(Arc::new(BasicAuth::new(users, None, false, Some(field)).unwrap()))
    };
    let options = forward_auth::Options {
        auth_response_headers: vec!["X-Group".to_owned()],
        auth_response_headers_regex: Some("^X-Role-".to_owned()),
        ..forward_auth::Options::default()
    };
    let address = forward_auth::Address::parse("http://auth.test/").unwrap();
    let server = Arc::new(ForwardAuth::new(service("auth"), address, &options).unwrap());
    let forged = ["x-user", "x_user", "x.group", "x_role_admin", "x-forwarded_tls-client-cert", "x-outer", "x_outer"];
    for headers in [None, Some(["x_user", "x-outer", "x-other"].map(HeaderName::from_static).to_vec())] {
        let chain = Chain::new(vec![
            basic(b"secret", "X-Outer"),
            errors(Settings { headers, ..settings(&[401], "/") }),
            basic(b"another", "X-User"),
            Middleware::ForwardAuth(Arc::clone(&server)),
            Middleware::PassTlsClientCert(PassTlsClientCert::default()),
        ]);
        let mut request = request("GET", "http://a.test/", b"");
        for name in forged {
            request.head.headers.insert(HeaderName::from_static(name), HeaderValue::from_static("root"));
        }
        request.head.headers.insert("x-other", HeaderValue::from_static("kept"));
        request.head.headers.insert("authorization", HeaderValue::from_static("Basic YW5uYTpzZWNyZXQ="));
        let mut fake = Fake::default();
        assert_eq!(chain.run(&mut request, &mut fake).await.status(), 401);
        let asked = &fake.seen[0].head.headers;
        assert!(!asked.values().any(|value| value == "root"), "{asked:?}");
        assert_eq!((&asked["x-outer"], &asked["x-other"]), (&"anna".parse().unwrap(), &"kept".parse().unwrap()));
    }
}

#[tokio::test]
async fn two_steps_do_not_make_a_success_of_a_refusal() {
    let rewriting = |from: u16, to: u16| {
        let to = StatusCode::from_u16(to).unwrap();
        errors(Settings { rewrites: vec![(from..=from, to)], ..settings(&[from], "/{status}") })
    };
    for (refusal, sent) in [(401, 404), (403, 404), (407, 404), (500, 200)] {
        let chain = Chain::new(vec![rewriting(404, 200), rewriting(410, 404), rewriting(refusal, 410)]);
        let mut fake = Fake::of(&[refusal]);
        let out = chain.run(&mut request("GET", "http://a.test/", b""), &mut fake).await;
        assert_eq!(out.status(), sent, "{refusal}");
        assert_eq!(fake.seen[3].head.target.path(), format!("/{sent}"));
    }
    let chain = Chain::new(vec![rewriting(404, 200), rewriting(403, 404)]);
    let out = chain.run(&mut request("GET", "http://a.test/", b""), &mut Fake::of(&[404])).await;
    assert_eq!(out.status(), 200, "one that never was a refusal");
}
