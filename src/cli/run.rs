//! `headgate run`: everything wired, in the order in which it starts and ends.

use std::{
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    cluster::{self, Cluster},
    flags::{LogFormat, RunArgs},
};
use crate::{
    admin,
    balance::Keys,
    control::{Control, Published, keys},
    drain::{Drain, Phase},
    metrics::Metrics,
    proxy::{self, Proxy, access_log::AccessLog},
    report::Report,
    settings::Settings,
    sources::{self, files},
};

/// Where everything listens, once it does.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    /// Name, whether it speaks TLS, address.
    pub(super) entrypoints: Vec<(String, bool, std::net::SocketAddr)>,
    pub(super) admin: std::net::SocketAddr,
}

/// Runs until a signal ends it.
pub(super) fn run(args: RunArgs) -> anyhow::Result<()> {
    start_log(&args.log_level, args.log_format)?;
    serve(&args, |addresses| {
        let mut line = format!("headgate {}", env!("CARGO_PKG_VERSION"));
        for (name, tls, address) in &addresses.entrypoints {
            line.push_str(&format!(" {name}={}://{address}", if *tls { "https" } else { "http" }));
        }
        line.push_str(&format!(" admin=http://{}", addresses.admin));
        let mut out = std::io::stdout().lock();
        // Whoever started us may have closed its end: that is no reason not to serve.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    })
}

/// The own log, on standard error.
pub(super) fn start_log(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let wrong = || format!("--log-level {level}: write error, warn, info, debug or trace, or a filter");
    // A lone word that is no level would be taken for a module's name, and silence everything.
    if !level.contains('=') && level.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
        bail!(wrong());
    }
    // What a library has to say of each try to reach an API server, `sources` says once. Who asks for more gets it all.
    let quiet = if matches!(level, "error" | "warn" | "info") { ",kube_client=off" } else { "" };
    let filter = tracing_subscriber::EnvFilter::try_new(format!("{level}{quiet}")).with_context(wrong)?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Starts everything; `started` is told the addresses once all listeners are bound and the first table is live.
pub(super) fn serve(args: &RunArgs, started: impl FnOnce(&Addresses)) -> anyhow::Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let settings = Arc::new(args.settings()?);
    raise_file_limit();
    let first_keys = keys::load(args.cookie_keys_file.as_deref())?;
    if args.cookie_keys_file.is_none() && (args.reads_files() || args.cluster.cookie_keys_secret.is_none()) {
        tracing::warn!(
            "sticky cookies are signed with a random key: sessions end with this process; set --cookie-keys-file, or \
             --cookie-keys-secret in a cluster"
        );
    }
    let default_certificate = Arc::new(proxy::tls::default_certificate(args.default_certificate())?);
    let listeners = proxy::bind(&settings.entrypoints, settings.workers)
        .context("is another program listening there? choose another address with --http, --https or --entrypoint")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("control")
        .enable_all()
        .build()
        .context("no runtime for control work")?;
    let listen = |address, flag: &'static str| {
        let listener = runtime.block_on(TcpListener::bind(address));
        listener.with_context(move || format!("nothing can listen on {address}; see {flag}"))
    };
    let admin = listen(args.admin, "--admin")?;
    let health = args.health.map(|address| listen(address, "--health")).transpose()?;
    let addresses = Addresses {
        entrypoints: settings
            .entrypoints
            .iter()
            .zip(&listeners.addresses)
            .map(|(entry, address)| (entry.name.clone(), entry.tls, *address))
            .collect(),
        admin: admin.local_addr()?,
    };
    warn_of_exposed_admin(&addresses);

    let metrics = Metrics::new();
    let published = Published::default();
    let drain = Drain::default();
    // Before anything is waited for: as the first process of a container, we would not hear of a signal otherwise.
    let mut signals = {
        let _runtime = runtime.enter();
        Signals::new().context("signals can't be received")?
    };
    let (updates, received) = mpsc::channel(64);
    let control = Control::new(settings.claims.clone(), first_keys.clone(), published.clone(), Arc::clone(&metrics));
    let (control, _source, report) = runtime.block_on(source(args, &settings, control, updates, &metrics))?;
    let keys = follow_keys(&runtime, args.cookie_keys_file.clone(), first_keys);
    let mut control = runtime.spawn(control.run(received, keys));
    let shown = Arc::new(admin::State {
        table: Arc::clone(&published.table),
        diagnostics: Arc::clone(&published.diagnostics),
        metrics: Arc::clone(&metrics),
        settings: Arc::clone(&settings),
        ready: published.ready.subscribe(),
        drain: drain.watch(),
    });
    if let Some(health) = health {
        runtime.spawn(admin::serve(health, Arc::clone(&shown), admin::Views::Health));
    }
    runtime.spawn(admin::serve(admin, shown, admin::Views::All));
    // Listening sockets queue what comes meanwhile: nobody is answered from an empty table.
    let mut ready = published.ready.subscribe();
    let is_ready = async {
        tokio::select! {
            ready = ready.wait_for(|ready| *ready) => ready.map(|_| true).context("the objects could not be read"),
            () = signals.any() => Ok(false),
            _ = &mut control => Err(anyhow!(BROKEN)),
        }
    };
    if !runtime.block_on(is_ready)? {
        return end_early(&runtime, report);
    }
    let access_log = AccessLog::start(args.access_log.into(), Arc::clone(&metrics.access_log_dropped))?;
    let running = proxy::start(
        Proxy {
            settings: Arc::clone(&settings),
            table: published.table,
            metrics: Arc::clone(&metrics),
            access_log: access_log.clone(),
            default_certificate,
            drain: drain.watch(),
        },
        listeners,
    )?;
    started(&addresses);
    let (stopping, stopped) = oneshot::channel();
    let reporting = report.map(|report| (report, stopping));
    let broken = Arc::new(AtomicBool::new(false));
    let reason = reason_to_end(signals, control, Arc::clone(&broken));
    let ending = runtime.spawn(end_after(reason, drain, Arc::clone(&settings), Arc::clone(&metrics), reporting));
    running.join();
    ending.abort();
    // A short drain is over before the Lease is given back. An error says that nobody does that.
    let _ = runtime.block_on(stopped);
    access_log.flush(Duration::from_secs(2));
    runtime.shutdown_timeout(Duration::from_secs(1));
    tracing::info!("ended");
    if broken.load(Ordering::Relaxed) { Err(anyhow!(BROKEN)) } else { Ok(()) }
}

