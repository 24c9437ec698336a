//! One Ingress → its rules, certificates and diagnostics: a [`Fragment`]. Hosts are put together from fragments in
//! `assemble`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use regex::RegexBuilder;

use super::{Services, middlewares, services, sticky, tls::covers, view::View};
use crate::{
    balance::{Service, ServiceKey},
    diagnostic::{Diagnostic, Subject, did_you_mean},
    dialect::{self, PathMatcher, RouteOptions},
    metrics::RouteLabels,
    middleware::Chain,
    objects::{
        Ingress, Key, Kind, ObjectId,
        ingress::{Backend, Path},
    },
    settings::Claims,
    table::{Action, Entrypoints, Matcher, Route, Rule},
    target::{AboveRoot, normalise},
};

/// Regular expressions of users are compiled to at most so many bytes.
const REGEX_BYTES: usize = 1 << 20;

/// A rule with the host it is for.
#[derive(Clone, Debug)]
pub(super) struct HostRule {
    pub(super) host: Arc<str>,
    /// The field it was read from, for diagnostics.
    pub(super) field: String,
    pub(super) rule: Rule,
}

/// A host that an Ingress wants served with a Secret's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertClaim {
    pub(super) host: Arc<str>,
    pub(super) secret: Key,
    pub(super) field: String,
    /// Whether a rule of the same Ingress has that host; else one of its namespace must.
    pub(super) own: bool,
}

/// One Ingress, compiled.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    /// Age, for ties: creation time, then namespace and name (the key).
    pub(super) created: i64,
    pub(super) origin: Option<crate::diagnostic::Origin>,
    pub(super) rules: Vec<HostRule>,
    pub(super) certs: Vec<CertClaim>,
    pub(super) services: BTreeSet<ServiceKey>,
    /// Cookie names and the services that use them.
    pub(super) cookies: Vec<(String, ServiceKey)>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) reads: BTreeSet<ObjectId>,
    pub(super) any_middleware: bool,
    pub(super) labels: BTreeMap<Arc<str>, Arc<RouteLabels>>,
}

/// Everything that the rules of one Ingress have in common.
struct Common<'a> {
    ingress: &'a Ingress,
    subject: Subject,
    options: RouteOptions,
    entrypoints: Entrypoints,
    view: View<'a>,
    claims: &'a Claims,
}

/// Compiles an Ingress that is ours. `before` is its last fragment, whose metric labels live on.
pub(super) fn fragment(
    ingress: &Ingress,
    view: View<'_>,
    claims: &Claims,
    services: &mut Services,
    before: Option<&Fragment>,
) -> Fragment {
    let subject = ObjectId::new(Kind::Ingress, ingress.meta.key()).subject();
    let (options, said) = dialect::traefik::ingress(&ingress.meta, subject.clone());
    let mut fragment = Fragment {
        created: ingress.meta.created,
        origin: ingress.meta.origin.clone(),
        diagnostics: said,
        labels: before.map(|b| b.labels.clone()).unwrap_or_default(),
        ..Fragment::default()
    };
    let entrypoints = entrypoints(&options, claims, &subject, &mut fragment.diagnostics);
    let common = Common { ingress, subject, options, entrypoints, view, claims };
    common.rules(&mut fragment, services);
    common.certs(&mut fragment);
    let used: BTreeSet<Arc<str>> = fragment.rules.iter().map(|r| Arc::clone(&r.rule.route.labels.service)).collect();
    fragment.labels.retain(|service, _| used.contains(service));
    for diagnostic in &mut fragment.diagnostics {
        if diagnostic.origin.is_none() && diagnostic.subject == common.subject {
            diagnostic.origin.clone_from(&ingress.meta.origin);
        }
    }
    (fragment.reads, fragment.any_middleware) = common.view.into_reads();
    fragment
}

