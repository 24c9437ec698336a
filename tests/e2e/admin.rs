//! The admin server: health, metrics with Kubernetes' own names, and the state as JSON.

use serde_json::Value;

use crate::support::{
    Backend, Cert, Headgate, Ingress, Manifests, Middleware, Pods, Secret,
    manifests::{app, service_of, service_of_pods},
};

#[test]
fn it_is_ready_once_the_first_table_is_live() {
    let backend = Backend::named("app");
    // The first line is printed when every listener is bound and the table is live: no request comes too early.
    let gate = Headgate::start(&app("app.test", &backend));
    assert_eq!(gate.get("app.test", "/").status, 200);
    assert_eq!(gate.admin("/healthz").status, 200);
    assert_eq!(gate.admin("/readyz").status, 200);
    assert_eq!(gate.admin("/nothing").status, 404);
}

#[test]
fn only_reading_is_possible() {
    let gate = Headgate::start(&Manifests::new());
    let addr = gate.address("admin");
    for method in ["POST", "PUT", "DELETE"] {
        let request = crate::support::request(method, "/api/routes", &addr.to_string(), &[], b"");
        let answer = crate::support::Client::connect(addr).send(request).answer();
        assert_eq!(answer.status, 405, "{method}");
    }
}

/// The samples of a metric: (labels, value).
fn samples(gate: &Headgate, metric: &str) -> Vec<(String, f64)> {
    let text = String::from_utf8(gate.admin("/metrics").body).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix(metric)?.strip_prefix('{')?.rsplit_once("} "));
    lines.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
}

