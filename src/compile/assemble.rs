//! Fragments → hosts: the rules of a host from all Ingresses that have some, the older before the younger. Conflicts
//! between Ingresses are found here; those about TLS in [`host_tls`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    host_tls,
    routes::{Fragment, HostRule},
};
use crate::{
    diagnostic::Diagnostic,
    objects::{Key, Kind, ObjectId},
    table::{self, Matcher, Paths, Rule, TlsOptions},
};

/// Who has rules for which host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    members: HashMap<Arc<str>, BTreeSet<Key>>,
    hosts_of: HashMap<Key, BTreeSet<Arc<str>>>,
    /// The full host names one label below a name.
    below: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    /// How many Ingresses of each namespace name such a host, each host counted.
    owners: HashMap<Arc<str>, BTreeMap<Arc<str>, usize>>,
    conflicts: HashMap<Arc<str>, Vec<Diagnostic>>,
}

impl Hosts {
    /// Notes the hosts of an Ingress in place of those it had; `None` has none. True if they are others.
    pub(super) fn set(&mut self, key: &Key, fragment: Option<&Fragment>) -> bool {
        let now: BTreeSet<Arc<str>> = fragment.iter().flat_map(|f| f.rules.keys().cloned()).collect();
        let before = self.hosts_of.remove(key).unwrap_or_default();
        for host in before.difference(&now) {
            self.disown(host, &key.namespace);
            if let Some(members) = self.members.get_mut(host) {
                members.remove(key);
                if members.is_empty() {
                    self.members.remove(host);
                    self.unlink(host);
                }
            }
        }
        for host in now.difference(&before) {
            self.members.entry(Arc::clone(host)).or_default().insert(key.clone());
            if let Some(parent) = parent(host) {
                self.below.entry(parent.into()).or_default().insert(Arc::clone(host));
                let owners = self.owners.entry(parent.into()).or_default();
                *owners.entry(Arc::clone(&key.namespace)).or_default() += 1;
            }
        }
        let changed = before != now;
        if !now.is_empty() {
            self.hosts_of.insert(key.clone(), now);
        }
        changed
    }

    fn disown(&mut self, host: &Arc<str>, namespace: &Arc<str>) {
        let Some(parent) = parent(host) else { return };
        if let Some(owners) = self.owners.get_mut(parent) {
            if let Some(count) = owners.get_mut(namespace) {
                *count -= 1;
                if *count == 0 {
                    owners.remove(namespace);
                }
            }
            if owners.is_empty() {
                self.owners.remove(parent);
            }
        }
    }

    fn unlink(&mut self, host: &Arc<str>) {
        let Some(parent) = parent(host) else { return };
        if let Some(below) = self.below.get_mut(parent) {
            below.remove(host);
            if below.is_empty() {
                self.below.remove(parent);
            }
        }
    }

    /// Whether an Ingress of this namespace has a rule for this very host.
    pub(super) fn has(&self, host: &str, namespace: &str) -> bool {
        self.members.get(host).is_some_and(|members| members.iter().any(|k| &*k.namespace == namespace))
    }

    /// Whether any Ingress has a rule for this very host.
    pub(super) fn any(&self, host: &str) -> bool {
        self.members.contains_key(host)
    }

    /// The namespaces that have a rule for this very host, sorted, without repeats.
    pub(super) fn namespaces(&self, host: &str) -> impl Iterator<Item = &Arc<str>> {
        let mut last = None;
        let all = self.members.get(host).into_iter().flatten().map(|key| &key.namespace);
        all.filter(move |namespace| last.replace(*namespace) != Some(*namespace))
    }

    /// Whether an Ingress of this namespace has a rule for a full host name one label below a name.
    pub(super) fn has_below(&self, parent: &str, namespace: &str) -> bool {
        self.owners.get(parent).is_some_and(|owners| owners.contains_key(namespace))
    }

