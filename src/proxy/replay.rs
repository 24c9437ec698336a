//! What may be sent twice, and when (RFC 9110 §9.2.2, RFC 9112 §9.3.1).

use http::Method;

use super::error::Error;

/// Whether a request that failed on a reused connection may go out again on another one: if not a byte of it was
/// sent, always; if the connection closed before a byte of the answer, an idempotent one whose body is still whole.
pub(crate) fn on_another_connection(error: &Error, method: &Method, untouched: bool) -> bool {
    untouched && (nothing_sent(error) || (matches!(error, Error::Closed { sent: true }) && is_idempotent(method)))
}

/// Whether the endpoint has not seen a byte of the request.
pub(crate) fn nothing_sent(error: &Error) -> bool {
    matches!(error, Error::Closed { sent: false })
}

fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE)
}
