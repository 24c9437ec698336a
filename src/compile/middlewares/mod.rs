//! Middleware references in the order of the annotation → the steps of a chain. One that is missing or invalid
//! closes the route. What each type is built from is in a file by what it does.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
    sync::Arc,
};

mod asked;
mod auth;
mod bodies;
mod client_cert;
mod fault;
mod headers;
mod limits;
mod paths;
mod resilience;
mod statuses;
pub(super) mod values;

use fault::Fault;

use super::{
    pool::{Services, Use},
    references::{Lost, References},
    view::View,
};
use crate::{
    diagnostic::{Diagnostic, Origin, Subject},
    middleware::{Chain, Middleware},
    objects::{self, Key, Kind, Meta, ObjectId, middleware as object},
    settings::Claims,
};

/// `chain` may nest so deep.
const DEEPEST: usize = 16;

/// A route may come to so many middlewares, those inside of chains counted each time. Chains that name a chain twice,
/// which names one twice, would come to more than there is memory for.
const MOST: usize = 256;

/// Of these, so many may stand around the rest (compress, errors, retry, …): each is a level of a worker's stack.
const MOST_LEVELS: usize = 32;

/// A list of references and whom to tell when one is wrong.
#[derive(Debug)]
pub(super) struct Refs<'a> {
    pub(super) list: &'a [Arc<str>],
    pub(super) subject: Subject,
    pub(super) origin: Option<Origin>,
    /// `router.middlewares` or `service.middlewares`
    pub(super) annotation: &'static str,
}

/// What the references of a route come to.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    pub(super) chain: Chain,
    /// The same steps one by one, where some of them remember requests.
    pub(super) steps: Vec<Step>,
    pub(super) remembers: bool,
    /// For people, as `namespace/name`.
    pub(super) names: Vec<Arc<str>>,
    pub(super) sticky: Option<object::Sticky>,
    pub(super) closed: Option<String>,
}

/// A middleware and the object that it was built from.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) middleware: Middleware,
    pub(super) of: Key,
}

type Found = Result<Key, Lost>;

/// What one Ingress has resolved already: all its paths mostly have the same list.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// By the Service whose own references come last, if it has some.
    lists: BTreeMap<Option<Key>, Rc<Resolved>>,
    found: HashMap<Arc<str>, Found>,
}

/// Where references are resolved.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) ingress: &'a Meta,
    pub(super) claims: &'a Claims,
}

/// What resolving them adds to.
pub(super) struct Out<'a> {
    pub(super) services: &'a mut Services,
    pub(super) built: &'a mut Built,
    /// The services that the Ingress uses.
    pub(super) used: &'a mut BTreeSet<Use>,
    pub(super) diagnostics: &'a mut Vec<Diagnostic>,
}

