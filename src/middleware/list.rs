//! Header fields that are lists (RFC 9110 §5.6.1): over any number of lines, their members between commas.

use http::{HeaderMap, HeaderName};

/// Whether a list has this member, in any letter case.
pub fn has(headers: &HeaderMap, name: &HeaderName, member: &[u8]) -> bool {
    let members = headers.get_all(name).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    members.map(<[u8]>::trim_ascii).any(|found| found.eq_ignore_ascii_case(member))
}
