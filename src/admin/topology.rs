//! `/topology`: the replication group as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::control::{Loss, NodeReport, Report, SentinelReport};
use crate::topology::{NodeId, Role, Topology};

/// What workers act on (version, master) with what probes know of each node.
pub(super) fn json(topology: &Topology, report: &Report) -> String {
    let master = topology
        .master
        .and_then(|id| topology.node(id))
        .map(|node| node.name.as_str());
    let nodes: Vec<Value> = report.nodes.iter().map(node).collect();
    let mut value = json!({ "version": topology.version, "master": master, "nodes": nodes });
    if !report.sentinels.is_empty() {
        value["sentinels"] = report.sentinels.iter().map(sentinel).collect();
    }
    if let Some(loss) = &report.losses.last {
        value["last_failover"] = failover(loss, &report.names);
    }
    format!("{value:#}\n")
}

/// What the last failover lost; times are before the new master was adopted.
fn failover(loss: &Loss, names: &[String]) -> Value {
    let name = |id: NodeId| names.get(id.index());
    let before = |moment: Duration| loss.adopted.saturating_sub(moment).as_millis() as u64;
    json!({
        "former": name(loss.former),
        "master": name(loss.master),
        "history_continued": loss.is_known,
        "writes_lost_at_least": loss.at_least,
        "writes_lost_at_most": loss.at_most,
        "acknowledged_from_ms_before": before(loss.since),
        "acknowledged_until_ms_before": before(loss.until),
    })
}

fn sentinel(sentinel: &SentinelReport) -> Value {
    json!({
        "name": sentinel.name,
        "master": sentinel.master,
        "epoch": sentinel.epoch,
        "failure": sentinel.failure.as_ref().map(|failure| &failure.message),
    })
}

fn node(node: &NodeReport) -> Value {
    json!({
        "id": node.id.0,
        "name": node.name,
        "address": node.address.map(|address| address.to_string()),
        "role": role(node.role),
        "usable": node.usable,
        "reason": (!node.usable).then_some(&node.reason),
        "weight": node.weight,
        "zone": node.zone,
        "configured": node.configured,
        "replid": node.replid,
        "offset": node.offset,
        "lag_bytes": node.lag,
        "lag_ms": node.behind.map(|behind| behind.as_millis() as u64),
        "clock_skew_ms": node.skew_us.map(|skew| skew / 1000),
        "link_up": node.link_up,
    })
}

pub(super) fn role(role: Role) -> &'static str {
    match role {
        Role::Master => "master",
        Role::Replica => "replica",
        Role::Unknown => "unknown",
    }
}
