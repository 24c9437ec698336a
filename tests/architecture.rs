//! The walls of the house, and the sizes of its rooms: who may import whom, which foreign crates live where, how long
//! a file and a function may be. Exceptions are listed with their reason, and one that is no longer needed fails, so
//! that the lists can only shrink.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Rooms that anyone may use and that use nothing of ours.
const LEAVES: [&str; 9] = ["diagnostic", "drain", "clock", "net", "body", "shared", "settings", "metrics", "target"];

/// For each other room, the rooms that it may import.
const IMPORTS: [(&str, &[&str]); 12] = [
    ("objects", &["diagnostic"]),
    ("sources", &["objects", "diagnostic", "settings"]),
    ("dialect", &["objects", "diagnostic"]),
    ("balance", &["metrics", "clock", "net", "shared"]),
    // `balance` for the services that some ask by themselves (error pages, authentication).
    ("middleware", &["balance", "metrics", "clock", "net", "body", "shared", "target"]),
    ("table", &["balance", "middleware", "metrics", "shared", "target"]),
    (
        "compile",
        &["objects", "dialect", "table", "balance", "middleware", "metrics", "diagnostic", "settings", "target"],
    ),
    (
        "proxy",
        &["table", "balance", "middleware", "metrics", "drain", "clock", "net", "body", "shared", "settings", "target"],
    ),
    (
        "control",
        &["sources", "objects", "compile", "table", "balance", "metrics", "diagnostic", "report", "shared", "settings"],
    ),
    ("report", &["objects", "diagnostic", "metrics"]),
    ("admin", &["table", "balance", "clock", "net", "diagnostic", "metrics", "drain", "shared", "settings"]),
    ("cli", &["*"]),
];

/// A path outside of the crate, and the only places that may name it (rooms, or single files).
struct Ban {
    path: &'static str,
    only_in: &'static [&'static str],
    why: &'static str,
}

const fn ban(path: &'static str, only_in: &'static [&'static str], why: &'static str) -> Ban {
    Ban { path, only_in, why }
}

/// Crates and modules that live in some rooms only.
const BANS: [Ban; 9] = [
    ban("kube", &["objects", "sources", "report"], "Kubernetes types stay behind the one door"),
    ban("k8s_openapi", &["objects", "sources", "report"], "Kubernetes types stay behind the one door"),
    ban("kube::runtime", &[], "its watcher hides what we need to know (docs/decisions/0008)"),
    ban("notify", &["sources"], "only sources watch"),
    ban("hyper", &["proxy", "admin", "sources/cluster.rs", "cli"], "HTTP on sockets is for those that serve"),
    ban("hyper_util", &["proxy", "admin", "sources/cluster.rs", "cli"], "HTTP on sockets is for those that serve"),
    ban(
        "rustls",
        &[
            "proxy",
            "admin",
            "sources/cluster.rs",
            "cli",
            "table/certs.rs",
            "table/tls.rs",
            "compile/tls.rs",
            "balance/transport.rs",
        ],
        "TLS is for those that serve; table, balance and compile hold keys, roots and what the proxy has made only",
    ),
    ban("tokio_rustls", &["proxy", "admin", "sources/cluster.rs"], "TLS is for those that serve"),
    ban("anyhow", &["cli", "main.rs"], "errors elsewhere have a type"),
];

/// Rooms without I/O, clocks and chance: the same objects give the same table.
const PURE: [&str; 4] = ["compile", "table", "dialect", "objects"];

/// What a pure room may not name.
const IMPURE: [&str; 14] = [
    "tokio",
    "std::fs",
    "std::env",
    "std::thread",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "Instant::now",
    "SystemTime::now",
    "rand",
    "aws_lc_rs::rand",
    "tracing",
];

/// Levels that a pure room may not log at; debug and trace are fine.
const LOUD: [&str; 3] = ["info", "warn", "error"];

/// (file, path, reason): imports that the lists above forbid.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "body.rs",
        "hyper",
        "a request's body is hyper's own, and hyper::Error a reason for which it breaks off; nothing is served there",
    ),
    ("settings.rs", "net", "trusted ranges are parsed once, where the flag is read"),
];

