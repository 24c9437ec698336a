//! TLS towards clients: under which terms a handshake is done, and which certificate a server name gets.
//!
//! A handshake begins with the name that the client asks for; the table says what its host's options are. The settings
//! that these come to are made once for each [`Policy`], with tickets and a memory of sessions of their own: rustls would
//! take a session that began under one policy for one of another, without looking at clients' certificates again.

pub(super) mod clients;

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    HandshakeKind, ServerConfig, ServerConnection, SupportedProtocolVersion,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::UnixTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use crate::{
    balance::transport::Version,
    shared::Shared,
    table::{
        Table, TlsOptions,
        tls::{Made, Policy, Protocol, Shaken, Terms},
    },
};

/// Answers handshakes from the table as it is at that moment: a rotation applies to the next one.
#[derive(Debug)]
struct Resolver {
    table: Arc<Shared<Table>>,
    /// `None`: a name without a certificate of its own is refused.
    default: Option<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| {
            let table = self.table.load();
            table.certs.lookup(&host_name(name), unix_now()).map(|cert| Arc::clone(&cert.key))
        });
        found.or_else(|| self.default.clone())
    }
}

/// Has no certificate for anybody.
#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

/// A server name as hosts are written in the table.
pub(crate) fn host_name(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// What all handshakes share.
#[derive(Debug)]
pub(crate) struct Handshakes {
    provider: Arc<CryptoProvider>,
    /// Gives names without a certificate the default one.
    lenient: Arc<Resolver>,
    /// Refuses them (`sniStrict`).
    strict: Arc<Resolver>,
    /// Refuses everybody, with an alert.
    refusing: Arc<ServerConfig>,
}

impl Handshakes {
    /// Handshakes by this table. What the default terms come to is made at once.
    ///
    /// # Errors
    /// When the system has no randomness for the keys of tickets.
    pub(crate) fn new(table: Arc<Shared<Table>>, default: Arc<CertifiedKey>) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let refusing = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Nobody));
        let resolver = |default| Arc::new(Resolver { table: Arc::clone(&table), default });
        let handshakes =
            Self { provider, lenient: resolver(Some(default)), strict: resolver(None), refusing: Arc::new(refusing) };
        handshakes.make(&Terms::default()).map_err(io::Error::other)?;
        Ok(handshakes)
    }

    /// Does a handshake with a client. `options` says under which options, by the name that the client asks for.
    ///
    /// # Errors
    /// When the client breaks off, or is refused.
    pub(crate) async fn accept<S>(
        &self,
        stream: S,
        options: impl FnOnce(Option<&str>) -> Arc<TlsOptions>,
    ) -> io::Result<(TlsStream<S>, Arc<TlsOptions>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let options = options(start.client_hello().server_name().map(host_name).as_deref());
        let made = match &options.policy {
            Ok(policy) => self.of(policy).map_err(|error| error.to_string()),
            Err(reason) => Err(reason.to_string()),
        };
        let made = match made {
            Ok(made) => made,
            Err(reason) => {
                // Fails, having told the client.
                drop(start.into_stream(Arc::clone(&self.refusing)).await);
                return Err(io::Error::other(format!("TLS options {}: {reason}", options.id)));
            }
        };
        let stream = start.into_stream(made.config).await?;
        if let Some(clients) = &made.clients {
            let session = stream.get_ref().1;
            resumed(session, |leaf, rest| clients.verify_client_cert(leaf, rest, UnixTime::now()).map(drop))
                .map_err(io::Error::other)?;
        }
        Ok((stream, options))
    }

    /// What a policy comes to, made when it is first needed.
    fn of(&self, policy: &Policy) -> Result<Made, rustls::Error> {
        if let Some(made) = policy.made.get() {
            return Ok(made.clone());
        }
        // Two workers may both come here: what the first one has made is what all use.
        let made = self.make(&policy.terms)?;
        Ok(policy.made.get_or_init(|| made).clone())
    }

    fn make(&self, terms: &Terms) -> Result<Made, rustls::Error> {
        let Terms { versions, suites, groups, client_auth, roots, sni_strict, protocols, tickets } = terms;
        let mut provider = CryptoProvider::clone(&self.provider);
        if let Some(suites) = suites {
            provider.cipher_suites.retain(|suite| suites.contains(&u16::from(suite.suite())));
        }
        if let Some(groups) = groups {
            let known = |number: &u16| aws_lc_rs::ALL_KX_GROUPS.iter().find(|group| u16::from(group.name()) == *number);
            provider.kx_groups = groups.iter().filter_map(known).copied().collect();
        }
        let provider = Arc::new(provider);
        let known: [(Version, &'static SupportedProtocolVersion); 2] =
            [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
        let spoken: Vec<_> = known.iter().filter(|(version, _)| versions.has(*version)).map(|(_, v)| *v).collect();
        let clients = clients::verifier(*client_auth, roots.as_ref(), &provider)?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&spoken)?;
        let builder = match &clients {
            Some(clients) => builder.with_client_cert_verifier(Arc::clone(clients)),
            None => builder.with_no_client_auth(),
        };
        let resolver = if *sni_strict { &self.strict } else { &self.lenient };
        let mut config = builder.with_cert_resolver(Arc::clone(resolver) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = protocols.iter().map(|protocol| alpn(*protocol).to_vec()).collect();
        config.max_early_data_size = 0;
        if *tickets {
            config.ticketer = aws_lc_rs::Ticketer::new()?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Made { config: Arc::new(config), clients: clients.filter(|_| client_auth.verifies()) })
    }
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http2 => b"h2",
        Protocol::Http1 => b"http/1.1",
    }
}

/// What a handshake has come to. `own_certificate` is whether the name that was asked for has one.
pub(crate) fn shaken(session: &ServerConnection, own_certificate: bool) -> Shaken {
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => Version::Tls13,
        _ => Version::Tls12,
    };
    Shaken {
        version,
        suite: session.negotiated_cipher_suite().map_or(0, |suite| u16::from(suite.suite())),
        group: session.negotiated_key_exchange_group().map(|group| u16::from(group.name())),
        own_certificate,
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
    }
}

