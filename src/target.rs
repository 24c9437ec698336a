//! The path of a request: one normalisation, used for match, auth, rewrite and forward alike.
//!
//! [`Target`] starts as what the client sent and holds the normalised path; a middleware that rewrites it goes
//! through [`Target::rewrite`], which normalises again and refuses what leaves the root. The path that is forwarded is
//! the normalised one; rules are looked up by its [`comparable`] spelling, which no backend reads as another path.

use std::borrow::Cow;

use http::uri::PathAndQuery;

/// Why a path is refused. The answer is 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// `%` without two hex digits behind it.
    #[error("the path has an incomplete percent-encoding")]
    Escape,
    /// NUL or another control byte, raw or encoded as `%00`.
    #[error("the path has a control byte")]
    Control,
    /// A `#` in the request target (RFC 9112 §3.2: a target has no fragment).
    #[error("the request target has a fragment")]
    Fragment,
    /// A rewrite gave a path with `..` above `/`.
    #[error("the rewritten path leaves the root")]
    LeavesRoot,
    /// The target is not a path (`*`, or an authority).
    #[error("the request target is no path")]
    NotAPath,
}

/// The path and query of a request.
#[derive(Clone, Debug)]
pub struct Target {
    /// As hyper parsed it; its query is always the one in force.
    received: PathAndQuery,
    /// The normalised path where it differs from the received one.
    path: Option<String>,
    /// The path as rules compare it, where that differs from the normalised one.
    compared: Option<String>,
}

impl Target {
    /// Normalises what the client sent. Dot segments that would leave the root stop at it (RFC 3986 §5.2.4).
    ///
    /// # Errors
    /// [`PathError`] where the path can be read in two ways or not at all.
    pub fn new(received: PathAndQuery) -> Result<Self, PathError> {
        let path = match normalise(received.path(), AboveRoot::Clamp)? {
            // An absolute target may have no path at all (`http://host?query`): it is `/`, and is forwarded so.
            Cow::Borrowed(_) if !received.as_str().starts_with('/') => Some("/".to_owned()),
            Cow::Borrowed(_) => None,
            Cow::Owned(path) => Some(path),
        };
        let mut target = Self { received, path, compared: None };
        target.compare();
        Ok(target)
    }

    fn compare(&mut self) {
        self.compared = match comparable(self.path()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(compared) => Some(compared),
        };
    }

    /// The path that rules are compared with: see [`comparable`].
    pub fn compared(&self) -> &str {
        self.compared.as_deref().unwrap_or_else(|| self.path())
    }

    /// The normalised path.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or_else(|| self.received.path())
    }

    /// What the client sent, whatever has become of the path since.
    pub fn received(&self) -> &PathAndQuery {
        &self.received
    }

    /// The query without its `?`, as received.
    pub fn query(&self) -> Option<&str> {
        self.received.query()
    }

    /// The same path and query by https, as `--redirect-to-https` sends clients there.
    pub fn by_https(&self, host: &str, port: u16) -> String {
        let port = if port == 443 { String::new() } else { format!(":{port}") };
        let query = self.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("https://{host}{port}{}{query}", self.path())
    }

    /// Path and query as received, if the path was normal as it came and nothing has rewritten it.
    pub fn unchanged(&self) -> Option<&PathAndQuery> {
        self.path.is_none().then_some(&self.received)
    }

    /// Replaces the path, after normalising it. A missing leading `/` is added.
    ///
    /// # Errors
    /// [`PathError::LeavesRoot`] where `..` would climb above `/`; the others as in [`Target::new`].
    pub fn rewrite(&mut self, path: &str) -> Result<(), PathError> {
        let slashed = if path.starts_with('/') { Cow::Borrowed(path) } else { Cow::Owned(format!("/{path}")) };
        self.path = Some(normalise(&slashed, AboveRoot::Refuse)?.into_owned());
        self.compare();
        Ok(())
    }
}

/// What to do with a `..` that would leave the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AboveRoot {
    /// Stay at the root (RFC 3986 §5.2.4).
    Clamp,
    /// [`PathError::LeavesRoot`].
    Refuse,
}

/// The one normalisation: unreserved escapes decoded, hex upper-cased, what has no place in a path encoded (a raw
/// backslash, quotes, braces, anything that is not ASCII), dot segments resolved, repeated slashes merged. Reserved escapes (`%2F`, `%5C`, `%3B`, …) stay encoded and never count as separators. Borrows what is
/// normal already, which nearly every path is. Normalising twice gives the same as once.
///
/// # Errors
/// [`PathError`] for what has no reading.
pub fn normalise(path: &str, above: AboveRoot) -> Result<Cow<'_, str>, PathError> {
    if !path.starts_with('/') {
        return Err(PathError::NotAPath);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    resolve(&decode(path)?, above).map(Cow::Owned)
}

/// The bytes that stand in a compared path as they are: RFC 3986 `pchar`, and the slash.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which would refuse an index out of bounds")]
const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'='
            )
            || matches!(b, b':' | b'@' | b'/' | b';');
        byte += 1;
    }
    table
};

