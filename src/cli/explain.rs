//! `headgate explain`: which route a request takes, and why.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use http::{Method, Uri, uri::PathAndQuery};

use super::{check, flags::ClaimArgs};
use crate::{
    compile::explain::{Question, explain},
    table::host_of,
    target::Target,
};

/// Arguments of `headgate explain`.
#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// Manifest file or directory (repeatable)
    #[arg(long, value_name = "PATH", env = "HEADGATE_MANIFESTS", value_delimiter = ',', required = true)]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    claims: ClaimArgs,
    /// Entrypoint the request comes by [default: web for http, websecure for https]
    #[arg(long, value_name = "NAME")]
    on: Option<String>,
    /// GET, POST, …
    method: String,
    /// http://app.example.com/path or https://…
    url: String,
}

/// Prints the candidates, the winner, its middlewares and endpoints.
#[allow(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let method: Method = args.method.parse().with_context(|| format!("{} is no method", args.method))?;
    let wrong = || format!("{} is no URL; write http://host/path or https://host/path", args.url);
    let uri: Uri = args.url.parse().with_context(wrong)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { bail!(wrong()) };
    let (host, _) = host_of(authority.as_str()).with_context(wrong)?;
    let read = check::read(&args.manifests, &args.claims)?;
    let name = args.on.clone().unwrap_or_else(|| if scheme == "https" { "websecure".into() } else { "web".into() });
    let entrypoint = read.entrypoints.iter().position(|e| *e == name);
    let entrypoint =
        entrypoint.with_context(|| format!("there is no entrypoint {name}: {}", read.entrypoints.join(", ")))?;
    let target = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    let target = match Target::new(target) {
        Ok(target) => target,
        Err(error) => {
            println!("refused with 400: {error}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    println!("{method} {host} {} on {name}", target.path());
    if target.unchanged().is_none() {
        println!("(the path as it is matched and forwarded; {} was asked for)", uri.path());
    }
    println!();
    let question = Question { entrypoint, host: &host, path: target.path() };
    for line in explain(read.compiler.table(), question) {
        println!("{line}");
    }
    Ok(ExitCode::SUCCESS)
}
