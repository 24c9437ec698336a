//! The types of a Middleware that answer with a redirect.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{IntOrString, text_or_integer};

/// Redirects to another scheme or port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectScheme {
    /// The scheme to redirect to: http or https.
    pub scheme: Option<String>,
    /// The port to redirect to. Without it, the scheme's own.
    #[serde(default, deserialize_with = "text_or_integer")]
    #[schemars(with = "Option<IntOrString>")]
    pub port: Option<String>,
    /// Whether browsers may remember the redirect: 301 or 308 in place of 302 or 307.
    pub permanent: Option<bool>,
}

/// Redirects by a regular expression over the whole URL.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectRegex {
    /// The regular expression, matched against scheme://host:port/path?query.
    pub regex: Option<String>,
    /// The URL to redirect to, with $1 and the like for groups of the expression.
    pub replacement: Option<String>,
    /// Whether browsers may remember the redirect: 301 or 308 in place of 302 or 307.
    pub permanent: Option<bool>,
}
