//! The types of a Middleware that change the form of answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Deprecated, no effect: the type is guessed where this Middleware is.
    pub auto_detect: Option<bool>,
}

/// Translates gRPC-Web to gRPC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrpcWeb {
    /// The origins whose pages may call, or `*`.
    pub allow_origins: Option<Vec<String>>,
}
