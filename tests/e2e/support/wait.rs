//! Waiting for a condition, with a deadline. Nothing else in the tests waits for time to pass.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far above what it takes, so that a loaded machine fails nothing.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until `condition` holds; panics with `what` after [`DEADLINE`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "still not so after {DEADLINE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Lets `period` pass: for a load that changes something every so often, never to wait for an effect.
pub(crate) fn pause(period: Duration) {
    let start = Instant::now();
    while let Some(left) = period.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
