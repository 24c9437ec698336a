//! `spec.tls` of all Ingresses → which host is served with which certificate, and what is wrong with that.
//!
//! A Secret's certificate is served only for hosts that its own namespace has: where several namespaces have rules for
//! a host, those with the most specific rules (the very host, else its wildcard, else no host at all) do.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    assemble::{Hosts, by_age},
    routes::{CertClaim, Fragment},
    tls::covers,
};
use crate::{
    diagnostic::{Diagnostic, Subject},
    objects::{Key, Kind, ObjectId},
    table::{Cert, Certs},
};

/// Certificates that expire within so many seconds are told.
const SOON: i64 = 7 * 24 * 3_600;

/// Secrets, loaded; or why they can't be.
pub(super) type Loaded = HashMap<Key, Result<Arc<Cert>, String>>;

/// What a namespace's claim to a host comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Served,
    /// A wildcard that is another namespace's, but covers hosts of this one, which are served.
    OwnHosts,
    /// The host is another namespace's.
    Foreign,
    /// No rule has the host.
    NoRule,
}

fn standing(host: &str, namespace: &str, hosts: &Hosts) -> Standing {
    if hosts.has(host, namespace) {
        return Standing::Served;
    }
    if let Some(parent) = host.strip_prefix("*.") {
        let own = hosts.has_below(parent, namespace);
        return match (hosts.any(host), own) {
            (true, true) => Standing::OwnHosts,
            (true, false) => Standing::Foreign,
            (false, true) => Standing::Served,
            (false, false) if hosts.has("", namespace) => Standing::Served,
            (false, false) => Standing::NoRule,
        };
    }
    if hosts.any(host) {
        return Standing::Foreign;
    }
    let wildcard = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    match wildcard {
        Some(wildcard) if hosts.has(&wildcard, namespace) => Standing::Served,
        Some(wildcard) if hosts.any(&wildcard) => Standing::Foreign,
        _ if hosts.has("", namespace) => Standing::Served,
        _ => Standing::NoRule,
    }
}

/// The hosts of a claim: the one it names, else those in the certificate.
fn hosts_of(claim: &CertClaim, cert: &Cert) -> Vec<Arc<str>> {
    match &claim.host {
        Some(host) => vec![Arc::clone(host)],
        None => cert.names.iter().map(|name| name.as_str().into()).collect(),
    }
}

/// Wildcard certificates by the name behind the `*.`, then by the namespace that may use them.
type Wildcards<'a> = BTreeMap<String, BTreeMap<&'a Arc<str>, Vec<Arc<Cert>>>>;

/// Certificates by host, those of the older Ingress first. Which of them is valid is for the lookup: time goes on.
pub(super) fn certs(fragments: &BTreeMap<Key, Fragment>, hosts: &Hosts, loaded: &Loaded) -> Certs {
    let claimants = fragments.iter().filter(|(_, f)| !f.certs.is_empty()).map(|(key, _)| key);
    let mut certs = Certs::default();
    let mut exact: HashMap<Arc<str>, Vec<Arc<Cert>>> = HashMap::new();
    let mut wildcards = Wildcards::new();
    let mut partly: BTreeSet<String> = BTreeSet::new();
    for (key, fragment) in by_age(fragments, claimants) {
        for claim in &fragment.certs {
            let Some(Ok(cert)) = loaded.get(&claim.secret) else { continue };
            for host in hosts_of(claim, cert) {
                let standing = standing(&host, &key.namespace, hosts);
                let wildcard = host.strip_prefix("*.").map(str::to_owned);
                match (standing, wildcard) {
                    (Standing::Foreign | Standing::NoRule, _) => continue,
                    (_, None) => exact.entry(Arc::clone(&host)).or_default().push(Arc::clone(cert)),
                    (_, Some(parent)) => {
                        if standing == Standing::OwnHosts {
                            partly.insert(parent.clone());
                        }
                        let of = wildcards.entry(parent).or_default().entry(&key.namespace).or_default();
                        of.push(Arc::clone(cert));
                    }
                }
                if standing == Standing::Served {
                    certs.insert(&host, Arc::clone(cert));
                }
            }
        }
    }
    for (parent, by_namespace) in &wildcards {
        for host in hosts.below(parent) {
            let allowed: Vec<&Vec<Arc<Cert>>> = hosts.namespaces(host).filter_map(|ns| by_namespace.get(ns)).collect();
            if allowed.len() == by_namespace.len() && !partly.contains(parent) {
                continue;
            }
            let mut own = exact.get(host).cloned().unwrap_or_default();
            own.extend(allowed.into_iter().flatten().cloned());
            certs.restrict(host, own);
        }
    }
    certs
}

