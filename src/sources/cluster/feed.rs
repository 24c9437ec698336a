//! One watch of the API server that never gives up: a listing, then changes from there on, with back-off and jitter. It
//! says what it sees and what is in its way; it keeps nothing but the last version.
//!
//! kube's own watcher does not tell when a watch is taken up again, asks at once when a server ends each watch at once,
//! and goes on from a version that a server restored from a backup has yet to reach. So the loop is our own, over
//! kube's client.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _};
use kube::{
    Api, Client,
    api::{ListParams, WatchEvent, WatchParams},
    core::{ApiResource, GroupVersionKind},
};
use tokio::{sync::mpsc, time::Instant};

use super::{
    fault::{Fault, Patience},
    wire::Wire,
};
use crate::objects::Kind;

/// How long the server keeps a watch before it ends it and we ask again, in seconds.
const WATCH_SECONDS: u32 = 240;
/// Objects of a page, where a list comes in pages.
const PAGE: u32 = 500;
/// A watch that ends sooner, and has shown nothing, is no watch: asking again at once would only do harm.
const TOO_SOON: Duration = Duration::from_secs(1);
/// A watch that ends later, and has shown nothing, not even a bookmark, may wait for a version that is far away.
const SILENT: Duration = Duration::from_secs(60);
/// What marks the end of a streamed listing.
const LISTED: &str = "k8s.io/initial-events-end";

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
            Self::Objects(Kind::ServersTransport) => "serverstransports.traefik.io",
            Self::Objects(Kind::TlsOption) => "tlsoptions.traefik.io",
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
    /// A listing begins; what is read in it counts whatever its version is, if the server has gone back in time.
    Listing {
        /// Whether the versions that were seen before mean nothing any more: the server was restored from a backup.
        rewound: bool,
    },
    /// An object of the listing.
    Listed(Wire),
    /// The listing is complete: what was not in it is gone.
    Complete,
    /// An object is new or different.
    Applied(Wire),
    /// An object is gone.
    Deleted(Wire),
    /// The server has taken up the watch.
    Watching,
    /// Something is in the way. It is tried again.
    Fault(Fault),
}

