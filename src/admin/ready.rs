//! Decides whether the process is ready: a master, and what reads need under the policy. Pure.

use crate::settings::ReadPolicy;
use crate::topology::{Role, Topology};

/// `Ok`, or why not in one line.
pub(super) fn verdict(topology: &Topology, policy: ReadPolicy) -> Result<(), String> {
    if topology.master.is_none() {
        let reasons: Vec<String> = topology
            .nodes
            .iter()
            .filter(|node| !node.usable)
            .map(|node| format!("{}: {}", node.name, node.reason))
            .collect();
        return Err(format!("no usable master ({})", reasons.join("; ")));
    }
    // Under every other policy the master serves reads when nobody else does.
    if policy != ReadPolicy::ReplicasOnly {
        return Ok(());
    }
    let mut replicas = topology
        .nodes
        .iter()
        .filter(|node| Some(node.id) != topology.master);
    if replicas.any(|node| node.usable && node.role == Role::Replica && node.weight > 0) {
        return Ok(());
    }
    Err("no usable replica, and reads.policy is replicas-only".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::commands::Table;
    use crate::topology::{Node, NodeId};

    fn node(id: u16, role: Role, usable: bool) -> Node {
        Node {
            id: NodeId(id),
            name: format!("n{id}:6379"),
            address: None,
            role,
            weight: 100,
            zone: None,
            tag: None,
            usable,
            reason: if usable {
                String::new()
            } else {
                "cannot connect: connection refused".to_owned()
            },
        }
    }

    fn topology(nodes: Vec<Node>) -> Topology {
        Topology {
            version: 1,
            master: nodes
                .iter()
                .find(|node| node.role == Role::Master && node.usable)
                .map(|node| node.id),
            nodes,
            greeting: None,
            table: Arc::new(Table::default()),
        }
    }

    #[test]
    fn without_a_master_it_says_what_each_node_lacks() {
        let reason = verdict(&topology(vec![node(0, Role::Unknown, false)]), ReadPolicy::Any).unwrap_err();
        assert_eq!(
            reason,
            "no usable master (n0:6379: cannot connect: connection refused)"
        );
    }

    #[test]
    fn only_replicas_only_needs_a_replica() {
        let alone = topology(vec![node(0, Role::Master, true), node(1, Role::Replica, false)]);
        for policy in [ReadPolicy::ReplicasFirst, ReadPolicy::Any, ReadPolicy::MasterOnly] {
            assert_eq!(verdict(&alone, policy), Ok(()));
        }
        assert!(
            verdict(&alone, ReadPolicy::ReplicasOnly)
                .unwrap_err()
                .contains("replica")
        );
        let full = topology(vec![node(0, Role::Master, true), node(1, Role::Replica, true)]);
        assert_eq!(verdict(&full, ReadPolicy::ReplicasOnly), Ok(()));
    }

    #[test]
    fn a_replica_of_weight_zero_serves_nobody() {
        let mut replica = node(1, Role::Replica, true);
        replica.weight = 0;
        let topology = topology(vec![node(0, Role::Master, true), replica]);
        assert!(verdict(&topology, ReadPolicy::ReplicasOnly).is_err());
    }
}
