//! `replacePath`: the same path for every request; the backend is told the old one.

use super::{
    Flow, Head, InvalidField,
    rewrite::{path_of, replace, whole_escapes},
};

/// Traefik's `replacePath`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplacePath {
    /// Normalised.
    path: Box<str>,
}

impl ReplacePath {
    /// An empty path is `/`. It has no query: a `?` in it is encoded, as in Traefik.
    ///
    /// # Errors
    /// [`InvalidField`] `path` where it leaves the root, has a control character, or a `%` that begins no escape.
    pub fn new(path: &str) -> Result<Self, InvalidField> {
        whole_escapes("path", path)?;
        Ok(Self { path: path_of("path", path)?.into() })
    }

    /// Replaces the path; the old one goes to X-Replaced-Path. The query stays.
    pub fn request(&self, head: &mut Head) -> Flow {
        replace(head, &self.path)
    }
}

#[cfg(test)]
mod tests;
