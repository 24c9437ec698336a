//! A set of status codes, as `retry.status` and `errors.status` name them.

use std::ops::RangeInclusive;

use http::StatusCode;

/// The lowest code there is.
const LOWEST: u16 = 100;

/// Status codes from 100 to 611, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; 8]);

impl Statuses {
    /// Whether a code is one of them.
    pub fn contains(&self, status: StatusCode) -> bool {
        let index = status.as_u16().wrapping_sub(LOWEST);
        self.0.get(usize::from(index / 64)).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 8]
    }
}

impl FromIterator<RangeInclusive<u16>> for Statuses {
    fn from_iter<T: IntoIterator<Item = RangeInclusive<u16>>>(ranges: T) -> Self {
        let mut set = Self::default();
        for code in ranges.into_iter().flatten() {
            let index = code.wrapping_sub(LOWEST);
            if let Some(word) = set.0.get_mut(usize::from(index / 64)) {
                *word |= 1 << (index % 64);
            }
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_its_ranges_and_nothing_else() {
        let ranges = [404..=404, 500..=502, 599..=599, 100..=100];
        let set: Statuses = ranges.clone().into_iter().collect();
        for code in 100..=999 {
            let expected = ranges.iter().any(|range| range.contains(&code));
            assert_eq!(set.contains(StatusCode::from_u16(code).unwrap()), expected, "{code}");
        }
        assert!(!set.is_empty());
        assert!(Statuses::default().is_empty());
    }
}
