use proptest::prelude::*;

use super::*;

fn address(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

/// A version 2 header with TLV bytes behind the addresses.
fn v2(command: u8, family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
    let mut bytes = SIGNATURE_V2.to_vec();
    bytes.extend([0x20 | command, family]);
    bytes.extend(u16::try_from(addresses.len() + tlvs.len()).unwrap().to_be_bytes());
    bytes.extend(addresses);
    bytes.extend(tlvs);
    bytes
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for end in [source, destination] {
        match end.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes
}

#[test]
fn version_1_lines() {
    for (line, source, destination) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", address("192.0.2.1:56324"), address("192.0.2.2:443")),
        (
            "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
            address("255.255.255.255:65535"),
            address("255.255.255.255:65535"),
        ),
        ("PROXY TCP6 2001:db8::1 ::1 0 80\r\n", address("[2001:db8::1]:0"), address("[::1]:80")),
        ("PROXY UNKNOWN\r\n", None, None),
        ("PROXY UNKNOWN ffff:f...f:ffff \u{e9} 65535\r\n", None, None),
    ] {
        let with_rest = format!("{line}GET / HTTP/1.1\r\n");
        assert_eq!(parse(with_rest.as_bytes()), Outcome::Parsed { source, destination, length: line.len() }, "{line}");
    }
}

#[test]
fn version_1_mistakes() {
    for line in [
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
        "PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX",
        "PROXY TCP4 ::1 ::1 1 2\r\n",
        "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
        "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n",
        "PROXY UNKNOWNX\r\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Outcome::Invalid(_)), "{line:?}");
    }
}

#[test]
fn version_1_is_at_most_107_bytes() {
    let fits = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert_eq!(parse(fits.as_bytes()), Outcome::Parsed { source: None, destination: None, length: 107 });
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    assert_eq!(parse(&long.as_bytes()[..106]), Outcome::NeedMore);
    assert!(matches!(parse(&long.as_bytes()[..107]), Outcome::Invalid(_)));
    assert!(matches!(parse(long.as_bytes()), Outcome::Invalid(_)));
}

#[test]
fn version_2_families() {
    let (a4, b4) = ("192.0.2.1:1234".parse().unwrap(), "192.0.2.2:443".parse().unwrap());
    let (a6, b6) = ("[2001:db8::1]:1234".parse().unwrap(), "[::1]:443".parse().unwrap());
    for (command, family, block, source, destination) in [
        (1, 0x11, addresses(a4, b4), Some(a4), Some(b4)),
        (1, 0x12, addresses(a4, b4), Some(a4), Some(b4)),
        (1, 0x21, addresses(a6, b6), Some(a6), Some(b6)),
        (1, 0x22, addresses(a6, b6), Some(a6), Some(b6)),
        (1, 0x31, vec![b'/'; 216], None, None),
        (1, 0x00, vec![], None, None),
        (0, 0x11, addresses(a4, b4), None, None),
        (0, 0x00, vec![], None, None),
        // LOCAL ignores the family and what stands behind it.
        (0, 0xff, vec![1, 2, 3], None, None),
        (0, 0x21, vec![], None, None),
    ] {
        let header = v2(command, family, &block, b"\x04\0\x02ab");
        let bytes = [header.as_slice(), b"GET"].concat();
        let length = header.len();
        assert_eq!(parse(&bytes), Outcome::Parsed { source, destination, length }, "{command} {family:#x}");
    }
}

#[test]
fn version_2_mistakes() {
    let block = [0; 216];
    let mut version_3 = v2(1, 0x11, &block, b"");
    version_3[12] = 0x31;
    for bytes in [
        version_3,
        v2(2, 0x11, &block, b""),
        v2(1, 0x10, &block, b""),
        v2(1, 0x01, &block, b""),
        v2(1, 0x13, &block, b""),
        v2(1, 0x41, &block, b""),
        v2(1, 0x11, &block[..11], b""),
        v2(1, 0x21, &block[..35], b""),
        v2(1, 0x31, &block[..215], b""),
        v2(1, 0x11, &block, &[0; MAX_LENGTH]),
        v2(0, 0x00, &[], &[0; MAX_LENGTH - 15]),
    ] {
        // Said as soon as the fixed part is there: nobody waits for the bytes of a header that is wrong already.
        assert!(matches!(parse(&bytes[..16]), Outcome::Invalid(_)), "{bytes:?}");
        assert!(matches!(parse(&bytes), Outcome::Invalid(_)), "{bytes:?}");
    }
    assert!(matches!(parse(&v2(0, 0, &[], &[0; MAX_LENGTH - 16])), Outcome::Parsed { length: MAX_LENGTH, .. }));
}

#[test]
fn other_protocols_are_absent() {
    for bytes in
        [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"PROXX", b"PROXY\t", b"\r\n\r\nGET", b"\x16\x03\x01", b"proxy "]
    {
        assert_eq!(parse(bytes), Outcome::Absent, "{bytes:?}");
    }
    for bytes in [&b""[..], b"P", b"PR", b"PROXY", b"\r", b"\r\n\r\n"] {
        assert_eq!(parse(bytes), Outcome::NeedMore, "{bytes:?}");
    }
}

fn any_pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let ports = any::<(u16, u16)>();
    prop_oneof![
        (any::<(Ipv4Addr, Ipv4Addr)>(), ports)
            .prop_map(|((a, b), (p, q))| (SocketAddr::new(a.into(), p), SocketAddr::new(b.into(), q))),
        (any::<(Ipv6Addr, Ipv6Addr)>(), ports)
            .prop_map(|((a, b), (p, q))| (SocketAddr::new(a.into(), p), SocketAddr::new(b.into(), q))),
    ]
}

proptest! {
    #[test]
    fn round_trip_and_prefixes((source, destination) in any_pair(), tlvs in prop::collection::vec(any::<u8>(), 0..64)) {
        let four = source.is_ipv4();
        let line = format!(
            "PROXY {} {} {} {} {}\r\n",
            if four { "TCP4" } else { "TCP6" }, source.ip(), destination.ip(), source.port(), destination.port()
        );
        let block = addresses(source, destination);
        for header in [line.into_bytes(), v2(1, if four { 0x11 } else { 0x21 }, &block, &tlvs)] {
            let whole = Outcome::Parsed { source: Some(source), destination: Some(destination), length: header.len() };
            prop_assert_eq!(parse(&header), whole);
            for cut in 0..header.len() {
                prop_assert_eq!(parse(&header[..cut]), Outcome::NeedMore);
            }
        }
    }

    #[test]
    fn never_panics(start in 0usize..4, rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let start: &[u8] = [&b""[..], PREFIX_V1, SIGNATURE_V2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"][start];
        let bytes = [start, &rest].concat();
        if let Outcome::Parsed { length, .. } = parse(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
