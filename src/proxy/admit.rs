//! Who may come in: a request that two parsers could read differently is refused here, before anything else looks at
//! it. What passes becomes a [`Head`]: one host, one normalised path, the client's own headers only.
//!
//! hyper has refused already what is no HTTP (bad chunk sizes, obs-fold, white space before a colon, control bytes,
//! differing Content-Lengths). The rest of the rules stand here, each with where it comes from.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use smallvec::SmallVec;

use super::connection::Client;
use crate::{
    body::{Body, BodyKind},
    metrics::Refusal,
    middleware::{self, Head},
    net::{CidrSet, from_forwarded, from_the_right},
    table::host_of,
    target::Target,
};

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    /// The answer's status.
    pub(crate) status: StatusCode,
    /// For the log.
    pub(crate) why: &'static str,
    /// For the metrics.
    pub(crate) kind: Refusal,
}

fn malformed(why: &'static str) -> Refused {
    Refused { status: StatusCode::BAD_REQUEST, why, kind: Refusal::Malformed }
}

/// What of a request concerns the protocol and not the user.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// The protocol it wants to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The client waits for a 100 before it sends the body.
    pub(crate) expect: bool,
    /// The request came over HTTP/2.
    pub(crate) http2: bool,
    /// The Host as the client wrote it.
    pub(crate) host: Option<HeaderValue>,
}

/// The names that are ours to set: what a client sends under them is dropped, unless its peer is trusted.
const MANAGED: [&str; 12] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-server",
    "x-real-ip",
    "x-forwarded-prefix",
    "x-forwarded-uri",
    "x-forwarded-method",
    "x-forwarded-tls-client-cert",
    "x-forwarded-tls-client-cert-info",
    // Traefik passes a client's on. Nobody but a proxy has a use for it, and a backend behind replacePath believes it.
    "x-replaced-path",
];

/// Whether a name is one of [`MANAGED`], in any spelling that a backend could take for it (`_` for `-`).
fn is_managed(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.first() != Some(&b'x') || !matches!(bytes.get(1), Some(b'-' | b'_')) {
        return false;
    }
    let same = |managed: &&str| {
        managed.len() == bytes.len() && managed.bytes().zip(bytes).all(|(m, b)| m == *b || (m == b'-' && *b == b'_'))
    };
    MANAGED.iter().any(same)
}

/// What one pass over the headers finds.
#[derive(Default)]
struct Found {
    hosts: usize,
    lengths: usize,
    encodings: usize,
    chunked: bool,
    connection: bool,
    upgrade: bool,
    expect: Option<HeaderValue>,
    te: bool,
    managed: SmallVec<[HeaderName; 4]>,
}

/// Lets a request in, or says why not.
pub(crate) fn admit(
    request: Request<Incoming>,
    client: &Client,
    trusted: &CidrSet,
) -> Result<(middleware::Request, Facts), Refused> {
    let (mut parts, body) = request.into_parts();
    let http2 = parts.version == Version::HTTP_2;
    if parts.method == Method::CONNECT {
        return Err(Refused { status: StatusCode::NOT_IMPLEMENTED, why: "CONNECT", kind: Refusal::Method });
    }
    if let Some(why) = client.activity.take_suspicion() {
        return Err(malformed(why));
    }
    let found = look(&parts.headers, client.trusted);
    let mut facts = Facts { http2, ..Facts::default() };
    let kind = framing(&found, &parts.headers, parts.version, &body)?;
    if let Some(expect) = &found.expect {
        if !expect.as_bytes().eq_ignore_ascii_case(b"100-continue") {
            let (status, why) = (StatusCode::EXPECTATION_FAILED, "an expectation other than 100-continue");
            return Err(Refused { status, why, kind: Refusal::Malformed });
        }
        facts.expect = parts.version == Version::HTTP_11 && kind.has_bytes();
    }
    let uri = std::mem::take(&mut parts.uri).into_parts();
    facts.host = host(&found, uri.authority.as_ref(), &parts.headers, parts.version)?;
    let target = uri.path_and_query.ok_or(malformed("the request target is no path"))?;
    let target = Target::new(target).map_err(|error| match error {
        crate::target::PathError::Escape => malformed("the path has an incomplete percent-encoding"),
        crate::target::PathError::Control => malformed("the path has a control byte"),
        _ => malformed("the request target is no path"),
    })?;
    let (name, port) = match &facts.host {
        Some(value) => {
            let text = value.to_str().ok().and_then(host_of).ok_or(malformed("the Host is no host"))?;
            (text.0.into_owned(), text.1)
        }
        None => (String::new(), None),
    };
    let trailers = http2 || (found.te && middleware::list::has(&parts.headers, &header::TE, b"trailers"));
    if found.connection {
        connection(&mut parts.headers, &found, parts.version, &mut facts);
    }
    for name in &found.managed {
        parts.headers.remove(name);
    }
    let (address, secure) = if client.trusted {
        (claimed_client(&parts.headers, trusted).unwrap_or(client.address), claimed_scheme(&parts.headers))
    } else {
        (client.address, None)
    };
    let head = Head {
        method: parts.method,
        target,
        headers: parts.headers,
        host: name,
        port,
        upstream_host: None,
        secure: secure.unwrap_or(client.tls.is_some()),
        client: address,
        peer: client.address,
        client_certs: client.tls.as_ref().and_then(|tls| tls.client_certs.clone()),
        user: None,
    };
    let body = if kind.has_bytes() { Body::Client(body) } else { Body::Empty };
    let upgrade = facts.upgrade.is_some();
    Ok((middleware::Request { upgrade, trailers, ..middleware::Request::new(head, body, kind) }, facts))
}

