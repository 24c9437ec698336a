//! Writes the address of our Ingresses to their status, and takes it out where one is no longer ours.
//!
//! Takes the mailbox, and works as long as this replica leads: a look at everything first, then at what changes, and
//! at everything every ten minutes. What is to be done is decided in `plan.rs`, which address it is in `address.rs`;
//! here is how: by server-side apply under a manager of our own, so that only what is ours is ever taken out, four at a
//! time and at a measured pace.

mod plan;

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::{api::networking::v1::Ingress, apimachinery::pkg::apis::meta::v1::ListMeta};
use kube::{
    api::{Api, ListParams, Patch, PatchParams},
    core::Request,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use self::plan::{Known, Step};
use super::{
    MANAGER, Publish,
    address::{self, Lack, NodeStatus},
    mailbox::{Changed, Following, Mailbox},
    pace::Bucket,
    refusals::{self, Refusals},
    trouble::{Kind, Said, Trouble, ask},
};
use crate::{
    metrics::Metrics,
    objects::{Address, Key, null_default},
};

/// Writes at a time.
const AT_A_TIME: usize = 4;
/// Writes a second, and at once after quiet times.
const A_SECOND: u32 = 50;
const BURST: u32 = 100;
/// Between two looks at everything.
const LOOK: Duration = Duration::from_secs(600);
/// Between two looks at the nodes.
const NODES: Duration = Duration::from_secs(60);
/// Nodes on one page of their list.
const PAGE: u32 = 500;

/// What the writer of statuses works with.
pub(super) struct Status {
    pub(super) client: kube::Client,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) publish: Publish,
    pub(super) metrics: Arc<Metrics>,
}

/// The end of a request.
enum Done {
    Wrote(Key, Vec<Address>, Result<(), Trouble>),
    Cleared(Key, Result<(), Trouble>),
    Nodes(Result<Vec<NodeStatus>, Trouble>),
}

impl Status {
    /// Writes until it is dropped.
    pub(super) async fn lead(&self) -> Infallible {
        let mut writer = Writer::new(self);
        loop {
            let wake = writer.work(Instant::now());
            tokio::select! {
                () = self.mailbox.status.notified() => writer.take_news(),
                Some(done) = writer.running.next(), if !writer.running.is_empty() => writer.settle(done, Instant::now()),
                () = sleep_until(wake) => {}
            }
        }
    }

    /// The status that is ours alone: with nothing, what we wrote before is taken out, and what others wrote stays.
    async fn write(&self, key: &Key, addresses: &[Address]) -> Result<(), Trouble> {
        let api: Api<Ingress> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = Patch::Apply(document(key, addresses));
        ask(api.patch_status(&key.name, &PatchParams::apply(MANAGER).force(), &patch)).await.map(drop)
    }

    async fn nodes(&self) -> Result<Vec<NodeStatus>, Trouble> {
        let mut page = ListParams::default().limit(PAGE);
        let mut found = Vec::new();
        loop {
            let list = ask(async {
                let request = Request::new("/api/v1/nodes").list(&page).map_err(kube::Error::BuildRequest)?;
                self.client.request::<NodeList>(request).await
            });
            let list = list.await?;
            found.extend(list.items.into_iter().map(|node| node.status));
            match list.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => page = page.continue_token(&next),
                None => return Ok(found),
            }
        }
    }
}

/// A page of the list of nodes: the part of it that is read. A Node has some 10 KiB, most of them names of images.
#[derive(Deserialize)]
struct NodeList {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(default, deserialize_with = "null_default")]
    items: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    status: NodeStatus,
}

/// What is applied: only the addresses. With none, nothing at all, not even an empty list: then `managedFields` keeps
/// no trace of us, and a status that another manager wrote is not touched.
fn document(key: &Key, addresses: &[Address]) -> Value {
    let entry = |address: &Address| {
        let parts = [("ip", &address.ip), ("hostname", &address.hostname)];
        let parts = parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), json!(part.as_deref()?))));
        Value::Object(parts.collect())
    };
    let mut document = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"namespace": &*key.namespace, "name": &*key.name},
    });
    if let (false, Some(fields)) = (addresses.is_empty(), document.as_object_mut()) {
        let ingress: Vec<Value> = addresses.iter().map(entry).collect();
        fields.insert("status".to_owned(), json!({"loadBalancer": {"ingress": ingress}}));
    }
    document
}

