//! Clients: bytes in, bytes out, with a deadline on every read.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    cert,
    wait::DEADLINE,
    wire::{Head, Headers, Socket, Wire},
};

/// An answer as it came.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
}

impl Answer {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    /// The body without white space around it: a pod's name, as a rule.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }

    /// The value of the cookie `name` that this answer sets, if it does.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let found = self.head.all("set-cookie").into_iter().find_map(|line| {
            let (n, rest) = line.split_once('=')?;
            (n == name).then(|| rest.split(';').next().unwrap_or_default().to_owned())
        });
        found.inspect(|value| assert!(!value.is_empty(), "an empty {name} cookie"))
    }
}

/// The bytes of a request; `Content-Length` is added where there is a body.
pub(crate) fn request(method: &str, target: &str, host: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n").into_bytes();
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if !body.is_empty() {
        out.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// One connection to Headgate.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: Wire,
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let tcp = TcpStream::connect_timeout(&addr, DEADLINE).unwrap_or_else(|e| panic!("connect to {addr}: {e}"));
        Self::over(tcp)
    }

    /// Connects from an address of our choice, for what looks at the client's address.
    pub(crate) fn connect_from(from: IpAddr, addr: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::over(socket.into())
    }

    /// A TLS connection that takes any certificate.
    pub(crate) fn tls(addr: SocketAddr, sni: Option<&str>) -> Self {
        Self::tls_with(addr, sni, cert::client_config(&[], &[])).unwrap()
    }

    /// A TLS connection with a configuration of the test's own; the handshake is complete.
    pub(crate) fn tls_with(addr: SocketAddr, sni: Option<&str>, config: rustls::ClientConfig) -> io::Result<Self> {
        // An IP address is never sent as SNI (RFC 6066 §3).
        let name: ServerName<'static> = match sni {
            Some(name) => ServerName::try_from(name.to_owned()).unwrap(),
            None => ServerName::IpAddress(addr.ip().into()),
        };
        let mut tcp = TcpStream::connect_timeout(&addr, DEADLINE)?;
        tcp.set_read_timeout(Some(DEADLINE))?;
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp)?;
        }
        Ok(Self { wire: Wire::new(Socket::Tls(Box::new(StreamOwned::new(tls, tcp)))) })
    }

    fn over(tcp: TcpStream) -> Self {
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        Self { wire: Wire::new(Socket::Plain(tcp)) }
    }

    /// The server's certificate, of a TLS connection.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        self.session().peer_certificates().unwrap()[0].to_vec()
    }

    /// The TLS session.
    pub(crate) fn session(&self) -> &ClientConnection {
        match &self.wire.socket {
            Socket::Tls(tls) => &tls.conn,
            Socket::Plain(_) => panic!("not a TLS connection"),
        }
    }

    /// Sends bytes as they are. That the peer has closed meanwhile shows when its answer is read.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        let _ = self.wire.write(bytes.as_ref());
        self
    }

    /// The next answer, whole. `None` when the peer closed instead.
    pub(crate) fn try_answer(&mut self, with_body: bool) -> io::Result<Option<Answer>> {
        let Some(head) = self.wire.head()? else { return Ok(None) };
        let status: u16 = head.first.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default();
        let (body, trailers) = match () {
            () if !with_body || status < 200 || status == 204 || status == 304 => Default::default(),
            () if head.chunked() => self.wire.chunks()?,
            () => match head.length() {
                Some(length) => (self.wire.exact(length)?, Vec::new()),
                None => (self.wire.rest()?, Vec::new()),
            },
        };
        Ok(Some(Answer { status, head, body, trailers }))
    }

    /// The next answer.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer(true).expect("an answer").expect("an answer, but the connection was closed")
    }

    /// The next answer, to a HEAD request or before a switch of protocols: it has no body.
    #[track_caller]
    pub(crate) fn bodiless(&mut self) -> Answer {
        self.try_answer(false).expect("an answer").expect("an answer, but the connection was closed")
    }

    /// A GET on this connection.
    #[track_caller]
    pub(crate) fn get(&mut self, host: &str, target: &str) -> Answer {
        self.send(request("GET", target, host, &[], b"")).answer()
    }

    /// A GET with headers on this connection.
    #[track_caller]
    pub(crate) fn get_with(&mut self, host: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(request("GET", target, host, headers, b"")).answer()
    }

    /// What still comes until the peer closes; fails if it doesn't close in time.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        self.wire.rest().expect("the connection to be closed")
    }
}
