//! JSON values of a document made into typed objects, or into the reason why not.
//!
//! Looks at `apiVersion` and `kind`, takes Lists apart, checks names, and reads the rest into the types of
//! [`crate::objects`]. Kinds that are not read are skipped without a word: a folder copied out of a cluster is full
//! of them.

use std::{path::Path, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;

use super::{
    Document, Item, Parsed, fields,
    syntax::{self, Node, Step},
};
use crate::{
    diagnostic::{Diagnostic, Origin, Subject, did_you_mean},
    objects::{
        EndpointSlice, Ingress, IngressClass, Key, Kind, Meta, Middleware, Object, ObjectId, Secret, ServersTransport,
        Service, TlsOption,
    },
};

const UNQUOTED: &str = "put the value in quotes: else YAML reads yes, no, on, off, true and false as booleans, \
                        and digits as numbers";
const NAME: &str = "use lower-case letters, digits, - and ., at most 253 of them, each part starting and ending with a \
                    letter or digit";
const LABEL: &str =
    "use lower-case letters, digits and -, at most 63 of them, starting and ending with a letter or digit";

/// The objects in the values of a document.
pub(super) fn objects(nodes: Vec<Node>, document: &Document<'_>, file: &Arc<Path>) -> Parsed {
    let mut reading = Reading { document, file, parsed: Parsed::default() };
    for node in nodes {
        reading.node(node, None, &mut Vec::new());
    }
    reading.parsed
}

/// Changes the metadata of an object; the object is copied if it is shared.
pub(super) fn with_meta(object: &mut Object, change: impl FnOnce(&mut Meta)) {
    match object {
        Object::Ingress(o) => change(&mut Arc::make_mut(o).meta),
        Object::IngressClass(o) => change(&mut Arc::make_mut(o).meta),
        Object::Service(o) => change(&mut Arc::make_mut(o).meta),
        Object::EndpointSlice(o) => change(&mut Arc::make_mut(o).meta),
        Object::Secret(o) => change(&mut Arc::make_mut(o).meta),
        Object::Middleware(o) => change(&mut Arc::make_mut(o).meta),
        Object::ServersTransport(o) => change(&mut Arc::make_mut(o).meta),
        Object::TlsOption(o) => change(&mut Arc::make_mut(o).meta),
    }
}

struct Reading<'a> {
    document: &'a Document<'a>,
    file: &'a Arc<Path>,
    parsed: Parsed,
}

/// What a value is about, as far as can be told before it is read.
struct Named {
    kind: Kind,
    namespace: Arc<str>,
    name: Arc<str>,
    line: u32,
}

impl Named {
    fn subject(&self) -> Subject {
        let name = if self.name.is_empty() { "(without a name)".into() } else { Arc::clone(&self.name) };
        Subject { kind: self.kind.as_str(), namespace: Arc::clone(&self.namespace), name }
    }

    fn id(&self) -> Option<ObjectId> {
        let key = Key::new(Arc::clone(&self.namespace), Arc::clone(&self.name));
        (!self.name.is_empty()).then(|| ObjectId::new(self.kind, key))
    }
}

