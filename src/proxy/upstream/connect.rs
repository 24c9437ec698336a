//! Connecting to an endpoint: TCP, then TLS where the service speaks it.

use std::{io, net::IpAddr, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
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
pub(super) async fn connect(endpoint: &Endpoint, options: &Options, tls: &Tls) -> Result<(Stream, bool), Error> {
    let tcp = TcpStream::connect(endpoint.address).await.map_err(failed)?;
    // Without it, a small request behind another waits for the endpoint's delayed acknowledgement.
    tcp.set_nodelay(true).map_err(Error::Connect)?;
    if options.scheme != Scheme::Https {
        return Ok((Stream::Tcp(tcp), options.scheme == Scheme::H2c));
    }
    let name = match ServerName::try_from(&*options.server_name) {
        Ok(name) => name.to_owned(),
        Err(_) => ServerName::from(endpoint.address.ip()),
    };
    let stream = TlsConnector::from(tls.for_address(endpoint.address.ip())).connect(name, tcp).await;
    let stream = stream.map_err(Error::Tls)?;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Stream::Tls(Box::new(stream)), http2))
}

/// A connect that failed: there, or here.
fn failed(error: io::Error) -> Error {
    use io::ErrorKind::{AddrInUse, AddrNotAvailable, OutOfMemory, QuotaExceeded};
    // EMFILE, ENFILE and ENOBUFS have no kind of their own.
    let exhausted = matches!(error.raw_os_error(), Some(23 | 24 | 105));
    match error.kind() {
        _ if exhausted => Error::Exhausted(error),
        AddrInUse | AddrNotAvailable | OutOfMemory | QuotaExceeded => Error::Exhausted(error),
        _ => Error::Connect(error),
    }
}

/// The TLS side of all connections to endpoints.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls {
    /// HTTP/2 or HTTP/1.1, as the endpoint likes.
    pub(super) any: Tls,
    /// HTTP/1.1, for requests that want to switch protocols.
    pub(super) http1: Tls,
}

impl ClientTls {
    /// # Errors
    /// When `--upstream-ca-file` can't be read, with what is wrong with it.
    pub(crate) fn new(settings: &UpstreamTls) -> io::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let webpki = if settings.insecure_skip_verify { None } else { verifier(settings, &provider)? };
        let config = |protocols: &[&[u8]]| -> io::Result<Tls> {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|e| io::Error::other(e.to_string()))?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
            let verify = Verifier {
                webpki: webpki.clone(),
                any: settings.insecure_skip_verify,
                address: None,
                provider: Arc::clone(&provider),
            };
            Ok(Tls { config, verifier: verify })
        };
        Ok(Self { any: config(&[b"h2", b"http/1.1"])?, http1: config(&[b"http/1.1"])? })
    }
}

/// The settings of a kind of connection.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    config: ClientConfig,
    verifier: Verifier,
}

impl Tls {
    /// The settings for an endpoint at this address. Made for each handshake, which costs a thousand times more.
    fn for_address(&self, address: IpAddr) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        let verifier = Verifier { address: Some(address), ..self.verifier.clone() };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }
}

/// Roots of the system, and `--upstream-ca-file`. `None` where there are none at all: then nobody is believed.
fn verifier(settings: &UpstreamTls, provider: &Arc<CryptoProvider>) -> io::Result<Option<Arc<WebPkiServerVerifier>>> {
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
    if roots.is_empty() {
        return Ok(None);
    }
    let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
    built.map(Some).map_err(|e| io::Error::other(e.to_string()))
}

/// Believes a certificate for the service's name (`service.namespace.svc`, or the external name), or for the
/// endpoint's address, which is what Traefik asks for.
#[derive(Clone, Debug)]
struct Verifier {
    webpki: Option<Arc<WebPkiServerVerifier>>,
    /// `--upstream-insecure-skip-verify`: whoever answers is believed.
    any: bool,
    address: Option<IpAddr>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.any {
            return Ok(ServerCertVerified::assertion());
        }
        let webpki = self.webpki.as_ref().ok_or(rustls::Error::General("there are no trusted roots".into()))?;
        let by_name = webpki.verify_server_cert(leaf, intermediates, name, ocsp, now);
        match (&by_name, self.address) {
            (Err(rustls::Error::InvalidCertificate(_)), Some(address)) => {
                let by_address = webpki.verify_server_cert(leaf, intermediates, &address.into(), ocsp, now);
                by_address.or(by_name)
            }
            _ => by_name,
        }
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
