//! What all files together say: pure, from contents to an [`Update`].
//!
//! Keeps for each file what its documents came to, by a hash of their text (the text itself is not kept), so that
//! only documents that changed are read again. Knows which file's object counts where several have the same one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry},
    hash::BuildHasher,
    path::Path,
    sync::{Arc, LazyLock},
};

use foldhash::quality::RandomState;
use smallvec::SmallVec;

use crate::{
    diagnostic::{Diagnostic, Origin},
    objects::{Object, ObjectId, tls_option},
    sources::{
        Update,
        yaml::{self, Item, Parsed, file_subject},
    },
};

/// A file among all files. The order decides whose object counts: by the path as given, then by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// Which of the given paths it was found under.
    pub(super) root: usize,
    /// Its path as the person who gave it would write it.
    pub(super) shown: Arc<Path>,
}

/// What was found in a place.
#[derive(Debug)]
pub(super) enum Content {
    /// What is in the file.
    Bytes(Vec<u8>),
    /// Why it cannot be read, for people.
    Unreadable(String),
}

/// What has (or may have) changed on disk.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Files that are new or may be different.
    pub(super) found: Vec<(Place, Content)>,
    /// Files that are no more.
    pub(super) gone: Vec<Place>,
    /// When `Some`: replaces what was wrong with directories and watches.
    pub(super) problems: Option<Vec<Diagnostic>>,
}

/// All files and their objects.
#[derive(Debug, Default)]
pub(super) struct Folder {
    files: BTreeMap<Place, File>,
    objects: HashMap<ObjectId, Claimed, foldhash::fast::RandomState>,
    /// Objects that several files have.
    contested: BTreeSet<ObjectId>,
    problems: Vec<Diagnostic>,
    said: Vec<Diagnostic>,
}

/// An object and the files that have it.
#[derive(Debug, Default)]
struct Claimed {
    /// As it was last told; `None` before that.
    told: Option<Object>,
    /// In order: the first one's object counts.
    places: SmallVec<[Place; 1]>,
}

impl Folder {
    /// Takes in what is on disk now, and gives what that changes.
    pub(super) fn reconcile(&mut self, listing: Listing) -> Update {
        let mut touched = BTreeSet::new();
        for (place, content) in listing.found {
            let old = self.files.remove(&place).unwrap_or_default();
            let file = match File::read(&old, content, &place.shown) {
                Ok(Some(new)) => {
                    self.claim(&place, &old, &new, &mut touched);
                    new
                }
                Ok(None) => old,
                Err((hash, error)) => File { hash, diagnostics: vec![*error], ..old },
            };
            self.files.insert(place, file);
        }
        for place in listing.gone {
            if let Some(old) = self.files.remove(&place) {
                self.claim(&place, &old, &File::default(), &mut touched);
            }
        }
        if let Some(problems) = listing.problems {
            self.problems = problems;
        }
        let mut update = Update { listed: true, ..Update::default() };
        for id in touched {
            self.settle(id, &mut update);
        }
        let diagnostics = self.diagnostics();
        if diagnostics != self.said {
            self.said.clone_from(&diagnostics);
            update.diagnostics = Some(diagnostics);
        }
        update
    }

    /// Notes which objects a file has now, and which of all it had or has are not as they were.
    fn claim(&mut self, place: &Place, old: &File, new: &File, touched: &mut BTreeSet<ObjectId>) {
        for id in old.objects.keys().filter(|id| !new.objects.contains_key(id)) {
            if let Some(claimed) = self.objects.get_mut(id) {
                claimed.places.retain(|p| p != place);
            }
            touched.insert(id.clone());
        }
        for (id, object) in &new.objects {
            match old.objects.get(id) {
                Some(same) if same == object => continue,
                Some(_) => {}
                None => {
                    let places = &mut self.objects.entry(id.clone()).or_default().places;
                    if let Err(at) = places.binary_search(place) {
                        places.insert(at, place.clone());
                    }
                }
            }
            touched.insert(id.clone());
        }
    }

    /// Tells about an object if it isn't what was told before.
    fn settle(&mut self, id: ObjectId, update: &mut Update) {
        let Some(claimed) = self.objects.get_mut(&id) else { return };
        if claimed.places.len() > 1 {
            self.contested.insert(id.clone());
        } else {
            self.contested.remove(&id);
        }
        let object = claimed.places.first().and_then(|place| self.files.get(place)).and_then(|f| f.objects.get(&id));
        match object {
            Some(object) if claimed.told.as_ref() != Some(object) => {
                claimed.told = Some(object.clone());
                update.applied.push(object.clone());
            }
            Some(_) => {}
            None => {
                if self.objects.remove(&id).is_some_and(|c| c.told.is_some()) {
                    update.deleted.push(id);
                }
            }
        }
    }

