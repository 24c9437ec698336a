//! Every answer that the proxy makes itself.

use http::{HeaderValue, Response, StatusCode, header};

use super::error::Error;
use crate::{
    body::Body,
    middleware::{Failed, Head, plain},
};

/// No rule for this host and path (Traefik and nginx users expect 404).
pub(crate) fn no_route() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The service has no endpoint that could be tried.
pub(crate) fn no_server() -> Response<Body> {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "no available server\n");
    answer.extensions_mut().insert(Failed { unsent: true });
    answer
}

/// A route that is closed, or whose service does not exist. Why is the operator's to know.
pub(crate) fn closed() -> Response<Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE)
}

/// A request that is refused; the connection is not used again.
pub(crate) fn refused(status: StatusCode, http2: bool) -> Response<Body> {
    let mut answer = plain(status);
    if !http2 {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// What an exchange with an endpoint failed with.
pub(crate) fn failed(error: &Error) -> Response<Body> {
    let mut answer = plain(error.status());
    answer.extensions_mut().insert(Failed { unsent: error.is_unsent() });
    answer
}

/// `--redirect-to-https`: to the port that clients see, never the port that we bind.
pub(crate) fn to_https(head: &Head, port: u16) -> Response<Body> {
    // 308 keeps the method; GET gets the older 301, as in Traefik.
    let status =
        if head.method == http::Method::GET { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    match HeaderValue::try_from(head.target.by_https(&head.host, port)) {
        Ok(location) if !head.host.is_empty() => {
            let mut answer = plain(status);
            answer.headers_mut().insert(header::LOCATION, location);
            answer
        }
        _ => plain(StatusCode::BAD_REQUEST),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
