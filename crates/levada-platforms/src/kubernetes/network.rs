//! Whom a platform's pods may talk to: the state, and the containers of its graph.
//!
//! A NetworkPolicy knows networks and namespaces, no names of hosts. So an address is let through as it is,
//! a service of the cluster by its namespace, another name by the networks that the settings give for it;
//! what has none is let through by its port alone, and that is a finding.

use super::settings::PodSettings;
use core::net::IpAddr;
use levada_model::connection::{Connection, ContainerKind, Place};
use levada_planner::platform::Part;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses of the machine itself and of its cloud's metadata: no pod of ours has business there.
const LINK_LOCAL: [&str; 2] = ["169.254.0.0/16", "fe80::/10"];
/// The port of whoever speaks HTTPS.
const HTTPS: u16 = 443;
/// The ports of name servers, and of their pods behind a service.
const DNS: [u16; 2] = [53, 5_353];
/// The namespaces of a cluster's own name server.
const DNS_NAMESPACES: [&str; 2] = ["kube-system", "openshift-dns"];
/// The address of a name server on each node.
const DNS_ON_NODE: &str = "169.254.20.10/32";

/// A host and the ports that are asked for there.
type Hosts = BTreeMap<String, BTreeSet<u16>>;

/// Where a pod is to be let through.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    Networks(Vec<String>),
    Namespace(String),
    Anywhere,
}

/// Whom the pods of a part may talk to, and what of that can't be told apart.
pub struct Egress {
    hosts: Hosts,
    networks: BTreeMap<String, Vec<String>>,
    /// Where the state is said to be nowhere in particular: its port.
    state: Option<u16>,
}

impl Egress {
    /// Reads it off a part's nodes and the settings; `has_state`: whether the pods use the state.
    pub fn of(part: &Part<'_>, settings: &PodSettings, has_state: bool) -> Self {
        let mut hosts = Hosts::new();
        for connection in part.nodes.iter().filter_map(|node| node.connection()) {
            for (host, port) in hosts_of(connection) {
                hosts.entry(host).or_default().insert(port);
            }
        }
        let port = u16::try_from(settings.state.port).unwrap_or_default();
        let mut state = None;
        match settings.state.host.as_ref().filter(|_| has_state) {
            Some(host) => drop(hosts.entry(host.to_lowercase()).or_default().insert(port)),
            None => state = has_state.then_some(port),
        }
        let networks =
            settings.networks.iter().map(|(host, networks)| (host.to_lowercase(), networks.clone())).collect();
        Self { hosts, networks, state }
    }

    fn way(&self, host: &str) -> Way {
        if let Some(networks) = self.networks.get(host) {
            return Way::Networks(networks.clone());
        }
        match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => return Way::Networks(vec![format!("{address}/32")]),
            Ok(IpAddr::V6(address)) => return Way::Networks(vec![format!("{address}/128")]),
            Err(_) => {}
        }
        let words: Vec<&str> = host.split('.').collect();
        match words.as_slice() {
            [_, namespace, "svc"] | [_, namespace, "svc", "cluster", "local"] => {
                Way::Namespace((*namespace).to_owned())
            }
            _ => Way::Anywhere,
        }
    }

    /// Hosts that are let through by their port alone.
    pub fn wide(&self) -> Vec<String> {
        let wide = self.hosts.iter().filter(|(host, _)| self.way(host) == Way::Anywhere);
        let state = self.state.map(|_| "the state".to_owned());
        wide.map(|(host, _)| host.clone()).chain(state).collect()
    }

    /// The rules of a NetworkPolicy: one for the name server, then one for each way.
    pub fn rules(&self) -> Vec<Value> {
        let mut ways: BTreeMap<Way, BTreeSet<u16>> = BTreeMap::new();
        for (host, ports) in &self.hosts {
            ways.entry(self.way(host)).or_default().extend(ports);
        }
        if let Some(port) = self.state {
            ways.entry(Way::Anywhere).or_default().insert(port);
        }
        let servers =
            DNS_NAMESPACES.map(in_namespace).into_iter().chain([json!({ "ipBlock": { "cidr": DNS_ON_NODE } })]);
        let port = |port: u16| ["UDP", "TCP"].map(|protocol| json!({ "port": port, "protocol": protocol }));
        let names =
            json!({ "to": servers.collect::<Vec<_>>(), "ports": DNS.into_iter().flat_map(port).collect::<Vec<_>>() });
        let rule = |(way, ports): (&Way, &BTreeSet<u16>)| {
            let ports: Vec<Value> = ports.iter().map(|port| json!({ "port": port, "protocol": "TCP" })).collect();
            json!({ "to": way.peers(), "ports": ports })
        };
        std::iter::once(names).chain(ways.iter().map(rule)).collect()
    }
}

impl Way {
    fn peers(&self) -> Vec<Value> {
        let [v4, v6] = LINK_LOCAL;
        match self {
            Self::Networks(networks) => networks.iter().map(|it| json!({ "ipBlock": { "cidr": it } })).collect(),
            Self::Namespace(namespace) => vec![in_namespace(namespace)],
            Self::Anywhere => vec![
                // To some network plug-ins pods are in no network.
                json!({ "namespaceSelector": {} }),
                json!({ "ipBlock": { "cidr": "0.0.0.0/0", "except": [v4] } }),
                json!({ "ipBlock": { "cidr": "::/0", "except": [v6] } }),
            ],
        }
    }
}

/// Whoever is in a namespace.
pub fn in_namespace(name: &str) -> Value {
    json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } })
}

/// The hosts of a container in small letters, with the port of each.
fn hosts_of(connection: &Connection) -> Vec<(String, u16)> {
    let found = match &connection.place {
        Place::Server { host, port, .. } => vec![(host.clone(), port.unwrap_or_else(|| usual_port(connection.kind)))],
        Place::Snowflake { account, .. } => vec![(format!("{account}.snowflakecomputing.com"), HTTPS)],
        Place::Url { url, endpoint } => {
            endpoint.as_ref().or(Some(url)).and_then(|url| host_of_url(url)).into_iter().collect()
        }
        Place::Brokers { brokers } => brokers.iter().filter_map(|broker| host_and_port(broker, None)).collect(),
        Place::Path { .. } => Vec::new(),
    };
    found.into_iter().map(|(host, port)| (host.to_lowercase(), port)).collect()
}

fn usual_port(kind: ContainerKind) -> u16 {
    match kind {
        ContainerKind::Postgres => 5_432,
        ContainerKind::Redshift => 5_439,
        ContainerKind::Mysql | ContainerKind::Mariadb => 3_306,
        _ => HTTPS,
    }
}

/// `s3://bucket/prefix` → `bucket`, which only says that it is somewhere; `https://host:9000` → both.
fn host_of_url(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?;
    host_and_port(authority, Some(if scheme == "http" { 80 } else { HTTPS }))
}

fn host_and_port(text: &str, usual: Option<u16>) -> Option<(String, u16)> {
    match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => Some((host.to_owned(), port.parse().ok()?)),
        _ => Some((text.to_owned(), usual?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_host_and_port() {
        assert_eq!(host_of_url("s3://bucket/a/b"), Some(("bucket".to_owned(), 443)));
        assert_eq!(host_of_url("http://minio.data.svc:9000/x"), Some(("minio.data.svc".to_owned(), 9_000)));
        assert_eq!(host_and_port("broker:9092", None), Some(("broker".to_owned(), 9_092)));
        assert_eq!(host_and_port("broker", None), None);
    }
}
