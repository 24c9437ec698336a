//! The cluster's network: one bridge, and for each pod a network namespace with an address of its own on it. All of it
//! is inside the network namespace that `tests/cluster/run` has made, and ends with it.

use std::{
    io::Write as _,
    net::Ipv4Addr,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
};

/// The bridge's address: the node's, and the API server's.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

const BRIDGE: &str = "hg0";

/// Makes the bridge.
///
/// # Errors
/// What `ip` says.
pub(crate) fn start() -> Result<(), String> {
    batch(
        &[],
        &format!(
            "link set lo up\nlink add {BRIDGE} type bridge\naddr add {NODE}/16 dev {BRIDGE}\nlink set {BRIDGE} up\n"
        ),
    )
}

/// An address that no pod had before.
pub(crate) fn next_address() -> Ipv4Addr {
    static NEXT: AtomicU16 = AtomicU16::new(0x0102);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let [high, low] = next.to_be_bytes();
    // An address that ends in 0 or 255 is fine in a /16, and still looks wrong to some.
    if low == 0 || low == 255 { next_address() } else { Ipv4Addr::new(10, 244, high, low) }
}

/// The network namespace of a pod; taken down on drop.
#[derive(Debug)]
pub(crate) struct PodNetwork {
    name: String,
    link: String,
}

impl PodNetwork {
    /// A namespace in which `eth0` has this address.
    ///
    /// # Errors
    /// What `ip` says.
    pub(crate) fn new(address: Ipv4Addr) -> Result<Self, String> {
        let [_, _, high, low] = address.octets();
        let made = Self { name: name(address), link: format!("veth{high}.{low}") };
        let Self { name, link } = &made;
        batch(
            &[],
            &format!(
                "netns add {name}\nlink add {link} type veth peer name eth0 netns {name}\n\
                 link set {link} master {BRIDGE} up\n"
            ),
        )?;
        batch(
            &["-n", name],
            &format!(
                "link set lo up\naddr add {address}/16 dev eth0\nlink set eth0 up\nroute add default via {NODE}\n"
            ),
        )?;
        Ok(made)
    }

    /// What `nsenter --net=` takes, for the pod that has this address.
    pub(crate) fn path_of(address: Ipv4Addr) -> PathBuf {
        PathBuf::from("/run/netns").join(name(address))
    }
}

impl Drop for PodNetwork {
    fn drop(&mut self) {
        let _ = batch(&[], &format!("link del {}\nnetns del {}\n", self.link, self.name));
    }
}

fn name(address: Ipv4Addr) -> String {
    let [_, _, high, low] = address.octets();
    format!("pod-{high}-{low}")
}

fn batch(args: &[&str], lines: &str) -> Result<(), String> {
    let mut ip = Command::new("ip");
    ip.args(args).args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut run = || -> std::io::Result<std::process::Output> {
        let mut child = ip.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        child.wait_with_output()
    };
    let output = run().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {args:?} with\n{lines}says: {}", String::from_utf8_lossy(&output.stderr)))
}
