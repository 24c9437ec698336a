//! Two replicas: one of them writes, both honour the same cookies, through every change of the keys.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::Secret, networking::v1::Ingress};
use serde_json::{Value, json};

use crate::support::{Cluster, Deployed, Gate, LIMIT, Load, Namespace, Target, get, until};

/// `leaseDurationSeconds`: how long nobody may write after the writer has died.
const LEASE: Duration = Duration::from_secs(15);

/// After how long the keys of a new Secret sign; see `control::keys`.
const INTRODUCE: Duration = Duration::from_secs(30);

/// What the load balancer in front has.
const ADDRESS: &str = "203.0.113.7";

const SECRET: &str = "headgate-cookie-keys";

/// An Ingress of NAME.example to the Service `app`.
fn ingress(name: &str) -> String {
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{ name: {name} }}
spec:
  ingressClassName: headgate
  rules:
  - host: {name}.example
    http:
      paths:
      - {{ path: /, pathType: Prefix, backend: {{ service: {{ name: app, port: {{ number: 80 }} }} }} }}
"
    )
}

/// The pod that holds the Lease.
fn leader(cluster: &Cluster) -> Option<String> {
    let lease: Lease = cluster.find("headgate", "headgate")?;
    let holder = lease.spec?.holder_identity?;
    holder.rsplit_once('_').map(|(pod, _)| pod.to_owned())
}

/// Until the address of the load balancer is in the status of an Ingress.
#[track_caller]
fn until_published(space: &Namespace, name: &str) {
    until(&format!("{name} has its address"), LIMIT, || {
        let ingress: Ingress = space.cluster.find(&space.name, name)?;
        let points = ingress.status?.load_balancer?.ingress?;
        points.iter().any(|point| point.ip.as_deref() == Some(ADDRESS)).then_some(())
    });
}

