//! What is in the way of a watch, and how long to wait before the next try.

use std::time::Duration;

use tokio::time::Instant;

/// For how long after it was out of reach a server is not believed that it refuses something: one that starts answers
/// before it has read its own roles and accounts, and then refuses everything to everybody (403, 401).
const STARTING: Duration = Duration::from_secs(10);

/// What is in the way of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server can't be reached, or answers nothing of use. It will be back.
    Unreachable(String),
    /// We may not list or watch this.
    Forbidden,
    /// The server doesn't know such objects.
    Unknown,
    /// The server refuses for another reason.
    Refused(String),
    /// A watch was too far behind: all is listed again. Nothing is wrong.
    Behind,
}

impl Fault {
    /// What an error of the client comes to.
    pub(super) fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status),
            other => Self::Unreachable(chain(other)),
        }
    }

    /// What a status that the server has answered comes to.
    pub(super) fn of_status(status: &kube::core::Status) -> Self {
        match status.code {
            403 => Self::Forbidden,
            404 | 405 => Self::Unknown,
            410 => Self::Behind,
            code if code == 429 || code >= 500 => Self::Unreachable(format!("it answers {code} {}", status.message)),
            code => Self::Refused(format!("{code} {}", status.message)),
        }
    }

    /// The same, or that the server is still away where it was so at `away` and refuses what it may not know yet.
    pub(super) fn believed(self, away: Option<Instant>, now: Instant) -> Self {
        let starting = away.is_some_and(|away| now.saturating_duration_since(away) < STARTING);
        match self {
            Self::Forbidden if starting => Self::Unreachable("it is starting, and refuses everything".to_owned()),
            Self::Refused(why) if starting => Self::Unreachable(format!("it is starting, and answers {why}")),
            other => other,
        }
    }

    /// The longest pause before the next try. An outage must not be felt for long after it is over, and a refused
    /// connection costs the server nothing; what only an administrator can change is asked for less often.
    fn longest_pause(&self) -> Duration {
        match self {
            // The server is there, and what it can't tell as changes it can list: a fresh start of the pauses.
            Self::Behind => Duration::from_millis(500),
            Self::Unreachable(_) => Duration::from_secs(1),
            Self::Forbidden | Self::Unknown | Self::Refused(_) => Duration::from_secs(5),
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

/// Pauses that double, with jitter, so that replicas don't come back all at once.
#[derive(Debug, Default)]
pub(super) struct Patience {
    tries: u32,
    longest: Duration,
}

impl Patience {
    /// How long to wait after this fault.
    pub(super) fn pause(&mut self, fault: &Fault) -> Duration {
        let longest = fault.longest_pause();
        if longest != self.longest {
            // Another kind of trouble: a server that has just come back knows no permissions for a moment.
            *self = Self { tries: 0, longest };
        }
        let pause = Duration::from_millis(100).saturating_mul(1 << self.tries.min(10)).min(longest);
        self.tries = self.tries.saturating_add(1);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_starts_is_not_believed_that_it_refuses() {
        let away = Instant::now();
        let (soon, later) = (away + Duration::from_secs(9), away + STARTING);
        let refused = || Fault::Refused("401 Unauthorized".to_owned());
        for fault in [Fault::Forbidden, refused()] {
            assert!(matches!(fault.clone().believed(Some(away), soon), Fault::Unreachable(_)), "{fault:?}");
            assert_eq!(fault.clone().believed(Some(away), later), fault);
            assert_eq!(fault.clone().believed(None, soon), fault, "never away: it means it");
        }
        // It says so only once it knows all kinds.
        assert_eq!(Fault::Unknown.believed(Some(away), soon), Fault::Unknown);
    }

    #[test]
    fn pauses_grow_and_start_anew_for_another_trouble() {
        let mut patience = Patience::default();
        let away = Fault::Unreachable(String::new());
        let pauses: Vec<Duration> = (0..8).map(|_| patience.pause(&away)).collect();
        assert!(pauses[0] <= Duration::from_millis(100) && pauses[7] >= Duration::from_millis(500), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(1)));
        assert!(patience.pause(&Fault::Forbidden) <= Duration::from_millis(100));
    }
}
