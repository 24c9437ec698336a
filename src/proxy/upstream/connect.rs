//! Connecting to an endpoint: TCP, then TLS where the service speaks it.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{stream::Stream, tls::ClientTls};
use crate::{
    balance::{Endpoint, Options, Scheme},
    proxy::error::Error,
};

/// Opens a connection to an endpoint; with TLS, HTTP/1.1 only for a request that wants to switch protocols. Whether
/// HTTP/2 is spoken comes with it.
///
/// # Errors
/// [`Error::Connect`] or [`Error::Tls`]. The caller sets the limit.
pub(super) async fn connect(
    endpoint: &Endpoint,
    options: &Options,
    tls: Option<&ClientTls>,
    upgrade: bool,
) -> Result<(Stream, bool), Error> {
    let tcp = TcpStream::connect(endpoint.address).await.map_err(failed)?;
    // Without it, a small request behind another waits for the endpoint's delayed acknowledgement.
    tcp.set_nodelay(true).map_err(Error::Connect)?;
    if options.scheme != Scheme::Https {
        return Ok((Stream::Tcp(tcp), options.scheme == Scheme::H2c));
    }
    let tls = tls.ok_or_else(|| Error::Tls(io::Error::other("its settings leave nothing that can be spoken")))?;
    let (config, name) = tls.handshake(&options.server_name, endpoint.address.ip(), upgrade);
    let stream = TlsConnector::from(config).connect(name, tcp).await.map_err(Error::Tls)?;
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
