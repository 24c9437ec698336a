//! The loop between what users write and what requests see: updates → store → compile → publish → tell.
//!
//! `publish` swaps things in, `keys` follows the cookie keys, `external` the names of ExternalName Services, and
//! `reporting` tells `report`, where there is a cluster to report to. Updates that wait are taken in one go. Nothing is published before the first complete listing, so that a start
//! never answers 404 for what exists. Runs on the control runtime, never on a worker.

pub mod external;
pub mod keys;
mod publish;
mod reporting;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use self::{keys::Rotation, reporting::Reporting};
use crate::{
    balance::Keys,
    compile::{Compiler, Outcome},
    diagnostic::{Diagnostic, Diagnostics, Severity},
    metrics::Metrics,
    objects::{Key, store::Store},
    report::{self, Report},
    settings::Claims,
    shared::Shared,
    sources::{CookieKeys, Update},
    table::Table,
};

/// What control publishes, for the proxy and the admin server.
#[derive(Clone, Debug)]
pub struct Published {
    /// The table that requests are looked up in.
    pub table: Arc<Shared<Table>>,
    /// Everything wrong with what users wrote.
    pub diagnostics: Arc<Shared<Diagnostics>>,
    /// Whether the first table is live.
    pub ready: watch::Sender<bool>,
}

impl Default for Published {
    fn default() -> Self {
        let ready = watch::Sender::new(false);
        Self { table: Arc::default(), diagnostics: Arc::default(), ready }
    }
}

/// Runs the loop.
#[derive(Debug)]
pub struct Control {
    store: Store,
    compiler: Compiler,
    published: Published,
    metrics: Arc<Metrics>,
    source_diagnostics: Vec<Diagnostic>,
    /// Whether the source has said something that is not published yet.
    untold: bool,
    listed: bool,
    names: external::Names,
    /// Follows the Secret of cookie keys, where one is named.
    rotation: Option<Rotation>,
    reporting: Option<Reporting>,
}

/// How often certificates are looked at again: metrics and diagnostics tell when one expires.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(600);

impl Control {
    /// A control that has seen nothing yet.
    pub fn new(claims: Claims, keys: Keys, published: Published, metrics: Arc<Metrics>) -> Self {
        Self {
            store: Store::default(),
            compiler: Compiler::new(claims, keys),
            published,
            metrics,
            source_diagnostics: Vec::new(),
            untold: false,
            listed: false,
            names: external::Names::default(),
            rotation: None,
            reporting: None,
        }
    }

    /// Takes the cookie keys from a Secret: nothing is published before they are known. `made` says whether the leader
    /// makes the Secret if it is absent.
    #[must_use]
    pub fn with_cookie_keys(mut self, secret: Key, made: bool) -> Self {
        self.rotation = Some(Rotation::new(secret, made));
        self
    }

    /// Reports to the cluster; `publish_service` is that of `--publish-service`.
    #[must_use]
    pub fn with_report(mut self, report: Report, publish_service: Option<Key>) -> Self {
        self.reporting = Some(Reporting::new(report, publish_service));
        self
    }

    /// Takes in updates and keys until the source ends.
    pub async fn run(mut self, mut updates: mpsc::Receiver<Update>, mut keys: watch::Receiver<Keys>) {
        let mut certificates = tokio::time::interval(CERTIFICATE_LOOK);
        let (resolved, mut resolutions) = mpsc::channel(64);
        let mut batch = Vec::new();
        loop {
            let due = self.rotation.as_ref().and_then(Rotation::due);
            let introduced = async move {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                count = updates.recv_many(&mut batch, 1_024) => {
                    if count == 0 {
                        return;
                    }
                    batch.drain(..).for_each(|update| self.take(update));
                    if !self.listed || self.rotation.as_ref().is_some_and(|rotation| !rotation.is_known()) {
                        // What is in the way has to be said, or nobody would know why we are not ready.
                        if std::mem::take(&mut self.untold) {
                            self.tell();
                        }
                    } else if self.compile() {
                        self.names.follow(self.compiler.external_names(), &resolved);
                    }
                }
                Ok(()) = keys.changed() => {
                    let keys = keys.borrow_and_update().clone();
                    self.set_keys(keys);
                }
                () = introduced => {
                    if let Some(keys) = self.rotation.as_mut().and_then(Rotation::finish) {
                        self.set_keys(keys);
                    }
                }
                Some((key, addresses)) = resolutions.recv() => {
                    let outcome = self.compiler.resolved(&key, addresses, &self.store);
                    let told = outcome.diagnostics;
                    self.publish(outcome);
                    if told {
                        self.tell();
                    }
                }
                _ = certificates.tick() => {
                    self.count();
                    if self.listed {
                        self.compiler.set_now(now());
                        self.tell();
                    }
                }
            }
        }
    }

