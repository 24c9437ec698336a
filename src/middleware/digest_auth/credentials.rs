//! What a client gives in `Authorization: Digest …` (RFC 7616 §3.4), read strictly: what is missing, doubled or of
//! another kind than was asked for gives nothing.

use super::unhex;

/// The parameters of a proof.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) username: Vec<u8>,
    pub(super) realm: Vec<u8>,
    pub(super) nonce: Vec<u8>,
    pub(super) uri: Vec<u8>,
    pub(super) cnonce: Vec<u8>,
    pub(super) response: [u8; 16],
    /// `nc`: how many requests the client has made with this nonce.
    pub(super) count: u32,
    /// The same as it stands in the proof.
    pub(super) count_text: Vec<u8>,
}

impl Credentials {
    /// Nothing for another scheme, another algorithm or quality of protection than MD5 and `auth`, or what can't be
    /// read.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, mut rest) = value.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"digest") || rest.first() != Some(&b' ') {
            return None;
        }
        let mut found: Vec<(String, Vec<u8>)> = Vec::with_capacity(12);
        loop {
            let (name, value);
            (name, value, rest) = parameter(rest)?;
            if found.iter().any(|(other, _)| *other == name) {
                return None;
            }
            found.push((name, value));
            match rest.split_first() {
                None => break,
                Some((b',', more)) => rest = more,
                Some(_) => return None,
            }
        }
        let mut take = |name: &str| {
            let at = found.iter().position(|(other, _)| other == name)?;
            Some(found.swap_remove(at).1)
        };
        // Without `algorithm` it is MD5 (RFC 7616 §3.3); without `qop` it would be of RFC 2069, which knows no count.
        let algorithm = take("algorithm");
        if algorithm.is_some_and(|a| !a.eq_ignore_ascii_case(b"md5")) || take("qop")? != b"auth" {
            return None;
        }
        // A hashed name was not asked for, and nobody is found by one.
        if take("userhash").is_some_and(|hashed| !hashed.eq_ignore_ascii_case(b"false")) {
            return None;
        }
        let count_text = take("nc")?;
        if count_text.len() != 8 || !count_text.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        Some(Self {
            username: take("username")?,
            realm: take("realm")?,
            nonce: take("nonce")?,
            uri: take("uri")?,
            cnonce: take("cnonce")?,
            response: unhex(&take("response")?)?,
            count: u32::from_str_radix(std::str::from_utf8(&count_text).ok()?, 16).ok()?,
            count_text,
        })
    }
}

/// One `name=value`, the value a token or a quoted string (RFC 9110 §11.2), with white space around it; and what comes
/// after.
fn parameter(text: &[u8]) -> Option<(String, Vec<u8>, &[u8])> {
    let text = text.trim_ascii_start();
    let end = text.iter().position(|byte| !is_token(*byte))?;
    let (name, rest) = text.split_at_checked(end).filter(|(name, _)| !name.is_empty())?;
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(quoted) => unquote(quoted)?,
        None => {
            let end = rest.iter().position(|byte| !is_token(*byte)).unwrap_or(rest.len());
            let (value, rest) = rest.split_at_checked(end).filter(|(value, _)| !value.is_empty())?;
            (value.to_vec(), rest)
        }
    };
    Some((String::from_utf8(name.to_ascii_lowercase()).ok()?, value, rest.trim_ascii_start()))
}

/// A quoted string whose first quote is gone already, and what comes after its last.
fn unquote(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut value = Vec::new();
    let mut bytes = text.iter().copied().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, text.get(at + 1..)?)),
            b'\\' => value.push(bytes.next()?.1),
            _ => value.push(byte),
        }
    }
    None
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WHOLE: &str = "username=\"a \\\"b\\\"\", realm=r, nonce=\"n\", uri=\"/x?y=1\", qop=auth, nc=0000000a, \
                         cnonce=\"c\" , response=\"0123456789abcdef0123456789ABCDEF\"";

    fn parse(parameters: &str) -> Option<Credentials> {
        Credentials::parse(format!("Digest {parameters}").as_bytes())
    }

    #[test]
    fn a_whole_one_is_read() {
        for text in
            [WHOLE.to_owned(), format!("algorithm=MD5,{WHOLE}"), format!("{WHOLE}, algorithm=\"md5\", opaque=\"\"")]
        {
            let given = parse(&text).unwrap();
            assert_eq!((given.username.as_slice(), given.realm.as_slice()), (&b"a \"b\""[..], &b"r"[..]));
            assert_eq!((given.nonce.as_slice(), given.uri.as_slice()), (&b"n"[..], &b"/x?y=1"[..]));
            assert_eq!((given.count, given.count_text.as_slice()), (10, &b"0000000a"[..]));
            assert_eq!(given.response[..2], [0x01, 0x23]);
        }
    }

    #[test]
    fn what_is_not_whole_gives_nothing() {
        let names = ["username", "realm", "nonce", "uri", "qop", "nc", "cnonce", "response"];
        for name in names {
            let without: Vec<&str> = WHOLE.split(", ").filter(|p| !p.trim().starts_with(&format!("{name}="))).collect();
            assert!(parse(&without.join(", ")).is_none(), "{name}");
            assert!(parse(&format!("{WHOLE}, {name}=x")).is_none(), "{name} twice");
        }
        for (from, to) in [
            ("qop=auth", "qop=auth-int"),
            ("qop=auth", "qop=\"auth,auth-int\""),
            ("nc=0000000a", "nc=a"),
            ("nc=0000000a", "nc=+000000a"),
            ("nc=0000000a", "nc=0000000g"),
            ("ABCDEF\"", "ABCDE\""),
            ("ABCDEF\"", "ABCDEg\""),
            ("ABCDEF\"", "ABCDEF"),
            ("realm=r", "realm="),
            ("realm=r", "realm"),
            ("realm=r", "realm=r x"),
            ("realm=r", "=r"),
        ] {
            assert!(WHOLE.contains(from) && parse(&WHOLE.replace(from, to)).is_none(), "{to}");
        }
        for extra in ["algorithm=SHA-256", "algorithm=MD5-sess", "userhash=true", "", ","] {
            assert!(parse(&format!("{WHOLE}, {extra}")).is_none(), "{extra}");
        }
        assert!(parse(&format!("{WHOLE}, userhash=false")).is_some());
        for value in ["", "Digest", "Digest ", "Basic YTpi", &format!("Digests {WHOLE}"), &format!("Digest{WHOLE}")] {
            assert!(Credentials::parse(value.as_bytes()).is_none(), "{value}");
        }
    }

    proptest! {
        #[test]
        fn it_never_panics(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Credentials::parse(&value);
            let _ = Credentials::parse(&[b"Digest ", &value[..]].concat());
        }
    }
}
