//! The exact round-robin cursor, shared by all workers.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter on a cache line of its own: it is the one value that every worker writes for every request.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Cursor(AtomicU64);

impl Cursor {
    /// The next turn, as an index below `of`. Take one only when the endpoint will really be tried.
    pub fn next(&self, of: usize) -> usize {
        let ticket = self.0.fetch_add(1, Ordering::Relaxed);
        usize::try_from(ticket % (of.max(1) as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_together_are_exact() {
        let cursor = Cursor::default();
        let counts: Vec<AtomicU64> = (0..15).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1500).for_each(|_| _ = counts[cursor.next(15)].fetch_add(1, Ordering::Relaxed)));
            }
        });
        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 400));
    }
}
