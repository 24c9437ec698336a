//! Writes what is wrong with an object as an Event on it (`events.k8s.io/v1`), where `kubectl describe` shows it.
//!
//! Takes the mailbox, and works as long as this replica leads. What is due is decided in `ledger.rs`; here is how:
//! one at a time, at a measured pace. Not by kube's `Recorder`: it takes two diagnostics with one code on one object
//! for the same, and cuts no text.

mod ledger;

use std::{convert::Infallible, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{core::v1::ObjectReference, events::v1::Event},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::api::{Api, ObjectMeta, Patch, PatchParams};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use self::ledger::{Ledger, Series};
use super::{
    Told,
    mailbox::Mailbox,
    pace::{Bucket, backoff, between},
    trouble::{Kind, Said, Trouble, ask},
    written,
};
use crate::{
    diagnostic::{Diagnostic, Severity},
    metrics::Metrics,
    objects,
};

/// Who reports, as Events name it.
const CONTROLLER: &str = "headgate.dev/ingress-controller";
/// Events a second, and at once after quiet times.
const A_SECOND: u32 = 5;
const BURST: u32 = 25;
/// The most bytes of an Event's note, as the API server checks them.
const NOTE: usize = 1_024;
/// The most bytes of `reportingInstance` and `reason`.
const WORD: usize = 128;
/// Of `metadata.name`, with room for what makes it unique.
const NAME: usize = 220;
/// Pause of all writing while the API server is away, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// What the writer of Events works with.
pub(super) struct Events {
    pub(super) client: kube::Client,
    pub(super) mailbox: Arc<Mailbox>,
    /// The pod.
    pub(super) instance: String,
    pub(super) metrics: Arc<Metrics>,
}

impl Events {
    /// Writes until it is dropped.
    pub(super) async fn lead(&self) -> Infallible {
        let (mut ledger, mut bucket, mut said) = (Ledger::default(), Bucket::new(A_SECOND, BURST), Said::default());
        let (mut failures, mut paused) = (0_u32, Instant::now());
        self.take_news(&mut ledger);
        loop {
            let now = Instant::now();
            self.metrics.report.events_dropped.add(ledger.admit(now));
            let next = ledger.next(now);
            let ready = bucket.ready(now).max(paused);
            if let Some((told, before)) = next.clone().filter(|_| ready <= now) {
                bucket.take(now);
                let written = self.write(&told, before).await;
                let now = Instant::now();
                match written {
                    Ok(series) => {
                        self.metrics.report.events_ok.inc();
                        (failures, _) = (0, said.over("away"));
                        ledger.said(&told, series, now);
                    }
                    Err(trouble) => {
                        self.metrics.report.events_error.inc();
                        let news = trouble.kind == Kind::Forbidden && ledger.forbidden(&told, now);
                        say(&mut said, &told.diagnostic, &trouble, news);
                        match trouble.kind {
                            Kind::Away | Kind::Conflict => {
                                failures = failures.saturating_add(1);
                                let wait = backoff(AGAIN, AGAIN_MOST, failures);
                                paused = now + between(wait, wait * 2).max(trouble.wait.unwrap_or_default());
                            }
                            Kind::Forbidden => {}
                            Kind::Gone | Kind::Ending | Kind::Refused => ledger.refused(&told, now),
                        }
                    }
                }
                continue;
            }
            let wake = next.map(|_| ready).into_iter().chain(ledger.wake()).min();
            tokio::select! {
                () = self.mailbox.events.notified() => self.take_news(&mut ledger),
                () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
            }
        }
    }

    fn take_news(&self, ledger: &mut Ledger) {
        let all = self.mailbox.diagnostics();
        ledger.told(all.iter().filter(|told| has_events(told)), Instant::now());
    }

    /// Writes the Event, or adds to the one that says the same.
    async fn write(&self, told: &Told, before: Option<Series>) -> Result<Series, Trouble> {
        let namespace = match &*told.diagnostic.subject.namespace {
            // The API server wants Events about what has no namespace there.
            "" => "default",
            namespace => namespace,
        };
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let now = Timestamp::now();
        if let Some(Series { name, count }) = before {
            let count = count.saturating_add(1);
            let series = json!({"series": {"count": count, "lastObservedTime": MicroTime(now)}});
            match ask(api.patch(
                &name,
                &PatchParams { field_manager: written().field_manager, ..PatchParams::default() },
                &Patch::Merge(series),
            ))
            .await
            {
                Ok(_) => return Ok(Series { name, count }),
                // Events don't live for long, and a repeat is worth no permission of its own.
                Err(trouble) if matches!(trouble.kind, Kind::Gone | Kind::Forbidden | Kind::Refused) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        let event = event(told, namespace, &self.instance, now);
        let name = event.metadata.name.clone().unwrap_or_default();
        ask(api.create(&written(), &event)).await?;
        Ok(Series { name, count: 1 })
    }
}

/// Whether an Event can be attached to its subject: an object that is there, of a kind that is read.
fn has_events(told: &Told) -> bool {
    let kind = told.diagnostic.subject.kind;
    told.uid.is_some() && objects::Kind::ALL.iter().any(|known| known.as_str() == kind)
}

fn event(told: &Told, namespace: &str, instance: &str, now: Timestamp) -> Event {
    let Told { diagnostic, uid, api_version } = told;
    let subject = &diagnostic.subject;
    let prefix = cut(&subject.name, NAME).trim_end_matches(['.', '-']);
    let regarding = ObjectReference {
        api_version: Some((*api_version).to_owned()),
        kind: Some(subject.kind.to_owned()),
        namespace: Some(subject.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
        name: Some(subject.name.to_string()),
        uid: uid.as_deref().map(str::to_owned),
        ..ObjectReference::default()
    };
    Event {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            // As client-go names them: unique by the time.
            name: Some(format!("{prefix}.{:x}", now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(now)),
        type_: Some(if diagnostic.severity == Severity::Info { "Normal" } else { "Warning" }.to_owned()),
        reason: Some(cut(diagnostic.code, WORD).to_owned()),
        action: Some("Compile".to_owned()),
        note: Some(note(diagnostic)),
        regarding: Some(regarding),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(if instance.is_empty() { "headgate" } else { cut(instance, WORD) }.to_owned()),
        ..Event::default()
    }
}

/// Field, message and help on one line: `kubectl describe` has a line for each Event.
fn note(diagnostic: &Diagnostic) -> String {
    let Diagnostic { field, message, help, .. } = diagnostic;
    let mut note = if field.is_empty() { message.clone() } else { format!("{field}: {message}") };
    if !help.is_empty() {
        note = format!("{note}; {help}");
    }
    if note.len() > NOTE {
        note = format!("{}…", cut(&note, NOTE - "…".len()));
    }
    note
}

/// Its first bytes, at most so many, and whole characters only.
fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or_default()
}

/// Each kind of trouble is said once, with the first object that has it. `news`: that it is forbidden was not said yet.
fn say(said: &mut Said, diagnostic: &Diagnostic, trouble: &Trouble, news: bool) {
    let (subject, text) = (&diagnostic.subject, &trouble.text);
    match trouble.kind {
        // Its namespace is going or gone, and it with it.
        Kind::Gone | Kind::Ending => tracing::debug!(%subject, "no Event is written: {text}"),
        Kind::Forbidden if news => tracing::error!(
            %subject,
            "Events may not be written: {text}; grant create and patch on events of events.k8s.io (said once; tried \
             again every few seconds)"
        ),
        Kind::Away | Kind::Conflict if said.news("away", "") => {
            tracing::warn!(%subject, "an Event can't be written now, tried again soon: {text}");
        }
        Kind::Refused if said.news("refused", diagnostic.code) => {
            tracing::error!(%subject, code = diagnostic.code, "the API server refuses an Event: {text}");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
