//! The TLSOption custom resource, `traefik.io/v1alpha1`: how TLS handshakes with clients are done.
//!
//! Like [`super::middleware`], it is the source of crds/ and what manifests and API answers are read into: all fields of
//! Traefik v3.7. What they mean is for `compile`.

use std::sync::Arc;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Custom, Kind, Meta, NoEffect, Object, ObjectId};

/// `traefik.io/v1alpha1` TLSOption, as it was written.
pub type TlsOption = Custom<TlsOptionSpec>;

/// The name of the one for hosts that name none.
pub const DEFAULT: &str = "default";

/// Whether this is the one for hosts that name none, in some namespace.
pub fn is_default(id: &ObjectId) -> bool {
    id.kind == Kind::TlsOption && &*id.key.name == DEFAULT
}

/// What is put in place of an object that can't be read and has no earlier state, where its absence would let clients in:
/// the TLSOption `default`. What others name is closed by its absence.
pub fn unreadable(id: &ObjectId) -> Option<Object> {
    let meta = Meta { namespace: Arc::clone(&id.key.namespace), name: Arc::clone(&id.key.name), ..Meta::default() };
    let object = TlsOption { meta, unreadable: true, ..TlsOption::default() };
    is_default(id).then(|| Object::TlsOption(Arc::new(object)))
}

/// How TLS handshakes with clients are done.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "traefik.io",
    version = "v1alpha1",
    kind = "TLSOption",
    root = "TlsOptionResource",
    plural = "tlsoptions",
    singular = "tlsoption",
    namespaced,
    doc = "A TLSOption says how TLS handshakes with clients are done. Ingresses name it in the annotation \
           traefik.ingress.kubernetes.io/router.tls.options as NAMESPACE-NAME@kubernetescrd; one of the name default is \
           for all hosts that name none."
)]
#[serde(rename_all = "camelCase")]
pub struct TlsOptionSpec {
    /// The lowest version of TLS: VersionTLS12 or VersionTLS13. Default: VersionTLS12.
    pub min_version: Option<String>,
    /// The highest version of TLS: VersionTLS12 or VersionTLS13. Default: VersionTLS13.
    pub max_version: Option<String>,
    /// Cipher suites of TLS 1.2 that are allowed, by the names that Go gives them. Without it, all. Those of TLS 1.3 are
    /// always allowed.
    pub cipher_suites: Option<Vec<String>>,
    /// Curves for the exchange of keys that are allowed, the preferred first: X25519MLKEM768, X25519, CurveP256,
    /// CurveP384. Without it, all.
    pub curve_preferences: Option<Vec<String>>,
    /// Whether clients have to show a certificate.
    pub client_auth: Option<ClientAuth>,
    /// Refuses clients that ask for no name, or for one that there is no certificate for, in place of showing them the
    /// default certificate. Default: false.
    pub sni_strict: Option<bool>,
    /// The protocols that are offered, the preferred first. Default: h2, http/1.1.
    pub alpn_protocols: Option<Vec<String>>,
    /// Gives out no session tickets, so that each connection does a whole handshake. Default: false.
    pub disable_session_tickets: Option<bool>,
    /// Deprecated, no effect.
    pub prefer_server_cipher_suites: Option<bool>,
}

impl TlsOptionSpec {
    /// The Secrets that are named, all in the object's own namespace.
    pub fn secrets(&self) -> Vec<&str> {
        let names = self.client_auth.iter().filter_map(|auth| auth.secret_names.as_ref());
        names.flatten().map(String::as_str).collect()
    }

    /// What was written, is valid, and does nothing: for warnings.
    pub fn without_effect(&self) -> Vec<NoEffect> {
        let field = "spec.preferServerCipherSuites";
        let quiet = || NoEffect::new(field, "is deprecated and has no effect", "Remove it");
        self.prefer_server_cipher_suites.iter().map(|_| quiet()).collect()
    }
}

/// Whether clients have to show a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientAuth {
    /// Secrets in the object's namespace with the certificates that a client's must come from, under the key tls.ca or
    /// ca.crt.
    pub secret_names: Option<Vec<String>>,
    /// What is asked of clients. Default: RequireAndVerifyClientCert where there are secretNames, else NoClientCert.
    pub client_auth_type: Option<ClientAuthType>,
}

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ClientAuthType {
    /// They are not asked for a certificate.
    NoClientCert,
    /// They are asked for one, and may show any or none.
    RequestClientCert,
    /// They have to show one, and may show any.
    RequireAnyClientCert,
    /// They are asked for one; if they show one, it must come from secretNames.
    VerifyClientCertIfGiven,
    /// They have to show one that comes from secretNames.
    RequireAndVerifyClientCert,
}

impl ClientAuthType {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoClientCert => "NoClientCert",
            Self::RequestClientCert => "RequestClientCert",
            Self::RequireAnyClientCert => "RequireAnyClientCert",
            Self::VerifyClientCertIfGiven => "VerifyClientCertIfGiven",
            Self::RequireAndVerifyClientCert => "RequireAndVerifyClientCert",
        }
    }
}
