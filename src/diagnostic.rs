//! What is wrong with what a user wrote, said to the person who wrote it.
//!
//! A [`Diagnostic`] names the object, the field, the problem and what to do. It is made by `sources` (a file that
//! can't be read), `dialect` (an annotation), and `compile` (everything else); it is shown by the log, `headgate
//! check`, the admin API and, in a cluster, as an Event on the object. It knows nothing of Kubernetes types.
//!
//! Much of its text is what users wrote, so it is made [`printable`] and cut where it is long: nobody who may write an
//! Ingress writes lines of a log, or escape sequences to the terminal of whoever reads it.

use std::{borrow::Cow, collections::BTreeSet, fmt, path::Path, sync::Arc};

/// The most characters of a message, a help or a field.
const LONGEST: usize = 500;
/// The most characters of a name: those of a path.
const LONGEST_NAME: usize = 4_096;

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
        write!(f, "{}:{}", printable(&self.file.to_string_lossy()), self.line)
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

/// One thing that is wrong, where, and what to do. Its texts are printable if it was made by [`Diagnostic::error`] and
/// its siblings.
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
        let name = |name: Arc<str>| match shown(&name, LONGEST_NAME) {
            Cow::Borrowed(_) => name,
            Cow::Owned(shown) => shown.into(),
        };
        let subject = Subject { kind: subject.kind, namespace: name(subject.namespace), name: name(subject.name) };
        let (field, message) = (text(field.into()), text(message.into()));
        Self { severity, subject, field, code, message, help: String::new(), origin: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = text(help.into());
        self
    }

    /// Adds where it was read.
    #[must_use]
    pub fn at(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }
}

fn text(text: String) -> String {
    match shown(&text, LONGEST) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => shown,
    }
}

/// Printable, and with `…` for what is behind its first `longest` characters.
fn shown(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest) {
        None => printable(text),
        Some((end, _)) => Cow::Owned(printable(text.get(..end).unwrap_or_default()).into_owned() + "…"),
    }
}

/// A text of a user's as a terminal or a log may have it: what would end a line, steer a terminal, or change the order
/// of what is read (control, bidirectional and zero-width characters) becomes `\n` or `\u{…}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Unicode's control (Cc) and format characters (Cf), and its line and paragraph separators.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}')
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subject(name: &str) -> Subject {
        Subject { kind: "Ingress", namespace: "ns".into(), name: name.into() }
    }

    #[test]
    fn what_users_write_steers_no_terminal_and_ends_no_line() {
        let evil = "a\u{1b}[2Jb\r\nerror: c\u{202e}d\u{200b}e\u{85}\u{2028}\0\u{feff}";
        let origin = Origin { file: Path::new("x\n.yaml").into(), line: 1 };
        let said = Diagnostic::error(subject(evil), evil, "Code", evil).help(evil).at(Some(origin));
        let escaped = r"a\u{1b}[2Jb\r\nerror: c\u{202e}d\u{200b}e\u{85}\u{2028}\u{0}\u{feff}";
        assert_eq!(
            (&*said.subject.name, &*said.field, &*said.message, &*said.help),
            (escaped, escaped, escaped, escaped)
        );
        let text = format!(r"Ingress ns/{escaped}, {escaped}: {escaped} (x\n.yaml:1)");
        assert_eq!(said.to_string(), format!("{text}\n  help: {escaped}"));
    }

    #[test]
    fn what_people_can_see_is_left_alone() {
        for text in ["", "Grüße, 世界 …", r#"a "quoted" \n 'text'"#, "spec.rules[0].host"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
            assert_eq!(Diagnostic::info(subject(text), text, "Code", text).message, text);
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let (long, just) = ("ä".repeat(100_000), "ä".repeat(500));
        let said = Diagnostic::warning(subject(&long), long.as_str(), "Code", long.as_str()).help(long.as_str());
        let cut = just.clone() + "…";
        assert_eq!((&said.field, &said.message, &said.help), (&cut, &cut, &cut));
        assert_eq!(said.subject.name.chars().count(), 4_097);
        assert_eq!(Diagnostic::warning(subject("a"), "", "Code", just.as_str()).message, just);
    }

    proptest! {
        #[test]
        fn it_is_one_line_and_a_help(name in "\\PC{0,9}|[\\s\\S]{0,20}", text in "[\\s\\S]{0,600}") {
            let said = Diagnostic::error(subject(&name), text.as_str(), "Code", text.as_str()).help(format!("x{text}"));
            let lines = said.to_string();
            prop_assert_eq!(lines.chars().filter(|c| is_hidden(*c)).collect::<String>(), "\n");
            prop_assert!(lines.contains("\n  help: x"));
            let once = printable(&text);
            prop_assert_eq!(printable(&once), once.clone());
        }
    }
}