fn entrypoints(
    options: &RouteOptions,
    claims: &Claims,
    subject: &Subject,
    diagnostics: &mut Vec<Diagnostic>,
) -> Entrypoints {
    let mut mask = 0_u32;
    let known = || claims.entrypoints.iter().map(|(name, _)| name.as_str());
    for (index, (name, tls)) in claims.entrypoints.iter().enumerate().take(32) {
        let named = options.entrypoints.as_ref().is_none_or(|names| names.iter().any(|n| **n == **name));
        if named && (*tls || options.tls != Some(true)) {
            mask |= 1 << index;
        }
    }
    let field = "metadata.annotations[traefik.ingress.kubernetes.io/router.entrypoints]";
    for name in options.entrypoints.iter().flatten() {
        if !known().any(|k| *k == **name) {
            let list = known().collect::<Vec<_>>().join(", ");
            let help = did_you_mean(name, known())
                .map_or_else(|| format!("known are: {list}"), |word| format!("did you mean {word}?"));
            let text = format!("entrypoint {name} does not exist");
            diagnostics.push(Diagnostic::error(subject.clone(), field, "EntrypointNotFound", text).help(help));
        }
    }
    if mask == 0 {
        let text = "none of its entrypoints can serve it, so it is not served at all";
        let help = "name an entrypoint that exists; with router.tls \"true\" one that speaks TLS (websecure)";
        diagnostics.push(Diagnostic::error(subject.clone(), field, "NoEntrypoint", text).help(help));
    }
    Entrypoints(mask)
}

/// Where a route stands.
struct Place<'a> {
    host: &'a Arc<str>,
    path: &'a Arc<str>,
    field: &'a str,
    acme: bool,
    closed: Option<String>,
}

