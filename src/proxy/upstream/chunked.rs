//! Chunked framing of an endpoint's answer (RFC 9112 §7.1), read strictly: anything odd breaks the answer off, and
//! the connection is never used again.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A chunk-size line with its extension may be so long.
const LONGEST_SIZE_LINE: usize = 1_024;
/// The trailer section may be so long.
const LONGEST_TRAILERS: usize = 16 * 1_024;

/// What the next bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Chunked {
    /// A chunk-size line.
    #[default]
    Size,
    /// So many bytes of a chunk's data.
    Data(u64),
    /// The line end behind a chunk's data.
    DataEnd,
    /// The trailer section behind the last chunk.
    Trailers,
    /// Nothing more.
    Done,
}

/// What came out of the bytes.
#[derive(Debug, PartialEq)]
pub(crate) enum Piece {
    /// Bytes of the body.
    Data(Bytes),
    /// Trailer fields; the body is over.
    Trailers(HeaderMap),
    /// The body is over.
    End,
    /// More bytes are needed.
    NeedMore,
}

impl Chunked {
    /// Takes the next piece out of the buffer.
    ///
    /// # Errors
    /// What is wrong with the framing.
    pub(crate) fn next(&mut self, buffer: &mut BytesMut) -> Result<Piece, &'static str> {
        loop {
            match *self {
                Self::Size => {
                    let Some(line) = line(buffer, LONGEST_SIZE_LINE)? else { return Ok(Piece::NeedMore) };
                    let size = size(&line)?;
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(left) => {
                    if buffer.is_empty() {
                        return Ok(Piece::NeedMore);
                    }
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
                    let left = left - take as u64;
                    *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                    return Ok(Piece::Data(buffer.split_to(take).freeze()));
                }
                Self::DataEnd => match (buffer.first(), buffer.get(1)) {
                    (Some(b'\r'), Some(b'\n')) => {
                        buffer.advance(2);
                        *self = Self::Size;
                    }
                    (None, _) | (Some(b'\r'), None) => return Ok(Piece::NeedMore),
                    _ => return Err("a chunk is longer than its size says"),
                },
                Self::Trailers => {
                    if buffer.starts_with(b"\r\n") {
                        buffer.advance(2);
                        *self = Self::Done;
                        return Ok(Piece::End);
                    }
                    let Some(end) = memchr::memmem::find(buffer, b"\r\n\r\n") else {
                        return if buffer.len() > LONGEST_TRAILERS {
                            Err("the trailers are too long")
                        } else {
                            Ok(Piece::NeedMore)
                        };
                    };
                    let section = buffer.split_to(end + 4);
                    *self = Self::Done;
                    return trailers(&section).map(Piece::Trailers);
                }
                Self::Done => return Ok(Piece::End),
            }
        }
    }
}

/// The bytes up to a CR LF, without it. A lone LF is no line end here.
fn line(buffer: &mut BytesMut, longest: usize) -> Result<Option<BytesMut>, &'static str> {
    let Some(at) = memchr::memchr(b'\n', buffer) else {
        return if buffer.len() > longest { Err("a chunk-size line is too long") } else { Ok(None) };
    };
    if at > longest {
        return Err("a chunk-size line is too long");
    }
    let mut line = buffer.split_to(at + 1);
    if !line.ends_with(b"\r\n") {
        return Err("a chunk-size line ends in a lone line feed");
    }
    line.truncate(at - 1);
    Ok(Some(line))
}

fn size(line: &[u8]) -> Result<u64, &'static str> {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default();
    // RFC 9112 §7.1.1 lets white space stand only before an extension.
    let digits = if digits.len() < line.len() { digits.trim_ascii_end() } else { digits };
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err("a chunk size is not a hexadecimal number");
    }
    if line.iter().any(|b| (*b < 0x20 && *b != b'\t') || *b == 0x7f) {
        return Err("a chunk extension has a control byte");
    }
    let text = std::str::from_utf8(digits).map_err(|_| "a chunk size is not a hexadecimal number")?;
    u64::from_str_radix(text, 16).map_err(|_| "a chunk size is too large")
}

/// Fields that must not come behind a body (RFC 9110 §6.5.1): framing, routing, authentication.
pub(crate) fn forbidden_trailer(name: &HeaderName) -> bool {
    const FORBIDDEN: [&str; 17] = [
        "authorization",
        "cache-control",
        "connection",
        "content-encoding",
        "content-length",
        "content-range",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    let name = &*name.as_str().replace('_', "-");
    FORBIDDEN.contains(&name) || name.starts_with("x-forwarded-") || name == "x-real-ip" || name == "forwarded"
}

fn trailers(section: &[u8]) -> Result<HeaderMap, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let fields = match httparse::parse_headers(section, &mut headers) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        _ => return Err("the trailers can't be read"),
    };
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| "a trailer's name can't be read")?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_| "a trailer's value can't be read")?;
        if !forbidden_trailer(&name) {
            map.append(name, value);
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], step: usize) -> Result<(Vec<u8>, Option<HeaderMap>, usize), &'static str> {
        let (mut chunked, mut buffer, mut body, mut fed) = (Chunked::default(), BytesMut::new(), Vec::new(), 0);
        loop {
            match chunked.next(&mut buffer)? {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::Trailers(map) => return Ok((body, Some(map), bytes.len() - fed + buffer.len())),
                Piece::End => return Ok((body, None, bytes.len() - fed + buffer.len())),
                Piece::NeedMore if fed == bytes.len() => return Err("incomplete"),
                Piece::NeedMore => {
                    let to = (fed + step).min(bytes.len());
                    buffer.extend_from_slice(&bytes[fed..to]);
                    fed = to;
                }
            }
        }
    }

    #[test]
    fn a_body_in_any_pieces() {
        let wire = b"5;x=y\r\nhello\r\n006 ; z\r\n world\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\nNEXT";
        for step in 1..=wire.len() {
            let (body, trailers, left) = read(wire, step).unwrap();
            assert_eq!(body, b"hello world");
            let trailers = trailers.unwrap();
            assert_eq!((trailers.len(), trailers.get("x-sum").unwrap().as_bytes()), (1, &b"1"[..]));
            assert_eq!(left, 4, "the bytes behind the body are left alone");
        }
        assert_eq!(read(b"0\r\n\r\n", 1), Ok((vec![], None, 0)));
    }

    #[test]
    fn what_is_refused() {
        for wire in [
            &b"5\nhello\r\n0\r\n\r\n"[..],
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b" 5\r\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b"5;a\x00\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"10000000000000000\r\n",
            b"0\r\nbad trailer\r\n\r\n",
        ] {
            assert!(matches!(read(wire, 3), Err(why) if why != "incomplete"), "{:?}", String::from_utf8_lossy(wire));
        }
        assert!(read(&[b'1'; 2_000], 100).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(wire in proptest::collection::vec(any::<u8>(), 0..200), step in 1_usize..50) {
            let _ = read(&wire, step);
        }
    }
}
