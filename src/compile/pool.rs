//! The services that fragments use, each with its endpoints, and the groups of sticky cookies. A service lives as long
//! as a fragment uses it; a change of endpoints or options makes one set anew and touches nothing else.
//!
//! One Service port may be used in several ways: as its own annotations say, by the routes that lead to it, and as a
//! Middleware says that asks it (an error page by another scheme). Each [`Use`] has connections and health of its own.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::{Arc, Weak},
};

use super::services::{self, external_candidates};
use crate::{
    balance::{EndpointSet, Keys, Options, Scheme, Service, ServiceKey, Signing, Transport, sticky::Group},
    diagnostic::Diagnostic,
    objects::{Key, store::Store},
};

/// A Service port, and in which way it is used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Use {
    /// Which Service port; for a host that a Middleware names in a URL, the Middleware's namespace, the host, the port.
    pub key: ServiceKey,
    /// What a Middleware says that asks it; `None` where the Service's own annotations decide.
    pub asked: Option<Arc<Asked>>,
}

impl Use {
    /// As the Service's own annotations say.
    pub(super) fn own(key: ServiceKey) -> Self {
        Self { key, asked: None }
    }

    /// Whether it is a host of a URL that no Service is known by.
    pub(super) fn is_url(&self) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.external.is_some())
    }
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.key.fmt(f)
    }
}

/// What makes a use of a service by a Middleware another one than its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// How it is spoken to.
    pub(super) scheme: Scheme,
    /// Whether it gets the client's Host.
    pub(super) pass_host: bool,
    /// The name that its certificate must bear.
    pub(super) server_name: Arc<str>,
    /// The fingerprint of how it is connected to.
    pub(super) transport: Option<[u8; 32]>,
    /// The host to resolve, where no Service is known by it.
    pub(super) external: Option<Arc<str>>,
}

/// The services that fragments use.
#[derive(Debug)]
pub(super) struct Services {
    keys: Keys,
    legacy_cookies: bool,
    external_loopback: bool,
    by_key: HashMap<Use, Entry>,
    /// The uses of each Service.
    uses: HashMap<Key, BTreeSet<Use>>,
    groups: HashMap<String, Arc<Group>>,
    /// Services made or changed since the endpoints were last computed.
    fresh: BTreeSet<Use>,
    /// Services whose last user has gone, and perhaps a new one has come.
    idle: BTreeSet<Use>,
    /// By their fingerprint: services that name the same one share it, however often it is made.
    transports: HashMap<[u8; 32], Weak<Transport>>,
    /// Whether services have come or gone, or lead to another external name.
    changed: bool,
}

#[derive(Debug)]
struct Entry {
    service: Arc<Service>,
    set: Option<(Keys, Arc<EndpointSet>)>,
    /// The ExternalName to resolve, and what it resolved to.
    external: Option<(Arc<str>, Vec<IpAddr>)>,
    users: usize,
    /// Why there is no endpoint.
    fault: Option<Diagnostic>,
}

/// What making a service's endpoints anew came to.
#[derive(Debug, Default)]
pub(super) struct Renewed {
    /// The set to publish, if it is another one.
    pub(super) set: Option<(Arc<Service>, Arc<EndpointSet>)>,
    /// Whether no table has seen the service yet.
    pub(super) unseen: bool,
    /// Whether what is said of the service is another thing than before.
    pub(super) said: bool,
}

impl Services {
    pub(super) fn new(keys: Keys, legacy_cookies: bool, external_loopback: bool) -> Self {
        Self {
            keys,
            legacy_cookies,
            external_loopback,
            by_key: HashMap::new(),
            uses: HashMap::new(),
            groups: HashMap::new(),
            fresh: BTreeSet::new(),
            idle: BTreeSet::new(),
            transports: HashMap::new(),
            changed: false,
        }
    }

