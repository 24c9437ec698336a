//! How connections to a service's endpoints are made, where a Service asks for other than the process's flags say
//! (Traefik's ServersTransport). Plain data: `compile` fills [`Parts`], the proxy makes its TLS settings and limits of
//! them. A [`Transport`] is known by a fingerprint over all of its parts, so that compiling the same again keeps the
//! connections that stand, and any change of it (a Secret's too) ends them.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use rustls::{RootCertStore, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, ServerName};

/// What a service's connections need. What is absent is as the process's flags say.
#[derive(Clone, Default)]
pub struct Parts {
    /// The only name that an endpoint's certificate may bear, and the SNI (`serverName`).
    pub server_name: Option<ServerName<'static>>,
    /// Whether any certificate will do (`insecureSkipVerify`). With a `peer_uri`, its name only is not looked at.
    pub insecure: Option<bool>,
    /// What a certificate must come from, instead of the process's roots (`rootCAs`).
    pub roots: Option<Roots>,
    /// A URI that the certificate must bear as a subject alternative name (`peerCertURI`).
    pub peer_uri: Option<Arc<str>>,
    /// What is shown to an endpoint that asks for a certificate: the first that it takes (`certificatesSecrets`).
    pub certificates: Vec<Arc<CertifiedKey>>,
    /// Versions of TLS that are spoken.
    pub versions: Versions,
    /// IANA numbers of the only cipher suites that are offered. At least one of them is known to the proxy, and fits a
    /// version that is spoken.
    pub suites: Option<Vec<u16>>,
    /// HTTP/1.1 only (`disableHTTP2`).
    pub http1_only: bool,
    /// How many idle connections to an endpoint are kept, in all of the process (`maxIdleConnsPerHost`).
    pub most_idle: Option<usize>,
    /// Limits on waits.
    pub waits: Waits,
}

impl Parts {
    /// Whether any of it is of no effect in the clear.
    pub fn concerns_tls(&self) -> bool {
        let Self {
            server_name,
            insecure,
            roots,
            peer_uri,
            certificates,
            versions,
            suites,
            http1_only: _,
            most_idle: _,
            waits: _,
        } = self;
        let verifies = server_name.is_some() || insecure.is_some() || roots.is_some() || peer_uri.is_some();
        verifies || !certificates.is_empty() || *versions != Versions::default() || suites.is_some()
    }
}

/// Limits on waits (`forwardingTimeouts`). Zero is none, except where it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// Connecting, TLS included (`dialTimeout`).
    pub connect: Option<Duration>,
    /// From the request's end to the first byte of the answer (`responseHeaderTimeout`).
    pub response: Option<Duration>,
    /// An idle connection (`idleConnTimeout`).
    pub idle: Option<Duration>,
    /// Silence on an HTTP/2 connection before a ping is sent (`readIdleTimeout`).
    pub silence: Option<Duration>,
    /// From a ping to its answer, before the connection is given up (`pingTimeout`). Never zero.
    pub ping: Option<Duration>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2
    Tls12,
    /// TLS 1.3
    Tls13,
}

/// From the oldest version to the newest, both included; never an empty range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// `minVersion`
    pub oldest: Version,
    /// `maxVersion`
    pub newest: Version,
}

impl Default for Versions {
    fn default() -> Self {
        Self { oldest: Version::Tls12, newest: Version::Tls13 }
    }
}

impl Versions {
    /// Whether a version is spoken.
    pub fn has(self, version: Version) -> bool {
        (self.oldest..=self.newest).contains(&version)
    }
}

/// Certificates that are trusted: as issuers, and as themselves.
#[derive(Clone, Debug)]
pub struct Roots {
    /// As issuers.
    pub anchors: Arc<RootCertStore>,
    /// As themselves: an endpoint that shows one of them needs no issuer, even where it is a CA's own (as
    /// `openssl req -x509` makes them).
    pub certificates: Arc<[CertificateDer<'static>]>,
}

impl Roots {
    /// Trusts these certificates.
    ///
    /// # Errors
    /// The place (from 0) of the first that can't be an issuer.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, usize> {
        let mut anchors = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            anchors.add(certificate.clone()).map_err(|_| index)?;
        }
        Ok(Self { anchors: Arc::new(anchors), certificates: certificates.into() })
    }
}

/// How a service's connections are made. Two with the same parts are equal.
pub struct Transport {
    parts: Parts,
    fingerprint: [u8; 32],
}

impl Transport {
    /// One of these parts.
    pub fn new(parts: Parts) -> Self {
        let fingerprint = fingerprint(&parts);
        Self { parts, fingerprint }
    }

    /// What it is of.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// SHA-256 over all of its parts. A private key counts by the public one in its certificate.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }
}

impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Transport {}

/// Without certificates and keys.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.fingerprint.iter().take(8).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
        f.debug_tuple("Transport").field(&format_args!("{id:016x}")).finish()
    }
}

fn fingerprint(parts: &Parts) -> [u8; 32] {
    let Parts {
        server_name,
        insecure,
        roots,
        peer_uri,
        certificates,
        versions: Versions { oldest, newest },
        suites,
        http1_only,
        most_idle,
        waits: Waits { connect, response, idle, silence, ping },
    } = parts;
    let mut sum = Sum(digest::Context::new(&digest::SHA256));
    sum.optional(server_name.as_ref().map(ServerName::to_str).as_deref().map(str::as_bytes));
    sum.optional(insecure.map(|on| [u8::from(on)]).as_ref().map(<[u8; 1]>::as_slice));
    sum.list(roots.as_ref().map(|roots| roots.certificates.iter().map(AsRef::as_ref)));
    sum.optional(peer_uri.as_deref().map(str::as_bytes));
    sum.number(certificates.len() as u64);
    for certified in certificates {
        sum.list(Some(certified.cert.iter().map(AsRef::as_ref)));
    }
    sum.number(*oldest as u64);
    sum.number(*newest as u64);
    let suites: Option<Vec<[u8; 2]>> = suites.as_ref().map(|list| list.iter().map(|s| s.to_be_bytes()).collect());
    sum.list(suites.as_ref().map(|list| list.iter().map(<[u8; 2]>::as_slice)));
    sum.number(u64::from(*http1_only));
    sum.optional(most_idle.map(|most| (most as u64).to_be_bytes()).as_ref().map(<[u8; 8]>::as_slice));
    for wait in [connect, response, idle, silence, ping] {
        sum.optional(wait.map(|wait| wait.as_nanos().to_be_bytes()).as_ref().map(<[u8; 16]>::as_slice));
    }
    sum.finish()
}

/// A digest of parts, each with its length before it, so that no two lists of parts give the same bytes.
struct Sum(digest::Context);

impl Sum {
    fn number(&mut self, number: u64) {
        self.0.update(&number.to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.number(u64::from(bytes.is_some()));
        bytes.iter().for_each(|bytes| self.bytes(bytes));
    }

    fn list<'a>(&mut self, list: Option<impl ExactSizeIterator<Item = &'a [u8]>>) {
        self.number(u64::from(list.is_some()));
        if let Some(list) = list {
            self.number(list.len() as u64);
            list.for_each(|bytes| self.bytes(bytes));
        }
    }

    fn finish(self) -> [u8; 32] {
        let hash = self.0.finish();
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
        bytes
    }
}

#[cfg(test)]
mod tests;
