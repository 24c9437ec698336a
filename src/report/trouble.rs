//! What went wrong with a request to the API server, and whether it was said already.
//!
//! [`ask`] gives each request a limit of time and sorts errors by what is to be done about them; [`Said`] keeps the
//! log from filling with one and the same.

use std::{collections::BTreeMap, future::Future, time::Duration};

/// What one request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// 404: the object, or its namespace, is not there.
    Gone,
    /// 403 in a namespace that is being terminated.
    Ending,
    /// 403: a permission is missing.
    Forbidden,
    /// 409: somebody else was faster.
    Conflict,
    /// 429, 5xx, or no answer: it may well work later.
    Away,
    /// The request itself is refused.
    Refused,
}

/// A request that failed.
#[derive(Debug)]
pub(super) struct Trouble {
    /// What is to be done about it.
    pub(super) kind: Kind,
    /// What the server, or the network, says of it.
    pub(super) text: String,
    /// What the server asks us to wait.
    pub(super) wait: Option<Duration>,
}

/// Waits for the answer to a request, but not for ever.
///
/// # Errors
/// [`Trouble`]
pub(super) async fn ask<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Trouble> {
    match tokio::time::timeout(LIMIT, request).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error)),
        Err(_) => {
            let text = format!("no answer within {} s", LIMIT.as_secs());
            Err(Trouble { kind: Kind::Away, text, wait: None })
        }
    }
}

impl Trouble {
    fn of(error: &kube::Error) -> Self {
        let kube::Error::Api(status) = error else {
            return Self { kind: Kind::Away, text: chain(error), wait: None };
        };
        let causes = status.details.as_ref().map(|details| &*details.causes).unwrap_or_default();
        let kind = match status.code {
            404 => Kind::Gone,
            403 if causes.iter().any(|cause| cause.reason == "NamespaceTerminating") => Kind::Ending,
            401 | 403 => Kind::Forbidden,
            409 => Kind::Conflict,
            408 | 429 | 500.. => Kind::Away,
            _ => Kind::Refused,
        };
        let wait = status.details.as_ref().map(|details| details.retry_after_seconds).filter(|wait| *wait > 0);
        let wait = wait.map(|wait| Duration::from_secs(wait.into()));
        Self { kind, text: format!("{} ({})", status.message, status.code), wait }
    }
}

/// An error with what caused it: kube's own text of a failed connection names no reason.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

/// What was said last on each topic.
#[derive(Debug, Default)]
pub(super) struct Said(BTreeMap<&'static str, String>);

impl Said {
    /// Whether this is news on the topic.
    pub(super) fn news(&mut self, topic: &'static str, text: &str) -> bool {
        let news = self.0.get(topic).is_none_or(|before| before != text);
        if news {
            self.0.insert(topic, text.to_owned());
        }
        news
    }

    /// Whether something was said on the topic; from now on nothing was.
    pub(super) fn over(&mut self, topic: &'static str) -> bool {
        self.0.remove(topic).is_some()
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{
        Status,
        response::{StatusCause, StatusDetails},
    };

    use super::*;

    #[test]
    fn errors_are_sorted_by_what_to_do() {
        let kind = |code| Trouble::of(&kube::Error::Api(Status::failure("no", "").with_code(code).boxed())).kind;
        assert_eq!([404, 403, 401, 409].map(kind), [Kind::Gone, Kind::Forbidden, Kind::Forbidden, Kind::Conflict]);
        assert_eq!([429, 500, 503, 504].map(kind), [Kind::Away; 4]);
        assert_eq!([400, 405, 422].map(kind), [Kind::Refused; 3]);
        let cause =
            StatusCause { reason: "NamespaceTerminating".to_owned(), message: String::new(), field: String::new() };
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: vec![cause],
            retry_after_seconds: 7,
        };
        let status = Status::failure("namespace shop is being terminated", "Forbidden").with_code(403);
        let trouble = Trouble::of(&kube::Error::Api(status.with_details(details).boxed()));
        assert_eq!((trouble.kind, trouble.wait), (Kind::Ending, Some(Duration::from_secs(7))));
        assert_eq!(trouble.text, "namespace shop is being terminated (403)");
        assert_eq!(Trouble::of(&kube::Error::LinesCodecMaxLineLengthExceeded).kind, Kind::Away);
    }

    #[test]
    fn the_same_is_said_once_until_it_changes() {
        let mut said = Said::default();
        assert!(!said.over("a"));
        assert_eq!(
            [("a", "x"), ("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")].map(|(t, x)| said.news(t, x)),
            [true, false, true, true, true]
        );
        assert!(said.over("a"));
        assert!(said.news("a", "x"));
    }
}
