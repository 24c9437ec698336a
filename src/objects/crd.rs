//! Prints crds/: the CustomResourceDefinitions that the Rust types of this room describe.
//!
//! The files in crds/ are checked in, and a test holds them equal to what is printed here; `HEADGATE_BLESS=1 cargo
//! test crds` rewrites them.

use kube::CustomResourceExt;
use serde_json::{Map, Value};

use super::middleware::MiddlewareResource;

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
    Ok(vec![("traefik.io_middlewares.yaml", print(serde_json::to_value(MiddlewareResource::crd())?)?)])
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
mod tests {
    use super::*;

    #[test]
    fn crds_are_what_the_types_say() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        for (name, text) in all().unwrap() {
            let file = folder.join(name);
            if std::env::var_os("HEADGATE_BLESS").is_some_and(|v| v == "1") {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&file, &text).unwrap();
            }
            let stored = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(stored == text, "crds/{name} is out of date: run `HEADGATE_BLESS=1 cargo test --lib crds`");
        }
    }
    #[test]
    fn the_yaml_reads_back_as_a_structural_schema() {
        let (_, text) = all().unwrap().remove(0);
        let crd: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(crd["metadata"]["name"], "middlewares.traefik.io");
        assert_eq!(crd["spec"]["names"]["listKind"], "MiddlewareList");
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        let version = &crd["spec"]["versions"][0];
        assert_eq!(
            (&version["name"], &version["served"], &version["storage"]),
            (&"v1alpha1".into(), &true.into(), &true.into())
        );
        let spec = &version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
        let cookie = &spec["sticky"]["properties"]["cookie"]["properties"];
        assert_eq!(cookie["sameSite"]["enum"], serde_json::json!(["none", "lax", "strict"]));
        assert_eq!(spec["redirectScheme"]["properties"]["port"]["x-kubernetes-int-or-string"], true);
        for (name, section) in spec.as_object().unwrap() {
            assert_eq!(section["type"], "object", "{name}");
            assert!(section["description"].is_string(), "{name}");
            assert!(
                section["properties"].is_object() || section["x-kubernetes-preserve-unknown-fields"] == true,
                "{name}"
            );
        }
        assert!(!text.contains("nullable"));
    }
}
