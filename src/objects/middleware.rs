//! The Middleware custom resource, `traefik.io/v1alpha1`: Traefik's fields with Traefik's names, and `sticky`.
//!
//! [`MiddlewareSpec`] is at once the source of crds/ (`super::crd` prints its schema, so that these docstrings are
//! what `kubectl explain` shows) and what manifests and API answers are read into. Types that are not served yet are
//! kept as they came, so that `compile` can name them. Whether values make sense is for `compile` and `middleware`.

mod headers;

use std::borrow::Cow;

use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

pub use headers::Headers;

use super::{Meta, null_default};

/// `traefik.io/v1alpha1` Middleware, as it was written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Middleware {
    /// `metadata`
    pub meta: Meta,
    /// `spec`
    pub spec: MiddlewareSpec,
    /// Paths of the fields inside `spec` that this version does not know (`spec.headers.frameDenny`), in their order.
    /// They do nothing, so that a Middleware that has one is not the one that was meant.
    pub unknown: Vec<String>,
}

impl<'de> Deserialize<'de> for Middleware {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(rename = "metadata", default)]
            meta: Meta,
            #[serde(default, deserialize_with = "null_default")]
            spec: MiddlewareSpec,
        }
        let mut unknown = Vec::new();
        let mut note = |path: serde_ignored::Path<'_>| {
            // An optional section is a `?` of its own in these paths.
            let path = path.to_string().replace(".?", "");
            if path.starts_with("spec.") {
                unknown.push(path);
            }
        };
        let Raw { meta, spec } = Raw::deserialize(serde_ignored::Deserializer::new(deserializer, &mut note))?;
        Ok(Self { meta, spec, unknown })
    }
}

/// What the middleware does: exactly one of these types.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "traefik.io",
    version = "v1alpha1",
    kind = "Middleware",
    root = "MiddlewareResource",
    plural = "middlewares",
    singular = "middleware",
    namespaced,
    doc = "A Middleware changes or answers requests before they reach a backend. Ingresses name it in the annotation \
           traefik.ingress.kubernetes.io/router.middlewares as NAMESPACE-NAME@kubernetescrd."
)]
#[serde(rename_all = "camelCase")]
pub struct MiddlewareSpec {
    /// Keeps a client on the pod that answered it first, by a signed cookie (Headgate's own type).
    pub sticky: Option<Sticky>,
    /// Sets and removes headers of requests and answers, answers CORS preflights, sets security headers.
    pub headers: Option<Headers>,
    /// Redirects requests that come by another scheme or port.
    pub redirect_scheme: Option<RedirectScheme>,
    /// Removes a prefix from the path before the request is forwarded.
    pub strip_prefix: Option<StripPrefix>,
    /// Asks for a user name and password.
    pub basic_auth: Option<BasicAuth>,
    /// Several middlewares under one name.
    pub chain: Option<Chain>,
    /// Puts a prefix before the path.
    pub add_prefix: Option<Later>,
    /// Removes what a regular expression matches from the start of the path.
    pub strip_prefix_regex: Option<Later>,
    /// Replaces the path.
    pub replace_path: Option<Later>,
    /// Replaces the path by a regular expression.
    pub replace_path_regex: Option<Later>,
    /// Redirects by a regular expression over the whole URL.
    pub redirect_regex: Option<Later>,
    /// Asks for a user name and password by HTTP Digest.
    pub digest_auth: Option<Later>,
    /// Asks another server whether a request may pass.
    pub forward_auth: Option<Later>,
    /// Lets only some client addresses pass.
    pub ip_allow_list: Option<Later>,
    /// Deprecated name of ipAllowList.
    pub ip_white_list: Option<Later>,
    /// Limits how many requests come in a time.
    pub rate_limit: Option<Later>,
    /// Limits how many requests run at once.
    pub in_flight_req: Option<Later>,
    /// Reads whole requests and answers before it passes them on.
    pub buffering: Option<Later>,
    /// Stops asking a backend that fails.
    pub circuit_breaker: Option<Later>,
    /// Compresses answers.
    pub compress: Option<Later>,
    /// Guesses the type of answers that have none.
    pub content_type: Option<Later>,
    /// Shows pages of another service in place of errors.
    pub errors: Option<Later>,
    /// Tries a failed request again.
    pub retry: Option<Later>,
    /// Tells the backend about the client's certificate.
    #[serde(rename = "passTLSClientCert")]
    pub pass_tls_client_cert: Option<Later>,
    /// Translates gRPC-Web to gRPC.
    pub grpc_web: Option<Later>,
    /// Allows or refuses reserved characters in encoded form.
    pub encoded_characters: Option<Later>,
    /// Configuration of a Traefik plugin.
    pub plugin: Option<Later>,
}

