//! `headers`: sets and removes headers of requests and answers, answers CORS preflights, sets security headers.
//!
//! All names, values and regexes are parsed when the route is compiled; a request clones ready values. The order is
//! Traefik's: CORS and custom headers outside, security headers inside of them, so that a custom header of an answer
//! wins over a security header of the same name.

mod cors;
mod security;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header, response};

use self::{cors::Cors, security::Security};
use super::{Flow, Head, InvalidField};

/// The headers that the proxy writes by itself. Set to `""` in `customRequestHeaders`, such a header is left in
/// [`Head::headers`] with an empty value, which tells the proxy not to write it (Traefik's rule for
/// `X-Forwarded-For: ""`); with a value, it is for the proxy to keep it.
pub const FORWARDED: [HeaderName; 6] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];

/// The fields of Traefik's `headers`, as plain data; what is empty, `false` or `None` is not set.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `customRequestHeaders`; an empty value removes.
    pub custom_request_headers: BTreeMap<String, String>,
    /// `customResponseHeaders`; an empty value removes.
    pub custom_response_headers: BTreeMap<String, String>,
    /// `accessControlAllowCredentials`
    pub access_control_allow_credentials: bool,
    /// `accessControlAllowHeaders`
    pub access_control_allow_headers: Vec<String>,
    /// `accessControlAllowMethods`
    pub access_control_allow_methods: Vec<String>,
    /// `accessControlAllowOriginList`
    pub access_control_allow_origin_list: Vec<String>,
    /// `accessControlAllowOriginListRegex`. As in Traefik they match anywhere in the origin, unless they have `^` and `$`.
    pub access_control_allow_origin_list_regex: Vec<String>,
    /// `accessControlExposeHeaders`
    pub access_control_expose_headers: Vec<String>,
    /// `accessControlMaxAge` in seconds; 0 is sent.
    pub access_control_max_age: Option<i64>,
    /// `addVaryHeader`
    pub add_vary_header: bool,
    /// `allowedHosts`
    pub allowed_hosts: Vec<String>,
    /// `hostsProxyHeaders`
    pub hosts_proxy_headers: Vec<String>,
    /// `sslProxyHeaders`
    pub ssl_proxy_headers: BTreeMap<String, String>,
    /// `stsSeconds`
    pub sts_seconds: i64,
    /// `stsIncludeSubdomains`
    pub sts_include_subdomains: bool,
    /// `stsPreload`
    pub sts_preload: bool,
    /// `forceSTSHeader`
    pub force_sts_header: bool,
    /// `frameDeny`
    pub frame_deny: bool,
    /// `customFrameOptionsValue`
    pub custom_frame_options_value: String,
    /// `contentTypeNosniff`
    pub content_type_nosniff: bool,
    /// `browserXssFilter`
    pub browser_xss_filter: bool,
    /// `customBrowserXSSValue`
    pub custom_browser_xss_value: String,
    /// `contentSecurityPolicy`
    pub content_security_policy: String,
    /// `contentSecurityPolicyReportOnly`
    pub content_security_policy_report_only: String,
    /// `publicKey`
    pub public_key: String,
    /// `referrerPolicy`
    pub referrer_policy: String,
    /// `permissionsPolicy`
    pub permissions_policy: String,
    /// `isDevelopment`
    pub is_development: bool,
}

/// Traefik's `headers`, ready to run.
#[derive(Debug)]
pub struct Headers {
    request: Box<[Edit]>,
    /// The `Host` among `customRequestHeaders`.
    host: Option<HeaderValue>,
    response: Box<[Edit]>,
    cors: Option<Cors>,
    security: Security,
}

