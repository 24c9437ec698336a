//! What the types that change the path share: the headers that tell the backend of it, how a text of the user becomes a
//! path, and the refusal of what would leave the root.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::{Flow, Head, InvalidField};
use crate::{
    body::Body,
    target::{AboveRoot, PathError, encode, escapes_are_whole, normalise},
};

/// Tells the backend what was stripped. What an untrusted client sends under this name is dropped at admission.
pub(super) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Tells the backend the path that was replaced. What an untrusted client sends under this name is dropped at admission.
const X_REPLACED_PATH: HeaderName = HeaderName::from_static("x-replaced-path");

/// 400 with an empty body: for a path that has no reading after a rewrite, as for one that a client sends.
pub(super) fn bad_request() -> Flow {
    let mut refusal = Response::new(Body::Empty);
    *refusal.status_mut() = StatusCode::BAD_REQUEST;
    Flow::Respond(refusal)
}

/// Replaces the path, and tells the backend the old one; several replacements tell it each, in their order (as in
/// Traefik). A path that leaves the root or has no reading is 400.
pub(super) fn replace(head: &mut Head, path: &str) -> Flow {
    let old = HeaderValue::from_bytes(head.target.path().as_bytes());
    match (old, head.target.rewrite(path)) {
        (Ok(old), Ok(())) => {
            head.headers.append(X_REPLACED_PATH, old);
            Flow::Continue
        }
        _ => bad_request(),
    }
}

/// A path, or the beginning of one, as a user writes it: normalised, with a slash at its start. What can't stand in a
/// path is percent-encoded.
///
/// # Errors
/// [`InvalidField`] of this name for a control character, and for a path that would leave the root.
pub(super) fn path_of(field: &str, written: &str) -> Result<String, InvalidField> {
    no_control(field, written)?;
    let slash = if written.starts_with('/') { "" } else { "/" };
    normalise(&encode(&format!("{slash}{written}")), AboveRoot::Refuse).map(Cow::into_owned).map_err(|error| {
        let why = if error == PathError::LeavesRoot { "leaves the root" } else { "has an encoded NUL" };
        InvalidField::new(field, format!("`{}` {why}", written.escape_debug()), "Write a path without `..` and `%00`")
    })
}

/// Refuses text that no path has.
///
/// # Errors
/// [`InvalidField`] of this name for a control character.
pub(super) fn no_control(field: &str, written: &str) -> Result<(), InvalidField> {
    if written.contains(char::is_control) {
        let message = format!("`{}` has a control character", written.escape_debug());
        return Err(InvalidField::new(field, message, "Remove it; a block of YAML text ends with a line break"));
    }
    Ok(())
}

/// Refuses a `%` that begins no escape, where Traefik answers every request with 500.
///
/// # Errors
/// [`InvalidField`] of this name.
pub(super) fn whole_escapes(field: &str, written: &str) -> Result<(), InvalidField> {
    if escapes_are_whole(written) {
        return Ok(());
    }
    let message = format!("`{}` has a % without two hex digits behind it", written.escape_debug());
    Err(InvalidField::new(field, message, "Write %25 for a percent sign"))
}
