//! Fields of an Ingress that are probably misspelt: they would be passed over in silence, and the route with them.

use serde_json::Value;

use super::syntax::Step;
use crate::{diagnostic::did_you_mean, objects::Kind};

/// The field as a path, the way to it, what is wrong, what to do.
pub(super) type Misspelt = (String, Vec<Step>, String, String);

/// A level of `networking.k8s.io/v1` Ingress: its field names, and where the next levels hang.
struct Level {
    names: &'static [&'static str],
    inner: &'static [(&'static str, &'static Level)],
}

const SPEC: Level = Level {
    names: &["ingressClassName", "defaultBackend", "rules", "tls"],
    inner: &[("defaultBackend", &BACKEND), ("rules", &RULE), ("tls", &TLS)],
};
const TLS: Level = Level { names: &["hosts", "secretName"], inner: &[] };
const RULE: Level = Level { names: &["host", "http"], inner: &[("http", &HTTP)] };
const HTTP: Level = Level { names: &["paths"], inner: &[("paths", &PATH)] };
const PATH: Level = Level { names: &["path", "pathType", "backend"], inner: &[("backend", &BACKEND)] };
const BACKEND: Level = Level { names: &["service", "resource"], inner: &[("service", &SERVICE)] };
const SERVICE: Level = Level { names: &["name", "port"], inner: &[("port", &PORT)] };
const PORT: Level = Level { names: &["name", "number"], inner: &[] };

/// Fields of a value that look like a known one but are not. Only Ingresses are looked at.
pub(super) fn misspelt(kind: Kind, value: &Value) -> Vec<Misspelt> {
    let mut found = Vec::new();
    if kind == Kind::Ingress
        && let Some(spec) = value.get("spec")
    {
        look(spec, &SPEC, &mut vec![Step::Key("spec".to_owned())], &mut found);
    }
    found
}

fn look(value: &Value, level: &Level, steps: &mut Vec<Step>, found: &mut Vec<Misspelt>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                steps.push(Step::Index(index));
                look(item, level, steps, found);
                steps.pop();
            }
        }
        Value::Object(map) => {
            for (key, inner) in map {
                steps.push(Step::Key(key.clone()));
                if let Some((_, level)) = level.inner.iter().find(|(name, _)| name == key) {
                    look(inner, level, steps, found);
                } else if !level.names.contains(&&**key)
                    && let Some(help) = advice(key, level)
                {
                    let message = "there is no such field; it is passed over".to_owned();
                    found.push((dotted(steps), steps.clone(), message, help));
                }
                steps.pop();
            }
        }
        _ => {}
    }
}

/// What was probably meant by an unknown field; `None` where nobody can tell.
fn advice(key: &str, level: &Level) -> Option<String> {
    match key {
        // What v1beta1 had in this place.
        "serviceName" if level.names.contains(&"service") => Some("write service.name instead".to_owned()),
        "servicePort" if level.names.contains(&"service") => {
            Some("write service.port.number or service.port.name instead".to_owned())
        }
        _ => did_you_mean(key, level.names.iter().copied()).map(|name| format!("did you mean `{name}`?")),
    }
}

/// `spec.rules[0].host`
fn dotted(steps: &[Step]) -> String {
    let mut field = String::new();
    for step in steps {
        match step {
            Step::Index(index) => field.push_str(&format!("[{index}]")),
            Step::Key(key) if field.is_empty() => field.push_str(key),
            Step::Key(key) => field.push_str(&format!(".{key}")),
        }
    }
    field
}
