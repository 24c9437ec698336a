//! deploy/ as it is, applied by kubectl to a server that checks it: admission, rights, probes.

use k8s_openapi::api::networking::v1::Ingress;

use crate::support::{Deployed, LIMIT, Namespace, Target, get, until};

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn what_kubectl_applies_is_ready_healthy_and_publishes_its_address() {
    let headgate = Deployed::apply("base", 2, &[]);
    let gates = headgate.gates();
    assert_eq!(gates.len(), 2);
    for gate in &gates {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let target = Target { path: path.to_owned(), ..Target::new(gate.health, "headgate") };
            assert_eq!(get(&target, None).unwrap().status, 200, "{path}");
        }
        assert!(gate.admin("/api/version").contains(env!("CARGO_PKG_VERSION")));
        let log = gate.record.process().unwrap().log();
        assert!(!log.contains("ERROR"), "{log}");
    }

    let space = Namespace::new("install");
    space.whoami("shop", 1, &[]);
    space.apply(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: shop }
spec:
  ingressClassName: headgate
  rules:
  - host: shop.example
    http:
      paths:
      - { path: /, pathType: Prefix, backend: { service: { name: shop, port: { number: 80 } } } }
",
    );
    for gate in &gates {
        let target = Target::new(gate.http, "shop.example");
        until("it is served", LIMIT, || (get(&target, None).ok()?.status == 200).then_some(()));
    }
    let mut expected: Vec<_> = gates.iter().map(|gate| gate.http.ip().to_string()).collect();
    expected.sort();
    until("its status has the addresses", LIMIT, || {
        let shop: Ingress = space.cluster.find(&space.name, "shop")?;
        let mut ips: Vec<_> = shop.status?.load_balancer?.ingress?.into_iter().filter_map(|at| at.ip).collect();
        ips.sort();
        (ips == expected).then_some(())
    });
}
