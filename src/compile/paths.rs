//! A host and a path as users write them → the host and the matcher of a rule. What can't be read closes its rule where
//! it can still be matched, so that its requests don't fall through to a laxer one.

use std::sync::Arc;

use regex::Regex;

use crate::{
    dialect::PathMatcher,
    middleware::pattern,
    objects::ingress::Path,
    table::{Matcher, path::implicit_priority},
    target::{AboveRoot, PathError, comparable, encode, normalise, readable},
};

/// Where cert-manager and others answer ACME HTTP-01 challenges (RFC 8555 §8.3).
const ACME: &str = "/.well-known/acme-challenge/";

/// The host of a rule or of `spec.tls` in lower case, without its final dot; nothing where it is no host name. Empty
/// stands for every host.
pub(super) fn host(written: &Arc<str>) -> Option<Arc<str>> {
    if written.is_empty() {
        return Some(Arc::clone(written));
    }
    let lower = written.to_ascii_lowercase();
    let lower = lower.strip_suffix('.').unwrap_or(&lower);
    let name = lower.strip_prefix("*.").unwrap_or(lower);
    let label = |l: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        edge(l.chars().next()) && edge(l.chars().last()) && l.len() < 64 && l.bytes().all(valid)
    };
    if !name.split('.').all(label) {
        return None;
    }
    Some(if *lower == **written { Arc::clone(written) } else { lower.into() })
}

/// Something to say of a path.
#[derive(Debug)]
pub(super) struct Remark {
    pub(super) warning: bool,
    /// `path` or `pathType`.
    pub(super) field: &'static str,
    pub(super) code: &'static str,
    pub(super) text: String,
    pub(super) help: &'static str,
}

impl Remark {
    fn error(field: &'static str, code: &'static str, text: String, help: &'static str) -> Self {
        Self { warning: false, field, code, text, help }
    }
}

/// A path, read.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// `None`: no request can be of this rule.
    pub(super) matcher: Option<Matcher>,
    /// The path as people should see it.
    pub(super) shown: Arc<str>,
    /// Why the rule must answer 503.
    pub(super) closed: Option<String>,
    /// An ACME challenge.
    pub(super) acme: bool,
    pub(super) remarks: Vec<Remark>,
}

/// Reads `path` and `pathType`. `specific` is what ImplementationSpecific means for this Ingress.
pub(super) fn read(path: &Path, specific: PathMatcher) -> Read {
    let mut read = Read { shown: Arc::clone(&path.path), ..Read::default() };
    if read.shown.is_empty() {
        read.shown = "/".into();
    }
    let kind = match kind(path.path_type.as_deref(), specific, &mut read) {
        PathMatcher::PathRegexp => {
            regex(&mut read);
            return read;
        }
        kind => kind,
    };
    match compared(&mut read) {
        Err(reason) => {
            let help = "a path starts with / and has no ?, no # and no control character, and % only before two hex \
                        digits";
            let text = format!("{:?} can't match: {reason}; its requests go to other rules, or are 404", read.shown);
            read.remarks.push(Remark::error("path", "InvalidPath", text, help));
        }
        Ok(path) if kind == PathMatcher::Path => {
            read.acme = path.starts_with(ACME);
            read.matcher = Some(Matcher::Exact(path.into()));
        }
        Ok(path) => {
            read.acme = format!("{}/", path.trim_end_matches('/')).starts_with(ACME);
            read.matcher = Some(Matcher::prefix(&path));
        }
    }
    read
}

fn kind(written: Option<&str>, specific: PathMatcher, read: &mut Read) -> PathMatcher {
    let help = "write Exact, Prefix or ImplementationSpecific";
    let word = written.unwrap_or("ImplementationSpecific");
    let known = ["Exact", "Prefix", "ImplementationSpecific"].into_iter().find(|k| k.eq_ignore_ascii_case(word));
    if let Some(known) = known.filter(|k| *k != word) {
        let text = format!("pathType {word} is read as {known}; Kubernetes itself refuses it");
        read.remarks.push(Remark { warning: true, field: "pathType", code: "InvalidPathType", text, help });
    }
    match known {
        Some("Exact") => PathMatcher::Path,
        Some("Prefix") => PathMatcher::PathPrefix,
        Some(_) => {
            if specific == PathMatcher::Invalid {
                read.closed = Some("its router.pathmatcher is invalid".to_owned());
            }
            specific
        }
        None => {
            let reason = format!("pathType {word} does not exist");
            let text = format!("{reason}, so the path is closed (503), as a Prefix");
            read.remarks.push(Remark::error("pathType", "InvalidPathType", text, help));
            read.closed = Some(reason);
            PathMatcher::PathPrefix
        }
    }
}

