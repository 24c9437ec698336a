//! The end of the process, in phases that everyone can see: go on, announce, close, force.
//!
//! [`Drain`] is written by `cli::run` on a signal and read by the admin server (readiness) and by every worker
//! (`Connection: close` while announcing, GOAWAY and closed listeners when closing).

use tokio::sync::watch;

/// How far the end has come. Each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    #[default]
    Serving,
    /// Not ready any more, still accepting (`--drain-delay`); HTTP/1.1 answers say `Connection: close`.
    Announcing,
    /// Listeners closed once their queue is empty; idle connections close, requests in flight finish.
    Closing,
    /// `--drain-timeout` has passed: what is left is cut.
    Forced,
}

/// The one who announces.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// One who listens.
pub type Watch = watch::Receiver<Phase>;

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(Phase::Serving))
    }
}

impl Drain {
    /// A listener.
    pub fn watch(&self) -> Watch {
        self.0.subscribe()
    }

    /// Moves on to a phase; never back.
    pub fn enter(&self, phase: Phase) {
        self.0.send_if_modified(|now| {
            let later = phase > *now;
            if later {
                *now = phase;
            }
            later
        });
    }
}
