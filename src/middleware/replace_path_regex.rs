//! `replacePathRegex`: replaces what a regular expression matches in the path; the backend is told the old path.
//!
//! The expression is matched with the normalised path in its encoded form, and what comes of it is normalised again.

use super::{
    Flow, Head, InvalidField,
    pattern::Rewrite,
    rewrite::{bad_request, no_control, replace, whole_escapes},
};
use crate::target::encode;

/// Traefik's `replacePathRegex`, ready to run.
#[derive(Clone, Debug)]
pub struct ReplacePathRegex {
    rewrite: Rewrite,
}

impl ReplacePathRegex {
    /// White space around both is ignored, as in Traefik. An empty replacement removes what matches.
    ///
    /// # Errors
    /// [`InvalidField`] `regex` where it is missing, invalid or too big; `replacement` where it has a control character,
    /// or a `%` that begins no escape.
    pub fn new(regex: &str, replacement: &str) -> Result<Self, InvalidField> {
        let (regex, replacement) = (regex.trim(), replacement.trim());
        no_control("replacement", replacement)?;
        whole_escapes("replacement", replacement)?;
        Ok(Self { rewrite: Rewrite::new("regex", regex, replacement, encode)? })
    }

    /// Replaces every match. A path without one stays as it is; one that leaves the root then is 400.
    pub fn request(&self, head: &mut Head) -> Flow {
        match self.rewrite.apply(head.target.path()) {
            Ok(None) => Flow::Continue,
            Ok(Some(new)) => replace(head, new.text()),
            Err(_) => bad_request(),
        }
    }
}

#[cfg(test)]
mod tests;
