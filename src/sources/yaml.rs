//! The text of a manifest file, cut into documents, read into objects.
//!
//! Takes text, gives [`Item`]s and diagnostics with file and line; does no I/O and keeps nothing. Steps: [`documents`]
//! cuts (`split`), `syntax` reads one document into JSON values under limits, `object` makes typed objects of them.
//! Each document is read alone, so that the caller can keep what it made of a text it has seen before.

mod fields;
mod object;
mod split;
mod syntax;

use std::{path::Path, sync::Arc};

pub use split::{Document, documents};

use crate::{
    diagnostic::{Diagnostic, Origin, Subject},
    objects::{Object, ObjectId},
};

/// What one document, or one element of a List, came to. Kinds that are not read leave no trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// An object, with the place it was read from.
    Object(Object),
    /// An object of wrong shape, by its identity where that could be read: its last good state still holds.
    Refused(Option<ObjectId>),
}

/// All that is in one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// In the order of the text.
    pub items: Vec<Item>,
    /// What is wrong with them, each with its place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    /// The same, `lines` further down (or up) in the file: what a cached document is when text above it changes.
    pub fn moved(&mut self, lines: i64) {
        let shift = |origin: &mut Option<Origin>| {
            if let Some(origin) = origin {
                origin.line = u32::try_from(i64::from(origin.line) + lines).unwrap_or(1);
            }
        };
        for item in &mut self.items {
            if let Item::Object(object) = item {
                object::with_meta(object, |meta| shift(&mut meta.origin));
            }
        }
        for diagnostic in &mut self.diagnostics {
            shift(&mut diagnostic.origin);
        }
    }
}

/// Reads one document. An error means that its text is no YAML (nor JSON), and says where.
pub fn parse(document: &Document<'_>, file: &Arc<Path>) -> Result<Parsed, Box<Diagnostic>> {
    let place = |line: u32| Some(Origin { file: Arc::clone(file), line });
    let json = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
    match syntax::read(document.text, json) {
        Err(fault) => {
            let line = fault.line.map_or(document.line, |l| document.file_line(l));
            let language = if json { "JSON" } else { "YAML" };
            let message = format!("this is not {language}: {}", fault.message);
            let error = Diagnostic::error(file_subject(file), "", "NotYaml", message).at(place(line));
            Err(Box::new(error.help("until this is mended, the file's last good objects stay in use, all of them")))
        }
        Ok(nodes) => Ok(object::objects(nodes, document, file)),
    }
}

/// A file as the subject of a diagnostic.
pub fn file_subject(file: &Path) -> Subject {
    Subject { kind: "File", namespace: "".into(), name: file.display().to_string().into() }
}

#[cfg(test)]
mod tests;
