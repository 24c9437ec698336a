//! Why a request goes where it goes: the rules that could take it, the one that does, and what it does with it.
//!
//! Takes the table and a [`Question`], gives lines for people. It knows nothing of flags, and prints nothing.

use std::sync::Arc;

use crate::{
    balance::{Policy, Service, transport::Version},
    table::{
        Action, Entrypoints, Matcher, Route, Table, TlsOptions,
        path::Listed,
        tls::{OptionsId, Terms},
    },
    target::readable,
};

/// A request, as routing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The index of the entrypoint.
    pub entrypoint: usize,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Lower case, without port.
    pub host: &'a str,
    /// As [`crate::target::Target::compared`] writes it.
    pub path: &'a str,
    /// Where the request is redirected to, whatever its route, because it is plain HTTP (`--redirect-to-https`).
    pub redirect: Option<&'a str>,
    /// The entrypoints that speak TLS, where it leads.
    pub secured: Entrypoints,
    /// Whether pins are worth showing: the table was compiled with the keys of the file, not with random ones.
    pub pins: bool,
}

/// A rule that matches, under its host.
struct Candidate<'t> {
    host: String,
    listed: Listed<'t>,
}

/// The rules that match, the winner first and with each other one why it lost; then what the winner does.
pub fn explain(table: &Table, question: Question<'_>) -> Vec<String> {
    let winner = table.lookup(question.entrypoint, question.host, question.path);
    let parent = question.host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let (mut candidates, mut others) = (Vec::new(), 0_usize);
    let list = table.hosts.list();
    for host in [Some(question.host.to_owned()), parent, Some("*".to_owned())].into_iter().flatten() {
        let Some((_, paths)) = list.iter().find(|(of, _)| *of == host) else { continue };
        for listed in paths.list() {
            if matches(&listed, question.path) {
                candidates.push(Candidate { host: host.clone(), listed });
            } else {
                others += 1;
            }
        }
    }
    let is_winner = |c: &Candidate<'_>| winner.is_some_and(|winner| Arc::ptr_eq(winner, c.listed.route));
    let first = candidates.iter().find(|c| is_winner(c));
    let mut lines: Vec<String> = first.iter().map(|c| c.line("TAKES IT")).collect();
    lines.extend(candidates.iter().filter(|c| !is_winner(c)).map(|c| c.line(c.lost_to(first, question.entrypoint))));
    let more = if candidates.is_empty() { "" } else { "more " };
    match others {
        0 => {}
        1 => lines.push(format!("1 {more}rule of these hosts does not match")),
        n => lines.push(format!("{n} {more}rules of these hosts do not match")),
    }
    match winner {
        None => lines.push(nobody(table, question)),
        Some(route) => {
            lines.push(String::new());
            match handshake(table, question) {
                Handshake::Refused(line) => lines.push(line),
                Handshake::Done(line) => {
                    lines.extend(line);
                    lines.extend(outcome(table, route, question));
                }
            }
        }
    }
    lines
}

impl Candidate<'_> {
    fn line(&self, verdict: &str) -> String {
        let Listed { kind, path, regex: _, priority, default_backend, route } = self.listed;
        let kind = if default_backend { "default backend" } else { kind };
        let priority = priority.map(|p| format!(", priority {p}")).unwrap_or_default();
        let of = format!("Ingress {}/{}", route.labels.namespace, route.labels.ingress);
        format!("{verdict:<26} {} {path} ({kind}{priority}) of {of}", self.host)
    }

    /// Why the winner comes first: see [`crate::table::path`] for the order.
    fn lost_to(&self, winner: Option<&Self>, entrypoint: usize) -> &'static str {
        let Some(winner) = winner.filter(|_| self.listed.route.entrypoints.contains(entrypoint)) else {
            return "is not on this entrypoint";
        };
        let (own, first) = (&self.listed, &winner.listed);
        let explicit = own.priority.is_some() || first.priority.is_some();
        if self.host != winner.host {
            "has a less specific host"
        } else if own.default_backend && !first.default_backend {
            "comes after every path"
        } else if explicit && own.priority != first.priority {
            "has a lower priority"
        } else if own.path.len() < first.path.len() {
            "has a shorter path"
        } else if own.kind != first.kind && first.kind == "Exact" {
            "comes after Exact"
        } else {
            "is of a younger rule"
        }
    }
}

fn matches(listed: &Listed<'_>, request: &str) -> bool {
    match listed.kind {
        "Exact" => Matcher::Exact(listed.path.into()).matches(request),
        "Prefix" => Matcher::prefix(listed.path).matches(request),
        _ => listed.regex.is_some_and(|regex| regex.is_match(&readable(request))),
    }
}

