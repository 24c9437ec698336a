//! A backend that speaks HTTP/2 without TLS (h2c), or TLS with HTTP/1.1 and HTTP/2. Under `/echo` it streams the
//! request's body back and ends with gRPC-like trailers; under `/collect` it answers once it has the whole request,
//! with trailers that a proxy must not pass on; under `/large` with megabytes; elsewhere it answers with its name.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header, request};
use http_body_util::{BodyExt, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{
    cert::Cert,
    h2::{listen, runtime},
};

/// What `/large` answers: more than the system's buffers take for a client that doesn't read.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| vec![b'x'; 64 << 20].into());

/// A backend on hyper, and the request heads it saw.
pub(crate) struct HyperBackend {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<request::Parts>>>,
    collected: Arc<Mutex<Vec<Collected<Bytes>>>>,
    server: JoinHandle<()>,
}

/// Of a TLS connection that a request came on; in the extensions of its head.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Counted from 0.
    pub(crate) connection: usize,
    pub(crate) sni: Option<String>,
    pub(crate) version: Option<rustls::ProtocolVersion>,
    pub(crate) suite: Option<rustls::CipherSuite>,
    /// DER.
    pub(crate) certificate: Option<Vec<u8>>,
}

#[derive(Clone)]
struct Service {
    name: String,
    peer: Option<Peer>,
    seen: Arc<Mutex<Vec<request::Parts>>>,
    collected: Arc<Mutex<Vec<Collected<Bytes>>>>,
}

impl HyperBackend {
    /// HTTP/2 with prior knowledge.
    pub(crate) fn h2c(name: &str) -> Self {
        Self::start(name, None)
    }

    /// TLS; ALPN says which of HTTP/2 and HTTP/1.1.
    pub(crate) fn tls(name: &str, cert: &Cert, alpn: &[&[u8]]) -> Self {
        Self::tls_of(name, cert.server_config(alpn))
    }

    /// TLS of the test's own.
    pub(crate) fn tls_of(name: &str, config: rustls::ServerConfig) -> Self {
        Self::start(name, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn start(name: &str, tls: Option<TlsAcceptor>) -> Self {
        let (listener, addr) = listen().unwrap();
        let (seen, collected) = (Arc::default(), Arc::default());
        let service =
            Service { name: name.to_owned(), peer: None, seen: Arc::clone(&seen), collected: Arc::clone(&collected) };
        Self { addr, seen, collected, server: runtime().spawn(accept(listener, tls, service)) }
    }

    /// The request heads so far.
    pub(crate) fn seen(&self) -> Vec<request::Parts> {
        self.seen.lock().unwrap().clone()
    }

    /// What is known of the connection of the last request.
    #[track_caller]
    pub(crate) fn peer(&self) -> Peer {
        let seen = self.seen();
        let last = seen.last().expect("a request");
        last.extensions.get::<Peer>().expect("TLS").clone()
    }

    /// The only body that came to `/collect`, with its trailers.
    #[track_caller]
    pub(crate) fn collected(&self) -> (Vec<u8>, HeaderMap) {
        let mut collected = self.collected.lock().unwrap();
        assert_eq!(collected.len(), 1, "bodies: {collected:#?}");
        let whole = collected.pop().unwrap();
        let trailers = whole.trailers().cloned().unwrap_or_default();
        (whole.to_bytes().to_vec(), trailers)
    }

    /// The version of the only request there was.
    #[track_caller]
    pub(crate) fn only(&self) -> request::Parts {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "requests: {seen:#?}");
        seen.into_iter().next().unwrap()
    }
}

impl Drop for HyperBackend {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, service: Service) {
    let mut count = 0;
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(connection(tcp, tls.clone(), service.clone(), count));
        count += 1;
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, mut service: Service, connection: usize) {
    let Some(acceptor) = tls else { return serve(tcp, Version::HTTP_2, service).await };
    // A client that refuses our certificate is what some tests are about.
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let session = stream.get_ref().1;
    let h2 = session.alpn_protocol() == Some(b"h2");
    service.peer = Some(Peer {
        connection,
        sni: session.server_name().map(str::to_owned),
        version: session.protocol_version(),
        suite: session.negotiated_cipher_suite().map(|suite| suite.suite()),
        certificate: session.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec()),
    });
    serve(stream, if h2 { Version::HTTP_2 } else { Version::HTTP_11 }, service).await;
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, version: Version, service: Service) {
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    let io = TokioIo::new(io);
    // How a connection ends is the proxy's affair; the tests look at requests.
    let _: Result<(), hyper::Error> = if version == Version::HTTP_2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(io, handler).await
    } else {
        http1::Builder::new().serve_connection(io, handler).await
    };
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
        let (mut parts, body) = request.into_parts();
        if let Some(peer) = &self.peer {
            parts.extensions.insert(peer.clone());
        }
        self.seen.lock().unwrap().push(parts.clone());
        if parts.uri.path() == "/collect" {
            // An upload that breaks off shows at its sender.
            if let Ok(whole) = body.collect().await {
                self.collected.lock().unwrap().push(whole);
            }
            let frames = [Frame::data(Bytes::from(format!("{}\n", self.name))), Frame::trailers(unwelcome_trailers())];
            let frames = futures_util::stream::iter(frames.map(Ok));
            return Response::new(StreamBody::new(frames).boxed_unsync());
        }
        if parts.uri.path() != "/echo" {
            let large = parts.uri.path() == "/large";
            let name = Full::new(if large { LARGE.clone() } else { format!("{}\n", self.name).into() });
            return Response::new(name.map_err(|never| match never {}).boxed_unsync());
        }
        let mut answer = Response::new(StreamBody::new(echo(body)).boxed_unsync());
        let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
        answer.headers_mut().insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("text/plain")));
        answer.headers_mut().insert(header::TRAILER, HeaderValue::from_static("grpc-status"));
        answer
    }
}

/// Fields that must not come behind a body (RFC 9110 §6.5.1), and one that may: `x-sum`.
pub(crate) fn unwelcome_trailers() -> HeaderMap {
    let fields = [
        ("authorization", "Basic ZXZpbDpldmls"),
        ("content-length", "9"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-sum", "7"),
    ];
    let fields = fields.map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
    fields.into_iter().collect()
}

/// The body's data frame by frame, then `grpc-status: 0`.
fn echo(body: Incoming) -> impl futures_util::Stream<Item = Result<Frame<Bytes>, hyper::Error>> {
    futures_util::stream::unfold(Some(body), |body| async move {
        let mut body = body?;
        loop {
            match body.frame().await {
                Some(Ok(frame)) if frame.is_data() => return Some((Ok(frame), Some(body))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some((Err(error), None)),
                None => {
                    let trailers = HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        HeaderValue::from_static("0"),
                    )]);
                    return Some((Ok(Frame::trailers(trailers)), None));
                }
            }
        }
    })
}
