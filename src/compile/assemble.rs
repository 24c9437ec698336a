//! Fragments → hosts: the rules of a host from all Ingresses that have some, the older before the younger; and the
//! certificates of hosts. Conflicts between Ingresses are found here.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    routes::{CertClaim, Fragment, HostRule},
    tls::covers,
};
use crate::{
    diagnostic::{Diagnostic, Subject},
    objects::{Key, Kind, ObjectId},
    table::{self, Cert, Certs, Matcher, Paths},
};

/// Who has rules for which host.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    members: HashMap<Arc<str>, BTreeSet<Key>>,
    hosts_of: HashMap<Key, BTreeSet<Arc<str>>>,
    conflicts: HashMap<Arc<str>, Vec<Diagnostic>>,
}

impl Hosts {
    /// Notes the hosts of an Ingress, in place of those it had.
    pub(super) fn join(&mut self, key: &Key, fragment: &Fragment) {
        self.leave(key);
        for rule in &fragment.rules {
            self.members.entry(Arc::clone(&rule.host)).or_default().insert(key.clone());
            self.hosts_of.entry(key.clone()).or_default().insert(Arc::clone(&rule.host));
        }
    }

    /// Forgets the hosts of an Ingress.
    pub(super) fn leave(&mut self, key: &Key) {
        for host in self.hosts_of.remove(key).into_iter().flatten() {
            if let Some(members) = self.members.get_mut(&host) {
                members.remove(key);
                if members.is_empty() {
                    self.members.remove(&host);
                }
            }
        }
    }

    /// Whether an Ingress of this namespace has a rule for this host.
    fn has(&self, host: &str, namespace: &str) -> bool {
        self.members.get(host).is_some_and(|members| members.iter().any(|k| &*k.namespace == namespace))
    }

    pub(super) fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        self.conflicts.values().flatten()
    }
}

/// The Ingresses among `keys`, the oldest first (`creationTimestamp`, then namespace and name).
fn by_age<'a>(
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
) {
    for host in touched {
        let members = by_age(fragments, hosts.members.get(host).into_iter().flatten());
        let of_host = |fragment: &'_ Fragment| -> Vec<HostRule> {
            fragment.rules.iter().filter(|r| r.host == *host).cloned().collect()
        };
        let rules: Vec<Entry<'_>> =
            members.into_iter().flat_map(|(k, f)| of_host(f).into_iter().map(move |r| (k, f, r))).collect();
        let found = conflicts(&rules);
        if found.is_empty() {
            hosts.conflicts.remove(host);
        } else {
            hosts.conflicts.insert(Arc::clone(host), found);
        }
        let rules: Vec<_> = rules.into_iter().map(|(_, _, rule)| rule.rule).collect();
        table.set(host, (!rules.is_empty()).then(|| Paths::new(rules)));
    }
}

/// A rule of a host, with the Ingress it is of.
type Entry<'a> = (&'a Key, &'a Fragment, HostRule);

/// Equal claims: the older has won; the younger is told.
fn conflicts(rules: &[Entry<'_>]) -> Vec<Diagnostic> {
    let mut claims: HashMap<(u8, &str, i64), Vec<&Entry<'_>>> = HashMap::new();
    let mut found = Vec::new();
    for entry in rules {
        let (key, fragment, rule) = entry;
        let claim = match &rule.rule.matcher {
            Matcher::Exact(path) => (0, &**path, rule.rule.priority),
            Matcher::Prefix(path) => (1, &**path, rule.rule.priority),
            Matcher::Regex(regex) => (2, regex.as_str(), rule.rule.priority),
        };
        let earlier = claims.entry(claim).or_default();
        let mine = rule.rule.route.entrypoints;
        if let Some((winner, _, _)) = earlier.iter().find(|(_, _, r)| r.rule.route.entrypoints.overlaps(mine)) {
            let route = &rule.rule.route;
            let host = if route.host.is_empty() { "every host" } else { &route.host };
            let text = format!("{host} {} is claimed already by Ingress {winner}, which is older and wins", route.path);
            let subject = ObjectId::new(Kind::Ingress, (*key).clone()).subject();
            let said = Diagnostic::warning(subject, rule.field.clone(), "RouteConflict", text);
            let help = "remove one of the two rules, or decide by the annotation router.priority";
            found.push(said.help(help).at(fragment.origin.clone()));
        }
        earlier.push(entry);
    }
    found
}

/// Certificates by host: the unexpired before the expired, then those of the older Ingress.
pub(super) fn certs(
    fragments: &BTreeMap<Key, Fragment>,
    hosts: &Hosts,
    loaded: &HashMap<Key, Result<Arc<Cert>, String>>,
    now: i64,
) -> Certs {
    let claimants = fragments.iter().filter(|(_, f)| !f.certs.is_empty()).map(|(key, _)| key);
    let mut found: Vec<(bool, Arc<str>, Arc<Cert>)> = Vec::new();
    for (key, fragment) in by_age(fragments, claimants) {
        for claim in fragment.certs.iter().filter(|c| is_served(c, key, hosts)) {
            if let Some(Ok(cert)) = loaded.get(&claim.secret) {
                found.push((!cert.is_valid_at(now), Arc::clone(&claim.host), Arc::clone(cert)));
            }
        }
    }
    found.sort_by_key(|(expired, _, _)| *expired);
    let mut certs = Certs::default();
    for (_, host, cert) in found {
        certs.insert(&host, cert);
    }
    certs
}

/// A certificate is served for a host only where an Ingress of its own namespace has a rule for that host.
fn is_served(claim: &CertClaim, ingress: &Key, hosts: &Hosts) -> bool {
    claim.own || hosts.has(&claim.host, &ingress.namespace)
}

/// What is wrong with `spec.tls` and the Secrets it names.
pub(super) fn cert_diagnostics(
    fragments: &BTreeMap<Key, Fragment>,
    hosts: &Hosts,
    loaded: &HashMap<Key, Result<Arc<Cert>, String>>,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (key, fragment) in fragments {
        let subject: Subject = ObjectId::new(Kind::Ingress, key.clone()).subject();
        let mut say = |warning: bool, field: &str, code, text: String, help: &str| {
            let (subject, field) = (subject.clone(), field.to_owned());
            let said = if warning {
                Diagnostic::warning(subject, field, code, text)
            } else {
                Diagnostic::error(subject, field, code, text)
            };
            found.push(said.help(help).at(fragment.origin.clone()));
        };
        for claim in &fragment.certs {
            if !is_served(claim, key, hosts) {
                let text =
                    format!("no rule of namespace {} has host {}, so it is not served", key.namespace, claim.host);
                say(true, &claim.field, "TlsHostWithoutRule", text, "add a rule for the host, or remove it from hosts");
            }
            match loaded.get(&claim.secret) {
                Some(Err(reason)) => {
                    let text = format!(
                        "Secret {} can't be used: {reason}; {} gets the default certificate",
                        claim.secret, claim.host
                    );
                    let help = "make it with `kubectl create secret tls NAME --cert=… --key=…`";
                    say(false, &format!("{}.secretName", claim.field), "SecretInvalid", text, help);
                }
                Some(Ok(cert)) if !cert.names.iter().any(|name| covers(name, &claim.host)) => {
                    let text = format!(
                        "the certificate in Secret {} is not for {} but for {}; browsers will refuse it",
                        claim.secret,
                        claim.host,
                        cert.names.join(", ")
                    );
                    say(true, &claim.field, "CertificateMismatch", text, "use a certificate that names the host");
                }
                _ => {}
            }
        }
    }
    found
}