/// The pods that have written the status of an Ingress of a namespace.
fn writers(cluster: &Cluster, namespace: &str) -> Vec<(String, String)> {
    let of_status = |event: &Value| {
        let object = &event["objectRef"];
        object["resource"] == "ingresses" && object["subresource"] == "status" && object["namespace"] == namespace
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let who = |event: &Value| {
        let pod = &event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0];
        (text(&event["objectRef"]["name"]), text(pod))
    };
    cluster.audit().iter().filter(|event| of_status(event)).map(who).collect()
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn one_replica_writes_status_and_the_other_takes_over() {
    let headgate = Deployed::apply("base", 2, &[]);
    let space = Namespace::new("replicas");
    let cluster = space.cluster;
    cluster.load_balancer(&headgate.namespace, "headgate", &[ADDRESS.parse().unwrap()]);
    space.whoami("app", 1, &[]);
    let gates = headgate.gates();
    let first = until("somebody leads", LIMIT, || leader(cluster));
    let (first, others): (Vec<_>, Vec<_>) = gates.into_iter().partition(|gate| gate.record.name == first);
    let (first, second) = (&first[0], &others[0]);
    for name in ["one", "two", "three"] {
        space.apply(&ingress(name));
        until_published(&space, name);
    }
    let wrote = writers(cluster, &space.name);
    assert!(wrote.len() >= 3 && wrote.iter().all(|(_, pod)| *pod == first.record.name), "{wrote:?}");

    // Killed, it can't say goodbye.
    let process = first.record.process().unwrap();
    process.signal("KILL");
    let killed = until("the leader is dead", LIMIT, || process.exit()).at;
    space.apply(&ingress("four"));
    let leads = |gate: &Gate| (leader(cluster).as_ref() == Some(&gate.record.name)).then(Instant::now);
    let taken = until("the other takes over", 2 * LEASE, || leads(second)) - killed;
    until_published(&space, "four");
    eprintln!("killed: the other leads after {taken:.1?}, and has written a status after {:.1?}", killed.elapsed());
    assert!(taken <= LEASE, "{taken:?} is longer than the lease time");
    let wrote = writers(cluster, &space.name);
    let of_four: Vec<_> = wrote.iter().filter(|(name, _)| name == "four").collect();
    assert!(of_four.iter().all(|(_, pod)| *pod == second.record.name), "{of_four:?}");

    // Told to end, it gives the Lease back.
    until("the first is there again", LIMIT, || (first.health("/readyz") == Some(200)).then_some(()));
    cluster.kubectl(&["-n", &headgate.namespace, "delete", "pod", &second.record.name, "--wait=false"]);
    let told = until("the leader is told to end", LIMIT, || second.record.moments().terminating);
    let taken = until("another takes over", LIMIT, || {
        let leader = leader(cluster)?;
        (leader != second.record.name).then(Instant::now)
    });
    eprintln!("told to end: another leads after {:.1?}", taken - told);
    assert!(taken - told < Duration::from_secs(5), "{:?} is not at once", taken - told);
    space.apply(&ingress("five"));
    until_published(&space, "five");
    headgate.rolled_out();
}

/// A Service whose sessions stick, before two replicas that have never seen a request.
struct Pair {
    /// Declared first, so that its pods end before what they serve is deleted.
    headgate: Deployed,
    space: Namespace,
    gates: Vec<Gate>,
    targets: Vec<Target>,
}

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let space = Namespace::new("pair");
        space.whoami("app", 4, &[]);
        let sticky = ["service.sticky.cookie=true", "service.sticky.cookie.name=pin"];
        for annotation in sticky {
            let annotation = format!("traefik.ingress.kubernetes.io/{annotation}");
            space.kubectl(&["annotate", "service", "app", &annotation]);
        }
        space.apply(&ingress("app"));
        // Made from nothing: the Secret with the keys, too.
        let headgate = Deployed::apply("base", 2, &[]);
        let gates = headgate.gates();
        assert_eq!(gates.len(), 2);
        let targets = gates.iter().map(|gate| Target::new(gate.http, "app.example")).collect();
        Self { headgate, space, gates, targets }
    }

    /// A new session at a replica: the pod and the cookie.
    #[track_caller]
    fn session(&self, replica: usize) -> (String, String) {
        session(&self.targets[replica]).unwrap()
    }

    /// A session on each pod, begun at both replicas in turn. By pod: the value is the same wherever it is made.
    #[track_caller]
    fn sessions(&self) -> BTreeMap<String, String> {
        let mut pins = BTreeMap::new();
        for n in 0..16 {
            let (pod, pin) = self.session(n % 2);
            let before = pins.insert(pod.clone(), pin.clone());
            assert!(before.is_none_or(|before| before == pin), "{pod} has two cookies");
        }
        assert_eq!(pins.len(), 4);
        pins
    }

    #[track_caller]
    fn assert_honoured(&self, pins: &BTreeMap<String, String>) {
        for (pod, pin) in pins {
            for target in &self.targets {
                honoured(target, pod, pin).unwrap();
            }
        }
    }

    fn secret(&self) -> Option<Secret> {
        self.space.cluster.find(&self.headgate.namespace, SECRET)
    }

    /// The lines of the Secret that are keys.
    #[track_caller]
    fn keys(&self) -> Vec<String> {
        let text = text(&self.secret().unwrap());
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    }

    #[track_caller]
    fn write_keys(&self, text: &str) {
        let patch = json!({ "data": { "keys": STANDARD.encode(text) } }).to_string();
        let args = ["-n", &self.headgate.namespace, "patch", "secret", SECRET, "--type=merge", "-p", &patch];
        self.space.cluster.kubectl(&args);
    }

    /// Until both replicas say this of the keys, or nothing.
    #[track_caller]
    fn until_said(&self, text: Option<&str>) {
        let says = |gate: &Gate| match (gate.messages("CookieKeys").as_slice(), text) {
            ([said], Some(text)) => said.contains(text),
            (said, None) => said.is_empty(),
            _ => false,
        };
        until(&format!("both say {text:?} of the keys"), LIMIT, || self.gates.iter().all(says).then_some(()));
    }

    /// Until new sessions have other cookies than these; at both replicas. When each was seen first.
    #[track_caller]
    fn until_signed_anew(&self, before: &BTreeMap<String, String>) -> Vec<Instant> {
        let mut seen = vec![None; self.targets.len()];
        until("both sign with the new key", LIMIT, || {
            for (target, seen) in self.targets.iter().zip(&mut seen) {
                let (pod, pin) = session(target).unwrap();
                if before[&pod] != pin && seen.is_none() {
                    *seen = Some(Instant::now());
                }
            }
            seen.iter().copied().collect()
        })
    }

    /// Pinned sessions, half of them at each replica.
    fn load(&self) -> Load {
        Load { cookie: Some("pin"), rate: 300, ..Load::new(self.targets.clone()) }
    }
}

