use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{
    balance::transport::Roots,
    table::tls::{ClientAuth, OptionsId},
};

const HOST: &str = "a.test";

/// An authority, a certificate of it for clients and servers, and its key.
struct Pki {
    authority: CertificateDer<'static>,
    cert: rcgen::Certificate,
    key: KeyPair,
}

fn pki() -> Pki {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    Pki { authority: authority.der().clone(), cert, key }
}

impl Pki {
    fn handshakes(&self) -> Handshakes {
        let key = crate::table::certs::certified_key(self.cert.pem().as_bytes(), self.key.serialize_pem().as_bytes());
        Handshakes::new(Arc::new(Shared::new(Table::default())), Arc::new(key.unwrap())).unwrap()
    }

    fn mutual(&self) -> Terms {
        let roots = Roots::new(vec![self.authority.clone()]).unwrap();
        Terms { client_auth: ClientAuth::RequireAndVerify, roots: Some(roots), ..Terms::default() }
    }

    /// A client that resumes sessions, and shows the certificate if it is asked for.
    fn client(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_webpki_verifier(verifier.unwrap())
            .with_client_auth_cert(vec![self.cert.der().clone()], key)
            .unwrap();
        config.resumption = Resumption::in_memory_sessions(8);
        config
    }
}

fn options(terms: Terms) -> Arc<TlsOptions> {
    let policy = Ok(Arc::new(Policy { terms, ..Policy::default() }));
    Arc::new(TlsOptions { id: OptionsId::Default, policy })
}

/// One connection: what the server has made of it, and whether a session was resumed.
async fn connect(
    handshakes: &Handshakes,
    options: &Arc<TlsOptions>,
    client: &Arc<ClientConfig>,
) -> io::Result<HandshakeKind> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = async {
        let (mut stream, _) = handshakes
            .accept(far, |name| {
                assert_eq!(name, Some(HOST));
                Arc::clone(options)
            })
            .await?;
        // The client reads its tickets with the first bytes.
        stream.write_all(b"x").await?;
        stream.flush().await?;
        Ok::<_, io::Error>(stream)
    };
    let client = async {
        let connector = TlsConnector::from(Arc::clone(client));
        let mut stream = connector.connect(ServerName::try_from(HOST).unwrap(), near).await?;
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        Ok::<_, io::Error>(stream)
    };
    let (server, client) = tokio::join!(server, client);
    let (server, client) = (server?, client?);
    let kind = server.get_ref().1.handshake_kind();
    assert_eq!(kind, client.get_ref().1.handshake_kind());
    Ok(kind.unwrap())
}

#[tokio::test]
async fn a_session_is_resumed_under_its_own_policy_and_under_no_other() {
    let pki = pki();
    let handshakes = pki.handshakes();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Arc::new(pki.client(version));
        let (lax, strict) = (options(Terms::default()), options(pki.mutual()));
        assert_ne!(connect(&handshakes, &lax, &client).await.unwrap(), HandshakeKind::Resumed);
        assert_eq!(connect(&handshakes, &lax, &client).await.unwrap(), HandshakeKind::Resumed);
        // A ticket of the laxer policy would bring no certificate at all.
        assert_ne!(connect(&handshakes, &strict, &client).await.unwrap(), HandshakeKind::Resumed);
        assert_eq!(connect(&handshakes, &strict, &client).await.unwrap(), HandshakeKind::Resumed);
        // Equal terms of another object of this process are another policy, unless the compiler has made them one.
        assert_ne!(connect(&handshakes, &options(pki.mutual()), &client).await.unwrap(), HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn without_tickets_nothing_is_resumed() {
    let pki = pki();
    let handshakes = pki.handshakes();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Arc::new(pki.client(version));
        let options = options(Terms { tickets: false, ..Terms::default() });
        for _ in 0..2 {
            assert_ne!(connect(&handshakes, &options, &client).await.unwrap(), HandshakeKind::Resumed);
        }
    }
}

/// Verifies as it is told.
#[derive(Debug)]
struct Told(Arc<dyn rustls::server::danger::ClientCertVerifier>, std::sync::atomic::AtomicBool);

impl rustls::server::danger::ClientCertVerifier for Told {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, rustls::Error> {
        if self.1.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(rustls::CertificateError::Expired.into());
        }
        self.0.verify_client_cert(leaf, rest, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_does_not_live_on_in_resumed_sessions() {
    let pki = pki();
    let handshakes = pki.handshakes();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let client = Arc::new(pki.client(version));
        let made = handshakes.make(&pki.mutual()).unwrap();
        let told = Arc::new(Told(made.clients.unwrap(), false.into()));
        let policy = Policy { terms: pki.mutual(), ..Policy::default() };
        let clients: Arc<dyn rustls::server::danger::ClientCertVerifier> = told.clone();
        policy.made.set(Made { config: made.config, clients: Some(clients) }).unwrap();
        let options = Arc::new(TlsOptions { id: OptionsId::Default, policy: Ok(Arc::new(policy)) });
        connect(&handshakes, &options, &client).await.unwrap();
        assert_eq!(connect(&handshakes, &options, &client).await.unwrap(), HandshakeKind::Resumed);
        told.1.store(true, std::sync::atomic::Ordering::Relaxed);
        let error = connect(&handshakes, &options, &client).await.unwrap_err();
        assert!(error.to_string().contains("Expired"), "{error}");
    }
}

#[tokio::test]
async fn options_that_cannot_be_had_refuse_with_an_alert() {
    let pki = pki();
    let handshakes = pki.handshakes();
    let client = Arc::new(pki.client(&rustls::version::TLS13));
    let options = Arc::new(TlsOptions { id: OptionsId::Default, policy: Err("no such object".into()) });
    let (near, far) = tokio::io::duplex(1 << 16);
    let connector = TlsConnector::from(client);
    let connecting = connector.connect(ServerName::try_from(HOST).unwrap(), near);
    let (server, client) = tokio::join!(handshakes.accept(far, |_| options), connecting);
    assert!(server.unwrap_err().to_string().contains("no such object"));
    assert!(client.unwrap_err().to_string().contains("AccessDenied"));
}

#[test]
fn a_pinned_certificate_needs_no_issuer_and_has_to_be_valid() {
    let made = |years: (i32, i32)| {
        let mut params = CertificateParams::new(vec!["client".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(years.0, 1, 1), rcgen::date_time_ymd(years.1, 1, 1));
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    };
    let (good, old, other) = (made((2020, 4000)), made((2000, 2001)), made((2020, 4000)));
    let roots = Roots::new(vec![good.clone(), old.clone()]).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let look = |asked, cert: &CertificateDer<'_>| {
        let verifier = clients::verifier(asked, Some(&roots), &provider).unwrap().unwrap();
        verifier.verify_client_cert(cert, &[], UnixTime::now()).is_ok()
    };
    for asked in [ClientAuth::VerifyIfGiven, ClientAuth::RequireAndVerify] {
        assert!(look(asked, &good) && !look(asked, &old) && !look(asked, &other));
    }
    for asked in [ClientAuth::Request, ClientAuth::Require] {
        assert!(look(asked, &good) && look(asked, &old) && look(asked, &other));
    }
    assert!(clients::verifier(ClientAuth::VerifyIfGiven, None, &provider).is_err());
    assert!(clients::verifier(ClientAuth::None, None, &provider).unwrap().is_none());
}
