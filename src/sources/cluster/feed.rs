//! One watch of the API server: a kube watcher that never gives up, with back-off and jitter, and without flooding
//! anyone. It says what it sees and what is in its way; it keeps nothing.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use kube::{
    Api, Client,
    core::{ApiResource, GroupVersionKind},
    runtime::watcher::{self, watcher},
};
use tokio::{sync::mpsc, time::Instant};

use super::wire::Wire;
use crate::objects::Kind;

/// How long the server keeps a watch before it ends it and we ask again, in seconds. With what kube adds it is also
/// how long a connection that died without a word goes unnoticed, if no bookmark comes.
const WATCH_SECONDS: u32 = 240;

/// Objects of a page, where a list comes in pages.
const PAGE: u32 = 500;

/// For how long after it was out of reach a server is not believed that it refuses something: one that starts answers
/// before it has read its own roles and accounts, and then refuses everything to everybody (403, 401).
const STARTING: Duration = Duration::from_secs(10);

/// What a feed asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) resource: Resource,
    /// `None`: of all namespaces, or of a kind that has none.
    pub(super) namespace: Option<Arc<str>>,
    /// A field selector.
    pub(super) fields: Option<String>,
    /// A label selector.
    pub(super) labels: Option<String>,
}

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// Objects that are read.
    Objects(Kind),
    /// The definition of Middlewares: whether the server knows them in full.
    Definitions,
}

impl Resource {
    /// As an administrator would look for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Objects(Kind::Ingress) => "ingresses.networking.k8s.io",
            Self::Objects(Kind::IngressClass) => "ingressclasses.networking.k8s.io",
            Self::Objects(Kind::Service) => "services",
            Self::Objects(Kind::EndpointSlice) => "endpointslices.discovery.k8s.io",
            Self::Objects(Kind::Secret) => "secrets",
            Self::Objects(Kind::Middleware) => "middlewares.traefik.io",
            Self::Definitions => "customresourcedefinitions.apiextensions.k8s.io",
        }
    }

    fn api(self) -> ApiResource {
        let (api_version, kind, plural) = match self {
            Self::Objects(kind) => (kind.api_version(), kind.as_str(), kind.plural()),
            Self::Definitions => ("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions"),
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }
}

/// What a feed has to say.
#[derive(Debug)]
pub(super) enum News {
    /// A listing begins.
    Listing,
    /// An object of the listing.
    Listed(Wire),
    /// The listing is complete: what was not in it is gone.
    Complete,
    /// An object is new or different.
    Applied(Wire),
    /// An object is gone.
    Deleted(Wire),
    /// Something is in the way. It is tried again.
    Fault(Fault),
}

/// What is in the way of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server can't be reached, or answers nothing of use. It will be back.
    Unreachable(String),
    /// We may not list or watch this.
    Forbidden,
    /// The server doesn't know such objects.
    Unknown,
    /// The server refuses for another reason.
    Refused(String),
    /// A watch was too far behind: all is listed again. Nothing is wrong.
    Behind,
}

impl Fault {
    fn of(error: &watcher::Error) -> Self {
        use watcher::Error;
        match error {
            Error::WatchError(status) => Self::of_status(status),
            Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => match error
            {
                kube::Error::Api(status) => Self::of_status(status),
                other => Self::Unreachable(chain(other)),
            },
            Error::NoResourceVersion => Self::Refused(error.to_string()),
        }
    }

    fn of_status(status: &kube::core::Status) -> Self {
        match status.code {
            403 => Self::Forbidden,
            404 | 405 => Self::Unknown,
            410 => Self::Behind,
            code if code == 429 || code >= 500 => Self::Unreachable(format!("it answers {code} {}", status.message)),
            code => Self::Refused(format!("{code} {}", status.message)),
        }
    }

    /// The same, or that the server is still away where it was so at `away` and refuses what it may not know yet.
    fn believed(self, away: Option<Instant>, now: Instant) -> Self {
        let starting = away.is_some_and(|away| now.saturating_duration_since(away) < STARTING);
        match self {
            Self::Forbidden if starting => Self::Unreachable("it is starting, and refuses everything".to_owned()),
            Self::Refused(why) if starting => Self::Unreachable(format!("it is starting, and answers {why}")),
            other => other,
        }
    }