impl Headers {
    /// Parses all names, values and regexes. Line breaks in values become spaces, as Go's server writes them.
    ///
    /// # Errors
    /// [`InvalidField`] for what can't be a header's name or value, for a header that frames messages or belongs to
    /// one connection (those are the proxy's), for a regex that doesn't parse or is too big.
    pub fn new(options: &Options) -> Result<Self, InvalidField> {
        let (mut request, mut host) = (Vec::new(), None);
        for (name, text) in &options.custom_request_headers {
            let field = format!("customRequestHeaders.{name}");
            let name = editable(name, &field)?;
            let text = value(text, &field)?;
            match (name == header::HOST, text.is_empty()) {
                // As in Traefik: a request always has its host.
                (true, true) => {}
                (true, false) => host = Some(authority(text, &field)?),
                (false, true) if FORWARDED.contains(&name) => request.push(Edit::Set(name, text)),
                (false, true) => request.push(Edit::Remove(name)),
                (false, false) => request.push(Edit::Set(name, text)),
            }
        }
        let mut response = Vec::new();
        for (name, text) in &options.custom_response_headers {
            let field = format!("customResponseHeaders.{name}");
            let name = editable(name, &field)?;
            let text = value(text, &field)?;
            response.push(if text.is_empty() { Edit::Remove(name) } else { Edit::Set(name, text) });
        }
        Ok(Self {
            request: request.into(),
            host,
            response: response.into(),
            cors: Cors::new(options)?,
            security: Security::new(options)?,
        })
    }

    /// Answers a CORS preflight with 200, and a host that is not allowed with 500; else changes the request's headers.
    pub fn request(&self, head: &mut Head) -> Flow {
        if let Some(answer) = self.cors.as_ref().and_then(|cors| cors.preflight(head)) {
            return Flow::Respond(answer);
        }
        for edit in &self.request {
            edit.apply(&mut head.headers);
        }
        if let Some(host) = &self.host {
            head.upstream_host = Some(host.clone());
        }
        if self.security.allows_host(head) {
            return Flow::Continue;
        }
        let (mut parts, body) = security::bad_host().into_parts();
        self.outer_response(head, &mut parts);
        Flow::Respond(http::Response::from_parts(parts, body))
    }

    /// Changes the answer's headers. `head` is the request as [`Headers::request`] left it.
    pub fn response(&self, head: &Head, answer: &mut response::Parts) {
        self.security.response(head, &mut answer.headers);
        self.outer_response(head, answer);
    }

    fn outer_response(&self, head: &Head, answer: &mut response::Parts) {
        for edit in &self.response {
            edit.apply(&mut answer.headers);
        }
        if let Some(cors) = &self.cors {
            cors.response(head, &mut answer.headers);
        }
    }
}

/// One header, set or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Edit {
    Set(HeaderName, HeaderValue),
    Remove(HeaderName),
}

impl Edit {
    fn apply(&self, headers: &mut HeaderMap) {
        match self {
            Self::Set(name, value) => {
                headers.insert(name.clone(), value.clone());
            }
            Self::Remove(name) => {
                headers.remove(name);
            }
        }
    }
}

/// Whether a header frames messages or belongs to one connection (RFC 9110 §7.6.1, RFC 9112 §6): never a user's to set.
pub(super) fn is_the_proxys(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::TE
            | header::TRAILER
    ) || name == "keep-alive"
        || name.as_str().starts_with("proxy-")
}

/// The name of a header that users may set and remove.
fn editable(text: &str, field: &str) -> Result<HeaderName, InvalidField> {
    let name = name(text, field)?;
    if is_the_proxys(&name) {
        let message = format!("`{text}` belongs to the connection, not to the request or answer");
        return Err(InvalidField::new(field, message, "Remove it: Headgate writes this header by itself"));
    }
    Ok(name)
}

pub(super) fn name(text: &str, field: &str) -> Result<HeaderName, InvalidField> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        let message = format!("`{}` can't be the name of a header", text.escape_debug());
        InvalidField::new(field, message, "Header names have letters, digits and -")
    })
}

fn value(text: &str, field: &str) -> Result<HeaderValue, InvalidField> {
    let line = text.replace(['\r', '\n'], " ");
    HeaderValue::from_bytes(line.trim().as_bytes()).map_err(|_| {
        InvalidField::new(field, "the value has a control character", "Remove it: headers hold visible text")
    })
}

fn authority(value: HeaderValue, field: &str) -> Result<HeaderValue, InvalidField> {
    match http::uri::Authority::try_from(value.as_bytes()) {
        Ok(authority) if !authority.as_str().contains('@') => Ok(value),
        _ => Err(InvalidField::new(field, "the value is no host", "Write a host name, and a port if need be")),
    }
}

#[cfg(test)]
pub(super) mod tests;
