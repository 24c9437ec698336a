//! Thousands of objects: nothing wrong is answered after ready; and the figures of start and change, printed for people
//! to judge (a time is never asserted: machines differ).

// The figures are for whoever runs it.
#![allow(clippy::print_stdout)]

use std::{
    net::Ipv4Addr,
    process::Command,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice, networking::v1::Ingress};
use kube::{
    Resource,
    api::{Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::support::{Deployed, Gate, LIMIT, Namespace, Target, get, until};

/// Requests to the API server at once, while a test writes its objects.
const AT_ONCE: usize = 48;

/// Creates objects of one kind.
fn create<K>(space: &Namespace, objects: impl Iterator<Item = Value>)
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Serialize
        + DeserializeOwned
        + Clone
        + std::fmt::Debug,
{
    let api = space.cluster.api::<K>(&space.name);
    let writes = stream::iter(objects).map(|object| {
        let api = api.clone();
        async move { api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.map(drop) }
    });
    let all = writes.buffer_unordered(AT_ONCE).try_collect::<()>();
    space.cluster.block_on(all).unwrap();
}

fn service(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "ports": [{ "name": "http", "port": 80 }] } })
}

fn slice(service: &str, addresses: &[Ipv4Addr]) -> Value {
    json!({
        "metadata": { "name": format!("{service}-1"), "labels": { "kubernetes.io/service-name": service } },
        "addressType": "IPv4",
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints(addresses),
    })
}

fn endpoints(addresses: &[Ipv4Addr]) -> Value {
    let endpoint = |address| json!({ "addresses": [address], "conditions": { "ready": true } });
    addresses.iter().map(endpoint).collect()
}

fn host(number: usize) -> String {
    format!("h{number}.scale.example")
}

fn ingress(number: usize, service: &str) -> Value {
    let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
    let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    json!({
        "metadata": { "name": format!("i{number}") },
        "spec": { "ingressClassName": "headgate", "rules": [{ "host": host(number), "http": { "paths": [path] } }] },
    })
}

