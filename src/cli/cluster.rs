//! The flags of a cluster, made into a connection and into what `sources` and `report` need.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::bail;

use super::flags::{ClusterArgs, ObjectName};
use crate::{
    objects::{Address, Key},
    report::{self, Publish},
    sources::cluster::{self, Connection},
};

/// A cluster to read from and to report to.
pub(super) struct Cluster {
    pub(super) connection: Connection,
    pub(super) watched: cluster::Options,
    /// `None` with `--read-only`.
    pub(super) report: Option<report::Options>,
}

/// Prepares a connection; nothing is asked of the API server yet, which may be away.
pub(super) async fn connect(args: &ClusterArgs, hostname: &str) -> anyhow::Result<Cluster> {
    let connection = cluster::connect(args.kubeconfig.as_deref()).await?;
    let own = connection.namespace.clone();
    let key = |name: &ObjectName| Key::new(name.namespace.as_deref().unwrap_or(&own), name.name.as_str());
    let publish_service = args.publish_service.as_ref().map(key);
    let cookie_keys = args.cookie_keys_secret.as_ref().map(key);
    if args.publish_service.as_ref().is_some_and(|name| name.namespace.is_none()) {
        bail!("--publish-service: write NAMESPACE/NAME");
    }
    let publish = match &publish_service {
        Some(service) => Publish::Service(service.clone()),
        None if args.publish_address.is_empty() => Publish::Nothing,
        None => Publish::Addresses(args.publish_address.iter().map(|text| address(text)).collect()),
    };
    let report = report::Options {
        // A pod that starts again under its old name must not take itself for the holder that it was.
        identity: format!("{hostname}_{:016x}", fastrand::u64(..)),
        instance: hostname.to_owned(),
        lease: key(&args.leader_lease),
        publish,
        cookie_keys: cookie_keys.clone(),
    };
    let watched = cluster::Options {
        namespaces: args
            .watch_namespace
            .iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .map(|namespace| Arc::from(namespace.as_str()))
            .collect(),
        ingress_selector: args.ingress_selector.clone(),
        cookie_keys,
        publish_service,
    };
    Ok(Cluster { connection, watched, report: (!args.read_only).then_some(report) })
}

fn address(text: &str) -> Address {
    let is_ip = text.parse::<std::net::IpAddr>().is_ok();
    let (ip, hostname) = if is_ip { (Some(text.into()), None) } else { (None, Some(text.into())) };
    Address { ip, hostname }
}
