//! The cookie keys: from a file that is read again when it changes, from a Secret, or made for this process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    balance::{Keys, keys::KeysError},
    diagnostic::Diagnostic,
    objects::{Key, Kind, ObjectId},
    sources::CookieKeys,
};

/// Between two looks at the file. It is small, and Kubernetes swaps it by a symlink that no watch is sure to see.
const EVERY: Duration = Duration::from_secs(2);

/// A key file that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It can't be read.
    #[error("--cookie-keys-file {0}: {1}")]
    Read(PathBuf, io::Error),
    /// It can't be understood.
    #[error("--cookie-keys-file {0}: {1}")]
    Invalid(PathBuf, KeysError),
    /// There is no randomness to make a key of.
    #[error("no cookie key could be made: {0}")]
    Random(KeysError),
}

/// The keys at start.
///
/// # Errors
/// [`KeyFileError`]: a file that is named must be good.
pub fn load(file: Option<&Path>) -> Result<Keys, KeyFileError> {
    let Some(path) = file else {
        return Keys::random().map_err(KeyFileError::Random);
    };
    let text = fs::read_to_string(path).map_err(|e| KeyFileError::Read(path.to_owned(), e))?;
    Keys::parse(&text).map_err(|e| KeyFileError::Invalid(path.to_owned(), e))
}

