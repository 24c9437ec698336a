//! Makes the Secret of cookie keys when it is not there, so that all replicas sign with the same.
//!
//! Takes the mailbox, and works as long as this replica leads; or where nobody who leads makes it: the leader may be of
//! another installation's flags, an update that waits for us, or nobody may lead at all. It never reads the Secret, never changes one that is
//! there, and says nothing of what is in it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{api::ObjectMeta, core::Request};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    CookieKeys, MANAGER,
    mailbox::Mailbox,
    pace::{backoff, between},
    refusals,
    trouble::{Kind, Said, Trouble, ask},
    written,
};
use crate::objects::Key;

/// The key of the Secret's data that the keys are under.
const DATA: &str = "keys";
/// Bytes of a key: those of the hash that it is for.
const BYTES: usize = 32;
/// Above a key that was made here.
const HEADER: &str = "# One base64 key of at least 32 bytes a line. The first signs, all verify: to rotate, put a new \
                      one first, and take the old one out when the sessions that it signed have ended.";
/// Back-off, at first and at most.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// What the maker of the Secret works with.
pub(super) struct Maker {
    pub(super) client: kube::Client,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) secret: Key,
}

/// How long a leader is waited for. To make the Secret is safe for anybody: the first one wins.
const STAND_IN: Duration = Duration::from_secs(10);

impl Maker {
    /// Makes it whenever it is absent: at once while this replica leads, else after a time.
    pub(super) async fn run(self, mut leads: watch::Receiver<bool>) {
        let mut said = Said::default();
        // The telling that was answered: the news of a Secret just made are still to come.
        let mut answered = None;
        loop {
            tokio::select! {
                led = async { leads.wait_for(|leads| *leads).await.is_ok() } => if !led {
                    return;
                },
                (text, told) = self.missed(answered) => {
                    match self.make(text).await {
                        Ok(made) => {
                            if made {
                                tracing::info!(secret = %self.secret, "the Secret of cookie keys is made");
                            }
                            answered = Some(told);
                        }
                        Err(trouble) => self.say(&mut said, &trouble),
                    }
                    continue;
                }
            }
            tokio::select! {
                () = async { _ = leads.wait_for(|leads| !*leads).await.is_ok() } => {}
                never = self.lead() => match never {},
            }
        }
    }

    /// Until it has been absent for longer than a leader takes to make it.
    async fn missed(&self, answered: Option<u64>) -> (Option<String>, u64) {
        loop {
            let (state, told) = self.mailbox.cookie_keys();
            let text = match state {
                CookieKeys::Absent(text) if answered != Some(told) => text,
                _ => {
                    self.mailbox.keys.notified().await;
                    continue;
                }
            };
            tokio::select! {
                () = self.mailbox.keys.notified() => {}
                () = sleep(between(STAND_IN, STAND_IN.mul_f64(1.5))) => return (text, told),
            }
        }
    }

    /// Makes it whenever it is absent, until dropped.
    async fn lead(&self) -> Infallible {
        let (mut said, mut failures, mut again) = (Said::default(), 0_u32, None);
        // The telling that was answered: the news of a Secret just made are still to come.
        let mut answered = None;
        loop {
            let (state, told) = self.mailbox.cookie_keys();
            let now = Instant::now();
            match state {
                CookieKeys::Absent(text) if answered != Some(told) && again.is_none_or(|again| again <= now) => {
                    match self.make(text).await {
                        Ok(made) => {
                            if made {
                                tracing::info!(secret = %self.secret, "the Secret of cookie keys is made");
                            }
                            said.over("keys");
                            (failures, again, answered) = (0, None, Some(told));
                        }
                        Err(trouble) => {
                            self.say(&mut said, &trouble);
                            failures = failures.saturating_add(1);
                            let wait = match trouble.kind {
                                Kind::Forbidden => refusals::pause(),
                                _ => {
                                    let wait = backoff(AGAIN, AGAIN_MOST, failures);
                                    between(wait, wait * 2).max(trouble.wait.unwrap_or_default())
                                }
                            };
                            again = Some(Instant::now() + wait);
                        }
                    }
                    continue;
                }
                CookieKeys::Absent(_) => {}
                CookieKeys::Unknown | CookieKeys::Present => again = None,
            }
            tokio::select! {
                () = self.mailbox.keys.notified() => {}
                () = sleep_until(again.unwrap_or(now)), if again.is_some() => {}
            }
        }
    }

    /// Says whether it was made here; otherwise somebody was faster.
    async fn make(&self, text: Option<String>) -> Result<bool, Trouble> {
        let text = match text {
            Some(text) => text,
            None => fresh()?,
        };
        let body = serde_json::to_vec(&secret(&self.secret, text)).map_err(|_| refused("it can't be encoded"))?;
        let url = format!("/api/v1/namespaces/{}/secrets", self.secret.namespace);
        let request = ask(async {
            let request = Request::new(url).create(&written(), body).map_err(kube::Error::BuildRequest)?;
            // As text: kube logs an answer that it can't parse, and the answer holds the keys.
            self.client.request_text(request).await
        });
        match request.await {
            Ok(_) => Ok(true),
            Err(trouble) if trouble.kind == Kind::Conflict => Ok(false),
            Err(trouble) => Err(trouble),
        }
    }

    fn say(&self, said: &mut Said, trouble: &Trouble) {
        let (secret, text) = (&self.secret, &trouble.text);
        if !said.news("keys", text) {
            return;
        }
        match trouble.kind {
            Kind::Forbidden => tracing::error!(
                %secret,
                "the Secret of cookie keys does not exist and may not be made: {text}; grant create on secrets in the \
                 namespace {}, or make it with one base64 key a line under {DATA}",
                secret.namespace
            ),
            Kind::Gone => tracing::error!(
                %secret,
                "the Secret of cookie keys can't be made: {text}; its namespace must exist"
            ),
            _ => tracing::warn!(%secret, "the Secret of cookie keys can't be made now, tried again soon: {text}"),
        }
    }
}

fn refused(text: &str) -> Trouble {
    Trouble { kind: Kind::Refused, text: text.to_owned(), wait: None }
}

/// One new key, in the form of `--cookie-keys-file`.
fn fresh() -> Result<String, Trouble> {
    let mut key = [0; BYTES];
    rand::fill(&mut key).map_err(|_| refused("the system has no random bytes to give"))?;
    Ok(format!("{HEADER}\n{}\n", STANDARD.encode(key)))
}

fn secret(key: &Key, text: String) -> Secret {
    let label = ("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    Secret {
        metadata: ObjectMeta {
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            labels: Some([label].into()),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some([(DATA.to_owned(), ByteString(text.into_bytes()))].into()),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_new_and_readable() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(one, other);
        let keys: Vec<&str> = one.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(keys.len(), 1);
        assert_eq!(STANDARD.decode(keys[0]).unwrap().len(), BYTES);
        let secret = serde_json::to_value(secret(&Key::new("ns", "keys"), one.clone())).unwrap();
        assert_eq!(secret["type"], "Opaque");
        assert_eq!(secret["metadata"]["labels"]["app.kubernetes.io/managed-by"], "headgate");
        assert_eq!(STANDARD.decode(secret["data"]["keys"].as_str().unwrap()).unwrap(), one.as_bytes());
    }
}
