//! crds/ against the types, against Traefik's own schemas, and against documents with every field.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::json;

use super::*;
use crate::objects::{Kind, Middleware, ServersTransport, TlsOption};

/// The text of a file of this repository.
fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap_or_default()
}

/// The definition of a kind.
fn definition(kind: Kind) -> Value {
    let name = format!("traefik.io_{}.yaml", kind.plural());
    let (_, text) = all().unwrap().into_iter().find(|(file, _)| *file == name).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// Documents of a kind that have every field, some of them together.
fn documents(kind: Kind) -> Vec<Value> {
    let every = ["tests/crd/one-of-every-type.yaml", "tests/crd/every-field.yaml"];
    let every = every.into_iter().flat_map(|name| serde_saphyr::from_multiple::<Value>(&file(name)).unwrap());
    every.filter(|document| document["kind"] == kind.as_str()).collect()
}

/// A document as it is read: its `spec`, and the fields that nobody knows.
fn read(kind: Kind, document: Value) -> (Value, Vec<String>) {
    fn parts<S: serde::Serialize>(read: (S, Vec<String>)) -> (Value, Vec<String>) {
        (serde_json::to_value(read.0).unwrap(), read.1)
    }
    match kind {
        Kind::Middleware => {
            let read: Middleware = serde_json::from_value(document).unwrap();
            assert_eq!(read.spec.kinds().len(), 1, "{}", read.meta.name);
            parts((read.spec, read.unknown))
        }
        Kind::ServersTransport => {
            let read: ServersTransport = serde_json::from_value(document).unwrap();
            parts((read.spec, read.unknown))
        }
        Kind::TlsOption => {
            let read: TlsOption = serde_json::from_value(document).unwrap();
            parts((read.spec, read.unknown))
        }
        other => panic!("{other:?} is no custom resource"),
    }
}

#[test]
fn crds_are_what_the_types_say() {
    for (name, text) in all().unwrap() {
        if std::env::var_os("HEADGATE_BLESS").is_some_and(|v| v == "1") {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(name), &text).unwrap();
        }
        let stored = file(&format!("crds/{name}"));
        assert!(stored == text, "crds/{name} is out of date: run `HEADGATE_BLESS=1 cargo test --lib crds`");
    }
}

#[test]
fn the_yaml_reads_back_under_traefiks_name() {
    for kind in Kind::CUSTOM {
        let crd = definition(kind);
        let (name, plural) = (kind.as_str(), kind.plural());
        assert_eq!(crd["metadata"], json!({ "name": format!("{plural}.traefik.io") }));
        assert_eq!(crd["spec"]["group"], "traefik.io");
        let list = format!("{name}List");
        let singular = name.to_ascii_lowercase();
        assert_eq!(
            crd["spec"]["names"],
            json!({ "kind": name, "listKind": list, "plural": plural, "singular": singular })
        );
        assert_eq!(crd["spec"]["scope"], "Namespaced");
        let version = &crd["spec"]["versions"][0];
        assert_eq!(
            (&version["name"], &version["served"], &version["storage"]),
            (&"v1alpha1".into(), &true.into(), &true.into())
        );
    }
    assert_eq!(all().unwrap().len(), Kind::CUSTOM.len());
}

/// One value of a schema: its type in the words of tests/crd/traefik-v3.7-middleware-fields.yaml, whether it must be
/// there, and the schema itself.
struct Field {
    kind: &'static str,
    required: bool,
    schema: Value,
}

/// All values below a schema by path: `a.b`, `a[]` for items, `a{}` for values of a map.
fn fields(schema: &Value, path: &str, required: bool, into: &mut BTreeMap<String, Field>) {
    let kind = match schema["type"].as_str() {
        Some("object") if schema["additionalProperties"].is_object() => "map",
        Some("object") if schema["properties"].is_object() => "object",
        Some("array") => "array",
        Some("string") => "string",
        Some("boolean") => "boolean",
        Some("integer") if schema["format"] == "int64" => "int64",
        Some("integer") if schema["format"].is_null() => "integer",
        None if schema["x-kubernetes-int-or-string"] == true => "int-or-string",
        None if schema["x-kubernetes-preserve-unknown-fields"] == true => "any",
        _ => panic!("{path} has no structure: {schema}"),
    };
    into.insert(path.to_owned(), Field { kind, required, schema: schema.clone() });
    match kind {
        "map" => fields(&schema["additionalProperties"], &format!("{path}{{}}"), false, into),
        "array" => fields(&schema["items"], &format!("{path}[]"), false, into),
        "object" => {
            for (name, below) in schema["properties"].as_object().unwrap() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let required = schema["required"].as_array().is_some_and(|list| list.contains(&json!(name)));
                fields(below, &path, required, into);
            }
        }
        _ => {}
    }
}

