//! TLSOptions → `table::TlsOptions`: those that an Ingress names, and those of hosts that name none. What is wrong with
//! one closes the routes that name it, refuses the handshakes of their hosts, and is said of both.
//!
//! Equal terms are one [`Policy`], whoever writes them, for as long as anybody has them: a policy that is the same after a
//! change keeps the sessions that were begun under it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Weak},
};

use super::{
    references::References,
    tls_names::{self, Quiet},
    tls_secrets::{self, Named},
    view::View,
    wrong::Wrong,
};
use crate::{
    balance::transport::Roots,
    diagnostic::Diagnostic,
    dialect::RouteOptions,
    objects::{
        Key, Kind, Meta, ObjectId, TlsOption,
        store::{Changes, Store},
        tls_option::{self, ClientAuthType, DEFAULT, TlsOptionSpec},
    },
    settings::Claims,
    table::{
        TlsOptions,
        tls::{ClientAuth, OptionsId, Policy, Protocol, Terms, strictest},
    },
};

/// The annotation that names one.
pub(super) const FIELD: &str = "metadata.annotations[traefik.ingress.kubernetes.io/router.tls.options]";

/// Policies in use, each with terms of its own.
#[derive(Debug, Default)]
pub(super) struct Policies(Vec<Weak<Policy>>);

impl Policies {
    /// The policy of these terms.
    fn of(&mut self, terms: Terms) -> Arc<Policy> {
        self.0.retain(|known| known.strong_count() > 0);
        let known = self.0.iter().filter_map(Weak::upgrade).find(|known| known.terms == terms);
        known.unwrap_or_else(|| {
            let policy = Arc::new(Policy { terms, ..Policy::default() });
            self.0.push(Arc::downgrade(&policy));
            policy
        })
    }
}

/// What the annotation of an Ingress comes to.
#[derive(Debug, Default)]
pub(super) struct OfRoutes {
    /// The options that its routes name; `None` for the default.
    pub(super) options: Option<Arc<TlsOptions>>,
    /// Why they are closed.
    pub(super) closed: Option<String>,
}

/// The options that an Ingress names.
pub(super) fn of_routes(
    view: &View<'_>,
    claims: &Claims,
    meta: &Meta,
    asked: &RouteOptions,
    policies: &mut Policies,
    said: &mut Vec<Diagnostic>,
) -> OfRoutes {
    let Some(reference) = asked.tls_options.as_ref().filter(|reference| &***reference != DEFAULT) else {
        return OfRoutes::default();
    };
    let close = |id: OptionsId, reason: String| {
        let policy = Err(reason.as_str().into());
        OfRoutes { options: Some(Arc::new(TlsOptions { id, policy })), closed: Some(reason) }
    };
    let subject = ObjectId::new(Kind::Ingress, meta.key()).subject();
    let mut say = |code, reason: &str, help: String| {
        let text = format!("{reason}, so its routes are closed (503) and handshakes for their hosts are refused");
        said.push(Diagnostic::error(subject.clone(), FIELD, code, text).help(help).at(meta.origin.clone()));
    };
    let references = References { view, claims, namespace: &meta.namespace, kind: Kind::TlsOption };
    let key = match references.find(reference) {
        Ok(key) => key,
        Err(lost) => {
            let id = OptionsId::Nowhere(Arc::clone(reference));
            if let Some(reason) = &asked.closed {
                // The annotation itself is invalid, or another one: what there is to say is said.
                return close(id, reason.clone());
            }
            say(lost.code, &lost.text, lost.help);
            return close(id, lost.text);
        }
    };
    let id = OptionsId::Object(Arc::clone(&key.namespace), Arc::clone(&key.name));
    match made(view, &key, "routes that name it are closed (503)", said) {
        Ok(terms) => {
            let policy = Ok(policies.of(terms));
            OfRoutes { options: Some(Arc::new(TlsOptions { id, policy })), closed: None }
        }
        Err(fault) => {
            let reason = format!("TLSOption {key}: {fault}");
            let text = format!("{reason}, so its routes are closed (503) and handshakes for their hosts are refused");
            let error = Diagnostic::error(subject, FIELD, "TLSOptionInvalid", text);
            said.push(error.help("see the TLSOption's own diagnostic").at(meta.origin.clone()));
            close(id, reason)
        }
    }
}

