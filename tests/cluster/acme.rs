//! cert-manager's HTTP-01 solver, as it makes its objects (pkg/issuer/acme/http of v1.18): its challenge is answered on
//! plain HTTP, whatever the application's Ingress and --redirect-to-https say.

use crate::support::{Deployed, Gate, LIMIT, Namespace, Target, get, until};

const HOST: &str = "shop.example";

const APPLICATION: &str = "\
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
";

/// The pod and the Service of one challenge. What cert-manager's `acmesolver` answers is not at stake, whose pod does.
const SOLVER: &str = "\
apiVersion: v1
kind: Pod
metadata:
  name: cm-acme-http-solver-k7x2p
  labels: &challenge
    acme.cert-manager.io/http-domain: '1234567890'
    acme.cert-manager.io/http-token: '1098765432'
    acme.cert-manager.io/http01-solver: 'true'
  annotations: { sidecar.istio.io/inject: 'false' }
spec:
  restartPolicy: OnFailure
  enableServiceLinks: false
  containers:
  - name: acmesolver
    image: headgate:test
    args: [whoami, --listen, '0.0.0.0:8089']
    ports: [{ name: http, containerPort: 8089 }]
---
apiVersion: v1
kind: Service
metadata:
  name: cm-acme-http-solver-9hq4d
  annotations: { auth.istio.io/8089: NONE }
spec:
  type: NodePort
  ports: [{ name: http, port: 8089, targetPort: 8089 }]
  selector:
    acme.cert-manager.io/http-domain: '1234567890'
    acme.cert-manager.io/http-token: '1098765432'
    acme.cert-manager.io/http01-solver: 'true'
";

/// The Ingress of one challenge. With `ingressClassName` or with the annotation, as the issuer says; `Exact` since
/// v1.18, ImplementationSpecific before, and where a feature gate says so.
fn ingress(token: &str, path_type: &str, by_field: bool) -> String {
    let (annotation, field) = if by_field {
        ("", "  ingressClassName: headgate\n")
    } else {
        ("    kubernetes.io/ingress.class: headgate\n", "")
    };
    format!(
        "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: cm-acme-http-solver-{token}
  labels: {{ acme.cert-manager.io/http01-solver: 'true' }}
  annotations:
    nginx.ingress.kubernetes.io/whitelist-source-range: 0.0.0.0/0,::/0
{annotation}spec:
{field}  rules:
  - host: {HOST}
    http:
      paths:
      - path: /.well-known/acme-challenge/{token}
        pathType: {path_type}
        backend: {{ service: {{ name: cm-acme-http-solver-9hq4d, port: {{ number: 8089 }} }} }}
"
    )
}

/// The status of an answer, and whose it is.
fn ask(gate: &Gate, path: &str) -> (u16, Option<String>) {
    let target = Target { path: path.to_owned(), ..Target::new(gate.http, HOST) };
    let answer = get(&target, None).unwrap();
    (answer.status, answer.get("x-pod").map(str::to_owned))
}

#[test]
#[ignore = "needs root, Go and minutes: run tests/cluster/run"]
fn a_challenge_of_cert_manager_is_answered_before_application_and_redirect() {
    let headgate = Deployed::apply("base", 1, &["--redirect-to-https"]);
    let space = Namespace::new("acme");
    space.whoami("shop", 1, &[]);
    space.apply(APPLICATION);
    let gate = headgate.gate();
    until("the application is there, redirected", LIMIT, || (ask(&gate, "/") == (301, None)).then_some(()));
    assert_eq!(ask(&gate, "/.well-known/acme-challenge/one"), (301, None), "nobody is challenged yet");

    space.apply(SOLVER);
    let (_, pod) = {
        space.until_endpoints("cm-acme-http-solver-9hq4d", 1);
        space.ready_endpoints("cm-acme-http-solver-9hq4d").remove(0)
    };
    let solved = (200, Some(pod));
    for (token, path_type, by_field) in
        [("one", "Exact", true), ("two", "ImplementationSpecific", false), ("three", "ImplementationSpecific", true)]
    {
        let manifests = ingress(token, path_type, by_field);
        let path = format!("/.well-known/acme-challenge/{token}");
        space.apply(&manifests);
        until("the challenge is answered by its solver", LIMIT, || (ask(&gate, &path) == solved).then_some(()));
        // Nothing else changes: neither the application nor another token.
        assert_eq!(ask(&gate, "/"), (301, None));
        assert_eq!(ask(&gate, "/.well-known/acme-challenge/other"), (301, None));
        assert_eq!(ask(&gate, "/.well-known/acme-challenge/"), (301, None));
        assert!(
            gate.diagnostics().is_empty(),
            "nothing is wrong with what cert-manager makes: {:?}",
            gate.diagnostics()
        );
        // Over TLS as well, as somebody's check may follow a redirect of a proxy in front.
        let target = Target { path: path.clone(), ..Target::https(gate.https, HOST) };
        assert_eq!(get(&target, None).unwrap().get("x-pod"), solved.1.as_deref());
        let _ = space.cluster.try_kubectl_with(&["-n", &space.name, "delete", "--wait=false", "-f", "-"], &manifests);
        until("the challenge is over", LIMIT, || (ask(&gate, &path) == (301, None)).then_some(()));
    }

    // `acme.cert-manager.io/http01-edit-in-place`: the path is added to the application's own Ingress, behind its `/`.
    let patch = r#"[{"op": "add", "path": "/spec/rules/0/http/paths/-", "value": {
        "path": "/.well-known/acme-challenge/four", "pathType": "Exact",
        "backend": {"service": {"name": "cm-acme-http-solver-9hq4d", "port": {"number": 8089}}}}}]"#;
    space.kubectl(&["patch", "ingress", "shop", "--type=json", "-p", patch]);
    until("the challenge is answered by its solver", LIMIT, || {
        (ask(&gate, "/.well-known/acme-challenge/four") == solved).then_some(())
    });
    assert_eq!(ask(&gate, "/"), (301, None));
}
