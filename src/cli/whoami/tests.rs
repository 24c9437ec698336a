use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::{Message, protocol::frame::coding::CloseCode};

use super::*;

const NAME: &str = "nginx-test-abc";
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the test against a whoami on a port of its own.
fn with_whoami<F: Future<Output = ()>>(test: impl FnOnce(SocketAddr) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, NAME.into()));
        timeout(LIMIT, test(address)).await.unwrap();
    });
}

/// One request over a connection of its own: everything that came back.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn get(address: SocketAddr, target: &str) -> (String, String) {
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: nginx-test.local\r\nX-Two: <a>\r\nX-Two: b\r\nConnection: close\r\n\r\n"
    );
    let answer = raw(address, &request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_page_names_the_pod_once_and_first() {
    with_whoami(|address| async move {
        let (head, body) = get(address, "/any/path?q=1&x").await;
        assert!(
            head.starts_with("HTTP/1.1 200 OK")
                && head.contains("server: whoami")
                && head.contains("x-pod: nginx-test-abc")
        );
        assert!(body.starts_with("<!doctype html><p>nginx-test-abc</p>\n"), "{body}");
        assert_eq!(body.matches("nginx-test-").count(), 1, "{body}");
        assert!(
            body.contains("GET /any/path?q=1&amp;x HTTP/1.1\nHost: nginx-test.local\nX-Two: &lt;a&gt;\nX-Two: b\n"),
            "{body}"
        );
    });
}

#[test]
fn the_request_as_json() {
    with_whoami(|address| async move {
        let (head, body) = get(address, "/api?a=b").await;
        assert!(head.contains("application/json"));
        let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(seen["name"], NAME);
        assert_eq!((&seen["method"], &seen["path"]), (&"GET".into(), &"/api?a=b".into()));
        assert_eq!((&seen["host"], &seen["version"]), (&"nginx-test.local".into(), &"HTTP/1.1".into()));
        assert_eq!(seen["headers"]["x-two"], serde_json::json!(["<a>", "b"]));
        assert!(seen["remoteAddr"].as_str().unwrap().starts_with("127.0.0.1:"));
    });
}

#[test]
fn small_answers() {
    with_whoami(|address| async move {
        for healthy in ["/health", "/healthz", "/readyz"] {
            assert_eq!(get(address, healthy).await.1, "ok\n");
        }
        assert!(get(address, "/status/418").await.0.starts_with("HTTP/1.1 418 "));
        assert_eq!(get(address, "/sleep?ms=1").await.1, "slept 1 ms\n");
        let (head, body) = get(address, "/data?size=40000").await;
        assert!(head.contains("content-length: 40000") && body.len() == 40_000);
        assert_eq!(get(address, "/data").await.1, "");
        for bad in ["/status/99", "/status/100", "/status/x", "/data?size=x", "/sleep?ms=-1", "/stream?n=x", "/ws"] {
            assert!(get(address, bad).await.0.starts_with("HTTP/1.1 400 "), "{bad}");
        }
        let head = raw(address, "HEAD /data?size=7 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(head.contains("content-length: 7") && head.ends_with("\r\n\r\n"), "{head}");
    });
}

#[test]
fn streamed_answers() {
    with_whoami(|address| async move {
        let (head, body) = get(address, "/stream?n=2&ms=1").await;
        assert!(head.contains("transfer-encoding: chunked"));
        assert_eq!(body, "D\r\npiece 1 of 2\n\r\nD\r\npiece 2 of 2\n\r\n0\r\n\r\n");
        let request = "GET /trailers HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n";
        let answer = raw(address, request).await;
        assert!(answer.ends_with("0\r\ngrpc-status: 0\r\nx-trailer: nginx-test-abc\r\n\r\n"), "{answer}");
        let request = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Type: a/b\r\nConnection: close\r\n\r\nhello";
        let answer = raw(address, request).await;
        assert!(answer.contains("content-type: a/b") && answer.ends_with("\r\n\r\nhello"), "{answer}");
    });
}

/// Sends one request over HTTP/2 with prior knowledge.
async fn http2(address: SocketAddr, request: Request<Full<bytes::Bytes>>) -> Response<Incoming> {
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender.send_request(request).await.unwrap()
}

#[test]
fn http2_with_prior_knowledge() {
    with_whoami(|address| async move {
        let request = Request::get("http://shop.example/api").body(Full::default()).unwrap();
        let body = http2(address, request).await.into_body().collect().await.unwrap().to_bytes();
        let seen: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&seen["host"], &seen["version"]), (&"shop.example".into(), &"HTTP/2.0".into()));
        let request = Request::get("http://shop.example/").body(Full::default()).unwrap();
        let page = http2(address, request).await.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&page).contains("GET / HTTP/2.0\nHost: shop.example\n"));
        let request = Request::get("http://a/trailers").body(Full::default()).unwrap();
        let body = http2(address, request).await.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap().get("grpc-status").unwrap(), "0");
    });
}

