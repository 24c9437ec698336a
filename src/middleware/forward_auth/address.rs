//! The address of the server that is asked, and how a Location of its answers is completed with it.

use http::{HeaderValue, Uri, uri::PathAndQuery};

use crate::{middleware::InvalidField, target::Target};

/// An http or https URL, taken apart.
#[derive(Clone, Debug)]
pub struct Address {
    /// Whether it is https.
    pub tls: bool,
    /// Name or IP address, without brackets.
    pub host: String,
    /// The port, or that of the scheme.
    pub port: u16,
    /// As the server sees it in Host.
    pub(super) authority: HeaderValue,
    pub(super) target: Target,
}

impl Address {
    /// Reads a URL. A fragment is ignored, as it is never sent.
    ///
    /// # Errors
    /// [`InvalidField`] `address` for what is no http or https URL with a host.
    pub fn parse(url: &str) -> Result<Self, InvalidField> {
        let invalid = |message: &str| {
            let help = "Write it like http://auth.default.svc.cluster.local:8080/verify";
            InvalidField::new("address", message.to_owned(), help)
        };
        if url.is_empty() {
            return Err(invalid("there is no address of a server to ask"));
        }
        let uri: Uri = url.parse().map_err(|_| invalid("the address is not a URL"))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid("the address is not a URL of http or https")),
        };
        let authority = uri.authority().ok_or_else(|| invalid("the address has no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid("the address has a user name in it, which is not supported"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(invalid("the address has no host"));
        }
        // The port of an authority is optional, and so is the number behind the colon (RFC 3986 §3.2.3).
        let port = match (authority.port(), authority.as_str().rsplit_once(':')) {
            (Some(port), _) => port.as_u16(),
            (None, Some((_, text))) if !text.is_empty() && !text.ends_with(']') => {
                return Err(invalid("the port of the address is not a number from 1 to 65535"));
            }
            (None, _) => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        if port == 0 {
            return Err(invalid("the port of the address is not a number from 1 to 65535"));
        }
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase(),
            port,
            authority: HeaderValue::from_str(authority.as_str())
                .map_err(|_| invalid("the host of the address is no host"))?,
            target: Target::new(path).map_err(|_| invalid("the path of the address can't be read"))?,
        })
    }

    /// A Location relative to this address, made absolute (RFC 3986 §5.2.2). `None` if it is absolute already.
    pub(super) fn complete(&self, location: &str) -> Option<String> {
        if location.is_empty() || has_scheme(location) {
            return None;
        }
        let scheme = if self.tls { "https:" } else { "http:" };
        if location.starts_with("//") {
            return Some(format!("{scheme}{location}"));
        }
        let base = format!("{scheme}//{}", self.authority.to_str().unwrap_or_default());
        let (before, fragment) = location.split_at(location.find('#').unwrap_or(location.len()));
        let (path, query) = before.split_at(before.find('?').unwrap_or(before.len()));
        let own = self.target.path();
        let (path, query) = if path.is_empty() {
            let kept = self.target.query().map(|own| format!("?{own}")).unwrap_or_default();
            (own.to_owned(), if query.is_empty() { kept } else { query.to_owned() })
        } else if path.starts_with('/') {
            (without_dots(path), query.to_owned())
        } else {
            let folder = own.rsplit_once('/').map_or("", |(folder, _)| folder);
            (without_dots(&format!("{folder}/{path}")), query.to_owned())
        };
        Some(format!("{base}{path}{query}{fragment}"))
    }
}

/// RFC 3986 §3.1.
fn has_scheme(location: &str) -> bool {
    location.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    })
}

/// RFC 3986 §5.2.4, for a path that starts with a slash. All else is the server's own affair and stays.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, tls, host, port, authority, path) in [
            ("http://auth", false, "auth", 80, "auth", "/"),
            ("https://Auth.Example/verify?x=1#top", true, "auth.example", 443, "Auth.Example", "/verify"),
            (
                "http://auth.ns.svc.cluster.local:8080/a/../b",
                false,
                "auth.ns.svc.cluster.local",
                8080,
                "auth.ns.svc.cluster.local:8080",
                "/b",
            ),
            ("http://[::1]:81/", false, "::1", 81, "[::1]:81", "/"),
            ("https://[fd00::1]", true, "fd00::1", 443, "[fd00::1]", "/"),
            ("http://127.0.0.1?x", false, "127.0.0.1", 80, "127.0.0.1", "/"),
            ("HTTP://auth/", false, "auth", 80, "auth", "/"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.tls, address.host.as_str(), address.port), (tls, host, port), "{url}");
            assert_eq!((address.authority.to_str().unwrap(), address.target.path()), (authority, path), "{url}");
        }
        assert_eq!(Address::parse("http://auth/?x=1").unwrap().target.query(), Some("x=1"));
    }

    #[test]
    fn what_is_no_address() {
        for url in [
            "",
            "auth",
            "/verify",
            "auth:8080",
            "ftp://auth",
            "h2c://auth",
            "http://",
            "http:///x",
            "http://:80/",
            "http://u:p@auth/",
            "http://auth:0/",
            "http://auth:99999/",
            "http://auth:x/",
            "http://a b/",
            "http://auth/%zz",
            "http://auth/%00",
            "unix:///socket",
        ] {
            assert_eq!(Address::parse(url).map_err(|e| e.field).unwrap_err(), "address", "{url}");
        }
    }

    #[test]
    fn relative_locations_are_completed() {
        let address = Address::parse("http://auth:81/a/verify?q=1").unwrap();
        for (location, whole) in [
            ("/login", "http://auth:81/login"),
            ("/login?rd=http://x/#f", "http://auth:81/login?rd=http://x/#f"),
            ("login", "http://auth:81/a/login"),
            ("../login", "http://auth:81/login"),
            ("../../../login/.", "http://auth:81/login/"),
            ("./", "http://auth:81/a/"),
            ("..", "http://auth:81/"),
            ("?x=2", "http://auth:81/a/verify?x=2"),
            ("#f", "http://auth:81/a/verify?q=1#f"),
            ("//other/login", "http://other/login"),
            ("/a//b/../c", "http://auth:81/a//c"),
            ("/x:y", "http://auth:81/x:y"),
            ("./x:y", "http://auth:81/a/x:y"),
            ("1x:y", "http://auth:81/a/1x:y"),
        ] {
            assert_eq!(address.complete(location).as_deref(), Some(whole), "{location}");
        }
        for absolute in ["https://login.example/", "mailto:a@b", "HTTP://x", ""] {
            assert_eq!(address.complete(absolute), None, "{absolute}");
        }
        let secure = Address::parse("https://auth").unwrap();
        assert_eq!(secure.complete("login").as_deref(), Some("https://auth/login"));
    }
}
