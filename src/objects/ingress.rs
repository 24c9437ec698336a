//! Ingress and IngressClass of `networking.k8s.io/v1`.

use std::sync::Arc;

use serde::Deserialize;

use super::{Meta, Status, null_default};

/// `networking.k8s.io/v1` Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Ingress {
    /// `metadata`
    #[serde(rename = "metadata")]
    pub meta: Meta,
    /// `spec`
    #[serde(deserialize_with = "null_default")]
    pub spec: IngressSpec,
    /// `status`: what controllers say of it, no part of what its author wrote.
    #[serde(deserialize_with = "null_default")]
    pub status: Status,
}

/// `spec` of an Ingress.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// `spec.ingressClassName`
    pub ingress_class_name: Option<Arc<str>>,
    /// `spec.defaultBackend`
    pub default_backend: Option<Backend>,
    /// `spec.rules`
    #[serde(deserialize_with = "null_default")]
    pub rules: Vec<Rule>,
    /// `spec.tls`
    #[serde(deserialize_with = "null_default")]
    pub tls: Vec<Tls>,
}

/// `spec.rules[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// `host`; empty for every host.
    #[serde(deserialize_with = "null_default")]
    pub host: Arc<str>,
    /// `http`
    pub http: Option<Http>,
}

/// `spec.rules[].http`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Http {
    /// `paths`
    #[serde(deserialize_with = "null_default")]
    pub paths: Vec<Path>,
}

/// `spec.rules[].http.paths[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Path {
    /// `path`; empty matches every path.
    #[serde(deserialize_with = "null_default")]
    pub path: Arc<str>,
    /// `pathType`; the API server requires it, files may leave it out.
    pub path_type: Option<Arc<str>>,
    /// `backend`
    #[serde(deserialize_with = "null_default")]
    pub backend: Backend,
}

/// A backend: a Service, or a resource (which is not supported).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Backend {
    /// `service`
    pub service: Option<ServiceBackend>,
    /// `resource`
    pub resource: Option<ResourceBackend>,
}

/// `backend.service`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceBackend {
    /// `name`
    pub name: Arc<str>,
    /// `port`
    #[serde(deserialize_with = "null_default")]
    pub port: BackendPort,
}

/// `backend.service.port`: exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BackendPort {
    /// `number`
    pub number: Option<u16>,
    /// `name`
    pub name: Option<Arc<str>>,
}

/// `backend.resource`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ResourceBackend {
    /// `kind`
    pub kind: Arc<str>,
    /// `name`
    pub name: Arc<str>,
}

/// `spec.tls[]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tls {
    /// `hosts`
    #[serde(deserialize_with = "null_default")]
    pub hosts: Vec<Arc<str>>,
    /// `secretName`; empty serves the default certificate.
    #[serde(deserialize_with = "null_default")]
    pub secret_name: Arc<str>,
}

/// `networking.k8s.io/v1` IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressClass {
    /// `metadata`
    #[serde(rename = "metadata")]
    pub meta: Meta,
    /// `spec`
    #[serde(deserialize_with = "null_default")]
    pub spec: IngressClassSpec,
}

impl IngressClass {
    /// Whether `ingressclass.kubernetes.io/is-default-class` is `"true"`.
    pub fn is_default(&self) -> bool {
        self.meta.annotation("ingressclass.kubernetes.io/is-default-class") == Some("true")
    }
}

/// `spec` of an IngressClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressClassSpec {
    /// `spec.controller`
    #[serde(deserialize_with = "null_default")]
    pub controller: Arc<str>,
}