impl Reading<'_> {
    /// Reads one value. `inherited` is the `apiVersion` and `kind` of the elements of a typed List, which need not
    /// repeat them; `path` leads to the value inside the document.
    fn node(&mut self, node: Node, inherited: Option<(&str, &str)>, path: &mut Vec<Step>) {
        let line = node.line.map_or(self.document.line, |l| self.document.file_line(l));
        let text = |field: &str| node.value.get(field).and_then(Value::as_str);
        let api_version = text("apiVersion").or(inherited.map(|i| i.0)).unwrap_or_default().to_owned();
        let Some(kind) = text("kind").or(inherited.map(|i| i.1)).map(str::to_owned) else {
            // Nothing of Kubernetes; yet its author will want to know that one of its keys is there twice.
            return self.faulty(&node, None);
        };
        if let Some(kind) = Kind::of(&api_version, &kind) {
            return self.value(kind, node, line, path);
        }
        match kind.strip_suffix("List") {
            Some("") if api_version == "v1" => self.list(node, None, path),
            Some(element) if Kind::of(&api_version, element).is_some() => {
                self.list(node, Some((&api_version, element)), path);
            }
            _ => {
                self.near_miss(&api_version, &kind, &node.value, line);
                self.faulty(&node, None);
            }
        }
    }

    fn list(&mut self, mut node: Node, inherited: Option<(&str, &str)>, path: &mut Vec<Step>) {
        if node.fault.is_some() {
            return self.faulty(&node, None);
        }
        let nodes = match node.items {
            Some(items) => items,
            None => {
                let Some(Value::Array(items)) = node.value.get_mut("items").map(Value::take) else { return };
                let node = |value| Node { value, line: node.line, items: None, fault: None };
                items.into_iter().map(node).collect()
            }
        };
        path.push(Step::Key("items".to_owned()));
        for (index, node) in nodes.into_iter().enumerate() {
            path.push(Step::Index(index));
            self.node(node, inherited, path);
            path.pop();
        }
        path.pop();
    }

    /// Reads a value of a kind that is ours.
    fn value(&mut self, kind: Kind, node: Node, line: u32, path: &[Step]) {
        let named = match self.named(kind, &node.value, line, path) {
            Ok(named) => named,
            Err(()) => return self.parsed.items.push(Item::Refused(None)),
        };
        if node.fault.is_some() {
            return self.faulty(&node, Some(&named));
        }
        match self.typed(&named, &node.value) {
            Ok(object) => {
                for (field, steps, message, help) in fields::misspelt(kind, &node.value) {
                    let warning = Diagnostic::warning(named.subject(), field, "UnknownField", message).help(help);
                    self.say(warning, self.line(path, steps).unwrap_or(line));
                }
                self.parsed.items.push(Item::Object(object));
            }
            Err((field, steps, message)) => {
                let help = if message.ends_with("expected a string") { UNQUOTED } else { "" };
                let message = format!("{message}{}", meanwhile(kind));
                let error = Diagnostic::error(named.subject(), field, "WrongShape", message).help(help);
                self.say(error, self.line(path, steps).unwrap_or(line));
                self.parsed.items.push(Item::Refused(named.id()));
            }
        }
    }

    /// Name and namespace, checked. `Err` when it cannot be told what it is; that is said then.
    fn named(&mut self, kind: Kind, value: &Value, line: u32, path: &[Step]) -> Result<Named, ()> {
        let text = |field: &str| match value.get("metadata").and_then(|m| m.get(field)) {
            None | Some(Value::Null) => Some(""),
            other => other.and_then(Value::as_str),
        };
        let namespace = match text("namespace") {
            _ if !kind.namespaced() => Some(""),
            Some("") => Some("default"),
            other => other,
        };
        let named =
            |name: &str| Named { kind, namespace: namespace.unwrap_or_default().into(), name: name.into(), line };
        let (field, code, message, help) = match (text("name"), namespace) {
            (Some(""), _) => ("name", "MissingName", "it has no name".to_owned(), "generateName is not enough"),
            (Some(name), _) if !is_subdomain(name) => ("name", "InvalidName", refused(name), NAME),
            (_, Some(namespace)) if kind.namespaced() && !is_label(namespace) => {
                ("namespace", "InvalidName", refused(namespace), LABEL)
            }
            (Some(name), Some(_)) => return Ok(named(name)),
            (None, _) => ("name", "InvalidName", "it is no text".to_owned(), UNQUOTED),
            (_, None) => ("namespace", "InvalidName", "it is no text".to_owned(), UNQUOTED),
        };
        let steps = vec![Step::Key("metadata".to_owned()), Step::Key(field.to_owned())];
        let line = self.line(path, steps).unwrap_or(line);
        let shown = text("name").unwrap_or_default().escape_debug().to_string();
        let subject = named(&shown).subject();
        self.say(Diagnostic::error(subject, format!("metadata.{field}"), code, message).help(help), line);
        Err(())
    }

    fn typed(&self, named: &Named, value: &Value) -> Result<Object, Misfit> {
        let mut object = match named.kind {
            Kind::Ingress => Object::Ingress(Arc::new(shaped::<Ingress>(value, true)?)),
            Kind::IngressClass => Object::IngressClass(Arc::new(shaped::<IngressClass>(value, true)?)),
            Kind::Service => Object::Service(Arc::new(shaped::<Service>(value, true)?)),
            Kind::EndpointSlice => Object::EndpointSlice(Arc::new(shaped::<EndpointSlice>(value, true)?)),
            // What a Secret holds must not come out through an error message.
            Kind::Secret => Object::Secret(Arc::new(shaped::<Secret>(value, false)?)),
            Kind::Middleware => Object::Middleware(Arc::new(shaped::<Middleware>(value, true)?)),
            Kind::ServersTransport => Object::ServersTransport(Arc::new(shaped::<ServersTransport>(value, true)?)),
            Kind::TlsOption => Object::TlsOption(Arc::new(shaped::<TlsOption>(value, true)?)),
        };
        with_meta(&mut object, |meta| {
            meta.namespace = Arc::clone(&named.namespace);
            meta.origin = Some(Origin { file: Arc::clone(self.file), line: named.line });
        });
        Ok(object)
    }

    /// A value of YAML that is no use to Kubernetes: a key is there twice, or is no text.
    fn faulty(&mut self, node: &Node, named: Option<&Named>) {
        let Some(fault) = &node.fault else { return };
        let subject = named.map_or_else(|| super::file_subject(self.file), Named::subject);
        let line = fault.line.map_or(self.document.line, |l| self.document.file_line(l));
        let meanwhile = named.map_or("", |named| meanwhile(named.kind));
        let message = format!("{}{meanwhile}", fault.message);
        self.say(Diagnostic::error(subject, "", "WrongShape", message), line);
        self.parsed.items.push(Item::Refused(named.and_then(Named::id)));
    }

    /// Says what to write where someone clearly meant a kind that is read. Others have kinds of the same names
    /// (`Service` of Knative): those are passed over.
    fn near_miss(&mut self, api_version: &str, kind: &str, value: &Value, line: u32) {
        let Some(ours) = Kind::ALL.into_iter().find(|k| k.as_str().eq_ignore_ascii_case(kind)) else { return };
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let wanted = ours.api_version().split_once('/').map_or("", |(group, _)| group);
        let of_kubernetes = !group.contains('.') || ["networking.k8s.io", "discovery.k8s.io"].contains(&group);
        let of_traefik = Kind::CUSTOM.contains(&ours) && group == "traefik.containo.us";
        if !(of_kubernetes || of_traefik || did_you_mean(group, [wanted]).is_some()) {
            return;
        }
        let text = |field: &str| value.get("metadata").and_then(|m| m.get(field)).and_then(Value::as_str);
        let namespace = if ours.namespaced() { text("namespace").unwrap_or("default") } else { "" };
        let name = text("name").unwrap_or_default();
        let named = Named { kind: ours, namespace: namespace.into(), name: name.into(), line };
        let (written, field) = if kind == ours.as_str() { (api_version, "apiVersion") } else { (kind, "kind") };
        let help = format!("write apiVersion: {} and kind: {}", ours.api_version(), ours.as_str());
        let message = match written {
            "" => "it is skipped: it has no apiVersion".to_owned(),
            other => format!("it is skipped: `{other}` is not read"),
        };
        self.say(Diagnostic::warning(named.subject(), field, "UnknownApiVersion", message).help(help), line);
    }

    fn say(&mut self, diagnostic: Diagnostic, line: u32) {
        self.parsed.diagnostics.push(diagnostic.at(Some(Origin { file: Arc::clone(self.file), line })));
    }

    /// The line of the file at which a field stands.
    fn line(&self, path: &[Step], field: Vec<Step>) -> Option<u32> {
        let path: Vec<Step> = path.iter().cloned().chain(field).collect();
        syntax::line_of(self.document.text, &path).map(|line| self.document.file_line(line))
    }
}

