//! Where objects come from: manifest files, later also the Kubernetes API. Both speak only in [`Update`]s.
//!
//! `files` finds and watches manifests and hands their text to `yaml`, which makes objects of it. What arrives here
//! is not judged beyond "can this be read": that is the work of `dialect` and `compile`.

pub mod files;
pub mod yaml;

use crate::{
    diagnostic::Diagnostic,
    objects::{Object, ObjectId},
};

/// What a source has to tell: applied whole, and in order.
#[derive(Debug, Default)]
pub struct Update {
    /// Objects that are new or different.
    pub applied: Vec<Object>,
    /// Objects that are gone. None of them is in `applied`.
    pub deleted: Vec<ObjectId>,
    /// When `Some`: replaces everything that this source has said before.
    pub diagnostics: Option<Vec<Diagnostic>>,
    /// True from the first complete listing on: what has not been delivered by then does not exist.
    pub listed: bool,
}

impl Update {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.deleted.is_empty() && self.diagnostics.is_none()
    }
}

/// Where a source sends its updates. Bounded: a source waits when nobody keeps up, and folds what happens meanwhile.
pub type Updates = tokio::sync::mpsc::Sender<Update>;
