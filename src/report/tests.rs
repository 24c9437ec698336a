//! The whole room over an API server in memory. Time is tokio's own and moves when all wait.

mod api;

use http::Method;
use tokio::time::{Instant, sleep, timeout};

use self::api::FakeApi;
use super::*;
use crate::diagnostic::{Diagnostic, Subject};

const LEASE: &str = "/leases/headgate";

fn ip(ip: &str) -> Address {
    Address { ip: Some(ip.into()), hostname: None }
}

fn mine() -> Vec<Address> {
    vec![ip("192.0.2.1"), ip("192.0.2.2")]
}

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

fn options(who: &str) -> Options {
    Options {
        identity: format!("{who}_x"),
        instance: who.to_owned(),
        lease: Key::new("headgate", "headgate"),
        publish: Publish::Addresses(mine()),
        cookie_keys: Some(Key::new("headgate", "cookies")),
    }
}

/// A replica, with its own client and numbers.
struct Replica {
    report: Report,
    metrics: Arc<Metrics>,
}

impl Replica {
    fn start(api: &FakeApi, who: &'static str) -> Self {
        Self::with(api, who, options(who))
    }

    fn with(api: &FakeApi, who: &'static str, options: Options) -> Self {
        let metrics = Metrics::new();
        let report = Report::start(api.client(who), options, Arc::clone(&metrics));
        api.watch(&report);
        Self { report, metrics }
    }

    fn ours(&self, name: &str, status: &[Address]) {
        self.report.ingress(key(name), Some(Standing { uid: None, ours: true, status: status.to_vec() }));
    }

    fn foreign(&self, name: &str, status: &[Address]) {
        self.report.ingress(key(name), Some(Standing { uid: None, ours: false, status: status.to_vec() }));
    }

    async fn leads(&self) {
        until(|| *self.report.leads.borrow()).await;
        assert_eq!(self.metrics.report.leader.get(), 1);
    }

    /// As if the process were killed: nothing is given back.
    fn kill(&self) {
        let tasks = self.report.tasks.lock().unwrap().take().unwrap();
        tasks.writers.iter().for_each(JoinHandle::abort);
        tasks.election.abort();
    }
}

/// Waits until it is so, an hour of tokio's time at most.
async fn until(so: impl Fn() -> bool) {
    let wait = async {
        while !so() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(3_600), wait).await.expect("it never came to be");
}