fn look(headers: &HeaderMap, trusted: bool) -> Found {
    let mut found = Found::default();
    for (name, value) in headers {
        match name.as_str() {
            "host" => found.hosts += 1,
            "content-length" => found.lengths += 1,
            "transfer-encoding" => {
                found.encodings += 1;
                found.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
            }
            "connection" => found.connection = true,
            "upgrade" => found.upgrade = true,
            "expect" => found.expect = Some(value.clone()),
            "te" => found.te = true,
            other => {
                if !trusted && is_managed(other) {
                    found.managed.push(name.clone());
                }
            }
        }
    }
    found
}

/// RFC 9112 §6.1 and §6.3, strictly: one Content-Length, or a Transfer-Encoding that is exactly `chunked`.
fn framing(found: &Found, headers: &HeaderMap, version: Version, body: &Incoming) -> Result<BodyKind, Refused> {
    if found.lengths > 1 {
        return Err(malformed("several Content-Length headers"));
    }
    if found.encodings > 0 {
        if version == Version::HTTP_2 || version != Version::HTTP_11 {
            return Err(malformed("Transfer-Encoding in a version that has none"));
        }
        if found.encodings > 1 || !found.chunked {
            return Err(malformed("a Transfer-Encoding that is not exactly chunked"));
        }
        // With a Content-Length beside it, it overrides, and hyper closes the connection after the answer.
        return Ok(BodyKind::Chunked);
    }
    if found.lengths == 1 {
        let text = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed("a Content-Length that is no number"));
        }
        let length = text.parse().map_err(|_| malformed("a Content-Length that is too large"))?;
        return Ok(BodyKind::Length(length));
    }
    Ok(if version == Version::HTTP_2 && !body.is_end_stream() { BodyKind::Chunked } else { BodyKind::None })
}

/// The one host: an absolute target's authority overrides Host (RFC 9112 §3.2.2); over HTTP/2 they must agree.
fn host(
    found: &Found,
    authority: Option<&http::uri::Authority>,
    headers: &HeaderMap,
    version: Version,
) -> Result<Option<HeaderValue>, Refused> {
    if found.hosts > 1 {
        return Err(malformed("several Host headers"));
    }
    let header = headers.get(header::HOST);
    if let Some(authority) = authority {
        if version == Version::HTTP_11 && header.is_none() {
            // RFC 9112 §3.2: also beside an absolute target.
            return Err(malformed("no Host"));
        }
        if authority.as_str().contains('@') {
            return Err(malformed("an authority with user information"));
        }
        if version == Version::HTTP_2
            && header.is_some_and(|h| !h.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
        {
            return Err(malformed("a Host that differs from :authority"));
        }
        return HeaderValue::from_str(authority.as_str()).map(Some).map_err(|_| malformed("the authority is no host"));
    }
    match header {
        Some(host) => Ok(Some(host.clone())),
        // HTTP/1.0 without one takes the rules without a host.
        None if version == Version::HTTP_10 => Ok(None),
        None => Err(malformed("no Host")),
    }
}

/// Removes what Connection names (RFC 9110 §7.6.1) before a middleware or we have set anything, so that a client
/// can't have our own headers removed.
fn connection(headers: &mut HeaderMap, found: &Found, version: Version, facts: &mut Facts) {
    let mut named: SmallVec<[HeaderName; 4]> = SmallVec::new();
    let mut wants_upgrade = false;
    for line in headers.get_all(header::CONNECTION) {
        for token in line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"upgrade") {
                wants_upgrade = true;
            } else if let Ok(name) = HeaderName::from_bytes(token) {
                // Framing and routing can't be asked away, nor what a trusted proxy says of its client.
                if !is_managed(name.as_str())
                    && !matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "te" | "close")
                {
                    named.push(name);
                }
            }
        }
    }
    if wants_upgrade && found.upgrade && version == Version::HTTP_11 {
        facts.upgrade = upgrade(headers);
    }
    for name in named {
        headers.remove(name);
    }
}

