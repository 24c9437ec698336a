//! `digestAuth`: asks for a user name and a proof of the password (RFC 7616 with MD5 and `qop=auth`, as Traefik).
//!
//! Takes users with their HA1 hashes, and answers 401 unless the request's Authorization proves one of them for this
//! method and target, under a nonce of this process that is not too old, and with a count that no other request has used.
//! A proof that is right under another nonce gets `stale=true`: the client repeats it with the new nonce by itself. A
//! user who doesn't exist costs as much as a wrong password.

mod credentials;
mod nonce;
mod seen;
mod users;

use http::{HeaderName, HeaderValue, Method, Response};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq;

pub use nonce::Spent;

use self::{credentials::Credentials, nonce::Nonces, users::Users};
use super::{
    Flow, Head, InvalidField, Request,
    login::{self, Login},
};
use crate::{body::Body, clock};

/// Traefik's `digestAuth`, ready to run. Its `Debug` shows no hash.
#[derive(Debug)]
pub struct DigestAuth {
    users: Users,
    realm: Box<str>,
    login: Login,
    nonces: &'static Nonces,
}

/// What an Authorization comes to.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    /// It proves this user.
    Of(String),
    /// It was right under a nonce that doesn't count any more, or a count that was used.
    Stale,
    /// It proves nobody.
    None,
}

impl DigestAuth {
    /// `lines` are those of an htdigest file (`user:realm:HA1`), `realm` is what browsers show and which lines count
    /// (`traefik` where it is empty or absent), `remove_header` hides Authorization from the backend, `header_field`
    /// names a request header that tells it the user.
    ///
    /// # Errors
    /// [`InvalidField`] `secret` with the line that can't be read, or when nobody is of the realm; `realm` for control
    /// characters or a colon; `headerField` for what can't be a header's name or is the proxy's own.
    pub fn new(
        lines: &[u8],
        realm: Option<&str>,
        remove_header: bool,
        header_field: Option<&str>,
    ) -> Result<Self, InvalidField> {
        let realm = login::realm_or_default(realm);
        if realm.contains(':') {
            let message = "the realm has a colon, which no line of users can hold";
            return Err(InvalidField::new("realm", message, "Choose another, and make the users' lines with it"));
        }
        let login = Login::new(realm, remove_header, header_field)?;
        Ok(Self { users: Users::htdigest(lines, realm)?, realm: realm.into(), login, nonces: Nonces::global()? })
    }

    /// Whether this header is where the backend is told the user.
    pub(super) fn vouches_for(&self, name: &HeaderName) -> bool {
        self.login.vouches_for(name)
    }

    /// Lets the request pass if its Authorization proves a user, else answers 401.
    pub fn request(&self, request: &mut Request) -> Flow {
        self.request_at(&mut request.head, &mut request.spent, clock::now_ms())
    }

    fn request_at(&self, head: &mut Head, spent: &mut Spent, now_ms: u64) -> Flow {
        self.login.clear(&mut head.headers);
        match self.prove(head, spent, now_ms) {
            Proof::Of(user) => {
                self.login.tell(head, user);
                Flow::Continue
            }
            Proof::Stale => Flow::Respond(self.unauthorized(true, now_ms)),
            Proof::None => Flow::Respond(self.unauthorized(false, now_ms)),
        }
    }

    fn prove(&self, head: &Head, spent: &mut Spent, now_ms: u64) -> Proof {
        let given = login::authorization(&head.headers).and_then(|value| Credentials::parse(value.as_bytes()));
        let Some(given) = given else { return Proof::None };
        // RFC 7616 §3.4.6: a proof for another target must not open this one.
        if given.realm != self.realm.as_bytes() || given.uri != head.target.received().as_str().as_bytes() {
            return Proof::None;
        }
        let (ha1, exists) = self.users.find(&given.username);
        let right: bool = expected(ha1, &given, &head.method).ct_eq(&given.response).into();
        if !(right & exists) {
            return Proof::None;
        }
        match String::from_utf8(given.username) {
            // Only who has the password comes so far, so that nobody else can fill what is remembered of nonces.
            Ok(user) if self.nonces.accept(&given.nonce, given.count, now_ms, spent) => Proof::Of(user),
            Ok(_) => Proof::Stale,
            Err(_) => Proof::None,
        }
    }

    fn unauthorized(&self, stale: bool, now_ms: u64) -> Response<Body> {
        let (realm, nonce) = (&self.login.quoted_realm, self.nonces.issue(now_ms));
        let stale = if stale { ", stale=true" } else { "" };
        let challenge = format!("Digest realm={realm}, nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\"{stale}");
        // A realm without control characters is a value; the rest is ours.
        let challenge = HeaderValue::try_from(challenge.into_bytes());
        login::unauthorized(challenge.unwrap_or(HeaderValue::from_static("Digest")))
    }
}

/// The response that the password's owner gives (RFC 7616 §3.4.1).
fn expected(ha1: &[u8; 16], given: &Credentials, method: &Method) -> [u8; 16] {
    let ha2: [u8; 16] =
        Md5::new().chain_update(method.as_str()).chain_update(":").chain_update(&given.uri).finalize().into();
    let mut digest = Md5::new().chain_update(hex(ha1));
    for part in [&given.nonce[..], &given.count_text, &given.cnonce, b"auth", &hex(&ha2)] {
        digest = digest.chain_update(":").chain_update(part);
    }
    digest.finalize().into()
}

fn hex(bytes: &[u8; 16]) -> [u8; 32] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut out = [0; 32];
    for (pair, byte) in out.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
    out
}

/// 32 hexadecimal digits, in either case.
fn unhex(text: &[u8]) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if text.len() != 32 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
