//! An API server in memory: objects by path, resourceVersions, field managers of a status, and what is refused.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
};

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::{Report, Standing};
use crate::objects::{Address, Key};

/// One request that was answered.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) at: Instant,
    pub(super) who: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Value,
    pub(super) code: u16,
}

/// What is refused: the status code and a cause, by method and path. 0 is no answer at all.
type Refuse = Box<dyn Fn(&str, &Method, &str) -> Option<(u16, &'static str)> + Send>;

#[derive(Default)]
pub(super) struct World {
    pub(super) objects: BTreeMap<String, Value>,
    pub(super) seen: Vec<Seen>,
    pub(super) refuse: Option<Refuse>,
    /// What another controller makes of each status that is written.
    pub(super) meddler: Option<Vec<Address>>,
    /// Those that watch Ingresses: whoever has a status written is theirs.
    watchers: Vec<Report>,
    version: u64,
}

#[derive(Clone, Default)]
pub(super) struct FakeApi(Arc<Mutex<World>>);

impl FakeApi {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// A client whose requests are noted under a name.
    pub(super) fn client(&self, who: &'static str) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.unwrap().to_bytes();
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let (code, answer) = api.world().answer(who, &head.method, head.uri.path(), &body);
                if code == 0 {
                    std::future::pending::<()>().await;
                }
                // As a server would: the answer comes a moment later.
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                let answer = Full::new(bytes::Bytes::from(answer.to_string()));
                Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    /// From now on the report hears of statuses that are written.
    pub(super) fn watch(&self, report: &Report) {
        self.world().watchers.push(report.clone());
    }

    pub(super) fn refuse(&self, refuse: impl Fn(&str, &Method, &str) -> Option<(u16, &'static str)> + Send + 'static) {
        self.world().refuse = Some(Box::new(refuse));
    }

    /// An Ingress that somebody else, if anybody, has given a status.
    pub(super) fn ingress(&self, key: &Key, status: &[Address]) {
        let object = json!({"metadata": {"namespace": &*key.namespace, "name": &*key.name}, "status": of(status)});
        self.world().objects.insert(path(key), object);
    }

    pub(super) fn status(&self, key: &Key) -> Vec<Address> {
        addresses(&self.world().objects[&path(key)])
    }

    /// The requests whose path has this in it, by whom, and how they ended.
    pub(super) fn asked(&self, method: &Method, part: &str) -> Vec<Seen> {
        self.world().seen.iter().filter(|seen| seen.method == *method && seen.path.contains(part)).cloned().collect()
    }

    pub(super) fn found(&self, part: &str) -> Vec<Value> {
        self.world().objects.iter().filter(|(path, _)| path.contains(part)).map(|(_, object)| object.clone()).collect()
    }
}

fn path(key: &Key) -> String {
    format!("/apis/networking.k8s.io/v1/namespaces/{}/ingresses/{}", key.namespace, key.name)
}

fn of(status: &[Address]) -> Value {
    let entries = status.iter().map(|address| json!({"ip": address.ip.as_deref()}));
    json!({"loadBalancer": {"ingress": entries.collect::<Vec<_>>()}})
}

fn addresses(object: &Value) -> Vec<Address> {
    let ingress = &object["status"]["loadBalancer"]["ingress"];
    if ingress.is_null() { Vec::new() } else { serde_json::from_value(ingress.clone()).unwrap() }
}

fn failure(code: u16, reason: &str, cause: &str) -> (u16, Value) {
    let details = json!({"causes": [{"reason": cause}]});
    (code, json!({"status": "Failure", "code": code, "reason": reason, "message": "refused", "details": details}))
}

impl World {
    fn answer(&mut self, who: &'static str, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let refused = self.refuse.as_ref().and_then(|refuse| refuse(who, method, path));
        let (code, answer) = match refused {
            Some((code, cause)) => failure(code, "", cause),
            None => self.serve(method, path, body),
        };
        let (method, path, body) = (method.clone(), path.to_owned(), body.clone());
        self.seen.push(Seen { at: Instant::now(), who, method, path, body, code });
        (code, answer)
    }

    fn serve(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        self.version += 1;
        let version = json!(self.version.to_string());
        match *method {
            Method::GET if path == "/api/v1/nodes" => {
                let nodes = self.objects.iter().filter(|(path, _)| path.starts_with("/api/v1/nodes/"));
                (200, json!({"metadata": {}, "items": nodes.map(|(_, node)| node).collect::<Vec<_>>()}))
            }
            Method::GET => match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => failure(404, "NotFound", ""),
            },
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if self.objects.contains_key(&path) {
                    return failure(409, "AlreadyExists", "");
                }
                let mut object = body.clone();
                object["metadata"]["resourceVersion"] = version;
                self.objects.insert(path, object.clone());
                (201, object)
            }
            Method::PUT => {
                let Some(object) = self.objects.get_mut(path) else { return failure(404, "NotFound", "") };
                if body["metadata"]["resourceVersion"] != object["metadata"]["resourceVersion"] {
                    return failure(409, "Conflict", "");
                }
                *object = body.clone();
                object["metadata"]["resourceVersion"] = version;
                (200, object.clone())
            }
            Method::PATCH if path.ends_with("/status") => self.apply(path.trim_end_matches("/status"), body),
            Method::PATCH => {
                let Some(object) = self.objects.get_mut(path) else { return failure(404, "NotFound", "") };
                object["series"] = body["series"].clone();
                (200, object.clone())
            }
            _ => failure(405, "MethodNotAllowed", ""),
        }
    }

    /// Server-side apply of a status: an atomic list with one owner, us or somebody else.
    fn apply(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let Some(object) = self.objects.get_mut(path) else { return failure(404, "NotFound", "") };
        let applied = addresses(body);
        if !applied.is_empty() {
            object["status"] = body["status"].clone();
            object["owner"] = json!("headgate");
        } else if object["owner"] == "headgate" {
            object["status"] = of(&[]);
            object["owner"] = Value::Null;
        }
        let answer = object.clone();
        if let Some(other) = self.meddler.as_ref().filter(|_| !applied.is_empty()) {
            object["status"] = of(other);
            object["owner"] = Value::Null;
        }
        let part = |name: &str| body["metadata"][name].as_str().unwrap();
        let key = Key::new(part("namespace"), part("name"));
        let standing = Standing { uid: None, ours: !applied.is_empty(), status: addresses(object) };
        for report in &self.watchers {
            report.ingress(key.clone(), Some(standing.clone()));
        }
        (200, answer)
    }
}
