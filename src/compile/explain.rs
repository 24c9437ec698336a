//! Why a request goes where it goes: the rules that could take it, the one that does, and what it does with it.

use crate::{
    balance::Policy,
    table::{Action, Matcher, Rule, Table, path::Listed},
};

/// A request, as routing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The index of the entrypoint.
    pub entrypoint: usize,
    /// Lower case, without port.
    pub host: &'a str,
    /// Normalised.
    pub path: &'a str,
}

/// Every rule under the hosts that the request falls under, most specific host first, and the winner.
pub fn explain(table: &Table, question: Question<'_>) -> Vec<String> {
    let winner = table.lookup(question.entrypoint, question.host, question.path);
    let parent = question.host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let mut lines = Vec::new();
    let list = table.hosts.list();
    for wanted in [Some(question.host.to_owned()), parent, Some("*".to_owned())].into_iter().flatten() {
        let Some((_, paths)) = list.iter().find(|(host, _)| *host == wanted) else { continue };
        for listed in paths.list() {
            let (_, _, _, route) = listed;
            let verdict = if winner.is_some_and(|w| std::sync::Arc::ptr_eq(w, route)) {
                "TAKES IT"
            } else if !route.entrypoints.contains(question.entrypoint) {
                "is not on this entrypoint"
            } else if matches(&listed, question.path) {
                "matches, but comes later"
            } else {
                "does not match"
            };
            let (kind, path, priority, _) = listed;
            let kind = if priority == Rule::LAST { "default backend" } else { kind };
            let priority =
                if priority == Rule::LAST || priority == 0 { String::new() } else { format!(", priority {priority}") };
            let of = format!("Ingress {}/{}", route.labels.namespace, route.labels.ingress);
            lines.push(format!("{verdict:<26} {wanted} {path} ({kind}{priority}) of {of}"));
        }
    }
    match winner {
        None => lines.push("no rule takes it: 404".to_owned()),
        Some(route) => {
            lines.push(String::new());
            lines.extend(outcome(route));
        }
    }
    lines
}

fn matches((kind, path, _, _): &Listed<'_>, request: &str) -> bool {
    match *kind {
        "Exact" => Matcher::Exact((*path).into()).matches(request),
        "Prefix" => Matcher::prefix(path).matches(request),
        _ => regex::Regex::new(path).is_ok_and(|regex| regex.is_match(request)),
    }
}

fn outcome(route: &crate::table::Route) -> Vec<String> {
    let mut lines = Vec::new();
    if let Action::Closed(reason) = &route.action {
        return vec![format!("the route is closed, answered with 503: {reason}")];
    }
    for (nth, middleware) in route.middlewares.iter().enumerate() {
        lines.push(format!("middleware {}: {middleware}", nth + 1));
    }
    if let Some(sticky) = &route.sticky {
        lines.push(format!("sessions are pinned by the cookie {}", sticky.name()));
    }
    match &route.action {
        Action::Forward(service) => {
            let policy = match service.options.policy {
                Policy::RoundRobin => "one after the other".to_owned(),
                Policy::ClientIp(ms) => format!("by client address, remembered for {} s", ms / 1_000),
            };
            lines.push(format!(
                "goes to service {} ({}), shared out {policy}",
                service.key,
                service.options.scheme.as_str()
            ));
            let set = service.endpoints().load();
            for (index, endpoint) in set.endpoints().iter().enumerate() {
                let state = if set.is_ready(index) { "ready" } else { "terminating: keeps its sessions" };
                lines.push(format!("  endpoint {} {} ({state})", endpoint.address, endpoint.pod));
            }
            if set.endpoints().is_empty() {
                lines.push("  it has no endpoint: answered with 503".to_owned());
            }
        }
        Action::NoService(reason) | Action::Closed(reason) => lines.push(format!("answered with 503: {reason}")),
    }
    lines
}
