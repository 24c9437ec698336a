//! `errors`: puts the page of another service in the place of an answer whose status is named. The status stays what it
//! was (or what the user says it is to be), whatever the page's own is. Where there is no page to be had, the answer goes
//! out as it was.

mod page;

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header};

pub use self::page::Page;
use super::{Failed, Head, Next, Request, Statuses, Upstream};
use crate::{
    balance::Service,
    body::{Body, BodyKind},
};

/// What `errors` is told.
#[derive(Debug)]
pub struct Settings {
    /// The answers that get a page.
    pub statuses: Statuses,
    /// Other statuses for some of them: the first range that holds one decides.
    pub rewrites: Vec<(std::ops::RangeInclusive<u16>, StatusCode)>,
    /// Where the pages are.
    pub service: Arc<Service>,
    /// The path and query of a page.
    pub page: Page,
    /// The client's headers that the service gets; all, if it is `None`.
    pub headers: Option<Vec<HeaderName>>,
}

/// See the module.
#[derive(Debug)]
pub struct Errors(Settings);

/// Headers that say of the request which part or which version of the answer is wanted: not of the page.
const CONDITIONS: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Headers that a status means nothing without, or little: they are the answer's own, not the page's. A 401 without
/// WWW-Authenticate is none (RFC 9110 §15.5.2).
const BELONGING: [(StatusCode, HeaderName); 6] = [
    (StatusCode::UNAUTHORIZED, header::WWW_AUTHENTICATE),
    (StatusCode::PROXY_AUTHENTICATION_REQUIRED, header::PROXY_AUTHENTICATE),
    (StatusCode::METHOD_NOT_ALLOWED, header::ALLOW),
    (StatusCode::PAYLOAD_TOO_LARGE, header::RETRY_AFTER),
    (StatusCode::TOO_MANY_REQUESTS, header::RETRY_AFTER),
    (StatusCode::SERVICE_UNAVAILABLE, header::RETRY_AFTER),
];

/// Statuses by which a client is refused who has not shown that it may pass.
const REFUSALS: [StatusCode; 3] =
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::PROXY_AUTHENTICATION_REQUIRED];

/// An extension of answers that had one of [`REFUSALS`] before an `errors` further inside gave them another status.
#[derive(Clone, Copy, Debug)]
struct Refused;

impl Errors {
    /// Pages as the settings say. The most particular rewrite of a status comes first.
    pub fn new(mut settings: Settings) -> Self {
        settings.rewrites.sort_by_key(|(codes, _)| (codes.end() - codes.start(), *codes.start()));
        Self(settings)
    }

    /// Sends the request on, and replaces its answer if it is one of those.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        // What is inside may change the head, and the page is for the request that came here.
        let came = (!next.is_innermost()).then(|| self.asking(&mut request.head));
        let answer = next.run(request).await;
        let original = answer.status();
        if original == StatusCode::SWITCHING_PROTOCOLS || !self.0.statuses.contains(original) {
            return answer;
        }
        let refused = REFUSALS.contains(&original) || answer.extensions().get::<Refused>().is_some();
        let mut status = self.rewritten(original);
        if refused && status.is_success() {
            status = original;
        }
        let mut head = came.unwrap_or_else(|| self.asking(&mut request.head));
        // The head is from before anything inside has cleared it.
        next.remove_vouched(&mut head.headers);
        let is_head = request.head.method == Method::HEAD;
        let Some(target) = self.0.page.target(&head, status, original) else { return answer };
        head.target = target;
        head.method = Method::GET;
        let asking = Request::new(head, Body::Empty, BodyKind::None);
        let page = next.upstream().fetch(&self.0.service, asking).await;
        if fails(&page, status) {
            tracing::debug!(status = original.as_u16(), page = page.status().as_u16(), "there is no page for an error");
            return answer;
        }
        let mut answer = replaced(answer, page, status, is_head);
        if refused {
            answer.extensions_mut().insert(Refused);
        }
        answer
    }

    /// The status to send in place of this one.
    fn rewritten(&self, status: StatusCode) -> StatusCode {
        let fitting = self.0.rewrites.iter().find(|(codes, _)| codes.contains(&status.as_u16()));
        fitting.map_or(status, |(_, to)| *to)
    }

    /// The head of the request for a page: that of the client's own, with the headers that the service gets.
    fn asking(&self, head: &mut Head) -> Head {
        let headers = match &self.0.headers {
            None => {
                let mut all = head.headers.clone();
                for name in &CONDITIONS {
                    all.remove(name);
                }
                all
            }
            Some(names) => {
                let mut some = HeaderMap::new();
                for name in names {
                    some.extend(head.headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
                }
                some
            }
        };
        // Not cloned with the rest of the head.
        let own = std::mem::take(&mut head.headers);
        let asking = Head { headers, ..head.clone() };
        head.headers = own;
        asking
    }
}

/// Whether this is no page: nobody was there to answer, or the service itself has failed. One that answers with the
/// very status that the page is for has one.
fn fails(page: &Response<Body>, status: StatusCode) -> bool {
    page.extensions().get::<Failed>().is_some() || (page.status().is_server_error() && page.status() != status)
}

/// The page in the place of the answer.
fn replaced(answer: Response<Body>, page: Response<Body>, status: StatusCode, is_head: bool) -> Response<Body> {
    let (original, _) = answer.into_parts();
    let (mut parts, mut body) = page.into_parts();
    let headers = &mut parts.headers;
    headers.remove(header::CONTENT_RANGE);
    // Of an answer that has no body, Content-Length is what another would have.
    let bodiless = |status| matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless(parts.status) || bodiless(status) {
        headers.remove(header::CONTENT_LENGTH);
    }
    if is_head || bodiless(status) {
        body = Body::Empty;
    }
    if original.status == status {
        for (_, name) in BELONGING.iter().filter(|(of, _)| *of == status) {
            let own: Vec<_> = original.headers.get_all(name).iter().cloned().collect();
            if !own.is_empty() {
                headers.remove(name);
                headers.extend(own.into_iter().map(|value| (name.clone(), value)));
            }
        }
    }
    parts.status = status;
    // Who stands outside has to know that no endpoint has answered.
    parts.extensions = original.extensions;
    Response::from_parts(parts, body)
}

#[cfg(test)]
mod tests;
