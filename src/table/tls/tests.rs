use proptest::prelude::*;
use rustls_pki_types::CertificateDer;

use super::*;
use crate::balance::transport::Version;

/// Certificates that are known by a number. Nobody reads them here.
fn roots(numbers: &[u8]) -> Roots {
    let certificates: Vec<CertificateDer<'static>> = numbers.iter().map(|n| CertificateDer::from(vec![*n])).collect();
    Roots { anchors: Arc::new(rustls::RootCertStore::empty()), certificates: certificates.into() }
}

fn options(name: &str, terms: Terms) -> Arc<TlsOptions> {
    let id = OptionsId::Object("ns".into(), name.into());
    Arc::new(TlsOptions { id, policy: Ok(Arc::new(Policy { terms, ..Policy::default() })) })
}

fn refused(name: &str) -> Arc<TlsOptions> {
    Arc::new(TlsOptions { id: OptionsId::Object("ns".into(), name.into()), policy: Err("it is broken".into()) })
}

fn mutual(numbers: &[u8]) -> Terms {
    Terms { client_auth: ClientAuth::RequireAndVerify, roots: Some(roots(numbers)), ..Terms::default() }
}

fn modern() -> Terms {
    let versions = Versions { oldest: Version::Tls13, ..Versions::default() };
    Terms { versions, ..Terms::default() }
}

#[test]
fn what_is_asked_of_clients_counts_before_versions_and_refusal_before_all() {
    let [lax, modern, mutual, broken] = [
        options("a-lax", Terms::default()),
        options("b-modern", modern()),
        options("c-mutual", mutual(&[1])),
        refused("d-broken"),
    ];
    let all = [&mutual, &broken, &lax, &modern];
    assert!(Arc::ptr_eq(strictest(all.into_iter()).unwrap(), &broken));
    assert!(Arc::ptr_eq(strictest([&lax, &mutual, &modern].into_iter()).unwrap(), &mutual));
    assert!(Arc::ptr_eq(strictest([&lax, &modern].into_iter()).unwrap(), &modern));
    assert!(strictest(std::iter::empty()).is_none());
    // Equals: the first by name, in whatever order they come.
    let [one, other] = [options("x", Terms::default()), options("y", Terms::default())];
    assert!(Arc::ptr_eq(strictest([&one, &other].into_iter()).unwrap(), &one));
    assert!(Arc::ptr_eq(strictest([&other, &one].into_iter()).unwrap(), &one));
}

#[test]
fn a_connection_holds_for_its_own_options_and_for_no_others() {
    let (mine, other) = (options("mine", Terms::default()), options("other", modern()));
    assert_eq!(mine.holds_for(&mine), Standing::Holds);
    assert_eq!(mine.holds_for(&other), Standing::Other);
    assert_eq!(other.holds_for(&mine), Standing::Other, "not if they are stricter either");
    assert_eq!(mine.holds_for(&refused("other")), Standing::Closed);
    // Of equal terms there is one policy, whoever has written them.
    let twin = TlsOptions { id: OptionsId::Default, policy: mine.policy.clone() };
    assert_eq!(mine.holds_for(&twin), Standing::Holds);
}

#[test]
fn a_connection_outlives_a_change_of_its_options_unless_more_is_asked_of_clients() {
    let before = options("o", Terms::default());
    assert_eq!(before.holds_for(&options("o", modern())), Standing::Holds);
    assert_eq!(before.holds_for(&options("o", mutual(&[1]))), Standing::Other);
    let before = options("o", mutual(&[1]));
    assert_eq!(before.holds_for(&options("o", mutual(&[2]))), Standing::Holds, "as the certificate was looked at then");
    assert_eq!(before.holds_for(&options("o", Terms::default())), Standing::Holds);
}

const SHAKEN: Shaken =
    Shaken { version: Version::Tls13, suite: 1, group: Some(1), own_certificate: true, resumed: false };