    /// The service for a use, made when it is first asked for; with other options it is made anew around the same
    /// endpoints. `external` is the host to resolve, of an ExternalName Service or a URL.
    pub(super) fn get(&mut self, key: &Use, mut options: Options, external: Option<Arc<str>>) -> Arc<Service> {
        options.transport = options.transport.map(|transport| self.shared(transport));
        if let Some(entry) = self.by_key.get_mut(key) {
            if entry.service.options != options {
                entry.service = Arc::new(entry.service.with_options(options));
                self.fresh.insert(key.clone());
            }
            if entry.external.as_ref().map(|(name, _)| name) != external.as_ref() {
                entry.external = external.map(|name| (name, Vec::new()));
                self.changed = true;
            }
            return Arc::clone(&entry.service);
        }
        let service = Arc::new(Service::new(key.key.clone(), options));
        let external = external.map(|name| (name, Vec::new()));
        let entry = Entry { service: Arc::clone(&service), set: None, external, users: 0, fault: None };
        self.uses.entry(object(&key.key)).or_default().insert(key.clone());
        self.by_key.insert(key.clone(), entry);
        self.fresh.insert(key.clone());
        self.changed = true;
        service
    }

    /// The transport that is used already, if one is like this one.
    fn shared(&mut self, transport: Arc<Transport>) -> Arc<Transport> {
        if let Some(known) = self.transports.get(transport.fingerprint()).and_then(Weak::upgrade) {
            return known;
        }
        self.transports.insert(*transport.fingerprint(), Arc::downgrade(&transport));
        transport
    }

