//! Which rules a host gets: exact before one-label wildcard before none.

use std::{borrow::Cow, sync::Arc};

use hashbrown::HashMap;

use super::{path::Paths, route::Route, tls::TlsOptions};

type ByHost = HashMap<Arc<str>, Arc<Paths>, foldhash::fast::RandomState>;

/// Rules by host.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    exact: ByHost,
    wildcard: ByHost,
    any: Arc<Paths>,
    /// How many of them say how handshakes are done.
    with_tls: usize,
}

impl Hosts {
    /// Puts the rules of a host in place of those it had; `None` takes them out. An empty host stands for every
    /// host, `*.x` for every host of one label more than `x`.
    pub fn set(&mut self, host: &str, paths: Option<Paths>) {
        self.with_tls += usize::from(paths.as_ref().is_some_and(Paths::has_tls));
        let before = if host.is_empty() {
            Some(std::mem::replace(&mut self.any, Arc::new(paths.unwrap_or_default())))
        } else {
            let (map, name) = match host.strip_prefix("*.") {
                Some(rest) => (&mut self.wildcard, rest),
                None => (&mut self.exact, host),
            };
            match paths {
                Some(paths) => map.insert(name.into(), Arc::new(paths)),
                None => map.remove(name),
            }
        };
        self.with_tls -= usize::from(before.is_some_and(|paths| paths.has_tls()));
    }

    /// How handshakes are done for a host on an entrypoint. The exact host's rules decide, where it has some there, then
    /// the wildcard's, then those of no host, which a client without a name gets; then it is as by `default`.
    pub fn tls<'a>(&'a self, entrypoint: usize, host: &str, default: &'a Arc<TlsOptions>) -> &'a Arc<TlsOptions> {
        if self.with_tls == 0 {
            return default;
        }
        let exact = || self.exact.get(host)?.tls(entrypoint, default);
        let wildcard = || {
            let (label, rest) = host.split_once('.')?;
            if label.is_empty() { None } else { self.wildcard.get(rest)?.tls(entrypoint, default) }
        };
        exact().or_else(wildcard).or_else(|| self.any.tls(entrypoint, default)).unwrap_or(default)
    }

    /// The route of a host (see [`host_of`]) and a normalised path on an entrypoint. A path that the exact host's
    /// rules leave over is looked up under the wildcard, then under no host.
    pub fn lookup(&self, entrypoint: usize, host: &str, path: &str) -> Option<&Arc<Route>> {
        let exact = self.exact.get(host).and_then(|paths| paths.lookup(entrypoint, path));
        exact
            .or_else(|| {
                if self.wildcard.is_empty() {
                    return None;
                }
                let (label, rest) = host.split_once('.')?;
                if label.is_empty() {
                    return None;
                }
                self.wildcard.get(rest)?.lookup(entrypoint, path)
            })
            .or_else(|| self.any.lookup(entrypoint, path))
    }

    /// Every host with its rules, sorted; `*` stands for every host.
    pub fn list(&self) -> Vec<(String, &Arc<Paths>)> {
        let exact = self.exact.iter().map(|(host, paths)| (host.to_string(), paths));
        let wildcard = self.wildcard.iter().map(|(host, paths)| (format!("*.{host}"), paths));
        let mut all: Vec<_> = exact.chain(wildcard).collect();
        all.push(("*".to_owned(), &self.any));
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// How many rules all hosts have.
    pub fn rules(&self) -> usize {
        let of = |map: &ByHost| map.values().map(|paths| paths.len()).sum::<usize>();
        of(&self.exact) + of(&self.wildcard) + self.any.len()
    }

    /// How many hosts have rules.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wildcard.len()
    }

    /// Whether no host has rules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The one reading of a Host header, an authority or a server name: lower case, without port and one trailing dot,
/// IPv6 in its brackets; and the port. Nothing where it is no host at all.
pub fn host_of(authority: &str) -> Option<(Cow<'_, str>, Option<u16>)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (inside, after) = rest.split_once(']')?;
        inside.parse::<std::net::Ipv6Addr>().ok()?;
        let host = authority.get(..inside.len() + 2)?;
        match after {
            "" => (host, None),
            _ => (host, Some(after.strip_prefix(':')?)),
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    let port = match port {
        // An empty port is allowed (RFC 3986 §3.2.3).
        None | Some("") => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
        Some(_) => return None,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let valid = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    if !host.starts_with('[') && !host.split('.').all(|label| !label.is_empty() && label.bytes().all(valid)) {
        return None;
    }
    let host = if host.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    };
    Some((host, port))
}