    /// The full host names with rules that are one label below a name.
    pub(super) fn below(&self, parent: &str) -> impl Iterator<Item = &Arc<str>> {
        self.below.get(parent).into_iter().flatten()
    }

    pub(super) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.conflicts.values().flatten()
    }
}

/// What stands behind the first label of a full host name.
fn parent(host: &str) -> Option<&str> {
    host.split_once('.').and_then(|(label, rest)| (label != "*").then_some(rest))
}

/// The Ingresses among `keys`, the oldest first (`creationTimestamp`, then namespace and name).
pub(super) fn by_age<'a>(
    fragments: &'a BTreeMap<Key, Fragment>,
    keys: impl IntoIterator<Item = &'a Key>,
) -> Vec<(&'a Key, &'a Fragment)> {
    let mut found: Vec<_> = keys.into_iter().filter_map(|key| Some((key, fragments.get(key)?))).collect();
    found.sort_by_key(|(key, fragment)| (fragment.created, *key));
    found
}

/// Makes these hosts of the table anew.
pub(super) fn hosts(
    fragments: &BTreeMap<Key, Fragment>,
    touched: &BTreeSet<Arc<str>>,
    hosts: &mut Hosts,
    table: &mut table::Hosts,
    default: &Arc<TlsOptions>,
) {
    for host in touched {
        let members = by_age(fragments, hosts.members.get(host).into_iter().flatten());
        let of_host = |(key, fragment)| {
            let fragment: &Fragment = fragment;
            fragment.rules.get(host).into_iter().flatten().map(move |rule| (key, fragment, rule))
        };
        let rules: Vec<Entry<'_>> = members.into_iter().flat_map(of_host).collect();
        let mut found = conflicts(&rules);
        let settled = host_tls::settle(host, &rules, default, &mut found);
        if found.is_empty() {
            hosts.conflicts.remove(host);
        } else {
            hosts.conflicts.insert(Arc::clone(host), found);
        }
        table.set(host, (!settled.is_empty()).then(|| Paths::new(settled)));
    }
}

/// A rule of a host, with the Ingress it is of.
pub(super) type Entry<'a> = (&'a Key, &'a Fragment, &'a HostRule);

/// Equal claims: the older has won; the younger is told.
fn conflicts(rules: &[Entry<'_>]) -> Vec<Diagnostic> {
    let mut claims: HashMap<(u8, &str, i64), Vec<&Entry<'_>>> = HashMap::new();
    let mut found = Vec::new();
    for entry in rules {
        let (key, fragment, rule) = entry;
        let claim = match &rule.rule.matcher {
            Matcher::Exact(path) => (0, &**path, rule.rule.priority),
            Matcher::Prefix(path) => (1, &**path, rule.rule.priority),
            Matcher::Regex { written, .. } => (2, &**written, rule.rule.priority),
        };
        let earlier = claims.entry(claim).or_default();
        let mine = rule.rule.route.entrypoints;
        if let Some((winner, other, first)) = earlier.iter().find(|(_, _, r)| r.rule.route.entrypoints.overlaps(mine)) {
            let route = &rule.rule.route;
            let host = if route.host.is_empty() { "every host" } else { &route.host };
            let (by, help) = if winner == key {
                let by = format!("an earlier rule of this Ingress ({}), which wins", first.field);
                (by, "remove one of the two rules")
            } else {
                let why = if other.created == fragment.created { "comes first by name" } else { "is older" };
                let help = match rule.rule.priority {
                    Rule::LAST => "remove one of the two",
                    _ => "remove one of the two rules, or decide by the annotation router.priority",
                };
                (format!("Ingress {winner}, which {why} and wins"), help)
            };
            let text = format!("{host} {} is claimed already by {by}", route.path);
            let subject = ObjectId::new(Kind::Ingress, (*key).clone()).subject();
            let said = Diagnostic::warning(subject, rule.field.clone(), "RouteConflict", text);
            found.push(said.help(help).at(fragment.origin.clone()));
        }
        earlier.push(entry);
    }
    found
}
