use std::{collections::BTreeMap, net::SocketAddr};

use http::{HeaderMap, HeaderValue, header};

use super::*;

fn keys() -> Keys {
    Keys::parse("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
}

fn key(name: &str) -> ServiceKey {
    ServiceKey { namespace: "ns".into(), name: name.into(), port: 80 }
}

fn candidate(n: u8, ready: bool) -> Candidate {
    let name = format!("pod-{n}");
    Candidate {
        address: SocketAddr::from(([10, 0, 0, n], 8080)),
        identity: Identity::Target { kind: "Pod".into(), namespace: "ns".into(), name: name.into(), port: 8080 },
        ready,
    }
}

fn options(policy: Policy) -> Options {
    Options { scheme: Scheme::Http, policy, pass_host: true, server_name: "a.ns.svc".into(), transport: None }
}

fn set(of: &[(u8, bool)]) -> EndpointSet {
    let candidates = of.iter().map(|(n, ready)| candidate(*n, *ready)).collect();
    EndpointSet::build(&key("a"), candidates, Signing { keys: &keys(), legacy_scheme: Some("http") }, None)
}

fn input(read: Read, tried: &[usize]) -> PickInput<'_> {
    PickInput { read, client: IpAddr::from([192, 0, 2, 1]), now_ms: 1_000, tried }
}

#[test]
fn round_robin_is_exact_and_keeps_its_place() {
    let service = Service::new(key("a"), options(Policy::RoundRobin));
    let set = set(&[(1, true), (2, true), (3, true)]);
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        *counts.entry(service.pick(&set, input(Read::Absent, &[])).unwrap().index).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
    let first = service.pick(&set, input(Read::Absent, &[])).unwrap().index;
    let again = service.with_options(options(Policy::RoundRobin));
    assert_eq!(again.pick(&set, input(Read::Absent, &[])).unwrap().index, (first + 1) % 3);
}

#[test]
fn pins_prefer_their_endpoint_even_when_it_is_terminating() {
    let service = Service::new(key("a"), options(Policy::RoundRobin));
    let set = set(&[(1, true), (2, false)]);
    let pinned = set.pinned(set.segment(1).unwrap()).unwrap();
    assert_eq!(pinned, Pinned { index: 1, current: true });
    for _ in 0..4 {
        assert_eq!(service.pick(&set, input(Read::Pin(pinned), &[])), Some(Pick { index: 1, issue: false }));
        assert_eq!(service.pick(&set, input(Read::Absent, &[])), Some(Pick { index: 0, issue: true }));
    }
    assert_eq!(service.pick(&set, input(Read::Pin(pinned), &[1])), Some(Pick { index: 0, issue: true }));
    assert_eq!(service.pick(&set, input(Read::Absent, &[0])), None, "terminating ones take none while one is ready");
}

#[test]
fn with_nothing_ready_those_that_serve_take_over() {
    let service = Service::new(key("a"), options(Policy::RoundRobin));
    assert!(service.pick(&set(&[(1, false)]), input(Read::Absent, &[])).is_some());
    assert!(service.pick(&set(&[]), input(Read::Absent, &[])).is_none());
}

#[test]
fn set_aside_endpoints_are_skipped_until_all_are() {
    let service = Service::new(key("a"), options(Policy::RoundRobin));
    let set = set(&[(1, true), (2, true)]);
    set.get(0).unwrap().live.failed(1_000);
    for _ in 0..4 {
        assert_eq!(service.pick(&set, input(Read::Absent, &[])).unwrap().index, 1);
    }
    let three = self::set(&[(1, true), (2, true), (3, true), (4, true)]);
    three.get(2).unwrap().live.failed(1_000);
    let mut counts = BTreeMap::new();
    for _ in 0..30 {
        *counts.entry(service.pick(&three, input(Read::Absent, &[])).unwrap().index).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([(0, 10), (1, 10), (3, 10)]), "the others share its turns alike");
    set.get(1).unwrap().live.failed(1_000);
    let mut seen: Vec<_> = (0..4).map(|_| service.pick(&set, input(Read::Absent, &[])).unwrap().index).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 0, 1, 1]);
    let pinned = set.pinned(set.segment(1).unwrap()).unwrap();
    assert_eq!(service.pick(&set, input(Read::Pin(pinned), &[])).unwrap(), Pick { index: 1, issue: false });
}

#[test]
fn a_client_stays_when_endpoints_are_added() {
    let service = Service::new(key("a"), options(Policy::ClientIp(10_000)));
    let few = set(&[(1, true), (2, true), (3, true)]);
    let many = set(&(1..=15).map(|n| (n, true)).collect::<Vec<_>>());
    for n in 0..50 {
        let at = |set: &EndpointSet| {
            let input = PickInput { client: IpAddr::from([192, 0, 2, n]), ..input(Read::Absent, &[]) };
            set.get(service.pick(set, input).unwrap().index).unwrap().address
        };
        assert_eq!(at(&few), at(&many));
    }
}

