//! What a person types. Each command is a file; flags become [`crate::settings::Settings`] in `flags`, and nowhere
//! else. This room may use every other; none uses it.

mod check;
mod cluster;
mod crds;
mod demo;
mod explain;
mod flags;
mod run;
pub mod whoami;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// HTTP ingress controller and reverse proxy for Kubernetes: Ingress and Traefik YAML unchanged, exact round-robin,
/// signed sticky sessions, TLS.
#[derive(Debug, Parser)]
#[command(name = "headgate", version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller and proxy
    Run(Box<flags::RunArgs>),
    /// Show it all on this machine: 15 demo pods, the guide's manifests, the proxy, and curl lines to try
    Demo(demo::DemoArgs),
    /// Read manifests, print the routes and everything that is wrong; exit status 1 if anything is
    Check(check::CheckArgs),
    /// Say which route a request takes, and why
    Explain(explain::ExplainArgs),
    /// Run a small backend that answers with its name and the request it saw
    Whoami(whoami::WhoamiArgs),
    /// Print the CustomResourceDefinitions
    Crds,
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(*args).map(|()| ExitCode::SUCCESS),
        Command::Demo(args) => demo::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Whoami(args) => args.run().map(|()| ExitCode::SUCCESS),
        Command::Crds => crds::run().map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        eprintln!("headgate: {error:#}");
        ExitCode::FAILURE
    })
}