#[test]
fn requests_are_counted_by_ingress_service_pod_and_code() {
    let pods = Pods::start("nginx-test", 3);
    let mut objects = service_of_pods("nginx-test", &pods);
    objects.push(Ingress::new("shop").rule("app.test", &[("/", "Prefix", "nginx-test")]).into());
    let gate = Headgate::start(&Manifests::of(objects));
    for _ in 0..6 {
        assert_eq!(gate.get("app.test", "/").status, 200);
    }
    crate::support::eventually("two requests for each pod", || {
        let samples = samples(&gate, "headgate_requests_total");
        pods.all.iter().all(|pod| {
            let labels = [
                r#"namespace="default""#.to_owned(),
                r#"ingress="shop""#.to_owned(),
                r#"service="nginx-test""#.to_owned(),
                format!(r#"pod="{}""#, pod.name()),
            ];
            samples.iter().any(|(got, value)| {
                let code = got.contains(r#"code="200""#) || got.contains(r#"code="2xx""#);
                code && labels.iter().all(|label| got.contains(label.as_str())) && *value == 2.0
            })
        })
    });
    // The guide's second query: histogram_quantile(…_bucket) by (pod).
    let buckets = samples(&gate, "headgate_request_duration_seconds_bucket");
    for pod in &pods.all {
        let whole = buckets.iter().find(|(labels, _)| {
            labels.contains(&format!(r#"pod="{}""#, pod.name())) && labels.contains(r#"le="+Inf""#)
        });
        assert_eq!(whole.map(|(_, value)| *value), Some(2.0), "{}", pod.name());
    }
}

#[test]
fn metrics_follow_the_text_format() {
    let backend = Backend::named("app");
    let gate = Headgate::start(&app("app.test", &backend));
    assert_eq!(gate.get("app.test", "/").status, 200);
    assert_eq!(gate.get("unknown.test", "/").status, 404);
    let answer = gate.admin("/metrics");
    assert!(answer.get("content-type").is_some_and(|t| t.starts_with("text/plain") || t.contains("openmetrics")));
    let sample = regex::Regex::new(r#"^[a-z_]+(\{([a-z_]+="([^"\\]|\\.)*",?)*\})? -?([0-9.e+-]+|\+Inf|NaN)$"#).unwrap();
    let mut typed = std::collections::BTreeSet::new();
    for line in answer.text().lines().filter(|l| !l.is_empty()) {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            assert!(typed.insert(kind.split(' ').next().unwrap().to_owned()), "declared twice: {line}");
        } else if !line.starts_with('#') {
            assert!(sample.is_match(line), "{line:?}");
        }
    }
    assert!(typed.contains("headgate_requests_total") || typed.contains("headgate_requests"), "{typed:?}");
}

#[test]
fn the_api_shows_what_is_live() {
    let backend = Backend::named("pod-a");
    let cert = Cert::new(&["app.test"]);
    let mut objects = service_of("shop-service", &[&backend]);
    let ingress = Ingress::new("shop").rule("app.test", &[("/cart", "Prefix", "shop-service")]);
    objects.extend([
        Value::from(Secret::tls("shop-cert", &cert)),
        Middleware::sticky("pin", "sticky").into(),
        ingress.tls(&["app.test"], "shop-cert").middlewares(&["pin"]).into(),
        Ingress::simple("faulty.test", "nowhere").into(),
    ]);
    let gate = Headgate::start(&Manifests::of(objects));
    for (target, words) in [
        ("/api/routes", &["app.test", "/cart", "shop", "shop-service"][..]),
        ("/api/services", &["shop-service", "pod-a", &backend.addr.to_string()]),
        ("/api/endpoints", &["shop-service", "pod-a", &backend.addr.to_string()]),
        ("/api/certificates", &["app.test", "shop-cert"]),
        ("/api/diagnostics", &["nowhere"]),
        ("/api/version", &[env!("CARGO_PKG_VERSION")]),
    ] {
        let json = gate.api(target).to_string();
        for word in words {
            assert!(json.contains(word), "{target} without {word:?}: {json}");
        }
        let text = gate.admin(target).get("content-type").map(str::to_owned);
        assert!(text.is_some_and(|t| t.starts_with("application/json")), "{target}");
    }
}

#[test]
fn no_secret_is_shown_anywhere() {
    let backend = Backend::named("app");
    let cert = Cert::new(&["app.test"]);
    let users = "user:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let mut objects = service_of("app", &[&backend]);
    objects.extend([
        Value::from(Secret::tls("cert", &cert)),
        Secret::new("users", "Opaque", &[("users", users)]).into(),
        Middleware::new("auth", serde_json::json!({ "basicAuth": { "secret": "users" } })).into(),
        Ingress::simple("app.test", "app").tls(&["app.test"], "cert").middlewares(&["auth"]).into(),
    ]);
    let gate = Headgate::start_with(&Manifests::of(objects), &["--log-level", "debug"]);
    assert_eq!(gate.get("app.test", "/").status, 401);
    let targets = ["/api/routes", "/api/services", "/api/certificates", "/api/diagnostics", "/api/version", "/metrics"];
    let mut shown: Vec<String> = targets.iter().map(|t| gate.admin(t).text()).collect();
    shown.push(gate.stderr());
    let key = cert.key.lines().nth(1).unwrap();
    for text in &shown {
        assert!(!text.contains("PRIVATE KEY") && !text.contains(key), "{text}");
        assert!(!text.contains("5en6G6MezRroT3XKqkdPOmY"), "{text}");
    }
}

#[test]
fn the_access_log_says_what_happened_or_nothing() {
    let backend = Backend::named("pod-a");
    let manifests = app("app.test", &backend);
    for (format, words) in [
        ("common", &["127.0.0.1", "\"GET /seen?x=1 HTTP/1.1\"", "200"][..]),
        ("json", &["/seen?x=1", "app.test", "pod-a", "200"]),
    ] {
        let gate = Headgate::start_with(&manifests, &["--access-log", format]);
        assert_eq!(gate.get("app.test", "/seen?x=1").status, 200);
        crate::support::eventually(&format!("a line of the {format} log"), || {
            gate.log().iter().any(|line| words.iter().all(|word| line.contains(word)))
        });
        let line = gate.log().into_iter().find(|line| line.contains("/seen")).unwrap();
        if format == "json" {
            let _: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
    }
    let gate = Headgate::start_with(&manifests, &["--access-log", "off"]);
    assert_eq!(gate.get("app.test", "/seen").status, 200);
    // Another instance's line of the same time is the measure for "never": here the process has ended.
    let mut gate = gate;
    gate.sigterm();
    gate.wait_exit();
    assert!(gate.log().iter().all(|line| !line.contains("/seen")));
}

#[test]
fn the_access_log_cannot_be_forged() {
    let backend = Backend::named("app");
    let gate = Headgate::start_with(&app("app.test", &backend), &["--access-log", "common"]);
    let agent = "x\" 200 \u{1b}[31m\\";
    let sent =
        format!("GET /quoted\" HTTP/1.1\r\nHost: app.test\r\nUser-Agent: {}\r\n\r\n", agent.replace('\u{1b}', "\t"));
    let status = gate.connect().send(sent).answer().status;
    assert!(status == 200 || status == 400, "{status}");
    assert_eq!(gate.get("app.test", "/after").status, 200);
    crate::support::eventually("the log", || gate.log().iter().any(|line| line.contains("/after")));
    assert!(gate.log().iter().all(|line| !line.contains('\t') && !line.contains("/quoted\" ")), "{:?}", gate.log());
}

/// The page in a real browser, as its scripts have drawn it. Where no Chromium is installed this is skipped, loudly;
/// with HEADGATE_REQUIRE_BROWSER (as in CI) it fails then.
#[test]
fn the_dashboard_shows_routes_pods_and_what_is_wrong() {
    let browser = ["chromium", "chromium-browser", "google-chrome"].into_iter().find(|name| {
        let found = std::process::Command::new(name).arg("--version").output();
        found.is_ok_and(|output| output.status.success())
    });
    let Some(browser) = browser else {
        assert!(std::env::var_os("HEADGATE_REQUIRE_BROWSER").is_none(), "no Chromium is installed");
        eprintln!("SKIPPED: no Chromium is installed, so the dashboard was not looked at");
        return;
    };
    let backend = Backend::named("pod-of-the-page");
    let manifests = app("app.test", &backend);
    manifests.put("broken", [Ingress::simple("broken.test", "gone")]);
    let gate = Headgate::start(&manifests);
    let profile = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--dump-dom", &format!("http://{}/", gate.address("admin"))])
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    for shown in ["app.test", "pod-of-the-page", "broken.test", "no service (503)", "does not exist", ", ready"] {
        assert!(page.contains(shown), "{shown}: {page}\n{}", String::from_utf8_lossy(&output.stderr));
    }
}
