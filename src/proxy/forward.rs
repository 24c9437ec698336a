//! The life of a request, in order. Nothing is parsed here, and no header is named here.
//!
//! admit → look up → middlewares → pick → check out → send → (next endpoint) → answer back through the middlewares.
//! Middlewares come back here by [`Upstream`]: for the endpoint, and for other services that they ask.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::{Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use smallvec::SmallVec;

use super::{
    admit::{self, Facts},
    connection::Client,
    error::Error,
    headers::{Outbound, clean_answer},
    record::Record,
    replay, respond, upgrade,
    upstream::{
        Connection, Pool, View,
        http1::{AnswerBody, Asked, Http1},
        http2::{Outgoing, Turn},
        idle::Idle,
        upload::{Framing, Upload},
    },
    worker::Worker,
};
use crate::{
    balance::{Pick, PickInput, Read, Service, Sticky},
    body::{Body, BodyKind},
    clock,
    metrics::Refusal,
    middleware::{self, Head, Permits, Upstream},
    table::{Action, Route, Table, tls::Standing},
};

/// Serves one request.
pub(crate) async fn forward(worker: Rc<Worker>, client: Rc<Client>, mut request: Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(&mut request);
    let mut record = Record::new(&worker, &client, &request);
    let http2 = request.version() == http::Version::HTTP_2;
    let (mut request, facts) = match admit::admit(request, &client, &worker.settings.trusted) {
        Ok(admitted) => admitted,
        Err(refused) => {
            worker.metrics.refuse(refused.kind);
            tracing::debug!(client = %client.address, why = refused.why, "a request is refused");
            return record.finish(respond::refused(refused.status, http2), None);
        }
    };
    let head = &request.head;
    let table = worker.table();
    match standing(&table, &client, head, http2) {
        Standing::Holds => {}
        Standing::Other => {
            worker.metrics.refuse(Refusal::Misdirected);
            return record.finish(respond::refused(StatusCode::MISDIRECTED_REQUEST, http2), None);
        }
        Standing::Closed => return record.finish(respond::closed(), None),
    }
    let to_https = worker.settings.redirect_to_https.filter(|_| !head.secure);
    let Some(route) = table.lookup(client.entrypoint, &head.host, head.target.compared()) else {
        // A route that exists over TLS only is where the redirect leads.
        if let Some(port) = to_https.filter(|_| is_over_tls(&worker, &table, head)) {
            return record.finish(respond::to_https(head, port), None);
        }
        worker.metrics.refuse(Refusal::NoRoute);
        return record.finish(respond::no_route(), None);
    };
    if let Some(port) = to_https.filter(|_| !route.acme) {
        return record.finish(respond::to_https(head, port), Some(route));
    }
    if matches!(&route.action, Action::Closed(_)) || !meets(&table, &client, route) {
        return record.finish(respond::closed(), Some(route));
    }
    let mut exchange = Exchange {
        worker: &worker,
        client: &client,
        route,
        facts: &facts,
        upgrade: Some(upgrade),
        record: &mut record,
        trail: Trail::default(),
    };
    let answer = route.chain.run(&mut request, &mut exchange).await;
    record.head(&request.head);
    record.hold(request.permits);
    record.finish(answer, Some(route))
}

/// Whether a request has a route on an entrypoint that speaks TLS.
fn is_over_tls(worker: &Worker, table: &Table, head: &Head) -> bool {
    let entrypoints = worker.settings.entrypoints.iter().enumerate();
    let mut secured = entrypoints.filter(|(_, entrypoint)| entrypoint.tls);
    secured.any(|(index, _)| table.lookup(index, &head.host, head.target.compared()).is_some())
}

/// Whether this connection may carry the request. Not one for a host whose TLS options are others than those that it was
/// made under; nor, over HTTP/2, one for a host that has a certificate of its own, other than the one that it was opened
/// with: 421.
fn standing(table: &Table, client: &Client, head: &Head, http2: bool) -> Standing {
    let Some(tls) = &client.tls else { return Standing::Holds };
    let standing = tls.options.holds_for(table.tls(client.entrypoint, &head.host));
    if !http2 || tls.name.as_ref().is_none_or(|name| *name == head.host) {
        return standing;
    }
    let own = table.certs.lookup(&head.host, super::tls::unix_now()).map(|cert| &cert.id);
    if standing == Standing::Holds && own.is_some() && own != tls.cert.as_ref() { Standing::Other } else { standing }
}

