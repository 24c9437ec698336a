//! Which endpoint a request gets: exact round-robin, ClientIP affinity, endpoints that refuse or are going.

use std::{net::Ipv4Addr, sync::Arc};

use serde_json::{Value, json};

use crate::support::{
    Backend, Client, Headgate, Ingress, Manifests, Pods, Service, Slice,
    manifests::{app, service_of, service_of_pods},
    request,
};

fn manifests_of(pods: &Pods) -> Manifests {
    let mut objects = service_of_pods("app", pods);
    objects.push(Ingress::simple("app.test", "app").into());
    Manifests::of(objects)
}

fn exactly_two_each(workers: &str) {
    let pods = Pods::start("nginx-test", 15);
    let manifests = manifests_of(&pods);
    let gate = Headgate::start_with(&manifests, &["--workers", workers]);
    for _ in 0..30 {
        assert_eq!(gate.get("app.test", "/").status, 200);
    }
    assert_eq!(pods.counts(), [2; 15], "30 requests, each on a new connection");

    let mut connections = [gate.connect(), gate.connect(), gate.connect()];
    for round in 0..30 {
        assert_eq!(connections[round % 3].get("app.test", "/").status, 200);
    }
    assert_eq!(pods.counts(), [4; 15], "30 more over 3 keep-alive connections");
}

#[test]
fn fifteen_pods_and_thirty_requests_are_two_each_with_one_worker() {
    exactly_two_each("1");
}

#[test]
fn fifteen_pods_and_thirty_requests_are_two_each_with_two_workers() {
    exactly_two_each("2");
}

