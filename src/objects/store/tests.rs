use super::*;
use crate::objects::{Address, Meta, endpoints::SERVICE_NAME_LABEL};

fn meta(namespace: &str, name: &str) -> Meta {
    Meta { namespace: namespace.into(), name: name.into(), ..Meta::default() }
}

fn middleware(namespace: &str, name: &str) -> Middleware {
    let spec = serde_json::json!({ "stripPrefix": { "prefixes": ["/a"] } });
    let value = serde_json::json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec });
    serde_json::from_value(value).unwrap()
}

fn slice(name: &str, service: Option<&str>, created: i64) -> EndpointSlice {
    let mut meta = Meta { created, ..meta("ns", name) };
    if let Some(service) = service {
        meta.labels.insert(SERVICE_NAME_LABEL.into(), service.into());
    }
    EndpointSlice { meta, ..EndpointSlice::default() }
}

fn apply(store: &mut Store, slice: EndpointSlice) -> bool {
    store.apply(Object::EndpointSlice(Arc::new(slice)))
}

fn names(store: &Store, service: &str) -> Vec<String> {
    store.slices_of(&Key::new("ns", service)).map(|s| s.meta.name.to_string()).collect()
}

fn services(changes: &Changes) -> Vec<&str> {
    changes.services_with_new_endpoints.iter().map(|k| &*k.name).collect()
}

#[test]
fn an_equal_object_is_no_change() {
    let mut store = Store::default();
    let service = || Object::Service(Arc::new(Service { meta: meta("ns", "a"), ..Service::default() }));
    assert!(store.apply(service()));
    assert!(!store.apply(service()));
    let id = service().id();
    assert_eq!(store.take_changes().touched, BTreeSet::from([id.clone()]));
    assert!(!store.apply(service()));
    assert!(store.take_changes().is_empty());

    assert!(store.delete(&id));
    assert!(!store.delete(&id));
    assert_eq!(store.take_changes().touched, BTreeSet::from([id]));
    assert_eq!(store.services().count(), 0);
}

#[test]
fn one_object_of_each_kind_is_found_counted_and_deleted() {
    let mut store = Store::default();
    let m = || meta("ns", "x");
    let objects = [
        Object::Ingress(Arc::new(Ingress { meta: m(), ..Ingress::default() })),
        Object::IngressClass(Arc::new(IngressClass { meta: meta("", "x"), ..IngressClass::default() })),
        Object::Service(Arc::new(Service { meta: m(), ..Service::default() })),
        Object::EndpointSlice(Arc::new(EndpointSlice { meta: m(), ..EndpointSlice::default() })),
        Object::Secret(Arc::new(Secret { meta: m(), ..Secret::default() })),
        Object::Middleware(Arc::new(middleware("ns", "x"))),
        Object::ServersTransport(Arc::new(ServersTransport { meta: m(), ..ServersTransport::default() })),
        Object::TlsOption(Arc::new(TlsOption { meta: m(), ..TlsOption::default() })),
    ];
    for object in &objects {
        assert!(store.apply(object.clone()));
    }
    assert!(store.counts().iter().all(|(_, n)| *n == 1));
    let key = Key::new("ns", "x");
    assert!(store.ingress(&key).is_some() && store.service(&key).is_some() && store.secret(&key).is_some());
    assert!(store.middleware(&key).is_some() && store.class("x").is_some());
    assert!(store.servers_transport(&key).is_some() && store.tls_option(&key).is_some());
    assert_eq!(store.ingresses().count() + store.classes().count(), 2);
    assert!(Kind::CUSTOM.into_iter().all(|kind| store.custom(kind).eq([&key])));
    assert_eq!(store.custom(Kind::Service).count(), 0);
    // A slice that belongs to no Service changes nobody's endpoints.
    let statuses = BTreeSet::from([key]);
    assert_eq!(store.take_changes(), Changes { touched: touched(&objects), statuses, ..Changes::default() });
    for object in &objects {
        assert!(store.delete(&object.id()));
    }
    assert!(store.counts().iter().all(|(_, n)| *n == 0));
}

fn touched(objects: &[Object]) -> BTreeSet<ObjectId> {
    objects.iter().map(Object::id).filter(|id| id.kind != Kind::EndpointSlice).collect()
}

#[test]
fn slices_are_ordered_by_age_then_name() {
    let mut store = Store::default();
    for (name, created) in [("c", 5), ("b", 9), ("a", 9), ("z", 1)] {
        apply(&mut store, slice(name, Some("web"), created));
    }
    apply(&mut store, slice("other", Some("web-2"), 0));
    assert_eq!(names(&store, "web"), ["z", "c", "a", "b"]);
    // Made anew under the same name: it is the youngest now, and there once.
    apply(&mut store, slice("z", Some("web"), 10));
    assert_eq!(names(&store, "web"), ["c", "a", "b", "z"]);
}

#[test]
fn a_slice_that_changes_hands_concerns_both_services() {
    let mut store = Store::default();
    assert!(apply(&mut store, slice("s", Some("old"), 0)));
    assert_eq!(services(&store.take_changes()), ["old"]);
    assert!(!apply(&mut store, slice("s", Some("old"), 0)));
    assert!(store.take_changes().is_empty());

    assert!(apply(&mut store, slice("s", Some("new"), 0)));
    let changes = store.take_changes();
    assert_eq!(services(&changes), ["new", "old"]);
    assert!(changes.touched.is_empty());
    assert_eq!((names(&store, "old").len(), names(&store, "new").len()), (0, 1));

    assert!(apply(&mut store, slice("s", None, 0)));
    assert_eq!(services(&store.take_changes()), ["new"]);
    assert!(store.delete(&ObjectId::new(Kind::EndpointSlice, Key::new("ns", "s"))));
    assert!(store.take_changes().is_empty());
    assert!(store.by_service.is_empty());
}

#[test]
fn a_status_alone_is_no_change_of_what_was_written() {
    let mut store = Store::default();
    let ingress = |ip: &str| {
        let mut ingress = Ingress { meta: meta("ns", "x"), ..Ingress::default() };
        ingress.status.load_balancer.ingress = vec![Address { ip: Some(ip.into()), hostname: None }];
        Object::Ingress(Arc::new(ingress))
    };
    assert!(store.apply(ingress("192.0.2.1")));
    store.take_changes();
    assert!(!store.apply(ingress("192.0.2.2")));
    let key = Key::new("ns", "x");
    let changes = store.take_changes();
    assert!(changes.is_empty());
    assert_eq!(changes.statuses, BTreeSet::from([key.clone()]));
    let seen = &store.ingress(&key).unwrap().status.load_balancer.ingress;
    assert_eq!(seen[0].ip.as_deref(), Some("192.0.2.2"));
    store.apply(ingress("192.0.2.2"));
    assert!(store.take_changes().statuses.is_empty());
}
