//! Ready: the first table is live and the process is not ending.

use super::State;
use crate::drain::Phase;

/// Whether traffic may come, or why not.
///
/// # Errors
/// Why traffic should not come.
pub fn is_ready(state: &State) -> Result<(), &'static str> {
    if *state.drain.borrow() > Phase::Serving {
        return Err("not ready: shutting down\n");
    }
    if !*state.ready.borrow() {
        return Err(
            "not ready: objects or cookie keys have not been read yet; the log and /api/diagnostics say what is waited for\n",
        );
    }
    Ok(())
}