/// Whether this connection is what a route asks for. It may be reached by a host with other options than its own: the host
/// has several, or its own rules leave the path over. Whoever names none relies on the default, but for plain HTTP.
fn meets(table: &Table, client: &Client, route: &Route) -> bool {
    match (&client.tls, route.tls.as_deref()) {
        (Some(tls), Some(own)) => tls.options.meets(own, &tls.shaken),
        (Some(tls), None) => route.acme || tls.options.meets(&table.tls, &tls.shaken),
        (None, own) => own.is_none(),
    }
}

/// The inner end of the middlewares.
struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Client,
    route: &'a Route,
    facts: &'a Facts,
    upgrade: Option<OnUpgrade>,
    record: &'a mut Record,
    trail: Trail,
}

/// Where a request has been that a middleware sends once more. Addresses, because the endpoints may change meanwhile.
#[derive(Default)]
struct Trail {
    /// Those whose answers were not taken: asked again only when there is no other.
    avoid: Vec<SocketAddr>,
    last: Option<SocketAddr>,
}

impl Upstream for Exchange<'_> {
    async fn forward(&mut self, request: &mut middleware::Request) -> Response<Body> {
        let Action::Forward(service) = &self.route.action else { return respond::closed() };
        let delivery = Delivery {
            worker: self.worker,
            served: true,
            client: self.client,
            service,
            sticky: self.route.sticky.as_ref(),
            facts: self.facts,
            head: &request.head,
            kind: request.kind,
            trailers: request.trailers,
            expect: self.facts.expect && matches!(request.body, Body::Client(_)),
        };
        let body = std::mem::take(&mut request.body);
        let body = request.kind.has_bytes().then(|| self.route.chain.clean_trailers(body));
        let left = Left { body, upload: None, upgrade: &mut self.upgrade, permits: &mut request.permits };
        delivery.run(left, Some(self.record), &mut self.trail).await
    }

    async fn fetch(&mut self, service: &Arc<Service>, mut request: middleware::Request) -> Response<Body> {
        let facts = Facts { http2: self.facts.http2, host: self.facts.host.clone(), ..Facts::default() };
        let delivery = Delivery {
            worker: self.worker,
            served: false,
            client: self.client,
            service,
            sticky: None,
            facts: &facts,
            head: &request.head,
            kind: request.kind,
            trailers: request.trailers,
            expect: false,
        };
        let body = request.kind.has_bytes().then_some(request.body);
        let left = Left { body, upload: None, upgrade: &mut None, permits: &mut request.permits };
        delivery.run(left, None, &mut Trail::default()).await
    }

    fn retried(&mut self) {
        self.record.retried();
        self.trail.avoid.extend(self.trail.last.take());
    }

    fn body_idle(&self) -> Duration {
        self.worker.settings.limits.body
    }
}

/// A request on its way to an endpoint: the part of its life that may be tried again.
struct Delivery<'a> {
    worker: &'a Rc<Worker>,
    /// Whether it is the client's request, and not one of a middleware's own.
    served: bool,
    client: &'a Client,
    service: &'a Arc<Service>,
    sticky: Option<&'a Sticky>,
    facts: &'a Facts,
    head: &'a Head,
    kind: BodyKind,
    trailers: bool,
    /// Whether the client still waits for a 100 before it sends its body: not if a middleware has read it.
    expect: bool,
}

/// So many streams on connections that stand already are tried for one request.
const MOST_REFUSED: usize = 2;

/// What is left of a request for another try.
struct Left<'a> {
    body: Option<Body>,
    upload: Option<Upload>,
    upgrade: &'a mut Option<OnUpgrade>,
    permits: &'a mut Permits,
}