    fn take(&mut self, update: Update) {
        for object in update.applied {
            self.store.apply(object);
        }
        for id in &update.deleted {
            self.store.delete(id);
        }
        if let Some(diagnostics) = update.diagnostics {
            self.source_diagnostics = diagnostics;
            self.untold = true;
        }
        if let Some(keys) = update.cookie_keys {
            self.take_keys(&keys);
        }
        self.listed |= update.listed;
    }

    /// Takes in the Secret of cookie keys as it is now.
    fn take_keys(&mut self, found: &CookieKeys) {
        let Some(rotation) = &mut self.rotation else { return };
        let keys = rotation.take(found, Instant::now());
        self.untold = true;
        if let Some(reporting) = &self.reporting {
            reporting.report().cookie_keys(match found {
                CookieKeys::Absent => report::CookieKeys::Absent(rotation.text()),
                CookieKeys::Text(_) | CookieKeys::Unusable(_) => report::CookieKeys::Present,
            });
        }
        if let Some(keys) = keys {
            tracing::info!("the cookie keys of the Secret are in use");
            self.set_keys(keys);
        }
    }

    fn set_keys(&mut self, keys: Keys) {
        let outcome = self.compiler.set_keys(keys, &self.store);
        self.publish(outcome);
    }

    /// True if services have come, gone or changed their external name.
    fn compile(&mut self) -> bool {
        let changes = self.store.take_changes();
        let outcome = self.compiler.apply(&self.store, &changes, now());
        let services = outcome.services;
        if let Some(reporting) = &self.reporting {
            reporting.changed(&changes, &self.store, &self.compiler);
        }
        let told = std::mem::take(&mut self.untold) || outcome.diagnostics;
        self.publish(outcome);
        if told {
            self.tell();
        }
        if !*self.published.ready.borrow() {
            tracing::info!(hosts = self.compiler.table().hosts.len(), "the first table is live");
            self.published.ready.send_replace(true);
            self.metrics.ready.set(1);
        }
        services
    }

    fn publish(&self, outcome: Outcome) {
        let tables = outcome.table.is_some();
        publish::publish(outcome, &self.published.table);
        if tables {
            self.metrics.config_reloads.inc();
            self.metrics.config_last_reload.set(now());
            self.count();
        }
    }

    /// Says what is wrong now and was not before.
    fn tell(&self) {
        let mut all = self.compiler.diagnostics();
        all.extend(self.source_diagnostics.iter().cloned());
        all.extend(self.rotation.as_ref().and_then(Rotation::fault).cloned());
        let before = self.published.diagnostics.load();
        if *before == all {
            return;
        }
        for diagnostic in all.iter().filter(|d| !before.contains(d)) {
            match diagnostic.severity {
                Severity::Error => tracing::error!("{diagnostic}"),
                Severity::Warning => tracing::warn!("{diagnostic}"),
                Severity::Info => tracing::info!("{diagnostic}"),
            }
        }
        let count = |s| i64::try_from(all.iter().filter(|d| d.severity == s).count()).unwrap_or(i64::MAX);
        self.metrics.diagnostics_error.set(count(Severity::Error));
        self.metrics.diagnostics_warning.set(count(Severity::Warning));
        self.metrics.diagnostics_info.set(count(Severity::Info));
        if let Some(reporting) = &self.reporting {
            reporting.diagnostics(&all, &self.store);
        }
        self.published.diagnostics.store(Arc::new(all));
    }

    fn count(&self) {
        let table = self.compiler.table();
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.routes.set(number(table.hosts.rules()));
        let (mut services, mut endpoints) = (0, 0);
        for service in self.compiler.services() {
            services += 1;
            endpoints += service.endpoints().load().endpoints().len();
        }
        self.metrics.services.set(number(services));
        self.metrics.endpoints.set(number(endpoints));
        let certificates: std::collections::BTreeMap<_, _> =
            table.certs.iter().map(|(_, cert)| ((&cert.id.namespace, &cert.id.name), cert.not_after)).collect();
        self.metrics
            .set_certificates(certificates.into_iter().map(|((ns, name), at)| (Arc::clone(ns), Arc::clone(name), at)));
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
