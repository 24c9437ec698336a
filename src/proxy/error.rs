//! What went wrong on the way to an endpoint and back: whose fault it is, whether the request may be sent again, and
//! the status that the client sees.

use http::StatusCode;

use crate::{body::BodyError, clock::Elapsed};

/// A failed exchange with an endpoint.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The connection was refused, reset or unreachable before a byte of the request was sent.
    #[error("connecting failed: {0}")]
    Connect(std::io::Error),
    /// This process or host has no descriptor, port or memory left: not the endpoint's fault.
    #[error("no connection can be opened: {0}")]
    Exhausted(std::io::Error),
    /// Connecting took too long.
    #[error("connecting timed out")]
    ConnectTimeout,
    /// TLS with the endpoint failed.
    #[error("TLS with the endpoint failed: {0}")]
    Tls(std::io::Error),
    /// The connection broke before a byte of the answer; `sent` says whether a byte of the request had left.
    #[error("the endpoint closed the connection before it answered")]
    Closed {
        /// Whether a byte of the request had been written.
        sent: bool,
    },
    /// The connection broke within the answer's head.
    #[error("the endpoint closed the connection within its answer")]
    Incomplete,
    /// No answer in time.
    #[error("the endpoint did not answer in time")]
    ResponseTimeout,
    /// The answer can't be read, or could be read in two ways.
    #[error("the endpoint's answer is malformed: {0}")]
    Malformed(&'static str),
    /// The request's body broke off: the client's doing.
    #[error("the request's body broke off: {0}")]
    Client(BodyError),
    /// The HTTP/2 connection or stream failed.
    #[error("HTTP/2 with the endpoint failed: {0}")]
    Http2(hyper::Error),
}

impl From<Elapsed> for Error {
    fn from(_: Elapsed) -> Self {
        Self::ResponseTimeout
    }
}

impl Error {
    /// The status for the client (traefik.md §6.5, with TLS faults as 502).
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::ConnectTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::Exhausted(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Client(BodyError::Stalled) => StatusCode::REQUEST_TIMEOUT,
            Self::Client(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Client(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether it is sure that no endpoint has seen a byte of the request.
    pub(crate) fn is_unsent(&self) -> bool {
        self.is_connect() || matches!(self, Self::Closed { sent: false } | Self::Exhausted(_) | Self::Tls(_))
    }

    /// Whether the endpoint could not even be reached: it is set aside, and the next one is tried.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout)
    }
}
