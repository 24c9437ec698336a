//! The admin server: health, metrics, and JSON views of what Headgate knows. For operators, on its own address and
//! off the workers; it never reads a Secret or a key.
//!
//! It needs no password, so on a loopback address it takes only requests whose Host a browser can't have been tricked
//! into ([`is_local`]): a web page can name a host of its own and let that name lead here (DNS rebinding).

pub mod api;
mod dashboard;
mod health;

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};

pub use health::is_ready;

use crate::{
    diagnostic::Diagnostics,
    drain,
    metrics::Metrics,
    settings::Settings,
    shared::Shared,
    table::{Table, host_of},
};

/// What the admin server shows.
#[derive(Clone, Debug)]
pub struct State {
    /// The table in force.
    pub table: Arc<Shared<Table>>,
    /// What is wrong with the objects.
    pub diagnostics: Arc<Shared<Diagnostics>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Flags.
    pub settings: Arc<Settings>,
    /// Whether the first table is live.
    pub ready: watch::Receiver<bool>,
    /// Whether the process is ending.
    pub drain: drain::Watch,
}

/// What a listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Views {
    /// Everything.
    All,
    /// What probes and Prometheus ask for (`--health`): others may reach it, who need not see the routes.
    Health,
}

/// The most connections to a listener: it is reached by others who have no business with it.
const CONNECTIONS: usize = 4_096;

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, state: Arc<State>, views: Views) {
    // Probes name the pod as they like.
    let loopback =
        views == Views::All && listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
    let open = Arc::new(Semaphore::new(CONNECTIONS));
    // A probe asks once; a browser has pages to look at.
    let (keep_alive, patience) = if views == Views::Health { (false, 5) } else { (true, 60) };
    loop {
        let Ok(permit) = Arc::clone(&open).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin server can't accept");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer(&state, &request, loopback, views);
                async move { Ok::<_, Infallible>(answer) }
            });
            let _permit = permit;
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .keep_alive(keep_alive)
                .header_read_timeout(Duration::from_secs(patience))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        });
    }
}

fn answer(state: &State, request: &Request<Incoming>, loopback: bool, views: Views) -> Response<Full<Bytes>> {
    if loopback && !is_local(request.headers()) {
        return text(StatusCode::MISDIRECTED_REQUEST, "write localhost or the address as the host (see --admin)\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match is_ready(state) {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        "/metrics" => with_type(StatusCode::OK, Metrics::CONTENT_TYPE, state.metrics.encode()),
        _ if views == Views::Health => {
            text(StatusCode::NOT_FOUND, "not found; there are /healthz /readyz and /metrics (the rest is on --admin)\n")
        }
        "/" => dashboard::page(),
        path => match path.strip_prefix("/api/").and_then(|view| api::view(view, state)) {
            Some(json) => with_type(StatusCode::OK, "application/json", json),
            None => text(
                StatusCode::NOT_FOUND,
                "not found; there are /healthz /readyz /metrics /api/{routes,services,endpoints,certificates,diagnostics,version} and /\n",
            ),
        },
    }
}

/// Whether every Host is an address or `localhost`, which no other host's page can claim, or absent, as no browser
/// leaves it.
fn is_local(headers: &HeaderMap) -> bool {
    headers.get_all(header::HOST).iter().all(|value| {
        let host = value.to_str().ok().and_then(host_of);
        host.is_some_and(|(host, _)| {
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&host);
            host == "localhost" || bare.parse::<IpAddr>().is_ok()
        })
    })
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body)
}

fn with_type(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

#[cfg(test)]
mod tests;