/// Resolves lists of references, the outermost first. `service` is the Service whose annotation the last list is, if
/// there is one; each combination is resolved, and its faults said, once.
pub(super) fn resolve(
    around: Around<'_>,
    (lists, service): (&[Refs<'_>], Option<Key>),
    cache: &mut Cache,
    out: Out<'_>,
) -> Rc<Resolved> {
    if let Some(known) = cache.lists.get(&service) {
        return Rc::clone(known);
    }
    let Around { view, ingress, claims } = around;
    let Out { services, built, used, diagnostics } = out;
    let mut resolver = Resolver {
        view,
        ingress,
        claims,
        services,
        built,
        used,
        found: &mut cache.found,
        diagnostics,
        steps: Vec::new(),
        added: 0,
        out: Resolved::default(),
    };
    for refs in lists {
        for reference in refs.list {
            match resolver.find(reference) {
                Ok(key) => resolver.add(&key, refs, &mut Vec::new()),
                Err(Lost { code, text, help }) => {
                    resolver.close(refs, code, format!("{text}, so its routes are closed (503)"), help, text);
                }
            }
        }
    }
    let levels = resolver.steps.iter().filter(|step| step.middleware.is_level()).count();
    if let Some(refs) = lists.first().filter(|_| levels > MOST_LEVELS) {
        let reason = format!("{levels} of its middlewares stand around the rest, where {MOST_LEVELS} may");
        let text = format!("{reason}, so its routes are closed (503)");
        let help =
            "name fewer of compress, contentType, errors, retry, circuitBreaker, buffering, forwardAuth and grpcWeb";
        resolver.close(refs, "ChainTooLong", text, help, reason);
    }
    let Resolver { mut steps, mut out, added, .. } = resolver;
    if added > MOST {
        // Closed anyway, and every route keeps the names.
        steps.clear();
        out.names.clear();
    }
    out.chain = Chain::new(steps.iter().map(|step| step.middleware.clone()).collect());
    out.remembers = steps.iter().any(|step| step.middleware.fresh().is_some());
    if out.remembers {
        out.steps = steps;
    }
    let resolved = Rc::new(out);
    cache.lists.insert(service, Rc::clone(&resolved));
    resolved
}

/// Steps that were built of Middlewares which read nothing else: thousands of Ingresses may name one, and share it.
#[derive(Debug, Default)]
pub(super) struct Built(HashMap<Key, Middleware>);

impl Built {
    /// Forgets a Middleware that has changed or gone.
    pub(super) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

struct Resolver<'a> {
    view: &'a View<'a>,
    ingress: &'a Meta,
    claims: &'a Claims,
    services: &'a mut Services,
    used: &'a mut BTreeSet<Use>,
    built: &'a mut Built,
    found: &'a mut HashMap<Arc<str>, Found>,
    diagnostics: &'a mut Vec<Diagnostic>,
    steps: Vec<Step>,
    /// How many Middlewares have been added, chains included.
    added: usize,
    out: Resolved,
}

impl Resolver<'_> {
    /// Says something of the annotation.
    fn say(&mut self, refs: &Refs<'_>, said: impl FnOnce(Subject, String) -> Diagnostic) {
        let field = format!("metadata.annotations[traefik.ingress.kubernetes.io/{}]", refs.annotation);
        self.diagnostics.push(said(refs.subject.clone(), field).at(refs.origin.clone()));
    }

    /// Closes the routes for a fault that is said of the annotation.
    fn close(&mut self, refs: &Refs<'_>, code: &'static str, text: String, help: impl Into<String>, reason: String) {
        self.say(refs, |subject, field| Diagnostic::error(subject, field, code, text).help(help));
        self.out.closed.get_or_insert(reason);
    }

    /// The Middleware that a reference names, looked for once.
    fn find(&mut self, reference: &Arc<str>) -> Found {
        if let Some(known) = self.found.get(reference) {
            return known.clone();
        }
        let found = self.references().find(reference);
        self.found.insert(Arc::clone(reference), found.clone());
        found
    }

    /// The rules of references to Middlewares from this Ingress.
    fn references(&self) -> References<'_> {
        let Self { view, claims, ingress, .. } = self;
        References { view, claims, namespace: &ingress.namespace, kind: Kind::Middleware }
    }

    /// Adds a Middleware that exists, with what its chain names. A fault in it is said of the Middleware, and closes
    /// the route.
    fn add(&mut self, key: &Key, refs: &Refs<'_>, above: &mut Vec<Key>) {
        let Some(middleware) = self.view.middleware(key) else { return };
        self.added += 1;
        if self.added > MOST {
            if self.added == MOST + 1 {
                let reason = format!("the chain has more than {MOST} middlewares");
                let text = format!("{reason}, so its routes are closed (503)");
                self.close(refs, "ChainTooLong", text, "name fewer; a chain counts as all that it names", reason);
            }
            return;
        }
        let subject = ObjectId::new(Kind::Middleware, key.clone()).subject();
        let mut said: Vec<Diagnostic> = Vec::new();
        for field in &middleware.unknown {
            let text = format!("{field} is not a field of a Middleware; routes that name it are closed (503)");
            let help = "correct it, or remove it";
            said.push(Diagnostic::error(subject.clone(), field.clone(), "UnknownField", text).help(help));
        }
        for quiet in middleware.spec.without_effect() {
            let text = format!("{} {}", quiet.field, quiet.message);
            said.push(Diagnostic::warning(subject.clone(), quiet.field, "NoEffect", text).help(quiet.help));
        }
        let limit = middleware.spec.rate_limit.as_ref();
        said.extend(limit.and_then(|limit| limits::counted_here(limit, subject.clone())));
        said.extend(middleware.spec.headers.iter().filter_map(|fields| headers::open_to_all(fields, subject.clone())));
        let errors = middleware.spec.errors.iter();
        said.extend(errors.flat_map(|fields| resilience::idle_rewrites(fields, &subject)));
        let fault = match self.build(middleware, refs, above) {
            Err(fault) => {
                let text = format!("{}; routes that name it are closed (503)", fault.message);
                let field = if fault.field.is_empty() { "spec".to_owned() } else { format!("spec.{}", fault.field) };
                said.push(Diagnostic::error(subject, field, fault.code, text).help(fault.help));
                Some(fault.message)
            }
            Ok(()) => middleware.unknown.first().map(|field| format!("it has the unknown field {field}")),
        };
        // Of a chain that was built, its members are the steps.
        if fault.is_some() || middleware.spec.chain.is_none() {
            self.out.names.push(format!("{key}").into());
        }
        self.diagnostics.extend(said.into_iter().map(|d| d.at(middleware.meta.origin.clone())));
        if let Some(fault) = fault {
            let reason = format!("Middleware {key}: {fault}");
            let text = format!("{reason}, so its routes are closed (503)");
            self.close(refs, "MiddlewareInvalid", text, "see the Middleware's own diagnostic", reason);
        }
    }

    fn build(
        &mut self,
        middleware: &Arc<objects::Middleware>,
        refs: &Refs<'_>,
        above: &mut Vec<Key>,
    ) -> Result<(), Fault> {
        let spec = &middleware.spec;
        match spec.kinds().as_slice() {
            [_] => {}
            [] => {
                // A definition without `sticky` leaves nothing of a sticky Middleware, and nobody is told.
                let help = "write one, such as headers or sticky; if you did, the cluster's definition of Middlewares \
                            has dropped it: apply ours (`headgate crds | kubectl apply --server-side --force-conflicts \
                            -f -`), and the Middleware again if `kubectl get` does not show it whole then";
                return Err(Fault::of("", "it has no middleware type", help));
            }
            several => {
                let text =
                    format!("it has {} middleware types ({}), where one is allowed", several.len(), several.join(", "));
                return Err(Fault::of("", text, "write a Middleware for each, and name them in order"));
            }
        }
        if let Some(sticky) = &spec.sticky {
            return self.sticky(sticky, refs, &middleware.meta);
        }
        if let Some(chain) = &spec.chain {
            return self.chain(chain, &middleware.meta, refs, above);
        }
        if spec.content_type.as_ref().is_some_and(paths::is_switched_off) {
            return Ok(());
        }
        let of = middleware.meta.key();
        let middleware = self.step(middleware)?;
        self.steps.push(Step { middleware, of });
        Ok(())
    }

    /// The one step that a Middleware is.
    fn step(&mut self, middleware: &objects::Middleware) -> Result<Middleware, Fault> {
        let key = middleware.meta.key();
        if let Some(known) = self.built.0.get(&key) {
            return Ok(known.clone());
        }
        let (spec, meta) = (&middleware.spec, &middleware.meta);
        if let Some(fields) = &spec.basic_auth {
            auth::basic(self.view, fields, meta)
        } else if let Some(fields) = &spec.digest_auth {
            auth::digest(self.view, fields, meta)
        } else if let Some(fields) = &spec.forward_auth {
            auth::forward(self, fields, meta)
        } else if let Some(fields) = &spec.errors {
            resilience::errors(self, fields, meta)
        } else {
            let step = alone(spec)?;
            self.built.0.insert(key, step.clone());
            Ok(step)
        }
    }

    /// The first cookie of a route is its cookie.
    fn sticky(&mut self, sticky: &object::Sticky, refs: &Refs<'_>, meta: &Meta) -> Result<(), Fault> {
        let Some(cookie) = &sticky.cookie else { return Ok(()) };
        for (field, value) in [("name", &cookie.name), ("path", &cookie.path), ("domain", &cookie.domain)] {
            let bad = |c: char| c.is_control() || c == ';' || c == ',';
            if let Some(value) = value.as_ref().filter(|value| value.contains(bad)) {
                let text = format!("{value:?} can't stand in a cookie");
                let help = "a cookie has no semicolon, no comma and no control character in it";
                return Err(Fault::of(format!("sticky.cookie.{field}"), text, help));
            }
        }
        if self.out.sticky.is_some() {
            let text =
                format!("Middleware {} is the second with a sticky cookie on a route: the first counts", meta.key());
            self.say(refs, |subject, field| {
                Diagnostic::warning(subject, field, "SecondSticky", text).help("name one of them only")
            });
        } else {
            self.out.sticky = Some(sticky.clone());
        }
        Ok(())
    }

    fn chain(
        &mut self,
        chain: &object::Chain,
        meta: &Meta,
        refs: &Refs<'_>,
        above: &mut Vec<Key>,
    ) -> Result<(), Fault> {
        let members = chain.middlewares.as_deref().unwrap_or_default();
        if members.is_empty() {
            return Err(Fault::of("chain.middlewares", "the chain names no middleware", "name those that it is of"));
        }
        let here = meta.key();
        if above.contains(&here) || above.len() >= DEEPEST {
            return Err(Fault::of(
                "chain.middlewares",
                "the chain comes back to itself, or is too deep",
                "break the circle",
            ));
        }
        above.push(here);
        for (index, reference) in members.iter().enumerate() {
            if self.added > MOST {
                break;
            }
            let field = format!("chain.middlewares[{index}]");
            let namespace = reference.namespace.as_deref().filter(|n| !n.is_empty()).unwrap_or(&meta.namespace);
            let key = Key::new(namespace, reference.name.as_str());
            let found = self.view.middleware(&key).is_some();
            let refused = if found { self.references().allowed(&key).err() } else { None };
            if let Some(Lost { code, text, help }) = refused {
                above.pop();
                return Err(Fault { code, ..Fault::of(field, text, help) });
            }
            if !found {
                above.pop();
                let fault =
                    Fault::of(field, format!("Middleware {key} does not exist"), "create it, or correct the name");
                return Err(Fault { code: "MiddlewareNotFound", ..fault });
            }
            self.add(&key, refs, above);
        }
        above.pop();
        Ok(())
    }
}

