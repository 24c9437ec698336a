//! Objects as they come over the wire: their name and version, and the text from which the rest is read later.
//!
//! A list must not fail for one object that can't be read, so that nothing of it is judged while it is parsed.

use std::{borrow::Cow, sync::Arc};

use kube::{
    api::ObjectMeta,
    core::{ApiResource, DynamicResourceScope},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::objects::{
    EndpointSlice, Ingress, IngressClass, Key, Kind, Middleware, Object, Secret, ServersTransport, Service, TlsOption,
};

/// An object that has not been read yet.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    /// Name, namespace and resource version, and nothing else.
    meta: ObjectMeta,
    text: Box<RawValue>,
}

impl Wire {
    /// Its key within its kind.
    pub(super) fn key(&self) -> Key {
        let part = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        Key { namespace: part(&self.meta.namespace), name: part(&self.meta.name) }
    }

    /// `metadata.resourceVersion`: two objects with the same one are the same object.
    pub(super) fn version(&self) -> &str {
        self.meta.resource_version.as_deref().unwrap_or_default()
    }

    /// Its text, as JSON.
    pub(super) fn text(&self) -> &str {
        self.text.get()
    }

    /// Reads it, or says what can't be read and where.
    pub(super) fn object(&self, kind: Kind) -> Result<Object, Unreadable> {
        let text = self.text.get();
        Ok(match kind {
            Kind::Ingress => Object::Ingress(read::<Ingress>(text)?),
            Kind::IngressClass => Object::IngressClass(read::<IngressClass>(text)?),
            Kind::Service => Object::Service(read::<Service>(text)?),
            Kind::EndpointSlice => Object::EndpointSlice(read::<EndpointSlice>(text)?),
            Kind::Secret => Object::Secret(read::<Secret>(text)?),
            Kind::Middleware => Object::Middleware(read::<Middleware>(text)?),
            Kind::ServersTransport => Object::ServersTransport(read::<ServersTransport>(text)?),
            Kind::TlsOption => Object::TlsOption(read::<TlsOption>(text)?),
        })
    }
}

/// Why an object can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    /// The field, as a path; `.` for the whole.
    pub(super) field: String,
    /// What is wrong with it.
    pub(super) why: String,
}

fn read<T: DeserializeOwned>(text: &str) -> Result<Arc<T>, Unreadable> {
    // The way to the fault costs time, so that it is only looked for where there is one.
    serde_json::from_str(text).map(Arc::new).map_err(|error| {
        let traced = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text));
        match traced {
            Err(traced) => Unreadable { field: traced.path().to_string(), why: traced.into_inner().to_string() },
            Ok(_) => Unreadable { field: String::new(), why: error.to_string() },
        }
    })
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Head { metadata } = serde_json::from_str(text.get()).map_err(serde::de::Error::custom)?;
        let meta = ObjectMeta {
            name: Some(metadata.name),
            namespace: metadata.namespace,
            resource_version: Some(metadata.resource_version),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, text })
    }
}

#[derive(Deserialize)]
struct Head {
    metadata: Identity,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Identity {
    name: String,
    namespace: Option<String>,
    #[serde(default)]
    resource_version: String,
}

impl kube::Resource for Wire {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(dt: &ApiResource) -> Cow<'_, str> {
        dt.kind.as_str().into()
    }

    fn group(dt: &ApiResource) -> Cow<'_, str> {
        dt.group.as_str().into()
    }

    fn version(dt: &ApiResource) -> Cow<'_, str> {
        dt.version.as_str().into()
    }

    fn plural(dt: &ApiResource) -> Cow<'_, str> {
        dt.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use kube::api::WatchEvent;

    use super::*;

    #[test]
    fn a_list_does_not_fail_for_one_object() {
        let list = r#"{"kind":"IngressList","apiVersion":"networking.k8s.io/v1","metadata":{"resourceVersion":"9"},
            "items":[{"metadata":{"name":"a","namespace":"n","resourceVersion":"7","managedFields":[{}]},"spec":{}},
                     {"metadata":{"name":"b","namespace":"n"},"spec":{"rules":[{"host":7}]}}]}"#;
        let list: kube::core::ObjectList<Wire> = serde_json::from_str(list).unwrap();
        assert_eq!(list.items.iter().map(Wire::key).collect::<Vec<_>>(), [Key::new("n", "a"), Key::new("n", "b")]);
        assert_eq!(list.items[0].version(), "7");
        let Object::Ingress(good) = list.items[0].object(Kind::Ingress).unwrap() else { panic!() };
        assert_eq!(good.meta.key(), list.items[0].key());
        let bad = list.items[1].object(Kind::Ingress).unwrap_err();
        assert_eq!(bad.field, "spec.rules[0].host");
    }

    #[test]
    fn events_carry_them() {
        let event = r#"{"type":"ADDED","object":{"kind":"IngressClass","apiVersion":"networking.k8s.io/v1",
            "metadata":{"name":"a","resourceVersion":"7"},"spec":{"controller":"x"}}}"#;
        let WatchEvent::Added(wire) = serde_json::from_str::<WatchEvent<Wire>>(event).unwrap() else { panic!() };
        assert_eq!(wire.key(), Key::new("", "a"));
        assert!(matches!(wire.object(Kind::IngressClass), Ok(Object::IngressClass(c)) if &*c.spec.controller == "x"));
    }
}
