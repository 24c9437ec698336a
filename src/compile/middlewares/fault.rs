//! What is wrong with a Middleware, on the way to becoming a diagnostic.

use crate::{compile::wrong::Wrong, middleware::InvalidField};

/// What is wrong with a Middleware. `field` is below `spec`.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) help: String,
}

impl Fault {
    pub(super) fn of(field: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: "MiddlewareInvalid", field: field.into(), message: message.into(), help: help.into() }
    }

    pub(super) fn field(kind: &str, invalid: InvalidField) -> Self {
        Self::of(format!("{kind}.{}", invalid.field), invalid.message, invalid.help)
    }
}

impl From<Wrong> for Fault {
    fn from(Wrong { code, field, message, help }: Wrong) -> Self {
        let fault = Self::of(field, message, help);
        Self { code: code.unwrap_or(fault.code), ..fault }
    }
}
