//! `headgate explain`: which route a request takes, and why.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use http::{Method, Uri, uri::PathAndQuery};

use super::{check, flags::ClaimArgs};
use crate::{
    compile::explain::{Question, explain},
    control::keys,
    diagnostic::printable,
    table::{Entrypoints, host_of},
    target::{PathError, Target},
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
    /// Keys that sign sticky cookies, as for run: the pin of each endpoint is shown
    #[arg(long, value_name = "FILE", env = "HEADGATE_COOKIE_KEYS_FILE")]
    cookie_keys_file: Option<PathBuf>,
    /// Redirect plain HTTP to https, to this port, as for run [without a value: 443]
    #[arg(long, value_name = "PORT", env = "HEADGATE_REDIRECT_TO_HTTPS", num_args = 0..=1, default_missing_value = "443",
          require_equals = true)]
    redirect_to_https: Option<u16>,
    /// GET, POST, …
    method: String,
    /// `http://app.example.com/path`, or with https
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
    let keys = keys::load(args.cookie_keys_file.as_deref())?;
    let read = check::read(&args.manifests, &args.claims, keys)?;
    let name = args.on.clone().unwrap_or_else(|| if scheme == "https" { "websecure".into() } else { "web".into() });
    let known = || read.entrypoints.iter().map(|e| e.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = read.entrypoints.iter().enumerate().find(|(_, e)| e.name == name);
    let (entrypoint, on) = found.with_context(|| format!("there is no entrypoint {name}: {}", known()))?;
    let target = match target(&args.url, &uri) {
        Ok(target) => target,
        Err(error) => {
            println!("refused with 400: {error}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    println!("{method} {host} {} on {name}", printable(target.path()));
    if target.path() != uri.path() {
        println!("(the path as it is forwarded; {} was asked for)", printable(uri.path()));
    }
    if target.compared() != target.path() {
        println!("(matched as {})", printable(target.compared()));
    }
    println!();
    let redirect = args.redirect_to_https.filter(|_| scheme != "https").map(|port| target.by_https(&host, port));
    let speaking = read.entrypoints.iter().enumerate().filter(|(_, e)| e.tls);
    let secured = Entrypoints(speaking.take(32).fold(0, |mask, (index, _)| mask | 1 << index));
    let question = Question {
        entrypoint,
        tls: on.tls,
        host: &host,
        path: target.compared(),
        redirect: redirect.as_deref(),
        secured,
        pins: args.cookie_keys_file.is_some(),
    };
    for line in explain(read.compiler.table(), question) {
        println!("{}", printable(&line));
    }
    Ok(ExitCode::SUCCESS)
}

/// The target that a client would send if it left nothing out. Parsing has dropped a fragment already, so that is
/// looked for in what was typed.
fn target(typed: &str, uri: &Uri) -> Result<Target, PathError> {
    if typed.contains('#') {
        return Err(PathError::Fragment);
    }
    Target::new(uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Result<Target, PathError> {
        target(url, &url.parse().unwrap())
    }

    #[test]
    fn a_fragment_is_refused_as_the_proxy_refuses_it() {
        for url in ["http://a.test/x#y", "http://a.test/x?q=1#y", "http://a.test/#"] {
            assert_eq!(asked(url).unwrap_err(), PathError::Fragment, "{url}");
        }
        assert_eq!(asked("http://a.test/x%23y").unwrap().path(), "/x%23y");
        assert_eq!(asked("http://a.test").unwrap().path(), "/");
    }

    #[test]
    fn the_redirect_goes_where_the_proxy_sends_it() {
        let target = asked("http://a.test:8080/x/../y?q=1").unwrap();
        assert_eq!(target.by_https("a.test", 443), "https://a.test/y?q=1");
        assert_eq!(target.by_https("a.test", 8443), "https://a.test:8443/y?q=1");
    }
}
