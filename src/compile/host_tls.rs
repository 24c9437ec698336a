//! The rules of a host against the TLS options that it has: the strictest that they name ([`crate::table::tls`]). Whose
//! rules are held to options of others is told; a rule whose own options ask more of clients is closed.

use std::{collections::BTreeMap, sync::Arc};

use super::{assemble::Entry, tls_options::FIELD};
use crate::{
    diagnostic::{Diagnostic, Origin},
    objects::{Key, Kind, ObjectId},
    table::{Rule, TlsOptions, tls::strictest},
};

/// An Ingress that is held to options of another.
struct Held<'a> {
    /// What it names itself.
    own: Option<&'a Arc<TlsOptions>>,
    /// What it is held to.
    to: &'a Arc<TlsOptions>,
    /// Who names that.
    by: &'a Key,
    origin: Option<Origin>,
    closed: bool,
}

/// The rules of a host as they are served, in their order.
pub(super) fn settle(host: &str, rules: &[Entry<'_>], found: &mut Vec<Diagnostic>) -> Vec<Rule> {
    let counting: Vec<(usize, &Arc<TlsOptions>, &Key)> = (0..32).filter_map(|on| counting(rules, on)).collect();
    let mut held: BTreeMap<&Key, Held<'_>> = BTreeMap::new();
    if !counting.is_empty() {
        for (key, fragment, rule) in rules {
            let (route, own) = (&rule.rule.route, rule.rule.route.tls.as_ref());
            for (_, to, by) in counting.iter().filter(|(on, ..)| route.entrypoints.contains(*on)) {
                // A challenge is for plain HTTP.
                if own.is_some_and(|own| own.id == to.id) || (own.is_none() && route.acme) {
                    continue;
                }
                let closed = own.is_some_and(|own| !to.stand_in_for(own));
                let origin = fragment.origin.clone();
                held.entry(*key).or_insert(Held { own, to, by, origin, closed }).closed |= closed;
            }
        }
    }
    let served = |(key, _, rule): &Entry<'_>| {
        let mut rule = rule.rule.clone();
        if let Some(held) = held.get(*key).filter(|held| held.closed) {
            let reason = format!("its host is under the TLS options {}, which do not ask what its own do", held.to.id);
            rule.route = Arc::new(rule.route.closed(reason));
        }
        rule
    };
    let settled = rules.iter().map(served).collect();
    found.extend(held.into_iter().map(|(key, held)| held.told(host, key)));
    settled
}

/// The strictest options that are named on an entrypoint, and who names them first.
fn counting<'a>(rules: &[Entry<'a>], entrypoint: usize) -> Option<(usize, &'a Arc<TlsOptions>, &'a Key)> {
    let named = || {
        let there = rules.iter().filter(|(_, _, rule)| rule.rule.route.entrypoints.contains(entrypoint));
        there.filter_map(|(key, _, rule)| Some((rule.rule.route.tls.as_ref()?, *key)))
    };
    let to = strictest(named().map(|(options, _)| options))?;
    named().find(|(options, _)| options.id == to.id).map(|(_, by)| (entrypoint, to, by))
}

impl Held<'_> {
    fn told(self, host: &str, key: &Key) -> Diagnostic {
        let Self { own, to, by, origin, closed } = self;
        let host = if host.is_empty() { "every host" } else { host };
        let subject = ObjectId::new(Kind::Ingress, key.clone()).subject();
        let one = "name the same TLSOption in all Ingresses of the host";
        let (text, help) = match (&to.policy, own) {
            (Err(reason), _) => (
                format!(
                    "handshakes for {host} are refused: Ingress {by} names a TLSOption that can't be had ({reason})"
                ),
                "see that Ingress's own diagnostic",
            ),
            (Ok(_), None) => (
                format!("{host} is under TLSOption {}, which Ingress {by} names; this Ingress names none", to.id),
                "name the same one, or keep to plain HTTP by the annotation router.entrypoints",
            ),
            (Ok(_), Some(own)) if closed => (
                format!(
                    "{host} is under TLSOption {}, which Ingress {by} names; it does not ask of clients what {} does, so \
                     these routes are closed (503)",
                    to.id, own.id
                ),
                one,
            ),
            (Ok(_), Some(own)) => (
                format!(
                    "{host} is under TLSOption {}, which Ingress {by} names and which is stricter than {own}; a client that \
                     {own} itself would refuse gets 503",
                    to.id,
                    own = own.id
                ),
                one,
            ),
        };
        let said = if closed || to.policy.is_err() {
            Diagnostic::error(subject, FIELD, "TLSOptionConflict", text)
        } else {
            Diagnostic::warning(subject, FIELD, "TLSOptionConflict", text)
        };
        said.help(help).at(origin)
    }
}
