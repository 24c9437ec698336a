//! Coarse time for workers: one tick for all the waits of a thread, in place of a timer for each.
//!
//! A worker runs [`drive`]; it moves the thread's clock on every [`TICK`] and wakes the tasks whose [`Deadline`] has
//! passed. Arming a deadline writes one number, so that a limit on every wait costs a request next to nothing; the
//! price is that a limit is kept to a tick. Deadlines live and die on the thread that made them.

use std::{
    cell::{Cell, RefCell},
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

/// How coarse the clock is.
pub const TICK: Duration = Duration::from_millis(50);

static START: OnceLock<Instant> = OnceLock::new();

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
    static WAITS: RefCell<Waits> = const { RefCell::new(Waits { slots: Vec::new(), free: Vec::new() }) };
}

#[derive(Debug)]
struct Waits {
    slots: Vec<Wait>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Wait {
    at: u64,
    waker: Option<Waker>,
}

/// Milliseconds since the process's clock began, read now. Never 0.
pub fn precise_ms() -> u64 {
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// Nanoseconds since the process's clock began, read now: for what counts in less than milliseconds.
pub fn precise_ns() -> u64 {
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since the process's clock began, as of this thread's last tick.
pub fn now_ms() -> u64 {
    match NOW.get() {
        0 => {
            let now = precise_ms();
            NOW.set(now);
            now
        }
        now => now,
    }
}

/// Moves this thread's clock and fires its deadlines, for ever. One for each thread that uses [`Deadline`].
pub async fn drive() {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        NOW.set(precise_ms());
        wake(|wait| wait.at <= now_ms());
    }
}

/// Wakes every task of this thread that holds an armed deadline, so that it looks at the world again (a drain). Their
/// deadlines stay armed.
pub fn wake_all() {
    let wakers: Vec<Waker> = WAITS.with_borrow(|waits| waits.slots.iter().filter_map(|w| w.waker.clone()).collect());
    for waker in wakers {
        waker.wake();
    }
}

fn wake(due: impl Fn(&Wait) -> bool) {
    // Wakers run foreign code: collect them first, with the table released.
    let wakers: Vec<Waker> = WAITS.with_borrow_mut(|waits| {
        waits.slots.iter_mut().filter(|w| w.waker.is_some() && due(w)).filter_map(|w| w.waker.take()).collect()
    });
    for waker in wakers {
        waker.wake();
    }
}

/// A limit on a wait: a point in time that can be moved for the price of a store.
#[derive(Debug)]
pub struct Deadline {
    at: u64,
    slot: Option<usize>,
    // A slot index means nothing on another thread.
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Deadline {
    /// A deadline `limit` from now; a limit of zero is none.
    pub fn after(limit: Duration) -> Self {
        Self { at: at(limit), slot: None, _not_send: std::marker::PhantomData }
    }

    /// Moves it to `limit` from now.
    pub fn restart(&mut self, limit: Duration) {
        self.set(at(limit));
    }

    /// Moves it to this time of the thread's clock.
    pub fn set(&mut self, at: u64) {
        self.at = at;
        if let Some(slot) = self.slot {
            WAITS.with_borrow_mut(|waits| {
                if let Some(wait) = waits.slots.get_mut(slot) {
                    wait.at = at;
                }
            });
        }
    }

    /// Ready when the time has passed; else the task is woken when it does.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.at <= now_ms() {
            return Poll::Ready(());
        }
        WAITS.with_borrow_mut(|waits| {
            let slot = *self.slot.get_or_insert_with(|| {
                waits.free.pop().unwrap_or_else(|| {
                    waits.slots.push(Wait { at: u64::MAX, waker: None });
                    waits.slots.len() - 1
                })
            });
            if let Some(wait) = waits.slots.get_mut(slot) {
                wait.at = self.at;
                if !wait.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                    wait.waker = Some(cx.waker().clone());
                }
            }
        });
        Poll::Pending
    }
}

fn at(limit: Duration) -> u64 {
    if limit.is_zero() {
        return u64::MAX;
    }
    now_ms().saturating_add(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX))
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        // The thread may be ending; then the table is gone as well.
        let _ = WAITS.try_with(|waits| {
            let mut waits = waits.borrow_mut();
            let waker = waits.slots.get_mut(slot).and_then(|wait| wait.waker.take());
            waits.free.push(slot);
            drop(waits);
            drop(waker);
        });
    }
}

/// What came first: the future's end or the limit's. A limit of zero is none.
///
/// # Errors
/// [`Elapsed`] when the limit passed first; the future is dropped.
pub async fn limit<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = std::pin::pin!(future);
    let mut deadline = Deadline::after(limit);
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => deadline.poll(cx).map(|()| Err(Elapsed)),
    })
    .await
}

/// A limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waking_all_leaves_deadlines_armed() {
        let mut deadline = Deadline::after(Duration::from_secs(60));
        let woken = std::sync::Arc::new(Counter(std::sync::atomic::AtomicUsize::new(0)));
        let waker = Waker::from(std::sync::Arc::clone(&woken));
        assert!(deadline.poll(&mut Context::from_waker(&waker)).is_pending());
        wake_all();
        wake_all();
        assert_eq!(woken.0.load(std::sync::atomic::Ordering::Relaxed), 2);
    }

    struct Counter(std::sync::atomic::AtomicUsize);

    impl std::task::Wake for Counter {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn a_limit_ends_a_wait_and_spares_what_is_ready() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                tokio::task::spawn_local(drive());
                assert_eq!(limit(Duration::from_millis(1), std::future::pending::<()>()).await, Err(Elapsed));
                assert_eq!(limit(Duration::ZERO, async { 7 }).await, Ok(7));
                assert_eq!(limit(Duration::from_secs(60), async { 8 }).await, Ok(8));
            })
            .await;
        assert!(WAITS.with_borrow(|w| w.slots.len() == w.free.len()), "every slot is given back");
    }
}
