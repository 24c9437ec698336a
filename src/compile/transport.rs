//! What objects say of connections → `balance::Transport`: the ServersTransport that a Service names, and the TLS section
//! of a Middleware that asks a server. What is wrong with a ServersTransport closes the routes of the Services that name
//! it, and is said of both.

use std::{sync::Arc, time::Duration};

use rustls_pki_types::ServerName;

use super::{
    middlewares::values,
    references::{Lost, References},
    tls_names::{self, Quiet},
    tls_secrets::{Named, certificate, roots},
    view::View,
    wrong::Wrong,
};
use crate::{
    balance::{
        Scheme, Transport,
        transport::{Parts, Waits},
    },
    diagnostic::Diagnostic,
    objects::{
        Key, Kind, Meta, ObjectId, ServersTransport,
        servers_transport::{ForwardingTimeouts, RootCa, ServersTransportSpec},
    },
    settings::Claims,
};

/// The annotation that names one.
const FIELD: &str = "metadata.annotations[traefik.ingress.kubernetes.io/service.serverstransport]";

/// What Go takes for a `pingTimeout` of 0.
const PING: Duration = Duration::from_secs(15);

/// A Service that names a ServersTransport.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) claims: &'a Claims,
    /// The Service's.
    pub(super) meta: &'a Meta,
    /// How its endpoints are spoken to.
    pub(super) scheme: Scheme,
}

impl Asking<'_> {
    /// How its connections are made. `Err` is why its routes are closed; it is said already.
    pub(super) fn named(self, reference: &str, said: &mut Vec<Diagnostic>) -> Result<Arc<Transport>, String> {
        let subject = ObjectId::new(Kind::Service, self.meta.key()).subject();
        let close = |code, reason: String, help: String, said: &mut Vec<Diagnostic>| {
            let text = format!("{reason}, so its routes are closed (503)");
            let error = Diagnostic::error(subject.clone(), FIELD, code, text).help(help);
            said.push(error.at(self.meta.origin.clone()));
            reason
        };
        let Self { view, claims, scheme, .. } = self;
        let references = References { view, claims, namespace: &self.meta.namespace, kind: Kind::ServersTransport };
        let found = references.find(reference);
        let key = found.map_err(|lost| close(lost.code, lost.text, lost.help, said))?;
        let made = view.transport(&key, || made(view, &key, said));
        let transport = made.map_err(|fault| {
            let help = "see the ServersTransport's own diagnostic".to_owned();
            close("ServersTransportInvalid", format!("ServersTransport {key}: {fault}"), help, said)
        })?;
        if scheme == Scheme::H2c && transport.parts().http1_only {
            let text = format!("ServersTransport {key} disables HTTP/2, which is what the Service speaks (h2c)");
            let help = "remove disableHTTP2, or let service.serversscheme be http".to_owned();
            return Err(close("ServersTransportInvalid", text, help, said));
        }
        if scheme != Scheme::Https && transport.parts().concerns_tls() {
            let text = format!("ServersTransport {key} has settings of TLS, but {} is spoken", scheme.as_str());
            let help = "write service.serversscheme: https if the pods speak TLS, else remove them";
            let warning = Diagnostic::warning(subject.clone(), FIELD, "ServersTransportWithoutTls", text).help(help);
            said.push(warning.at(self.meta.origin.clone()));
        }
        Ok(transport)
    }
}

/// The ServersTransport that a Middleware names for a Service that it asks: by its name alone, in the Middleware's own
/// namespace, or as annotations do. `Err` is for the Middleware; what is wrong with the object itself is said of it.
pub(super) fn asked_by(
    references: References<'_>,
    name: &str,
    scheme: Scheme,
    said: &mut Vec<Diagnostic>,
) -> Result<Arc<Transport>, Lost> {
    let invalid = |text: String, help: &str| Lost { code: "ServersTransportInvalid", text, help: help.to_owned() };
    let view = references.view;
    let key =
        if name.contains('@') { references.find(name)? } else { Key::new(Arc::clone(references.namespace), name) };
    let transport = view
        .transport(&key, || made(view, &key, said))
        .map_err(|fault| invalid(format!("ServersTransport {key}: {fault}"), "create it, or see its own diagnostic"))?;
    if scheme == Scheme::H2c && transport.parts().http1_only {
        let text = format!("ServersTransport {key} disables HTTP/2, which is what the Service speaks (h2c)");
        return Err(invalid(text, "remove disableHTTP2, or let the scheme be http"));
    }
    Ok(transport)
}

