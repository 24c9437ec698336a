//! `spec.passTLSClientCert` of a Middleware: what of a client's certificate the backend is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NoEffect;

/// Tells the backend about the client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassTlsClientCert {
    /// Sends the certificate in X-Forwarded-Tls-Client-Cert. Default: false.
    pub pem: Option<bool>,
    /// What of it is sent in X-Forwarded-Tls-Client-Cert-Info.
    pub info: Option<CertInfo>,
}

impl PassTlsClientCert {
    /// Sections that ask for nothing.
    pub(super) fn without_effect(&self) -> Option<NoEffect> {
        let (field, message) = match &self.info {
            None if self.pem != Some(true) => ("spec.passTLSClientCert", "asks for nothing, so nothing is told"),
            Some(info) if !info.asks() => ("spec.passTLSClientCert.info", "asks for nothing, so no info is told"),
            _ => return None,
        };
        Some(NoEffect::new(field, message, "Write what to tell, such as `pem: true`"))
    }
}

impl CertInfo {
    /// Whether anything is to be told.
    fn asks(&self) -> bool {
        let Self { not_after, not_before, sans, serial_number, subject, issuer } = self;
        let subject = subject.iter().flat_map(|name| {
            let CertSubject {
                country,
                province,
                locality,
                organization,
                organizational_unit,
                common_name,
                serial_number,
                domain_component,
            } = name;
            let own = [organizational_unit, country, province, locality];
            own.into_iter().chain([organization, common_name, serial_number, domain_component])
        });
        let issuer = issuer.iter().flat_map(|name| {
            let CertIssuer { country, province, locality, organization, common_name, serial_number, domain_component } =
                name;
            [country, province, locality, organization, common_name, serial_number, domain_component]
        });
        let own = [not_after, not_before, sans, serial_number];
        own.into_iter().chain(subject).chain(issuer).any(|field| *field == Some(true))
    }
}

/// Parts of a client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertInfo {
    /// When it ends, in seconds since 1970.
    pub not_after: Option<bool>,
    /// When it starts, in seconds since 1970.
    pub not_before: Option<bool>,
    /// Its alternative names.
    pub sans: Option<bool>,
    /// Its serial number.
    pub serial_number: Option<bool>,
    /// Whom it is for.
    pub subject: Option<CertSubject>,
    /// Who made it.
    pub issuer: Option<CertIssuer>,
}

/// Parts of the name that a certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertSubject {
    /// C
    pub country: Option<bool>,
    /// ST
    pub province: Option<bool>,
    /// L
    pub locality: Option<bool>,
    /// O
    pub organization: Option<bool>,
    /// OU
    pub organizational_unit: Option<bool>,
    /// CN
    pub common_name: Option<bool>,
    /// SN
    pub serial_number: Option<bool>,
    /// DC
    pub domain_component: Option<bool>,
}

/// Parts of the name of who made a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertIssuer {
    /// C
    pub country: Option<bool>,
    /// ST
    pub province: Option<bool>,
    /// L
    pub locality: Option<bool>,
    /// O
    pub organization: Option<bool>,
    /// CN
    pub common_name: Option<bool>,
    /// SN
    pub serial_number: Option<bool>,
    /// DC
    pub domain_component: Option<bool>,
}
