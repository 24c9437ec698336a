use super::*;

fn middleware(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "traefik.io/v1alpha1", "kind": "Middleware", "metadata": meta("a", name), "spec": spec})
}

fn chain(name: &str, members: &[&str]) -> Value {
    let members: Vec<Value> = members.iter().map(|name| json!({"name": name})).collect();
    middleware(name, json!({"chain": {"middlewares": members}}))
}

fn naming(names: &str) -> Value {
    annotated(ingress_of("a", "i", &[("x.test", "/"), ("x.test", "/p")]), "router.middlewares", names)
}

fn with(others: Vec<Value>) -> Compiler {
    let base = [service("a", "s"), services::slice("e", 1)];
    compiled(&base.into_iter().chain(others).collect::<Vec<_>>())
}

#[test]
fn a_chain_that_multiplies_closes_the_route() {
    let mut objects = vec![middleware("m0", json!({"headers": {"frameDeny": true}})), naming("a-m12@kubernetescrd")];
    for nth in 1..=12 {
        let below = format!("m{}", nth - 1);
        objects.push(chain(&format!("m{nth}"), &[&below, &below, &below, &below]));
    }
    let compiler = with(objects);
    assert_eq!(closed(&compiler, "x.test", "/").unwrap(), "the chain has more than 256 middlewares");
    assert_eq!(said(&compiler, "ChainTooLong").len(), 1);
    assert!(compiler.table().lookup(0, "x.test", "/").unwrap().chain.is_empty());
}

#[test]
fn a_long_chain_within_the_limit_is_served() {
    let members = ["m"; 255];
    let objects = vec![
        middleware("m", json!({"headers": {"frameDeny": true}})),
        chain("c", &members),
        naming("a-c@kubernetescrd"),
    ];
    let compiler = with(objects);
    let route = compiler.table().lookup(0, "x.test", "/").unwrap();
    assert!(matches!(route.action, Action::Forward(_)) && route.chain.len() == 255);
}

#[test]
fn an_unknown_field_or_an_empty_chain_closes_the_route() {
    for (spec, code) in [
        (json!({"headers": {"frameDeny": true, "frameDenyy": true}}), "UnknownField"),
        (json!({"basicAuth": {"secret": "users"}, "extra": {}}), "UnknownField"),
        (json!({"chain": {}}), "MiddlewareInvalid"),
        (json!({"chain": {"middlewares": []}}), "MiddlewareInvalid"),
        (json!({"redirectScheme": {}}), "MiddlewareInvalid"),
        (json!({"sticky": {"cookie": {"path": "/; Domain=example.com"}}}), "MiddlewareInvalid"),
        (json!({"sticky": {"cookie": {"name": "a\r\nSet-Cookie: b"}}}), "MiddlewareInvalid"),
    ] {
        let compiler = with(vec![middleware("m", spec.clone()), naming("a-m@kubernetescrd")]);
        assert!(closed(&compiler, "x.test", "/").unwrap().starts_with("Middleware a/m: "), "{spec}");
        let all = compiler.diagnostics();
        let found = all.iter().any(|d| d.code == code && d.subject.kind == "Middleware");
        assert!(found, "{spec}: {all:?}");
    }
}

#[test]
fn what_does_nothing_is_served_with_a_warning() {
    let compiler = with(vec![middleware("m", json!({"stripPrefix": {}})), naming("a-m@kubernetescrd")]);
    assert_eq!(closed(&compiler, "x.test", "/"), None);
    assert_eq!(said(&compiler, "NoEffect").len(), 1);
}

#[test]
fn the_first_sticky_of_a_route_wins() {
    let sticky = |name: &str| middleware(name, json!({"sticky": {"cookie": {"name": name}}}));
    let compiler = with(vec![sticky("one"), sticky("two"), naming("a-one@kubernetescrd,a-two@kubernetescrd")]);
    assert_eq!(compiler.table().lookup(0, "x.test", "/").unwrap().sticky.as_ref().unwrap().name(), "one");
    assert_eq!(said(&compiler, "SecondSticky").len(), 1);
}

#[test]
fn faults_of_a_services_annotations_are_said_of_the_service() {
    let service = annotated(service("a", "s"), "service.middlewares", "a-gone@kubernetescrd");
    let service = annotated(service, "service.serverstransport", "a-t@kubernetescrd");
    let compiler = compiled(&[service, ingress_of("a", "i", &[("x.test", "/")])]);
    for code in ["MiddlewareNotFound", "ServersTransportNotFound"] {
        let said = said(&compiler, code);
        assert!(said.len() == 1 && said[0].starts_with("Service a/s metadata.annotations["), "{said:?}");
    }
    assert!(closed(&compiler, "x.test", "/").is_some());
}
