//! `spec.sticky` of a Middleware, Headgate's own type: the cookie that keeps a client on its pod. Its fields are those
//! of Traefik's `sticky.cookie` elsewhere, and two more.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// Sticky sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sticky {
    /// The cookie that names the pod.
    pub cookie: Option<Cookie>,
}

/// The cookie of a sticky session. Its value is signed, and chosen by Headgate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cookie {
    /// The name of the cookie. Without it, it is derived from the Service's name, as Traefik does.
    #[schemars(extend("x-kubernetes-validations" = name()))]
    pub name: Option<String>,
    /// Sets the attribute Secure: browsers send the cookie over https only.
    pub secure: Option<bool>,
    /// Sets the attribute HttpOnly: scripts in the page can't read the cookie.
    pub http_only: Option<bool>,
    /// The attribute SameSite: none, lax or strict. Without it, browsers take lax.
    pub same_site: Option<SameSite>,
    /// Sets the attribute Max-Age, in seconds. 0 or absent: until the browser closes. Negative: the cookie is dropped
    /// at once.
    pub max_age: Option<i64>,
    /// Sets the attribute Path. Without it, `/`.
    #[schemars(extend("x-kubernetes-validations" = path()))]
    pub path: Option<String>,
    /// Sets the attribute Domain. Without it, the cookie is for the exact host.
    #[schemars(extend("x-kubernetes-validations" = domain()))]
    pub domain: Option<String>,
    /// Sends the cookie with each answer, so that maxAge counts from the last request (Headgate's own option).
    pub slide: Option<bool>,
    /// Removes the cookie from requests before they reach the pod (Headgate's own option).
    pub strip: Option<bool>,
}

/// RFC 6265 §4.1.1: a token. Empty counts as absent.
fn name() -> Value {
    json!([{
        "rule": r"self.matches(r'^[!#$%&\x27*+.^_`|~0-9A-Za-z-]*$')",
        "message": "a cookie's name is of letters, digits and !#$%&'*+-.^_`|~, without spaces",
    }])
}

/// RFC 6265 §4.1.1: no semicolon, no control character; and no comma, as `compile` asks.
fn path() -> Value {
    json!([
        { "rule": r"!self.matches(r'[;,\p{Cc}]')", "message": NO_ATTRIBUTE },
        { "rule": "self == '' || self.startsWith('/')", "message": "a cookie's path starts with /" },
    ])
}

fn domain() -> Value {
    json!([{ "rule": r"!self.matches(r'[;,\p{Cc}]')", "message": NO_ATTRIBUTE }])
}

const NO_ATTRIBUTE: &str = "a cookie has no semicolon, no comma and no control character in it";

/// The attribute SameSite of a cookie. Without it, browsers take lax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Sent with all requests; browsers ask for Secure beside it.
    None,
    /// Sent when a link leads to the site.
    Lax,
    /// Sent only from within the site.
    Strict,
}

/// In any letter case: `Lax` is what cookies themselves say.
impl<'de> Deserialize<'de> for SameSite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        match word.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "lax" => Ok(Self::Lax),
            "strict" => Ok(Self::Strict),
            _ => Err(serde::de::Error::unknown_variant(&word, &["none", "lax", "strict"])),
        }
    }
}

impl JsonSchema for SameSite {
    fn schema_name() -> Cow<'static, str> {
        "SameSite".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "x-kubernetes-validations": [{
                "rule": "self.matches('^(?i:none|lax|strict)$')",
                "message": "must be none, lax or strict",
            }],
        })
    }
}
