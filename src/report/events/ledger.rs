//! Which diagnostics are due to become Events, decided without I/O.
//!
//! Takes everything that is wrong and the time; gives what is to be said next. A diagnostic waits until it has stood
//! for a while, is said again as long as it stands, and is remembered for a while when it does not, so that one that
//! comes and goes is not said each time.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::super::{Told, refusals::Refusals};

/// How long a diagnostic must have stood: objects that are applied together come one after the other.
const STOOD: Duration = Duration::from_secs(2);
/// Between two Events of the same words.
const REPEAT: Duration = Duration::from_secs(30 * 60);
/// Before one that was refused for what it says, or for what it is about, is tried again.
const REFUSED: Duration = Duration::from_secs(5 * 60);
/// Those that wait for their turn; what is beyond is dropped.
const WAITING: usize = 1_000;

/// What was said of a diagnostic before, so that a repeat adds to the same Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Series {
    /// `metadata.name` of the Event.
    pub(super) name: String,
    /// How often it was said.
    pub(super) count: i32,
}

/// All diagnostics of one time of leading.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: BTreeMap<Told, Entry>,
    /// In the order in which they are said.
    queue: VecDeque<Told>,
    refusals: Refusals,
}

#[derive(Debug)]
struct Entry {
    stands: bool,
    state: State,
    series: Option<Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be said then, if it still stands.
    Due(Instant),
    /// In the queue.
    Queued,
}

impl Ledger {
    /// Everything that is wrong now; what is not among it no longer stands.
    pub(super) fn told<'a>(&mut self, all: impl IntoIterator<Item = &'a Told>, now: Instant) {
        let all: BTreeSet<&Told> = all.into_iter().collect();
        for (told, entry) in &mut self.entries {
            let stands = all.contains(told);
            if stands
                && !entry.stands
                && let State::Due(due) = entry.state
            {
                entry.state = State::Due(due.max(now + STOOD));
            }
            entry.stands = stands;
        }
        for told in all {
            if !self.entries.contains_key(told) {
                let entry = Entry { stands: true, state: State::Due(now + STOOD), series: None };
                self.entries.insert(told.clone(), entry);
            }
        }
        self.forget(now);
    }

    /// Lets what is due join the queue. Returns how many found no room.
    pub(super) fn admit(&mut self, now: Instant) -> u64 {
        let mut dropped = 0;
        for (told, entry) in &mut self.entries {
            let State::Due(due) = entry.state else { continue };
            if !entry.stands || due > now {
                continue;
            }
            if self.queue.len() < WAITING {
                self.queue.push_back(told.clone());
                entry.state = State::Queued;
            } else {
                entry.state = State::Due(now + REPEAT);
                dropped += 1;
            }
        }
        dropped
    }

    /// What is to be said now, and the Event that it adds to.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Told, Option<Series>)> {
        while let Some(told) = self.queue.front() {
            let entry = self.entries.get_mut(told).filter(|entry| entry.stands);
            match (entry, self.refusals.until(&told.diagnostic.subject.namespace, now)) {
                (Some(entry), None) => return Some((told.clone(), entry.series.clone())),
                (Some(entry), Some(until)) => entry.state = State::Due(until),
                // Put right before its turn came.
                (None, _) => _ = self.entries.remove(told),
            }
            self.queue.pop_front();
        }
        None
    }

    /// It is said, with this Event.
    pub(super) fn said(&mut self, told: &Told, series: Series, now: Instant) {
        self.refusals.allow(&told.diagnostic.subject.namespace);
        self.done(told, Some(series), now + REPEAT);
    }

    /// Nothing may be said in its namespace for now. True if nothing was forbidden anywhere before.
    pub(super) fn forbidden(&mut self, told: &Told, now: Instant) -> bool {
        let namespace = &told.diagnostic.subject.namespace;
        let news = self.refusals.refuse(namespace, now);
        self.done(told, None, self.refusals.until(namespace, now).unwrap_or(now));
        news
    }

    /// It can't be said now.
    pub(super) fn refused(&mut self, told: &Told, now: Instant) {
        self.done(told, None, now + REFUSED);
    }

    /// When [`Ledger::admit`] has something to do, if nothing changes.
    pub(super) fn wake(&self) -> Option<Instant> {
        let standing = self.entries.values().filter(|entry| entry.stands);
        standing.filter_map(|entry| if let State::Due(due) = entry.state { Some(due) } else { None }).min()
    }

    fn done(&mut self, told: &Told, series: Option<Series>, due: Instant) {
        if self.queue.front() == Some(told) {
            self.queue.pop_front();
        }
        if let Some(entry) = self.entries.get_mut(told) {
            entry.state = State::Due(due);
            entry.series = series.or(entry.series.take());
        }
    }

    /// Those that are gone are kept while they are queued, or were said so lately that they must not be said again.
    fn forget(&mut self, now: Instant) {
        self.entries.retain(|_, entry| {
            let recent = match entry.state {
                State::Queued => true,
                State::Due(due) => entry.series.is_some() && due > now,
            };
            entry.stands || recent
        });
    }
}

#[cfg(test)]
mod tests;
