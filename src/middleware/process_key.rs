//! The key of this process, and how messages for it are written.

use std::sync::OnceLock;

use aws_lc_rs::{hmac, rand::SystemRandom};

use super::InvalidField;

/// The key of this process: random, and never written anywhere. What it has signed counts in this process only.
///
/// # Errors
/// When the system gives no random numbers, as a fault of the Middleware that would have needed the key.
pub(super) fn process_key() -> Result<&'static hmac::Key, InvalidField> {
    static KEY: OnceLock<Option<hmac::Key>> = OnceLock::new();
    KEY.get_or_init(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()).as_ref().ok_or_else(|| {
        InvalidField::new("", "the system gives no random numbers", "Check that /dev/urandom or getrandom works")
    })
}

/// A message for the key: what it is about, and the parts with their lengths, so that none runs into the next.
pub(super) fn labelled(label: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut message = Vec::with_capacity(64 + parts.iter().map(|part| part.len()).sum::<usize>());
    for part in [&[label], parts].concat() {
        message.extend_from_slice(&(part.len() as u64).to_be_bytes());
        message.extend_from_slice(part);
    }
    message
}
