//! What Headgate has asked the API server, by the server's own audit log.

use serde_json::Value;

use super::Cluster;

/// Headgate's account, wherever deploy/ is applied unchanged.
pub(crate) const ACCOUNT: &str = "system:serviceaccount:headgate:headgate";

/// A request of Headgate that the server has answered (of a watch: to which it has begun to answer).
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) verb: String,
    /// With the subresource: `ingresses/status`.
    pub(crate) resource: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) code: i64,
}

/// All that Headgate has asked in this run, oldest first, without the ends of watches.
pub(crate) fn asked(cluster: &Cluster) -> Vec<Asked> {
    let audit = cluster.audit();
    let own = audit.iter().filter(|event| event["user"]["username"] == ACCOUNT);
    own.filter(|event| event["verb"] != "watch" || event["stage"] == "ResponseStarted").map(read).collect()
}

fn read(event: &Value) -> Asked {
    let of = |name: &str| event["objectRef"][name].as_str().unwrap_or_default().to_owned();
    let resource = match &*of("subresource") {
        "" => of("resource"),
        sub => format!("{}/{sub}", of("resource")),
    };
    Asked {
        verb: event["verb"].as_str().unwrap_or_default().to_owned(),
        resource,
        namespace: of("namespace"),
        name: of("name"),
        code: event["responseStatus"]["code"].as_i64().unwrap_or_default(),
    }
}

impl Asked {
    /// Whether it was to change something.
    pub(crate) fn writes(&self) -> bool {
        !matches!(&*self.verb, "get" | "list" | "watch")
    }
}
