use http::Method;

use super::*;
use crate::middleware::headers::tests::{answer_of, head};

fn passes(allowed: Allowed, path: &str) -> bool {
    let mut head = head(Method::GET, &format!("http://a.example{path}"));
    match EncodedCharacters::new(allowed).request(&mut head) {
        Flow::Continue => true,
        flow => {
            let (status, headers, body) = answer_of(flow);
            assert_eq!((status, headers.len(), body.as_str()), (400, 0, ""));
            false
        }
    }
}

#[test]
fn each_character_for_itself() {
    let none = Allowed::default();
    for (path, allowed) in [
        ("/a%2fb", Allowed { slash: true, ..none }),
        ("/a%5Cb", Allowed { back_slash: true, ..none }),
        ("/a%3bb", Allowed { semicolon: true, ..none }),
        ("/a%25b", Allowed { percent: true, ..none }),
        ("/a%3Fb", Allowed { question_mark: true, ..none }),
        ("/%23", Allowed { hash: true, ..none }),
    ] {
        let all =
            Allowed { slash: true, back_slash: true, semicolon: true, percent: true, question_mark: true, hash: true };
        assert!(!passes(none, path) && passes(allowed, path) && passes(all, path), "{path}");
    }
}

#[test]
fn the_rest_passes() {
    for path in ["/", "/a;b", "/a%20b/%C3%A9%22", "/%61", "/a?b=%2F%25"] {
        assert!(passes(Allowed::default(), path), "{path}");
    }
}

#[test]
fn an_encoded_percent_sign_begins_no_other_escape() {
    let percent = Allowed { percent: true, ..Allowed::default() };
    assert!(passes(percent, "/a%252Fb%253F"));
    assert!(!passes(percent, "/a%252F%2F"));
    assert!(!passes(Allowed { slash: true, ..Allowed::default() }, "/a%252Fb"));
}
