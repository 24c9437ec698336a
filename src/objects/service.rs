//! Service of `v1`.

use std::sync::Arc;

use serde::Deserialize;

use super::{Meta, Status, null_default};

/// `v1` Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Service {
    /// `metadata`
    #[serde(rename = "metadata")]
    pub meta: Meta,
    /// `spec`
    #[serde(deserialize_with = "null_default")]
    pub spec: ServiceSpec,
    /// `status`
    #[serde(deserialize_with = "null_default")]
    pub status: Status,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `spec.type`: ClusterIP (also when absent), NodePort, LoadBalancer, ExternalName.
    #[serde(rename = "type", deserialize_with = "null_default")]
    pub kind: Arc<str>,
    /// `spec.clusterIP`; `None` (the word) for a headless Service.
    #[serde(rename = "clusterIP", deserialize_with = "null_default")]
    pub cluster_ip: Arc<str>,
    /// `spec.clusterIPs`
    #[serde(rename = "clusterIPs", deserialize_with = "null_default")]
    pub cluster_ips: Vec<Arc<str>>,
    /// `spec.externalIPs`
    #[serde(rename = "externalIPs", deserialize_with = "null_default")]
    pub external_ips: Vec<Arc<str>>,
    /// `spec.externalName`
    #[serde(deserialize_with = "null_default")]
    pub external_name: Arc<str>,
    /// `spec.ipFamilies`, primary family first.
    #[serde(deserialize_with = "null_default")]
    pub ip_families: Vec<Arc<str>>,
    /// `spec.ports`
    #[serde(deserialize_with = "null_default")]
    pub ports: Vec<ServicePort>,
    /// `spec.sessionAffinity`: None (also when absent) or ClientIP.
    #[serde(deserialize_with = "null_default")]
    pub session_affinity: Arc<str>,
    /// `spec.sessionAffinityConfig`
    pub session_affinity_config: Option<SessionAffinityConfig>,
}

/// `spec.ports[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`; empty for the one port of a Service that has only one.
    #[serde(deserialize_with = "null_default")]
    pub name: Arc<str>,
    /// `port`
    pub port: u16,
    /// `protocol`: TCP (also when absent), UDP, SCTP.
    #[serde(deserialize_with = "null_default")]
    pub protocol: Arc<str>,
    /// `appProtocol`
    pub app_protocol: Option<Arc<str>>,
}

/// `spec.sessionAffinityConfig`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAffinityConfig {
    /// `clientIP`
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientIpConfig>,
}

/// `spec.sessionAffinityConfig.clientIP`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientIpConfig {
    /// `timeoutSeconds`; Kubernetes takes 10800 where it is absent.
    pub timeout_seconds: Option<i64>,
}
