//! The Kubernetes API as a source of objects.
//!
//! [`connect()`] makes the client, which `report` uses as well. [`start`] runs a [`hub::Hub`] and, for each thing to be watched, a `feed`: a watch with patience that says
//! what it sees. The hub remembers which objects each feed holds, turns what it hears into [`super::Update`]s, says
//! what can't be watched and why, and decides when everything has been listed. `wire` is the form in which objects come,
//! `secrets` knows which Secrets are needed by name. What objects mean is known to nobody here.

mod connect;
mod fault;
mod feed;
mod hub;
mod secrets;
mod watched;
mod wire;

use std::sync::Arc;

use tokio::task::JoinHandle;

pub use connect::{ConnectError, Connection, connect};

use super::Updates;
use crate::objects::Key;

/// What is watched.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--watch-namespace`; empty for all.
    pub namespaces: Vec<Arc<str>>,
    /// `--ingress-selector`: a label selector of Ingresses.
    pub ingress_selector: Option<String>,
    /// `--cookie-keys-secret`
    pub cookie_keys: Option<Key>,
    /// `--publish-service`: watched even outside of the namespaces.
    pub publish_service: Option<Key>,
}

/// Watches the cluster from the current runtime, until the task is aborted or nobody reads the updates any more.
pub fn start(client: kube::Client, options: Options, updates: Updates) -> JoinHandle<()> {
    tokio::spawn(hub::Hub::new(client, options, updates).run())
}
