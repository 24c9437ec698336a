//! `retryExpression`: when another answer is wanted.

use http::{Method, StatusCode};

use crate::middleware::{
    InvalidField,
    expression::{self, Comparison, Expression, Literal},
};

/// A `retryExpression`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Predicate(Expression<Condition>);

#[derive(Clone, Debug, PartialEq)]
enum Condition {
    /// `IsNetworkError()`: no endpoint has answered, or one that is a proxy says so of its own.
    NetworkError,
    /// `Attempts() <= 2`
    Attempts(Comparison, i64),
    /// `ResponseCode() == 503`
    ResponseCode(Comparison, i64),
    /// `RequestMethod() == "GET"`
    RequestMethod(Comparison, String),
}

impl Predicate {
    pub(super) fn new(text: &str) -> Result<Self, InvalidField> {
        let help = "write comparisons of Attempts(), ResponseCode() and RequestMethod(), or IsNetworkError(), joined by \
                    && and ||";
        let parsed = expression::parse(text, Condition::new);
        let said =
            |wrong| InvalidField::new("retryExpression", format!("retryExpression can't be read: {wrong}"), help);
        parsed.map(Self).map_err(said)
    }

    /// Whether it holds after this attempt, counted from one.
    pub(super) fn holds(&self, attempt: u32, method: &Method, status: StatusCode) -> bool {
        self.0.holds(&mut |condition| match condition {
            Condition::NetworkError => matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT),
            Condition::Attempts(comparison, number) => comparison.holds(&i64::from(attempt), number),
            Condition::ResponseCode(comparison, number) => comparison.holds(&i64::from(status.as_u16()), number),
            Condition::RequestMethod(comparison, name) => comparison.holds(&method.as_str(), &name.as_str()),
        })
    }
}

impl Condition {
    fn new(term: expression::Term) -> Result<Self, String> {
        let name = term.name.as_str();
        if !matches!(name, "IsNetworkError" | "Attempts" | "ResponseCode" | "RequestMethod") {
            return Err(format!("there is no function {name}"));
        }
        if !term.arguments.is_empty() {
            return Err(format!("{name} takes no arguments"));
        }
        match (name, term.comparison) {
            ("IsNetworkError", None) => Ok(Self::NetworkError),
            ("IsNetworkError", Some(_)) => Err(format!("{name}() is true or false: it can't be compared")),
            (_, None) => Err(format!("{name}() has to be compared, such as {name}() == …")),
            ("Attempts", Some((comparison, Literal::Int(number)))) => Ok(Self::Attempts(comparison, number)),
            ("ResponseCode", Some((comparison, Literal::Int(number)))) => Ok(Self::ResponseCode(comparison, number)),
            ("RequestMethod", Some((comparison @ (Comparison::Equal | Comparison::NotEqual), Literal::Text(text)))) => {
                Ok(Self::RequestMethod(comparison, text))
            }
            ("RequestMethod", _) => Err(format!("{name}() is compared by == or != with text in quotes")),
            _ => Err(format!("{name}() is compared with a whole number")),
        }
    }
}
