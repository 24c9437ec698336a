//! What users wrote: Kubernetes objects, boiled down to the fields that Headgate reads.
//!
//! `sources` deserialises manifests and API answers into these types, [`store::Store`] keeps them, `dialect` and
//! `compile` read them. They are slim on purpose (an EndpointSlice of 100 endpoints is an eighth of its
//! k8s-openapi form), and unknown fields are skipped while parsing. This room is the one door to the Kubernetes
//! API types; it does no I/O.

pub mod crd;
pub mod custom;
pub mod endpoints;
pub mod ingress;
pub mod middleware;
pub mod secret;
pub mod servers_transport;
pub mod service;
pub mod store;
pub mod tls_option;

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::Deserialize;

pub use custom::{Custom, NoEffect};
pub use endpoints::EndpointSlice;
pub use ingress::{Ingress, IngressClass};
pub use middleware::Middleware;
pub use secret::Secret;
pub use servers_transport::ServersTransport;
pub use service::Service;
pub use tls_option::TlsOption;

use crate::diagnostic::{Origin, Subject};

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `networking.k8s.io/v1`
    Ingress,
    /// `networking.k8s.io/v1`, without a namespace
    IngressClass,
    /// `v1`
    Service,
    /// `discovery.k8s.io/v1`
    EndpointSlice,
    /// `v1`
    Secret,
    /// `traefik.io/v1alpha1`
    Middleware,
    /// `traefik.io/v1alpha1`
    ServersTransport,
    /// `traefik.io/v1alpha1`
    TlsOption,
}

impl Kind {
    /// Every kind, in the order in which a first listing is best applied.
    pub const ALL: [Self; 8] = [
        Self::IngressClass,
        Self::Middleware,
        Self::ServersTransport,
        Self::TlsOption,
        Self::Secret,
        Self::Service,
        Self::EndpointSlice,
        Self::Ingress,
    ];

    /// Custom resources, whose definitions (crds/) a cluster may lack.
    pub const CUSTOM: [Self; 3] = [Self::Middleware, Self::ServersTransport, Self::TlsOption];

    /// `kind` as manifests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "Ingress",
            Self::IngressClass => "IngressClass",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
            Self::Secret => "Secret",
            Self::Middleware => "Middleware",
            Self::ServersTransport => "ServersTransport",
            Self::TlsOption => "TLSOption",
        }
    }

    /// `apiVersion` as manifests write it.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Ingress | Self::IngressClass => "networking.k8s.io/v1",
            Self::Service | Self::Secret => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::Middleware | Self::ServersTransport | Self::TlsOption => "traefik.io/v1alpha1",
        }
    }

    /// The kind that a document's `apiVersion` and `kind` name, if it is one that is read.
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.as_str() == kind && k.api_version() == api_version)
    }

    /// The resource's name in paths of the API.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Ingress => "ingresses",
            Self::IngressClass => "ingressclasses",
            Self::Service => "services",
            Self::EndpointSlice => "endpointslices",
            Self::Secret => "secrets",
            Self::Middleware => "middlewares",
            Self::ServersTransport => "serverstransports",
            Self::TlsOption => "tlsoptions",
        }
    }

    /// Whether its objects live in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(self, Self::IngressClass)
    }
}

/// Namespace and name: the key of an object within its kind. Never joined into one string.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Empty for kinds without a namespace.
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
}

impl Key {
    /// A key of its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// Kind, namespace and name: the identity of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// Which kind.
    pub kind: Kind,
    /// Which of that kind.
    pub key: Key,
}

impl ObjectId {
    /// The identity of the object `kind` `key`.
    pub fn new(kind: Kind, key: Key) -> Self {
        Self { kind, key }
    }

    /// As diagnostics name it.
    pub fn subject(&self) -> Subject {
        Subject {
            kind: self.kind.as_str(),
            namespace: Arc::clone(&self.key.namespace),
            name: Arc::clone(&self.key.name),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.key)
    }
}

/// `metadata`: the part of it that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    /// `metadata.namespace`; in files, `default` where a namespaced kind has none.
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.uid`; absent in files.
    pub uid: Option<Arc<str>>,
    /// `metadata.creationTimestamp` in seconds since 1970; 0 where it is absent (files), so that age is decided by name.
    #[serde(rename = "creationTimestamp", deserialize_with = "seconds")]
    pub created: i64,
    /// `metadata.annotations`, without those that only tools read.
    #[serde(deserialize_with = "annotations")]
    pub annotations: BTreeMap<Arc<str>, Arc<str>>,
    /// `metadata.labels`
    #[serde(deserialize_with = "null_default")]
    pub labels: BTreeMap<Arc<str>, Arc<str>>,
    /// The file it was read from; `None` in a cluster.
    #[serde(skip)]
    pub origin: Option<Origin>,
}

impl Meta {
    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key { namespace: Arc::clone(&self.namespace), name: Arc::clone(&self.name) }
    }

    /// The value of an annotation by its exact key.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(|v| &**v)
    }
}

fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map_or(Ok(0), |t| {
        t.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second).map_err(serde::de::Error::custom)
    })
}

/// What `kubectl apply` keeps for itself: the whole object once more.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Without what only tools read, so that it takes no memory, and its change is none.
fn annotations<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Arc<str>, Arc<str>>, D::Error> {
    let mut all: BTreeMap<Arc<str>, Arc<str>> = null_default(deserializer)?;
    all.remove(LAST_APPLIED);
    Ok(all)
}

/// `null` reads as the empty value, as the API server treats it.
pub(crate) fn null_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// An entry of `status.loadBalancer.ingress`, of an Ingress or a Service: where traffic for it is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `ip`
    pub ip: Option<Arc<str>>,
    /// `hostname`
    pub hostname: Option<Arc<str>>,
}

/// `status` of an Ingress or a Service: the part of it that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `status.loadBalancer`
    #[serde(deserialize_with = "null_default")]
    pub load_balancer: LoadBalancer,
}

/// `status.loadBalancer`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// `status.loadBalancer.ingress`
    #[serde(deserialize_with = "null_default")]
    pub ingress: Vec<Address>,
}

/// One object of any kind that is read.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// An Ingress.
    Ingress(Arc<Ingress>),
    /// An IngressClass.
    IngressClass(Arc<IngressClass>),
    /// A Service.
    Service(Arc<Service>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Secret.
    Secret(Arc<Secret>),
    /// A Middleware.
    Middleware(Arc<Middleware>),
    /// A ServersTransport.
    ServersTransport(Arc<ServersTransport>),
    /// A TLSOption.
    TlsOption(Arc<TlsOption>),
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ingress(_) => Kind::Ingress,
            Self::IngressClass(_) => Kind::IngressClass,
            Self::Service(_) => Kind::Service,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Secret(_) => Kind::Secret,
            Self::Middleware(_) => Kind::Middleware,
            Self::ServersTransport(_) => Kind::ServersTransport,
            Self::TlsOption(_) => Kind::TlsOption,
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Ingress(o) => &o.meta,
            Self::IngressClass(o) => &o.meta,
            Self::Service(o) => &o.meta,
            Self::EndpointSlice(o) => &o.meta,
            Self::Secret(o) => &o.meta,
            Self::Middleware(o) => &o.meta,
            Self::ServersTransport(o) => &o.meta,
            Self::TlsOption(o) => &o.meta,
        }
    }

    /// Its identity.
    pub fn id(&self) -> ObjectId {
        ObjectId::new(self.kind(), self.meta().key())
    }
}
