//! The guide that people follow on K3s with Traefik, line by line: its manifests, its kubectl and curl lines, its script,
//! with nothing changed but the image, which here is not nginx.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crate::{
    sticky::DOCUMENT,
    support::{Deployed, LIMIT, Namespace, Target, get, until},
};

/// Its nginx-test-deployment.yaml. nginx runs as root and listens on port 80.
const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: nginx-test
  labels:
    app: nginx-test
spec:
  replicas: 15
  selector:
    matchLabels:
      app: nginx-test
  template:
    metadata:
      labels:
        app: nginx-test
    spec:
      containers:
      - name: nginx
        image: headgate:test
        args: [whoami, --listen, '0.0.0.0:80']
        securityContext:
          runAsUser: 0
        ports:
        - containerPort: 80
        readinessProbe:
          httpGet:
            path: /
            port: 80
          periodSeconds: 1
---
apiVersion: v1
kind: Service
metadata:
  name: nginx-test
spec:
  type: ClusterIP  # ← Internal only, no external load balancing
  ports:
    - port: 80
      targetPort: 80
  selector:
    app: nginx-test
";

/// Change Current Service to Explicit Round-Robin
const ROUND_ROBIN: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: nginx-test
  namespace: default
  labels:
    app: nginx-test
spec:
  type: LoadBalancer  # Enable external load balancing
  sessionAffinity: None  # Explicit round-robin
  sessionAffinityConfig:
    clientIP:
      timeoutSeconds: 0  # No timeout (stateless)
  ports:
    - port: 80
      targetPort: 80
      protocol: TCP
      name: http
  selector:
    app: nginx-test
";

/// Enable Sticky Sessions (Optional)
const CLIENT_IP: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: nginx-test
  namespace: default
spec:
  type: LoadBalancer
  sessionAffinity: ClientIP  # Sticky sessions
  sessionAffinityConfig:
    clientIP:
      timeoutSeconds: 10800  # 3 hours timeout
  ports:
    - port: 80
      targetPort: 80
  selector:
    app: nginx-test
";

/// Test Script
const SCRIPT: &str = r#"#!/bin/bash

# Function to get pod name from response
get_pod_name() {
  curl -s -H "Host: nginx-test.local" http://192.168.30.101 | \
    grep -o "nginx-test-[^<]*" | head -1
}

# Send 30 requests and count which pods receive them
declare -A pod_counts
for i in {1..30}; do
  pod=$(get_pod_name)
  ((pod_counts[$pod]++))
  echo "Request $i: $pod"
done

# Print distribution
echo ""
echo "Distribution Summary:"
for pod in "${!pod_counts[@]}"; do
  echo "  $pod: ${pod_counts[$pod]} requests"
done
"#;

/// Quick Reference
const TO_ROUND_ROBIN: &str = r#"kubectl patch service nginx-test -p '{"spec":{"sessionAffinity":"None"}}'"#;
const TO_STICKY: &str = r#"kubectl patch service nginx-test -p '{"spec":{"sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":10800}}}}'"#;
const TO_LOAD_BALANCER: &str = r#"kubectl patch service nginx-test -p '{"spec":{"type":"LoadBalancer"}}'"#;
const TO_CLUSTER_IP: &str = r#"kubectl patch service nginx-test -p '{"spec":{"type":"ClusterIP"}}'"#;
const STRATEGY: &str = "kubectl get service nginx-test -o jsonpath='{.spec.sessionAffinity}'";

/// Where the guide's node is.
const NODE: &str = "192.168.30.101";

/// What ServiceLB is there: port 80 of the node leads to Headgate, and hides the client's address.
struct ServiceLb {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl ServiceLb {
    fn start(to: SocketAddr) -> Self {
        let added = Command::new("ip").args(["address", "replace", &format!("{NODE}/32"), "dev", "lo"]).status();
        assert!(added.unwrap().success());
        let listener = TcpListener::bind((NODE, 80)).unwrap();
        let ends = Arc::<AtomicBool>::default();
        let seen = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().take_while(|_| !seen.load(Ordering::SeqCst)) {
                let client = client.unwrap();
                std::thread::spawn(move || pass(client, to));
            }
        });
        Self { ends, thread: Some(thread) }
    }
}