/// A session that is resumed brings the certificate that it began with, which may have expired since; and each
/// resumption hands out tickets for another.
fn resumed(
    session: &ServerConnection,
    verify: impl FnOnce(
        &rustls_pki_types::CertificateDer<'_>,
        &[rustls_pki_types::CertificateDer<'_>],
    ) -> Result<(), rustls::Error>,
) -> Result<(), rustls::Error> {
    if session.handshake_kind() != Some(HandshakeKind::Resumed) {
        return Ok(());
    }
    match session.peer_certificates().and_then(<[_]>::split_first) {
        Some((leaf, rest)) => verify(leaf, rest),
        None => Ok(()),
    }
}

/// The certificate of hosts that have none of their own: from files, or made for this process.
///
/// # Errors
/// What is wrong with the files, with their names.
pub fn default_certificate(files: Option<(&Path, &Path)>) -> io::Result<CertifiedKey> {
    let Some((cert, key)) = files else {
        return self_signed().map_err(|e| io::Error::other(format!("no certificate could be made: {e}")));
    };
    let read = |flag: &str, path: &Path| {
        std::fs::read(path).map_err(|e| io::Error::new(e.kind(), format!("{flag} {}: {e}", path.display())))
    };
    let (chain, private) = (read("--default-cert", cert)?, read("--default-key", key)?);
    let wrong = |why| io::Error::other(format!("{} with {}: {why}", cert.display(), key.display()));
    crate::table::certs::certified_key(&chain, &private).map_err(wrong)
}

fn self_signed() -> Result<CertifiedKey, Box<dyn std::error::Error>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = rcgen::CertificateParams::new(vec!["headgate.invalid".to_owned()])?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "Headgate default certificate");
    let cert = params.self_signed(&key)?;
    Ok(crate::table::certs::certified_key(cert.pem().as_bytes(), key.serialize_pem().as_bytes())?)
}

#[cfg(test)]
mod tests;
