//! What all feeds have said, as one: which objects there are, what changes, what can't be watched, whether everything
//! has been listed.
//!
//! Changes are gathered for a few milliseconds, so that objects that were applied together arrive together. An object
//! that a relisting shows in the version that is held already is the same object and is not read again, unless the server
//! shows more of it than before: somebody replaced its definition.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use kube::Client;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use super::{
    Options,
    fault::Fault,
    feed::{self, News, Query, Resource},
    secrets::References,
    watched::{Feed, Held, Role, certificate, cookie_keys, knows_sticky, too_many_secrets},
    wire::Wire,
};
use crate::{
    diagnostic::{Diagnostic, Subject},
    objects::{Key, Kind, Object, ObjectId, tls_option},
    sources::{CookieKeys, Update, Updates},
};

/// How long changes are gathered.
const GATHER: Duration = Duration::from_millis(10);
/// News that wait between feeds and hub: beyond it, feeds stop reading.
const INBOX: usize = 1_024;
/// How long the server may be away before it is said: a connection that breaks is made anew at once.
const AWAY: Duration = Duration::from_secs(2);
/// The definition of Middlewares.
const DEFINITION: &str = "middlewares.traefik.io";

/// The one reader of all feeds.
pub(super) struct Hub {
    client: Client,
    updates: Updates,
    feeds: BTreeMap<u64, Feed>,
    tasks: JoinSet<()>,
    next: u64,
    out: mpsc::Sender<(u64, News)>,
    inbox: mpsc::Receiver<(u64, News)>,
    references: References,
    /// Whether the Secrets that are watched by name are to be looked through.
    look_at_secrets: bool,
    /// What is to be told: an object, or that it is gone.
    pending: BTreeMap<ObjectId, Option<Object>>,
    keys: Option<CookieKeys>,
    /// Objects that could not be read.
    unreadable: BTreeMap<ObjectId, Diagnostic>,
    /// TLSOptions of the name `default` that have been read: their last good state stays.
    defaults: BTreeSet<ObjectId>,
    /// Whether the served definition of Middlewares knows `spec.sticky`; `None` when nobody knows.
    knows_sticky: Option<bool>,
    /// Since when, and why, the server can't be reached.
    away: Option<(Instant, String)>,
    /// Whether the Secrets that are named at the start are known.
    secrets_named: bool,
    /// Namespaces that name more Secrets than are watched by name.
    crowded: BTreeSet<Arc<str>>,
    /// Whether everything that is needed has been listed.
    needed: bool,
    said: Vec<Diagnostic>,
    listed: bool,
}

impl Hub {
    /// A hub with its feeds started. On a runtime.
    pub(super) fn new(client: Client, options: Options, updates: Updates) -> Self {
        let (out, inbox) = mpsc::channel(INBOX);
        let mut hub = Self {
            client,
            updates,
            feeds: BTreeMap::new(),
            tasks: JoinSet::new(),
            next: 0,
            out,
            inbox,
            references: References::default(),
            look_at_secrets: false,
            pending: BTreeMap::new(),
            keys: None,
            unreadable: BTreeMap::new(),
            defaults: BTreeSet::new(),
            knows_sticky: None,
            away: None,
            secrets_named: false,
            crowded: BTreeSet::new(),
            needed: false,
            said: Vec::new(),
            listed: false,
        };
        hub.open_all(options);
        hub
    }

