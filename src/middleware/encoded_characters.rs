//! `encodedCharacters`: refuses paths with percent-encoded characters that a backend may take for syntax.
//!
//! The normalisation leaves exactly these escapes in a path, with digits in upper case, so that there is one spelling of
//! each to look for. `%00` never gets here: it is refused at admission.

use super::{Flow, Head, rewrite::bad_request};

/// The characters that may stand in a path in encoded form: Traefik's fields without `allowEncoded`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `%2F`
    pub slash: bool,
    /// `%5C`
    pub back_slash: bool,
    /// `%3B`
    pub semicolon: bool,
    /// `%25`
    pub percent: bool,
    /// `%3F`
    pub question_mark: bool,
    /// `%23`
    pub hash: bool,
}

/// Traefik's `encodedCharacters`, ready to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedCharacters {
    allowed: Allowed,
}

impl EncodedCharacters {
    /// Refuses what is not allowed.
    pub fn new(allowed: Allowed) -> Self {
        Self { allowed }
    }

    /// A path with an escape that is not allowed is 400, with an empty body. The query is not looked at.
    pub fn request(&self, head: &mut Head) -> Flow {
        // Every escape begins with a `%`, and no `%` is anything else: an encoded one is `%25`.
        let mut escapes = head.target.path().split('%').skip(1);
        if escapes.any(|escape| escape.get(..2).is_some_and(|digits| self.refuses(digits))) {
            return bad_request();
        }
        Flow::Continue
    }

    fn refuses(&self, digits: &str) -> bool {
        let allowed = match digits {
            "2F" => self.allowed.slash,
            "5C" => self.allowed.back_slash,
            "3B" => self.allowed.semicolon,
            "25" => self.allowed.percent,
            "3F" => self.allowed.question_mark,
            "23" => self.allowed.hash,
            _ => true,
        };
        !allowed
    }
}

#[cfg(test)]
mod tests;
