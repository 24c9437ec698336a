//! Flags, their environment variables, their defaults and their help: the only place where any of them stands.

use std::{net::SocketAddr, path::PathBuf, str::FromStr, thread, time::Duration};

use anyhow::bail;
use clap::{Args, ValueEnum, builder::FalseyValueParser};

use crate::{
    net::CidrSet,
    proxy::access_log,
    settings::{Claims, Entrypoint, Limits, Settings, UpstreamTls},
};

/// Our own `spec.controller`.
const CONTROLLER: &str = "headgate.dev/ingress-controller";
/// Traefik's, which files are served for as well.
const TRAEFIK_CONTROLLER: &str = "traefik.io/ingress-controller";

/// A duration as people write it: `500ms`, `10s`, `1m30s`, `1h`; `0` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let help = "write a duration such as 500ms, 10s or 1h, or 0 for none";
        let span: jiff::SignedDuration = text.parse().map_err(|_| help.to_owned())?;
        Duration::try_from(span).map(Self).map_err(|_| help.to_owned())
    }
}

/// What decides which Ingresses are served and how objects are read: shared by run, check and explain.
#[derive(Args, Clone, Debug)]
pub(super) struct ClaimArgs {
    /// spec.controller of IngressClasses that are ours [default: headgate.dev/ingress-controller; from files also
    /// traefik.io/ingress-controller]
    #[arg(long, value_name = "NAME", env = "HEADGATE_CONTROLLER_NAME", value_delimiter = ',')]
    controller_name: Vec<String>,
    /// Name of a class that is ours even while there is no IngressClass object of that name (repeatable)
    #[arg(long, value_name = "NAME", env = "HEADGATE_INGRESS_CLASS", value_delimiter = ',')]
    ingress_class: Vec<String>,
    /// Serve Ingresses that name no class (from files: always)
    #[arg(long, env = "HEADGATE_CLAIM_UNCLASSED", value_parser = FalseyValueParser::new())]
    claim_unclassed: bool,
    /// Allow Services of type ExternalName
    #[arg(long, env = "HEADGATE_ALLOW_EXTERNAL_NAME", value_parser = FalseyValueParser::new())]
    allow_external_name: bool,
    /// Whether Middlewares, ServersTransports and TLSOptions of other namespaces may be named, as Traefik lets them
    #[arg(long, value_name = "BOOL", env = "HEADGATE_ALLOW_CROSS_NAMESPACE", default_value_t = true,
          action = clap::ArgAction::Set)]
    allow_cross_namespace: bool,
    /// One more entrypoint: NAME=ADDR, or NAME=ADDR,tls for one that speaks TLS (repeatable)
    #[arg(long, value_name = "NAME=ADDR[,tls]", env = "HEADGATE_ENTRYPOINT", value_delimiter = ';', value_parser = entrypoint)]
    entrypoint: Vec<Entrypoint>,
}

impl ClaimArgs {
    /// From files, the defaults suit a folder that was copied out of a cluster.
    pub(super) fn claims(&self, files: bool, entrypoints: &[Entrypoint]) -> Claims {
        let controllers = if !self.controller_name.is_empty() {
            self.controller_name.clone()
        } else if files {
            vec![CONTROLLER.to_owned(), TRAEFIK_CONTROLLER.to_owned()]
        } else {
            vec![CONTROLLER.to_owned()]
        };
        Claims {
            controllers,
            classes: self.ingress_class.clone(),
            unclassed: self.claim_unclassed || files,
            any_when_no_class: files,
            external_name: self.allow_external_name,
            external_loopback: files,
            cross_namespace: self.allow_cross_namespace,
            entrypoints: entrypoints.iter().map(|e| (e.name.clone(), e.tls)).collect(),
            legacy_cookies: false,
        }
    }

    /// `web`, `websecure`, and what `--entrypoint` adds.
    pub(super) fn entrypoints(&self, http: SocketAddr, https: SocketAddr) -> anyhow::Result<Vec<Entrypoint>> {
        let mut all = vec![
            Entrypoint { name: "web".into(), address: http, tls: false },
            Entrypoint { name: "websecure".into(), address: https, tls: true },
        ];
        for entry in &self.entrypoint {
            if all.iter().any(|e| e.name == entry.name) || all.len() == 32 {
                bail!("--entrypoint {}: the name is taken, or there are more than 32", entry.name);
            }
            all.push(entry.clone());
        }
        Ok(all)
    }
}

fn entrypoint(text: &str) -> Result<Entrypoint, String> {
    let wrong = || "write NAME=ADDR, such as internal=127.0.0.1:8090, or NAME=ADDR,tls".to_owned();
    let (name, address) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
    let (address, tls) = match address.split_once(',') {
        None => (address, false),
        Some((address, "tls")) => (address, true),
        Some(_) => return Err(wrong()),
    };
    Ok(Entrypoint { name: name.to_owned(), address: address.parse().map_err(|_| wrong())?, tls })
}

