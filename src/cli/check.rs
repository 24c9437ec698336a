//! `headgate check`: what the manifests come to, and what is wrong with them.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::flags::ClaimArgs;
use crate::{
    balance::Keys,
    compile::Compiler,
    diagnostic::{Diagnostics, Severity},
    objects::store::Store,
    sources::files,
    table::{Action, Rule, Table},
};

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
    pub(super) entrypoints: Vec<String>,
}

/// Reads and compiles manifests once.
pub(super) fn read(paths: &[PathBuf], claims: &ClaimArgs) -> anyhow::Result<Read> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let anywhere = ([0, 0, 0, 0], 0).into();
    let entrypoints = claims.entrypoints(anywhere, anywhere)?;
    let (objects, mut said) = files::read_once(paths)?;
    let mut store = Store::default();
    for object in objects {
        store.apply(object);
    }
    let mut compiler = Compiler::new(claims.claims(true, &entrypoints), Keys::random()?);
    let changes = store.take_changes();
    let outcome = compiler.apply(&store, &changes, crate::proxy::tls::unix_now());
    for (service, set) in outcome.endpoints {
        service.endpoints().store(set);
    }
    let mut diagnostics = compiler.diagnostics();
    diagnostics.extend(said.drain(..));
    Ok(Read { compiler, diagnostics, entrypoints: entrypoints.into_iter().map(|e| e.name).collect() })
}

/// Prints the table and the diagnostics; 1 if there is an error or a warning.
#[allow(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let read = read(&args.paths, &args.claims)?;
    print!("{}", routes(read.compiler.table(), &read.entrypoints));
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
fn routes(table: &Table, entrypoints: &[String]) -> String {
    let mut rows = vec![["HOST", "PATH", "GOES TO", "ENDPOINTS", "MIDDLEWARES", "ON", "INGRESS"].map(str::to_owned)];
    for (host, paths) in table.hosts.list() {
        for (kind, path, priority, route) in paths.list() {
            let shown = match priority {
                Rule::LAST => format!("{path} (default backend)"),
                0 => format!("{path} ({kind})"),
                _ => format!("{path} ({kind}, priority {priority})"),
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
            let on: Vec<&str> = on.map(|(_, name)| name.as_str()).collect();
            rows.push([
                host.clone(),
                shown,
                to,
                endpoints,
                if middlewares.is_empty() { "-".to_owned() } else { middlewares.join(", ") },
                if on.is_empty() { "nothing".to_owned() } else { on.join(",") },
                format!("{}/{}", route.labels.namespace, route.labels.ingress),
            ]);
        }
    }
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
