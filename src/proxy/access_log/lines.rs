//! The two forms of a line: a record in, text out. Runs on the writer thread.

use std::{
    borrow::Cow,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Version};
use jiff::Timestamp;
use serde::Serialize;

use super::Record;

/// `host - user [date] "METHOD path PROTO" status size "referer" "agent" count "route" "endpoint" Nms`; what is not
/// known is a dash. Writing to a `String` can't fail.
pub(super) fn common(text: &mut String, record: &Record, count: u64) {
    let _ = write!(text, "{} - ", record.client);
    match record.user.as_deref() {
        None | Some("") => text.push('-'),
        // The one field without quotes, so that a space in it would shift the others.
        Some(user) => user.bytes().for_each(|byte| escape(text, byte, byte == b' ')),
    }
    let _ = write!(text, " [{}] \"", timestamp(record.start).strftime("%d/%b/%Y:%H:%M:%S +0000"));
    record.method.as_str().bytes().for_each(|byte| escape(text, byte, false));
    text.push(' ');
    record.target.as_str().bytes().for_each(|byte| escape(text, byte, false));
    let _ = write!(text, " {}\" {} {} ", protocol(record.version), record.status, record.bytes);
    quoted(text, record.referer.as_ref().map(HeaderValue::as_bytes));
    text.push(' ');
    quoted(text, record.user_agent.as_ref().map(HeaderValue::as_bytes));
    let _ = write!(text, " {count} ");
    match &record.route {
        None => text.push_str("\"-\""),
        Some(route) => {
            let _ = write!(text, "\"{}/{}\"", route.ingress_namespace, route.ingress);
        }
    }
    match &record.upstream {
        None => text.push_str(" \"-\""),
        Some(upstream) => {
            let _ = write!(text, " \"{}://{}\"", upstream.scheme, upstream.address);
        }
    }
    let _ = write!(text, " {}ms", record.duration.as_millis());
}

fn quoted(text: &mut String, value: Option<&[u8]>) {
    text.push('"');
    match value {
        None | Some(b"") => text.push('-'),
        Some(value) => value.iter().for_each(|byte| escape(text, *byte, false)),
    }
    text.push('"');
}

/// One byte of what a client sent: quotes, backslashes and all that is not printable ASCII are escaped, so that nobody
/// can forge a line or a field, or steer a terminal.
fn escape(text: &mut String, byte: u8, always: bool) {
    match byte {
        b'"' => text.push_str("\\\""),
        b'\\' => text.push_str("\\\\"),
        0x20..=0x7e if !always => text.push(char::from(byte)),
        _ => {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}

/// Traefik's names. A field that is not known is left out.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonLine<'a> {
    client_host: IpAddr,
    client_username: &'a str,
    downstream_content_size: u64,
    downstream_status: u16,
    duration: u64,
    #[serde(flatten)]
    route: Option<JsonRoute<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin_duration: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_name: Option<&'a str>,
    request_count: u64,
    request_host: &'a str,
    request_method: &'a str,
    request_path: &'a str,
    request_protocol: &'static str,
    request_scheme: &'static str,
    retry_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_addr: Option<SocketAddr>,
    #[serde(rename = "StartUTC")]
    start_utc: String,
    #[serde(rename = "TLSVersion", skip_serializing_if = "Option::is_none")]
    tls_version: Option<&'static str>,
    #[serde(rename = "entryPointName")]
    entry_point_name: &'a str,
    #[serde(rename = "level")]
    level: &'static str,
    #[serde(rename = "msg")]
    msg: &'static str,
    #[serde(rename = "request_Referer", skip_serializing_if = "Option::is_none")]
    referer: Option<Cow<'a, str>>,
    #[serde(rename = "request_User-Agent", skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
    #[serde(rename = "time")]
    time: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct JsonRoute<'a> {
    kubernetes_ingress_namespace: &'a str,
    kubernetes_ingress_name: &'a str,
    kubernetes_service_namespace: &'a str,
    kubernetes_service_name: &'a str,
    kubernetes_service_port: &'a str,
}

/// One object; what `common` shows and more.
pub(super) fn json(text: &mut String, record: &Record, count: u64) {
    let line = JsonLine {
        client_host: record.client,
        client_username: record.user.as_deref().unwrap_or("-"),
        downstream_content_size: record.bytes,
        downstream_status: record.status,
        duration: nanoseconds(record.duration),
        route: record.route.as_ref().map(|route| JsonRoute {
            kubernetes_ingress_namespace: &route.ingress_namespace,
            kubernetes_ingress_name: &route.ingress,
            kubernetes_service_namespace: &route.service_namespace,
            kubernetes_service_name: &route.service,
            kubernetes_service_port: &route.port,
        }),
        origin_duration: record.upstream.as_ref().map(|upstream| nanoseconds(upstream.duration)),
        pod_name: record.upstream.as_ref().map(|upstream| &*upstream.pod).filter(|pod| !pod.is_empty()),
        request_count: count,
        request_host: &record.host,
        request_method: record.method.as_str(),
        request_path: record.target.as_str(),
        request_protocol: protocol(record.version),
        request_scheme: if record.tls_version.is_some() { "https" } else { "http" },
        retry_attempts: record.retries,
        service_addr: record.upstream.as_ref().map(|upstream| upstream.address),
        start_utc: timestamp(record.start).to_string(),
        tls_version: record.tls_version,
        entry_point_name: &record.entrypoint,
        level: "info",
        msg: "",
        referer: record.referer.as_ref().map(lossy),
        user_agent: record.user_agent.as_ref().map(lossy),
        time: timestamp(record.start.checked_add(record.duration).unwrap_or(record.start)).to_string(),
    };
    // Every field is a string or a number: there is nothing that could fail.
    text.push_str(&serde_json::to_string(&line).unwrap_or_default());
}

fn lossy(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
