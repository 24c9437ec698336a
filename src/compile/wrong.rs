//! What is wrong with a part of an object, told by those who read such parts of several kinds (TLS, Secrets): the kind's
//! own code comes from whoever asked.

/// What is wrong with a part of an object. `field` is below `spec`.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The diagnostic's code, where it is not the one that the kind has for what is invalid.
    pub(super) code: Option<&'static str>,
    pub(super) field: String,
    pub(super) message: String,
    pub(super) help: String,
}

impl Wrong {
    /// Something invalid.
    pub(super) fn of(field: impl Into<String>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { code: None, field: field.into(), message: message.into(), help: help.into() }
    }
}
