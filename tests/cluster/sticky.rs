//! Round-robin, sticky sessions and TLS over real endpoints, with documents as people have them.

use std::collections::BTreeMap;

use crate::support::{Deployed, LIMIT, Namespace, Target, get, until};

/// The document that must work unchanged.
pub(crate) const DOCUMENT: &str = "\
apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: sticky-sessions
  namespace: default
spec:
  sticky:
    cookie:
      name: sticky
      secure: true
      sameSite: lax
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: nginx-test
  annotations:
    traefik.ingress.kubernetes.io/router.middlewares: default-sticky-sessions@kubernetescrd
spec:
  ingressClassName: traefik
  rules:
    - host: nginx-test.local
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: nginx-test
                port:
                  number: 80
";

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn the_sticky_document_is_served_unchanged_over_fifteen_real_endpoints() {
    let headgate = Deployed::apply("overlays/replace-traefik", 1, &[]);
    let space = Namespace::default();
    space.whoami("nginx-test", 15, &[]);
    space.apply(DOCUMENT);
    let gate = headgate.gate();
    let target = Target::new(gate.http, "nginx-test.local");
    until("it is served", LIMIT, || (get(&target, None).ok()?.status == 200).then_some(()));

    let mut counts = BTreeMap::<String, usize>::new();
    let mut pins = Vec::new();
    for _ in 0..30 {
        let answer = get(&target, None).unwrap();
        let pod = answer.get("x-pod").expect("a pod's name").to_owned();
        let cookie = answer.cookie("sticky").expect("a cookie");
        *counts.entry(pod.clone()).or_default() += 1;
        pins.push((pod, cookie));
    }
    assert_eq!(counts.len(), 15, "{counts:?}");
    assert!(counts.values().all(|count| *count == 2), "{counts:?}");
    for (pod, cookie) in &pins {
        let answer = get(&target, Some(&format!("sticky={cookie}"))).unwrap();
        assert_eq!((answer.get("x-pod"), answer.cookie("sticky")), (Some(pod.as_str()), None));
    }
    let set = get(&target, None).unwrap();
    let set = set.get("set-cookie").unwrap();
    assert!(set.contains("; Secure") && set.contains("; SameSite=Lax"), "{set}");
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_certificate_that_kubectl_has_made_a_secret_of_is_served() {
    let headgate = Deployed::apply("base", 1, &[]);
    let space = Namespace::new("tls");
    space.whoami("shop", 2, &[]);
    let certificate = space.tls_secret("shop-tls", "shop.example");
    space.apply(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop }
spec:
  ingressClassName: headgate
  tls: [{ hosts: [shop.example], secretName: shop-tls }]
  rules:
  - host: shop.example
    http:
      paths:
      - { path: /, pathType: Prefix, backend: { service: { name: shop, port: { name: http } } } }
",
    );
    let target = Target::https(headgate.gate().https, "shop.example");
    until("it is served with that certificate", LIMIT, || {
        let mut client = target.connect().ok()?;
        let answer = client.get(&target.host, "/");
        (answer.status == 200 && client.certificate() == certificate).then_some(())
    });
}
