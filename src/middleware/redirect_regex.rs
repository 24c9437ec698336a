//! `redirectRegex`: redirects clients by a regular expression over the whole URL.
//!
//! The URL is put together from what was understood: the scheme the client came by, the host the request was routed by
//! with the port that the client named, the normalised path, the query. Where a Location leads is the author's to say
//! and the Host's: a path or query that would decide it is refused, so that no request makes a redirect to a foreign
//! host out of a replacement that lacks a slash.

use super::{
    Flow, Head, InvalidField,
    pattern::{Rewrite, Rewritten},
    redirect,
    rewrite::no_control,
};

/// Traefik's `redirectRegex`, ready to run.
#[derive(Clone, Debug)]
pub struct RedirectRegex {
    rewrite: Rewrite,
    permanent: bool,
}

impl RedirectRegex {
    /// What `regex` matches in the URL becomes `replacement`, with Go's `$1` and `${name}` for groups. `permanent`
    /// chooses 301 (GET) and 308 over 302 (GET) and 307.
    ///
    /// # Errors
    /// [`InvalidField`] `regex` where it is missing, invalid or too big; `replacement` where it has a control character.
    pub fn new(regex: &str, replacement: &str, permanent: bool) -> Result<Self, InvalidField> {
        no_control("replacement", replacement)?;
        Ok(Self { rewrite: Rewrite::new("regex", regex, replacement, str::to_owned)?, permanent })
    }

    /// Redirects unless nothing matches, or the URL stays the same. 400 for a host that can't stand in a URL, or none at
    /// all (HTTP/1.0), and for a Location that is empty, too long, or leads where the path or query says.
    pub fn request(&self, head: &mut Head) -> Flow {
        if !redirect::is_host(&head.host) {
            return redirect::bad_request();
        }
        let (url, path_at) = url(head);
        match self.rewrite.apply(&url) {
            Ok(None) => Flow::Continue,
            Ok(Some(new)) if new.text() == url => Flow::Continue,
            Ok(Some(new)) if !new.text().is_empty() && leads_where_it_may(&new, path_at) => {
                redirect::to(new.text(), self.permanent, &head.method)
            }
            Ok(Some(_)) | Err(_) => redirect::bad_request(),
        }
    }
}

/// The URL of a request, and where its path begins.
fn url(head: &Head) -> (String, usize) {
    let mut url = String::with_capacity(head.host.len() + head.target.path().len() + 64);
    url.push_str(head.scheme());
    url.push_str("://");
    url.push_str(&head.host);
    if let Some(port) = head.port {
        url.push(':');
        url.push_str(itoa::Buffer::new().format(port));
    }
    let path_at = url.len();
    url.push_str(head.target.path());
    if let Some(query) = head.target.query() {
        url.push('?');
        url.push_str(query);
    }
    (url, path_at)
}

/// Whether neither the scheme of a Location nor the end of its host (which says whose it is) nor its port is text of
/// the request's path or query. Read as browsers do, who take any number of slashes behind `https:` for two.
fn leads_where_it_may(new: &Rewritten, path_at: usize) -> bool {
    let url = new.text();
    let is_ours = |at: usize| new.source(at).is_none_or(|from| from < path_at);
    let name = url.find([':', '/', '?', '#']).filter(|at| url.get(*at..).is_some_and(|rest| rest.starts_with(':')));
    let behind = name.map_or(0, |colon| colon + 1);
    if !(0..behind).all(is_ours) {
        return false;
    }
    let rest = url.get(behind..).unwrap_or_default();
    let slashes = rest.len() - rest.trim_start_matches('/').len();
    if behind == 0 && slashes < 2 {
        // A path on this host.
        return true;
    }
    let begin = behind + slashes;
    let authority = url.get(begin..).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    // Behind user information, and before the port.
    let host = authority.rsplit('@').next().unwrap_or_default();
    let bare = match host.strip_prefix('[') {
        Some(_) => host.find(']').map_or(host.len(), |end| end + 1),
        None => host.find(':').unwrap_or(host.len()),
    };
    let end = begin + authority.len();
    [end, end - host.len() + bare].into_iter().all(|end| end == begin || is_ours(end - 1))
}

#[cfg(test)]
mod tests;
