//! A field whose value a middleware can't be built from.

/// What is wrong with a field, and what to do. `compile` turns it into a diagnostic on the object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct InvalidField {
    /// The path of the field inside the section of its middleware: `customRequestHeaders.Connection`; empty when it is
    /// the section as a whole.
    pub field: String,
    /// What is wrong, one sentence, without a full stop.
    pub message: String,
    /// What to do about it; may be empty.
    pub help: String,
}

impl InvalidField {
    /// A wrong field, with what to do.
    pub fn new(field: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into(), help: help.into() }
    }
}
