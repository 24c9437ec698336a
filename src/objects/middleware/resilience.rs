//! The types of a Middleware that deal with backends that fail.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    NoEffect,
    values::{Duration, StatusRange},
};

/// Stops asking a backend that fails, for a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CircuitBreaker {
    /// When it opens, such as NetworkErrorRatio() > 0.30 || LatencyAtQuantileMS(50.0) > 100.
    pub expression: Option<String>,
    /// How often the expression is looked at. Default: 100ms.
    pub check_period: Option<Duration>,
    /// How long it stays open. Default: 10s.
    pub fallback_duration: Option<Duration>,
    /// Over how long it lets more and more requests pass after that. Default: 10s.
    pub recovery_duration: Option<Duration>,
    /// The status that requests get while it is open. Default: 503.
    #[schemars(range(min = 100, max = 599))]
    pub response_code: Option<i64>,
}

/// Tries a failed request again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often a request is tried in all: 1 is no second try.
    #[schemars(range(min = 0))]
    pub attempts: Option<i64>,
    /// How long to wait before the second try; each further wait is longer, up to twice this. Default: not at all.
    pub initial_interval: Option<Duration>,
    /// How long all tries may take together. Default: 0, any time.
    pub timeout: Option<Duration>,
    /// Answers that are tried again as well: codes and ranges, such as 502 and 500-599.
    pub status: Option<Vec<StatusRange>>,
    /// The most bytes of a body that is kept for another try because of a status. -1 is any.
    #[schemars(range(min = -1))]
    pub max_request_body_bytes: Option<i64>,
    /// Doesn't try again when the backend can't be reached. Default: false.
    pub disable_retry_on_network_error: Option<bool>,
    /// Also tries POST, PATCH and LOCK again because of a status. Default: false.
    pub retry_non_idempotent_method: Option<bool>,
}

impl Retry {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = Vec::new();
        if self.attempts == Some(1) {
            let help = "Write the tries in all, the first included";
            found.push(NoEffect::new("spec.retry.attempts", "is one try in all: nothing is tried again", help));
        }
        if self.status.as_deref().unwrap_or_default().is_empty() {
            let mut idle = |field: &str| {
                let help = "Name the statuses to try again, or remove it";
                found.push(NoEffect::new(format!("spec.retry.{field}"), "counts only where `status` names some", help));
            };
            if self.max_request_body_bytes.is_some() {
                idle("maxRequestBodyBytes");
            }
            if self.retry_non_idempotent_method.is_some() {
                idle("retryNonIdempotentMethod");
            }
        }
        found
    }
}