impl Drop for ServiceLb {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // It sees that with the next connection.
        let _ = TcpStream::connect((NODE, 80));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn pass(client: TcpStream, to: SocketAddr) {
    let Ok(server) = TcpStream::connect(to) else { return };
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Write);
    };
    let (up, down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let back = std::thread::spawn(move || copy(server, client));
    copy(up, down);
    let _ = back.join();
}

/// The guide's cluster, with Headgate in Traefik's place.
struct Guide {
    space: Namespace,
    headgate: Deployed,
    _service_lb: ServiceLb,
}

impl Guide {
    fn begin() -> Self {
        let headgate = Deployed::apply("overlays/replace-traefik", 1, &[]);
        let service_lb = ServiceLb::start(headgate.gate().http);
        let space = Namespace::default();
        space.apply(DEPLOYMENT);
        space.rolled_out("nginx-test");
        space.until_endpoints("nginx-test", 15);
        space.apply(DOCUMENT);
        let guide = Self { space, headgate, _service_lb: service_lb };
        guide.until_over(15);
        guide
    }

    /// A line as the guide has it, in a shell.
    #[track_caller]
    fn line(&self, line: &str) -> String {
        let output = self.space.cluster.shell(line);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the guide's script counts.
    fn script(&self) -> BTreeMap<String, usize> {
        let printed = self.line(SCRIPT);
        let (_, summary) = printed.split_once("Distribution Summary:").expect("a summary");
        let lines = summary.lines().filter_map(|line| line.trim().strip_suffix(" requests")?.split_once(": "));
        lines.map(|(pod, count)| (pod.to_owned(), count.parse().unwrap())).collect()
    }

    /// The pods of so many requests, without a cookie.
    fn pods(&self, requests: usize) -> Vec<String> {
        let target = Target::new(SocketAddr::new(NODE.parse().unwrap(), 80), "nginx-test.local");
        let answers = (0..requests).filter_map(|_| get(&target, None).ok());
        answers.filter_map(|answer| answer.get("x-pod").map(str::to_owned)).collect()
    }

    /// Until each of so many pods has one of so many requests.
    #[track_caller]
    fn until_over(&self, count: usize) {
        until(&format!("requests are shared out over {count} pods"), LIMIT, || {
            let mut pods = self.pods(count);
            pods.sort();
            pods.dedup();
            (pods.len() == count).then_some(())
        });
    }

    #[track_caller]
    fn shares_out_two_each(&self) {
        let counts = self.script();
        assert_eq!(counts.len(), 15, "{counts:?}");
        assert!(counts.values().all(|count| *count == 2), "{counts:?}");
    }

    #[track_caller]
    fn keeps_the_client_on_one_pod(&self) {
        let settled = || {
            let pods = self.pods(4);
            (pods.len() == 4 && pods.iter().all(|pod| *pod == pods[0])).then_some(())
        };
        until("one pod answers", LIMIT, settled);
        let counts = self.script();
        assert_eq!(counts.values().collect::<Vec<_>>(), [&30], "{counts:?}");
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn its_script_counts_two_requests_for_each_of_fifteen_pods() {
    let guide = Guide::begin();
    guide.shares_out_two_each();
    // Test round-robin with multiple requests, and See traffic pattern with timestamps.
    let pattern = guide.line(
        r#"for i in {1..20}; do
curl -s -H "Host: nginx-test.local" http://192.168.30.101 | \
grep -o "nginx-test-[^<]*" | head -1
echo ""
done"#,
    );
    assert_eq!(pattern.lines().filter(|line| line.starts_with("nginx-test-")).count(), 20, "{pattern}");
    // Metrics from Prometheus: what its queries are made of, by our names.
    let health = Target { path: "/metrics".to_owned(), ..Target::new(guide.headgate.gate().health, "metrics") };
    let metrics = get(&health, None).unwrap().text();
    for name in ["headgate_requests_total{", "headgate_request_duration_seconds_bucket{"] {
        let of = metrics.lines().filter(|line| line.starts_with(name) && line.contains("pod=\"nginx-test-"));
        assert!(of.count() >= 15, "{name}");
    }

    for replicas in [5, 15, 1, 15] {
        guide.line(&format!("kubectl scale deployment/nginx-test --replicas={replicas}"));
        guide.space.rolled_out("nginx-test");
        guide.space.until_endpoints("nginx-test", replicas);
        guide.until_over(replicas);
        let counts = guide.script();
        assert_eq!(counts.len(), replicas, "{counts:?}");
        assert!(counts.values().all(|count| *count == 30 / replicas), "{counts:?}");
    }
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn its_session_affinity_is_switched_on_and_off_by_its_lines() {
    let guide = Guide::begin();
    assert_eq!(guide.line(STRATEGY), "None");
    guide.line(TO_STICKY);
    assert_eq!(guide.line(STRATEGY), "ClientIP");
    guide.keeps_the_client_on_one_pod();
    let kept = guide.pods(1);
    guide.line("kubectl scale deployment/nginx-test --replicas=17");
    guide.space.rolled_out("nginx-test");
    guide.space.until_endpoints("nginx-test", 17);
    guide.keeps_the_client_on_one_pod();
    assert_eq!(guide.pods(1), kept, "more pods move nobody");
    guide.line("kubectl scale deployment/nginx-test --replicas=15");
    guide.space.until_endpoints("nginx-test", 15);

    guide.line(TO_ROUND_ROBIN);
    guide.until_over(15);
    guide.shares_out_two_each();
    guide.line(TO_LOAD_BALANCER);
    guide.shares_out_two_each();
    guide.line(TO_CLUSTER_IP);
    guide.shares_out_two_each();

    guide.space.apply(CLIENT_IP);
    guide.keeps_the_client_on_one_pod();
    guide.space.apply(ROUND_ROBIN);
    guide.until_over(15);
    guide.shares_out_two_each();
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn its_cookie_keeps_sessions_while_pods_come_and_go() {
    let guide = Guide::begin();
    let target = Target::new(SocketAddr::new(NODE.parse().unwrap(), 80), "nginx-test.local");
    let sessions: Vec<_> = (0..15)
        .map(|_| {
            let answer = get(&target, None).unwrap();
            (answer.get("x-pod").unwrap().to_owned(), answer.cookie("sticky").expect("a cookie"))
        })
        .collect();
    let stays = |pod: &String, cookie: &String| {
        let answer = get(&target, Some(&format!("sticky={cookie}"))).unwrap();
        answer.get("x-pod") == Some(pod) && answer.cookie("sticky").is_none()
    };
    assert!(sessions.iter().all(|(pod, cookie)| stays(pod, cookie)));
    guide.line("kubectl scale deployment/nginx-test --replicas=20");
    guide.space.until_endpoints("nginx-test", 20);
    guide.until_over(20);
    assert!(sessions.iter().all(|(pod, cookie)| stays(pod, cookie)), "more pods move nobody");
    guide.line("kubectl scale deployment/nginx-test --replicas=5");
    guide.space.until_endpoints("nginx-test", 5);
    guide.until_over(5);
    let left: Vec<_> = guide.space.ready_endpoints("nginx-test").into_iter().map(|(_, pod)| pod).collect();
    for (pod, cookie) in &sessions {
        let answer = get(&target, Some(&format!("sticky={cookie}"))).unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.get("x-pod") == Some(pod), left.contains(pod), "{pod}");
        assert_eq!(answer.cookie("sticky").is_none(), left.contains(pod), "{pod}");
    }
}
