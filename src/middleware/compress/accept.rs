//! Which coding a client gets: Accept-Encoding (RFC 9110 §12.5.3) against the list of the Middleware.

use http::{HeaderMap, header};

use crate::middleware::InvalidField;

/// A content coding that we can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip` (RFC 1952)
    Gzip,
    /// `br` (RFC 7932)
    Brotli,
    /// `zstd` (RFC 8878)
    Zstd,
}

impl Coding {
    const ALL: [Self; 3] = [Self::Gzip, Self::Brotli, Self::Zstd];

    /// As it is written in Content-Encoding.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.name() == name)
    }
}

/// The codings of a Middleware in their order, and its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Codings {
    list: Vec<Coding>,
    default: Option<Coding>,
}

/// A weight in thousandths.
type Weight = u16;

/// What a client says of each coding; `None` where it says nothing.
#[derive(Debug, Default)]
struct Accepted {
    codings: [Option<Weight>; 3],
    identity: Option<Weight>,
    any: Option<Weight>,
}

impl Codings {
    /// `None` is Traefik's default order.
    pub(super) fn new(names: Option<&[String]>, default: Option<&str>) -> Result<Self, InvalidField> {
        let known = "write gzip, br or zstd";
        let list = match names {
            None => Coding::ALL.to_vec(),
            Some([]) => {
                return Err(InvalidField::new(
                    "encodings",
                    "encodings is empty, so that nothing would be compressed",
                    "remove it, or name some",
                ));
            }
            Some(names) => {
                let one = |(index, name): (usize, &String)| {
                    let message = || format!("{name:?} is no encoding that answers can be compressed with");
                    Coding::named(name)
                        .ok_or_else(|| InvalidField::new(format!("encodings[{index}]"), message(), known))
                };
                names.iter().enumerate().map(one).collect::<Result<_, _>>()?
            }
        };
        let default = match default.filter(|name| !name.is_empty()) {
            None => None,
            Some(name) => {
                let found = Coding::named(name).filter(|coding| list.contains(coding));
                let message = || format!("{name:?} is not one of the encodings");
                let help = "name one of encodings, or add it there";
                Some(found.ok_or_else(|| InvalidField::new("defaultEncoding", message(), help))?)
            }
        };
        Ok(Self { list, default })
    }

    /// The coding for a client: of the highest weight the one that stands first in the list. A client that takes any
    /// at that weight (`*`) gets the default; one that sends no Accept-Encoding gets it too, or none (Traefik's rules).
    /// None as well where the client prefers the bytes as they are.
    pub(super) fn choose(&self, headers: &HeaderMap) -> Option<Coding> {
        if !headers.contains_key(header::ACCEPT_ENCODING) {
            return self.default;
        }
        let accepted = Accepted::read(headers);
        let best = self.list.iter().map(|coding| accepted.weight(*coding)).max().unwrap_or(0);
        if best == 0 || accepted.identity.is_some_and(|weight| weight > best) {
            return None;
        }
        let is_best = |coding: &Coding| accepted.weight(*coding) == best;
        let default = self.default.filter(|coding| accepted.any == Some(best) && is_best(coding));
        default.or_else(|| self.list.iter().copied().find(is_best))
    }
}

impl Accepted {
    fn read(headers: &HeaderMap) -> Self {
        let mut accepted = Self::default();
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for member in lines.flat_map(|line| line.split(',')) {
            let mut parts = member.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            let weight = Some(weight.map_or(1_000, thousandths));
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            match &mut accepted.codings {
                // `x-gzip` is an old name of it (RFC 9110 §8.4.1.3).
                [gzip, ..] if is("gzip") || is("x-gzip") => *gzip = weight,
                [_, brotli, _] if is("br") => *brotli = weight,
                [.., zstd] if is("zstd") => *zstd = weight,
                _ if is("identity") => accepted.identity = weight,
                _ if name == "*" => accepted.any = weight,
                _ => {}
            }
        }
        accepted
    }

    /// What isn't named is `*`, or not acceptable.
    fn weight(&self, coding: Coding) -> Weight {
        let [gzip, brotli, zstd] = self.codings;
        let named = match coding {
            Coding::Gzip => gzip,
            Coding::Brotli => brotli,
            Coding::Zstd => zstd,
        };
        named.or(self.any).unwrap_or(0)
    }
}

/// A qvalue (RFC 9110 §12.4.2). One that can't be read is 0: better plain than unreadable.
fn thousandths(text: &str) -> Weight {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.len() <= 3 && fraction.bytes().all(|b| b.is_ascii_digit());
    let fraction = format!("{fraction:0<3}").parse().ok().filter(|_| digits);
    match (whole, fraction) {
        ("0", Some(fraction)) => fraction,
        ("1", Some(0)) => 1_000,
        _ => 0,
    }
}