/// An expression that can't be built closes what it would be found in at the most, so that its requests don't go to
/// rules with less in front of them.
fn regex(read: &mut Read) {
    let written = Arc::clone(&read.shown);
    let built = match pattern::compile("path", &in_one_spelling(&written)) {
        Ok(built) => built,
        Err(error) => {
            let help = "it is a regular expression because of router.pathmatcher; look-around and backreferences are \
                        not supported";
            let (what, around) = around(&written);
            let text = format!("{}; {what} closed (503) in its place", error.message);
            read.remarks.push(Remark::error("path", "InvalidRegex", text, help));
            read.closed.get_or_insert(error.message);
            let Some(around) = around else { return };
            around
        }
    };
    read.matcher = Some(Matcher::Regex { built, written });
}

/// An expression with the escapes of its text spelled as in the paths that it is looked for in.
fn in_one_spelling(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let triplets = after.as_bytes().chunks_exact(3);
        let escape = |t: &&[u8]| matches!(t, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit());
        // A `%` that begins no escape stays.
        let length = (triplets.take_while(escape).count() * 3).max(1);
        let (escapes, after) = after.split_at_checked(length).unwrap_or((after, ""));
        if length == 1 {
            out.push('%');
        } else {
            out.push_str(&regex::escape(&readable(&comparable(&encode(escapes)))));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What every path has that an expression could match: an expression for it, and how people call those paths. That is
/// the plain text that it begins with, at its start if it is anchored.
fn around(expression: &str) -> (String, Option<Regex>) {
    let (flags, rest) = match expression.strip_prefix("(?i)") {
        Some(rest) => ("(?i)", rest),
        None => ("", expression),
    };
    let (anchor, rest) = match rest.strip_prefix('^').or_else(|| rest.strip_prefix("\\A")) {
        Some(rest) => ("^", rest),
        None => ("", rest),
    };
    let text = if has_alternatives(rest) { String::new() } else { plain_start(rest) };
    let what = match (&*text, anchor) {
        ("", _) => "all paths of its host are".to_owned(),
        (text, "^") => format!("paths that begin with {text} are"),
        (text, _) => format!("paths with {text} in them are"),
    };
    let anchor = if text.is_empty() { "" } else { anchor };
    (what, Regex::new(&format!("{flags}{anchor}{}", regex::escape(&text))).ok())
}

/// The characters before the first that means something else than itself. An escape of the URL is left out, since paths
/// may spell it otherwise.
fn plain_start(expression: &str) -> String {
    let mut text = String::new();
    let mut rest = expression.chars();
    while let Some(c) = rest.next() {
        match c {
            '*' | '?' | '{' => {
                // The last character may be there no time at all.
                text.pop();
                break;
            }
            '.' | '[' | ']' | '(' | ')' | '}' | '+' | '|' | '^' | '$' | '%' => break,
            '\\' => match rest.next().filter(char::is_ascii_punctuation) {
                Some(c) if c != '%' => text.push(c),
                _ => break,
            },
            c => text.push(c),
        }
    }
    text
}

/// Whether there is a `|` outside of all groups. What is unclear counts.
fn has_alternatives(expression: &str) -> bool {
    let mut depth = 0_i32;
    let mut rest = expression.chars();
    while let Some(c) = rest.next() {
        match c {
            // Quoted text is not told apart.
            '\\' if rest.as_str().starts_with('Q') => return expression.contains('|'),
            '\\' => drop(rest.next()),
            '[' => return expression.contains('|'),
            '(' => depth += 1,
            ')' => depth -= 1,
            '|' if depth <= 0 => return true,
            _ => {}
        }
    }
    false
}

/// The path in the spelling that requests are compared in; closes the rule where it took a guess.
fn compared(read: &mut Read) -> Result<String, String> {
    // A rule says what a client has to escape as it is.
    let mut text = read.shown.replace(' ', "%20");
    if text.contains('?') {
        return Err("it has a query".to_owned());
    }
    let mut guess = None;
    if !text.starts_with('/') {
        guess = Some("it does not start with /");
        text.insert(0, '/');
    }
    let normal = match normalise(&text, AboveRoot::Refuse) {
        Err(PathError::LeavesRoot) => {
            guess = Some("it has .. above the root");
            normalise(&text, AboveRoot::Clamp)
        }
        other => other,
    };
    let path = comparable(&normal.map_err(|error| error.to_string())?).into_owned();
    if let Some(why) = guess {
        let reason = format!("the path {:?} is invalid: {why}", read.shown);
        let text = format!("{:?} is invalid: {why}; {path} is closed (503) in its place", read.shown);
        let help = "write the path from the root: /app";
        read.remarks.push(Remark::error("path", "InvalidPath", text, help));
        read.closed.get_or_insert(reason);
    }
    Ok(path)
}

/// The priority of a rule for which nobody wrote one, by the path as it is compared.
pub(super) fn priority(host: &str, matcher: &Matcher) -> i64 {
    let path = match matcher {
        Matcher::Exact(path) | Matcher::Prefix(path) if path.is_empty() => "/",
        Matcher::Exact(path) | Matcher::Prefix(path) => path,
        Matcher::Regex { written, .. } => written,
    };
    implicit_priority(host, path)
}
