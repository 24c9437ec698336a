//! The text of one document, read into JSON values under limits.
//!
//! Scalars resolve as kubectl resolves them (YAML 1.1: an unquoted `on` is a boolean, `0777` is octal), so that a
//! manifest means here what it means there. Aliases are bounded by the length of the text that holds them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use serde_saphyr::{DuplicateKeyPolicy, Error, NonFiniteFloatPolicy, Options, Spanned};

/// A value and the line of the text at which it starts, from 1.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) line: Option<u32>,
    /// The elements of a List, where they were read one by one; `value` is then the List without them.
    pub(super) items: Option<Vec<Node>>,
    /// Why the value cannot be used although the text is YAML; the value is as much of it as could be read.
    pub(super) fault: Option<Fault>,
}

/// What is wrong with a text. Lines count from 1, within the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: Option<u32>,
    pub(super) message: String,
}

/// Reads a document. JSON is tried first where the text looks like it (it is many times faster), and may hold
/// several values; `json` says that the person who wrote it thinks of it as JSON, so that errors speak of that.
pub(super) fn read(text: &str, json: bool) -> Result<Vec<Node>, Fault> {
    if !text.starts_with('{') && !json {
        return read_yaml(text).map(|node| vec![node]);
    }
    read_json(text).or_else(|fault| match read_yaml(text) {
        Ok(node) => Ok(vec![node]),
        Err(yaml) => Err(if json { fault } else { yaml }),
    })
}

fn read_json(text: &str) -> Result<Vec<Node>, Fault> {
    let mut nodes = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let (mut offset, mut line) = (0, 1_u32);
    loop {
        let (skipped, rest) = text.split_at_checked(offset).unwrap_or((text, ""));
        let blank = rest.len() - rest.trim_start().len();
        let Some(value) = stream.next() else { return Ok(nodes) };
        let value = value.map_err(|e| Fault { line: u32::try_from(e.line()).ok(), message: json_message(&e) })?;
        let start = line.saturating_add(newlines(rest.get(..blank).unwrap_or_default()));
        nodes.push(Node { value, line: Some(start), items: None, fault: None });
        offset = stream.byte_offset();
        line = line.saturating_add(newlines(text.get(skipped.len()..offset).unwrap_or_default()));
    }
}

fn newlines(text: &str) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', text.as_bytes()).count()).unwrap_or(u32::MAX)
}

/// The message of serde_json without the place at its end, which counts from the start of the document.
fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.rsplit_once(" at line ").map_or(&*message, |(head, _)| head);
    format!("{message} (column {})", error.column())
}

fn read_yaml(text: &str) -> Result<Node, Fault> {
    if (text.starts_with("items:") || text.contains("\nitems:"))
        && let Ok(list) = serde_saphyr::from_str_with_options::<List>(text, options(text))
        && let Some(node) = list.into_node()
    {
        return Ok(node);
    }
    let error = match serde_saphyr::from_str_with_options::<Value>(text, options(text)) {
        Ok(value) => return Ok(Node { value, line: None, items: None, fault: None }),
        Err(error) => error,
    };
    // Still YAML, if it is only that a key is there twice or is no string: then the fault is this document's alone.
    let lax = || {
        let mut options = options(text);
        options.duplicate_keys = DuplicateKeyPolicy::LastWins;
        options
    };
    let value = match serde_saphyr::from_str_with_options::<Value>(text, lax()) {
        Ok(value) => value,
        Err(_) if serde_saphyr::from_str_with_options::<IgnoredAny>(text, lax()).is_ok() => Value::Null,
        Err(_) => return Err(fault(&error)),
    };
    Ok(Node { value, line: None, items: None, fault: Some(fault(&error)) })
}

/// A List at the top of a document, whose elements are read with their lines.
#[derive(Deserialize)]
struct List {
    #[serde(rename = "apiVersion")]
    api_version: Value,
    kind: Value,
    items: Vec<Spanned<Value>>,
}

impl List {
    /// `None` if it is something else that has a field `items`.
    fn into_node(self) -> Option<Node> {
        if !self.kind.as_str()?.ends_with("List") {
            return None;
        }
        let line = |item: &Spanned<Value>| u32::try_from(item.referenced.line()).ok();
        let node = |item: Spanned<Value>| Node { line: line(&item), value: item.value, items: None, fault: None };
        let items = Some(self.items.into_iter().map(node).collect());
        let value = serde_json::json!({ "apiVersion": self.api_version, "kind": self.kind });
        Some(Node { value, line: None, items, fault: None })
    }
}

/// Limits that no honest text meets: what is there without aliases is bounded by the text itself, and aliases may
/// add a little. Without them, a dozen lines can ask for gigabytes.
fn options(text: &str) -> Options {
    const REPLAYED: usize = 200_000;
    let nodes = text.len() + REPLAYED;
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: nodes.saturating_mul(2),
            max_nodes: nodes,
            max_total_scalar_bytes: text.len().saturating_mul(2) + (4 << 20),
            enforce_alias_anchor_ratio: false,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: REPLAYED },
        emit_comments: false,
        legacy_octal_numbers: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

fn fault(error: &Error) -> Fault {
    let place = error.location();
    let mut inner = error;
    while let Error::AliasError { error, .. } | Error::WithSnippet { error, .. } = inner {
        inner = error;
    }
    let message = match inner {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is there twice"),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => {
            "it is nested too deep, or its aliases expand to far more than is written".to_owned()
        }
        other => {
            let text = other.to_string();
            text.split_once(" at line ").map_or(&*text, |(head, _)| head).to_owned()
        }
    };
    let message = match place {
        Some(place) => format!("{message} (column {})", place.column()),
        None => message,
    };
    Fault { line: place.and_then(|p| u32::try_from(p.line()).ok()), message }
}

/// One step of the way to a value inside a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The line of the text at which the value at the end of `path` starts, from 1. Reads the text again: for errors.
pub(super) fn line_of(text: &str, path: &[Step]) -> Option<u32> {
    let seek = Seek(path);
    let found = serde_saphyr::with_deserializer_from_str_with_options(text, options(text), |d| seek.deserialize(d));
    found.ok().flatten().and_then(|line| u32::try_from(line).ok())
}

struct Seek<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = Option<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        match self.0.first() {
            None => Ok(Some(Spanned::<IgnoredAny>::deserialize(deserializer)?.referenced.line())),
            Some(Step::Key(_)) => deserializer.deserialize_map(self),
            Some(Step::Index(_)) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value on the way")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut line = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.0 {
                [Step::Key(wanted), rest @ ..] if *wanted == key => line = map.next_value_seed(Seek(rest))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(line)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut line = None;
        for index in 0_usize.. {
            let more = match self.0 {
                [Step::Index(wanted), rest @ ..] if *wanted == index => {
                    seq.next_element_seed(Seek(rest))?.map(|found| line = found).is_some()
                }
                _ => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(line)
    }
}
