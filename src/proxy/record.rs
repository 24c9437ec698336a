//! What is kept of a request while it is served: for the metrics, the access log, and the connection's idle clock.
//! It ends with the last byte of the answer, or when the client goes away.

use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    access_log::{self, AccessLog},
    connection::Client,
    error::Error,
    upstream::Pool,
    worker::Worker,
};
use crate::{
    body::{Body, BodyError, Stream},
    metrics::Series,
    middleware::Head,
    table::Route,
};

/// A request that is being served.
pub(crate) struct Record {
    worker: Rc<Worker>,
    flight: Flight,
    started: Instant,
    pool: Option<Rc<Pool>>,
    /// When the endpoint was asked.
    asked: Option<Instant>,
    /// Only with the access log on.
    line: Option<Box<access_log::Record>>,
}

/// The connection is busy for as long as this lives.
struct Flight(Rc<Client>);

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.activity.end();
    }
}

impl Record {
    pub(crate) fn new(worker: &Rc<Worker>, client: &Rc<Client>, request: &Request<Incoming>) -> Self {
        client.activity.begin();
        let line = worker.access_log.is_on().then(|| line(worker, client, request)).flatten();
        let flight = Flight(Rc::clone(client));
        Self { worker: Rc::clone(worker), flight, started: Instant::now(), pool: None, asked: None, line }
    }

    /// The endpoint that is asked.
    pub(crate) fn endpoint(&mut self, pool: &Rc<Pool>) {
        self.pool = Some(Rc::clone(pool));
        self.asked = self.line.is_some().then(Instant::now);
    }

    /// It is sent again.
    pub(crate) fn retried(&mut self) {
        self.worker.metrics.retries.inc();
        if let Some(line) = &mut self.line {
            line.retries += 1;
        }
    }

    /// An endpoint failed.
    pub(crate) fn failed(&self, error: &Error) {
        let endpoint = self.pool.as_ref().map(|p| p.endpoint.address);
        tracing::debug!(?endpoint, %error, "an exchange with an endpoint failed");
    }

    /// What the middlewares found out, and the client's own address.
    pub(crate) fn head(&mut self, head: &Head) {
        if let Some(line) = &mut self.line {
            line.client = head.client;
            line.user = head.user.as_deref().map(Arc::from);
        }
    }

    /// The answer is made; what streams of it is recorded at its end.
    pub(crate) fn finish(self, answer: Response<Body>, route: Option<&Route>) -> Response<Body> {
        let Self { worker, flight, started, pool, asked, mut line } = self;
        let status = answer.status();
        let series = route
            .filter(|r| r.metrics)
            .map(|r| worker.shard.series(&r.labels, pool.as_ref().map(|p| &p.endpoint.live.labels)));
        if let Some(line) = &mut line {
            names(line, route, pool.as_deref(), asked);
            line.status = status.as_u16();
        }
        let line = line.filter(|_| route.is_none_or(|r| r.access_log));
        let mut ending = Ending { _flight: flight, log: None, series, status, started, line, bytes: 0 };
        if ending.line.is_some() {
            ending.log = Some(worker.access_log.clone());
        }
        let (parts, body) = answer.into_parts();
        let body = match body {
            Body::Stream(inner) => Body::stream(Tracked { inner, ending }),
            Body::Full(bytes) => {
                ending.bytes = bytes.len() as u64;
                Body::Full(bytes)
            }
            Body::Empty => Body::Empty,
        };
        Response::from_parts(parts, body)
    }
}

fn line(worker: &Worker, client: &Client, request: &Request<Incoming>) -> Option<Box<access_log::Record>> {
    let headers = request.headers();
    let host = request.uri().authority().map(|a| a.as_str().to_owned());
    let host = host.or_else(|| Some(headers.get(header::HOST)?.to_str().ok()?.to_owned()));
    let target = request.uri().path_and_query().cloned();
    Some(Box::new(access_log::Record {
        start: SystemTime::now(),
        duration: std::time::Duration::ZERO,
        client: client.address,
        user: None,
        method: request.method().clone(),
        host: host.unwrap_or_default(),
        target: target.unwrap_or_else(|| http::uri::PathAndQuery::from_static("/")),
        version: request.version(),
        tls_version: client.tls.as_ref().and_then(|t| t.version),
        status: 0,
        bytes: 0,
        referer: headers.get(header::REFERER).cloned(),
        user_agent: headers.get(header::USER_AGENT).cloned(),
        entrypoint: worker.entrypoint_name(client.entrypoint)?,
        route: None,
        upstream: None,
        retries: 0,
    }))
}

fn names(line: &mut access_log::Record, route: Option<&Route>, pool: Option<&Pool>, asked: Option<Instant>) {
    let service = route.and_then(super::forward::service_of);
    line.route = route.map(|route| access_log::RouteNames {
        ingress_namespace: Arc::clone(&route.labels.namespace),
        ingress: Arc::clone(&route.labels.ingress),
        service_namespace: Arc::clone(&route.labels.namespace),
        service: Arc::clone(&route.labels.service),
        port: service.map(|s| s.key.port.to_string()).unwrap_or_default().into(),
    });
    line.upstream = pool.zip(service).map(|(pool, service)| access_log::UpstreamNames {
        address: pool.endpoint.address,
        scheme: service.options.scheme.as_str(),
        pod: Arc::clone(&pool.endpoint.pod),
        duration: asked.map(|at| at.elapsed()).unwrap_or_default(),
    });
}

/// Recorded when it is dropped: with the answer's last byte, or when the client has gone.
struct Ending {
    _flight: Flight,
    log: Option<AccessLog>,
    series: Option<Arc<Series>>,
    status: StatusCode,
    started: Instant,
    line: Option<Box<access_log::Record>>,
    bytes: u64,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        if let Some(series) = &self.series {
            series.record(self.status.as_u16(), u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
        if let (Some(log), Some(mut line)) = (&self.log, self.line.take()) {
            line.duration = duration;
            line.bytes = self.bytes;
            log.log(*line);
        }
    }
}

/// A streaming body with what is recorded at its end.
struct Tracked {
    inner: Stream,
    ending: Ending,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = std::task::ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.ending.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
