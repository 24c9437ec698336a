//! Secret of `v1`: bytes by key. Never shown: its `Debug` hides them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Meta, null_default};

/// `v1` Secret. `stringData` of manifests is merged over `data`, as the API server does.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Raw")]
pub struct Secret {
    /// `metadata`
    pub meta: Meta,
    /// `type`
    pub kind: Arc<str>,
    /// `data`, decoded. A value that is no base64 is in `broken`.
    pub data: BTreeMap<Arc<str>, Arc<[u8]>>,
    /// Keys of `data` whose value is no base64.
    pub broken: Vec<Arc<str>>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("key", &self.meta.key()).field("keys", &self.data.keys()).finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    metadata: Meta,
    #[serde(rename = "type", deserialize_with = "null_default")]
    kind: Arc<str>,
    #[serde(deserialize_with = "null_default")]
    data: BTreeMap<Arc<str>, String>,
    #[serde(deserialize_with = "null_default")]
    string_data: BTreeMap<Arc<str>, String>,
}

impl From<Raw> for Secret {
    fn from(raw: Raw) -> Self {
        let (mut data, mut broken) = (BTreeMap::new(), Vec::new());
        for (key, text) in raw.data {
            // Manifests fold long base64 over lines; the API server's decoder ignores line ends too.
            let packed: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            match STANDARD.decode(packed) {
                Ok(bytes) => {
                    data.insert(key, bytes.into());
                }
                Err(_) => broken.push(key),
            }
        }
        for (key, text) in raw.string_data {
            broken.retain(|k| *k != key);
            data.insert(key, text.into_bytes().into());
        }
        Self { meta: raw.metadata, kind: raw.kind, data, broken }
    }
}