/// What a TLSOption comes to, and what is said of it; `Err` is what is wrong with it. `so` is what follows from that.
fn made(view: &View<'_>, key: &Key, so: &str, said: &mut Vec<Diagnostic>) -> Result<Terms, String> {
    let Some(object) = view.tls_option(key) else { return Err("it does not exist".to_owned()) };
    let subject = || ObjectId::new(Kind::TlsOption, key.clone()).subject();
    let mut say = |diagnostic: Diagnostic| said.push(diagnostic.at(object.meta.origin.clone()));
    if object.unreadable {
        let text = format!("it can't be read; {so}");
        say(Diagnostic::error(subject(), "", "TLSOptionInvalid", text).help("see what else is said of it"));
        return Err("it can't be read".to_owned());
    }
    for field in &object.unknown {
        let text = format!("{field} is not a field of a TLSOption; {so}");
        say(Diagnostic::error(subject(), field.clone(), "UnknownField", text).help("correct it, or remove it"));
    }
    for quiet in object.spec.without_effect() {
        let text = format!("{} {}", quiet.field, quiet.message);
        say(Diagnostic::warning(subject(), quiet.field, "NoEffect", text).help(quiet.help));
    }
    match terms(view, object) {
        Err(Wrong { code, field, message, help }) => {
            let text = format!("{message}; {so}");
            let code = code.unwrap_or("TLSOptionInvalid");
            say(Diagnostic::error(subject(), format!("spec.{field}"), code, text).help(help));
            Err(message)
        }
        Ok((terms, quiet)) => {
            for (field, why) in quiet {
                say(Diagnostic::warning(subject(), format!("spec.{field}"), "NoEffect", why).help("remove it"));
            }
            match object.unknown.first() {
                Some(field) => Err(format!("it has the unknown field {field}")),
                None => Ok(terms),
            }
        }
    }
}

/// What a TLSOption says, and which of it has no effect.
fn terms(view: &View<'_>, object: &TlsOption) -> Result<(Terms, Vec<Quiet>), Wrong> {
    let TlsOptionSpec {
        min_version,
        max_version,
        cipher_suites,
        curve_preferences,
        client_auth,
        sni_strict,
        alpn_protocols,
        disable_session_tickets,
        // Told by `without_effect`.
        prefer_server_cipher_suites: _,
    } = &object.spec;
    let (versions, weak) = tls_names::versions(min_version.as_deref(), max_version.as_deref())?;
    let (suites, mut quiet) = tls_names::suites(cipher_suites.as_deref().unwrap_or_default(), versions)?;
    let (groups, curves) = tls_names::curves(curve_preferences.as_deref().unwrap_or_default())?;
    let (protocols, without) = protocols(alpn_protocols.as_deref().unwrap_or_default())?;
    let (client_auth, roots, unseen) = self::client_auth(view, object, client_auth.as_ref())?;
    quiet.extend(weak.into_iter().chain(curves).chain(without).chain(unseen));
    let terms = Terms {
        versions,
        suites,
        groups,
        client_auth,
        roots,
        sni_strict: sni_strict.unwrap_or(false),
        protocols,
        tickets: !disable_session_tickets.unwrap_or(false),
    };
    Ok((terms, quiet))
}

/// `alpnProtocols`; an empty list is none.
fn protocols(names: &[String]) -> Result<(Vec<Protocol>, Vec<Quiet>), Wrong> {
    const HELP: &str = "write h2 or http/1.1";
    let (mut offered, mut quiet) = (Vec::new(), Vec::new());
    for (index, name) in names.iter().enumerate() {
        let field = format!("alpnProtocols[{index}]");
        let protocol = match name.as_str() {
            "h2" => Protocol::Http2,
            "http/1.1" => Protocol::Http1,
            // It is in Traefik's own default, so that people write it down with the others.
            "acme-tls/1" => {
                quiet.push((field, "acme-tls/1 is not spoken: there is no ACME here".to_owned()));
                continue;
            }
            _ => return Err(Wrong::of(field, format!("{name:?} is no protocol that is spoken"), HELP)),
        };
        if !offered.contains(&protocol) {
            offered.push(protocol);
        }
    }
    match (offered.is_empty(), names.is_empty()) {
        (true, true) => Ok((Terms::default().protocols, quiet)),
        (true, false) => Err(Wrong::of("alpnProtocols", "none of them is spoken", HELP)),
        (false, _) => Ok((offered, quiet)),
    }
}

