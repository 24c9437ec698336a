//! `inFlightReq`: limits how many requests of a source run at once.
//!
//! A request counts from here until the last byte of its answer, or the end of its tunnel, or until its client goes
//! away: what it is counted by is a [`Permit`], given back when it is dropped.

use std::sync::Arc;

use http::StatusCode;

use super::{
    Flow, Permit, Request, plain,
    source::{Key, Source, Table, fit},
};
use crate::body::Body;

/// Traefik's `inFlightReq`, ready to run.
#[derive(Debug)]
pub struct InFlight {
    settings: Settings,
    /// How many requests of each source run now; a source with none is not there.
    running: Arc<Table<u64>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    most: u64,
    source: Source,
}

impl InFlight {
    /// At most `most` requests of a source at once. 0 refuses all, as in Traefik.
    pub fn new(most: u64, source: Source) -> Self {
        Self { settings: Settings { most, source }, running: Arc::default() }
    }

    /// The same limit, with no request running.
    pub fn fresh(&self) -> Self {
        Self { settings: self.settings.clone(), running: Arc::default() }
    }

    /// Whether the other has the same settings.
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// Counts the request, or answers 429 when its source has as many running as it may.
    pub fn request(&self, request: &mut Request) -> Flow {
        let key = self.settings.source.key(&request.head);
        if !self.enter(key) {
            let mut answer = plain(StatusCode::TOO_MANY_REQUESTS);
            // oxy's words, which Traefik answers with.
            *answer.body_mut() = Body::from(format!("max connections reached: {}", self.settings.most));
            return Flow::Respond(answer);
        }
        request.permits.push(Box::new(Running { of: Arc::clone(&self.running), key }));
        Flow::Continue
    }

    fn enter(&self, key: Key) -> bool {
        if self.settings.most == 0 {
            return false;
        }
        let mut shard = self.running.of(key);
        let running = shard.entry(key).or_insert(0);
        if *running >= self.settings.most {
            return false;
        }
        *running += 1;
        true
    }
}

/// One request that runs.
#[derive(Debug)]
struct Running {
    of: Arc<Table<u64>>,
    key: Key,
}

impl Permit for Running {}

impl Drop for Running {
    fn drop(&mut self) {
        let mut shard = self.of.of(self.key);
        match shard.get_mut(&self.key) {
            Some(running) if *running > 1 => *running -= 1,
            // A source without requests takes no memory.
            _ => {
                shard.remove(&self.key);
                fit(&mut shard);
            }
        }
    }
}

#[cfg(test)]
mod tests;
