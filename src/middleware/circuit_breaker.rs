//! `circuitBreaker`: counts how requests end, and stops asking endpoints that fail. While it is open it answers by
//! itself; then it lets more and more requests pass again.
//!
//! What an expression asks for is counted in rings of atomics (`window.rs`), and nothing else is; whether the breaker is
//! open is one atomic word (`phase.rs`). All workers share both, without a lock. Who first notices that the check period
//! is over looks at the expression (`condition.rs`).

mod condition;
mod phase;
mod window;

use std::time::{Duration, Instant};

use http::{Response, StatusCode, header};

use self::{
    condition::Condition,
    phase::{Phase, Turn},
    window::Window,
};
use super::{InvalidField, Next, Request, Upstream, expression::Expression, plain};
use crate::{body::Body, clock};

/// What `circuitBreaker` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When it opens: vulcand/oxy's language, see [`CircuitBreaker::new`].
    pub expression: String,
    /// Between two looks at the expression.
    pub check_period: Duration,
    /// How long it stays open.
    pub fallback_duration: Duration,
    /// Over how long it closes again.
    pub recovery_duration: Duration,
    /// The status of its own answers.
    pub status: StatusCode,
}

/// See the module.
#[derive(Debug)]
pub struct CircuitBreaker {
    settings: Settings,
    condition: Expression<Condition>,
    phase: Phase,
    window: Window,
}

impl CircuitBreaker {
    /// A closed one. The expression joins comparisons by `&&`, `||` and parentheses: `NetworkErrorRatio() > 0.3`,
    /// `ResponseCodeRatio(500, 600, 0, 600) > 0.25` (the share of the codes from 500 up to 599 among those below 600),
    /// `LatencyAtQuantileMS(50.0) > 100`.
    ///
    /// # Errors
    /// What is wrong with the expression, and where.
    pub fn new(settings: Settings) -> Result<Self, InvalidField> {
        let mut wanted = window::Wanted::default();
        let condition = condition::parse(&settings.expression, &mut wanted).map_err(|text| {
            let help = "compare NetworkErrorRatio(), ResponseCodeRatio(from, to, dividedByFrom, dividedByTo) or \
                        LatencyAtQuantileMS(quantile), such as NetworkErrorRatio() > 0.30, and join comparisons by && \
                        and ||";
            let expression = settings.expression.trim();
            let text = if expression.is_empty() {
                "it has no expression".to_owned()
            } else {
                format!("`{}`: {text}", expression.escape_debug())
            };
            InvalidField::new("expression", text, help)
        })?;
        let phase = Phase::new(settings.check_period, settings.fallback_duration, settings.recovery_duration);
        Ok(Self { settings, condition, phase, window: Window::new(wanted) })
    }

    /// Another one of the same settings, that has seen nothing.
    pub fn fresh(&self) -> Self {
        let Self { settings, condition, phase, window } = self;
        Self { settings: settings.clone(), condition: condition.clone(), phase: phase.fresh(), window: window.fresh() }
    }

    /// Whether the other has the same settings.
    pub fn is_like(&self, other: &Self) -> bool {
        self.settings == other.settings
    }

    /// Lets the request pass and notes how it ends, or answers it.
    pub async fn around<U: Upstream>(&self, request: &mut Request, mut next: Next<'_, U>) -> Response<Body> {
        let Some(turn) = self.admit(clock::now_ms()) else { return self.refusal() };
        let begun = self.window.times().then(Instant::now);
        let answer = next.run(request).await;
        let took = begun.map(|begun| begun.elapsed()).unwrap_or_default();
        self.note(turn, answer.status(), took, clock::now_ms());
        answer
    }

    fn admit(&self, now_ms: u64) -> Option<Turn> {
        self.phase.admit(now_ms)
    }

    /// Takes in how a request has ended.
    fn note(&self, turn: Turn, status: StatusCode, took: Duration, now_ms: u64) {
        if !self.phase.counts(turn) {
            return;
        }
        self.window.note(status, took, now_ms);
        let opened =
            self.phase.check(now_ms, || self.condition.holds(&mut |condition| condition.holds(&self.window, now_ms)));
        if opened {
            self.window.reset();
            let expression = &self.settings.expression;
            tracing::warn!(
                expression,
                seconds = self.settings.fallback_duration.as_secs_f32(),
                "a circuit breaker opens"
            );
        }
    }

    fn refusal(&self) -> Response<Body> {
        let mut answer = plain(self.settings.status);
        if matches!(self.settings.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            *answer.body_mut() = Body::Empty;
            answer.headers_mut().remove(header::CONTENT_TYPE);
        }
        answer
    }
}

#[cfg(test)]
mod tests;
