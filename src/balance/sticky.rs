//! What cookie a route pins its sessions with: its name and attributes, and who else uses the name.

use std::sync::Arc;

use hashbrown::HashMap;
use http::{HeaderMap, HeaderValue, header};
use smallvec::SmallVec;

use super::{
    Service,
    pin::{self, MOST_SEGMENTS, Segment, Tag},
    set::{EndpointSet, Pinned},
};
use crate::shared::Shared;

/// The attributes of a sticky cookie, in the words of the `cookie` crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `Path`; `/` where the user set none.
    pub path: Option<String>,
    /// `Domain`
    pub domain: Option<String>,
    /// `Max-Age` in seconds; 0 makes a session cookie, as in Traefik; a negative one is sent as 0.
    pub max_age: i64,
    /// `Secure`
    pub secure: bool,
    /// `HttpOnly`
    pub http_only: bool,
    /// `SameSite`
    pub same_site: Option<cookie::SameSite>,
}

/// The services behind one cookie name, by their tags: whose pins are carried over when a cookie is issued again.
pub type Group = Shared<HashMap<Tag, Arc<Service>, foldhash::fast::RandomState>>;

/// How a route's sessions are pinned.
#[derive(Debug)]
pub struct Sticky {
    name: Box<str>,
    /// Everything of Set-Cookie behind the value.
    suffix: Box<str>,
    /// Set-Cookie on every answer, so that `maxAge` slides.
    pub slide: bool,
    /// The cookie is not passed on to the backend.
    pub strip: bool,
    group: Arc<Group>,
}

/// What a request's cookie says about this service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Read {
    /// No cookie, or one that does not verify.
    #[default]
    Absent,
    /// A pin of this service.
    Pin(Pinned),
}

impl Sticky {
    /// A cookie of this name and these attributes. Characters outside of RFC 6265's token set become `_`, as in
    /// Traefik.
    pub fn new(name: &str, attributes: &Attributes, slide: bool, strip: bool, group: Arc<Group>) -> Self {
        let name = cookie_name(name);
        let mut cookie = cookie::Cookie::build((name.clone(), ""));
        cookie = cookie.path(attributes.path.clone().unwrap_or_else(|| "/".to_owned()));
        if let Some(domain) = &attributes.domain {
            cookie = cookie.domain(domain.clone());
        }
        if attributes.max_age != 0 {
            cookie = cookie.max_age(cookie::time::Duration::seconds(attributes.max_age.max(0)));
        }
        if let Some(same_site) = attributes.same_site {
            cookie = cookie.same_site(same_site);
        }
        // Set only when true: the crate would otherwise turn SameSite=None into Secure by itself, and an explicit
        // false is what keeps Traefik's meaning.
        let text = cookie.secure(attributes.secure).http_only(attributes.http_only).build().to_string();
        let suffix = in_traefiks_order(text.get(name.len() + 1..).unwrap_or_default()).into();
        Self { name: name.into(), suffix, slide, strip, group }
    }

    /// The cookie's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who else uses the name.
    pub fn group(&self) -> &Arc<Group> {
        &self.group
    }

    /// What the request's cookie says about the service of this set.
    pub fn read(&self, headers: &HeaderMap, set: &EndpointSet) -> Read {
        let Some(value) = self.value(headers) else { return Read::Absent };
        let Some(segments) = pin::parse(value) else {
            return set.legacy(value).map_or(Read::Absent, |index| Read::Pin(Pinned { index, current: false }));
        };
        let mut own = segments.iter().filter(|s| set.owns(s));
        // Under two keys a service has two tags; still at most one segment for a service.
        match (own.next(), own.next()) {
            (Some(segment), None) => set.pinned(segment).map_or(Read::Absent, Read::Pin),
            _ => Read::Absent,
        }
    }

