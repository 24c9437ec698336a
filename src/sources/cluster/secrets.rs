//! Which Secrets are needed by name. All of type `kubernetes.io/tls` are watched at once; what Ingresses and custom
//! resources name that is not among these is watched one by one, so that the right to read Secrets can be as
//! narrow as their names.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::objects::{Key, Kind, Object, ObjectId};

/// The most Secrets of a namespace that are watched by name, each by a connection to the API server: what one namespace
/// names may cost itself, and nobody else.
const MOST_OF_NAMESPACE: usize = 64;
/// The most of all namespaces together.
const MOST: usize = 1_024;

/// Who names which Secret.
#[derive(Debug, Default)]
pub(super) struct References {
    of: BTreeMap<ObjectId, Vec<Key>>,
    /// How many custom resources, and how many Ingresses, name a Secret.
    counts: BTreeMap<Key, (usize, usize)>,
}

impl References {
    /// Takes in an object. True if it names other Secrets than before.
    pub(super) fn apply(&mut self, object: &Object) -> bool {
        match named(object) {
            Some(names) => self.set(object.id(), names),
            None => false,
        }
    }

    /// Forgets an object. True if it named any.
    pub(super) fn delete(&mut self, id: &ObjectId) -> bool {
        self.set(id.clone(), Vec::new())
    }

    fn set(&mut self, id: ObjectId, secrets: Vec<Key>) -> bool {
        let kind = id.kind;
        let before = if secrets.is_empty() { self.of.remove(&id) } else { self.of.insert(id, secrets.clone()) };
        let before = before.unwrap_or_default();
        if before == secrets {
            return false;
        }
        for key in &secrets {
            let count = self.counts.entry(key.clone()).or_default();
            *of(count, kind) += 1;
        }
        for key in before {
            if let Some(count) = self.counts.get_mut(&key) {
                *of(count, kind) = of(count, kind).saturating_sub(1);
                if *count == (0, 0) {
                    self.counts.remove(&key);
                }
            }
        }
        true
    }

    /// What has to be watched by name, when some are `known` already, and others `held` by such a watch. The second are
    /// the namespaces that name too many, of which some are left out: never one that is held, those of custom resources
    /// before those of Ingresses.
    pub(super) fn wanted(
        &self,
        known: impl Fn(&Key) -> bool,
        held: impl Fn(&Key) -> bool,
    ) -> (BTreeSet<Key>, BTreeSet<Arc<str>>) {
        let mut unknown: Vec<_> = self.counts.iter().filter(|(key, _)| !known(key)).collect();
        // Stable: by name within.
        unknown.sort_by_key(|(key, count)| (!held(key), count.0 == 0));
        let (mut wanted, mut crowded) = (BTreeSet::new(), BTreeSet::new());
        let mut of_namespace: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for (key, _) in unknown {
            let count = of_namespace.entry(&key.namespace).or_default();
            if (*count >= MOST_OF_NAMESPACE || wanted.len() >= MOST) && !held(key) {
                crowded.insert(Arc::clone(&key.namespace));
                continue;
            }
            *count += 1;
            wanted.insert(key.clone());
        }
        (wanted, crowded)
    }
}

fn of(count: &mut (usize, usize), kind: Kind) -> &mut usize {
    if Kind::CUSTOM.contains(&kind) { &mut count.0 } else { &mut count.1 }
}