/// What is wrong with `spec.tls` and the Secrets it names, at `now` (seconds since 1970).
pub(super) fn diagnostics(
    fragments: &BTreeMap<Key, Fragment>,
    hosts: &Hosts,
    loaded: &Loaded,
    now: i64,
) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (key, fragment) in fragments.iter().filter(|(_, fragment)| !fragment.certs.is_empty()) {
        let mut entries: BTreeMap<(&str, &Key), Vec<&str>> = BTreeMap::new();
        for claim in &fragment.certs {
            let of = entries.entry((&claim.field, &claim.secret)).or_default();
            of.extend(claim.host.as_deref());
        }
        let subject = ObjectId::new(Kind::Ingress, key.clone()).subject();
        let said = found.len();
        for ((field, secret), names) in entries {
            unserved(key, field, &names, hosts, &subject, &mut found);
            match loaded.get(secret) {
                Some(Err(reason)) => {
                    let who = if names.is_empty() { "its hosts".to_owned() } else { some(&names) };
                    let get = if names.len() == 1 { "gets" } else { "get" };
                    let text = format!("Secret {secret} can't be used: {reason}; {who} {get} the default certificate");
                    let help = "make it with `kubectl create secret tls NAME --cert=… --key=…`";
                    let field = format!("{field}.secretName");
                    found.push(Diagnostic::error(subject.clone(), field, "SecretInvalid", text).help(help));
                }
                Some(Ok(cert)) => faults(secret, cert, field, &names, &subject, now, &mut found),
                None => {}
            }
        }
        for diagnostic in found.iter_mut().skip(said) {
            diagnostic.origin.clone_from(&fragment.origin);
        }
    }
    found
}

/// The hosts of an entry that can't be served with its certificate.
fn unserved(key: &Key, field: &str, names: &[&str], hosts: &Hosts, subject: &Subject, found: &mut Vec<Diagnostic>) {
    let of = |wanted: Standing| -> Vec<&str> {
        names.iter().copied().filter(|name| standing(name, &key.namespace, hosts) == wanted).collect()
    };
    let (without, foreign) = (of(Standing::NoRule), of(Standing::Foreign));
    let field = format!("{field}.hosts");
    if !without.is_empty() {
        let text = format!("no rule of namespace {} has {}, so it is not served there", key.namespace, some(&without));
        let said = Diagnostic::warning(subject.clone(), field.clone(), "TlsHostWithoutRule", text);
        found.push(said.help("add a rule for the host, or remove it from hosts"));
    }
    if !foreign.is_empty() {
        let text =
            format!("only other namespaces have rules for {}, so the certificate is not served there", some(&foreign));
        let said = Diagnostic::warning(subject.clone(), field, "TlsHostOfOthers", text);
        found.push(
            said.help(format!("add a rule for the host in namespace {}, or remove it from hosts", key.namespace)),
        );
    }
}

/// What is wrong with a certificate that can be used.
fn faults(
    secret: &Key,
    cert: &Cert,
    field: &str,
    names: &[&str],
    subject: &Subject,
    now: i64,
    found: &mut Vec<Diagnostic>,
) {
    let others: Vec<&str> =
        names.iter().copied().filter(|host| !cert.names.iter().any(|name| covers(name, host))).collect();
    if !others.is_empty() {
        let names: Vec<&str> = cert.names.iter().map(String::as_str).collect();
        let names = if names.is_empty() { "no host at all".to_owned() } else { some(&names) };
        let text = format!(
            "the certificate in Secret {secret} is not for {} but for {names}; browsers will refuse it",
            some(&others)
        );
        let said = Diagnostic::warning(subject.clone(), field, "CertificateMismatch", text);
        found.push(said.help("use a certificate that names the host"));
    } else if names.is_empty() && cert.names.is_empty() {
        let text =
            format!("neither it, nor a rule, nor the certificate in Secret {secret} names a host: it is not served");
        let said = Diagnostic::warning(subject.clone(), field, "TlsWithoutHost", text);
        found.push(said.help(format!("name the hosts under {field}.hosts")));
    }
    let field = format!("{field}.secretName");
    let said = if now > cert.not_after {
        let text =
            format!("the certificate in Secret {secret} expired on {}; browsers refuse it", date(cert.not_after));
        Diagnostic::error(subject.clone(), field, "CertificateExpired", text).help("renew it")
    } else if now < cert.not_before {
        let date = date(cert.not_before);
        let text =
            format!("the certificate in Secret {secret} is not valid before {date}; browsers refuse it until then");
        Diagnostic::warning(subject.clone(), field, "CertificateNotYetValid", text).help("wait, or look at the clocks")
    } else if cert.not_after - now <= SOON {
        let text = format!("the certificate in Secret {secret} expires on {}", date(cert.not_after));
        Diagnostic::warning(subject.clone(), field, "CertificateExpiresSoon", text).help("renew it")
    } else {
        return;
    };
    found.push(said);
}

fn date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

/// The first few of many names.
fn some(names: &[&str]) -> String {
    const FEW: usize = 3;
    let shown = names.iter().take(FEW).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(FEW) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
