//! `headgate whoami`: a small backend for demos and tests, which answers with its name and the request it saw.
//!
//! Takes connections of HTTP/1.1 and of HTTP/2 with prior knowledge, and answers every path with a page whose first
//! line names the pod; a few paths do something that a proxy should be tried with (see [`ROUTES`]). It knows nothing
//! of the rest of Headgate: it stands where a user's program would.

mod answers;
mod websocket;

use std::{
    fs,
    io::{self, Write},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{sleep, timeout},
};

use super::flags::Span;
use crate::drain::{Drain, Phase, Watch};

/// What the paths answer; the end of `headgate whoami --help`.
pub const ROUTES: &str = "\
Paths:
  /              a page with the name, and the request as it came (so does every path that is not below)
  /api           the same as JSON
  /health        200 (/healthz as well)
  /readyz        200, and 503 once SIGTERM came
  /data?size=N   N bytes
  /echo          the body of the request
  /status/NNN    that status
  /sleep?ms=N    an answer after N milliseconds
  /stream?n=&ms= n pieces, one every ms milliseconds
  /trailers      a body with trailers behind it
  /ws            a WebSocket that echoes
";

/// How long a client may take to show which protocol it speaks.
const FIRST_BYTES: Duration = Duration::from_secs(10);

/// The same, once no more connections are accepted: what a client has sent by then is there, or on the wire.
const LAST_BYTES: Duration = Duration::from_millis(200);

/// The start of the HTTP/2 connection preface (RFC 9113 §3.4); no HTTP/1 method starts so.
const PREFACE: &[u8; 4] = b"PRI ";

/// Arguments of `headgate whoami`.
#[derive(Args, Clone, Debug)]
#[command(after_help = ROUTES)]
pub struct WhoamiArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", env = "HEADGATE_WHOAMI_LISTEN", default_value = "127.0.0.1:8081")]
    pub listen: SocketAddr,
    /// Name to answer with [default: $POD_NAME, else the host's name]
    #[arg(long, value_name = "NAME", env = "HEADGATE_WHOAMI_NAME")]
    pub name: Option<String>,
    /// From SIGTERM until no more connections are accepted, as a pod that ends with grace does
    #[arg(long, value_name = "TIME", env = "HEADGATE_WHOAMI_DRAIN_DELAY", default_value = "0s")]
    drain_delay: Span,
}

impl WhoamiArgs {
    /// Serves until SIGTERM or ctrl-c, then for the drain delay, then what is still open. A second ctrl-c ends it at
    /// once.
    ///
    /// # Errors
    /// The address can't be listened on, or the runtime can't start.
    pub fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime of whoami can't be started")?;
        runtime.block_on(async {
            let name: Arc<str> = self.name.unwrap_or_else(default_name).into();
            let listener = TcpListener::bind(self.listen).await.with_context(|| {
                format!("whoami can't listen on {}; give another address with --listen", self.listen)
            })?;
            let address = listener.local_addr().context("the listener has no address")?;
            // Without a reader of standard output it serves all the same.
            let _ = writeln!(io::stdout(), "whoami {name} listens on http://{address}");
            let mut terminate = signal(SignalKind::terminate()).context("SIGTERM can't be watched")?;
            let drain = Drain::default();
            let end = async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = tokio::signal::ctrl_c() => {}
                }
                drain.enter(Phase::Announcing);
                sleep(self.drain_delay.0).await;
                drain.enter(Phase::Closing);
                let _ = tokio::signal::ctrl_c().await;
            };
            tokio::select! {
                () = serve_until(listener, name, drain.watch()) => {}
                () = end => {}
            }
            Ok(())
        })
    }
}

/// The pod's name as the downward API gives it, else the name of the host, which in a pod is the same.
fn default_name() -> String {
    std::env::var("POD_NAME")
        .ok()
        .or_else(|| fs::read_to_string("/proc/sys/kernel/hostname").ok())
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "whoami".to_owned())
}

/// Answers every connection of the listener under this name; ends only when its task is dropped. Needs a tokio
/// runtime with I/O and time, of any kind.
pub async fn serve(listener: TcpListener, name: Arc<str>) {
    let drain = Drain::default();
    serve_until(listener, name, drain.watch()).await;
}

/// The same until the phase is [`Phase::Closing`] and every request that came by then has its answer.
async fn serve_until(listener: TcpListener, name: Arc<str>, mut phases: Watch) {
    // Each connection holds a sender; the channel ends with the last one.
    let (open, mut all_closed) = mpsc::channel::<()>(1);
    let answer = |stream: TcpStream, peer, phases: Watch| {
        let (name, open) = (Arc::clone(&name), open.clone());
        tokio::spawn(async move {
            // A connection that breaks is its client's affair.
            let _ = serve_connection(stream, peer, name, phases).await;
            drop(open);
        });
    };
    loop {
        let watch = phases.clone();
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => answer(stream, peer, watch),
                // Mostly too many open files: accepting again at once would only spin.
                Err(_) => sleep(Duration::from_millis(50)).await,
            },
            () = closing(&mut phases) => break,
        }
    }
    // Closing a listener resets what waits in its queue.
    if let Ok(listener) = listener.into_std() {
        while let Ok((stream, peer)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                answer(stream, peer, phases.clone());
            }
        }
    }
    drop(open);
    let _ = all_closed.recv().await;
}

/// Until no more connections are accepted; for ever where nobody is left who could say so.
async fn closing(phases: &mut Watch) {
    if phases.wait_for(|phase| *phase >= Phase::Closing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    name: Arc<str>,
    mut phases: Watch,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    let http2 = {
        let mut first = pin!(timeout(FIRST_BYTES, starts_with_preface(&stream)));
        tokio::select! {
            first = first.as_mut() => first,
            () = closing(&mut phases) => timeout(LAST_BYTES, first).await?,
        }
    }??;
    let watch = phases.clone();
    let service = service_fn(move |request| {
        let ending = *watch.borrow() != Phase::Serving;
        let seen = answers::Seen { name: Arc::clone(&name), local, peer, ending };
        async move { answers::answer(&seen, request).await }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let mut connection = pin!(server.serve_connection(io, service));
        tokio::select! {
            // A request that is there is begun before idle connections are closed.
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            () = closing(&mut phases) => connection.as_mut().graceful_shutdown(),
        }
        connection.await?;
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        let mut connection = pin!(server.serve_connection(io, service).with_upgrades());
        tokio::select! {
            // A request that is there is begun before idle connections are closed.
            biased;
            ended = connection.as_mut() => return Ok(ended?),
            () = closing(&mut phases) => connection.as_mut().graceful_shutdown(),
        }
        connection.await?;
    }
    Ok(())
}

/// Looks at the first bytes without taking them.
async fn starts_with_preface(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut first).await?;
        let agree = first.iter().zip(PREFACE).take(seen).all(|(a, b)| a == b);
        if !agree || seen == 0 || seen == PREFACE.len() {
            return Ok(agree && seen == PREFACE.len());
        }
        // `PR` or so: the rest is on its way, and a peek would be answered at once with the same bytes.
        sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests;
