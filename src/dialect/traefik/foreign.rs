//! Annotations of other vocabularies on an Ingress that is ours: ingress-nginx's, and those of Traefik 1.
//!
//! They have no effect, which is said once for each Ingress and vocabulary. One that asked for protection where it was
//! understood closes the route: an Ingress that comes from another controller is not served open. One that let everybody
//! in asks for nothing: cert-manager writes it on each of its solvers' Ingresses.

use std::net::IpAddr;

use super::{Reading, values::boolean};
use crate::diagnostic::Diagnostic;

/// What ingress-nginx's annotations start with.
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// What an annotation protected by, and so what to write instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    Password,
    Addresses,
    /// Nothing that we have.
    Other,
}

/// What an ingress-nginx annotation protects by ("Annotations" in its user guide).
fn nginx(name: &str, value: &str) -> Option<Protection> {
    match name {
        // Unset, or switched off.
        _ if value.is_empty() => None,
        "enable-modsecurity" | "enable-global-auth" if boolean(value) == Ok(false) => None,
        "auth-type" | "auth-secret" => Some(Protection::Password),
        "whitelist-source-range" | "allowlist-source-range" | "denylist-source-range" => Some(Protection::Addresses),
        "auth-url" | "auth-signin" | "satisfy" | "enable-modsecurity" | "enable-global-auth" => Some(Protection::Other),
        _ if name.starts_with("auth-tls-") => Some(Protection::Other),
        _ => None,
    }
}

/// What an annotation of Traefik 1 protects by ("Kubernetes Ingress Controller" in its documentation), in any of the
/// spellings in which lists of addresses are met.
fn traefik_v1(name: &str, value: &str) -> Option<Protection> {
    match name {
        _ if value.is_empty() => None,
        "auth-type" | "auth-secret" | "auth-realm" => Some(Protection::Password),
        _ if name.starts_with("auth-tls-") => Some(Protection::Other),
        _ if name.contains("whitelist") || name.contains("white-list") => Some(Protection::Addresses),
        _ => None,
    }
}

/// Whether this is a list of who may come in, and it has every address of both families: as if there were none. Of one
/// family alone it does keep the other out.
fn lets_everybody_in(name: &str, value: &str) -> bool {
    if !matches!(name, "whitelist-source-range" | "allowlist-source-range") {
        return false;
    }
    let (mut v4, mut v6) = (false, false);
    for range in value.split(',') {
        let Some((address, length)) = range.trim().split_once('/') else { continue };
        if let (Ok(address), "0") = (address.parse::<IpAddr>(), length) {
            v4 |= address.is_ipv4();
            v6 |= address.is_ipv6();
        }
    }
    v4 && v6
}

impl<'m> Reading<'m> {
    /// Points out annotations of others. `v1` are those under Traefik's prefix that no version since 2 knows: name in
    /// lower case, key, value.
    pub(super) fn foreign(&mut self, v1: &[(String, &'m str, &'m str)]) {
        let nginx_keys = self.meta.annotations.iter().filter_map(|(key, value)| {
            let (head, name) = key.split_at_checked(NGINX.len())?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            let asks = head.eq_ignore_ascii_case(NGINX) && !lets_everybody_in(&name, value);
            asks.then(|| (&**key, nginx(&name, value)))
        });
        let nginx_keys: Vec<_> = nginx_keys.collect();
        self.without_effect("ingress-nginx", &nginx_keys);
        let v1 = v1.iter().filter(|(name, _, value)| !lets_everybody_in(name, value));
        let v1: Vec<_> = v1.map(|(name, key, value)| (*key, traefik_v1(name, value.trim()))).collect();
        self.without_effect("Traefik 1", &v1);
    }

    fn without_effect(&mut self, whose: &str, keys: &[(&str, Option<Protection>)]) {
        const CODE: &str = "AnnotationOfAnotherDialect";
        let field = "metadata.annotations";
        let joined = |keys: Vec<&str>| keys.join(", ");
        let others: Vec<&str> = keys.iter().filter(|(_, by)| by.is_none()).map(|(key, _)| *key).collect();
        if !others.is_empty() {
            let message = format!("what is {whose}'s has no effect here yet: {}", joined(others));
            let warning = Diagnostic::warning(self.subject.clone(), field, CODE, message);
            self.say(warning.help("remove them, or write what they did as Middlewares and router.* annotations"));
        }
        let protecting: Vec<&str> = keys.iter().filter(|(_, by)| by.is_some()).map(|(key, _)| *key).collect();
        if protecting.is_empty() {
            return;
        }
        let by = |protection| keys.iter().any(|(_, by)| *by == Some(protection));
        let advice = match (by(Protection::Password), by(Protection::Addresses)) {
            (true, true) => "write Middlewares with basicAuth and ipAllowList",
            (true, false) => "write a Middleware with basicAuth",
            (false, true) => "write a Middleware with ipAllowList",
            (false, false) => "write a Middleware that protects in its place",
        };
        let help = format!(
            "{advice}, name it in {}router.middlewares, and remove what is {whose}'s; until then, the routes concerned \
             answer 503",
            super::PREFIX
        );
        let keys = joined(protecting);
        self.close(format!("annotations that protect are {whose}'s, and not understood: {keys}"));
        let message = format!("what protects here is {whose}'s, and has no effect: {keys}");
        self.say(Diagnostic::error(self.subject.clone(), field, CODE, message).help(help));
    }
}
