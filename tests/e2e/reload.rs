//! Manifests change while the proxy serves: each change becomes live, and no request notices.

use std::{
    os::unix::fs::symlink,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;

use crate::support::{
    Backend, Client, Headgate, Ingress, Manifests, Pods, Service, Slice, eventually,
    manifests::{app, service_of},
    pause,
};

const REQUESTS: usize = 20_000;
const CHANGES: usize = 60;

/// What four clients did meanwhile.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    done: AtomicUsize,
    failed: Mutex<Vec<String>>,
}

impl Load {
    fn client(&self, web: std::net::SocketAddr) {
        // A new connection now and then, so that accepting is under test as well.
        while !self.stop.load(Ordering::Relaxed) {
            let mut client = Client::connect(web);
            for _ in 0..50 {
                let sent = client.send(crate::support::request("GET", "/", "app.test", &[], b"")).try_answer(true);
                match sent {
                    Ok(Some(answer)) if answer.status == 200 => {}
                    other => {
                        self.failed.lock().unwrap().push(format!("{other:?}"));
                        break;
                    }
                }
                self.done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn no_request_fails_while_everything_changes() {
    let pods = Pods::start("nginx-test", 15);
    let manifests = Manifests::new();
    manifests.put("service", [Service::new("app")]);
    manifests.put("ingress", [Ingress::simple("app.test", "app")]);
    manifests.put("pods", [Slice::of("app", pods.port, &pods.all)]);
    let gate = Headgate::start(&manifests);
    let load = Arc::new(Load::default());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (load, web) = (Arc::clone(&load), gate.web());
            std::thread::spawn(move || load.client(web))
        })
        .collect();

    let mut change = 0;
    while change < CHANGES || load.done.load(Ordering::Relaxed) < REQUESTS {
        // Between 3 and 15 pods, another window each time.
        let (first, count) = (change * 7 % 12, 3 + change * 5 % 13);
        let last = (first + count).min(15);
        manifests.put("pods", [Slice::of("app", pods.port, &pods.all[first..last])]);
        match change % 6 {
            0 => manifests.put("ingress", [Ingress::simple("app.test", "app").traefik("router.priority", "7")]),
            1 => manifests.text("broken.yaml", "apiVersion: v1\nkind: [unclosed\n"),
            2 => manifests.put("extra", service_of("extra", &[])),
            3 => manifests.remove("broken"),
            4 => manifests.put("ingress", [Ingress::simple("app.test", "app")]),
            _ => manifests.remove("extra"),
        }
        change += 1;
        pause(Duration::from_millis(100));
        assert!(load.failed.lock().unwrap().len() < 10, "{:#?}", load.failed.lock().unwrap());
        assert!(change < 3_000, "{} requests only", load.done.load(Ordering::Relaxed));
    }
    load.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let (done, failed) = (load.done.load(Ordering::Relaxed), load.failed.lock().unwrap());
    assert!(failed.is_empty(), "{} of {done} requests failed: {failed:#?}", failed.len());
    assert!(done >= REQUESTS);
}

#[test]
fn files_come_change_and_go() {
    let (first, second) = (Backend::named("first"), Backend::named("second"));
    let manifests = Manifests::new();
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get("app.test", "/").status, 404);

    let mut objects = service_of("first", &[&first]);
    objects.extend(service_of("second", &[&second]));
    manifests.put("services", objects);
    manifests.put("ingress", [Ingress::new("app").rule("app.test", &[("/", "Prefix", "first")])]);
    gate.until("app.test", "/", "the Ingress is there", |a| a.text() == "first");

    manifests.put("ingress", [Ingress::new("app").rule("app.test", &[("/", "Prefix", "second")])]);
    gate.until("app.test", "/", "the Ingress is changed", |a| a.text() == "second");

    manifests.remove("ingress");
    gate.until("app.test", "/", "the Ingress is gone", |a| a.status == 404);
}

#[test]
fn a_file_can_be_written_in_place() {
    let backend = Backend::named("app");
    let manifests = app("app.test", &backend);
    let gate = Headgate::start(&manifests);
    let text = std::fs::read_to_string(manifests.file("main")).unwrap();
    std::fs::write(manifests.file("main"), text.replace("app.test", "other.test")).unwrap();
    gate.until("other.test", "/", "the edit is live", |a| a.text() == "app");
    assert_eq!(gate.get("app.test", "/").status, 404);
}

#[test]
fn a_broken_file_keeps_its_last_good_objects() {
    let backend = Backend::named("app");
    let manifests = app("app.test", &backend);
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get("app.test", "/").text(), "app");

