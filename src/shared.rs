//! A value that is replaced now and then and read for every request: one writer, many readers, no lock to look.
//!
//! [`Shared`] keeps a version beside a locked `Arc`. A [`Reader`] keeps the `Arc` it saw last; a look costs one
//! atomic load, and the lock is taken only when the version has changed. No `arc-swap`: its fast path was unsound
//! three times in one year, and a reader's own `Arc` also keeps the shared reference count off the request path.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// A value that is replaced whole.
#[derive(Debug)]
pub struct Shared<T> {
    version: AtomicU64,
    value: Mutex<Arc<T>>,
}

impl<T> Shared<T> {
    /// The first value, at version 0.
    pub fn new(value: T) -> Self {
        Self { version: AtomicU64::new(0), value: Mutex::new(Arc::new(value)) }
    }

    /// Replaces the value; readers see it at their next look.
    pub fn store(&self, value: Arc<T>) {
        let mut slot = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = value;
        // Released inside the lock: who sees the new version finds the new value.
        self.version.fetch_add(1, Ordering::Release);
    }

    /// The value now. Takes the lock: for control work, not for requests.
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.value.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Grows by one with each [`Shared::store`].
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The value and the version it has.
    pub fn snapshot(&self) -> (u64, Arc<T>) {
        let slot = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        (self.version.load(Ordering::Acquire), Arc::clone(&slot))
    }
}

impl<T: Default> Default for Shared<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

/// One thread's cached view of a [`Shared`].
#[derive(Debug)]
pub struct Reader<T> {
    source: Arc<Shared<T>>,
    version: u64,
    value: Arc<T>,
}

impl<T> Reader<T> {
    /// A reader that has seen the present value.
    pub fn new(source: Arc<Shared<T>>) -> Self {
        let (version, value) = source.snapshot();
        Self { source, version, value }
    }

    /// The present value, and whether it is another one than at the last look.
    pub fn look(&mut self) -> (&Arc<T>, bool) {
        let changed = self.source.version() != self.version;
        if changed {
            (self.version, self.value) = self.source.snapshot();
        }
        (&self.value, changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_a_store_once() {
        let shared = Arc::new(Shared::new(1));
        let mut reader = Reader::new(Arc::clone(&shared));
        assert_eq!((**reader.look().0, reader.look().1), (1, false));
        shared.store(Arc::new(2));
        let (value, changed) = reader.look();
        assert_eq!((**value, changed), (2, true));
        assert!(!reader.look().1);
    }
}
