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
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{access_log, connection::Client, upstream::Pool, worker::Worker};
use crate::{
    body::{Body, BodyError, Pieces, Stream},
    drain::Phase,
    metrics::Series,
    middleware::{Head, Permits},
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
    http2: bool,
    series: Option<Arc<Series>>,
    /// 499 until there is an answer: the client has gone.
    status: u16,
    bytes: u64,
    /// Only with the access log on.
    line: Option<Box<access_log::Record>>,
    /// Given back with the last byte of the answer.
    permits: Permits,
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
        client.activity.begin(!request.body().is_end_stream());
        let line = worker.access_log.is_on().then(|| line(worker, client, request)).flatten();
        let flight = Flight(Rc::clone(client));
        Self {
            worker: Rc::clone(worker),
            flight,
            started: Instant::now(),
            pool: None,
            asked: None,
            http2: request.version() == Version::HTTP_2,
            series: None,
            status: 499,
            bytes: 0,
            line,
            permits: Permits::new(),
        }
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

    /// What the middlewares found out, and the client's own address.
    pub(crate) fn head(&mut self, head: &Head) {
        if let Some(line) = &mut self.line {
            line.client = head.client;
            line.user = head.user.as_deref().map(Arc::from);
        }
    }

    /// Keeps what middlewares count a request by for as long as its answer goes on.
    pub(crate) fn hold(&mut self, permits: Permits) {
        self.permits = permits;
    }

    /// The answer is made: what streams of it is recorded at its end.
    pub(crate) fn finish(mut self, mut answer: Response<Body>, route: Option<&Route>) -> Response<Body> {
        let status = answer.status();
        let series = route.filter(|r| r.metrics).map(|r| {
            let endpoint = self.pool.as_ref().map(|p| &p.endpoint.live.labels);
            self.worker.shard.series(&r.labels, endpoint)
        });
        if let Some(line) = &mut self.line {
            names(line, route, self.pool.as_deref(), self.asked);
        }
        if route.is_some_and(|r| !r.access_log) {
            self.line = None;
        }
        let http2 = self.http2;
        if !http2 && self.worker.phase() > Phase::Serving && status != StatusCode::SWITCHING_PROTOCOLS {
            // Announced with every answer, so that clients come back by another connection before this one closes.
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.status = status.as_u16();
        self.series = series;
        let (parts, body) = answer.into_parts();
        let body = match body {
            Body::Stream(inner) => Body::stream(Tracked { inner, record: self, handed: None }),
            // A long one is followed until the client has taken it, like one that streams: what it is counted by is
            // given back then, and its connection is not idle meanwhile.
            Body::Full(bytes) if bytes.len() > Pieces::SIZE => {
                let inner = Box::pin(Pieces::new(bytes));
                Body::stream(Tracked { inner, record: self, handed: None })
            }
            Body::Full(bytes) => {
                self.bytes = bytes.len() as u64;
                Body::Full(bytes)
            }
            // A request's body given back as an answer is what nobody does.
            whole @ (Body::Empty | Body::Client(_)) => whole,
        };
        Response::from_parts(parts, body)
    }
}

/// Recorded when it is dropped: with the answer's last byte, or when the client has gone.
impl Drop for Record {
    fn drop(&mut self) {
        if self.series.is_none() && self.line.is_none() {
            return;
        }
        let duration = self.started.elapsed();
        if let Some(series) = &self.series {
            series.record(self.status, u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
        }
        if let Some(mut line) = self.line.take() {
            line.duration = duration;
            line.status = self.status;
            line.bytes = self.bytes;
            self.worker.access_log.log(*line);
        }
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

/// A streaming body with what is recorded at its end.
struct Tracked {
    inner: Stream,
    record: Record,
    /// The piece that the client has not taken yet.
    handed: Option<u64>,
}

impl Tracked {
    /// Over HTTP/2, a client that doesn't take what it asked for shows nowhere but here: the connection goes on.
    fn taken(&mut self) {
        if let Some(id) = self.handed.take() {
            self.record.flight.0.unread.borrow_mut().remove(&id);
        }
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.taken();
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.taken();
        let frame = std::task::ready!(self.inner.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame {
            self.record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if self.record.http2 {
                self.handed = Some(self.record.flight.0.hand());
            }
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
