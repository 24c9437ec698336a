//! Where objects come from: manifest files or the Kubernetes API. Both speak only in [`Update`]s.
//!
//! `files` finds and watches manifests and hands their text to `yaml`, which makes objects of it; `cluster` watches an
//! API server. What arrives here is not judged beyond "can this be read": that is the work of `dialect` and `compile`.

pub mod cluster;
pub mod files;
pub mod yaml;

use std::{fmt, sync::Arc};

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
    /// What has become of the Secret of cookie keys, if that is news.
    pub cookie_keys: Option<CookieKeys>,
    /// True from the first complete listing on: what has not been delivered by then does not exist.
    pub listed: bool,
}

impl Update {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.deleted.is_empty() && self.diagnostics.is_none() && self.cookie_keys.is_none()
    }
}

/// The Secret of cookie keys, as it was found.
#[derive(Clone, PartialEq, Eq)]
pub enum CookieKeys {
    /// There is none.
    Absent,
    /// Its text: one base64 key a line. Not looked at yet.
    Text(Arc<str>),
    /// It is there and holds no text, and why.
    Unusable(String),
}

impl fmt::Debug for CookieKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Unusable(why) => write!(f, "Unusable({why})"),
        }
    }
}

/// Where a source sends its updates. Bounded: a source waits when nobody keeps up, and folds what happens meanwhile.
pub type Updates = tokio::sync::mpsc::Sender<Update>;
