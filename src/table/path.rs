//! Which route of a host a path belongs to: the same cost for ten rules and for a hundred thousand.
//!
//! The order is: the higher priority, then Exact before Prefix, then the longer path, then the older Ingress. A rule
//! without a priority of its own has the length that Traefik's rule would have ([`implicit_priority`]), so that the
//! longer path comes first and a number that someone wrote for Traefik means what it meant there. A host with few rules
//! is a sorted list; one with many is looked up by hash, once for each prefix length that occurs.

use std::{cmp::Reverse, sync::Arc};

use hashbrown::HashMap;
use regex::Regex;

use super::{
    route::{Entrypoints, Route},
    tls::{TlsOptions, strictest},
};
use crate::target::readable;

/// How a rule matches a normalised path.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// The whole path.
    Exact(Box<str>),
    /// Whole path elements from the start; without its final slash, so that `/` is empty.
    Prefix(Box<str>),
    /// A regular expression, found anywhere in the path unless it is anchored (`PathRegexp` of Traefik).
    Regex {
        /// What is looked for, in the path's [`readable`] spelling.
        built: Regex,
        /// The expression as its author wrote it, by which it is ranked and shown.
        written: Arc<str>,
    },
}

impl Matcher {
    /// A Prefix rule's path, normalised already.
    pub fn prefix(path: &str) -> Self {
        Self::Prefix(path.strip_suffix('/').unwrap_or(path).into())
    }

    /// Whether a path is of this rule.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => {
                path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex { built, .. } => built.is_match(&readable(path)),
        }
    }

    /// Exact first, then by length.
    fn rank(&self) -> (bool, usize) {
        match self {
            Self::Exact(path) => (true, path.len()),
            Self::Prefix(path) => (false, path.len()),
            Self::Regex { written, .. } => (false, written.len()),
        }
    }
}

/// A rule of a host.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `router.priority`, else [`implicit_priority`]. [`Rule::LAST`] is a default backend's.
    pub priority: i64,
    /// Whether the user wrote the priority.
    pub explicit: bool,
    /// How it matches.
    pub matcher: Matcher,
    /// What it leads to.
    pub route: Arc<Route>,
}

impl Rule {
    /// The priority of a default backend: behind everything.
    pub const LAST: i64 = i64::MIN;
}

