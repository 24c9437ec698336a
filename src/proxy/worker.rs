//! One worker: a thread with a runtime of its own, its view of the table, its connections to endpoints, its counters.
//! What lives here is never locked and never leaves the thread.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{
    access_log::AccessLog,
    listener::Bound,
    tls::Handshakes,
    upstream::{self, ClientTls, Upstreams},
};
use crate::{
    clock,
    drain::{Phase, Watch},
    metrics::{EntrypointMetrics, Metrics, Shard},
    settings::Settings,
    shared::{Reader, Shared},
    table::Table,
};

/// What all workers are given.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) settings: Arc<Settings>,
    pub(crate) table: Arc<Shared<Table>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) handshakes: Arc<Handshakes>,
    pub(crate) client_tls: ClientTls,
    pub(crate) drain: Watch,
}

/// The table, held by one worker: its requests count on an `Rc` of their own, so that no count is shared between cores.
#[derive(Debug)]
pub(crate) struct Held(Arc<Table>);

impl std::ops::Deref for Held {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

/// One worker's own.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) shard: Shard,
    pub(crate) access_log: AccessLog,
    pub(crate) upstreams: Upstreams,
    pub(crate) handshakes: Arc<Handshakes>,
    table: RefCell<(Reader<Table>, Rc<Held>)>,
    entrypoints: Vec<(Arc<str>, Arc<EntrypointMetrics>)>,
    phase: Cell<Phase>,
    open: Cell<usize>,
}

impl Worker {
    fn new(common: &Common) -> Self {
        let mut reader = Reader::new(Arc::clone(&common.table));
        let table = Rc::new(Held(Arc::clone(reader.look().0)));
        let Settings { limits, workers, .. } = *common.settings;
        let (tls, metrics) = (common.client_tls.clone(), Arc::clone(&common.metrics));
        let upstreams = Upstreams::new(upstream::Context::new(limits, tls, workers, metrics));
        Self {
            settings: Arc::clone(&common.settings),
            metrics: Arc::clone(&common.metrics),
            shard: common.metrics.shard(),
            access_log: common.access_log.clone(),
            upstreams,
            handshakes: Arc::clone(&common.handshakes),
            table: RefCell::new((reader, table)),
            entrypoints: common
                .settings
                .entrypoints
                .iter()
                .map(|e| (e.name.as_str().into(), common.metrics.entrypoint(&e.name)))
                .collect(),
            phase: Cell::new(Phase::Serving),
            open: Cell::new(0),
        }
    }

    /// The table as it is now, to be used for one request from its start to its end. One atomic load, and a count
    /// that no other core touches.
    pub(crate) fn table(&self) -> Rc<Held> {
        let (reader, view) = &mut *self.table.borrow_mut();
        let (table, changed) = reader.look();
        if changed {
            *view = Rc::new(Held(Arc::clone(table)));
        }
        Rc::clone(view)
    }

    /// How far the end of the process has come.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Keeps the worker from ending for as long as the guard lives: a tunnel. It stays counted as open; the connection
    /// that it came from ends with the upgrade.
    pub(crate) fn hold(self: &Rc<Self>, entrypoint: usize) -> Hold {
        self.open.set(self.open.get() + 1);
        let counted = self.entrypoints.get(entrypoint).map(|(_, metrics)| Arc::clone(metrics));
        if let Some(metrics) = &counted {
            metrics.open.inc();
        }
        Hold { worker: Rc::clone(self), counted }
    }

    /// The same for a connection, which is counted.
    pub(crate) fn connection(self: &Rc<Self>, entrypoint: usize) -> Hold {
        self.open.set(self.open.get() + 1);
        let counted = self.entrypoints.get(entrypoint).map(|(_, metrics)| Arc::clone(metrics));
        if let Some(metrics) = &counted {
            metrics.total.inc();
            metrics.open.inc();
        }
        Hold { worker: Rc::clone(self), counted }
    }

    /// The name of an entrypoint, for the access log.
    pub(crate) fn entrypoint_name(&self, index: usize) -> Option<Arc<str>> {
        self.entrypoints.get(index).map(|(name, _)| Arc::clone(name))
    }
}

/// A connection (or tunnel) that is open on a worker.
#[derive(Debug)]
pub(crate) struct Hold {
    worker: Rc<Worker>,
    counted: Option<Arc<EntrypointMetrics>>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.worker.open.set(self.worker.open.get().saturating_sub(1));
        if let Some(metrics) = &self.counted {
            metrics.open.dec();
        }
    }
}

/// Runs tasks of hyper's HTTP/2 on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Serves these listeners until the drain is over.
pub(crate) async fn run(common: Common, listeners: Vec<Bound>) {
    let worker = Rc::new(Worker::new(&common));
    tokio::task::spawn_local(clock::drive());
    let sweeper = Rc::clone(&worker);
    tokio::task::spawn_local(async move {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        loop {
            every.tick().await;
            sweeper.upstreams.sweep();
            sweeper.shard.sweep(clock::precise_ms() / 1_000);
            // An idle worker lets go of an old table, too.
            drop(sweeper.table());
        }
    });
    let mut accepting = tokio::task::JoinSet::new();
    for bound in listeners {
        accepting.spawn_local(super::listener::accept(Rc::clone(&worker), bound, common.drain.clone()));
    }
    let mut drain = common.drain;
    loop {
        let phase = *drain.borrow_and_update();
        worker.phase.set(phase);
        clock::wake_all();
        match phase {
            Phase::Closing => {
                while accepting.join_next().await.is_some() {}
                let emptied = async {
                    while worker.open.get() > 0 {
                        tokio::time::sleep(clock::TICK).await;
                    }
                };
                tokio::select! {
                    () = emptied => return,
                    _ = drain.changed() => {}
                }
            }
            Phase::Forced => return,
            Phase::Serving | Phase::Announcing => {
                if drain.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
