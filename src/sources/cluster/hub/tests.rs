use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::diagnostic::Severity;

/// A hub whose feeds wait for ever: what they would say is said by the test.
struct Rig {
    hub: Hub,
    updates: mpsc::Receiver<Update>,
}

impl Rig {
    fn new(options: Options) -> Self {
        let nobody = tower::service_fn(|_: http::Request<Body>| {
            std::future::pending::<Result<http::Response<Body>, std::convert::Infallible>>()
        });
        let (sender, updates) = mpsc::channel(8);
        Self { hub: Hub::new(Client::new(nobody, "default"), options, sender), updates }
    }

    fn number(&self, role: &Role) -> u64 {
        *self.hub.feeds.iter().find(|(_, feed)| feed.role == *role).unwrap().0
    }

    fn say(&mut self, role: &Role, news: impl IntoIterator<Item = News>) {
        let number = self.number(role);
        news.into_iter().for_each(|news| self.hub.take(number, news));
    }

    /// A whole listing.
    fn list(&mut self, role: &Role, objects: &[Value]) {
        let objects = objects.iter().map(|object| News::Listed(wire(object)));
        self.say(role, [News::Listing { rewound: false }].into_iter().chain(objects).chain([News::Complete]));
    }

    fn list_all_but(&mut self, role: &Role) {
        let roles: Vec<Role> = self.hub.feeds.values().map(|feed| feed.role.clone()).filter(|r| r != role).collect();
        roles.iter().for_each(|role| self.list(role, &[]));
    }

    async fn flush(&mut self) -> Option<Update> {
        assert!(self.hub.flush().await);
        self.updates.try_recv().ok()
    }

    fn named(&self) -> Vec<String> {
        let name = |feed: &Feed| match &feed.role {
            Role::Named(key) => Some(key.to_string()),
            _ => None,
        };
        self.hub.feeds.values().filter_map(name).collect()
    }
}

fn wire(object: &Value) -> Wire {
    serde_json::from_str(&object.to_string()).unwrap()
}

fn object(name: &str, version: u32, rest: Value) -> Value {
    let mut all = json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": version.to_string()}});
    all.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    all
}

const INGRESS: Role = Role::Needed(Kind::Ingress);
const SERVICE: Role = Role::Needed(Kind::Service);
const MIDDLEWARE: Role = Role::Optional(Kind::Middleware);
const SECRET: Role = Role::Optional(Kind::Secret);