#[test]
fn duplicates_count_once_and_survivors_keep_their_ids() {
    let (keys, service) = (keys(), key("a"));
    let signing = Signing { keys: &keys, legacy_scheme: None };
    let twice = vec![candidate(1, false), candidate(2, true), candidate(1, true)];
    let one = EndpointSet::build(&service, twice, signing, None);
    assert_eq!((one.endpoints().len(), one.is_ready(0)), (2, true));
    let id = one.get(1).unwrap().live.id;
    let before = (keys.clone(), Arc::new(one));
    let two = EndpointSet::build(&service, vec![candidate(2, true), candidate(3, true)], signing, Some(&before));
    assert_eq!(two.get(0).unwrap().live.id, id);
    let other = Keys::random().unwrap();
    let signing = Signing { keys: &other, legacy_scheme: None };
    let three = EndpointSet::build(&service, vec![candidate(2, true)], signing, Some(&before));
    assert_eq!(three.get(0).unwrap().live.id, id);
    assert_ne!(three.segment(0), before.1.segment(1));
}

fn cookie(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, HeaderValue::from_str(&format!("s={value}")).unwrap());
    headers
}

fn value_of(set_cookie: &HeaderValue) -> String {
    set_cookie.to_str().unwrap().split(['=', ';']).nth(1).unwrap().to_owned()
}

#[test]
fn services_behind_one_cookie_do_not_fight() {
    let keys = keys();
    let signing = Signing { keys: &keys, legacy_scheme: None };
    let group = Arc::new(sticky::Group::default());
    let sticky = Sticky::new("s", &Attributes::default(), false, false, Arc::clone(&group));
    let mut services = hashbrown::HashMap::default();
    let mut sets = Vec::new();
    for name in ["a", "b", "gone"] {
        let service = Arc::new(Service::new(key(name), options(Policy::RoundRobin)));
        let set = Arc::new(EndpointSet::build(&key(name), vec![candidate(1, true), candidate(2, true)], signing, None));
        service.endpoints().store(Arc::clone(&set));
        if name != "gone" {
            services.insert(set.tags()[0], Arc::clone(&service));
        }
        sets.push(set);
    }
    group.store(Arc::new(services));
    let first = value_of(&sticky.issue(&HeaderMap::new(), &sets[0], sets[0].segment(1).unwrap()).unwrap());
    let both = value_of(&sticky.issue(&cookie(&first), &sets[1], sets[1].segment(0).unwrap()).unwrap());
    assert_eq!(both.len(), 65);
    assert_eq!(sticky.read(&cookie(&both), &sets[0]), Read::Pin(Pinned { index: 1, current: true }));
    assert_eq!(sticky.read(&cookie(&both), &sets[1]), Read::Pin(Pinned { index: 0, current: true }));
    assert_eq!(sticky.read(&cookie(&both), &sets[2]), Read::Absent);
    // A pin of a service that isn't behind this cookie, and a forged one, are not carried over.
    let foreign = String::from_utf8(sets[2].segment(0).unwrap().to_vec()).unwrap();
    let mut forged = first.clone();
    forged.replace_range(31.., if forged.ends_with('A') { "B" } else { "A" });
    for alien in [foreign, forged] {
        let again = value_of(&sticky.issue(&cookie(&alien), &sets[1], sets[1].segment(0).unwrap()).unwrap());
        assert_eq!(again.len(), 32);
        assert_eq!(sticky.read(&cookie(&alien), &sets[0]), Read::Absent);
    }
}

#[test]
fn an_old_key_verifies_and_is_replaced() {
    let old = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let new = "CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
    let build = |text: &str| {
        let keys = Keys::parse(text).unwrap();
        let signing = Signing { keys: &keys, legacy_scheme: None };
        EndpointSet::build(&key("a"), vec![candidate(1, true), candidate(2, true)], signing, None)
    };
    let before = build(old);
    let both = build(&format!("{new}\n{old}\n"));
    let sticky = Sticky::new("s", &Attributes::default(), false, false, Arc::default());
    let value = value_of(&sticky.issue(&HeaderMap::new(), &before, before.segment(1).unwrap()).unwrap());
    assert_eq!(sticky.read(&cookie(&value), &both), Read::Pin(Pinned { index: 1, current: false }));
    let again = value_of(&sticky.issue(&cookie(&value), &both, both.segment(1).unwrap()).unwrap());
    assert_eq!(again.len(), 32, "the old segment of the same service is not carried over");
    assert_eq!(sticky.read(&cookie(&again), &both), Read::Pin(Pinned { index: 1, current: true }));
    assert_eq!(sticky.read(&cookie(&format!("{value}.{again}")), &both), Read::Absent, "two for one service");
}

#[test]
fn traefiks_own_value_is_a_pin_where_accepted() {
    let sticky = Sticky::new("s", &Attributes::default(), false, false, Arc::default());
    let set = set(&[(1, true), (2, true)]);
    // printf http://10.0.0.1:8080 | sha256sum | cut -c1-16
    let legacy = "1f1de1e4b1b6d5c6";
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"http://10.0.0.2:8080");
    let real: String = hash.as_ref()[..8].iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(sticky.read(&cookie(legacy), &set), Read::Absent);
    assert_eq!(sticky.read(&cookie(&real), &set), Read::Pin(Pinned { index: 1, current: false }));
}
