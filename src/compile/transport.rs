//! What objects say of connections → `balance::Transport`: the TLS section of a Middleware that asks a server.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName};

use super::{tls, view::View, wrong::Wrong};
use crate::{
    balance::{
        Transport,
        transport::{Parts, Roots},
    },
    objects::{Key, Secret},
    table::Cert,
};

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

/// A Secret, and the field that names it, below `spec`.
struct Named {
    secret: Key,
    field: String,
}

impl Named {
    fn look<'a>(&self, view: &View<'a>, holds: &str) -> Result<&'a Arc<Secret>, Wrong> {
        view.secret(&self.secret).ok_or_else(|| Wrong {
            code: Some("SecretNotFound"),
            field: self.field.clone(),
            message: format!("Secret {} does not exist", self.secret),
            help: format!("create it, with {holds}"),
        })
    }

    fn invalid(&self, why: &str, holds: &str) -> Wrong {
        let message = format!("Secret {} can't be used: {why}", self.secret);
        Wrong { code: Some("SecretInvalid"), field: self.field.clone(), message, help: format!("write {holds}") }
    }
}

/// What is trusted: the certificates of all these Secrets.
fn roots(view: &View<'_>, named: &[Named]) -> Result<Roots, Wrong> {
    const HOLDS: &str = "PEM certificates under the key ca.crt or tls.ca";
    let mut all: Vec<CertificateDer<'static>> = Vec::new();
    for one in named {
        let secret = one.look(view, HOLDS)?;
        all.extend(tls::authorities(secret).map_err(|why| one.invalid(&why, HOLDS))?);
    }
    let wrong = |index| Wrong::of("", format!("certificate {index} can't be an issuer"), HOLDS);
    Roots::new(all).map_err(wrong)
}

/// What is shown: the certificate of a Secret with its key.
fn certificate(view: &View<'_>, named: &Named) -> Result<Cert, Wrong> {
    const HOLDS: &str = "a PEM certificate under the key tls.crt and its private key under tls.key";
    let secret = named.look(view, HOLDS)?;
    tls::certificate(secret).map_err(|why| named.invalid(&why, HOLDS))
}

fn server_name(name: &str, field: &str) -> Result<ServerName<'static>, Wrong> {
    let read = ServerName::try_from(name).map(|name| name.to_owned());
    read.map_err(|_| Wrong::of(field, format!("{name:?} is no name of a server"), "write a DNS name or an IP address"))
}