/// Follows the file: a good change is passed on, a bad one is said once and keeps the last good keys.
pub async fn follow(file: PathBuf, keys: watch::Sender<Keys>) {
    let mut every = tokio::time::interval(EVERY);
    let mut said = String::new();
    loop {
        every.tick().await;
        match load(Some(&file)) {
            Ok(now) => {
                said.clear();
                let changed = keys.send_if_modified(|before| {
                    let changed = *before != now;
                    if changed {
                        *before = now;
                    }
                    changed
                });
                if changed {
                    tracing::info!(file = %file.display(), "the cookie keys have changed");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if said != text {
                    tracing::error!("{text}; the last good keys stay in use");
                    said = text;
                }
            }
        }
    }
}

/// The Secret of cookie keys, as it is followed. Replicas hear of a change at different moments: a key that is new to
/// us signs nothing for a while, so that no replica is shown a cookie that it can't verify.
#[derive(Debug)]
pub struct Rotation {
    secret: Key,
    /// Whether somebody makes the Secret if it is absent; else the random key of this process has to do.
    made: bool,
    /// What the Secret says, and its text.
    current: Option<(Keys, Arc<str>)>,
    /// What signs and verifies now: the same, or with a new key behind the one that signed before.
    effective: Option<Keys>,
    /// What is to be used from then on.
    next: Option<(Instant, Keys)>,
    fault: Option<Diagnostic>,
}

/// How long a new key verifies before it signs. A replica that is watching hears of it within a second; one that
/// can't is told by its log.
const INTRODUCE: Duration = Duration::from_secs(30);

impl Rotation {
    /// Before anything is known. `made` says whether the leader makes the Secret if it is absent.
    pub fn new(secret: Key, made: bool) -> Self {
        Self { secret, made, current: None, effective: None, next: None, fault: None }
    }

    /// Whether there are keys to sign with that the other replicas have as well, or can't have.
    pub fn is_known(&self) -> bool {
        self.current.is_some() || !self.made && self.fault.is_some()
    }

    /// The text of the keys in use.
    pub fn text(&self) -> Option<String> {
        self.current.as_ref().map(|(_, text)| text.to_string())
    }

    /// When [`Rotation::finish`] is due.
    pub fn due(&self) -> Option<Instant> {
        self.next.as_ref().map(|(at, _)| *at)
    }

    /// What is wrong with the Secret.
    pub fn fault(&self) -> Option<&Diagnostic> {
        self.fault.as_ref()
    }

    /// Takes in the Secret as it is now. Gives the keys that are to be used, if they are others.
    pub fn take(&mut self, found: &CookieKeys, now: Instant) -> Option<Keys> {
        self.fault = None;
        let why = match found {
            CookieKeys::Text(text) => match Keys::parse(text) {
                Ok(keys) => return self.change(keys, text, now),
                Err(why) => format!("its keys can't be used: {why}"),
            },
            CookieKeys::Unusable(why) => why.clone(),
            // The leader makes it; while there are keys in use, it makes it of these.
            CookieKeys::Absent if self.current.is_some() => "it is gone".to_owned(),
            CookieKeys::Absent if self.made => {
                let subject = ObjectId::new(Kind::Secret, self.secret.clone()).subject();
                let said =
                    Diagnostic::info(subject, "", "CookieKeys", "it does not exist yet: not ready until it is made");
                self.fault = Some(said.help("a replica makes it, within seconds; if none may, its log says so"));
                return None;
            }
            CookieKeys::Absent => "it does not exist, and nobody may make it".to_owned(),
        };
        let subject = ObjectId::new(Kind::Secret, self.secret.clone()).subject();
        let state = match &self.current {
            Some(_) => "the last good keys stay in use",
            None if self.made => "not ready until it is mended",
            None => "a random key is in use, so that sessions end with this process",
        };
        let said = Diagnostic::error(subject, "data.keys", "CookieKeys", format!("{why}; {state}"));
        self.fault = Some(said.help("write one base64 key of at least 32 bytes a line under the key `keys`"));
        None
    }

    fn change(&mut self, keys: Keys, text: &Arc<str>, now: Instant) -> Option<Keys> {
        let before = self.current.replace((keys.clone(), Arc::clone(text)));
        if before.as_ref().is_some_and(|(before, _)| *before == keys) {
            return None;
        }
        // After what signs now, which may still be the key before one that is being introduced.
        let introduced = self.effective.as_ref().and_then(|effective| keys.introduced_after(effective));
        self.next = introduced.is_some().then(|| (now + INTRODUCE, keys.clone()));
        let effective = introduced.unwrap_or(keys);
        self.effective = Some(effective.clone());
        Some(effective)
    }

    /// The keys that sign from now on.
    pub fn finish(&mut self) -> Option<Keys> {
        let (_, keys) = self.next.take()?;
        self.effective = Some(keys.clone());
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    #[test]
    fn a_new_key_signs_when_all_have_heard_of_it() {
        let line = |n: u8| STANDARD.encode([n; 32]);
        let text = |of: &[u8]| CookieKeys::Text(of.iter().map(|n| line(*n) + "\n").collect::<String>().into());
        let keys = |of: &[u8]| Keys::parse(&of.iter().map(|n| line(*n) + "\n").collect::<String>()).unwrap();
        let start = Instant::now();
        let mut lone = Rotation::new(Key::new("n", "s"), false);
        assert!(!lone.is_known());
        assert_eq!(lone.take(&CookieKeys::Absent, start), None);
        assert!(lone.is_known() && lone.fault().unwrap().message.contains("random key"));
        let mut rotation = Rotation::new(Key::new("n", "s"), true);
        assert_eq!(rotation.take(&CookieKeys::Absent, start), None);
        assert!(rotation.fault().unwrap().message.contains("not ready") && !rotation.is_known());
        assert_eq!(rotation.take(&text(&[1]), start), Some(keys(&[1])));
        assert_eq!(rotation.take(&text(&[1]), start), None);
        assert_eq!(rotation.take(&text(&[2, 1]), start), Some(keys(&[1, 2])));
        assert_eq!(rotation.due(), Some(start + INTRODUCE));
        // Once more in between: the first goes on signing, and the one in the middle never does.
        let later = start + Duration::from_secs(10);
        assert_eq!(rotation.take(&text(&[3, 2, 1]), later), Some(keys(&[1, 3, 2])));
        assert_eq!(rotation.due(), Some(later + INTRODUCE));
        assert_eq!(rotation.finish(), Some(keys(&[3, 2, 1])));
        assert_eq!(rotation.take(&text(&[2, 1]), later), Some(keys(&[2, 1])));
        assert_eq!(rotation.due(), None);
        // What is bad or gone changes nothing.
        for bad in
            [CookieKeys::Absent, CookieKeys::Unusable("it has no key `keys`".into()), CookieKeys::Text("x".into())]
        {
            assert_eq!(rotation.take(&bad, start), None);
            assert!(rotation.fault().unwrap().message.contains("last good"), "{bad:?}");
        }
        assert_eq!(rotation.text().unwrap(), format!("{}\n{}\n", line(2), line(1)));
        assert_eq!(rotation.take(&text(&[2, 1]), start), None);
        assert!(rotation.fault().is_none());
    }
}
