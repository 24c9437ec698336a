//! The little language of `buffering.retryExpression` and `circuitBreaker.expression`: calls, compared with literals,
//! joined by `&&` and `||`. This is as much of Go's expressions as Traefik's parser (vulcand/predicate) lets through.
//!
//! Which calls there are is not known here: [`parse`] hands each term to its caller, who makes of it what it needs
//! ([`Expression::holds`] then asks for each). So names, arguments and types are checked when the table is compiled.

/// Terms joined by `&&` and `||`.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression<T> {
    /// One term.
    Term(T),
    /// All of them.
    All(Vec<Self>),
    /// At least one of them.
    Any(Vec<Self>),
}

impl<T> Expression<T> {
    /// Whether it holds where `term` says which terms do. Asks no further than it has to.
    pub fn holds(&self, term: &mut impl FnMut(&T) -> bool) -> bool {
        match self {
            Self::Term(one) => term(one),
            Self::All(parts) => parts.iter().all(|part| part.holds(term)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(term)),
        }
    }
}

/// A term as it was written: `Attempts() <= 2`, or `IsNetworkError()`.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// The name of what is called.
    pub name: String,
    /// What stands in its parentheses.
    pub arguments: Vec<Literal>,
    /// What it is compared with, if it is.
    pub comparison: Option<(Comparison, Literal)>,
}

/// A literal value.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A whole number: `2`
    Int(i64),
    /// A number with a fraction: `0.3`
    Float(f64),
    /// Text in double quotes or backquotes: `"GET"`
    Text(String),
}

impl Literal {
    /// The number, whole or not.
    pub fn number(&self) -> Option<f64> {
        match self {
            // Numbers in expressions are counts, codes and ratios: far below what a float can't hold exactly.
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(_) => None,
        }
    }
}

/// How a term is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Comparison {
    /// Whether it holds between these two, in this order.
    pub fn holds<V: PartialOrd>(self, left: &V, right: &V) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// A longer text is no expression that a person has written.
const LONGEST: usize = 4_096;

/// Parentheses may nest so deep.
const DEEPEST: usize = 32;

/// Reads an expression; `term` makes something of each term, or says what is wrong with it.
///
/// # Errors
/// What is wrong, and at which character where that is known, for the user's eyes.
pub fn parse<T>(text: &str, term: impl FnMut(Term) -> Result<T, String>) -> Result<Expression<T>, String> {
    if text.len() > LONGEST {
        return Err(format!("the expression is longer than {LONGEST} bytes"));
    }
    let mut parser = Parser { text, at: 0, term, depth: 0 };
    let parsed = parser.any()?;
    parser.skip_space();
    if parser.rest().is_empty() { Ok(parsed) } else { Err(parser.wrong("expected &&, || or the end")) }
}

struct Parser<'a, F> {
    text: &'a str,
    /// A byte offset, always at a character.
    at: usize,
    term: F,
    depth: usize,
}

impl<F> Parser<'_, F> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `token` if it is next.
    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// Takes what these characters are.
    fn take_while(&mut self, holds: impl Fn(char) -> bool) -> String {
        let rest = self.rest();
        let length = rest.find(|c| !holds(c)).unwrap_or(rest.len());
        let taken = rest.get(..length).unwrap_or_default().to_owned();
        self.at += length;
        taken
    }

    fn wrong(&self, what: &str) -> String {
        let position = self.text.get(..self.at).unwrap_or_default().chars().count() + 1;
        match self.rest().chars().next() {
            Some(found) => format!("{what} at character {position}, found {found:?}"),
            None => format!("{what} at its end"),
        }
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.skip_space();
        let quote = self.rest().chars().next().filter(|c| matches!(c, '"' | '`'));
        if let Some(quote) = quote {
            self.at += 1;
            let text = self.take_while(|c| c != quote);
            if text.contains('\\') && quote == '"' {
                return Err(self.wrong("a backslash can't stand in text"));
            }
            return if self.take(if quote == '"' { "\"" } else { "`" }) {
                Ok(Literal::Text(text))
            } else {
                Err(self.wrong("expected the closing quote"))
            };
        }
        let start = self.at;
        let sign = if self.take("-") { "-" } else { "" };
        let digits = self.take_while(|c| c.is_ascii_digit() || c == '.');
        let number = format!("{sign}{digits}");
        let parsed = if digits.contains('.') {
            number.parse().ok().map(Literal::Float)
        } else {
            number.parse().ok().map(Literal::Int)
        };
        parsed.ok_or_else(|| {
            self.at = start;
            self.wrong("expected a number or text in quotes")
        })
    }

    fn comparison(&mut self) -> Option<Comparison> {
        // The longer ones first: `<=` begins as `<` does.
        let all = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        all.into_iter().find_map(|(token, comparison)| self.take(token).then_some(comparison))
    }

    /// A call and what it is compared with.
    fn written(&mut self) -> Result<Term, String> {
        self.skip_space();
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            self.at -= name.len();
            return Err(self.wrong("expected the name of a function"));
        }
        if !self.take("(") {
            return Err(self.wrong(&format!("expected ( behind {name}")));
        }
        let mut arguments = Vec::new();
        while !self.take(")") {
            if !arguments.is_empty() && !self.take(",") {
                return Err(self.wrong("expected , or )"));
            }
            arguments.push(self.literal()?);
        }
        let comparison = match self.comparison() {
            Some(comparison) => Some((comparison, self.literal()?)),
            None => None,
        };
        Ok(Term { name, arguments, comparison })
    }
}

impl<T, F: FnMut(Term) -> Result<T, String>> Parser<'_, F> {
    /// `a || b || …`
    fn any(&mut self) -> Result<Expression<T>, String> {
        let first = self.all()?;
        let mut parts = vec![first];
        while self.take("||") {
            parts.push(self.all()?);
        }
        Ok(joined(parts, Expression::Any))
    }

    /// `a && b && …`, which binds tighter.
    fn all(&mut self) -> Result<Expression<T>, String> {
        let first = self.one()?;
        let mut parts = vec![first];
        while self.take("&&") {
            parts.push(self.one()?);
        }
        Ok(joined(parts, Expression::All))
    }

    fn one(&mut self) -> Result<Expression<T>, String> {
        if !self.take("(") {
            let written = self.written()?;
            return (self.term)(written).map(Expression::Term);
        }
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("parentheses nest deeper than {DEEPEST}"));
        }
        let inner = self.any()?;
        self.depth -= 1;
        if self.take(")") { Ok(inner) } else { Err(self.wrong("expected )")) }
    }
}

/// One part stays itself.
fn joined<T>(mut parts: Vec<Expression<T>>, join: fn(Vec<Expression<T>>) -> Expression<T>) -> Expression<T> {
    match (parts.len(), parts.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

#[cfg(test)]
mod tests;