/// A normalised path in the one spelling that rules and requests are compared in. Escapes that any backend decodes
/// without changing the path's shape (`%40` for `@`) are decoded, and what a client has to escape (`é`, a space) is
/// escaped, so that no spelling of a path walks around a rule. Reserved escapes stay. Only compared, never forwarded: a
/// backend may tell `+` from `%2B`.
pub fn comparable(path: &str) -> Cow<'_, str> {
    let plain = |b: u8| PLAIN.get(usize::from(b)).copied().unwrap_or(false);
    if path.bytes().all(plain) {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len() + 8);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = path.get(at + 1..at + 3).filter(|_| byte == b'%');
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if b"!$&'()*+,=:@".contains(&decoded) => {
                out.push(char::from(decoded));
                at += 3;
            }
            Some(_) => {
                out.push_str(path.get(at..at + 3).unwrap_or_default());
                at += 3;
            }
            None if plain(byte) => {
                out.push(char::from(byte));
                at += 1;
            }
            None => {
                out.push_str(&format!("%{byte:02X}"));
                at += 1;
            }
        }
    }
    Cow::Owned(out)
}

/// A [`comparable`] path as authors of regular expressions think of it, and as Traefik matches them: what a client has to
/// escape (`é`, a space, a brace) is plain. What would change the path's shape (`%2F`, `%25`, `%3B`), control bytes and
/// bytes that are no UTF-8 stay escaped. Only matched, never forwarded.
pub fn readable(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, escapes) = rest.split_at(at);
        out.push_str(plain);
        let run: Vec<u8> = escapes.as_bytes().chunks_exact(3).map_while(escape).collect();
        if run.is_empty() {
            out.push('%');
            rest = escapes.get(1..).unwrap_or_default();
            continue;
        }
        for chunk in run.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() || "/?#%;".contains(c) {
                    push_escaped(&mut out, c.encode_utf8(&mut [0; 4]).as_bytes());
                } else {
                    out.push(c);
                }
            }
            push_escaped(&mut out, chunk.invalid());
        }
        rest = escapes.get(run.len() * 3..).unwrap_or_default();
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The byte of `%` and two hex digits.
fn escape(text: &[u8]) -> Option<u8> {
    match text {
        [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => Some(hex(*high) << 4 | hex(*low)),
        _ => None,
    }
}

fn push_escaped(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("%{byte:02X}"));
    }
}

/// Text of a user as it stands in a normalised path: unreserved characters plain, hex digits upper case, and encoded
/// what may not stand in a path (RFC 3986 §3.3): a space, `é`, `?`, a `%` without two hex digits behind it.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        let (byte, escaped) = match (byte, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = after;
                (hex(*high) << 4 | hex(*low), true)
            }
            _ => (*byte, false),
        };
        let unreserved = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        if unreserved || (!escaped && PLAIN.get(usize::from(byte)).copied().unwrap_or(false)) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// Whether every `%` has two hex digits behind it.
pub fn escapes_are_whole(text: &str) -> bool {
    let whole = |after: &str| after.get(..2).is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
    text.split('%').skip(1).all(whole)
}

/// Whether a byte has no place in a path (RFC 3986 §3.3) and is still sent there as it is. A backend may read it as
/// another one (`\` as `/`), and Go encodes it: so do we. Brackets, which Go leaves alone, stay.
fn is_odd(byte: u8) -> bool {
    matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80..)
}

/// A quick look that says yes only to what is surely normal.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        if byte == b'%'
            || !(0x21..0x7f).contains(&byte)
            || byte == b'#'
            || is_odd(byte)
            || (previous == b'/' && (byte == b'/' || byte == b'.'))
        {
            return false;
        }
        previous = byte;
    }
    true
}

fn decode(path: &str) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (plain, escape) = rest.split_at(at);
        push_plain(&mut out, plain)?;
        let digits = escape.get(1..3).ok_or(PathError::Escape)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| PathError::Escape)?;
        if digits.starts_with('+') {
            return Err(PathError::Escape);
        }
        match byte {
            0 => return Err(PathError::Control),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    push_plain(&mut out, rest)?;
    Ok(out)
}

fn push_plain(out: &mut String, plain: &str) -> Result<(), PathError> {
    if plain.contains('#') {
        return Err(PathError::Fragment);
    }
    if plain.bytes().any(|b| b < 0x21 || b == 0x7f) {
        return Err(PathError::Control);
    }
    if !plain.bytes().any(is_odd) {
        out.push_str(plain);
        return Ok(());
    }
    for byte in plain.bytes() {
        if is_odd(byte) {
            out.push_str(&format!("%{byte:02X}"));
        } else {
            out.push(char::from(byte));
        }
    }
    Ok(())
}