#[test]
fn concurrent_clients_share_one_exact_round_robin() {
    let pods = Pods::start("nginx-test", 15);
    let manifests = manifests_of(&pods);
    let gate = Arc::new(Headgate::start(&manifests));
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let gate = Arc::clone(&gate);
            std::thread::spawn(move || {
                let mut client = gate.connect();
                for _ in 0..50 {
                    assert_eq!(client.get("app.test", "/").status, 200);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(pods.counts(), [20; 15]);
}

#[test]
fn a_duplicate_endpoint_counts_once() {
    let pods = Pods::start("app", 2);
    let slice = Slice::of("app", pods.port, &pods.all).endpoint(&pods.all[0]);
    let again = Slice::new("app", "again", pods.port).endpoint(&pods.all[0]);
    let objects =
        [Value::from(Service::new("app")), slice.into(), again.into(), Ingress::simple("app.test", "app").into()];
    let gate = Headgate::start(&Manifests::of(objects));
    for _ in 0..8 {
        assert_eq!(gate.get("app.test", "/").status, 200);
    }
    assert_eq!(pods.counts(), [4, 4]);
}

/// The pod that answers a client at 127.1.0.`last`.
fn from(gate: &Headgate, last: u8) -> String {
    let answer = Client::connect_from(Ipv4Addr::new(127, 1, 0, last).into(), gate.web()).get("app.test", "/");
    assert_eq!(answer.status, 200);
    answer.text()
}

#[test]
fn client_ip_affinity_keeps_its_clients_when_pods_are_added() {
    let pods = Pods::start("nginx-test", 15);
    let with = |count: usize| {
        [
            Value::from(Service::new("app").affinity("ClientIP", 10800)),
            Slice::of("app", pods.port, &pods.all[..count]).into(),
            Ingress::simple("app.test", "app").into(),
        ]
    };
    let manifests = Manifests::of(with(3));
    let gate = Headgate::start(&manifests);
    let first: Vec<String> = (1..=24).map(|client| from(&gate, client)).collect();
    for pod in &pods.all[..3] {
        assert!(first.iter().any(|name| name == pod.name()), "none of 24 clients has {}", pod.name());
    }
    for (client, pod) in (1..=24).zip(&first) {
        assert_eq!(&from(&gate, client), pod, "client {client} again");
    }

    manifests.put("main", with(15));
    // New clients reach new pods once the change is live; one address for each look, so that none is remembered.
    let mut newcomers = 25..=254;
    crate::support::eventually("a new pod is used", || {
        let pod = from(&gate, newcomers.next().expect("a new pod among 230 new clients"));
        pods.all[3..].iter().any(|p| p.name() == pod)
    });
    for (client, pod) in (1..=24).zip(&first) {
        assert_eq!(&from(&gate, client), pod, "client {client} after scaling up");
    }

    manifests.put(
        "main",
        [
            Value::from(Service::new("app").affinity("ClientIP", 10800)),
            Slice::of("app", pods.port, &pods.all[1..3]).into(),
            Ingress::simple("app.test", "app").into(),
        ],
    );
    let gone = pods.all[0].name();
    let moved = (1..=24).zip(&first).find(|(_, pod)| *pod == gone).unwrap().0;
    crate::support::eventually("the clients of a removed pod move", || from(&gate, moved) != gone);
    for (client, pod) in (1..=24).zip(&first).filter(|(_, pod)| *pod == pods.all[1].name()) {
        assert_eq!(&from(&gate, client), pod, "client {client} of a pod that stayed");
    }
}

#[test]
fn affinity_none_is_round_robin_whatever_timeout_stands_beside_it() {
    let pods = Pods::start("nginx-test", 3);
    let objects = [
        Value::from(Service::new("app").affinity("None", 0)),
        Slice::of("app", pods.port, &pods.all).into(),
        Ingress::simple("app.test", "app").into(),
    ];
    let gate = Headgate::start(&Manifests::of(objects));
    for _ in 0..9 {
        assert_eq!(gate.get("app.test", "/").status, 200);
    }
    assert_eq!(pods.counts(), [3; 3]);
}

#[test]
fn a_client_behind_a_trusted_proxy_is_whom_the_proxy_says() {
    let pods = Pods::start("nginx-test", 3);
    let objects = [
        Value::from(Service::new("app").affinity("ClientIP", 10800)),
        Slice::of("app", pods.port, &pods.all).into(),
        Ingress::simple("app.test", "app").into(),
    ];
    let gate = Headgate::start_with(&Manifests::of(objects), &["--trusted-ips", "127.0.0.0/8"]);
    let pod =
        |client: u8| gate.get_with("app.test", "/", &[("X-Forwarded-For", &format!("203.0.113.{client}"))]).text();
    let first: Vec<String> = (1..=24).map(&pod).collect();
    assert_eq!((1..=24).map(&pod).collect::<Vec<_>>(), first);
    assert!(first.iter().any(|p| *p != first[0]), "24 clients are not all at one pod");
}

#[test]
fn an_endpoint_that_refuses_costs_the_client_nothing() {
    let mut pods = Pods::start("nginx-test", 3);
    pods.all[1].refuse();
    let gate = Headgate::start(&manifests_of(&pods));
    for _ in 0..15 {
        let answer = gate.get("app.test", "/");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    for _ in 0..15 {
        let answer = gate.send("POST", "app.test", "/", &[], b"a body that must arrive whole");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let bodies = pods.all.iter().flat_map(Backend::requests).filter(|r| r.method() == "POST");
    assert!(bodies.into_iter().all(|r| r.body == b"a body that must arrive whole"));
    assert_eq!(pods.counts().iter().sum::<usize>(), 30);

    pods.all[1].resume();
    let before = pods.all[1].count();
    gate.until("app.test", "/", "the endpoint is tried again", |_| pods.all[1].count() > before);
}

#[test]
fn when_every_endpoint_refuses_each_is_still_tried() {
    let mut pods = Pods::start("nginx-test", 2);
    let manifests = manifests_of(&pods);
    let gate = Headgate::start(&manifests);
    for pod in &mut pods.all {
        pod.refuse();
    }
    for _ in 0..4 {
        assert_eq!(gate.get("app.test", "/").status, 502);
    }
    pods.all[0].resume();
    gate.until("app.test", "/", "the one that listens again is used", |a| a.status == 200);
}

#[test]
fn a_connection_that_went_stale_between_requests_is_replaced() {
    // Answers once on each connection and closes when the second request is there: a keep-alive race, made certain.
    let backend = Backend::scripted("stale", |conn| {
        if conn.request()?.is_some() {
            conn.whoami()?;
            conn.head()?;
        }
        Ok(())
    });
    let gate = Headgate::start_with(&app("app.test", &backend), &["--workers", "1"]);
    let mut client = gate.connect();
    for _ in 0..10 {
        let answer = client.get("app.test", "/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "stale"));
    }
}

#[test]
fn new_sessions_go_to_ready_endpoints_and_only_then_to_those_going() {
    let pods = Pods::start("nginx-test", 4);
    let [a, b, c, d] = &pods.all[..] else { panic!("four pods") };
    let with =
        |slice: Slice| [Value::from(Service::new("app")), slice.into(), Ingress::simple("app.test", "app").into()];
    let empty = Slice::new("app", "pods", pods.port);
    let mixed = empty.clone().endpoint(a).endpoint(b).terminating(c, true).terminating(d, false);
    let manifests = Manifests::of(with(mixed));
    let gate = Headgate::start(&manifests);
    for _ in 0..8 {
        assert_eq!(gate.get("app.test", "/").status, 200);
    }
    assert_eq!(pods.counts(), [4, 4, 0, 0], "ready only");

    let going = empty.clone().terminating(c, true).terminating(d, false);
    manifests.put("main", with(going));
    gate.until("app.test", "/", "a terminating endpoint that serves is better than none", |a| a.text() == c.name());
    assert_eq!(gate.get("app.test", "/").text(), c.name());
    assert_eq!(d.heads(), 0);

    manifests.put("main", with(empty.clone().terminating(c, false).terminating(d, false)));
    gate.until("app.test", "/", "nothing serves", |a| a.status == 503);

    // A Pod that isn't ready, and is not going either, gets nothing (readiness probe failed).
    let unready = empty.endpoint(a).endpoint_with(b, json!({ "ready": false, "serving": false, "terminating": false }));
    manifests.put("main", with(unready));
    gate.until("app.test", "/", "a ready one is back", |answer| answer.text() == a.name());
    let before = b.count();
    for _ in 0..4 {
        assert_eq!(gate.get("app.test", "/").text(), a.name());
    }
    assert_eq!(b.count(), before);
}

#[test]
fn absent_conditions_mean_ready() {
    let backend = Backend::named("app");
    let slice = Slice::new("app", "a", backend.addr.port()).address(backend.addr);
    let objects = [Value::from(Service::new("app")), slice.into(), Ingress::simple("app.test", "app").into()];
    let gate = Headgate::start(&Manifests::of(objects));
    assert_eq!(gate.get("app.test", "/").text(), "app");
}

#[test]
fn an_answer_that_is_no_http_is_502_and_the_next_request_is_served() {
    let bad = Backend::canned("bad", "SSH-2.0-OpenSSH_9.9\r\n\r\n");
    let good = Backend::named("good");
    let mut objects = service_of("app", &[&bad]);
    objects.extend(service_of("good", &[&good]));
    objects.extend([Value::from(Ingress::simple("app.test", "app")), Ingress::simple("good.test", "good").into()]);
    let gate = Headgate::start(&Manifests::of(objects));
    let mut client = gate.connect();
    assert_eq!(client.send(request("GET", "/", "app.test", &[], b"")).answer().status, 502);
    assert_eq!(gate.get("good.test", "/").text(), "good");
}
