//! `spec.chain` of a Middleware, and how one Middleware names another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Its namespace. Without it, that of the Middleware that names it.
    pub namespace: Option<String>,
}
