//! EndpointSlice of `discovery.k8s.io/v1`: addresses, ports, conditions and the pod's name.

use std::{net::IpAddr, sync::Arc};

use serde::Deserialize;

use super::{Key, Meta, null_default};

/// The label that names the Service a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `metadata`
    #[serde(rename = "metadata")]
    pub meta: Meta,
    /// `addressType`: IPv4, IPv6 or FQDN.
    #[serde(deserialize_with = "null_default")]
    pub address_type: Arc<str>,
    /// `ports`; null means every port, which cannot be dialled.
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<EndpointPort>,
    /// `endpoints`; the API server writes null for none.
    #[serde(deserialize_with = "null_default")]
    pub endpoints: Vec<Endpoint>,
}

impl EndpointSlice {
    /// The Service it belongs to, by its label.
    pub fn service(&self) -> Option<Key> {
        let name = self.meta.labels.get(SERVICE_NAME_LABEL)?;
        Some(Key { namespace: Arc::clone(&self.meta.namespace), name: Arc::clone(name) })
    }
}

/// `ports[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointPort {
    /// `name`: that of the Service port; null and empty are the unnamed port.
    #[serde(deserialize_with = "null_default")]
    pub name: Arc<str>,
    /// `port`; null means every port.
    pub port: Option<u16>,
    /// `protocol`: TCP when absent.
    #[serde(deserialize_with = "null_default")]
    pub protocol: Arc<str>,
}

/// `endpoints[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Endpoint {
    /// `addresses`: interchangeable, so that only the first is dialled.
    #[serde(deserialize_with = "addresses")]
    pub addresses: Vec<IpAddr>,
    /// `conditions`
    #[serde(deserialize_with = "null_default")]
    pub conditions: Conditions,
    /// `targetRef`
    pub target_ref: Option<TargetRef>,
}

/// `endpoints[].conditions`; absent means true for `ready` and `serving`, false for `terminating`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Conditions {
    /// `ready`
    pub ready: Option<bool>,
    /// `serving`
    pub serving: Option<bool>,
    /// `terminating`
    pub terminating: Option<bool>,
}

/// `endpoints[].targetRef`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `kind`: Pod, as a rule.
    #[serde(deserialize_with = "null_default")]
    pub kind: Arc<str>,
    /// `namespace`
    #[serde(deserialize_with = "null_default")]
    pub namespace: Arc<str>,
    /// `name`
    #[serde(deserialize_with = "null_default")]
    pub name: Arc<str>,
}

/// Addresses that are no IP address (slices of type FQDN) are left out: they can't be dialled as they stand.
fn addresses<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<IpAddr>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(texts.iter().filter_map(|t| t.parse().ok()).collect())
}
