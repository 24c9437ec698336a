//! What the server's answer comes to: the request may pass, or this is what the client gets.

use std::{pin::Pin, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response};
use http_body::Body as _;

use super::{ForwardAuth, bare, question::MEMORY};
use crate::{
    body::{Body, BodyError},
    middleware::{
        Head, headers,
        kept::{Kept, Limits},
        plain, spelling,
    },
};

/// So much of the body of an answer that lets the request pass is read, so that its connection can be used again. It is
/// needed for nothing else.
const MOST_UNUSED: u64 = 64 << 10;

impl ForwardAuth {
    /// The answer's head, if it lets the request pass; else what the client gets.
    pub(super) async fn judge(&self, answer: Response<Body>) -> Result<response::Parts, Response<Body>> {
        let (parts, mut body) = answer.into_parts();
        if parts.status.is_success() {
            return match drain(body, self.max_response_body.unwrap_or(MOST_UNUSED)).await {
                Err(BodyError::TooLarge) if self.max_response_body.is_none() => Ok(parts),
                read => read.map(|()| parts).map_err(|error| unread(&error)),
            };
        }
        if let Some(most) = self.max_response_body {
            // The limit on the whole answer stands around this.
            let limits = Limits { memory: MEMORY, most, idle: Duration::ZERO };
            body = Kept::read(body, limits).await.map_err(|why| unread(&why.error))?.body();
        }
        if let (StatusCode::UNAUTHORIZED, Some(url)) = (parts.status, &self.sign_in) {
            let mut answer = plain(StatusCode::FOUND);
            answer.headers_mut().insert(header::LOCATION, url.clone());
            return Err(answer);
        }
        Err(self.denied(parts, body))
    }

    /// The server's answer as the client gets it. The proxy has taken out what concerned the connection.
    fn denied(&self, mut parts: response::Parts, body: Body) -> Response<Body> {
        let location = parts.headers.get(header::LOCATION).filter(|_| !self.preserve_location);
        let location = location.and_then(|value| self.address.complete(value.to_str().ok()?));
        if let Some(value) = location.and_then(|whole| HeaderValue::try_from(whole).ok()) {
            parts.headers.insert(header::LOCATION, value);
        }
        Response::from_parts(parts, body)
    }

    /// Sets what the server says of the client, in place of whatever the client says of itself.
    pub(super) fn mark(&self, allowed: &response::Parts, head: &mut Head) {
        let copy = |name: &HeaderName, to: &mut HeaderMap| {
            for value in allowed.headers.get_all(name) {
                to.append(name.clone(), value.clone());
            }
        };
        for name in &self.response_headers {
            spelling::remove(&mut head.headers, name);
        }
        // Only then: two of the names may be spellings of one.
        for name in &self.response_headers {
            copy(name, &mut head.headers);
        }
        if self.response_headers_regex.is_some() {
            spelling::remove_if(&mut head.headers, |name| self.fits(name));
            for name in allowed.headers.keys().filter(|name| self.fits(name)) {
                copy(name, &mut head.headers);
            }
        }
        let user = self.user.as_ref().and_then(|name| allowed.headers.get(name));
        if let Some(user) = user {
            head.user = Some(String::from_utf8_lossy(user.as_bytes()).into_owned());
        }
    }

    /// Whether this header is one that the server says.
    pub(in crate::middleware) fn vouches_for(&self, name: &HeaderName) -> bool {
        self.response_headers.iter().any(|own| spelling::are_alike(own, name)) || self.fits(name)
    }

    /// Whether the pattern is for this header. Traefik's is for names as Go writes them; case apart, these are the same.
    fn fits(&self, name: &HeaderName) -> bool {
        let Some(regex) = &self.response_headers_regex else { return false };
        !headers::is_the_proxys(name)
            && *name != header::HOST
            && (regex.is_match(name.as_str()) || regex.is_match(&spelling::dashed(name)))
    }

    /// Adds the cookies that the client is to get of the server, in place of those of the same name.
    pub(super) fn add_cookies(&self, allowed: &response::Parts, answer: &mut HeaderMap) {
        if self.cookies.is_empty() {
            return;
        }
        let lines = allowed.headers.get_all(header::SET_COOKIE).iter();
        let wanted = |line: &&HeaderValue| self.cookies.iter().any(|name| **name == *name_of(line));
        let added: Vec<&HeaderValue> = lines.filter(wanted).collect();
        if added.is_empty() {
            return;
        }
        let replaced = |line: &HeaderValue| added.iter().any(|other| name_of(other) == name_of(line));
        let before: Vec<HeaderValue> =
            answer.get_all(header::SET_COOKIE).iter().filter(|line| !replaced(line)).cloned().collect();
        answer.remove(header::SET_COOKIE);
        for line in before.into_iter().chain(added.into_iter().cloned()) {
            answer.append(header::SET_COOKIE, line);
        }
    }
}

/// The name of a cookie that is set.
fn name_of(line: &HeaderValue) -> &[u8] {
    let pair = line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii()
}

/// Reads a body of at most so many bytes to its end, and keeps nothing of it.
async fn drain(mut body: Body, most: u64) -> Result<(), BodyError> {
    let mut left = most;
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let length = frame?.data_ref().map_or(0, |data| data.len() as u64);
        left = left.checked_sub(length).ok_or(BodyError::TooLarge)?;
    }
    Ok(())
}

/// What the client gets where the answer's body is too long, or is none.
fn unread(error: &BodyError) -> Response<Body> {
    bare(match error {
        BodyError::TooLarge => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    })
}
