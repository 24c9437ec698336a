//! Objects in; table, endpoint sets and diagnostics out. Pure: no I/O, no clock (time and keys are arguments).
//!
//! [`Compiler`] remembers what it made of each Ingress (a fragment) and what that Ingress read, so that a change
//! compiles again only what it touches:
//! 1. [`claim`]: is the Ingress ours?
//! 2. `routes`: its rules → routes, with `services`, `middlewares`, `sticky`; its `spec.tls` → claims on hosts.
//! 3. `assemble`: the rules of each touched host, oldest Ingress first → `table::Paths`; certificates → `table::Certs`.
//!
//! A change of endpoints alone never comes here further than `services`: one endpoint set is made anew. Compiling
//! step by step gives the same as compiling everything at once; a property test holds it to that.

mod assemble;
pub mod claim;
pub mod explain;
mod middlewares;
mod routes;
mod services;
mod sticky;
pub mod tls;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use assemble::Hosts;
use claim::{Claim, Classes};
use routes::Fragment;
pub use services::external_candidates;
use view::View;

use crate::{
    balance::{EndpointSet, Keys, Scheme, Service, ServiceKey, Signing, sticky::Group},
    diagnostic::{Diagnostic, Diagnostics},
    objects::{
        Key, Kind, ObjectId,
        store::{Changes, Store},
    },
    settings::Claims,
    table::{Cert, Table},
};

/// What a change came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The new table, if it is another one.
    pub table: Option<Arc<Table>>,
    /// New endpoints of services that exist already, to be published before the table.
    pub endpoints: Vec<(Arc<Service>, Arc<EndpointSet>)>,
    /// Members of sticky cookies, to be published with the table.
    pub groups: Vec<(Arc<Group>, Vec<Arc<Service>>)>,
    /// Whether the diagnostics are others than before.
    pub diagnostics: bool,
}

/// Compiles objects, change by change.
#[derive(Debug)]
pub struct Compiler {
    claims: Claims,
    classes: Classes,
    fragments: BTreeMap<Key, Fragment>,
    /// Who read an object, or looked for it in vain.
    readers: HashMap<ObjectId, BTreeSet<Key>>,
    /// Who looked through all Middlewares.
    middleware_readers: BTreeSet<Key>,
    services: Services,
    hosts: Hosts,
    certs: HashMap<Key, Result<Arc<Cert>, String>>,
    table: Table,
}

/// The services that fragments use, with their endpoints.
#[derive(Debug)]
struct Services {
    keys: Keys,
    legacy_cookies: bool,
    external_loopback: bool,
    by_key: HashMap<ServiceKey, Entry>,
    groups: HashMap<String, Arc<Group>>,
    /// Keys of services made or changed since the endpoints were last computed.
    fresh: BTreeSet<ServiceKey>,
}

#[derive(Debug)]
struct Entry {
    service: Arc<Service>,
    set: Option<(Keys, Arc<EndpointSet>)>,
    /// The ExternalName to resolve, and what it resolved to.
    external: Option<(Arc<str>, Vec<IpAddr>)>,
    users: usize,
}

impl Services {
    /// The service that was found, made on first use; with other options it is made anew around the same endpoints.
    fn get(&mut self, found: services::Found) -> Arc<Service> {
        let external = found.external;
        match self.by_key.entry(found.key.clone()) {
            std::collections::hash_map::Entry::Occupied(mut entry) => {
                let entry = entry.get_mut();
                if entry.service.options != found.options {
                    entry.service = Arc::new(entry.service.with_options(found.options));
                    self.fresh.insert(found.key);
                }
                if entry.external.as_ref().map(|(name, _)| name) != external.as_ref() {
                    entry.external = external.map(|name| (name, Vec::new()));
                }
                Arc::clone(&entry.service)
            }
            std::collections::hash_map::Entry::Vacant(slot) => {
                let service = Arc::new(Service::new(found.key.clone(), found.options));
                self.fresh.insert(found.key);
                let external = external.map(|name| (name, Vec::new()));
                Arc::clone(&slot.insert(Entry { service, set: None, external, users: 0 }).service)
            }
        }
    }