fn ours(kind: Kind) -> BTreeMap<String, Field> {
    let definition = definition(kind);
    let spec = definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
    let mut all = BTreeMap::new();
    fields(spec, "", false, &mut all);
    all
}

/// What Headgate's Middleware has and Traefik's has not.
const OUR_OWN: [&str; 11] = [
    "sticky",
    "sticky.cookie",
    "sticky.cookie.domain",
    "sticky.cookie.httpOnly",
    "sticky.cookie.maxAge",
    "sticky.cookie.name",
    "sticky.cookie.path",
    "sticky.cookie.sameSite",
    "sticky.cookie.secure",
    "sticky.cookie.slide",
    "sticky.cookie.strip",
];

/// Where a rule of a Middleware may refuse what Traefik's schema lets pass, as Traefik wouldn't serve it: two types in
/// one, and text that is no duration. `sticky` is ours alone.
const MIDDLEWARE_RULES: [&str; 14] = [
    "",
    "circuitBreaker.checkPeriod",
    "circuitBreaker.fallbackDuration",
    "circuitBreaker.recoveryDuration",
    "rateLimit.period",
    "rateLimit.redis.dialTimeout",
    "rateLimit.redis.readTimeout",
    "rateLimit.redis.writeTimeout",
    "retry.initialInterval",
    "retry.timeout",
    "sticky.cookie.domain",
    "sticky.cookie.name",
    "sticky.cookie.path",
    "sticky.cookie.sameSite",
];

/// The same of a ServersTransport. That of `rootCAs[]` is Traefik's own.
const TRANSPORT_RULES: [&str; 6] = [
    "forwardingTimeouts.dialTimeout",
    "forwardingTimeouts.idleConnTimeout",
    "forwardingTimeouts.pingTimeout",
    "forwardingTimeouts.readIdleTimeout",
    "forwardingTimeouts.responseHeaderTimeout",
    "rootCAs[]",
];

/// Traefik's fields of a kind, how many they are, what is ours alone, and where there are rules.
fn expected(kind: Kind) -> (BTreeMap<String, Value>, usize, &'static [&'static str], &'static [&'static str]) {
    let name = format!("tests/crd/traefik-v3.7-{}-fields.yaml", kind.as_str().to_ascii_lowercase());
    let (count, own, rules): (_, &[&str], &[&str]) = match kind {
        Kind::Middleware => (278, &OUR_OWN, &MIDDLEWARE_RULES),
        Kind::ServersTransport => (27, &[], &TRANSPORT_RULES),
        _ => (15, &[], &[]),
    };
    (serde_saphyr::from_str(&file(&name)).unwrap(), count, own, rules)
}

/// Whether values of type `theirs` are all of type `ours`. The API server keeps every integer in 64 bits.
fn as_wide(ours: &str, theirs: &str) -> bool {
    ours == theirs || matches!((ours, theirs), ("int64", "integer") | ("int-or-string", "string" | "integer" | "int64"))
}

#[test]
fn everything_traefiks_schemas_accept_is_accepted() {
    Kind::CUSTOM.into_iter().for_each(everything_is_accepted);
}

fn everything_is_accepted(kind: Kind) {
    let (traefik, count, own, _) = expected(kind);
    assert_eq!(traefik.len(), count, "the list of Traefik's fields has changed");
    let ours = ours(kind);
    let mut narrower = Vec::new();
    for (path, theirs) in &traefik {
        let Some(mine) = ours.get(path) else {
            narrower.push(format!("{path} is missing"));
            continue;
        };
        if !as_wide(mine.kind, theirs["type"].as_str().unwrap()) {
            narrower.push(format!("{path} is {}, and {} for Traefik", mine.kind, theirs["type"]));
        }
        if mine.required && theirs["required"] != true {
            narrower.push(format!("{path} is required"));
        }
        let bound = |name: &str| (mine.schema[name].as_f64(), theirs[name].as_f64());
        let tighter = match (bound("minimum"), bound("maximum")) {
            ((Some(mine), theirs), _) if theirs.is_none_or(|theirs| mine > theirs) => true,
            (_, (Some(mine), theirs)) => theirs.is_none_or(|theirs| mine < theirs),
            _ => false,
        };
        let pattern = &mine.schema["pattern"];
        let words = |schema: &Value| schema["enum"].as_array().cloned();
        let fewer = words(&mine.schema)
            .is_some_and(|mine| words(theirs).is_none_or(|theirs| theirs.iter().any(|word| !mine.contains(word))));
        if tighter || fewer || (!pattern.is_null() && *pattern != theirs["pattern"]) {
            narrower.push(format!("{path} is {}, and {theirs} for Traefik", mine.schema));
        }
    }
    assert!(narrower.is_empty(), "narrower than Traefik's:\n{}", narrower.join("\n"));

    let found: Vec<&str> =
        ours.keys().map(String::as_str).filter(|p| !p.is_empty() && !traefik.contains_key(*p)).collect();
    assert_eq!(found, own, "fields that Traefik has not");
}