fn text(secret: &Secret) -> String {
    let keys = &secret.data.as_ref().unwrap()["keys"];
    String::from_utf8(keys.0.clone()).unwrap()
}

fn session(target: &Target) -> Result<(String, String), String> {
    let answer = get(target, None).map_err(|error| error.to_string())?;
    let pod = answer.get("x-pod").map(str::to_owned);
    pod.zip(answer.cookie("pin")).ok_or_else(|| format!("no session: {} {}", answer.status, answer.text()))
}

/// Goes on with a session: its cookie has to lead to its pod. Gives the cookie that replaces it, if one does.
fn resumed(target: &Target, pod: &str, pin: &str) -> Result<Option<String>, String> {
    let answer = get(target, Some(&format!("pin={pin}"))).map_err(|error| error.to_string())?;
    let (went, set) = (answer.get("x-pod"), answer.cookie("pin"));
    if went == Some(pod) {
        return Ok(set);
    }
    Err(format!("{}: the cookie of {pod} led to {went:?}, Set-Cookie {set:?}, {}", target.address, answer.status))
}

/// The same where nothing is to be replaced.
fn honoured(target: &Target, pod: &str, pin: &str) -> Result<(), String> {
    match resumed(target, pod, pin)? {
        None => Ok(()),
        Some(set) => Err(format!("{}: the cookie of {pod} was replaced by {set}", target.address)),
    }
}

/// A cookie that was replaced though its session stayed: its pod, its value, the new value.
type Replaced = (String, String, String);

/// Sessions that are begun at one replica and go on at the other, again and again, and old ones at both.
struct Crossing {
    stop: Arc<AtomicBool>,
    crossed: Arc<AtomicUsize>,
    thread: JoinHandle<(Vec<String>, Vec<Replaced>)>,
}

impl Crossing {
    fn start(pair: &Pair, old: &BTreeMap<String, String>) -> Self {
        let (stop, crossed) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let targets = pair.targets.clone();
        let old: Vec<_> = old.clone().into_iter().collect();
        let thread = std::thread::spawn({
            let (stop, crossed) = (Arc::clone(&stop), Arc::clone(&crossed));
            move || {
                let (mut refused, mut replaced) = (Vec::new(), Vec::new());
                let mut old = old.into_iter().cycle();
                while !stop.load(Ordering::SeqCst) {
                    let kept = old.next().unwrap();
                    let mut tries = vec![(Ok(kept.clone()), &targets[0]), (Ok(kept), &targets[1])];
                    tries.push((session(&targets[0]), &targets[1]));
                    tries.push((session(&targets[1]), &targets[0]));
                    for (session, at) in tries {
                        let tried = session.and_then(|(pod, pin): (String, String)| {
                            resumed(at, &pod, &pin).map(|set| set.map(|set| (pod, pin, set)))
                        });
                        match tried {
                            Ok(set) => replaced.extend(set),
                            Err(why) => refused.push(why),
                        }
                    }
                    crossed.fetch_add(1, Ordering::SeqCst);
                }
                (refused, replaced)
            }
        });
        Self { stop, crossed, thread }
    }