/// The addresses of ready pods of `whoami`.
fn pods(space: &Namespace, name: &str, count: usize) -> Vec<(Ipv4Addr, String)> {
    space.whoami(name, count, &[]);
    let pods = space.ready_endpoints(name).into_iter();
    pods.map(|(address, pod)| (address.parse().unwrap(), pod)).collect()
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn what_exists_is_never_a_404_once_it_is_ready() {
    const INGRESSES: usize = 2_000;
    const SERVICES: usize = 200;
    let space = Namespace::new("start");
    let pods: Vec<_> = pods(&space, "real", 2).into_iter().map(|(address, _)| address).collect();
    create::<Service>(&space, (0..SERVICES).map(|n| service(&format!("s{n}"))));
    create::<EndpointSlice>(&space, (0..SERVICES).map(|n| slice(&format!("s{n}"), &pods)));
    create::<Ingress>(&space, (0..INGRESSES).map(|n| ingress(n, &format!("s{}", n % SERVICES))));
    for round in 0..3 {
        let headgate = Deployed::apply("base", 1, &[]);
        let gate = headgate.gate();
        // From the last one backwards, so that what is listed last is asked first.
        let numbers: Vec<usize> = (0..INGRESSES).rev().collect();
        let wrong: Vec<_> = numbers
            .iter()
            .filter_map(|number| {
                let answer = get(&Target::new(gate.http, &host(*number)), None);
                match answer {
                    Ok(answer) if answer.status == 200 => None,
                    Ok(answer) => Some(format!("{}: {}", host(*number), answer.status)),
                    Err(error) => Some(format!("{}: {error}", host(*number))),
                }
            })
            .collect();
        assert!(wrong.is_empty(), "round {round}: {} wrong answers, such as {:?}", wrong.len(), &wrong[0]);
        let (start, resident) = (start(&gate), resident(&gate) / 1_048_576);
        println!("round {round}: ready after {start:?}, {INGRESSES} hosts asked, none wrong, {resident} MiB resident");
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn ten_thousand_ingresses_and_thirty_thousand_endpoints() {
    const INGRESSES: usize = 10_000;
    const SERVICES: usize = 2_000;
    const ENDPOINTS: usize = 15;
    let space = Namespace::new("scale");
    let pods = pods(&space, "real", 2);
    // Addresses that nobody has; nothing is sent to them.
    let elsewhere = |service: usize, number: usize| {
        let number = u32::try_from(service * ENDPOINTS + number).unwrap();
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 1)) + number)
    };
    let addresses = |n: usize| match n {
        0 => vec![pods[0].0],
        _ => (0..ENDPOINTS).map(|e| elsewhere(n, e)).collect(),
    };
    let begun = Instant::now();
    create::<Service>(&space, (0..SERVICES).map(|n| service(&format!("s{n}"))));
    create::<EndpointSlice>(&space, (0..SERVICES).map(|n| slice(&format!("s{n}"), &addresses(n))));
    create::<Ingress>(&space, (0..INGRESSES).map(|n| ingress(n, &format!("s{}", n % SERVICES))));
    println!("written in {:?}", begun.elapsed());

    // Nothing to publish: the figures are those of reading.
    let headgate = Deployed::apply("base", 1, &["--read-only"]);
    let gate = headgate.gate();
    println!("ready after {:?}", start(&gate));
    println!("read from the API server: {} KiB", received(&gate) / 1_024);
    println!("resident: {} MiB", resident(&gate) / 1_048_576);
    asked(&space, &headgate);

    let target = Target::new(gate.http, &host(0));
    let pod = |target: &Target| get(target, None).ok().and_then(|answer| answer.get("x-pod").map(str::to_owned));
    until("the real pod answers", LIMIT, || (pod(&target)? == pods[0].1).then_some(()));
    let api = space.cluster.api::<EndpointSlice>(&space.name);
    let mut written = Vec::new();
    let mut followed = Vec::new();
    for round in 1..=50 {
        let (address, name) = &pods[round % 2];
        let patch = Patch::Merge(json!({ "endpoints": endpoints(&[*address]) }));
        let begun = Instant::now();
        space.cluster.block_on(api.patch("s0-1", &PatchParams::default(), &patch)).unwrap();
        written.push(begun.elapsed());
        // At full speed: the wait is what is measured.
        while pod(&target).as_ref() != Some(name) {
            assert!(begun.elapsed() < LIMIT, "round {round} is not followed");
        }
        followed.push(begun.elapsed());
    }
    println!("an endpoint change is written: {}", spread(&mut written));
    println!("and followed, from before it is written: {}", spread(&mut followed));
    println!("resident after that: {} MiB", resident(&gate) / 1_048_576);
}

/// Smallest, median and largest.
fn spread(times: &mut [Duration]) -> String {
    times.sort();
    format!("min {:?}, median {:?}, worst {:?}", times[0], times[times.len() / 2], times[times.len() - 1])
}

/// From the first line of the log to the first table.
fn start(gate: &Gate) -> Duration {
    let log = std::fs::read_to_string(&gate.record.log).unwrap();
    let at = |words: &str| -> jiff::Timestamp {
        let line = log.lines().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words:?} in {log}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    at("the first table is live").duration_since(at("objects come from")).unsigned_abs()
}

/// Bytes that the pod has received, before any client has asked it anything.
fn received(gate: &Gate) -> u64 {
    let mut inside = Command::new("nsenter");
    inside.arg(format!("--net={}", gate.network().display()));
    let output = inside.args(["cat", "/proc/self/net/dev"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Resident memory in bytes, by its own metrics.
fn resident(gate: &Gate) -> u64 {
    let mut target = Target::new(gate.health, "health");
    "/metrics".clone_into(&mut target.path);
    let text = get(&target, None).unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    // Written as a whole number, or as Prometheus' clients do: with an exponent.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let bytes = line.parse::<f64>().unwrap() as u64;
    bytes
}

/// Prints what Headgate has asked the API server for.
fn asked(space: &Namespace, headgate: &Deployed) {
    let user = format!("system:serviceaccount:{}:headgate", headgate.namespace);
    let mut counts = std::collections::BTreeMap::<(String, String), usize>::new();
    for event in space.cluster.audit().iter().filter(|event| event["user"]["username"] == user.as_str()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        *counts.entry((text(&event["verb"]), text(&event["objectRef"]["resource"]))).or_default() += 1;
    }
    println!("asked (requests and their stages): {counts:?}");
}
