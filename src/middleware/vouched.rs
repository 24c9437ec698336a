//! Request headers that a middleware vouches for: what stands there is what it says of the client, and what a client
//! sends under such a name, in any spelling, must not be taken for it.
//!
//! The middleware itself clears them in the head of each request that it lets pass. Here is what it can't do by itself:
//! they are taken out of what is asked on behalf of a request that has not been there yet.

use http::{HeaderMap, HeaderName};

use super::{Middleware, spelling};

impl Middleware {
    /// Whether it vouches for the header of this name.
    fn vouches_for(&self, name: &HeaderName) -> bool {
        match self {
            Self::BasicAuth(m) => m.vouches_for(name),
            Self::DigestAuth(m) => m.vouches_for(name),
            Self::ForwardAuth(m) => m.vouches_for(name),
            Self::PassTlsClientCert(m) => m.vouches_for(name),
            _ => false,
        }
    }
}

/// Removes the headers that one of these vouches for.
pub(super) fn remove(steps: &[Middleware], headers: &mut HeaderMap) {
    for step in steps {
        spelling::remove_if(headers, |name| step.vouches_for(name));
    }
}
