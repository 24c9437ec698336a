//! A backend in the test process: raw HTTP/1.1 on a thread for each connection, every request recorded. By default
//! it answers with its pod name, as `headgate whoami` does; a script gives exact control over the bytes.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use super::wire::{Head, Headers, Socket, Wire};

/// A whole request as it reached a backend.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    /// Request line and headers.
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
}

impl Recorded {
    pub(crate) fn method(&self) -> &str {
        self.head.first.split(' ').next().unwrap_or_default()
    }

    /// The request target.
    pub(crate) fn target(&self) -> &str {
        self.head.first.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }
}

type Script = dyn Fn(&mut Conn) -> io::Result<()> + Send + Sync;

struct State {
    name: String,
    script: Box<Script>,
    accepting: AtomicBool,
    connections: AtomicUsize,
    heads: AtomicUsize,
    requests: Mutex<Vec<Recorded>>,
    /// Open connections, so that they can be broken.
    open: Mutex<HashMap<usize, TcpStream>>,
}

/// One connection of a backend, as its script sees it.
pub(crate) struct Conn {
    pub(crate) wire: Wire,
    state: Arc<State>,
}

impl Conn {
    /// The next request's head, its body unread. `None` when the peer has closed.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        let head = self.wire.head()?;
        if head.is_some() {
            self.state.heads.fetch_add(1, Ordering::SeqCst);
        }
        Ok(head)
    }

    /// Reads the body that belongs to `head`, and records the request.
    pub(crate) fn body(&mut self, head: Head) -> io::Result<Recorded> {
        let (body, trailers) = if head.chunked() {
            self.wire.chunks()?
        } else {
            (self.wire.exact(head.length().unwrap_or(0))?, Vec::new())
        };
        let recorded = Recorded { head, body, trailers };
        self.state.requests.lock().unwrap().push(recorded.clone());
        Ok(recorded)
    }

    /// The next whole request.
    pub(crate) fn request(&mut self) -> io::Result<Option<Recorded>> {
        match self.head()? {
            Some(head) => self.body(head).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.wire.write(bytes.as_ref())
    }

    /// The default answer: 200, and the pod's name.
    pub(crate) fn whoami(&mut self) -> io::Result<()> {
        let body = format!("{}\n", self.state.name);
        self.write(answer(200, &[("Server", "echo")], body.as_bytes()))
    }
}

/// The bytes of an answer with a `Content-Length`.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut out = format!("HTTP/1.1 {status} Canned\r\nDate: Sun, 22 Nov 2026 12:00:00 GMT\r\n").into_bytes();
    out.extend_from_slice(b"Content-Type: text/plain\r\n");
    for (name, value) in headers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.extend_from_slice(body);
    out
}

/// A recording backend.
pub(crate) struct Backend {
    pub(crate) addr: SocketAddr,
    state: Arc<State>,
    acceptor: Option<JoinHandle<()>>,
}

impl Backend {
    /// Answers every request with its name.
    pub(crate) fn named(name: &str) -> Self {
        Self::scripted(name, |conn| {
            while conn.request()?.is_some() {
                conn.whoami()?;
            }
            Ok(())
        })
    }

    /// Answers every request with these bytes.
    pub(crate) fn canned(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::scripted(name, move |conn| {
            while conn.request()?.is_some() {
                conn.write(&bytes)?;
            }
            Ok(())
        })
    }

    /// Runs `script` for each connection, which closes when it returns.
    pub(crate) fn scripted(name: &str, script: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self::on(listener, name, script)
    }

    /// As [`Backend::named`], on an address of its own.
    pub(crate) fn at(ip: IpAddr, name: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((ip, 0))?;
        Ok(Self::on(listener, name, whoami))
    }