/// What comes before the request.
enum Handshake {
    /// Nobody comes in.
    Refused(String),
    /// Under which TLSOption a client comes in, where there is one.
    Done(Option<String>),
}

fn handshake(table: &Table, question: Question<'_>) -> Handshake {
    let options = table.tls(question.entrypoint, question.host);
    let terms = match &options.policy {
        _ if !question.tls => return Handshake::Done(None),
        Err(reason) => {
            return Handshake::Refused(format!("handshakes for {} are refused: {reason}", question.host));
        }
        Ok(policy) => &policy.terms,
    };
    if options.id == OptionsId::Default && *terms == Terms::default() {
        return Handshake::Done(None);
    }
    let asked = options.asked().map(|asked| format!("; {asked}")).unwrap_or_default();
    let version = if terms.versions.oldest == Version::Tls13 { "; TLS 1.3 only" } else { "" };
    Handshake::Done(Some(format!("TLS options: {}{asked}{version}", options.id)))
}

/// What becomes of a request that no rule of its entrypoint takes.
fn nobody(table: &Table, question: Question<'_>) -> String {
    let is_over_tls = || {
        let mut secured = (0..32).filter(|index| question.secured.contains(*index));
        secured.any(|index| table.lookup(index, question.host, question.path).is_some())
    };
    match question.redirect.filter(|_| is_over_tls()) {
        Some(to) => format!("redirected to {to}: it has a route over TLS only"),
        None => "no rule takes it: 404".to_owned(),
    }
}

fn outcome(table: &Table, route: &Route, question: Question<'_>) -> Vec<String> {
    if let Some(to) = question.redirect.filter(|_| !route.acme) {
        return vec![format!("redirected to {to}, as all plain HTTP is")];
    }
    let host = table.tls(question.entrypoint, question.host);
    let unmet = |own: &&Arc<TlsOptions>| own.id != host.id && !host.stand_in_for(own);
    // Whoever names none has the default, where there is TLS.
    let default = || Some(&table.tls).filter(|_| question.tls && !route.acme);
    if let Some(own) = route.tls.as_ref().or_else(default).filter(unmet) {
        let text = "its host's do not ask of clients what they do";
        return vec![format!("answered with 503: the route is under the TLS options {}, and {text}", own.id)];
    }
    if let Action::Closed(reason) = &route.action {
        return vec![format!("the route is closed, answered with 503: {reason}")];
    }
    let mut lines = Vec::new();
    for (nth, middleware) in route.middlewares.iter().enumerate() {
        lines.push(format!("middleware {}: {middleware}", nth + 1));
    }
    if let Some(sticky) = &route.sticky {
        lines.push(format!("sessions are pinned by the cookie {}", sticky.name()));
        if !question.pins {
            lines.push("  (its pins can be shown with the keys that sign them: --cookie-keys-file)".to_owned());
        }
    }
    match &route.action {
        Action::Forward(service) => {
            lines.extend(forward(service, question.pins && route.sticky.is_some()));
        }
        Action::NoService(reason) | Action::Closed(reason) => lines.push(format!("answered with 503: {reason}")),
    }
    lines
}