    fn group(&mut self, cookie: &str) -> Arc<Group> {
        Arc::clone(self.groups.entry(cookie.to_owned()).or_default())
    }

    /// Makes a service's endpoint set anew, if its endpoints, keys or scheme are others than those it has.
    fn endpoints(&mut self, key: &ServiceKey, store: &Store, force: bool) -> Option<(Arc<Service>, Arc<EndpointSet>)> {
        let entry = self.by_key.get_mut(key)?;
        let candidates = match &entry.external {
            Some((name, resolved)) => {
                let literal: Vec<IpAddr> = name.parse().into_iter().collect();
                let addresses = if literal.is_empty() { resolved } else { &literal };
                external_candidates(addresses, key.port, self.external_loopback)
            }
            None => services::candidates(store, key),
        };
        let legacy_scheme = self.legacy_cookies.then(|| match entry.service.options.scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
            Scheme::H2c => "h2c",
        });
        let signing = Signing { keys: &self.keys, legacy_scheme };
        let set = Arc::new(EndpointSet::build(key, candidates, signing, entry.set.as_ref()));
        if let Some((_, before)) = &entry.set {
            if !force && same(before, &set) {
                return None;
            }
            let stays = |id: u64| set.endpoints().iter().any(|e| e.live.id == id);
            before.endpoints().iter().filter(|e| !stays(e.live.id)).for_each(|e| e.live.retire());
        }
        entry.set = Some((self.keys.clone(), Arc::clone(&set)));
        Some((Arc::clone(&entry.service), set))
    }
}

