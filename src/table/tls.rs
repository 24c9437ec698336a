//! How TLS handshakes with clients are done, by host: what Traefik's TLSOptions ask for.
//!
//! A route may name [`TlsOptions`], else it has the default; those of a host are the strictest of its routes
//! ([`strictest`], [`TlsOptions::outrank`]). A handshake is done under the options of the name that the client asks for; a
//! request is served only on a connection that [`TlsOptions::holds_for`] its host, and [`TlsOptions::meets`] its route.
//! [`Terms`] are plain data; what the proxy makes of them is kept in their [`Policy`], so that it is made once.

use std::{
    cmp::{Ordering, Reverse},
    fmt,
    sync::{Arc, OnceLock},
};

use rustls::{ServerConfig, server::danger::ClientCertVerifier};

use crate::balance::transport::{Roots, Version, Versions};

/// What a client is asked for, the laxest first (`clientAuth.clientAuthType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientAuth {
    /// Nothing.
    #[default]
    None,
    /// A certificate, any or none.
    Request,
    /// A certificate, any.
    Require,
    /// A certificate that comes from [`Terms::roots`], or none.
    VerifyIfGiven,
    /// A certificate that comes from [`Terms::roots`].
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether a certificate that is shown is looked at.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether nobody comes in without a certificate.
    pub fn requires(self) -> bool {
        matches!(self, Self::Require | Self::RequireAndVerify)
    }

    /// Whether this asks for all that `other` does.
    fn covers(self, other: Self) -> bool {
        match other {
            Self::None => true,
            Self::Request => self != Self::None,
            Self::Require => self.requires(),
            Self::VerifyIfGiven => self.verifies(),
            Self::RequireAndVerify => self == Self::RequireAndVerify,
        }
    }
}

/// A protocol that is offered (ALPN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `h2`
    Http2,
    /// `http/1.1`
    Http1,
}

/// What a handshake is held to.
#[derive(Clone, Debug)]
pub struct Terms {
    /// `minVersion` and `maxVersion`
    pub versions: Versions,
    /// IANA numbers of the only cipher suites; `None` for all (`cipherSuites`).
    pub suites: Option<Vec<u16>>,
    /// IANA numbers of the only groups for the exchange of keys, the preferred first; `None` for all
    /// (`curvePreferences`).
    pub groups: Option<Vec<u16>>,
    /// `clientAuth.clientAuthType`
    pub client_auth: ClientAuth,
    /// What clients' certificates must come from (`clientAuth.secretNames`); there wherever they are verified. Sorted,
    /// without repeats.
    pub roots: Option<Roots>,
    /// Whether only names with a certificate of their own are served (`sniStrict`).
    pub sni_strict: bool,
    /// The protocols that are offered, the preferred first; never empty (`alpnProtocols`).
    pub protocols: Vec<Protocol>,
    /// Whether sessions can be resumed (not `disableSessionTickets`).
    pub tickets: bool,
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, nothing asked of clients.
impl Default for Terms {
    fn default() -> Self {
        Self {
            versions: Versions::default(),
            suites: None,
            groups: None,
            client_auth: ClientAuth::None,
            roots: None,
            sni_strict: false,
            protocols: vec![Protocol::Http2, Protocol::Http1],
            tickets: true,
        }
    }
}

impl Terms {
    /// Which of two is the stricter, by what matters most first: what is asked of clients, the certificates that these
    /// come from (the fewer), the versions, then the rest.
    fn rank(&self) -> impl Ord + use<> {
        let few = |list: Option<usize>| Reverse(list.unwrap_or(usize::MAX));
        (
            self.client_auth,
            few(self.roots.as_ref().map(|roots| roots.certificates.len())),
            self.versions.oldest,
            Reverse(self.versions.newest),
            self.sni_strict,
            (few(self.suites.as_ref().map(Vec::len)), few(self.groups.as_ref().map(Vec::len))),
            !self.tickets,
            Reverse(self.protocols.len()),
        )
    }

    /// Whether these ask of clients all that `other` does.
    fn ask_of_clients_what(&self, other: &Self) -> bool {
        let within = || match (&self.roots, &other.roots) {
            (Some(mine), Some(theirs)) => mine.certificates.iter().all(|one| theirs.certificates.contains(one)),
            _ => false,
        };
        self.client_auth.covers(other.client_auth) && (!other.client_auth.verifies() || within())
    }

    /// Whether a handshake keeps to these, but for what they ask of clients.
    fn are_kept_by(&self, shaken: &Shaken) -> bool {
        self.versions.has(shaken.version)
            && self.suites.as_ref().is_none_or(|suites| suites.contains(&shaken.suite))
            && self.groups.as_ref().is_none_or(|groups| shaken.group.is_some_and(|group| groups.contains(&group)))
            && (!self.sni_strict || shaken.own_certificate)
            && (self.tickets || !shaken.resumed)
    }
}

impl PartialEq for Terms {
    fn eq(&self, other: &Self) -> bool {
        let Self { versions, suites, groups, client_auth, roots, sni_strict, protocols, tickets } = self;
        let certificates = |roots: &Option<Roots>| roots.as_ref().map(|roots| Arc::clone(&roots.certificates));
        *versions == other.versions
            && *suites == other.suites
            && *groups == other.groups
            && *client_auth == other.client_auth
            && certificates(roots) == certificates(&other.roots)
            && *sni_strict == other.sni_strict
            && *protocols == other.protocols
            && *tickets == other.tickets
    }
}

/// What a handshake has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shaken {
    /// The version of TLS.
    pub version: Version,
    /// The IANA number of the cipher suite.
    pub suite: u16,
    /// That of the group in which keys were exchanged; nothing where none were.
    pub group: Option<u16>,
    /// Whether the name that the client has asked for has a certificate of its own.
    pub own_certificate: bool,
    /// Whether it goes on with an earlier session.
    pub resumed: bool,
}

