use std::sync::{Condvar, Mutex};

use super::{
    lines::{common, json},
    *,
};

fn record() -> Record {
    Record {
        start: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
        duration: Duration::from_micros(12_345),
        client: "192.0.2.7".parse().unwrap(),
        user: Some("ann".into()),
        method: Method::GET,
        host: "shop.example:8080".to_owned(),
        target: PathAndQuery::from_static("/a?b=c"),
        version: Version::HTTP_11,
        tls_version: Some("TLSv1_3"),
        status: 200,
        bytes: 42,
        referer: Some(HeaderValue::from_static("https://example.com/")),
        user_agent: Some(HeaderValue::from_static("curl/8")),
        entrypoint: "websecure".into(),
        route: Some(RouteNames {
            ingress_namespace: "shop".into(),
            ingress: "web".into(),
            service_namespace: "shop".into(),
            service: "api".into(),
            port: "http".into(),
        }),
        upstream: Some(UpstreamNames {
            address: "[2001:db8::1]:80".parse().unwrap(),
            scheme: "http",
            pod: "api-1".into(),
            duration: Duration::from_millis(10),
        }),
        retries: 1,
    }
}

fn bare() -> Record {
    Record {
        user: None,
        host: String::new(),
        tls_version: None,
        referer: None,
        user_agent: None,
        route: None,
        upstream: None,
        retries: 0,
        status: 404,
        ..record()
    }
}

fn text(line: fn(&mut String, &Record, u64), record: &Record) -> String {
    let mut text = String::new();
    line(&mut text, record, 3);
    text
}

#[test]
fn common_lines() {
    assert_eq!(
        text(common, &record()),
        "192.0.2.7 - ann [14/Nov/2023:22:13:20 +0000] \"GET /a?b=c HTTP/1.1\" 200 42 \"https://example.com/\" \
         \"curl/8\" 3 \"shop/web\" \"http://[2001:db8::1]:80\" 12ms"
    );
    assert_eq!(
        text(common, &bare()),
        "192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] \"GET /a?b=c HTTP/1.1\" 404 42 \"-\" \"-\" 3 \"-\" \"-\" 12ms"
    );
}

#[test]
fn what_a_client_sends_forges_nothing_in_common_lines() {
    let line = text(
        common,
        &Record {
            user: Some("a b\"\n\u{e9}".into()),
            user_agent: Some(HeaderValue::from_bytes(b"x\" 1 \"\\\t\xff").unwrap()),
            target: PathAndQuery::try_from("/\"x\"").unwrap(),
            ..bare()
        },
    );
    assert!(line.starts_with("192.0.2.7 - a\\x20b\\\"\\x0a\\xc3\\xa9 ["), "{line}");
    assert!(line.contains("\"GET /\\\"x\\\" HTTP/1.1\""), "{line}");
    assert!(line.contains("\"x\\\" 1 \\\"\\\\\\x09\\xff\""), "{line}");
}

#[test]
fn json_lines() {
    let line: serde_json::Value = serde_json::from_str(&text(json, &record())).unwrap();
    assert_eq!(
        line,
        serde_json::json!({
            "ClientHost": "192.0.2.7", "ClientUsername": "ann",
            "DownstreamContentSize": 42, "DownstreamStatus": 200, "Duration": 12_345_000, "OriginDuration": 10_000_000,
            "KubernetesIngressNamespace": "shop", "KubernetesIngressName": "web",
            "KubernetesServiceNamespace": "shop", "KubernetesServiceName": "api", "KubernetesServicePort": "http",
            "PodName": "api-1", "ServiceAddr": "[2001:db8::1]:80", "RetryAttempts": 1, "RequestCount": 3,
            "RequestHost": "shop.example:8080", "RequestMethod": "GET", "RequestPath": "/a?b=c",
            "RequestProtocol": "HTTP/1.1", "RequestScheme": "https", "TLSVersion": "TLSv1_3",
            "StartUTC": "2023-11-14T22:13:20.123Z", "time": "2023-11-14T22:13:20.135345Z",
            "entryPointName": "websecure", "level": "info", "msg": "",
            "request_Referer": "https://example.com/", "request_User-Agent": "curl/8",
        })
    );
    let odd = Record { user_agent: Some(HeaderValue::from_bytes(b"a\"\t\xff").unwrap()), ..bare() };
    let line = text(json, &odd);
    assert!(!line.contains(['\n', '\t']), "{line}");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["request_User-Agent"], "a\"\t\u{fffd}");
    for absent in ["KubernetesIngressName", "ServiceAddr", "PodName", "TLSVersion", "OriginDuration", "request_Referer"]
    {
        assert!(line.get(absent).is_none(), "{absent}");
    }
}

/// Standard output in these tests: counts lines, and waits while it is shut.
#[derive(Clone, Default)]
struct Pipe(Arc<(Mutex<PipeState>, Condvar)>);

#[derive(Default)]
struct PipeState {
    shut: bool,
    broken: bool,
    lines: usize,
}

impl Pipe {
    fn set(&self, change: impl FnOnce(&mut PipeState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn lines(&self) -> usize {
        self.0.0.lock().unwrap().lines
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.shut).unwrap();
        if state.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.lines += bytes.iter().filter(|byte| **byte == b'\n').count();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn off_starts_nothing() {
    let log = AccessLog::start(Format::Off, Arc::default()).unwrap();
    assert!(!log.is_on());
    log.log(record());
    log.flush(LONG);
}

#[test]
fn flush_waits_for_all_lines() {
    let (pipe, dropped) = (Pipe::default(), Arc::<Counter>::default());
    let log = AccessLog::start_on(Format::Common, Arc::clone(&dropped), pipe.clone()).unwrap();
    for _ in 0..100 {
        log.clone().log(record());
    }
    log.flush(LONG);
    assert_eq!((pipe.lines(), dropped.get()), (100, 0));
}

#[test]
fn a_slow_reader_costs_lines_and_no_waiting() {
    let (pipe, dropped) = (Pipe::default(), Arc::<Counter>::default());
    pipe.set(|state| state.shut = true);
    let log = AccessLog::start_on(Format::Json, Arc::clone(&dropped), pipe.clone()).unwrap();
    // What the writer's own buffer may hold comes on top of the queue.
    let sent = QUEUE * 3;
    for _ in 0..sent {
        log.log(record());
    }
    let lost = usize::try_from(dropped.get()).unwrap();
    assert!(lost >= QUEUE, "{lost}");
    pipe.set(|state| state.shut = false);
    let deadline = std::time::Instant::now() + LONG;
    while pipe.lines() < sent - lost && std::time::Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!(pipe.lines(), sent - lost);
}

#[test]
fn a_closed_output_counts_what_is_lost() {
    let (pipe, dropped) = (Pipe::default(), Arc::<Counter>::default());
    pipe.set(|state| state.broken = true);
    let log = AccessLog::start_on(Format::Common, Arc::clone(&dropped), pipe).unwrap();
    let deadline = std::time::Instant::now() + LONG;
    while dropped.get() == 0 && std::time::Instant::now() < deadline {
        log.log(record());
        log.flush(LONG);
    }
    assert!(dropped.get() > 0);
    log.flush(LONG);
}

#[test]
fn formats_have_names() {
    assert_eq!("common".parse(), Ok(Format::Common));
    assert_eq!("json".parse(), Ok(Format::Json));
    assert_eq!("off".parse(), Ok(Format::Off));
    assert!("clf".parse::<Format>().unwrap_err().contains("off, common, json"));
}
