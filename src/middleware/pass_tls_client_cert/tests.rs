use std::sync::Arc;

use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, DnValue, IsCa, Issuer, KeyPair,
    SanType, SerialNumber,
};
use rustls_pki_types::CertificateDer;

use super::*;
use crate::middleware::headers::tests::head;

fn dn(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in parts {
        name.push(kind.clone(), *value);
    }
    name
}

const SN: [u64; 4] = [2, 5, 4, 5];
const DC: [u64; 7] = [0, 9, 2342, 19_200_300, 100, 1, 25];

/// A client's certificate and that of who made it.
fn chain() -> [CertificateDer<'static>; 2] {
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name =
        dn(&[(DnType::CommonName, "Root \"CA\""), (DnType::CountryName, "FR"), (DnType::OrganizationName, "Cheese")]);
    authority.serial_number = Some(SerialNumber::from(7_u64));
    let root = authority.self_signed(&key).unwrap().der().clone();
    let issuer = Issuer::from_params(&authority, &key);

    let mut client = CertificateParams::default();
    client.distinguished_name = dn(&[
        (DnType::CommonName, "client.example"),
        (DnType::OrganizationalUnitName, "Käse"),
        (DnType::OrganizationName, "Cheese, Inc"),
        (DnType::LocalityName, "Lyon"),
        (DnType::StateOrProvinceName, "Rhône"),
        (DnType::CountryName, "FR"),
        (DnType::from_oid(&SN), "42"),
        (DnType::from_oid(&DC), "org"),
    ]);
    client.not_before = rcgen::date_time_ymd(2024, 1, 1);
    client.not_after = rcgen::date_time_ymd(2034, 1, 1);
    client.serial_number = Some(SerialNumber::from(vec![0x01, 0, 0, 0, 0, 0, 0, 0, 0]));
    client.subject_alt_names = vec![
        SanType::URI("spiffe://cheese/client".try_into().unwrap()),
        SanType::IpAddress([192, 0, 2, 1].into()),
        SanType::IpAddress("2001:db8::1".parse().unwrap()),
        SanType::Rfc822Name("cheese@example.org".try_into().unwrap()),
        SanType::DnsName("client.example".try_into().unwrap()),
        SanType::DnsName("*.example".try_into().unwrap()),
    ];
    let leaf = client.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone();
    [leaf, root]
}

const EVERYTHING: Name = Name {
    domain_component: true,
    country: true,
    province: true,
    locality: true,
    organization: true,
    organizational_unit: true,
    serial_number: true,
    common_name: true,
};

fn all() -> PassTlsClientCert {
    let info = Info {
        not_after: true,
        not_before: true,
        sans: true,
        serial_number: true,
        subject: EVERYTHING,
        issuer: Name { organizational_unit: false, ..EVERYTHING },
    };
    PassTlsClientCert { pem: true, info: Some(info) }
}

