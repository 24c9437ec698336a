//! `headgate check`: what the manifests come to, and what is wrong with them.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::flags::ClaimArgs;
use crate::{
    balance::Keys,
    compile::{Compiler, claim::class},
    diagnostic::{Diagnostic, Diagnostics, Severity, printable},
    objects::{Kind, ObjectId, store::Store},
    settings::Entrypoint,
    sources::files,
    table::{Action, Table, path::Listed},
};

/// The most characters of a cell.
const WIDEST: usize = 60;

/// Arguments of `headgate check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Manifest files or directories
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    claims: ClaimArgs,
}

/// Manifests, compiled.
pub(super) struct Read {
    pub(super) compiler: Compiler,
    pub(super) diagnostics: Diagnostics,
    pub(super) entrypoints: Vec<Entrypoint>,
    /// How many Ingresses there are, ours or not.
    ingresses: usize,
}

/// Reads and compiles manifests once. Pins are signed with `keys`.
pub(super) fn read(paths: &[PathBuf], claims: &ClaimArgs, keys: Keys) -> anyhow::Result<Read> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let anywhere = ([0, 0, 0, 0], 0).into();
    let entrypoints = claims.entrypoints(anywhere, anywhere)?;
    let (objects, mut said) = files::read_once(paths)?;
    let mut store = Store::default();
    for object in objects {
        store.apply(object);
    }
    let mut compiler = Compiler::new(claims.claims(true, &entrypoints), keys);
    let changes = store.take_changes();
    let outcome = compiler.apply(&store, &changes, crate::proxy::tls::unix_now());
    for (service, set) in outcome.endpoints {
        service.endpoints().store(set);
    }
    let mut diagnostics = compiler.diagnostics();
    diagnostics.extend(said.drain(..));
    diagnostics.extend(not_ours(&store, &compiler));
    Ok(Read { compiler, diagnostics, entrypoints, ingresses: store.ingresses().count() })
}

/// A note on each Ingress that another controller serves: in a cluster that is none of our business, here it answers
/// the question why an Ingress is not in the table.
fn not_ours(store: &Store, compiler: &Compiler) -> Vec<Diagnostic> {
    let theirs = compiler.foreign().filter_map(|(key, _)| store.ingress(key));
    let note = theirs.map(|ingress| {
        let named = class(ingress);
        let (text, help) = match named.map(|n| (n.class, store.class(n.class))) {
            Some((class, Some(found))) => (
                format!("its class {class} is of the controller {}, so it is not served", found.spec.controller),
                "name a class of ours, or give --controller-name, if it should be",
            ),
            Some((class, None)) => (
                format!("its class {class} is another controller's, so it is not served"),
                "name a class of ours if it should be",
            ),
            None => ("it names no class, so it is not served".to_owned(), "name a class of ours if it should be"),
        };
        let field = named.map_or("spec.ingressClassName", |n| n.field);
        let subject = ObjectId::new(Kind::Ingress, ingress.meta.key()).subject();
        let note = Diagnostic::info(subject, field, "NotOurs", text).help(help);
        note.at(ingress.meta.origin.clone())
    });
    note.collect()
}

/// Prints the table and the diagnostics; 1 if there is an error or a warning.
#[allow(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let read = read(&args.paths, &args.claims, Keys::random()?)?;
    if read.ingresses == 0 {
        println!("no Ingress found");
    } else {
        print!("{}", routes(read.compiler.table(), &read.entrypoints));
    }
    let wrong = read.diagnostics.iter().filter(|d| d.severity != Severity::Info).count();
    if !read.diagnostics.is_empty() {
        println!();
    }
    for diagnostic in read.diagnostics.iter() {
        println!("{}: {diagnostic}", diagnostic.severity.as_str());
    }
    println!();
    match wrong {
        0 => println!("nothing is wrong"),
        1 => println!("1 thing is wrong"),
        n => println!("{n} things are wrong"),
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The table, a line for each rule, in the order in which a host's rules are tried.
fn routes(table: &Table, entrypoints: &[Entrypoint]) -> String {
    let mut rows = vec![["HOST", "PATH", "GOES TO", "ENDPOINTS", "MIDDLEWARES", "ON", "INGRESS"].map(str::to_owned)];
    for (host, paths) in table.hosts.list() {
        for Listed { kind, path, regex: _, priority, default_backend, route } in paths.list() {
            let path = cell(path);
            let shown = match priority {
                _ if default_backend => format!("{path} (default backend)"),
                None => format!("{path} ({kind})"),
                Some(priority) => format!("{path} ({kind}, priority {priority})"),
            };
            let (to, endpoints) = match &route.action {
                Action::Forward(service) => {
                    let set = service.endpoints().load();
                    (service.key.to_string(), set.endpoints().len().to_string())
                }
                Action::NoService(_) => ("503: no service".to_owned(), "-".to_owned()),
                Action::Closed(_) => ("503: closed".to_owned(), "-".to_owned()),
            };
            let mut middlewares: Vec<String> = route.middlewares.iter().map(ToString::to_string).collect();
            middlewares.extend(route.sticky.iter().map(|s| format!("cookie {}", s.name())));
            let on = entrypoints.iter().enumerate().filter(|(index, _)| route.entrypoints.contains(*index));
            let on: Vec<&str> = on.map(|(_, entrypoint)| entrypoint.name.as_str()).collect();
            let middlewares = if middlewares.is_empty() { "-".to_owned() } else { middlewares.join(", ") };
            let on = if on.is_empty() { "nothing".to_owned() } else { on.join(",") };
            let of = format!("{}/{}", route.labels.namespace, route.labels.ingress);
            let [host, to, middlewares, on, of] = [&host, &to, &middlewares, &on, &of].map(|text| cell(text));
            rows.push([host, shown, to, endpoints, middlewares, on, of]);
        }
    }
    aligned(&rows)
}

/// A text as a cell of the table: on one line, and cut where it is long.
fn cell(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(WIDEST) {
        None => text.into_owned(),
        Some(_) => text.chars().take(WIDEST - 1).chain(['…']).collect(),
    }
}

fn aligned(rows: &[[String; 7]]) -> String {
    let widths: Vec<usize> = (0..7)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_cut_and_printable() {
        assert_eq!(cell("/a"), "/a");
        assert_eq!(cell("a\n\u{1b}[1m"), r"a\n\u{1b}[1m");
        assert_eq!(cell(&"é".repeat(60)), "é".repeat(60));
        assert_eq!(cell(&"é".repeat(70_000)), "é".repeat(59) + "…");
        let row = [(); 7].map(|()| cell(&"x".repeat(70_000)));
        assert_eq!(aligned(&[row]).chars().count(), 7 * 60 + 6 * 2 + 1);
    }
}
