//! SIGTERM: readiness fails, what is in flight finishes, nothing idle holds the process up.

use std::sync::{Mutex, mpsc};

use crate::support::{
    Backend, Client, H2, Headgate, eventually,
    h2::{block_on, collect, empty},
    manifests::app,
    request,
};

/// A backend that answers when told to.
fn slow() -> (mpsc::Sender<()>, Backend) {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let backend = Backend::scripted("slow", move |conn| {
        while conn.request()?.is_some() {
            let _ = wait.lock().unwrap().recv();
            conn.whoami()?;
        }
        Ok(())
    });
    (go, backend)
}

fn refuses(addr: std::net::SocketAddr) -> bool {
    std::net::TcpStream::connect(addr).is_err()
}

#[test]
fn a_request_in_flight_finishes() {
    let (go, backend) = slow();
    let mut gate = Headgate::start(&app("app.test", &backend));
    assert_eq!(gate.admin("/readyz").status, 200);
    let mut client = gate.connect();
    client.send(request("GET", "/", "app.test", &[], b""));
    eventually("the request is at the backend", || backend.count() == 1);

    gate.sigterm();
    eventually("readiness fails", || gate.admin("/readyz").status == 503);
    assert_eq!(gate.admin("/healthz").status, 200, "it is alive all the same");
    let (web, secure) = (gate.web(), gate.websecure());
    eventually("the listeners are closed", || refuses(web) && refuses(secure));

    go.send(()).unwrap();
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "slow"));
    assert_eq!(answer.get("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    assert!(client.rest().is_empty());
    assert_eq!(gate.wait_exit().code(), Some(0));
}

#[test]
fn during_the_delay_new_requests_are_served_and_told_to_close() {
    let backend = Backend::named("app");
    let mut gate = Headgate::start_with(&app("app.test", &backend), &["--drain-delay", "4s"]);
    let mut kept = gate.connect();
    assert_eq!(kept.get("app.test", "/").get("connection"), None);
    gate.sigterm();
    eventually("readiness fails", || gate.admin("/readyz").status == 503);
    for client in [&mut kept, &mut gate.connect()] {
        let answer = client.get("app.test", "/");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.get("connection").map(str::to_ascii_lowercase).as_deref(), Some("close"));
    }
    assert_eq!(gate.wait_exit().code(), Some(0));
}

#[test]
fn idle_connections_hold_nothing_up() {
    let backend = Backend::named("app");
    // The limit is beyond the deadline of the test: only not waiting for idle connections passes.
    let mut gate = Headgate::start_with(&app("app.test", &backend), &["--drain-timeout", "10m"]);
    let mut silent = gate.connect();
    let mut used = gate.connect();
    assert_eq!(used.get("app.test", "/").status, 200);
    let mut secure = Client::tls(gate.websecure(), Some("app.test"));
    assert_eq!(secure.get("app.test", "/").status, 200);
    let h2 = H2::plain(gate.web());
    assert_eq!(h2.get("app.test", "/").status, 200);
    gate.sigterm();
    assert_eq!(gate.wait_exit().code(), Some(0));
    assert!(used.rest().is_empty() && silent.rest().is_empty());
    eventually("the HTTP/2 connection has ended", || h2.closed());
}

#[test]
fn h2_streams_in_flight_finish_after_goaway() {
    let (go, backend) = slow();
    let mut gate = Headgate::start(&app("app.test", &backend));
    let h2 = H2::tls(gate.websecure(), "app.test");
    let request = h2.request("GET", "app.test", "/").body(empty()).unwrap();
    let in_flight = {
        let h2 = h2.clone();
        crate::support::h2::runtime().spawn(async move { collect(h2.start(request).await?).await })
    };
    eventually("the request is at the backend", || backend.count() == 1);
    gate.sigterm();
    let web = gate.web();
    eventually("the listeners are closed", || refuses(web));
    go.send(()).unwrap();
    let answer = block_on(in_flight).unwrap().unwrap();
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, "slow"));
    assert_eq!(gate.wait_exit().code(), Some(0));
}

#[test]
fn the_drain_has_an_end() {
    let (_go, backend) = slow();
    let mut gate = Headgate::start_with(&app("app.test", &backend), &["--drain-timeout", "300ms"]);
    let mut client = gate.connect();
    client.send(request("GET", "/", "app.test", &[], b""));
    eventually("the request is at the backend", || backend.count() == 1);
    gate.sigterm();
    gate.wait_exit();
    let reply = client.rest();
    assert!(!reply.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&reply));
}

#[test]
fn the_tunnels_are_cut_at_the_end_only() {
    let backend = Backend::scripted("tunnel", |conn| {
        if conn.head()?.is_some() {
            conn.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n")?;
            while let Some(line) = conn.wire.until(b"\n")? {
                conn.write(line)?;
            }
        }
        Ok(())
    });
    let mut gate = Headgate::start_with(&app("app.test", &backend), &["--drain-timeout", "4s"]);
    let mut client = gate.connect();
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: own\r\n\r\n");
    assert_eq!(client.bodiless().status, 101);
    gate.sigterm();
    let web = gate.web();
    eventually("the listeners are closed", || refuses(web));
    assert_eq!(client.send("still here\n").wire.until(b"\n").unwrap().unwrap(), b"still here\n");
    gate.wait_exit();
    assert!(client.rest().is_empty());
}

#[test]
fn an_interrupt_ends_it_as_well() {
    let backend = Backend::named("app");
    let mut gate = Headgate::start(&app("app.test", &backend));
    gate.interrupt();
    assert_eq!(gate.wait_exit().code(), Some(0));
}