/// The field of wrong shape, the way to it, and what is wrong.
type Misfit = (String, Vec<Step>, String);

fn shaped<T: DeserializeOwned>(value: &Value, show: bool) -> Result<T, Misfit> {
    // The path costs time: it is only followed where there is an error to place.
    if let Ok(object) = T::deserialize(value) {
        return Ok(object);
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let steps = error.path().iter().map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Index(*index)),
            Segment::Map { key } => Some(Step::Key(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        });
        let message = if show { error.inner().to_string() } else { "it is of the wrong type".to_owned() };
        let path = error.path().to_string();
        (if path == "." { String::new() } else { path }, steps.collect(), message)
    })
}

/// What an object of wrong shape means until it is mended, where that is easily overlooked.
fn meanwhile(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress => {
            "; until it is mended, what it last said counts, and if that is nothing, its paths go to rules of other \
             Ingresses, or are 404"
        }
        _ => "",
    }
}

fn refused(name: &str) -> String {
    format!("`{}` is no name that Kubernetes allows", name.escape_debug())
}

/// RFC 1123 label, as Kubernetes wants namespaces: at most 63 of `a-z0-9-`, not starting or ending with `-`.
fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_part(name)
}

/// RFC 1123 subdomain, as Kubernetes wants names: labels joined by dots, at most 253 characters.
fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_part)
}

fn is_part(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
}
