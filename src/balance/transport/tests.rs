use super::*;

/// A certificate with its key, and its DER.
fn certified(name: &str) -> (Arc<CertifiedKey>, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let der = made.cert.der().clone();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    (Arc::new(CertifiedKey::from_der(vec![der.clone()], key, &provider).unwrap()), der)
}

#[test]
fn every_part_counts_in_the_fingerprint() {
    let ((one, one_der), (two, two_der)) = (certified("one"), certified("two"));
    let roots = |list: &[&CertificateDer<'static>]| Roots::new(list.iter().map(|c| (*c).clone()).collect()).ok();
    let name = |name: &'static str| ServerName::try_from(name).ok();
    let second = Some(Duration::from_secs(1));
    let none = Parts::default;
    let waits = |waits| Parts { waits, ..none() };
    let only = |version| Versions { oldest: version, newest: version };
    let all = [
        none(),
        Parts { server_name: name("a.example"), ..none() },
        Parts { server_name: name("10.0.0.1"), ..none() },
        Parts { insecure: Some(false), ..none() },
        Parts { insecure: Some(true), ..none() },
        Parts { roots: roots(&[]), ..none() },
        Parts { roots: roots(&[&one_der]), ..none() },
        Parts { roots: roots(&[&one_der, &two_der]), ..none() },
        Parts { roots: roots(&[&two_der]), ..none() },
        Parts { peer_uri: Some("a.example".into()), ..none() },
        Parts { certificates: vec![Arc::clone(&one)], ..none() },
        Parts { certificates: vec![Arc::clone(&one), Arc::clone(&two)], ..none() },
        Parts { certificates: vec![two, one], ..none() },
        Parts { versions: only(Version::Tls12), ..none() },
        Parts { versions: only(Version::Tls13), ..none() },
        Parts { suites: Some(Vec::new()), ..none() },
        Parts { suites: Some(vec![0xc02f]), ..none() },
        Parts { suites: Some(vec![0xc02f, 0xc030]), ..none() },
        Parts { http1_only: true, ..none() },
        Parts { most_idle: Some(0), ..none() },
        Parts { most_idle: Some(1), ..none() },
        waits(Waits { connect: second, ..Waits::default() }),
        waits(Waits { response: second, ..Waits::default() }),
        waits(Waits { response: Some(Duration::ZERO), ..Waits::default() }),
        waits(Waits { idle: second, ..Waits::default() }),
        waits(Waits { silence: second, ..Waits::default() }),
        waits(Waits { ping: second, ..Waits::default() }),
    ];
    for (index, parts) in all.iter().enumerate() {
        let one = Transport::new(parts.clone());
        for (other_index, other) in all.iter().enumerate() {
            assert_eq!(one == Transport::new(other.clone()), index == other_index, "{index} {other_index}");
        }
    }
}

#[test]
fn it_shows_nothing_of_itself() {
    let (key, _) = certified("secret.example");
    let shown = format!("{:?}", Transport::new(Parts { certificates: vec![key], ..Parts::default() }));
    assert!(shown.len() < 32 && shown.starts_with("Transport("), "{shown}");
}

#[test]
fn what_is_no_certificate_is_no_root() {
    let (_, good) = certified("one");
    assert_eq!(Roots::new(vec![good, CertificateDer::from(vec![7; 9])]).err(), Some(1));
}