#[test]
fn nothing_is_restricted_but_where_it_is_listed() {
    let harmless = [
        "type",
        "format",
        "description",
        "properties",
        "items",
        "additionalProperties",
        "required",
        "enum",
        "minimum",
        "maximum",
        "pattern",
        "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    ];
    for kind in Kind::CUSTOM {
        let ours = ours(kind);
        for (path, field) in &ours {
            for key in field.schema.as_object().unwrap().keys() {
                assert!(harmless.contains(&key.as_str()), "{path} has {key}");
            }
        }
        let ruled: Vec<&str> = ours
            .iter()
            .filter(|(_, field)| !field.schema["x-kubernetes-validations"].is_null())
            .map(|(path, _)| path.as_str())
            .collect();
        assert_eq!(ruled, expected(kind).3);
        for path in ruled {
            for rule in ours[path].schema["x-kubernetes-validations"].as_array().unwrap() {
                assert!(rule["rule"].is_string() && rule["message"].is_string(), "{path}: {rule}");
            }
        }
        let described = |path: &str| path.is_empty() || !path.ends_with(['}', ']']);
        let silent: Vec<&String> =
            ours.iter().filter(|(p, f)| described(p) && f.schema["description"].is_null()).map(|(p, _)| p).collect();
        assert!(silent.is_empty(), "kubectl explain says nothing of {silent:?}");
    }
}

/// A value without the fields that are null.
fn dense(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            map.into_iter().filter(|(_, v)| !v.is_null()).map(|(key, v)| (key, dense(v))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(dense).collect(),
        other => other,
    }
}

#[test]
fn documents_with_every_field_are_read_whole() {
    for kind in Kind::CUSTOM {
        for document in documents(kind) {
            let (spec, unknown) = read(kind, document.clone());
            assert_eq!(unknown, [""; 0], "{}", document["metadata"]["name"]);
            assert_eq!(dense(spec), document["spec"], "{}", document["metadata"]["name"]);
        }
    }
}

/// The paths of a document's values, as far as the schema goes.
fn paths(value: &Value, path: &str, known: &BTreeMap<String, Field>, into: &mut BTreeSet<String>) {
    let Some(field) = known.get(path) else { panic!("the schema has no {path}") };
    into.insert(path.to_owned());
    match (value, field.kind) {
        (Value::Object(map), "map") => map.values().for_each(|v| paths(v, &format!("{path}{{}}"), known, into)),
        (Value::Array(items), _) => items.iter().for_each(|v| paths(v, &format!("{path}[]"), known, into)),
        (Value::Object(map), "object") => {
            let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            map.iter().for_each(|(name, v)| paths(v, &below(name), known, into));
        }
        _ => {}
    }
}

#[test]
fn documents_with_every_field_have_every_field() {
    for kind in Kind::CUSTOM {
        let known = ours(kind);
        let mut found = BTreeSet::new();
        for document in documents(kind) {
            paths(&document["spec"], "", &known, &mut found);
        }
        let missing: Vec<&String> = known.keys().filter(|path| !found.contains(*path)).collect();
        assert!(missing.is_empty(), "the documents of tests/crd lack {missing:?}");
    }
}

/// The JSON pointers of all objects with named fields in a value.
fn objects(value: &Value, at: &str, path: &str, known: &BTreeMap<String, Field>, into: &mut Vec<String>) {
    let kind = known.get(path).map(|field| field.kind).unwrap_or_default();
    match value {
        Value::Object(map) if kind == "object" => {
            into.push(at.to_owned());
            for (name, v) in map {
                let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                objects(v, &format!("{at}/{name}"), &below, known, into);
            }
        }
        Value::Array(items) => {
            for (index, v) in items.iter().enumerate() {
                objects(v, &format!("{at}/{index}"), &format!("{path}[]"), known, into);
            }
        }
        _ => {}
    }
}

#[test]
fn a_misspelt_field_is_told_wherever_it_stands() {
    for kind in Kind::CUSTOM {
        let known = ours(kind);
        for document in documents(kind) {
            let mut places = Vec::new();
            objects(&document["spec"], "/spec", "", &known, &mut places);
            for place in places {
                let mut wrong = document.clone();
                wrong.pointer_mut(&place).unwrap()["misspelt"] = json!(1);
                let (_, unknown) = read(kind, wrong);
                assert_eq!(unknown, [format!("{}.misspelt", place.trim_start_matches('/').replace('/', "."))]);
            }
        }
    }
}
