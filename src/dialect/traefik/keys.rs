//! Every annotation key that is known, what reads its value, and what an invalid value costs.
//!
//! Keys and their meaning are those of Traefik's documentation ("Kubernetes Ingress Provider", annotations), except
//! [`OURS`].

use super::values::{boolean, cookie_domain, cookie_path, integer, list, one_of, reference, references, text};
use crate::dialect::{PathMatcher, RouteOptions, SameSite, Scheme, ServiceOptions, StickyOptions};

/// One known key.
pub(super) struct Known<D> {
    /// After the prefix, in lower case; `n` stands for a number.
    pub(super) key: &'static str,
    /// Reads a trimmed value into the draft; the error says what is wrong with it. An empty value is wrong for all.
    pub(super) read: fn(&mut D, &str) -> Result<(), String>,
    /// Whether it concerns protection: an invalid value closes the route.
    pub(super) guards: bool,
    /// Set where it changes nothing.
    pub(super) inert: Option<Inert>,
}

/// A key that is accepted and changes nothing.
#[derive(Clone, Copy)]
pub(super) struct Inert {
    /// Why it doesn't.
    pub(super) why: &'static str,
    /// What to do about it.
    pub(super) help: &'static str,
}

/// A key whose invalid value costs only itself.
const fn known<D>(key: &'static str, read: fn(&mut D, &str) -> Result<(), String>) -> Known<D> {
    Known { key, read, guards: false, inert: None }
}

/// A key whose invalid value closes the route.
const fn guard<D>(key: &'static str, read: fn(&mut D, &str) -> Result<(), String>) -> Known<D> {
    Known { key, read, guards: true, inert: None }
}

/// A key that is accepted and changes nothing.
const fn inert<D>(key: &'static str, why: Inert, read: fn(&mut D, &str) -> Result<(), String>) -> Known<D> {
    Known { key, read, guards: false, inert: Some(why) }
}

/// What the annotations of an Ingress have said so far.
#[derive(Default)]
pub(super) struct RouteDraft {
    options: RouteOptions,
    /// `router.tls.*` asks for TLS as `router.tls` does, unless that says no.
    tls_implied: bool,
}

impl RouteDraft {
    pub(super) fn finish(mut self) -> RouteOptions {
        if self.tls_implied {
            self.options.tls.get_or_insert(true);
        }
        self.options
    }
}

/// What the annotations of a Service have said so far.
#[derive(Default)]
pub(super) struct ServiceDraft {
    options: ServiceOptions,
    sticky: StickyOptions,
    /// `service.sticky.cookie` itself.
    switch: Option<bool>,
    /// Any attribute of the cookie turns it on, unless the switch says no.
    configured: bool,
}

impl ServiceDraft {
    fn cookie(&mut self) -> &mut StickyOptions {
        self.configured = true;
        &mut self.sticky
    }

    pub(super) fn finish(mut self) -> ServiceOptions {
        self.options.sticky = self.switch.unwrap_or(self.configured).then_some(self.sticky);
        self.options
    }
}

/// Where numbered keys start.
pub(super) const DOMAINS: &str = "router.tls.domains";

const NO_ACME: Inert = Inert {
    why: "certificates come from spec.tls, not from a resolver (it still makes the routes TLS-only, as router.tls does)",
    help: "name a Secret with the certificate in spec.tls; it can stay",
};
const NO_TRACES: Inert = Inert { why: "there is no tracing", help: "it can stay, or be removed" };
const NO_SYNTAX: Inert = Inert { why: "rules are not written by hand", help: "it can stay, or be removed" };

