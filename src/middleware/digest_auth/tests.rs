use http::HeaderMap;

use super::*;
use crate::middleware::headers::tests::{answer_of, head};

/// `anna` and `sven` have the password "secret".
fn lines() -> String {
    let ha1 = |user: &str| String::from_utf8(hex(&md5(&format!("{user}:vault:secret"))).to_vec()).unwrap();
    format!(
        "# people\n\nanna:vault:{}\nelse:other:{}\n sven:vault:{} \n",
        ha1("anna"),
        ha1("else"),
        ha1("sven").to_uppercase()
    )
}

fn md5(text: &str) -> [u8; 16] {
    Md5::digest(text).into()
}

fn auth() -> DigestAuth {
    DigestAuth::new(lines().as_bytes(), Some("vault"), false, None).unwrap()
}

/// What a client sends.
struct Client<'a> {
    user: &'a str,
    realm: &'a str,
    password: &'a str,
    method: Method,
    uri: &'a str,
    nonce: String,
    count: u32,
}

impl Client<'_> {
    fn new(nonce: String) -> Self {
        Client { user: "anna", realm: "vault", password: "secret", method: Method::GET, uri: "/a?b=c", nonce, count: 1 }
    }

    fn header(&self) -> HeaderValue {
        let (user, realm, uri, nonce, count) = (self.user, self.realm, self.uri, &self.nonce, self.count);
        let ha1 = hex(&md5(&format!("{user}:{realm}:{}", self.password)));
        let ha2 = hex(&md5(&format!("{}:{uri}", self.method)));
        let (ha1, ha2) = (String::from_utf8_lossy(&ha1), String::from_utf8_lossy(&ha2));
        let response = hex(&md5(&format!("{ha1}:{nonce}:{count:08x}:Cn:auth:{ha2}")));
        let response = String::from_utf8_lossy(&response);
        let text = format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", algorithm=MD5, qop=auth, \
             nc={count:08x}, cnonce=\"Cn\", response=\"{response}\""
        );
        HeaderValue::try_from(text).unwrap()
    }

    fn head(&self) -> Head {
        let mut head = request();
        head.headers.insert("authorization", self.header());
        head
    }
}

fn request() -> Head {
    head(Method::GET, "http://a.example/a?b=c")
}

fn challenge(headers: &HeaderMap) -> String {
    headers["www-authenticate"].to_str().unwrap().to_owned()
}

/// The nonce of a fresh challenge.
fn nonce(auth: &DigestAuth, now_ms: u64) -> String {
    let (status, headers, body) = answer_of(auth.request_at(&mut request(), &mut Spent::default(), now_ms));
    assert_eq!((status, body.as_str()), (401, "401 Unauthorized\n"));
    let text = challenge(&headers);
    assert!(!text.contains("stale"), "{text}");
    text.split('"').nth(3).unwrap().to_owned()
}

/// The outcome: who it is, or whether the challenge says stale.
#[track_caller]
fn outcome(auth: &DigestAuth, mut head: Head, now_ms: u64) -> Result<String, bool> {
    match auth.request_at(&mut head, &mut Spent::default(), now_ms) {
        Flow::Continue => Ok(head.user.unwrap()),
        flow => {
            let (status, headers, _) = answer_of(flow);
            assert_eq!(status, 401);
            Err(challenge(&headers).ends_with(", stale=true"))
        }
    }
}

#[test]
fn the_example_of_the_rfc() {
    let text = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
                uri=\"/dir/index.html\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", \
                response=\"6629fae49393a05397450978507c4ef1\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    let given = Credentials::parse(text.as_bytes()).unwrap();
    let ha1 = md5("Mufasa:testrealm@host.com:Circle Of Life");
    assert_eq!(expected(&ha1, &given, &Method::GET), given.response);
    assert_ne!(expected(&ha1, &given, &Method::POST), given.response);
}

#[test]
fn the_challenge_is_traefiks() {
    let (_, headers, _) = answer_of(auth().request_at(&mut request(), &mut Spent::default(), 5));
    let text = challenge(&headers);
    let nonce = text.split('"').nth(3).unwrap();
    assert_eq!(text, format!("Digest realm=\"vault\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\""));
    let quoted = format!("u:a \"b\":{}", "0".repeat(32));
    let quoted = DigestAuth::new(quoted.as_bytes(), Some("a \"b\""), false, None).unwrap();
    let (_, headers, _) = answer_of(quoted.request_at(&mut request(), &mut Spent::default(), 5));
    assert!(challenge(&headers).starts_with("Digest realm=\"a \\\"b\\\"\", "));
}

#[test]
fn a_right_proof_passes_once_for_each_count() {
    let auth = auth();
    let mut client = Client::new(nonce(&auth, 5));
    for count in [1, 2, 5, 4] {
        client.count = count;
        assert_eq!(outcome(&auth, client.head(), 5).as_deref(), Ok("anna"));
        assert_eq!(outcome(&auth, client.head(), 5), Err(true), "count {count} again");
    }
    let sven = Client { user: "sven", ..Client::new(nonce(&auth, 5)) };
    assert_eq!(outcome(&auth, sven.head(), 5).as_deref(), Ok("sven"));
}

