//! The TLS side of connections to endpoints: as the process's flags say, or as a service's [`Parts`] do. Made once for
//! each of them and worker; a handshake takes what is ready.

use std::{io, net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::{
        ResolvesClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{
    balance::transport::{Parts, Roots, Version},
    proxy::tls::clients::in_time,
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

/// Which endpoints are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// Whoever answers.
    Anyone,
    /// One with a certificate of a trusted issuer, whatever its name.
    Issued,
    /// One whose certificate bears its name, too.
    Named,
}

/// Believes a certificate for the name that is asked for (`service.namespace.svc`, or the external name), or for the
/// endpoint's address, which is what Traefik asks for; where a name is given, for that name only.
#[derive(Clone, Debug)]
struct Verifier {
    roots: Roots,
    trust: Trust,
    uri: Option<Arc<str>>,
    address: Option<IpAddr>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn issued(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if self.roots.certificates.contains(leaf) {
            return in_time(leaf, now);
        }
        if self.roots.anchors.is_empty() {
            return Err(rustls::Error::General("there are no trusted roots".into()));
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots.anchors, intermediates, now, algorithms)
    }

    fn named(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let by_name = verify_server_name(&leaf, name);
        match self.address {
            Some(address) if by_name.is_err() => verify_server_name(&leaf, &address.into()).or(by_name),
            _ => by_name,
        }
    }
}

/// Whether one of the URIs in a certificate is this one.
fn bears(leaf: &CertificateDer<'_>, uri: &str) -> Result<(), rustls::Error> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let mut names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    if names.any(|name| matches!(name, GeneralName::URI(found) if same_uri(found, uri))) {
        return Ok(());
    }
    Err(rustls::Error::General(format!("the certificate does not bear the URI {uri}")))
}

/// Scheme and authority in any letter case, the rest to the letter (RFC 3986 §6.2.2.1): paths tell tenants apart.
fn same_uri(one: &str, other: &str) -> bool {
    fn parts(uri: &str) -> (&str, &str) {
        let authority = uri.find("://").map_or(0, |at| at + 3);
        let end =
            uri.get(authority..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(uri.len(), |at| authority + at);
        uri.split_at_checked(end).unwrap_or((uri, ""))
    }
    let ((one, rest), (other, other_rest)) = (parts(one), parts(other));
    one.eq_ignore_ascii_case(other) && rest == other_rest
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust != Trust::Anyone {
            self.issued(leaf, intermediates, now)?;
        }
        if self.trust == Trust::Named {
            self.named(leaf, name)?;
        }
        if let Some(uri) = &self.uri {
            bears(leaf, uri)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
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
