//! Which content types are compressed.

use http::{HeaderMap, HeaderValue, header};

use crate::middleware::InvalidField;

/// The rule of a Middleware: all types but some, or only some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Types {
    /// `excludedContentTypes`, often none.
    AllBut(Vec<Pattern>),
    /// `includedContentTypes`
    Only(Vec<Pattern>),
}

/// A media type without parameters, in lower case, or all types up to the slash (`image/*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    Exactly(String),
    /// With its slash; empty for `*/*`.
    Below(String),
}

impl Types {
    pub(super) fn new(excluded: &[String], included: &[String]) -> Result<Self, InvalidField> {
        let read = |field: &str, list: &[String]| -> Result<Vec<Pattern>, InvalidField> {
            let one = |(index, text): (usize, &String)| {
                let message = || format!("{text:?} is no content type");
                let help = "write one such as text/html, or image/* for all of a kind";
                Pattern::read(text).ok_or_else(|| InvalidField::new(format!("{field}[{index}]"), message(), help))
            };
            list.iter().enumerate().map(one).collect()
        };
        let (excluded, included) = (read("excludedContentTypes", excluded)?, read("includedContentTypes", included)?);
        match (excluded.is_empty(), included.is_empty()) {
            (_, true) => Ok(Self::AllBut(excluded)),
            (true, false) => Ok(Self::Only(included)),
            (false, false) => {
                let message = "excludedContentTypes and includedContentTypes can't stand together";
                Err(InvalidField::new("excludedContentTypes", message, "keep one of the two lists"))
            }
        }
    }

    /// Whether a request of this type has its answer left alone.
    pub(super) fn request_is_excluded(&self, headers: &HeaderMap) -> bool {
        let Some(found) = headers.get(header::CONTENT_TYPE).and_then(media_type) else { return false };
        let listed = matches!(self, Self::AllBut(list) if list.iter().any(|pattern| pattern.is(&found)));
        listed || is_grpc(&found)
    }

    /// Whether answers of this type are compressed. Those without a type are, unless only some types are.
    pub(super) fn suits(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::CONTENT_TYPE) else { return matches!(self, Self::AllBut(_)) };
        let Some(found) = media_type(value).filter(|found| !is_grpc(found)) else { return false };
        match self {
            Self::AllBut(list) => !list.iter().any(|pattern| pattern.is(&found)) && !is_compressed_already(&found),
            Self::Only(list) => list.iter().any(|pattern| pattern.is(&found)),
        }
    }
}

impl Pattern {
    fn read(text: &str) -> Option<Self> {
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let (kind, below) = essence.split_once('/')?;
        if !is_token(kind) || !is_token(below) {
            return None;
        }
        Some(match (kind, below) {
            ("*", "*") => Self::Below(String::new()),
            ("*", _) => return None,
            (kind, "*") => Self::Below(format!("{kind}/")),
            _ => Self::Exactly(essence),
        })
    }

    fn is(&self, found: &str) -> bool {
        match self {
            Self::Exactly(essence) => found == essence,
            Self::Below(kind) => found.starts_with(kind.as_str()),
        }
    }
}

/// RFC 9110 §5.6.2
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// The type without its parameters, in lower case.
fn media_type(value: &HeaderValue) -> Option<String> {
    let essence = value.to_str().ok()?.split(';').next().unwrap_or_default().trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

/// gRPC compresses its messages itself, and its clients can't read anything else. With its suffixes (`+proto`), which
/// Traefik overlooks.
fn is_grpc(found: &str) -> bool {
    found.strip_prefix("application/grpc").is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

/// Types whose files are compressed in themselves: the work would be for nothing.
fn is_compressed_already(found: &str) -> bool {
    const PLAIN: [&str; 9] = [
        "image/svg+xml",
        "image/bmp",
        "image/x-ms-bmp",
        "image/x-icon",
        "image/vnd.microsoft.icon",
        "image/tiff",
        "audio/wav",
        "audio/x-wav",
        "audio/midi",
    ];
    const PACKED: [&str; 15] = [
        "font/woff",
        "font/woff2",
        "application/font-woff",
        "application/font-woff2",
        "application/x-font-woff",
        "application/zip",
        "application/gzip",
        "application/x-gzip",
        "application/zstd",
        "application/x-bzip2",
        "application/x-xz",
        "application/x-7z-compressed",
        "application/x-rar-compressed",
        "application/vnd.rar",
        "application/java-archive",
    ];
    let kind = found.split('/').next().unwrap_or_default();
    let media = matches!(kind, "image" | "audio" | "video") && !PLAIN.contains(&found);
    media || PACKED.contains(&found)
}