/// The headers that the backend sees.
fn seen(middleware: &PassTlsClientCert, certs: Option<&[CertificateDer<'static>]>, sent: &[(&str, &str)]) -> HeaderMap {
    let mut head = head(Method::GET, "https://a.example/");
    head.client_certs = certs.map(Arc::from);
    for (name, value) in sent {
        head.headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    assert!(matches!(middleware.request(&mut head), Flow::Continue));
    head.headers
}

fn info_of(info: Info, certs: &[CertificateDer<'static>]) -> String {
    let headers = seen(&PassTlsClientCert { pem: false, info: Some(info) }, Some(certs), &[]);
    let value = headers["x-forwarded-tls-client-cert-info"].to_str().unwrap().replace('+', " ");
    percent_decode_str(&value).decode_utf8().unwrap().into_owned()
}

#[test]
fn the_certificates_without_armour() {
    let chain = chain();
    let headers = seen(&PassTlsClientCert { pem: true, info: None }, Some(&chain), &[]);
    assert_eq!(headers.len(), 1);
    let value = headers["x-forwarded-tls-client-cert"].to_str().unwrap();
    let sent: Vec<Vec<u8>> = value.split(',').map(|cert| STANDARD.decode(cert).unwrap()).collect();
    assert_eq!(sent, [chain[0].to_vec(), chain[1].to_vec()]);
}

#[test]
fn everything_that_can_be_said_in_traefiks_form_and_order() {
    let PassTlsClientCert { info: Some(info), .. } = all() else { panic!("no info") };
    let chain = chain();
    assert_eq!(
        info_of(info, &chain[..1]),
        "Subject=\"DC=org,C=FR,ST=Rhône,L=Lyon,O=Cheese, Inc,OU=Käse,SN=42,CN=client.example\";\
         Issuer=\"C=FR,O=Cheese,CN=Root \"CA\"\";SerialNumber=\"18446744073709551616\";NB=\"1704067200\";\
         NA=\"2019686400\";SAN=\"client.example,*.example,cheese@example.org,192.0.2.1,2001:db8::1,\
         spiffe://cheese/client\""
    );
    let headers = seen(&all(), Some(&chain), &[]);
    let raw = headers["x-forwarded-tls-client-cert-info"].to_str().unwrap();
    assert!(
        raw.starts_with("Subject%3D%22DC%3Dorg%2CC%3DFR%2CST%3DRh%C3%B4ne%2CL%3DLyon%2CO%3DCheese%2C+Inc%2C"),
        "{raw}"
    );
    assert!(
        raw.contains("%2C%2A.example%2C") && raw.contains("spiffe%3A%2F%2Fcheese%2Fclient%22%2CSubject%3D%22C%3DFR")
    );
}

#[test]
fn only_what_was_asked_for() {
    let chain = chain();
    let nothing = Info::default();
    assert!(nothing.is_empty());
    let common_name = Name { common_name: true, ..Name::default() };
    for (info, expected) in [
        (Info { serial_number: true, ..nothing }, "SerialNumber=\"18446744073709551616\",SerialNumber=\"7\""),
        (Info { subject: common_name, ..nothing }, "Subject=\"CN=client.example\",Subject=\"CN=Root \"CA\"\""),
        (Info { issuer: common_name, ..nothing }, "Issuer=\"CN=Root \"CA\"\",Issuer=\"CN=Root \"CA\"\""),
        (Info { not_before: true, ..nothing }, "NB=\"1704067200\",NB=\"157766400\""),
        // The root has none: nothing is between its commas.
        (
            Info { sans: true, ..nothing },
            "SAN=\"client.example,*.example,cheese@example.org,192.0.2.1,2001:db8::1,spiffe://cheese/client\",",
        ),
        (Info { subject: Name { locality: true, ..Name::default() }, ..nothing }, "Subject=\"L=Lyon\","),
    ] {
        assert!(!info.is_empty());
        assert_eq!(info_of(info, &chain), expected);
    }
}

#[test]
fn what_the_client_sends_itself_never_survives() {
    let forged = [
        ("x-forwarded-tls-client-cert", "forged"),
        ("x_forwarded_tls_client_cert", "forged"),
        ("X-Forwarded-Tls_Client-Cert", "forged"),
        ("x-forwarded-tls-client-cert-info", "forged"),
        ("x-forwarded-tls-client-cert_info", "forged"),
        ("x.forwarded.tls.client.cert.info", "forged"),
        ("x-other", "stays"),
    ];
    let chain = chain();
    for middleware in [all(), PassTlsClientCert::default()] {
        for certs in [None, Some(&[][..]), Some(&chain[..])] {
            let headers = seen(&middleware, certs, &forged);
            assert!(headers.values().all(|value| value != "forged"), "{headers:?}");
            let expected = if middleware.pem && certs.is_some_and(|c| !c.is_empty()) { 3 } else { 1 };
            assert_eq!((headers.len(), headers.contains_key("x-other")), (expected, true));
        }
    }
}

#[test]
fn a_certificate_that_can_not_be_read_says_nothing() {
    let broken = CertificateDer::from(vec![1, 2, 3]);
    let headers = seen(&all(), Some(&[chain()[0].clone(), broken]), &[]);
    assert!(headers.contains_key("x-forwarded-tls-client-cert"));
    assert!(!headers.contains_key("x-forwarded-tls-client-cert-info"));
}

#[test]
fn text_of_older_forms() {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, DnValue::BmpString("Käse".try_into().unwrap()));
    name.push(DnType::CommonName, DnValue::TeletexString("old".try_into().unwrap()));
    params.distinguished_name = name;
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0])];
    let cert = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
    let info = Info { subject: EVERYTHING, ..Info::default() };
    assert_eq!(info_of(info, &[cert]), "Subject=\"O=Käse,CN=old\"");
}