/// A fault of the program: control ends only when the source of objects has, and neither does by itself.
const BROKEN: &str = "what reads objects has ended unexpectedly; the log says why";

/// The keys of cookies, as their file has them from now on.
fn follow_keys(runtime: &Runtime, file: Option<PathBuf>, first: Keys) -> watch::Receiver<Keys> {
    let (changed, keys) = watch::channel(first);
    if let Some(file) = file {
        runtime.spawn(keys::follow(file, changed));
    } else {
        // Kept, so that control doesn't take the end of the channel for an end of all keys.
        runtime.spawn(async move { changed.closed().await });
    }
    keys
}

/// A signal came before there was anything to serve.
fn end_early(runtime: &Runtime, report: Option<Report>) -> anyhow::Result<()> {
    if let Some(report) = report {
        runtime.block_on(report.stop());
    }
    tracing::info!("ended before it was ready");
    Ok(())
}

/// What has to stay alive for objects to come.
enum Source {
    Files(#[allow(dead_code, reason = "dropping it ends the watch")] files::Handle),
    Cluster,
}

/// Starts to read objects, and to report to where they come from.
async fn source(
    args: &RunArgs,
    settings: &Settings,
    control: Control,
    updates: sources::Updates,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<(Control, Source, Option<Report>)> {
    if args.reads_files() {
        return Ok((control, Source::Files(files::start(args.manifests.clone(), updates)?), None));
    }
    let Cluster { connection, watched, report } = cluster::connect(&args.cluster, &settings.hostname).await?;
    let mut control = control;
    if let Some(secret) = watched.cookie_keys.clone() {
        control = control.with_cookie_keys(secret, report.is_some());
    }
    let report = report.map(|options| Report::start(connection.client.clone(), options, Arc::clone(metrics)));
    if let Some(report) = &report {
        control = control.with_report(report.clone(), watched.publish_service.clone());
    }
    sources::cluster::start(connection.client, watched, updates);
    Ok((control, Source::Cluster, report))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A signal; or that nothing changes the table any more: serving on with it would be worse than starting anew.
async fn reason_to_end(mut signals: Signals, control: JoinHandle<()>, broken: Arc<AtomicBool>) -> Signals {
    tokio::select! {
        () = signals.any() => {}
        _ = control => {
            tracing::error!("{BROKEN}: ending, to be started anew");
            broken.store(true, Ordering::Relaxed);
        }
    }
    signals
}

/// Workers end by themselves once the drain is over; a second signal cuts it short. Whoever waits for the end of
/// reporting is told.
async fn end_after(
    reason: impl Future<Output = Signals>,
    drain: Drain,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    reporting: Option<(Report, oneshot::Sender<()>)>,
) {
    let mut signals = reason.await;
    let limits = &settings.limits;
    tracing::info!(delay = ?limits.drain_delay, timeout = ?limits.drain, "ending: not ready any more");
    metrics.ready.set(0);
    drain.enter(Phase::Announcing);
    if let Some((report, stopping)) = reporting {
        // Another replica takes over at once; requests in flight don't wait for it.
        tokio::spawn(async move {
            report.stop().await;
            let _ = stopping.send(());
        });
    }
    let ordered = async {
        tokio::time::sleep(limits.drain_delay).await;
        drain.enter(Phase::Closing);
        let forced = if limits.drain.is_zero() { Duration::from_secs(u64::MAX / 4) } else { limits.drain };
        tokio::time::sleep(forced).await;
    };
    tokio::select! {
        () = ordered => {}
        _ = signals.interrupt.recv() => tracing::warn!("interrupted again: ending at once"),
    }
    drain.enter(Phase::Forced);
    // Dropping the sender would read as an end, too; stay until the workers are gone.
    std::future::pending::<()>().await;
}

/// A proxy needs two descriptors for each request in flight.
fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => tracing::warn!(%error, "the limit on open files can't be raised"),
    }
}

fn warn_of_exposed_admin(addresses: &Addresses) {
    if !addresses.admin.ip().is_loopback() {
        tracing::warn!(address = %addresses.admin, "the admin server is reachable from other hosts; it needs no password");
    }
}
