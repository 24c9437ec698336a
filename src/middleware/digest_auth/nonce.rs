//! Nonces: made and signed by this process, good for a while, each count of them good once.
//!
//! A nonce carries when it was made, so that nothing is kept of those that nobody uses. The key is this process's own:
//! another replica, or this one after a restart, finds the proof right and the nonce strange, and answers `stale=true`,
//! which costs the client one request. In return no proof can be replayed at another replica.

use std::sync::OnceLock;

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;

use super::seen::Seen;
use crate::middleware::{
    InvalidField,
    process_key::{labelled, process_key},
};

/// How long a nonce is good for. Who is at work for longer gets a new one by `stale=true`, which no person sees.
pub(super) const LIFETIME_MS: u64 = 5 * 60 * 1_000;

const LABEL: &[u8] = b"digest nonce";
/// Bytes of the signature that are sent.
const TAG: usize = 16;

/// When a nonce was made, and what tells it from others of that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Id {
    pub(super) made_ms: u64,
    pub(super) unique: u64,
}

/// The count of a nonce that a request has used. A request that is sent inwards again shows the same, and that is no
/// replay: nobody but the client that has proved the password once is at work.
#[derive(Debug, Default)]
pub struct Spent(Option<(Id, u32)>);

/// Makes and takes nonces.
#[derive(Debug)]
pub(super) struct Nonces {
    key: &'static hmac::Key,
    seen: Seen,
}

impl Nonces {
    /// Those of this process; they outlive the routing tables.
    pub(super) fn global() -> Result<&'static Self, InvalidField> {
        static NONCES: OnceLock<Nonces> = OnceLock::new();
        let key = process_key()?;
        Ok(NONCES.get_or_init(|| Self { key, seen: Seen::default() }))
    }

    /// A new one.
    pub(super) fn issue(&self, now_ms: u64) -> String {
        let id = Id { made_ms: now_ms, unique: fastrand::u64(..) };
        let mut bytes = Vec::with_capacity(16 + TAG);
        bytes.extend_from_slice(&id.made_ms.to_be_bytes());
        bytes.extend_from_slice(&id.unique.to_be_bytes());
        let tag = self.tag(&bytes);
        bytes.extend_from_slice(tag.as_ref().get(..TAG).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether this nonce is ours, is not too old, and was not used with this count before, unless by this very request.
    /// From then on it was.
    pub(super) fn accept(&self, nonce: &[u8], count: u32, now_ms: u64, spent: &mut Spent) -> bool {
        let Some(id) = self.verify(nonce) else { return false };
        if spent.0 == Some((id, count)) {
            return true;
        }
        let fresh = now_ms.saturating_sub(id.made_ms) <= LIFETIME_MS && self.seen.first_time(id, count, now_ms);
        if fresh {
            spent.0 = Some((id, count));
        }
        fresh
    }

    fn verify(&self, nonce: &[u8]) -> Option<Id> {
        let bytes = URL_SAFE_NO_PAD.decode(nonce).ok()?;
        let (signed, given) = bytes.split_at_checked(16)?;
        let tag = self.tag(signed);
        if !bool::from(tag.as_ref().get(..TAG)?.ct_eq(given)) {
            return None;
        }
        let (made, unique) = signed.split_at_checked(8)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).ok();
        Some(Id { made_ms: number(made)?, unique: number(unique)? })
    }

    fn tag(&self, bytes: &[u8]) -> hmac::Tag {
        hmac::sign(self.key, &labelled(LABEL, &[bytes]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonces() -> Nonces {
        Nonces { key: process_key().unwrap(), seen: Seen::default() }
    }

    /// By a request that has spent nothing yet.
    fn accept(nonces: &Nonces, nonce: &[u8], count: u32, now_ms: u64) -> bool {
        nonces.accept(nonce, count, now_ms, &mut Spent::default())
    }

    #[test]
    fn a_request_may_show_again_what_it_has_spent_itself() {
        let nonces = nonces();
        let (one, other) = (nonces.issue(1_000), nonces.issue(1_000));
        let mut spent = Spent::default();
        assert!(nonces.accept(one.as_bytes(), 1, 1_000, &mut spent));
        assert!(nonces.accept(one.as_bytes(), 1, 1_000 + 2 * LIFETIME_MS, &mut spent));
        assert!(!accept(&nonces, one.as_bytes(), 1, 1_000), "another request");
        assert!(accept(&nonces, one.as_bytes(), 2, 1_000) && accept(&nonces, other.as_bytes(), 1, 1_000));
        assert!(!nonces.accept(one.as_bytes(), 2, 1_000, &mut spent), "another count");
        assert!(!nonces.accept(other.as_bytes(), 1, 1_000, &mut spent), "another nonce");
        // What was refused is not spent.
        let mut none = Spent::default();
        assert!(
            !nonces.accept(one.as_bytes(), 1, 1_000, &mut none) && !nonces.accept(one.as_bytes(), 1, 1_000, &mut none)
        );
    }

    #[test]
    fn each_count_of_a_nonce_is_good_once() {
        let nonces = nonces();
        let (one, other) = (nonces.issue(1_000), nonces.issue(1_000));
        assert_ne!(one, other);
        assert!(accept(&nonces, one.as_bytes(), 1, 1_000));
        assert!(!accept(&nonces, one.as_bytes(), 1, 1_000));
        assert!(accept(&nonces, one.as_bytes(), 3, 1_000) && accept(&nonces, one.as_bytes(), 2, 1_000));
        assert!(!accept(&nonces, one.as_bytes(), 2, 1_000));
        assert!(accept(&nonces, other.as_bytes(), 1, 1_000));
    }

    #[test]
    fn an_old_one_and_one_of_the_future_of_another_thread() {
        let nonces = nonces();
        let nonce = nonces.issue(1_000);
        // Another worker's clock may be a tick behind.
        assert!(accept(&nonces, nonce.as_bytes(), 1, 950));
        assert!(accept(&nonces, nonce.as_bytes(), 2, 1_000 + LIFETIME_MS));
        assert!(!accept(&nonces, nonce.as_bytes(), 3, 1_001 + LIFETIME_MS));
    }

    #[test]
    fn what_we_have_not_signed_is_not_ours() {
        let nonces = nonces();
        let nonce = nonces.issue(1_000);
        for at in 0..nonce.len() {
            let mut forged = nonce.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert!(!accept(&nonces, &forged, 1, 1_000), "{at}");
        }
        for forged in [&b""[..], b"x", &nonce.as_bytes()[1..], &nonce.as_bytes()[..nonce.len() - 4]] {
            assert!(!accept(&nonces, forged, 1, 1_000));
        }
        let key: &'static hmac::Key = Box::leak(Box::new(hmac::Key::new(hmac::HMAC_SHA256, b"another process")));
        let other = Nonces { key, seen: Seen::default() };
        assert!(!accept(&other, nonce.as_bytes(), 1, 1_000));
        assert!(accept(&nonces, nonce.as_bytes(), 1, 1_000), "a forged try has used nothing up");
    }
}