/// The step of a type that reads nothing but its own object.
fn alone(spec: &object::MiddlewareSpec) -> Result<Middleware, Fault> {
    if let Some(fields) = &spec.headers {
        headers::headers(fields)
    } else if let Some(fields) = &spec.redirect_scheme {
        paths::redirect_scheme(fields)
    } else if let Some(fields) = &spec.redirect_regex {
        paths::redirect_regex(fields)
    } else if let Some(fields) = &spec.add_prefix {
        paths::add_prefix(fields)
    } else if let Some(fields) = &spec.strip_prefix {
        paths::strip_prefix(fields)
    } else if let Some(fields) = &spec.strip_prefix_regex {
        paths::strip_prefix_regex(fields)
    } else if let Some(fields) = &spec.replace_path {
        paths::replace_path(fields)
    } else if let Some(fields) = &spec.replace_path_regex {
        paths::replace_path_regex(fields)
    } else if let Some(fields) = &spec.encoded_characters {
        Ok(paths::encoded_characters(fields))
    } else if spec.content_type.is_some() {
        Ok(Middleware::ContentType)
    } else if let Some(plugins) = &spec.plugin {
        Err(paths::plugin(plugins))
    } else if let Some(fields) = &spec.pass_tls_client_cert {
        Ok(client_cert::pass(fields))
    } else if let Some(fields) = &spec.ip_allow_list {
        limits::ip_allow_list(fields)
    } else if let Some(fields) = &spec.ip_white_list {
        limits::ip_white_list(fields)
    } else if let Some(fields) = &spec.rate_limit {
        limits::rate_limit(fields)
    } else if let Some(fields) = &spec.in_flight_req {
        limits::in_flight_req(fields)
    } else if let Some(fields) = &spec.compress {
        bodies::compress(fields)
    } else if let Some(fields) = &spec.grpc_web {
        Ok(bodies::grpc_web(fields))
    } else if let Some(fields) = &spec.buffering {
        bodies::buffering(fields)
    } else if let Some(fields) = &spec.retry {
        resilience::retry(fields)
    } else if let Some(fields) = &spec.circuit_breaker {
        resilience::circuit_breaker(fields)
    } else {
        // No type gets here without a builder: a test builds one of each.
        let kind = spec.kinds().first().copied().unwrap_or_default();
        let help = "remove the reference if the route may go without it";
        Err(Fault::of(kind, format!("middleware type {kind} can't be built"), help))
    }
}