/// Merges slashes and resolves dot segments; a final `.`, `..` or empty segment leaves a final slash.
fn resolve(path: &str, above: AboveRoot) -> Result<String, PathError> {
    let mut kept: Vec<&str> = Vec::new();
    let mut slash_at_end = false;
    for segment in path.split('/').skip(1) {
        slash_at_end = true;
        match segment {
            "" | "." => {}
            ".." => {
                if kept.pop().is_none() && above == AboveRoot::Refuse {
                    return Err(PathError::LeavesRoot);
                }
            }
            _ => {
                kept.push(segment);
                slash_at_end = false;
            }
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if slash_at_end || kept.is_empty() {
        out.push('/');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> Result<String, PathError> {
        normalise(path, AboveRoot::Clamp).map(Cow::into_owned)
    }

    #[test]
    fn normal_paths_are_borrowed() {
        for path in ["/", "/a", "/a/b.c/", "/a;b=c/%", "/~x"] {
            if path.contains('%') {
                assert_eq!(normal(path), Err(PathError::Escape));
            } else {
                assert!(matches!(normalise(path, AboveRoot::Clamp), Ok(Cow::Borrowed(_))), "{path}");
            }
        }
    }

    #[test]
    fn each_rule() {
        for (from, to) in [
            ("/a//b", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.hidden", "/.hidden"),
            ("/..a", "/..a"),
            ("/%61%2d%7E", "/a-~"),
            ("/%2e%2e/b", "/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2F..%2fb", "/a%2F..%2Fb"),
            ("/%5c%3b%3f%23%25", "/%5C%3B%3F%23%25"),
            ("/%252e", "/%252e"),
            ("//", "/"),
            ("/a\\..\\b", "/a%5C..%5Cb"),
            ("/é{\"x\"}|^`<>", "/%C3%A9%7B%22x%22%7D%7C%5E%60%3C%3E"),
            ("/a[1]", "/a[1]"),
        ] {
            assert_eq!(normal(from).as_deref(), Ok(to), "{from}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (path, why) in [
            ("/%", PathError::Escape),
            ("/%4", PathError::Escape),
            ("/%zz", PathError::Escape),
            ("/%+1", PathError::Escape),
            ("/%00", PathError::Control),
            ("/a\x01", PathError::Control),
            ("/a#b", PathError::Fragment),
            ("*", PathError::NotAPath),
        ] {
            assert_eq!(normal(path), Err(why), "{path:?}");
        }
    }

    #[test]
    fn a_rewrite_that_leaves_the_root_is_refused() {
        let mut target = Target::new(PathAndQuery::from_static("/api../x?q=1")).unwrap();
        assert_eq!(target.rewrite("../x"), Err(PathError::LeavesRoot));
        assert_eq!(target.path(), "/api../x");
        target.rewrite("a/./b").unwrap();
        assert_eq!((target.path(), target.query()), ("/a/b", Some("q=1")));
        assert!(target.unchanged().is_none());
    }

    #[test]
    fn no_spelling_walks_around_a_rule() {
        for c in (0x21_u8..0x7f).map(char::from).chain(['é', '€']) {
            if "/\\;?#%".contains(c) {
                continue;
            }
            let literal = comparable(&format!("/{c}")).into_owned();
            let escaped: String = c.to_string().bytes().map(|b| format!("%{b:02x}")).collect();
            let escaped = normal(&format!("/{escaped}")).unwrap();
            if c != '.' {
                assert_eq!(comparable(&escaped), literal, "{c}");
            }
        }
        for reserved in ["/a%2Fb", "/a%5Cb", "/a%3Bb", "/a%3Fb", "/a%23b", "/a%25b"] {
            assert_eq!(comparable(reserved), reserved);
        }
    }

    #[test]
    fn a_readable_path_keeps_its_shape() {
        for (path, plain) in [
            ("/a", "/a"),
            ("/caf%C3%A9%20%7Bx%7D%22%5C", "/café {x}\"\\"),
            ("/a%2Fb%3B%3F%23%25%5B", "/a%2Fb%3B%3F%23%25["),
            ("/%0A%7F%C2%85", "/%0A%7F%C2%85"),
            ("/%FF%C3x%C3%A9%E2%82", "/%FF%C3xé%E2%82"),
            ("/%252F", "/%252F"),
        ] {
            assert_eq!(readable(path), plain, "{path}");
        }
    }

    proptest! {
        #[test]
        fn comparing_twice_is_comparing_once(path in "/[a-c./%0-9A-F@é+ ]{0,24}") {
            if let Ok(once) = normal(&path) {
                let once = comparable(&once).into_owned();
                prop_assert_eq!(comparable(&once), once.as_str());
            }
        }

        #[test]
        fn twice_is_once(path in "/[a-c./%0-9A-F#]{0,24}") {
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once).unwrap(), once.clone());
                prop_assert!(once.starts_with('/') && !once.contains("//") && !once.split('/').any(|s| s == "." || s == ".."));
            }
        }

        #[test]
        fn never_panics(path in "\\PC{0,40}") {
            let _ = normalise(&path, AboveRoot::Refuse);
        }
    }
}
