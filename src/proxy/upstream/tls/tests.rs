use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};

use rustls::client::danger::ServerCertVerifier;
use rustls_pki_types::UnixTime;

use super::{verify::same_uri, *};

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
}

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), der }
}

fn params(names: &[&str], uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
    params
}

fn leaf(ca: &Ca, names: &[&str], uris: &[&str]) -> CertificateDer<'static> {
    params(names, uris).signed_by(&KeyPair::generate().unwrap(), &ca.issuer).unwrap().der().clone()
}

fn shown_by(ca: &Ca) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().unwrap();
    let cert = params(&["client"], &[]).signed_by(&key, &ca.issuer).unwrap().der().clone();
    let key = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(CertifiedKey::from_der(vec![cert], key, &rustls::crypto::aws_lc_rs::default_provider()).unwrap())
}

fn process(roots: &[&Ca], insecure: bool) -> Process {
    Process {
        provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        roots: roots_of(&roots.iter().map(|ca| ca.der.clone()).collect::<Vec<_>>()),
        insecure,
    }
}

fn roots_of(certificates: &[CertificateDer<'static>]) -> Roots {
    Roots::new(certificates.to_vec()).unwrap()
}

/// Whether a certificate is believed for `app.ns.svc` at 10.0.0.1, in the year 2000.
fn believes(process: &Process, parts: &Parts, leaf: &CertificateDer<'_>) -> bool {
    let tls = tls(process, parts, &[]).unwrap();
    let verifier = Verifier { address: Some([10, 0, 0, 1].into()).filter(|_| tls.name.is_none()), ..tls.verifier };
    let name = tls.name.unwrap_or_else(|| "app.ns.svc".try_into().unwrap());
    let now = UnixTime::since_unix_epoch(Duration::from_secs(946_684_800));
    verifier.verify_server_cert(leaf, &[], &name, &[], now).is_ok()
}

#[test]
fn without_a_transport_the_services_name_or_the_address_counts() {
    let (ours, other) = (ca("ours"), ca("other"));
    let process = process(&[&ours], false);
    for (leaf, expected) in [
        (leaf(&ours, &["app.ns.svc"], &[]), true),
        (leaf(&ours, &["10.0.0.1"], &[]), true),
        (leaf(&ours, &["10.0.0.2", "else.ns.svc"], &[]), false),
        (leaf(&other, &["app.ns.svc"], &[]), false),
    ] {
        assert_eq!(believes(&process, &Parts::default(), &leaf), expected);
    }
}

#[test]
fn roots_of_a_transport_stand_instead_of_the_processs() {
    let (ours, other) = (ca("ours"), ca("other"));
    for insecure in [false, true] {
        let process = process(&[&ours], insecure);
        let parts = Parts { roots: Some(roots_of(std::slice::from_ref(&other.der))), ..Parts::default() };
        assert!(believes(&process, &parts, &leaf(&other, &["app.ns.svc"], &[])));
        assert!(!believes(&process, &parts, &leaf(&ours, &["app.ns.svc"], &[])), "process insecure: {insecure}");
        let nobody = Parts { roots: Some(roots_of(&[])), ..Parts::default() };
        assert!(!believes(&process, &nobody, &leaf(&ours, &["app.ns.svc"], &[])));
    }
}

#[test]
fn a_given_name_is_the_only_one() {
    let ours = ca("ours");
    let process = process(&[&ours], false);
    let named = |name: &'static str| Parts { server_name: name.try_into().ok(), ..Parts::default() };
    let leaf = leaf(&ours, &["inner.example", "app.ns.svc", "10.0.0.1"], &[]);
    assert!(believes(&process, &named("inner.example"), &leaf));
    assert!(believes(&process, &named("10.0.0.1"), &leaf));
    assert!(!believes(&process, &named("other.example"), &leaf));
}

#[test]
fn whether_any_certificate_will_do_is_the_transports_to_say() {
    let process = process(&[], true);
    let stranger = leaf(&ca("stranger"), &["stranger"], &[]);
    assert!(believes(&process, &Parts::default(), &stranger));
    assert!(!believes(&process, &Parts { insecure: Some(false), ..Parts::default() }, &stranger));
    let strict = Process { insecure: false, ..process };
    assert!(!believes(&strict, &Parts::default(), &stranger));
    assert!(believes(&strict, &Parts { insecure: Some(true), ..Parts::default() }, &stranger));
}

#[test]
fn a_uri_must_match_and_come_from_a_trusted_issuer() {
    let (ours, other) = (ca("ours"), ca("other"));
    let uri = "spiffe://cluster.example/ns/shop/sa/app";
    let parts = |insecure| Parts {
        insecure,
        roots: Some(roots_of(std::slice::from_ref(&ours.der))),
        peer_uri: Some(uri.into()),
        ..Parts::default()
    };
    let process = process(&[], false);
    let named = leaf(&ours, &["app.ns.svc"], &["https://else.example/", uri]);
    let unnamed = leaf(&ours, &[], &[uri]);
    let without = leaf(&ours, &["app.ns.svc"], &["spiffe://cluster.example/ns/shop/sa/App"]);
    let foreign = leaf(&other, &["app.ns.svc"], &[uri]);
    for insecure in [None, Some(false)] {
        assert!(believes(&process, &parts(insecure), &named));
        assert!(!believes(&process, &parts(insecure), &unnamed));
        assert!(!believes(&process, &parts(insecure), &without));
        assert!(!believes(&process, &parts(insecure), &foreign));
    }
    assert!(believes(&process, &parts(Some(true)), &unnamed), "only the name is not looked at");
    assert!(!believes(&process, &parts(Some(true)), &without));
    assert!(!believes(&process, &parts(Some(true)), &foreign));
}

#[test]
fn a_certificate_may_vouch_for_itself() {
    let own = |year| {
        let mut params = params(&["app.ns.svc"], &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    };
    let process = process(&[], false);
    let parts =
        |der: &CertificateDer<'static>| Parts { roots: Some(roots_of(std::slice::from_ref(der))), ..Parts::default() };
    let (good, expired) = (own(4096), own(1999));
    assert!(believes(&process, &parts(&good), &good));
    assert!(!believes(&process, &parts(&good), &own(4096)));
    assert!(!believes(&process, &parts(&expired), &expired));
    let named = Parts { server_name: "else.example".try_into().ok(), ..parts(&good) };
    assert!(!believes(&process, &named, &good), "its name is looked at all the same");
}

#[test]
fn paths_of_uris_are_compared_to_the_letter() {
    for (one, other, expected) in [
        ("spiffe://a.example/x", "spiffe://a.example/x", true),
        ("SPIFFE://A.example/x", "spiffe://a.EXAMPLE/x", true),
        ("spiffe://a.example/x", "spiffe://a.example/X", false),
        ("spiffe://a.example", "spiffe://a.example/", false),
        ("spiffe://a.example?Q", "spiffe://a.example?q", false),
        ("urn:a", "URN:a", true),
        ("urn:a/b", "urn:a/B", false),
    ] {
        assert_eq!(same_uri(one, other), expected, "{one} {other}");
    }
}

#[test]
fn what_is_shown_comes_from_an_issuer_that_is_asked_for() {
    let (ours, other) = (ca("ours"), ca("other"));
    let (first, second) = (shown_by(&ours), shown_by(&other));
    let shown = Shown::new(&[Arc::clone(&first), Arc::clone(&second)]);
    let name = |ca: &Ca| X509Certificate::from_der(&ca.der).unwrap().1.subject().as_raw().to_vec();
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
    let asked = |issuers: &[Vec<u8>], schemes: &[SignatureScheme]| {
        let issuers: Vec<&[u8]> = issuers.iter().map(Vec::as_slice).collect();
        shown.resolve(&issuers, schemes).map(|key| if Arc::ptr_eq(&key, &first) { 1 } else { 2 })
    };
    assert_eq!(asked(&[], &schemes), Some(1));
    assert_eq!(asked(&[name(&other)], &schemes), Some(2));
    assert_eq!(asked(&[name(&other), name(&ours)], &schemes), Some(1));
    assert_eq!(asked(&[name(&ca("third"))], &schemes), None);
    assert_eq!(asked(&[], &[SignatureScheme::ED25519]), None);
    assert!(!Shown::new(&[]).has_certs());
}

#[test]
fn versions_and_suites_are_what_is_asked_for() {
    let process = process(&[], false);
    let spoken = |parts: &Parts| {
        let config = tls(&process, parts, &[]).unwrap().config;
        let suites = config.crypto_provider().cipher_suites.iter().map(|s| u16::from(s.suite()));
        suites.collect::<Vec<_>>()
    };
    let only = |suites: &[u16]| Parts { suites: Some(suites.to_vec()), ..Parts::default() };
    assert_eq!(spoken(&only(&[0xc02f, 0x1301])), [0x1301, 0xc02f]);
    assert!(spoken(&Parts::default()).len() > 2);
    assert!(tls(&process, &only(&[0x000a]), &[]).is_err(), "nothing is left");
}
