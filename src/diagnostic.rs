//! What is wrong with what a user wrote, said to the person who wrote it.
//!
//! A [`Diagnostic`] names the object, the field, the problem and what to do. It is made by `sources` (a file that
//! can't be read), `dialect` (an annotation), and `compile` (everything else); it is shown by the log, `headgate
//! check`, the admin API and, in a cluster, as an Event on the object. It knows nothing of Kubernetes types.

use std::{collections::BTreeSet, fmt, path::Path, sync::Arc};

/// How bad it is for the person who wrote the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something they asked for doesn't happen: a route is closed, a document is refused.
    Error,
    /// It works, but probably not as meant.
    Warning,
    /// Worth knowing; `headgate check` does not fail on it.
    Info,
}

impl Severity {
    /// The word used in logs, JSON and Events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A place in a manifest file. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The file as the user named it.
    pub file: Arc<Path>,
    /// The line at which the document (or the faulty field, where known) starts.
    pub line: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The object a diagnostic is about, by name only (the object itself may not even parse).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// `Ingress`, `Service`, …; `File` for a manifest file as a whole.
    pub kind: &'static str,
    /// Empty for kinds without a namespace.
    pub namespace: Arc<str>,
    /// `metadata.name`, or the path of a file.
    pub name: Arc<str>,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}

/// One thing that is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The object concerned.
    pub subject: Subject,
    /// The field inside the object, as a path (`spec.rules[0].host`); empty when it is the whole object.
    pub field: String,
    /// A stable word for machines and Event reasons, in CamelCase: `MiddlewareNotFound`.
    pub code: &'static str,
    /// What is wrong, one sentence, without a full stop.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
    /// The file and line, when it came from a file.
    pub origin: Option<Origin>,
}

impl Diagnostic {
    /// An error: something asked for does not happen.
    pub fn error(subject: Subject, field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, subject, field, code, message)
    }

    /// A warning: it works, but probably not as meant.
    pub fn warning(subject: Subject, field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, subject, field, code, message)
    }

    /// A note that is no fault.
    pub fn info(subject: Subject, field: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, subject, field, code, message)
    }

    fn new(
        severity: Severity,
        subject: Subject,
        field: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let (field, message) = (field.into(), message.into());
        Self { severity, subject, field, code, message, help: String::new(), origin: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// Adds where it was read.
    #[must_use]
    pub fn at(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }
}

/// Without its severity: a log has that already.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        if !self.field.is_empty() {
            write!(f, ", {}", self.field)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

/// Diagnostics as they are gathered: sorted and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(BTreeSet<Diagnostic>);

impl Diagnostics {
    /// Adds one; a repeat is dropped.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.insert(diagnostic);
    }

    /// In order of severity, then object.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.0.iter()
    }

    /// Whether this very diagnostic is among them.
    pub fn contains(&self, diagnostic: &Diagnostic) -> bool {
        self.0.contains(diagnostic)
    }

    /// Whether there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, iter: I) {
        self.0.extend(iter);
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::collections::btree_set::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The closest of `known` to a misspelt `word`, if it is close enough to be worth suggesting.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.len() / 4).clamp(1, 4);
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(&word.to_ascii_lowercase(), &k.to_ascii_lowercase()), k))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}
