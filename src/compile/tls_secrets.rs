//! The Secrets that say of connections, to pods and from clients, whom to believe and what to show: looked at through the
//! view, so that their change counts.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use super::{tls, view::View, wrong::Wrong};
use crate::{
    balance::transport::Roots,
    objects::{Key, Secret},
    table::Cert,
};

/// A Secret, and the field that names it, below `spec`.
pub(super) struct Named {
    pub(super) secret: Key,
    pub(super) field: String,
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
pub(super) fn roots(view: &View<'_>, named: &[Named]) -> Result<Roots, Wrong> {
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
pub(super) fn certificate(view: &View<'_>, named: &Named) -> Result<Cert, Wrong> {
    const HOLDS: &str = "a PEM certificate under the key tls.crt and its private key under tls.key";
    let secret = named.look(view, HOLDS)?;
    tls::certificate(secret).map_err(|why| named.invalid(&why, HOLDS))
}
