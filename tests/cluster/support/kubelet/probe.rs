//! Probes, really asked: HTTP and TCP, from the node to the pod's address.

use std::{net::Ipv4Addr, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};

use super::{super::process::Process, Record, life::set_ready, status::State};

/// Until a container is ready for the first time it is asked this often: a real kubelet asks at once, then each period.
const FAST: Duration = Duration::from_millis(100);

/// Follows a running container with its probes, for ever: readiness into the pod's state, a failing liveness ends the
/// process.
pub(super) async fn follow(container: &Container, record: &Record, state: &watch::Sender<State>, process: &Process) {
    if let Some(probe) = &container.startup_probe {
        while !ask(probe, container, record.address).await {
            sleep(FAST).await;
        }
    }
    tokio::join!(readiness(container, record, state), liveness(container, record, process));
}

async fn readiness(container: &Container, record: &Record, state: &watch::Sender<State>) {
    let Some(probe) = &container.readiness_probe else {
        set_ready(record, state, true);
        return std::future::pending().await;
    };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let (mut ready, mut streak) = (false, 0);
    let mut ever = false;
    loop {
        let good = ask(probe, container, record.address).await;
        streak = if good == ready { 0 } else { streak + 1 };
        let threshold = if ready { probe.failure_threshold.unwrap_or(3) } else { probe.success_threshold.unwrap_or(1) };
        if streak >= threshold {
            (ready, streak) = (good, 0);
            ever |= ready;
            set_ready(record, state, ready);
        }
        sleep(if ever { seconds(probe.period_seconds, 10) } else { FAST }).await;
    }
}

async fn liveness(container: &Container, record: &Record, process: &Process) {
    let Some(probe) = &container.liveness_probe else { return std::future::pending().await };
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut failures = 0;
    loop {
        sleep(seconds(probe.period_seconds, 10)).await;
        failures = if ask(probe, container, record.address).await { 0 } else { failures + 1 };
        if failures >= probe.failure_threshold.unwrap_or(3) {
            process.signal("KILL");
        }
    }
}

async fn ask(probe: &Probe, container: &Container, address: Ipv4Addr) -> bool {
    let limit = seconds(probe.timeout_seconds, 1);
    let asked = async {
        if let Some(action) = &probe.http_get {
            let host = action.host.clone().unwrap_or_else(|| address.to_string());
            let path = action.path.as_deref().unwrap_or("/");
            return http(address, port(&action.port, container)?, &host, path).await;
        }
        let action = probe.tcp_socket.as_ref()?;
        let port = port(&action.port, container)?;
        TcpStream::connect((address, port)).await.ok().map(|_| true)
    };
    timeout(limit, asked).await.ok().flatten().unwrap_or(false)
}

async fn http(address: Ipv4Addr, port: u16, host: &str, path: &str) -> Option<bool> {
    let mut stream = TcpStream::connect((address, port)).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kube-probe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    // `HTTP/1.1 200`
    let mut line = [0; 12];
    stream.read_exact(&mut line).await.ok()?;
    let status: u16 = std::str::from_utf8(&line).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some((200..400).contains(&status))
}

fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    match port {
        IntOrString::Int(number) => u16::try_from(*number).ok(),
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?;
            u16::try_from(named.container_port).ok()
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
}