fn cidr(text: &str) -> Result<String, String> {
    CidrSet::parse([text]).map(|_| text.to_owned())
}

/// `--access-log`
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum AccessLogFormat {
    #[default]
    Off,
    Common,
    Json,
}

impl From<AccessLogFormat> for access_log::Format {
    fn from(format: AccessLogFormat) -> Self {
        match format {
            AccessLogFormat::Off => Self::Off,
            AccessLogFormat::Common => Self::Common,
            AccessLogFormat::Json => Self::Json,
        }
    }
}

/// The cluster that objects come from, and what is written back to it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster (without --manifests)")]
pub(super) struct ClusterArgs {
    /// Kubeconfig with the API server to use [default: that of the cluster we run in]
    #[arg(long, value_name = "FILE", env = "HEADGATE_KUBECONFIG")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// Watch the objects of this namespace only (repeatable) [default: all]
    #[arg(long, value_name = "NAMESPACE", env = "HEADGATE_WATCH_NAMESPACE", value_delimiter = ',', value_parser = label)]
    pub(super) watch_namespace: Vec<String>,
    /// Watch only Ingresses with these labels, such as tier=public
    #[arg(long, value_name = "SELECTOR", env = "HEADGATE_INGRESS_SELECTOR")]
    pub(super) ingress_selector: Option<String>,
    /// Service whose address is written to the status of our Ingresses
    #[arg(long, value_name = "NAMESPACE/NAME", env = "HEADGATE_PUBLISH_SERVICE", value_parser = object,
          conflicts_with = "publish_address")]
    pub(super) publish_service: Option<ObjectName>,
    /// IP address or host name that is written to the status of our Ingresses (repeatable)
    #[arg(long, value_name = "ADDRESS", env = "HEADGATE_PUBLISH_ADDRESS", value_delimiter = ',', value_parser = host)]
    pub(super) publish_address: Vec<String>,
    /// Secret with the keys that sign sticky cookies, under the key `keys`, as in --cookie-keys-file; made if it is
    /// absent
    #[arg(long, value_name = "[NAMESPACE/]NAME", env = "HEADGATE_COOKIE_KEYS_SECRET", value_parser = object,
          conflicts_with = "cookie_keys_file")]
    pub(super) cookie_keys_secret: Option<ObjectName>,
    /// Lease that the replica holds which writes statuses and Events
    #[arg(long, value_name = "[NAMESPACE/]NAME", env = "HEADGATE_LEADER_LEASE", value_parser = object,
          default_value = "headgate")]
    pub(super) leader_lease: ObjectName,
    /// Write nothing to the cluster: no status, no Events, no Lease, no Secret
    #[arg(long, env = "HEADGATE_READ_ONLY", value_parser = FalseyValueParser::new())]
    pub(super) read_only: bool,
}

/// `NAME`, in our own namespace, or `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectName {
    pub(super) namespace: Option<String>,
    pub(super) name: String,
}

fn object(text: &str) -> Result<ObjectName, String> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(label(namespace)?), name),
        None => (None, text),
    };
    if name.is_empty() || name.len() > 253 || !name.split('.').all(|part| label(part).is_ok()) {
        return Err(format!("`{name}` is no name of an object: write NAME or NAMESPACE/NAME"));
    }
    Ok(ObjectName { namespace, name: name.to_owned() })
}

