//! Secrets of type `kubernetes.io/tls` → certificates, and which hosts of an Ingress they serve.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{
    balance::transport::Roots,
    objects::Secret,
    table::{Cert, CertId, certs::certified_key},
};

/// Reads certificate chain and key of a Secret (`tls.crt`, `tls.key`).
///
/// # Errors
/// What is wrong, for the person who wrote it; never any part of the key.
pub fn certificate(secret: &Secret) -> Result<Cert, String> {
    let part = |name: &str| {
        if secret.broken.iter().any(|k| &**k == name) {
            return Err(format!("its {name} is not base64"));
        }
        secret.data.get(name).ok_or_else(|| format!("it has no key {name}"))
    };
    let key = certified_key(part("tls.crt")?, part("tls.key")?)?;
    let leaf = key.cert.first().ok_or("its tls.crt holds no certificate")?;
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| "its certificate can't be read")?;
    let validity = leaf.validity();
    let id = CertId { namespace: Arc::clone(&secret.meta.namespace), name: Arc::clone(&secret.meta.name) };
    Ok(Cert {
        id,
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        names: names(&leaf),
        key: Arc::new(key),
    })
}

/// Reads the certificates of a Secret that others must come from: `tls.ca`, else `ca.crt`, as Traefik does.
///
/// # Errors
/// What is wrong, for the person who wrote it.
pub(super) fn authorities(secret: &Secret) -> Result<Vec<CertificateDer<'static>>, String> {
    let present = |name: &&str| secret.data.contains_key(*name) || secret.broken.iter().any(|key| **key == **name);
    let name = ["tls.ca", "ca.crt"].into_iter().find(present).ok_or("it has neither a key tls.ca nor a key ca.crt")?;
    let pem = secret.data.get(name).ok_or_else(|| format!("its {name} is not base64"))?;
    let read: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = read.map_err(|_| format!("its {name} is not PEM"))?;
    if certificates.is_empty() {
        return Err(format!("its {name} holds no PEM certificate"));
    }
    match Roots::new(certificates.clone()) {
        Ok(_) => Ok(certificates),
        Err(index) => Err(format!("certificate {} of its {name} can't be the issuer of another", index + 1)),
    }
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|extension| extension.value.general_names.iter());
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

/// Whether a name of a certificate (or of `spec.tls[].hosts`) covers a host: the same, or a wildcard one label up.
pub(super) fn covers(name: &str, host: &str) -> bool {
    if name == host {
        return true;
    }
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((label, parent))) => !label.is_empty() && label != "*" && rest == parent,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_one_label() {
        for (name, host, expected) in [
            ("a.example", "a.example", true),
            ("*.example", "a.example", true),
            ("*.example", "*.example", true),
            ("*.example", "b.a.example", false),
            ("*.example", "example", false),
            ("a.example", "*.example", false),
        ] {
            assert_eq!(covers(name, host), expected, "{name} {host}");
        }
    }
}
