//! `spec.headers` of a Middleware: all of Traefik's fields, also those that no longer do anything.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NoEffect;

/// Headers of requests and answers, CORS, and security headers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Headers {
    /// Headers to set on requests; an empty value removes the header.
    pub custom_request_headers: Option<BTreeMap<String, String>>,
    /// Headers to set on answers; an empty value removes the header.
    pub custom_response_headers: Option<BTreeMap<String, String>>,
    /// CORS: whether requests with credentials are allowed (Access-Control-Allow-Credentials).
    pub access_control_allow_credentials: Option<bool>,
    /// CORS: the request headers that are allowed (Access-Control-Allow-Headers).
    pub access_control_allow_headers: Option<Vec<String>>,
    /// CORS: the methods that are allowed (Access-Control-Allow-Methods).
    pub access_control_allow_methods: Option<Vec<String>>,
    /// CORS: the origins that are allowed, or `*` (Access-Control-Allow-Origin).
    pub access_control_allow_origin_list: Option<Vec<String>>,
    /// CORS: regular expressions for the origins that are allowed. They match anywhere in the origin: write ^ and $.
    pub access_control_allow_origin_list_regex: Option<Vec<String>>,
    /// CORS: the answer's headers that scripts may read (Access-Control-Expose-Headers).
    pub access_control_expose_headers: Option<Vec<String>>,
    /// CORS: for how many seconds a preflight may be remembered (Access-Control-Max-Age).
    pub access_control_max_age: Option<i64>,
    /// Whether Origin is added to the Vary header of answers.
    pub add_vary_header: Option<bool>,
    /// The hosts that are allowed; others get 500.
    pub allowed_hosts: Option<Vec<String>>,
    /// Request headers that may hold the host in place of the Host header, for allowedHosts.
    pub hosts_proxy_headers: Option<Vec<String>>,
    /// Request headers whose given value says that the client came by https, for stsSeconds.
    pub ssl_proxy_headers: Option<BTreeMap<String, String>>,
    /// The max-age of Strict-Transport-Security, in seconds; 0 sends none.
    pub sts_seconds: Option<i64>,
    /// Adds includeSubDomains to Strict-Transport-Security.
    pub sts_include_subdomains: Option<bool>,
    /// Adds preload to Strict-Transport-Security.
    pub sts_preload: Option<bool>,
    /// Sends Strict-Transport-Security also on plain http.
    #[serde(rename = "forceSTSHeader")]
    pub force_sts_header: Option<bool>,
    /// Sends X-Frame-Options: DENY.
    pub frame_deny: Option<bool>,
    /// The value of X-Frame-Options; stronger than frameDeny.
    pub custom_frame_options_value: Option<String>,
    /// Sends X-Content-Type-Options: nosniff.
    pub content_type_nosniff: Option<bool>,
    /// Sends X-XSS-Protection: 1; mode=block.
    pub browser_xss_filter: Option<bool>,
    /// The value of X-XSS-Protection; stronger than browserXssFilter.
    #[serde(rename = "customBrowserXSSValue")]
    pub custom_browser_xss_value: Option<String>,
    /// The value of Content-Security-Policy.
    pub content_security_policy: Option<String>,
    /// The value of Content-Security-Policy-Report-Only.
    pub content_security_policy_report_only: Option<String>,
    /// The value of Public-Key-Pins.
    pub public_key: Option<String>,
    /// The value of Referrer-Policy.
    pub referrer_policy: Option<String>,
    /// The value of Permissions-Policy.
    pub permissions_policy: Option<String>,
    /// Switches off allowedHosts and Strict-Transport-Security, for work on a laptop.
    pub is_development: Option<bool>,
    /// Deprecated, no effect: use permissionsPolicy.
    pub feature_policy: Option<String>,
    /// Deprecated, no effect: use redirectScheme.
    pub ssl_redirect: Option<bool>,
    /// Deprecated, no effect: use redirectScheme.
    pub ssl_temporary_redirect: Option<bool>,
    /// Deprecated, no effect: use redirectRegex.
    pub ssl_host: Option<String>,
    /// Deprecated, no effect: use redirectRegex.
    pub ssl_force_host: Option<bool>,
}

