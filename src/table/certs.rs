//! Which certificate a server name gets: exact before wildcard, the unexpired before the expired.

use std::sync::Arc;

use hashbrown::HashMap;
use rustls::{crypto::CryptoProvider, sign::CertifiedKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// Who a certificate comes from: two hosts of one Secret are one entry, and a rotation keeps the entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertId {
    /// The Secret's namespace.
    pub namespace: Arc<str>,
    /// The Secret's name.
    pub name: Arc<str>,
}

/// A certificate with its key.
#[derive(Debug)]
pub struct Cert {
    /// Where it comes from.
    pub id: CertId,
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// `notBefore` of the leaf, seconds since 1970.
    pub not_before: i64,
    /// `notAfter` of the leaf, seconds since 1970.
    pub not_after: i64,
    /// The names in the leaf.
    pub names: Vec<String>,
}

impl Cert {
    /// Whether it is valid at this time (seconds since 1970).
    pub fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

type ByName = HashMap<Arc<str>, Vec<Arc<Cert>>, foldhash::fast::RandomState>;

/// Certificates by the hosts that Ingresses list for them.
#[derive(Clone, Debug, Default)]
pub struct Certs {
    exact: ByName,
    wildcard: ByName,
    /// Hosts that get no other certificate than these, whatever wildcard there is.
    only: ByName,
}

impl Certs {
    /// Adds a certificate for a host of `spec.tls[].hosts`, lower case; `*.x` stands for one label. Call in order of
    /// precedence: the first that is valid when a client comes is served.
    pub fn insert(&mut self, host: &Arc<str>, cert: Arc<Cert>) {
        let (map, name) = match host.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, Arc::from(rest)),
            None => (&mut self.exact, Arc::clone(host)),
        };
        map.entry(name).or_default().push(cert);
    }

    /// Gives a host exactly these certificates, in order of precedence, and none of a wildcard; without any, it gets the
    /// default certificate. `host` is a full name in lower case.
    pub fn restrict(&mut self, host: &Arc<str>, certs: Vec<Arc<Cert>>) {
        self.exact.remove(host);
        self.only.insert(Arc::clone(host), certs);
    }

    /// The certificate for a server name (lower case, no trailing dot), or nothing where the default is served.
    pub fn lookup(&self, name: &str, now: i64) -> Option<&Arc<Cert>> {
        let of = |list: &'_ Vec<Arc<Cert>>| list.iter().position(|c| c.is_valid_at(now)).unwrap_or(0);
        if let Some(list) = self.only.get(name) {
            return list.get(of(list));
        }
        let exact = self.exact.get(name);
        let wildcard = name.split_once('.').and_then(|(_, rest)| self.wildcard.get(rest));
        // An expired exact certificate gives way to a valid wildcard one.
        let candidates = [exact, wildcard];
        let valid = candidates.iter().flatten().find(|list| list.iter().any(|c| c.is_valid_at(now)));
        let list = valid.or_else(|| candidates.iter().flatten().next())?;
        list.get(of(list))
    }

    /// Every certificate with the host it is for.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Arc<Cert>)> {
        let exact = self.exact.iter().chain(&self.only);
        let exact = exact.flat_map(|(name, list)| list.iter().map(move |c| (name.to_string(), c)));
        let wildcard = self.wildcard.iter().flat_map(|(name, list)| list.iter().map(move |c| (format!("*.{name}"), c)));
        exact.chain(wildcard)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.only.values().all(Vec::is_empty)
    }
}

/// A certificate chain with its key, both PEM, held ready for handshakes.
///
/// # Errors
/// What is wrong with them, without any part of the key.
pub fn certified_key(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, String> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| "its certificate is not PEM".to_owned())?;
    if chain.is_empty() {
        return Err("it holds no PEM certificate".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| "its private key is not PEM".to_owned())?;
    let provider = CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => "its private key does not belong to its certificate".to_owned(),
        _ => "its certificate or private key can't be used (RSA, ECDSA P-256/P-384 and Ed25519 can)".to_owned(),
    })
}
