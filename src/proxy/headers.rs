//! The headers that leave us: hop-by-hop fields out, forwarded fields ours, framing anew. Upstream, a request is
//! written from the client's own header map, which is never copied for HTTP/1.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header, uri};

use super::{admit::Facts, connection::Client, upstream::http2::Outgoing};
use crate::{
    balance::{Scheme, Sticky},
    body::BodyKind,
    middleware::{Head, headers::FORWARDED},
    settings::Settings,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_SERVER: HeaderName = HeaderName::from_static("x-forwarded-server");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Everything that decides what is sent upstream.
pub(crate) struct Outbound<'a> {
    pub(crate) head: &'a Head,
    pub(crate) facts: &'a Facts,
    /// The body's framing.
    pub(crate) kind: BodyKind,
    /// Whether the endpoint is told that trailers are understood.
    pub(crate) trailers: bool,
    pub(crate) client: &'a Client,
    pub(crate) settings: &'a Settings,
    /// The endpoint's address as a Host.
    pub(crate) authority: Option<&'a HeaderValue>,
    /// Whether the client's Host is sent.
    pub(crate) pass_host: bool,
    /// Whether the endpoint is asked for a 100 before the body is sent.
    pub(crate) expect: bool,
    /// The sticky cookie, where it is not passed on.
    pub(crate) strip: Option<&'a Sticky>,
}

/// What of the forwarded fields a trusted peer or a middleware has set already.
#[derive(Default)]
struct Present {
    forwarded_for: bool,
    proto: bool,
    host: bool,
    port: bool,
    real_ip: bool,
}

