use super::*;

fn base() -> Vec<Value> {
    vec![service("a", "s"), ingress_of("a", "i", &[("x.test", "/")]), slice("a", 1)]
}

pub(super) fn slice(name: &str, last: u8) -> Value {
    let mut meta = meta("a", name);
    meta["labels"] = json!({"kubernetes.io/service-name": "s"});
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": meta, "addressType": "IPv4",
        "ports": [{"port": 8080}], "endpoints": [{"addresses": [format!("10.0.0.{last}")]}]})
}

#[test]
fn a_change_of_endpoints_swaps_one_set_and_no_table() {
    let mut store = Store::default();
    for o in base() {
        store.apply(object(&o));
    }
    let mut compiler = Compiler::new(claims(), keys());
    take(&mut compiler, &mut store);
    store.apply(object(&slice("b", 2)));
    let changes = store.take_changes();
    let outcome = compiler.apply(&store, &changes, NOW);
    assert!(outcome.table.is_none() && outcome.groups.is_empty());
    assert_eq!(outcome.endpoints.len(), 1);
    assert_eq!(outcome.endpoints[0].1.endpoints().len(), 2);
    // The same again changes nothing.
    store.apply(object(&slice("b", 2)));
    let changes = store.take_changes();
    assert!(compiler.apply(&store, &changes, NOW).endpoints.is_empty());
}