/// What is asked of clients, and what their certificates must come from.
fn client_auth(
    view: &View<'_>,
    object: &TlsOption,
    section: Option<&tls_option::ClientAuth>,
) -> Result<(ClientAuth, Option<Roots>, Option<Quiet>), Wrong> {
    let Some(tls_option::ClientAuth { secret_names, client_auth_type }) = section else {
        return Ok((ClientAuth::None, None, None));
    };
    let named = |(index, name): (usize, &String)| {
        let field = format!("clientAuth.secretNames[{index}]");
        if name.is_empty() {
            return Err(Wrong::of(field, "it names no Secret", "name one with certificates under the key ca.crt"));
        }
        Ok(Named { secret: Key::new(Arc::clone(&object.meta.namespace), name.as_str()), field })
    };
    let named: Vec<Named> = secret_names.iter().flatten().enumerate().map(named).collect::<Result<_, _>>()?;
    // As in Traefik: who names what certificates come from wants them.
    let meant =
        if named.is_empty() { ClientAuthType::NoClientCert } else { ClientAuthType::RequireAndVerifyClientCert };
    let written = client_auth_type.unwrap_or(meant);
    let asked = match written {
        ClientAuthType::NoClientCert => ClientAuth::None,
        ClientAuthType::RequestClientCert => ClientAuth::Request,
        ClientAuthType::RequireAnyClientCert => ClientAuth::Require,
        ClientAuthType::VerifyClientCertIfGiven => ClientAuth::VerifyIfGiven,
        ClientAuthType::RequireAndVerifyClientCert => ClientAuth::RequireAndVerify,
    };
    if named.is_empty() {
        if asked.verifies() {
            let text = format!("{} needs Secrets with what certificates must come from", written.as_str());
            let help = "name them, each with certificates under the key ca.crt or tls.ca";
            return Err(Wrong::of("clientAuth.secretNames", text, help));
        }
        return Ok((asked, None, None));
    }
    let roots = tls_secrets::roots(view, &named)?;
    let mut certificates = roots.certificates.to_vec();
    certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other.as_ref()));
    certificates.dedup();
    let roots = Roots { certificates: certificates.into(), ..roots };
    let quiet = (!asked.verifies()).then(|| {
        let why = format!("with {} they are not looked at; RequireAndVerifyClientCert would", written.as_str());
        ("clientAuth.secretNames".to_owned(), why)
    });
    Ok((asked, (asked != ClientAuth::None).then_some(roots), quiet))
}

/// The options of hosts that name none: those of the object `default`, else what needs none.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    pub(super) options: Arc<TlsOptions>,
    pub(super) said: Vec<Diagnostic>,
    reads: BTreeSet<ObjectId>,
}

impl Defaults {
    /// Whether a change concerns them.
    pub(super) fn is_touched_by(&self, changes: &Changes) -> bool {
        changes.touched.iter().any(|id| tls_option::is_default(id) || self.reads.contains(id))
    }

    /// Reads them anew.
    pub(super) fn new(store: &Store, policies: &mut Policies) -> Self {
        let view = View::new(store);
        let mut said = Vec::new();
        let keys: Vec<&Key> = view.all(Kind::TlsOption).filter(|key| &*key.name == DEFAULT).collect();
        let made = |key: &&Key| {
            let made = made(&view, key, "handshakes for hosts that name no TLSOption are refused", &mut said);
            let policy = made.map(|terms| policies.of(terms));
            let policy = policy.map_err(|why| format!("TLSOption {key}: {why}").into());
            Arc::new(TlsOptions { id: OptionsId::Default, policy })
        };
        let all: Vec<Arc<TlsOptions>> = keys.iter().map(made).collect();
        let options = strictest(all.iter()).cloned().unwrap_or_else(|| {
            let policy = Ok(policies.of(Terms::default()));
            Arc::new(TlsOptions { id: OptionsId::Default, policy })
        });
        if let [_, _, ..] = keys.as_slice() {
            said.extend(keys.iter().map(|key| several(&view, key, &keys)));
        }
        Self { options, said, reads: view.into_reads().objects }
    }
}

/// There is one default: whoever may write to one namespace must not make it laxer for all others.
fn several(view: &View<'_>, key: &Key, all: &[&Key]) -> Diagnostic {
    let others: Vec<String> = all.iter().filter(|other| **other != key).map(ToString::to_string).collect();
    let subject = ObjectId::new(Kind::TlsOption, key.clone()).subject();
    let origin = view.tls_option(key).and_then(|object| object.meta.origin.clone());
    let text = format!("there are others of the name default ({}); the strictest counts", others.join(", "));
    let help = "keep one of them; name the others otherwise, and in router.tls.options of the Ingresses that need them";
    Diagnostic::error(subject, "metadata.name", "SeveralDefaults", text).help(help).at(origin)
}

#[cfg(test)]
mod tests;
