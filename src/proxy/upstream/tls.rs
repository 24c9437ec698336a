//! The TLS side of connections to endpoints: as the process's flags say, or as a service's [`Parts`] do. Made once for
//! each of them and worker; a handshake takes what is ready.

mod verify;

use std::{io, net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, SignatureScheme, SupportedProtocolVersion, client::ResolvesClientCert,
    crypto::CryptoProvider, sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use verify::{Trust, Verifier};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    balance::transport::{Parts, Roots, Version},
    settings::UpstreamTls,
};

/// How TLS is spoken to the endpoints of a service.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    /// What the process's flags say.
    process: Process,
    /// HTTP/2 or HTTP/1.1, as the endpoint likes.
    any: Tls,
    /// HTTP/1.1, for requests that want to switch protocols.
    http1: Tls,
}

#[derive(Clone, Debug)]
struct Process {
    provider: Arc<CryptoProvider>,
    roots: Roots,
    insecure: bool,
}

impl ClientTls {
    /// As flags say.
    ///
    /// # Errors
    /// When `--upstream-ca-file` can't be read, with what is wrong with it.
    pub(crate) fn new(settings: &UpstreamTls) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self::made(
            Process { provider, roots: roots(settings)?, insecure: settings.insecure_skip_verify },
            &Parts::default(),
        )
    }

    /// As flags say where these parts do not.
    ///
    /// # Errors
    /// When no cipher suite is left for any version.
    pub(crate) fn with(&self, parts: &Parts) -> io::Result<Self> {
        Self::made(self.process.clone(), parts)
    }

    fn made(process: Process, parts: &Parts) -> io::Result<Self> {
        let http1 = tls(&process, parts, &[b"http/1.1"])?;
        let any = if parts.http1_only { http1.clone() } else { tls(&process, parts, &[b"h2", b"http/1.1"])? };
        Ok(Self { process, any, http1 })
    }

    /// What a handshake needs: settings, and the name that is asked for. `name` is what the service's endpoints are
    /// called where nothing else is said; `upgrade` is for a request that wants to switch protocols.
    pub(super) fn handshake(
        &self,
        name: &str,
        address: IpAddr,
        upgrade: bool,
    ) -> (Arc<ClientConfig>, ServerName<'static>) {
        let tls = if upgrade { &self.http1 } else { &self.any };
        let called = || ServerName::try_from(name).map_or_else(|_| ServerName::from(address), |name| name.to_owned());
        let name = tls.name.clone().unwrap_or_else(called);
        if tls.name.is_some() || tls.verifier.trust != Trust::Named {
            return (Arc::clone(&tls.config), name);
        }
        // Made for each handshake, which costs a thousand times more.
        let mut config = ClientConfig::clone(&tls.config);
        let verifier = Verifier { address: Some(address), ..tls.verifier.clone() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        (Arc::new(config), name)
    }
}

/// The settings of a kind of connection.
#[derive(Clone, Debug)]
struct Tls {
    config: Arc<ClientConfig>,
    verifier: Verifier,
    /// The only name, where one is given.
    name: Option<ServerName<'static>>,
}

fn tls(process: &Process, parts: &Parts, protocols: &[&[u8]]) -> io::Result<Tls> {
    let mut provider = Arc::clone(&process.provider);
    if let Some(suites) = &parts.suites {
        let offered = |suite: &rustls::SupportedCipherSuite| suites.contains(&u16::from(suite.suite()));
        Arc::make_mut(&mut provider).cipher_suites.retain(offered);
    }
    let known: [(Version, &'static SupportedProtocolVersion); 2] =
        [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
    let versions: Vec<_> = known.iter().filter(|(v, _)| parts.versions.has(*v)).map(|(_, v)| *v).collect();
    let verifier = Verifier {
        roots: parts.roots.clone().unwrap_or_else(|| process.roots.clone()),
        trust: trust(process, parts),
        uri: parts.peer_uri.clone(),
        address: None,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|e| io::Error::other(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier.clone()))
        .with_client_cert_resolver(Arc::new(Shown::new(&parts.certificates)));
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(Tls { config: Arc::new(config), verifier, name: parts.server_name.clone() })
}

/// Who names roots or a URI wants them looked at, whatever the process's flag says.
fn trust(process: &Process, parts: &Parts) -> Trust {
    let asks = parts.roots.is_some() || parts.peer_uri.is_some();
    match (parts.insecure.unwrap_or(process.insecure && !asks), &parts.peer_uri) {
        (false, _) => Trust::Named,
        (true, Some(_)) => Trust::Issued,
        (true, None) => Trust::Anyone,
    }
}

/// Roots of the system, and `--upstream-ca-file`. Where there are none at all, nobody is believed.
fn roots(settings: &UpstreamTls) -> io::Result<Roots> {
    let mut anchors = RootCertStore::empty();
    let mut own: Vec<CertificateDer<'static>> = Vec::new();
    // A container without a certificate store has none; then only the CA file counts.
    anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &settings.ca_file {
        let wrong = |why: String| io::Error::other(format!("--upstream-ca-file {}: {why}", path.display()));
        let certs = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
        own = certs.collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
        if anchors.add_parsable_certificates(own.iter().cloned()).0 == 0 {
            return Err(wrong("it holds no PEM certificate".into()));
        }
    }
    Ok(Roots { anchors: Arc::new(anchors), certificates: own.into() })
}

/// What is shown to endpoints that ask for a certificate.
#[derive(Debug)]
struct Shown(Vec<Certificate>);

#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    /// Who issued the certificates of its chain: names in DER.
    issuers: Vec<Vec<u8>>,
}

impl Shown {
    fn new(certificates: &[Arc<CertifiedKey>]) -> Self {
        let of = |key: &Arc<CertifiedKey>| {
            let parsed = key.cert.iter().filter_map(|cert| X509Certificate::from_der(cert).ok());
            let issuers = parsed.map(|(_, cert)| cert.issuer().as_raw().to_vec()).collect();
            Certificate { key: Arc::clone(key), issuers }
        };
        Self(certificates.iter().map(of).collect())
    }
}

impl ResolvesClientCert for Shown {
    /// The first that comes from an issuer that the endpoint names (it may name none: RFC 8446 §4.2.4) and can sign as
    /// it wants; without one, none is shown, and the endpoint decides.
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |shown: &&Certificate| {
            let issued = issuers.is_empty() || shown.issuers.iter().any(|one| issuers.contains(&one.as_slice()));
            issued && shown.key.key.choose_scheme(schemes).is_some()
        };
        self.0.iter().find(fits).map(|shown| Arc::clone(&shown.key))
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
