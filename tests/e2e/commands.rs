//! The commands besides `run`, and what is said when one cannot do its work.

use std::{fs, net::TcpListener, path::Path, process::Output};

use serde_json::Value;

use crate::support::{
    Backend, Client, Ingress, Manifests, eventually,
    headgate::{Process, command, run},
    manifests::{app, service_of},
};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn path(manifests: &Manifests) -> &str {
    manifests.path().to_str().unwrap()
}

#[test]
fn check_is_content_with_good_manifests() {
    let backend = Backend::named("pod-a");
    let output = run(["check", path(&app("app.test", &backend))]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    for word in ["app.test", "default", "app", "80"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn check_says_what_is_wrong_and_where() {
    let backend = Backend::named("pod-a");
    let manifests = app("app.test", &backend);
    let ingress = Ingress::new("faulty").rule("faulty.test", &[("/", "Prefix", "nowhere")]);
    manifests.put("faulty", [ingress.middlewares(&["gone"])]);
    let output = run(["check", path(&manifests)]);
    let said = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in ["faulty.yaml:1", "default/faulty", "nowhere", "gone", "error"] {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn check_fails_on_a_file_that_is_no_yaml() {
    let manifests = Manifests::new();
    manifests.text("broken.yaml", "kind: Ingress\nmetadata: [\n");
    let output = run(["check", path(&manifests)]);
    let said = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("broken.yaml:"), "{said}");
}

#[test]
fn check_fails_on_a_warning_too() {
    let backend = Backend::named("pod-a");
    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple("app.test", "app").traefik("router.priority", "many").into());
    let output = run(["check", path(&Manifests::of(objects))]);
    let said = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("router.priority"), "{said}");
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    for args in [["check", "/nowhere/at/all"].as_slice(), &["run", "--manifests", "/nowhere/at/all"]] {
        let output = run(args);
        assert!(!output.status.success(), "{args:?}");
        assert!((stdout(&output) + &stderr(&output)).contains("/nowhere/at/all"), "{args:?}");
    }
}

#[test]
fn explain_names_the_winner_and_those_it_beat() {
    let (long, short) = (Backend::named("long-pod"), Backend::named("short-pod"));
    let mut objects = service_of("long", &[&long]);
    objects.extend(service_of("short", &[&short]));
    objects.extend([
        Value::from(Ingress::new("short").rule("e.test", &[("/", "Prefix", "short")])),
        Ingress::new("long").rule("e.test", &[("/deep", "Prefix", "long")]).into(),
    ]);
    let manifests = Manifests::of(objects);
    let output = run(["explain", "--manifests", path(&manifests), "GET", "http://e.test/deep/er"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{}", stderr(&output));
    for word in ["default/long", "default/short", "long-pod", &long.addr.to_string()] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let nothing = run(["explain", "--manifests", path(&manifests), "GET", "http://unknown.test/"]);
    assert!(stdout(&nothing).contains("404"), "{}", stdout(&nothing));
}

#[test]
fn crds_prints_what_crds_holds() {
    let output = run(["crds"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut files: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| !file.ends_with("kustomization.yaml"));
    files.sort();
    let held: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    // How documents are joined does not matter, nor the comment between them; what they hold does, to the byte.
    let documents = |text: &str| -> Vec<String> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let text = format!("{}\n", lines.join("\n"));
        let parts = text.split("---\n").map(|d| d.trim().to_owned());
        parts.filter(|d| !d.is_empty()).collect()
    };
    let held: Vec<String> = held.iter().flat_map(|text| documents(text)).collect();
    assert_eq!(held.len(), files.len());
    assert_eq!(documents(&stdout(&output)), held);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let manifests = Manifests::new();
    for flag in ["--http", "--https", "--admin"] {
        let others = ["--http", "--https", "--admin"].into_iter().filter(|f| *f != flag);
        let args: Vec<&str> = ["run", "--manifests", path(&manifests), flag, &addr]
            .into_iter()
            .chain(others.flat_map(|f| [f, "127.0.0.1:0"]))
            .collect();
        let output = run(args);
        assert!(!output.status.success(), "{flag}");
        let said = stderr(&output);
        assert!(said.contains(&addr) && said.contains("in use") && said.contains(flag), "{flag}: {said}");
        assert!(stdout(&output).is_empty(), "no first line: {}", stdout(&output));
    }
}

#[test]
fn a_second_headgate_on_one_port_is_refused() {
    // SO_REUSEPORT alone would let it in.
    let backend = Backend::named("app");
    let manifests = app("app.test", &backend);
    let gate = crate::support::Headgate::start(&manifests);
    let web = gate.web().to_string();
    let args = ["run", "--manifests", path(&manifests), "--http", &web];
    let output = run(args.into_iter().chain(["--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"]));
    assert!(!output.status.success());
    assert!(stderr(&output).contains(&web), "{}", stderr(&output));
    assert_eq!(gate.get("app.test", "/").status, 200);
}

#[test]
fn a_bad_flag_is_named() {
    let manifests = Manifests::new();
    for (flag, value) in [
        ("--workers", "none"),
        ("--header-timeout", "soon"),
        ("--trusted-ips", "everyone"),
        ("--access-log", "sometimes"),
        ("--entrypoint", "noaddress"),
        ("--http", "here"),
        ("--no-such-flag", "x"),
    ] {
        let output = run(["run", "--manifests", path(&manifests), flag, value]);
        assert_eq!(output.status.code(), Some(2), "{flag}: {}", stderr(&output));
        assert!(stderr(&output).contains(flag), "{flag}: {}", stderr(&output));
    }
}

#[test]
fn flags_can_come_from_the_environment() {
    let backend = Backend::named("app");
    let manifests = app("app.test", &backend);
    let mut with_environment = command();
    with_environment.arg("run").envs([
        ("HEADGATE_MANIFESTS", path(&manifests)),
        ("HEADGATE_HTTP", "127.0.0.1:0"),
        ("HEADGATE_HTTPS", "127.0.0.1:0"),
        ("HEADGATE_ADMIN", "127.0.0.1:0"),
        ("HEADGATE_WORKERS", "1"),
    ]);
    let process = Process::spawn(with_environment);
    let web = url(&process.line(), "http");
    assert_eq!(Client::connect(web).get("app.test", "/").text(), "app");
}

#[test]
fn help_names_every_flag_with_its_variable() {
    let output = run(["run", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let said = stdout(&output);
    for flag in [
        "manifests",
        "kubeconfig",
        "watch-namespace",
        "ingress-selector",
        "publish-service",
        "publish-address",
        "cookie-keys-secret",
        "leader-lease",
        "read-only",
        "health",
        "ingress-class",
        "http",
        "https",
        "admin",
        "workers",
        "entrypoint",
        "controller-name",
        "claim-unclassed",
        "allow-external-name",
        "redirect-to-https",
        "default-cert",
        "default-key",
        "cookie-keys-file",
        "accept-legacy-cookies",
        "trusted-ips",
        "proxy-protocol",
        "upstream-ca-file",
        "upstream-insecure-skip-verify",
        "handshake-timeout",
        "header-timeout",
        "keepalive-timeout",
        "body-timeout",
        "connect-timeout",
        "response-timeout",
        "upstream-idle-timeout",
        "tunnel-timeout",
        "drain-delay",
        "drain-timeout",
        "access-log",
        "log-level",
    ] {
        let variable = format!("HEADGATE_{}", flag.replace('-', "_").to_uppercase());
        assert!(said.contains(&format!("--{flag}")) && said.contains(&variable), "--{flag}, {variable}");
    }
    let version = run(["--version"]);
    assert_eq!(stdout(&version).trim(), format!("headgate {}", env!("CARGO_PKG_VERSION")));
}

/// The first `SCHEME://127.0.0.1:PORT` in a text.
#[track_caller]
fn url(text: &str, scheme: &str) -> std::net::SocketAddr {
    let pattern = regex::Regex::new(&format!(r"\b{scheme}://(127\.0\.0\.1:[0-9]+)")).unwrap();
    pattern.captures(text).unwrap_or_else(|| panic!("no {scheme} address in {text:?}"))[1].parse().unwrap()
}

#[test]
fn whoami_answers_with_its_name_and_the_request() {
    let mut whoami = command();
    whoami.args(["whoami", "--listen", "127.0.0.1:0", "--name", "nginx-test-abc"]);
    let process = Process::spawn(whoami);
    let addr = url(&process.line(), "http");
    let mut client = Client::connect(addr);
    // The guide's script takes the first match of this.
    let name = regex::Regex::new("nginx-test-[^<\n]*").unwrap();
    for target in ["/", "/some/path?x=1"] {
        let answer = client.get_with("who.test", target, &[("X-Asked", "yes")]);
        let text = answer.text();
        assert_eq!(answer.status, 200);
        for word in ["nginx-test-abc", target, "who.test", "yes"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(name.find(&text).unwrap().as_str().trim(), "nginx-test-abc");
    }
}

#[test]
fn demo_serves_the_guides_own_case_and_its_lines_work() {
    let mut demo = command();
    demo.arg("demo");
    let process = Process::spawn(demo);
    eventually("the addresses and the lines to paste", || {
        let said = process.stdout().join("\n");
        said.contains("http://127.0.0.1:") && said.contains("https://127.0.0.1:") && said.contains("curl")
    });
    let said = process.stdout().join("\n");
    let (web, secure) = (url(&said, "http"), url(&said, "https"));
    let name = regex::Regex::new("nginx-test-[^<\\s]*").unwrap();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let mut cookie = None;
    eventually("the demo answers", || std::net::TcpStream::connect(web).is_ok());
    for _ in 0..30 {
        let answer = Client::connect(web).get("nginx-test.local", "/");
        assert_eq!(answer.status, 200, "{}", answer.text());
        cookie = answer.cookie("sticky").or(cookie);
        let text = answer.text();
        *counts.entry(name.find(&text).unwrap_or_else(|| panic!("{text}")).as_str().to_owned()).or_default() += 1;
    }
    assert_eq!(counts.len(), 15, "{counts:?}");
    assert!(counts.values().all(|count| *count == 2), "{counts:?}");

    let cookie = format!("sticky={}", cookie.expect("a sticky cookie"));
    let mut client = Client::connect(web);
    let pods: Vec<String> = (0..10)
        .map(|_| client.get_with("nginx-test.local", "/", &[("Cookie", &cookie)]).text())
        .map(|text| name.find(&text).unwrap().as_str().to_owned())
        .collect();
    assert!(pods.iter().all(|pod| *pod == pods[0]), "{pods:?}");

    let answer = Client::tls(secure, Some("nginx-test.local")).get("nginx-test.local", "/");
    assert_eq!(answer.status, 200);

    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    assert!(!lines.is_empty(), "{said}");
    for line in lines {
        let output = std::process::Command::new("bash").args(["-c", line]).output().unwrap();
        let (text, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {error}");
        assert!(text.contains("nginx-test-") || text.contains("headgate"), "{line}: {text}");
    }
}

#[test]
fn two_demos_can_run_at_once() {
    let start = || {
        let mut demo = command();
        demo.arg("demo");
        Process::spawn(demo)
    };
    let (first, second) = (start(), start());
    let mut addresses = Vec::new();
    for process in [&first, &second] {
        eventually("its address", || process.stdout().join("\n").contains("http://127.0.0.1:"));
        addresses.push(url(&process.stdout().join("\n"), "http"));
    }
    assert_ne!(addresses[0], addresses[1]);
    for addr in addresses {
        eventually("it answers", || std::net::TcpStream::connect(addr).is_ok());
        assert_eq!(Client::connect(addr).get("nginx-test.local", "/").status, 200);
    }
}
