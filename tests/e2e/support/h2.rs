//! An HTTP/2 client: hyper's, on one connection, over TLS or with prior knowledge.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, sync::OnceLock};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Runtime,
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{cert, wait::DEADLINE};

/// The body of a request.
pub(crate) type ReqBody = UnsyncBoxBody<Bytes, Infallible>;

/// The runtime that the tests' asynchronous parts share.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap())
}

/// Runs to the end, within [`DEADLINE`].
#[track_caller]
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    match runtime().block_on(async { timeout(DEADLINE, work).await }) {
        Ok(value) => value,
        Err(_) => panic!("not done within {DEADLINE:?}"),
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct H2Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

impl H2Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).trim().to_owned()
    }
}

/// One HTTP/2 connection.
#[derive(Clone)]
pub(crate) struct H2 {
    sender: SendRequest<ReqBody>,
    /// The scheme for the requests' URIs.
    scheme: &'static str,
}

impl H2 {
    /// Prior knowledge, on a plain entrypoint.
    pub(crate) fn plain(addr: SocketAddr) -> Self {
        block_on(async {
            let tcp = TcpStream::connect(addr).await.unwrap();
            Self { sender: handshake(tcp).await, scheme: "http" }
        })
    }

    /// Over TLS, by ALPN.
    pub(crate) fn tls(addr: SocketAddr, sni: &str) -> Self {
        Self::tls_with(addr, sni, cert::client_config(&[], &[b"h2", b"http/1.1"]))
    }

    /// Over TLS, with a configuration of the test's own.
    pub(crate) fn tls_with(addr: SocketAddr, sni: &str, config: rustls::ClientConfig) -> Self {
        let name = ServerName::try_from(sni.to_owned()).unwrap();
        block_on(async {
            let tcp = TcpStream::connect(addr).await.unwrap();
            let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the protocol chosen by ALPN");
            Self { sender: handshake(tls).await, scheme: "https" }
        })
    }

    /// A GET.
    #[track_caller]
    pub(crate) fn get(&self, host: &str, path: &str) -> H2Answer {
        self.send(self.request("GET", host, path).body(empty()).unwrap()).unwrap()
    }

    /// A request to be finished with headers and a body.
    pub(crate) fn request(&self, method: &str, host: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}://{host}{path}", self.scheme))
    }

    /// Sends a request and reads its whole answer.
    #[track_caller]
    pub(crate) fn send(&self, request: Request<ReqBody>) -> Result<H2Answer, hyper::Error> {
        block_on(async { collect(self.start(request).await?).await })
    }

    /// Sends a request; its answer's body is still to be read.
    pub(crate) async fn start(&self, request: Request<ReqBody>) -> Result<Response<Incoming>, hyper::Error> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }

    /// Whether the server has ended the connection.
    pub(crate) fn closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Reads an answer to its end.
pub(crate) async fn collect(answer: Response<Incoming>) -> Result<H2Answer, hyper::Error> {
    let (parts, body) = answer.into_parts();
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok(H2Answer { status: parts.status, headers: parts.headers, body: collected.to_bytes(), trailers })
}

async fn handshake(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> SendRequest<ReqBody> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(async move {
        // How it ends, the requests on it say.
        let _: Result<(), hyper::Error> = connection.await;
    });
    sender
}

/// No body.
pub(crate) fn empty() -> ReqBody {
    Empty::new().boxed_unsync()
}

/// A body that is known whole.
pub(crate) fn full(bytes: impl Into<Bytes>) -> ReqBody {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body that is sent frame by frame; it ends when the sender is dropped.
pub(crate) fn streamed() -> (mpsc::UnboundedSender<Frame<Bytes>>, ReqBody) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((Ok::<_, Infallible>(frame), receiver))
    });
    (sender, StreamBody::new(frames).boxed_unsync())
}

/// A TCP listener on loopback for a server of the test's own.
pub(crate) fn listen() -> io::Result<(tokio::net::TcpListener, SocketAddr)> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let _guard = runtime().enter();
    Ok((tokio::net::TcpListener::from_std(listener)?, addr))
}
