//! The address of our Ingresses: given, or lent by a Service.
//!
//! Pure: takes what `--publish-address` or `--publish-service` says and what is known of the Service and the nodes,
//! gives addresses, or why there are none. Which field counts for which type of Service is Traefik's
//! `publishedService` (research/traefik.md §1.8), completed by what ingress-nginx does where Traefik has nothing.

use std::{collections::BTreeSet, sync::Arc};

use serde::Deserialize;

use super::Publish;
use crate::objects::{Address, Service, null_default};

/// Why there is no address to publish. Statuses that stand are left as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// It is not known yet; nothing to worry about.
    Unknown,
    /// What to tell the operator.
    Said(String),
}

/// The addresses to publish; never empty.
///
/// `service` is `None` until it was told and `Some(None)` when it does not exist; `nodes` are the addresses of nodes,
/// once they were listed.
///
/// # Errors
/// [`Lack`]
pub(super) fn wanted(
    publish: &Publish,
    service: Option<Option<&Service>>,
    nodes: Option<&[Address]>,
) -> Result<Vec<Address>, Lack> {
    let (found, lack) = match publish {
        Publish::Nothing => return Err(Lack::Unknown),
        Publish::Addresses(given) => (given.clone(), "no address is given".to_owned()),
        Publish::Service(key) => match service {
            None => return Err(Lack::Unknown),
            Some(None) => return Err(Lack::Said(format!("the Service {key} does not exist"))),
            Some(Some(service)) => {
                let (found, lack) = of_service(service, nodes)?;
                (found, format!("the Service {key} {lack}"))
            }
        },
    };
    let found = distinct(found);
    if found.is_empty() { Err(Lack::Said(lack)) } else { Ok(found) }
}

/// Whether the addresses of nodes are asked for.
pub(super) fn needs_nodes(publish: &Publish, service: Option<Option<&Service>>) -> bool {
    matches!((publish, service), (Publish::Service(_), Some(Some(service))) if &*service.spec.kind == "NodePort")
}

fn of_service(service: &Service, nodes: Option<&[Address]>) -> Result<(Vec<Address>, &'static str), Lack> {
    let spec = &service.spec;
    Ok(match &*spec.kind {
        "LoadBalancer" => (service.status.load_balancer.ingress.clone(), "has no address of a load balancer yet"),
        "NodePort" => (nodes.ok_or(Lack::Unknown)?.to_vec(), "is of type NodePort, and no node has an address"),
        "ExternalName" => {
            let name = Some(Arc::clone(&spec.external_name));
            (vec![Address { hostname: name, ip: None }], "is of type ExternalName and names no host")
        }
        _ if !spec.external_ips.is_empty() => (ips(&spec.external_ips), ""),
        _ if spec.cluster_ips.is_empty() => (ips(&[Arc::clone(&spec.cluster_ip)]), HEADLESS),
        _ => (ips(&spec.cluster_ips), HEADLESS),
    })
}

const HEADLESS: &str = "is headless: it has no address of its own";

/// A headless Service has the word None where others have an address.
fn ips(ips: &[Arc<str>]) -> Vec<Address> {
    ips.iter().filter(|ip| &***ip != "None").map(|ip| Address { ip: Some(Arc::clone(ip)), hostname: None }).collect()
}

/// In the order given, each once, without those that say nothing.
fn distinct(addresses: Vec<Address>) -> Vec<Address> {
    let mut seen = BTreeSet::from([Address::default()]);
    let without_empty = addresses.into_iter().map(|address| {
        let [ip, hostname] = [address.ip, address.hostname].map(|part| part.filter(|part| !part.is_empty()));
        Address { ip, hostname }
    });
    without_empty.filter(|address| seen.insert(address.clone())).collect()
}

/// Whether two lists name the same addresses, in whatever order and however often.
pub(super) fn same(one: &[Address], other: &[Address]) -> bool {
    one == other || one.iter().collect::<BTreeSet<_>>() == other.iter().collect()
}

/// `status` of a Node: the part of it that is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NodeStatus {
    /// `status.addresses`
    #[serde(deserialize_with = "null_default")]
    addresses: Vec<NodeAddress>,
}

/// `status.addresses[]` of a Node
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    #[serde(rename = "type")]
    kind: String,
    address: Arc<str>,
}

