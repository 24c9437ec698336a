//! The type that tells the backend of the client's certificate.

use crate::{
    middleware::{
        Middleware, PassTlsClientCert,
        pass_tls_client_cert::{Info, Name},
    },
    objects::middleware as object,
};

/// `passTLSClientCert`
pub(super) fn pass(fields: &object::PassTlsClientCert) -> Middleware {
    let object::PassTlsClientCert { pem, info } = fields;
    // A section that asks for nothing is a warning, and no header.
    let info = info.as_ref().map(info_of).filter(|info| !info.is_empty());
    Middleware::PassTlsClientCert(PassTlsClientCert { pem: is(pem), info })
}

fn info_of(fields: &object::CertInfo) -> Info {
    let object::CertInfo { not_after, not_before, sans, serial_number, subject, issuer } = fields;
    Info {
        not_after: is(not_after),
        not_before: is(not_before),
        sans: is(sans),
        serial_number: is(serial_number),
        subject: subject.as_ref().map(subject_of).unwrap_or_default(),
        issuer: issuer.as_ref().map(issuer_of).unwrap_or_default(),
    }
}

fn subject_of(fields: &object::CertSubject) -> Name {
    let object::CertSubject {
        country,
        province,
        locality,
        organization,
        organizational_unit,
        common_name,
        serial_number,
        domain_component,
    } = fields;
    Name {
        domain_component: is(domain_component),
        country: is(country),
        province: is(province),
        locality: is(locality),
        organization: is(organization),
        organizational_unit: is(organizational_unit),
        serial_number: is(serial_number),
        common_name: is(common_name),
    }
}

fn issuer_of(fields: &object::CertIssuer) -> Name {
    let object::CertIssuer { country, province, locality, organization, common_name, serial_number, domain_component } =
        fields;
    Name {
        domain_component: is(domain_component),
        country: is(country),
        province: is(province),
        locality: is(locality),
        organization: is(organization),
        organizational_unit: false,
        serial_number: is(serial_number),
        common_name: is(common_name),
    }
}

fn is(field: &Option<bool>) -> bool {
    field.unwrap_or(false)
}
