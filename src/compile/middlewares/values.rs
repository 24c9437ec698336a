//! Values that several types of a Middleware share, read as Traefik reads them.

use std::time::Duration;

use crate::objects::middleware as object;

/// A duration: whole seconds (`10`, also as text), or as Go's `time.ParseDuration` reads it (`1m30s`, `1.5h`).
///
/// # Errors
/// One sentence, without a full stop, for text that is no duration, a negative one, and one of more than 292 years,
/// which Go has no room for.
pub(in crate::compile) fn duration(value: &object::Duration) -> Result<Duration, String> {
    let text = value.0.to_string();
    let read =
        text.parse::<i64>().map(|seconds| Some(i128::from(seconds) * 1_000_000_000)).unwrap_or_else(|_| go(&text));
    let Some(ns) = read.filter(|ns| *ns <= i128::from(i64::MAX)) else {
        return Err(format!("`{}` is no duration: write it like 10s, 500ms or 1m30s", text.escape_debug()));
    };
    let ns = u64::try_from(ns).map_err(|_| format!("{text} is negative"))?;
    Ok(Duration::from_nanos(ns))
}

/// In nanoseconds.
fn go(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut sum = 0_i128;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| c != '.' && !c.is_ascii_digit())?);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(behind.len()));
        let unit: i128 = match unit {
            "ns" => 1,
            // Both of Unicode's letters for it.
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        if !whole.is_empty() {
            sum += i128::from(whole.parse::<u64>().ok()?) * unit;
        }
        // More digits are less than a nanosecond, whatever the unit.
        let digits = fraction.get(..fraction.len().min(15)).unwrap_or_default();
        if !digits.is_empty() {
            sum += i128::from(digits.parse::<u64>().ok()?) * unit / 10_i128.pow(u32::try_from(digits.len()).ok()?);
        }
        rest = behind;
        if sum > i128::from(i64::MAX) {
            return None;
        }
    }
    (!text.trim_start_matches(['-', '+']).is_empty()).then_some(if negative { -sum } else { sum })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_traefik_reads_them() {
        let read = |value: object::IntOrString| duration(&object::Duration(value)).map(|d| d.as_nanos());
        let text = |text: &str| read(object::IntOrString::Text(text.to_owned()));
        assert_eq!(read(object::IntOrString::Int(10)), Ok(10_000_000_000));
        assert_eq!(read(object::IntOrString::Int(0)), Ok(0));
        for (written, ns) in [
            ("10", 10_000_000_000),
            ("0", 0),
            ("0s", 0),
            ("10s", 10_000_000_000),
            ("+1ns", 1),
            ("1m30s", 90_000_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("1µs", 1_000),
            ("1μs", 1_000),
            ("0.3333333333333333333h", 1_199_999_999_999),
            ("9223372036854775807ns", 9_223_372_036_854_775_807),
        ] {
            assert_eq!(text(written), Ok(ns), "{written}");
        }
        for wrong in [
            "",
            "-",
            "+",
            "s",
            ".s",
            "1x",
            "1 s",
            "1s ",
            "1.2.3s",
            "one",
            "9223372036854775808ns",
            "300000h1s9y",
            "99999999999h",
            "1d",
        ] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert_eq!(text("-1s").unwrap_err(), "-1s is negative");
        assert_eq!(read(object::IntOrString::Int(-3)).unwrap_err(), "-3 is negative");
    }
}
