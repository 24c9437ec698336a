//! Services that a Middleware asks by itself: by a Service's name and port, or by a URL.

use std::sync::Arc;

use super::{Resolver, fault::Fault};
use crate::{
    balance::{Options, Policy, Scheme, Service, ServiceKey, Transport},
    compile::{
        pool::{Asked, Use},
        references::References,
        services::{self, external_candidates},
        transport,
    },
    objects::{
        Key, Kind, Meta,
        ingress::{BackendPort, ServiceBackend},
        middleware::IntOrString,
    },
};

/// A Service as a Middleware names it.
#[derive(Debug)]
pub(super) struct ByName<'a> {
    /// The field that names it, below `spec`.
    pub(super) field: &'a str,
    pub(super) namespace: &'a Arc<str>,
    pub(super) name: &'a str,
    /// The port's number or name.
    pub(super) port: &'a IntOrString,
    /// In place of what the Service itself says.
    pub(super) scheme: Option<Scheme>,
    /// In place of what the Service itself says.
    pub(super) pass_host: Option<bool>,
    /// The ServersTransport in place of the Service's own, and the namespace of the Middleware that names it.
    pub(super) transport: Option<(&'a str, &'a Arc<str>)>,
}

/// A server as a Middleware names it in a URL.
#[derive(Debug)]
pub(super) struct ByUrl<'a> {
    /// The field that holds the URL, below `spec`.
    pub(super) field: &'a str,
    /// The Middleware that has it.
    pub(super) meta: &'a Meta,
    pub(super) https: bool,
    /// A name or an address, without brackets.
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// How it is connected to, where that is not as the process's flags say.
    pub(super) transport: Option<Arc<Transport>>,
}

impl Resolver<'_> {
    /// The service that a Middleware names. One without endpoints is no fault.
    pub(super) fn service(&mut self, asked: &ByName<'_>) -> Result<Arc<Service>, Fault> {
        let port = match asked.port {
            IntOrString::Int(number) => match u16::try_from(*number) {
                Ok(number) if number > 0 => BackendPort { name: None, number: Some(number) },
                _ => {
                    let text = format!("{number} is no port");
                    return Err(Fault::of(format!("{}.port", asked.field), text, "write a number from 1 to 65535"));
                }
            },
            IntOrString::Text(text) => match text.parse::<u16>() {
                Ok(number) => BackendPort { name: None, number: Some(number) },
                Err(_) => BackendPort { name: Some(text.as_str().into()), number: None },
            },
        };
        let references = References { kind: Kind::Service, ..self.references() };
        references.allowed(&Key::new(Arc::clone(asked.namespace), asked.name)).map_err(|lost| Fault {
            code: lost.code,
            ..Fault::of(format!("{}.namespace", asked.field), lost.text, lost.help)
        })?;
        let backend = ServiceBackend { name: asked.name.into(), port };
        let found = services::find(self.view, asked.namespace, &backend, self.claims, self.diagnostics)
            .map_err(|(code, text, help)| Fault { code, ..Fault::of(asked.field, text, help) })?;
        if let Some(reason) = &found.annotations.closed {
            let help = "see the Service's own diagnostic";
            return Err(Fault::of(asked.field, reason.clone(), help));
        }
        let mut options = found.options.clone();
        options.scheme = asked.scheme.unwrap_or(options.scheme);
        options.pass_host = asked.pass_host.unwrap_or(options.pass_host);
        if let Some((name, namespace)) = asked.transport {
            let kind = Kind::ServersTransport;
            let references = References { view: self.view, claims: self.claims, namespace, kind };
            let found = transport::asked_by(references, name, options.scheme, self.diagnostics);
            options.transport = Some(found.map_err(|lost| Fault {
                code: lost.code,
                ..Fault::of(format!("{}.serversTransport", asked.field), lost.text, lost.help)
            })?);
        }
        let used = if options == found.options {
            Use::own(found.key)
        } else {
            Use { key: found.key, asked: Some(Arc::new(what(&options, None))) }
        };
        Ok(self.using(used, options, found.external))
    }

    /// The service behind a URL's host and port: for `NAME.NAMESPACE.svc`, with or without the cluster's domain, the
    /// endpoints of that Service if it is known here; for all others the addresses that the name resolves to.
    pub(super) fn server(&mut self, url: &ByUrl<'_>) -> Result<Arc<Service>, Fault> {
        let options = Options {
            scheme: if url.https { Scheme::Https } else { Scheme::Http },
            policy: Policy::RoundRobin,
            pass_host: true,
            server_name: url.host.into(),
            transport: url.transport.clone(),
        };
        if let Some(key) = self.known(url) {
            let used = Use { key, asked: Some(Arc::new(what(&options, None))) };
            return Ok(self.using(used, options, None));
        }
        if let Ok(address) = url.host.parse()
            && external_candidates(&[address], url.port, self.claims.external_loopback).is_empty()
        {
            let text = format!("{address} is this host's own or a link's, where nothing is asked in a cluster");
            let help = "name a Service, or a host outside of this one";
            return Err(Fault { code: "ExternalAddressRefused", ..Fault::of(url.field, text, help) });
        }
        let host: Arc<str> = url.host.into();
        let key = ServiceKey { namespace: Arc::clone(&url.meta.namespace), name: Arc::clone(&host), port: url.port };
        let used = Use { key, asked: Some(Arc::new(what(&options, Some(&host)))) };
        Ok(self.using(used, options, Some(host)))
    }

    /// The Service port that a URL names by its name in the cluster's DNS, if it is one that is known here.
    fn known(&self, url: &ByUrl<'_>) -> Option<ServiceKey> {
        let host = url.host.strip_suffix('.').unwrap_or(url.host).to_ascii_lowercase();
        let mut labels = host.split('.');
        let (Some(name), Some(namespace), Some("svc")) = (labels.next(), labels.next(), labels.next()) else {
            return None;
        };
        let key = Key::new(namespace, name);
        let service = self.view.service(&key)?;
        let port = service.spec.ports.iter().find(|port| port.port == url.port)?;
        let external = &*service.spec.kind == "ExternalName";
        (!external).then_some(ServiceKey { namespace: key.namespace, name: key.name, port: port.port })
    }

    fn using(&mut self, used: Use, options: Options, external: Option<Arc<str>>) -> Arc<Service> {
        let service = self.services.get(&used, options, external);
        self.used.insert(used);
        service
    }
}

fn what(options: &Options, external: Option<&Arc<str>>) -> Asked {
    Asked {
        scheme: options.scheme,
        pass_host: options.pass_host,
        server_name: Arc::clone(&options.server_name),
        transport: options.transport.as_ref().map(|transport| *transport.fingerprint()),
        external: external.cloned(),
    }
}
