//! The types of a Middleware that limit how much comes: in a time, at once, and in size.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NoEffect, auth::ClientTls, ip::SourceCriterion, values::Duration};

/// Limits how many requests come from a source in a time. The rest get 429.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RateLimit {
    /// How many requests may come in a period, on average. Default: 0, any number.
    #[schemars(range(min = 0))]
    pub average: Option<i64>,
    /// The period that average is counted over. Default: 1s.
    pub period: Option<Duration>,
    /// How many requests may come at the same moment. Default: 1.
    #[schemars(range(min = 0))]
    pub burst: Option<i64>,
    /// What makes requests come from the same source. Without it, the client's address.
    pub source_criterion: Option<SourceCriterion>,
    /// Counts in a Redis, shared by all replicas. Without it, each replica counts by itself.
    pub redis: Option<Redis>,
}

impl RateLimit {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let criterion = self.source_criterion.iter();
        let mut found: Vec<NoEffect> = criterion.flat_map(|by| by.without_effect("spec.rateLimit")).collect();
        if self.average.unwrap_or(0) == 0 {
            let help = "Write how many requests may come in a period, or remove the Middleware";
            found.push(NoEffect::new("spec.rateLimit.average", "is 0, so nothing is limited", help));
        }
        found
    }
}

/// A Redis that requests are counted in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// Its addresses, as host:port. Default: localhost:6379.
    pub endpoints: Option<Vec<String>>,
    /// How connections to it are secured.
    pub tls: Option<ClientTls>,
    /// The Secret with its username and password.
    pub secret: Option<String>,
    /// The number of the database. Default: 0.
    pub db: Option<i64>,
    /// How many connections are kept. Default: 0, ten for each processor.
    pub pool_size: Option<i64>,
    /// How many idle connections are kept at least. Default: 0.
    pub min_idle_conns: Option<i64>,
    /// How many connections there are at most. Default: 0, any number.
    pub max_active_conns: Option<i64>,
    /// How long an answer may take. Default: 3s.
    pub read_timeout: Option<Duration>,
    /// How long sending may take. Default: 3s.
    pub write_timeout: Option<Duration>,
    /// How long connecting may take. Default: 5s.
    pub dial_timeout: Option<Duration>,
}

/// Limits how many requests of a source run at once. The rest get 429.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlightReq {
    /// How many requests may run at once.
    pub amount: Option<i64>,
    /// What makes requests come from the same source. Without it, the host of the request.
    pub source_criterion: Option<SourceCriterion>,
}

impl InFlightReq {
    /// What was written and does nothing, and a limit that was not written.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let criterion = self.source_criterion.iter();
        let mut found: Vec<NoEffect> = criterion.flat_map(|by| by.without_effect("spec.inFlightReq")).collect();
        if self.amount.is_none() {
            let help = "Write how many requests may run at once; `amount: 0` if it is to be none";
            found.push(NoEffect::new(
                "spec.inFlightReq.amount",
                "is not there, so every request is refused (429)",
                help,
            ));
        }
        found
    }
}

/// Reads whole requests and answers before it passes them on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Buffering {
    /// The most bytes of a request's body; a longer one is refused with 413. Default: 0, any.
    pub max_request_body_bytes: Option<i64>,
    /// How many bytes of a request's body are kept in memory; the rest is on disk. Default: 1048576.
    pub mem_request_body_bytes: Option<i64>,
    /// The most bytes of an answer's body; a longer one is an error for the client. Default: 0, any.
    pub max_response_body_bytes: Option<i64>,
    /// How many bytes of an answer's body are kept in memory; the rest is on disk. Default: 1048576.
    pub mem_response_body_bytes: Option<i64>,
    /// When to try again, such as IsNetworkError() && Attempts() <= 2.
    pub retry_expression: Option<String>,
}
