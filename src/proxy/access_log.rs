//! The access log: a line on standard output for each answered request.
//!
//! A worker fills a [`Record`] from what it holds anyway and hands it over; a thread of its own makes the text and
//! writes it. A worker never waits: when the reader of standard output is too slow, records are dropped and counted.
//! Header fields other than Referer and User-Agent are never in a record, so credentials and cookies can't be logged.

mod lines;

use std::{
    fmt,
    io::{self, BufWriter, Write},
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderValue, Method, Version, uri::PathAndQuery};

use crate::metrics::Counter;

/// Records that may wait for the writer.
const QUEUE: usize = 8192;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// No access log.
    #[default]
    Off,
    /// Traefik's `common`: the Common Log Format with referer, user agent, count, route, endpoint and milliseconds.
    Common,
    /// One JSON object a line, with Traefik's field names.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "common" => Ok(Self::Common),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is no access log format; it is one of off, common, json")),
        }
    }
}

/// The route that a request took, by the names its author knows.
#[derive(Clone, Debug)]
pub struct RouteNames {
    /// Namespace of the Ingress.
    pub ingress_namespace: Arc<str>,
    /// Name of the Ingress.
    pub ingress: Arc<str>,
    /// Namespace of the Service.
    pub service_namespace: Arc<str>,
    /// Name of the Service.
    pub service: Arc<str>,
    /// Its port, by name or number as the Ingress has it.
    pub port: Arc<str>,
}

/// The endpoint that answered, or was tried last.
#[derive(Clone, Debug)]
pub struct UpstreamNames {
    /// Where it listens.
    pub address: SocketAddr,
    /// `http`, `https` or `h2c`.
    pub scheme: &'static str,
    /// Name of its pod; empty where there is none.
    pub pod: Arc<str>,
    /// From sending the request to its answer's head.
    pub duration: Duration,
}

/// One answered request.
#[derive(Clone, Debug)]
pub struct Record {
    /// When its head had been read.
    pub start: SystemTime,
    /// From then to the end of the answer.
    pub duration: Duration,
    /// The client: the peer, or what a trusted peer says.
    pub client: IpAddr,
    /// Who a middleware found the client to be.
    pub user: Option<Arc<str>>,
    /// As sent.
    pub method: Method,
    /// Host header or authority as sent, with its port; empty where there is none.
    pub host: String,
    /// Path and query as sent by the client.
    pub target: PathAndQuery,
    /// HTTP version of the request.
    pub version: Version,
    /// `TLSv1_2`, `TLSv1_3`; none without TLS.
    pub tls_version: Option<&'static str>,
    /// Status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// The request's Referer.
    pub referer: Option<HeaderValue>,
    /// The request's User-Agent.
    pub user_agent: Option<HeaderValue>,
    /// Name of the entrypoint.
    pub entrypoint: Arc<str>,
    /// None where no route matched.
    pub route: Option<RouteNames>,
    /// None where no endpoint was asked.
    pub upstream: Option<UpstreamNames>,
    /// How often the request was sent again.
    pub retries: u32,
}

enum Message {
    Record(Box<Record>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// The workers' end. Clones share one writer, which ends when the last one is dropped.
#[derive(Clone)]
pub struct AccessLog(Option<Queue>);

#[derive(Clone)]
struct Queue {
    sender: SyncSender<Message>,
    dropped: Arc<Counter>,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "AccessLog(on)" } else { "AccessLog(off)" })
    }
}

impl AccessLog {
    /// No log at all.
    pub fn off() -> Self {
        Self(None)
    }

    /// Starts the writer thread on standard output, if there is to be a log. Records that are lost count on `dropped`.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(format: Format, dropped: Arc<Counter>) -> io::Result<Self> {
        Self::start_on(format, dropped, io::stdout())
    }

    fn start_on(format: Format, dropped: Arc<Counter>, out: impl Write + Send + 'static) -> io::Result<Self> {
        let line: fn(&mut String, &Record, u64) = match format {
            Format::Off => return Ok(Self::off()),
            Format::Common => lines::common,
            Format::Json => lines::json,
        };
        let (sender, receiver) = sync_channel(QUEUE);
        // A closed standard output ends the writer: what follows is counted as dropped.
        thread::Builder::new().name("access-log".to_owned()).spawn(move || drop(write_all(&receiver, line, out)))?;
        Ok(Self(Some(Queue { sender, dropped })))
    }

    /// Whether a record is wanted. It costs one branch; nobody should build a record otherwise.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a record to the writer, or drops it where the queue is full. Never waits.
    pub fn log(&self, record: Record) {
        if let Some(queue) = &self.0
            && queue.sender.try_send(Message::Record(Box::new(record))).is_err()
        {
            queue.dropped.inc();
        }
    }

    /// Waits until what has been logged is written, but no longer than `limit`: the last step of a shutdown, not for
    /// a worker.
    pub fn flush(&self, limit: Duration) {
        let Some(queue) = &self.0 else { return };
        let (done, written) = sync_channel(1);
        let deadline = Instant::now().checked_add(limit);
        let mut message = Message::Flush(done);
        while let Err(TrySendError::Full(back)) = queue.sender.try_send(message) {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return;
            }
            message = back;
            thread::park_timeout(Duration::from_millis(1));
        }
        // An error is the limit, or a writer whose output is closed: either way the process goes on to its end.
        let _ = written.recv_timeout(limit);
    }
}

/// The writer: text for each record, flushed when the queue is empty.
fn write_all(receiver: &Receiver<Message>, line: fn(&mut String, &Record, u64), out: impl Write) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    let mut text = String::with_capacity(1024);
    let mut count = 0_u64;
    loop {
        let message = match receiver.try_recv() {
            Ok(message) => message,
            Err(TryRecvError::Disconnected) => return out.flush(),
            Err(TryRecvError::Empty) => {
                out.flush()?;
                let Ok(message) = receiver.recv() else { return Ok(()) };
                message
            }
        };
        match message {
            Message::Record(record) => {
                count = count.saturating_add(1);
                text.clear();
                line(&mut text, &record, count);
                text.push('\n');
                out.write_all(text.as_bytes())?;
            }
            Message::Flush(done) => {
                out.flush()?;
                // Who asked may have given up waiting.
                let _ = done.try_send(());
            }
        }
    }
}

#[cfg(test)]
mod tests;
