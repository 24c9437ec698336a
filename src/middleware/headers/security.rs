//! Security headers of answers, and the hosts that are allowed.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{Options, name, value};
use crate::{
    body::Body,
    middleware::{Head, InvalidField, plain},
};

/// The security part of `headers`.
#[derive(Debug)]
pub(super) struct Security {
    /// Empty: all are.
    allowed_hosts: Box<[Host]>,
    hosts_proxy_headers: Box<[HeaderName]>,
    ssl_proxy_headers: Box<[(HeaderName, HeaderValue)]>,
    sts: Option<HeaderValue>,
    force_sts: bool,
    /// What each answer gets.
    fixed: Box<[(HeaderName, HeaderValue)]>,
}

impl Security {
    pub(super) fn new(options: &Options) -> Result<Self, InvalidField> {
        let production = !options.is_development;
        let mut ssl_proxy_headers = Vec::new();
        for (header, proof) in &options.ssl_proxy_headers {
            let field = format!("sslProxyHeaders.{header}");
            ssl_proxy_headers.push((name(header, &field)?, value(proof, &field)?));
        }
        let mut hosts_proxy_headers = Vec::new();
        for (index, header) in options.hosts_proxy_headers.iter().enumerate() {
            hosts_proxy_headers.push(name(header, &format!("hostsProxyHeaders[{index}]"))?);
        }
        Ok(Self {
            allowed_hosts: options.allowed_hosts.iter().filter(|_| production).map(|host| Host::new(host)).collect(),
            hosts_proxy_headers: hosts_proxy_headers.into(),
            ssl_proxy_headers: ssl_proxy_headers.into(),
            sts: sts(options)?.filter(|_| production),
            force_sts: options.force_sts_header,
            fixed: fixed(options)?.into(),
        })
    }

    /// Whether the request's host is among `allowedHosts`: the host of the first of `hostsProxyHeaders` that is there,
    /// else the one that goes upstream, else the one the request was routed by. An entry without a port allows all
    /// (Traefik compares the port too, and so refuses what its users mean to allow).
    pub(super) fn allows_host(&self, head: &Head) -> bool {
        if self.allowed_hosts.is_empty() {
            return true;
        }
        let given = self.hosts_proxy_headers.iter().find_map(|name| head.headers.get(name).filter(|v| !v.is_empty()));
        let host = match given.or(head.upstream_host.as_ref()) {
            Some(value) => value.to_str().map(Host::new).ok(),
            None => Some(Host { name: head.host.clone(), port: head.port }),
        };
        host.is_some_and(|host| {
            self.allowed_hosts.iter().any(|a| a.name == host.name && (a.port.is_none() || a.port == host.port))
        })
    }

    pub(super) fn response(&self, head: &Head, headers: &mut HeaderMap) {
        if let Some(sts) = &self.sts
            && (self.force_sts || self.by_tls(head))
        {
            headers.insert(header::STRICT_TRANSPORT_SECURITY, sts.clone());
        }
        for (name, value) in &self.fixed {
            headers.insert(name.clone(), value.clone());
        }
    }

    fn by_tls(&self, head: &Head) -> bool {
        head.secure || self.ssl_proxy_headers.iter().any(|(name, proof)| head.headers.get(name) == Some(proof))
    }
}

/// The refusal of a host that is not allowed, as Traefik writes it.
pub(super) fn bad_host() -> Response<Body> {
    let mut answer = plain(StatusCode::INTERNAL_SERVER_ERROR);
    *answer.body_mut() = Body::from("Bad Host\n");
    answer
}

fn sts(options: &Options) -> Result<Option<HeaderValue>, InvalidField> {
    let seconds = options.sts_seconds;
    if seconds < 0 {
        let message = format!("{seconds} is no number of seconds");
        return Err(InvalidField::new("stsSeconds", message, "Write 0 to send no Strict-Transport-Security"));
    }
    let subdomains = if options.sts_include_subdomains { "; includeSubDomains" } else { "" };
    let preload = if options.sts_preload { "; preload" } else { "" };
    let text = value(&format!("max-age={seconds}{subdomains}{preload}"), "stsSeconds")?;
    Ok((seconds > 0).then_some(text))
}

fn fixed(options: &Options) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidField> {
    let or = |custom: &str, set: bool, default: &str| match (custom, set) {
        ("", true) => default.to_owned(),
        _ => custom.to_owned(),
    };
    let frame = or(&options.custom_frame_options_value, options.frame_deny, "DENY");
    let xss = or(&options.custom_browser_xss_value, options.browser_xss_filter, "1; mode=block");
    let nosniff = or("", options.content_type_nosniff, "nosniff");
    let all: [(&str, HeaderName, &str); 8] = [
        ("customFrameOptionsValue", header::X_FRAME_OPTIONS, &frame),
        ("contentTypeNosniff", header::X_CONTENT_TYPE_OPTIONS, &nosniff),
        ("customBrowserXSSValue", header::X_XSS_PROTECTION, &xss),
        ("contentSecurityPolicy", header::CONTENT_SECURITY_POLICY, &options.content_security_policy),
        (
            "contentSecurityPolicyReportOnly",
            header::CONTENT_SECURITY_POLICY_REPORT_ONLY,
            &options.content_security_policy_report_only,
        ),
        ("publicKey", header::PUBLIC_KEY_PINS, &options.public_key),
        ("referrerPolicy", header::REFERRER_POLICY, &options.referrer_policy),
        ("permissionsPolicy", HeaderName::from_static("permissions-policy"), &options.permissions_policy),
    ];
    let mut kept = Vec::new();
    for (field, name, text) in all {
        let value = value(text, field)?;
        if !value.is_empty() {
            kept.push((name, value));
        }
    }
    Ok(kept)
}

/// A host as people write it: name or address, and perhaps a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    /// Lower case, without a trailing dot.
    name: String,
    port: Option<u16>,
}

impl Host {
    fn new(text: &str) -> Self {
        let text = text.trim();
        let (name, port) = match text.rsplit_once(':').map(|(name, port)| (name, port.parse::<u16>())) {
            Some((name, Ok(port))) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
            _ => (text, None),
        };
        Self { name: name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(), port }
    }
}