/// The priority of a rule for which nobody wrote one: the length of Traefik's `Host("…") && PathPrefix("…")`.
pub fn implicit_priority(host: &str, path: &str) -> i64 {
    let around = if host.is_empty() { r#"PathPrefix("")"# } else { r#"Host("") && PathPrefix("")"# };
    i64::try_from(around.len() + host.len() + path.len()).unwrap_or(i64::MAX)
}

/// More rules than this are looked up by hash.
const FEW: usize = 8;

/// The rules of one host, ready to be looked up.
#[derive(Debug, Default)]
pub struct Paths {
    rules: Kind,
    /// Where it has rules. One for an ACME challenge is for plain HTTP, and doesn't count.
    entrypoints: Entrypoints,
    /// How handshakes are done, where a rule says so; few if any.
    tls: Box<[(Entrypoints, Arc<TlsOptions>)]>,
    /// Where rules are that say nothing of that, so that the default stands for them.
    silent: Entrypoints,
}

#[derive(Debug)]
enum Kind {
    /// In order.
    Few(Box<[Rule]>),
    Many(Box<Many>),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

/// A route with its place in the order of the host's rules: the lower comes first.
type Placed = (usize, Arc<Route>);
type ByPath = HashMap<Box<str>, Vec<Placed>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Many {
    /// Rules with a priority of their own, default backends and regular expressions, in order.
    scanned: Vec<(usize, Rule)>,
    exact: ByPath,
    prefix: ByPath,
    /// The prefix lengths that occur, longest first.
    lengths: Vec<usize>,
}

impl Paths {
    /// Builds the table of a host. `rules` come with the older claim before the younger; that order decides ties.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| (Reverse(rule.priority), Reverse(rule.matcher.rank())));
        let counted = rules.iter().filter(|rule| !rule.route.acme || rule.route.tls.is_some());
        let (mut entrypoints, mut silent) = (Entrypoints(0), Entrypoints(0));
        for route in counted.map(|rule| &rule.route) {
            entrypoints.0 |= route.entrypoints.0;
            silent.0 |= if route.tls.is_none() { route.entrypoints.0 } else { 0 };
        }
        let tls = tls(&rules);
        let rules = if rules.len() <= FEW { Kind::Few(rules.into()) } else { Kind::Many(Box::new(Many::new(rules))) };
        Self { rules, entrypoints, tls, silent }
    }

    /// How handshakes are done on an entrypoint: nothing where the host has no rule there. `default` stands for the rules
    /// that don't say how: a rule that does must not make it laxer for them.
    pub fn tls<'a>(&'a self, entrypoint: usize, default: &'a Arc<TlsOptions>) -> Option<&'a Arc<TlsOptions>> {
        let counting = || match self.tls.iter().find(|(on, _)| on.contains(entrypoint)) {
            Some((_, named)) if !(self.silent.contains(entrypoint) && default.outrank(named)) => named,
            _ => default,
        };
        self.entrypoints.contains(entrypoint).then(counting)
    }

    /// Whether a rule says how handshakes are done.
    pub fn has_tls(&self) -> bool {
        !self.tls.is_empty()
    }

    /// The route of a path (as [`crate::target::Target::compared`] writes it) on an entrypoint.
    pub fn lookup(&self, entrypoint: usize, path: &str) -> Option<&Arc<Route>> {
        match &self.rules {
            Kind::Few(rules) => rules
                .iter()
                .find(|r| r.route.entrypoints.contains(entrypoint) && r.matcher.matches(path))
                .map(|r| &r.route),
            Kind::Many(many) => many.lookup(entrypoint, path),
        }
    }
}

/// The strictest options of each entrypoint among those that rules name.
fn tls(rules: &[Rule]) -> Box<[(Entrypoints, Arc<TlsOptions>)]> {
    let mut all: Vec<(Entrypoints, Arc<TlsOptions>)> = Vec::new();
    let named = || rules.iter().filter_map(|rule| Some((rule.route.entrypoints, rule.route.tls.as_ref()?)));
    let on = named().fold(0, |mask, (on, _)| mask | on.0);
    for entrypoint in (0..32).filter(|index| on & (1 << index) != 0) {
        let of = named().filter(|(on, _)| on.contains(entrypoint)).map(|(_, options)| options);
        let Some(options) = strictest(of) else { continue };
        let bit = 1 << entrypoint;
        match all.iter_mut().find(|(_, known)| Arc::ptr_eq(known, options)) {
            Some((on, _)) => on.0 |= bit,
            None => all.push((Entrypoints(bit), Arc::clone(options))),
        }
    }
    all.into()
}

impl Many {
    fn new(rules: Vec<Rule>) -> Self {
        let mut many = Self::default();
        for (place, rule) in rules.into_iter().enumerate() {
            match &rule.matcher {
                Matcher::Exact(path) if !rule.explicit => {
                    many.exact.entry(path.clone()).or_default().push((place, rule.route));
                }
                Matcher::Prefix(path) if !rule.explicit && rule.priority != Rule::LAST => {
                    many.lengths.push(path.len());
                    many.prefix.entry(path.clone()).or_default().push((place, rule.route));
                }
                _ => many.scanned.push((place, rule)),
            }
        }
        many.lengths.sort_unstable_by_key(|length| Reverse(*length));
        many.lengths.dedup();
        many
    }

    fn lookup(&self, entrypoint: usize, path: &str) -> Option<&Arc<Route>> {
        let served = |list: &'_ Vec<Placed>| list.iter().position(|(_, r)| r.entrypoints.contains(entrypoint));
        let of = |map: &'_ ByPath, key: &str| map.get(key).and_then(served);
        // Among rules without a priority of their own, the longest that matches is first in order.
        let plain = match of(&self.exact, path) {
            Some(index) => self.exact.get(path).and_then(|list| list.get(index)),
            None => self.lengths.iter().find_map(|&length| {
                let ends = path.len() == length || path.as_bytes().get(length) == Some(&b'/');
                let key = path.get(..length).filter(|_| ends)?;
                self.prefix.get(key)?.get(of(&self.prefix, key)?)
            }),
        };
        let before = plain.map_or(usize::MAX, |(place, _)| *place);
        let scanned = self.scanned.iter().take_while(|(place, _)| *place < before);
        let scanned = scanned.map(|(_, rule)| rule);
        let mut scanned = scanned.filter(|r| r.route.entrypoints.contains(entrypoint) && r.matcher.matches(path));
        scanned.next().map(|rule| &rule.route).or(plain.map(|(_, route)| route))
    }
}

/// A rule as people read it.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// `Exact`, `Prefix` or `Regex`.
    pub kind: &'static str,
    /// Its path, as it is compared.
    pub path: &'a str,
    /// What is looked for where it is a regular expression, which `path` then shows.
    pub regex: Option<&'a Regex>,
    /// The priority that the user wrote.
    pub priority: Option<i64>,
    /// Whether it is a default backend.
    pub default_backend: bool,
    /// What it leads to.
    pub route: &'a Arc<Route>,
}

impl Rule {
    fn listed(&self) -> Listed<'_> {
        let (kind, path, regex) = match &self.matcher {
            Matcher::Exact(path) => ("Exact", &**path, None),
            Matcher::Prefix(path) if path.is_empty() => ("Prefix", "/", None),
            Matcher::Prefix(path) => ("Prefix", &**path, None),
            Matcher::Regex { built, written } => ("Regex", &**written, Some(built)),
        };
        let default_backend = self.priority == Self::LAST;
        let priority = self.explicit.then_some(self.priority);
        Listed { kind, path, regex, priority, default_backend, route: &self.route }
    }
}

impl Paths {
    /// How many rules there are.
    pub fn len(&self) -> usize {
        match &self.rules {
            Kind::Few(rules) => rules.len(),
            Kind::Many(many) => {
                let of = |map: &ByPath| map.values().map(Vec::len).sum::<usize>();
                of(&many.exact) + of(&many.prefix) + many.scanned.len()
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every rule, in the order in which they are tried.
    pub fn list(&self) -> Vec<Listed<'_>> {
        let many = match &self.rules {
            Kind::Few(rules) => return rules.iter().map(Rule::listed).collect(),
            Kind::Many(many) => many,
        };
        let mut all: Vec<(usize, Listed<'_>)> =
            many.scanned.iter().map(|(place, rule)| (*place, rule.listed())).collect();
        for (kind, map) in [("Exact", &many.exact), ("Prefix", &many.prefix)] {
            for (path, (place, route)) in map.iter().flat_map(|(path, list)| list.iter().map(move |p| (path, p))) {
                let path = if path.is_empty() { "/" } else { &**path };
                all.push((*place, Listed { kind, path, regex: None, priority: None, default_backend: false, route }));
            }
        }
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, listed)| listed).collect()
    }
}
