//! What a feed is for, how far it has come, what is wrong with it; and how the two things are read that are no objects of
//! the store.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{task::AbortHandle, time::Instant};

use super::{fault::Fault, feed::Query, wire::Wire};
use crate::{
    diagnostic::{Diagnostic, Subject},
    objects::{Key, Kind, Object},
    sources::CookieKeys,
};

/// What a feed is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Objects for the store. Without them nothing right can be served, so that nothing is served before.
    Needed(Kind),
    /// Objects for the store. Without them, what names them is closed.
    Optional(Kind),
    /// A Secret that is named by somebody.
    Named(Key),
    /// The Secret of cookie keys.
    Keys,
    /// The definition of Middlewares.
    Definition,
}

impl Role {
    /// The kind of the objects that it delivers to the store.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Needed(kind) | Self::Optional(kind) => Some(*kind),
            Self::Named(_) => Some(Kind::Secret),
            Self::Keys | Self::Definition => None,
        }
    }
}

/// Which reading of an object was delivered.
#[derive(Debug)]
pub(super) struct Held {
    version: Box<str>,
    /// Bytes of its text.
    length: usize,
}

impl Held {
    pub(super) fn of(wire: &Wire) -> Self {
        Self { version: wire.version().into(), length: wire.text().len() }
    }

    /// Whether another reading says more. The same version is the same object, but the server shows it without what
    /// its definition lacks at the time: the fullest reading is the true one.
    pub(super) fn is_outdone_by(&self, wire: &Wire) -> bool {
        *self.version != *wire.version() || self.length < wire.text().len()
    }
}

/// A feed as the hub knows it.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) role: Role,
    pub(super) query: Query,
    /// What it has delivered.
    pub(super) held: HashMap<Key, Held>,
    /// During a listing: what has been in it so far.
    pub(super) seen: Option<HashSet<Key>>,
    /// During a listing: whether what is held has to be read again, whatever its version.
    pub(super) reread: bool,
    pub(super) listed: bool,
    pub(super) fault: Option<Fault>,
    /// Since when there is a fault.
    pub(super) failing: Option<Instant>,
    /// Whether it was refused at a time when everything that is needed had been listed: refused for good, as far as can
    /// be told, and not by a server that has yet to read its own roles.
    pub(super) refused: bool,
    /// Whether it is waited for before the first table: not if somebody names ever new Secrets.
    pub(super) awaited: bool,
    pub(super) task: AbortHandle,
}

/// How long a kind may be out of reach, while others are not, before the first table comes without it.
const STUCK: Duration = Duration::from_secs(30);

impl Feed {
    /// One that has heard nothing yet.
    pub(super) fn new(role: Role, query: Query, task: AbortHandle) -> Self {
        Self {
            role,
            query,
            held: HashMap::new(),
            seen: None,
            reread: false,
            listed: false,
            fault: None,
            failing: None,
            refused: false,
            awaited: true,
            task,
        }
    }

    /// Whether there is nothing to wait for before the first table.
    pub(super) fn is_settled(&self) -> bool {
        // A kind alone that the server can't give us (a broken encryption, a broken conversion) must not keep us from
        // serving all others for ever.
        let stuck = || self.failing.is_some_and(|since| since.elapsed() >= STUCK);
        match self.role {
            Role::Needed(_) | Role::Keys => self.listed,
            Role::Optional(_) => self.listed || self.refused || stuck(),
            Role::Named(_) => self.listed || !self.awaited || self.refused || stuck(),
            // Traffic does not depend on knowing why Middlewares are refused.
            Role::Definition => true,
        }
    }

    pub(super) fn fail(&mut self, fault: Fault) {
        if fault == Fault::Behind {
            tracing::debug!(of = self.query.resource.name(), "too far behind; listing again");
            return;
        }
        if self.fault.as_ref() != Some(&fault) {
            tracing::debug!(of = self.query.resource.name(), ?fault, "a watch fails");
        }
        self.failing.get_or_insert_with(Instant::now);
        self.fault = Some(fault);
    }

    pub(super) fn recover(&mut self) {
        (self.failing, self.refused) = (None, false);
        if let Some(fault) = self.fault.take() {
            tracing::debug!(of = self.query.resource.name(), after = ?fault, "watched again");
        }
    }

