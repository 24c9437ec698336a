//! Headgate with a role that can be changed, and routes of which each needs other permissions.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use k8s_openapi::api::{core::v1::Pod, events::v1::Event, networking::v1::Ingress};
use kube::ResourceExt as _;
use serde_json::{Value, json};

use super::Written;
use crate::support::{Deployed, Gate, LIMIT, Namespace, Target, get, request, until, until_equal};

/// What a load balancer would give.
const ADDRESS: &str = "203.0.113.7";

/// `users` has test:test, as in Traefik's documentation; `dGVzdDp0ZXN0` is the same as a client says it.
const OBJECTS: &str = "\
apiVersion: v1
kind: Secret
metadata: { name: users }
stringData: { users: 'test:$apr1$H6uskkkW$IgXLP6ewTrSuBkTrqE8wj/' }
---
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: auth }
spec: { basicAuth: { secret: users } }
---
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: header }
spec: { headers: { customResponseHeaders: { X-Seen: 'yes' } } }
---
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: { name: sticky }
spec: { sticky: { cookie: { name: pin } } }
---
apiVersion: traefik.io/v1alpha1
kind: TLSOption
metadata: { name: modern }
spec: { minVersion: VersionTLS13 }
---
apiVersion: traefik.io/v1alpha1
kind: ServersTransport
metadata: { name: patient }
spec: { forwardingTimeouts: { dialTimeout: 30s } }
";
const FRIEND: &str = "Basic dGVzdDp0ZXN0";

/// The answers that tell which permissions are there: 200, or 401 for a stranger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// A route that names nothing.
    pub(super) plain: u16,
    /// One that names a Middleware; 0 without its effect.
    pub(super) header: u16,
    /// One with sticky sessions; 0 without a cookie.
    pub(super) sticky: u16,
    /// One with passwords, without and with a right one.
    pub(super) stranger: u16,
    pub(super) friend: u16,
    /// Whether a host is served with its own certificate.
    pub(super) own_certificate: bool,
    /// Whether one that names a TLSOption can be reached.
    pub(super) held: bool,
    /// A route to a Service that names a ServersTransport.
    pub(super) transport: u16,
}

/// With all permissions.
pub(super) const WHOLE: Seen = Seen {
    plain: 200,
    header: 200,
    sticky: 200,
    stranger: 401,
    friend: 200,
    own_certificate: true,
    held: true,
    transport: 200,
};

/// An installation of one pod in deploy/base, and the routes.
pub(super) struct Scene {
    pub(super) space: Namespace,
    pub(super) headgate: Deployed,
    certificate: Vec<u8>,
    /// Name, kind and rules as installed.
    roles: Vec<(&'static str, Vec<Value>)>,
}

impl Scene {
    /// deploy/base with these flags. Its keys and its Lease are new.
    pub(super) fn new(flags: &[&str]) -> Self {
        // Pods are ended often here.
        let flags: Vec<&str> = flags.iter().copied().chain(["--drain-delay=0s"]).collect();
        let headgate = Deployed::apply("base", 1, &flags);
        Self::of(headgate, Namespace::new("privileges"))
    }

    /// This installation; the routes are put up in this namespace.
    pub(super) fn of(headgate: Deployed, space: Namespace) -> Self {
        let certificate = routes(&space);
        let roles = ["clusterrole", "role"].map(|kind| {
            let args = ["-n", &headgate.namespace, "get", kind, "headgate", "-o", "json"];
            let role: Value = serde_json::from_str(&space.cluster.kubectl(&args)).unwrap();
            (kind, role["rules"].as_array().unwrap().clone())
        });
        space.cluster.load_balancer(&headgate.namespace, "headgate", &[ADDRESS.parse().unwrap()]);
        Self { space, headgate, certificate, roles: roles.into() }
    }

    /// kubectl in Headgate's own namespace.
    #[track_caller]
    fn in_headgate(&self, args: &[&str]) -> String {
        let args: Vec<_> = ["-n", &self.headgate.namespace].iter().chain(args).copied().collect();
        self.space.cluster.kubectl(&args)
    }

    /// Every rule of both roles.
    pub(super) fn rules(&self) -> Vec<Value> {
        self.roles.iter().flat_map(|(_, rules)| rules.clone()).collect()
    }

    /// The rules of the `role` or the `clusterrole`.
    pub(super) fn rules_of(&self, kind: &str) -> Vec<Value> {
        self.roles.iter().filter(|(of, _)| *of == kind).flat_map(|(_, rules)| rules.clone()).collect()
    }

    /// Deletes an object in Headgate's namespace.
    pub(super) fn remove(&self, kind: &str, name: &str) {
        self.in_headgate(&["delete", kind, name]);
    }

