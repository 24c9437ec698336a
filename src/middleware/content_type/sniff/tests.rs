use proptest::prelude::*;

use super::*;

#[test]
fn as_go_names_them() {
    let mut mp4 = *b"\0\0\0\x18ftypisom\0\0\x02\0iso2mp41";
    let eot = [&[0; 34][..], b"LP"].concat();
    for (begin, kind) in [
        (&b""[..], "text/plain; charset=utf-8"),
        (b"some text\n\x1b[0m", "text/plain; charset=utf-8"),
        (b"\x01\x02\x03", "application/octet-stream"),
        (b" \t\r\n<HtMl>", "text/html; charset=utf-8"),
        (b"<!doctype html>", "text/html; charset=utf-8"),
        (b"<!-- x", "text/html; charset=utf-8"),
        (b"<!--x", "text/plain; charset=utf-8"),
        (b"<html", "text/plain; charset=utf-8"),
        (b"<bold>", "text/plain; charset=utf-8"),
        (b"<b>", "text/html; charset=utf-8"),
        (b"\n<?xml version", "text/xml; charset=utf-8"),
        (b"<?XML", "text/plain; charset=utf-8"),
        (b"{\"json\":1}", "text/plain; charset=utf-8"),
        (b"%PDF-1.4", "application/pdf"),
        (b"%!PS-Adobe-3", "application/postscript"),
        (b"\xFE\xFF\0a", "text/plain; charset=utf-16be"),
        (b"\xFF\xFEa\0", "text/plain; charset=utf-16le"),
        (b"\xEF\xBB\xBFa", "text/plain; charset=utf-8"),
        (b"\0\0\x01\0x", "image/x-icon"),
        (b"BMx", "image/bmp"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a;", "image/gif"),
        (b"RIFF\x10\x20\x30\x40WEBPVP8", "image/webp"),
        (b"\x89PNG\r\n\x1a\n\0", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"FORM\0\0\0\x01AIFFx", "audio/aiff"),
        (b"ID3\x03", "audio/mpeg"),
        (b"OggS\0", "application/ogg"),
        (b"MThd\0\0\0\x06\0", "audio/midi"),
        (b"RIFF\0\0\0\0AVI x", "video/avi"),
        (b"RIFF\0\0\0\0WAVEx", "audio/wave"),
        (&mp4, "video/mp4"),
        (b"\x1a\x45\xdf\xa3", "video/webm"),
        (&eot, "application/vnd.ms-fontobject"),
        (b"\0\x01\0\0", "font/ttf"),
        (b"OTTO", "font/otf"),
        (b"ttcf", "font/collection"),
        (b"wOFF", "font/woff"),
        (b"wOF2", "font/woff2"),
        (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"PK\x03\x04", "application/zip"),
        (b"Rar!\x1a\x07\0", "application/x-rar-compressed"),
        (b"Rar!\x1a\x07\x01\0", "application/x-rar-compressed"),
        (b"\0asm\x01", "application/wasm"),
    ] {
        assert_eq!(sniff(begin), kind, "{:?}", String::from_utf8_lossy(begin));
    }
    mp4[3] = 0x17;
    assert_eq!(sniff(&mp4), "application/octet-stream", "a box of an odd size");
}

#[test]
fn the_first_512_bytes_decide() {
    let mut long = vec![b'a'; 600];
    long[511] = 0;
    assert_eq!(sniff(&long), "application/octet-stream");
    long.swap(511, 512);
    assert_eq!(sniff(&long), "text/plain; charset=utf-8");
}

proptest! {
    #[test]
    fn never_panics(begin in proptest::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(sniff(&begin).contains('/'));
    }
}
