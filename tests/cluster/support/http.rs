//! Single requests, plain or over TLS, with errors as values: what a load and a wait need.

use std::{
    io,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use super::{
    cert,
    client::{Answer, Client, request},
    wire::{Socket, Wire},
};

/// How long a client waits for a connection, and for each piece of an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What to ask, and where.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
    /// With the host as SNI, taking any certificate.
    pub(crate) tls: bool,
}

impl Target {
    /// `/` of a host over plain HTTP.
    pub(crate) fn new(address: SocketAddr, host: &str) -> Self {
        Self { address, host: host.to_owned(), path: "/".to_owned(), tls: false }
    }

    /// The same over TLS.
    pub(crate) fn https(address: SocketAddr, host: &str) -> Self {
        Self { tls: true, ..Self::new(address, host) }
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<Client> {
        connect(self.address, self.tls.then_some(&self.host))
    }

    /// The bytes of a GET, with a `Cookie` header if one is given.
    pub(crate) fn bytes(&self, cookie: Option<&str>) -> Vec<u8> {
        let headers: Vec<_> = cookie.map(|cookie| ("Cookie", cookie)).into_iter().collect();
        request("GET", &self.path, &self.host, &headers, b"")
    }
}

/// A connection with deadlines; over TLS if there is a name to ask for.
pub(crate) fn connect(address: SocketAddr, sni: Option<&str>) -> io::Result<Client> {
    if sni.is_some() {
        return Client::tls_with(address, sni, cert::client_config(&[], &[]));
    }
    let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_nodelay(true)?;
    Ok(Client { wire: Wire::new(Socket::Plain(tcp)) })
}

/// One GET on a connection of its own.
///
/// # Errors
/// No connection, or one that ends or falls silent before the answer is whole.
pub(crate) fn get(target: &Target, cookie: Option<&str>) -> io::Result<Answer> {
    let mut client = target.connect()?;
    client.send(target.bytes(cookie));
    client.try_answer(true)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
