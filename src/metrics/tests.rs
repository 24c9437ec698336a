use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use super::*;

/// The lines of a scrape that begin so.
fn lines(metrics: &Metrics, start: &str) -> Vec<String> {
    metrics.encode().lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

fn requests(metrics: &Metrics) -> Vec<String> {
    lines(metrics, "headgate_requests_total{")
}

#[test]
fn golden() {
    let metrics = Metrics::new();
    let shard = metrics.shard();
    let (route, pod) = (RouteLabels::new("shop", "web", "api"), EndpointLabels::new("api-1"));
    let series = shard.series(&route, Some(&pod));
    series.record(200, 900);
    series.record(200, 1_000);
    series.record(418, 1_001);
    series.record(503, 31_000_000);
    metrics.entrypoint("web").open.inc();
    metrics.entrypoint("web").total.add(3);
    metrics.refuse(Refusal::NoRoute);
    metrics.retries.inc();
    metrics.config_last_reload.set(1_700_000_000);
    metrics.diagnostics_warning.set(2);
    metrics.set_certificates([("shop".into(), "tls".into(), 1_800_000_000)]);
    metrics.ready.set(1);
    let text = metrics.encode();
    let (ours, process) = text.split_at(text.find("# HELP process_").unwrap());
    assert_eq!(ours, include_str!("golden.txt").replace("VERSION", env!("CARGO_PKG_VERSION")));
    if cfg!(target_os = "linux") {
        for name in ["cpu_seconds_total", "open_fds", "resident_memory_bytes", "start_time_seconds"] {
            let line = process.lines().find(|line| line.starts_with(&format!("process_{name} "))).unwrap();
            assert!(line.split(' ').next_back().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}

#[test]
fn label_values_are_escaped() {
    let metrics = Metrics::new();
    metrics.set_certificates([("a\\b".into(), "c\"d\ne{}".into(), 1)]);
    assert_eq!(
        lines(&metrics, "headgate_certificate_expiry_seconds"),
        ["headgate_certificate_expiry_seconds{namespace=\"a\\\\b\",secret=\"c\\\"d\\ne{}\"} 1"]
    );
}

#[test]
fn shards_are_summed_and_every_code_has_a_label() {
    let metrics = Metrics::new();
    let shards = [metrics.shard(), metrics.shard()];
    let route = RouteLabels::new("n", "i", "s");
    // The same names under another id count into the same line.
    let again = RouteLabels::new("n", "i", "s");
    for shard in &shards {
        for status in [100, 101, 200, 202, 299, 304, 305, 404, 418, 499, 500, 501, 599, 600, 0, u16::MAX] {
            shard.series(&route, None).record(status, 1);
            shard.series(&again, None).record(status, 1);
        }
    }
    let expected = [
        ("200", 4),
        ("304", 4),
        ("404", 4),
        ("499", 4),
        ("500", 4),
        ("1xx", 12),
        ("2xx", 8),
        ("3xx", 4),
        ("4xx", 4),
        ("5xx", 16),
    ];
    let expected = expected.map(|(code, count)| {
        format!(
            "headgate_requests_total{{namespace=\"n\",ingress=\"i\",service=\"s\",pod=\"\",code=\"{code}\"}} {count}"
        )
    });
    assert_eq!(requests(&metrics), expected);
}

#[test]
fn each_listed_code_is_counted_under_its_own_label() {
    let metrics = Metrics::new();
    let shard = metrics.shard();
    let series = shard.series(&RouteLabels::new("n", "i", "s"), None);
    let mut expected = Vec::new();
    for code in shard::CODES.iter().filter(|code| !code.ends_with("xx")) {
        series.record(code.parse().unwrap(), 0);
        expected.push(format!(
            "headgate_requests_total{{namespace=\"n\",ingress=\"i\",service=\"s\",pod=\"\",code=\"{code}\"}} 1"
        ));
    }
    assert_eq!((requests(&metrics), expected.len()), (expected, 24));
}

#[test]
fn beyond_the_limit_labels_are_dropped() {
    let metrics = Metrics::with_max_series(2);
    let (one, other) = (metrics.shard(), metrics.shard());
    let routes: Vec<_> = (0..4).map(|n| RouteLabels::new("n", format!("i{n}"), "s")).collect();
    let pod = EndpointLabels::new("p");
    for route in &routes {
        one.series(route, Some(&pod)).record(200, 1);
    }
    // Two pairs, then two routes without pod; on the other worker too, where the third and fourth find no room at all.
    assert_eq!(
        requests(&metrics),
        [(0, "p"), (1, "p"), (2, ""), (3, "")].map(|(n, pod)| format!(
            "headgate_requests_total{{namespace=\"n\",ingress=\"i{n}\",service=\"s\",pod=\"{pod}\",code=\"200\"}} 1"
        ))
    );
    let late = RouteLabels::new("n", "late", "s");
    for shard in [&one, &other] {
        shard.series(&late, Some(&pod)).record(200, 1);
        shard.series(&late, None).record(200, 1);
    }
    assert_eq!(
        requests(&metrics).first().map(String::as_str),
        Some("headgate_requests_total{namespace=\"\",ingress=\"\",service=\"\",pod=\"\",code=\"200\"} 4")
    );
    assert_eq!(lines(&metrics, "headgate_metrics_series_dropped_total"), ["headgate_metrics_series_dropped_total 6"]);
    assert_eq!(requests(&metrics).len(), 5);
}

#[test]
fn a_pair_counts_once_for_all_workers() {
    let metrics = Metrics::with_max_series(2);
    let shards: Vec<_> = (0..4).map(|_| metrics.shard()).collect();
    let (route, pod) = (RouteLabels::new("n", "i", "s"), EndpointLabels::new("p"));
    for shard in &shards {
        shard.series(&route, Some(&pod)).record(200, 1);
    }
    let other = EndpointLabels::new("q");
    shards.first().unwrap().series(&route, Some(&other)).record(200, 1);
    assert_eq!(requests(&metrics).len(), 2);
    assert_eq!(lines(&metrics, "headgate_metrics_series_dropped_total"), ["headgate_metrics_series_dropped_total 0"]);
}

#[test]
fn retired_series_stay_five_minutes_and_make_room() {
    let metrics = Metrics::with_max_series(1);
    let shard = metrics.shard();
    let (route, pod, next) = (RouteLabels::new("n", "i", "s"), EndpointLabels::new("p"), EndpointLabels::new("q"));
    shard.series(&route, Some(&pod)).record(200, 1);
    shard.sweep(10);
    pod.retire();
    shard.sweep(1_000);
    shard.sweep(1_299);
    assert_eq!(requests(&metrics).len(), 1);
    shard.sweep(1_300);
    assert!(requests(&metrics).is_empty());
    assert_eq!(Arc::strong_count(&pod), 1);
    shard.series(&route, Some(&next)).record(200, 1);
    assert!(requests(&metrics).first().unwrap().contains("pod=\"q\""));
    route.retire();
    shard.sweep(2_000);
    shard.sweep(2_300);
    assert!(requests(&metrics).is_empty());
}

#[test]
fn a_worker_records_while_others_scrape() {
    const EACH: u64 = 20_000;
    let metrics = Metrics::new();
    let route = RouteLabels::new("n", "i", "s");
    let pods: Vec<_> = (0..10).map(|n| EndpointLabels::new(format!("p{n}"))).collect();
    let done = AtomicBool::new(false);
    let deadline = Instant::now() + Duration::from_secs(60);
    std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| {
            scope.spawn(|| {
                let shard = metrics.shard();
                for n in 0..EACH {
                    shard.series(&route, pods.get(n as usize % pods.len())).record(200, n);
                }
            })
        });
        scope.spawn(|| {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) && Instant::now() < deadline {
                let now = total(&metrics);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        });
        for worker in workers {
            worker.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(total(&metrics), 2 * EACH);
    let sum: f64 = lines(&metrics, "headgate_request_duration_seconds_sum").iter().map(|line| number(line)).sum();
    assert!((sum - (EACH * (EACH - 1)) as f64 / 1e6).abs() < 0.001, "{sum}");
}

fn total(metrics: &Metrics) -> u64 {
    lines(metrics, "headgate_request_duration_seconds_count").iter().map(|line| number(line) as u64).sum()
}

fn number(line: &str) -> f64 {
    line.split(' ').next_back().unwrap().parse().unwrap()
}