#[test]
fn a_slow_first_byte_does_not_fool_the_choice_of_protocol() {
    with_whoami(|address| async move {
        for method in ["PUT", "PRIX"] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for byte in method.bytes().chain(*b" / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") {
                stream.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{method}: {answer}");
        }
    });
}

#[test]
fn a_websocket_echoes() {
    with_whoami(|address| async move {
        let (mut socket, response) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
        assert_eq!(response.headers().get("x-pod").unwrap(), NAME);
        for size in [0, 125, 126, 65_535, 65_536] {
            let sent = Message::binary(vec![7_u8; size]);
            socket.send(sent.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), sent);
        }
        socket.send(Message::text("h\u{e9}")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("h\u{e9}"));
        socket.send(Message::Ping("p".into())).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::Pong("p".into()));
        socket.send(Message::binary(vec![0_u8; 1024 * 1024 + 1])).await.unwrap();
        let Message::Close(Some(close)) = socket.next().await.unwrap().unwrap() else { panic!("no close") };
        assert_eq!(close.code, CloseCode::Size);
    });
}

#[test]
fn a_websocket_closes_when_asked() {
    with_whoami(|address| async move {
        let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{address}/ws")).await.unwrap();
        socket.close(None).await.unwrap();
        assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
        assert!(socket.next().await.is_none());
    });
}

#[test]
fn a_broken_websocket_is_closed_with_its_code() {
    let handshake = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    with_whoami(|address| async move {
        // Not masked; a reserved bit; a reserved opcode; a fragmented ping.
        for frame in [[0x82, 1], [0xc2, 0x81], [0x83, 0x81], [0x09, 0x81]] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(handshake.as_bytes()).await.unwrap();
            stream.write_all(&frame).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            // The example of RFC 6455 §1.3.
            assert!(String::from_utf8_lossy(&answer).contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
            assert!(answer.ends_with(&[0x88, 2, 0x03, 0xea]), "{frame:?}");
        }
        let old = handshake.replace("Version: 13", "Version: 8").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let answer = raw(address, &old).await;
        assert!(answer.starts_with("HTTP/1.1 426 ") && answer.contains("sec-websocket-version: 13"), "{answer}");
    });
}

#[test]
fn a_drain_serves_on_then_closes_with_open_requests_answered() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let drained = async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = Drain::default();
        let served = tokio::spawn(serve_until(listener, NAME.into(), drain.watch()));

        drain.enter(Phase::Announcing);
        assert!(get(address, "/readyz").await.0.starts_with("HTTP/1.1 503 "));
        assert_eq!(get(address, "/healthz").await.1, "ok\n");
        let mut idle = TcpStream::connect(address).await.unwrap();
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(idle.read_u8().await.is_ok());
        let mut streaming = TcpStream::connect(address).await.unwrap();
        streaming.write_all(b"GET /stream?n=3&ms=100 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert!(streaming.read_u8().await.is_ok());
        // Accepted by the kernel, and still in its queue: nothing has run since.
        let mut queued = std::net::TcpStream::connect(address).unwrap();
        queued.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        queued.set_nonblocking(true).unwrap();
        let queued = TcpStream::from_std(queued).unwrap();

        drain.enter(Phase::Closing);
        for connection in [idle, streaming, queued] {
            let (mut answer, mut connection) = (String::new(), connection);
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("ok\n") || answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
        }
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    };
    runtime.block_on(async { timeout(LIMIT, drained).await.unwrap() });
}

#[test]
fn arguments() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        whoami: WhoamiArgs,
    }
    let cli =
        <Cli as clap::Parser>::try_parse_from(["whoami", "--listen", "[::1]:0", "--name", "x", "--drain-delay", "5s"]);
    let cli = cli.unwrap();
    assert_eq!(cli.whoami.drain_delay, Span(Duration::from_secs(5)));
    assert_eq!((cli.whoami.listen.to_string().as_str(), cli.whoami.name.as_deref()), ("[::1]:0", Some("x")));
    assert!(!default_name().is_empty());
}