fn forward(service: &Service, pins: bool) -> Vec<String> {
    let policy = match service.options.policy {
        Policy::RoundRobin => "one after the other".to_owned(),
        Policy::ClientIp(ms) => format!("by client address, remembered for {} s", ms / 1_000),
    };
    let scheme = service.options.scheme.as_str();
    let mut lines = vec![format!("goes to service {} ({scheme}), shared out {policy}", service.key)];
    let set = service.endpoints().load();
    for (index, endpoint) in set.endpoints().iter().enumerate() {
        let state = if set.is_ready(index) { "ready" } else { "terminating: keeps its sessions" };
        let pin = set.segment(index).filter(|_| pins);
        let pin = pin.map(|pin| format!(", pin {}", String::from_utf8_lossy(pin))).unwrap_or_default();
        lines.push(format!("  endpoint {} {} ({state}){pin}", endpoint.address, endpoint.pod));
    }
    if set.endpoints().is_empty() {
        lines.push("  it has no endpoint: answered with 503".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::RouteLabels,
        middleware::Chain,
        table::{Entrypoints, Paths, Rule, path::implicit_priority},
    };

    /// A rule by its matcher; `priority` 0 stands for none.
    fn rule(name: &str, matcher: Matcher, path: &str, priority: i64, entrypoints: u32, acme: bool) -> Rule {
        let route = Route {
            labels: RouteLabels::new("ns", name, "svc"),
            host: "a.test".into(),
            path: path.into(),
            entrypoints: Entrypoints(entrypoints),
            action: Action::NoService("no Service".into()),
            chain: Chain::default(),
            middlewares: Box::default(),
            tls: None,
            sticky: None,
            acme,
            access_log: true,
            metrics: true,
        };
        let explicit = priority != 0 && priority != Rule::LAST;
        let priority = if priority == 0 { implicit_priority("a.test", path) } else { priority };
        Rule { priority, explicit, matcher, route: Arc::new(route) }
    }

    fn table() -> Table {
        let prefix = |name, path, priority, on| rule(name, Matcher::prefix(path), path, priority, on, false);
        let mut table = Table::default();
        let rules = vec![
            prefix("low", "/a/b", -1, 1),
            prefix("elsewhere", "/a/b/c", 0, 2),
            prefix("short", "/a", 0, 1),
            rule("exact", Matcher::Exact("/a/b".into()), "/a/b", 0, 1, false),
            prefix("same", "/a/b", 0, 1),
            prefix("twin", "/a", 0, 1),
            prefix("default", "/", Rule::LAST, 1),
            rule("acme", Matcher::Exact("/acme".into()), "/acme", 0, 1, true),
        ];
        table.hosts.set("a.test", Some(Paths::new(rules)));
        table.hosts.set("*.test", Some(Paths::new(vec![prefix("parent", "/a", 0, 1)])));
        table
    }

    fn asked(path: &str, redirect: Option<&str>) -> Vec<String> {
        explain(
            &table(),
            Question {
                entrypoint: 0,
                tls: false,
                host: "a.test",
                path,
                redirect,
                secured: Entrypoints(0b10),
                pins: false,
            },
        )
    }

    /// Verdict and Ingress of each line.
    fn verdicts(lines: &[String]) -> Vec<(&str, &str)> {
        let split =
            |line: &'_ str| line.split_once(" a.test").or(line.split_once(" *.test")).map(|(verdict, _)| verdict.len());
        let rules = lines.iter().filter_map(|line| Some((line.get(..split(line)?)?.trim(), line.rsplit_once('/')?.1)));
        rules.collect()
    }

    #[test]
    fn the_winner_comes_first_and_every_other_one_says_why_it_lost() {
        let lines = asked("/a/b", None);
        let expected = [
            ("TAKES IT", "exact"),
            ("comes after Exact", "same"),
            ("has a shorter path", "short"),
            ("has a shorter path", "twin"),
            ("has a lower priority", "low"),
            ("comes after every path", "default"),
            ("has a less specific host", "parent"),
        ];
        assert_eq!(verdicts(&lines), expected);
        assert!(lines.contains(&"2 more rules of these hosts do not match".to_owned()), "{lines:?}");
        assert_eq!(lines.last().unwrap(), "answered with 503: no Service");
        let lines = asked("/a/b/c", None);
        assert_eq!(verdicts(&lines)[..2], [("TAKES IT", "same"), ("is not on this entrypoint", "elsewhere")]);
        assert_eq!(verdicts(&asked("/a", None))[..2], [("TAKES IT", "short"), ("is of a younger rule", "twin")]);
    }

    #[test]
    fn nobody_takes_it() {
        let question = Question {
            entrypoint: 0,
            tls: false,
            host: "b.test",
            path: "/x",
            redirect: None,
            secured: Entrypoints(0b10),
            pins: false,
        };
        assert_eq!(explain(&table(), question), ["1 rule of these hosts does not match", "no rule takes it: 404"]);
        let question = Question { host: "b.example", ..question };
        assert_eq!(explain(&table(), question), ["no rule takes it: 404"]);
    }

    #[test]
    fn plain_http_is_redirected_but_for_challenges() {
        let to = Some("https://a.test/");
        assert_eq!(asked("/a", to).last().unwrap(), "redirected to https://a.test/, as all plain HTTP is");
        assert_eq!(asked("/acme", to).last().unwrap(), "answered with 503: no Service");
        let question = Question {
            entrypoint: 0,
            tls: false,
            host: "b.example",
            path: "/",
            redirect: to,
            secured: Entrypoints(0b10),
            pins: false,
        };
        assert_eq!(explain(&table(), question), ["no rule takes it: 404"]);
    }

    #[test]
    fn a_route_that_exists_over_tls_only_is_redirected_to() {
        let question = Question {
            entrypoint: 2,
            tls: false,
            host: "a.test",
            path: "/a/b/c",
            redirect: Some("https://a.test/"),
            secured: Entrypoints(0b10),
            pins: false,
        };
        let lines = explain(&table(), question);
        assert_eq!(lines.last().unwrap(), "redirected to https://a.test/: it has a route over TLS only");
    }
}
