//! Types that change where a request goes: its path, or the client itself by a redirect.

use std::{collections::BTreeMap, sync::Arc};

use super::fault::Fault;
use crate::{
    middleware::{
        AddPrefix, EncodedCharacters, Middleware, RedirectRegex, RedirectScheme, ReplacePath, ReplacePathRegex,
        StripPrefix, StripPrefixRegex, encoded_characters::Allowed,
    },
    objects::middleware as object,
};

/// `addPrefix`
pub(super) fn add_prefix(fields: &object::AddPrefix) -> Result<Middleware, Fault> {
    let object::AddPrefix { prefix } = fields;
    let built = AddPrefix::new(text(prefix)).map_err(|e| Fault::field("addPrefix", e))?;
    Ok(Middleware::AddPrefix(Arc::new(built)))
}

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

/// `stripPrefixRegex`
pub(super) fn strip_prefix_regex(fields: &object::StripPrefixRegex) -> Result<Middleware, Fault> {
    let object::StripPrefixRegex { regex } = fields;
    let built = StripPrefixRegex::new(regex.iter().flatten()).map_err(|e| Fault::field("stripPrefixRegex", e))?;
    Ok(Middleware::StripPrefixRegex(Arc::new(built)))
}

/// `replacePath`
pub(super) fn replace_path(fields: &object::ReplacePath) -> Result<Middleware, Fault> {
    let object::ReplacePath { path } = fields;
    let built = ReplacePath::new(text(path)).map_err(|e| Fault::field("replacePath", e))?;
    Ok(Middleware::ReplacePath(Arc::new(built)))
}

/// `replacePathRegex`
pub(super) fn replace_path_regex(fields: &object::ReplacePathRegex) -> Result<Middleware, Fault> {
    let object::ReplacePathRegex { regex, replacement } = fields;
    let built = ReplacePathRegex::new(text(regex), text(replacement));
    Ok(Middleware::ReplacePathRegex(Arc::new(built.map_err(|e| Fault::field("replacePathRegex", e))?)))
}

/// `redirectRegex`
pub(super) fn redirect_regex(fields: &object::RedirectRegex) -> Result<Middleware, Fault> {
    let object::RedirectRegex { regex, replacement, permanent } = fields;
    let built = RedirectRegex::new(text(regex), text(replacement), permanent.unwrap_or(false));
    Ok(Middleware::RedirectRegex(Arc::new(built.map_err(|e| Fault::field("redirectRegex", e))?)))
}

/// `encodedCharacters`
pub(super) fn encoded_characters(fields: &object::EncodedCharacters) -> Middleware {
    let object::EncodedCharacters {
        allow_encoded_slash: slash,
        allow_encoded_back_slash: back_slash,
        // No request with %00 comes so far, and who would let it in was told so.
        allow_encoded_null_character: _,
        allow_encoded_semicolon: semicolon,
        allow_encoded_percent: percent,
        allow_encoded_question_mark: question_mark,
        allow_encoded_hash: hash,
    } = fields;
    let is = |flag: &Option<bool>| flag.unwrap_or(false);
    Middleware::EncodedCharacters(EncodedCharacters::new(Allowed {
        slash: is(slash),
        back_slash: is(back_slash),
        semicolon: is(semicolon),
        percent: is(percent),
        question_mark: is(question_mark),
        hash: is(hash),
    }))
}

/// Whether the deprecated field of `contentType` makes it do nothing.
pub(super) fn is_switched_off(fields: &object::ContentType) -> bool {
    let object::ContentType { auto_detect } = fields;
    *auto_detect == Some(false)
}

/// `plugin`: Traefik's own way to run code, which nothing else can run.
pub(super) fn plugin(plugins: &BTreeMap<String, object::AnyJson>) -> Fault {
    let names: Vec<String> = plugins.keys().map(|name| format!("`{}`", name.escape_debug())).collect();
    let text = format!("it is a plugin of Traefik's ({}), and those can't be run here", names.join(", "));
    let help = "use a type that does the same, or let the application do it; remove the reference if the route may go \
                without it";
    Fault { code: "MiddlewareNotSupported", ..Fault::of("plugin", text, help) }
}

fn text(field: &Option<String>) -> &str {
    field.as_deref().unwrap_or_default()
}
