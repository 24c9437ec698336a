//! `redirectScheme`: sends a client that came by another scheme or port to the right one.
//!
//! Takes the scheme and port to redirect to; answers with a Location of that scheme, the host the request was routed
//! by, and the normalised path with its query. It never echoes bytes that were not understood.

use http::{HeaderValue, Method, StatusCode, header};

use super::{Flow, Head, InvalidField, plain};

/// Traefik's `redirectScheme`, ready to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectScheme {
    https: bool,
    /// The port that the Location names; none where it is the scheme's own.
    port: Option<u16>,
    permanent: bool,
}

impl RedirectScheme {
    /// `scheme` is `http` or `https`, `port` a number from 1 to 65535 as text or nothing (empty counts as nothing), and
    /// `permanent` chooses 301 (GET) and 308 over 302 (GET) and 307.
    ///
    /// # Errors
    /// [`InvalidField`] `scheme` or `port`.
    pub fn new(scheme: Option<&str>, port: Option<&str>, permanent: bool) -> Result<Self, InvalidField> {
        let help = "Write `https` or `http`";
        let https = match scheme.unwrap_or_default() {
            "" => return Err(InvalidField::new("scheme", "the scheme to redirect to is missing", help)),
            scheme if scheme.eq_ignore_ascii_case("https") => true,
            scheme if scheme.eq_ignore_ascii_case("http") => false,
            other => {
                let message = format!("`{}` is no scheme to redirect to", other.escape_debug());
                return Err(InvalidField::new("scheme", message, help));
            }
        };
        let port = match port.filter(|p| !p.is_empty()) {
            None => None,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port != 0 => Some(port),
                _ => {
                    let message = format!("`{}` is no port", text.escape_debug());
                    return Err(InvalidField::new("port", message, "Write a number from 1 to 65535"));
                }
            },
        };
        Ok(Self { https, port: port.filter(|p| *p != default_port(https)), permanent })
    }

    /// Redirects unless the request came by this scheme and port. A host that can't stand in a URL, or none at all
    /// (HTTP/1.0), is 400.
    pub fn request(&self, head: &mut Head) -> Flow {
        let port = head.port.filter(|p| *p != default_port(head.secure));
        if head.secure == self.https && port == self.port {
            return Flow::Continue;
        }
        let Some(location) = self.location(head) else {
            return Flow::Respond(plain(StatusCode::BAD_REQUEST));
        };
        let status = match (self.permanent, head.method == Method::GET) {
            (false, true) => StatusCode::FOUND,
            (false, false) => StatusCode::TEMPORARY_REDIRECT,
            (true, true) => StatusCode::MOVED_PERMANENTLY,
            (true, false) => StatusCode::PERMANENT_REDIRECT,
        };
        let mut answer = plain(status);
        answer.headers_mut().insert(header::LOCATION, location);
        Flow::Respond(answer)
    }

    fn location(&self, head: &Head) -> Option<HeaderValue> {
        if !is_host(&head.host) {
            return None;
        }
        let mut url = String::with_capacity(head.host.len() + head.target.path().len() + 16);
        url.push_str(if self.https { "https://" } else { "http://" });
        url.push_str(&head.host);
        if let Some(port) = self.port {
            url.push(':');
            url.push_str(itoa::Buffer::new().format(port));
        }
        push_uri(&mut url, head.target.path());
        if let Some(query) = head.target.query() {
            url.push('?');
            push_uri(&mut url, query);
        }
        HeaderValue::try_from(url).ok()
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// A name or an address that means the same to every parser of URLs.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|ip| !ip.is_empty() && ip.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    }
}

/// Appends URI text; what may not stand in a URI (RFC 3986 §2) is percent-encoded.
fn push_uri(url: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if matches!(byte, 0..=b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..) {
            url.push('%');
            for nibble in [byte >> 4, byte & 15] {
                url.push(HEX.get(usize::from(nibble)).copied().map_or('0', char::from));
            }
        } else {
            url.push(char::from(byte));
        }
    }
}

#[cfg(test)]
mod tests;
