use std::sync::LazyLock;

use http::Method;

use super::*;
use crate::middleware::headers::tests::{answer_of, head};

/// Made by `openssl passwd -apr1`, by `htpasswd -s`, and from the test vectors of bcrypt.
const LINES: &str = "# people\n\nanna:$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0\r\n\
                     sven:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n  bert:BCRYPT  \nold:$1$x$0AXOYAuOs.uNCmG2qRI8W.\n";

static BCRYPT: LazyLock<String> =
    LazyLock::new(|| bcrypt::hash_with_salt("secret", 4, [7; 16]).unwrap().format_for_version(bcrypt::Version::TwoY));

fn auth(lines: &str) -> BasicAuth {
    let users = Users::htpasswd(lines.replace("BCRYPT", &BCRYPT).as_bytes()).unwrap();
    BasicAuth::new(users, None, false, None).unwrap()
}

fn with(authorization: &[u8]) -> Head {
    let mut head = head(Method::GET, "http://a.example/");
    head.headers.insert("authorization", HeaderValue::from_bytes(authorization).unwrap());
    head
}

fn login(user: &str, password: &str) -> Head {
    with(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))).as_bytes())
}

/// Runs it as a worker would.
fn run(auth: &BasicAuth, head: &mut Head) -> Flow {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(auth.request(head))
}

fn passes(auth: &BasicAuth, mut head: Head) -> bool {
    match run(auth, &mut head) {
        Flow::Continue => true,
        flow => {
            assert_eq!(answer_of(flow).0, 401);
            false
        }
    }
}

#[test]
fn users_of_every_kind() {
    let auth = auth(LINES);
    for user in ["anna", "sven", "bert", "old"] {
        // Twice: computed, and remembered.
        for _ in 0..2 {
            let mut head = login(user, "secret");
            assert!(matches!(run(&auth, &mut head), Flow::Continue), "{user}");
            assert_eq!(head.user.as_deref(), Some(user));
            assert!(head.headers.contains_key("authorization"));
        }
        for wrong in ["", "Secret", "secret2", "secre"] {
            assert!(!passes(&auth, login(user, wrong)), "{user} {wrong}");
        }
    }
    // Of an unknown user the slowest hash is checked, and never believed: here with the right password.
    for _ in 0..2 {
        assert!(!passes(&auth, login("nobody", "secret")));
    }
    assert!(!passes(&auth, login("", "secret")));
}

