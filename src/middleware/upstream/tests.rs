//! An upstream for the tests of middlewares: it answers what it is told, and remembers what it was asked.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

use super::*;
use crate::{
    balance::{Options, Policy, Scheme, ServiceKey},
    body::BodyKind,
    middleware::{Chain, Head, Middleware, headers},
};

/// A request as it reached an endpoint.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) kind: BodyKind,
    /// `None` where the body was left alone.
    pub(crate) body: Option<Vec<u8>>,
    /// Which other service it is, if it is one.
    pub(crate) service: Option<String>,
}

/// Answers in their order; without one left, 200.
#[derive(Debug, Default)]
pub(crate) struct Fake {
    pub(crate) answers: VecDeque<Response<Body>>,
    /// Those of other services.
    pub(crate) fetched: VecDeque<Response<Body>>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) retried: usize,
}

impl Fake {
    /// One that gives these statuses; 0 is an endpoint that can't be reached.
    pub(crate) fn of(statuses: &[u16]) -> Self {
        let answers = statuses.iter().map(|status| if *status == 0 { failed(502, true) } else { answer(*status, "") });
        Self { answers: answers.collect(), ..Self::default() }
    }

    pub(crate) fn bodies(&self) -> Vec<&[u8]> {
        self.seen.iter().filter_map(|seen| seen.body.as_deref()).collect()
    }

    /// Sends a request through one middleware.
    pub(crate) async fn run(&mut self, middleware: &Middleware, request: &mut Request) -> Response<Body> {
        Chain::new(vec![middleware.clone()]).run(request, self).await
    }
}

impl Upstream for Fake {
    async fn forward(&mut self, request: &mut Request) -> Response<Body> {
        let answer = self.answers.pop_front().unwrap_or_else(|| answer(200, ""));
        let unsent = answer.extensions().get::<Failed>().is_some_and(|failed| failed.unsent);
        let body = std::mem::take(&mut request.body);
        let body = if unsent { None } else { Some(read(body).await.0) };
        self.seen.push(Seen { head: request.head.clone(), kind: request.kind, body, service: None });
        answer
    }

    async fn fetch(&mut self, service: &Arc<Service>, request: Request) -> Response<Body> {
        let answer = self.fetched.pop_front().unwrap_or_else(|| answer(200, ""));
        let (body, _) = read(request.body).await;
        let service = Some(service.key.to_string());
        self.seen.push(Seen { head: request.head, kind: request.kind, body: Some(body), service });
        answer
    }

    fn retried(&mut self) {
        self.retried += 1;
    }
}

pub(crate) fn answer(status: u16, body: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

/// The proxy's own, for an endpoint that did not answer.
pub(crate) fn failed(status: u16, unsent: bool) -> Response<Body> {
    let mut failed = answer(status, "failed");
    failed.extensions_mut().insert(Failed { unsent });
    failed
}

/// A body's bytes, and its trailers.
pub(crate) async fn read(mut body: Body) -> (Vec<u8>, Option<HeaderMap>) {
    let (mut all, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await {
        match frame.unwrap().into_data() {
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    (all.to_vec(), trailers)
}

/// A request with a body, or none where it is empty.
pub(crate) fn request(method: &str, url: &str, body: &'static [u8]) -> Request {
    let head = headers::tests::head(method.parse().unwrap(), url);
    let kind = if body.is_empty() { BodyKind::None } else { BodyKind::Length(body.len() as u64) };
    Request::new(head, Bytes::from_static(body).into(), kind)
}

/// A service of that name in namespace `default`.
pub(crate) fn service(name: &str) -> Arc<Service> {
    let key = ServiceKey { namespace: "default".into(), name: name.into(), port: 80 };
    let options = Options {
        scheme: Scheme::Http,
        policy: Policy::RoundRobin,
        pass_host: true,
        server_name: name.into(),
        transport: None,
    };
    Arc::new(Service::new(key, options))
}
