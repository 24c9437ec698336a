//! IP addresses and sets of address ranges, as trusted-peer lists and allow lists need them.
//!
//! Takes addresses and CIDR strings as users write them, gives yes or no. An IPv4 address that arrives inside IPv6
//! (`::ffff:192.0.2.1`, as a dual-stack socket shows it) is the IPv4 address everywhere. It knows nothing of what a
//! match means.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// The one form of an address: an IPv4-mapped IPv6 address (RFC 4291 §2.5.5.2) becomes the IPv4 address.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// An address as forwarded headers write it: with or without brackets and port. What is no address is none.
pub fn from_forwarded(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|a| a.ip()));
    let address = address.or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok());
    address.map(canonical)
}

/// The entries of a header that lists addresses (X-Forwarded-For), the last first and without space around them. Its
/// lines are one list (RFC 9110 §5.3).
pub fn from_the_right<'a>(lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).map(<[u8]>::trim_ascii)
}

/// The IPv6 network of this prefix length that the address lies in, by its first address. An IPv4 address stays.
pub fn ipv6_network(address: IpAddr, prefix: u8) -> IpAddr {
    match canonical(address) {
        IpAddr::V6(address) => match ipnet::Ipv6Net::new(address, prefix) {
            Ok(net) => net.network().into(),
            Err(_) => address.into(),
        },
        v4 => v4,
    }
}

/// A set of address ranges. Looking up costs a binary search over the merged ranges of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    v4: Box<[(Ipv4Addr, Ipv4Addr)]>,
    v6: Box<[(Ipv6Addr, Ipv6Addr)]>,
}

impl CidrSet {
    /// Reads ranges (`10.0.0.0/8`, `fd00::/8`) and bare addresses (which are /32 or /128). Space around an entry and
    /// host bits behind the prefix are ignored, as Go's `net.ParseCIDR`, which Traefik uses, ignores them. A range
    /// within `::ffff:0:0/96` is the IPv4 range; a wider IPv6 range holds no IPv4 address.
    ///
    /// # Errors
    /// The first entry that can't be read, in a sentence for the person who wrote it.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for entry in entries {
            match parse_net(entry.trim())? {
                IpNet::V4(net) => v4.push((net.network(), net.broadcast())),
                IpNet::V6(net) => match (net.network().to_ipv4_mapped(), net.broadcast().to_ipv4_mapped()) {
                    (Some(first), Some(last)) => v4.push((first, last)),
                    _ => v6.push((net.network(), net.broadcast())),
                },
            }
        }
        Ok(Self {
            v4: merge(v4, |last| u32::from(last).checked_add(1).map(Ipv4Addr::from)),
            v6: merge(v6, |last| u128::from(last).checked_add(1).map(Ipv6Addr::from)),
        })
    }

    /// Whether the address, in its [`canonical`] form, lies in one of the ranges.
    pub fn contains(&self, address: IpAddr) -> bool {
        match canonical(address) {
            IpAddr::V4(address) => holds(&self.v4, address),
            IpAddr::V6(address) => holds(&self.v6, address),
        }
    }

    /// Whether no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn parse_net(entry: &str) -> Result<IpNet, String> {
    if entry.is_empty() {
        return Err("an entry is empty where an address or a range such as 10.0.0.0/8 is expected".to_owned());
    }
    let net = if entry.contains('/') { entry.parse().ok() } else { entry.parse::<IpAddr>().ok().map(IpNet::from) };
    net.ok_or_else(|| {
        format!("{entry:?} is neither an address nor a range; write it like 192.0.2.1, 10.0.0.0/8 or fd00::/8")
    })
}

/// Sorts the ranges and joins those that overlap or touch. `next` is the address after one, none after the last.
fn merge<A: Ord + Copy>(mut ranges: Vec<(A, A)>, next: impl Fn(A) -> Option<A>) -> Box<[(A, A)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(A, A)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if next(*end).is_none_or(|after| first <= after) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged.into_boxed_slice()
}

