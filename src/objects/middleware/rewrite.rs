//! The types of a Middleware that change the path of a request, and the one that says which encoded characters it may
//! have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NoEffect;

/// Puts a prefix before the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddPrefix {
    /// The prefix to put before the path; a leading slash is added if it has none. Required by Traefik as well, though
    /// its schema doesn't say so.
    pub prefix: Option<String>,
}

impl AddPrefix {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Option<NoEffect> {
        let slashes = |prefix: &String| !prefix.is_empty() && prefix.bytes().all(|b| b == b'/');
        let help = "Write a prefix, or remove the Middleware";
        self.prefix.as_ref().filter(|p| slashes(p)).map(|_| {
            NoEffect::new("spec.addPrefix.prefix", "adds nothing, because every path starts with a slash", help)
        })
    }
}

/// Removes prefixes from the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StripPrefix {
    /// Prefixes, compared by character; the first that matches is removed, and sent in X-Forwarded-Prefix.
    pub prefixes: Option<Vec<String>>,
    /// Deprecated, no effect: a stripped path always starts with one slash.
    pub force_slash: Option<bool>,
}

impl StripPrefix {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = Vec::new();
        if self.prefixes.iter().flatten().all(String::is_empty) {
            let help = "Write the prefixes, or remove the Middleware";
            found.push(NoEffect::new("spec.stripPrefix.prefixes", "names no prefix, so nothing is stripped", help));
        }
        if self.force_slash.is_some() {
            let help = "Remove it: a stripped path always starts with one slash";
            found.push(NoEffect::new("spec.stripPrefix.forceSlash", "is deprecated and has no effect", help));
        }
        for (index, prefix) in self.prefixes.iter().flatten().enumerate().filter(|(_, p)| !p.starts_with('/')) {
            let message = format!("`{}` never matches, because paths start with a slash", prefix.escape_debug());
            let field = format!("spec.stripPrefix.prefixes[{index}]");
            found.push(NoEffect { field, message, help: "Write a slash before it" });
        }
        found
    }
}

/// Removes what a regular expression matches from the start of the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StripPrefixRegex {
    /// Regular expressions; the first that matches at the very start of the path has its match removed, which is sent
    /// in X-Forwarded-Prefix.
    pub regex: Option<Vec<String>>,
}

impl StripPrefixRegex {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Option<NoEffect> {
        let help = "Write an expression, or remove the Middleware";
        let none = self.regex.iter().flatten().next().is_none();
        none.then(|| NoEffect::new("spec.stripPrefixRegex.regex", "has no expression, so nothing is stripped", help))
    }
}

/// Replaces the path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacePath {
    /// The new path; `/` without it. The old one is sent in X-Replaced-Path.
    pub path: Option<String>,
}

/// Replaces the path by a regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplacePathRegex {
    /// The regular expression; everything in the path that it matches is replaced.
    pub regex: Option<String>,
    /// What a match becomes, with $1 and the like for groups of the expression. The old path is sent in X-Replaced-Path.
    pub replacement: Option<String>,
}

/// Which reserved characters may stand in the path in encoded form. Those not allowed here are answered with 400.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncodedCharacters {
    /// Allows %2F, an encoded slash. Default: false.
    pub allow_encoded_slash: Option<bool>,
    /// Allows %5C, an encoded backslash. Default: false.
    pub allow_encoded_back_slash: Option<bool>,
    /// No effect: %00, an encoded null character, is always refused.
    pub allow_encoded_null_character: Option<bool>,
    /// Allows %3B, an encoded semicolon. Default: false.
    pub allow_encoded_semicolon: Option<bool>,
    /// Allows %25, an encoded percent sign. Default: false.
    pub allow_encoded_percent: Option<bool>,
    /// Allows %3F, an encoded question mark. Default: false.
    pub allow_encoded_question_mark: Option<bool>,
    /// Allows %23, an encoded number sign. Default: false.
    pub allow_encoded_hash: Option<bool>,
}

impl EncodedCharacters {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Option<NoEffect> {
        let field = "spec.encodedCharacters.allowEncodedNullCharacter";
        let help = "Remove it: no application should get such a path";
        self.allow_encoded_null_character
            .filter(|allowed| *allowed)
            .map(|_| NoEffect::new(field, "has no effect, because %00 in a path is always refused (400)", help))
    }
}
