//! The connection to an API server: from a kubeconfig, or as a pod of its cluster. Nothing is asked of the server yet,
//! which may be away.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::{HeaderValue, header};
use kube::{
    Client, Config,
    config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// How long the API server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take in nothing of what we write.
const WRITE: Duration = Duration::from_secs(30);
/// How long it may say nothing. Watches have a bookmark about once a minute, so that a connection that has died without
/// a word is found out.
const SILENCE: Duration = Duration::from_secs(90);

/// A client and what it knows of the place that we run in.
#[derive(Clone)]
pub struct Connection {
    /// Cheap to clone; connections are made as they are needed.
    pub client: Client,
    /// Our own namespace; with a kubeconfig that of its context.
    pub namespace: String,
}

/// Why there is no cluster to read from.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A kubeconfig can't be used.
    #[error("--kubeconfig {0}: {1}")]
    Kubeconfig(PathBuf, #[source] KubeconfigError),
    /// We are in no pod of a cluster, or it has no ServiceAccount.
    #[error(
        "there is nothing to serve: give --manifests PATH, or --kubeconfig FILE, or run in a pod of a cluster with a \
         ServiceAccount: {0}"
    )]
    NoCluster(#[source] InClusterError),
    /// The settings make no client.
    #[error("the API server can't be talked to: {0}")]
    Client(#[source] kube::Error),
}

/// Prepares a client, on the current runtime.
///
/// # Errors
/// [`ConnectError`]; that the server is away is none.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Connection, ConnectError> {
    let mut config = match kubeconfig {
        Some(file) => {
            let wrong = |error| ConnectError::Kubeconfig(file.to_owned(), error);
            let read = Kubeconfig::read_from(file).map_err(wrong)?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(wrong)?
        }
        None => Config::incluster().map_err(ConnectError::NoCluster)?,
    };
    if let Some(proxy) = config.proxy_url.take() {
        tracing::warn!(%proxy, "the API server is asked directly: a proxy for it is not supported");
    }
    config.connect_timeout = Some(CONNECT);
    config.write_timeout = Some(WRITE);
    config.read_timeout = Some(SILENCE);
    config.reset_reader_on_write = true;
    // All who ask try again by themselves. Unseen below them, a server that starts (503, `Retry-After: 5`) would cost five
    // seconds after it is ready, and nobody would be told.
    config.default_retry = false;
    let agent = HeaderValue::from_static(concat!("headgate/", env!("CARGO_PKG_VERSION")));
    config.headers.push((header::USER_AGENT, agent));
    let namespace = config.default_namespace.clone();
    tracing::info!(server = %config.cluster_url, namespace, "objects come from the Kubernetes API");
    let client = Client::try_from(config).map_err(ConnectError::Client)?;
    Ok(Connection { client, namespace })
}
