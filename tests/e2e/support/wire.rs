//! HTTP/1.1 as bytes: heads, bodies by their framing, chunks and trailers. No leniency and no repair, so that a test
//! sees what was really sent.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
};

use rustls::{ClientConnection, StreamOwned};

/// Names and values in the order they came.
pub(crate) type Headers = Vec<(String, String)>;

/// A request's or an answer's head.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The request line or status line.
    pub(crate) first: String,
    /// Names as sent.
    pub(crate) headers: Headers,
}

impl Head {
    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter(|l| !l.is_empty()).map(header).collect();
        Self { first, headers }
    }

    /// The first value of a header.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Every value of a header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Whether the body is chunked.
    pub(crate) fn chunked(&self) -> bool {
        self.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
    }

    /// `Content-Length`, if there is one.
    pub(crate) fn length(&self) -> Option<usize> {
        self.get("content-length").and_then(|v| v.parse().ok())
    }
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

/// A plain or a TLS socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => &tls.sock,
        }
    }
}

/// A socket and what was read ahead of it.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        Self { socket, buffer: Vec::new() }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Plain(tcp) => tcp.write_all(bytes),
            Socket::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// Ends our direction only.
    pub(crate) fn finish(&mut self) {
        let _ = self.socket.tcp().shutdown(Shutdown::Write);
    }

    /// Reads once more; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = match &mut self.socket {
            Socket::Plain(tcp) => tcp.read(&mut piece),
            Socket::Tls(tls) => match tls.read(&mut piece) {
                // A TLS peer that closes without close_notify has closed all the same.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                other => other,
            },
        }?;
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// The bytes up to and including `end`. `None` at an end of file before any byte.
    pub(crate) fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|w| w == end) {
                return Ok(Some(self.buffer.drain(..at + end.len()).collect()));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// The next head; `None` when the peer has closed instead.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        Ok(self.until(b"\r\n\r\n")?.map(|bytes| Head::parse(&bytes)))
    }

    /// Exactly `length` bytes.
    pub(crate) fn exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    /// One chunk's data; empty for the last one, whose trailers are still to come.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line()?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("chunk size {line:?}: {e}")))?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let data = self.exact(size)?;
        match self.exact(2)?.as_slice() {
            b"\r\n" => Ok(data),
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("after a chunk: {other:?}"))),
        }
    }

    /// The trailers behind the last chunk.
    pub(crate) fn trailers(&mut self) -> io::Result<Headers> {
        let mut trailers = Vec::new();
        loop {
            match self.line()?.as_str() {
                "" => return Ok(trailers),
                line => trailers.push(header(line)),
            }
        }
    }

    /// A whole chunked body.
    pub(crate) fn chunks(&mut self) -> io::Result<(Vec<u8>, Headers)> {
        let mut body = Vec::new();
        loop {
            let data = self.chunk()?;
            if data.is_empty() {
                return Ok((body, self.trailers()?));
            }
            body.extend(data);
        }
    }

    /// Everything until the peer closes. A reset counts as a close.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill() {
                Ok(0) => return Ok(std::mem::take(&mut self.buffer)),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(std::mem::take(&mut self.buffer)),
                Err(e) => return Err(e),
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let bytes = self.until(b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches("\r\n").to_owned())
    }
}
