//! Types that deal with backends that fail.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};

use super::{Resolver, asked::ByName, fault::Fault, statuses, values};
use crate::{
    balance::{Scheme, Service},
    diagnostic::{Diagnostic, Subject},
    middleware::{CircuitBreaker, Errors, Middleware, Retry, Statuses, circuit_breaker, errors, retry as retrying},
    objects::{Meta, middleware as object},
};

/// `retry`
pub(super) fn retry(fields: &object::Retry) -> Result<Middleware, Fault> {
    let object::Retry {
        attempts,
        initial_interval,
        timeout,
        status,
        max_request_body_bytes,
        disable_retry_on_network_error,
        retry_non_idempotent_method,
    } = fields;
    let attempts = u32::try_from(attempts.unwrap_or(0).min(i64::from(u32::MAX))).map_err(|_| {
        let help = "write how often a request is tried in all, the first time included";
        Fault::of("retry.attempts", "attempts is negative", help)
    })?;
    let most = match max_request_body_bytes {
        None => retrying::DEFAULT_MOST,
        Some(-1) => u64::MAX,
        Some(bytes) => u64::try_from(*bytes).map_err(|_| {
            let help = "write a number of bytes, or -1 for bodies of any length";
            Fault::of("retry.maxRequestBodyBytes", format!("maxRequestBodyBytes is {bytes}"), help)
        })?,
    };
    let built = Retry::new(retrying::Settings {
        attempts,
        initial_interval: duration(initial_interval.as_ref(), "retry.initialInterval")?,
        timeout: duration(timeout.as_ref(), "retry.timeout")?,
        statuses: statuses::set(status.as_deref().unwrap_or_default(), "retry.status")?,
        most,
        unreachable: !disable_retry_on_network_error.unwrap_or(false),
        any_method: retry_non_idempotent_method.unwrap_or(false),
    });
    Ok(Middleware::Retry(Arc::new(built.map_err(|e| Fault::field("retry", e))?)))
}

/// `circuitBreaker`
pub(super) fn circuit_breaker(fields: &object::CircuitBreaker) -> Result<Middleware, Fault> {
    let object::CircuitBreaker { expression, check_period, fallback_duration, recovery_duration, response_code } =
        fields;
    // 0 is the default, as in Traefik.
    let or = |written: &Option<object::Duration>, field: &str, default: Duration| {
        let written = duration(written.as_ref(), &format!("circuitBreaker.{field}"))?;
        Ok::<_, Fault>(if written.is_zero() { default } else { written })
    };
    let built = CircuitBreaker::new(circuit_breaker::Settings {
        expression: expression.clone().unwrap_or_default(),
        check_period: or(check_period, "checkPeriod", Duration::from_millis(100))?,
        fallback_duration: or(fallback_duration, "fallbackDuration", Duration::from_secs(10))?,
        recovery_duration: or(recovery_duration, "recoveryDuration", Duration::from_secs(10))?,
        status: status(response_code.unwrap_or(503), "circuitBreaker.responseCode")?,
    });
    Ok(Middleware::CircuitBreaker(Arc::new(built.map_err(|e| Fault::field("circuitBreaker", e))?)))
}

/// `errors`
pub(super) fn errors(resolver: &mut Resolver<'_>, fields: &object::Errors, meta: &Meta) -> Result<Middleware, Fault> {
    let object::Errors { status, status_rewrites, service, query, error_request_headers } = fields;
    let statuses: Statuses = statuses::set(status.as_deref().unwrap_or_default(), "errors.status")?;
    let mut rewrites = Vec::new();
    for (codes, to) in status_rewrites.iter().flatten() {
        let field = format!("errors.statusRewrites[{codes}]");
        let help = "write a code or a range before the colon, such as \"500-503\": 500";
        let codes = statuses::range(codes).map_err(|why| Fault::of(field.clone(), why, help))?;
        let to = self::status(*to, &field)?;
        // A client that looks at the status alone would take it for let in.
        if to.is_success() && [401, 403, 407].iter().any(|code| codes.contains(code)) {
            let text = format!("it would send refused authentication (401, 403, 407) as {}", to.as_u16());
            let help = "leave these codes out of the range, or send them as another error or as a redirect";
            return Err(Fault::of(field, text, help));
        }
        rewrites.push((codes, to));
    }
    let page = errors::Page::new(query.as_deref().unwrap_or_default()).map_err(|e| Fault::field("errors", e))?;
    let headers = error_request_headers.as_deref().map(names).transpose()?;
    let service = pages(resolver, service.as_ref(), meta)?;
    Ok(Middleware::Errors(Arc::new(Errors::new(errors::Settings { statuses, rewrites, service, page, headers }))))
}