/// The work of one time of leading.
struct Writer<'a> {
    status: &'a Status,
    following: Following<'a>,
    wanted: Option<Vec<Address>>,
    nodes: Option<Vec<Address>>,
    /// When the nodes are listed next; `None` while that runs.
    nodes_due: Option<Instant>,
    look_due: Instant,
    known: HashMap<Key, Known>,
    /// To be looked at now.
    queue: BTreeSet<Key>,
    /// To be looked at later.
    later: BTreeSet<(Instant, Key)>,
    /// Being written.
    busy: BTreeSet<Key>,
    running: FuturesUnordered<BoxFuture<'a, Done>>,
    bucket: Bucket,
    refusals: Refusals,
    said: Said,
}

impl<'a> Writer<'a> {
    fn new(status: &'a Status) -> Self {
        let now = Instant::now();
        Self {
            status,
            following: status.mailbox.follow(),
            wanted: None,
            nodes: None,
            nodes_due: Some(now),
            look_due: now,
            known: HashMap::new(),
            queue: BTreeSet::new(),
            later: BTreeSet::new(),
            busy: BTreeSet::new(),
            running: FuturesUnordered::new(),
            bucket: Bucket::new(A_SECOND, BURST),
            refusals: Refusals::default(),
            said: Said::default(),
        }
    }

    /// Starts what is due and may be started. Returns when there is more to do by the clock.
    fn work(&mut self, now: Instant) -> Instant {
        if now >= self.look_due {
            self.look_due = now + LOOK;
            self.look_at_all();
        }
        let mut wake = self.look_due;
        while let Some((due, key)) = self.later.pop_first() {
            if due > now {
                wake = wake.min(due);
                self.later.insert((due, key));
                break;
            }
            self.queue.insert(key);
        }
        if let Some(due) = self.nodes_due.filter(|_| self.needs_nodes()) {
            if now >= due {
                self.nodes_due = None;
                let status = self.status;
                self.running.push(async move { Done::Nodes(status.nodes().await) }.boxed());
            } else {
                wake = wake.min(due);
            }
        }
        while self.busy.len() < AT_A_TIME && !self.queue.is_empty() {
            let ready = self.bucket.ready(now);
            if ready > now {
                return wake.min(ready);
            }
            let Some(key) = self.queue.pop_first() else { break };
            if let Some(until) = self.start(key, now) {
                wake = wake.min(until);
            }
        }
        wake
    }

    /// Starts what is to be done about an Ingress. Returns when it is to be looked at again.
    fn start(&mut self, key: Key, now: Instant) -> Option<Instant> {
        // It is looked at again when the write ends.
        if self.busy.contains(&key) {
            return None;
        }
        let Some(standing) = self.status.mailbox.standing(&key) else {
            self.known.remove(&key);
            return None;
        };
        let status = self.status;
        let step = self.known.entry(key.clone()).or_default().plan(&standing, self.wanted.as_deref(), now);
        let step = match (step, self.refusals.until(&key.namespace, now)) {
            (Step::Write(_) | Step::Clear, Some(until)) => Step::Wait(until),
            (step, _) => step,
        };
        let run = match step {
            Step::Nothing => return None,
            Step::Wait(until) => {
                self.later.insert((until, key));
                return Some(until);
            }
            Step::Write(addresses) => {
                let key = key.clone();
                async move {
                    let result = status.write(&key, &addresses).await;
                    Done::Wrote(key, addresses, result)
                }
                .boxed()
            }
            Step::Clear => {
                let key = key.clone();
                async move {
                    let result = status.write(&key, &[]).await;
                    Done::Cleared(key, result)
                }
                .boxed()
            }
        };
        self.bucket.take(now);
        self.busy.insert(key);
        self.running.push(run);
        None
    }

    fn take_news(&mut self) {
        for (key, change) in self.following.changed() {
            if change == Changed::Replaced {
                self.known.remove(&key);
            }
            self.queue.insert(key);
        }
        self.find_address();
    }

    fn look_at_all(&mut self) {
        self.find_address();
        self.queue.extend(self.status.mailbox.ingresses());
    }