/// What the proxy has made of terms.
#[derive(Clone, Debug)]
pub struct Made {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    /// What clients' certificates are looked at with, where they are verified: a session that is resumed brings one that
    /// nobody has looked at since it began.
    pub clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// Terms, and what the proxy makes of them: once for all workers, and again for other terms only, as a ticket that was
/// given out under some must never be taken under others.
#[derive(Debug, Default)]
pub struct Policy {
    /// What is held to.
    pub terms: Terms,
    /// Filled by the proxy.
    pub made: OnceLock<Made>,
}

/// Whose options they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OptionsId {
    /// Those of hosts that name none.
    #[default]
    Default,
    /// An object, by namespace and name.
    Object(Arc<str>, Arc<str>),
    /// A reference that leads nowhere, as it was written.
    Nowhere(Arc<str>),
}

impl fmt::Display for OptionsId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Object(namespace, name) => write!(f, "{namespace}/{name}"),
            Self::Nowhere(reference) => f.write_str(reference),
        }
    }
}

/// What a TLSOption comes to.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// Whose they are.
    pub id: OptionsId,
    /// `Err` where they can't be had, with the reason: handshakes are refused.
    pub policy: Result<Arc<Policy>, Box<str>>,
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { id: OptionsId::Default, policy: Ok(Arc::default()) }
    }
}

/// Whether a connection may carry a request for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Holds,
    /// It was made under other options: a connection of its own is needed.
    Other,
    /// Nobody can: the host's options can't be had.
    Closed,
}

impl TlsOptions {
    /// Whether a connection that was made under these may carry requests for a host that has `wanted` now. Options that
    /// have changed since are the same options, as long as no more is asked of clients now: a connection outlives a
    /// change, as it outlives its certificate.
    pub fn holds_for(&self, wanted: &Self) -> Standing {
        let Ok(theirs) = &wanted.policy else { return Standing::Closed };
        match &self.policy {
            Ok(mine) if Arc::ptr_eq(mine, theirs) => Standing::Holds,
            Ok(mine) if self.id == wanted.id && mine.terms.client_auth.covers(theirs.terms.client_auth) => {
                Standing::Holds
            }
            _ => Standing::Other,
        }
    }

    /// Whether these ask of clients all that `own` does, which a route names that is reached by a host with these. Where
    /// they don't, nobody can be let in to that route.
    pub fn stand_in_for(&self, own: &Self) -> bool {
        match (&self.policy, &own.policy) {
            (Ok(mine), Ok(own)) => mine.terms.ask_of_clients_what(&own.terms),
            _ => false,
        }
    }

    /// Whether a connection that was made under these may carry requests for a route that names `own`: those are the
    /// same, or what was asked of the client, and what the handshake has come to, is what they want.
    pub fn meets(&self, own: &Self, shaken: &Shaken) -> bool {
        let kept = || own.policy.as_ref().is_ok_and(|own| own.terms.are_kept_by(shaken));
        self.holds_for(own) == Standing::Holds || (self.stand_in_for(own) && kept())
    }

    /// The strictest comes last. Options that can't be had are the strictest of all; between equals, the name decides.
    pub fn by_strictness(&self, other: &Self) -> Ordering {
        let rank = |options: &Self| options.policy.as_ref().map(|policy| policy.terms.rank()).map_err(|_| ());
        // `Err` comes after every `Ok`.
        rank(self).cmp(&rank(other)).then_with(|| other.id.cmp(&self.id))
    }

    /// Whether these, the default, count for a host rather than `named`, which some of its rules name while others name
    /// none. Equal terms are those of whoever names them.
    pub fn outrank(&self, named: &Self) -> bool {
        let equal = match (&self.policy, &named.policy) {
            (Ok(mine), Ok(theirs)) => Arc::ptr_eq(mine, theirs) || mine.terms == theirs.terms,
            _ => false,
        };
        !equal && self.by_strictness(named).is_gt()
    }

    /// What is asked of clients, for people; nothing where nothing is.
    pub fn asked(&self) -> Option<&'static str> {
        match self.policy.as_ref().ok()?.terms.client_auth {
            ClientAuth::None => None,
            ClientAuth::Request => Some("clients are asked for a certificate, and may have none"),
            ClientAuth::Require => Some("clients have to show a certificate, whosever it is"),
            ClientAuth::VerifyIfGiven => {
                Some("clients are asked for a certificate of its authorities, and may have none")
            }
            ClientAuth::RequireAndVerify => Some("clients have to show a certificate of its authorities"),
        }
    }
}

/// The strictest of some options.
pub fn strictest<'a>(all: impl Iterator<Item = &'a Arc<TlsOptions>>) -> Option<&'a Arc<TlsOptions>> {
    all.max_by(|one, other| one.by_strictness(other))
}

#[cfg(test)]
mod tests;
