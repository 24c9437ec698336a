//! `headers`.

use std::sync::Arc;

use super::fault::Fault;
use crate::{
    diagnostic::{Diagnostic, Subject},
    middleware::{Headers, Middleware, headers},
    objects::middleware as object,
};

/// `headers`
pub(super) fn headers(fields: &object::Headers) -> Result<Middleware, Fault> {
    if fields.is_empty() {
        return Err(Fault::of("headers", "it sets no header at all", "write a field, or remove the Middleware"));
    }
    let built = Headers::new(&headers_options(fields)).map_err(|e| Fault::field("headers", e))?;
    Ok(Middleware::Headers(Arc::new(built)))
}

/// What is said where pages of any origin may call with the user's cookies, and read the answer.
pub(super) fn open_to_all(fields: &object::Headers, subject: Subject) -> Option<Diagnostic> {
    let any = fields.access_control_allow_origin_list.iter().flatten().any(|origin| origin == "*");
    if !any || fields.access_control_allow_credentials != Some(true) {
        return None;
    }
    let text = "* beside accessControlAllowCredentials lets every page of the web call with the user's cookies and read \
                the answer";
    let field = "spec.headers.accessControlAllowOriginList";
    Some(Diagnostic::warning(subject, field, "OpenToAllOrigins", text).help("name the origins"))
}

fn headers_options(fields: &object::Headers) -> headers::Options {
    let list = |l: &Option<Vec<String>>| l.clone().unwrap_or_default();
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    headers::Options {
        custom_request_headers: fields.request_headers(),
        custom_response_headers: fields.custom_response_headers.clone().unwrap_or_default(),
        access_control_allow_credentials: fields.access_control_allow_credentials.unwrap_or(false),
        access_control_allow_headers: list(&fields.access_control_allow_headers),
        access_control_allow_methods: list(&fields.access_control_allow_methods),
        access_control_allow_origin_list: list(&fields.access_control_allow_origin_list),
        access_control_allow_origin_list_regex: list(&fields.access_control_allow_origin_list_regex),
        access_control_expose_headers: list(&fields.access_control_expose_headers),
        access_control_max_age: fields.access_control_max_age,
        add_vary_header: fields.add_vary_header.unwrap_or(false),
        allowed_hosts: list(&fields.allowed_hosts),
        hosts_proxy_headers: list(&fields.hosts_proxy_headers),
        ssl_proxy_headers: fields.ssl_proxy_headers.clone().unwrap_or_default(),
        sts_seconds: fields.sts_seconds.unwrap_or(0),
        sts_include_subdomains: fields.sts_include_subdomains.unwrap_or(false),
        sts_preload: fields.sts_preload.unwrap_or(false),
        force_sts_header: fields.force_sts_header.unwrap_or(false),
        frame_deny: fields.frame_deny.unwrap_or(false),
        custom_frame_options_value: text(&fields.custom_frame_options_value),
        content_type_nosniff: fields.content_type_nosniff.unwrap_or(false),
        browser_xss_filter: fields.browser_xss_filter.unwrap_or(false),
        custom_browser_xss_value: text(&fields.custom_browser_xss_value),
        content_security_policy: text(&fields.content_security_policy),
        content_security_policy_report_only: text(&fields.content_security_policy_report_only),
        public_key: text(&fields.public_key),
        referrer_policy: text(&fields.referrer_policy),
        permissions_policy: text(&fields.permissions_policy),
        is_development: fields.is_development.unwrap_or(false),
    }
}