/// What is said of rewrites that never come about, because no status of theirs gets a page.
pub(super) fn idle_rewrites(fields: &object::Errors, subject: &Subject) -> Vec<Diagnostic> {
    let list = fields.status.as_deref().unwrap_or_default();
    let (false, Ok(shown)) = (list.is_empty(), statuses::set(list, "errors.status")) else { return Vec::new() };
    let mut said = Vec::new();
    for codes in fields.status_rewrites.iter().flatten().map(|(codes, _)| codes) {
        let Ok(mut range) = statuses::range(codes) else { continue };
        if !range.any(|code| StatusCode::from_u16(code).is_ok_and(|code| shown.contains(code))) {
            let field = format!("spec.errors.statusRewrites[{codes}]");
            let text = format!("{field} has no effect, because `status` names none of these");
            let help = "add them to `status`, or remove it";
            said.push(Diagnostic::warning(subject.clone(), field, "NoEffect", text).help(help));
        }
    }
    said
}

/// The service that has the pages.
fn pages(
    resolver: &mut Resolver<'_>,
    service: Option<&object::ErrorService>,
    meta: &Meta,
) -> Result<Arc<Service>, Fault> {
    let missing = |field: &str, what: &str| {
        let help = "write the name and the port of the Service that has the pages";
        Fault::of(format!("errors.service{field}"), format!("it names no {what}"), help)
    };
    // Those that are not looked at have no effect, and their author is told so.
    let object::ErrorService {
        name,
        kind,
        namespace,
        port,
        scheme,
        strategy: _,
        pass_host_header,
        response_forwarding: _,
        servers_transport,
        weight: _,
        native_lb: _,
        node_port_lb: _,
        sticky: _,
        middlewares,
        health_check: _,
        passive_health_check: _,
    } = service.ok_or_else(|| missing("", "Service"))?;
    if kind == &Some(object::ServiceKind::TraefikService) {
        let help = "name a Service, without a kind";
        return Err(Fault::of("errors.service.kind", "pages come from a Service, not from a TraefikService", help));
    }
    if middlewares.as_ref().is_some_and(|list| !list.is_empty()) {
        let text = "no Middlewares can stand before the service that has the pages";
        return Err(Fault::of("errors.service.middlewares", text, "write the whole path of the page in query"));
    }
    let scheme = match scheme.as_deref().filter(|scheme| !scheme.is_empty()) {
        None => None,
        Some("http") => Some(Scheme::Http),
        Some("https") => Some(Scheme::Https),
        Some("h2c") => Some(Scheme::H2c),
        Some(other) => {
            let text = format!("`{}` is no scheme", other.escape_debug());
            return Err(Fault::of("errors.service.scheme", text, "write http, https or h2c"));
        }
    };
    let named = namespace.as_deref().filter(|namespace| !namespace.is_empty());
    let namespace = named.map_or_else(|| Arc::clone(&meta.namespace), Arc::from);
    resolver.service(&ByName {
        field: "errors.service",
        namespace: &namespace,
        name: Some(name.as_str()).filter(|name| !name.is_empty()).ok_or_else(|| missing(".name", "Service"))?,
        port: port.as_ref().ok_or_else(|| missing(".port", "port"))?,
        scheme,
        pass_host: *pass_host_header,
        transport: servers_transport.as_deref().filter(|name| !name.is_empty()).map(|name| (name, &meta.namespace)),
    })
}

fn names(list: &[String]) -> Result<Vec<HeaderName>, Fault> {
    let name = |(index, name): (usize, &String)| {
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            let text = format!("`{}` is no name of a header", name.escape_debug());
            Fault::of(format!("errors.errorRequestHeaders[{index}]"), text, "correct it, or remove it")
        })
    };
    list.iter().enumerate().map(name).collect()
}

fn duration(written: Option<&object::Duration>, field: &str) -> Result<Duration, Fault> {
    let help = "write a duration, such as 500ms or 10s";
    let name = field.rsplit('.').next().unwrap_or_default();
    let fault = |why: String| Fault::of(field, format!("{name}: {why}"), help);
    written.map_or(Ok(Duration::ZERO), |written| values::duration(written).map_err(fault))
}

/// A status that an answer can have.
fn status(code: i64, field: &str) -> Result<StatusCode, Fault> {
    let code = u16::try_from(code).ok().filter(|code| (200..=599).contains(code)).ok_or(code);
    code.and_then(|code| StatusCode::from_u16(code).map_err(|_| i64::from(code))).map_err(|code| {
        Fault::of(field, format!("{code} is no status that can be sent"), "write a number from 200 to 599")
    })
}