#[test]
fn known_bcrypt_hashes() {
    for (password, hash) in [
        // From the test vectors of jBCrypt and OpenBSD.
        ("a", "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe"),
        ("abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
        ("abc", "$2b$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
        ("abc", "$2y$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
    ] {
        let auth = auth(&format!("user:{hash}"));
        assert!(passes(&auth, login("user", password)), "{hash}");
        assert!(!passes(&auth, login("user", "abd")), "{hash}");
    }
}

#[test]
fn the_later_line_counts() {
    let auth = auth("a:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\na:BCRYPT\n");
    assert!(passes(&auth, login("a", "secret")));
    let auth = super::tests::auth("a:BCRYPT\na:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=\n");
    assert!(!passes(&auth, login("a", "secret")));
    assert!(passes(&auth, login("a", "")));
}

#[test]
fn one_user_of_a_basic_auth_secret() {
    let users = Users::single(b"anna", b"p:w \n".trim_ascii_end()).unwrap();
    let auth = BasicAuth::new(users, None, false, None).unwrap();
    assert!(passes(&auth, login("anna", "p:w")));
    for (user, password) in [("anna", "p"), ("anna", ""), ("bert", "p:w"), ("anna", "p:w ")] {
        assert!(!passes(&auth, login(user, password)), "{user} {password}");
    }
    for (user, password) in [(&b""[..], &b"x"[..]), (b"a", b""), (b"a:b", b"x"), (b"\xff", b"x")] {
        assert_eq!(Users::single(user, password).unwrap_err().field, "secret");
    }
}

#[test]
fn what_can_not_be_read_is_told_without_the_hash() {
    let expensive = BCRYPT.replacen("$04$", "$31$", 1);
    for (lines, says) in [
        ("", "no users"),
        ("# only\n\n", "no users"),
        ("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\nJUSTASECRET", "line 2 is not"),
        (":{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "line 1 is not"),
        ("anna:SECRETHASH", "line 1: the hash is of a kind"),
        ("anna:", "line 1: the hash is of a kind"),
        ("\n\nanna:$6$SECRET$HASH", "line 3: the hash is of a kind"),
        ("anna:{SHA}SECRETHASH", "starts like SHA1"),
        ("anna:$apr1$SECRET$HASH", "starts like MD5"),
        ("anna:$2y$10$SECRETHASH", "starts like bcrypt"),
        (&format!("anna:{expensive}"), "has a bcrypt cost of 31"),
        ("anna:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=:SECRET", "starts like SHA1"),
    ] {
        let error = Users::htpasswd(lines.as_bytes()).unwrap_err();
        assert_eq!(error.field, "secret");
        assert!(error.message.contains(says), "{lines:?}: {}", error.message);
        for part in ["SECRET", "HASH", "$31$"] {
            assert!(!format!("{error:?}").contains(part), "{error:?}");
        }
    }
    assert!(Users::htpasswd(b"anna:\xff").is_err());
    let shown = format!("{:?}", auth(LINES));
    assert!(!shown.contains("LrttParr") && !shown.contains("$2y$") && !shown.contains("5en6"), "{shown}");
}

#[test]
fn the_challenge() {
    let users = || Users::single(b"a", b"b").unwrap();
    for (realm, challenge) in [
        (None, "Basic realm=\"traefik\""),
        (Some(""), "Basic realm=\"traefik\""),
        (Some("My \"Realm\"\\"), "Basic realm=\"My \\\"Realm\\\"\\\\\""),
    ] {
        let auth = BasicAuth::new(users(), realm, false, None).unwrap();
        let mut head = head(Method::GET, "http://a.example/");
        let (status, headers, body) = answer_of(run(&auth, &mut head));
        assert_eq!((status, body.as_str()), (401, "401 Unauthorized\n"));
        assert_eq!(headers["www-authenticate"], challenge);
        assert!(headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        assert_eq!(head.user, None);
    }
    assert_eq!(BasicAuth::new(users(), Some("a\r\nb"), false, None).unwrap_err().field, "realm");
    for name in ["X User", "Connection", "Host", "Content-Length", "Proxy-User"] {
        assert_eq!(BasicAuth::new(users(), None, false, Some(name)).unwrap_err().field, "headerField", "{name}");
    }
}

#[test]
fn what_the_backend_sees() {
    let auth = BasicAuth::new(Users::single("jörg".as_bytes(), b"b").unwrap(), None, true, Some("X-Web-User")).unwrap();
    let mut head = login("jörg", "b");
    for name in ["x-web-user", "x_web_user", "x-web_user", "x-web-users"] {
        head.headers.append(name, HeaderValue::from_static("forged"));
    }
    head.headers.append("x-web-user", HeaderValue::from_static("forged again"));
    assert!(matches!(run(&auth, &mut head), Flow::Continue));
    let mut all: Vec<(&str, &[u8])> =
        head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    all.sort_unstable();
    assert_eq!(all, [("x-web-user", "jörg".as_bytes()), ("x-web-users", b"forged")]);
}

#[test]
fn malformed_authorizations() {
    let auth = BasicAuth::new(Users::single(b"a", b"b").unwrap(), None, false, None).unwrap();
    for (authorization, ok) in [
        (&b"Basic YTpi"[..], true),
        (b"basic YTpi", true),
        (b"BASIC   YTpi ", true),
        (b"Basic", false),
        (b"Basic ", false),
        (b"BasicYTpi", false),
        (b"Bearer YTpi", false),
        (b"Basic YTpi YTpi", false),
        (b"Basic YTpi=", false),
        (b"Basic YWI=", false),
        (b"Basic \xff", false),
        // "a:b\0", "a\0:b", and a user that is no UTF-8
        (b"Basic YTpiAA==", false),
        (b"Basic YQA6Yg==", false),
        (b"Basic /zpi", false),
    ] {
        assert_eq!(passes(&auth, with(authorization)), ok, "{authorization:?}");
    }
    let mut twice = login("a", "b");
    twice.headers.append("authorization", HeaderValue::from_static("Basic YTpi"));
    assert!(!passes(&auth, twice));
}

#[test]
fn an_authorization_has_a_limit() {
    let password = "b".repeat(6000);
    let auth = BasicAuth::new(Users::single(b"a", password.as_bytes()).unwrap(), None, false, None).unwrap();
    assert!(passes(&auth, login("a", &password)));
    let longer = "b".repeat(6200);
    let auth = BasicAuth::new(Users::single(b"a", longer.as_bytes()).unwrap(), None, false, None).unwrap();
    assert!(!passes(&auth, login("a", &longer)));
}

#[test]
fn the_user_may_be_told_in_authorization_itself() {
    let users = || Users::single(b"anna", b"secret").unwrap();
    for remove in [false, true] {
        let auth = BasicAuth::new(users(), None, remove, Some("Authorization")).unwrap();
        let mut head = login("anna", "secret");
        head.headers.insert("x-authorization", HeaderValue::from_static("kept"));
        assert!(matches!(run(&auth, &mut head), Flow::Continue));
        assert_eq!((&head.headers["authorization"], head.headers.len()), (&HeaderValue::from_static("anna"), 2));
        assert!(!passes(&auth, login("anna", "Secret")));
    }
}
