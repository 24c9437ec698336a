//! `headgate demo`: the guide's own case on this machine, with nothing installed. 15 pods, its manifests, the proxy,
//! and the lines to try.

use std::{
    fmt::Write as _,
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};

use anyhow::Context as _;
use clap::{Args, Parser};

use super::{flags::RunArgs, run, whoami};
use crate::proxy::BindError;

/// Arguments of `headgate demo`.
#[derive(Args, Debug)]
pub(super) struct DemoArgs {
    /// Port for http [default: 8080, or a free one]
    #[arg(long, value_name = "PORT", env = "HEADGATE_DEMO_HTTP_PORT")]
    http_port: Option<u16>,
    /// Port for https [default: 8443, or a free one]
    #[arg(long, value_name = "PORT", env = "HEADGATE_DEMO_HTTPS_PORT")]
    https_port: Option<u16>,
}

const PODS: usize = 15;
const HOST: &str = "nginx-test.local";

/// The guide's document, unchanged.
const STICKY: &str = include_str!("demo/sticky.yaml");
const REST: &str = include_str!("demo/rest.yaml");

#[derive(Parser)]
struct Wrapped {
    #[command(flatten)]
    run: RunArgs,
}

/// Runs the demo until it is interrupted.
#[allow(clippy::print_stdout, reason = "printing is what this command is for")]
pub(super) fn run(args: &DemoArgs) -> anyhow::Result<()> {
    run::start_log("warn,headgate::cli=error", super::flags::LogFormat::Text)?;
    let folder = Folder::new()?;
    let pods = start_pods()?;
    fs::write(folder.0.join("guide.yaml"), STICKY)?;
    fs::write(folder.0.join("rest.yaml"), format!("{REST}{}", slices(&pods)))?;
    let attempt = |http: u16, https: u16| {
        let flags = [
            "demo".to_owned(),
            "--manifests".to_owned(),
            folder.0.display().to_string(),
            format!("--http=127.0.0.1:{http}"),
            format!("--https=127.0.0.1:{https}"),
            "--admin=127.0.0.1:0".to_owned(),
        ];
        let wrapped = Wrapped::try_parse_from(flags).context("the demo's own flags")?;
        run::serve(&wrapped.run, |addresses| print!("{}", lines(addresses, &folder.0)))
    };
    let port = |wanted: Option<u16>, usual: u16| wanted.unwrap_or_else(|| if is_free(usual) { usual } else { 0 });
    match attempt(port(args.http_port, 8080), port(args.https_port, 8443)) {
        // Somebody was quicker, between the look and the bind.
        Err(error) if error.downcast_ref::<BindError>().is_some() => {
            attempt(args.http_port.unwrap_or(0), args.https_port.unwrap_or(0))
        }
        ended => ended,
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// A folder of the demo's own, gone when it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("headgate-demo-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Starts the pods on loopback, each on a port of its own, in one thread.
fn start_pods() -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let mut pods = Vec::new();
    let mut listeners = Vec::new();
    for index in 0..PODS {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port for a demo pod")?;
        listener.set_nonblocking(true)?;
        let name = pod_name(index);
        pods.push((name.clone(), listener.local_addr()?));
        listeners.push((Arc::<str>::from(name), listener));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("pods".to_owned()).spawn(move || {
        runtime.block_on(async move {
            for (name, listener) in listeners {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    tokio::spawn(whoami::serve(listener, name));
                }
            }
            std::future::pending::<()>().await;
        });
    })?;
    Ok(pods)
}

/// A name as a Deployment gives it.
fn pod_name(index: usize) -> String {
    // The letters of Kubernetes' own random suffixes: no vowels, no words.
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let letter = |n: usize| char::from(LETTERS.get(n % LETTERS.len()).copied().unwrap_or(b'x'));
    let suffix: String =
        [index * 7 + 3, index * 11 + 5, index * 13 + 1, index * 17 + 9, index].map(letter).iter().collect();
    format!("nginx-test-6d4cf56db6-{suffix}")
}

fn slices(pods: &[(String, SocketAddr)]) -> String {
    let mut out = String::new();
    for (name, address) in pods {
        let _ = write!(
            out,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}\n  labels:\n    \
             kubernetes.io/service-name: nginx-test\naddressType: IPv4\nports:\n  - port: {}\nendpoints:\n  \
             - addresses: [{}]\n    conditions: {{ ready: true }}\n    targetRef: {{ kind: Pod, namespace: default, \
             name: {name} }}\n",
            address.port(),
            address.ip()
        );
    }
    out
}

fn lines(addresses: &run::Addresses, folder: &Path) -> String {
    let of = |name: &str| addresses.entrypoints.iter().find(|(n, _, _)| n == name).map(|(_, _, a)| *a);
    let (Some(http), Some(https)) = (of("web"), of("websecure")) else { return String::new() };
    format!(
        "Headgate {version} shares {HOST} out over {PODS} pods.

  http       http://{http}
  https      https://{https}
  dashboard  http://{admin}/
  manifests  {folder}  (edit them: changes apply at once)

Try:

  # one request; look at the pod's name and at Set-Cookie
  curl -si -H 'Host: {HOST}' http://{http}/

  # 30 new sessions: every pod gets exactly 2
  for i in $(seq 30); do curl -s -H 'Host: {HOST}' http://{http}/ | grep -o 'nginx-test-[^<]*' | head -1; done | sort | uniq -c

  # 10 requests of one session: all go to one pod (by https, for the cookie is Secure)
  jar=$(mktemp); for i in $(seq 10); do curl -sk -b $jar -c $jar --resolve {HOST}:{port}:127.0.0.1 https://{HOST}:{port}/ | grep -o 'nginx-test-[^<]*' | head -1; done | sort | uniq -c

  # what Headgate knows
  curl -s http://{admin}/api/services

Ctrl-C ends it.
",
        version = env!("CARGO_PKG_VERSION"),
        admin = addresses.admin,
        folder = folder.display(),
        port = https.port(),
    )
}
