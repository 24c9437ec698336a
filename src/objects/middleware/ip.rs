//! The types of a Middleware that look at the client's address, and how a client is told from others.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// Deprecated name of ipAllowList.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IpWhiteList {
    /// The addresses that may pass, and networks of them as CIDR (10.0.0.0/8).
    pub source_range: Option<Vec<String>>,
    /// Which address is the client's. Without it, the one that the connection comes from.
    pub ip_strategy: Option<IpStrategy>,
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