/// An RFC 1123 label, as names of namespaces are.
fn label(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fine = (1..=63).contains(&text.len()) && text.chars().all(inner);
    if !fine || text.starts_with('-') || text.ends_with('-') {
        return Err(format!(
            "`{text}` is no name of a namespace: lower-case letters, digits and -, at most 63 of them"
        ));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let name = |text: &str| text.len() <= 253 && text.split('.').all(|part| label(&part.to_ascii_lowercase()).is_ok());
    if text.parse::<std::net::IpAddr>().is_ok() || name(text) {
        return Ok(text.to_owned());
    }
    Err("write an IP address or a host name, without a port".to_owned())
}

/// Arguments of `headgate run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// Manifest file or directory, watched for changes (repeatable) [default: the Kubernetes API]
    #[arg(long, value_name = "PATH", env = "HEADGATE_MANIFESTS", value_delimiter = ',')]
    pub(super) manifests: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Address of entrypoint web (plain HTTP)
    #[arg(long, value_name = "ADDR", env = "HEADGATE_HTTP", default_value = "[::]:8080")]
    http: SocketAddr,
    /// Address of entrypoint websecure (TLS)
    #[arg(long, value_name = "ADDR", env = "HEADGATE_HTTPS", default_value = "[::]:8443")]
    https: SocketAddr,
    /// Address of the admin server: /healthz /readyz /metrics /api and the dashboard
    #[arg(long, value_name = "ADDR", env = "HEADGATE_ADMIN", default_value = "127.0.0.1:9000")]
    pub(super) admin: SocketAddr,
    /// Address with /healthz /readyz /metrics alone, for probes and Prometheus [default: none]
    #[arg(long, value_name = "ADDR", env = "HEADGATE_HEALTH")]
    pub(super) health: Option<SocketAddr>,
    #[command(flatten)]
    claims: ClaimArgs,
    /// Worker threads [default: one for each CPU]
    #[arg(long, value_name = "N", env = "HEADGATE_WORKERS")]
    workers: Option<usize>,
    /// Keys that sign sticky cookies: one base64 key of at least 32 bytes a line, the first signs, all verify;
    /// read again when it changes [default: a random key, so that sessions end with the process]
    #[arg(long, value_name = "FILE", env = "HEADGATE_COOKIE_KEYS_FILE")]
    pub(super) cookie_keys_file: Option<PathBuf>,
    /// Take Traefik's own unsigned cookies as pins: for the hours of a cut-over
    #[arg(long, env = "HEADGATE_ACCEPT_LEGACY_COOKIES", value_parser = FalseyValueParser::new())]
    accept_legacy_cookies: bool,
    /// Certificate (PEM) of hosts that have none of their own [default: self-signed at start]
    #[arg(long, value_name = "FILE", env = "HEADGATE_DEFAULT_CERT", requires = "default_key")]
    default_cert: Option<PathBuf>,
    /// Key (PEM) of --default-cert
    #[arg(long, value_name = "FILE", env = "HEADGATE_DEFAULT_KEY", requires = "default_cert")]
    default_key: Option<PathBuf>,
    /// Redirect plain HTTP to https, to this port [without a value: 443]
    #[arg(long, value_name = "PORT", env = "HEADGATE_REDIRECT_TO_HTTPS", num_args = 0..=1, default_missing_value = "443",
          require_equals = true)]
    redirect_to_https: Option<u16>,
    /// Peers (addresses or CIDRs) whose forwarded headers and PROXY headers are believed
    #[arg(long, value_name = "CIDR", env = "HEADGATE_TRUSTED_IPS", value_delimiter = ',', value_parser = cidr)]
    trusted_ips: Vec<String>,
    /// Accept the PROXY protocol, v1 and v2, from --trusted-ips
    #[arg(long, env = "HEADGATE_PROXY_PROTOCOL", value_parser = FalseyValueParser::new(), requires = "trusted_ips")]
    proxy_protocol: bool,
    /// More trusted roots (PEM) for backends that speak TLS
    #[arg(long, value_name = "FILE", env = "HEADGATE_UPSTREAM_CA_FILE")]
    upstream_ca_file: Option<PathBuf>,
    /// Believe any certificate of a backend
    #[arg(long, env = "HEADGATE_UPSTREAM_INSECURE_SKIP_VERIFY", value_parser = FalseyValueParser::new())]
    upstream_insecure_skip_verify: bool,
    #[command(flatten)]
    limits: LimitArgs,
    /// Access log on standard output
    #[arg(long, value_name = "FORMAT", env = "HEADGATE_ACCESS_LOG", value_enum, default_value_t)]
    pub(super) access_log: AccessLogFormat,
    /// Own log, on standard error: error, warn, info, debug, or a filter such as headgate::proxy=debug
    #[arg(long, value_name = "FILTER", env = "HEADGATE_LOG_LEVEL", default_value = "info")]
    pub(super) log_level: String,
    /// Form of the own log
    #[arg(long, value_name = "FORMAT", env = "HEADGATE_LOG_FORMAT", value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
}

