//! The answer to a scrape: Prometheus text format 0.0.4.
//!
//! Sums the series of all shards by their labels and prints every family in a fixed order, label sets sorted, so that
//! two scrapes of the same numbers are the same text.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::{Arc, PoisonError},
};

use super::{
    Counter, Gauge, Metrics, Refusal, process,
    shard::{BOUNDS, CODES, Series, Totals},
};

const REQUEST_LABELS: [&str; 4] = ["namespace", "ingress", "service", "pod"];

impl Metrics {
    /// The media type of [`Metrics::encode`].
    pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All families as text. Takes locks for a short while and allocates: for the admin thread, not for a worker.
    pub fn encode(&self) -> String {
        let mut text = Text::default();
        self.encode_requests(&mut text);
        self.encode_traffic(&mut text);
        self.encode_config(&mut text);
        self.encode_report(&mut text);
        encode_process(&mut text, &process::read());
        text.0
    }

    fn encode_requests(&self, text: &mut Text) {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let series: Vec<Arc<Series>> = shards.iter().flat_map(|shard| shard.copy()).collect();
        let mut by_labels: BTreeMap<[&str; 4], Totals> = BTreeMap::new();
        for one in &series {
            by_labels.entry(one.labels()).or_default().add(one);
        }
        text.family(
            "headgate_requests_total",
            "counter",
            "Requests answered, by the endpoint that answered and status code.",
        );
        for (labels, totals) in &by_labels {
            for (code, count) in CODES.iter().zip(totals.codes).filter(|(_, count)| *count > 0) {
                let labels = REQUEST_LABELS.iter().copied().zip(labels.iter().copied()).chain([("code", *code)]);
                text.sample("headgate_requests_total", labels, count);
            }
        }
        text.family(
            "headgate_request_duration_seconds",
            "histogram",
            "Time from the head of a request to the end of its answer.",
        );
        for (labels, totals) in &by_labels {
            encode_histogram(text, labels, totals);
        }
        text.family(
            "headgate_metrics_series_dropped_total",
            "counter",
            "Requests counted without pod, or without any label, because the limit on series is reached.",
        );
        let reduced: u64 = shards.iter().map(|shard| shard.reduced()).sum();
        text.sample("headgate_metrics_series_dropped_total", [], reduced);
    }

    fn encode_traffic(&self, text: &mut Text) {
        let entrypoints = self.entrypoints.lock().unwrap_or_else(PoisonError::into_inner).clone();
        text.family("headgate_connections_open", "gauge", "Client connections open now.");
        for (name, entrypoint) in &entrypoints {
            text.sample("headgate_connections_open", [("entrypoint", &**name)], entrypoint.open.get());
        }
        text.family("headgate_connections_total", "counter", "Client connections accepted.");
        for (name, entrypoint) in &entrypoints {
            text.sample("headgate_connections_total", [("entrypoint", &**name)], entrypoint.total.get());
        }
        text.family("headgate_refused_requests_total", "counter", "Requests answered before any route had them.");
        for (reason, counter) in Refusal::ALL.iter().zip(&self.refused) {
            text.sample("headgate_refused_requests_total", [("reason", reason.as_str())], counter.get());
        }
        text.counter("headgate_upstream_connects_total", "Connections opened to endpoints.", &self.upstream_connects);
        text.counter(
            "headgate_upstream_connect_failures_total",
            "Connections to endpoints that could not be opened.",
            &self.upstream_connect_failures,
        );
        text.counter("headgate_retries_total", "Requests sent again, to the same endpoint or another.", &self.retries);
        text.counter(
            "headgate_access_log_dropped_total",
            "Lines of the access log lost because its reader was too slow.",
            &self.access_log_dropped,
        );
    }

