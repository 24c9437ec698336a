//! One page that shows what `/api` tells: no framework, nothing loaded from elsewhere.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// The page. Its policy lets it talk to this server and to nobody else.
pub(super) fn page() -> Response<Full<Bytes>> {
    let mut answer = super::with_type(StatusCode::OK, "text/html; charset=utf-8", include_str!("dashboard.html"));
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    answer
}
