//! Every wait has a limit. Short limits by flags; a test waits for the effect, and asserts no duration.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Mutex, mpsc},
};

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use crate::support::{
    Backend, Client, Headgate, HyperBackend, Ingress, Manifests, Service, Slice, eventually,
    manifests::{app, service_at},
    request,
};

/// A gate with one limit, and a backend that answers.
fn limited(flag: &str, limit: &str) -> (Backend, Headgate) {
    let backend = Backend::named("app");
    let gate = Headgate::start_with(&app("app.test", &backend), &[flag, limit]);
    (backend, gate)
}

/// A backend whose script waits until the returned sender is dropped.
fn held(
    script: impl Fn(&mut crate::support::Conn) -> std::io::Result<()> + Send + Sync + 'static,
) -> (mpsc::Sender<()>, Backend) {
    let (hold, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::scripted("held", move |conn| {
        script(conn)?;
        let _ = wait.lock().unwrap().recv();
        Ok(())
    });
    (hold, backend)
}

/// Closed, perhaps with a 408 first.
#[track_caller]
fn gives_up(client: &mut Client) {
    let reply = client.rest();
    let text = String::from_utf8_lossy(&reply);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408 "), "{text:?}");
}

#[test]
fn a_head_that_does_not_come() {
    let (backend, gate) = limited("--header-timeout", "300ms");
    for start in ["G", "GET / HTTP/1.1\r\nHost: app.test\r\n"] {
        gives_up(gate.connect().send(start));
    }
    assert_eq!(backend.heads(), 0);
    assert_eq!(gate.get("app.test", "/").status, 200);
}

#[test]
fn a_client_that_says_nothing() {
    let backend = Backend::named("app");
    let flags = ["--header-timeout", "300ms", "--keepalive-timeout", "300ms"];
    let gate = Headgate::start_with(&app("app.test", &backend), &flags);
    gives_up(&mut gate.connect());
    // Half of HTTP/2's preface, or all of it and nothing more.
    for preface in ["PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        gate.connect().send(preface).rest();
    }
}

#[test]
fn a_connection_that_is_kept_for_nothing() {
    let (_backend, gate) = limited("--keepalive-timeout", "300ms");
    let mut client = gate.connect();
    assert_eq!(client.get("app.test", "/").status, 200);
    assert!(client.rest().is_empty());
}

#[test]
fn a_handshake_that_does_not_come() {
    let (_backend, gate) = limited("--handshake-timeout", "300ms");
    assert!(Client::connect(gate.websecure()).rest().is_empty());
    assert!(Client::connect(gate.websecure()).send([0x16, 3, 1]).rest().is_empty());
    assert_eq!(gate.https("app.test", "/").status, 200);
}

#[test]
fn a_request_body_that_stalls() {
    let (backend, gate) = limited("--body-timeout", "300ms");
    let mut client = gate.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nonly this");
    gives_up(&mut client);
    eventually("the upstream connection is given up as well", || backend.open() == 0);
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_request_body_that_stalls_is_not_the_fault_of_an_http_2_backend() {
    let backend = HyperBackend::h2c("h2c");
    let mut objects = service_at(Service::new("h2c").app_protocol("kubernetes.io/h2c"), backend.addr);
    objects.push(Value::from(Ingress::simple("h2c.test", "h2c")));
    let gate = Headgate::start_with(&Manifests::of(objects), &["--body-timeout", "300ms"]);
    for _ in 0..10 {
        let mut client = gate.connect();
        client.send("POST /collect HTTP/1.1\r\nHost: h2c.test\r\nContent-Length: 100\r\n\r\nonly this");
        assert_eq!(client.answer().status, 408);
    }
}

#[test]
fn a_slow_body_that_does_not_stall_is_no_fault() {
    let (backend, gate) = limited("--body-timeout", "2s");
    let mut client = gate.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 25\r\n\r\n");
    for _ in 0..25 {
        client.send("x");
        crate::support::pause(std::time::Duration::from_millis(100));
    }
    assert_eq!(client.answer().status, 200, "2.5 s in all, but never 2 s without a byte");
    assert_eq!(backend.only().body.len(), 25);
}

#[test]
fn an_answer_whose_body_stalls() {
    let (_hold, backend) = held(|conn| {
        conn.request()?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--body-timeout", "300ms"]);
    let mut client = gate.connect();
    client.send(request("GET", "/", "app.test", &[], b""));
    let reply = client.rest();
    assert!(reply.ends_with(b"only this"), "{:?}", String::from_utf8_lossy(&reply));
}

#[test]
fn an_answer_that_does_not_come_is_504() {
    let (_hold, backend) = held(|conn| conn.request().map(|_| ()));
    let gate = Headgate::start_with(&app("app.test", &backend), &["--response-timeout", "300ms"]);
    assert_eq!(gate.get("app.test", "/").status, 504);
    assert_eq!(backend.count(), 1, "a request that was sent is not sent again");
    assert_eq!(gate.send("POST", "app.test", "/", &[], b"once").status, 504);
    assert_eq!(backend.count(), 2);
}

/// An address whose SYNs go unanswered: a listener with a full queue.
fn black_hole(ip: Ipv4Addr, port: u16) -> (SocketAddr, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from((ip, port)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap().as_socket().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&addr.into());
        sockets.push(filler);
    }
    (addr, sockets)
}

#[test]
fn an_endpoint_that_does_not_accept_is_passed_over() {
    let backend = Backend::named("app");
    let (hole, _sockets) = black_hole(Ipv4Addr::LOCALHOST, 0);
    let objects = [
        Value::from(Service::new("app")),
        Slice::new("app", "hole", hole.port()).address(hole).into(),
        Slice::new("app", "good", backend.addr.port()).endpoint(&backend).into(),
        Ingress::simple("app.test", "app").into(),
    ];
    let gate = Headgate::start_with(&Manifests::of(objects), &["--connect-timeout", "300ms"]);
    for _ in 0..4 {
        assert_eq!(gate.send("POST", "app.test", "/", &[], b"x").text(), "app");
    }
}

#[test]
fn the_only_endpoint_that_does_not_accept_is_504() {
    let (hole, _sockets) = black_hole(Ipv4Addr::LOCALHOST, 0);
    let mut objects = service_at(Service::new("app"), hole);
    objects.push(Ingress::simple("app.test", "app").into());
    let gate = Headgate::start_with(&Manifests::of(objects), &["--connect-timeout", "300ms"]);
    assert_eq!(gate.get("app.test", "/").status, 504);
}

#[test]
fn an_idle_upstream_connection_is_closed() {
    let (backend, gate) = limited("--upstream-idle-timeout", "300ms");
    let mut client = gate.connect();
    assert_eq!(client.get("app.test", "/").status, 200);
    eventually("the pool lets go of it", || backend.open() == 0);
    assert_eq!(client.get("app.test", "/").status, 200);
}

#[test]
fn an_idle_tunnel_is_closed() {
    let backend = Backend::scripted("tunnel", |conn| {
        if conn.head()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")?;
            conn.wire.rest()?;
        }
        Ok(())
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--tunnel-timeout", "300ms"]);
    let mut client = gate.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n");
    assert_eq!(client.bodiless().status, 101);
    assert!(client.rest().is_empty());
    eventually("both halves are closed", || backend.open() == 0);
}
