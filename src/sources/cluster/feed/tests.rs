use std::sync::Mutex;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

type Answer = Response<BoxBody<Bytes, std::io::Error>>;

/// What an API server answers to a request for this path and query, the how manieth it is.
type Script = dyn Fn(&str, usize) -> Answer + Send + Sync;

fn answer(status: u16, lines: &[String], open: bool) -> Answer {
    let frames: Vec<_> = lines.iter().map(|line| Ok(Frame::data(Bytes::from(format!("{line}\n"))))).collect();
    let rest = if open { stream::pending().boxed() } else { stream::empty().boxed() };
    let body = StreamBody::new(stream::iter(frames).chain(rest));
    Response::builder().status(status).body(BodyExt::boxed(SyncBody(Mutex::new(Box::pin(body))))).unwrap()
}

/// A stream is not Sync, and a boxed body has to be.
struct SyncBody<B>(Mutex<std::pin::Pin<Box<B>>>);

impl<B: http_body::Body> http_body::Body for SyncBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.0.lock().unwrap().as_mut().poll_frame(cx)
    }
}

fn service(name: &str, version: u32) -> Value {
    json!({"metadata": {"name": name, "namespace": "n", "resourceVersion": version.to_string()}})
}

/// An event; its type comes first, as API servers write it.
fn event(kind: &str, object: &Value) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn added(name: &str, version: u32) -> String {
    event("ADDED", &service(name, version))
}

/// The bookmark that ends a streamed listing.
fn complete(version: u32) -> String {
    let annotations = json!({LISTED: "true"});
    let metadata = json!({"resourceVersion": version.to_string(), "annotations": annotations});
    event("BOOKMARK", &json!({"kind": "Service", "apiVersion": "v1", "metadata": metadata}))
}

fn list(names: &[&str], version: u32) -> Answer {
    let items: Vec<_> = names.iter().map(|name| service(name, version)).collect();
    let metadata = json!({"resourceVersion": version.to_string()});
    let list = json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": metadata, "items": items});
    answer(200, &[list.to_string()], false)
}

fn refusal(code: u16) -> Answer {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no"});
    answer(code, &[status.to_string()], false)
}

/// A feed of Services, and what it has asked for.
struct Rig {
    news: mpsc::Receiver<(u64, News)>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    fn start(script: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (script, seen): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&asked));
        let server = tower::service_fn(move |request: Request<Body>| {
            let target = request.uri().to_string();
            let count = {
                let mut seen = seen.lock().unwrap();
                seen.push(target.clone());
                seen.len()
            };
            let answer = script(&target, count);
            async { Ok::<_, std::io::Error>(answer) }
        });
        let query = Query { resource: Resource::Objects(Kind::Service), namespace: None, fields: None, labels: None };
        let (out, news) = mpsc::channel(64);
        tokio::spawn(follow(0, query, Client::new(server, "default"), out));
        Self { news, asked }
    }

    /// The next news, in short.
    async fn next(&mut self) -> String {
        match self.news.recv().await.unwrap().1 {
            News::Listing { rewound } => format!("listing{}", if rewound { " anew" } else { "" }),
            News::Listed(object) => format!("listed {}", object.key().name),
            News::Complete => "complete".to_owned(),
            News::Applied(object) => format!("applied {}", object.key().name),
            News::Deleted(object) => format!("deleted {}", object.key().name),
            News::Watching => "watching".to_owned(),
            News::Fault(Fault::Unreachable(_)) => "unreachable".to_owned(),
            News::Fault(fault) => format!("{fault:?}"),
        }
    }

    async fn says(&mut self, expected: &[&str]) {
        for (at, expected) in expected.iter().enumerate() {
            assert_eq!(self.next().await, *expected, "number {at}");
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_streamed_and_goes_on_as_a_watch() {
    let lines = [added("a", 3), added("b", 5), complete(7), added("c", 8)];
    let mut rig = Rig::start(move |_, _| answer(200, &lines, true));
    rig.says(&["listing", "listed a", "listed b", "complete", "applied c"]).await;
    let asked = rig.asked();
    assert!(asked.len() == 1 && asked[0].contains("sendInitialEvents=true") && asked[0].ends_with("resourceVersion="));
}

#[tokio::test(start_paused = true)]
async fn a_server_without_streams_is_asked_for_pages() {
    let mut rig = Rig::start(|target, _| match target {
        _ if target.contains("sendInitialEvents") => refusal(422),
        _ if target.contains("watch=true") => answer(200, &[added("b", 10)], true),
        _ => list(&["a"], 9),
    });
    rig.says(&["listing", "listed a", "complete", "watching", "applied b"]).await;
    assert!(rig.asked()[2].contains("resourceVersion=9"), "{:?}", rig.asked());
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_it_tells_that_it_watches_again_without_any_change() {
    let mut rig = Rig::start(|target, count| match count {
        1 => answer(200, &[added("a", 3), complete(7)], false),
        2..=4 => refusal(503),
        _ if target.contains("watch=true") => answer(200, &[], true),
        _ => list(&[], 7),
    });
    let away = ["unreachable"; 3];
    rig.says(&[&["listing", "listed a", "complete"][..], &away, &["watching"]].concat()).await;
    // Before it goes on from the version that it knows, it asks how far the server is.
    let asked = rig.asked();
    assert!(asked.iter().any(|target| target.contains("limit=1")), "{asked:?}");
    assert!(asked.last().unwrap().contains("resourceVersion=7"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_gone_back_in_time_is_read_anew() {
    let mut rig = Rig::start(|target, count| match count {
        1 => answer(200, &[added("a", 3), complete(900)], false),
        2 => refusal(500),
        _ if target.contains("limit=1") => list(&["old"], 500),
        _ => answer(200, &[added("old", 2), complete(500)], true),
    });
    rig.says(&["listing", "listed a", "complete", "unreachable", "listing anew", "listed old", "complete"]).await;
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_are_not_asked_for_at_once() {
    let mut rig = Rig::start(|target, count| match count {
        1 => answer(200, &[complete(7)], false),
        _ if target.contains("watch=true") => answer(200, &[], false),
        _ => list(&[], 7),
    });
    rig.says(&["listing", "complete"]).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        rig.next().await;
    }
    // A second's pause at most, a look at how far the server is, and a watch.
    assert!(rig.asked().len() < 300, "{}", rig.asked().len());
}

#[tokio::test(start_paused = true)]
async fn too_far_behind_is_listed_again() {
    let expired = event("ERROR", &json!({"kind": "Status", "status": "Failure", "code": 410, "message": "x"}));
    let mut rig = Rig::start(move |_, count| match count {
        1 => answer(200, &[added("a", 3), complete(7)], false),
        2 => answer(200, std::slice::from_ref(&expired), false),
        3 => answer(200, &[complete(20)], false),
        4 => refusal(410),
        _ => answer(200, &[added("b", 30), complete(31)], true),
    });
    let first = ["listing", "listed a", "complete", "watching", "Behind", "listing", "complete"];
    rig.says(&[&first[..], &["Behind", "listing", "listed b", "complete"]].concat()).await;
}
