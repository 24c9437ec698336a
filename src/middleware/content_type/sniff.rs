//! What a body is, by its first bytes: the WHATWG MIME Sniffing Standard as Go's `http.DetectContentType` has it, which
//! is what Traefik's `contentType` gives. Looks at 512 bytes at most, and always gives a type.

/// So many bytes are looked at.
const MOST: usize = 512;

/// Tags that make a text HTML, behind white space and before a space or `>`; in any letter case.
const TAGS: [&[u8]; 17] = [
    b"<!DOCTYPE HTML",
    b"<HTML",
    b"<HEAD",
    b"<SCRIPT",
    b"<IFRAME",
    b"<H1",
    b"<DIV",
    b"<FONT",
    b"<TABLE",
    b"<A",
    b"<STYLE",
    b"<TITLE",
    b"<B",
    b"<BODY",
    b"<BR",
    b"<P",
    b"<!--",
];

/// A type, and the bytes it is known by: each at its place. No bytes at a place ask for so many before it.
type Signature = (&'static str, &'static [(usize, &'static [u8])]);

/// Before video/mp4, which has rules of its own.
const FIRST: [Signature; 19] = [
    ("application/pdf", &[(0, b"%PDF-")]),
    ("application/postscript", &[(0, b"%!PS-Adobe-")]),
    ("text/plain; charset=utf-16be", &[(0, b"\xFE\xFF"), (4, b"")]),
    ("text/plain; charset=utf-16le", &[(0, b"\xFF\xFE"), (4, b"")]),
    ("text/plain; charset=utf-8", &[(0, b"\xEF\xBB\xBF"), (4, b"")]),
    ("image/x-icon", &[(0, b"\0\0\x01\0")]),
    ("image/x-icon", &[(0, b"\0\0\x02\0")]),
    ("image/bmp", &[(0, b"BM")]),
    ("image/gif", &[(0, b"GIF87a")]),
    ("image/gif", &[(0, b"GIF89a")]),
    ("image/webp", &[(0, b"RIFF"), (8, b"WEBPVP")]),
    ("image/png", &[(0, b"\x89PNG\r\n\x1A\n")]),
    ("image/jpeg", &[(0, b"\xFF\xD8\xFF")]),
    ("audio/aiff", &[(0, b"FORM"), (8, b"AIFF")]),
    ("audio/mpeg", &[(0, b"ID3")]),
    ("application/ogg", &[(0, b"OggS\0")]),
    ("audio/midi", &[(0, b"MThd\0\0\0\x06")]),
    ("video/avi", &[(0, b"RIFF"), (8, b"AVI ")]),
    ("audio/wave", &[(0, b"RIFF"), (8, b"WAVE")]),
];

/// After video/mp4.
const LAST: [Signature; 12] = [
    ("video/webm", &[(0, b"\x1A\x45\xDF\xA3")]),
    ("application/vnd.ms-fontobject", &[(34, b"LP")]),
    ("font/ttf", &[(0, b"\0\x01\0\0")]),
    ("font/otf", &[(0, b"OTTO")]),
    ("font/collection", &[(0, b"ttcf")]),
    ("font/woff", &[(0, b"wOFF")]),
    ("font/woff2", &[(0, b"wOF2")]),
    ("application/x-gzip", &[(0, b"\x1F\x8B\x08")]),
    ("application/zip", &[(0, b"PK\x03\x04")]),
    ("application/x-rar-compressed", &[(0, b"Rar!\x1A\x07\0")]),
    ("application/x-rar-compressed", &[(0, b"Rar!\x1A\x07\x01\0")]),
    ("application/wasm", &[(0, b"\0asm")]),
];

/// The type of a body that begins so.
pub(super) fn sniff(begin: &[u8]) -> &'static str {
    let begin = begin.get(..MOST).unwrap_or(begin);
    let white = begin.iter().take_while(|b| matches!(b, b'\t' | b'\n' | 0x0c | b'\r' | b' ')).count();
    let text = begin.get(white..).unwrap_or_default();
    if TAGS.iter().any(|tag| is_tag(text, tag)) {
        return "text/html; charset=utf-8";
    }
    if text.starts_with(b"<?xml") {
        return "text/xml; charset=utf-8";
    }
    let known = |signatures: &'static [Signature]| {
        let fits = |(at, bytes): &(usize, &[u8])| begin.get(*at..).is_some_and(|rest| rest.starts_with(bytes));
        signatures.iter().find(|(_, signs)| signs.iter().all(fits)).map(|(name, _)| *name)
    };
    known(&FIRST)
        .or_else(|| is_mp4(begin).then_some("video/mp4"))
        .or_else(|| known(&LAST))
        .unwrap_or(if text.iter().any(is_binary) { "application/octet-stream" } else { "text/plain; charset=utf-8" })
}

fn is_tag(text: &[u8], tag: &[u8]) -> bool {
    let Some((name, rest)) = text.split_at_checked(tag.len()) else { return false };
    name.eq_ignore_ascii_case(tag) && matches!(rest.first(), Some(b' ' | b'>'))
}

/// A box `ftyp` that is there in full and names a brand that begins with `mp4` (§6.2.1 of the standard).
fn is_mp4(begin: &[u8]) -> bool {
    let Some((size, rest)) = begin.split_first_chunk::<4>() else { return false };
    let size = usize::try_from(u32::from_be_bytes(*size)).unwrap_or(usize::MAX);
    if begin.len() < 12 || size % 4 != 0 || size > begin.len() || !rest.starts_with(b"ftyp") {
        return false;
    }
    // Behind the first brand stands a version that is no brand.
    let brands = (8..size).step_by(4).filter(|at| *at != 12);
    brands.filter_map(|at| begin.get(at..)).any(|brand| brand.starts_with(b"mp4"))
}

/// A byte that no text has (§3 of the standard: a binary data byte).
fn is_binary(byte: &u8) -> bool {
    matches!(byte, 0..=0x08 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)
}

#[cfg(test)]
mod tests;
