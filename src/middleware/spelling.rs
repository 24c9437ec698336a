//! Header names that a backend may take for one another.
//!
//! CGI and what came of it know `X-User` and `X_User` by one name, and some know `X.User` by it too. Where a middleware
//! vouches for a header, what a client sends in any of these spellings has to go.

use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// Removes a header in every spelling.
pub(super) fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    remove_if(headers, |other| are_alike(other, name));
}

/// Removes the headers whose names hold.
pub(super) fn remove_if(headers: &mut HeaderMap, holds: impl Fn(&HeaderName) -> bool) {
    let found: SmallVec<[HeaderName; 4]> = headers.keys().filter(|name| holds(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// A name with a dash for whatever is neither letter nor digit. Names are in lower case already.
pub(super) fn dashed(name: &HeaderName) -> String {
    name.as_str().bytes().map(|byte| char::from(dash(byte))).collect()
}

/// Whether the names are spellings of one.
pub(super) fn are_alike(one: &HeaderName, other: &HeaderName) -> bool {
    one.as_str().bytes().map(dash).eq(other.as_str().bytes().map(dash))
}

fn dash(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte } else { b'-' }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_goes_and_nothing_else() {
        let mut headers = HeaderMap::new();
        let alike = ["x-web-user", "x_web_user", "X-Web_User", "x.web.user"];
        let others = ["x-web-user-id", "x-webuser", "x-web", "web-user", "xweb-user-"];
        for name in alike.into_iter().chain(others) {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), http::HeaderValue::from_static("1"));
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), http::HeaderValue::from_static("2"));
        }
        remove(&mut headers, &HeaderName::from_static("x_web-user"));
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        let mut others = others;
        others.sort_unstable();
        assert_eq!(left, others);
    }

    #[test]
    fn dashes_stand_for_the_odd_ones() {
        assert_eq!(dashed(&HeaderName::from_static("x_a.b-c1")), "x-a-b-c1");
    }
}
