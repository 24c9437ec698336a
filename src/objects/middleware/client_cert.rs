//! `spec.passTLSClientCert` of a Middleware: what of a client's certificate the backend is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells the backend about the client's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PassTlsClientCert {
    /// Sends the certificate in X-Forwarded-Tls-Client-Cert. Default: false.
    pub pem: Option<bool>,
    /// What of it is sent in X-Forwarded-Tls-Client-Cert-Info.
    pub info: Option<CertInfo>,
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
