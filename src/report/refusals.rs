//! Namespaces in which the API server says that we may not write.
//!
//! Takes refusals and successes with their time; says until when a namespace is to be left alone. One refusal holds
//! back all of a namespace, so that many objects in it cost no more requests than one, and a permission that is granted
//! is noticed within seconds. Rights can be given for each namespace, so that one says nothing of another. It knows
//! nothing of what is written.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::pace::between;

/// Before a namespace is tried again, at least and at most.
const PAUSE: Duration = Duration::from_secs(5);
const PAUSE_MOST: Duration = Duration::from_secs(8);
/// A namespace in which nothing was tried for so long has nothing left to write to.
const STALE: Duration = Duration::from_secs(60);

/// When something that may not be done is tried again.
pub(super) fn pause() -> Duration {
    between(PAUSE, PAUSE_MOST)
}

/// Until when namespaces are left alone.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<Arc<str>, Instant>);

impl Refusals {
    /// Something was refused here. Says whether nothing was refused anywhere before: then it is news.
    pub(super) fn refuse(&mut self, namespace: &Arc<str>, now: Instant) -> bool {
        self.0.retain(|_, until| *until + STALE > now);
        let news = self.0.is_empty();
        self.0.insert(Arc::clone(namespace), now + pause());
        news
    }

    /// Something was allowed here.
    pub(super) fn allow(&mut self, namespace: &str) {
        self.0.remove(namespace);
    }

    /// Until when nothing is to be tried here.
    pub(super) fn until(&self, namespace: &str, now: Instant) -> Option<Instant> {
        self.0.get(namespace).copied().filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_held_back_by_itself_and_not_for_long() {
        let (now, mut refusals) = (Instant::now(), Refusals::default());
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        assert!(refusals.refuse(&a, now));
        let until = refusals.until(&a, now).unwrap();
        assert!((now + PAUSE..=now + PAUSE_MOST).contains(&until));
        assert_eq!((refusals.until(&b, now), refusals.until(&a, until)), (None, None));
        assert!(!refusals.refuse(&a, until), "still the same trouble");
        assert!(!refusals.refuse(&b, until));
        refusals.allow(&a);
        assert_eq!(refusals.until(&a, until), None);
        assert!(refusals.until(&b, until).is_some());
        refusals.allow(&b);
        assert!(refusals.refuse(&b, until), "it was over");
        assert!(refusals.refuse(&a, until + STALE * 2), "b has nothing left to write to");
    }
}
