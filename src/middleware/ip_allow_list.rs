//! `ipAllowList`, and its old name `ipWhiteList`: lets only some client addresses pass.

use http::{Response, StatusCode, header};

use super::{
    Flow, Head, InvalidField, plain,
    source::{Strategy, addresses},
};
use crate::{body::Body, net::CidrSet};

/// Traefik's `ipAllowList`, ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpAllowList {
    allowed: CidrSet,
    strategy: Strategy,
    refusal: StatusCode,
}

impl IpAllowList {
    /// Lets clients of these addresses and networks pass; others get `status` (403 if there is none, or 0).
    ///
    /// # Errors
    /// [`InvalidField`] for an empty list, an entry that is neither an address nor a network, and a status that no
    /// final answer can have, or that is not known (RFC 9110 §15).
    pub fn new(allowed: &[String], strategy: Strategy, status: Option<i64>) -> Result<Self, InvalidField> {
        if allowed.is_empty() {
            let help = "Write the addresses that may pass, such as 192.0.2.1 or 10.0.0.0/8";
            return Err(InvalidField::new("sourceRange", "it names no address", help));
        }
        let allowed = addresses(allowed, "sourceRange")?;
        let refusal = match status {
            None | Some(0) => StatusCode::FORBIDDEN,
            Some(code) => u16::try_from(code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok())
                .filter(|status| !status.is_informational() && status.canonical_reason().is_some())
                .ok_or_else(|| {
                    let message = format!("{code} is no status that an answer can have");
                    InvalidField::new("rejectStatusCode", message, "Write a known one, such as 403 or 404")
                })?,
        };
        Ok(Self { allowed, strategy, refusal })
    }

    /// Refuses clients that are not on the list, and those whose address is not known.
    pub fn request(&self, head: &Head) -> Flow {
        match self.strategy.client(head) {
            Some(client) if self.allowed.contains(client) => Flow::Continue,
            _ => Flow::Respond(self.refuse()),
        }
    }

    fn refuse(&self) -> Response<Body> {
        let mut answer = plain(self.refusal);
        // These have no body (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
        if matches!(self.refusal, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED) {
            *answer.body_mut() = Body::Empty;
            answer.headers_mut().remove(header::CONTENT_TYPE);
        }
        answer
    }
}

#[cfg(test)]
mod tests;
