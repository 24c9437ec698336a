//! `stripPrefix`: removes a prefix from the path, and tells the backend which.
//!
//! The prefix is compared by character, as Traefik does (`/api` also strips `/apiary`), with the normalised path; what
//! is left is normalised again, and a path that leaves the root is refused.

use http::HeaderValue;

use super::{
    Flow, Head, InvalidField,
    rewrite::{X_FORWARDED_PREFIX, bad_request},
};
use crate::target::encode;

/// Traefik's `stripPrefix`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StripPrefix {
    prefixes: Box<[Prefix]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefix {
    /// As it stands in a normalised path that a careful client sent.
    path: String,
    /// As written, for a client that doesn't encode what it should; none where that is the same, or has a `%` (which
    /// might match half of an escape).
    written: Option<String>,
    /// As the backend is told.
    header: HeaderValue,
}

impl StripPrefix {
    /// The first of `prefixes` that matches is removed. Text that can't stand in a path (a space, `é`) means its
    /// percent-encoding; an empty prefix is skipped. Traefik's `forceSlash` needs no argument: a stripped path starts
    /// with exactly one slash either way.
    ///
    /// # Errors
    /// [`InvalidField`] for a prefix with a control byte, which no path can have.
    pub fn new(prefixes: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidField> {
        let mut kept = Vec::new();
        for (index, prefix) in prefixes.into_iter().enumerate() {
            let prefix = prefix.as_ref();
            if prefix.is_empty() {
                continue;
            }
            let header = HeaderValue::from_bytes(prefix.trim().as_bytes()).map_err(|_| {
                let message = format!("`{}` has a control character", prefix.escape_debug());
                InvalidField::new(format!("prefixes[{index}]"), message, "Remove it")
            })?;
            let path = encode(prefix);
            let written = (path != prefix && !prefix.contains('%')).then(|| prefix.to_owned());
            kept.push(Prefix { path, written, header });
        }
        Ok(Self { prefixes: kept.into() })
    }

    /// Strips the path and adds X-Forwarded-Prefix. A path that leaves the root then (`/api../x` without `/api`) is
    /// 400, with an empty body.
    pub fn request(&self, head: &mut Head) -> Flow {
        let path = head.target.path();
        let Some((prefix, rest)) = self.prefixes.iter().find_map(|p| Some((p, p.strip(path)?.to_owned()))) else {
            return Flow::Continue;
        };
        if head.target.rewrite(&rest).is_err() {
            return bad_request();
        }
        head.headers.append(X_FORWARDED_PREFIX, prefix.header.clone());
        Flow::Continue
    }
}

impl Prefix {
    fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(self.path.as_str()).or_else(|| path.strip_prefix(self.written.as_deref()?))
    }
}

#[cfg(test)]
mod tests;
