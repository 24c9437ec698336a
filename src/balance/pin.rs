//! The sticky cookie's value: signed, bound to its service, computed when endpoints change.
//!
//! A value is one to sixteen segments joined by `.`, one for each service behind the cookie's name. A segment is 24
//! bytes in base64url: a tag that stands for the service (6 bytes of a MAC over its key) and a pin (18 bytes of a
//! MAC over service and endpoint). A segment is a pure function of signing key, service and endpoint identity, so a
//! request's segment is looked up among those made beforehand; one that isn't found there does not verify.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use smallvec::SmallVec;

use super::{ServiceKey, endpoint::Identity, keys::Keys};

/// One service's part of a cookie value.
pub type Segment = [u8; 32];

/// The part of a segment that stands for the service.
pub type Tag = [u8; 8];

/// At most so many services share a cookie.
pub const MOST_SEGMENTS: usize = 16;

const TAG_BYTES: usize = 6;
const PIN_BYTES: usize = 18;

/// The tag of a segment.
pub fn tag(segment: &Segment) -> Tag {
    let mut tag = [0; 8];
    tag.copy_from_slice(segment.first_chunk::<8>().unwrap_or(&[0; 8]));
    tag
}

/// The tags of a service, one for each key.
pub(super) fn tags(keys: &Keys, service: &ServiceKey) -> Vec<Tag> {
    keys.iter().map(|key| tag(&segment(key, service, None))).collect()
}

/// The segments that name an endpoint of a service, one for each key.
pub(super) fn segments(keys: &Keys, service: &ServiceKey, endpoint: &Identity) -> Box<[Segment]> {
    keys.iter().map(|key| segment(key, service, Some(endpoint))).collect()
}

fn segment(key: &hmac::Key, service: &ServiceKey, endpoint: Option<&Identity>) -> Segment {
    let feed_service = |context: &mut hmac::Context| {
        for part in [service.namespace.as_bytes(), service.name.as_bytes(), &service.port.to_be_bytes()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
    };
    let mut raw = [0; TAG_BYTES + PIN_BYTES];
    let (tag_out, pin_out) = raw.split_at_mut(TAG_BYTES);

    let mut context = hmac::Context::with_key(key);
    context.update(b"headgate service v1\0");
    feed_service(&mut context);
    let mac = context.sign();
    tag_out.iter_mut().zip(mac.as_ref()).for_each(|(to, from)| *to = *from);

    if let Some(endpoint) = endpoint {
        let mut context = hmac::Context::with_key(key);
        context.update(b"headgate pin v1\0");
        feed_service(&mut context);
        endpoint.feed(|bytes| context.update(bytes));
        let mac = context.sign();
        pin_out.iter_mut().zip(mac.as_ref()).for_each(|(to, from)| *to = *from);
    }
    let mut out = [0; 32];
    // 24 bytes give exactly 32 characters, so this cannot fail.
    let written = URL_SAFE_NO_PAD.encode_slice(raw, &mut out);
    debug_assert_eq!(written, Ok(32));
    out
}

/// The segments of a cookie value, or nothing if any part of it is not as we write it: it counts only as a whole.
pub fn parse(value: &[u8]) -> Option<SmallVec<[&Segment; 4]>> {
    if value.len() > MOST_SEGMENTS * 33 {
        return None;
    }
    let mut segments: SmallVec<[&Segment; 4]> = SmallVec::new();
    for part in value.split(|b| *b == b'.') {
        let segment: &Segment = part.try_into().ok()?;
        if !segment.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_') {
            return None;
        }
        if segments.len() == MOST_SEGMENTS || segments.iter().any(|s| tag(s) == tag(segment)) {
            return None;
        }
        segments.push(segment);
    }
    Some(segments)
}

