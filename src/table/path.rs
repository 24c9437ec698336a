//! Which route of a host a path belongs to: the same cost for ten rules and for a hundred thousand.
//!
//! The order is: an explicit priority, then Exact before Prefix, then the longer before the shorter (a regular
//! expression counts by the length of its text), then the older Ingress. A host with few rules is a sorted list; one
//! with many is looked up by hash, once for each prefix length that occurs.

use std::{cmp::Reverse, sync::Arc};

use hashbrown::HashMap;
use regex::Regex;

use super::route::Route;

/// How a rule matches a normalised path.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// The whole path.
    Exact(Box<str>),
    /// Whole path elements from the start; without its final slash, so that `/` is empty.
    Prefix(Box<str>),
    /// A regular expression, found anywhere in the path unless it is anchored (`PathRegexp` of Traefik).
    Regex(Regex),
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
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// Exact first, then by length.
    fn rank(&self) -> (bool, usize) {
        match self {
            Self::Exact(path) => (true, path.len()),
            Self::Prefix(path) => (false, path.len()),
            Self::Regex(regex) => (false, regex.as_str().len()),
        }
    }

    /// Whether two rules claim the same paths by the same text.
    pub fn same_claim(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// A rule of a host.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `router.priority`; 0 where there is none. [`Rule::LAST`] is a default backend's.
    pub priority: i64,
    /// How it matches.
    pub matcher: Matcher,
    /// What it leads to.
    pub route: Arc<Route>,
}

impl Rule {
    /// The priority of a default backend: behind everything.
    pub const LAST: i64 = i64::MIN;
}

/// More rules than this of priority 0 are looked up by hash.
const FEW: usize = 8;

/// The rules of one host, ready to be looked up.
#[derive(Debug, Default)]
pub struct Paths {
    above: Box<[Rule]>,
    plain: Plain,
    below: Box<[Rule]>,
}

#[derive(Debug)]
enum Plain {
    Few(Box<[Rule]>),
    Many(Box<Many>),
}

impl Default for Plain {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

type ByPath = HashMap<Box<str>, Vec<Arc<Route>>, foldhash::fast::RandomState>;

#[derive(Debug, Default)]
struct Many {
    exact: ByPath,
    prefix: ByPath,
    /// The prefix lengths that occur, longest first.
    lengths: Vec<usize>,
    regex: Vec<(Regex, Arc<Route>)>,
}

impl Paths {
    /// Builds the table of a host. `rules` come with the older claim before the younger; that order decides ties.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        rules.sort_by_key(|rule| (Reverse(rule.priority), Reverse(rule.matcher.rank())));
        let plain_from = rules.partition_point(|rule| rule.priority > 0);
        let below_from = rules.partition_point(|rule| rule.priority >= 0);
        let below = rules.split_off(below_from);
        let plain = rules.split_off(plain_from);
        let plain = if plain.len() <= FEW { Plain::Few(plain.into()) } else { Plain::Many(Box::new(Many::new(plain))) };
        Self { above: rules.into(), plain, below: below.into() }
    }

    /// The route of a normalised path on an entrypoint.
    pub fn lookup(&self, entrypoint: usize, path: &str) -> Option<&Arc<Route>> {
        first(&self.above, entrypoint, path)
            .or_else(|| match &self.plain {
                Plain::Few(rules) => first(rules, entrypoint, path),
                Plain::Many(many) => many.lookup(entrypoint, path),
            })
            .or_else(|| first(&self.below, entrypoint, path))
    }
}

fn first<'a>(rules: &'a [Rule], entrypoint: usize, path: &str) -> Option<&'a Arc<Route>> {
    rules.iter().find(|r| r.route.entrypoints.contains(entrypoint) && r.matcher.matches(path)).map(|r| &r.route)
}

/// A rule as people read it: how it matches, the path, its priority, what it leads to.
pub type Listed<'a> = (&'static str, &'a str, i64, &'a Arc<Route>);

impl Rule {
    fn listed(&self) -> Listed<'_> {
        let (kind, path) = match &self.matcher {
            Matcher::Exact(path) => ("Exact", &**path),
            Matcher::Prefix(path) if path.is_empty() => ("Prefix", "/"),
            Matcher::Prefix(path) => ("Prefix", &**path),
            Matcher::Regex(regex) => ("Regex", regex.as_str()),
        };
        (kind, path, self.priority, &self.route)
    }
}

impl Paths {
    /// How many rules there are.
    pub fn len(&self) -> usize {
        let plain = match &self.plain {
            Plain::Few(rules) => rules.len(),
            Plain::Many(many) => {
                let of = |map: &ByPath| map.values().map(Vec::len).sum::<usize>();
                of(&many.exact) + of(&many.prefix) + many.regex.len()
            }
        };
        self.above.len() + plain + self.below.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every rule, for people.
    pub fn list(&self) -> Vec<Listed<'_>> {
        let mut all: Vec<Listed<'_>> = self.above.iter().map(Rule::listed).collect();
        match &self.plain {
            Plain::Few(rules) => all.extend(rules.iter().map(Rule::listed)),
            Plain::Many(many) => {
                for (path, routes) in &many.exact {
                    all.extend(routes.iter().map(|route| ("Exact", &**path, 0, route)));
                }
                for (path, routes) in &many.prefix {
                    let shown = if path.is_empty() { "/" } else { path };
                    all.extend(routes.iter().map(|route| ("Prefix", shown, 0, route)));
                }
                all.extend(many.regex.iter().map(|(regex, route)| ("Regex", regex.as_str(), 0, route)));
            }
        }
        all.extend(self.below.iter().map(Rule::listed));
        all
    }
}

impl Many {
    fn new(rules: Vec<Rule>) -> Self {
        let mut many = Self::default();
        for Rule { matcher, route, .. } in rules {
            match matcher {
                Matcher::Exact(path) => many.exact.entry(path).or_default().push(route),
                Matcher::Prefix(path) => {
                    many.lengths.push(path.len());
                    many.prefix.entry(path).or_default().push(route);
                }
                Matcher::Regex(regex) => many.regex.push((regex, route)),
            }
        }
        many.lengths.sort_unstable_by_key(|length| Reverse(*length));
        many.lengths.dedup();
        many
    }

    fn lookup(&self, entrypoint: usize, path: &str) -> Option<&Arc<Route>> {
        let served = |routes: &'_ Vec<Arc<Route>>| routes.iter().position(|r| r.entrypoints.contains(entrypoint));
        let of = |map: &'_ ByPath, key: &str| -> Option<(usize, usize)> {
            map.get(key).and_then(|routes| served(routes).map(|index| (key.len(), index)))
        };
        if let Some((_, index)) = of(&self.exact, path) {
            return self.exact.get(path)?.get(index);
        }
        let prefix = self.lengths.iter().find_map(|&length| {
            let ends = path.len() == length || path.as_bytes().get(length) == Some(&b'/');
            of(&self.prefix, path.get(..length).filter(|_| ends)?)
        });
        let longer_than = prefix.map(|(length, _)| length);
        let regex = self.regex.iter().find(|(regex, route)| {
            longer_than.is_none_or(|length| regex.as_str().len() > length)
                && route.entrypoints.contains(entrypoint)
                && regex.is_match(path)
        });
        match (regex, prefix) {
            (Some((_, route)), _) => Some(route),
            (None, Some((length, index))) => self.prefix.get(path.get(..length)?)?.get(index),
            (None, None) => None,
        }
    }
}
