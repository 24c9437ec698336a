//! Waiting for something to be so, with a deadline. Nothing else waits for time to pass.

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up. Far above what it takes, so that a loaded machine fails nothing.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// What `probe` finds; asks until it finds something, and panics with `what` after `limit`.
#[track_caller]
pub(crate) fn until<T>(what: &str, limit: Duration, probe: impl FnMut() -> Option<T>) -> T {
    within(limit, probe).unwrap_or_else(|| panic!("still not so after {limit:?}: {what}"))
}

/// The same without a panic: for those that clean up.
pub(crate) fn within<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let found = probe();
        if found.is_some() || start.elapsed() >= limit {
            return found;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Until what `probe` finds is this; says after `limit` what it found last.
#[track_caller]
pub(crate) fn until_equal<T: PartialEq + Debug>(wanted: &T, limit: Duration, mut probe: impl FnMut() -> Option<T>) {
    let start = Instant::now();
    loop {
        let found = probe();
        if found.as_ref() == Some(wanted) {
            return;
        }
        assert!(start.elapsed() < limit, "after {limit:?} still\n{found:?}, wanted\n{wanted:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
