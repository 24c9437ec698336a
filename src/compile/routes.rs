//! One Ingress → its rules, certificates and diagnostics: a [`Fragment`]. Hosts are put together from fragments in
//! `assemble`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    middlewares::{self, Built, Refs, Resolved, Step},
    paths,
    pool::{Services, Use},
    services, sticky,
    tls_options::{self, OfRoutes, Policies},
    view::{Reads, View},
};
use crate::{
    balance::{Service, ServiceKey},
    diagnostic::{Diagnostic, Origin, Subject, did_you_mean},
    dialect::{self, RouteOptions},
    metrics::RouteLabels,
    middleware::{Chain, Middleware},
    objects::{
        Ingress, Key, Kind, ObjectId,
        ingress::{Backend, Path},
    },
    settings::Claims,
    table::{Action, Entrypoints, Matcher, Route, Rule},
};

/// A rule of one host.
#[derive(Clone, Debug)]
pub(super) struct HostRule {
    /// The field it was read from, for diagnostics.
    pub(super) field: String,
    pub(super) rule: Rule,
}

/// A host that an Ingress wants served with a Secret's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CertClaim {
    /// `None` stands for the names in the certificate: neither the entry nor a rule names a host.
    pub(super) host: Option<Arc<str>>,
    pub(super) secret: Key,
    pub(super) field: String,
}

/// One Ingress, compiled.
#[derive(Debug, Default)]
pub(super) struct Fragment {
    /// Age, for ties: creation time, then namespace and name (the key).
    pub(super) created: i64,
    pub(super) origin: Option<Origin>,
    /// By host; empty stands for every host.
    pub(super) rules: BTreeMap<Arc<str>, Vec<HostRule>>,
    pub(super) certs: Vec<CertClaim>,
    pub(super) services: BTreeSet<Use>,
    /// Cookie names and the services that use them.
    pub(super) cookies: Vec<(String, ServiceKey)>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) reads: Reads,
    pub(super) labels: BTreeMap<Arc<str>, Arc<RouteLabels>>,
    /// Middlewares that remember requests, by what they belong to.
    pub(super) states: HashMap<StateOf, Middleware>,
}

/// What the state of a middleware belongs to: a rule, by its host and path as written, and a Middleware object. The
/// number tells apart what else would be the same (two rules of one path, a Middleware named twice).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct StateOf {
    host: Arc<str>,
    path: Arc<str>,
    middleware: Key,
    nth: usize,
}

/// Everything that the rules of one Ingress have in common.
struct Common<'a> {
    ingress: &'a Ingress,
    subject: Subject,
    options: RouteOptions,
    entrypoints: Entrypoints,
    /// Why all routes are closed.
    closed: Option<String>,
    tls: OfRoutes,
    view: View<'a>,
    claims: &'a Claims,
    resolved: RefCell<middlewares::Cache>,
    built: RefCell<&'a mut Built>,
    /// The Ingress as it was compiled last.
    before: Option<&'a Fragment>,
}

/// What the compiler keeps from Ingress to Ingress.
pub(super) struct Kept<'a> {
    pub(super) services: &'a mut Services,
    pub(super) policies: &'a mut Policies,
    pub(super) built: &'a mut Built,
}

