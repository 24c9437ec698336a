//! Which replica writes: the one that holds the Lease (`coordination.k8s.io/v1`), by client-go's rules and times.
//!
//! [`decide`] is the rule, without I/O; [`Election`] reads and writes the Lease and tells the writers through a watch
//! whether they may write. Whether a Lease has run out is judged by our own clock, from when its record last
//! *changed* for us, so that clocks need not agree. The holder stops writing when it could not renew for
//! [`Timing::deadline`], which is before anybody else may take over. Other than client-go, which adds the time between
//! two looks, a replica takes over no later than [`Timing::duration`] after the last renewal.

use std::{convert::Infallible, sync::Arc, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::api::{Api, ObjectMeta};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    pace::between,
    trouble::{Kind, Said, Trouble, ask},
    written,
};
use crate::{metrics::Metrics, objects::Key};

/// For how long after it was away a server's refusals are not passed on: while it starts it knows nobody's permissions.
const STARTING: Duration = Duration::from_secs(10);

/// The times of an election; client-go's by default.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// How long others wait for a holder that does not renew.
    pub(super) duration: Duration,
    /// After how long without renewal the holder itself stops writing. Shorter than `duration`.
    pub(super) deadline: Duration,
    /// Between two tries.
    pub(super) retry: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { duration: seconds(15), deadline: seconds(10), retry: seconds(2) }
    }
}

/// A record of the Lease, and since when it counts as unchanged.
#[derive(Clone, Debug)]
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

impl Seen {
    /// When the Lease runs out if it stays unchanged.
    fn end(&self, timing: &Timing) -> Instant {
        // Ours under a number of seconds that makes no sense, rather than none.
        let seconds = self.spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        self.since + seconds.map_or(timing.duration, Duration::from_secs)
    }
}

/// Since when a record counts as unchanged that is another one `now` than at the look before: since that look, for it
/// may have changed right after it. At most half of what lies between the holder's deadline and the end of the Lease is
/// gained so: the holder has stopped long before.
fn since(before: Option<Instant>, now: Instant, timing: &Timing) -> Instant {
    let gained = timing.duration.saturating_sub(timing.deadline) / 2;
    before.map_or(now, |look| look.max(now.checked_sub(gained).unwrap_or(now)))
}

/// What to do about the Lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// There is none: make one.
    Create,
    /// It is ours, or nobody's, or its holder has not renewed it for too long.
    Take,
    /// Somebody else holds it.
    Wait,
}

/// What to do about what was seen of the Lease.
fn decide(seen: Option<&Seen>, me: &str, now: Instant, timing: &Timing) -> Action {
    let Some(seen) = seen else { return Action::Create };
    let holder = seen.spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == me || now >= seen.end(timing) { Action::Take } else { Action::Wait }
}

/// The record of a Lease that we hold: `before`, renewed or taken over.
fn held(before: Option<LeaseSpec>, me: &str, wall: Timestamp, timing: &Timing) -> LeaseSpec {
    let before = before.unwrap_or_default();
    let kept = before.holder_identity.as_deref() == Some(me);
    let taken_over = before.lease_transitions.unwrap_or(-1).saturating_add(1);
    LeaseSpec {
        holder_identity: Some(me.to_owned()),
        lease_duration_seconds: Some(timing.duration.as_secs().max(1).try_into().unwrap_or(i32::MAX)),
        renew_time: Some(MicroTime(wall)),
        acquire_time: if kept { before.acquire_time } else { Some(MicroTime(wall)) },
        lease_transitions: if kept { before.lease_transitions } else { Some(taken_over) },
        ..before
    }
}

/// The record of a Lease that we give back: nobody's, and run out in a second for those who only look at that.
fn released(before: LeaseSpec, wall: Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        renew_time: Some(MicroTime(wall)),
        acquire_time: Some(MicroTime(wall)),
        ..before
    }
}

/// One replica's part in the election.
pub(super) struct Election {
    api: Api<Lease>,
    key: Key,
    me: String,
    timing: Timing,
    leads: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    seen: Option<Seen>,
    /// When the Lease was last looked at: from before the request.
    looked: Option<Instant>,
    /// When the server was last away.
    away: Option<Instant>,
    said: Said,
}

impl Election {
    /// Takes part as `me`; `leads` is kept true while this replica may write.
    pub(super) fn new(
        client: kube::Client,
        (key, me): (Key, String),
        timing: Timing,
        leads: watch::Sender<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let api = Api::namespaced(client, &key.namespace);
        Self { api, key, me, timing, leads, metrics, seen: None, looked: None, away: None, said: Said::default() }
    }

