//! File events, gathered until they come to rest.
//!
//! A writer makes several events of one change, and a file that is being written is half of what it will be: so a
//! look waits until nothing has happened for a moment and every file that was written to is closed, within bounds.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::mpsc,
    time::{Duration, Instant},
};

use notify::{
    Event, EventKind, RecommendedWatcher,
    event::{AccessKind, AccessMode, ModifyKind},
};

use super::scan::{Concern, Scanner};

/// Quiet for so long, and a change is taken as complete.
const QUIET: Duration = Duration::from_millis(10);
/// However much goes on, nothing waits longer than this.
const LONGEST: Duration = Duration::from_millis(100);
/// A file that is held open for writing is not waited for beyond this.
const WRITING: Duration = Duration::from_millis(500);

/// What the watching thread is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Something happened to a file; an error means that something may have.
    Event(notify::Result<Event>),
    /// The handle was dropped.
    Stop,
}

/// A watcher that sends what it sees to the watching thread.
pub(super) fn watcher(inbox: mpsc::Sender<Message>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event| {
        // Reading makes events too, and reading them would make more.
        if !matches!(&event, Ok(Event { kind: EventKind::Access(kind), .. }) if *kind != CLOSED) {
            let _ = inbox.send(Message::Event(event));
        }
    })
}

const CLOSED: AccessKind = AccessKind::Close(AccessMode::Write);

/// What has to be looked at, and when.
#[derive(Debug, Default)]
pub(super) struct Pending {
    everything: bool,
    files: BTreeSet<PathBuf>,
    /// Files that were written to and are not closed yet.
    writing: BTreeSet<PathBuf>,
    /// The first and the last event; `None` where no event is waited out.
    times: Option<(Instant, Instant)>,
}

impl Pending {
    /// A look at everything, at once.
    pub(super) fn everything() -> Self {
        Self { everything: true, ..Self::default() }
    }

    /// When to look, `now` at the earliest; `None` while there is nothing to look at.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.everything && self.files.is_empty() {
            return None;
        }
        let Some((first, last)) = self.times else { return Some(now) };
        Some(if self.writing.is_empty() { (last + QUIET).min(first + LONGEST) } else { first + WRITING })
    }

    /// The files to look at; `None` for everything.
    pub(super) fn files(&self) -> Option<&BTreeSet<PathBuf>> {
        (!self.everything).then_some(&self.files)
    }

    /// Takes in an event.
    pub(super) fn add(&mut self, event: notify::Result<Event>, scanner: &Scanner) {
        let now = Instant::now();
        let mut seen = || self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        let event = match event {
            Ok(event) if !event.need_rescan() && !event.paths.is_empty() => event,
            // Events were lost, or are of an unknown kind.
            _ => {
                self.everything = true;
                return seen();
            }
        };
        for path in event.paths {
            match scanner.concern(&path) {
                Concern::Nothing => continue,
                Concern::File => {
                    self.files.insert(path.clone());
                }
                Concern::Everything => self.everything = true,
            }
            seen();
            if let EventKind::Modify(ModifyKind::Data(_)) = event.kind {
                self.writing.insert(path);
            } else if !matches!(event.kind, EventKind::Create(_) | EventKind::Modify(ModifyKind::Metadata(_))) {
                self.writing.remove(&path);
            }
        }
    }
}