fn ids(update: &Update) -> (Vec<String>, Vec<String>) {
    let applied = update.applied.iter().map(|object| object.id().to_string()).collect();
    (applied, update.deleted.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn nothing_is_ready_before_everything_is_listed() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&INGRESS);
    assert!(rig.flush().await.is_none());
    // Not even when it is refused: nothing right could be served.
    rig.say(&INGRESS, [News::Listing { rewound: false }, News::Fault(Fault::Forbidden)]);
    let update = rig.flush().await.unwrap();
    assert!(!update.listed);
    let said = &update.diagnostics.unwrap()[0];
    assert_eq!((said.code, &*said.subject.name), ("Forbidden", "ingresses.networking.k8s.io"));
    assert!(said.message.contains("not ready"), "{said}");
    rig.list(&INGRESS, &[object("a", 1, json!({}))]);
    let update = rig.flush().await.unwrap();
    assert!(update.listed);
    assert_eq!((ids(&update).0, update.diagnostics), (vec!["Ingress n/a".to_owned()], Some(vec![])));
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_before_anything_is_granted_is_asked_once_more() {
    let mut rig = Rig::new(Options::default());
    // A server that starts knows nobody's permissions.
    rig.say(&MIDDLEWARE, [News::Listing { rewound: false }, News::Fault(Fault::Forbidden)]);
    assert!(!rig.flush().await.unwrap().listed);
    tokio::time::advance(Duration::from_millis(1)).await;
    rig.list_all_but(&MIDDLEWARE);
    assert!(rig.flush().await.is_none_or(|update| !update.listed), "closed routes would be told to be so");
    rig.say(&MIDDLEWARE, [News::Fault(Fault::Forbidden)]);
    assert!(rig.flush().await.unwrap().listed, "it means it");
}

#[tokio::test]
async fn what_names_them_is_closed_where_middlewares_or_secrets_are_refused() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&MIDDLEWARE);
    rig.say(&MIDDLEWARE, [News::Fault(Fault::Unknown)]);
    rig.say(&SECRET, [News::Listing { rewound: false }, News::Fault(Fault::Unreachable("gone".into()))]);
    let update = rig.flush().await.unwrap();
    assert!(update.listed, "a Secret feed that was listed once goes on");
    let codes: Vec<_> = update.diagnostics.unwrap().iter().map(|d| d.code).collect();
    assert_eq!(codes, ["NotInstalled"]);
    // The definition is installed: the feed asks again at once.
    let before = rig.number(&MIDDLEWARE);
    let crd = json!({"spec": {"versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": {"properties": {"spec":
        {"properties": {"headers": {}}}}}}}]}});
    rig.say(&Role::Definition, [News::Applied(wire(&object(DEFINITION, 1, crd)))]);
    assert_ne!(rig.number(&MIDDLEWARE), before);
    rig.list(&MIDDLEWARE, &[]);
    let codes: Vec<_> = rig.flush().await.unwrap().diagnostics.unwrap().iter().map(|d| d.code).collect();
    assert_eq!(codes, ["NoSticky"]);
    rig.say(&Role::Definition, [News::Deleted(wire(&object(DEFINITION, 2, json!({}))))]);
    assert_eq!(rig.flush().await.unwrap().diagnostics, Some(vec![]));
}

#[tokio::test]
async fn a_relisting_tells_what_differs() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&SERVICE);
    rig.list(&SERVICE, &[object("a", 1, json!({})), object("b", 2, json!({})), object("c", 3, json!({}))]);
    rig.flush().await.unwrap();
    // A listing that breaks off deletes nothing.
    rig.say(&SERVICE, [News::Listing { rewound: false }, News::Listed(wire(&object("a", 1, json!({}))))]);
    rig.say(&SERVICE, [News::Fault(Fault::Behind)]);
    assert!(rig.flush().await.is_none());
    let changed = object("b", 5, json!({"spec": {"externalName": "x"}}));
    rig.list(&SERVICE, &[changed, object("c", 3, json!({}))]);
    let update = rig.flush().await.unwrap();
    assert_eq!(ids(&update), (vec!["Service n/b".to_owned()], vec!["Service n/a".to_owned()]));
    // Gone and back within one look is a change.
    rig.say(
        &SERVICE,
        [News::Deleted(wire(&object("b", 6, json!({})))), News::Applied(wire(&object("b", 7, json!({}))))],
    );
    assert_eq!(ids(&rig.flush().await.unwrap()), (vec!["Service n/b".to_owned()], vec![]));
}

/// The same version is the same object: what the server shows of it depends on the definition that it has at the time.
#[tokio::test]
async fn the_fullest_reading_of_a_version_counts() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&MIDDLEWARE);
    let whole = object("a", 1, json!({"spec": {"sticky": {"cookie": {"name": "pin"}}}}));
    let pruned = object("a", 1, json!({"spec": {}}));
    let kept = |update: Option<Update>| {
        let Some(Object::Middleware(middleware)) = update?.applied.pop() else { panic!("a Middleware") };
        Some(middleware.spec.sticky.is_some())
    };
    // A start while the definition lacks the field.
    rig.list(&MIDDLEWARE, std::slice::from_ref(&pruned));
    assert_eq!(kept(rig.flush().await), Some(false));
    rig.list(&MIDDLEWARE, std::slice::from_ref(&whole));
    assert_eq!(kept(rig.flush().await), Some(true));
    // Lost again, and back.
    rig.list(&MIDDLEWARE, &[pruned]);
    assert_eq!(kept(rig.flush().await), None);
    rig.list(&MIDDLEWARE, &[whole]);
    assert_eq!(kept(rig.flush().await), None);
    // Written without it.
    rig.list(&MIDDLEWARE, &[object("a", 2, json!({"spec": {}}))]);
    assert_eq!(kept(rig.flush().await), Some(false));
}