    fn diagnostics(&self) -> Vec<Diagnostic> {
        let mut all = self.problems.clone();
        all.extend(self.files.values().flat_map(|f| &f.diagnostics).cloned());
        for id in &self.contested {
            let places = self.objects.get(id).into_iter().flat_map(|c| &c.places);
            let mut objects = places.filter_map(|p| self.files.get(p)).filter_map(|f| f.objects.get(id));
            let Some(first) = objects.next() else { continue };
            all.extend(objects.map(|other| duplicate(first, other)));
        }
        all
    }
}

/// What a file came to, and what it takes to read it again cheaply.
#[derive(Debug, Default)]
struct File {
    /// Of the bytes that were read last, whether they were good or not; `None` if they could not be read.
    hash: Option<u128>,
    documents: Vec<Known>,
    /// What the file contributes: from its documents, and the last good states of those that are refused.
    objects: BTreeMap<ObjectId, Object>,
    diagnostics: Vec<Diagnostic>,
}

/// A document that was read before.
#[derive(Clone, Debug)]
struct Known {
    hash: u128,
    start: u32,
    parsed: Parsed,
}

impl File {
    /// `None` if the content is the same as before. An error leaves everything as it was; it comes with the hash of
    /// what was read.
    fn read(old: &Self, content: Content, shown: &Arc<Path>) -> Result<Option<Self>, (Option<u128>, Box<Diagnostic>)> {
        let unreadable = |message| {
            let error = Diagnostic::error(file_subject(shown), "", "UnreadableFile", message);
            error.at(Some(Origin { file: Arc::clone(shown), line: 1 })).help("its last good objects stay in use")
        };
        let bytes = match content {
            Content::Bytes(bytes) => bytes,
            Content::Unreadable(why) => return Err((None, Box::new(unreadable(why)))),
        };
        let hash = Some(hash(&bytes));
        if hash == old.hash {
            return Ok(None);
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let good = bytes.get(..e.valid_up_to()).unwrap_or_default();
            let line = u32::try_from(memchr::memchr_iter(b'\n', good).count()).unwrap_or(u32::MAX).saturating_add(1);
            let error = unreadable("this is not UTF-8 text".to_owned());
            (hash, Box::new(error.at(Some(Origin { file: Arc::clone(shown), line }))))
        })?;
        let documents = documents(&old.documents, text, shown).map_err(|error| (hash, error))?;
        let mut new = Self { hash, documents, ..Self::default() };
        new.gather(&old.objects);
        Ok(Some(new))
    }

    /// Puts together what the documents contribute. Of an object that is there twice, the first counts; of one that
    /// is refused, the state it had before, or what stands in for it.
    fn gather(&mut self, before: &BTreeMap<ObjectId, Object>) {
        let mut refused = Vec::new();
        for document in &self.documents {
            self.diagnostics.extend(document.parsed.diagnostics.iter().cloned());
            for item in &document.parsed.items {
                match item {
                    Item::Object(object) => match self.objects.entry(object.id()) {
                        Entry::Vacant(slot) => drop(slot.insert(object.clone())),
                        Entry::Occupied(first) => self.diagnostics.push(duplicate(first.get(), object)),
                    },
                    Item::Refused(id) => refused.extend(id.as_ref()),
                }
            }
        }
        for id in refused {
            if let Some(object) = before.get(id).cloned().or_else(|| tls_option::unreadable(id)) {
                self.objects.entry(id.clone()).or_insert(object);
            }
        }
    }
}

/// Reads the documents of a text, except those that are known already.
fn documents(known: &[Known], text: &str, shown: &Arc<Path>) -> Result<Vec<Known>, Box<Diagnostic>> {
    let known: HashMap<u128, &Known, foldhash::fast::RandomState> = known.iter().map(|k| (k.hash, k)).collect();
    let read = |document: &yaml::Document<'_>| {
        let hash = hash(document.text.as_bytes());
        let parsed = match known.get(&hash) {
            Some(same) => {
                let mut parsed = same.parsed.clone();
                if same.start != document.start {
                    parsed.moved(i64::from(document.start) - i64::from(same.start));
                }
                parsed
            }
            None => yaml::parse(document, shown)?,
        };
        Ok(Known { hash, start: document.start, parsed })
    };
    yaml::documents(text).iter().map(read).collect()
}

/// Two differently seeded hashes: 128 bits, so that texts need not be kept to be compared. Seeded at random, so that
/// nobody can write two texts that pass for one.
fn hash(bytes: &[u8]) -> u128 {
    static SEEDS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::default(), RandomState::default()]);
    let [high, low] = SEEDS.each_ref().map(|seed| u128::from(seed.hash_one(bytes)));
    (high << 64) | low
}

fn duplicate(first: &Object, other: &Object) -> Diagnostic {
    let place = first.meta().origin.as_ref().map_or_else(String::new, |o| format!(" at {o}"));
    let message = format!("it is there twice; the one{place} counts, this one does not");
    let warning = Diagnostic::warning(other.id().subject(), "", "DuplicateObject", message);
    warning.at(other.meta().origin.clone()).help("remove one of the two, or give it another name or namespace")
}
