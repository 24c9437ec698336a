//! Who asked for a cookie (a Middleware, or the Service's annotations), and what cookie.

use aws_lc_rs::digest;

use super::pool::Services;
use crate::{
    balance::{Attributes, ServiceKey, Sticky, sticky::cookie_name},
    dialect::{SameSite, StickyOptions},
    objects::middleware,
};

/// The sticky cookie of a route, if anyone asked for one. A Middleware of the route wins over the Service.
pub(super) fn build(
    middleware: Option<&middleware::Sticky>,
    annotations: Option<&StickyOptions>,
    service: &ServiceKey,
    services: &mut Services,
) -> Option<Sticky> {
    let (name, attributes, slide, strip) = match (middleware, annotations) {
        (Some(sticky), _) => {
            let cookie = sticky.cookie.clone().unwrap_or_default();
            let attributes = Attributes {
                path: cookie.path,
                domain: cookie.domain,
                max_age: cookie.max_age.unwrap_or(0),
                secure: cookie.secure.unwrap_or(false),
                http_only: cookie.http_only.unwrap_or(false),
                same_site: cookie.same_site.map(|s| match s {
                    middleware::SameSite::None => cookie::SameSite::None,
                    middleware::SameSite::Lax => cookie::SameSite::Lax,
                    middleware::SameSite::Strict => cookie::SameSite::Strict,
                }),
            };
            (cookie.name, attributes, cookie.slide.unwrap_or(false), cookie.strip.unwrap_or(false))
        }
        (None, Some(options)) => {
            let attributes = Attributes {
                path: options.path.as_deref().map(str::to_owned),
                domain: options.domain.as_deref().map(str::to_owned),
                max_age: options.max_age.unwrap_or(0),
                secure: options.secure,
                http_only: options.http_only,
                same_site: options.same_site.map(|s| match s {
                    SameSite::None => cookie::SameSite::None,
                    SameSite::Lax => cookie::SameSite::Lax,
                    SameSite::Strict => cookie::SameSite::Strict,
                }),
            };
            (options.name.as_deref().map(str::to_owned), attributes, options.slide, options.strip)
        }
        (None, None) => return None,
    };
    let name = name.filter(|n| !n.is_empty()).map_or_else(|| default_name(service), |n| cookie_name(&n));
    let group = services.group(&name);
    Some(Sticky::new(&name, &attributes, slide, strip, group))
}

/// Traefik's default cookie name: `_` and the first 5 hex digits of SHA-1 over `_TRAEFIK_BACKEND_` and its service
/// key.
fn default_name(service: &ServiceKey) -> String {
    let joined = format!("{}-{}-{}", service.namespace, service.name, service.port);
    let words: Vec<&str> = joined.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let text = format!("_TRAEFIK_BACKEND_{}@kubernetes", words.join("-"));
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let hex: String = hash.as_ref().iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    format!("_{}", hex.get(..5).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_is_traefiks() {
        // Reproduced on Traefik 3.7.15: research/traefik.md §3.1.
        let key = ServiceKey { namespace: "default".into(), name: "st".into(), port: 80 };
        assert_eq!(default_name(&key), "_5dfd0");
    }
}