#[test]
fn a_strange_or_old_nonce_is_stale_if_the_proof_is_right() {
    let auth = auth();
    let old = Client::new(nonce(&auth, 5));
    assert_eq!(outcome(&auth, old.head(), 6 + nonce::LIFETIME_MS), Err(true));
    let strange = Client::new("dcd98b7102dd2f0e8b11d0f600bfb0c093".to_owned());
    assert_eq!(outcome(&auth, strange.head(), 5), Err(true));
    let wrong = Client { password: "Secret", ..strange };
    assert_eq!(outcome(&auth, wrong.head(), 5), Err(false));
}

#[test]
fn a_proof_is_for_one_target_method_and_realm() {
    let auth = auth();
    let with = |change: &dyn Fn(&mut Client<'_>)| {
        let mut client = Client::new(nonce(&auth, 5));
        change(&mut client);
        outcome(&auth, client.head(), 5)
    };
    assert!(with(&|_| ()).is_ok());
    for uri in ["/a", "/", "/a?b=d", "/A?b=c", "http://a.example/a?b=c", "*"] {
        let client = Client { uri, ..Client::new(nonce(&auth, 5)) };
        assert_eq!(outcome(&auth, client.head(), 5), Err(false), "{uri}");
    }
    assert_eq!(with(&|c| c.method = Method::POST), Err(false));
    assert_eq!(with(&|c| c.user = "nobody"), Err(false));
    assert_eq!(with(&|c| c.user = ""), Err(false));
    assert_eq!(with(&|c| c.realm = "other"), Err(false));
    assert_eq!(with(&|c| (c.user, c.realm) = ("else", "other")), Err(false), "a line of another realm");
    let mut twice = Client::new(nonce(&auth, 5)).head();
    let again = twice.headers["authorization"].clone();
    twice.headers.append("authorization", again);
    assert_eq!(outcome(&auth, twice, 5), Err(false), "two Authorizations");
}

#[test]
fn the_target_is_the_one_that_the_client_sent() {
    let auth = auth();
    let client = Client { uri: "/x/../a//b", ..Client::new(nonce(&auth, 5)) };
    let mut head = head(Method::GET, "http://a.example/x/../a//b");
    head.headers.insert("authorization", client.header());
    // As stripPrefix would have left it.
    head.target.rewrite("/b").unwrap();
    assert_eq!(outcome(&auth, head, 5).as_deref(), Ok("anna"));
}

#[test]
fn the_backend_is_told_the_user_and_not_the_proof() {
    let auth = DigestAuth::new(lines().as_bytes(), Some("vault"), true, Some("X-User")).unwrap();
    let mut head = Client::new(nonce(&auth, 5)).head();
    for name in ["x-user", "x_user", "x.user"] {
        head.headers.insert(name, HeaderValue::from_static("root"));
    }
    assert!(matches!(auth.request_at(&mut head, &mut Spent::default(), 5), Flow::Continue));
    assert_eq!(head.headers.len(), 1);
    assert_eq!((&head.headers["x-user"], head.user.as_deref()), (&HeaderValue::from_static("anna"), Some("anna")));
}

#[test]
fn what_can_not_be_built() {
    let new = |lines: &str, realm: Option<&str>| DigestAuth::new(lines.as_bytes(), realm, false, None).unwrap_err();
    let hash = "0".repeat(32);
    for lines in [
        String::new(),
        "# nobody\n".to_owned(),
        format!("a:{hash}"),
        format!("a:vault:{hash}:more"),
        format!(":vault:{hash}"),
        "a:vault:xyz".to_owned(),
        format!("a:vault:{hash}0"),
        format!("a:other:{hash}"),
    ] {
        let error = new(&lines, Some("vault"));
        assert_eq!(error.field, "secret", "{lines}");
        assert!(!error.to_string().contains(&hash) && !error.to_string().contains("xyz"), "{error}");
    }
    assert!(new("a:other:0", Some("vault")).message.contains("line 1"));
    assert!(new(&format!("a:other:{hash}"), None).message.contains("the realm \"traefik\", only of others"));
    assert_eq!(new(&lines(), Some("a:b")).field, "realm");
    assert_eq!(new(&lines(), Some("a\nb")).field, "realm");
    assert_eq!(DigestAuth::new(b"\xff", None, false, None).unwrap_err().field, "secret");
    assert_eq!(
        DigestAuth::new(lines().as_bytes(), Some("vault"), false, Some("Host")).unwrap_err().field,
        "headerField"
    );
    let shown = format!("{:?}", auth());
    assert!(shown.contains("count: 2") && !shown.contains("anna"), "{shown}");
}
