//! How an HTTP/1 answer is framed (RFC 9112 §6.3), and which of its fields concern only this connection. Strict: an
//! answer that two readers could cut differently is no answer.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::http1::Asked;
use crate::proxy::error::Error;

/// How the answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    None,
    Length(u64),
    Chunked,
    Close,
}

/// The fields of an answer that frame it or concern only this connection.
#[derive(Debug, Default)]
pub(super) struct FramingFields {
    length: Option<u64>,
    encodings: usize,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    named: Vec<HeaderName>,
    upgrade: Option<HeaderValue>,
}

impl FramingFields {
    /// Whether a field is kept out of what is forwarded.
    pub(super) fn keep_out(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<bool, Error> {
        match name.as_str() {
            "content-length" => {
                let text = value.to_str().unwrap_or_default();
                let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
                let length = digits.then(|| text.parse().ok()).flatten();
                let length = length.ok_or(Error::Malformed("its Content-Length is not a number"))?;
                if self.length.is_some_and(|before| before != length) {
                    return Err(Error::Malformed("it has two Content-Lengths"));
                }
                self.length = Some(length);
                Ok(true)
            }
            "transfer-encoding" => {
                self.encodings += 1;
                self.chunked = value.as_bytes().eq_ignore_ascii_case(b"chunked");
                Ok(true)
            }
            "connection" => {
                for token in value.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                    if token.eq_ignore_ascii_case(b"close") {
                        self.close = true;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        self.keep_alive = true;
                    } else if let Ok(name) = HeaderName::from_bytes(token) {
                        self.named.push(name);
                    }
                }
                Ok(true)
            }
            "upgrade" => {
                self.upgrade = Some(value.clone());
                Ok(true)
            }
            "keep-alive" | "proxy-connection" | "te" | "proxy-authenticate" => Ok(true),
            _ => Ok(false),
        }
    }

    /// How the body ends (RFC 9112 §6.3), and whether the connection can be used again.
    pub(super) fn finish(
        self,
        headers: &mut HeaderMap,
        status: StatusCode,
        old: bool,
        asked: &Asked,
    ) -> Result<(Ending, bool), Error> {
        for name in &self.named {
            headers.remove(name);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let protocol = self.upgrade.ok_or(Error::Malformed("it switches to no protocol"))?;
            let tokens = |value: &HeaderValue| -> Vec<Vec<u8>> {
                value.as_bytes().split(|b| *b == b',').map(|t| t.trim_ascii().to_ascii_lowercase()).collect()
            };
            let asked = asked.upgrade.as_ref().map(tokens).unwrap_or_default();
            if !tokens(&protocol).iter().all(|token| asked.contains(token)) {
                return Err(Error::Malformed("it switches to a protocol that it was not asked for"));
            }
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
            return Ok((Ending::None, false));
        }
        let mut keep = !self.close && (!old || self.keep_alive);
        let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
        if self.encodings > 0 {
            if self.encodings > 1 || !self.chunked || old {
                return Err(Error::Malformed("its Transfer-Encoding is not chunked"));
            }
            // Transfer-Encoding overrides; such a connection is not used again (RFC 9112 §6.3 rule 3).
            keep &= self.length.is_none();
        } else if let Some(length) =
            self.length.filter(|_| !matches!(status.as_u16(), 204) && !status.is_informational())
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if bodiless || asked.head_request {
            return Ok((Ending::None, keep));
        }
        Ok(match (self.encodings, self.length) {
            (1.., _) => (Ending::Chunked, keep),
            (0, Some(length)) => (Ending::Length(length), keep),
            (0, None) => (Ending::Close, false),
        })
    }
}
