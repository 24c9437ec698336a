//! The cookie keys: from a file that is read again when it changes, or made for this process.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;

use crate::balance::{Keys, keys::KeysError};

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
