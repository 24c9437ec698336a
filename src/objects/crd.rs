//! Prints crds/: the CustomResourceDefinitions that the Rust types of this room describe.
//!
//! The files in crds/ are checked in, and a test holds them equal to what is printed here; `HEADGATE_BLESS=1 cargo
//! test crds` rewrites them.

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::{
    middleware::MiddlewareResource, servers_transport::ServersTransportResource, tls_option::TlsOptionResource,
};

/// Why there is nothing to print. It can't happen to a released version: a test prints everything.
#[derive(Debug, thiserror::Error)]
pub enum CrdError {
    /// The definition has a value that JSON has no form for.
    #[error("a CustomResourceDefinition can't be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The definition has a value that YAML has no form for.
    #[error("a CustomResourceDefinition can't be written as YAML: {0}")]
    Yaml(#[from] serde_saphyr::SerializeError),
}

/// Every CustomResourceDefinition: the name of its file in crds/, and the YAML text.
///
/// # Errors
/// [`CrdError`], which a test rules out.
pub fn all() -> Result<Vec<(&'static str, String)>, CrdError> {
    let definitions = [
        ("traefik.io_middlewares.yaml", MiddlewareResource::crd()),
        ("traefik.io_serverstransports.yaml", ServersTransportResource::crd()),
        ("traefik.io_tlsoptions.yaml", TlsOptionResource::crd()),
    ];
    definitions.into_iter().map(|(name, definition)| Ok((name, print(serde_json::to_value(definition)?)?))).collect()
}

fn print(mut definition: Value) -> Result<String, CrdError> {
    // The API server fills this in by itself; written out, the file is what `kubectl get -o yaml` shows.
    if let Some(Value::Object(names)) = definition.pointer_mut("/spec/names") {
        let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default();
        let list = format!("{kind}List");
        names.insert("listKind".to_owned(), list.into());
    }
    let yaml = serde_saphyr::to_string(&tidy(definition))?;
    Ok(format!("# Printed by `headgate crds` from the Rust types: change those, not this file.\n---\n{yaml}"))
}

/// Sorts all keys, and drops what says nothing: `nullable` (the API server drops a null where it is absent, which
/// reads the same), empty lists of names, and the `title` of schemas. The line breaks of docstrings become spaces.
fn tidy(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map
                .into_iter()
                .filter(|(key, value)| match key.as_str() {
                    "nullable" => !value.is_boolean(),
                    "title" => !value.is_string(),
                    "categories" | "shortNames" | "additionalPrinterColumns" | "selectableFields" => {
                        value.as_array().is_none_or(|list| !list.is_empty())
                    }
                    _ => true,
                })
                .map(|(key, value)| match value {
                    Value::String(text) if key == "description" => (key, text.replace('\n', " ").into()),
                    other => (key, tidy(other)),
                })
                .collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => Value::Array(items.into_iter().map(tidy).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