/// Compiles an Ingress that is ours. `before` is its last fragment, whose metric labels live on.
pub(super) fn fragment(
    ingress: &Ingress,
    view: View<'_>,
    claims: &Claims,
    kept: Kept<'_>,
    before: Option<&Fragment>,
) -> Fragment {
    let Kept { services, policies, built } = kept;
    let subject = ObjectId::new(Kind::Ingress, ingress.meta.key()).subject();
    let (options, said) = dialect::traefik::ingress(&ingress.meta, subject.clone());
    let mut fragment = Fragment {
        created: ingress.meta.created,
        origin: ingress.meta.origin.clone(),
        diagnostics: said,
        labels: before.map(|b| b.labels.clone()).unwrap_or_default(),
        ..Fragment::default()
    };
    let (entrypoints, closed) = entrypoints(&options, claims, &subject, &mut fragment.diagnostics);
    let said = &mut fragment.diagnostics;
    let tls = tls_options::of_routes(&view, claims, &ingress.meta, &options, policies, said);
    let closed = closed.or_else(|| options.closed.clone()).or_else(|| tls.closed.clone());
    let resolved = RefCell::default();
    let common = Common {
        ingress,
        subject,
        options,
        entrypoints,
        closed,
        tls,
        view,
        claims,
        resolved,
        built: RefCell::new(built),
        before,
    };
    common.rules(&mut fragment, services);
    common.certs(&mut fragment);
    let rules = fragment.rules.values().flatten();
    let used: BTreeSet<Arc<str>> = rules.map(|r| Arc::clone(&r.rule.route.labels.service)).collect();
    fragment.labels.retain(|service, _| used.contains(service));
    fragment.diagnostics = once(fragment.diagnostics, &common.subject, ingress.meta.origin.as_ref());
    fragment.reads = common.view.into_reads();
    fragment
}

/// The same fault at several fields of the Ingress's `spec` is said once; other repeats are dropped.
fn once(diagnostics: Vec<Diagnostic>, ingress: &Subject, origin: Option<&Origin>) -> Vec<Diagnostic> {
    let mut others: BTreeSet<Diagnostic> = BTreeSet::new();
    let mut faults: BTreeMap<Diagnostic, Vec<String>> = BTreeMap::new();
    for mut said in diagnostics {
        if said.subject == *ingress {
            said.origin = said.origin.or_else(|| origin.cloned());
        }
        // Each annotation is a fault of its own.
        if said.subject == *ingress && said.field.starts_with("spec") {
            let field = std::mem::take(&mut said.field);
            faults.entry(said).or_default().push(field);
        } else {
            others.insert(said);
        }
    }
    let faults = faults.into_iter().map(|(mut said, fields)| {
        let more = fields.iter().collect::<BTreeSet<_>>().len().saturating_sub(1);
        if more > 0 {
            said.message.push_str(&format!(" (and {more} more)"));
        }
        said.field = fields.into_iter().next().unwrap_or_default();
        said
    });
    others.into_iter().chain(faults).collect()
}

