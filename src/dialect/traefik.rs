//! `traefik.ingress.kubernetes.io/*`: Traefik's annotations on Ingresses and Services, and our own beside them.
//!
//! Takes metadata, gives options and diagnostics. Every key stands once in a table (`keys`), with what reads its value
//! and what an invalid one costs; what reads single values is in `values`. Unlike in Traefik, where one bad annotation
//! drops the whole Ingress, it costs only itself, or closes the route where it concerns protection. Annotations of
//! others are pointed out by `foreign`.

mod foreign;
mod keys;
mod values;

use std::{borrow::Cow, collections::BTreeMap};

use self::keys::{Inert, Known, OURS, ROUTER, RouteDraft, SERVICE, ServiceDraft};
use super::{RouteOptions, ServiceOptions};
use crate::{
    diagnostic::{Diagnostic, Subject, did_you_mean},
    objects::Meta,
};

/// What Traefik's annotations start with. Matched in any letter case, as Traefik does.
pub const PREFIX: &str = "traefik.ingress.kubernetes.io/";

/// What our own annotations start with.
pub const OUR_PREFIX: &str = "headgate.dev/";

/// The options of an Ingress. Diagnostics are about `subject`.
pub fn ingress(meta: &Meta, subject: Subject) -> (RouteOptions, Vec<Diagnostic>) {
    let mut reading = Reading::new(meta, subject);
    let mut draft = RouteDraft::default();
    let mut strangers = Vec::new();
    for (name, (key, value)) in reading.under(PREFIX, ROUTER) {
        if name.starts_with("service.") {
            reading.misplaced(key, "a Service", "of the Service that the Ingress leads to");
        } else if !reading.apply(ROUTER, "router.", &name, key, value, &mut draft) {
            strangers.push((name, key, value));
        }
    }
    for (name, (key, _)) in reading.under::<ServiceDraft>(OUR_PREFIX, &[]) {
        if OURS.iter().any(|known| known.key == name) {
            reading.misplaced(key, "a Service", "of the Service that the Ingress leads to");
        } else {
            reading.unknown(OURS, "", &name, key);
        }
    }
    reading.foreign(&strangers);
    (RouteOptions { closed: reading.closed, ..draft.finish() }, reading.diagnostics)
}

/// The options of a Service. Diagnostics are about `subject`.
pub fn service(meta: &Meta, subject: Subject) -> (ServiceOptions, Vec<Diagnostic>) {
    let mut reading = Reading::new(meta, subject);
    let mut draft = ServiceDraft::default();
    for (name, (key, value)) in reading.under(PREFIX, SERVICE) {
        if name.starts_with("router.") {
            reading.misplaced(key, "an Ingress", "of the Ingress");
        } else {
            reading.apply(SERVICE, "service.", &name, key, value, &mut draft);
        }
    }
    let ours = reading.under(OUR_PREFIX, OURS);
    for (name, (key, value)) in &ours {
        reading.apply(OURS, "", name, key, value, &mut draft);
    }
    let options = draft.finish();
    if options.sticky.is_none() {
        for (name, (key, _)) in ours {
            if find(OURS, &name).is_some() {
                let message = "it has no effect: the Service has no annotation that asks for a sticky cookie";
                let warning = Diagnostic::warning(reading.subject.clone(), field(key), "NoEffect", message);
                reading.say(warning.help(format!("add {PREFIX}service.sticky.cookie: \"true\"")));
            }
        }
    }
    (ServiceOptions { closed: reading.closed, ..options }, reading.diagnostics)
}

struct Reading<'m> {
    meta: &'m Meta,
    subject: Subject,
    diagnostics: Vec<Diagnostic>,
    closed: Option<String>,
}

impl<'m> Reading<'m> {
    fn new(meta: &'m Meta, subject: Subject) -> Self {
        Self { meta, subject, diagnostics: Vec::new(), closed: None }
    }

    /// The annotations that start with `prefix`: by the rest of the key in lower case, the key and value as written.
    /// Of keys that differ in letter case only, the one in lower case counts; where they contradict each other on a
    /// protection (`table` says what protects), the route is closed.
    fn under<D>(&mut self, prefix: &str, table: &[Known<D>]) -> BTreeMap<String, (&'m str, &'m str)> {
        let mut spellings: BTreeMap<String, Vec<(&'m str, &'m str)>> = BTreeMap::new();
        for (key, value) in &self.meta.annotations {
            let Some((head, name)) = key.split_at_checked(prefix.len()) else { continue };
            if head.eq_ignore_ascii_case(prefix) {
                spellings.entry(name.to_ascii_lowercase()).or_default().push((key, value));
            }
        }
        let mut found = BTreeMap::new();
        for (name, mut same) in spellings {
            // In the order of bytes, lower case comes last.
            let Some((first, value)) = same.pop() else { continue };
            let guards = find(table, &name).is_some_and(|known| known.guards);
            for (key, other) in same {
                let message = format!("it differs from {first} in letter case only; that one counts");
                if guards && value.trim() != other.trim() {
                    self.close(format!("the annotations {key} and {first} contradict each other"));
                    let error = Diagnostic::error(self.subject.clone(), field(key), "DuplicateAnnotation", message);
                    self.say(error.help("remove one of the two; until then, the routes concerned answer 503"));
                } else {
                    let warning = Diagnostic::warning(self.subject.clone(), field(key), "DuplicateAnnotation", message);
                    self.say(warning.help("remove one of the two"));
                }
            }
            found.insert(name, (first, value));
        }
        found
    }

