//! Whether an endpoint is the one that was meant: by its certificate's issuer, its names and its URIs.

use std::{net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::{balance::transport::Roots, proxy::tls::clients::in_time};

/// Which endpoints are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// Whoever answers.
    Anyone,
    /// One with a certificate of a trusted issuer, whatever its name.
    Issued,
    /// One whose certificate bears its name, too.
    Named,
}

/// Believes a certificate for the name that is asked for (`service.namespace.svc`, or the external name), or for the
/// endpoint's address, which is what Traefik asks for; where a name is given, for that name only.
#[derive(Clone, Debug)]
pub(super) struct Verifier {
    pub(super) roots: Roots,
    pub(super) trust: Trust,
    /// A URI that the certificate must bear, too.
    pub(super) uri: Option<Arc<str>>,
    /// Where the endpoint is; `None` where the address does not count.
    pub(super) address: Option<IpAddr>,
    pub(super) provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn issued(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        if self.roots.certificates.contains(leaf) {
            return in_time(leaf, now);
        }
        if self.roots.anchors.is_empty() {
            return Err(rustls::Error::General("there are no trusted roots".into()));
        }
        let algorithms = self.provider.signature_verification_algorithms.all;
        let leaf = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots.anchors, intermediates, now, algorithms)
    }

    fn named(&self, leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), rustls::Error> {
        let leaf = ParsedCertificate::try_from(leaf)?;
        let by_name = verify_server_name(&leaf, name);
        match self.address {
            Some(address) if by_name.is_err() => verify_server_name(&leaf, &address.into()).or(by_name),
            _ => by_name,
        }
    }
}

/// Whether one of the URIs in a certificate is this one.
fn bears(leaf: &CertificateDer<'_>, uri: &str) -> Result<(), rustls::Error> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let mut names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    if names.any(|name| matches!(name, GeneralName::URI(found) if same_uri(found, uri))) {
        return Ok(());
    }
    Err(rustls::Error::General(format!("the certificate does not bear the URI {uri}")))
}

/// Scheme and authority in any letter case, the rest to the letter (RFC 3986 §6.2.2.1): paths tell tenants apart.
pub(super) fn same_uri(one: &str, other: &str) -> bool {
    fn parts(uri: &str) -> (&str, &str) {
        let authority = uri.find("://").map_or(0, |at| at + 3);
        let end =
            uri.get(authority..).and_then(|rest| rest.find(['/', '?', '#'])).map_or(uri.len(), |at| authority + at);
        uri.split_at_checked(end).unwrap_or((uri, ""))
    }
    let ((one, rest), (other, other_rest)) = (parts(one), parts(other));
    one.eq_ignore_ascii_case(other) && rest == other_rest
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trust != Trust::Anyone {
            self.issued(leaf, intermediates, now)?;
        }
        if self.trust == Trust::Named {
            self.named(leaf, name)?;
        }
        if let Some(uri) = &self.uri {
            bears(leaf, uri)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