/// The value of the first cookie `name` in a Cookie header. Scanned, not parsed: nothing is allocated or decoded.
pub fn find<'a>(header: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    header.split(|b| *b == b';').find_map(|pair| {
        let value = pair.trim_ascii_start().strip_prefix(name)?.strip_prefix(b"=")?.trim_ascii_end();
        // A quoted value is the same value (RFC 6265 §4.1.1).
        Some(value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\"")).unwrap_or(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::parse("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap()
    }

    fn service(name: &str) -> ServiceKey {
        ServiceKey { namespace: "ns".into(), name: name.into(), port: 80 }
    }

    fn pod(name: &str) -> Identity {
        Identity::Target { kind: "Pod".into(), namespace: "ns".into(), name: name.into(), port: 8080 }
    }

    #[test]
    fn a_segment_depends_on_key_service_and_endpoint() {
        let one = segments(&keys(), &service("a"), &pod("p"))[0];
        assert_eq!(one, segments(&keys(), &service("a"), &pod("p"))[0]);
        assert_ne!(one, segments(&Keys::random().unwrap(), &service("a"), &pod("p"))[0]);
        assert_ne!(one, segments(&keys(), &service("b"), &pod("p"))[0]);
        let other = segments(&keys(), &service("a"), &pod("q"))[0];
        assert_ne!(one, other);
        assert_eq!(tag(&one), tag(&other));
        assert_eq!(vec![tag(&one)], tags(&keys(), &service("a")));
        assert_ne!(tag(&one), tags(&keys(), &service("b"))[0]);
    }

    #[test]
    fn moving_a_byte_between_names_changes_the_segment() {
        let left = ServiceKey { namespace: "ab".into(), name: "c".into(), port: 80 };
        let right = ServiceKey { namespace: "a".into(), name: "bc".into(), port: 80 };
        assert_ne!(segments(&keys(), &left, &pod("p")), segments(&keys(), &right, &pod("p")));
    }

    #[test]
    fn a_value_counts_only_as_a_whole() {
        let (a, b) = (segments(&keys(), &service("a"), &pod("p"))[0], segments(&keys(), &service("b"), &pod("p"))[0]);
        let join = |parts: &[&[u8]]| parts.join(&b'.');
        assert_eq!(parse(&join(&[&a, &b])).unwrap().len(), 2);
        assert!(parse(b"").is_none());
        assert!(parse(&join(&[&a, b""])).is_none(), "an empty segment");
        assert!(parse(&join(&[&a, &b[..31]])).is_none(), "a short one");
        assert!(parse(&join(&[&a, &a])).is_none(), "two for one service");
        let mut odd = b;
        odd[3] = b'+';
        assert!(parse(&join(&[&a, &odd])).is_none(), "a character of another alphabet");
        let many: Vec<Segment> = (0..17).map(|n| segments(&keys(), &service(&format!("s{n}")), &pod("p"))[0]).collect();
        let parts: Vec<&[u8]> = many.iter().map(|s| &s[..]).collect();
        assert!(parse(&join(&parts[..16])).is_some());
        assert!(parse(&join(&parts)).is_none(), "seventeen");
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        assert_eq!(find(b"xsticky=1; sticky=2; sticky=3", b"sticky"), Some(&b"2"[..]));
        assert_eq!(find(b"sticky2=1;sticky=\"a b\" ", b"sticky"), Some(&b"a b"[..]));
        assert_eq!(find(b"sticky", b"sticky"), None);
        assert_eq!(find(b"", b"sticky"), None);
    }

    proptest! {
        #[test]
        fn find_agrees_with_the_cookie_crate(name in "[a-z]{1,3}", header in "[a-z=; .]{0,40}") {
            let expected = cookie::Cookie::split_parse(header.clone())
                .flatten()
                .find(|c| c.name() == name)
                .map(|c| c.value().to_owned());
            let found = find(header.as_bytes(), name.as_bytes()).map(|v| String::from_utf8_lossy(v).trim().to_owned());
            // The crate also takes names with spaces before the `=`; a browser never sends those.
            if !header.contains(" =") && !header.contains("= ") {
                prop_assert_eq!(found, expected);
            }
        }

        #[test]
        fn parse_never_panics_and_gives_back_what_went_in(value in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(segments) = parse(&value) {
                let parts: Vec<&[u8]> = segments.iter().map(|s| &s[..]).collect();
                prop_assert_eq!(&parts.join(&b'.'), &value);
            }
        }
    }
}
