//! The types of a Middleware that change the form of answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NoEffect;

/// Compresses answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compress {
    /// Content types that are not compressed; application/grpc never is.
    pub excluded_content_types: Option<Vec<String>>,
    /// The only content types that are compressed. Not together with excludedContentTypes.
    pub included_content_types: Option<Vec<String>>,
    /// How many bytes an answer has at least to be compressed. Default: 1024.
    #[schemars(range(min = 0))]
    pub min_response_body_bytes: Option<i64>,
    /// The encodings to use, the preferred first. Default: gzip, br, zstd.
    pub encodings: Option<Vec<String>>,
    /// The encoding for clients that send no Accept-Encoding or accept any. Without it, such answers stay as they are,
    /// or take the first of encodings.
    pub default_encoding: Option<String>,
}

/// Guesses the type of answers that have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentType {
    /// Deprecated: the type is guessed where this Middleware is. With false, it does nothing.
    pub auto_detect: Option<bool>,
}

impl ContentType {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Option<NoEffect> {
        let field = "spec.contentType.autoDetect";
        Some(match self.auto_detect? {
            true => NoEffect::new(field, "is deprecated and has no effect", "Remove it: the type is guessed anyway"),
            false => {
                let message = "is deprecated and makes the Middleware do nothing";
                NoEffect::new(field, message, "Remove the Middleware, or the field if types are to be guessed")
            }
        })
    }
}

/// Translates gRPC-Web to gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcWeb {
    /// The origins whose pages may call, or `*`.
    pub allow_origins: Option<Vec<String>>,
}

impl GrpcWeb {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let listed = self.allow_origins.iter().flatten().enumerate();
        let odd = listed.filter(|(_, origin)| !matches!(origin.as_str(), "*" | "null") && !is_origin(origin));
        odd.map(|(index, origin)| NoEffect {
            field: format!("spec.grpcWeb.allowOrigins[{index}]"),
            message: format!("`{}` is no origin that a browser sends, so it allows nothing", origin.escape_debug()),
            help: "Write it as https://example.com or http://example.com:8080, in lower case, without a slash at its \
                   end; or * for all",
        })
        .collect()
    }
}

/// An origin as browsers write it (RFC 6454 §6.2): scheme and host in lower case, perhaps a port, nothing else.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let in_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let in_host = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._:[]".contains(&b);
    !scheme.is_empty() && scheme.bytes().all(in_scheme) && !host.is_empty() && host.bytes().all(in_host)
}
