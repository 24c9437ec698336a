//! `stripPrefixRegex`: removes what a regular expression matches at the start of the path, and tells the backend what.
//!
//! The expressions are matched with the normalised path in its encoded form. What is left is normalised again, and a
//! path that leaves the root is refused.

use http::HeaderValue;
use regex::Regex;

use super::{
    Flow, Head, InvalidField, pattern,
    rewrite::{X_FORWARDED_PREFIX, bad_request},
};

/// So many expressions, each of which may take a megabyte, are enough for one Middleware.
const MOST: usize = 100;

/// Traefik's `stripPrefixRegex`, ready to run.
#[derive(Clone, Debug)]
pub struct StripPrefixRegex {
    expressions: Box<[Regex]>,
}

impl StripPrefixRegex {
    /// The first of `expressions` whose leftmost match is the start of the path is used. White space around them is
    /// ignored, as in Traefik.
    ///
    /// # Errors
    /// [`InvalidField`] `regex[N]` for one that doesn't parse or is too big; `regex` where there are too many.
    pub fn new(expressions: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidField> {
        let mut kept = Vec::new();
        for (index, expression) in expressions.into_iter().enumerate() {
            if index == MOST {
                let message = format!("there are more than {MOST} expressions");
                return Err(InvalidField::new("regex", message, "Write several prefixes into one: /(a|b)"));
            }
            kept.push(pattern::compile(&format!("regex[{index}]"), expression.as_ref().trim())?);
        }
        Ok(Self { expressions: kept.into() })
    }

    /// Strips the path and adds X-Forwarded-Prefix. A path that leaves the root then is 400, with an empty body.
    pub fn request(&self, head: &mut Head) -> Flow {
        let path = head.target.path();
        let Some((prefix, rest)) = self.expressions.iter().find_map(|e| split(e, path)) else { return Flow::Continue };
        let (told, rest) = (HeaderValue::from_bytes(prefix.as_bytes()), rest.to_owned());
        match (told, head.target.rewrite(&rest)) {
            (Ok(told), Ok(())) => {
                head.headers.append(X_FORWARDED_PREFIX, told);
                Flow::Continue
            }
            _ => bad_request(),
        }
    }
}

/// The path before and after the end of a match at its start. One that is empty, or ends inside of an escape (which
/// would leave half of it), is none.
fn split<'a>(expression: &Regex, path: &'a str) -> Option<(&'a str, &'a str)> {
    let found = expression.find(path).filter(|found| found.start() == 0 && !found.is_empty())?;
    let (prefix, rest) = path.split_at_checked(found.end())?;
    let cut = prefix.bytes().rev().take(2).any(|byte| byte == b'%');
    (!cut).then_some((prefix, rest))
}

#[cfg(test)]
mod tests;