/// What a ServersTransport comes to, and what is said of it; `Err` is what is wrong with it.
fn made(view: &View<'_>, key: &Key, said: &mut Vec<Diagnostic>) -> Result<Arc<Transport>, String> {
    let Some(object) = view.servers_transport(key) else { return Err("it does not exist".to_owned()) };
    let subject = || ObjectId::new(Kind::ServersTransport, key.clone()).subject();
    let mut say = |diagnostic: Diagnostic| said.push(diagnostic.at(object.meta.origin.clone()));
    for field in &object.unknown {
        let text =
            format!("{field} is not a field of a ServersTransport; routes of Services that name it are closed (503)");
        say(Diagnostic::error(subject(), field.clone(), "UnknownField", text).help("correct it, or remove it"));
    }
    match parts(view, object) {
        Err(Wrong { code, field, message, help }) => {
            let text = format!("{message}; routes of Services that name it are closed (503)");
            let field = if field.is_empty() { "spec".to_owned() } else { format!("spec.{field}") };
            say(Diagnostic::error(subject(), field, code.unwrap_or("ServersTransportInvalid"), text).help(help));
            Err(message)
        }
        Ok((parts, quiet)) => {
            for (field, why) in quiet {
                say(Diagnostic::warning(subject(), format!("spec.{field}"), "NoEffect", why).help("remove it"));
            }
            match object.unknown.first() {
                Some(field) => Err(format!("it has the unknown field {field}")),
                None => Ok(Arc::new(Transport::new(parts))),
            }
        }
    }
}

/// What a ServersTransport says, and which of it has no effect.
fn parts(view: &View<'_>, object: &ServersTransport) -> Result<(Parts, Vec<Quiet>), Wrong> {
    let ServersTransportSpec {
        server_name: name,
        insecure_skip_verify: insecure,
        root_cas,
        root_cas_secrets,
        certificates_secrets,
        cipher_suites,
        min_version,
        max_version,
        max_idle_conns_per_host,
        forwarding_timeouts,
        disable_http2,
        peer_cert_uri,
        spiffe,
    } = &object.spec;
    if spiffe.is_some() {
        let help =
            "write the certificates to Secrets: certificatesSecrets, rootCAs, and peerCertURI for the pods' SPIFFE ID";
        return Err(Wrong::of("spiffe", "SPIFFE's Workload API is not supported", help));
    }
    let named = |name: &str, field: String| Named { secret: Key::new(Arc::clone(&object.meta.namespace), name), field };
    let trusted = root_secrets(root_cas.as_deref(), root_cas_secrets.as_deref(), &named)?;
    let roots = if trusted.is_empty() { None } else { Some(roots(view, &trusted)?) };
    let shown = certificates_secrets.iter().flatten().enumerate();
    let certificates = shown.map(|(index, name)| {
        certificate(view, &named(name, format!("certificatesSecrets[{index}]"))).map(|cert| cert.key)
    });
    let (versions, weak) = tls_names::versions(min_version.as_deref(), max_version.as_deref())?;
    let (suites, mut quiet) = tls_names::suites(cipher_suites.as_deref().unwrap_or_default(), versions)?;
    quiet.extend(weak);
    let peer_uri = peer_cert_uri.as_deref().filter(|uri| !uri.is_empty()).map(uri).transpose()?;
    if *insecure == Some(true) && roots.is_some() && peer_uri.is_none() {
        let field = if root_cas.as_ref().is_some_and(|list| !list.is_empty()) { "rootCAs" } else { "rootCAsSecrets" };
        quiet.push((
            field.to_owned(),
            "insecureSkipVerify believes any certificate, so that they are not looked at".to_owned(),
        ));
    }
    let parts = Parts {
        server_name: name.as_deref().filter(|n| !n.is_empty()).map(|n| server_name(n, "serverName")).transpose()?,
        insecure: *insecure,
        roots,
        peer_uri,
        certificates: certificates.collect::<Result<_, _>>()?,
        versions,
        suites,
        http1_only: disable_http2.unwrap_or(false),
        // Zero is Traefik's word for absent, too.
        most_idle: max_idle_conns_per_host.filter(|most| *most != 0).map(|most| usize::try_from(most).unwrap_or(0)),
        waits: forwarding_timeouts.as_ref().map(waits).transpose()?.unwrap_or_default(),
    };
    Ok((parts, quiet))
}