/// The Secrets that an object names, all in its own namespace; `None` where its kind names none.
fn named(object: &Object) -> Option<Vec<Key>> {
    let mut names: Vec<&str> = match object {
        Object::Ingress(ingress) => ingress.spec.tls.iter().map(|tls| &*tls.secret_name).collect(),
        Object::Middleware(middleware) => middleware.spec.secrets(),
        Object::ServersTransport(transport) => transport.spec.secrets(),
        Object::TlsOption(options) => options.spec.secrets(),
        Object::IngressClass(_) | Object::Service(_) | Object::EndpointSlice(_) | Object::Secret(_) => return None,
    };
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    let namespace = &object.meta().namespace;
    Some(names.into_iter().map(|name| Key::new(Arc::clone(namespace), name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingress(name: &str, secrets: &[&str]) -> Object {
        let tls: Vec<_> = secrets.iter().map(|s| serde_json::json!({"secretName": s})).collect();
        let ingress = serde_json::json!({"metadata": {"name": name, "namespace": "n"}, "spec": {"tls": tls}});
        Object::Ingress(Arc::new(serde_json::from_value(ingress).unwrap()))
    }

    fn middleware(name: &str, secret: &str) -> Object {
        let spec = serde_json::json!({"basicAuth": {"secret": secret}});
        let middleware = serde_json::json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec});
        Object::Middleware(Arc::new(serde_json::from_value(middleware).unwrap()))
    }

    #[test]
    fn what_is_named_and_not_known_is_wanted() {
        let mut references = References::default();
        assert!(references.apply(&ingress("a", &["x", "y", "y", ""])));
        assert!(!references.apply(&ingress("a", &["y", "x"])));
        assert!(references.apply(&ingress("b", &["y"])));
        assert!(references.apply(&middleware("m", "users")));
        let key = |name| Key::new("n", name);
        let wanted = |r: &References| r.wanted(|k| &*k.name == "x", |_| false).0;
        assert_eq!(wanted(&references), BTreeSet::from([key("users"), key("y")]));
        assert!(references.delete(&ingress("a", &[]).id()));
        assert_eq!(wanted(&references), BTreeSet::from([key("users"), key("y")]));
        assert!(references.apply(&ingress("b", &[])));
        assert!(references.apply(&middleware("m", "")));
        assert!(!references.delete(&ingress("b", &[]).id()));
        assert_eq!(wanted(&references), BTreeSet::new());
        assert!(references.of.is_empty() && references.counts.is_empty());
    }

    #[test]
    fn other_custom_resources_name_secrets_too() {
        let mut references = References::default();
        let meta = serde_json::json!({"name": "x", "namespace": "n"});
        let options = serde_json::json!({"metadata": meta, "spec": {"clientAuth": {"secretNames": ["ca", "users"]}}});
        let transport = serde_json::json!({"metadata": meta, "spec": {"rootCAs": [{"secret": "roots"}]}});
        references.apply(&Object::TlsOption(Arc::new(serde_json::from_value(options).unwrap())));
        references.apply(&Object::ServersTransport(Arc::new(serde_json::from_value(transport).unwrap())));
        let wanted = references.wanted(|_| false, |_| false).0;
        assert_eq!(wanted.iter().map(|key| &*key.name).collect::<Vec<_>>(), ["ca", "roots", "users"]);
        assert!(references.delete(&ObjectId::new(Kind::TlsOption, Key::new("n", "x"))));
        assert_eq!(references.wanted(|_| false, |_| false).0.len(), 1);
    }

    #[test]
    fn a_namespace_that_names_too_many_harms_only_itself() {
        let mut references = References::default();
        for n in 0..500 {
            references.apply(&ingress(&format!("i{n}"), &[&format!("s{n:03}")]));
        }
        references.apply(&middleware("m", "zzz"));
        let other =
            serde_json::json!({"metadata": {"name": "i", "namespace": "o"}, "spec": {"tls": [{"secretName": "a"}]}});
        references.apply(&Object::Ingress(Arc::new(serde_json::from_value(other).unwrap())));
        let (wanted, crowded) = references.wanted(|_| false, |key| &*key.name == "s499");
        assert_eq!(wanted.len(), MOST_OF_NAMESPACE + 1);
        // What a Middleware names comes first; what is held stays; other namespaces don't feel it.
        for key in [Key::new("n", "zzz"), Key::new("n", "s499"), Key::new("o", "a")] {
            assert!(wanted.contains(&key), "{key}");
        }
        assert_eq!(crowded, BTreeSet::from(["n".into()]));
    }
}