    /// The longest pause before the next try. An outage must not be felt for long after it is over, and a refused
    /// connection costs the server nothing; what only an administrator can change is asked for less often.
    fn longest_pause(&self) -> Duration {
        match self {
            // The server is there, and what it can't tell as changes it can list: a fresh start of the pauses.
            Self::Behind => Duration::from_millis(500),
            Self::Unreachable(_) => Duration::from_secs(1),
            Self::Forbidden | Self::Unknown | Self::Refused(_) => Duration::from_secs(5),
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

/// Pauses that double, with jitter, so that replicas don't come back all at once.
#[derive(Debug, Default)]
struct Patience {
    tries: u32,
    longest: Duration,
}

impl Patience {
    fn pause(&mut self, fault: &Fault) -> Duration {
        let longest = fault.longest_pause();
        if longest != self.longest {
            // Another kind of trouble: a server that has just come back knows no permissions for a moment.
            *self = Self { tries: 0, longest };
        }
        let pause = Duration::from_millis(100).saturating_mul(1 << self.tries.min(10)).min(longest);
        self.tries = self.tries.saturating_add(1);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// Watches until nobody listens. `number` is said with all that is said.
pub(super) async fn follow(number: u64, query: Query, client: Client, out: mpsc::Sender<(u64, News)>) {
    let resource = query.resource.api();
    let api: Api<Wire> = match &query.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    // A listing that is streamed costs the server no copy of all objects; the oldest servers know only pages.
    let mut streaming = true;
    let mut patience = Patience::default();
    let mut away = None;
    loop {
        let mut events = pin!(watcher(api.clone(), config(&query, streaming)));
        while let Some(event) = events.next().await {
            let news = match event {
                Ok(event) => {
                    if !matches!(event, watcher::Event::Init) {
                        patience = Patience::default();
                    }
                    match event {
                        watcher::Event::Init => News::Listing,
                        watcher::Event::InitApply(object) => News::Listed(object),
                        watcher::Event::InitDone => News::Complete,
                        watcher::Event::Apply(object) => News::Applied(object),
                        watcher::Event::Delete(object) => News::Deleted(object),
                    }
                }
                Err(error) if streaming && is_no_streaming(&error) => {
                    streaming = false;
                    break;
                }
                Err(error) => {
                    let now = Instant::now();
                    let fault = Fault::of(&error);
                    if matches!(fault, Fault::Unreachable(_)) {
                        away = Some(now);
                    }
                    let fault = fault.believed(away, now);
                    let pause = patience.pause(&fault);
                    if out.send((number, News::Fault(fault))).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            if out.send((number, news)).await.is_err() {
                return;
            }
        }
    }
}

fn config(query: &Query, streaming: bool) -> watcher::Config {
    let mut config = watcher::Config::default().timeout(WATCH_SECONDS).page_size(PAGE);
    config.field_selector.clone_from(&query.fields);
    config.label_selector.clone_from(&query.labels);
    if streaming { config.streaming_lists() } else { config }
}

/// Whether the server doesn't know `sendInitialEvents` (off in Kubernetes 1.33 by default): it answers 422, and kube
/// would ask for ever.
fn is_no_streaming(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(kube::Error::Api(status)) if matches!(status.code, 400 | 422))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_starts_is_not_believed_that_it_refuses() {
        let away = Instant::now();
        let (soon, later) = (away + Duration::from_secs(9), away + STARTING);
        let refused = || Fault::Refused("401 Unauthorized".to_owned());
        for fault in [Fault::Forbidden, refused()] {
            assert!(matches!(fault.clone().believed(Some(away), soon), Fault::Unreachable(_)), "{fault:?}");
            assert_eq!(fault.clone().believed(Some(away), later), fault);
            assert_eq!(fault.clone().believed(None, soon), fault, "never away: it means it");
        }
        // It says so only once it knows all kinds.
        assert_eq!(Fault::Unknown.believed(Some(away), soon), Fault::Unknown);
    }
}
