//! `basicAuth`: asks for a user name and password (RFC 7617).
//!
//! Takes users with hashed passwords, and answers 401 unless the request names one of them with its password. Slow
//! hashes are computed on threads of their own, never on a worker; what was right once is remembered, so that only
//! the first request of a session pays. A user who doesn't exist costs as much as a wrong password.

mod cache;
mod md5_crypt;
mod pool;
mod users;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

pub use users::Users;

use self::users::Busy;
use super::{Flow, Head, InvalidField, headers, plain};
use crate::body::Body;

/// The longest Authorization value that is looked at, in bytes.
const MAX_AUTHORIZATION: usize = 8 * 1024;

/// Traefik's realm where none is given.
const DEFAULT_REALM: &str = "traefik";

/// Traefik's `basicAuth`, ready to run. Its `Debug` shows no hash.
#[derive(Debug)]
pub struct BasicAuth {
    users: Users,
    challenge: HeaderValue,
    remove_header: bool,
    header_field: Option<HeaderName>,
}

impl BasicAuth {
    /// `realm` is what browsers show (`traefik` where it is empty or absent), `remove_header` hides Authorization
    /// from the backend, `header_field` names a request header that tells it the user.
    ///
    /// # Errors
    /// [`InvalidField`] `realm` for control characters, `headerField` for what can't be a header's name or is the
    /// proxy's own.
    pub fn new(
        users: Users,
        realm: Option<&str>,
        remove_header: bool,
        header_field: Option<&str>,
    ) -> Result<Self, InvalidField> {
        let realm = realm.filter(|r| !r.is_empty()).unwrap_or(DEFAULT_REALM);
        // RFC 9110 §5.6.4: a quoted string.
        let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
        let challenge = HeaderValue::try_from(format!("Basic realm=\"{quoted}\"").into_bytes())
            .map_err(|_| InvalidField::new("realm", "the realm has a control character", "Remove it"))?;
        let header_field = match header_field.filter(|h| !h.is_empty()) {
            None => None,
            Some(text) => {
                let name = headers::name(text, "headerField")?;
                if headers::is_the_proxys(&name) || name == header::HOST {
                    let message = format!("`{text}` can't hold a user's name");
                    return Err(InvalidField::new("headerField", message, "Choose a name like X-WebAuth-User"));
                }
                Some(name)
            }
        };
        Ok(Self { users, challenge, remove_header, header_field })
    }

    /// Lets the request pass if its Authorization names a user with the right password, else answers 401. While the
    /// password threads have more to do than they can queue, a user who isn't known by now gets 503.
    pub async fn request(&self, head: &mut Head) -> Flow {
        if let Some(field) = &self.header_field {
            remove_spellings(&mut head.headers, field);
        }
        let Some((user, password)) = credentials(&head.headers) else {
            return Flow::Respond(self.unauthorized());
        };
        match self.users.check(&user, &password).await {
            Ok(true) => {}
            Ok(false) => return Flow::Respond(self.unauthorized()),
            Err(Busy) => return Flow::Respond(plain(StatusCode::SERVICE_UNAVAILABLE)),
        }
        if self.remove_header {
            head.headers.remove(header::AUTHORIZATION);
        }
        if let Some(field) = &self.header_field
            && let Ok(value) = HeaderValue::from_bytes(user.as_bytes())
        {
            head.headers.insert(field.clone(), value);
        }
        head.user = Some(user);
        Flow::Continue
    }

    fn unauthorized(&self) -> Response<Body> {
        let mut answer = plain(StatusCode::UNAUTHORIZED);
        *answer.body_mut() = Body::from("401 Unauthorized\n");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, self.challenge.clone());
        answer
    }
}

/// Removes what a backend might read as this header: many take `X_User` for `X-User`.
fn remove_spellings(headers: &mut HeaderMap, field: &HeaderName) {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let same = |name: &HeaderName| name.as_str().bytes().map(dashed).eq(field.as_str().bytes().map(dashed));
    let found: Vec<HeaderName> = headers.keys().filter(|name| same(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// User and password of the one Authorization header, if it is well-formed (RFC 7617 §2: UTF-8 user, no control
/// characters in either).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    if value.len() > MAX_AUTHORIZATION {
        return None;
    }
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(encoded.trim_matches(' ')).ok()?;
    if decoded.iter().any(u8::is_ascii_control) {
        return None;
    }
    let colon = memchr::memchr(b':', &decoded)?;
    let (user, password) = decoded.split_at_checked(colon)?;
    Some((std::str::from_utf8(user).ok()?.to_owned(), password.get(1..)?.to_vec()))
}

#[cfg(test)]
mod tests;
