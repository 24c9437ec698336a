//! The types of a Middleware that look at the client's address, and how a client is told from others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NoEffect;

/// Lets only some client addresses pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpAllowList {
    /// The addresses that may pass, and networks of them as CIDR (10.0.0.0/8).
    pub source_range: Option<Vec<String>>,
    /// Which address is the client's. Without it, the one that the connection comes from.
    pub ip_strategy: Option<IpStrategy>,
    /// The status that others get. Default: 403.
    pub reject_status_code: Option<i64>,
}

impl IpAllowList {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        self.ip_strategy.iter().flat_map(|by| by.without_effect("spec.ipAllowList")).collect()
    }
}

/// Deprecated name of ipAllowList.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpWhiteList {
    /// The addresses that may pass, and networks of them as CIDR (10.0.0.0/8).
    pub source_range: Option<Vec<String>>,
    /// Which address is the client's. Without it, the one that the connection comes from.
    pub ip_strategy: Option<IpStrategy>,
}

impl IpWhiteList {
    /// What was written and does nothing.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        self.ip_strategy.iter().flat_map(|by| by.without_effect("spec.ipWhiteList")).collect()
    }
}

/// Which address is the client's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpStrategy {
    /// Takes the address at this place of X-Forwarded-For, counted from the right and from 1. Default: 0, the address
    /// that the connection comes from.
    #[schemars(range(min = 0))]
    pub depth: Option<i64>,
    /// Takes the first address of X-Forwarded-For, from the right, that is not one of these. Ignored beside depth.
    #[serde(rename = "excludedIPs")]
    pub excluded_ips: Option<Vec<String>>,
    /// Takes all IPv6 addresses of a network of this prefix length (1 to 128) for one client.
    pub ipv6_subnet: Option<i64>,
}

impl IpStrategy {
    /// What was written, in this section, and does nothing.
    fn without_effect(&self, section: &str) -> Vec<NoEffect> {
        let mut found = Vec::new();
        let by_depth = self.depth.is_some_and(|depth| depth > 0);
        let by_list = self.excluded_ips.as_ref().is_some_and(|list| !list.is_empty());
        if by_depth && by_list {
            let field = format!("{section}.ipStrategy.excludedIPs");
            found.push(NoEffect::new(field, "is ignored beside depth", "Remove one of the two"));
        }
        if !by_depth && by_list && self.ipv6_subnet.is_some() {
            let field = format!("{section}.ipStrategy.ipv6Subnet");
            found.push(NoEffect::new(field, "is ignored beside excludedIPs", "Remove it, or use depth"));
        }
        found
    }
}

/// What makes requests come from the same source: one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceCriterion {
    /// The client's address.
    pub ip_strategy: Option<IpStrategy>,
    /// The value of this request header.
    pub request_header_name: Option<String>,
    /// The host of the request.
    pub request_host: Option<bool>,
}

impl SourceCriterion {
    /// What was written, in this section, and does nothing.
    pub(super) fn without_effect(&self, section: &str) -> Vec<NoEffect> {
        let section = format!("{section}.sourceCriterion");
        self.ip_strategy.iter().flat_map(|by| by.without_effect(&section)).collect()
    }
}
