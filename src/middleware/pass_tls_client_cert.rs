//! `passTLSClientCert`: tells the backend of the certificate that the client showed when it connected.
//!
//! Takes the chain of the connection, sets two request headers of it. What came under these names before is removed in
//! any case, so that what a backend finds there is what the client proved to have.

mod info;

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue};
use rustls_pki_types::CertificateDer;

pub use info::{Info, Name};

use super::{Flow, Head, spelling};

const CERT: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert");
const CERT_INFO: HeaderName = HeaderName::from_static("x-forwarded-tls-client-cert-info");

/// Traefik's `passTLSClientCert`, ready to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PassTlsClientCert {
    /// Whether the certificates themselves are sent, in `X-Forwarded-Tls-Client-Cert`.
    pub pem: bool,
    /// What of them is said in `X-Forwarded-Tls-Client-Cert-Info`.
    pub info: Option<Info>,
}

impl PassTlsClientCert {
    /// Whether this header is where the backend is told of the certificate.
    pub(super) fn vouches_for(&self, name: &HeaderName) -> bool {
        spelling::are_alike(&CERT, name) || spelling::are_alike(&CERT_INFO, name)
    }

    /// Sets the headers.
    pub fn request(&self, head: &mut Head) -> Flow {
        spelling::remove(&mut head.headers, &CERT);
        spelling::remove(&mut head.headers, &CERT_INFO);
        let Some(certs) = head.client_certs.as_deref().filter(|certs| !certs.is_empty()) else {
            return Flow::Continue;
        };
        if self.pem
            && let Ok(value) = HeaderValue::try_from(encoded(certs))
        {
            head.headers.insert(CERT, value);
        }
        if let Some(info) = &self.info {
            // Where one of them can't be read, nothing is said: the backend counts on their order.
            let said = certs.iter().map(|cert| info.of(cert)).collect::<Option<Vec<String>>>();
            if let Some(value) = said.and_then(|said| HeaderValue::try_from(escaped(&said.join(","))).ok()) {
                head.headers.insert(CERT_INFO, value);
            }
        }
        Flow::Continue
    }
}

/// PEM without its armour and line ends, with a comma between certificates.
fn encoded(certs: &[CertificateDer<'_>]) -> String {
    let mut text = String::with_capacity(certs.iter().map(|cert| cert.len() / 3 * 4 + 5).sum());
    for (index, cert) in certs.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        STANDARD.encode_string(cert, &mut text);
    }
    text
}

/// As Go's `url.QueryEscape`, which Traefik uses: a plus for a space, letters, digits and `-_.~` as they are.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 2);
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => {
                // Writing to a String can't fail.
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