    fn on(
        listener: TcpListener,
        name: &str,
        script: impl Fn(&mut Conn) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            name: name.to_owned(),
            script: Box::new(script),
            accepting: AtomicBool::new(true),
            connections: AtomicUsize::new(0),
            heads: AtomicUsize::new(0),
            requests: Mutex::default(),
            open: Mutex::default(),
        });
        let acceptor = Some(accept(listener, Arc::clone(&state)));
        Self { addr, state, acceptor }
    }

    pub(crate) fn name(&self) -> &str {
        &self.state.name
    }

    /// Every whole request so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state.requests.lock().unwrap().clone()
    }

    /// The one request there was.
    #[track_caller]
    pub(crate) fn only(&self) -> Recorded {
        let requests = self.requests();
        assert_eq!(requests.len(), 1, "requests at {}: {requests:#?}", self.name());
        requests.into_iter().next().unwrap()
    }

    /// How many whole requests came.
    pub(crate) fn count(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    /// How many request heads came, with or without the rest.
    pub(crate) fn heads(&self) -> usize {
        self.state.heads.load(Ordering::SeqCst)
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    pub(crate) fn open(&self) -> usize {
        self.state.open.lock().unwrap().len()
    }

    /// Closes the listener and every connection: new ones are refused.
    pub(crate) fn refuse(&mut self) {
        self.state.accepting.store(false, Ordering::SeqCst);
        // Wakes the acceptor, which then drops its listener.
        let _ = TcpStream::connect(self.addr);
        if let Some(acceptor) = self.acceptor.take() {
            acceptor.join().unwrap();
        }
        for stream in self.state.open.lock().unwrap().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again on the same address after [`Backend::refuse`].
    pub(crate) fn resume(&mut self) {
        self.state.accepting.store(true, Ordering::SeqCst);
        let listener = TcpListener::bind(self.addr).unwrap();
        self.acceptor = Some(accept(listener, Arc::clone(&self.state)));
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.refuse();
    }
}

fn whoami(conn: &mut Conn) -> io::Result<()> {
    while conn.request()?.is_some() {
        conn.whoami()?;
    }
    Ok(())
}

fn accept(listener: TcpListener, state: Arc<State>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if !state.accepting.load(Ordering::SeqCst) {
                return;
            }
            let id = state.connections.fetch_add(1, Ordering::SeqCst);
            let _ = stream.set_nodelay(true);
            state.open.lock().unwrap().insert(id, stream.try_clone().unwrap());
            let state = Arc::clone(&state);
            std::thread::spawn(move || {
                let mut conn = Conn { wire: Wire::new(Socket::Plain(stream)), state: Arc::clone(&state) };
                // A proxy may close at any moment; what a test needs to know of it, it asserts itself.
                let _ = (state.script)(&mut conn);
                state.open.lock().unwrap().remove(&id);
            });
        }
    })
}

/// Backends on 127.0.0.2, 127.0.0.3, … with one port, as pods have it: one EndpointSlice holds them all.
pub(crate) struct Pods {
    pub(crate) port: u16,
    pub(crate) all: Vec<Backend>,
}

impl Pods {
    /// `count` pods named `NAME-a`, `NAME-b`, …
    pub(crate) fn start(name: &str, count: u8) -> Self {
        Self::start_at(name, 2, count)
    }

    /// The same from 127.0.0.`first` on.
    pub(crate) fn start_at(name: &str, first: u8, count: u8) -> Self {
        let addresses: Vec<Ipv4Addr> = (first..first + count).map(|last| Ipv4Addr::new(127, 0, 0, last)).collect();
        let listeners = one_port(&addresses);
        let port = listeners[0].local_addr().unwrap().port();
        let names = (b'a'..).map(|letter| format!("{name}-{}", char::from(letter)));
        let all = listeners.into_iter().zip(names).map(|(l, name)| Backend::on(l, &name, whoami)).collect();
        Self { port, all }
    }

    /// Requests seen by each.
    pub(crate) fn counts(&self) -> Vec<usize> {
        self.all.iter().map(Backend::count).collect()
    }

    /// The pod of that name.
    #[track_caller]
    pub(crate) fn named(&mut self, name: &str) -> &mut Backend {
        self.all.iter_mut().find(|b| b.name() == name).unwrap_or_else(|| panic!("no pod named {name:?}"))
    }
}

/// Listeners on one port that is free on all addresses.
fn one_port(addresses: &[Ipv4Addr]) -> Vec<TcpListener> {
    for _ in 0..100 {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others: io::Result<Vec<_>> = addresses[1..].iter().map(|a| TcpListener::bind((*a, port))).collect();
        if let Ok(others) = others {
            return std::iter::once(first).chain(others).collect();
        }
    }
    panic!("no port is free on all of {addresses:?}");
}
