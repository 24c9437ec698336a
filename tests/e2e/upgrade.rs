//! Connections that change their protocol: WebSocket, and anything else that both ends agree on.

use futures_util::{SinkExt, StreamExt};
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    accept_hdr_async, client_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::server::{Request, Response},
    },
};

use crate::support::{
    Backend, Headgate, Ingress, Manifests, Service, eventually,
    h2::{block_on, listen, runtime},
    manifests::{app, service_at},
};

/// A WebSocket server that sends every message back, and agrees to the subprotocol `chat`.
fn echo_server() -> std::net::SocketAddr {
    let (listener, addr) = listen().unwrap();
    runtime().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            tokio::spawn(echo(tcp));
        }
    });
    addr
}

async fn echo(tcp: TcpStream) {
    #[allow(clippy::result_large_err, reason = "tungstenite's own callback type")]
    let callback = |request: &Request, mut response: Response| {
        if request.headers().get(header::SEC_WEBSOCKET_PROTOCOL).is_some() {
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat"));
        }
        Ok(response)
    };
    let mut socket = accept_hdr_async(tcp, callback).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

fn websocket_through(service: Service) {
    let mut objects = service_at(service, echo_server());
    objects.push(Value::from(Ingress::simple("ws.test", "ws")));
    let gate = Headgate::start(&Manifests::of(objects));
    block_on(async {
        let tcp = TcpStream::connect(gate.web()).await.unwrap();
        let mut request = "ws://ws.test/socket".into_client_request().unwrap();
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("chat"));
        let (mut socket, response) = client_async(request, tcp).await.unwrap();
        assert_eq!(response.status(), 101);
        assert_eq!(response.headers().get(header::SEC_WEBSOCKET_PROTOCOL), Some(&HeaderValue::from_static("chat")));
        for message in [Message::text("hello"), Message::binary(vec![7; 200_000]), Message::text("")] {
            socket.send(message.clone()).await.unwrap();
            assert_eq!(socket.next().await.unwrap().unwrap(), message);
        }
        socket.close(None).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
}

#[test]
fn websockets_echo() {
    websocket_through(Service::new("ws"));
}

#[test]
fn websockets_echo_by_app_protocol() {
    websocket_through(Service::new("ws").app_protocol("kubernetes.io/ws"));
}

const SWITCH: &str = "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\n";

#[test]
fn each_direction_of_a_tunnel_ends_on_its_own() {
    let backend = Backend::scripted("tunnel", |conn| {
        let Some(head) = conn.head()? else { return Ok(()) };
        assert_eq!(head.get("upgrade"), Some("own-protocol"));
        assert!(head.get("connection").is_some_and(|c| c.eq_ignore_ascii_case("upgrade")), "{head:?}");
        conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\nready ")?;
        // The answer to what the client sends comes only after the client has ended its direction.
        let all = conn.wire.rest()?;
        conn.write(all.to_ascii_uppercase())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    // Bytes behind the head belong to the new protocol.
    client.send(format!("{SWITCH}early "));
    let answer = client.bodiless();
    assert_eq!((answer.status, answer.get("upgrade")), (101, Some("own-protocol")));
    client.send("and late");
    client.wire.finish();
    assert_eq!(String::from_utf8(client.rest()).unwrap(), "ready EARLY AND LATE");
}

#[test]
fn the_backend_may_end_its_direction_first() {
    let (seen, rest) = std::sync::mpsc::channel();
    let seen = std::sync::Mutex::new(seen);
    let backend = Backend::scripted("tunnel", move |conn| {
        if conn.head()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\nbye")?;
            conn.wire.finish();
            let _ = seen.lock().unwrap().send(conn.wire.rest()?);
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    assert_eq!(client.send(SWITCH).bodiless().status, 101);
    assert_eq!(client.rest(), b"bye");
    client.send("still sent");
    client.wire.finish();
    assert_eq!(rest.recv_timeout(crate::support::DEADLINE).unwrap(), b"still sent");
}

#[test]
fn a_backend_may_decline() {
    let backend = Backend::named("plain");
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    let answer = client.send(SWITCH).answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "plain"));
    assert_eq!(client.get("app.test", "/").text(), "plain", "the connection goes on");
}

#[test]
fn a_switch_that_nobody_asked_for_is_502() {
    let backend = Backend::canned(
        "pushy",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\n",
    );
    let gate = Headgate::start(&app("app.test", &backend));
    assert_eq!(gate.get("app.test", "/").status, 502);
}

#[test]
fn upgrade_without_its_connection_token_is_no_upgrade() {
    let backend = Backend::named("plain");
    let gate = Headgate::start(&app("app.test", &backend));
    let answer = gate.get_with("app.test", "/", &[("Upgrade", "own-protocol")]);
    assert_eq!(answer.status, 200);
    assert_eq!(backend.only().get("upgrade"), None);
}

#[test]
fn a_tunnel_ends_with_its_client() {
    let backend = Backend::scripted("tunnel", |conn| {
        if conn.head()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own-protocol\r\n\r\n")?;
            conn.wire.rest()?;
        }
        Ok(())
    });
    let gate = Headgate::start(&app("app.test", &backend));
    let mut client = gate.connect();
    assert_eq!(client.send(SWITCH).bodiless().status, 101);
    assert_eq!(backend.open(), 1);
    drop(client);
    eventually("the upstream half is closed", || backend.open() == 0);
}
