//! `addPrefix`: puts a prefix before the path.
//!
//! The prefix is normalised when it is built, so that it can't climb out of itself, and the whole path again with each
//! request.

use super::{
    Flow, Head, InvalidField,
    rewrite::{bad_request, path_of},
};

/// Traefik's `addPrefix`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPrefix {
    /// Normalised, without a slash at its end.
    prefix: Box<str>,
}

impl AddPrefix {
    /// A missing slash at the start of the prefix is added. What can't stand in a path means its percent-encoding.
    ///
    /// # Errors
    /// [`InvalidField`] `prefix` where it is empty, has a control character or leaves the root.
    pub fn new(prefix: &str) -> Result<Self, InvalidField> {
        if prefix.is_empty() {
            return Err(InvalidField::new("prefix", "the prefix is missing", "Write one, such as /api"));
        }
        let path = path_of("prefix", prefix)?;
        Ok(Self { prefix: path.trim_end_matches('/').into() })
    }

    /// Puts the prefix before the path. The query stays.
    pub fn request(&self, head: &mut Head) -> Flow {
        let path = format!("{}{}", self.prefix, head.target.path());
        match head.target.rewrite(&path) {
            Ok(()) => Flow::Continue,
            Err(_) => bad_request(),
        }
    }
}

#[cfg(test)]
mod tests;
