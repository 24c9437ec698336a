//! The terms of a breaker's expression: which counts they need, and whether they hold. Types are as strict as in
//! vulcand/oxy, so that an expression means here what it means there or is refused.

use super::window::{Count, Wanted, Window};
use crate::middleware::expression::{self, Comparison, Expression, Literal, Term};

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Condition {
    /// A count's share of another one; 0 where there is none of the other.
    Ratio { part: usize, of: usize, comparison: Comparison, value: f64 },
    /// Milliseconds at a quantile, in whole ones; 0 where there are no requests.
    Latency(Latency),
}

/// How the latency at a quantile compares with a constant. See `window.rs` for why that needs no histogram.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Latency {
    /// In percent, at most 100.
    quantile: f64,
    comparison: Comparison,
    /// All requests.
    all: usize,
    /// Those that took no longer than the constant.
    at_most: usize,
    /// Those that took less; `None` where nothing can.
    less: Option<usize>,
}

/// Reads an expression, and says what has to be counted for it.
///
/// # Errors
/// What is wrong, and where.
pub(super) fn parse(text: &str, wanted: &mut Wanted) -> Result<Expression<Condition>, String> {
    expression::parse(text, |term| Condition::of(&term, wanted))
}

impl Condition {
    fn of(term: &Term, wanted: &mut Wanted) -> Result<Self, String> {
        let name = &term.name;
        match name.as_str() {
            "NetworkErrorRatio" => {
                let [] = term.arguments.as_slice() else { return Err(format!("{name}() has no arguments")) };
                let (comparison, value) = ratio(term)?;
                let (part, of) = (wanted.add(Count::NetworkErrors), wanted.add(Count::All));
                Ok(Self::Ratio { part, of, comparison, value })
            }
            "ResponseCodeRatio" => {
                let numbers: Option<Vec<i64>> = term.arguments.iter().map(whole).collect();
                let Some([from, to, by_from, by_to]) = numbers.as_deref() else {
                    return Err(format!(
                        "{name} has four arguments, which are whole numbers: from, to, dividedByFrom, dividedByTo"
                    ));
                };
                let (comparison, value) = ratio(term)?;
                let (part, of) = (wanted.add(Count::Codes(*from..*to)), wanted.add(Count::Codes(*by_from..*by_to)));
                Ok(Self::Ratio { part, of, comparison, value })
            }
            "LatencyAtQuantileMS" => latency(term, wanted).map(Self::Latency),
            _ => Err(format!("there is no function {name}")),
        }
    }

    /// Whether it holds in the window that ends now.
    pub(super) fn holds(&self, window: &Window, now_ms: u64) -> bool {
        match self {
            Self::Ratio { part, of, comparison, value } => {
                let of = window.get(*of, now_ms);
                let share = if of == 0 { 0.0 } else { window.get(*part, now_ms) as f64 / of as f64 };
                comparison.holds(&share, value)
            }
            Self::Latency(latency) => latency.holds(window, now_ms),
        }
    }
}

impl Latency {
    fn holds(&self, window: &Window, now_ms: u64) -> bool {
        // The place of the request whose latency it is, counted from the quickest.
        let rank = (self.quantile / 100.0 * window.get(self.all, now_ms) as f64 + 0.5).floor() as u64;
        let above = window.get(self.at_most, now_ms) < rank;
        let reached = self.less.is_none_or(|less| window.get(less, now_ms) < rank);
        match self.comparison {
            Comparison::Greater => above,
            Comparison::GreaterOrEqual => reached,
            Comparison::Less => !reached,
            Comparison::LessOrEqual => !above,
            Comparison::Equal => reached && !above,
            Comparison::NotEqual => above || !reached,
        }
    }
}

fn latency(term: &Term, wanted: &mut Wanted) -> Result<Latency, String> {
    let name = &term.name;
    let quantile = match term.arguments.as_slice() {
        [Literal::Float(quantile)] if *quantile >= 0.0 => quantile.min(100.0),
        [Literal::Int(number)] => {
            return Err(format!("{name}({number}): write {number}.0, the quantile is a number with a point"));
        }
        _ => return Err(format!("{name} has one argument, the quantile: a number with a point from 0.0 to 100.0")),
    };
    let (comparison, ms) = match compared(term)? {
        (comparison, Literal::Int(ms)) => (comparison, *ms),
        (_, Literal::Float(ms)) => return Err(format!("{name} is compared with {ms:?}: write whole milliseconds")),
        (_, Literal::Text(text)) => return Err(format!("{name} is compared with {text:?}: write whole milliseconds")),
    };
    let ms = u64::try_from(ms).map_err(|_| format!("{name} is compared with {ms}: no latency is negative"))?;
    Ok(Latency {
        quantile,
        comparison,
        all: wanted.add(Count::Timed),
        at_most: wanted.add(Count::AtMost(ms)),
        less: ms.checked_sub(1).map(|less| wanted.add(Count::AtMost(less))),
    })
}

/// What a share is compared with.
fn ratio(term: &Term) -> Result<(Comparison, f64), String> {
    let name = &term.name;
    match compared(term)? {
        (comparison, Literal::Float(value)) if *value >= 0.0 => Ok((comparison, *value)),
        (_, Literal::Int(number)) => {
            Err(format!("{name}() is compared with {number}: write {number}.0, a share is a number with a point"))
        }
        (_, Literal::Float(value)) => Err(format!("{name}() is compared with {value:?}: no share is negative")),
        (_, Literal::Text(text)) => Err(format!("{name}() is compared with {text:?}: write a number with a point")),
    }
}

fn compared(term: &Term) -> Result<(Comparison, &Literal), String> {
    let (comparison, literal) =
        term.comparison.as_ref().ok_or_else(|| format!("{}() is compared with nothing", term.name))?;
    Ok((*comparison, literal))
}

fn whole(literal: &Literal) -> Option<i64> {
    match literal {
        Literal::Int(number) => Some(*number),
        Literal::Float(_) | Literal::Text(_) => None,
    }
}
