//! What was told last, until the writers look: one word for each object, so that a burst is written once.
//!
//! Takes what `control` tells, without ever waiting, and wakes the writer concerned. It keeps the state whether this
//! replica leads or not, and knows nothing of the API.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::{CookieKeys, Standing, Told};
use crate::objects::{Key, Service};

/// The last word on everything.
#[derive(Default)]
pub(super) struct Mailbox {
    state: Mutex<State>,
    /// An Ingress or the Service that lends its address has changed.
    pub(super) status: Notify,
    /// Diagnostics have changed.
    pub(super) events: Notify,
    /// The state of the cookie keys was told.
    pub(super) keys: Notify,
}

#[derive(Default)]
struct State {
    ingresses: HashMap<Key, Standing>,
    /// `None` while nobody follows: it would grow with every name that ever was.
    changed: Option<BTreeMap<Key, Changed>>,
    /// `None` until it is told for the first time.
    service: Option<Option<Arc<Service>>>,
    diagnostics: Arc<Vec<Told>>,
    cookie_keys: Option<CookieKeys>,
    /// Counts the tellings, so that the same word told twice is seen twice.
    cookie_keys_told: u64,
}

/// How an Ingress changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// It stands differently, or is gone.
    Altered,
    /// It was gone in between: whoever has its name now is another one.
    Replaced,
}

impl Mailbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`super::Report::ingress`].
    pub(super) fn tell_ingress(&self, key: Key, standing: Option<Standing>) {
        let mut state = self.state();
        let change = if standing.is_some() { Changed::Altered } else { Changed::Replaced };
        let before = match standing {
            Some(standing) if state.ingresses.get(&key) == Some(&standing) => return,
            Some(standing) => state.ingresses.insert(key.clone(), standing),
            None => state.ingresses.remove(&key),
        };
        if before.is_none() && change == Changed::Replaced {
            return;
        }
        if let Some(changed) = &mut state.changed {
            let entry = changed.entry(key).or_insert(change);
            if change == Changed::Replaced {
                *entry = change;
            }
            self.status.notify_one();
        }
    }

    /// See [`super::Report::service`].
    pub(super) fn tell_service(&self, service: Option<Arc<Service>>) {
        let mut state = self.state();
        if state.service.as_ref() != Some(&service) {
            state.service = Some(service);
            self.status.notify_one();
        }
    }

    /// See [`super::Report::diagnostics`].
    pub(super) fn tell_diagnostics(&self, all: Vec<Told>) {
        let mut state = self.state();
        if *state.diagnostics != all {
            state.diagnostics = Arc::new(all);
            self.events.notify_one();
        }
    }

    /// See [`super::Report::cookie_keys`].
    pub(super) fn tell_cookie_keys(&self, told: CookieKeys) {
        let mut state = self.state();
        state.cookie_keys = Some(told);
        state.cookie_keys_told = state.cookie_keys_told.wrapping_add(1);
        self.keys.notify_one();
    }

    /// Starts to note which Ingresses change, until the guard is dropped.
    pub(super) fn follow(&self) -> Following<'_> {
        self.state().changed = Some(BTreeMap::new());
        Following(self)
    }

    /// Every Ingress.
    pub(super) fn ingresses(&self) -> Vec<Key> {
        self.state().ingresses.keys().cloned().collect()
    }

    /// How an Ingress stands; `None` when it is gone.
    pub(super) fn standing(&self, key: &Key) -> Option<Standing> {
        self.state().ingresses.get(key).cloned()
    }

    /// The Service that lends its address: `None` until it was told, `Some(None)` when it is gone.
    pub(super) fn service(&self) -> Option<Option<Arc<Service>>> {
        self.state().service.clone()
    }

    /// All that is wrong now.
    pub(super) fn diagnostics(&self) -> Arc<Vec<Told>> {
        Arc::clone(&self.state().diagnostics)
    }

    /// What was told of the cookie keys last, and how often anything was.
    pub(super) fn cookie_keys(&self) -> (CookieKeys, u64) {
        let state = self.state();
        (state.cookie_keys.clone().unwrap_or(CookieKeys::Unknown), state.cookie_keys_told)
    }
}

/// Somebody wants to hear which Ingresses change.
pub(super) struct Following<'a>(&'a Mailbox);

impl Following<'_> {
    /// Those that changed since the last call.
    pub(super) fn changed(&self) -> BTreeMap<Key, Changed> {
        self.0.state().changed.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        self.0.state().changed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("shop", name)
    }

    fn standing(ours: bool) -> Option<Standing> {
        Some(Standing { uid: None, ours, status: Vec::new() })
    }

    #[test]
    fn a_burst_is_one_change_and_the_same_word_is_none() {
        let mailbox = Mailbox::default();
        mailbox.tell_ingress(key("a"), standing(true));
        let following = mailbox.follow();
        assert!(following.changed().is_empty(), "what stood before is looked at as a whole");
        assert_eq!(mailbox.ingresses(), [key("a")]);
        mailbox.tell_ingress(key("a"), standing(true));
        mailbox.tell_ingress(key("never"), None);
        assert!(following.changed().is_empty());
        mailbox.tell_ingress(key("a"), standing(false));
        mailbox.tell_ingress(key("a"), standing(true));
        mailbox.tell_ingress(key("b"), standing(true));
        let changed = BTreeMap::from([(key("a"), Changed::Altered), (key("b"), Changed::Altered)]);
        assert_eq!(following.changed(), changed);
        assert!(following.changed().is_empty());
    }

    #[test]
    fn another_one_of_the_same_name_is_told_apart() {
        let mailbox = Mailbox::default();
        mailbox.tell_ingress(key("a"), standing(true));
        let following = mailbox.follow();
        mailbox.tell_ingress(key("a"), None);
        mailbox.tell_ingress(key("a"), standing(true));
        assert_eq!(following.changed(), BTreeMap::from([(key("a"), Changed::Replaced)]));
        drop(following);
        mailbox.tell_ingress(key("b"), standing(true));
        assert!(mailbox.state().changed.is_none(), "names are not gathered for nobody");
    }
}
