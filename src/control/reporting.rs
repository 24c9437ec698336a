//! What `report` is told: how our Ingresses stand, what is wrong with which object, where traffic is taken.

use std::sync::Arc;

use crate::{
    compile::Compiler,
    diagnostic::Diagnostics,
    objects::{
        Key, Kind, ObjectId,
        store::{Changes, Store},
    },
    report::{Report, Standing, Told},
};

/// The way to `report`.
#[derive(Debug)]
pub(super) struct Reporting {
    report: Report,
    /// `--publish-service`
    publish_service: Option<Key>,
}

impl Reporting {
    /// Tells this report.
    pub(super) fn new(report: Report, publish_service: Option<Key>) -> Self {
        Self { report, publish_service }
    }

    /// What is told to.
    pub(super) fn report(&self) -> &Report {
        &self.report
    }

    /// Tells what a change of the store, compiled by now, has done to Ingresses.
    pub(super) fn changed(&self, changes: &Changes, store: &Store, compiler: &Compiler) {
        // A class decides about any Ingress.
        if changes.touched.iter().any(|id| id.kind == Kind::IngressClass) {
            for ingress in store.ingresses() {
                self.ingress(ingress.meta.key(), store, compiler);
            }
            for key in changes.statuses.iter().filter(|key| store.ingress(key).is_none()) {
                self.report.ingress(key.clone(), None);
            }
        } else {
            for key in &changes.statuses {
                self.ingress(key.clone(), store, compiler);
            }
        }
        if let Some(service) = &self.publish_service
            && changes.touched.iter().any(|id| id.kind == Kind::Service && id.key == *service)
        {
            self.report.service(store.service(service).map(Arc::clone));
        }
    }

    fn ingress(&self, key: Key, store: &Store, compiler: &Compiler) {
        let standing = store.ingress(&key).map(|ingress| Standing {
            uid: ingress.meta.uid.clone(),
            ours: compiler.is_ours(ingress, store),
            status: ingress.status.load_balancer.ingress.clone(),
        });
        self.report.ingress(key, standing);
    }

    /// Tells everything that is wrong now.
    pub(super) fn diagnostics(&self, all: &Diagnostics, store: &Store) {
        let told = all.iter().filter_map(|diagnostic| {
            let subject = &diagnostic.subject;
            let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == subject.kind)?;
            let id = ObjectId::new(kind, Key::new(Arc::clone(&subject.namespace), Arc::clone(&subject.name)));
            let uid = store.uid(&id).cloned();
            Some(Told { diagnostic: diagnostic.clone(), uid, api_version: kind.api_version() })
        });
        self.report.diagnostics(told.collect());
    }
}