#[tokio::test]
async fn an_object_that_cannot_be_read_costs_only_itself() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&SERVICE);
    rig.list(&SERVICE, &[object("a", 1, json!({"spec": {"ports": 7}})), object("b", 1, json!({}))]);
    let update = rig.flush().await.unwrap();
    assert_eq!(ids(&update).0, ["Service n/b"]);
    let said = &update.diagnostics.unwrap()[0];
    assert_eq!((said.code, &*said.field, &*said.subject.name), ("Unreadable", "spec.ports", "a"));
    rig.say(&SERVICE, [News::Applied(wire(&object("a", 2, json!({}))))]);
    let update = rig.flush().await.unwrap();
    assert_eq!((ids(&update).0, update.diagnostics), (vec!["Service n/a".to_owned()], Some(vec![])));
}

#[tokio::test]
async fn the_default_tlsoption_is_there_even_where_it_cannot_be_read() {
    let options = Role::Optional(Kind::TlsOption);
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&options);
    let wrong = json!({"spec": {"clientAuth": {"clientAuthType": "RequireAndVerify"}}});
    rig.list(&options, &[object("default", 1, wrong.clone()), object("other", 1, wrong.clone())]);
    let held = |update: &Update| match update.applied.as_slice() {
        [Object::TlsOption(option)] => Some((option.meta.name.to_string(), option.unreadable)),
        _ => None,
    };
    let update = rig.flush().await.unwrap();
    assert_eq!((held(&update), update.diagnostics.unwrap().len()), (Some(("default".to_owned(), true)), 2));
    rig.say(&options, [News::Applied(wire(&object("default", 2, json!({}))))]);
    assert_eq!(held(&rig.flush().await.unwrap()), Some(("default".to_owned(), false)));
    rig.say(&options, [News::Applied(wire(&object("default", 3, wrong)))]);
    assert_eq!(ids(&rig.flush().await.unwrap()), (vec![], vec![]), "its last good state stays");
    rig.say(&options, [News::Deleted(wire(&object("default", 4, json!({}))))]);
    assert_eq!(ids(&rig.flush().await.unwrap()).1, ["TLSOption n/default"]);
}

#[tokio::test]
async fn whoever_may_not_see_tlsoptions_is_told_what_that_opens() {
    let options = Role::Optional(Kind::TlsOption);
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&options);
    for (fault, told) in [(Fault::Forbidden, true), (Fault::Unknown, false)] {
        rig.say(&options, [News::Fault(fault)]);
        let said = &rig.flush().await.unwrap().diagnostics.unwrap()[0];
        assert_eq!(said.message.contains("TLSOption default"), told, "{}", said.message);
    }
}

