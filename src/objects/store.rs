//! Every object there is, by kind and key, and what has changed since the last look.
//!
//! `control` applies what `sources` deliver and takes the [`Changes`]; `compile` reads. EndpointSlices are also kept
//! by the Service that they belong to. Which object reads which other one is not known here: `compile` notes that
//! itself (missing objects included), so that the store needs no dialect.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    EndpointSlice, Ingress, IngressClass, Key, Kind, Meta, Middleware, Object, ObjectId, Secret, ServersTransport,
    Service, TlsOption,
};

/// Objects by kind.
#[derive(Debug, Default)]
pub struct Store {
    ingresses: BTreeMap<Key, Arc<Ingress>>,
    /// By name alone: they have no namespace.
    classes: BTreeMap<Arc<str>, Arc<IngressClass>>,
    services: BTreeMap<Key, Arc<Service>>,
    secrets: BTreeMap<Key, Arc<Secret>>,
    middlewares: BTreeMap<Key, Arc<Middleware>>,
    servers_transports: BTreeMap<Key, Arc<ServersTransport>>,
    tls_options: BTreeMap<Key, Arc<TlsOption>>,
    slices: BTreeMap<Key, Arc<EndpointSlice>>,
    /// The same slices by Service, then by age and name; never an empty map inside.
    by_service: BTreeMap<Key, BTreeMap<Age, Arc<EndpointSlice>>>,
    changes: Changes,
}

/// Creation time in seconds, then name: the order in which the slices of a Service are read.
type Age = (i64, Arc<str>);

/// What is not as it was at the last [`Store::take_changes`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Objects that were added, replaced or deleted, except EndpointSlices.
    pub touched: BTreeSet<ObjectId>,
    /// Services of which an EndpointSlice was added, replaced or deleted. They need not exist.
    pub services_with_new_endpoints: BTreeSet<Key>,
    /// Ingresses that were added, replaced or deleted, or of which the status alone is another one.
    pub statuses: BTreeSet<Key>,
}

impl Changes {
    /// Whether nothing has changed that routing depends on.
    pub fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.services_with_new_endpoints.is_empty()
    }
}

impl Store {
    /// Adds or replaces an object. True if it differs from what was there; an equal one is no change, nor is an
    /// Ingress of which only the status differs.
    pub fn apply(&mut self, object: Object) -> bool {
        let id = object.id();
        let differs = match object {
            Object::Ingress(o) => {
                let before = self.ingresses.insert(id.key.clone(), Arc::clone(&o));
                let same = before.as_deref() == Some(&*o);
                if !same {
                    self.changes.statuses.insert(id.key.clone());
                }
                // A status is what controllers write, and we are one of them: it must not cost a new table.
                !same && before.is_none_or(|b| b.meta != o.meta || b.spec != o.spec)
            }
            Object::IngressClass(o) => put(&mut self.classes, Arc::clone(&id.key.name), o),
            Object::Service(o) => put(&mut self.services, id.key.clone(), o),
            Object::Secret(o) => put(&mut self.secrets, id.key.clone(), o),
            Object::Middleware(o) => put(&mut self.middlewares, id.key.clone(), o),
            Object::ServersTransport(o) => put(&mut self.servers_transports, id.key.clone(), o),
            Object::TlsOption(o) => put(&mut self.tls_options, id.key.clone(), o),
            Object::EndpointSlice(o) => return self.apply_slice(id.key, o),
        };
        if differs {
            self.changes.touched.insert(id);
        }
        differs
    }

    /// Removes an object. True if it was there.
    pub fn delete(&mut self, id: &ObjectId) -> bool {
        let found = match id.kind {
            Kind::Ingress => {
                let found = self.ingresses.remove(&id.key).is_some();
                if found {
                    self.changes.statuses.insert(id.key.clone());
                }
                found
            }
            Kind::IngressClass => self.classes.remove(&id.key.name).is_some(),
            Kind::Service => self.services.remove(&id.key).is_some(),
            Kind::Secret => self.secrets.remove(&id.key).is_some(),
            Kind::Middleware => self.middlewares.remove(&id.key).is_some(),
            Kind::ServersTransport => self.servers_transports.remove(&id.key).is_some(),
            Kind::TlsOption => self.tls_options.remove(&id.key).is_some(),
            Kind::EndpointSlice => {
                let old = self.slices.remove(&id.key);
                if let Some(old) = &old {
                    self.unlink(old);
                }
                return old.is_some();
            }
        };
        if found {
            self.changes.touched.insert(id.clone());
        }
        found
    }

    /// What has changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// An Ingress.
    pub fn ingress(&self, key: &Key) -> Option<&Arc<Ingress>> {
        self.ingresses.get(key)
    }

    /// Every Ingress, by key.
    pub fn ingresses(&self) -> impl Iterator<Item = &Arc<Ingress>> {
        self.ingresses.values()
    }

    /// An IngressClass by its name.
    pub fn class(&self, name: &str) -> Option<&Arc<IngressClass>> {
        self.classes.get(name)
    }