    fn value<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        headers.get_all(header::COOKIE).iter().find_map(|line| pin::find(line.as_bytes(), self.name.as_bytes()))
    }

    /// Set-Cookie for a pin of this service; known pins of other services in the request's cookie are carried over.
    pub fn issue(&self, headers: &HeaderMap, set: &EndpointSet, segment: &Segment) -> Option<HeaderValue> {
        let mut parts: SmallVec<[&Segment; 4]> = SmallVec::new();
        parts.push(segment);
        if let Some(segments) = self.value(headers).and_then(pin::parse) {
            let group = self.group.load();
            let known =
                |s: &Segment| group.get(&pin::tag(s)).is_some_and(|other| other.endpoints().load().pinned(s).is_some());
            parts.extend(segments.into_iter().filter(|s| !set.owns(s) && known(s)).take(MOST_SEGMENTS - 1));
        }
        let mut text = Vec::with_capacity(self.name.len() + 1 + parts.len() * 33 + self.suffix.len());
        text.extend_from_slice(self.name.as_bytes());
        text.push(b'=');
        for (nth, part) in parts.iter().enumerate() {
            if nth > 0 {
                text.push(b'.');
            }
            text.extend_from_slice(*part);
        }
        text.extend_from_slice(self.suffix.as_bytes());
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }

    /// A Cookie header without this cookie (`strip`).
    pub fn without(&self, header: &[u8]) -> Vec<u8> {
        let pairs = header.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let others = pairs.filter(|pair| !pair.is_empty() && pin::find(pair, self.name.as_bytes()).is_none());
        others.collect::<Vec<_>>().join(&b"; "[..])
    }
}

/// The attributes in the order in which Traefik writes them: what people compare, and what their tests expect.
fn in_traefiks_order(attributes: &str) -> String {
    const ORDER: [&str; 6] = ["Path", "Domain", "Max-Age", "HttpOnly", "Secure", "SameSite"];
    let rank = |part: &&str| ORDER.iter().position(|name| part.starts_with(name)).unwrap_or(ORDER.len());
    let mut parts: Vec<&str> = attributes.split("; ").filter(|part| !part.is_empty()).collect();
    parts.sort_by_key(rank);
    parts.iter().map(|part| format!("; {part}")).collect()
}

/// The name as it is sent: characters outside of RFC 6265's token set become `_`, as in Traefik.
pub fn cookie_name(name: &str) -> String {
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    name.chars().map(|c| if token(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(attributes: Attributes) -> String {
        let sticky = Sticky::new("my cookie;x", &attributes, false, false, Arc::default());
        let value = sticky.issue(&HeaderMap::new(), &EndpointSet::default(), &[b'A'; 32]).unwrap();
        value.to_str().unwrap().replace(&"A".repeat(32), "V")
    }

    #[test]
    fn set_cookie_has_every_attribute() {
        assert_eq!(text(Attributes::default()), "my_cookie_x=V; Path=/");
        let all = Attributes {
            path: Some("/app".into()),
            domain: Some("example.com".into()),
            max_age: 60,
            secure: true,
            http_only: true,
            same_site: Some(cookie::SameSite::None),
        };
        let all = text(all);
        for part in ["; Path=/app", "; Domain=example.com", "; Max-Age=60", "; Secure", "; HttpOnly", "; SameSite=None"]
        {
            assert!(all.contains(part), "{all}");
        }
        let bare = Attributes { same_site: Some(cookie::SameSite::None), max_age: -1, ..Attributes::default() };
        assert!(!text(bare.clone()).contains("Secure"));
        assert!(text(bare).contains("Max-Age=0"));
    }

    #[test]
    fn strip_takes_only_our_cookie() {
        let sticky = Sticky::new("s", &Attributes::default(), false, true, Arc::default());
        assert_eq!(sticky.without(b"a=1; s=2; ss=3; s=4"), b"a=1; ss=3");
        assert_eq!(sticky.without(b"s=2"), b"");
    }
}