/// `--log-format`
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// A limit on every wait; 0 is none.
#[derive(Args, Debug)]
struct LimitArgs {
    /// Longest TLS handshake, PROXY header included
    #[arg(long, value_name = "TIME", env = "HEADGATE_HANDSHAKE_TIMEOUT", default_value = "10s")]
    handshake_timeout: Span,
    /// Longest wait for the rest of a request's head
    #[arg(long, value_name = "TIME", env = "HEADGATE_HEADER_TIMEOUT", default_value = "10s")]
    header_timeout: Span,
    /// How long an idle client connection is kept
    #[arg(long, value_name = "TIME", env = "HEADGATE_KEEPALIVE_TIMEOUT", default_value = "75s")]
    keepalive_timeout: Span,
    /// Longest wait between two pieces of a body, either way
    #[arg(long, value_name = "TIME", env = "HEADGATE_BODY_TIMEOUT", default_value = "60s")]
    body_timeout: Span,
    /// Longest connect to an endpoint, TLS included
    #[arg(long, value_name = "TIME", env = "HEADGATE_CONNECT_TIMEOUT", default_value = "3s")]
    connect_timeout: Span,
    /// Longest wait for the first byte of an answer
    #[arg(long, value_name = "TIME", env = "HEADGATE_RESPONSE_TIMEOUT", default_value = "60s")]
    response_timeout: Span,
    /// How long an idle connection to an endpoint is kept
    #[arg(long, value_name = "TIME", env = "HEADGATE_UPSTREAM_IDLE_TIMEOUT", default_value = "4s")]
    upstream_idle_timeout: Span,
    /// Longest silence of a tunnel (WebSocket)
    #[arg(long, value_name = "TIME", env = "HEADGATE_TUNNEL_TIMEOUT", default_value = "1h")]
    tunnel_timeout: Span,
    /// From SIGTERM until no more connections are accepted [default: 5s in a cluster, 0 from files]
    #[arg(long, value_name = "TIME", env = "HEADGATE_DRAIN_DELAY")]
    drain_delay: Option<Span>,
    /// How long requests in flight may take after that
    #[arg(long, value_name = "TIME", env = "HEADGATE_DRAIN_TIMEOUT", default_value = "20s")]
    drain_timeout: Span,
    /// Largest head of a request or answer, in bytes
    #[arg(long, value_name = "BYTES", env = "HEADGATE_MAX_HEAD_BYTES", default_value_t = 65_536)]
    max_head_bytes: usize,
}

impl LimitArgs {
    fn limits(&self, files: bool) -> Limits {
        // In a cluster, others go on sending until the end of this pod is known everywhere.
        let drain_delay = if files { Duration::ZERO } else { Duration::from_secs(5) };
        Limits {
            handshake: self.handshake_timeout.0,
            header: self.header_timeout.0,
            keepalive: self.keepalive_timeout.0,
            body: self.body_timeout.0,
            connect: self.connect_timeout.0,
            response: self.response_timeout.0,
            upstream_idle: self.upstream_idle_timeout.0,
            tunnel: self.tunnel_timeout.0,
            drain_delay: self.drain_delay.map_or(drain_delay, |span| span.0),
            drain: self.drain_timeout.0,
            head_bytes: self.max_head_bytes.max(8_192),
        }
    }
}

impl RunArgs {
    /// The flags as settings.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let entrypoints = self.claims.entrypoints(self.http, self.https)?;
        let files = self.reads_files();
        let mut claims = self.claims.claims(files, &entrypoints);
        claims.legacy_cookies = self.accept_legacy_cookies;
        let trusted = CidrSet::parse(self.trusted_ips.iter().map(String::as_str));
        let trusted = trusted.map_err(|why| anyhow::anyhow!("--trusted-ips: {why}"))?;
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Settings {
            claims,
            entrypoints,
            workers: self.workers.unwrap_or(cores).clamp(1, 1_024),
            limits: self.limits.limits(files),
            trusted,
            proxy_protocol: self.proxy_protocol,
            redirect_to_https: self.redirect_to_https,
            upstream_tls: UpstreamTls {
                ca_file: self.upstream_ca_file.clone(),
                insecure_skip_verify: self.upstream_insecure_skip_verify,
            },
            hostname: hostname(),
        })
    }

    /// Whether objects come from files, not from a cluster.
    pub(super) fn reads_files(&self) -> bool {
        !self.manifests.is_empty()
    }

    /// `--default-cert` and `--default-key`.
    pub(super) fn default_certificate(&self) -> Option<(&std::path::Path, &std::path::Path)> {
        self.default_cert.as_deref().zip(self.default_key.as_deref())
    }
}

/// This host's name, as pods know it.
fn hostname() -> String {
    let from_kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = std::env::var("HOSTNAME").ok().or_else(from_kernel).unwrap_or_default();
    let name: String = name.trim().chars().filter(char::is_ascii_graphic).collect();
    if name.is_empty() { "headgate".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_objects() {
        let name = |namespace: Option<&str>, name: &str| {
            Ok(ObjectName { namespace: namespace.map(str::to_owned), name: name.to_owned() })
        };
        assert_eq!(object("a.b-c"), name(None, "a.b-c"));
        assert_eq!(object("ns/a"), name(Some("ns"), "a"));
        for text in ["", "/", "a/", "/a", "a/b/c", "A", "a b", "-a", "ns.x/a"] {
            assert!(object(text).is_err(), "{text}");
        }
        for text in ["192.0.2.1", "2001:db8::1", "lb.example.com", "LB.example.com"] {
            assert!(host(text).is_ok(), "{text}");
        }
        for text in ["", "http://x", "x:80", "a b", ".x"] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("1m30s", 90_000), ("1h", 3_600_000), ("0", 0)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for text in ["10", "-1s", "x", ""] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
