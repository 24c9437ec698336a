//! Certificates made for a test, and client configurations that take any certificate, so that a test can say
//! itself which one it expects.

use std::sync::{Arc, Once};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::WebPkiClientVerifier,
    sign::{CertifiedKey, SingleCertAndKey},
};

/// A self-signed certificate and its key.
pub(crate) struct Cert {
    pub(crate) pem: String,
    pub(crate) key: String,
    pub(crate) der: Vec<u8>,
}

impl Cert {
    /// Valid from 1975 to 4096.
    pub(crate) fn new(names: &[&str]) -> Self {
        Self::until(names, 4096)
    }

    /// Valid until the start of a year.
    pub(crate) fn until(names: &[&str], year: i32) -> Self {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { pem: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }

    /// Makes a client show this certificate to servers that ask for one, whichever authorities they name.
    pub(crate) fn shown_by(&self, mut config: ClientConfig) -> ClientConfig {
        let chain = vec![CertificateDer::from(self.der.clone())];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let key = CertifiedKey::from_der(chain, key, algorithms()).unwrap();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
        config
    }

    /// The same with a key that is not the certificate's.
    pub(crate) fn forged_by(&self, mut config: ClientConfig) -> ClientConfig {
        let chain = vec![CertificateDer::from(self.der.clone())];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let key = algorithms().key_provider.load_private_key(key).unwrap();
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key)));
        config
    }

    /// For a server of the test's own.
    pub(crate) fn server_config(&self, alpn: &[&[u8]]) -> rustls::ServerConfig {
        provider();
        let chain = vec![CertificateDer::from(self.der.clone())];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }
}

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { issuer: Issuer::new(params, key), pem: cert.pem(), der: cert.der().clone() }
    }

    /// A certificate for these names and addresses; those with `://` are URIs.
    pub(crate) fn issue(&self, names: &[&str]) -> Cert {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Cert { pem: cert.pem(), key: key.serialize_pem(), der: cert.der().to_vec() }
    }

    /// For a server that asks its clients for a certificate of this authority's.
    pub(crate) fn server_config(&self, own: &Cert, alpn: &[&[u8]]) -> rustls::ServerConfig {
        provider();
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let chain = vec![CertificateDer::from(own.der.clone())];
        let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
        let builder = rustls::ServerConfig::builder().with_client_cert_verifier(clients);
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        config
    }
}

/// A client that takes any certificate. No versions given means all.
pub(crate) fn client_config(versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> ClientConfig {
    provider();
    let builder = if versions.is_empty() {
        ClientConfig::builder()
    } else {
        ClientConfig::builder_with_protocol_versions(versions)
    };
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate)).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    // A resumed session would show the certificate of the first handshake, which hides a rotation.
    config.resumption = rustls::client::Resumption::disabled();
    config
}

fn provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = aws_lc_rs::default_provider().install_default();
    });
}

#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &algorithms().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &algorithms().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().signature_verification_algorithms.supported_schemes()
    }
}

fn algorithms() -> &'static Arc<CryptoProvider> {
    CryptoProvider::get_default().unwrap()
}
