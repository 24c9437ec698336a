//! Rolling updates under load: nobody notices.

use std::{collections::BTreeMap, time::Duration};

use crate::support::{Deployed, LIMIT, Load, Namespace, Target, get, until};

const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: rolling }
spec:
  ingressClassName: headgate
  rules:
  - host: rolling.example
    http:
      paths:
      - { path: /, pathType: Prefix, backend: { service: { name: rolling, port: { number: 80 } } } }
";

/// How long a pod goes on serving its sessions after it is told to end.
const DRAIN: Duration = Duration::from_secs(3);

/// Annotations of the Service make its sessions stick.
const STICKY: [&str; 2] = [
    "traefik.ingress.kubernetes.io/service.sticky.cookie=true",
    "traefik.ingress.kubernetes.io/service.sticky.cookie.name=pin",
];

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_rolling_update_under_load_fails_no_request_and_moves_no_session_early() {
    let headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("rolling");
    space.whoami("rolling", 6, &[&format!("--drain-delay={}s", DRAIN.as_secs())]);
    for annotation in STICKY {
        space.kubectl(&["annotate", "service", "rolling", annotation]);
    }
    space.apply(INGRESS);
    let gate = headgate.gate();
    let target = Target::new(gate.http, "rolling.example");
    until("it is served, with a cookie", LIMIT, || {
        let answer = get(&target, None).ok()?;
        (answer.status == 200 && answer.cookie("pin").is_some()).then_some(())
    });

    let pinned = Load { cookie: Some("pin"), rate: 500, ..Load::new(vec![target.clone()]) }.start();
    let free = Load { rate: 500, ..Load::new(vec![target]) }.start();
    until("every client has its session", LIMIT, || (pinned.done() >= 500).then_some(()));
    let old: Vec<_> = space.ready_endpoints("rolling").into_iter().map(|(_, pod)| pod).collect();
    space.kubectl(&["set", "env", "deployment/rolling", "VERSION=2"]);
    space.rolled_out("rolling");
    until("the old pods are gone", LIMIT, || {
        let pods = space.pods("app=rolling");
        (pods.len() == 6).then_some(())
    });
    space.until_endpoints("rolling", 6);
    let free = free.finish(10_000, Duration::from_secs(120));
    let pinned = pinned.finish(10_000, Duration::from_secs(120));

    eprintln!("free: {free}\npinned: {pinned}");
    free.assert_no_failure();
    pinned.assert_no_failure();
    assert!(free.answered + pinned.answered >= 20_000);
    // A session moves only once its pod no longer serves, which it does for this long after it is told to end.
    let mut moves = BTreeMap::<&str, usize>::new();
    for session in &pinned.moves {
        let terminating = space.record(&session.from).moments().terminating;
        let serves_until = terminating.unwrap_or_else(|| panic!("{session}, and the pod is there")) + DRAIN;
        assert!(session.answered >= serves_until, "{session}: {:?} too early", serves_until - session.answered);
        *moves.entry(&session.from).or_default() += 1;
    }
    assert!(moves.keys().any(|pod| old.iter().any(|old| old == pod)), "sessions did move: {moves:?}");
}
