//! `basicAuth`: asks for a user name and password (RFC 7617).
//!
//! Takes users with hashed passwords, and answers 401 unless the request names one of them with its password. Slow
//! hashes are computed on threads of their own, never on a worker; what was right once is remembered, so that only
//! the first request of a session pays. Every refusal costs the same, so that its time doesn't tell who
//! exists.

mod cache;
mod md5_crypt;
mod pool;
mod refusal;
mod users;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

pub use users::Users;

use self::users::Busy;
use super::{
    Flow, Head, InvalidField,
    login::{self, Login},
    plain,
};

/// Traefik's `basicAuth`, ready to run. Its `Debug` shows no hash.
#[derive(Debug)]
pub struct BasicAuth {
    users: Users,
    login: Login,
    challenge: HeaderValue,
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
        let login = Login::new(login::realm_or_default(realm), remove_header, header_field)?;
        let challenge = HeaderValue::try_from(format!("Basic realm={}", login.quoted_realm).into_bytes())
            .map_err(|_| InvalidField::new("realm", "the realm can't be sent", "Choose another"))?;
        Ok(Self { users, login, challenge })
    }

    /// Whether this header is where the backend is told the user.
    pub(super) fn vouches_for(&self, name: &HeaderName) -> bool {
        self.login.vouches_for(name)
    }

    /// Lets the request pass if its Authorization names a user with the right password, else answers 401. While the
    /// password threads have more to do than they can queue, a user who isn't known by now gets 503.
    pub async fn request(&self, head: &mut Head) -> Flow {
        self.login.clear(&mut head.headers);
        let Some((user, password)) = credentials(&head.headers) else {
            return Flow::Respond(login::unauthorized(self.challenge.clone()));
        };
        match self.users.check(&user, &password).await {
            Ok(true) => {}
            Ok(false) => return Flow::Respond(login::unauthorized(self.challenge.clone())),
            Err(Busy) => return Flow::Respond(plain(StatusCode::SERVICE_UNAVAILABLE)),
        }
        self.login.tell(head, user);
        Flow::Continue
    }
}

/// User and password of the one Authorization header, if it is well-formed (RFC 7617 §2: UTF-8 user, no control
/// characters in either).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = login::authorization(headers)?.to_str().ok()?.split_once(' ')?;
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
