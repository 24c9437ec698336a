//! The rules of a host against the TLS options that it has: the strictest of theirs, where those that name none have the
//! default ([`crate::table::tls`]). Whose rules are held to options of others is told; a rule whose own options ask more of
//! clients is closed.

use std::{collections::BTreeMap, sync::Arc};

use super::{assemble::Entry, tls_options::FIELD};
use crate::{
    diagnostic::{Diagnostic, Origin},
    objects::{Key, Kind, ObjectId},
    table::{
        Rule, TlsOptions,
        tls::{OptionsId, strictest},
    },
};

/// An Ingress that is held to options of another.
struct Held<'a> {
    /// What it names itself, else the default.
    own: &'a Arc<TlsOptions>,
    /// What it is held to.
    to: &'a Arc<TlsOptions>,
    /// Who names that, or relies on the default.
    by: &'a Key,
    origin: Option<Origin>,
    closed: bool,
}

/// Options that count on an entrypoint, and who names them.
type Counting<'a> = (usize, &'a Arc<TlsOptions>, &'a Key);

/// The rules of a host as they are served, in their order.
pub(super) fn settle(
    host: &str,
    rules: &[Entry<'_>],
    default: &Arc<TlsOptions>,
    found: &mut Vec<Diagnostic>,
) -> Vec<Rule> {
    let counting: Vec<Counting<'_>> = (0..32).filter_map(|on| counting(rules, on, default)).collect();
    let mut held: BTreeMap<&Key, Held<'_>> = BTreeMap::new();
    if !counting.is_empty() {
        for (key, fragment, rule) in rules {
            let (route, own) = (&rule.rule.route, rule.rule.route.tls.as_ref());
            for (_, to, by) in counting.iter().filter(|(on, ..)| route.entrypoints.contains(*on)) {
                // A challenge is for plain HTTP.
                if own.is_none() && route.acme {
                    continue;
                }
                let own = own.unwrap_or(default);
                if own.id == to.id {
                    continue;
                }
                let closed = !to.stand_in_for(own);
                let origin = fragment.origin.clone();
                held.entry(*key).or_insert(Held { own, to, by, origin, closed }).closed |= closed;
            }
        }
    }
    let served = |(key, _, rule): &Entry<'_>| {
        let mut rule = rule.rule.clone();
        // What names none stays open to plain HTTP: over TLS the proxy holds each request against the default.
        if rule.route.tls.is_some()
            && let Some(held) = held.get(*key).filter(|held| held.closed)
        {
            let reason = format!("its host is under the TLS options {}, which do not ask what its own do", held.to.id);
            rule.route = Arc::new(rule.route.closed(reason));
        }
        rule
    };
    let settled = rules.iter().map(served).collect();
    found.extend(held.into_iter().map(|(key, held)| held.told(host, key)));
    settled
}

/// The options that count on an entrypoint where some are named (as in [`crate::table::Paths::tls`]), and who is the first
/// to name them, or to name none.
fn counting<'a>(rules: &[Entry<'a>], entrypoint: usize, default: &'a Arc<TlsOptions>) -> Option<Counting<'a>> {
    let there = || rules.iter().filter(|(_, _, rule)| rule.rule.route.entrypoints.contains(entrypoint));
    let named = || there().filter_map(|(key, _, rule)| Some((rule.rule.route.tls.as_ref()?, *key)));
    let to = strictest(named().map(|(options, _)| options))?;
    let silent = |(_, _, rule): &&Entry<'_>| rule.rule.route.tls.is_none() && !rule.rule.route.acme;
    if let Some((by, ..)) = there().find(silent).filter(|_| default.outrank(to)) {
        return Some((entrypoint, default, by));
    }
    named().find(|(options, _)| options.id == to.id).map(|(_, by)| (entrypoint, to, by))
}

impl Held<'_> {
    fn told(self, host: &str, key: &Key) -> Diagnostic {
        let Self { own, to, by, origin, closed } = self;
        let host = if host.is_empty() { "every host" } else { host };
        let subject = ObjectId::new(Kind::Ingress, key.clone()).subject();
        let one = "name the same TLSOption in all Ingresses of the host";
        let names = match to.id {
            OptionsId::Default => format!("the TLSOption default, as Ingress {by} names none"),
            _ => format!("TLSOption {}, which Ingress {by} names", to.id),
        };
        let (text, help) = match &to.policy {
            Err(reason) => (
                format!("handshakes for {host} are refused: it is under {names}; that can't be had ({reason})"),
                "see that Ingress's own diagnostic, or the TLSOption's",
            ),
            Ok(_) if closed => (
                format!(
                    "{host} is under {names}; it does not ask of clients what {} does, so these routes are closed (503)",
                    own.id
                ),
                one,
            ),
            Ok(_) if own.id == OptionsId::Default => (
                format!("{host} is under {names}; this Ingress names none"),
                "name the same one, or keep to plain HTTP by the annotation router.entrypoints",
            ),
            Ok(_) => (
                format!(
                    "{host} is under {names}; that is stricter than {own}; a client that {own} itself would refuse \
                     gets 503",
                    own = own.id
                ),
                one,
            ),
        };
        // Where more is asked of clients than the Ingress asks itself, some are refused who were meant to come in.
        let said = if closed || to.policy.is_err() || !own.stand_in_for(to) {
            Diagnostic::error(subject, FIELD, "TLSOptionConflict", text)
        } else {
            Diagnostic::warning(subject, FIELD, "TLSOptionConflict", text)
        };
        said.help(help).at(origin)
    }
}
