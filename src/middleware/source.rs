//! Whom a request comes from: Traefik's `ipStrategy` and `sourceCriterion`.
//!
//! Takes a request's head, gives the client's address, or a [`Key`] by which requests of one source are counted
//! together. A key is a keyed hash of fixed size: what a client sends can make neither one table's entries large nor
//! two sources meet.

mod table;

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::LazyLock,
};

use http::{HeaderName, HeaderValue};

pub(super) use table::{SHARDS, Shard, Table, fit};

use super::{Head, InvalidField};
use crate::net::{CidrSet, from_forwarded, from_the_right, ipv6_network};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Which address is the client's (`ipStrategy`). X-Forwarded-For is read as it came from a trusted peer; that of
/// others is gone by now, and the peer itself is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The peer, or whom a trusted peer speaks for.
    Client {
        /// The length of the prefix of an IPv6 address that counts (`ipv6Subnet`).
        ipv6_prefix: Option<u8>,
    },
    /// An entry of X-Forwarded-For.
    Depth {
        /// How many entries are to the right of it.
        skip: usize,
        /// As in [`Strategy::Client`].
        ipv6_prefix: Option<u8>,
    },
    /// The first entry of X-Forwarded-For, from the right, that is not one of these (`excludedIPs`).
    NotOf(CidrSet),
}

impl Strategy {
    /// The first address from the right of X-Forwarded-For that is not one of these.
    ///
    /// # Errors
    /// [`InvalidField`] for an entry that is neither an address nor a network.
    pub fn not_of(excluded: &[String]) -> Result<Self, InvalidField> {
        addresses(excluded, "excludedIPs").map(Self::NotOf)
    }

    /// The client's address; for an IPv6 client of which a prefix counts, the first one of that network. `None` when
    /// X-Forwarded-For has no such entry, or it is no address.
    pub fn client(&self, head: &Head) -> Option<IpAddr> {
        let lines = head.headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
        let (address, prefix) = match self {
            Self::Client { ipv6_prefix } => (head.client, ipv6_prefix),
            Self::Depth { skip, ipv6_prefix } => (from_forwarded(from_the_right(lines).nth(*skip)?)?, ipv6_prefix),
            Self::NotOf(excluded) => {
                let mut entries = from_the_right(lines).filter(|entry| !entry.is_empty()).map(from_forwarded);
                // What is no address is not excluded: it hides all that is left of it.
                return entries.find(|entry| entry.is_none_or(|address| !excluded.contains(address))).flatten();
            }
        };
        Some(prefix.map_or(address, |prefix| ipv6_network(address, prefix)))
    }
}

impl Default for Strategy {
    fn default() -> Self {
        Self::Client { ipv6_prefix: None }
    }
}

/// The addresses and networks of the list in a field.
pub(super) fn addresses(entries: &[String], field: &str) -> Result<CidrSet, InvalidField> {
    for (index, entry) in entries.iter().enumerate() {
        CidrSet::parse([entry.as_str()])
            .map_err(|why| InvalidField::new(format!("{field}[{index}]"), why, "Correct it, or remove it"))?;
    }
    CidrSet::parse(entries.iter().map(String::as_str)).map_err(|why| InvalidField::new(field, why, ""))
}

/// What makes requests come from the same source (`sourceCriterion`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The client's address (`ipStrategy`).
    Client(Strategy),
    /// The host, in lower case and without port (`requestHost`).
    Host,
    /// The first value of a header (`requestHeaderName`).
    Header(HeaderName),
}

/// A source, as it is counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(u128);

impl Source {
    /// The source of a request. Those that have none (no such header, X-Forwarded-For too short) are one source, as
    /// in Traefik.
    pub fn key(&self, head: &Head) -> Key {
        match self {
            Self::Client(strategy) => match strategy.client(head) {
                Some(IpAddr::V4(address)) => Key::of(&address.octets()),
                Some(IpAddr::V6(address)) => Key::of(&address.octets()),
                None => Key::of(b""),
            },
            Self::Host => Key::of(head.host.as_bytes()),
            Self::Header(name) => match head.headers.get(name) {
                Some(value) => Key::of(value.as_bytes()),
                // Traefik has set these before its middlewares run.
                None if *name == X_REAL_IP => Key::of(head.client.to_string().as_bytes()),
                None if *name == X_FORWARDED_HOST => Key::of(head.host.as_bytes()),
                None => Key::of(b""),
            },
        }
    }
}

impl Key {
    pub(super) fn of(source: &[u8]) -> Self {
        // Two SipHashes with keys of this process: nobody outside can look for sources that meet.
        static HASHES: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);
        let [high, low] = &*HASHES;
        Self(u128::from(high.hash_one(source)) << 64 | u128::from(low.hash_one(source)))
    }
}

#[cfg(test)]
mod tests;
