//! What reads the values of annotations. Each takes a trimmed text and gives a value, or what is wrong with it.
//!
//! Control characters are wrong everywhere: nothing that could end a line reaches a header, a log or a reference.

use std::sync::Arc;

type Read<T> = Result<T, String>;

/// Any text but an empty one.
pub(super) fn text(value: &str) -> Read<Arc<str>> {
    if value.is_empty() {
        return Err("it is empty".to_owned());
    }
    if value.chars().any(char::is_control) {
        return Err(format!("{} has line ends or control characters in it", shown(value)));
    }
    Ok(value.into())
}

/// What Go reads as a boolean: `true` and `false`, their first letters, and 1 and 0.
pub(super) fn boolean(value: &str) -> Read<bool> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{} is neither \"true\" nor \"false\"", shown(value))),
    }
}

/// A whole number.
pub(super) fn integer(value: &str) -> Read<i64> {
    value.parse().map_err(|_| format!("{} is no whole number", shown(value)))
}

/// One of a few words.
pub(super) fn one_of<T: Copy>(value: &str, words: &[(&str, T)], any_case: bool) -> Read<T> {
    let same = |word: &str| word == value || (any_case && word.eq_ignore_ascii_case(value));
    words.iter().find(|(word, _)| same(word)).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{} is none of {}", shown(value), words.join(", "))
    })
}

/// Names, separated by commas. White space around them is dropped, line ends included: YAML folds long lists.
pub(super) fn list(value: &str) -> Read<Vec<Arc<str>>> {
    value.split(',').map(|element| name(element.trim(), value)).collect()
}

/// References to objects, separated by commas.
pub(super) fn references(value: &str) -> Read<Vec<Arc<str>>> {
    value.split(',').map(|element| reference_in(element.trim(), value)).collect()
}

/// A reference to an object: `namespace-name@kubernetescrd`, `name@file`, or a bare name.
pub(super) fn reference(value: &str) -> Read<Arc<str>> {
    reference_in(value, value)
}

fn reference_in(element: &str, value: &str) -> Read<Arc<str>> {
    let name = name(element, value)?;
    let mut parts = element.split('@');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(""), _, None) => Err(format!("{} has no name before @", shown(element))),
        (Some(_), Some(""), None) => Err(format!("{} has no provider after @", shown(element))),
        (_, _, Some(_)) => Err(format!("{} has more than one @", shown(element))),
        _ => Ok(name),
    }
}

/// An element of a list: printable ASCII without white space.
fn name(element: &str, value: &str) -> Read<Arc<str>> {
    if element.is_empty() {
        return Err(if value.is_empty() {
            "it is empty".to_owned()
        } else {
            format!("{} has an empty element", shown(value))
        });
    }
    if !element.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(format!("{} has white space or characters in it that no name has", shown(element)));
    }
    Ok(element.into())
}

/// RFC 6265 path-value, from the root.
pub(super) fn cookie_path(value: &str) -> Read<Arc<str>> {
    let allowed = |b: u8| matches!(b, b' '..=b'~') && b != b';';
    if value.starts_with('/') && value.bytes().all(allowed) {
        Ok(value.into())
    } else {
        Err(format!(
            "{} is no path of a cookie: it must start with / and hold no ; or special characters",
            shown(value)
        ))
    }
}

/// RFC 6265 domain-value; the dot that older texts put in front is allowed.
pub(super) fn cookie_domain(value: &str) -> Read<Arc<str>> {
    let label = |l: &str| !l.is_empty() && l.len() <= 63 && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if value.len() <= 254 && value.strip_prefix('.').unwrap_or(value).split('.').all(label) {
        Ok(value.into())
    } else {
        Err(format!("{} is no domain", shown(value)))
    }
}

/// A value as messages show it: quoted, escaped, and cut where it is long.
fn shown(value: &str) -> String {
    const LONGEST: usize = 80;
    let cut: String = value.chars().take(LONGEST).collect();
    let more = if cut.len() < value.len() { "…" } else { "" };
    format!("{cut:?}{more}")
}