#[test]
fn a_route_is_met_by_a_connection_that_keeps_to_its_own_options() {
    let (lax, modern, one, two) = (
        options("a", Terms::default()),
        options("b", modern()),
        options("c", mutual(&[1])),
        options("d", mutual(&[2])),
    );
    let both = options("e", mutual(&[1, 2]));
    let meets = |mine: &TlsOptions, own: &TlsOptions| mine.meets(own, &SHAKEN);
    assert!(meets(&one, &lax) && meets(&one, &both) && meets(&one, &one));
    assert!(!meets(&one, &two), "certificates of others");
    assert!(!meets(&both, &one), "certificates of others besides");
    assert!(meets(&one, &modern) && !meets(&modern, &one) && meets(&modern, &lax));
    let old = Shaken { version: Version::Tls12, ..SHAKEN };
    assert!(!one.meets(&modern, &old), "a version that it does not speak");
    assert!(modern.meets(&modern, &old), "from before a change");
    assert!(!meets(&lax, &refused("x")) && !meets(&refused("x"), &lax));
}

fn terms() -> impl Strategy<Value = Terms> {
    let auth = prop::sample::select(vec![
        ClientAuth::None,
        ClientAuth::Request,
        ClientAuth::Require,
        ClientAuth::VerifyIfGiven,
        ClientAuth::RequireAndVerify,
    ]);
    let lists = || prop::option::of(prop::collection::vec(1_u16..4, 1..3));
    (auth, prop::collection::btree_set(1_u8..4, 1..3), any::<[bool; 4]>(), lists(), lists()).prop_map(
        |(client_auth, numbers, [modern, sni_strict, tickets, http2], suites, groups)| Terms {
            versions: Versions { oldest: if modern { Version::Tls13 } else { Version::Tls12 }, ..Versions::default() },
            suites,
            groups,
            client_auth,
            roots: client_auth.verifies().then(|| roots(&numbers.into_iter().collect::<Vec<_>>())),
            sni_strict,
            protocols: if http2 { vec![Protocol::Http2, Protocol::Http1] } else { vec![Protocol::Http1] },
            tickets,
        },
    )
}

fn shaken() -> impl Strategy<Value = Shaken> {
    (any::<[bool; 3]>(), 1_u16..4, prop::option::of(1_u16..4)).prop_map(
        |([modern, own_certificate, resumed], suite, group)| Shaken {
            version: if modern { Version::Tls13 } else { Version::Tls12 },
            suite,
            group,
            own_certificate,
            resumed,
        },
    )
}

/// Whether a client comes in that shows nothing, or a certificate of a number.
fn lets_in(terms: &Terms, shown: Option<u8>, shaken: &Shaken) -> bool {
    let issued = |n: u8| terms.roots.iter().flat_map(|roots| roots.certificates.iter()).any(|c| c.as_ref() == [n]);
    let shown = match (terms.client_auth, shown) {
        (ClientAuth::Require | ClientAuth::RequireAndVerify, None) => false,
        (ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify, Some(n)) => issued(n),
        _ => true,
    };
    shown
        && (shaken.version == Version::Tls13 || terms.versions.oldest == Version::Tls12)
        && terms.suites.as_ref().is_none_or(|suites| suites.contains(&shaken.suite))
        && terms.groups.as_ref().is_none_or(|groups| shaken.group.is_some_and(|group| groups.contains(&group)))
        && (shaken.own_certificate || !terms.sni_strict)
        && (terms.tickets || !shaken.resumed)
}

proptest! {
    /// Whoever came in under some terms and is let through to a route with others would have come in under those, too.
    #[test]
    fn a_route_lets_nobody_in_that_its_own_options_would_refuse(
        mine in terms(),
        own in terms(),
        shown in prop::option::of(1_u8..4),
        shaken in shaken(),
    ) {
        let meets = options("mine", mine.clone()).meets(&options("own", own.clone()), &shaken);
        if meets && lets_in(&mine, shown, &shaken) {
            prop_assert!(lets_in(&own, shown, &shaken), "{mine:?}\n{own:?}\n{shown:?} {shaken:?}");
        }
    }

    /// The order is one: no matter how they come, the strictest is the same.
    #[test]
    fn the_strictest_does_not_depend_on_the_order(all in prop::collection::vec(terms(), 1..5)) {
        let all: Vec<_> = all.into_iter().enumerate().map(|(n, terms)| options(&format!("o{n}"), terms)).collect();
        let forth = strictest(all.iter()).unwrap();
        let back = strictest(all.iter().rev()).unwrap();
        prop_assert!(Arc::ptr_eq(forth, back));
    }
}
