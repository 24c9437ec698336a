//! `redirectScheme`: sends a client that came by another scheme or port to the right one.
//!
//! Takes the scheme and port to redirect to; answers with a Location of that scheme, the host the request was routed
//! by, and the normalised path with its query. It never echoes bytes that were not understood.

use super::{Flow, Head, InvalidField, redirect};

/// Traefik's `redirectScheme`, ready to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectScheme {
    https: bool,
    /// The port that the Location names; none where it is the scheme's own.
    port: Option<u16>,
    permanent: bool,
}

impl RedirectScheme {
    /// `scheme` is `http` or `https`, `port` a number from 1 to 65535 as text or nothing (empty counts as nothing), and
    /// `permanent` chooses 301 (GET) and 308 over 302 (GET) and 307.
    ///
    /// # Errors
    /// [`InvalidField`] `scheme` or `port`.
    pub fn new(scheme: Option<&str>, port: Option<&str>, permanent: bool) -> Result<Self, InvalidField> {
        let help = "Write `https` or `http`";
        let https = match scheme.unwrap_or_default() {
            "" => return Err(InvalidField::new("scheme", "the scheme to redirect to is missing", help)),
            scheme if scheme.eq_ignore_ascii_case("https") => true,
            scheme if scheme.eq_ignore_ascii_case("http") => false,
            other => {
                let message = format!("`{}` is no scheme to redirect to", other.escape_debug());
                return Err(InvalidField::new("scheme", message, help));
            }
        };
        let port = match port.filter(|p| !p.is_empty()) {
            None => None,
            Some(text) => match text.parse::<u16>() {
                Ok(port) if port != 0 => Some(port),
                _ => {
                    let message = format!("`{}` is no port", text.escape_debug());
                    return Err(InvalidField::new("port", message, "Write a number from 1 to 65535"));
                }
            },
        };
        Ok(Self { https, port: port.filter(|p| *p != default_port(https)), permanent })
    }

    /// Redirects unless the request came by this scheme and port. A host that can't stand in a URL, or none at all
    /// (HTTP/1.0), is 400.
    pub fn request(&self, head: &mut Head) -> Flow {
        let port = head.port.filter(|p| *p != default_port(head.secure));
        if head.secure == self.https && port == self.port {
            return Flow::Continue;
        }
        if !redirect::is_host(&head.host) {
            return redirect::bad_request();
        }
        redirect::to(&self.url(head), self.permanent, &head.method)
    }

    fn url(&self, head: &Head) -> String {
        let mut url = String::with_capacity(head.host.len() + head.target.path().len() + 16);
        url.push_str(if self.https { "https://" } else { "http://" });
        url.push_str(&head.host);
        if let Some(port) = self.port {
            url.push(':');
            url.push_str(itoa::Buffer::new().format(port));
        }
        url.push_str(head.target.path());
        if let Some(query) = head.target.query() {
            url.push('?');
            url.push_str(query);
        }
        url
    }
}

fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

#[cfg(test)]
mod tests;
