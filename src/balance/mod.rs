//! Which endpoint a request goes to.
//!
//! `compile` builds a [`Service`] for each Service port and an [`EndpointSet`] whenever its endpoints change; a
//! worker takes a cached view of the set and calls [`Service::pick`]. A pin comes first, then client affinity, then
//! the shared round-robin cursor. Kubernetes types, sockets and clocks are unknown here: time is an argument.

pub mod affinity;
pub mod endpoint;
pub mod keys;
pub mod pin;
pub mod round_robin;
pub mod set;
pub mod sticky;
pub mod transport;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

pub use endpoint::{Endpoint, Identity};
pub use keys::Keys;
pub use set::{Candidate, EndpointSet, Pinned, Signing};
pub use sticky::{Attributes, Read, Sticky};
pub use transport::Transport;

use crate::shared::Shared;

/// Namespace, name and port number of a Service port: the key of a [`Service`]. Never joined into one string.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `spec.ports[].port`
    pub port: u16,
}

impl std::fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}:{}", self.namespace, self.name, self.port)
    }
}

/// How a service's endpoints are spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// HTTP/1.1 in the clear.
    #[default]
    Http,
    /// TLS, HTTP/2 or HTTP/1.1 by ALPN.
    Https,
    /// HTTP/2 in the clear, by prior knowledge.
    H2c,
}

impl Scheme {
    /// As annotations and logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }
}

/// How new sessions without a cookie are shared out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// One after the other.
    #[default]
    RoundRobin,
    /// `sessionAffinity: ClientIP`; a client is forgotten after this many idle milliseconds.
    ClientIp(u64),
}

/// What of a service can be decided when it is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How its endpoints are spoken to.
    pub scheme: Scheme,
    /// How sessions are shared out.
    pub policy: Policy,
    /// Whether the client's Host is sent; else the endpoint's address.
    pub pass_host: bool,
    /// The name that a TLS endpoint's certificate must bear (besides its address), and the SNI.
    pub server_name: Arc<str>,
    /// How its connections are made, where that is not as the process's flags say.
    pub transport: Option<Arc<Transport>>,
}

/// A Service port, as a set of endpoints to balance over.
#[derive(Debug)]
pub struct Service {
    /// Unique in this process; the key of a worker's view of its endpoints.
    pub id: u64,
    /// Which Service port it is.
    pub key: ServiceKey,
    /// What was decided when it was compiled.
    pub options: Options,
    endpoints: Arc<Shared<EndpointSet>>,
    live: Arc<Live>,
}

/// What outlives a change of a service's options.
#[derive(Debug, Default)]
struct Live {
    cursor: round_robin::Cursor,
    /// Made when the first client is remembered: most services never need it.
    clients: OnceLock<affinity::Clients>,
}

/// What is known when an endpoint is picked.
#[derive(Clone, Copy, Debug)]
pub struct PickInput<'a> {
    /// What the sticky cookie says.
    pub read: Read,
    /// The client's address.
    pub client: IpAddr,
    /// Milliseconds of the process's clock.
    pub now_ms: u64,
    /// Indexes that this request has tried in vain.
    pub tried: &'a [usize],
}

/// The endpoint to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Its index in the set.
    pub index: usize,
    /// Whether a sticky route has to issue a cookie: the pin is new, moved, or signed by an old key.
    pub issue: bool,
}

impl Service {
    /// A service without endpoints yet.
    pub fn new(key: ServiceKey, options: Options) -> Self {
        Self::with(key, options, Arc::default(), Arc::default())
    }

    /// The same service with other options: its endpoints, cursor and remembered clients stay.
    pub fn with_options(&self, options: Options) -> Self {
        Self::with(self.key.clone(), options, Arc::clone(&self.endpoints), Arc::clone(&self.live))
    }

    fn with(key: ServiceKey, options: Options, endpoints: Arc<Shared<EndpointSet>>, live: Arc<Live>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), key, options, endpoints, live }
    }

    /// Its endpoints, as a value that is replaced when they change.
    pub fn endpoints(&self) -> &Arc<Shared<EndpointSet>> {
        &self.endpoints
    }

    /// The endpoint for a request, or nothing when there is none left to try.
    pub fn pick(&self, set: &EndpointSet, input: PickInput<'_>) -> Option<Pick> {
        let usable = |index: usize| {
            set.get(index).is_some_and(|e| !e.live.is_aside(input.now_ms)) && !input.tried.contains(&index)
        };
        if let Read::Pin(pinned) = input.read
            && usable(pinned.index)
        {
            return Some(Pick { index: pinned.index, issue: !pinned.current });
        }
        let takers = set.takers();
        let index = match self.options.policy {
            Policy::RoundRobin => self.next(takers, &usable, input.tried),
            Policy::ClientIp(timeout_ms) => self.by_client(set, takers, &usable, input, timeout_ms),
        };
        // With everything in the set aside, nothing is: the pinned endpoint first.
        if let (Read::Pin(pinned), Some(index)) = (input.read, index)
            && !usable(index)
            && set.get(pinned.index).is_some()
            && !input.tried.contains(&pinned.index)
        {
            return Some(Pick { index: pinned.index, issue: !pinned.current });
        }
        index.map(|index| Pick { index, issue: true })
    }

    /// The next in turn that is usable; if none is, the next in turn that was not tried.
    fn next(&self, takers: &[usize], usable: &impl Fn(usize) -> bool, tried: &[usize]) -> Option<usize> {
        if takers.is_empty() || takers.iter().all(|index| tried.contains(index)) {
            return None;
        }
        // Among those that can be used, so that the turns of one that is aside fall to all the others alike.
        let some = takers.iter().filter(|index| usable(**index)).count();
        if some > 0 {
            let turn = self.live.cursor.next(some);
            return takers.iter().copied().filter(|index| usable(*index)).nth(turn);
        }
        let left = takers.iter().copied().filter(|index| !tried.contains(index));
        let turn = self.live.cursor.next(left.clone().count());
        left.clone().nth(turn)
    }

    fn by_client(
        &self,
        set: &EndpointSet,
        takers: &[usize],
        usable: &impl Fn(usize) -> bool,
        input: PickInput<'_>,
        timeout_ms: u64,
    ) -> Option<usize> {
        let hash = |index: usize| set.get(index).map_or(0, |e| e.hash);
        if let Some(before) =
            self.live.clients.get_or_init(Default::default).recall(input.client, input.now_ms, timeout_ms)
        {
            let found = set.endpoints().iter().position(|e| e.hash == before);
            if let Some(index) = found.filter(|index| usable(*index)) {
                return Some(index);
            }
        }
        let best = |usable: &dyn Fn(usize) -> bool| {
            takers
                .iter()
                .copied()
                .filter(|index| usable(*index))
                .max_by_key(|index| affinity::weight(input.client, hash(*index)))
        };
        let index = best(usable).or_else(|| best(&|index| !input.tried.contains(&index)))?;
        self.live.clients.get_or_init(Default::default).remember(input.client, hash(index), input.now_ms);
        Some(index)
    }
}

#[cfg(test)]
mod tests;
