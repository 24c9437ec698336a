//! Requests and durations as one worker counts them: nothing locked, nothing shared with another worker but the
//! scraper's look.
//!
//! A [`Shard`] maps (route, endpoint) to a [`Series`]. Only its worker writes a series, so a plain load and store will
//! do where several writers would need a locked instruction. The lock on the list of series is taken when one appears
//! or goes, and by a scrape for as long as it takes to copy the list.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use hashbrown::HashMap;

use super::{EndpointLabels, RouteLabels};

/// Upper bounds of the duration buckets, in microseconds. What is above the last is in `+Inf`.
const BOUNDS_MICROS: [u64; 10] =
    [1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 300_000, 1_200_000, 5_000_000, 30_000_000];

/// The bounds as the label `le` shows them, in seconds.
pub(super) const BOUNDS: [&str; 10] = ["0.001", "0.005", "0.01", "0.025", "0.05", "0.1", "0.3", "1.2", "5", "30"];

/// The label `code` of each slot: the common codes by themselves, the others by class.
pub(super) const CODES: [&str; 29] = [
    "200", "201", "204", "206", "301", "302", "303", "304", "307", "308", "400", "401", "403", "404", "405", "408",
    "413", "421", "429", "499", "500", "502", "503", "504", "1xx", "2xx", "3xx", "4xx", "5xx",
];

/// How long the series of a retired route or endpoint stay, in seconds: longer than any scrape interval, so that the
/// last requests are seen.
const RETENTION_SECS: u64 = 300;

/// Place of a status in [`CODES`].
fn slot(status: u16) -> usize {
    match status {
        200 => 0,
        201 => 1,
        204 => 2,
        206 => 3,
        301 => 4,
        302 => 5,
        303 => 6,
        304 => 7,
        307 => 8,
        308 => 9,
        400 => 10,
        401 => 11,
        403 => 12,
        404 => 13,
        405 => 14,
        408 => 15,
        413 => 16,
        421 => 17,
        429 => 18,
        499 => 19,
        500 => 20,
        502 => 21,
        503 => 22,
        504 => 23,
        other => match other / 100 {
            0 | 1 => 24,
            2 => 25,
            3 => 26,
            4 => 27,
            _ => 28,
        },
    }
}

/// Adds where there is one writer only.
fn add(cell: Option<&AtomicU64>, n: u64) {
    if let Some(cell) = cell {
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
}

/// The counters of one route and endpoint on one worker.
#[derive(Debug, Default)]
pub struct Series {
    route: Option<Arc<RouteLabels>>,
    endpoint: Option<Arc<EndpointLabels>>,
    codes: [AtomicU64; CODES.len()],
    /// One for each bound and one for what is above; not cumulative.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Series {
    /// Counts one answered request. To be called only on the worker that made the series: counts are lost otherwise.
    pub fn record(&self, status: u16, micros: u64) {
        add(self.codes.get(slot(status)), 1);
        add(self.buckets.get(BOUNDS_MICROS.partition_point(|bound| *bound < micros)), 1);
        add(Some(&self.sum_micros), micros);
    }

    /// Namespace, Ingress, Service and pod; empty where they were dropped.
    pub(super) fn labels(&self) -> [&str; 4] {
        let pod = self.endpoint.as_ref().map_or("", |endpoint| &*endpoint.pod);
        self.route.as_ref().map_or([""; 4], |route| [&*route.namespace, &*route.ingress, &*route.service, pod])
    }

    fn retired(&self) -> bool {
        self.route.as_ref().is_some_and(|route| route.retired.load(Ordering::Relaxed))
            || self.endpoint.as_ref().is_some_and(|endpoint| endpoint.retired.load(Ordering::Relaxed))
    }
}

/// The sum of the series that have the same labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) codes: [u64; CODES.len()],
    pub(super) buckets: [u64; BOUNDS.len() + 1],
    pub(super) sum_micros: u64,
}

impl Totals {
    pub(super) fn add(&mut self, series: &Series) {
        for (total, cell) in
            self.codes.iter_mut().zip(&series.codes).chain(self.buckets.iter_mut().zip(&series.buckets))
        {
            *total = total.wrapping_add(cell.load(Ordering::Relaxed));
        }
        self.sum_micros = self.sum_micros.wrapping_add(series.sum_micros.load(Ordering::Relaxed));
    }
}

/// Ids of route and endpoint; 0 for none.
type Key = (u64, u64);

/// Everything that has no labels left.
const OVERFLOW: Key = (0, 0);

/// The pairs that have a series on any worker: what the limit on cardinality counts. Looked at only when a worker
/// meets a pair that is new to it.
#[derive(Debug)]
pub(super) struct Registry {
    max: usize,
    /// How many shards hold a pair.
    holders: Mutex<BTreeMap<Key, usize>>,
    /// Length of `holders`, to see without the lock that it is full.
    len: AtomicUsize,
}

impl Registry {
    pub(super) fn new(max: usize) -> Self {
        Self { max, holders: Mutex::default(), len: AtomicUsize::new(0) }
    }

