use http::Method;

use super::{super::headers::tests::head, *};

/// A client's request with these lines of X-Forwarded-For.
fn forwarded(client: &str, lines: &[&str]) -> Head {
    let mut head = head(Method::GET, "http://a.test/");
    head.client = client.parse().unwrap();
    for line in lines {
        head.headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
    }
    head
}

fn of(strategy: &Strategy, client: &str, lines: &[&str]) -> String {
    strategy.client(&forwarded(client, lines)).map_or_else(String::new, |address| address.to_string())
}

#[test]
fn without_more_it_is_the_client() {
    let strategy = Strategy::default();
    assert_eq!(of(&strategy, "192.0.2.1", &["198.51.100.1"]), "192.0.2.1");
    assert_eq!(of(&strategy, "2001:db8::1", &[]), "2001:db8::1");
    let subnet = Strategy::Client { ipv6_prefix: Some(64) };
    assert_eq!(of(&subnet, "2001:db8:1:2:3::1", &[]), "2001:db8:1:2::");
    assert_eq!(of(&subnet, "192.0.2.77", &[]), "192.0.2.77");
}

#[test]
fn depth_counts_from_the_right() {
    let depth = |depth: usize| Strategy::Depth { skip: depth - 1, ipv6_prefix: None };
    let lines = ["10.0.0.1, 10.0.0.2", "10.0.0.3:80,[2001:db8::4]:443"];
    for (nth, expected) in [(1, "2001:db8::4"), (2, "10.0.0.3"), (3, "10.0.0.2"), (4, "10.0.0.1"), (5, ""), (500, "")] {
        assert_eq!(of(&depth(nth), "192.0.2.1", &lines), expected, "{nth}");
    }
    assert_eq!(of(&depth(1), "192.0.2.1", &[]), "", "never the peer");
    assert_eq!(of(&depth(1), "192.0.2.1", &["10.0.0.1, unknown"]), "", "no address");
    assert_eq!(of(&depth(1), "192.0.2.1", &["10.0.0.1,"]), "", "an empty entry counts");
    assert_eq!(of(&depth(1), "192.0.2.1", &["é,10.0.0.1"]), "10.0.0.1");
    let subnet = Strategy::Depth { skip: 0, ipv6_prefix: Some(48) };
    assert_eq!(of(&subnet, "192.0.2.1", &["2001:db8:1:2::3"]), "2001:db8:1::");
}

#[test]
fn excluded_addresses_are_passed_over() {
    let strategy = Strategy::not_of(&["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned()]).unwrap();
    for (lines, expected) in [
        (&["192.0.2.1, 192.0.2.2, 10.0.0.1"][..], "192.0.2.2"),
        (&["192.0.2.1", "10.0.0.1, 2001:db8::5"], "192.0.2.1"),
        (&["192.0.2.1, , 10.0.0.1,"], "192.0.2.1"),
        (&["192.0.2.1, unknown, 10.0.0.1"], ""),
        (&["10.0.0.2, 10.0.0.1"], ""),
        (&[], ""),
    ] {
        assert_eq!(of(&strategy, "198.51.100.1", lines), expected, "{lines:?}");
    }
    let wrong = Strategy::not_of(&["10.0.0.1".to_owned(), "ten".to_owned()]).unwrap_err();
    assert_eq!(wrong.field, "excludedIPs[1]");
}

#[test]
fn sources_are_told_apart() {
    let by_client = Source::Client(Strategy::default());
    let key = |source: &Source, head: &Head| source.key(head);
    let one = forwarded("192.0.2.1", &["a"]);
    assert_eq!(key(&by_client, &one), key(&by_client, &forwarded("192.0.2.1", &["b"])));
    assert_ne!(key(&by_client, &one), key(&by_client, &forwarded("192.0.2.2", &["a"])));
    assert_ne!(key(&by_client, &one), key(&by_client, &forwarded("2001:db8::1", &["a"])));

    let by_host = Source::Host;
    let mut other_port = head(Method::GET, "http://a.test:8080/");
    assert_eq!(key(&by_host, &one), key(&by_host, &other_port));
    other_port.host = "b.test".to_owned();
    assert_ne!(key(&by_host, &one), key(&by_host, &other_port));

    let none = Source::Client(Strategy::Depth { skip: 9, ipv6_prefix: None });
    assert_eq!(key(&none, &one), key(&none, &forwarded("192.0.2.2", &[])), "those without one are one");
}

#[test]
fn a_header_tells_sources_apart() {
    let by = Source::Header(HeaderName::from_static("x-api-key"));
    let with = |values: &[&str]| {
        let mut head = head(Method::GET, "http://a.test/");
        for value in values {
            head.headers.append("x-api-key", HeaderValue::from_str(value).unwrap());
        }
        by.key(&head)
    };
    assert_eq!(with(&["one"]), with(&["one", "two"]), "the first counts");
    assert_ne!(with(&["one"]), with(&["two"]));
    assert_ne!(with(&["one"]), with(&["One"]));
    assert_eq!(with(&[]), with(&[""]), "none is one source");
    assert_eq!(std::mem::size_of_val(&with(&[&"x".repeat(60_000)])), 16, "however long");
}

#[test]
fn headers_that_are_sent_later_are_known() {
    let real_ip = Source::Header(X_REAL_IP);
    let (one, two) = (forwarded("192.0.2.1", &[]), forwarded("192.0.2.2", &[]));
    assert_ne!(real_ip.key(&one), real_ip.key(&two));
    let mut said = forwarded("192.0.2.2", &[]);
    said.headers.insert(X_REAL_IP, HeaderValue::from_static("192.0.2.1"));
    assert_eq!(real_ip.key(&one), real_ip.key(&said), "of a trusted peer");
    let host = Source::Header(X_FORWARDED_HOST);
    assert_eq!(host.key(&one), host.key(&two));
    assert_ne!(host.key(&one), host.key(&head(Method::GET, "http://b.test/")));
}

#[test]
fn a_table_has_a_place_for_each_source() {
    let table: Table<u32> = Table::default();
    for number in 0..1_000_u32 {
        table.of(Key::of(&number.to_be_bytes())).insert(Key::of(&number.to_be_bytes()), number);
    }
    let sizes: Vec<usize> = (0..SHARDS).map(|shard| table.at(shard).len()).collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1_000);
    assert!(sizes.iter().all(|size| *size < 60), "spread out: {sizes:?}");
    assert_eq!(table.of(Key::of(&7_u32.to_be_bytes())).get(&Key::of(&7_u32.to_be_bytes())), Some(&7));
    let mut shard = table.at(0);
    shard.reserve(10_000);
    shard.clear();
    fit(&mut shard);
    assert!(shard.capacity() < 100);
}