impl MiddlewareSpec {
    /// The types that are set, by their field names. Traefik's rule is that there is exactly one; an empty section
    /// (`compress: {}`) counts, `null` does not, as the API server drops it.
    pub fn kinds(&self) -> Vec<&'static str> {
        let all = [
            ("sticky", self.sticky.is_some()),
            ("headers", self.headers.is_some()),
            ("redirectScheme", self.redirect_scheme.is_some()),
            ("stripPrefix", self.strip_prefix.is_some()),
            ("basicAuth", self.basic_auth.is_some()),
            ("chain", self.chain.is_some()),
            ("addPrefix", self.add_prefix.is_some()),
            ("stripPrefixRegex", self.strip_prefix_regex.is_some()),
            ("replacePath", self.replace_path.is_some()),
            ("replacePathRegex", self.replace_path_regex.is_some()),
            ("redirectRegex", self.redirect_regex.is_some()),
            ("digestAuth", self.digest_auth.is_some()),
            ("forwardAuth", self.forward_auth.is_some()),
            ("ipAllowList", self.ip_allow_list.is_some()),
            ("ipWhiteList", self.ip_white_list.is_some()),
            ("rateLimit", self.rate_limit.is_some()),
            ("inFlightReq", self.in_flight_req.is_some()),
            ("buffering", self.buffering.is_some()),
            ("circuitBreaker", self.circuit_breaker.is_some()),
            ("compress", self.compress.is_some()),
            ("contentType", self.content_type.is_some()),
            ("errors", self.errors.is_some()),
            ("retry", self.retry.is_some()),
            ("passTLSClientCert", self.pass_tls_client_cert.is_some()),
            ("grpcWeb", self.grpc_web.is_some()),
            ("encodedCharacters", self.encoded_characters.is_some()),
            ("plugin", self.plugin.is_some()),
        ];
        all.into_iter().filter_map(|(name, set)| set.then_some(name)).collect()
    }

    /// The Secrets that are named, all in the Middleware's own namespace.
    pub fn secrets(&self) -> Vec<&str> {
        self.basic_auth.iter().filter_map(|auth| auth.secret.as_deref()).collect()
    }

    /// What was written, is valid, and does nothing: for warnings.
    pub fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = self.headers.as_ref().map(Headers::without_effect).unwrap_or_default();
        if self.sticky.as_ref().is_some_and(|s| s.cookie.is_none()) {
            found.push(NoEffect::new(
                "spec.sticky",
                "has no cookie, so nothing sticks",
                "Write `cookie: {}` for defaults",
            ));
        }
        if let Some(strip) = &self.strip_prefix {
            if strip.prefixes.iter().flatten().all(String::is_empty) {
                let help = "Write the prefixes, or remove the Middleware";
                found.push(NoEffect::new("spec.stripPrefix.prefixes", "names no prefix, so nothing is stripped", help));
            }
            if strip.force_slash.is_some() {
                let help = "Remove it: a stripped path always starts with one slash";
                found.push(NoEffect::new("spec.stripPrefix.forceSlash", "is deprecated and has no effect", help));
            }
            for (index, prefix) in strip.prefixes.iter().flatten().enumerate().filter(|(_, p)| !p.starts_with('/')) {
                let message = format!("`{}` never matches, because paths start with a slash", prefix.escape_debug());
                let field = format!("spec.stripPrefix.prefixes[{index}]");
                found.push(NoEffect { field, message, help: "Write a slash before it" });
            }
        }
        found
    }
}