    fn open_all(&mut self, options: Options) {
        let everywhere = || if options.namespaces.is_empty() { vec![None] } else { vec![] };
        let namespaces: Vec<_> = everywhere().into_iter().chain(options.namespaces.iter().cloned().map(Some)).collect();
        let query = |kind, namespace: Option<Arc<str>>| Query {
            resource: Resource::Objects(kind),
            namespace,
            fields: None,
            labels: None,
        };
        self.open(Role::Needed(Kind::IngressClass), query(Kind::IngressClass, None));
        for namespace in &namespaces {
            let query = |kind| query(kind, namespace.clone());
            let labels = options.ingress_selector.clone();
            self.open(Role::Needed(Kind::Ingress), Query { labels, ..query(Kind::Ingress) });
            self.open(Role::Needed(Kind::Service), query(Kind::Service));
            self.open(Role::Needed(Kind::EndpointSlice), query(Kind::EndpointSlice));
            for kind in Kind::CUSTOM {
                self.open(Role::Optional(kind), query(kind));
            }
            let fields = Some("type=kubernetes.io/tls".to_owned());
            self.open(Role::Optional(Kind::Secret), Query { fields, ..query(Kind::Secret) });
        }
        let definitions = Query {
            resource: Resource::Definitions,
            namespace: None,
            fields: Some(format!("metadata.name={DEFINITION}")),
            labels: None,
        };
        self.open(Role::Definition, definitions);
        if let Some(key) = options.cookie_keys {
            self.open(Role::Keys, one(Kind::Secret, &key));
        }
        if let Some(key) = options.publish_service
            && !options.namespaces.is_empty()
            && !options.namespaces.contains(&key.namespace)
        {
            self.open(Role::Optional(Kind::Service), one(Kind::Service, &key));
        }
    }

    fn open(&mut self, role: Role, query: Query) -> u64 {
        let number = self.next;
        self.next += 1;
        let follow = feed::follow(number, query.clone(), self.client.clone(), self.out.clone());
        let task = self.tasks.spawn(follow);
        self.feeds.insert(number, Feed::new(role, query, task));
        number
    }

    /// Runs until nobody reads the updates.
    pub(super) async fn run(mut self) {
        let mut due: Option<Instant> = None;
        loop {
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = wait => {
                    due = None;
                    if !self.flush().await {
                        return;
                    }
                }
                Some((number, news)) = self.inbox.recv() => {
                    self.take(number, news);
                    due = due.or_else(|| Some(Instant::now() + GATHER));
                }
                // A feed ends only with its abort.
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn take(&mut self, number: u64, news: News) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        if let News::Fault(fault) = news {
            let for_good = matches!(fault, Fault::Forbidden | Fault::Unknown | Fault::Refused(_));
            feed.fail(fault);
            feed.refused |= for_good && self.needed;
            return;
        }
        feed.recover();
        match news {
            News::Listing { rewound } => {
                feed.seen = Some(HashSet::new());
                feed.reread = rewound;
            }
            News::Watching => {}
            News::Listed(wire) => {
                let key = wire.key();
                if let Some(seen) = &mut feed.seen {
                    seen.insert(key.clone());
                }
                if feed.reread || feed.held.get(&key).is_none_or(|held| held.is_outdone_by(&wire)) {
                    self.apply(number, key, &wire);
                }
            }
            News::Applied(wire) => self.apply(number, wire.key(), &wire),
            News::Deleted(wire) => self.delete(number, wire.key()),
            News::Complete => {
                feed.listed = true;
                let seen = feed.seen.take().unwrap_or_default();
                let gone: Vec<Key> = feed.held.keys().filter(|key| !seen.contains(*key)).cloned().collect();
                let role = feed.role.clone();
                gone.into_iter().for_each(|key| self.delete(number, key));
                self.look_at_secrets |= matches!(role, Role::Optional(_) | Role::Needed(Kind::Ingress));
                self.have_needed();
                if self.feeds.get(&number).is_some_and(|feed| feed.held.is_empty()) {
                    self.nothing_there(&role);
                }
            }
            News::Fault(_) => {}
        }
    }

    fn apply(&mut self, number: u64, key: Key, wire: &Wire) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        feed.held.insert(key.clone(), Held::of(wire));
        let role = feed.role.clone();
        let Some(kind) = role.kind() else {
            return match role {
                Role::Keys => self.keys = Some(cookie_keys(wire)),
                _ => self.defined(wire),
            };
        };
        let id = ObjectId::new(kind, key);
        match wire.object(kind) {
            Ok(object) => {
                let object = if role == Role::Optional(Kind::Secret) { certificate(object) } else { object };
                self.unreadable.remove(&id);
                self.look_at_secrets |= self.references.apply(&object) || kind == Kind::Secret;
                if tls_option::is_default(&id) {
                    self.defaults.insert(id.clone());
                }
                self.pending.insert(id, Some(object));
            }
            Err(fault) => {
                if let Some(object) = tls_option::unreadable(&id).filter(|_| !self.defaults.contains(&id)) {
                    self.pending.insert(id.clone(), Some(object));
                }
                let message = format!("the object can't be read: {}", fault.why);
                let said = Diagnostic::error(id.subject(), fault.field, "Unreadable", message);
                self.unreadable.insert(id, said.help("mend the field; until then its last good state stays in use"));
            }
        }
    }

