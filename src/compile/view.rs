//! The store as one Ingress sees it: every look is noted, a look in vain too, so that a change of anything an
//! Ingress has read (or missed) compiles it again, and nothing else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    balance::Transport,
    objects::{Key, Kind, Middleware, ObjectId, Secret, ServersTransport, Service, TlsOption, store::Store},
};

/// What was looked at.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Objects, also those that are not there.
    pub(super) objects: BTreeSet<ObjectId>,
    /// Kinds of which all objects were looked through.
    pub(super) kinds: BTreeSet<Kind>,
}

/// A tracking view of the [`Store`].
#[derive(Debug)]
pub(super) struct View<'a> {
    store: &'a Store,
    reads: RefCell<Reads>,
    /// What ServersTransports come to, or what is wrong with them: read once, however many paths lead to them.
    transports: RefCell<BTreeMap<Key, Result<Arc<Transport>, String>>>,
}

impl<'a> View<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, reads: RefCell::default(), transports: RefCell::default() }
    }

    fn note(&self, kind: Kind, key: &Key) {
        self.reads.borrow_mut().objects.insert(ObjectId::new(kind, key.clone()));
    }

    pub(super) fn service(&self, key: &Key) -> Option<&'a Arc<Service>> {
        self.note(Kind::Service, key);
        self.store.service(key)
    }

    pub(super) fn secret(&self, key: &Key) -> Option<&'a Arc<Secret>> {
        self.note(Kind::Secret, key);
        self.store.secret(key)
    }

    pub(super) fn middleware(&self, key: &Key) -> Option<&'a Arc<Middleware>> {
        self.note(Kind::Middleware, key);
        self.store.middleware(key)
    }

    pub(super) fn servers_transport(&self, key: &Key) -> Option<&'a Arc<ServersTransport>> {
        self.note(Kind::ServersTransport, key);
        self.store.servers_transport(key)
    }

    pub(super) fn tls_option(&self, key: &Key) -> Option<&'a Arc<TlsOption>> {
        self.note(Kind::TlsOption, key);
        self.store.tls_option(key)
    }

    /// What a ServersTransport comes to, by `make` when it is first asked for.
    pub(super) fn transport(
        &self,
        key: &Key,
        make: impl FnOnce() -> Result<Arc<Transport>, String>,
    ) -> Result<Arc<Transport>, String> {
        if let Some(known) = self.transports.borrow().get(key) {
            return known.clone();
        }
        let made = make();
        self.transports.borrow_mut().insert(key.clone(), made.clone());
        made
    }

    /// Whether there is such an object of a kind of [`Kind::CUSTOM`].
    pub(super) fn has(&self, kind: Kind, key: &Key) -> bool {
        match kind {
            Kind::ServersTransport => self.servers_transport(key).is_some(),
            Kind::TlsOption => self.tls_option(key).is_some(),
            _ => self.middleware(key).is_some(),
        }
    }

    /// The keys of all objects of a kind of [`Kind::CUSTOM`]: whoever looks here is compiled again when any of them
    /// changes.
    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.reads.borrow_mut().kinds.insert(kind);
        self.store.custom(kind)
    }

    pub(super) fn into_reads(self) -> Reads {
        self.reads.into_inner()
    }
}
