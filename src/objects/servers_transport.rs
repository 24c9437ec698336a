//! The ServersTransport custom resource, `traefik.io/v1alpha1`: how connections to the pods of a Service are made.
//!
//! Like [`super::middleware`], it is the source of crds/ and what manifests and API answers are read into: all fields of
//! Traefik v3.7. What they mean is for `compile`.

use kube::CustomResource;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

use super::{Custom, middleware::Duration};

/// `traefik.io/v1alpha1` ServersTransport, as it was written.
pub type ServersTransport = Custom<ServersTransportSpec>;

/// How connections to pods are made.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "traefik.io",
    version = "v1alpha1",
    kind = "ServersTransport",
    root = "ServersTransportResource",
    plural = "serverstransports",
    singular = "serverstransport",
    namespaced,
    doc = "A ServersTransport says how connections to the pods of a Service are made. Services name it in the annotation \
           traefik.ingress.kubernetes.io/service.serverstransport as NAMESPACE-NAME@kubernetescrd."
)]
#[serde(rename_all = "camelCase")]
pub struct ServersTransportSpec {
    /// The name that pods are asked for in TLS (SNI), and that their certificate must have.
    pub server_name: Option<String>,
    /// Believes any certificate of a pod. Default: false.
    pub insecure_skip_verify: Option<bool>,
    /// The certificates that a pod's must come from. Without them, those of the system.
    #[serde(rename = "rootCAs")]
    pub root_cas: Option<Vec<RootCa>>,
    /// Deprecated, as rootCAs with a secret each: Secrets with certificates that a pod's must come from.
    #[serde(rename = "rootCAsSecrets")]
    pub root_cas_secrets: Option<Vec<String>>,
    /// Secrets in the object's namespace with certificates to show to pods that ask for one, under the keys tls.crt and
    /// tls.key.
    pub certificates_secrets: Option<Vec<String>>,
    /// Cipher suites of TLS 1.2 that are allowed, by the names that Go gives them. Without it, all.
    pub cipher_suites: Option<Vec<String>>,
    /// The lowest version of TLS: VersionTLS12 or VersionTLS13.
    pub min_version: Option<String>,
    /// The highest version of TLS: VersionTLS12 or VersionTLS13.
    pub max_version: Option<String>,
    /// How many idle connections are kept for each pod. Negative: none.
    pub max_idle_conns_per_host: Option<i64>,
    /// Limits on waiting.
    pub forwarding_timeouts: Option<ForwardingTimeouts>,
    /// Speaks HTTP/1.1 with pods in place of HTTP/2. Default: false.
    #[serde(rename = "disableHTTP2")]
    pub disable_http2: Option<bool>,
    /// The URI that a pod's certificate must have among its alternative names.
    #[serde(rename = "peerCertURI")]
    pub peer_cert_uri: Option<String>,
    /// Shows a certificate of the SPIFFE Workload API, and believes those of it.
    pub spiffe: Option<Spiffe>,
}

impl ServersTransportSpec {
    /// The Secrets that are named, all in the object's own namespace.
    pub fn secrets(&self) -> Vec<&str> {
        let roots = self.root_cas.iter().flatten().filter_map(|root| root.secret.as_deref());
        let older = self.root_cas_secrets.iter().flatten().map(String::as_str);
        let own = self.certificates_secrets.iter().flatten().map(String::as_str);
        roots.chain(older).chain(own).collect()
    }
}

/// Where certificates are that a pod's must come from: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = one_place)]
pub struct RootCa {
    /// A Secret in the object's namespace, with certificates under the key tls.ca or ca.crt.
    pub secret: Option<String>,
    /// A ConfigMap in the object's namespace. Headgate reads no ConfigMaps: put the certificates into a Secret.
    pub config_map: Option<String>,
}

/// Limits on waiting for pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForwardingTimeouts {
    /// How long a connection may take to be made.
    pub dial_timeout: Option<Duration>,
    /// How long the head of an answer may take, once the request is sent. 0: any time.
    pub response_header_timeout: Option<Duration>,
    /// How long an idle connection is kept.
    pub idle_conn_timeout: Option<Duration>,
    /// How long an HTTP/2 connection may be silent before it is asked by a ping. 0: any time.
    pub read_idle_timeout: Option<Duration>,
    /// How long the answer to a ping may take before the connection is closed.
    pub ping_timeout: Option<Duration>,
}

/// SPIFFE.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spiffe {
    /// The SPIFFE IDs that are allowed.
    pub ids: Option<Vec<String>>,
    /// The trust domain that is allowed, where no IDs are given.
    pub trust_domain: Option<String>,
}

/// Traefik's own rule.
fn one_place(schema: &mut Schema) {
    let rule = "!has(self.secret) || !has(self.configMap)";
    let message = "certificates are in a Secret or in a ConfigMap, not in both";
    schema.insert("x-kubernetes-validations".to_owned(), serde_json::json!([{ "rule": rule, "message": message }]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_secrets_are_those_of_all_fields() {
        let written = serde_json::json!({
            "metadata": { "name": "x" },
            "spec": {
                "rootCAs": [{ "secret": "a" }, { "configMap": "b" }],
                "rootCAsSecrets": ["c"],
                "certificatesSecrets": ["d"],
                "maxIdleConns": 1,
            },
        });
        let read: ServersTransport = serde_json::from_value(written).unwrap();
        assert_eq!(read.spec.secrets(), ["a", "c", "d"]);
        assert_eq!(read.unknown, ["spec.maxIdleConns"]);
    }
}
