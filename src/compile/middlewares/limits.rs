//! Types that let only some requests pass: by the client's address, by how many come in a time, and by how many run
//! at once.

use std::{sync::Arc, time::Duration};

use http::HeaderName;

use super::{fault::Fault, values};
use crate::{
    diagnostic::{Diagnostic, Subject},
    middleware::{
        InFlight, IpAllowList, Middleware, RateLimit,
        source::{Source, Strategy},
    },
    objects::middleware as object,
};

/// `ipAllowList`
pub(super) fn ip_allow_list(fields: &object::IpAllowList) -> Result<Middleware, Fault> {
    let object::IpAllowList { source_range, ip_strategy, reject_status_code } = fields;
    allow_list("ipAllowList", source_range.as_deref(), ip_strategy.as_ref(), *reject_status_code)
}

/// `ipWhiteList`
pub(super) fn ip_white_list(fields: &object::IpWhiteList) -> Result<Middleware, Fault> {
    let object::IpWhiteList { source_range, ip_strategy } = fields;
    allow_list("ipWhiteList", source_range.as_deref(), ip_strategy.as_ref(), None)
}

fn allow_list(
    kind: &str,
    range: Option<&[String]>,
    by: Option<&object::IpStrategy>,
    status: Option<i64>,
) -> Result<Middleware, Fault> {
    let strategy = by.map(|by| strategy(by, kind)).transpose()?.unwrap_or_default();
    let built = IpAllowList::new(range.unwrap_or_default(), strategy, status).map_err(|e| Fault::field(kind, e))?;
    Ok(Middleware::IpAllowList(Arc::new(built)))
}

/// `rateLimit`
pub(super) fn rate_limit(fields: &object::RateLimit) -> Result<Middleware, Fault> {
    // Counted here, whatever it says; its author is told so by `counted_here`.
    let object::RateLimit { average, period, burst, source_criterion, redis: _ } = fields;
    let source = source(source_criterion.as_ref(), "rateLimit")?.unwrap_or(Source::Client(Strategy::default()));
    let average = natural(*average, "rateLimit.average")?;
    let burst = natural(*burst, "rateLimit.burst")?;
    let period = period.as_ref().map(values::duration).transpose().map_err(|why| {
        Fault::of("rateLimit.period", why, "write the time that the requests of average may come in, such as 1m")
    })?;
    let built = RateLimit::new(average, period.unwrap_or(Duration::ZERO), burst, source);
    Ok(Middleware::RateLimit(Arc::new(built)))
}

/// What is said of a rate limit that is to be shared by all replicas.
pub(super) fn counted_here(fields: &object::RateLimit, subject: Subject) -> Option<Diagnostic> {
    // Nothing of it has an effect: the connections that it is about are not made.
    let object::Redis {
        endpoints: _,
        tls: _,
        secret: _,
        db: _,
        pool_size: _,
        min_idle_conns: _,
        max_active_conns: _,
        read_timeout: _,
        write_timeout: _,
        dial_timeout: _,
    } = fields.redis.as_ref()?;
    let text = "requests are not counted in Redis, but in each replica by itself: with several, more may pass";
    let help = "divide average and burst by the number of replicas, and remove the section";
    Some(Diagnostic::warning(subject, "spec.rateLimit.redis", "LocalLimit", text).help(help))
}

/// `inFlightReq`
pub(super) fn in_flight_req(fields: &object::InFlightReq) -> Result<Middleware, Fault> {
    let object::InFlightReq { amount, source_criterion } = fields;
    let source = source(source_criterion.as_ref(), "inFlightReq")?.unwrap_or(Source::Host);
    let most = natural(*amount, "inFlightReq.amount")?;
    Ok(Middleware::InFlight(Arc::new(InFlight::new(most, source))))
}

/// `sourceCriterion`: none where it names no criterion.
fn source(fields: Option<&object::SourceCriterion>, kind: &str) -> Result<Option<Source>, Fault> {
    let Some(fields) = fields else { return Ok(None) };
    let object::SourceCriterion { ip_strategy, request_header_name, request_host } = fields;
    let at = format!("{kind}.sourceCriterion");
    let header = request_header_name.as_deref().filter(|name| !name.is_empty());
    match (ip_strategy, header, request_host.unwrap_or(false)) {
        (None, None, false) => Ok(None),
        (Some(by), None, false) => strategy(by, &at).map(|strategy| Some(Source::Client(strategy))),
        (None, Some(name), false) => match HeaderName::try_from(name) {
            // Over HTTP/2, there is no header of this name.
            Ok(http::header::HOST) => Ok(Some(Source::Host)),
            Ok(name) => Ok(Some(Source::Header(name))),
            Err(_) => {
                let text = format!("`{}` is no header name", name.escape_debug());
                Err(Fault::of(format!("{at}.requestHeaderName"), text, "write a name like X-Api-Key"))
            }
        },
        (None, None, true) => Ok(Some(Source::Host)),
        _ => {
            let text = "sourceCriterion has several criteria, where one is allowed";
            Err(Fault::of(at, text, "keep one of ipStrategy, requestHeaderName and requestHost"))
        }
    }
}

/// `ipStrategy` of the section `section`.
fn strategy(fields: &object::IpStrategy, section: &str) -> Result<Strategy, Fault> {
    let object::IpStrategy { depth, excluded_ips, ipv6_subnet } = fields;
    let at = |field: &str| format!("{section}.ipStrategy.{field}");
    let ipv6_prefix = match ipv6_subnet {
        None => None,
        Some(length) => Some(u8::try_from(*length).ok().filter(|l| (1..=128).contains(l)).ok_or_else(|| {
            Fault::of(at("ipv6Subnet"), format!("{length} is no prefix length"), "write one from 1 to 128, such as 64")
        })?),
    };
    let depth = natural(*depth, &at("depth"))?;
    if let Some(skip) = depth.checked_sub(1) {
        return Ok(Strategy::Depth { skip: usize::try_from(skip).unwrap_or(usize::MAX), ipv6_prefix });
    }
    let excluded = excluded_ips.as_deref().unwrap_or_default();
    if excluded.is_empty() {
        return Ok(Strategy::Client { ipv6_prefix });
    }
    Strategy::not_of(excluded).map_err(|e| Fault::field(&format!("{section}.ipStrategy"), e))
}

/// A number that is not negative; 0 where there is none. `field` is its path below `spec`.
fn natural(number: Option<i64>, field: &str) -> Result<u64, Fault> {
    let number = number.unwrap_or(0);
    u64::try_from(number).map_err(|_| {
        let name = field.rsplit('.').next().unwrap_or(field);
        Fault::of(field, format!("{name} is negative ({number})"), "write 0 or more")
    })
}