    pub(super) fn diagnostic(&self) -> Option<Diagnostic> {
        let resource = self.query.resource.name();
        let namespace = self.query.namespace.clone().unwrap_or_default();
        let subject = Subject { kind: "API", namespace, name: resource.into() };
        let which = match &self.query.fields {
            Some(fields) if !matches!(self.role, Role::Optional(_)) => format!("{resource} with {fields}"),
            _ => resource.to_owned(),
        };
        let (code, message, help) = match self.fault.as_ref()? {
            // Traffic does not depend on knowing why Middlewares are refused.
            Fault::Forbidden | Fault::Unknown if self.role == Role::Definition => return None,
            // Said once for all feeds.
            Fault::Behind | Fault::Unreachable(_) => return None,
            Fault::Forbidden => (
                "Forbidden",
                format!("we may not list and watch {which}"),
                "grant it (deploy/base/clusterrole.yaml and role.yaml); it is tried again by itself",
            ),
            Fault::Unknown => (
                "NotInstalled",
                format!("the API server knows no {resource}"),
                "install the definitions (`headgate crds | kubectl apply --server-side -f -`); they are taken up by \
                 themselves",
            ),
            Fault::Refused(why) => {
                ("Refused", format!("{which} can't be watched: {why}"), "it is tried again by itself")
            }
        };
        if matches!((&self.role, code), (Role::Optional(Kind::Secret), "Forbidden")) && !self.listed {
            // A right to Secrets by their names is right: whichever of them it lacks is said by itself.
            let message = format!("{message} by type: each that is named is asked for by its name");
            return Some(Diagnostic::warning(subject, "", code, message).help(help));
        }
        let message = match self.role {
            Role::Needed(_) | Role::Keys if !self.listed => format!("{message}: not ready until then"),
            // Also those that were there, once they are known to be gone.
            Role::Optional(_) | Role::Named(_) | Role::Definition if self.held.is_empty() => {
                format!("{message}: what names them is closed")
            }
            _ => format!("{message}; what was read before stays in use"),
        };
        let message = match self.role {
            // Nobody misses it who does not name it. Where the definition is missing, there is none.
            Role::Optional(Kind::TlsOption) if code != "NotInstalled" => format!(
                "{message}; a TLSOption default, if there is one, may not be seen, so that hosts that name none ask nothing \
                 of clients"
            ),
            _ => message,
        };
        Some(Diagnostic::error(subject, "", code, message).help(help))
    }
}

/// Of a Secret that is watched for its type, only what makes a certificate, or what certificates come from, is kept:
/// whatever else somebody puts into it would be memory of ours.
pub(super) fn certificate(object: Object) -> Object {
    let Object::Secret(mut secret) = object else { return object };
    let kept = |key: &str| matches!(key, "tls.crt" | "tls.key" | "tls.ca" | "ca.crt");
    if secret.data.keys().any(|key| !kept(key)) {
        Arc::make_mut(&mut secret).data.retain(|key, _| kept(key));
    }
    Object::Secret(secret)
}

/// What is said to a namespace that names more Secrets than are watched by name.
pub(super) fn too_many_secrets(namespace: &Arc<str>) -> Diagnostic {
    let subject = Subject { kind: "API", namespace: Arc::clone(namespace), name: "secrets".into() };
    let message = "its Ingresses and custom resources name too many Secrets that are not of type kubernetes.io/tls; not all \
                   of them are read";
    let help = "remove the names of Secrets that don't exist, and make certificates of type kubernetes.io/tls";
    Diagnostic::error(subject, "", "TooManySecrets", message).help(help)
}

/// The text of the Secret of cookie keys.
pub(super) fn cookie_keys(wire: &Wire) -> CookieKeys {
    let Ok(Object::Secret(secret)) = wire.object(Kind::Secret) else {
        return CookieKeys::Unusable("the Secret can't be read".to_owned());
    };
    match secret.data.get("keys").map(|bytes| std::str::from_utf8(bytes)) {
        Some(Ok(text)) => CookieKeys::Text(text.into()),
        Some(Err(_)) => CookieKeys::Unusable("its key `keys` holds no text".to_owned()),
        None => CookieKeys::Unusable("it has no key `keys`".to_owned()),
    }
}

/// Whether a CustomResourceDefinition has `spec.sticky` in the version that we read.
pub(super) fn knows_sticky(text: &str) -> bool {
    let Ok(definition) = serde_json::from_str::<Value>(text) else { return false };
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let ours = |version: &&Value| version.get("name").is_some_and(|name| name == "v1alpha1");
    let Some(schema) = versions.into_iter().flatten().find(ours).and_then(|v| v.pointer("/schema/openAPIV3Schema"))
    else {
        return false;
    };
    let spec = schema.pointer("/properties/spec");
    let open = |schema: Option<&Value>| schema.is_some_and(|s| s["x-kubernetes-preserve-unknown-fields"] == true);
    open(Some(schema)) || open(spec) || spec.is_some_and(|spec| spec.pointer("/properties/sticky").is_some())
}
