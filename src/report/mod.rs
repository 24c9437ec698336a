//! What is written back to the cluster: Ingress status, Events, the cookie-key Secret. By one replica only, off the
//! data path.
//!
//! `control` tells a [`Report`] how things stand; it keeps the last word on each object, so that telling never waits
//! and a burst is written once.
//!
//! - `mailbox.rs`: the last word on everything, kept by every replica;
//! - `lease.rs`: which replica writes; when it becomes another one, that one looks at everything once;
//! - `status.rs`: the address of our Ingresses (`address.rs`), written where it differs (`status/plan.rs`);
//! - `events.rs`: diagnostics as Events, when they are due (`events/ledger.rs`);
//! - `keys.rs`: the Secret of cookie keys, made if it is not there;
//! - `pace.rs`, `refusals.rs`, `trouble.rs`: how fast all of them may be, and what they do and say when the API server
//!   says no.
//!
//! What is said of an error is said once, until it changes or is over.

mod address;
mod events;
mod keys;
mod lease;
mod mailbox;
mod pace;
mod refusals;
mod status;
mod trouble;

use std::{
    convert::Infallible,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kube::api::PostParams;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use self::{
    events::Events,
    keys::Maker,
    lease::{Election, Timing},
    mailbox::Mailbox,
    status::Status,
};
use crate::{
    diagnostic::Diagnostic,
    metrics::Metrics,
    objects::{Address, Key, Service},
};

/// Who we are in `managedFields`, and in the label of what we make.
const MANAGER: &str = "headgate";
/// What [`Report::stop`] may take.
const STOP: Duration = Duration::from_secs(2);

/// What is to be published as the address of our Ingresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// No status is written.
    Nothing,
    /// `--publish-address`
    Addresses(Vec<Address>),
    /// `--publish-service`
    Service(Key),
}

/// What decides how is reported.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who we are among the replicas: the pod's name and something random.
    pub identity: String,
    /// The pod's name, as Events name their reporter.
    pub instance: String,
    /// The Lease that the writing replica holds.
    pub lease: Key,
    /// The address of our Ingresses.
    pub publish: Publish,
    /// `--cookie-keys-secret`
    pub cookie_keys: Option<Key>,
}

/// How an Ingress stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `metadata.uid`: another one under the same name is another Ingress.
    pub uid: Option<Arc<str>>,
    /// Whether it is ours.
    pub ours: bool,
    /// Its `status.loadBalancer.ingress`.
    pub status: Vec<Address>,
}

/// A diagnostic and the object that an Event about it is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// What is wrong.
    pub diagnostic: Diagnostic,
    /// `metadata.uid` of its subject; `None` when the object is not there.
    pub uid: Option<Arc<str>>,
    /// `apiVersion` of its subject.
    pub api_version: &'static str,
}

/// Whether the Secret of cookie keys is there.
#[derive(Clone, PartialEq, Eq)]
pub enum CookieKeys {
    /// It has not been looked up yet.
    Unknown,
    /// It does not exist: the leader makes it. With the text of the keys in use, if there were any.
    Absent(Option<String>),
    /// It exists, good or bad.
    Present,
}

/// Without the keys.
impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown",
            Self::Absent(None) => "Absent(None)",
            Self::Absent(Some(_)) => "Absent(Some(…))",
            Self::Present => "Present",
        })
    }
}

/// The way to tell what is to be reported. Cheap to clone; telling never waits.
#[derive(Clone)]
pub struct Report {
    mailbox: Arc<Mailbox>,
    /// Taken by the first who stops it.
    tasks: Arc<Mutex<Option<Tasks>>>,
    leads: watch::Receiver<bool>,
}

/// What runs.
struct Tasks {
    writers: Vec<JoinHandle<()>>,
    election: JoinHandle<()>,
    /// Ends the election.
    stop: oneshot::Sender<()>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report").field("leads", &*self.leads.borrow()).finish_non_exhaustive()
    }
}

impl Report {
    /// Starts the tasks that write, on the current runtime.
    pub fn start(client: kube::Client, options: Options, metrics: Arc<Metrics>) -> Self {
        Self::start_with(client, options, metrics, Timing::default())
    }

    fn start_with(client: kube::Client, options: Options, metrics: Arc<Metrics>, timing: Timing) -> Self {
        let Options { identity, instance, lease, publish, cookie_keys } = options;
        let mailbox = Arc::new(Mailbox::default());
        let (leading, leads) = watch::channel(false);
        let events =
            Events { client: client.clone(), mailbox: Arc::clone(&mailbox), instance, metrics: Arc::clone(&metrics) };
        let mut writers = vec![tokio::spawn(while_leading(leads.clone(), async move || events.lead().await))];
        if publish != Publish::Nothing {
            let (client, mailbox, metrics) = (client.clone(), Arc::clone(&mailbox), Arc::clone(&metrics));
            let status = Status { client, mailbox, publish, metrics };
            writers.push(tokio::spawn(while_leading(leads.clone(), async move || status.lead().await)));
        }
        if let Some(secret) = cookie_keys {
            let maker = Maker { client: client.clone(), mailbox: Arc::clone(&mailbox), secret };
            writers.push(tokio::spawn(maker.run(leads.clone())));
        }
        let election = Election::new(client, (lease, identity), timing, leading, metrics);
        let (stop, stopped) = oneshot::channel::<()>();
        let election = tokio::spawn(election.run(async move {
            // Whoever drops the last handle without a word wants it to go on.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        let tasks = Arc::new(Mutex::new(Some(Tasks { writers, election, stop })));
        Self { mailbox, tasks, leads }
    }

    /// How an Ingress stands now; `None` when it is gone.
    pub fn ingress(&self, key: Key, standing: Option<Standing>) {
        self.mailbox.tell_ingress(key, standing);
    }

    /// The Service of `--publish-service` as it is now; `None` when it is gone.
    pub fn service(&self, service: Option<Arc<Service>>) {
        self.mailbox.tell_service(service);
    }

    /// Everything wrong with what users wrote; replaces what was told before.
    pub fn diagnostics(&self, all: Vec<Told>) {
        self.mailbox.tell_diagnostics(all);
    }

    /// Whether the Secret of cookie keys is there. Told again, `Absent` is another try to make it.
    pub fn cookie_keys(&self, state: CookieKeys) {
        self.mailbox.tell_cookie_keys(state);
    }

    /// Stops writing and gives the Lease back, so that another replica need not wait for it to run out. Takes two
    /// seconds at most; what is told afterwards is not written.
    pub async fn stop(&self) {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Tasks { writers, election, stop }) = tasks else { return };
        let end = election.abort_handle();
        let stopping = async move {
            // The writers first: whoever has the Lease next may write at once.
            for writer in writers {
                writer.abort();
                let _ = writer.await;
            }
            if stop.send(()).is_ok() {
                let _ = election.await;
            }
        };
        if tokio::time::timeout(STOP, stopping).await.is_err() {
            end.abort();
        }
    }
}

/// How what is not applied is written: under the same name in `managedFields`.
fn written() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// Works anew each time that this replica leads; the work is dropped where it stands when it leads no more.
async fn while_leading(mut leads: watch::Receiver<bool>, work: impl AsyncFn() -> Infallible) {
    while leads.wait_for(|leads| *leads).await.is_ok() {
        let led = async { leads.wait_for(|leads| !*leads).await.is_ok() };
        tokio::select! {
            biased;
            goes_on = led => if !goes_on { return },
            never = work() => match never {},
        }
    }
}

#[cfg(test)]
mod tests;
