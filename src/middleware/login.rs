//! What `basicAuth` and `digestAuth` have in common: the realm, the 401, and how the backend is told the user.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Head, InvalidField, headers, plain, spelling};
use crate::body::Body;

/// The longest Authorization value that is looked at, in bytes.
const MAX_AUTHORIZATION: usize = 8 * 1024;

/// Traefik's realm where none is given.
const DEFAULT_REALM: &str = "traefik";

/// The fields that both types have.
#[derive(Debug)]
pub(super) struct Login {
    /// As a quoted string (RFC 9110 §5.6.4).
    pub(super) quoted_realm: Box<str>,
    remove_header: bool,
    header_field: Option<HeaderName>,
}

/// `traefik` where the field is empty or absent.
pub(super) fn realm_or_default(realm: Option<&str>) -> &str {
    realm.filter(|r| !r.is_empty()).unwrap_or(DEFAULT_REALM)
}

impl Login {
    /// `realm` is what browsers show, `remove_header` hides Authorization from the backend, `header_field` names a
    /// request header that tells it the user.
    ///
    /// # Errors
    /// [`InvalidField`] `realm` for control characters, `headerField` for what can't be a header's name or is the
    /// proxy's own.
    pub(super) fn new(realm: &str, remove_header: bool, header_field: Option<&str>) -> Result<Self, InvalidField> {
        if realm.chars().any(char::is_control) {
            return Err(InvalidField::new("realm", "the realm has a control character", "Remove it"));
        }
        let quoted_realm = format!("\"{}\"", realm.replace('\\', "\\\\").replace('"', "\\\"")).into();
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
        Ok(Self { quoted_realm, remove_header, header_field })
    }

    /// Whether this header is where the backend is told the user.
    pub(super) fn vouches_for(&self, name: &HeaderName) -> bool {
        self.header_field.as_ref().is_some_and(|field| spelling::are_alike(field, name))
    }

    /// Removes what only we may say of the user. An Authorization stays even if the user is told there: it has to be read
    /// yet, and is replaced by [`Login::tell`].
    pub(super) fn clear(&self, headers: &mut HeaderMap) {
        spelling::remove_if(headers, |name| self.vouches_for(name) && *name != header::AUTHORIZATION);
    }

    /// Tells the backend and the access log who the user is.
    pub(super) fn tell(&self, head: &mut Head, user: String) {
        if self.remove_header {
            head.headers.remove(header::AUTHORIZATION);
        }
        if let Some(field) = &self.header_field {
            match HeaderValue::from_bytes(user.as_bytes()) {
                Ok(value) => head.headers.insert(field.clone(), value),
                Err(_) => head.headers.remove(field),
            };
        }
        head.user = Some(user);
    }
}

/// The one Authorization header, unless it is longer than any that is meant for us.
pub(super) fn authorization(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    (value.len() <= MAX_AUTHORIZATION).then_some(value)
}

/// 401 with Traefik's text.
pub(super) fn unauthorized(challenge: HeaderValue) -> Response<Body> {
    let mut answer = plain(StatusCode::UNAUTHORIZED);
    *answer.body_mut() = Body::from("401 Unauthorized\n");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}
