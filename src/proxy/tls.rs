//! TLS towards clients: which certificate a server name gets, and the settings that all handshakes share.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::{shared::Shared, table::Table};

/// Answers handshakes from the table as it is at that moment: a rotation applies to the next one.
#[derive(Debug)]
struct Resolver {
    table: Arc<Shared<Table>>,
    default: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().and_then(|name| {
            let table = self.table.load();
            table.certs.lookup(&host_name(name), unix_now()).map(|cert| Arc::clone(&cert.key))
        });
        Some(found.unwrap_or_else(|| Arc::clone(&self.default)))
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

/// The settings of every handshake: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, tickets whose keys change every six hours,
/// no early data.
///
/// # Errors
/// When the system has no randomness for the ticket keys.
pub(crate) fn server_config(table: Arc<Shared<Table>>, default: Arc<CertifiedKey>) -> io::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| io::Error::other(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Resolver { table, default }));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|e| io::Error::other(e.to_string()))?;
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
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