    /// Applies one annotation to the draft; false if it is one of others, of which nothing has been said. `own` is
    /// what the keys of the table start with.
    fn apply<D>(&mut self, table: &[Known<D>], own: &str, name: &str, key: &str, value: &str, draft: &mut D) -> bool {
        let Some(known) = find(table, name) else { return self.unknown(table, own, name, key) };
        let read = (known.read)(draft, value.trim());
        match (read, known.inert) {
            (Err(_), _) if value.trim().is_empty() => self.empty(name, key),
            (Ok(()), None) => {}
            (Ok(()), Some(Inert { why, help })) => {
                let message = format!("it has no effect here: {why}");
                self.say(Diagnostic::info(self.subject.clone(), field(key), "NoEffect", message).help(help));
            }
            (Err(why), _) => {
                let error = Diagnostic::error(self.subject.clone(), field(key), "InvalidAnnotation", why.clone());
                if name == "router.pathmatcher" {
                    self.say(error.help("correct it; until then, paths of type ImplementationSpecific answer 503"));
                } else if known.guards {
                    self.close(format!("the annotation {key} is invalid: {why}"));
                    self.say(error.help("correct it; until then, the routes concerned answer 503"));
                } else {
                    self.say(error.help("correct it; until then, it is as if it weren't there"));
                }
            }
        }
        true
    }

    /// An empty value is none, as in Traefik. Below `router.tls` and `service.sticky.cookie` it still turns those on,
    /// also as in Traefik: whoever wrote it is not served without TLS.
    fn empty(&mut self, name: &str, key: &str) {
        let (message, help) = if name.starts_with("router.tls") {
            ("it is empty; it makes the routes TLS-only nevertheless", "write router.tls: \"true\", or remove it")
        } else if name.starts_with("service.sticky.cookie") {
            (
                "it is empty; it asks for a sticky cookie nevertheless",
                "write service.sticky.cookie: \"true\", or remove it",
            )
        } else {
            ("it is empty, which is as if it weren't there", "give it a value, or remove it")
        };
        self.say(Diagnostic::info(self.subject.clone(), field(key), "EmptyAnnotation", message).help(help));
    }

    /// Points out a key that is in no table; false if it is one of others.
    fn unknown<D>(&mut self, table: &[Known<D>], own: &str, name: &str, key: &str) -> bool {
        let close = did_you_mean(name, table.iter().map(|known| known.key));
        let meant = close.and_then(|close| table.iter().find(|known| known.key == close));
        if meant.is_none() && !name.starts_with(own) {
            return false;
        }
        let prefix = key.get(..key.len() - name.len()).unwrap_or_default();
        let help = meant.map_or_else(String::new, |meant| format!("did you mean {prefix}{}?", meant.key));
        let message = "there is no such annotation".to_owned();
        // A protection whose name is misspelt is still asked for. (Traefik drops the whole Ingress.)
        if meant.is_some_and(|meant| meant.guards) && name.starts_with(own) {
            self.close(format!("the annotation {key} is unknown, and looks like one that protects"));
            self.say(Diagnostic::error(self.subject.clone(), field(key), "UnknownAnnotation", message).help(help));
        } else {
            self.say(Diagnostic::warning(self.subject.clone(), field(key), "UnknownAnnotation", message).help(help));
        }
        true
    }

    fn misplaced(&mut self, key: &str, kind: &str, place: &str) {
        let message = format!("it has no effect here: it belongs on {kind}");
        let warning = Diagnostic::warning(self.subject.clone(), field(key), "MisplacedAnnotation", message);
        self.say(warning.help(format!("move it to the annotations {place}")));
    }

    fn close(&mut self, reason: String) {
        self.closed.get_or_insert(reason);
    }

    fn say(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic.at(self.meta.origin.clone()));
    }
}

fn field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

fn find<'t, D>(table: &'t [Known<D>], name: &str) -> Option<&'t Known<D>> {
    let name = numbered(name);
    table.iter().find(|known| known.key == name)
}

/// `router.tls.domains.0.main` and `router.tls.domains[0].main` as the table has them: `router.tls.domains.n.main`.
fn numbered(name: &str) -> Cow<'_, str> {
    let Some(rest) = name.strip_prefix(keys::DOMAINS) else { return Cow::Borrowed(name) };
    let digits = rest.trim_start_matches(['.', '[']);
    let tail = digits.trim_start_matches(|c: char| c.is_ascii_digit());
    match tail.strip_prefix(']').unwrap_or(tail) {
        tail if tail.starts_with('.') && !digits.starts_with('.') => Cow::Owned(format!("{}.n{tail}", keys::DOMAINS)),
        _ => Cow::Borrowed(name),
    }
}

#[cfg(test)]
mod tests;