/// The protocols that may be switched to. Never HTTP itself: a tunnel of HTTP/2 would go past every rule.
fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::UPGRADE).iter().map(HeaderValue::as_bytes);
    let tokens = lines.flat_map(|line| line.split(|b| *b == b',')).map(<[u8]>::trim_ascii);
    let allowed = tokens.filter(|token| {
        let name = token.split(|b| *b == b'/').next().unwrap_or_default();
        !token.is_empty() && ![&b"h2c"[..], b"h2", b"http", b"tls"].iter().any(|n| name.eq_ignore_ascii_case(n))
    });
    let joined = allowed.collect::<Vec<_>>().join(&b", "[..]);
    if joined.is_empty() { None } else { HeaderValue::from_bytes(&joined).ok() }
}

/// The client that a trusted peer speaks for: from the right of X-Forwarded-For, the first that isn't trusted itself.
fn claimed_client(headers: &HeaderMap, trusted: &CidrSet) -> Option<IpAddr> {
    // Read as bytes, so that a client can't hide what a trusted peer has written behind bytes that are no text.
    let lines = headers.get_all("x-forwarded-for").iter().map(HeaderValue::as_bytes);
    let mut client = None;
    for entry in from_the_right(lines) {
        let Some(address) = from_forwarded(entry) else { break };
        client = Some(address);
        if !trusted.contains(address) {
            break;
        }
    }
    client
}

fn claimed_scheme(headers: &HeaderMap) -> Option<bool> {
    match headers.get("x-forwarded-proto")?.as_bytes() {
        b"https" | b"wss" => Some(true),
        b"http" | b"ws" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_names_in_any_spelling() {
        for name in
            ["x-forwarded-for", "x_forwarded_for", "x-forwarded_proto", "x_real_ip", "x-forwarded-tls_client-cert"]
        {
            assert!(is_managed(name), "{name}");
        }
        for name in ["x-forwarded", "x-request-id", "x_custom", "forwarded", "x-forwarded-for2", "x", ""] {
            assert!(!is_managed(name), "{name}");
        }
    }

    #[test]
    fn http_is_never_switched_to() {
        let asked = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::UPGRADE, HeaderValue::from_str(line).unwrap());
            }
            upgrade(&headers).map(|v| v.to_str().unwrap().to_owned())
        };
        assert_eq!(asked(&["websocket"]).as_deref(), Some("websocket"));
        assert_eq!(asked(&["foo, h2c", "H2C, HTTP/2.0, bar/1"]).as_deref(), Some("foo, bar/1"));
        assert_eq!(asked(&["h2c"]), None);
        assert_eq!(asked(&["HTTP/2.0, TLS/1.0"]), None);
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_not_trusted() {
        let trusted = CidrSet::parse(["10.0.0.0/8"]).unwrap();
        let client = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_bytes()).unwrap());
            }
            claimed_client(&headers, &trusted).map(|ip| ip.to_string())
        };
        assert_eq!(client(&["1.1.1.1, 2.2.2.2, 10.0.0.1"]).as_deref(), Some("2.2.2.2"));
        assert_eq!(client(&["1.1.1.1", "10.0.0.2, 10.0.0.1"]).as_deref(), Some("1.1.1.1"));
        assert_eq!(client(&["1.1.1.1, nonsense, 10.0.0.1"]).as_deref(), Some("10.0.0.1"));
        assert_eq!(client(&["é, 2.2.2.2"]).as_deref(), Some("2.2.2.2"));
        assert_eq!(client(&["[2001:db8::1]:443"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(client(&["::ffff:1.2.3.4"]).as_deref(), Some("1.2.3.4"));
        assert_eq!(client(&[]), None);
    }
}
