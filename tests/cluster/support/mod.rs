//! What the cluster tests stand on: a control plane of real processes, a small kubelet whose pods are namespaces, real
//! kubectl, and a load that counts every failure.

mod asked;
mod cluster;
mod control_plane;
mod deployed;
mod http;
mod kubectl;
mod kubelet;
mod load;
mod namespace;
mod network;
mod overlay;
mod process;
mod until;

// The bytes-in, bytes-out client of the end-to-end tests, which use more of it than we do.
#[allow(dead_code, unreachable_pub)]
#[path = "../../e2e/support/cert.rs"]
mod cert;
#[allow(dead_code, unreachable_pub)]
#[path = "../../e2e/support/client.rs"]
mod client;
#[allow(dead_code)]
#[path = "../../e2e/support/wait.rs"]
mod wait;
#[allow(dead_code, unreachable_pub)]
#[path = "../../e2e/support/wire.rs"]
mod wire;

pub(crate) use asked::{Asked, asked};
pub(crate) use client::request;
pub(crate) use cluster::Cluster;
pub(crate) use deployed::{Deployed, Gate};
pub(crate) use http::{Target, get};
pub(crate) use load::Load;
pub(crate) use namespace::Namespace;
pub(crate) use network::NODE;
pub(crate) use overlay::Overlay;
pub(crate) use until::{LIMIT, until, until_equal};