/// Lets so much time go by.
async fn pass(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_writes_and_another_takes_over() {
    let api = FakeApi::default();
    let (a, b) = (Replica::start(&api, "a"), Replica::start(&api, "b"));
    until(|| *a.report.leads.borrow() || *b.report.leads.borrow()).await;
    let (first, second, other) = if *a.report.leads.borrow() { (a, b, "b") } else { (b, a, "a") };
    let tell = |name: &str| {
        api.ingress(&key(name), &[]);
        first.ours(name, &[]);
        second.ours(name, &[]);
    };
    ["one", "two", "three"].iter().for_each(|name| tell(name));
    until(|| ["one", "two", "three"].iter().all(|name| api.status(&key(name)) == mine())).await;
    pass(60).await;
    let writes = |who: &str| api.asked(&Method::PATCH, "/status").iter().filter(|seen| seen.who == who).count();
    assert_eq!((writes(other), api.asked(&Method::PATCH, "/status").len()), (0, 3));
    assert_eq!(second.metrics.report.leader.get(), 0);

    first.kill();
    let renewed = api.asked(&Method::PUT, LEASE).last().unwrap().at;
    tell("four");
    second.leads().await;
    let waited = Instant::now() - renewed;
    let (stopped, end) = (Timing::default().deadline, Timing::default().duration);
    assert!(waited > stopped && waited <= end, "after {waited:?}, long after the holder has stopped by itself");
    until(|| api.status(&key("four")) == mine()).await;
    assert_eq!(writes(other), 1, "what stands as it should is looked at, not written");
    let lease = &api.found(LEASE)[0]["spec"];
    assert_eq!((&lease["holderIdentity"], &lease["leaseTransitions"]), (&format!("{other}_x").into(), &1.into()));
}

#[tokio::test(start_paused = true)]
async fn who_stops_gives_the_lease_back() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    let b = Replica::start(&api, "b");
    pass(30).await;
    assert_eq!(b.metrics.report.leader.get(), 0);
    let stopped = Instant::now();
    a.report.stop().await;
    assert_eq!(a.metrics.report.leader.get(), 0);
    let spec = &api.found(LEASE)[0]["spec"];
    assert_eq!((&spec["holderIdentity"], &spec["leaseDurationSeconds"]), (&"".into(), &1.into()));
    b.leads().await;
    assert!(Instant::now() - stopped < Duration::from_secs(5), "{:?}", stopped.elapsed());
    // What is told to one that has stopped is written by nobody; a second stop is none.
    api.ingress(&key("late"), &[]);
    a.ours("late", &[]);
    a.report.stop().await;
    pass(60).await;
    assert!(api.status(&key("late")).is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_while_the_server_is_silent_does_not_wait() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    api.refuse(|_, _, _| Some((0, "")));
    let stopped = Instant::now();
    a.report.stop().await;
    assert!(stopped.elapsed() <= Duration::from_millis(2_100), "{:?}", stopped.elapsed());
    assert_eq!(a.metrics.report.leader.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_others_start() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    let b = Replica::start(&api, "b");
    pass(20).await;
    // Cut off from the Lease only: it could still write.
    api.refuse(|who, method, path| {
        (who == "a" && method == Method::PUT && path.contains("/leases/")).then_some((503, ""))
    });
    until(|| !*a.report.leads.borrow()).await;
    assert!(!*b.report.leads.borrow());
    api.ingress(&key("one"), &[]);
    a.ours("one", &[]);
    b.leads().await;
    pass(5).await;
    assert!(api.asked(&Method::PATCH, "/status").is_empty(), "it leads no more");
    assert!(!*a.report.leads.borrow());
    // Silence is no better than an error.
    api.refuse(|who, _, _| (who == "b").then_some((0, "")));
    until(|| !*b.report.leads.borrow()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_and_a_deleted_lease_are_lived_with() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    // Somebody's hand on the Lease: another version of the same record.
    let path = api.world().objects.keys().find(|path| path.contains(LEASE)).unwrap().clone();
    api.world().objects.get_mut(&path).unwrap()["metadata"]["resourceVersion"] = "0".into();
    pass(30).await;
    assert!(*a.report.leads.borrow());
    assert_eq!(api.asked(&Method::PUT, LEASE).iter().filter(|seen| seen.code == 409).count(), 1);
    // Taken away.
    let mut stolen = api.world().objects[&path].clone();
    stolen["metadata"]["resourceVersion"] = "1".into();
    stolen["spec"]["holderIdentity"] = "thief".into();
    api.world().objects.insert(path.clone(), stolen);
    until(|| !*a.report.leads.borrow()).await;
    a.leads().await;
    api.world().objects.remove(&path);
    until(|| !*a.report.leads.borrow()).await;
    a.leads().await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_ingresses_are_written_once_at_a_measured_pace() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    let start = Instant::now();
    let names: Vec<String> = (0..1_000).map(|n| format!("i{n:04}")).collect();
    for name in &names {
        api.ingress(&key(name), &[]);
        a.ours(name, &[]);
    }
    until(|| a.metrics.report.status_ok.get() == 1_000).await;
    assert!((17..=25).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert!(names.iter().all(|name| api.status(&key(name)) == mine()));
    // Told again with what has come back, looked at every ten minutes: nothing more to write.
    names.iter().for_each(|name| a.ours(name, &mine()));
    pass(3_600).await;
    assert_eq!(api.asked(&Method::PATCH, "/status").len(), 1_000);
    let body = &api.asked(&Method::PATCH, "i0000/status")[0].body;
    assert_eq!(
        body["status"]["loadBalancer"]["ingress"],
        serde_json::json!([{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}])
    );
}

#[tokio::test(start_paused = true)]
async fn what_stands_as_it_should_is_not_written() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.ours("one", &[ip("192.0.2.2"), ip("192.0.2.1"), ip("192.0.2.2")]);
    a.foreign("theirs", &[ip("198.51.100.1")]);
    a.foreign("none", &[]);
    a.leads().await;
    pass(3_600).await;
    assert!(api.asked(&Method::PATCH, "").is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_keeps_overwriting_is_not_fought() {
    let api = FakeApi::default();
    api.world().meddler = Some(vec![ip("198.51.100.1")]);
    let a = Replica::start(&api, "a");
    a.leads().await;
    api.ingress(&key("one"), &[]);
    a.report.ingress(key("one"), Some(Standing { uid: None, ours: true, status: Vec::new() }));
    pass(3_600).await;
    let writes = api.asked(&Method::PATCH, "/status");
    let gaps: Vec<u64> = writes.windows(2).map(|pair| (pair[1].at - pair[0].at).as_secs()).collect();
    assert_eq!(gaps, [60, 120, 240, 480, 600, 600, 600, 600]);
    // It gives up: ours stays.
    api.world().meddler = None;
    until(|| api.status(&key("one")) == mine()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_ours_is_taken_out_and_nothing_else_is() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    for name in ["left", "gone"] {
        api.ingress(&key(name), &[]);
        a.ours(name, &[]);
    }
    until(|| api.status(&key("left")) == mine() && api.status(&key("gone")) == mine()).await;
    a.foreign("left", &mine());
    until(|| api.status(&key("left")).is_empty()).await;
    // One that leaves while nobody leads is seen by whoever leads next; another's word with our address stays.
    a.report.stop().await;
    api.ingress(&key("theirs"), &mine());
    let b = Replica::start(&api, "b");
    b.foreign("gone", &mine());
    b.foreign("theirs", &mine());
    until(|| api.status(&key("gone")).is_empty()).await;
    pass(3_600).await;
    assert_eq!(api.status(&key("theirs")), mine());
    assert_eq!(api.asked(&Method::PATCH, "theirs/status").len(), 1, "once");
}

#[tokio::test(start_paused = true)]
async fn a_new_ingress_of_an_old_name_is_written_at_once() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    api.ingress(&key("one"), &[]);
    a.ours("one", &[]);
    until(|| api.status(&key("one")) == mine()).await;
    let again = Instant::now();
    api.ingress(&key("one"), &[]);
    a.report.ingress(key("one"), None);
    a.ours("one", &[]);
    until(|| api.status(&key("one")) == mine()).await;
    assert!(again.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_asked_again_and_a_permission_may_come_later() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    let status = |code: u16| move |_: &str, _: &Method, path: &str| path.ends_with("/status").then_some((code, ""));
    api.refuse(status(503));
    api.ingress(&key("one"), &[]);
    a.ours("one", &[]);
    until(|| a.metrics.report.status_error.get() >= 3).await;
    api.world().refuse = None;
    until(|| api.status(&key("one")) == mine()).await;

    api.refuse(status(403));
    let names: Vec<String> = (0..90).map(|n| format!("i{n}")).collect();
    for name in &names {
        api.ingress(&key(name), &[]);
        a.ours(name, &[]);
    }
    let before = a.metrics.report.status_error.get();
    pass(600).await;
    let tries = a.metrics.report.status_error.get() - before;
    assert!((75..=500).contains(&tries), "as many tries as for a few of them: {tries}");
    api.world().refuse = None;
    let granted = Instant::now();
    until(|| names.iter().all(|name| api.status(&key(name)) == mine())).await;
    assert!(granted.elapsed() < Duration::from_secs(10), "{:?}", granted.elapsed());
    // One that is gone before the news of it: nobody insists.
    let before = a.metrics.report.status_error.get();
    a.ours("nowhere", &[]);
    pass(300).await;
    assert_eq!(a.metrics.report.status_error.get() - before, 1);
}

fn service(kind: &str, status: &[&str]) -> Option<Arc<Service>> {
    let ingress: Vec<_> = status.iter().map(|ip| serde_json::json!({"ip": ip})).collect();
    let service = serde_json::json!({"spec": {"type": kind}, "status": {"loadBalancer": {"ingress": ingress}}});
    Some(Arc::new(serde_json::from_value(service).unwrap()))
}

#[tokio::test(start_paused = true)]
async fn the_address_of_a_service_is_followed() {
    let api = FakeApi::default();
    let publish = Publish::Service(Key::new("headgate", "headgate"));
    let a = Replica::with(&api, "a", Options { publish, ..options("a") });
    a.leads().await;
    api.ingress(&key("one"), &[]);
    a.ours("one", &[]);
    a.report.service(service("LoadBalancer", &[]));
    pass(60).await;
    assert!(api.asked(&Method::PATCH, "").is_empty(), "it has no address yet");
    a.report.service(service("LoadBalancer", &["203.0.113.1"]));
    until(|| api.status(&key("one")) == [ip("203.0.113.1")]).await;
    a.report.service(service("LoadBalancer", &["203.0.113.2"]));
    until(|| api.status(&key("one")) == [ip("203.0.113.2")]).await;
    // Neither a lost address nor a lost Service takes anything out.
    a.report.service(service("LoadBalancer", &[]));
    pass(60).await;
    a.report.service(None);
    pass(60).await;
    assert_eq!(api.status(&key("one")), [ip("203.0.113.2")]);
    assert!(api.asked(&Method::GET, "/nodes").is_empty(), "nodes are nobody's business so far");

    api.refuse(|_, _, path| path.ends_with("/nodes").then_some((403, "")));
    a.report.service(service("NodePort", &[]));
    pass(200).await;
    let tries = api.asked(&Method::GET, "/nodes").len();
    assert!((25..=41).contains(&tries), "{tries}");
    let node = serde_json::json!({"status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
    api.world().objects.insert("/api/v1/nodes/n1".to_owned(), node);
    api.world().refuse = None;
    until(|| api.status(&key("one")) == [ip("10.0.0.1")]).await;
    let node = serde_json::json!({"status": {"addresses": [{"type": "ExternalIP", "address": "203.0.113.9"}]}});
    api.world().objects.insert("/api/v1/nodes/n2".to_owned(), node);
    until(|| api.status(&key("one")) == [ip("203.0.113.9")]).await;
}

fn told(kind: &'static str, namespace: &str, name: &str, message: &str) -> Told {
    let subject = Subject { kind, namespace: namespace.into(), name: name.into() };
    let diagnostic = Diagnostic::error(subject, "spec", "ServiceNotFound", message);
    Told { diagnostic, uid: Some("u-1".into()), api_version: "networking.k8s.io/v1" }
}

#[tokio::test(start_paused = true)]
async fn diagnostics_are_events_said_once() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    let nobodys = Told { uid: None, ..told("Ingress", "shop", "web", "it is not there") };
    let all = vec![
        told("Ingress", "shop", "web", "there is no Service a"),
        told("Ingress", "shop", "web", "there is no Service b"),
        told("IngressClass", "", "headgate", "it is wrong"),
        nobodys,
    ];
    a.report.diagnostics(all.clone());
    pass(1).await;
    assert!(api.found("/events/").is_empty(), "objects that are applied together come one by one");
    a.report.diagnostics(all.clone());
    until(|| api.found("/events/").len() == 3).await;
    pass(600).await;
    assert_eq!(api.asked(&Method::POST, "/events").len(), 3);
    assert_eq!(api.found("/namespaces/default/events/").len(), 1, "what has no namespace is told there");
    let notes: Vec<String> = api.found("/namespaces/shop/events/").iter().map(|e| e["note"].to_string()).collect();
    assert!(notes.iter().any(|note| note.contains("Service a")) && notes.iter().any(|note| note.contains("Service b")));
    // While it stands it is said again, as one Event; one that has run out is made anew.
    let lost = api.world().objects.keys().find(|path| path.contains("/namespaces/default/events/")).unwrap().clone();
    api.world().objects.remove(&lost);
    pass(1_300).await;
    let counts: Vec<_> = api.found("/events/").iter().map(|e| e["series"]["count"].as_i64()).collect();
    assert_eq!(counts.len(), 3);
    assert_eq!(counts.iter().filter(|count| **count == Some(2)).count(), 2, "{counts:?}");
    assert_eq!(a.metrics.report.events_ok.get(), 6);
    // Whoever leads next says what stands, once.
    a.report.stop().await;
    let b = Replica::start(&api, "b");
    b.report.diagnostics(all.get(..1).unwrap().to_vec());
    until(|| b.metrics.report.events_ok.get() == 1).await;
    pass(1_000).await;
    assert_eq!(b.metrics.report.events_ok.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_are_paced_and_errors_of_the_server_survived() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    api.refuse(|_, _, path| match path {
        path if path.contains("/ending/") => Some((403, "NamespaceTerminating")),
        _ => path.contains("/events").then_some((500, "")),
    });
    let mut all: Vec<Told> = (0..1_100).map(|n| told("Ingress", "shop", &format!("i{n:04}"), "wrong")).collect();
    all.insert(0, told("Ingress", "ending", "a", "wrong"));
    a.report.diagnostics(all);
    until(|| a.metrics.report.events_error.get() >= 4).await;
    assert_eq!(a.metrics.report.events_dropped.get(), 101);
    assert_eq!(a.metrics.report.events_ok.get(), 0);
    api.refuse(|_, _, path| path.contains("/ending/").then_some((403, "NamespaceTerminating")));
    until(|| a.metrics.report.events_ok.get() > 0).await;
    let start = Instant::now();
    until(|| a.metrics.report.events_ok.get() == 999).await;
    assert!((150..=210).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn events_that_may_not_be_written_in_one_namespace_hold_up_no_other() {
    let api = FakeApi::default();
    let a = Replica::start(&api, "a");
    a.leads().await;
    api.refuse(|_, _, path| path.contains("/closed/events").then_some((403, "")));
    let names = |namespace| (0..40).map(move |n| told("Ingress", namespace, &format!("i{n}"), "wrong"));
    a.report.diagnostics(names("closed").chain(names("open")).collect());
    until(|| a.metrics.report.events_ok.get() == 40).await;
    pass(600).await;
    let tries = a.metrics.report.events_error.get();
    assert!((75..=125).contains(&tries), "as many tries as for one of them: {tries}");
    api.world().refuse = None;
    let granted = Instant::now();
    until(|| a.metrics.report.events_ok.get() > 40).await;
    assert!(granted.elapsed() < Duration::from_secs(10), "{:?}", granted.elapsed());
    until(|| a.metrics.report.events_ok.get() == 80).await;
}

#[tokio::test(start_paused = true)]
async fn the_secret_of_cookie_keys_is_made_once() {
    let api = FakeApi::default();
    let (a, b) = (Replica::start(&api, "a"), Replica::start(&api, "b"));
    for replica in [&a, &b] {
        replica.report.cookie_keys(CookieKeys::Unknown);
        replica.report.cookie_keys(CookieKeys::Absent(None));
    }
    until(|| !api.found("/secrets/").is_empty()).await;
    let text = api.found("/secrets/")[0]["data"]["keys"].clone();
    b.report.cookie_keys(CookieKeys::Present);
    pass(600).await;
    assert_eq!(api.asked(&Method::POST, "/secrets").len(), 1);
    // The next leader, who has not heard of it yet, tries and leaves it as it is.
    a.report.stop().await;
    b.report.stop().await;
    let c = Replica::start(&api, "c");
    c.report.cookie_keys(CookieKeys::Absent(Some("other".to_owned())));
    until(|| api.asked(&Method::POST, "/secrets").len() == 2).await;
    pass(600).await;
    assert_eq!(api.asked(&Method::POST, "/secrets").len(), 2);
    assert_eq!(api.found("/secrets/")[0]["data"]["keys"], text);
    // Deleted later: the keys in use are kept.
    let path = api.world().objects.keys().find(|path| path.contains("/secrets/")).unwrap().clone();
    api.world().objects.remove(&path);
    api.refuse(|_, method, path| (method == Method::POST && path.contains("/secrets")).then_some((403, "")));
    c.report.cookie_keys(CookieKeys::Absent(Some("used".to_owned())));
    pass(300).await;
    let tries = api.asked(&Method::POST, "/secrets").len();
    assert!((37..=65).contains(&tries), "{tries}");
    api.world().refuse = None;
    until(|| !api.found("/secrets/").is_empty()).await;
    let keys = api.found("/secrets/")[0]["data"]["keys"].as_str().unwrap().to_owned();
    assert_eq!(keys, "dXNlZA==");
    assert_eq!(format!("{:?}", CookieKeys::Absent(Some("used".to_owned()))), "Absent(Some(…))");
}

#[tokio::test(start_paused = true)]
async fn a_leader_who_does_not_make_the_secret_is_not_waited_for_for_ever() {
    let api = FakeApi::default();
    // An update that names another Secret: the old replica leads, and waits for the new one to be ready.
    let old = Replica::with(&api, "old", Options { cookie_keys: None, ..options("old") });
    old.leads().await;
    let new = Replica::start(&api, "new");
    new.report.cookie_keys(CookieKeys::Absent(None));
    pass(5).await;
    assert!(api.found("/secrets/").is_empty(), "a leader who makes it comes first");
    until(|| !api.found("/secrets/").is_empty()).await;
    assert!(*old.report.leads.borrow() && !*new.report.leads.borrow());
}

#[tokio::test(start_paused = true)]
async fn without_the_lease_nothing_is_written() {
    let api = FakeApi::default();
    api.refuse(|_, _, path| path.contains("/leases").then_some((403, "")));
    let a = Replica::start(&api, "a");
    api.ingress(&key("one"), &[]);
    a.ours("one", &[]);
    a.report.diagnostics(vec![told("Ingress", "shop", "one", "wrong")]);
    pass(120).await;
    assert!(api.world().seen.iter().all(|seen| seen.path.contains("/leases")));
    let tries = api.world().seen.len();
    assert!((25..=60).contains(&tries), "{tries}");
    api.world().refuse = None;
    until(|| api.status(&key("one")) == mine()).await;
    until(|| api.found("/events/").len() == 1).await;
}