    /// Notes that a fragment uses these services.
    pub(super) fn join<'a>(&mut self, keys: impl IntoIterator<Item = &'a Use>) {
        for key in keys {
            if let Some(entry) = self.by_key.get_mut(key) {
                entry.users += 1;
            }
        }
    }

    /// Notes that a fragment uses these services no longer.
    pub(super) fn leave(&mut self, keys: impl IntoIterator<Item = Use>) {
        for key in keys {
            if let Some(entry) = self.by_key.get_mut(&key) {
                entry.users = entry.users.saturating_sub(1);
                if entry.users == 0 {
                    self.idle.insert(key);
                }
            }
        }
    }

    /// Forgets the services that nobody uses. Called when all fragments are in place, so that a service that passes
    /// from one Ingress to another keeps its health and its clients.
    pub(super) fn forget_idle(&mut self) {
        self.transports.retain(|_, transport| transport.strong_count() > 0);
        for key in std::mem::take(&mut self.idle) {
            if self.by_key.get(&key).is_none_or(|entry| entry.users > 0) {
                continue;
            }
            let Some(entry) = self.by_key.remove(&key) else { continue };
            entry.set.iter().flat_map(|(_, set)| set.endpoints()).for_each(|e| e.live.retire());
            self.fresh.remove(&key);
            self.changed = true;
            let object = object(&key.key);
            if let Some(uses) = self.uses.get_mut(&object) {
                uses.remove(&key);
                if uses.is_empty() {
                    self.uses.remove(&object);
                }
            }
        }
    }

    /// Whether services have come, gone or changed their external name since this was last asked.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Services made or changed since this was last asked.
    pub(super) fn take_fresh(&mut self) -> BTreeSet<Use> {
        std::mem::take(&mut self.fresh)
    }

    /// The uses of a Service.
    pub(super) fn of<'a>(&'a self, service: &'a Key) -> impl Iterator<Item = Use> + 'a {
        self.uses.get(service).into_iter().flatten().cloned()
    }

    /// All uses.
    pub(super) fn uses(&self) -> impl Iterator<Item = &Use> {
        self.by_key.keys()
    }

    /// Takes in other signing keys; false if they are the same.
    pub(super) fn set_keys(&mut self, keys: Keys) -> bool {
        let other = keys != self.keys;
        self.keys = keys;
        other
    }

    /// Every service in use.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.by_key.values().map(|entry| &entry.service)
    }

    /// What is wrong with the endpoints of the services in use.
    pub(super) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.by_key.values().filter_map(|entry| entry.fault.as_ref())
    }

    /// Services behind an external name, with the name to resolve.
    pub(super) fn external_names(&self) -> Vec<(Use, Arc<str>)> {
        let named = self.by_key.iter().filter_map(|(key, e)| Some((key.clone(), e.external.as_ref()?)));
        named.map(|(key, (name, _))| (key, Arc::clone(name))).collect()
    }

    /// Notes what an ExternalName has resolved to; false if nothing is new.
    pub(super) fn resolved(&mut self, key: &Use, mut addresses: Vec<IpAddr>) -> bool {
        addresses.sort_unstable();
        match self.by_key.get_mut(key).and_then(|e| e.external.as_mut()) {
            Some((_, before)) if *before != addresses => {
                *before = addresses;
                true
            }
            _ => false,
        }
    }

    /// Makes a service's endpoint set anew, if its endpoints are others than those it has, or by `force`.
    pub(super) fn renew(&mut self, key: &Use, store: &Store, force: bool) -> Renewed {
        let Some(entry) = self.by_key.get_mut(key) else { return Renewed::default() };
        let (candidates, fault) = match &entry.external {
            Some((name, resolved)) => {
                let literal: Vec<IpAddr> = name.parse().into_iter().collect();
                let addresses = if literal.is_empty() { resolved } else { &literal };
                let candidates = external_candidates(addresses, key.key.port, self.external_loopback);
                let refused = candidates.is_empty() && !addresses.is_empty();
                (candidates, refused.then(|| services::refused(store, key, name)))
            }
            None => {
                let candidates = services::candidates(store, &key.key);
                let fault = if candidates.is_empty() { services::empty(store, &key.key) } else { None };
                (candidates, fault)
            }
        };
        let mut renewed = Renewed { set: None, unseen: entry.set.is_none(), said: entry.fault != fault };
        entry.fault = fault;
        let legacy_scheme = self.legacy_cookies.then(|| entry.service.options.scheme.as_str());
        let signing = Signing { keys: &self.keys, legacy_scheme };
        let set = Arc::new(EndpointSet::build(&key.key, candidates, signing, entry.set.as_ref()));
        if let Some((_, before)) = &entry.set {
            if !force && same(before, &set) {
                return renewed;
            }
            let stays = |id: u64| set.endpoints().iter().any(|e| e.live.id == id);
            before.endpoints().iter().filter(|e| !stays(e.live.id)).for_each(|e| e.live.retire());
        }
        entry.set = Some((self.keys.clone(), Arc::clone(&set)));
        renewed.set = Some((Arc::clone(&entry.service), set));
        renewed
    }

    /// The group of a cookie name, made on first use.
    pub(super) fn group(&mut self, cookie: &str) -> Arc<Group> {
        Arc::clone(self.groups.entry(cookie.to_owned()).or_default())
    }

    /// Who stands behind each sticky cookie, by what the fragments say; other groups are forgotten.
    pub(super) fn members<'a>(
        &mut self,
        cookies: impl Iterator<Item = &'a (String, ServiceKey)>,
    ) -> Vec<(Arc<Group>, Vec<Arc<Service>>)> {
        let mut by_cookie: BTreeMap<&str, BTreeSet<&ServiceKey>> = BTreeMap::new();
        for (cookie, key) in cookies {
            by_cookie.entry(cookie).or_default().insert(key);
        }
        self.groups.retain(|cookie, _| by_cookie.contains_key(cookie.as_str()));
        let member = |key: &&ServiceKey| self.by_key.get(&Use::own((*key).clone())).map(|e| Arc::clone(&e.service));
        let of = |(cookie, keys): (&str, BTreeSet<&ServiceKey>)| {
            Some((Arc::clone(self.groups.get(cookie)?), keys.iter().filter_map(member).collect()))
        };
        by_cookie.into_iter().filter_map(of).collect()
    }
}

fn object(key: &ServiceKey) -> Key {
    Key { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) }
}

fn same(a: &EndpointSet, b: &EndpointSet) -> bool {
    a.endpoints().len() == b.endpoints().len()
        && a.endpoints().iter().zip(b.endpoints()).all(|(a, b)| Arc::ptr_eq(a, b))
        && (0..a.endpoints().len()).all(|index| a.is_ready(index) == b.is_ready(index))
}
