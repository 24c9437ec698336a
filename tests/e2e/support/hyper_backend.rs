//! A backend that speaks HTTP/2 without TLS (h2c), or TLS with HTTP/1.1 and HTTP/2. Under `/echo` it streams the
//! request's body back and ends with gRPC-like trailers; elsewhere it answers with its name.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header, request};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
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

/// A backend on hyper, and the request heads it saw.
pub(crate) struct HyperBackend {
    pub(crate) addr: SocketAddr,
    seen: Arc<Mutex<Vec<request::Parts>>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Service {
    name: String,
    seen: Arc<Mutex<Vec<request::Parts>>>,
}

impl HyperBackend {
    /// HTTP/2 with prior knowledge.
    pub(crate) fn h2c(name: &str) -> Self {
        Self::start(name, None)
    }

    /// TLS; ALPN says which of HTTP/2 and HTTP/1.1.
    pub(crate) fn tls(name: &str, cert: &Cert, alpn: &[&[u8]]) -> Self {
        Self::start(name, Some(TlsAcceptor::from(Arc::new(cert.server_config(alpn)))))
    }

    fn start(name: &str, tls: Option<TlsAcceptor>) -> Self {
        let (listener, addr) = listen().unwrap();
        let seen = Arc::default();
        let service = Service { name: name.to_owned(), seen: Arc::clone(&seen) };
        Self { addr, seen, server: runtime().spawn(accept(listener, tls, service)) }
    }

    /// The request heads so far.
    pub(crate) fn seen(&self) -> Vec<request::Parts> {
        self.seen.lock().unwrap().clone()
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
    while let Ok((tcp, _)) = listener.accept().await {
        tokio::spawn(connection(tcp, tls.clone(), service.clone()));
    }
}

async fn connection(tcp: TcpStream, tls: Option<TlsAcceptor>, service: Service) {
    let Some(acceptor) = tls else { return serve(tcp, Version::HTTP_2, service).await };
    // A client that refuses our certificate is what some tests are about.
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    serve(stream, if h2 { Version::HTTP_2 } else { Version::HTTP_11 }, service).await;
}

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, version: Version, service: Service) {
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request)) }
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
    fn answer(&self, request: Request<Incoming>) -> Response<UnsyncBoxBody<Bytes, hyper::Error>> {
        let (parts, body) = request.into_parts();
        self.seen.lock().unwrap().push(parts.clone());
        if parts.uri.path() != "/echo" {
            let name = Full::new(Bytes::from(format!("{}\n", self.name)));
            return Response::new(name.map_err(|never| match never {}).boxed_unsync());
        }
        let mut answer = Response::new(StreamBody::new(echo(body)).boxed_unsync());
        let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
        answer.headers_mut().insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("text/plain")));
        answer.headers_mut().insert(header::TRAILER, HeaderValue::from_static("grpc-status"));
        answer
    }
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