impl Outbound<'_> {
    /// The Host that the endpoint sees.
    fn host(&self) -> Option<&HeaderValue> {
        let own = self.head.upstream_host.as_ref().or(if self.pass_host { None } else { self.authority });
        // HTTP/1.0 may come without one; a backend gets its own address then.
        own.or(self.facts.host.as_ref()).or(self.authority)
    }

    /// Writes the request's head as HTTP/1.1.
    pub(crate) fn write(&self, out: &mut BytesMut) {
        out.reserve(1_024);
        out.put_slice(self.head.method.as_str().as_bytes());
        out.put_u8(b' ');
        match self.head.target.unchanged() {
            Some(target) => out.put_slice(target.as_str().as_bytes()),
            None => {
                out.put_slice(self.head.target.path().as_bytes());
                if let Some(query) = self.head.target.query() {
                    out.put_u8(b'?');
                    out.put_slice(query.as_bytes());
                }
            }
        }
        out.put_slice(b" HTTP/1.1\r\nhost: ");
        out.put_slice(self.host().map_or(&b""[..], HeaderValue::as_bytes));
        out.put_slice(b"\r\n");
        let mut line = |name: &HeaderName, value: &[u8]| {
            out.put_slice(name.as_str().as_bytes());
            out.put_slice(b": ");
            out.put_slice(value);
            out.put_slice(b"\r\n");
        };
        self.fields(&mut line);
        match (&self.facts.upgrade, self.trailers) {
            (Some(protocol), _) => {
                line(&header::CONNECTION, b"upgrade");
                line(&header::UPGRADE, protocol.as_bytes());
            }
            (None, true) => {
                line(&header::CONNECTION, b"te");
                line(&header::TE, b"trailers");
            }
            (None, false) => {}
        }
        if self.expect {
            line(&header::EXPECT, b"100-continue");
        }
        match self.kind {
            BodyKind::None => {}
            BodyKind::Length(length) => {
                out.put_slice(b"content-length: ");
                out.put_slice(itoa::Buffer::new().format(length).as_bytes());
                out.put_slice(b"\r\n");
            }
            BodyKind::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        }
        out.put_slice(b"\r\n");
    }

    /// The request for an endpoint that speaks HTTP/2.
    pub(crate) fn request(&self, scheme: Scheme, body: Outgoing) -> Result<Request<Outgoing>, http::Error> {
        let path = self.head.target.path();
        let path = match self.head.target.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let authority = self.host().map_or(&b"localhost"[..], HeaderValue::as_bytes);
        let scheme = if scheme == Scheme::Https { uri::Scheme::HTTPS } else { uri::Scheme::HTTP };
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build()?;
        let mut headers = HeaderMap::with_capacity(self.head.headers.len() + 8);
        self.fields(&mut |name, value| {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                headers.append(name.clone(), value);
            }
        });
        if self.trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let BodyKind::Length(length) = self.kind {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// The client's end-to-end fields, then ours.
    fn fields(&self, each: &mut impl FnMut(&HeaderName, &[u8])) {
        let mut present = Present::default();
        let mut cookies = false;
        for (name, value) in &self.head.headers {
            match name.as_str() {
                "host"
                | "connection"
                | "keep-alive"
                | "proxy-connection"
                | "proxy-authorization"
                | "te"
                | "transfer-encoding"
                | "upgrade"
                | "content-length"
                | "expect"
                | "x-forwarded-server"
                | "http2-settings" => continue,
                "trailer" if self.kind != BodyKind::Chunked => continue,
                "cookie" if self.facts.http2 || self.strip.is_some() => {
                    cookies = true;
                    continue;
                }
                "x-forwarded-for" => {
                    present.forwarded_for = true;
                    continue;
                }
                "x-forwarded-proto" => present.proto = true,
                "x-forwarded-host" => present.host = true,
                "x-forwarded-port" => present.port = true,
                "x-real-ip" => present.real_ip = true,
                _ => {}
            }
            // Emptied by a middleware: not to be sent at all.
            if value.is_empty() && FORWARDED.contains(name) {
                continue;
            }
            each(name, value.as_bytes());
        }
        if cookies {
            // HTTP/2 may split the field, HTTP/1 has it in one (RFC 9113 §8.2.3).
            let lines = self.head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
            let mut left = lines.collect::<Vec<_>>().join(&b"; "[..]);
            if let Some(sticky) = self.strip {
                left = sticky.without(&left);
            }
            if !left.is_empty() {
                each(&header::COOKIE, &left);
            }
        }
        self.forwarded(&present, each);
    }

    fn forwarded(&self, present: &Present, each: &mut impl FnMut(&HeaderName, &[u8])) {
        let peer = self.client.text.as_bytes();
        if present.forwarded_for {
            let mut list: Vec<&[u8]> =
                self.head.headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect();
            if !list.iter().all(|v| v.is_empty()) {
                list.push(peer);
                each(&X_FORWARDED_FOR, &list.join(&b", "[..]));
            }
        } else {
            each(&X_FORWARDED_FOR, peer);
        }
        if !present.proto {
            let websocket =
                self.facts.upgrade.as_ref().is_some_and(|u| u.as_bytes().eq_ignore_ascii_case(b"websocket"));
            let proto: &[u8] = match (self.head.secure, websocket) {
                (true, true) => b"wss",
                (true, false) => b"https",
                (false, true) => b"ws",
                (false, false) => b"http",
            };
            each(&X_FORWARDED_PROTO, proto);
        }
        if let Some(host) = self.facts.host.as_ref().filter(|_| !present.host) {
            each(&X_FORWARDED_HOST, host.as_bytes());
        }
        if !present.port {
            let port = self.head.port.unwrap_or(if self.head.secure { 443 } else { 80 });
            each(&X_FORWARDED_PORT, itoa::Buffer::new().format(port).as_bytes());
        }
        each(&X_FORWARDED_SERVER, self.settings.hostname.as_bytes());
        if !present.real_ip {
            if self.head.client == self.client.address {
                each(&X_REAL_IP, peer);
            } else {
                each(&X_REAL_IP, self.head.client.to_string().as_bytes());
            }
        }
    }
}

/// Fields of an HTTP/2 answer that must not come out on HTTP/1 (and that no HTTP/2 endpoint should send).
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
    headers.remove("proxy-connection");
}