    /// Takes part until `stop` comes, then gives the Lease back.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = stop => {}
            never = self.take_part() => match never {},
        }
        self.lead(false);
        if let Err(trouble) = self.release().await {
            let (lease, text) = (&self.key, trouble.text);
            tracing::debug!(%lease, "the Lease is not given back, others wait until it runs out: {text}");
        }
    }

    async fn take_part(&mut self) -> Infallible {
        loop {
            // From before the request: the server's time of renewal can only be later.
            let started = Instant::now();
            match self.acquire().await {
                Ok(Some(lease)) => {
                    self.said.over("acquire");
                    self.lead(true);
                    let why = self.hold(lease, started).await;
                    self.lead(false);
                    tracing::warn!(lease = %self.key, "status and Events are no longer written from here: {why}");
                }
                Ok(None) => _ = self.said.over("acquire"),
                Err(trouble) => self.say(&trouble),
            }
            let now = Instant::now();
            let next = now + between(self.timing.retry, self.timing.retry.mul_f64(1.2));
            let end = self.seen.as_ref().map(|seen| seen.end(&self.timing)).filter(|end| *end > now);
            sleep_until(end.map_or(next, |end| end.min(next))).await;
        }
    }

    /// Looks at the Lease, and takes it if it is to be had.
    async fn acquire(&mut self) -> Result<Option<Lease>, Trouble> {
        let started = Instant::now();
        let lease = ask(self.api.get_opt(&self.key.name)).await?;
        self.observe(lease.as_ref(), started);
        let wall = Timestamp::now();
        let taken = match decide(self.seen.as_ref(), &self.me, Instant::now(), &self.timing) {
            Action::Wait => return Ok(None),
            Action::Create => {
                let metadata = ObjectMeta { name: Some(self.key.name.to_string()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(held(None, &self.me, wall, &self.timing)) };
                ask(self.api.create(&written(), &lease)).await
            }
            Action::Take => {
                let mut lease = lease.unwrap_or_default();
                lease.spec = Some(held(lease.spec.take(), &self.me, wall, &self.timing));
                self.replace(&lease).await
            }
        };
        match taken {
            Ok(lease) => Ok(Some(lease)),
            // The resourceVersion is not the last one, or the name is taken: somebody else was faster.
            Err(trouble) if trouble.kind == Kind::Conflict => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Renews until that fails, and says why it did.
    async fn hold(&mut self, mut lease: Lease, mut renewed: Instant) -> String {
        let mut pause = self.timing.retry;
        loop {
            let deadline = renewed + self.timing.deadline;
            sleep_until(deadline.min(Instant::now() + pause)).await;
            let started = Instant::now();
            if started >= deadline {
                return format!("the Lease could not be renewed for {} s", self.timing.deadline.as_secs());
            }
            pause = self.timing.retry;
            lease.spec = Some(held(lease.spec.take(), &self.me, Timestamp::now(), &self.timing));
            match timeout_at(deadline, self.replace(&lease)).await {
                Ok(Ok(now)) => {
                    (lease, renewed) = (now, started);
                    self.said.over("acquire");
                }
                Ok(Err(trouble)) if trouble.kind == Kind::Gone => return "the Lease was deleted".to_owned(),
                Ok(Err(trouble)) if trouble.kind == Kind::Conflict => {
                    // A renewal whose answer was lost, somebody's hand, or another holder.
                    let Ok(Ok(now)) = timeout_at(deadline, ask(self.api.get(&self.key.name))).await else { continue };
                    self.observe(Some(&now), started);
                    if holder(&now) != Some(&*self.me) {
                        return "somebody else holds the Lease".to_owned();
                    }
                    lease = now;
                    pause = self.timing.retry / 10;
                }
                Ok(Err(trouble)) => self.say(&trouble),
                Err(_) => {}
            }
        }
    }

    /// Gives the Lease back if it is ours, whether we know that we have it or were about to.
    async fn release(&self) -> Result<(), Trouble> {
        loop {
            let Some(mut lease) = ask(self.api.get_opt(&self.key.name)).await? else { return Ok(()) };
            if holder(&lease) != Some(&*self.me) {
                return Ok(());
            }
            lease.spec = lease.spec.take().map(|spec| released(spec, Timestamp::now()));
            match self.replace(&lease).await {
                Err(trouble) if trouble.kind == Kind::Conflict => {}
                done => return done.map(drop),
            }
        }
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, Trouble> {
        ask(self.api.replace(&self.key.name, &written(), lease)).await
    }

    /// Notes since when the record is what it is; the look at it was begun at `started`.
    fn observe(&mut self, lease: Option<&Lease>, started: Instant) {
        let before = self.looked.replace(started);
        let spec = lease.map(|lease| lease.spec.clone().unwrap_or_default());
        if spec.as_ref() != self.seen.as_ref().map(|seen| &seen.spec) {
            let since = since(before, Instant::now(), &self.timing);
            self.seen = spec.map(|spec| Seen { spec, since });
            if let Some(other) = lease.and_then(holder).filter(|other| !other.is_empty() && *other != self.me)
                && self.said.news("holder", other)
            {
                tracing::info!(lease = %self.key, "status and Events are written by {other:?}");
            }
        }
    }

    fn lead(&mut self, leads: bool) {
        if self.leads.send_if_modified(|before| std::mem::replace(before, leads) != leads) {
            self.metrics.report.leader.set(leads.into());
            if leads {
                self.said.over("holder");
                tracing::info!(lease = %self.key, "status and Events are written from here");
            }
        }
    }

    fn say(&mut self, trouble: &Trouble) {
        let (lease, text) = (&self.key, &trouble.text);
        if trouble.kind == Kind::Away {
            self.away = Some(Instant::now());
        } else if self.away.is_some_and(|away| away.elapsed() < STARTING) {
            tracing::debug!(%lease, "the Lease is refused by a server that starts: {text}");
            return;
        }
        if !self.said.news("acquire", text) {
            return;
        }
        match trouble.kind {
            Kind::Forbidden => tracing::error!(
                %lease,
                "no status and no Events are written: the Lease may not be used: {text}; grant get, create and update \
                 on leases of coordination.k8s.io in the namespace {}",
                lease.namespace
            ),
            Kind::Gone => tracing::error!(
                %lease,
                "no status and no Events are written: the Lease can't be made: {text}; its namespace must exist"
            ),
            _ => tracing::warn!(%lease, "the Lease can't be read or written now, tried again soon: {text}"),
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

#[cfg(test)]
mod tests;
