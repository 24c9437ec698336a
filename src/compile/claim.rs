//! Which Ingresses are ours.

use crate::{
    objects::{Ingress, store::Store},
    settings::Claims,
};

/// The annotation that named a class before `spec.ingressClassName` existed.
const LEGACY_CLASS: &str = "kubernetes.io/ingress.class";

/// Values of the annotation that need no IngressClass object where unclassed Ingresses are ours: Traefik takes its own
/// name so.
const OUR_NAMES: [&str; 2] = ["traefik", "headgate"];

/// Values of the annotation by which other controllers are known. They never needed an IngressClass object, so that its
/// absence is no fault.
const OTHER_NAMES: [&str; 20] = [
    "alb",
    "ambassador",
    "apisix",
    "avi",
    "azure/application-gateway",
    "caddy",
    "cce",
    "cilium",
    "citrix",
    "contour",
    "emissary",
    "gce",
    "gce-internal",
    "haproxy",
    "istio",
    "kong",
    "nginx",
    "skipper",
    "tyk",
    "voyager",
];

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

/// The class that an Ingress names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The name of an IngressClass.
    pub class: &'a str,
    /// Where it is named: `spec.ingressClassName`, or the annotation as a field.
    pub field: &'static str,
    legacy: bool,
}

/// The class that an Ingress names, if it names one. The field wins over the annotation, as in Traefik; an empty one is
/// none.
pub fn class(ingress: &Ingress) -> Option<Named<'_>> {
    if let Some(class) = ingress.spec.ingress_class_name.as_deref().filter(|c| !c.is_empty()) {
        return Some(Named { class, field: "spec.ingressClassName", legacy: false });
    }
    let class = ingress.meta.annotation(LEGACY_CLASS).filter(|c| !c.is_empty())?;
    Some(Named { class, field: "metadata.annotations[kubernetes.io/ingress.class]", legacy: true })
}

/// Whether an Ingress is ours (DESIGN §2 "Claiming").
pub fn claim(ingress: &Ingress, store: &Store, classes: &Classes, claims: &Claims) -> Claim {
    if claims.any_when_no_class && !classes.any {
        return Claim::Ours;
    }
    let Some(Named { class, legacy, .. }) = class(ingress) else {
        return if claims.unclassed || classes.default_is_ours { Claim::Ours } else { Claim::NotOurs };
    };
    match store.class(class) {
        Some(found) if claims.controllers.iter().any(|c| **c == *found.spec.controller) => Claim::Ours,
        Some(_) => Claim::NotOurs,
        None if claims.classes.iter().any(|c| c == class) => Claim::Ours,
        None if legacy && claims.unclassed && OUR_NAMES.contains(&class) => Claim::Ours,
        None if legacy && OTHER_NAMES.contains(&class) => Claim::NotOurs,
        None => Claim::ClassMissing,
    }
}
