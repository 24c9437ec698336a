//! Manifest files and directories as a source of objects: read whole at first, then watched.
//!
//! [`start`] runs a thread that waits for file events (`watch`), looks at the files they name, or at all of them
//! (`scan`), and folds what it reads into a [`folder::Folder`], which tells what changed. A poll every two seconds
//! catches what events miss: network file systems, and links to places that are not watched. A file that is no YAML
//! keeps its last good objects; nothing here knows what the objects mean.

mod folder;
mod scan;
mod watch;

use std::{
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use self::{
    folder::Folder,
    scan::Scanner,
    watch::{Message, Pending},
};
use super::Updates;
use crate::{diagnostic::Diagnostic, objects::Object};

/// How often everything is looked at again without any event.
const POLL: Duration = Duration::from_secs(2);

/// Why manifests cannot be read at all. Worded for the person who gave the paths.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A path leads nowhere.
    #[error("--manifests {}: there is no such file or directory", path.display())]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// A path leads to a pipe, a socket or a device, which cannot be watched.
    #[error("--manifests {}: this is neither a file nor a directory, so that it can't be watched", path.display())]
    Special {
        /// The path as given.
        path: PathBuf,
    },
    /// A path cannot be followed.
    #[error("--manifests {}: {error}", path.display())]
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The thread did not start.
    #[error("no thread for watching manifests: {0}")]
    Thread(std::io::Error),
}

/// A running watch. Dropping it ends the thread soon after; it is not waited for, because it may be waiting for the
/// reader of its updates.
#[derive(Debug)]
pub struct Handle {
    stop: mpsc::Sender<Message>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread may have ended by itself, when nobody reads its updates any more.
        let _ = self.stop.send(Message::Stop);
    }
}

/// Reads and watches files and directories. The first update, sent from the new thread `manifests`, holds everything.
pub fn start(paths: Vec<PathBuf>, updates: Updates) -> Result<Handle, SourceError> {
    let mut scanner = Scanner::new(&paths, false)?;
    let (stop, inbox) = mpsc::channel();
    let events = stop.clone();
    let run = move || {
        scanner.watch(watch::watcher(events));
        watching(scanner, &inbox, &updates);
    };
    thread::Builder::new().name("manifests".to_owned()).spawn(run).map_err(SourceError::Thread)?;
    Ok(Handle { stop })
}

/// Reads files and directories once: for commands that look at manifests and end. Pipes are read as files are.
pub fn read_once(paths: &[PathBuf]) -> Result<(Vec<Object>, Vec<Diagnostic>), SourceError> {
    let mut scanner = Scanner::new(paths, true)?;
    let update = Folder::default().reconcile(scanner.everything());
    Ok((update.applied, update.diagnostics.unwrap_or_default()))
}

fn watching(mut scanner: Scanner, inbox: &mpsc::Receiver<Message>, updates: &Updates) {
    let mut folder = Folder::default();
    let mut pending = Pending::everything();
    let mut first = true;
    let mut poll = Instant::now();
    loop {
        let now = Instant::now();
        let due = pending.due(now).unwrap_or(poll);
        match inbox.recv_timeout(due.saturating_duration_since(now)) {
            Ok(Message::Event(event)) => pending.add(event, &scanner),
            Ok(Message::Stop) | Err(mpsc::RecvTimeoutError::Disconnected) => return,
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        let now = Instant::now();
        let due = match pending.due(now) {
            Some(due) => due <= now,
            None if poll <= now => {
                pending = Pending::everything();
                true
            }
            None => false,
        };
        if !due {
            continue;
        }
        let work = std::mem::take(&mut pending);
        let listing = match work.files() {
            Some(files) => scanner.some(files),
            None => {
                let listing = scanner.everything();
                poll = Instant::now() + POLL;
                listing
            }
        };
        let update = folder.reconcile(listing);
        if (first || !update.is_empty()) && updates.blocking_send(update).is_err() {
            return;
        }
        first = false;
    }
}

#[cfg(test)]
mod tests;