/// Annotations of Ingresses.
pub(super) const ROUTER: &[Known<RouteDraft>] = &[
    guard("router.entrypoints", |d, v| list(v).map(|names| d.options.entrypoints = Some(names))),
    guard("router.middlewares", |d, v| references(v).map(|refs| d.options.middlewares = refs)),
    known("router.priority", |d, v| {
        // Traefik takes 0 for "not set".
        integer(v).map(|priority| d.options.priority = Some(priority).filter(|p| *p != 0))
    }),
    known("router.pathmatcher", |d, v| {
        let matchers = [
            ("Path", PathMatcher::Path),
            ("PathPrefix", PathMatcher::PathPrefix),
            ("PathRegexp", PathMatcher::PathRegexp),
        ];
        let matcher = one_of(v, &matchers, false);
        if !v.is_empty() {
            d.options.path_matcher = *matcher.as_ref().unwrap_or(&PathMatcher::Invalid);
        }
        matcher.map(drop).map_err(|why| format!("{why}; paths of type ImplementationSpecific are closed"))
    }),
    inert("router.rulesyntax", NO_SYNTAX, |_, v| one_of(v, &[("v2", ()), ("v3", ())], true)),
    guard("router.tls", |d, v| {
        d.tls_implied |= v.is_empty();
        boolean(v).map(|tls| d.options.tls = Some(tls))
    }),
    inert("router.tls.certresolver", NO_ACME, |d, v| {
        d.tls_implied = true;
        text(v).map(drop)
    }),
    guard("router.tls.options", |d, v| {
        d.tls_implied = true;
        // Handshakes must not be done as if nothing had been asked for.
        d.options.tls_options = (!v.is_empty()).then(|| v.into());
        reference(v).map(drop)
    }),
    inert("router.tls.domains.n.main", NO_ACME, |d, v| {
        d.tls_implied = true;
        text(v).map(drop)
    }),
    inert("router.tls.domains.n.sans", NO_ACME, |d, v| {
        d.tls_implied = true;
        list(v).map(drop)
    }),
    known("router.observability.accesslogs", |d, v| boolean(v).map(|on| d.options.access_log = Some(on))),
    known("router.observability.metrics", |d, v| boolean(v).map(|on| d.options.metrics = Some(on))),
    inert("router.observability.tracing", NO_TRACES, |_, v| boolean(v).map(drop)),
    inert("router.observability.traceverbosity", NO_TRACES, |_, v| {
        one_of(v, &[("minimal", ()), ("detailed", ())], true)
    }),
];

/// Annotations of Services.
pub(super) const SERVICE: &[Known<ServiceDraft>] = &[
    known("service.serversscheme", |d, v| {
        let schemes = [("http", Scheme::Http), ("https", Scheme::Https), ("h2c", Scheme::H2c)];
        one_of(v, &schemes, true).map(|scheme| d.options.scheme = Some(scheme))
    }),
    // It may say which certificates of the backend are trusted.
    guard("service.serverstransport", |d, v| reference(v).map(|r| d.options.servers_transport = Some(r))),
    known("service.passhostheader", |d, v| boolean(v).map(|on| d.options.pass_host_header = on)),
    guard("service.middlewares", |d, v| references(v).map(|refs| d.options.middlewares = refs)),
    known("service.nativelb", |d, v| boolean(v).map(|on| d.options.native_lb = on)),
    known("service.nodeportlb", |d, v| boolean(v).map(|on| d.options.node_port_lb = on)),
    known("service.sticky.cookie", |d, v| {
        d.configured |= v.is_empty();
        boolean(v).map(|on| d.switch = Some(on))
    }),
    known("service.sticky.cookie.name", |d, v| {
        let cookie = d.cookie();
        text(v).map(|name| cookie.name = Some(name))
    }),
    known("service.sticky.cookie.secure", |d, v| {
        let cookie = d.cookie();
        boolean(v).map(|on| cookie.secure = on)
    }),
    known("service.sticky.cookie.httponly", |d, v| {
        let cookie = d.cookie();
        boolean(v).map(|on| cookie.http_only = on)
    }),
    known("service.sticky.cookie.samesite", |d, v| {
        let cookie = d.cookie();
        let sites = [("none", SameSite::None), ("lax", SameSite::Lax), ("strict", SameSite::Strict)];
        one_of(v, &sites, true).map(|site| cookie.same_site = Some(site))
    }),
    known("service.sticky.cookie.maxage", |d, v| {
        let cookie = d.cookie();
        // Traefik takes 0 for a session cookie.
        integer(v).map(|seconds| cookie.max_age = Some(seconds).filter(|s| *s != 0))
    }),
    known("service.sticky.cookie.path", |d, v| {
        let cookie = d.cookie();
        cookie_path(v).map(|path| cookie.path = Some(path))
    }),
    known("service.sticky.cookie.domain", |d, v| {
        let cookie = d.cookie();
        cookie_domain(v).map(|domain| cookie.domain = Some(domain))
    }),
];

/// Annotations of Services that only we know.
pub(super) const OURS: &[Known<ServiceDraft>] = &[
    known("sticky-slide", |d, v| boolean(v).map(|on| d.sticky.slide = on)),
    known("sticky-strip", |d, v| boolean(v).map(|on| d.sticky.strip = on)),
];