#[test]
fn external_names_never_lead_to_this_host() {
    let addresses: Vec<IpAddr> =
        ["127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "0.0.0.0", "192.0.2.7"]
            .iter()
            .map(|a| a.parse().unwrap())
            .collect();
    let found: Vec<_> = external_candidates(&addresses, 80, false).into_iter().map(|c| c.address.to_string()).collect();
    assert_eq!(found, ["192.0.2.7:80"]);
    assert_eq!(external_candidates(&addresses, 80, true).len(), 4);
}

#[test]
fn a_port_is_looked_for_among_tcp_ports_first() {
    let mut shared = service("a", "s");
    shared["spec"]["ports"] = json!([
        {"port": 80, "protocol": "UDP", "name": "quic"}, {"port": 80, "name": "http"}, {"port": 53, "protocol": "UDP"}]);
    let mut slice = slice("e", 1);
    slice["ports"] = json!([
        {"name": "quic", "port": 9090, "protocol": "UDP"}, {"name": "http", "port": 8080, "protocol": "TCP"}]);
    let compiler = compiled(&[shared.clone(), slice.clone(), ingress_of("a", "i", &[("x.test", "/")])]);
    assert_eq!(closed(&compiler, "x.test", "/"), None);
    let set = compiler.services().next().unwrap().endpoints().load();
    assert_eq!(set.endpoints()[0].address.to_string(), "10.0.0.1:8080");

    let mut dns = ingress_of("a", "i", &[("x.test", "/")]);
    dns["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["port"]["number"] = json!(53);
    let compiler = compiled(&[shared, slice, dns]);
    assert_eq!(said(&compiler, "ServicePortNotTcp").len(), 1);
}

#[test]
fn a_service_that_passes_from_one_ingress_to_another_keeps_its_state() {
    let mut store = Store::default();
    for o in base() {
        store.apply(object(&o));
    }
    let mut compiler = Compiler::new(claims(), keys());
    take(&mut compiler, &mut store);
    let before = Arc::clone(compiler.services().next().unwrap());
    let endpoint = Arc::clone(&before.endpoints().load().endpoints()[0]);
    // In the order of names, the new user would come before the old one has gone, and after.
    for (old, new) in [("i", "h"), ("h", "j")] {
        store.delete(&ObjectId::new(Kind::Ingress, Key::new("a", old)));
        store.apply(object(&ingress_of("a", new, &[("x.test", "/")])));
        take(&mut compiler, &mut store);
        let after = compiler.services().next().unwrap();
        assert_eq!(after.id, before.id);
        assert!(Arc::ptr_eq(&after.endpoints().load().endpoints()[0], &endpoint));
    }
    store.delete(&ObjectId::new(Kind::Ingress, Key::new("a", "j")));
    let changes = store.take_changes();
    assert!(compiler.apply(&store, &changes, NOW).services);
    assert_eq!(compiler.services().count(), 0);
}

#[test]
fn other_options_make_the_endpoints_anew() {
    let mut store = Store::default();
    for o in base() {
        store.apply(object(&o));
    }
    let mut compiler = Compiler::new(Claims { legacy_cookies: true, ..claims() }, keys());
    take(&mut compiler, &mut store);
    let before = compiler.services().next().unwrap().endpoints().load();
    store.apply(object(&annotated(service("a", "s"), "service.serversscheme", "https")));
    let changes = store.take_changes();
    let outcome = compiler.apply(&store, &changes, NOW);
    let [(_, after)] = outcome.endpoints.as_slice() else { panic!("one set") };
    assert!(Arc::ptr_eq(&before.endpoints()[0], &after.endpoints()[0]));
    let value = |scheme: &str| {
        let url = format!("{scheme}://10.0.0.1:8080");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, url.as_bytes());
        hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!((before.legacy(value("http").as_bytes()), before.legacy(value("https").as_bytes())), (Some(0), None));
    assert_eq!((after.legacy(value("http").as_bytes()), after.legacy(value("https").as_bytes())), (None, Some(0)));
}

#[test]
fn a_service_without_endpoints_says_so() {
    let objects = [service("a", "s"), ingress_of("a", "i", &[("x.test", "/")])];
    let with = |slice: Option<Value>| {
        let compiler = compiled(&objects.iter().cloned().chain(slice).collect::<Vec<_>>());
        said(&compiler, "NoEndpoints")
    };
    let end = "so its routes are answered with 503";
    assert_eq!(with(None), [format!("Service a/s : it has no EndpointSlice, {end}")]);
    assert_eq!(with(Some(slice("e", 1))), [""; 0]);

    let mut other = slice("e", 1);
    other["ports"] = json!([{"name": "metrics", "port": 9090}, {"name": "web", "port": 8080}]);
    let text = "its EndpointSlices have no port without a name for its port 80: they have metrics, web";
    assert_eq!(with(Some(other)), [format!("Service a/s : {text}, {end}")]);

    let mut none = slice("e", 1);
    none["endpoints"] = json!(null);
    assert_eq!(with(Some(none)), [format!("Service a/s : its EndpointSlices hold no endpoint, {end}")]);

    let mut down = slice("e", 1);
    down["endpoints"][0]["conditions"] = json!({"ready": false});
    assert_eq!(with(Some(down)), [format!("Service a/s : its endpoint is not ready, {end}")]);

    // A Service that no route uses is nobody's concern; and coming and going is told.
    assert!(compiled(&[service("a", "s")]).diagnostics().is_empty());
    let mut store = Store::default();
    for o in base() {
        store.apply(object(&o));
    }
    let mut compiler = Compiler::new(claims(), keys());
    take(&mut compiler, &mut store);
    store.delete(&ObjectId::new(Kind::EndpointSlice, Key::new("a", "a")));
    let changes = store.take_changes();
    let outcome = compiler.apply(&store, &changes, NOW);
    assert!(outcome.diagnostics && !outcome.services && outcome.table.is_none());
    assert_eq!(said(&compiler, "NoEndpoints").len(), 1);
}

#[test]
fn a_cookie_group_has_the_name_that_is_sent() {
    let service = annotated(service("a", "s"), "service.sticky.cookie.name", "my cookie");
    let mut store = Store::default();
    for o in [service, ingress_of("a", "i", &[("x.test", "/")]), slice("e", 1)] {
        store.apply(object(&o));
    }
    let mut compiler = Compiler::new(claims(), keys());
    let changes = store.take_changes();
    let outcome = compiler.apply(&store, &changes, NOW);
    let route = compiler.table().lookup(0, "x.test", "/").unwrap();
    let sticky = route.sticky.as_ref().unwrap();
    assert_eq!(sticky.name(), "my_cookie");
    let [(group, members)] = outcome.groups.as_slice() else { panic!("one group") };
    assert!(Arc::ptr_eq(group, sticky.group()) && members.len() == 1);
}
