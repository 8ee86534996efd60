//! Which node serves a read: the policy, the zone, and a choice between two. Pure: load and chance are arguments.

use super::pace::is_slow;
use crate::settings::ReadPolicy;
use crate::topology::{Node, NodeId, Role, Topology};

/// How busy a node is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    /// Replies to come from it.
    pub(super) inflight: u32,
    /// What it takes to answer reads, in microseconds.
    pub(super) us: u64,
}

/// What the request path needs of a topology, prepared once per snapshot.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// Where writes go.
    pub(super) master: Option<NodeId>,
    /// Nodes that may serve reads, with their weights; never empty nodes or nodes of weight 0. Those of the own zone
    /// stand first.
    readers: Vec<(NodeId, u32)>,
    /// How many of them are in the own zone.
    near: usize,
    /// The master serves a read that no reader can.
    fall_back: bool,
}

impl Route {
    pub(super) fn new(topology: &Topology, policy: ReadPolicy, zone: Option<&str>) -> Self {
        let usable = topology
            .nodes
            .iter()
            .filter(|node| node.usable && node.weight > 0);
        let readers = usable.filter(|node| match policy {
            ReadPolicy::ReplicasFirst | ReadPolicy::ReplicasOnly => node.role == Role::Replica,
            ReadPolicy::Any => node.role == Role::Replica || topology.master == Some(node.id),
            ReadPolicy::MasterOnly => topology.master == Some(node.id),
        });
        let is_near = |node: &&Node| zone.is_some() && node.zone.as_deref() == zone;
        let (near, far): (Vec<&Node>, Vec<&Node>) = readers.partition(is_near);
        Route {
            master: topology.master,
            near: near.len(),
            readers: near
                .into_iter()
                .chain(far)
                .map(|node| (node.id, node.weight))
                .collect(),
            fall_back: policy != ReadPolicy::ReplicasOnly,
        }
    }

    /// The node for a read: of the own zone, or else of the others, or else the master. `shut` says of a node that
    /// this worker cannot use it now.
    pub(super) fn reader(
        &self,
        load: impl Fn(NodeId) -> Load,
        shut: impl Fn(NodeId) -> bool,
        mut below: impl FnMut(usize) -> usize,
    ) -> Option<NodeId> {
        let (near, far) = self.readers.split_at(self.near);
        one_of(near, &load, &shut, &mut below)
            .or_else(|| one_of(far, &load, &shut, &mut below))
            .or_else(|| self.last_resort().filter(|node| !shut(*node)))
    }

    /// The master, where the policy lets it serve reads.
    pub(super) fn last_resort(&self) -> Option<NodeId> {
        self.master.filter(|_| self.fall_back)
    }
}

/// Of two drawn at random the one with less in flight for its weight; of those that are not shut, if any.
fn one_of(
    readers: &[(NodeId, u32)],
    load: impl Fn(NodeId) -> Load,
    shut: impl Fn(NodeId) -> bool,
    mut below: impl FnMut(usize) -> usize,
) -> Option<NodeId> {
    match readers {
        [] => None,
        [(only, _)] => (!shut(*only)).then_some(*only),
        readers => {
            let total: usize = readers.iter().map(|(_, weight)| *weight as usize).sum();
            let first = drawn(readers, None, below(total));
            let second = drawn(readers, Some(first), below(total - readers[first].1 as usize));
            let (one, other) = (readers[first], readers[second]);
            match (shut(one.0), shut(other.0)) {
                (false, false) => Some(lighter(one, other, &load)),
                (false, true) => Some(one.0),
                (true, false) => Some(other.0),
                (true, true) => readers.iter().map(|(node, _)| *node).find(|node| !shut(*node)),
            }
        }
    }
}

/// The reader on which `point` falls when each takes as much room as it weighs.
fn drawn(readers: &[(NodeId, u32)], without: Option<usize>, mut point: usize) -> usize {
    let mut last = 0;
    for (index, (_, weight)) in readers
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != without)
    {
        last = index;
        match point.checked_sub(*weight as usize) {
            Some(rest) => point = rest,
            None => break,
        }
    }
    last
}

