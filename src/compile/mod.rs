//! Objects in; table, endpoint sets and diagnostics out. Pure: no I/O, no clock (time and keys are arguments).
//!
//! [`Compiler`] remembers what it made of each Ingress (a fragment) and what that Ingress read, so that a change
//! compiles again only what it touches:
//! 1. [`claim`]: is the Ingress ours?
//! 2. `routes`: its rules → routes, with `services`, `middlewares`, `sticky`; its `spec.tls` → claims on hosts.
//! 3. `assemble`: the rules of each touched host, oldest Ingress first → `table::Paths`; `certs`: the certificates of
//!    hosts → `table::Certs`.
//!
//! A change of endpoints alone never comes here further than `pool`: one endpoint set is made anew. Compiling
//! step by step gives the same as compiling everything at once; a property test holds it to that.

mod assemble;
mod certs;
pub mod claim;
pub mod explain;
mod host_tls;
mod middlewares;
mod paths;
mod pool;
mod references;
mod routes;
mod services;
mod sticky;
pub mod tls;
mod tls_names;
mod tls_options;
mod tls_secrets;
mod transport;
mod view;
mod wrong;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use assemble::Hosts;
use claim::{Claim, Classes};
use middlewares::Built;
use pool::Services;
pub use pool::Use;
use routes::{Fragment, Kept};
pub use services::external_candidates;
use tls_options::{Defaults, Policies};
use view::View;

use crate::{
    balance::{EndpointSet, Keys, Service, ServiceKey, sticky::Group},
    diagnostic::{Diagnostic, Diagnostics, did_you_mean},
    objects::{
        Ingress, Key, Kind, ObjectId,
        store::{Changes, Store},
    },
    settings::Claims,
    table::Table,
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
    /// Whether the diagnostics may be others than before.
    pub diagnostics: bool,
    /// Whether services have come, gone or changed their external name.
    pub services: bool,
}

/// Compiles objects, change by change.
#[derive(Debug)]
pub struct Compiler {
    claims: Claims,
    classes: Classes,
    fragments: BTreeMap<Key, Fragment>,
    /// Who read an object, or looked for it in vain.
    readers: HashMap<ObjectId, BTreeSet<Key>>,
    /// Who looked through all objects of a kind.
    kind_readers: BTreeMap<Kind, BTreeSet<Key>>,
    services: Services,
    hosts: Hosts,
    certs: certs::Loaded,
    policies: Policies,
    built: Built,
    default_tls: Defaults,
    /// Ingresses that are not ours, with the class they name.
    foreign: BTreeMap<Key, Option<Arc<str>>>,
    table: Table,
    /// Seconds since 1970, as of the last change.
    now: i64,
}

impl Compiler {
    /// A compiler that has seen nothing yet.
    pub fn new(claims: Claims, keys: Keys) -> Self {
        let services = Services::new(keys, claims.legacy_cookies, claims.external_loopback);
        let mut policies = Policies::default();
        let default_tls = Defaults::new(&Store::default(), &mut policies);
        let table = Table { tls: Arc::clone(&default_tls.options), ..Table::default() };
        Self {
            claims,
            classes: Classes::default(),
            fragments: BTreeMap::new(),
            readers: HashMap::new(),
            kind_readers: BTreeMap::new(),
            services,
            hosts: Hosts::default(),
            certs: HashMap::new(),
            policies,
            built: Built::default(),
            default_tls,
            foreign: BTreeMap::new(),
            table,
            now: 0,
        }
    }