    fn encode_config(&self, text: &mut Text) {
        text.counter("headgate_config_reloads_total", "Routing tables published.", &self.config_reloads);
        text.gauge(
            "headgate_config_last_reload_success_timestamp_seconds",
            "Unix time of the last routing table published.",
            &self.config_last_reload,
        );
        text.family("headgate_diagnostics", "gauge", "What is wrong with the objects that users wrote.");
        for (severity, gauge) in [
            ("error", &self.diagnostics_error),
            ("warning", &self.diagnostics_warning),
            ("info", &self.diagnostics_info),
        ] {
            text.sample("headgate_diagnostics", [("severity", severity)], gauge.get());
        }
        text.gauge("headgate_routes", "Routes in the table in force.", &self.routes);
        text.gauge("headgate_services", "Services in the table in force.", &self.services);
        text.gauge("headgate_endpoints", "Endpoints of the services in the table in force.", &self.endpoints);
        text.family(
            "headgate_certificate_expiry_seconds",
            "gauge",
            "Unix time at which the certificate of a Secret ends.",
        );
        for ((namespace, secret), expiry) in &*self.certificates.lock().unwrap_or_else(PoisonError::into_inner) {
            let labels = [("namespace", &**namespace), ("secret", &**secret)];
            text.sample("headgate_certificate_expiry_seconds", labels, expiry);
        }
        text.gauge("headgate_ready", "1 when ready to serve.", &self.ready);
        text.family("headgate_build_info", "gauge", "Always 1; the version is a label.");
        text.sample("headgate_build_info", [("version", env!("CARGO_PKG_VERSION"))], 1);
    }

    fn encode_report(&self, text: &mut Text) {
        let report = &self.report;
        text.gauge("headgate_leader", "1 while this replica writes status and Events.", &report.leader);
        text.family("headgate_status_writes_total", "counter", "Writes of the status of an Ingress.");
        for (result, counter) in [("ok", &report.status_ok), ("error", &report.status_error)] {
            text.sample("headgate_status_writes_total", [("result", result)], counter.get());
        }
        text.family("headgate_events_total", "counter", "Events about what is wrong with an object.");
        for (result, counter) in
            [("ok", &report.events_ok), ("error", &report.events_error), ("dropped", &report.events_dropped)]
        {
            text.sample("headgate_events_total", [("result", result)], counter.get());
        }
    }
}

fn encode_histogram(text: &mut Text, labels: &[&str; 4], totals: &Totals) {
    let labels = || REQUEST_LABELS.iter().copied().zip(labels.iter().copied());
    let mut count = 0_u64;
    for (bound, bucket) in BOUNDS.iter().chain(&["+Inf"]).zip(totals.buckets) {
        count = count.saturating_add(bucket);
        text.sample("headgate_request_duration_seconds_bucket", labels().chain([("le", *bound)]), count);
    }
    text.sample("headgate_request_duration_seconds_sum", labels(), totals.sum_micros as f64 / 1e6);
    text.sample("headgate_request_duration_seconds_count", labels(), count);
}

fn encode_process(text: &mut Text, process: &process::Process) {
    let mut one = |name: &str, kind: &str, help: &str, value: Option<&dyn Display>| {
        if let Some(value) = value {
            text.family(name, kind, help);
            text.sample(name, [], value);
        }
    };
    let dynamic = |value: &'_ Option<f64>| value.map(|value| format!("{value:.2}"));
    let (cpu, start) = (dynamic(&process.cpu_seconds), dynamic(&process.start_seconds));
    one("process_cpu_seconds_total", "counter", "CPU time, user and system.", cpu.as_ref().map(|v| v as _));
    one("process_open_fds", "gauge", "Open file descriptors.", process.open_fds.as_ref().map(|v| v as _));
    one("process_resident_memory_bytes", "gauge", "Resident memory.", process.resident_bytes.as_ref().map(|v| v as _));
    one("process_start_time_seconds", "gauge", "Unix time of the start.", start.as_ref().map(|v| v as _));
}

/// The text as it grows. Writing to a `String` can't fail.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn counter(&mut self, name: &str, help: &str, counter: &Counter) {
        self.family(name, "counter", help);
        self.sample(name, [], counter.get());
    }

    fn gauge(&mut self, name: &str, help: &str, gauge: &Gauge) {
        self.family(name, "gauge", help);
        self.sample(name, [], gauge.get());
    }

    fn sample<'a>(&mut self, name: &str, labels: impl IntoIterator<Item = (&'a str, &'a str)>, value: impl Display) {
        self.0.push_str(name);
        let mut open = '{';
        for (label, value) in labels {
            self.0.push(open);
            open = ',';
            self.0.push_str(label);
            self.0.push_str("=\"");
            self.escape(value);
            self.0.push('"');
        }
        if open == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// Backslash, quote and line feed, as the format has it for label values.
    fn escape(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.0.push_str("\\\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                _ => self.0.push(character),
            }
        }
    }
}