impl Common<'_> {
    fn rules(&self, fragment: &mut Fragment, services: &mut Services) {
        let spec = &self.ingress.spec;
        let mut hosts: BTreeSet<Arc<str>> = BTreeSet::new();
        for (index, rule) in spec.rules.iter().enumerate() {
            let field = format!("spec.rules[{index}]");
            let Some(host) = self.host(&rule.host, &field, fragment) else { continue };
            hosts.insert(Arc::clone(&host));
            for (nth, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let field = format!("{field}.http.paths[{nth}]");
                let Some((matcher, shown)) = self.matcher(path, &field, fragment) else { continue };
                let priority = self.options.priority.unwrap_or(0).clamp(Rule::LAST + 1, i64::MAX);
                let acme = matches!(&matcher, Matcher::Exact(p) if p.starts_with("/.well-known/acme-challenge/"));
                let exact_type = matches!(path.path_type.as_deref(), Some("Exact" | "Prefix"));
                let unsure = !exact_type && self.options.path_matcher == PathMatcher::Invalid;
                let closed = unsure.then(|| "its router.pathmatcher is invalid".to_owned());
                let place = Place { host: &host, path: &shown, field: &field, acme, closed };
                let route = self.route(place, &path.backend, fragment, services);
                let rule = Rule { priority, matcher, route };
                fragment.rules.push(HostRule { host: Arc::clone(&host), field, rule });
            }
        }
        if let Some(backend) = &spec.default_backend {
            if spec.rules.is_empty() {
                hosts.insert("".into());
            }
            for host in hosts {
                let path = Arc::from("/");
                let place = Place { host: &host, path: &path, field: "spec.defaultBackend", acme: false, closed: None };
                let route = self.route(place, backend, fragment, services);
                let rule = Rule { priority: Rule::LAST, matcher: Matcher::prefix("/"), route };
                fragment.rules.push(HostRule { host, field: "spec.defaultBackend".into(), rule });
            }
        } else if fragment.rules.is_empty() && fragment.diagnostics.is_empty() {
            let text = "it has no path and no default backend, so it serves nothing";
            fragment.diagnostics.push(Diagnostic::warning(self.subject.clone(), "spec.rules", "NothingToServe", text));
        }
    }

    fn host(&self, host: &Arc<str>, field: &str, fragment: &mut Fragment) -> Option<Arc<str>> {
        let lower = host.to_ascii_lowercase();
        let lower = lower.strip_suffix('.').unwrap_or(&lower);
        let name = lower.strip_prefix("*.").unwrap_or(lower);
        let label = |l: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            edge(l.chars().next()) && edge(l.chars().last()) && l.len() < 64
        };
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if lower.is_empty() || name.split('.').all(|l| label(l) && l.bytes().all(valid)) {
            return Some(if lower == &**host { Arc::clone(host) } else { lower.into() });
        }
        let text = format!("{host:?} is not a host name");
        let help = "write a DNS name such as app.example.com, or *.example.com for any one label";
        let diagnostic = Diagnostic::error(self.subject.clone(), format!("{field}.host"), "InvalidHost", text);
        fragment.diagnostics.push(diagnostic.help(help));
        None
    }

    /// The matcher of a path, and the path as people should see it.
    fn matcher(&self, path: &Path, field: &str, fragment: &mut Fragment) -> Option<(Matcher, Arc<str>)> {
        let mut refuse = |code, text: String, help: &str| {
            let diagnostic = Diagnostic::error(self.subject.clone(), format!("{field}.path"), code, text);
            fragment.diagnostics.push(diagnostic.help(help));
        };
        let kind = match path.path_type.as_deref() {
            Some("Exact") => PathMatcher::Path,
            Some("Prefix") => PathMatcher::PathPrefix,
            None | Some("ImplementationSpecific") => self.options.path_matcher,
            Some(other) => {
                let text = format!("pathType {other} does not exist");
                refuse("InvalidPathType", text, "write Exact, Prefix or ImplementationSpecific");
                return None;
            }
        };
        let text: Arc<str> = if path.path.is_empty() { "/".into() } else { Arc::clone(&path.path) };
        if kind == PathMatcher::PathRegexp {
            return match RegexBuilder::new(&text).size_limit(REGEX_BYTES).build() {
                Ok(regex) => Some((Matcher::Regex(regex), text)),
                Err(error) => {
                    let help = "it is a regular expression because of router.pathmatcher; look-around and \
                                backreferences are not supported";
                    refuse("InvalidRegex", format!("{text:?} is not a regular expression: {error}"), help);
                    None
                }
            };
        }
        match normalise(&text, AboveRoot::Refuse) {
            Ok(normal) if kind == PathMatcher::Path => Some((Matcher::Exact((*normal).into()), text)),
            Ok(normal) => Some((Matcher::prefix(&normal), text)),
            Err(error) => {
                let help = "a path starts with / and has no #, no control character and no .. above the root";
                refuse("InvalidPath", format!("{text:?} can't be matched: {error}"), help);
                None
            }
        }
    }

    fn route(
        &self,
        place: Place<'_>,
        backend: &Backend,
        fragment: &mut Fragment,
        services: &mut Services,
    ) -> Arc<Route> {
        let Place { host, path, field, acme, closed } = place;
        let backend_field = if field == "spec.defaultBackend" { field.to_owned() } else { format!("{field}.backend") };
        let mut refs: Vec<(Arc<str>, &str)> =
            self.options.middlewares.iter().map(|m| (Arc::clone(m), "router.middlewares")).collect();
        let mut closed = closed.or_else(|| self.options.closed.clone());
        if let Some(options) = &self.options.tls_options {
            closed.get_or_insert_with(|| self.unsupported("router.tls.options", options, fragment));
        }
        let found = self.backend(backend, &backend_field, fragment);
        let mut service_name: Arc<str> = "".into();
        let mut sticky_options = None;
        let mut service: Result<(Arc<Service>, ServiceKey), Box<str>> = Err("it has no usable backend".into());
        match found {
            Ok(found) => {
                service_name = Arc::clone(&found.key.name);
                refs.extend(found.annotations.middlewares.iter().map(|m| (Arc::clone(m), "service.middlewares")));
                if let Some(reason) = &found.annotations.closed {
                    closed.get_or_insert_with(|| reason.clone());
                }
                if let Some(transport) = &found.annotations.servers_transport {
                    closed.get_or_insert_with(|| self.unsupported("service.serverstransport", transport, fragment));
                }
                sticky_options.clone_from(&found.annotations.sticky);
                fragment.services.insert(found.key.clone());
                let key = found.key.clone();
                service = Ok((services.get(found), key));
            }
            Err(reason) => service = service.map_err(|_| reason),
        }
        let resolved = middlewares::resolve(&self.view, &self.ingress.meta, &self.subject, &refs, self.claims);
        fragment.diagnostics.extend(resolved.diagnostics);
        let closed = closed.or(resolved.closed);
        let sticky = service.as_ref().ok().and_then(|(_, key)| {
            let sticky = sticky::build(resolved.sticky.as_ref(), sticky_options.as_ref(), key, services);
            fragment.cookies.extend(sticky.iter().map(|s| (s.name().to_owned(), key.clone())));
            sticky
        });
        let action = match (closed, service) {
            (Some(reason), _) => Action::Closed(reason.into()),
            (None, Ok((service, _))) => Action::Forward(service),
            (None, Err(reason)) => Action::NoService(reason),
        };
        let labels = fragment.labels.entry(Arc::clone(&service_name)).or_insert_with(|| {
            let meta = &self.ingress.meta;
            RouteLabels::new(Arc::clone(&meta.namespace), Arc::clone(&meta.name), service_name)
        });
        Arc::new(Route {
            labels: Arc::clone(labels),
            host: Arc::clone(host),
            path: Arc::clone(path),
            entrypoints: self.entrypoints,
            action,
            chain: Chain::new(resolved.steps),
            middlewares: resolved.names.into(),
            sticky,
            acme,
            access_log: self.options.access_log.unwrap_or(true),
            metrics: self.options.metrics.unwrap_or(true),
        })
    }

    /// A protection that this version can't build: the reason a route is closed.
    fn unsupported(&self, key: &str, value: &str, fragment: &mut Fragment) -> String {
        let text = format!("{key} ({value}) is not supported yet, so its routes are closed (503)");
        let field = format!("metadata.annotations[traefik.ingress.kubernetes.io/{key}]");
        let diagnostic = Diagnostic::error(self.subject.clone(), field, "AnnotationNotSupported", text.clone());
        fragment.diagnostics.push(diagnostic.help("remove the annotation if its protection is not needed"));
        text
    }

    fn backend(&self, backend: &Backend, field: &str, fragment: &mut Fragment) -> Result<services::Found, Box<str>> {
        let refused = match (&backend.service, &backend.resource) {
            (Some(service), None) => {
                let namespace = &self.ingress.meta.namespace;
                match services::find(&self.view, namespace, service, self.claims, &mut fragment.diagnostics) {
                    Ok(found) => return Ok(found),
                    Err(refused) => refused,
                }
            }
            (None, Some(resource)) => (
                "ResourceBackend",
                format!("resource backends ({} {}) are not supported", resource.kind, resource.name),
                "name a Service".to_owned(),
            ),
            _ => ("NoBackend", "the backend names no Service".to_owned(), "name a Service and its port".to_owned()),
        };
        let (code, text, help) = refused;
        let diagnostic = Diagnostic::error(self.subject.clone(), field, code, format!("{text}; answered with 503"));
        fragment.diagnostics.push(diagnostic.help(help));
        Err(text.into())
    }

    fn certs(&self, fragment: &mut Fragment) {
        let own: BTreeSet<Arc<str>> = fragment.rules.iter().map(|r| Arc::clone(&r.host)).collect();
        for (index, tls) in self.ingress.spec.tls.iter().enumerate() {
            if tls.secret_name.is_empty() {
                continue;
            }
            let secret =
                Key { namespace: Arc::clone(&self.ingress.meta.namespace), name: Arc::clone(&tls.secret_name) };
            // Noted as read, so that the Secret's coming and going compiles this Ingress again.
            let _ = self.view.secret(&secret);
            let field = format!("spec.tls[{index}]");
            let hosts = if tls.hosts.is_empty() { own.iter().cloned().collect() } else { tls.hosts.clone() };
            for host in hosts {
                if host.is_empty() {
                    continue;
                }
                let Some(host) = self.host(&host, &field, fragment) else { continue };
                let own = own.iter().any(|rule| rule.is_empty() || covers(&host, rule) || covers(rule, &host));
                fragment.certs.push(CertClaim { host, secret: secret.clone(), field: field.clone(), own });
            }
        }
    }
}
