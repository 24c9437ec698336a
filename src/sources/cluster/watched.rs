//! What a feed is for, how far it has come, what is wrong with it; and how the two things are read that are no objects of
//! the store.

use std::collections::{HashMap, HashSet};

use serde_json::Value;
use tokio::{task::AbortHandle, time::Instant};

use super::{
    feed::{Fault, Query},
    wire::Wire,
};
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

/// A feed as the hub knows it.
#[derive(Debug)]
pub(super) struct Feed {
    pub(super) role: Role,
    pub(super) query: Query,
    /// What it has delivered, with the version.
    pub(super) held: HashMap<Key, Box<str>>,
    /// During a listing: what has been in it so far.
    pub(super) seen: Option<HashSet<Key>>,
    pub(super) listed: bool,
    pub(super) fault: Option<Fault>,
    /// When it failed last.
    pub(super) failed: Option<Instant>,
    pub(super) task: AbortHandle,
}

impl Feed {
    /// Whether there is nothing to wait for before the first table. `granted` is when the server first let us list
    /// anything: what it had refused before is to be asked once more, for it knew nobody's permissions.
    pub(super) fn is_settled(&self, granted: Option<Instant>) -> bool {
        let refused = matches!(self.fault, Some(Fault::Forbidden | Fault::Unknown | Fault::Refused(_)))
            && self.failed.zip(granted).is_some_and(|(failed, granted)| failed >= granted);
        self.listed
            || match self.role {
                Role::Needed(_) | Role::Keys => false,
                Role::Optional(_) | Role::Named(_) | Role::Definition => refused,
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
        self.fault = Some(fault);
        self.failed = Some(Instant::now());
    }

    pub(super) fn recover(&mut self) {
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
                "grant it (deploy/base/rbac.yaml); it is tried again by itself",
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
        let message = match self.role {
            _ if self.listed => format!("{message}; what was read before stays in use"),
            Role::Needed(_) | Role::Keys => format!("{message}: not ready until then"),
            Role::Optional(_) | Role::Named(_) | Role::Definition => format!("{message}: what names them is closed"),
        };
        Some(Diagnostic::error(subject, "", code, message).help(help))
    }
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
