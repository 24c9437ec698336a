//! What is on disk: finds manifests under the given paths, and reads those that may have changed.
//!
//! A directory is read with its subdirectories. Names that start with a dot are passed over (`.git`, and the
//! `..data` of mounted ConfigMaps, whose visible names are links into it); links are followed. In directories only
//! `.yaml`, `.yml` and `.json` count; a file given by name is read whatever it is called.

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::{
    SourceError,
    folder::{Content, Listing, Place},
};
use crate::{diagnostic::Diagnostic, sources::yaml::file_subject};

/// The largest manifest that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// A file that was changed less than this before it was read may have been changed again without its time telling:
/// some file systems count whole seconds. It is read once more at the next look.
const RACY: Duration = Duration::from_secs(2);

/// The given paths, and what was last seen there.
pub(super) struct Scanner {
    roots: Vec<Root>,
    /// By absolute path, as events name them.
    known: HashMap<PathBuf, Seen>,
    watcher: Option<RecommendedWatcher>,
    /// Watched directories and what they were: another one may take the same name.
    watched: HashMap<PathBuf, (u64, u64)>,
    /// Why not everything is watched.
    unwatched: Option<String>,
}

struct Root {
    given: PathBuf,
    absolute: PathBuf,
    directory: bool,
}

struct Seen {
    place: Place,
    stamp: Option<Stamp>,
}

/// What tells a changed file without reading it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// Whether it was too young to be trusted when it was read.
    racy: bool,
}

/// One look at everything, under way.
#[derive(Default)]
struct Look {
    listing: Listing,
    problems: Vec<Diagnostic>,
    visited: BTreeSet<PathBuf>,
    /// Directories that could not be read: what is known of them stays.
    kept: Vec<PathBuf>,
    /// The directories that lead to the present one, so that links in a circle come to an end.
    trail: Vec<(u64, u64)>,
}

