//! The admin server: health, metrics, and JSON views of what Headgate knows. For operators, on its own address and
//! off the workers; it never reads a Secret or a key.

pub mod api;
mod dashboard;
mod health;

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::watch};

pub use health::is_ready;

use crate::{diagnostic::Diagnostics, drain, metrics::Metrics, settings::Settings, shared::Shared, table::Table};

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

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, state: State) {
    let state = Arc::new(state);
    loop {
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
                let answer = answer(&state, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(60))
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended");
            }
        });
    }
}

fn answer(state: &State, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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
        "/" => dashboard::page(),
        path => match path.strip_prefix("/api/").and_then(|view| api::view(view, state)) {
            Some(json) => with_type(StatusCode::OK, "application/json", json),
            None => text(
                StatusCode::NOT_FOUND,
                "not found; there are /healthz /readyz /metrics /api/{routes,services,certificates,diagnostics,version} and /\n",
            ),
        },
    }
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
