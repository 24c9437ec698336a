//! Addresses of ExternalName Services and of hosts that Middlewares ask: resolved when one appears, and again every 10 seconds.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::compile::Use;

/// Between two resolutions of a name. The system's resolver tells no TTL.
const EVERY: Duration = Duration::from_secs(10);

/// The names that are followed, each by a task of its own.
#[derive(Debug, Default)]
pub(super) struct Names(HashMap<Use, (Arc<str>, JoinHandle<()>)>);

impl Names {
    /// Follows these names, and no others.
    pub(super) fn follow(&mut self, names: Vec<(Use, Arc<str>)>, resolved: &mpsc::Sender<(Use, Vec<IpAddr>)>) {
        self.0.retain(|key, (name, task)| {
            let wanted = names.iter().any(|(k, n)| k == key && n == name);
            if !wanted {
                task.abort();
            }
            wanted
        });
        for (key, name) in names {
            if self.0.contains_key(&key) || name.parse::<IpAddr>().is_ok() {
                continue;
            }
            let task = tokio::spawn(resolve(key.clone(), Arc::clone(&name), resolved.clone()));
            self.0.insert(key, (name, task));
        }
    }
}

async fn resolve(key: Use, name: Arc<str>, resolved: mpsc::Sender<(Use, Vec<IpAddr>)>) {
    let mut every = tokio::time::interval(EVERY);
    let mut failing = false;
    loop {
        every.tick().await;
        match tokio::net::lookup_host((&*name, key.key.port)).await {
            Ok(addresses) => {
                failing = false;
                let addresses = addresses.map(|a| a.ip()).collect();
                if resolved.send((key.clone(), addresses)).await.is_err() {
                    return;
                }
            }
            // The last addresses that are known stay in use.
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(service = %key, %name, %error, "an external name can't be resolved");
                }
            }
        }
    }
}
