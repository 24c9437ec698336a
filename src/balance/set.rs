//! The endpoints of a service as one immutable value: who gets new sessions, who keeps old ones, which pin is whose.

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::digest;
use hashbrown::HashMap;

use super::{
    ServiceKey,
    endpoint::{Endpoint, Identity},
    keys::Keys,
    pin::{self, Segment, Tag},
};

/// An endpoint as `compile` reads it from the slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who it is.
    pub identity: Identity,
    /// Takes new sessions; otherwise it is serving but terminating, and keeps those it has.
    pub ready: bool,
}

/// Where a pin leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The endpoint's index in the set.
    pub index: usize,
    /// Whether the signing key made the pin; else it is issued again under that key.
    pub current: bool,
}

/// The endpoints of a service. Replaced whole when one of them changes.
#[derive(Debug, Default)]
pub struct EndpointSet {
    endpoints: Box<[Arc<Endpoint>]>,
    ready: Box<[usize]>,
    fallback: Box<[usize]>,
    by_pin: HashMap<Segment, Pinned, foldhash::fast::RandomState>,
    tags: Box<[Tag]>,
    legacy: HashMap<String, usize, foldhash::fast::RandomState>,
}

/// What a set is built with besides its endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Signing<'a> {
    /// The keys that make pins.
    pub keys: &'a Keys,
    /// The scheme that Traefik's unsigned cookies name the endpoint by, where those are accepted.
    pub legacy_scheme: Option<&'a str>,
}

impl EndpointSet {
    /// Builds a set; endpoints that were in `before` keep their id, their health and, under the same keys, their
    /// pins. A duplicate (by address or by identity) counts once, ready if any of its mentions is.
    pub fn build(
        service: &ServiceKey,
        mut candidates: Vec<Candidate>,
        signing: Signing<'_>,
        before: Option<&(Keys, Arc<EndpointSet>)>,
    ) -> Self {
        // One order for all replicas and restarts, whatever the order of slices.
        candidates.sort_by_key(|a| (a.address, !a.ready));
        candidates.dedup_by_key(|c| c.address);
        let mut seen = std::collections::HashMap::new();
        candidates.sort_by_key(|c| !c.ready);
        candidates.retain(|c| seen.insert(c.identity.clone(), ()).is_none());
        candidates.sort_by_key(|c| c.address);

        let old: HashMap<(SocketAddr, &Identity), &Arc<Endpoint>> =
            before.iter().flat_map(|(_, set)| set.endpoints.iter()).map(|e| ((e.address, &e.identity), e)).collect();
        let same_keys = before.is_some_and(|(keys, _)| keys == signing.keys);

        let mut set = Self { tags: pin::tags(signing.keys, service).into(), ..Self::default() };
        let mut endpoints = Vec::with_capacity(candidates.len());
        let (mut ready, mut fallback) = (Vec::new(), Vec::new());
        for (index, candidate) in candidates.into_iter().enumerate() {
            if candidate.ready {
                ready.push(index)
            } else {
                fallback.push(index)
            }
            let endpoint = match old.get(&(candidate.address, &candidate.identity)) {
                Some(old) if same_keys => Arc::clone(old),
                found => {
                    let pins = pin::segments(signing.keys, service, &candidate.identity);
                    Arc::new(match found {
                        Some(old) => old.with_pins(pins),
                        None => Endpoint::new(candidate.address, candidate.identity, pins),
                    })
                }
            };
            for (nth, segment) in endpoint.pins.iter().enumerate() {
                set.by_pin.insert(*segment, Pinned { index, current: nth == 0 });
            }
            if let Some(scheme) = signing.legacy_scheme {
                set.legacy.insert(traefik_value(scheme, endpoint.address), index);
            }
            endpoints.push(endpoint);
        }
        set.endpoints = endpoints.into();
        set.ready = ready.into();
        set.fallback = fallback.into();
        set
    }

    /// All endpoints, in order of address.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }

    /// The endpoint at an index.
    pub fn get(&self, index: usize) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(index)
    }

    /// Whether an endpoint takes new sessions as one of the ready ones.
    pub fn is_ready(&self, index: usize) -> bool {
        self.ready.binary_search(&index).is_ok()
    }

    /// Who may take a new session: the ready ones; if there are none, those that still serve.
    pub(super) fn takers(&self) -> &[usize] {
        if self.ready.is_empty() { &self.fallback } else { &self.ready }
    }

    /// Where a pin of this service leads.
    pub fn pinned(&self, segment: &Segment) -> Option<Pinned> {
        self.by_pin.get(segment).copied()
    }

    /// Whether a segment speaks of this service (whoever made its pin).
    pub fn owns(&self, segment: &Segment) -> bool {
        self.tags.contains(&pin::tag(segment))
    }

    /// The tags that stand for this service.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// Where one of Traefik's unsigned values leads, if those are accepted.
    pub fn legacy(&self, value: &[u8]) -> Option<usize> {
        if self.legacy.is_empty() {
            return None;
        }
        self.legacy.get(std::str::from_utf8(value).ok()?).copied()
    }

    /// The signed pin of an endpoint, as it goes into the cookie.
    pub fn segment(&self, index: usize) -> Option<&Segment> {
        self.endpoints.get(index)?.pins.first()
    }
}

/// Traefik's cookie value for a server: the first 16 hex digits of SHA-256 over its URL.
fn traefik_value(scheme: &str, address: SocketAddr) -> String {
    let hash = digest::digest(&digest::SHA256, format!("{scheme}://{address}").as_bytes());
    hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