#[tokio::test]
async fn secrets_are_watched_by_name_where_somebody_names_one() {
    let mut rig = Rig::new(Options::default());
    let tls = |secret: &str| json!({"spec": {"tls": [{"secretName": secret}]}});
    rig.list_all_but(&Role::Definition);
    rig.list(&Role::Definition, &[]);
    rig.list(&SECRET, &[object("by-type", 1, json!({"type": "kubernetes.io/tls"}))]);
    rig.list(&INGRESS, &[object("a", 1, tls("by-type")), object("b", 1, tls("odd"))]);
    let users = json!({"spec": {"basicAuth": {"secret": "users"}}});
    rig.list(&MIDDLEWARE, &[object("m", 1, users)]);
    assert!(rig.flush().await.is_some_and(|update| !update.listed), "named Secrets are waited for");
    assert_eq!(rig.named(), ["n/odd", "n/users"]);
    rig.list(&Role::Named(Key::new("n", "odd")), &[object("odd", 1, json!({}))]);
    rig.say(&Role::Named(Key::new("n", "users")), [News::Listing { rewound: false }, News::Fault(Fault::Forbidden)]);
    let update = rig.flush().await.unwrap();
    assert!(update.listed);
    assert_eq!(ids(&update).0, ["Secret n/odd"]);
    assert!(update.diagnostics.unwrap()[0].message.contains("metadata.name=users"));
    // It is made anew with the type that is watched anyway: no gap, and no watch of its own any more.
    rig.say(&Role::Named(Key::new("n", "odd")), [News::Deleted(wire(&object("odd", 2, json!({}))))]);
    rig.say(&SECRET, [News::Applied(wire(&object("odd", 3, json!({"type": "kubernetes.io/tls"}))))]);
    assert_eq!(ids(&rig.flush().await.unwrap()), (vec!["Secret n/odd".to_owned()], vec![]));
    assert_eq!(rig.named(), ["n/users"]);
    // Nobody names it any more.
    rig.list(&Role::Named(Key::new("n", "users")), &[object("users", 1, json!({}))]);
    rig.flush().await.unwrap();
    rig.say(&MIDDLEWARE, [News::Deleted(wire(&object("m", 2, json!({}))))]);
    let update = rig.flush().await.unwrap();
    assert_eq!(ids(&update).1, ["Secret n/users", "Middleware n/m"]);
    assert_eq!(rig.named(), <[String; 0]>::default());
}

#[tokio::test]
async fn a_right_to_secrets_by_their_names_is_enough() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&SECRET);
    rig.say(&SECRET, [News::Listing { rewound: false }, News::Fault(Fault::Forbidden)]);
    rig.list(&INGRESS, &[object("a", 1, json!({"spec": {"tls": [{"secretName": "shop"}]}}))]);
    rig.flush().await;
    assert_eq!(rig.named(), ["n/shop"]);
    rig.list(&Role::Named(Key::new("n", "shop")), &[object("shop", 1, json!({"type": "kubernetes.io/tls"}))]);
    assert!(rig.flush().await.is_some_and(|update| update.listed && ids(&update).0 == ["Secret n/shop"]));
    let said: Vec<_> = rig.hub.diagnostics().into_iter().map(|said| (said.severity, said.code)).collect();
    assert_eq!(said, [(Severity::Warning, "Forbidden")]);
}

#[tokio::test]
async fn namespaces_have_watches_of_their_own() {
    let key = Key::new("ours", "keys");
    let options = Options {
        namespaces: vec!["a".into(), "b".into()],
        ingress_selector: Some("tier=public".into()),
        cookie_keys: Some(key.clone()),
        publish_service: Some(Key::new("ours", "lb")),
    };
    let mut rig = Rig::new(options);
    let asked = |role: &Role| -> Vec<_> {
        let feeds = rig.hub.feeds.values().filter(|feed| feed.role == *role);
        feeds.map(|f| (f.query.namespace.as_deref(), f.query.fields.as_deref(), f.query.labels.as_deref())).collect()
    };
    assert_eq!(asked(&INGRESS), [(Some("a"), None, Some("tier=public")), (Some("b"), None, Some("tier=public"))]);
    assert_eq!(asked(&SERVICE), [(Some("a"), None, None), (Some("b"), None, None)]);
    assert_eq!(asked(&Role::Needed(Kind::IngressClass)), [(None, None, None)]);
    assert_eq!(asked(&Role::Keys), [(Some("ours"), Some("metadata.name=keys"), None)]);
    assert_eq!(asked(&Role::Optional(Kind::Service)), [(Some("ours"), Some("metadata.name=lb"), None)]);

    rig.list(&Role::Keys, &[]);
    assert_eq!(rig.flush().await.unwrap().cookie_keys, Some(CookieKeys::Absent));
    let secret = |data: Value| wire(&object("keys", 1, json!({"data": data})));
    for (data, seen) in [
        (json!({"keys": "YQ=="}), CookieKeys::Text("a".into())),
        (json!({"other": "YQ=="}), CookieKeys::Unusable("it has no key `keys`".into())),
        (json!({"keys": "/w=="}), CookieKeys::Unusable("its key `keys` holds no text".into())),
    ] {
        rig.say(&Role::Keys, [News::Applied(secret(data))]);
        assert_eq!(rig.flush().await.unwrap().cookie_keys, Some(seen));
    }
    rig.say(&Role::Keys, [News::Deleted(secret(json!({})))]);
    assert_eq!(rig.flush().await.unwrap().cookie_keys, Some(CookieKeys::Absent));
}

