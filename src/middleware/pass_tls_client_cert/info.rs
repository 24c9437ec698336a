//! What is said of a certificate, in Traefik's form: `Subject="C=..,CN=..";Issuer="..";SerialNumber="..";NB="..";NA="..";
//! SAN="a,b"`, each part only if it was asked for and there is something to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use x509_parser::{
    asn1_rs::{Oid, Tag},
    certificate::X509Certificate,
    extensions::GeneralName,
    oid_registry::{
        OID_DOMAIN_COMPONENT, OID_X509_COMMON_NAME, OID_X509_COUNTRY_NAME, OID_X509_LOCALITY_NAME,
        OID_X509_ORGANIZATION_NAME, OID_X509_ORGANIZATIONAL_UNIT, OID_X509_SERIALNUMBER,
        OID_X509_STATE_OR_PROVINCE_NAME,
    },
    prelude::FromDer,
    x509::{AttributeTypeAndValue, X509Name},
};

/// What to say: the fields of `passTLSClientCert.info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// `NA`: the end of its validity, in seconds since 1970.
    pub not_after: bool,
    /// `NB`: the begin of its validity, in seconds since 1970.
    pub not_before: bool,
    /// `SAN`: its alternative names: DNS names, mail addresses, IP addresses, URIs.
    pub sans: bool,
    /// `SerialNumber`, in decimal.
    pub serial_number: bool,
    /// `Subject`: whom it is for.
    pub subject: Name,
    /// `Issuer`: who made it.
    pub issuer: Name,
}

/// Which parts of a name to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// `DC`
    pub domain_component: bool,
    /// `C`
    pub country: bool,
    /// `ST`
    pub province: bool,
    /// `L`
    pub locality: bool,
    /// `O`
    pub organization: bool,
    /// `OU`
    pub organizational_unit: bool,
    /// `SN`
    pub serial_number: bool,
    /// `CN`
    pub common_name: bool,
}

impl Info {
    /// Whether nothing would be said of any certificate.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is said of a certificate (DER); nothing where it can't be read.
    pub(super) fn of(&self, cert: &[u8]) -> Option<String> {
        let (_, cert) = X509Certificate::from_der(cert).ok()?;
        let mut parts: Vec<String> = Vec::with_capacity(6);
        let (subject, issuer) = (self.subject.of(cert.subject()), self.issuer.of(cert.issuer()));
        for (name, said) in [("Subject", subject), ("Issuer", issuer)] {
            if !said.is_empty() {
                parts.push(format!("{name}=\"{said}\""));
            }
        }
        if self.serial_number {
            parts.push(format!("SerialNumber=\"{}\"", cert.tbs_certificate.serial));
        }
        if self.not_before {
            parts.push(format!("NB=\"{}\"", cert.validity().not_before.timestamp()));
        }
        if self.not_after {
            parts.push(format!("NA=\"{}\"", cert.validity().not_after.timestamp()));
        }
        if self.sans {
            let names = alternative_names(&cert);
            if !names.is_empty() {
                parts.push(format!("SAN=\"{}\"", names.join(",")));
            }
        }
        Some(parts.join(";"))
    }
}

impl Name {
    /// The parts of a name that were asked for, in Traefik's order.
    fn of(&self, name: &X509Name<'_>) -> String {
        let mut parts = Vec::new();
        let mut all = |wanted: bool, oid: &Oid<'_>, label: &str| {
            let values = name.iter_by_oid(oid).filter(|_| wanted).filter_map(text);
            parts.extend(values.filter(|value| !value.is_empty()).map(|value| format!("{label}={value}")));
        };
        all(self.domain_component, &OID_DOMAIN_COMPONENT, "DC");
        all(self.country, &OID_X509_COUNTRY_NAME, "C");
        all(self.province, &OID_X509_STATE_OR_PROVINCE_NAME, "ST");
        all(self.locality, &OID_X509_LOCALITY_NAME, "L");
        all(self.organization, &OID_X509_ORGANIZATION_NAME, "O");
        all(self.organizational_unit, &OID_X509_ORGANIZATIONAL_UNIT, "OU");
        // A name has one of these; where there are more, Go knows the last.
        let mut last = |wanted: bool, oid: &Oid<'_>, label: &str| {
            let value = name.iter_by_oid(oid).filter(|_| wanted).filter_map(text).last();
            parts.extend(value.filter(|value| !value.is_empty()).map(|value| format!("{label}={value}")));
        };
        last(self.serial_number, &OID_X509_SERIALNUMBER, "SN");
        last(self.common_name, &OID_X509_COMMON_NAME, "CN");
        parts.join(",")
    }
}

/// A value that is text, in any of the forms that certificates have it.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    if let Ok(text) = attribute.as_str() {
        return Some(text.to_owned());
    }
    let value = attribute.attr_value();
    match value.tag() {
        Tag::BmpString => {
            let units = value.data.chunks_exact(2).map(|pair| pair.iter().fold(0, |unit, b| unit << 8 | u16::from(*b)));
            String::from_utf16(&units.collect::<Vec<u16>>()).ok()
        }
        // What is in use of it is ASCII.
        Tag::T61String => std::str::from_utf8(value.data).ok().map(str::to_owned),
        _ => None,
    }
}

/// Mail addresses and URIs as they stand in the certificate.
fn alternative_names(cert: &X509Certificate<'_>) -> Vec<String> {
    let extension = cert.subject_alternative_name().ok().flatten();
    let names = || extension.iter().flat_map(|extension| extension.value.general_names.iter());
    let dns =
        names().filter_map(|name| if let GeneralName::DNSName(dns) = name { Some((*dns).to_owned()) } else { None });
    let mail = names()
        .filter_map(|name| if let GeneralName::RFC822Name(mail) = name { Some((*mail).to_owned()) } else { None });
    let addresses = names().filter_map(|name| match name {
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    let uris = names().filter_map(|name| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None });
    dns.chain(mail).chain(addresses).chain(uris).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    v4.or_else(|| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical()))
}