    manifests.text("main.yaml", "kind: Ingress\n  metadata: {\n");
    eventually("the fault is reported with its file", || {
        gate.api("/api/diagnostics").to_string().contains("main.yaml")
    });
    assert_eq!(gate.get("app.test", "/").text(), "app");

    let mut objects = service_of("app", &[&backend]);
    objects.push(Ingress::simple("mended.test", "app").into());
    manifests.put("main", objects);
    gate.until("mended.test", "/", "the mended file counts", |a| a.text() == "app");
    assert_eq!(gate.get("app.test", "/").status, 404);
    assert!(!gate.api("/api/diagnostics").to_string().contains("main.yaml"), "the fault is no longer reported");
}

#[test]
fn a_document_of_the_wrong_shape_fails_alone() {
    let backend = Backend::named("app");
    let manifests = app("app.test", &backend);
    let bad = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: bad\nspec:\n  rules: 7\n";
    let good = Value::from(Ingress::new("good").rule("good.test", &[("/", "Prefix", "app")]));
    manifests.text("mixed.yaml", &format!("{bad}---\n{good}\n---\n# nothing\n---\njust a scalar\n"));
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get("good.test", "/").text(), "app");
    let said = gate.api("/api/diagnostics").to_string();
    assert!(said.contains("mixed.yaml") && said.contains("bad"), "{said}");
}

#[test]
fn lists_json_and_nested_directories_are_read_and_other_files_are_not() {
    let backend = Backend::named("app");
    let manifests = Manifests::new();
    let mut items = service_of("app", &[&backend]);
    items.push(Ingress::simple("list.test", "app").into());
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
    manifests.text("list.json", &list.to_string());
    let ignored = Value::from(Ingress::new("ignored").rule("ignored.test", &[("/", "Prefix", "app")]));
    manifests.text("notes.txt", &ignored.to_string());
    symlink("nowhere.yaml", manifests.path().join("dangling.yaml")).unwrap();
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get("list.test", "/").text(), "app");
    assert_eq!(gate.get("ignored.test", "/").status, 404);
}

#[test]
fn a_volume_of_kubernetes_swaps_its_symlink() {
    let backend = Backend::named("app");
    let manifests = Manifests::new();
    let root = manifests.path();
    let version = |name: &str, host: &str| {
        std::fs::create_dir(root.join(name)).unwrap();
        let mut objects = service_of("app", &[&backend]);
        objects.push(Ingress::simple(host, "app").into());
        let documents: Vec<String> = objects.iter().map(ToString::to_string).collect();
        std::fs::write(root.join(name).join("app.yaml"), documents.join("\n---\n")).unwrap();
    };
    version("..2026_01", "one.test");
    symlink("..2026_01", root.join("..data")).unwrap();
    symlink("..data/app.yaml", root.join("app.yaml")).unwrap();
    let gate = Headgate::start(&manifests);
    assert_eq!(gate.get("one.test", "/").text(), "app");

    version("..2026_02", "two.test");
    symlink("..2026_02", root.join("..data_tmp")).unwrap();
    std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    std::fs::remove_dir_all(root.join("..2026_01")).unwrap();
    gate.until("two.test", "/", "the new version is live", |a| a.text() == "app");
    assert_eq!(gate.get("one.test", "/").status, 404);
}

#[test]
fn a_request_in_flight_does_not_notice_that_its_route_is_gone() {
    let (release, gate_open) = std::sync::mpsc::channel::<()>();
    let gate_open = Mutex::new(gate_open);
    let backend = Backend::scripted("slow", move |conn| {
        while conn.request()?.is_some() {
            let _ = gate_open.lock().unwrap().recv();
            conn.whoami()?;
        }
        Ok(())
    });
    let manifests = app("app.test", &backend);
    let gate = Headgate::start(&manifests);
    let mut client = gate.connect();
    client.send(crate::support::request("GET", "/", "app.test", &[], b""));
    eventually("the request is at the backend", || backend.count() == 1);
    manifests.remove("main");
    eventually("the route is gone", || !gate.api("/api/routes").to_string().contains("app.test"));
    release.send(()).unwrap();
    assert_eq!(client.answer().text(), "slow");
}