/// A field that is valid and does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoEffect {
    /// The path of the field: `spec.headers.sslRedirect`.
    pub field: String,
    /// Why, to be read after the field's name.
    pub message: String,
    /// What to do.
    pub help: &'static str,
}

impl NoEffect {
    fn new(field: impl Into<String>, message: &str, help: &'static str) -> Self {
        Self { field: field.into(), message: message.to_owned(), help }
    }
}

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
    pub name: Option<String>,
    /// Sets the attribute Secure: browsers send the cookie over https only.
    pub secure: Option<bool>,
    /// Sets the attribute HttpOnly: scripts in the page can't read the cookie.
    pub http_only: Option<bool>,
    /// The attribute SameSite. Without it, browsers take lax.
    pub same_site: Option<SameSite>,
    /// Sets the attribute Max-Age, in seconds. 0 or absent: until the browser closes. Negative: the cookie is dropped
    /// at once.
    pub max_age: Option<i64>,
    /// Sets the attribute Path. Without it, `/`.
    pub path: Option<String>,
    /// Sets the attribute Domain. Without it, the cookie is for the exact host.
    pub domain: Option<String>,
    /// Sends the cookie with each answer, so that maxAge counts from the last request (Headgate's own option).
    pub slide: Option<bool>,
    /// Removes the cookie from requests before they reach the pod (Headgate's own option).
    pub strip: Option<bool>,
}

/// The attribute SameSite of a cookie. Without it, browsers take lax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// Redirects to another scheme or port.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedirectScheme {
    /// The scheme to redirect to: http or https.
    pub scheme: Option<String>,
    /// The port to redirect to. Without it, the scheme's own.
    #[serde(default, deserialize_with = "text_or_integer")]
    #[schemars(schema_with = "int_or_string")]
    pub port: Option<String>,
    /// Whether browsers may remember the redirect: 301 or 308 in place of 302 or 307.
    pub permanent: Option<bool>,
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

/// HTTP Basic authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BasicAuth {
    /// The Secret with the users, in the Middleware's namespace: of type kubernetes.io/basic-auth, or with one key that
    /// holds htpasswd lines (bcrypt, MD5, SHA1).
    pub secret: Option<String>,
    /// The realm that browsers show. Without it, traefik.
    pub realm: Option<String>,
    /// Removes the Authorization header before the request is forwarded.
    pub remove_header: Option<bool>,
    /// The request header that tells the backend the user's name.
    pub header_field: Option<String>,
}

/// Several middlewares under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chain {
    /// The middlewares, the first outermost.
    pub middlewares: Option<Vec<MiddlewareRef>>,
}

/// The name of a Middleware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MiddlewareRef {
    /// Its name.
    pub name: String,
    /// Its namespace. Without it, that of the chain.
    pub namespace: Option<String>,
}

/// A type of Traefik's that is not served yet: kept as it came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Later(pub serde_json::Map<String, serde_json::Value>);

impl JsonSchema for Later {
    fn schema_name() -> Cow<'static, str> {
        "Later".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}

fn int_or_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-int-or-string": true })
}

/// Text, or a whole number as people write it for ports.
fn text_or_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a whole number")]
    enum Either {
        Text(String),
        Integer(i64),
    }
    Ok(Option::<Either>::deserialize(deserializer)?.map(|value| match value {
        Either::Text(text) => text,
        Either::Integer(number) => number.to_string(),
    }))
}

#[cfg(test)]
mod tests;
