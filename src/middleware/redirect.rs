//! What both redirecting types share: which status, which hosts may stand in a URL, and how a URL becomes a Location
//! that holds no byte which could end a header or be read in two ways.

use http::{HeaderValue, Method, StatusCode, header};

use super::{Flow, plain};

/// The answer that sends a client to this URL: 302 for GET and 307 for other methods, so that the method stays;
/// `permanent` chooses 301 and 308. Bytes that may not stand in a URI are percent-encoded.
pub(super) fn to(url: &str, permanent: bool, method: &Method) -> Flow {
    let status = match (permanent, method == Method::GET) {
        (false, true) => StatusCode::FOUND,
        (false, false) => StatusCode::TEMPORARY_REDIRECT,
        (true, true) => StatusCode::MOVED_PERMANENTLY,
        (true, false) => StatusCode::PERMANENT_REDIRECT,
    };
    match HeaderValue::try_from(uri(url)) {
        Ok(location) => {
            let mut answer = plain(status);
            answer.headers_mut().insert(header::LOCATION, location);
            Flow::Respond(answer)
        }
        Err(_) => bad_request(),
    }
}

/// 400, for what can't be redirected.
pub(super) fn bad_request() -> Flow {
    Flow::Respond(plain(StatusCode::BAD_REQUEST))
}

/// A name or an address that means the same to every parser of URLs.
pub(super) fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .is_some_and(|ip| !ip.is_empty() && ip.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_')),
    }
}

/// The text as a URI: what may not stand in one (RFC 3986 §2) is percent-encoded.
fn uri(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut url = String::with_capacity(text.len() + 16);
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
    url
}