/// The Secrets with what is trusted: `rootCAs`, then the older `rootCAsSecrets`.
fn root_secrets(
    roots: Option<&[RootCa]>,
    older: Option<&[String]>,
    named: &impl Fn(&str, String) -> Named,
) -> Result<Vec<Named>, Wrong> {
    let mut all = Vec::new();
    for (index, RootCa { secret, config_map }) in roots.unwrap_or_default().iter().enumerate() {
        let field = format!("rootCAs[{index}]");
        let help = "write the certificates to a Secret, under the key ca.crt, and name it as secret";
        match (secret, config_map) {
            (Some(secret), None) => all.push(named(secret, format!("{field}.secret"))),
            (None, Some(_)) => {
                return Err(Wrong::of(format!("{field}.configMap"), "ConfigMaps are not read", help));
            }
            (Some(_), Some(_)) => {
                return Err(Wrong::of(&field, format!("{field} names a Secret and a ConfigMap"), "name a Secret only"));
            }
            (None, None) => return Err(Wrong::of(&field, format!("{field} names no Secret"), help)),
        }
    }
    let older = older.unwrap_or_default().iter().enumerate();
    all.extend(older.map(|(index, secret)| named(secret, format!("rootCAsSecrets[{index}]"))));
    Ok(all)
}

fn waits(timeouts: &ForwardingTimeouts) -> Result<Waits, Wrong> {
    let ForwardingTimeouts {
        dial_timeout,
        response_header_timeout,
        idle_conn_timeout,
        read_idle_timeout,
        ping_timeout,
    } = timeouts;
    let read = |field: &str, value: &Option<_>| {
        let wrong =
            |why| Wrong::of(format!("forwardingTimeouts.{field}"), why, "whole numbers are seconds, and 0 is no limit");
        value.as_ref().map(|value| values::duration(value).map_err(wrong)).transpose()
    };
    Ok(Waits {
        connect: read("dialTimeout", dial_timeout)?,
        response: read("responseHeaderTimeout", response_header_timeout)?,
        idle: read("idleConnTimeout", idle_conn_timeout)?,
        silence: read("readIdleTimeout", read_idle_timeout)?,
        ping: read("pingTimeout", ping_timeout)?.map(|wait| if wait.is_zero() { PING } else { wait }),
    })
}

fn uri(text: &str) -> Result<Arc<str>, Wrong> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let letters = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    let known = scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.chars().all(letters));
    if !known || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let help = "write it as it stands in the certificate, such as spiffe://cluster.local/ns/shop/sa/app";
        return Err(Wrong::of("peerCertURI", format!("{text:?} is no URI"), help));
    }
    Ok(text.into())
}

/// What a Middleware says of TLS to a server that it asks (`forwardAuth.tls`). An empty name is none.
#[derive(Debug)]
pub(super) struct OfMiddleware<'a> {
    /// The section, below `spec`: `forwardAuth.tls`.
    pub(super) field: &'a str,
    /// The Middleware's namespace, in which its Secrets are.
    pub(super) namespace: &'a Arc<str>,
    /// `caSecret`: what the server's certificate must come from.
    pub(super) ca_secret: Option<&'a str>,
    /// `certSecret`: what is shown to the server.
    pub(super) cert_secret: Option<&'a str>,
    /// `insecureSkipVerify`
    pub(super) insecure: Option<bool>,
    /// The only name that the server's certificate may bear, and the SNI; `None` for the name that it is asked by.
    pub(super) server_name: Option<&'a str>,
}

/// How the server is connected to; `None` where the section says nothing, so that the process's flags count.
pub(super) fn of_middleware(view: &View<'_>, asked: &OfMiddleware<'_>) -> Result<Option<Arc<Transport>>, Wrong> {
    let OfMiddleware { field, namespace, ca_secret, cert_secret, insecure, server_name: name } = asked;
    let given = |name: &Option<&str>, at: &str| -> Option<Named> {
        let name = name.filter(|name| !name.is_empty())?;
        Some(Named { secret: Key::new(Arc::clone(namespace), name), field: format!("{field}.{at}") })
    };
    let name = name.filter(|name| !name.is_empty());
    let roots = given(ca_secret, "caSecret").map(|ca| roots(view, &[ca])).transpose()?;
    let certificate = given(cert_secret, "certSecret").map(|named| certificate(view, &named)).transpose()?;
    if roots.is_none() && certificate.is_none() && insecure.is_none() && name.is_none() {
        return Ok(None);
    }
    let parts = Parts {
        server_name: name.map(|name| server_name(name, &format!("{field}.serverName"))).transpose()?,
        insecure: *insecure,
        roots,
        certificates: certificate.into_iter().map(|cert| cert.key).collect(),
        ..Parts::default()
    };
    Ok(Some(Arc::new(Transport::new(parts))))
}

fn server_name(name: &str, field: &str) -> Result<ServerName<'static>, Wrong> {
    let read = ServerName::try_from(name).map(|name| name.to_owned());
    read.map_err(|_| Wrong::of(field, format!("{name:?} is no name of a server"), "write a DNS name or an IP address"))
}