/// Where the routes are served, and why they are closed if that is not what was asked for.
fn entrypoints(
    options: &RouteOptions,
    claims: &Claims,
    subject: &Subject,
    diagnostics: &mut Vec<Diagnostic>,
) -> (Entrypoints, Option<String>) {
    let mask = |wanted: &dyn Fn(&str, bool) -> bool| {
        let all = claims.entrypoints.iter().enumerate().take(32);
        let wanted = all.filter(|(_, (name, tls))| wanted(name, *tls));
        Entrypoints(wanted.fold(0, |mask, (index, _)| mask | 1 << index))
    };
    let speaks = |tls: bool| tls || (options.tls != Some(true) && options.tls_options.is_none());
    let known = || claims.entrypoints.iter().map(|(name, _)| name.as_str());
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
    let named = mask(&|name, tls| {
        speaks(tls) && options.entrypoints.as_ref().is_none_or(|names| names.iter().any(|n| **n == *name))
    });
    if named != Entrypoints::default() {
        return (named, None);
    }
    let reason = "none of its entrypoints can serve it";
    let text = format!("{reason}, so its routes are closed (503) on the default ones");
    let help = "name an entrypoint that exists; with router.tls \"true\" one that speaks TLS (websecure)";
    diagnostics.push(Diagnostic::error(subject.clone(), field, "NoEntrypoint", text).help(help));
    let default = mask(&|_, tls| speaks(tls));
    let default = if default == Entrypoints::default() { mask(&|_, _| true) } else { default };
    (default, Some(reason.to_owned()))
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
            let what = "its rules are not served";
            let Some(host) = self.host(&rule.host, format!("{field}.host"), what, fragment) else { continue };
            hosts.insert(Arc::clone(&host));
            for (nth, path) in rule.http.iter().flat_map(|http| &http.paths).enumerate() {
                let field = format!("{field}.http.paths[{nth}]");
                let mut read = self.path(path, &field, fragment);
                let Some(matcher) = read.matcher.take() else { continue };
                let written = self.options.priority.map(|p| p.max(Rule::LAST + 1));
                let priority = written.unwrap_or_else(|| paths::priority(&host, &matcher));
                let place =
                    Place { host: &host, path: &read.shown, field: &field, acme: read.acme, closed: read.closed };
                let route = self.route(place, &path.backend, fragment, services);
                let rule = Rule { priority, explicit: written.is_some(), matcher, route };
                fragment.rules.entry(Arc::clone(&host)).or_default().push(HostRule { field, rule });
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
                let rule = Rule { priority: Rule::LAST, explicit: false, matcher: Matcher::prefix("/"), route };
                fragment.rules.entry(host).or_default().push(HostRule { field: "spec.defaultBackend".into(), rule });
            }
        } else if fragment.rules.is_empty() && fragment.diagnostics.is_empty() {
            let text = "it has no path and no default backend, so it serves nothing";
            fragment.diagnostics.push(Diagnostic::warning(self.subject.clone(), "spec.rules", "NothingToServe", text));
        }
    }

    fn host(&self, host: &Arc<str>, field: String, so: &str, fragment: &mut Fragment) -> Option<Arc<str>> {
        let read = paths::host(host);
        if read.is_none() {
            let text = format!("{host:?} is not a host name, so {so}");
            let help = "write a DNS name such as app.example.com, or *.example.com for any one label";
            let diagnostic = Diagnostic::error(self.subject.clone(), field, "InvalidHost", text);
            fragment.diagnostics.push(diagnostic.help(help));
        }
        read
    }

    fn path(&self, path: &Path, field: &str, fragment: &mut Fragment) -> paths::Read {
        let mut read = paths::read(path, self.options.path_matcher);
        fragment.diagnostics.extend(read.remarks.drain(..).map(|remark| {
            let (subject, field) = (self.subject.clone(), format!("{field}.{}", remark.field));
            let said = if remark.warning {
                Diagnostic::warning(subject, field, remark.code, remark.text)
            } else {
                Diagnostic::error(subject, field, remark.code, remark.text)
            };
            said.help(remark.help)
        }));
        read
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
        let mut refs = vec![Refs {
            list: &self.options.middlewares,
            subject: self.subject.clone(),
            origin: self.ingress.meta.origin.clone(),
            annotation: "router.middlewares",
        }];
        let mut closed = closed.or_else(|| self.closed.clone());
        let mut service_name: Arc<str> = "".into();
        let mut asks = dialect::ServiceOptions::default();
        let mut owner = None;
        let service: Result<(Arc<Service>, ServiceKey), Box<str>> =
            self.backend(backend, &backend_field, fragment).map(|mut found| {
                asks = std::mem::take(&mut found.annotations);
                let key = found.key.clone();
                service_name = Arc::clone(&key.name);
                owner = Some((Key::new(Arc::clone(&key.namespace), Arc::clone(&key.name)), found.origin.clone()));
                let used = Use::own(key.clone());
                let service = services.get(&used, found.options, found.external);
                fragment.services.insert(used);
                (service, key)
            });
        let mut its_refs = None;
        if let Some((key, origin)) = owner {
            let its = (ObjectId::new(Kind::Service, key.clone()).subject(), origin);
            if let Some(reason) = &asks.closed {
                closed.get_or_insert_with(|| reason.clone());
            }
            if !asks.middlewares.is_empty() {
                let (subject, origin) = its;
                refs.push(Refs { list: &asks.middlewares, subject, origin, annotation: "service.middlewares" });
                its_refs = Some(key);
            }
        }
        let cache = &mut self.resolved.borrow_mut();
        let meta = &self.ingress.meta;
        let around = middlewares::Around { view: &self.view, ingress: meta, claims: self.claims };
        let out = middlewares::Out {
            services,
            built: &mut self.built.borrow_mut(),
            used: &mut fragment.services,
            diagnostics: &mut fragment.diagnostics,
        };
        let resolved = middlewares::resolve(around, (&refs, its_refs), cache, out);
        let closed = closed.or_else(|| resolved.closed.clone());
        let sticky = service.as_ref().ok().and_then(|(_, key)| {
            let sticky = sticky::build(resolved.sticky.as_ref(), asks.sticky.as_ref(), key, services);
            fragment.cookies.extend(sticky.iter().map(|s| (s.name().to_owned(), key.clone())));
            sticky
        });
        let action = match (closed, service) {
            (Some(reason), _) => Action::Closed(reason.into()),
            (None, Ok((service, _))) => Action::Forward(service),
            (None, Err(reason)) => Action::NoService(reason),
        };
        let labels = fragment
            .labels
            .entry(Arc::clone(&service_name))
            .or_insert_with(|| RouteLabels::new(Arc::clone(&meta.namespace), Arc::clone(&meta.name), service_name));
        Arc::new(Route {
            labels: Arc::clone(labels),
            host: Arc::clone(host),
            path: Arc::clone(path),
            entrypoints: self.entrypoints,
            action,
            chain: self.chain(&resolved, host, path, fragment),
            middlewares: resolved.names.as_slice().into(),
            tls: self.tls.options.clone(),
            sticky,
            acme,
            access_log: self.options.access_log.unwrap_or(true),
            metrics: self.options.metrics.unwrap_or(true),
        })
    }

    /// The chain of a route: that of all routes with the same middlewares, unless some of them remember requests. Those
    /// are the route's own, and go on with what they remember if their settings are what they were.
    fn chain(&self, resolved: &Resolved, host: &Arc<str>, path: &Arc<str>, fragment: &mut Fragment) -> Chain {
        if !resolved.remembers {
            return resolved.chain.clone();
        }
        let own = |step: &Step| {
            let Some(fresh) = step.middleware.fresh() else { return step.middleware.clone() };
            let mut of =
                StateOf { host: Arc::clone(host), path: Arc::clone(path), middleware: step.of.clone(), nth: 0 };
            while fragment.states.contains_key(&of) {
                of.nth += 1;
            }
            let before = self.before.and_then(|before| before.states.get(&of)).filter(|before| before.is_like(&fresh));
            let kept = before.cloned().unwrap_or(fresh);
            fragment.states.insert(of, kept.clone());
            kept
        };
        Chain::new(resolved.steps.iter().map(own).collect())
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
        let own: Vec<Arc<str>> = fragment.rules.keys().filter(|host| !host.is_empty()).cloned().collect();
        for (index, tls) in self.ingress.spec.tls.iter().enumerate() {
            let field = format!("spec.tls[{index}]");
            let mut hosts: BTreeSet<Arc<str>> = BTreeSet::new();
            for (nth, host) in tls.hosts.iter().enumerate().filter(|(_, host)| !host.is_empty()) {
                let what = "it gets no certificate";
                hosts.extend(self.host(host, format!("{field}.hosts[{nth}]"), what, fragment));
            }
            if tls.secret_name.is_empty() {
                continue;
            }
            let secret =
                Key { namespace: Arc::clone(&self.ingress.meta.namespace), name: Arc::clone(&tls.secret_name) };
            // Noted as read, so that the Secret's coming and going compiles this Ingress again.
            let _ = self.view.secret(&secret);
            let claim = |host| CertClaim { host, secret: secret.clone(), field: field.clone() };
            if tls.hosts.iter().any(|host| !host.is_empty()) {
                fragment.certs.extend(hosts.into_iter().map(|host| claim(Some(host))));
            } else if own.is_empty() {
                fragment.certs.push(claim(None));
            } else {
                fragment.certs.extend(own.iter().map(|host| claim(Some(Arc::clone(host)))));
            }
        }
    }
}