/// Watches until nobody listens. `number` is said with all that is said.
pub(super) async fn follow(number: u64, query: Query, client: Client, out: mpsc::Sender<(u64, News)>) {
    let resource = query.resource.api();
    let api: Api<Wire> = match &query.namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource),
        None => Api::all_with(client, &resource),
    };
    let mut watch = Watch { number, query, api, out, streaming: true, version: None, doubt: false };
    let mut patience = Patience::default();
    let mut away = None;
    loop {
        let begun = Instant::now();
        let end = watch.go_on().await;
        let fault = match end {
            End::Nobody => return,
            End::Shown => {
                patience = Patience::default();
                continue;
            }
            End::Nothing if begun.elapsed() >= TOO_SOON => {
                // Nothing happened, not even a bookmark: is it still the server that we knew?
                watch.doubt |= begun.elapsed() >= SILENT;
                patience = Patience::default();
                continue;
            }
            End::Nothing => Fault::Unreachable("it ends each watch at once".to_owned()),
            End::Fault { fault, shown } => {
                if shown || begun.elapsed() >= TOO_SOON {
                    patience = Patience::default();
                }
                fault
            }
        };
        let now = Instant::now();
        if let Fault::Unreachable(_) = fault {
            away = Some(now);
            watch.doubt = true;
        }
        if fault == Fault::Behind {
            watch.version = None;
        }
        let fault = fault.believed(away, now);
        let pause = patience.pause(&fault);
        if !watch.say(News::Fault(fault)).await {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// How a listing or a watch has ended.
enum End {
    /// The server ended it, after it has shown something.
    Shown,
    /// The server ended it, and has shown nothing.
    Nothing,
    /// Something is in the way.
    Fault { fault: Fault, shown: bool },
    /// Nobody listens any more.
    Nobody,
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Fault { fault, shown: false }
    }
}

/// One watch, and how far it has come.
struct Watch {
    number: u64,
    query: Query,
    api: Api<Wire>,
    out: mpsc::Sender<(u64, News)>,
    /// A listing that is streamed costs the server no copy of all objects; the oldest servers know only pages.
    streaming: bool,
    /// The last version that was seen; `None` before a listing is complete.
    version: Option<String>,
    /// Whether the server may have gone back in time since: it was away, or silent.
    doubt: bool,
}

impl Watch {
    async fn say(&self, news: News) -> bool {
        self.out.send((self.number, news)).await.is_ok()
    }

    /// Lists, if that is due, and watches from there on.
    async fn go_on(&mut self) -> End {
        let mut rewound = false;
        if let Some(version) = self.version.clone() {
            if !self.doubt {
                return self.changes(&version).await;
            }
            match self.is_behind(&version).await {
                Ok(false) => {
                    self.doubt = false;
                    return self.changes(&version).await;
                }
                Ok(true) => {
                    tracing::warn!(
                        of = self.query.resource.name(),
                        "the API server has gone back in time: restored from a backup? Everything is read again"
                    );
                    (self.version, rewound) = (None, true);
                }
                Err(fault) => return fault.into(),
            }
        }
        self.doubt = false;
        if self.streaming { self.stream(rewound).await } else { self.pages(rewound).await }
    }

    /// Whether the server has not come as far as this version, which it has shown us before.
    async fn is_behind(&self, version: &str) -> Result<bool, Fault> {
        let list = self.api.list(&self.listing().limit(1)).await.map_err(|error| Fault::of(&error))?;
        let number = |version: &str| version.parse::<u64>().ok();
        let now = list.metadata.resource_version.as_deref().and_then(number);
        // Versions that are no numbers can't be compared.
        Ok(now.zip(number(version)).is_some_and(|(now, seen)| now < seen))
    }

    fn listing(&self) -> ListParams {
        let Query { fields, labels, .. } = &self.query;
        ListParams { field_selector: fields.clone(), label_selector: labels.clone(), ..ListParams::default() }
    }

    fn watching(&self) -> WatchParams {
        WatchParams {
            field_selector: self.query.fields.clone(),
            label_selector: self.query.labels.clone(),
            timeout: Some(WATCH_SECONDS),
            bookmarks: true,
            send_initial_events: false,
        }
    }

    /// A listing in pages, as of now.
    async fn pages(&mut self, rewound: bool) -> End {
        let mut params = self.listing().limit(PAGE);
        let mut begun = false;
        loop {
            let page = match self.api.list(&params).await {
                Ok(page) => page,
                Err(error) => return Fault::of(&error).into(),
            };
            if !std::mem::replace(&mut begun, true) && !self.say(News::Listing { rewound }).await {
                return End::Nobody;
            }
            for object in page.items {
                if !self.say(News::Listed(object)).await {
                    return End::Nobody;
                }
            }
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                let Some(version) = page.metadata.resource_version.filter(|version| !version.is_empty()) else {
                    return Fault::Refused("a list has no resourceVersion".to_owned()).into();
                };
                self.version = Some(version);
                return if self.say(News::Complete).await { End::Shown } else { End::Nobody };
            }
        }
    }

    /// A listing as the beginning of a watch. Without a version, so that it is as of now: of several servers, one may be
    /// behind what another has shown us.
    async fn stream(&mut self, rewound: bool) -> End {
        let params = WatchParams { send_initial_events: true, ..self.watching() };
        let events = match self.api.watch(&params, "").await {
            Ok(events) => events,
            // The server doesn't know `sendInitialEvents` (off in Kubernetes 1.33 by default).
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
                self.streaming = false;
                return End::Shown;
            }
            Err(error) => return Fault::of(&error).into(),
        };
        if !self.say(News::Listing { rewound }).await {
            return End::Nobody;
        }
        self.read(events, true).await
    }

    /// Changes from this version on.
    async fn changes(&mut self, version: &str) -> End {
        match self.api.watch(&self.watching(), version).await {
            Ok(events) => {
                if !self.say(News::Watching).await {
                    return End::Nobody;
                }
                self.read(events, false).await
            }
            Err(error) => Fault::of(&error).into(),
        }
    }

    /// Reads a watch to its end; `listing` while it begins with one.
    async fn read(
        &mut self,
        events: impl futures_util::Stream<Item = Result<WatchEvent<Wire>, kube::Error>>,
        mut listing: bool,
    ) -> End {
        let mut events = pin!(events.into_stream());
        let mut shown = false;
        while let Some(event) = events.next().await {
            let news = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) if listing => News::Listed(object),
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
                    self.version = Some(object.version().to_owned());
                    News::Applied(object)
                }
                Ok(WatchEvent::Deleted(object)) => {
                    if !listing {
                        self.version = Some(object.version().to_owned());
                    }
                    News::Deleted(object)
                }
                Ok(WatchEvent::Bookmark(bookmark)) => {
                    shown = true;
                    if listing && !bookmark.metadata.annotations.contains_key(LISTED) {
                        continue;
                    }
                    self.version = Some(bookmark.metadata.resource_version);
                    if !std::mem::replace(&mut listing, false) {
                        continue;
                    }
                    News::Complete
                }
                Ok(WatchEvent::Error(status)) => return End::Fault { fault: Fault::of_status(&status), shown },
                Err(error) => return End::Fault { fault: Fault::of(&error), shown },
            };
            shown = true;
            if !self.say(news).await {
                return End::Nobody;
            }
        }
        if shown { End::Shown } else { End::Nothing }
    }
}

#[cfg(test)]
mod tests;