    fn delete(&mut self, number: u64, key: Key) {
        let Some(feed) = self.feeds.get_mut(&number) else { return };
        feed.held.remove(&key);
        let role = feed.role.clone();
        let Some(kind) = role.kind() else { return self.nothing_there(&role) };
        let id = ObjectId::new(kind, key);
        // A Secret can be in two feeds while its type changes hands.
        if self.is_held(&id) {
            return;
        }
        self.unreadable.remove(&id);
        self.defaults.remove(&id);
        self.look_at_secrets |= self.references.delete(&id) || kind == Kind::Secret;
        self.pending.insert(id, None);
    }

    fn is_held(&self, id: &ObjectId) -> bool {
        let of_kind = |feed: &&Feed| feed.role.kind() == Some(id.kind);
        self.feeds.values().filter(of_kind).any(|feed| feed.held.contains_key(&id.key))
    }

    fn nothing_there(&mut self, role: &Role) {
        match role {
            Role::Keys => self.keys = Some(CookieKeys::Absent),
            Role::Definition => self.knows_sticky = None,
            _ => {}
        }
    }

    /// Looks at the definition of Middlewares. One that is new lets the feeds of custom resources try again at once: all
    /// definitions come together.
    fn defined(&mut self, wire: &Wire) {
        self.knows_sticky = Some(knows_sticky(wire.text()));
        let custom = |role: &Role| matches!(role, Role::Optional(kind) if Kind::CUSTOM.contains(kind));
        let stuck = |feed: &Feed| custom(&feed.role) && feed.fault == Some(Fault::Unknown);
        let numbers: Vec<u64> = self.feeds.iter().filter(|(_, feed)| stuck(feed)).map(|(n, _)| *n).collect();
        for number in numbers {
            self.ask_again(number);
        }
    }

    /// Lets a feed that waits to try again do so at once. What it holds stays known, so that it can be found gone.
    fn ask_again(&mut self, number: u64) {
        let Some(old) = self.feeds.remove(&number) else { return };
        old.task.abort();
        let number = self.open(old.role, old.query);
        if let Some(feed) = self.feeds.get_mut(&number) {
            (feed.held, feed.listed, feed.awaited) = (old.held, old.listed, old.awaited);
            (feed.fault, feed.failing, feed.refused) = (old.fault, old.failing, old.refused);
        }
    }

    /// When all is listed that is needed: what was refused before may have been refused by a server that had yet to
    /// read its own roles, so that it is asked once more before anything is made of it.
    fn have_needed(&mut self) {
        let needed = |feed: &&Feed| matches!(feed.role, Role::Needed(_));
        if self.needed || !self.feeds.values().filter(needed).all(|feed| feed.listed) {
            return;
        }
        self.needed = true;
        let faulty = self.feeds.iter().filter(|(_, feed)| feed.fault.is_some()).map(|(number, _)| *number);
        for number in faulty.collect::<Vec<_>>() {
            self.ask_again(number);
        }
    }

    /// Opens and closes the feeds of Secrets that are watched by name.
    fn follow_secrets(&mut self) {
        let settled =
            |feed: &Feed| matches!(feed.role, Role::Named(_) | Role::Keys | Role::Definition) || feed.is_settled();
        if !self.look_at_secrets || !self.feeds.values().all(settled) {
            return;
        }
        self.look_at_secrets = false;
        let by_type: Vec<&Feed> = self.feeds.values().filter(|f| f.role == Role::Optional(Kind::Secret)).collect();
        let named = |feed: &Feed| if let Role::Named(key) = &feed.role { Some(key.clone()) } else { None };
        let held: BTreeSet<Key> = self.feeds.values().filter(|f| !f.held.is_empty()).filter_map(named).collect();
        let known = |key: &Key| by_type.iter().any(|feed| feed.held.contains_key(key));
        let (mut wanted, crowded) = self.references.wanted(known, |key| held.contains(key));
        self.crowded = crowded;
        let open: Vec<(u64, Key)> = self.feeds.iter().filter_map(|(n, feed)| Some((*n, named(feed)?))).collect();
        for (number, key) in open {
            if !wanted.remove(&key)
                && let Some(feed) = self.feeds.remove(&number)
            {
                feed.task.abort();
                let id = ObjectId::new(Kind::Secret, key);
                if !feed.held.is_empty() && !self.is_held(&id) {
                    self.pending.insert(id, None);
                }
            }
        }
        for key in wanted {
            let number = self.open(Role::Named(key.clone()), one(Kind::Secret, &key));
            if let Some(feed) = self.feeds.get_mut(&number) {
                feed.awaited = !self.secrets_named;
            }
        }
        self.secrets_named = true;
    }