#[tokio::test(start_paused = true)]
async fn what_went_with_its_definition_while_nobody_looked_is_found_gone() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&MIDDLEWARE);
    rig.list(&MIDDLEWARE, &[object("m", 1, json!({}))]);
    rig.flush().await.unwrap();
    rig.say(&MIDDLEWARE, [News::Fault(Fault::Unknown)]);
    rig.flush().await.unwrap();
    let crd = json!({"spec": {"versions": [{"name": "v1alpha1", "schema": {"openAPIV3Schema": {"properties": {"spec":
        {"properties": {"sticky": {}}}}}}}]}});
    rig.say(&Role::Definition, [News::Applied(wire(&object(DEFINITION, 1, crd)))]);
    rig.list(&MIDDLEWARE, &[]);
    assert_eq!(ids(&rig.flush().await.unwrap()).1, ["Middleware n/m"]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_over_when_the_watches_are_taken_up_again() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&Role::Keys);
    rig.flush().await.unwrap();
    let roles: Vec<Role> = rig.hub.feeds.values().map(|feed| feed.role.clone()).collect();
    for role in &roles {
        rig.say(role, [News::Fault(Fault::Unreachable("gone".into()))]);
    }
    // A connection that breaks is made anew: nobody need be told at once.
    assert!(rig.flush().await.is_none());
    tokio::time::advance(AWAY).await;
    let said = rig.flush().await.unwrap().diagnostics.unwrap();
    assert_eq!(
        said.iter().map(|d| (d.code, &*d.message)).collect::<Vec<_>>(),
        [("Unreachable", "the API server is away: gone")]
    );
    for role in &roles {
        rig.say(role, [News::Watching]);
    }
    assert_eq!(rig.flush().await.unwrap().diagnostics, Some(vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_fails_alone_holds_nobody_back_for_ever() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&SECRET);
    rig.say(&SECRET, [News::Fault(Fault::Unreachable("it answers 500".into()))]);
    assert!(rig.flush().await.is_none_or(|update| !update.listed));
    tokio::time::advance(Duration::from_secs(31)).await;
    rig.say(&SECRET, [News::Fault(Fault::Unreachable("it answers 500".into()))]);
    let update = rig.flush().await.unwrap();
    assert!(update.listed);
    assert!(update.diagnostics.unwrap()[0].message.contains("for secrets"));
}

#[tokio::test]
async fn of_certificates_only_what_makes_them_is_kept() {
    let mut rig = Rig::new(Options::default());
    rig.list_all_but(&SECRET);
    let data = json!({"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ==", "tls.key": "YQ==", "large": "YQ=="}});
    rig.list(&SECRET, &[object("t", 1, data)]);
    let update = rig.flush().await.unwrap();
    let Object::Secret(secret) = &update.applied[0] else { panic!() };
    assert_eq!(secret.data.keys().map(|key| &**key).collect::<Vec<_>>(), ["tls.crt", "tls.key"]);
}
