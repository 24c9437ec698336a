//! The MD5 hash of htpasswd (`$apr1$`, Apache's) and of old crypt(3) (`$1$`), which differ by that word only.
//!
//! A public algorithm without a specification; the reference is apr_md5_encode of Apache's APR.

use md5::{Digest, Md5};

/// The alphabet of crypt(3)'s base64.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A hash in its three parts.
#[derive(Clone, Copy)]
pub(super) struct Md5Crypt<'a> {
    magic: &'static str,
    salt: &'a str,
    /// 22 characters.
    pub(super) digest: &'a str,
}

impl<'a> Md5Crypt<'a> {
    /// Takes `$apr1$salt$digest` or `$1$salt$digest` apart: a salt of at most 8 characters, a digest of 22.
    pub(super) fn parse(hash: &'a str) -> Option<Self> {
        let (magic, rest) = ["$apr1$", "$1$"].into_iter().find_map(|magic| Some((magic, hash.strip_prefix(magic)?)))?;
        let (salt, digest) = rest.split_once('$')?;
        let known = digest.len() == 22 && digest.bytes().all(|b| ALPHABET.contains(&b));
        (salt.len() <= 8 && known).then_some(Self { magic, salt, digest })
    }

    /// The digest that `password` has with this magic and salt.
    pub(super) fn digest_of(&self, password: &[u8]) -> String {
        let salt = self.salt.as_bytes();
        let inner = Md5::new().chain_update(password).chain_update(salt).chain_update(password).finalize();
        let mut outer = Md5::new().chain_update(password).chain_update(self.magic).chain_update(salt);
        for block in password.chunks(16) {
            outer.update(inner.get(..block.len()).unwrap_or_default());
        }
        let mut length = password.len();
        while length != 0 {
            outer.update(if length & 1 == 1 { &[0] } else { password.get(..1).unwrap_or_default() });
            length >>= 1;
        }
        let mut last: [u8; 16] = outer.finalize().into();
        for round in 0..1000 {
            let mut step = Md5::new();
            let odd = round & 1 == 1;
            step.update(if odd { password } else { &last });
            if round % 3 != 0 {
                step.update(salt);
            }
            if round % 7 != 0 {
                step.update(password);
            }
            step.update(if odd { &last[..] } else { password });
            last = step.finalize().into();
        }
        encode(last)
    }
}

fn encode(digest: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = digest;
    let mut out = String::with_capacity(22);
    for three in [[a, g, m], [b, h, n], [c, i, o], [d, j, p], [e, k, f]] {
        push(&mut out, three, 4);
    }
    push(&mut out, [0, 0, l], 2);
    out
}

/// Appends three bytes, six bits at a time, the lowest first.
fn push(out: &mut String, [high, middle, low]: [u8; 3], characters: usize) {
    let mut bits = u32::from_be_bytes([0, high, middle, low]);
    for _ in 0..characters {
        out.extend(ALPHABET.get((bits & 0x3f) as usize).copied().map(char::from));
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_openssl_passwd() {
        for (password, hash) in VECTORS {
            let parts = Md5Crypt::parse(hash).unwrap();
            assert_eq!(parts.digest_of(password.as_bytes()), parts.digest, "{password} {hash}");
        }
    }

    #[test]
    fn what_is_no_hash() {
        for hash in ["", "$apr1$", "$apr1$salt", "$apr1$salt$short", "$apr1$saltsalts$qHH3lpZYrpiHDbFRRuXoQ.", "$2$a$b"]
        {
            assert!(Md5Crypt::parse(hash).is_none(), "{hash}");
        }
    }

    /// Made by `openssl passwd -apr1` and `-1`.
    const VECTORS: &[(&str, &str)] = &[
        ("secret", "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0"),
        ("secret", "$apr1$x$12YdXEY0/hH4rDNkmZupO0"),
        ("secret", "$1$saltsalt$9xy1btjgzLYfb7hivXtC//"),
        ("secret", "$1$x$0AXOYAuOs.uNCmG2qRI8W."),
        ("", "$apr1$saltsalt$a8ml/vK5HEjiZ5oypDWA7/"),
        ("", "$apr1$x$tMwYqBfQwi3FYAr0aJc8M/"),
        ("", "$1$saltsalt$5Jhcit4zN9UlGiA0txPkO0"),
        ("", "$1$x$fwjfZtMwarkdetsjiQreU1"),
        ("a", "$apr1$saltsalt$OEnK0QmmvoDzFw9W2yFYT/"),
        ("a", "$apr1$x$16j9.5e7KiXmuYFAYpPJM/"),
        ("a", "$1$saltsalt$MzDjbImyzEz2m0NTiPzNW/"),
        ("a", "$1$x$P8VObTrxaqT4VBmnH06P8."),
        ("0123456789abcdef", "$apr1$saltsalt$noZiBycUL1t9WTQEO7/nr1"),
        ("0123456789abcdef", "$apr1$x$7smHx4qPUie9g3UogSau.0"),
        ("0123456789abcdef", "$1$saltsalt$xXjYoUe111lGDGm6AfLHb1"),
        ("0123456789abcdef", "$1$x$2EdUsAP9rneKidv.e/Jcn."),
        ("a much longer password, of more than sixteen and thirty-two bytes", "$apr1$saltsalt$HGx.xnN8fZ4hhzF7txodd1"),
        ("a much longer password, of more than sixteen and thirty-two bytes", "$apr1$x$TxCjxZ7fbyKg1aG5g.s3a1"),
        ("a much longer password, of more than sixteen and thirty-two bytes", "$1$saltsalt$GztlZW2YH8F4ykoj5KBSg0"),
        ("a much longer password, of more than sixteen and thirty-two bytes", "$1$x$kwZShiug1uqSETj3OEuNN1"),
        ("grün", "$apr1$saltsalt$SmHxxO0JMgX0mABkrWrvJ1"),
        ("grün", "$apr1$x$wymFDvG8tQhq4CTqBSznA1"),
        ("grün", "$1$saltsalt$OpmScDKLUQHgsygVC5oAZ."),
        ("grün", "$1$x$BPGa3jmd8xxfjVpyj/XYy/"),
    ];
}