    /// Tells what is new. False when nobody listens.
    async fn flush(&mut self) -> bool {
        self.follow_secrets();
        self.look_for_server();
        let mut update = Update { cookie_keys: self.keys.take(), ..Update::default() };
        for (id, object) in std::mem::take(&mut self.pending) {
            match object {
                Some(object) => update.applied.push(object),
                None => update.deleted.push(id),
            }
        }
        let diagnostics = self.diagnostics();
        if diagnostics != self.said {
            self.said.clone_from(&diagnostics);
            update.diagnostics = Some(diagnostics);
        }
        let listed = self.listed;
        self.listed |= !self.look_at_secrets && self.feeds.values().all(Feed::is_settled);
        update.listed = self.listed;
        (update.is_empty() && listed == self.listed) || self.updates.send(update).await.is_ok()
    }

    /// One outage of the server is one fault, however many feeds it ends.
    fn look_for_server(&mut self) {
        let why = self.feeds.values().find_map(|feed| match &feed.fault {
            Some(Fault::Unreachable(why)) => Some((feed.query.resource.name(), why)),
            _ => None,
        });
        // Where others are watched, it is not the server that is away.
        let alone = self.feeds.values().any(|feed| feed.fault.is_none() && feed.listed);
        let why = why.map(|(name, why)| if alone { format!("for {name}: {why}") } else { why.clone() });
        match (why, &self.away) {
            (Some(why), None) => self.away = Some((Instant::now(), why)),
            (None, Some((since, _))) => {
                if since.elapsed() >= AWAY {
                    tracing::info!(after = ?since.elapsed(), "the API server is back");
                }
                self.away = None;
            }
            _ => {}
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all: BTreeSet<Diagnostic> = self.unreadable.values().cloned().collect();
        let there =
            self.feeds.values().any(|feed| feed.role == Role::Optional(Kind::Middleware) && feed.fault.is_none());
        if self.knows_sticky == Some(false) && there {
            let subject = Subject { kind: "CustomResourceDefinition", namespace: "".into(), name: DEFINITION.into() };
            let message = "the API server's definition of Middlewares has no spec.sticky: it refuses or drops it";
            let said = Diagnostic::warning(subject, "spec.versions", "NoSticky", message);
            all.insert(said.help(
                "apply ours over it (`headgate crds | kubectl apply --server-side --force-conflicts -f -`); it is a \
                 superset of Traefik's, which something (K3s, a Helm chart) has applied again",
            ));
        }
        if let Some((since, why)) = &self.away
            && since.elapsed() >= AWAY
        {
            let subject = Subject { kind: "API", namespace: "".into(), name: "server".into() };
            let said = Diagnostic::warning(subject, "", "Unreachable", format!("the API server is away: {why}"));
            all.insert(said.help("traffic goes on with the last good state; changes wait until it is back"));
        }
        all.extend(self.crowded.iter().map(too_many_secrets));
        all.extend(self.feeds.values().filter_map(Feed::diagnostic));
        all.into_iter().collect()
    }
}

/// One object by its name.
fn one(kind: Kind, key: &Key) -> Query {
    Query {
        resource: Resource::Objects(kind),
        namespace: Some(Arc::clone(&key.namespace)),
        fields: Some(format!("metadata.name={}", key.name)),
        labels: None,
    }
}

#[cfg(test)]
mod tests;
