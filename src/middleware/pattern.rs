//! Regular expressions and replacements as users write them for Traefik, which is to say for Go, on the `regex` crate.
//!
//! The two read nearly the same syntax; [`go`] rewrites what they read differently. A replacement is taken apart when it
//! is built, by Go's rules, so that a request pays for a match and a copy only. Both are bounded: an expression by what
//! it takes when it is compiled, a result by its length.

mod go;

use std::ops::Range;

use regex::{Regex, RegexBuilder};
use smallvec::SmallVec;

use super::InvalidField;

/// What a compiled expression may take, in bytes.
const BYTES: usize = 1 << 20;

/// How long a text may be when everything is replaced: longer than any URL that is served.
const LONGEST: usize = 1 << 16;

/// Reads an expression. Like Go's, it matches anywhere in a text unless it is anchored, `\d`, `\s` and `\w` are of
/// ASCII, and there is no look-around and no backreference.
///
/// # Errors
/// [`InvalidField`] of this name where it is empty, doesn't parse or is too big.
pub fn compile(field: &str, expression: &str) -> Result<Regex, InvalidField> {
    build(field, expression, false)
}

/// The same, where letters match in either case.
///
/// # Errors
/// As of [`compile`].
pub(super) fn compile_caseless(field: &str, expression: &str) -> Result<Regex, InvalidField> {
    build(field, expression, true)
}

fn build(field: &str, expression: &str, caseless: bool) -> Result<Regex, InvalidField> {
    if expression.is_empty() {
        return Err(InvalidField::new(field, "the regular expression is missing", "Write one"));
    }
    let mut builder = RegexBuilder::new(&go::translate(expression));
    builder.case_insensitive(caseless).size_limit(BYTES).build().map_err(|error| {
        let shown = expression.escape_debug();
        match error {
            regex::Error::CompiledTooBig(_) => {
                let message = format!("the regular expression `{shown}` takes more than a megabyte");
                InvalidField::new(field, message, "Write smaller repetitions than {1000} and the like")
            }
            error => {
                // The crate draws the expression and points at the fault; the last line says what it is.
                let error = error.to_string();
                let last = error.trim_end().lines().last().unwrap_or_default().trim();
                let why = last.strip_prefix("error: ").unwrap_or(last);
                let message = format!("`{shown}` is no regular expression: {why}");
                InvalidField::new(field, message, "Correct it; look-around and backreferences don't exist")
            }
        }
    })
}

/// An expression, and what its matches become.
#[derive(Clone, Debug)]
pub(super) struct Rewrite {
    regex: Regex,
    replacement: Box<[Piece]>,
}

/// A part of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    Group(usize),
}

/// The text would be longer than anything that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Rewrite {
    /// In the replacement, `$1`, `${1}`, `$name` and `${name}` stand for groups of the expression, and `$$` for a dollar
    /// sign. A name is as long as it can be: `$1x` is a group named `1x`. One that the expression doesn't have stands for
    /// nothing. `text` is what becomes of the rest of the replacement.
    ///
    /// # Errors
    /// [`InvalidField`] of this name, as of [`compile`].
    pub(super) fn new(
        field: &str,
        expression: &str,
        replacement: &str,
        text: impl Fn(&str) -> String,
    ) -> Result<Self, InvalidField> {
        let regex = compile(field, expression)?;
        let mut pieces = Vec::new();
        for part in go::parts(replacement) {
            match part {
                go::Part::Text(plain) => pieces.push(Piece::Text(text(&plain).into())),
                go::Part::Group(name) => pieces.extend(group(&regex, name).map(Piece::Group)),
            }
        }
        Ok(Self { regex, replacement: pieces.into() })
    }

    /// The text with every match replaced; nothing where none matches.
    ///
    /// # Errors
    /// [`TooLong`] where it grows beyond measure.
    pub(super) fn apply(&self, old: &str) -> Result<Option<Rewritten>, TooLong> {
        if !self.regex.is_match(old) {
            return Ok(None);
        }
        let mut new = Rewritten { text: String::with_capacity(old.len() + 64), copied: SmallVec::new() };
        let mut done = 0;
        for found in self.regex.captures_iter(old) {
            let Some(whole) = found.get(0) else { continue };
            new.copy(old, done..whole.start())?;
            for piece in &self.replacement {
                match piece {
                    Piece::Text(text) => new.push(text)?,
                    Piece::Group(index) => {
                        if let Some(group) = found.get(*index) {
                            new.copy(old, group.range())?;
                        }
                    }
                }
            }
            done = whole.end();
        }
        new.copy(old, done..old.len())?;
        Ok(Some(new))
    }
}

/// Go's rules: digits are a number unless they begin with a zero; the leftmost group of a name.
fn group(regex: &Regex, name: &str) -> Option<usize> {
    let digits = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if digits {
        return name.parse().ok().filter(|index| *index < regex.captures_len());
    }
    regex.capture_names().position(|known| known == Some(name))
}

/// A text whose matches have been replaced, and which knows where each of its bytes is from.
#[derive(Debug)]
pub(super) struct Rewritten {
    text: String,
    /// What was copied from the old text: where it stands now, and where it began there.
    copied: SmallVec<[(Range<usize>, usize); 8]>,
}

impl Rewritten {
    /// The new text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Where in the old text this byte of the new one stood; nothing if the replacement itself has it.
    pub(super) fn source(&self, at: usize) -> Option<usize> {
        let (range, from) = self.copied.iter().find(|(range, _)| range.contains(&at))?;
        Some(from + (at - range.start))
    }

    fn push(&mut self, text: &str) -> Result<(), TooLong> {
        if self.text.len() + text.len() > LONGEST {
            return Err(TooLong);
        }
        self.text.push_str(text);
        Ok(())
    }

    fn copy(&mut self, old: &str, range: Range<usize>) -> Result<(), TooLong> {
        let (from, text) = (range.start, old.get(range).unwrap_or_default());
        if text.is_empty() {
            return Ok(());
        }
        let start = self.text.len();
        self.push(text)?;
        self.copied.push((start..self.text.len(), from));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