    /// Goes on for some more, then stops: not one session was refused, at no time. Gives the cookies that were replaced.
    #[track_caller]
    fn finish(self) -> Vec<Replaced> {
        let so_far = self.crossed.load(Ordering::SeqCst);
        until("some more sessions have crossed", LIMIT, || {
            (self.crossed.load(Ordering::SeqCst) >= so_far + 20).then_some(())
        });
        self.stop.store(true, Ordering::SeqCst);
        let (refused, replaced) = self.thread.join().unwrap();
        let (few, all) = (refused.iter().take(5).collect::<Vec<_>>(), self.crossed.load(Ordering::SeqCst));
        assert!(refused.is_empty(), "{} refusals in {all} rounds: {few:#?}", refused.len());
        eprintln!("{all} rounds of sessions from replica to replica, none refused, {} signed anew", replaced.len());
        replaced
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn both_honour_the_same_cookies_and_a_rotation_of_the_keys_loses_no_session() {
    let pair = Pair::new();
    // The first requests that either of them ever sees.
    let (pod, pin) = pair.session(0);
    honoured(&pair.targets[1], &pod, &pin).unwrap();
    let (pod, pin) = pair.session(1);
    honoured(&pair.targets[0], &pod, &pin).unwrap();
    let old = pair.sessions();
    pair.assert_honoured(&old);

    let load = pair.load().start();
    until("every client has its session", LIMIT, || (load.done() >= 200).then_some(()));
    let crossing = Crossing::start(&pair, &old);
    let before = pair.keys();
    assert_eq!(before.len(), 1, "made once, by the leader");
    let new = STANDARD.encode([7; 32]);
    let patched = Instant::now();
    pair.write_keys(&format!("{new}\n{}\n", before[0]));
    let anew = pair.until_signed_anew(&old);
    for (gate, seen) in pair.gates.iter().zip(&anew) {
        let after = *seen - patched;
        eprintln!("{}: signs with the new key {after:.1?} after it was written", gate.record.name);
        assert!(after >= INTRODUCE, "too early for the other replica: {after:?}");
    }
    let replaced = crossing.finish();
    let young = pair.sessions();
    assert!(young.iter().all(|(pod, pin)| old[pod] != *pin));
    // Sessions move over to the new key; never back, as by a replica that doesn't know it yet.
    for (pod, from, to) in &replaced {
        assert_eq!((from, to), (&old[pod], &young[pod]), "of {pod}");
    }
    for (pod, pin) in &old {
        for target in &pair.targets {
            assert_eq!(resumed(target, pod, pin).unwrap().as_ref(), Some(&young[pod]));
        }
    }
    let outcome = load.finish(5_000, 2 * LIMIT);
    outcome.assert_no_failure();
    assert!(outcome.moves.is_empty(), "no session moves: {:?}", outcome.moves);
    eprintln!("{outcome}");

    let crossing = Crossing::start(&pair, &young);
    pair.write_keys(&format!("{new}\n"));
    let (pod, pin) = old.iter().next().unwrap();
    until("the old key counts for nothing any more", LIMIT, || {
        pair.targets.iter().all(|target| resumed(target, pod, pin).is_err()).then_some(())
    });
    assert_eq!(crossing.finish(), [], "all have the new key");
    pair.assert_honoured(&young);
    pair.until_said(None);
    assert_eq!(pair.headgate.restarts(), 0);
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_secret_of_keys_that_is_deleted_or_broken_loses_no_session() {
    let pair = Pair::new();
    let cluster = pair.space.cluster;
    let pins = pair.sessions();
    let load = pair.load().start();
    let crossing = Crossing::start(&pair, &pins);
    let before = pair.secret().unwrap();
    let namespace = pair.headgate.namespace.as_str();

    cluster.kubectl(&["-n", namespace, "delete", "secret", SECRET]);
    let deleted = Instant::now();
    let again = until("the leader makes the Secret again", LIMIT, || {
        pair.secret().filter(|secret| secret.metadata.uid != before.metadata.uid)
    });
    eprintln!("the Secret is there again after {:.1?}", deleted.elapsed());
    assert_eq!(text(&again), text(&before), "with the same keys");
    pair.until_said(None);

    pair.write_keys("these are no keys");
    pair.until_said(Some("the last good keys stay in use"));
    let broken = pair.secret().unwrap();
    assert_eq!(text(&broken), "these are no keys", "nobody overwrites what somebody wrote");
    pair.assert_honoured(&pins);
    pair.write_keys(&text(&before));
    pair.until_said(None);
    assert_eq!(crossing.finish(), [], "the same keys all the time");
    let outcome = load.finish(2_000, 2 * LIMIT);
    outcome.assert_no_failure();
    assert!(outcome.moves.is_empty(), "no session moves: {:?}", outcome.moves);
    assert_eq!(pair.headgate.restarts(), 0);
}
