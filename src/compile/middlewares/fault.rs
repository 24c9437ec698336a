//! What is wrong with a Middleware, on the way to becoming a diagnostic.

use crate::middleware::InvalidField;

/// What is wrong with a Middleware. `field` is below `spec`.
#[derive(Debug)]
pub(in crate::compile) struct Fault {
    pub(in crate::compile) code: &'static str,
    pub(in crate::compile) field: String,
    pub(in crate::compile) message: String,
    pub(in crate::compile) help: String,
}

impl Fault {
    pub(in crate::compile) fn of(
        field: impl Into<String>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Self {
        Self { code: "MiddlewareInvalid", field: field.into(), message: message.into(), help: help.into() }
    }

    pub(super) fn field(kind: &str, invalid: InvalidField) -> Self {
        Self::of(format!("{kind}.{}", invalid.field), invalid.message, invalid.help)
    }
}