/// Lines of a file outside of its tests.
const FILE_LIMIT: usize = 500;
/// Lines of a function.
const FUNCTION_LIMIT: usize = 100;
/// (file, lines): files that are longer. Lower a number when the file shrinks; add none.
const LONG_FILES: [(&str, usize); 0] = [];
/// (file, function, lines): functions that are longer. Lower a number when one shrinks; add none.
const LONG_FUNCTIONS: [(&str, &str, usize); 0] = [];

/// A source file without its tests.
struct File {
    /// Below src/, with `/`.
    name: String,
    /// As written, up to the tests.
    text: String,
    /// The same length with comments, strings and characters blanked out.
    code: String,
}

impl File {
    /// The room: the folder below src/, or the file's own name.
    fn room(&self) -> &str {
        self.name.split('/').next().unwrap().trim_end_matches(".rs")
    }

    /// How many `super::` lead from this file to the root of the crate.
    fn depth(&self) -> usize {
        let parts: Vec<&str> = self.name.trim_end_matches(".rs").split('/').collect();
        parts.len() - usize::from(parts.last() == Some(&"mod"))
    }

    /// Whether it belongs to a room or is the file itself.
    fn is_in(&self, place: &str) -> bool {
        self.name == place || self.room() == place
    }
}

fn sources() -> Vec<File> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&root, &mut paths);
    paths.sort();
    let files: Vec<File> = paths.iter().filter_map(|path| read(&root, path)).collect();
    assert!(files.iter().any(|f| f.name == "lib.rs"), "src/ is where it was");
    files
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// `None` for files that hold tests only.
fn read(root: &Path, path: &Path) -> Option<File> {
    let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
    if name.ends_with("/tests.rs") || name.contains("/tests/") {
        return None;
    }
    let mut text = fs::read_to_string(path).unwrap();
    // Tests stand last in a file, inline or as `mod tests;`.
    if let Some(at) = text.find("#[cfg(test)]\nmod tests") {
        text.truncate(at);
    }
    let code = blank(&text);
    Some(File { name, text, code })
}

/// Blanks comments, strings and character literals, keeping line ends and lengths.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match literal(bytes, at) {
            Some(end) => end,
            None => {
                at += 1;
                continue;
            }
        };
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8(out).unwrap()
}

/// Where the comment or literal that starts here ends, if one does.
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    let find = |from: usize, end: &[u8]| {
        let found = rest.get(from..)?.windows(end.len()).position(|w| w == end)?;
        Some(at + from + found + end.len())
    };
    if rest.starts_with(b"//") {
        return Some(find(0, b"\n").unwrap_or(bytes.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(find(2, b"*/").unwrap_or(bytes.len()));
    }
    let in_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if (!in_word || bytes[at - 1] == b'b')
        && let Some(hashes) = rest.strip_prefix(b"r").map(|r| r.iter().take_while(|b| **b == b'#').count())
        && rest.get(1 + hashes) == Some(&b'"')
    {
        let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
        return Some(find(2 + hashes, &end).unwrap_or(bytes.len()));
    }
    match rest[0] {
        b'"' => Some(at + quoted(rest, b'"')),
        // A lifetime has no second quote near; a character has one behind one character or an escape.
        b'\'' if rest.get(1) == Some(&b'\\') => Some(at + quoted(rest, b'\'')),
        b'\'' => {
            let length = std::str::from_utf8(&rest[1..rest.len().min(6)])
                .map_or_else(|e| std::str::from_utf8(&rest[1..1 + e.valid_up_to()]), Ok)
                .ok()?
                .chars()
                .next()?
                .len_utf8();
            (rest.get(1 + length) == Some(&b'\'')).then_some(at + length + 2)
        }
        _ => None,
    }
}

/// The length of a literal with escapes, both quotes included.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Every path that a file names, as written: `crate::a::b`, `std::fs::read`. Trees of `use` are taken apart.
fn paths(file: &File) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code = file.code.as_bytes();
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut at = 0;
    while at < code.len() {
        let starts = word(code[at]) && !code[at].is_ascii_digit() && (at == 0 || !word(code[at - 1]));
        // The tail of a longer path, or a field or method, is no start of one.
        let before = file.code[..at].trim_end();
        if !starts || before.ends_with("::") || before.ends_with('.') {
            at += 1;
            continue;
        }
        at = tree(&file.code, at, "", &mut found);
    }
    found
}