    /// Pairs with an endpoint may fill the registry to the limit, routes by themselves to twice the limit.
    fn limit(&self, key: Key) -> usize {
        if key.1 == 0 { self.max.saturating_mul(2) } else { self.max }
    }

    fn full(&self, key: Key) -> bool {
        self.len.load(Ordering::Relaxed) >= self.limit(key)
    }

    /// Notes one more holder of the pair; false if there is no room for it.
    fn hold(&self, key: Key) -> bool {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if holders.len() >= self.limit(key) && !holders.contains_key(&key) {
            return false;
        }
        let count = holders.entry(key).or_default();
        *count = count.saturating_add(1);
        self.len.store(holders.len(), Ordering::Relaxed);
        true
    }

    fn release(&self, key: Key) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = holders.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                holders.remove(&key);
            }
        }
        self.len.store(holders.len(), Ordering::Relaxed);
    }
}

/// What a scrape sees of a shard.
#[derive(Debug, Default)]
pub(super) struct ShardSeries {
    series: Mutex<Vec<Arc<Series>>>,
    /// Requests counted without some of their labels.
    reduced: AtomicU64,
}

impl ShardSeries {
    /// The series now, copied so that the lock is held shortly.
    pub(super) fn copy(&self) -> Vec<Arc<Series>> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn reduced(&self) -> u64 {
        self.reduced.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    /// When a sweep first found it retired.
    retired_at: Option<u64>,
}

/// The series of one worker. Not `Sync`: it stays on its thread.
#[derive(Debug)]
pub struct Shard {
    entries: RefCell<HashMap<Key, Entry, foldhash::fast::FixedState>>,
    seen: Arc<ShardSeries>,
    registry: Arc<Registry>,
}

impl Shard {
    pub(super) fn new(registry: Arc<Registry>) -> (Self, Arc<ShardSeries>) {
        let seen = Arc::new(ShardSeries::default());
        (Self { entries: RefCell::default(), seen: Arc::clone(&seen), registry }, seen)
    }

    /// The series of a route and the endpoint that answered (none where no endpoint did), made when first asked for.
    /// It is where the request counts once the limit on series is reached, too. Must be recorded on this thread.
    pub fn series(&self, route: &Arc<RouteLabels>, endpoint: Option<&Arc<EndpointLabels>>) -> Arc<Series> {
        let key = (route.id, endpoint.map_or(0, |endpoint| endpoint.id));
        match self.known(key) {
            Some(series) => series,
            None => self.series_of_new(key, route, endpoint),
        }
    }

    fn known(&self, key: Key) -> Option<Arc<Series>> {
        self.entries.borrow().get(&key).map(|entry| Arc::clone(&entry.series))
    }

    fn series_of_new(&self, key: Key, route: &Arc<RouteLabels>, endpoint: Option<&Arc<EndpointLabels>>) -> Arc<Series> {
        if let Some(series) = self.admit(key, Some(route), endpoint) {
            return series;
        }
        add(Some(&self.seen.reduced), 1);
        let route_key = (route.id, 0);
        self.known(route_key)
            .or_else(|| self.admit(route_key, Some(route), None))
            .or_else(|| self.known(OVERFLOW))
            .unwrap_or_else(|| self.insert(OVERFLOW, None, None))
    }

    /// Makes a series if there is room for one more.
    fn admit(
        &self,
        key: Key,
        route: Option<&Arc<RouteLabels>>,
        endpoint: Option<&Arc<EndpointLabels>>,
    ) -> Option<Arc<Series>> {
        if self.registry.full(key) || !self.registry.hold(key) {
            return None;
        }
        Some(self.insert(key, route, endpoint))
    }

    fn insert(
        &self,
        key: Key,
        route: Option<&Arc<RouteLabels>>,
        endpoint: Option<&Arc<EndpointLabels>>,
    ) -> Arc<Series> {
        let series = Arc::new(Series { route: route.cloned(), endpoint: endpoint.cloned(), ..Series::default() });
        self.entries.borrow_mut().insert(key, Entry { series: Arc::clone(&series), retired_at: None });
        self.seen.series.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&series));
        series
    }

    /// Drops the series whose route or endpoint has been retired for five minutes. The worker calls it now and then
    /// (once in a few seconds) with the seconds of any clock that does not run backwards.
    pub fn sweep(&self, now_secs: u64) {
        let mut entries = self.entries.borrow_mut();
        let mut dropped = false;
        entries.retain(|key, entry| {
            if !entry.series.retired() {
                return true;
            }
            let since = *entry.retired_at.get_or_insert(now_secs);
            let keep = now_secs.saturating_sub(since) < RETENTION_SECS;
            if !keep {
                dropped = true;
                self.registry.release(*key);
            }
            keep
        });
        if dropped {
            let left = entries.values().map(|entry| Arc::clone(&entry.series)).collect();
            *self.seen.series.lock().unwrap_or_else(PoisonError::into_inner) = left;
        }
    }
}
