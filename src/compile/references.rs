//! `namespace-name@kubernetescrd`, as annotations name custom resources → the object's key, or why not. The rules are
//! the same for all kinds.

use std::sync::Arc;

use super::view::View;
use crate::{
    diagnostic::did_you_mean,
    objects::{Key, Kind},
    settings::Claims,
};

/// A name that differs by more than so many letters in length is never what was meant; the comparison is dear.
const FURTHEST: usize = 4;

/// Why a reference leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// The diagnostic's code.
    pub(super) code: &'static str,
    /// What is wrong, to be read on its own.
    pub(super) text: String,
    /// What to do.
    pub(super) help: String,
}

/// Whose references these are, and to which kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct References<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) claims: &'a Claims,
    /// The namespace of the object that has the annotation.
    pub(super) namespace: &'a Arc<str>,
    /// One of [`Kind::CUSTOM`].
    pub(super) kind: Kind,
}

impl References<'_> {
    /// The object that a reference names. `namespace-name` is read at every dash; where that is ambiguous, the own
    /// namespace decides, else nothing does.
    pub(super) fn find(&self, reference: &str) -> Result<Key, Lost> {
        let noun = self.noun();
        let Some((joined, provider)) = reference.rsplit_once('@') else {
            let text = format!("{noun} reference {reference} has no @provider");
            let help = match self.candidates(reference).is_empty() {
                true => format!("write {}-{reference}@kubernetescrd", self.namespace),
                false => format!("write {reference}@kubernetescrd"),
            };
            return Err(Lost { code: self.codes().0, text, help });
        };
        if provider != "kubernetescrd" {
            let text = format!("{noun} {reference} is of provider {provider}, which does not exist here");
            let help = format!("write it as a {} object, and name it @kubernetescrd", self.kind.as_str());
            return Err(Lost { code: self.codes().0, text, help });
        }
        let mut found = self.candidates(joined);
        if found.len() > 1
            && let Some(own) = found.iter().find(|key| key.namespace == *self.namespace)
        {
            found = vec![own.clone()];
        }
        let key = match found.as_slice() {
            [key] => key.clone(),
            [] => return Err(self.missing(reference, joined)),
            several => {
                let list: Vec<String> = several.iter().map(Key::to_string).collect();
                let text = format!("{noun} {reference} can be read as {}", list.join(" or "));
                let help = format!("rename one of them, or move it to namespace {}", self.namespace);
                return Err(Lost { code: self.codes().1, text, help });
            }
        };
        self.allowed(&key)?;
        Ok(key)
    }

    /// The objects that `namespace-name` can be read as.
    fn candidates(&self, joined: &str) -> Vec<Key> {
        let splits = joined.match_indices('-').filter_map(|(at, _)| Some((joined.get(..at)?, joined.get(at + 1..)?)));
        let found: Vec<Key> =
            splits.map(|(ns, name)| Key::new(ns, name)).filter(|key| self.view.has(self.kind, key)).collect();
        if !found.is_empty() {
            return found;
        }
        // Traefik writes names with dots (and other runs of odd characters) as one dash.
        let wanted = normalised(joined);
        self.view.all(self.kind).filter(|key| normalised(&written(key)) == wanted).cloned().collect()
    }

    fn missing(&self, reference: &str, joined: &str) -> Lost {
        let near = |key: &&Key| joined.len().abs_diff(key.namespace.len() + 1 + key.name.len()) <= FURTHEST;
        let known: Vec<String> = self.view.all(self.kind).filter(near).map(written).collect();
        // The namespace forgotten.
        let own = Key::new(Arc::clone(self.namespace), joined);
        let own = self.view.has(self.kind, &own).then(|| written(&own));
        let help = match own.or_else(|| did_you_mean(joined, known.iter().map(String::as_str)).map(str::to_owned)) {
            Some(word) => format!("did you mean {word}@kubernetescrd?"),
            None => format!("create the {}; the reference is its namespace, a dash, its name", self.kind.as_str()),
        };
        Lost { code: self.codes().0, text: format!("{} {reference} does not exist", self.noun()), help }
    }

    /// Whether an object may be named from here (`--allow-cross-namespace`).
    pub(super) fn allowed(&self, key: &Key) -> Result<(), Lost> {
        if self.claims.cross_namespace || key.namespace == *self.namespace {
            return Ok(());
        }
        let kind = self.kind.as_str();
        let text = format!("{kind} {key} is of another namespace, which --allow-cross-namespace=false forbids");
        Err(Lost { code: "CrossNamespace", text, help: format!("create it in namespace {}", self.namespace) })
    }

    fn noun(&self) -> &'static str {
        if self.kind == Kind::Middleware { "middleware" } else { self.kind.as_str() }
    }

    /// The codes for one that does not exist, and for one that may be two.
    fn codes(&self) -> (&'static str, &'static str) {
        match self.kind {
            Kind::ServersTransport => ("ServersTransportNotFound", "ServersTransportAmbiguous"),
            Kind::TlsOption => ("TLSOptionNotFound", "TLSOptionAmbiguous"),
            _ => ("MiddlewareNotFound", "MiddlewareAmbiguous"),
        }
    }
}

/// A reference to an object, without `@kubernetescrd`.
fn written(key: &Key) -> String {
    format!("{}-{}", key.namespace, key.name)
}

/// Traefik's `Normalize`: every run of characters that are neither letter nor digit is one dash.
fn normalised(name: &str) -> String {
    name.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect::<Vec<_>>().join("-")
}
