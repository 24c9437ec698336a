//! Clients' certificates: which are taken (`clientAuth` of a TLSOption). That a client has the key of what it shows is
//! always looked at.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{balance::transport::Roots, table::tls::ClientAuth};

/// What looks at clients' certificates; nothing where none is asked for.
///
/// # Errors
/// When certificates are to be verified, and there is nothing that they could come from.
pub(super) fn verifier(
    asked: ClientAuth,
    roots: Option<&Roots>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
    if asked == ClientAuth::None {
        return Ok(None);
    }
    let issued = match roots {
        Some(roots) => {
            let anchors = Arc::clone(&roots.anchors);
            let built = WebPkiClientVerifier::builder_with_provider(anchors, Arc::clone(provider)).build();
            let verifier = built.map_err(|error| Error::General(error.to_string()))?;
            Some(Issued { verifier, themselves: Arc::clone(&roots.certificates) })
        }
        None if asked.verifies() => return Err(Error::General("there are no certificates to come from".into())),
        None => None,
    };
    let algorithms = provider.signature_verification_algorithms;
    Ok(Some(Arc::new(Clients { mandatory: asked.requires(), verifies: asked.verifies(), issued, algorithms })))
}

/// What certificates come from.
#[derive(Debug)]
struct Issued {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Taken without an issuer, as Go does: a client may have the very certificate that is trusted.
    themselves: Arc<[CertificateDer<'static>]>,
}

#[derive(Debug)]
struct Clients {
    mandatory: bool,
    /// Whether a certificate must come from `issued`; else that is only what clients are told to choose by.
    verifies: bool,
    issued: Option<Issued>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Clients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.issued.as_ref().map(|issued| issued.verifier.root_hint_subjects()).unwrap_or_default()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.issued.as_ref().filter(|_| self.verifies) {
            None => Ok(ClientCertVerified::assertion()),
            Some(issued) if issued.themselves.contains(leaf) => {
                in_time(leaf, now).map(|()| ClientCertVerified::assertion())
            }
            Some(issued) => issued.verifier.verify_client_cert(leaf, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Whether a certificate that needs no issuer is valid now.
pub(in crate::proxy) fn in_time(leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < leaf.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > leaf.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}