impl Delivery<'_> {
    async fn run(&self, mut left: Left<'_>, mut record: Option<&mut Record>, trail: &mut Trail) -> Response<Body> {
        let service = self.service;
        let view = self.worker.upstreams.of(service);
        let read = self.sticky.map_or(Read::Absent, |s| s.read(&self.head.headers, &view.set));
        let mut tried: SmallVec<[usize; 4]> = SmallVec::new();
        let mut last = None;
        let begun = clock::now_ms();
        while let Some(pick) = self.pick(service, &view, read, &tried, &trail.avoid) {
            let Some(pool) = view.pool(pick.index) else { break };
            trail.last = Some(pool.endpoint.address);
            if let Some(record) = &mut record {
                if last.is_some() {
                    record.retried();
                }
                record.endpoint(pool);
            }
            let error = match self.attempt(service, pool, &mut left).await {
                Ok(answer) => return self.pinned(&view, pick, answer),
                Err(error) => error,
            };
            tracing::debug!(endpoint = %pool.endpoint.address, %error, "an exchange with an endpoint failed");
            // Only what could not be reached is passed over; whatever was sent stays sent.
            let spent = clock::now_ms().saturating_sub(begun) > patience_ms(pool);
            if !error.is_connect() || spent {
                return respond::failed(&error);
            }
            tried.push(pick.index);
            last = Some(error);
        }
        last.map_or_else(respond::no_server, |error| respond::failed(&error))
    }

    fn pick(&self, service: &Service, view: &View, read: Read, tried: &[usize], avoid: &[SocketAddr]) -> Option<Pick> {
        let input = PickInput { read, client: self.head.client, now_ms: clock::now_ms(), tried };
        if avoid.is_empty() {
            return service.pick(&view.set, input);
        }
        let endpoints = view.set.endpoints().iter().enumerate();
        let avoided = endpoints.filter(|(_, endpoint)| avoid.contains(&endpoint.address)).map(|(index, _)| index);
        let passed: SmallVec<[usize; 8]> = tried.iter().copied().chain(avoided).collect();
        let other = service.pick(&view.set, PickInput { tried: &passed, ..input });
        other.or_else(|| service.pick(&view.set, PickInput { tried, ..input }))
    }

    /// One endpoint's turn: on an idle connection if there is one, on a fresh one if that turns out dead.
    async fn attempt(&self, service: &Service, pool: &Rc<Pool>, left: &mut Left<'_>) -> Result<Response<Body>, Error> {
        let upgrade = self.facts.upgrade.is_some();
        let mut refused = 0;
        while let Some(connection) = pool.idle(upgrade) {
            // An HTTP/1 connection that was dead is gone; an HTTP/2 one that refuses streams is still there.
            if matches!(connection, Connection::Http2(_)) {
                refused += 1;
                if refused > MOST_REFUSED {
                    break;
                }
            }
            match self.send(service, pool, connection, left).await {
                Err(error) if replay::on_another_connection(&error, &self.head.method, left.is_whole(self.kind)) => {
                    self.worker.metrics.retries.inc();
                    if !replay::nothing_sent(&error) {
                        break;
                    }
                }
                other => return other,
            }
        }
        let connection = pool.connect(upgrade).await?;
        self.send(service, pool, connection, left).await
    }

    async fn send(
        &self,
        service: &Service,
        pool: &Rc<Pool>,
        connection: Connection,
        left: &mut Left<'_>,
    ) -> Result<Response<Body>, Error> {
        let outbound = Outbound {
            head: self.head,
            facts: self.facts,
            kind: self.kind,
            trailers: self.trailers,
            expect: self.expect,
            client: self.client,
            settings: &self.worker.settings,
            authority: pool.authority.as_ref(),
            pass_host: service.options.pass_host,
            strip: self.sticky.filter(|s| s.strip),
        };
        match connection {
            Connection::Http1(connection) => self.send_http1(&outbound, pool, connection, left).await,
            Connection::Http2(turn) => self.send_http2(&outbound, (service, pool), turn, left).await,
        }
    }

    async fn send_http1(
        &self,
        outbound: &Outbound<'_>,
        pool: &Rc<Pool>,
        mut connection: Box<Http1>,
        left: &mut Left<'_>,
    ) -> Result<Response<Body>, Error> {
        let limits = pool.limits();
        let idle = Idle::new(limits.body);
        outbound.write(connection.begin());
        if let Some(body) = left.body.take() {
            let framing = if self.kind == BodyKind::Chunked { Framing::Chunked } else { Framing::Length };
            let gate = self.expect.then_some(Pool::CONTINUE);
            left.upload = Some(Upload::new(body, framing, gate, idle.other()));
        }
        let asked = Asked {
            head_request: self.head.method == http::Method::HEAD,
            upgrade: self.facts.upgrade.clone(),
            response_limit: limits.response,
            idle,
            head_bytes: limits.head_bytes,
        };
        let answer = connection.exchange(&asked, &mut left.upload, pool).await?;
        self.body_is_sent(answer.all_sent);
        let body = match answer.body {
            AnswerBody::Body(body) => body,
            AnswerBody::Switched(stream, said) => {
                let client = left.upgrade.take().ok_or(Error::Malformed("it switches protocols twice"))?;
                self.client.activity.is_opaque();
                let hold = self.worker.hold(self.client.entrypoint);
                upgrade::join(client, *stream, said, limits.tunnel, (hold, std::mem::take(left.permits)));
                Body::Empty
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    async fn send_http2(
        &self,
        outbound: &Outbound<'_>,
        (service, pool): (&Service, &Pool),
        turn: Turn,
        left: &mut Left<'_>,
    ) -> Result<Response<Body>, Error> {
        let limits = pool.limits();
        let body = left.body.take().or_else(|| left.upload.take().map(Upload::into_body));
        let idle = Idle::new(limits.body);
        let outgoing = Outgoing::new(body, idle.other());
        let progress = outgoing.progress();
        let request = outbound
            .request(service.options.scheme, outgoing)
            .map_err(|_| Error::Malformed("the request can't be said in HTTP/2"))?;
        match turn.send(request, limits.response, Rc::clone(&progress), idle).await {
            Ok(mut response) => {
                self.body_is_sent(progress.over());
                clean_answer(response.headers_mut());
                *response.version_mut() = http::Version::HTTP_11;
                Ok(response)
            }
            Err((_, Some(unsent))) => {
                left.body = unsent.into_body().into_body();
                Err(Error::Closed { sent: false })
            }
            Err((error, None)) => Err(error),
        }
    }

    /// Notes whether the client's body has been read to its end. Questions of middlewares say nothing of that.
    fn body_is_sent(&self, sent: bool) {
        if self.served {
            self.client.activity.body_is_sent(sent);
        }
    }

    /// Adds the sticky cookie where the session is new, has moved, or slides.
    fn pinned(&self, view: &View, pick: Pick, mut answer: Response<Body>) -> Response<Body> {
        let Some(sticky) = self.sticky else { return answer };
        if pick.issue || sticky.slide {
            let cookie = view.set.segment(pick.index).and_then(|s| sticky.issue(&self.head.headers, &view.set, s));
            if let Some(cookie) = cookie {
                answer.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        answer
    }
}

/// Blackholed endpoints cost the connect limit each: three of them are enough for one request.
fn patience_ms(pool: &Pool) -> u64 {
    let limit = u64::try_from(pool.limits().connect.as_millis()).unwrap_or(u64::MAX);
    if limit == 0 { u64::MAX } else { limit.saturating_mul(3) }
}

impl Left<'_> {
    /// Whether the request's body, if it has one, has not been asked from the client yet.
    fn is_whole(&self, kind: BodyKind) -> bool {
        !kind.has_bytes() || self.body.is_some() || self.upload.as_ref().is_some_and(Upload::is_untouched)
    }
}

/// The service of a route, if it has one.
pub(crate) fn service_of(route: &Route) -> Option<&Arc<Service>> {
    match &route.action {
        Action::Forward(service) => Some(service),
        Action::NoService(_) | Action::Closed(_) => None,
    }
}