    /// Takes in a change of the store. `now` is seconds since 1970, for what is said of certificates.
    pub fn apply(&mut self, store: &Store, changes: &Changes, now: i64) -> Outcome {
        self.now = now;
        // Only a Secret that an Ingress names for TLS is of interest here.
        let secrets = changes.touched.iter().filter(|id| id.kind == Kind::Secret);
        let mut certs_changed = secrets.filter(|id| self.certs.remove(&id.key).is_some()).count() > 0;
        let touched = self.touched(store, changes);
        let mut outcome = Outcome { diagnostics: !touched.is_empty(), ..Outcome::default() };
        let mut hosts: BTreeSet<Arc<str>> = BTreeSet::new();
        let (mut cookies_changed, mut members_changed) = (false, false);
        for key in &touched {
            let before = self.fragments.remove(key);
            let after = self.fragment(key, store, before.as_ref());
            cookies_changed |= cookies(before.as_ref()) != cookies(after.as_ref());
            // Age decides which of two certificates comes first.
            let claims = |f: &&Fragment| !f.certs.is_empty();
            let (old, new) = (before.as_ref().filter(claims), after.as_ref().filter(claims));
            certs_changed |= old.map(|f| (f.created, &f.certs)) != new.map(|f| (f.created, &f.certs));
            members_changed |= self.swap(key, before, after, &mut hosts);
        }
        self.services.forget_idle();
        // Whose a host is can rest on any Ingress.
        certs_changed |= members_changed && self.fragments.values().any(|f| !f.certs.is_empty());

        let fresh = self.services.take_fresh();
        let services = changes.touched.iter().filter(|id| id.kind == Kind::Service).map(|id| &id.key);
        let renewed = changes.services_with_new_endpoints.iter().chain(services);
        let stale: BTreeSet<Use> = renewed.flat_map(|key| self.services.of(key).collect::<Vec<_>>()).collect();
        let stale: BTreeSet<Use> = stale.difference(&fresh).cloned().collect();
        self.renew(store, &stale, false, &mut outcome);
        // New options show in the set too: legacy cookie values name the scheme.
        self.renew(store, &fresh, true, &mut outcome);

        if certs_changed {
            self.load_certs(store);
            self.table.certs = Arc::new(certs::certs(&self.fragments, &self.hosts, &self.certs));
            outcome.diagnostics = true;
        }
        let default_changed = self.default_tls.is_touched_by(changes);
        if default_changed {
            self.default_tls = Defaults::new(store, &mut self.policies);
            self.table.tls = Arc::clone(&self.default_tls.options);
            outcome.diagnostics = true;
            // What others name is held against it.
            let rules = self.fragments.values().flat_map(|fragment| &fragment.rules);
            let naming = rules.filter(|(_, rules)| rules.iter().any(|rule| rule.rule.route.tls.is_some()));
            hosts.extend(naming.map(|(host, _)| Arc::clone(host)));
        }
        if !hosts.is_empty() {
            assemble::hosts(&self.fragments, &hosts, &mut self.hosts, &mut self.table.hosts, &self.table.tls);
        }
        if cookies_changed {
            outcome.groups = self.members();
        }
        if certs_changed || default_changed || !hosts.is_empty() {
            outcome.table = Some(Arc::new(self.table.clone()));
        }
        outcome.services = self.services.take_changed();
        outcome
    }

    /// The Ingresses that a change concerns.
    fn touched(&mut self, store: &Store, changes: &Changes) -> BTreeSet<Key> {
        let mut touched: BTreeSet<Key> = BTreeSet::new();
        let classes = Classes::new(store, &self.claims);
        if changes.touched.iter().any(|id| id.kind == Kind::IngressClass) || classes != self.classes {
            self.classes = classes;
            touched.extend(store.ingresses().map(|i| i.meta.key()));
            touched.extend(self.fragments.keys().cloned());
        }
        for id in &changes.touched {
            match id.kind {
                Kind::Ingress => drop(touched.insert(id.key.clone())),
                Kind::Middleware => self.built.forget(&id.key),
                _ => {}
            }
            touched.extend(self.kind_readers.get(&id.kind).into_iter().flatten().cloned());
            touched.extend(self.readers.get(id).into_iter().flatten().cloned());
        }
        touched
    }

    /// Takes in other signing keys: all pins are made anew.
    pub fn set_keys(&mut self, keys: Keys, store: &Store) -> Outcome {
        let mut outcome = Outcome::default();
        if self.services.set_keys(keys) {
            let all: BTreeSet<Use> = self.services.uses().cloned().collect();
            self.renew(store, &all, true, &mut outcome);
            outcome.groups = self.members();
        }
        outcome
    }

    /// ExternalName Services, and hosts that Middlewares name in URLs, with the name to resolve.
    pub fn external_names(&self) -> Vec<(Use, Arc<str>)> {
        self.services.external_names()
    }

    /// Takes in the addresses that such a name has resolved to.
    pub fn resolved(&mut self, key: &Use, addresses: Vec<IpAddr>, store: &Store) -> Outcome {
        let mut outcome = Outcome::default();
        if self.services.resolved(key, addresses) {
            self.renew(store, &BTreeSet::from([key.clone()]), false, &mut outcome);
        }
        outcome
    }

    /// Takes in the time (seconds since 1970), for what is said of certificates.
    pub fn set_now(&mut self, now: i64) {
        self.now = now;
    }

    /// Whether an Ingress of the store is ours, as of the last change.
    pub fn is_ours(&self, ingress: &Ingress, store: &Store) -> bool {
        claim::claim(ingress, store, &self.classes, &self.claims) == Claim::Ours
    }

    /// Ingresses that are not ours, with the class they name.
    pub fn foreign(&self) -> impl Iterator<Item = (&Key, Option<&str>)> {
        self.foreign.iter().map(|(key, class)| (key, class.as_deref()))
    }

