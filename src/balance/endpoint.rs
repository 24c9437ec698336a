//! One endpoint: where it is, who it is, how it has behaved.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use aws_lc_rs::digest;

use super::pin::Segment;
use crate::metrics::EndpointLabels;

/// Who an endpoint is, whatever its address: what a pin names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// `targetRef` and port: a pod that keeps its name keeps its sessions.
    Target {
        /// `targetRef.kind`
        kind: Arc<str>,
        /// `targetRef.namespace`
        namespace: Arc<str>,
        /// `targetRef.name`
        name: Arc<str>,
        /// The endpoint's port.
        port: u16,
    },
    /// Where there is no `targetRef`.
    Address(SocketAddr),
}

impl Identity {
    /// Its parts, each with its length before it, so that no two identities give the same bytes.
    pub(super) fn feed(&self, mut update: impl FnMut(&[u8])) {
        let mut part = |bytes: &[u8]| {
            update(&(bytes.len() as u64).to_be_bytes());
            update(bytes);
        };
        match self {
            Self::Target { kind, namespace, name, port } => {
                part(b"target");
                part(kind.as_bytes());
                part(namespace.as_bytes());
                part(name.as_bytes());
                part(&port.to_be_bytes());
            }
            Self::Address(address) => {
                part(b"address");
                part(address.to_string().as_bytes());
            }
        }
    }

    /// A fixed hash of it: the same on every replica and after every restart.
    pub(super) fn hash64(&self) -> u64 {
        let mut context = digest::Context::new(&digest::SHA256);
        self.feed(|bytes| context.update(bytes));
        let hash = context.finish();
        hash.as_ref().iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }
}

/// What is remembered of an endpoint across changes of its Service.
#[derive(Debug)]
pub struct Live {
    /// Unique in this process: the key of its connection pools.
    pub id: u64,
    /// Its metric labels.
    pub labels: Arc<EndpointLabels>,
    aside_until: AtomicU64,
    failures: AtomicU32,
    retired: AtomicBool,
}

/// Set aside for this long after the first failed connect.
const ASIDE_FIRST_MS: u64 = 500;
/// The longest it is set aside.
const ASIDE_LONGEST_MS: u64 = 5_000;

impl Live {
    fn new(pod: Arc<str>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            labels: EndpointLabels::new(pod),
            aside_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// A connect was refused or timed out: no new requests for 0.5 s, doubling to 5 s. What fails while it is aside
    /// already was under way before, and is of the same episode.
    pub fn failed(&self, now_ms: u64) {
        if self.is_aside(now_ms) {
            return;
        }
        let before = self.failures.fetch_add(1, Ordering::Relaxed).min(8);
        let aside = (ASIDE_FIRST_MS << before).min(ASIDE_LONGEST_MS);
        self.aside_until.store(now_ms.saturating_add(aside), Ordering::Relaxed);
    }

    /// A connect succeeded.
    pub fn succeeded(&self) {
        // Looked at before it is written: a healthy endpoint's line stays shared between cores.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.aside_until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it is set aside at this time.
    pub fn is_aside(&self, now_ms: u64) -> bool {
        self.aside_until.load(Ordering::Relaxed) > now_ms
    }

    /// It has left its Service: idle connections go at once.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.labels.retire();
    }

    /// Whether it has left its Service.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }
}

/// One endpoint of a service.
#[derive(Debug)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Who it is.
    pub identity: Identity,
    /// The pod's name, or the address where there is none.
    pub pod: Arc<str>,
    /// What outlives this value.
    pub live: Arc<Live>,
    /// Its fixed hash, for affinity.
    pub(super) hash: u64,
    /// Its pins, one for each key, the signing key's first.
    pub(super) pins: Box<[Segment]>,
}

impl Endpoint {
    /// A new endpoint.
    pub(super) fn new(address: SocketAddr, identity: Identity, pins: Box<[Segment]>) -> Self {
        let pod: Arc<str> = match &identity {
            Identity::Target { name, .. } => Arc::clone(name),
            Identity::Address(address) => address.to_string().into(),
        };
        let live = Arc::new(Live::new(Arc::clone(&pod)));
        Self { address, hash: identity.hash64(), identity, pod, live, pins }
    }

    /// The same endpoint with other pins (the keys have changed).
    pub(super) fn with_pins(&self, pins: Box<[Segment]>) -> Self {
        Self {
            address: self.address,
            identity: self.identity.clone(),
            pod: Arc::clone(&self.pod),
            live: Arc::clone(&self.live),
            hash: self.hash,
            pins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_set_aside_for_longer_each_time() {
        let live = Live::new("a".into());
        let mut waits = Vec::new();
        let mut now = 1_000;
        for _ in 0..6 {
            live.failed(now);
            live.failed(now + 1);
            let wait = (1..).find(|ms| !live.is_aside(now + ms)).unwrap();
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        live.succeeded();
        assert!(!live.is_aside(1_000));
        live.failed(1_000);
        assert!(!live.is_aside(1_500));
    }
}
