//! The store as one Ingress sees it: every look is noted, a look in vain too, so that a change of anything an
//! Ingress has read (or missed) compiles it again, and nothing else.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    sync::Arc,
};

use crate::objects::{Key, Kind, Middleware, ObjectId, Secret, Service, store::Store};

/// A tracking view of the [`Store`].
#[derive(Debug)]
pub(super) struct View<'a> {
    store: &'a Store,
    reads: RefCell<BTreeSet<ObjectId>>,
    any_middleware: Cell<bool>,
}

impl<'a> View<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self { store, reads: RefCell::default(), any_middleware: Cell::new(false) }
    }

    fn note(&self, kind: Kind, key: &Key) {
        self.reads.borrow_mut().insert(ObjectId::new(kind, key.clone()));
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

    /// All Middlewares: whoever looks here is compiled again when any of them changes.
    pub(super) fn middlewares(&self) -> impl Iterator<Item = &'a Arc<Middleware>> {
        self.any_middleware.set(true);
        self.store.middlewares()
    }

    /// What was looked at, and whether all Middlewares were.
    pub(super) fn into_reads(self) -> (BTreeSet<ObjectId>, bool) {
        (self.reads.into_inner(), self.any_middleware.get())
    }
}
