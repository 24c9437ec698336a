//! Whether the breaker is closed, open, or on its way back: vulcand/oxy's states, in one atomic word. Time is an
//! argument, in milliseconds of the process's clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A request that was let pass, by how often the breaker had opened before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// What the word says. The time is when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// oxy's standby: all requests pass.
    Closed,
    /// oxy's tripped: none passes.
    Open(u64),
    /// oxy's recovering: some pass, more and more.
    Recovering(u64),
}

impl State {
    fn word(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open(since) => since << 2 | 1,
            Self::Recovering(since) => since << 2 | 2,
        }
    }

    fn of(word: u64) -> Self {
        match word & 3 {
            1 => Self::Open(word >> 2),
            2 => Self::Recovering(word >> 2),
            _ => Self::Closed,
        }
    }
}

/// The state of a breaker, and its times.
#[derive(Debug)]
pub(super) struct Phase {
    check_ms: u64,
    fallback_ms: u64,
    recovery_ms: u64,
    state: AtomicU64,
    /// The expression is looked at again after this.
    checked_until: AtomicU64,
    /// Of the requests in this recovery, how many were let pass (upper half) and how many not.
    ramp: AtomicU64,
    /// How often it has opened.
    opened: AtomicU64,
}

impl Phase {
    /// A closed one.
    pub(super) fn new(check: Duration, fallback: Duration, recovery: Duration) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self::closed(ms(check), ms(fallback), ms(recovery))
    }

    /// A closed one of the same times.
    pub(super) fn fresh(&self) -> Self {
        Self::closed(self.check_ms, self.fallback_ms, self.recovery_ms)
    }

    fn closed(check_ms: u64, fallback_ms: u64, recovery_ms: u64) -> Self {
        Self {
            check_ms,
            fallback_ms,
            recovery_ms,
            state: AtomicU64::new(State::Closed.word()),
            checked_until: AtomicU64::new(0),
            ramp: AtomicU64::new(0),
            opened: AtomicU64::new(0),
        }
    }

    /// Whether a request that comes now may pass.
    pub(super) fn admit(&self, now_ms: u64) -> Option<Turn> {
        loop {
            let word = self.state.load(Ordering::Acquire);
            match State::of(word) {
                State::Closed => break,
                State::Open(since) if now_ms < since.saturating_add(self.fallback_ms) => return None,
                State::Open(_) => {
                    // Nobody counts here before the state has changed.
                    self.ramp.store(0, Ordering::Relaxed);
                    self.change(word, State::Recovering(now_ms));
                }
                State::Recovering(since) if now_ms > since.saturating_add(self.recovery_ms) => {
                    self.change(word, State::Closed);
                }
                State::Recovering(since) if self.ramps(now_ms.saturating_sub(since)) => break,
                State::Recovering(_) => return None,
            }
        }
        Some(Turn(self.opened.load(Ordering::Acquire)))
    }

    /// Whether the share of those that pass stays below `0.5 * time / recovery` with one more (oxy's ramp: it ends at one
    /// in two, and then all pass). Counts the request either way.
    fn ramps(&self, since_ms: u64) -> bool {
        let target = 0.5 * since_ms as f64 / self.recovery_ms.max(1) as f64;
        let mut passes = false;
        let counted = |word: u64| {
            let (passed, refused) = (word >> 32, word & u64::from(u32::MAX));
            passes = ((passed + 1) as f64 / (passed + refused + 1) as f64) < target;
            let (passed, refused) = if passes { (passed + 1, refused) } else { (passed, refused + 1) };
            // Halved where there is no more room: the share stays.
            let halve = passed.max(refused) > u64::from(u32::MAX);
            Some((passed >> u32::from(halve)) << 32 | refused >> u32::from(halve))
        };
        let _ = self.ramp.fetch_update(Ordering::Relaxed, Ordering::Relaxed, counted);
        passes
    }

    /// Whether what a request came to says something of the endpoints as they are now: not of those before it opened.
    pub(super) fn counts(&self, turn: Turn) -> bool {
        self.opened.load(Ordering::Acquire) == turn.0
    }

    /// Looks at the condition, if the check period is over and nobody else does, and opens if it holds. True for who
    /// has opened it.
    pub(super) fn check(&self, now_ms: u64, holds: impl FnOnce() -> bool) -> bool {
        let until = self.checked_until.load(Ordering::Relaxed);
        if now_ms <= until {
            return false;
        }
        let next = now_ms.saturating_add(self.check_ms);
        if self.checked_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return false;
        }
        let word = self.state.load(Ordering::Acquire);
        if matches!(State::of(word), State::Open(_)) || !holds() {
            return false;
        }
        let opened = self.change(word, State::Open(now_ms));
        if opened {
            self.opened.fetch_add(1, Ordering::Release);
        }
        opened
    }

    fn change(&self, from: u64, to: State) -> bool {
        self.state.compare_exchange(from, to.word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests;