/// The less loaded of two for their weights, where one is slow by the time that it takes as well; the first one where
/// there is no difference.
fn lighter(one: (NodeId, u32), other: (NodeId, u32), load: impl Fn(NodeId) -> Load) -> NodeId {
    let (first, second) = (load(one.0), load(other.0));
    let slow = is_slow(first.us, second.us) || is_slow(second.us, first.us);
    // load / weight, compared without a division.
    let cost = |load: Load, weight: u32| {
        if slow {
            (u64::from(load.inflight) + 1) * (load.us + 1) * u64::from(weight)
        } else {
            u64::from(load.inflight) * u64::from(weight)
        }
    };
    if cost(second, one.1) < cost(first, other.1) {
        other.0
    } else {
        one.0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::commands::Table;

    /// Node 0 is the master, the others are replicas; weight 0 stands for a replica that is not usable.
    fn topology(weights: &[u32]) -> Topology {
        let node = |(index, weight): (usize, &u32)| Node {
            id: NodeId(index as u16),
            name: format!("n{index}"),
            address: None,
            role: if index == 0 { Role::Master } else { Role::Replica },
            weight: *weight.max(&1),
            zone: (index > 0).then(|| format!("zone {}", index % 2)),
            tag: None,
            usable: *weight > 0,
            reason: String::new(),
        };
        Topology {
            version: 1,
            nodes: weights.iter().enumerate().map(node).collect(),
            master: (weights[0] > 0).then_some(NodeId(0)),
            greeting: None,
            table: Arc::new(Table::default()),
        }
    }

    fn shares(weights: &[u32], policy: ReadPolicy, shut: &[u16]) -> Vec<u32> {
        zoned_shares(weights, policy, shut, None)
    }

    fn zoned_shares(weights: &[u32], policy: ReadPolicy, shut: &[u16], zone: Option<&str>) -> Vec<u32> {
        let route = Route::new(&topology(weights), policy, zone);
        let mut random = SmallRng::seed_from_u64(7);
        let mut shares = vec![0; weights.len() + 1];
        for _ in 0..10_000 {
            let chosen = route.reader(
                |_| Load::default(),
                |node| shut.contains(&node.0),
                |bound| random.random_range(0..bound),
            );
            shares[chosen.map_or(weights.len(), NodeId::index)] += 1;
        }
        shares
    }

    fn about(share: u32, expected: u32) -> bool {
        share.abs_diff(expected) < 300
    }

    #[test]
    fn policies_choose_among_the_right_nodes() {
        use ReadPolicy::{Any, MasterOnly, ReplicasFirst, ReplicasOnly};
        for (weights, policy, shut, expected) in [
            (&[100, 100, 100][..], ReplicasFirst, &[][..], [0, 5_000, 5_000, 0]),
            (&[100, 100, 100], ReplicasOnly, &[], [0, 5_000, 5_000, 0]),
            (&[100, 100, 100], Any, &[], [3_333, 3_333, 3_333, 0]),
            (&[100, 100, 100], MasterOnly, &[], [10_000, 0, 0, 0]),
            (&[100, 0, 0], ReplicasFirst, &[], [10_000, 0, 0, 0]),
            (&[100, 0, 0], ReplicasOnly, &[], [0, 0, 0, 10_000]),
            (&[100, 100, 100], ReplicasFirst, &[1], [0, 0, 10_000, 0]),
            (&[100, 100, 100], ReplicasFirst, &[1, 2], [10_000, 0, 0, 0]),
            (&[100, 100, 100], ReplicasOnly, &[1, 2], [0, 0, 0, 10_000]),
            (&[0, 100, 100], ReplicasFirst, &[], [0, 5_000, 5_000, 0]),
            (&[100, 300, 100], ReplicasFirst, &[], [0, 7_500, 2_500, 0]),
            (&[100, 400, 100], Any, &[], [1_666, 6_666, 1_666, 0]),
        ] {
            let shares = shares(weights, policy, shut);
            let right = shares
                .iter()
                .zip(expected)
                .all(|(share, expected)| about(*share, expected));
            assert!(
                right,
                "{weights:?} {policy:?} {shut:?}: {shares:?} for {expected:?}"
            );
        }
    }

    #[test]
    fn the_less_loaded_for_its_weight_is_chosen() {
        let route = Route::new(&topology(&[100, 300, 100]), ReadPolicy::ReplicasFirst, None);
        let load = |node: NodeId| Load {
            inflight: [0, 5, 2][node.index()],
            us: [0, 200, 900][node.index()],
        };
        // 5 in flight at weight 300 are less than 2 at weight 100.
        assert_eq!(route.reader(load, |_| false, |_| 0), Some(NodeId(1)));
    }

    #[test]
    fn the_own_zone_reads_first_then_the_others_then_the_master() {
        use ReadPolicy::{Any, ReplicasFirst, ReplicasOnly};
        // Nodes 2 and 4 are in zone 0, 1 and 3 in zone 1; the master is in none.
        let weights = [100; 5];
        for (zone, policy, shut, expected) in [
            ("zone 0", ReplicasFirst, &[][..], [0, 0, 5_000, 0, 5_000, 0]),
            ("zone 1", Any, &[], [0, 5_000, 0, 5_000, 0, 0]),
            ("zone 0", ReplicasFirst, &[2], [0, 0, 0, 0, 10_000, 0]),
            ("zone 0", ReplicasFirst, &[2, 4], [0, 5_000, 0, 5_000, 0, 0]),
            ("zone 0", Any, &[2, 4], [3_333, 3_333, 0, 3_333, 0, 0]),
            ("zone 0", ReplicasFirst, &[1, 2, 3, 4], [10_000, 0, 0, 0, 0, 0]),
            ("zone 0", ReplicasOnly, &[1, 2, 3, 4], [0, 0, 0, 0, 0, 10_000]),
            ("no such", ReplicasOnly, &[], [0, 2_500, 2_500, 2_500, 2_500, 0]),
        ] {
            let shares = zoned_shares(&weights, policy, shut, Some(zone));
            let right = shares
                .iter()
                .zip(expected)
                .all(|(share, expected)| about(*share, expected));
            assert!(right, "{zone} {policy:?} {shut:?}: {shares:?} for {expected:?}");
        }
    }

    #[test]
    fn a_slow_one_is_chosen_only_where_the_other_has_much_to_do() {
        let route = Route::new(&topology(&[100, 100, 100]), ReadPolicy::ReplicasFirst, None);
        for (busy, chosen) in [(0, 2), (20, 2), (200, 1)] {
            let load = |node: NodeId| Load {
                inflight: [0, 0, busy][node.index()],
                us: [0, 20_000, 200][node.index()],
            };
            for first in [0, 150] {
                assert_eq!(
                    route.reader(load, |_| false, |bound| first.min(bound - 1)),
                    Some(NodeId(chosen))
                );
            }
        }
    }
}