/// Reads the path or tree of paths that starts at `at`, and returns where it ends.
fn tree(code: &str, at: usize, prefix: &str, found: &mut BTreeSet<String>) -> usize {
    let bytes = code.as_bytes();
    let skip = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        at
    };
    let mut path = prefix.to_owned();
    let mut at = at;
    loop {
        let start = skip(at);
        if bytes.get(start) == Some(&b'{') && path.ends_with("::") {
            return branches(code, start + 1, &path, found);
        }
        let end = start + bytes[start..].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        path.push_str(&code[start..end]);
        let next = skip(end);
        if end == start || !code[next..].starts_with("::") {
            if path.contains("::") {
                found.insert(path.trim_end_matches("::").to_owned());
            }
            return end.max(start + usize::from(end == start));
        }
        path.push_str("::");
        at = next + 2;
    }
}

/// The branches of `{a, b::{c, d}}` after its opening brace.
fn branches(code: &str, mut at: usize, prefix: &str, found: &mut BTreeSet<String>) -> usize {
    let bytes = code.as_bytes();
    while at < bytes.len() {
        match bytes[at] {
            b'}' => return at + 1,
            b if b.is_ascii_alphanumeric() || b == b'_' => {
                at = tree(code, at, prefix, found);
                // `self as name`, `Name as Other`: the new name is none of ours to judge.
                let rest = code[at..].trim_start();
                if let Some(alias) = rest.strip_prefix("as ") {
                    at = code.len() - alias.len() + alias.find([',', '}']).unwrap_or(0);
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// The room that a path names, as seen from a file.
fn room_of<'p>(file: &File, path: &'p str) -> Option<&'p str> {
    let parts: Vec<&str> = path.split("::").collect();
    let supers = parts.iter().take_while(|p| **p == "super").count();
    match parts[0] {
        "crate" | "headgate" => parts.get(1).copied(),
        "super" if supers >= file.depth() => parts.get(supers).copied(),
        _ => None,
    }
}

fn is_room(name: &str) -> bool {
    LEAVES.contains(&name) || IMPORTS.iter().any(|(room, _)| *room == name)
}

/// Whether an exception covers it; used ones are noted.
fn excepted(file: &File, path: &str, used: &mut BTreeSet<usize>) -> bool {
    let found = EXCEPTIONS.iter().position(|(name, what, _)| *name == file.name && *what == path);
    found.is_some_and(|index| {
        used.insert(index);
        true
    })
}

/// Every breach of the walls, and the exceptions that were needed.
fn breaches(files: &[File]) -> (Vec<String>, BTreeSet<usize>) {
    let (mut breaches, mut used) = (Vec::new(), BTreeSet::new());
    for file in files.iter().filter(|f| !["lib.rs", "main.rs"].contains(&f.name.as_str())) {
        let room = file.room();
        let allowed: &[&str] = IMPORTS.iter().find(|(name, _)| *name == room).map_or(&[], |(_, allowed)| allowed);
        if !is_room(room) {
            breaches.push(format!("src/{}: no such room: add it to IMPORTS, with its walls", file.name));
        }
        for path in paths(file) {
            if let Some(other) = room_of(file, &path).filter(|other| is_room(other) && *other != room) {
                let fine = allowed.contains(&"*") || allowed.contains(&other);
                if !fine && !excepted(file, other, &mut used) {
                    breaches.push(format!("src/{}: `{path}`: {room} must not import {other}", file.name));
                }
            }
            for ban in BANS.iter().filter(|ban| names(&path, ban.path)) {
                if !ban.only_in.iter().any(|place| file.is_in(place)) && !excepted(file, ban.path, &mut used) {
                    breaches.push(format!("src/{}: `{path}`: {}", file.name, ban.why));
                }
            }
            if PURE.contains(&room) {
                let impure = IMPURE.iter().find(|what| names(&path, what) || path.ends_with(&format!("::{what}")));
                if let Some(what) = impure.filter(|what| **what != "tracing" || loud(&path))
                    && !excepted(file, what, &mut used)
                {
                    breaches.push(format!("src/{}: `{path}`: {room} is pure", file.name));
                }
            }
        }
    }
    (breaches, used)
}

/// Whether a path is this one or below it.
fn names(path: &str, what: &str) -> bool {
    path.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Whether it logs at info or above.
fn loud(path: &str) -> bool {
    LOUD.iter().any(|level| path.ends_with(&format!("::{level}")))
}

#[test]
fn the_walls_stand() {
    let (breaches, used) = breaches(&sources());
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
    for (index, (file, path, _)) in EXCEPTIONS.iter().enumerate() {
        assert!(used.contains(&index), "src/{file} no longer needs `{path}`: take it out of EXCEPTIONS");
    }
}

#[test]
fn nobody_passes_on_another_rooms_types() {
    let mut found = Vec::new();
    for file in sources().iter().filter(|f| f.name != "lib.rs" && f.name != "objects/mod.rs") {
        for line in file.code.lines().filter(|line| line.trim_start().starts_with("pub use ")) {
            let path = line.trim_start().trim_start_matches("pub use ").trim_end_matches(';');
            let foreign = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
            if foreign.is_some_and(|other| other != file.room()) || names(path, "k8s_openapi") || names(path, "kube") {
                found.push(format!("src/{}: pub use {path}", file.name));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn files_and_functions_stay_small() {
    let (mut long, mut needed) = (Vec::new(), BTreeSet::new());
    for file in sources() {
        let lines = file.text.lines().count();
        match LONG_FILES.iter().find(|(name, _)| *name == file.name) {
            Some((name, limit)) => {
                needed.insert((*name).to_owned());
                if lines > *limit || lines <= FILE_LIMIT {
                    long.push(format!("src/{name}: {lines} lines; LONG_FILES says {limit}"));
                }
            }
            None if lines > FILE_LIMIT => long.push(format!("src/{}: {lines} lines", file.name)),
            None => {}
        }
        for (function, lines) in functions(&file.code) {
            match LONG_FUNCTIONS.iter().find(|(name, f, _)| *name == file.name && *f == function) {
                Some((name, f, limit)) => {
                    needed.insert(format!("{name} {f}"));
                    if lines > *limit || lines <= FUNCTION_LIMIT {
                        long.push(format!("src/{name}, fn {f}: {lines} lines; LONG_FUNCTIONS says {limit}"));
                    }
                }
                None if lines > FUNCTION_LIMIT => {
                    long.push(format!("src/{}, fn {function}: {lines} lines", file.name));
                }
                None => {}
            }
        }
    }
    assert!(long.is_empty(), "more than {FILE_LIMIT} or {FUNCTION_LIMIT} lines:\n{}", long.join("\n"));
    let listed = LONG_FILES.iter().map(|(name, _)| (*name).to_owned());
    let listed = listed.chain(LONG_FUNCTIONS.iter().map(|(name, f, _)| format!("{name} {f}")));
    for entry in listed {
        assert!(needed.contains(&entry), "{entry} is gone: take it off the list");
    }
}

/// Name and number of lines of every function with a body.
fn functions(code: &str) -> Vec<(String, usize)> {
    let pattern = regex::Regex::new(r"\bfn\s+([A-Za-z0-9_]+)").unwrap();
    let mut found = Vec::new();
    for captures in pattern.captures_iter(code) {
        let start = captures.get(0).unwrap().start();
        let rest = &code[start..];
        let Some(open) = rest.find(['{', ';']).filter(|at| rest.as_bytes()[*at] == b'{') else { continue };
        let mut depth = 0;
        let end = rest[open..].bytes().position(|byte| {
            depth += i32::from(byte == b'{') - i32::from(byte == b'}');
            depth == 0
        });
        let lines = rest[..open + end.unwrap_or(0)].lines().count();
        found.push((captures[1].to_owned(), lines));
    }
    found
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> =
        sources().iter().filter(|f| !f.text.starts_with("//! ")).map(|f| format!("src/{}", f.name)).collect();
    assert!(silent.is_empty(), "no `//!` paragraph at the top:\n{}", silent.join("\n"));
}

// The reader of sources is itself worth a test: a wall that sees nothing always stands.

fn file(name: &str, text: &str) -> File {
    File { name: name.to_owned(), text: text.to_owned(), code: blank(text) }
}

#[test]
fn the_reader_sees_every_form_of_path() {
    let text = r##"
        use std::{fs, net::{IpAddr, TcpStream as Tcp}, time::Instant};
        use crate::{table::Table, balance::{self, pick}};
        use super::super::proxy::worker;
        // use crate::comment::Hidden;
        /* use crate::block::Hidden; */
        fn f<'a>(x: &'a str) -> char {
            let _ = "use crate::string::Hidden; \" crate::still::hidden";
            let _ = r#"crate::raw::Hidden"#;
            let c = '"';
            tokio::spawn(async { Instant::now() });
            x.crate_like();
            <u8 as crate::shared::Trait>::call(c);
            '{'
        }
    "##;
    let found = paths(&file("compile/routes.rs", text));
    for path in [
        "std::fs",
        "std::net::IpAddr",
        "std::net::TcpStream",
        "std::time::Instant",
        "crate::table::Table",
        "crate::balance::self",
        "crate::balance::pick",
        "super::super::proxy::worker",
        "tokio::spawn",
        "Instant::now",
        "crate::shared::Trait",
    ] {
        assert!(found.contains(path), "{path} is not seen: {found:?}");
    }
    assert!(found.iter().all(|path| !path.to_lowercase().contains("hidden")), "{found:?}");
    assert_eq!(functions(&blank(text)), [("f".to_owned(), 9)]);
}

#[test]
fn the_walls_would_be_seen_to_fall() {
    let cases = [
        ("table/host.rs", "use crate::compile::Compiled;", "table must not import compile"),
        ("table/mod.rs", "use super::compile::Compiled;", "table must not import compile"),
        ("shared.rs", "use crate::metrics::Shard;", "shared must not import metrics"),
        ("proxy/worker.rs", "use crate::{objects::Ingress};", "proxy must not import objects"),
        ("admin/api.rs", "fn f() { crate::cli::run(); }", "admin must not import cli"),
        ("compile/mod.rs", "use std::{fs, sync::Arc};", "compile is pure"),
        ("compile/mod.rs", "fn f() { std::time::Instant::now(); }", "compile is pure"),
        ("dialect/mod.rs", "fn f() { tracing::warn!(); }", "dialect is pure"),
        ("control/mod.rs", "use hyper::Request;", "HTTP on sockets"),
        ("compile/mod.rs", "use k8s_openapi::api::core::v1::Secret;", "one door"),
        (
            "report/mod.rs",
            "use kube::runtime::watcher;",
            "its watcher hides what we need to know (docs/decisions/0008)",
        ),
        ("cellar/mod.rs", "", "no such room"),
    ];
    for (name, text, expected) in cases {
        let (breaches, _) = breaches(&[file(name, text)]);
        assert!(breaches.iter().any(|b| b.contains(expected)), "{name}: {text}: {breaches:?}");
    }
    let fine = [
        ("compile/mod.rs", "use crate::{objects::Store, table::Table}; fn f() { tracing::debug!(); }"),
        ("table/certs.rs", "use rustls::sign::CertifiedKey;"),
        ("cli/run.rs", "use crate::{control, proxy}; use anyhow::Context;"),
        ("balance/pin.rs", "use super::Service; use crate::balance::Keys;"),
        ("proxy/upstream/http1.rs", "use super::super::headers; use crate::body::Body;"),
    ];
    for (name, text) in fine {
        assert_eq!(breaches(&[file(name, text)]).0, Vec::<String>::new(), "{name}: {text}");
    }
}