impl Scanner {
    /// Checks the paths. `special` allows pipes, to be read once.
    pub(super) fn new(paths: &[PathBuf], special: bool) -> Result<Self, SourceError> {
        let roots = paths.iter().map(|path| {
            let unreadable = |error| SourceError::Unreadable { path: path.clone(), error };
            let meta = fs::metadata(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => SourceError::Missing { path: path.clone() },
                _ => unreadable(error),
            })?;
            if !(special || meta.is_dir() || meta.is_file()) {
                return Err(SourceError::Special { path: path.clone() });
            }
            let absolute = std::path::absolute(path).map_err(unreadable)?;
            Ok(Root { given: path.clone(), absolute, directory: meta.is_dir() })
        });
        Ok(Self {
            roots: roots.collect::<Result<_, _>>()?,
            known: HashMap::new(),
            watcher: None,
            watched: HashMap::new(),
            unwatched: None,
        })
    }

    /// From now on, directories are watched as they are come across.
    pub(super) fn watch(&mut self, watcher: notify::Result<RecommendedWatcher>) {
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => self.unwatched = Some(error.to_string()),
        }
    }

    /// Looks at everything under the given paths.
    pub(super) fn everything(&mut self) -> Listing {
        let mut look = Look::default();
        for index in 0..self.roots.len() {
            self.root(index, &mut look);
        }
        self.known.retain(|path, seen| {
            let stays = look.visited.contains(path) || look.kept.iter().any(|kept| path.starts_with(kept));
            if !stays {
                look.listing.gone.push(seen.place.clone());
            }
            stays
        });
        if let Some(why) = &self.unwatched {
            let message = format!("changes are noticed only every two seconds: {why}");
            let subject = file_subject(self.roots.first().map_or(Path::new(""), |r| &r.given));
            let help = "raise the system's limits on file watches (fs.inotify.max_user_watches, max_user_instances)";
            look.problems.push(Diagnostic::warning(subject, "", "NotWatched", message).help(help));
        }
        look.listing.problems = Some(look.problems);
        look.listing
    }

    /// Looks only at files that were there before.
    pub(super) fn some(&mut self, paths: &BTreeSet<PathBuf>) -> Listing {
        let known =
            paths.iter().filter_map(|path| Some((path, self.known.get(path)?.place.clone(), fs::metadata(path))));
        let known: Vec<_> = known.collect();
        // One that is gone, or a directory now, may be reached by another name.
        if known.iter().any(|(_, _, meta)| match meta {
            Ok(meta) => !meta.is_file(),
            Err(error) => is_absent(error),
        }) {
            return self.everything();
        }
        let mut look = Look::default();
        for (path, place, meta) in known {
            match meta {
                Ok(meta) => self.file(path, place, &meta, true, &mut look),
                Err(error) => self.unreadable(path, place, &error, &mut look),
            }
        }
        look.listing
    }

    /// What an event at this absolute path means.
    pub(super) fn concern(&self, path: &Path) -> Concern {
        if self.known.contains_key(path) {
            return Concern::File;
        }
        let Some(name) = path.file_name().map(std::ffi::OsStr::as_encoded_bytes) else { return Concern::Everything };
        if name.starts_with(b"..") || self.roots.iter().any(|r| r.absolute.starts_with(path)) {
            return Concern::Everything;
        }
        if name.starts_with(b".") || !self.roots.iter().any(|r| r.directory && path.starts_with(&r.absolute)) {
            return Concern::Nothing;
        }
        let everything = match fs::symlink_metadata(path) {
            _ if is_manifest(path) => true,
            Ok(meta) => !meta.is_file(),
            Err(_) => self.known.keys().any(|known| known.starts_with(path)),
        };
        if everything { Concern::Everything } else { Concern::Nothing }
    }

    fn root(&mut self, index: usize, look: &mut Look) {
        let Some(root) = self.roots.get(index) else { return };
        let (path, given, directory) = (root.absolute.clone(), root.given.clone(), root.directory);
        if let Some(parent) = path.parent() {
            // The path itself may be replaced, by a rename or a link.
            self.watch_directory(parent, fs::metadata(parent).ok());
        }
        let place = Place { root: index, shown: given.as_path().into() };
        match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => self.directory(&path, &given, index, &meta, look),
            Ok(meta) => self.file(&path, place, &meta, false, look),
            Err(error) if is_absent(&error) && !directory => {}
            Err(error) if directory => {
                look.problems.push(lost_directory(&given, &error));
                look.kept.push(path);
            }
            Err(error) => self.unreadable(&path, place, &error, look),
        }
    }

    fn directory(&mut self, path: &Path, shown: &Path, root: usize, meta: &fs::Metadata, look: &mut Look) {
        let identity = (meta.dev(), meta.ino());
        if look.trail.contains(&identity) {
            return;
        }
        // Watched before it is read, so that nothing comes between.
        self.watch_directory(path, Some(meta.clone()));
        let entries = fs::read_dir(path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) && !look.trail.is_empty() => return,
            Err(error) => {
                look.problems.push(lost_directory(shown, &error));
                look.kept.push(path.to_owned());
                return;
            }
        };
        entries.sort_unstable_by_key(fs::DirEntry::file_name);
        look.trail.push(identity);
        for entry in entries {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (path, shown) = (path.join(&name), shown.join(&name));
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => self.directory(&path, &shown, root, &meta, look),
                Ok(meta) if meta.is_file() && is_manifest(&path) => {
                    self.file(&path, Place { root, shown: shown.into() }, &meta, false, look);
                }
                // A link that leads nowhere is passed over, like a file that went between the list and the look.
                Err(error) if !is_absent(&error) && is_manifest(&path) => {
                    self.unreadable(&path, Place { root, shown: shown.into() }, &error, look);
                }
                _ => {}
            }
        }
        look.trail.pop();
    }

    /// Reads a file unless it is as it was; `anyway` where an event says that it is not.
    fn file(&mut self, path: &Path, place: Place, meta: &fs::Metadata, anyway: bool, look: &mut Look) {
        if !look.visited.insert(path.to_owned()) {
            // Given twice, as itself and through its directory: the first counts.
            return;
        }
        let stamp = Stamp::of(meta);
        let before = self.known.get(path).and_then(|seen| seen.stamp);
        if !anyway && before == Some(stamp) && !stamp.racy {
            return;
        }
        match read(path) {
            Ok(bytes) => {
                look.listing.found.push((place.clone(), Content::Bytes(bytes)));
                self.known.insert(path.to_owned(), Seen { place, stamp: Some(stamp) });
            }
            Err(error) if is_absent(&error) => {
                look.visited.remove(path);
            }
            Err(error) => self.unreadable(path, place, &error, look),
        }
    }

    fn unreadable(&mut self, path: &Path, place: Place, error: &io::Error, look: &mut Look) {
        look.visited.insert(path.to_owned());
        look.listing.found.push((place.clone(), Content::Unreadable(error.to_string())));
        self.known.insert(path.to_owned(), Seen { place, stamp: None });
    }

    fn watch_directory(&mut self, path: &Path, meta: Option<fs::Metadata>) {
        let (Some(watcher), Some(meta)) = (&mut self.watcher, meta) else { return };
        let identity = (meta.dev(), meta.ino());
        match self.watched.insert(path.to_owned(), identity) {
            Some(before) if before == identity => return,
            // The old watch may have followed the old directory to another name, or ended with it.
            Some(_) => drop(watcher.unwatch(path)),
            None => {}
        }
        if let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive) {
            self.watched.remove(path);
            self.unwatched = Some(error.to_string());
        }
    }
}

/// What has to be looked at after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Concern {
    /// Nothing: no manifest of ours.
    Nothing,
    /// The file itself, which is known.
    File,
    /// Everything: a new name, a link, a directory.
    Everything,
}

impl Stamp {
    fn of(meta: &fs::Metadata) -> Self {
        let modified = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        // A time in the future is not to be trusted either.
        let racy = modified.elapsed().map_or(true, |age| age < RACY);
        Self {
            file: (meta.dev(), meta.ino()),
            len: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            racy,
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let expected = usize::try_from(file.metadata()?.len().min(LARGEST)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(expected.saturating_add(1));
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        let message = format!("it is larger than {} MiB; cut it into several files", LARGEST >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

fn is_manifest(path: &Path) -> bool {
    let known = |e: &std::ffi::OsStr| ["yaml", "yml", "json"].iter().any(|k| e.eq_ignore_ascii_case(k));
    path.extension().is_some_and(known)
}

/// Nothing there: also a link to nowhere, or through something that is no directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn lost_directory(shown: &Path, error: &io::Error) -> Diagnostic {
    let message = format!("the directory cannot be read: {error}");
    let error = Diagnostic::error(file_subject(shown), "", "UnreadableDirectory", message);
    error
        .at(Some(crate::diagnostic::Origin { file: Arc::from(shown), line: 1 }))
        .help("what was read from it before stays in use")
}
