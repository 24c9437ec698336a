//! What is written back to the cluster: Ingress status, Events, the cookie-key Secret. By one replica only, off the
//! data path.
//!
//! `control` tells a [`Report`] how things stand; it keeps the last word on each object, so that telling never waits
//! and a burst is written once.

use std::sync::Arc;

use crate::{
    diagnostic::Diagnostic,
    metrics::Metrics,
    objects::{Address, Key, Service},
};

/// What is to be published as the address of our Ingresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publish {
    /// No status is written.
    Nothing,
    /// `--publish-address`
    Addresses(Vec<Address>),
    /// `--publish-service`
    Service(Key),
}

/// What decides how is reported.
#[derive(Clone, Debug)]
pub struct Options {
    /// Who we are among the replicas: the pod's name and something random.
    pub identity: String,
    /// The pod's name, as Events name their reporter.
    pub instance: String,
    /// The Lease that the writing replica holds.
    pub lease: Key,
    /// The address of our Ingresses.
    pub publish: Publish,
    /// `--cookie-keys-secret`
    pub cookie_keys: Option<Key>,
}

/// How an Ingress stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it is ours.
    pub ours: bool,
    /// Its `status.loadBalancer.ingress`.
    pub status: Vec<Address>,
}

/// A diagnostic and the object that an Event about it is attached to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// What is wrong.
    pub diagnostic: Diagnostic,
    /// `metadata.uid` of its subject; `None` when the object is not there.
    pub uid: Option<Arc<str>>,
    /// `apiVersion` of its subject.
    pub api_version: &'static str,
}

/// Whether the Secret of cookie keys is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CookieKeys {
    /// It has not been looked up yet.
    Unknown,
    /// It does not exist: the leader makes it. With the text of the keys in use, if there were any.
    Absent(Option<String>),
    /// It exists, good or bad.
    Present,
}

/// The way to tell what is to be reported. Cheap to clone; telling never waits.
#[derive(Clone, Debug)]
pub struct Report {}

impl Report {
    /// Starts the tasks that write, on the current runtime.
    pub fn start(_client: kube::Client, _options: Options, _metrics: Arc<Metrics>) -> Self {
        Self {}
    }

    /// How an Ingress stands now; `None` when it is gone.
    pub fn ingress(&self, _key: Key, _standing: Option<Standing>) {}

    /// The Service of `--publish-service` as it is now; `None` when it is gone.
    pub fn service(&self, _service: Option<Arc<Service>>) {}

    /// Everything wrong with what users wrote; replaces what was told before.
    pub fn diagnostics(&self, _all: Vec<Told>) {}

    /// Whether the Secret of cookie keys is there.
    pub fn cookie_keys(&self, _state: CookieKeys) {}

    /// Stops writing and gives the Lease back, so that another replica need not wait for it to run out.
    pub async fn stop(&self) {}
}
