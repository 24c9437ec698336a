//! Connecting to an endpoint: TCP, then TLS where the service speaks it.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::stream::Stream;
use crate::{
    balance::{Endpoint, Options, Scheme},
    proxy::error::Error,
    settings::UpstreamTls,
};

/// Opens a connection to an endpoint. For https, whether HTTP/2 was agreed on comes with it.
///
/// # Errors
/// [`Error::Connect`] or [`Error::Tls`]. The caller sets the limit.
pub(super) async fn connect(
    endpoint: &Endpoint,
    options: &Options,
    tls: &Arc<ClientConfig>,
) -> Result<(Stream, bool), Error> {
    let tcp = TcpStream::connect(endpoint.address).await.map_err(Error::Connect)?;
    // Without it, a small request behind another waits for the endpoint's delayed acknowledgement.
    tcp.set_nodelay(true).map_err(Error::Connect)?;
    if options.scheme != Scheme::Https {
        return Ok((Stream::Tcp(tcp), options.scheme == Scheme::H2c));
    }
    let name = match ServerName::try_from(&*options.server_name) {
        Ok(name) => name.to_owned(),
        Err(_) => ServerName::from(endpoint.address.ip()),
    };
    let stream = TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await.map_err(Error::Tls)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Stream::Tls(Box::new(stream)), http2))
}

/// The TLS side of all connections to endpoints.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    /// HTTP/2 or HTTP/1.1, as the endpoint likes.
    pub(super) any: Arc<ClientConfig>,
    /// HTTP/1.1, for requests that want to switch protocols.
    pub(super) http1: Arc<ClientConfig>,
}

impl ClientTls {
    /// # Errors
    /// When `--upstream-ca-file` can't be read, with what is wrong with it.
    pub(crate) fn new(settings: &UpstreamTls) -> io::Result<Self> {
        let mut config = client_config(settings)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = Arc::new(config.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { any: Arc::new(config), http1 })
    }
}

fn client_config(settings: &UpstreamTls) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    // A container without a certificate store has none; then only the CA file counts.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = &settings.ca_file {
        let wrong = |why: String| io::Error::other(format!("--upstream-ca-file {}: {why}", path.display()));
        let certs = CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?;
        let certs: Vec<_> = certs.collect::<Result<_, _>>().map_err(|e| wrong(e.to_string()))?;
        if roots.add_parsable_certificates(certs).0 == 0 {
            return Err(wrong("it holds no PEM certificate".into()));
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| io::Error::other(e.to_string()))?;
    let mut config = if settings.insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth()
    } else {
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    // Sessions are resumed within one config only: both know the same endpoints.
    config.enable_early_data = false;
    Ok(config)
}

/// `--upstream-insecure-skip-verify`: whoever answers is believed.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