/// ExternalIPs of all nodes, or InternalIPs where no node has any.
pub(super) fn of_nodes(nodes: &[NodeStatus]) -> Vec<Address> {
    let of = |kind: &str| {
        let all = nodes.iter().flat_map(|node| &node.addresses).filter(|address| address.kind == kind);
        let mut found: Vec<Address> =
            all.map(|address| Address { ip: Some(Arc::clone(&address.address)), hostname: None }).collect();
        found.sort();
        distinct(found)
    };
    let external = of("ExternalIP");
    if external.is_empty() { of("InternalIP") } else { external }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::objects::Key;

    fn ip(ip: &str) -> Address {
        Address { ip: Some(ip.into()), hostname: None }
    }

    fn of(service: serde_json::Value) -> Result<Vec<Address>, Lack> {
        let service: Service = serde_json::from_value(service).unwrap();
        wanted(&Publish::Service(Key::new("ns", "s")), Some(Some(&service)), Some(&[ip("192.0.2.1")]))
    }

    #[test]
    fn each_type_of_service_has_its_field() {
        let lent = json!({"spec": {"type": "LoadBalancer", "clusterIPs": ["10.0.0.1"]}, "status": {"loadBalancer":
            {"ingress": [{"ip": "203.0.113.1", "ipMode": "VIP"}, {"hostname": "lb.test"}, {"ip": "203.0.113.1"}, {}]}}});
        let host = |host: &str| Address { hostname: Some(host.into()), ip: None };
        assert_eq!(of(lent), Ok(vec![ip("203.0.113.1"), host("lb.test")]));
        let external = json!({"spec": {"externalIPs": ["203.0.113.2"], "clusterIPs": ["10.0.0.1"]}});
        assert_eq!(of(external), Ok(vec![ip("203.0.113.2")]));
        let cluster =
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"]}});
        assert_eq!(of(cluster), Ok(vec![ip("10.0.0.1"), ip("fd00::1")]));
        assert_eq!(of(json!({"spec": {"clusterIP": "10.0.0.1"}})), Ok(vec![ip("10.0.0.1")]));
        assert_eq!(of(json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1"}})), Ok(vec![ip("192.0.2.1")]));
        assert_eq!(of(json!({"spec": {"type": "ExternalName", "externalName": "a.test"}})), Ok(vec![host("a.test")]));
    }

    #[test]
    fn where_there_is_none_it_is_said_why() {
        let said = |service| match of(service) {
            Err(Lack::Said(text)) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            said(json!({"spec": {"type": "LoadBalancer"}})),
            "the Service ns/s has no address of a load balancer yet"
        );
        let headless = "the Service ns/s is headless: it has no address of its own";
        assert_eq!(said(json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"]}})), headless);
        assert_eq!(said(json!({"spec": {"clusterIP": "None"}})), headless);
        said(json!({"spec": {"type": "ExternalName"}}));
        let publish = Publish::Service(Key::new("ns", "s"));
        assert_eq!(wanted(&publish, None, None), Err(Lack::Unknown));
        assert_eq!(wanted(&publish, Some(None), None), Err(Lack::Said("the Service ns/s does not exist".to_owned())));
        let nodeport: Service = serde_json::from_value(json!({"spec": {"type": "NodePort"}})).unwrap();
        assert_eq!(wanted(&publish, Some(Some(&nodeport)), None), Err(Lack::Unknown), "nodes were not listed yet");
        assert!(needs_nodes(&publish, Some(Some(&nodeport))));
        assert!(!needs_nodes(&publish, Some(Some(&Service::default()))));
        assert_eq!(wanted(&Publish::Nothing, Some(None), None), Err(Lack::Unknown));
    }

    #[test]
    fn external_addresses_of_nodes_come_before_internal_ones() {
        let node = |addresses| serde_json::from_value::<NodeStatus>(json!({"addresses": addresses})).unwrap();
        let inside = node(json!([{"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "b"}]));
        let both = node(
            json!([{"type": "InternalIP", "address": "10.0.0.1"}, {"type": "ExternalIP", "address": "203.0.113.1"}]),
        );
        let none = node(json!(null));
        assert_eq!(of_nodes(&[inside.clone(), both]), [ip("203.0.113.1")]);
        assert_eq!(of_nodes(&[inside.clone(), inside, none]), [ip("10.0.0.2")]);
        assert!(of_nodes(&[]).is_empty());
    }

    #[test]
    fn order_and_repeats_make_no_difference() {
        let (a, b) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert!(same(&[a.clone(), b.clone()], &[b.clone(), a.clone(), b.clone()]));
        assert!(!same(std::slice::from_ref(&a), &[a.clone(), b]));
        assert!(!same(&[], &[a]));
        assert!(same(&[], &[]));
    }
}
