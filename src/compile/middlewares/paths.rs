//! Types that change where a request goes: its path, or the client itself by a redirect.

use std::sync::Arc;

use super::fault::Fault;
use crate::{
    middleware::{Middleware, RedirectScheme, StripPrefix},
    objects::middleware as object,
};

/// `redirectScheme`
pub(super) fn redirect_scheme(fields: &object::RedirectScheme) -> Result<Middleware, Fault> {
    let object::RedirectScheme { scheme, port, permanent } = fields;
    let built = RedirectScheme::new(scheme.as_deref(), port.as_deref(), permanent.unwrap_or(false));
    built.map(Middleware::RedirectScheme).map_err(|e| Fault::field("redirectScheme", e))
}

/// `stripPrefix`
pub(super) fn strip_prefix(fields: &object::StripPrefix) -> Result<Middleware, Fault> {
    // `forceSlash` has no effect, and its author was told so.
    let object::StripPrefix { prefixes, force_slash: _ } = fields;
    let built = StripPrefix::new(prefixes.iter().flatten()).map_err(|e| Fault::field("stripPrefix", e))?;
    Ok(Middleware::StripPrefix(Arc::new(built)))
}