    /// Installs the roles without these rules, each of which must be one of theirs; returns once the API server goes by
    /// that.
    #[track_caller]
    pub(super) fn grant_all_but(&self, missing: &[Value]) {
        for rule in missing {
            assert!(self.rules().contains(rule), "{rule} is no rule of deploy/base");
        }
        for (kind, rules) in &self.roles {
            let rules: Vec<_> = rules.iter().filter(|rule| !missing.contains(rule)).collect();
            let patch = json!([{"op": "replace", "path": "/rules", "value": rules}]).to_string();
            self.in_headgate(&["patch", kind, "headgate", "--type=json", "-p", &patch]);
        }
        for (kind, rules) in &self.roles {
            for rule in rules {
                // The other role may allow the same.
                let other = self.rules().iter().any(|other| !missing.contains(other) && covers(other, rule));
                self.until_allowed(kind, rule, other);
            }
        }
    }

    fn until_allowed(&self, kind: &str, rule: &Value, allowed: bool) {
        let text = |field: &str| rule[field][0].as_str().unwrap_or_default();
        let (resource, subresource) = text("resources").split_once('/').unwrap_or((text("resources"), ""));
        let group = text("apiGroups");
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        let names = rule["resourceNames"].as_array().and_then(|names| names[0].as_str());
        let resource = names.map_or(resource.clone(), |name| format!("{resource}/{name}"));
        let namespace = if kind == "role" { &self.headgate.namespace } else { &self.space.name };
        let user = format!("system:serviceaccount:{}:headgate", self.headgate.namespace);
        let mut args = vec!["auth", "can-i", text("verbs"), &resource, "-n", namespace, "--as", &user];
        let subresource = format!("--subresource={subresource}");
        if !subresource.ends_with('=') {
            args.push(&subresource);
        }
        until(&format!("{rule} is {allowed}"), LIMIT, || {
            (self.space.cluster.try_kubectl(&args).is_ok() == allowed).then_some(())
        });
    }

    /// Ends the pod; returns the next one, as soon as it answers at all.
    #[track_caller]
    pub(super) fn restarted(&self) -> Gate {
        let before: Vec<Pod> = self.space.cluster.list(&self.headgate.namespace, "");
        self.in_headgate(&["delete", "pods", "--all", "--wait=false"]);
        let gate = until("another pod runs", LIMIT, || {
            let pods: Vec<Pod> = self.space.cluster.list(&self.headgate.namespace, "");
            let mut new = pods.iter().filter(|pod| before.iter().all(|old| old.name_any() != pod.name_any()));
            let record = self.space.cluster.kubelet.record(&self.headgate.namespace, &new.next()?.name_any())?;
            record.process()?;
            let at = |port| SocketAddr::from((record.address, port));
            Some(Gate { http: at(8080), https: at(8443), health: at(9001), record })
        });
        until("it answers", LIMIT, || get(&Target::new(gate.health, "headgate"), None).ok());
        until("the one before has ended", LIMIT, || {
            let names = before.iter().map(Pod::name_any);
            let records = names.filter_map(|name| self.space.cluster.kubelet.record(&self.headgate.namespace, &name));
            records.filter_map(|record| record.process()).all(|process| process.exit().is_some()).then_some(())
        });
        gate
    }

    /// Until it says that it is ready.
    #[track_caller]
    pub(super) fn until_ready(&self, gate: &Gate) {
        until("it is ready", LIMIT, || (gate.readiness() == 200).then_some(()));
    }

    /// An Ingress that is ours and has something wrong with it; its name, which none had before.
    pub(super) fn wrong_ingress(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("wrong-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.space.apply(&ingress(&name, "nobody-knows@kubernetescrd", ""));
        name
    }

    /// Until requests are answered so, so much is written about an Ingress, and only these can't be read. What is not
    /// written must have been refused before.
    #[track_caller]
    pub(super) fn until_so(&self, gate: &Gate, seen: &Seen, ingress: &str, written: Written, forbidden: &[&str]) {
        let forbidden: Vec<_> = forbidden.iter().map(|resource| (*resource).to_owned()).collect();
        until_equal(&(*seen, written, forbidden), LIMIT, || {
            Some((self.seen(gate)?, self.written(ingress), gate.resources_forbidden()))
        });
    }

    /// How requests are answered now; `None` when there is no answer.
    pub(super) fn seen(&self, gate: &Gate) -> Option<Seen> {
        let target = |name: &str| Target::new(gate.http, &format!("{name}.example"));
        let header = get(&target("header"), None).ok()?;
        let sticky = get(&target("sticky"), None).ok()?;
        let friend = {
            let mut client = target("auth").connect().ok()?;
            client.send(request("GET", "/", "auth.example", &[("Authorization", FRIEND)], b""));
            client.try_answer(true).ok()??.status
        };
        let plain = Target::https(gate.https, "plain.example");
        let mut tls = plain.connect().ok()?;
        tls.send(plain.bytes(None));
        tls.try_answer(true).ok()??;
        Some(Seen {
            plain: get(&target("plain"), None).ok()?.status,
            header: if header.status == 200 && header.get("x-seen").is_none() { 0 } else { header.status },
            sticky: if sticky.status == 200 && sticky.cookie("pin").is_none() { 0 } else { sticky.status },
            stranger: get(&target("auth"), None).ok()?.status,
            friend,
            own_certificate: tls.certificate() == self.certificate,
            held: get(&Target::https(gate.https, "held.example"), None).is_ok_and(|answer| answer.status == 200),
            transport: get(&target("transport"), None).ok()?.status,
        })
    }

    fn written(&self, ingress: &str) -> Written {
        let object: Option<Ingress> = self.space.cluster.find(&self.space.name, ingress);
        let status = object.and_then(|object| object.status?.load_balancer?.ingress?.first()?.ip.clone());
        let events: Vec<Event> = self.space.cluster.list(&self.space.name, "");
        let about = |event: &Event| event.regarding.as_ref().and_then(|object| object.name.clone());
        Written {
            status: status.as_deref() == Some(ADDRESS),
            event: events.iter().any(|event| about(event).as_deref() == Some(ingress)),
        }
    }
}

impl Gate {
    pub(super) fn readiness(&self) -> u16 {
        let target = Target { path: "/readyz".to_owned(), ..Target::new(self.health, "headgate") };
        get(&target, None).map_or(0, |answer| answer.status)
    }

