//! Custom resources of Traefik's group, `traefik.io/v1alpha1`: what all of them have in common.

use serde::{Deserialize, Deserializer};

use super::{Meta, null_default};

/// A custom resource, as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Custom<S> {
    /// `metadata`
    pub meta: Meta,
    /// `spec`
    pub spec: S,
    /// Paths of the fields inside `spec` that this version does not know (`spec.headers.frameDenny`), in their order.
    /// They do nothing, so that an object that has one is not the one that was meant.
    pub unknown: Vec<String>,
    /// Whether it stands for one that can't be read ([`super::tls_option::unreadable`]); the rest is empty then.
    pub unreadable: bool,
}

impl<'de, S: Default + Deserialize<'de>> Deserialize<'de> for Custom<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(bound = "S: Default + Deserialize<'de>")]
        struct Raw<S> {
            #[serde(rename = "metadata", default)]
            meta: Meta,
            #[serde(default, deserialize_with = "null_default")]
            spec: S,
        }
        let mut unknown = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| {
            // An optional section is a `?` of its own in these paths.
            let path = path.to_string().replace(".?", "");
            if path.starts_with("spec.") {
                unknown.push(path);
            }
        };
        let Raw { meta, spec } = Raw::<S>::deserialize(serde_ignored::Deserializer::new(deserializer, &mut note))?;
        Ok(Self { meta, spec, unknown, unreadable: false })
    }
}

/// A field that is valid and does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoEffect {
    /// The path of the field: `spec.headers.sslRedirect`.
    pub field: String,
    /// Why, to be read after the field's name.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

impl NoEffect {
    /// `field` does nothing, because of `message`; `help` says what to do.
    pub(super) fn new(field: impl Into<String>, message: &str, help: &'static str) -> Self {
        Self { field: field.into(), message: message.to_owned(), help }
    }
}