/// Headers of one connection (RFC 9110 §7.6.1) that people set on requests for WebSockets' sake.
const OF_THE_CONNECTION: [&str; 4] = ["connection", "keep-alive", "te", "upgrade"];

fn is_of_the_connection(name: &str) -> bool {
    OF_THE_CONNECTION.iter().any(|of| name.eq_ignore_ascii_case(of))
}

impl Headers {
    /// Whether nothing at all is set: an error for Traefik. A deprecated field without effect counts as set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `customRequestHeaders` without those of the connection, which have no effect.
    pub fn request_headers(&self) -> BTreeMap<String, String> {
        let all = self.custom_request_headers.iter().flatten().filter(|(name, _)| !is_of_the_connection(name));
        all.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The deprecated fields that are set, and those that do nothing without another.
    pub(super) fn without_effect(&self) -> Vec<NoEffect> {
        let mut found = self.deprecated();
        for name in self.custom_request_headers.iter().flatten().map(|(name, _)| name) {
            if is_of_the_connection(name) {
                let field = format!("spec.headers.customRequestHeaders.{name}");
                let message = "has no effect: it belongs to the connection, and is written where it is needed";
                found.push(NoEffect::new(field, message, "Remove it; WebSockets work without it"));
            }
        }
        found.extend(self.idle());
        found
    }

    /// The fields that do nothing without another.
    fn idle(&self) -> Vec<NoEffect> {
        fn some<T>(list: &Option<Vec<T>>) -> bool {
            list.as_ref().is_some_and(|list| !list.is_empty())
        }
        let sts = self.sts_seconds.unwrap_or(0) != 0;
        let hosts = some(&self.allowed_hosts);
        let origins =
            some(&self.access_control_allow_origin_list) || some(&self.access_control_allow_origin_list_regex);
        let by_https = self.ssl_proxy_headers.as_ref().is_some_and(|map| !map.is_empty());
        let (no_sts, no_hosts) = ("has no effect without stsSeconds", "has no effect without allowedHosts");
        let no_origin = "has no effect, because no origin is allowed: browsers refuse each preflight";
        let (sts_help, origin_help) = ("Write stsSeconds, or remove it", "Write accessControlAllowOriginList");
        [
            ("stsIncludeSubdomains", !sts && self.sts_include_subdomains == Some(true), no_sts, sts_help),
            ("stsPreload", !sts && self.sts_preload == Some(true), no_sts, sts_help),
            ("forceSTSHeader", !sts && self.force_sts_header == Some(true), no_sts, sts_help),
            ("sslProxyHeaders", !sts && by_https, no_sts, sts_help),
            (
                "hostsProxyHeaders",
                !hosts && some(&self.hosts_proxy_headers),
                no_hosts,
                "Write allowedHosts, or remove it",
            ),
            // The other fields of CORS may complete what a backend says of origins.
            ("accessControlAllowHeaders", !origins && some(&self.access_control_allow_headers), no_origin, origin_help),
            ("accessControlAllowMethods", !origins && some(&self.access_control_allow_methods), no_origin, origin_help),
            ("accessControlMaxAge", !origins && self.access_control_max_age.is_some(), no_origin, origin_help),
        ]
        .into_iter()
        .filter(|(_, idle, ..)| *idle)
        .map(|(name, _, message, help)| NoEffect::new(format!("spec.headers.{name}"), message, help))
        .collect()
    }

    fn deprecated(&self) -> Vec<NoEffect> {
        let scheme = "Use a Middleware of type redirectScheme before this one";
        let regex = "Use a Middleware of type redirectRegex before this one";
        [
            ("featurePolicy", self.feature_policy.is_some(), "Use permissionsPolicy"),
            ("sslRedirect", self.ssl_redirect.is_some(), scheme),
            ("sslTemporaryRedirect", self.ssl_temporary_redirect.is_some(), scheme),
            ("sslHost", self.ssl_host.is_some(), regex),
            ("sslForceHost", self.ssl_force_host.is_some(), regex),
        ]
        .into_iter()
        .filter(|(_, set, _)| *set)
        .map(|(name, _, help)| NoEffect::new(format!("spec.headers.{name}"), "is deprecated and has no effect", help))
        .collect()
    }
}