fn holds<A: Ord + Copy>(ranges: &[(A, A)], address: A) -> bool {
    let behind = ranges.partition_point(|(first, _)| *first <= address);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|(_, last)| address <= *last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forwarded_entries_in_every_form() {
        for (entry, address) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1:8080", Some("192.0.2.1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("[2001:db8::1]", Some("2001:db8::1")),
            ("[2001:db8::1]:443", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("unknown", None),
            ("192.0.2", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(from_forwarded(entry.as_bytes()), address.map(ip), "{entry}");
        }
        assert_eq!(from_forwarded(b"\xff"), None);
        let lines: [&[u8]; 3] = [b"a, b", b"", b" c ,d"];
        let entries: Vec<&[u8]> = from_the_right(lines.into_iter()).collect();
        assert_eq!(entries, [&b"d"[..], b"c", b"", b"b", b"a"]);
    }

    #[test]
    fn networks_of_ipv6_addresses() {
        for (address, prefix, network) in [
            ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
            ("2001:db8::ffff", 128, "2001:db8::ffff"),
            ("192.0.2.77", 8, "192.0.2.77"),
            ("::ffff:192.0.2.77", 64, "192.0.2.77"),
        ] {
            assert_eq!(ipv6_network(ip(address), prefix), ip(network), "{address}/{prefix}");
        }
    }

    fn set(entries: &[&str]) -> CidrSet {
        CidrSet::parse(entries.iter().copied()).unwrap()
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn ranges_and_bare_addresses() {
        let set = set(&["10.0.0.0/8", " 192.0.2.1 ", "fd00::/8", "2001:db8::1"]);
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.1", "fd12::1", "2001:db8::1", "::ffff:10.1.2.3"] {
            assert!(set.contains(ip(inside)), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.2", "fe00::1", "2001:db8::2", "::ffff:11.1.2.3"] {
            assert!(!set.contains(ip(outside)), "{outside}");
        }
    }

    #[test]
    fn mapped_ranges_are_ipv4_and_wide_ipv6_ranges_are_not() {
        assert!(set(&["::ffff:10.0.0.0/104"]).contains(ip("10.9.9.9")));
        assert!(set(&["::ffff:10.0.0.1"]).contains(ip("10.0.0.1")));
        assert!(!set(&["::/0"]).contains(ip("10.0.0.1")));
        assert!(set(&["::/0"]).contains(ip("ffff::1")));
        assert!(set(&["0.0.0.0/0"]).contains(ip("::ffff:255.255.255.255")));
    }

    #[test]
    fn touching_and_overlapping_ranges_are_one() {
        let merged = set(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.128/25", "255.0.0.0/8", "255.255.255.255"]);
        assert_eq!(merged.v4.len(), 2);
        assert_eq!(merged, set(&["10.0.0.5/23", "255.0.0.0/8"]));
        assert!(!merged.is_empty() && CidrSet::default().is_empty());
    }

    #[test]
    fn errors_name_the_entry() {
        for bad in ["10.0.0.0/33", "localhost", "10.0.0", "fd00::/129", "10.0.0.0/", "/8", "1.2.3.4/255.0.0.0"] {
            assert!(CidrSet::parse([bad]).unwrap_err().contains(&format!("{bad:?}")), "{bad}");
        }
        assert!(CidrSet::parse(["10.0.0.1", " "]).unwrap_err().contains("empty"));
    }

    proptest! {
        #[test]
        fn as_a_linear_scan(nets in prop::collection::vec((any::<u32>(), 0u8..=32), 0..12), near in any::<u32>(), at in 0usize..12) {
            let nets: Vec<ipnet::Ipv4Net> =
                nets.iter().map(|(a, len)| ipnet::Ipv4Net::new(Ipv4Addr::from(*a), *len).unwrap()).collect();
            let texts: Vec<String> = nets.iter().map(ToString::to_string).collect();
            let set = CidrSet::parse(texts.iter().map(String::as_str)).unwrap();
            let edges = nets.get(at).map_or([near; 4], |net| {
                let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
                [first, first.wrapping_sub(1), last, last.wrapping_add(1)]
            });
            for address in edges.into_iter().chain([near]).map(Ipv4Addr::from) {
                prop_assert_eq!(set.contains(address.into()), nets.iter().any(|net| net.contains(&address)), "{}", address);
            }
        }
    }
}