    /// Every IngressClass, by name.
    pub fn classes(&self) -> impl Iterator<Item = &Arc<IngressClass>> {
        self.classes.values()
    }

    /// A Service.
    pub fn service(&self, key: &Key) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// Every Service, by key.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// The EndpointSlices of a Service, oldest first, then by name. The Service itself need not exist.
    pub fn slices_of(&self, service: &Key) -> impl Iterator<Item = &Arc<EndpointSlice>> {
        self.by_service.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// A Secret.
    pub fn secret(&self, key: &Key) -> Option<&Arc<Secret>> {
        self.secrets.get(key)
    }

    /// A Middleware.
    pub fn middleware(&self, key: &Key) -> Option<&Arc<Middleware>> {
        self.middlewares.get(key)
    }

    /// A ServersTransport.
    pub fn servers_transport(&self, key: &Key) -> Option<&Arc<ServersTransport>> {
        self.servers_transports.get(key)
    }

    /// A TLSOption.
    pub fn tls_option(&self, key: &Key) -> Option<&Arc<TlsOption>> {
        self.tls_options.get(key)
    }

    /// The keys of every object of a custom kind ([`Kind::CUSTOM`]), sorted; of another kind, none.
    pub fn custom(&self, kind: Kind) -> Box<dyn Iterator<Item = &Key> + '_> {
        match kind {
            Kind::Middleware => Box::new(self.middlewares.keys()),
            Kind::ServersTransport => Box::new(self.servers_transports.keys()),
            Kind::TlsOption => Box::new(self.tls_options.keys()),
            Kind::Ingress | Kind::IngressClass | Kind::Service | Kind::EndpointSlice | Kind::Secret => {
                Box::new(std::iter::empty())
            }
        }
    }

    /// `metadata.uid` of an object; `None` also when it is not there, or has none (files).
    pub fn uid(&self, id: &ObjectId) -> Option<&Arc<str>> {
        self.meta(id)?.uid.as_ref()
    }

    fn meta(&self, id: &ObjectId) -> Option<&Meta> {
        Some(match id.kind {
            Kind::Ingress => &self.ingresses.get(&id.key)?.meta,
            Kind::IngressClass => &self.classes.get(&id.key.name)?.meta,
            Kind::Service => &self.services.get(&id.key)?.meta,
            Kind::EndpointSlice => &self.slices.get(&id.key)?.meta,
            Kind::Secret => &self.secrets.get(&id.key)?.meta,
            Kind::Middleware => &self.middlewares.get(&id.key)?.meta,
            Kind::ServersTransport => &self.servers_transports.get(&id.key)?.meta,
            Kind::TlsOption => &self.tls_options.get(&id.key)?.meta,
        })
    }

    /// How many objects of each kind there are, in the order of [`Kind::ALL`].
    pub fn counts(&self) -> [(Kind, usize); Kind::ALL.len()] {
        Kind::ALL.map(|kind| {
            let count = match kind {
                Kind::Ingress => self.ingresses.len(),
                Kind::IngressClass => self.classes.len(),
                Kind::Service => self.services.len(),
                Kind::EndpointSlice => self.slices.len(),
                Kind::Secret => self.secrets.len(),
                Kind::Middleware => self.middlewares.len(),
                Kind::ServersTransport => self.servers_transports.len(),
                Kind::TlsOption => self.tls_options.len(),
            };
            (kind, count)
        })
    }

    fn apply_slice(&mut self, key: Key, slice: Arc<EndpointSlice>) -> bool {
        if self.slices.get(&key) == Some(&slice) {
            return false;
        }
        // The old one goes first: its label or its age may be another one, and then it is found elsewhere.
        if let Some(old) = self.slices.insert(key, Arc::clone(&slice)) {
            self.unlink(&old);
        }
        if let Some(owner) = slice.service() {
            self.changes.services_with_new_endpoints.insert(owner.clone());
            self.by_service.entry(owner).or_default().insert(age(&slice), slice);
        }
        true
    }

    /// Takes a slice out of its Service's list and notes the change.
    fn unlink(&mut self, old: &EndpointSlice) {
        let Some(owner) = old.service() else { return };
        if let Some(slices) = self.by_service.get_mut(&owner) {
            slices.remove(&age(old));
            if slices.is_empty() {
                self.by_service.remove(&owner);
            }
        }
        self.changes.services_with_new_endpoints.insert(owner);
    }
}

fn age(slice: &EndpointSlice) -> Age {
    (slice.meta.created, Arc::clone(&slice.meta.name))
}

/// True if `value` differs from what was under `key`.
fn put<K: Ord, T: PartialEq>(map: &mut BTreeMap<K, Arc<T>>, key: K, value: Arc<T>) -> bool {
    match map.get_mut(&key) {
        Some(old) if *old == value => false,
        Some(old) => {
            *old = value;
            true
        }
        None => {
            map.insert(key, value);
            true
        }
    }
}

#[cfg(test)]
mod tests;