    /// Everything that is wrong with the objects, as of the last change.
    pub fn diagnostics(&self) -> Diagnostics {
        let mut all = Diagnostics::default();
        for fragment in self.fragments.values() {
            all.extend(fragment.diagnostics.iter().cloned());
        }
        all.extend(self.hosts.diagnostics().cloned());
        all.extend(self.default_tls.said.iter().cloned());
        all.extend(self.services.diagnostics().cloned());
        all.extend(certs::diagnostics(&self.fragments, &self.hosts, &self.certs, self.now));
        all
    }

    /// The table as of the last change.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The services in use.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.all()
    }

    fn fragment(&mut self, key: &Key, store: &Store, before: Option<&Fragment>) -> Option<Fragment> {
        self.foreign.remove(key);
        let ingress = store.ingress(key)?;
        let named = claim::class(ingress);
        match claim::claim(ingress, store, &self.classes, &self.claims) {
            Claim::NotOurs => {
                self.foreign.insert(key.clone(), named.map(|named| named.class.into()));
                None
            }
            Claim::ClassMissing => {
                let (class, field) = named.map_or(("", ""), |named| (named.class, named.field));
                let subject = ObjectId::new(Kind::Ingress, key.clone()).subject();
                let text = format!("IngressClass {class} does not exist, so nobody serves this Ingress");
                let known: Vec<&str> = store.classes().map(|c| &*c.meta.name).collect();
                let help = match did_you_mean(class, known.iter().copied()) {
                    Some(word) => format!("did you mean {word}?"),
                    None if known.is_empty() => "create it: there is no IngressClass at all".to_owned(),
                    None => format!("create it, or name one that exists: {}", known.join(", ")),
                };
                let said = Diagnostic::warning(subject, field, "IngressClassNotFound", text).help(help);
                let said = said.at(ingress.meta.origin.clone());
                Some(Fragment { created: ingress.meta.created, diagnostics: vec![said], ..Fragment::default() })
            }
            Claim::Ours => {
                let view = View::new(store);
                let kept = Kept { services: &mut self.services, policies: &mut self.policies, built: &mut self.built };
                Some(routes::fragment(ingress, view, &self.claims, kept, before))
            }
        }
    }

    /// Puts a fragment in place of another: readers, users of services, touched hosts. True if it has other hosts.
    fn swap(
        &mut self,
        key: &Key,
        before: Option<Fragment>,
        after: Option<Fragment>,
        hosts: &mut BTreeSet<Arc<str>>,
    ) -> bool {
        hosts.extend(before.iter().chain(after.iter()).flat_map(|f| f.rules.keys().cloned()));
        self.services.join(after.iter().flat_map(|f| &f.services));
        if let Some(before) = before {
            for id in &before.reads.objects {
                if let Some(readers) = self.readers.get_mut(id) {
                    readers.remove(key);
                    if readers.is_empty() {
                        self.readers.remove(id);
                    }
                }
            }
            for (service, labels) in &before.labels {
                let kept = after.as_ref().and_then(|f| f.labels.get(service));
                if kept.is_none_or(|kept| !Arc::ptr_eq(kept, labels)) {
                    labels.retire();
                }
            }
            self.services.leave(before.services);
        }
        for readers in self.kind_readers.values_mut() {
            readers.remove(key);
        }
        let other_hosts = self.hosts.set(key, after.as_ref());
        if let Some(after) = after {
            for id in &after.reads.objects {
                self.readers.entry(id.clone()).or_default().insert(key.clone());
            }
            for kind in &after.reads.kinds {
                self.kind_readers.entry(*kind).or_default().insert(key.clone());
            }
            self.fragments.insert(key.clone(), after);
        }
        other_hosts
    }

    /// Makes the endpoints of these services anew.
    fn renew(&mut self, store: &Store, stale: &BTreeSet<Use>, force: bool, outcome: &mut Outcome) {
        for key in stale {
            let renewed = self.services.renew(key, store, force);
            outcome.diagnostics |= renewed.said;
            match renewed.set {
                // One that no table has seen yet is published with the table that names it, its endpoints in place.
                Some((service, set)) if renewed.unseen => service.endpoints().store(set),
                Some(renewed) => outcome.endpoints.push(renewed),
                None => {}
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
        self.services.members(self.fragments.values().flat_map(|f| &f.cookies))
    }
}

/// Cookie names with the services that use them.
fn cookies(fragment: Option<&Fragment>) -> &[(String, ServiceKey)] {
    fragment.map_or(&[], |fragment| &fragment.cookies)
}

#[cfg(test)]
mod tests;