    /// What it says that it may not list and watch, in order; each once.
    #[track_caller]
    pub(super) fn forbidden(&self) -> Vec<String> {
        self.forbidden_with("")
    }

    /// Those of them that keep it from being ready.
    #[track_caller]
    pub(super) fn waits_for(&self) -> Vec<String> {
        self.forbidden_with("not ready until then")
    }

    fn forbidden_with(&self, words: &str) -> Vec<String> {
        let of = |said: &Value| {
            let message = said["message"].as_str().filter(|message| message.contains(words))?;
            let which = message.strip_prefix("we may not list and watch ")?;
            Some(which.split([';', ':']).next()?.trim_end_matches(" by type").to_owned())
        };
        let mut all: Vec<_> = self.diagnostics().iter().filter_map(of).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The same, without names of objects.
    #[track_caller]
    pub(super) fn resources_forbidden(&self) -> Vec<String> {
        let all = self.forbidden();
        let mut resources: Vec<_> = all.iter().filter_map(|which| which.split(' ').next()).map(str::to_owned).collect();
        resources.dedup();
        resources
    }
}

/// Whether a rule allows all that another one does. Both have one group and one resource.
pub(super) fn covers(rule: &Value, other: &Value) -> bool {
    let has = |field: &str| {
        let all = rule[field].as_array().cloned().unwrap_or_default();
        other[field].as_array().is_none_or(|wanted| wanted.iter().all(|one| all.contains(one)))
    };
    has("apiGroups")
        && has("resources")
        && has("verbs")
        && (rule["resourceNames"].is_null() || has("resourceNames") && !other["resourceNames"].is_null())
}

/// Puts up the routes; returns the certificate of the plain one.
pub(super) fn routes(space: &Namespace) -> Vec<u8> {
    space.whoami("app", 1, &[]);
    space.apply(OBJECTS);
    let certificate = space.tls_secret("shop-tls", "plain.example");
    space.apply(&ingress("plain", "", "  tls: [{ hosts: [plain.example], secretName: shop-tls }]\n"));
    for name in ["auth", "header", "sticky"] {
        space.apply(&ingress(name, &format!("{}-{name}@kubernetescrd", space.name), ""));
    }
    let of =
        |key: &str, name: &str| format!("traefik.ingress.kubernetes.io/{key}: {}-{name}@kubernetescrd", space.name);
    let none = "traefik.ingress.kubernetes.io/router.middlewares: ''";
    space.apply(&ingress("held", "", "").replace(none, &of("router.tls.options", "modern")));
    space.apply(&ingress("transport", "", "").replace("name: app,", "name: app-by-transport,"));
    let service = "\
apiVersion: v1
kind: Service
metadata: { name: app-by-transport, annotations: { ANNOTATION } }
spec: { selector: { app: app }, ports: [{ name: http, port: 80, targetPort: http }] }
";
    space.apply(&service.replace("ANNOTATION", &of("service.serverstransport", "patient")));
    certificate
}

/// An Ingress for the host NAME.example.
fn ingress(name: &str, middlewares: &str, tls: &str) -> String {
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations: {{ traefik.ingress.kubernetes.io/router.middlewares: '{middlewares}' }}
spec:
  ingressClassName: headgate
{tls}  rules:
  - host: {name}.example
    http:
      paths:
      - {{ path: /, pathType: Prefix, backend: {{ service: {{ name: app, port: {{ number: 80 }} }} }} }}
"
    )
}