    fn needs_nodes(&self) -> bool {
        let service = self.status.mailbox.service();
        address::needs_nodes(&self.status.publish, service.as_ref().map(Option::as_deref))
    }

    /// Finds the address of our Ingresses anew; another one concerns them all.
    fn find_address(&mut self) {
        let service = self.status.mailbox.service();
        let service = service.as_ref().map(Option::as_deref);
        let wanted = match address::wanted(&self.status.publish, service, self.nodes.as_deref()) {
            Ok(wanted) => {
                self.said.over("address");
                Some(wanted)
            }
            Err(Lack::Unknown) => None,
            Err(Lack::Said(text)) => {
                if self.said.news("address", &text) {
                    tracing::warn!("the status of Ingresses is left as it is: {text}");
                }
                None
            }
        };
        if self.wanted != wanted {
            self.wanted = wanted;
            self.queue.extend(self.status.mailbox.ingresses());
        }
    }

    fn settle(&mut self, done: Done, now: Instant) {
        match done {
            Done::Nodes(found) => self.settle_nodes(found, now),
            Done::Wrote(key, addresses, Ok(())) => {
                self.succeeded(&key);
                let overwritten = self.known.get_mut(&key).is_some_and(|known| known.wrote(addresses, now));
                if overwritten {
                    tracing::warn!(
                        ingress = %key,
                        "another controller writes this status too; it is repaired ever more seldom, at least every 10 \
                         minutes: let only one of them have the IngressClass, or one of them publish no address"
                    );
                }
            }
            Done::Cleared(key, Ok(())) => {
                self.succeeded(&key);
                if let Some(known) = self.known.get_mut(&key) {
                    known.cleared();
                }
            }
            Done::Wrote(key, _, Err(trouble)) | Done::Cleared(key, Err(trouble)) => {
                self.status.metrics.report.status_error.inc();
                self.busy.remove(&key);
                self.say(&key, &trouble, now);
                if let Some(known) = self.known.get_mut(&key) {
                    known.failed(&trouble, now);
                }
                self.queue.insert(key);
            }
        }
    }

    fn succeeded(&mut self, key: &Key) {
        self.status.metrics.report.status_ok.inc();
        self.refusals.allow(&key.namespace);
        self.said.over("away");
        self.busy.remove(key);
        // It may have changed meanwhile.
        self.queue.insert(key.clone());
    }

    fn settle_nodes(&mut self, found: Result<Vec<NodeStatus>, Trouble>, now: Instant) {
        self.nodes_due = Some(now + NODES);
        match found {
            Ok(nodes) => {
                self.said.over("nodes");
                self.nodes = Some(address::of_nodes(&nodes));
                self.find_address();
            }
            Err(trouble) => {
                if trouble.kind == Kind::Forbidden {
                    self.nodes_due = Some(now + refusals::pause());
                }
                // Without the names that some errors are full of.
                if self.said.news("nodes", &format!("{:?}", trouble.kind)) {
                    tracing::warn!(
                        "the addresses of nodes, which a Service of type NodePort is published with, can't be read: \
                         {}; grant list on nodes, or name the addresses with --publish-address",
                        trouble.text
                    );
                }
            }
        }
    }

    /// Each kind of trouble is said once, with the first Ingress that has it.
    fn say(&mut self, ingress: &Key, trouble: &Trouble, now: Instant) {
        let text = &trouble.text;
        match trouble.kind {
            Kind::Gone | Kind::Ending | Kind::Conflict => {
                tracing::debug!(%ingress, "its status is not written now: {text}");
            }
            Kind::Forbidden if self.refusals.refuse(&ingress.namespace, now) => tracing::error!(
                %ingress,
                "the status of Ingresses may not be written: {text}; grant patch on ingresses/status of \
                 networking.k8s.io (said once; tried again every few seconds)"
            ),
            Kind::Away if self.said.news("away", "") => {
                tracing::warn!(%ingress, "the status of an Ingress can't be written now, tried again soon: {text}");
            }
            Kind::Refused if self.said.news("refused", text) => {
                tracing::error!(%ingress, "the API server refuses the status of an Ingress: {text}");
            }
            _ => {}
        }
    }
}
