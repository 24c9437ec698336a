//! Which Ingresses are ours.

use crate::{
    objects::{Ingress, store::Store},
    settings::Claims,
};

/// The annotation that named a class before `spec.ingressClassName` existed.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// What the IngressClass objects say, gathered once for each change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    any: bool,
    default_is_ours: bool,
}

impl Classes {
    /// Reads the IngressClass objects.
    pub fn new(store: &Store, claims: &Claims) -> Self {
        let ours = |controller: &str| claims.controllers.iter().any(|c| c == controller);
        Self {
            any: store.classes().next().is_some(),
            default_is_ours: store.classes().any(|c| c.is_default() && ours(&c.spec.controller)),
        }
    }
}

/// Why an Ingress is ours or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours.
    Ours,
    /// Another controller's, or nobody's that we would stand in for.
    NotOurs,
    /// It names a class that doesn't exist.
    ClassMissing,
}

/// Whether an Ingress is ours (DESIGN §2 "Claiming"). The field wins over the annotation, as in Traefik.
pub fn claim(ingress: &Ingress, store: &Store, classes: &Classes, claims: &Claims) -> Claim {
    if claims.any_when_no_class && !classes.any {
        return Claim::Ours;
    }
    let by_class = |name: &str| match store.class(name) {
        Some(class) if claims.controllers.iter().any(|c| **c == *class.spec.controller) => Claim::Ours,
        Some(_) => Claim::NotOurs,
        None => Claim::ClassMissing,
    };
    if let Some(name) = &ingress.spec.ingress_class_name {
        return by_class(name);
    }
    match ingress.meta.annotation(LEGACY_CLASS) {
        Some(name) if !name.is_empty() => by_class(name),
        _ if claims.unclassed || classes.default_is_ours => Claim::Ours,
        _ => Claim::NotOurs,
    }
}
