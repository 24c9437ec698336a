//! Cuts a YAML stream into its documents without parsing it.
//!
//! YAML 1.2 (9.1.2, `c-forbidden`) allows no line inside a document, not even in a block scalar, to start with `---`
//! or `...` followed by white space: so that these lines alone decide where documents begin and end.

/// One document of a file that holds more than blanks and comments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// Its text, with directives, comments and its `---` line.
    pub text: &'a str,
    /// The line of the file at which `text` starts, from 1.
    pub start: u32,
    /// The line of the file at which its content starts, from 1.
    pub line: u32,
}

impl Document<'_> {
    /// The line of the file for a line of `text`, both from 1.
    pub fn file_line(&self, line: u32) -> u32 {
        self.start.saturating_add(line.saturating_sub(1))
    }
}

/// The documents of a file, in order; those without content are left out.
pub fn documents(text: &str) -> Vec<Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Vec::new();
    let mut open = Open::at(0, 1);
    let (mut offset, mut number) = (0, 0_u32);
    for line in text.split_inclusive('\n') {
        number = number.saturating_add(1);
        let next = offset + line.len();
        if let Some(rest) = after_marker(line, "---") {
            if open.marked || open.content.is_some() {
                found.extend(open.close(text, offset));
                open = Open::at(offset, number);
            }
            open.marked = true;
            if has_content(rest) {
                open.content = Some(number);
            }
        } else if after_marker(line, "...").is_some() {
            // The line stays with the document that it ends: what may follow it on the line is for the parser to judge.
            found.extend(open.close(text, next));
            open = Open::at(next, number.saturating_add(1));
        } else if open.content.is_none() && has_content(line) && (open.marked || !line.starts_with('%')) {
            open.content = Some(number);
        }
        offset = next;
    }
    found.extend(open.close(text, text.len()));
    found
}

/// A document whose end is not found yet.
struct Open {
    offset: usize,
    start: u32,
    /// Whether its `---` was seen; before that, directives may stand.
    marked: bool,
    content: Option<u32>,
}

impl Open {
    fn at(offset: usize, start: u32) -> Self {
        Self { offset, start, marked: false, content: None }
    }

    fn close<'a>(&self, text: &'a str, end: usize) -> Option<Document<'a>> {
        let line = self.content?;
        Some(Document { text: text.get(self.offset..end)?, start: self.start, line })
    }
}

/// What follows a marker at the start of a line.
fn after_marker<'a>(line: &'a str, marker: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(marker)?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n'])).then_some(rest)
}

fn has_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}
