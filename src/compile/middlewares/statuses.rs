//! Status codes and ranges of them, as Traefik reads them.

use std::ops::RangeInclusive;

use super::fault::Fault;
use crate::{middleware::Statuses, objects::middleware as object};

/// One code (`404`) or one range (`500-599`), within 100 and 599. Traefik's rule is one to an element of a list, though
/// its schema lets commas pass.
///
/// # Errors
/// One sentence, without a full stop.
pub(super) fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let code = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|code| digits && (100..=599).contains(code))
    };
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    match (code(from), code(to)) {
        (Some(from), Some(to)) if from <= to => Ok(from..=to),
        (Some(from), Some(to)) => Err(format!("{from}-{to} is an empty range of status codes")),
        _ => Err(format!("`{}` is neither a status code nor a range of them", text.escape_debug())),
    }
}

/// A list of codes and ranges; `field` is where it stands, below `spec`.
pub(super) fn set(list: &[object::StatusRange], field: &str) -> Result<Statuses, Fault> {
    let one = |(index, object::StatusRange(text)): (usize, &object::StatusRange)| {
        let help = if text.contains(',') {
            "write each code or range as an element of its own"
        } else {
            "write codes from 100 to 599, such as 404, or ranges such as 500-599"
        };
        range(text).map_err(|why| Fault::of(format!("{field}[{index}]"), why, help))
    };
    list.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_traefik_reads_them() {
        for (text, expected) in
            [("404", 404..=404), ("500-599", 500..=599), ("100-599", 100..=599), ("500-500", 500..=500)]
        {
            assert_eq!(range(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "-",
            "500-",
            "-500",
            "500,502",
            "500-502-505",
            "99",
            "600",
            "0500",
            "+50",
            "500 - 502",
            "600-500",
            "502-500",
            "abc",
            "5xx",
        ] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