fn same(a: &EndpointSet, b: &EndpointSet) -> bool {
    a.endpoints().len() == b.endpoints().len()
        && a.endpoints().iter().zip(b.endpoints()).all(|(a, b)| Arc::ptr_eq(a, b))
        && (0..a.endpoints().len()).all(|index| a.is_ready(index) == b.is_ready(index))
}

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(claims: Claims, keys: Keys) -> Self {
        let services = Services {
            keys,
            legacy_cookies: claims.legacy_cookies,
            external_loopback: claims.external_loopback,
            by_key: HashMap::new(),
            groups: HashMap::new(),
            fresh: BTreeSet::new(),
        };
        Self {
            claims,
            classes: Classes::default(),
            fragments: BTreeMap::new(),
            readers: HashMap::new(),
            middleware_readers: BTreeSet::new(),
            services,
            hosts: Hosts::default(),
            certs: HashMap::new(),
            table: Table::default(),
        }
    }

    /// Takes in a change of the store. `now` is seconds since 1970, for what is said of certificates.
    pub fn apply(&mut self, store: &Store, changes: &Changes, now: i64) -> Outcome {
        let mut touched: BTreeSet<Key> = BTreeSet::new();
        let classes = Classes::new(store, &self.claims);
        let class_changed = changes.touched.iter().any(|id| id.kind == Kind::IngressClass) || classes != self.classes;
        if class_changed {
            self.classes = classes;
            touched.extend(store.ingresses().map(|i| i.meta.key()));
            touched.extend(self.fragments.keys().cloned());
        }
        for id in &changes.touched {
            match id.kind {
                Kind::Ingress => drop(touched.insert(id.key.clone())),
                Kind::Middleware => touched.extend(self.middleware_readers.iter().cloned()),
                Kind::Secret => drop(self.certs.remove(&id.key)),
                _ => {}
            }
            touched.extend(self.readers.get(id).into_iter().flatten().cloned());
        }
        let mut outcome = Outcome::default();
        let mut hosts: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut cookies_changed = false;
        let mut certs_changed = changes.touched.iter().any(|id| id.kind == Kind::Secret);
        for key in &touched {
            let before = self.fragments.remove(key);
            let after = self.fragment(key, store, before.as_ref());
            cookies_changed |= before.as_ref().map(|f| &f.cookies) != after.as_ref().map(|f| &f.cookies);
            certs_changed |= before.as_ref().map(|f| &f.certs) != after.as_ref().map(|f| &f.certs);
            self.swap(key, before, after, &mut hosts);
            outcome.diagnostics = true;
        }
        // A certificate claim can rest on a rule of another Ingress of its namespace.
        certs_changed |= !hosts.is_empty() && self.fragments.values().any(|f| f.certs.iter().any(|c| !c.own));

        let mut stale: BTreeSet<ServiceKey> = std::mem::take(&mut self.services.fresh);
        let touched_services = changes.touched.iter().filter(|id| id.kind == Kind::Service).map(|id| &id.key);
        let renewed: BTreeSet<&Key> = changes.services_with_new_endpoints.iter().chain(touched_services).collect();
        if !renewed.is_empty() {
            let by_name = |key: &&ServiceKey| {
                renewed.contains(&Key { namespace: Arc::clone(&key.namespace), name: Arc::clone(&key.name) })
            };
            stale.extend(self.services.by_key.keys().filter(by_name).cloned());
        }
        self.renew(store, &stale, false, &mut outcome);

        if certs_changed {
            self.load_certs(store);
            self.table.certs = Arc::new(assemble::certs(&self.fragments, &self.hosts, &self.certs, now));
        }
        if !hosts.is_empty() {
            assemble::hosts(&self.fragments, &hosts, &mut self.hosts, &mut self.table.hosts);
        }
        if cookies_changed {
            outcome.groups = self.members();
        }
        if certs_changed || !hosts.is_empty() {
            outcome.table = Some(Arc::new(self.table.clone()));
        }
        outcome
    }

    /// Takes in other signing keys: all pins are made anew.
    pub fn set_keys(&mut self, keys: Keys, store: &Store) -> Outcome {
        let mut outcome = Outcome::default();
        if keys != self.services.keys {
            self.services.keys = keys;
            let all: BTreeSet<ServiceKey> = self.services.by_key.keys().cloned().collect();
            self.renew(store, &all, true, &mut outcome);
            outcome.groups = self.members();
        }
        outcome
    }

    /// ExternalName Services with the name to resolve.
    pub fn external_names(&self) -> Vec<(ServiceKey, Arc<str>)> {
        let named = self.services.by_key.iter().filter_map(|(key, e)| Some((key.clone(), e.external.as_ref()?)));
        named.map(|(key, (name, _))| (key, Arc::clone(name))).collect()
    }

    /// Takes in the addresses that an ExternalName has resolved to.
    pub fn resolved(&mut self, key: &ServiceKey, mut addresses: Vec<IpAddr>, store: &Store) -> Outcome {
        let mut outcome = Outcome::default();
        addresses.sort_unstable();
        let external = self.services.by_key.get_mut(key).and_then(|e| e.external.as_mut());
        if let Some((_, before)) = external.filter(|(_, before)| *before != addresses) {
            *before = addresses;
            outcome.endpoints.extend(self.services.endpoints(key, store, false));
        }
        outcome
    }

    /// Everything that is wrong with the objects, as of the last change.
    pub fn diagnostics(&self) -> Diagnostics {
        let mut all = Diagnostics::default();
        for fragment in self.fragments.values() {
            all.extend(fragment.diagnostics.iter().cloned());
        }
        all.extend(self.hosts.diagnostics().cloned());
        all.extend(assemble::cert_diagnostics(&self.fragments, &self.hosts, &self.certs));
        all
    }

    /// The table as of the last change.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The services in use.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.by_key.values().map(|e| &e.service)
    }

    fn fragment(&mut self, key: &Key, store: &Store, before: Option<&Fragment>) -> Option<Fragment> {
        let ingress = store.ingress(key)?;
        match claim::claim(ingress, store, &self.classes, &self.claims) {
            Claim::NotOurs => None,
            Claim::ClassMissing => {
                let class = ingress.spec.ingress_class_name.as_deref();
                let class =
                    class.or_else(|| ingress.meta.annotation("kubernetes.io/ingress.class")).unwrap_or_default();
                let subject = ObjectId::new(Kind::Ingress, key.clone()).subject();
                let text = format!("IngressClass {class} does not exist, so nobody serves this Ingress");
                let known: Vec<&str> = store.classes().map(|c| &*c.meta.name).collect();
                let help = format!("create it, or name one that exists: {}", known.join(", "));
                let said =
                    Diagnostic::warning(subject, "spec.ingressClassName", "IngressClassNotFound", text).help(help);
                let said = said.at(ingress.meta.origin.clone());
                Some(Fragment { created: ingress.meta.created, diagnostics: vec![said], ..Fragment::default() })
            }
            Claim::Ours => {
                let view = View::new(store);
                Some(routes::fragment(ingress, view, &self.claims, &mut self.services, before))
            }
        }
    }

    /// Puts a fragment in place of another: readers, users of services, touched hosts.
    fn swap(&mut self, key: &Key, before: Option<Fragment>, after: Option<Fragment>, hosts: &mut BTreeSet<Arc<str>>) {
        for service in after.iter().flat_map(|f| &f.services) {
            self.services.by_key.entry(service.clone()).and_modify(|e| e.users += 1);
        }
        for rule in before.iter().chain(after.iter()).flat_map(|f| &f.rules) {
            hosts.insert(Arc::clone(&rule.host));
        }
        if let Some(before) = before {
            for id in &before.reads {
                if let Some(readers) = self.readers.get_mut(id) {
                    readers.remove(key);
                    if readers.is_empty() {
                        self.readers.remove(id);
                    }
                }
            }
            let kept = |labels: &Arc<crate::metrics::RouteLabels>| {
                after.iter().flat_map(|f| f.labels.values()).any(|l| Arc::ptr_eq(l, labels))
            };
            before.labels.values().filter(|l| !kept(l)).for_each(|l| l.retire());
            for service in &before.services {
                let unused = self.services.by_key.get_mut(service).is_some_and(|e| {
                    e.users = e.users.saturating_sub(1);
                    e.users == 0
                });
                if unused && let Some(entry) = self.services.by_key.remove(service) {
                    let set = entry.set.map(|(_, set)| set);
                    set.iter().flat_map(|s| s.endpoints()).for_each(|e| e.live.retire());
                }
            }
        }
        self.middleware_readers.remove(key);
        if let Some(after) = after {
            for id in &after.reads {
                self.readers.entry(id.clone()).or_default().insert(key.clone());
            }
            if after.any_middleware {
                self.middleware_readers.insert(key.clone());
            }
            self.hosts.join(key, &after);
            self.fragments.insert(key.clone(), after);
        } else {
            self.hosts.leave(key);
        }
    }

    /// Makes the endpoints of these services anew.
    fn renew(&mut self, store: &Store, stale: &BTreeSet<ServiceKey>, force: bool, outcome: &mut Outcome) {
        for key in stale {
            let Some(entry) = self.services.by_key.get(key) else { continue };
            // One that no table has seen yet is published with the table that names it, its endpoints in place.
            let unseen = entry.set.is_none();
            if let Some((service, set)) = self.services.endpoints(key, store, force) {
                if unseen {
                    service.endpoints().store(set);
                } else {
                    outcome.endpoints.push((service, set));
                }
            }
        }
    }

    fn load_certs(&mut self, store: &Store) {
        let wanted: BTreeSet<&Key> = self.fragments.values().flat_map(|f| f.certs.iter().map(|c| &c.secret)).collect();
        self.certs.retain(|key, _| wanted.contains(key));
        for key in wanted {
            if !self.certs.contains_key(key) {
                let cert = match store.secret(key) {
                    Some(secret) => tls::certificate(secret).map(Arc::new),
                    None => Err("it does not exist".to_owned()),
                };
                self.certs.insert(key.clone(), cert);
            }
        }
    }

    /// Who stands behind each sticky cookie now.
    fn members(&mut self) -> Vec<(Arc<Group>, Vec<Arc<Service>>)> {
        let mut by_cookie: BTreeMap<&str, BTreeSet<&ServiceKey>> = BTreeMap::new();
        for (cookie, key) in self.fragments.values().flat_map(|f| &f.cookies) {
            by_cookie.entry(cookie).or_default().insert(key);
        }
        self.services.groups.retain(|cookie, _| by_cookie.contains_key(cookie.as_str()));
        let services = &self.services;
        let member = |key: &&ServiceKey| services.by_key.get(*key).map(|e| Arc::clone(&e.service));
        by_cookie
            .into_iter()
            .filter_map(|(cookie, keys)| {
                Some((Arc::clone(services.groups.get(cookie)?), keys.iter().filter_map(member).collect()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
