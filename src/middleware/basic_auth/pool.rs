//! The threads that compute slow hashes, so that no worker does: two for the whole process, started when first needed.

use std::{
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::users::Busy;

/// How many passwords may wait to be checked. With bcrypt at its usual cost, the last of them waits for half a minute.
const QUEUE: usize = 1024;

/// The most threads to keep busy: passwords must leave the cores to the workers.
const THREADS: usize = 2;

/// One piece of work.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Threads and the queue before them.
pub(super) struct Pool {
    queue: SyncSender<Job>,
}

impl Pool {
    /// The pool of this process.
    pub(super) fn global() -> &'static Self {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| {
            let cores = thread::available_parallelism().map_or(1, NonZero::get);
            Self::start(cores.min(THREADS), QUEUE)
        })
    }

    /// Starts `threads` threads before a queue of `capacity` jobs. Where no thread can be started, each job is
    /// refused.
    fn start(threads: usize, capacity: usize) -> Self {
        let (queue, jobs) = sync_channel(capacity);
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..threads {
            let jobs = Arc::clone(&jobs);
            let started = thread::Builder::new().name("password".to_owned()).spawn(move || work(&jobs));
            if let Err(error) = started {
                tracing::error!(%error, "a thread to check passwords can't be started");
            }
        }
        Self { queue }
    }

    /// Queues a job.
    ///
    /// # Errors
    /// [`Busy`] when the queue is full.
    pub(super) fn submit(&self, job: Job) -> Result<(), Busy> {
        self.queue.try_send(job).map_err(|_| Busy)
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // The lock is let go with this statement: one thread waits for a job, and the others for the lock.
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        // A panic costs its own request (the reply is dropped), not the thread.
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("checking a password panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_full_queue_refuses_and_recovers() {
        let pool = Pool::start(1, 1);
        let (release, blocked) = channel::<()>();
        let (started, running) = channel();
        pool.submit(Box::new(move || {
            started.send(()).unwrap();
            blocked.recv().unwrap();
        }))
        .unwrap();
        running.recv().unwrap();
        let (done, finished) = channel();
        pool.submit(Box::new(move || done.send(()).unwrap())).unwrap();
        assert_eq!(pool.submit(Box::new(|| ())), Err(Busy));
        release.send(()).unwrap();
        finished.recv().unwrap();
        pool.submit(Box::new(|| ())).unwrap();
    }

    #[test]
    fn a_panic_costs_no_thread() {
        let pool = Pool::start(1, 2);
        pool.submit(Box::new(|| panic!("on purpose"))).unwrap();
        let (done, finished) = channel();
        pool.submit(Box::new(move || done.send(thread::current().name().map(str::to_owned)).unwrap())).unwrap();
        assert_eq!(finished.recv().unwrap().as_deref(), Some("password"));
    }

    #[test]
    fn without_threads_all_is_refused() {
        assert_eq!(Pool::start(0, 8).submit(Box::new(|| ())), Err(Busy));
    }
}
