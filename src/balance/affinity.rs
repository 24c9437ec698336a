//! `sessionAffinity: ClientIP`: the first pick by rendezvous hash, so that replicas agree without talking; then
//! remembered until the client was idle for the timeout, so that scaling up moves nobody.

use std::{
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use hashbrown::HashMap;

/// At most so many clients are remembered for a service; past it, the idlest of a shard gives way.
const MOST_CLIENTS: usize = 65_536;
const SHARDS: usize = 64;

/// Who was sent where, for one service. Sharded: a request locks one of 64 parts for a few instructions.
#[derive(Debug)]
pub struct Clients {
    shards: Box<[Mutex<Shard>]>,
}

type Shard = HashMap<IpAddr, Remembered, foldhash::fast::RandomState>;

#[derive(Clone, Copy, Debug)]
struct Remembered {
    endpoint: u64,
    seen_ms: u64,
}

impl Default for Clients {
    fn default() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Clients {
    fn shard(&self, client: IpAddr) -> Option<&Mutex<Shard>> {
        let index = usize::try_from(mix(client_bits(client)) % SHARDS as u64).ok()?;
        self.shards.get(index)
    }

    /// The endpoint's fixed hash that a client was last sent to, if that was within the timeout.
    pub(super) fn recall(&self, client: IpAddr, now_ms: u64, timeout_ms: u64) -> Option<u64> {
        let mut shard = self.shard(client)?.lock().unwrap_or_else(PoisonError::into_inner);
        let found = shard.get_mut(&client)?;
        if now_ms.saturating_sub(found.seen_ms) >= timeout_ms {
            shard.remove(&client);
            return None;
        }
        found.seen_ms = now_ms;
        Some(found.endpoint)
    }

    /// Remembers where a client was sent.
    pub(super) fn remember(&self, client: IpAddr, endpoint: u64, now_ms: u64) {
        let Some(shard) = self.shard(client) else { return };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= MOST_CLIENTS / SHARDS
            && !shard.contains_key(&client)
            && let Some(idlest) = shard.iter().min_by_key(|(_, r)| r.seen_ms).map(|(ip, _)| *ip)
        {
            shard.remove(&idlest);
        }
        shard.insert(client, Remembered { endpoint, seen_ms: now_ms });
    }
}

/// How strongly a client leans to an endpoint: the highest wins. Fixed, so that all replicas and restarts agree.
pub(super) fn weight(client: IpAddr, endpoint: u64) -> u64 {
    mix(mix(client_bits(client)) ^ endpoint)
}

fn client_bits(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(v4) => u64::from(u32::from(v4)),
        IpAddr::V6(v6) => {
            let bits = u128::from(v6);
            mix((bits >> 64) as u64) ^ (bits as u64)
        }
    }
}

/// The finaliser of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_remembered_until_idle_for_the_timeout() {
        let clients = Clients::default();
        let ip = IpAddr::from([10, 0, 0, 1]);
        clients.remember(ip, 42, 1_000);
        assert_eq!(clients.recall(ip, 1_900, 1_000), Some(42));
        assert_eq!(clients.recall(ip, 2_800, 1_000), Some(42), "each look moves the end");
        assert_eq!(clients.recall(ip, 3_800, 1_000), None);
    }

    #[test]
    fn the_table_is_bounded() {
        let clients = Clients::default();
        for n in 0..200_000_u32 {
            clients.remember(IpAddr::from(n.to_be_bytes()), 1, u64::from(n));
        }
        let held: usize = clients.shards.iter().map(|s| s.lock().unwrap().len()).sum();
        assert!(held <= MOST_CLIENTS, "{held}");
    }

    #[test]
    fn weights_spread_and_move_few() {
        let endpoints: Vec<u64> = (0..10).map(|n| mix(n + 77)).collect();
        let best = |client: u32, of: &[u64]| {
            *of.iter().max_by_key(|e| weight(IpAddr::from(client.to_be_bytes()), **e)).unwrap()
        };
        let mut counts = std::collections::BTreeMap::new();
        let mut moved = 0;
        for client in 0..10_000 {
            *counts.entry(best(client, &endpoints)).or_insert(0) += 1;
            moved += u32::from(best(client, &endpoints[..9]) != best(client, &endpoints));
        }
        assert!(counts.values().all(|n| (800..1200).contains(n)), "{counts:?}");
        assert!((800..1200).contains(&moved), "only those of the tenth endpoint move: {moved}");
    }
}
