//! `/metrics`: every number of the process, summed over the workers when it is asked for.
//!
//! Each metric is declared once, here, with its help. Nothing is kept: the counters live with the
//! workers, and a scrape reads them.

mod process;
mod write;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};

use super::State;
use super::topology::role;
use crate::commands::Class;
use crate::control::NodeReport;
use crate::stats::{Fault, LATENCY_BOUNDS_US, Limit, NodeStats, WorkerStats};
use crate::topology::{MAX_NODES, NodeId, Role};
use write::Writer;

/// A registry whose one collector reads everything at each scrape.
pub(super) fn registry(state: State) -> Registry {
    let mut registry = Registry::with_prefix("redis_ambassador");
    registry.register_collector(Box::new(Everything(state)));
    registry
}

#[derive(Debug)]
struct Everything(State);

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let mut writer = Writer(&mut encoder);
        self.clients(&mut writer)?;
        self.commands(&mut writer)?;
        self.connections(&mut writer)?;
        self.latency(&mut writer)?;
        self.group(&mut writer)?;
        self.losses(&mut writer)?;
        process::write(&mut writer)
    }
}

impl Everything {
    fn sum(&self, pick: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.0
            .stats
            .iter()
            .map(|stats| pick(stats))
            .fold(0, u64::wrapping_add)
    }

    /// A sum for each node that any worker ever had to do with, also for those that left.
    fn per_node(&self, pick: impl Fn(&NodeStats) -> u64) -> Vec<(String, u64)> {
        let sum = |id| {
            let seen: Vec<u64> = self
                .0
                .stats
                .iter()
                .filter_map(|stats| stats.seen(id))
                .map(&pick)
                .collect();
            (!seen.is_empty()).then(|| seen.into_iter().fold(0, u64::wrapping_add))
        };
        self.names()
            .filter_map(|(id, name)| Some((name, sum(id)?)))
            .collect()
    }

    fn names(&self) -> impl Iterator<Item = (NodeId, String)> {
        let names = self.0.report.borrow().names.clone();
        (0..MAX_NODES as u16).map(NodeId).zip(names)
    }

    fn clients(&self, writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
        writer.gauge(
            "clients",
            "Clients connected now",
            None,
            self.sum(|s| s.clients.read()),
        )?;
        writer.counter(
            "clients_accepted",
            "Clients ever accepted",
            None,
            self.sum(|s| s.accepted.read()),
        )?;
        let received = self.sum(|s| s.bytes_in.read());
        let sent = self.sum(|s| s.bytes_out.read());
        writer.counters(
            "client",
            "Bytes received from and sent to clients",
            Some(&Unit::Bytes),
            [(["received"], received), (["sent"], sent)],
            ["direction"],
        )?;
        writer.gauge(
            "buffered",
            "Bytes held in buffers for clients and nodes now",
            Some(&Unit::Bytes),
            self.sum(|s| s.buffered.read()),
        )?;
        writer.gauge(
            "held_commands",
            "Commands that wait for a node now",
            None,
            self.sum(|s| s.held.read()),
        )?;
        writer.gauge(
            "held",
            "Bytes of the commands that wait for a node now",
            Some(&Unit::Bytes),
            self.sum(|s| s.held_bytes.read()),
        )?;
        writer.counters(
            "limits_hit",
            "Times a client or connection ran into a limit of the configuration",
            None,
            Limit::ALL.map(|limit| ([limit.name()], self.sum(|s| s.limits[limit as usize].read()))),
            ["limit"],
        )?;
        writer.counter(
            "panics",
            "Panics caught; each cost one client",
            None,
            self.sum(|s| s.panics.read()),
        )
    }

    fn commands(&self, writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
        let by_class = Class::ALL.into_iter().flat_map(|class| {
            let nodes = self.per_node(|node| node.commands[class.index()].read());
            nodes
                .into_iter()
                .map(move |(name, n)| ([class.name().to_owned(), name], n))
        });
        writer.counters(
            "commands",
            "Commands sent to nodes, by class and node",
            None,
            by_class,
            ["class", "node"],
        )?;
        writer.counters(
            "local_commands",
            "Commands that the ambassador answered itself, by class",
            None,
            Class::ALL.map(|class| ([class.name()], self.sum(|s| s.local[class.index()].read()))),
            ["class"],
        )?;
        writer.counters(
            "errors",
            "Errors that clients saw and that no node replied, by whose fault they are",
            None,
            Fault::ALL.map(|fault| ([fault.name()], self.sum(|s| s.errors[fault as usize].read()))),
            ["fault"],
        )?;
        writer.counter(
            "reads_retried",
            "Reads sent again to another node",
            None,
            self.sum(|s| s.reads_retried.read()),
        )?;
        writer.counter(
            "resubscribed",
            "Subscribers that were subscribed anew, because their node was lost or no master any more",
            None,
            self.sum(|s| s.resubscribed.read()),
        )?;
        writer.counter(
            "reads_hedged",
            "Reads sent to a second node as well, because the first one took long",
            None,
            self.sum(|s| s.reads_hedged.read()),
        )?;
        writer.counter(
            "hedges_won",
            "Times that the second node's answer came first",
            None,
            self.sum(|s| s.hedges_won.read()),
        )?;
        writer.counter(
            "scans_restarted",
            "Iterations (SCAN and its kin) begun anew on another node, because theirs was gone",
            None,
            self.sum(|s| s.scans_restarted.read()),
        )?;
        writer.counter(
            "writes_in_doubt",
            "Writes sent to a node that was lost before it replied",
            None,
            self.sum(|s| s.in_doubt.read()),
        )?;
        writer.counter(
            "commands_reclassified",
            "Commands of class read that a replica answered READONLY",
            None,
            self.sum(|s| s.reclassified.read()),
        )
    }

    /// What failovers lost.
    fn losses(&self, writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
        let losses = self.0.report.borrow().losses.clone();
        let acknowledged = self.per_node(|node| node.acknowledged.read());
        writer.counters(
            "writes_acknowledged",
            "Commands that may write and that the node answered without an error",
            None,
            acknowledged.into_iter().map(|(name, n)| ([name], n)),
            ["node"],
        )?;
        writer.counters(
            "failovers",
            "Changes of the master's history, by what became of the writes acknowledged before: none lost, some lost at most, not to be told",
            None,
            [
                (["none"], losses.without),
                (["some"], losses.with),
                (["unknown"], losses.unknown),
            ],
            ["lost"],
        )?;
        writer.counters(
            "writes_lost",
            "Writes that were acknowledged and that failovers lost: at least, and at most",
            None,
            [(["least"], losses.at_least), (["most"], losses.at_most)],
            ["bound"],
        )
    }

    fn connections(&self, writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name, help, pick: fn(&NodeStats) -> u64| {
            let values = self.per_node(pick).into_iter().map(|(name, n)| ([name], n));
            writer.gauges(name, help, None, values, ["node"])
        };
        gauge("links", "Shared connections to the node that are up", |node| {
            node.links.read()
        })?;
        gauge(
            "leases",
            "Own connections to the node in use by a client",
            |node| node.leases.read(),
        )?;
        gauge(
            "warm_leases",
            "Own connections to the node that wait for a client",
            |node| node.warm.read(),
        )?;
        let mut counter = |name, help, pick: fn(&NodeStats) -> u64| {
            let values = self.per_node(pick).into_iter().map(|(name, n)| ([name], n));
            writer.counters(name, help, None, values, ["node"])
        };
        counter("node_connects", "Connections opened to the node", |node| {
            node.connects.read()
        })?;
        counter(
            "node_failures",
            "Connections to the node that failed or broke",
            |node| node.failures.read(),
        )?;
        counter(
            "node_ejections",
            "Times that a worker left the node out of reads for a while, as it failed at them",
            |node| node.ejections.read(),
        )?;
        counter(
            "node_error_replies",
            "Error replies received from the node",
            |node| node.error_replies.read(),
        )?;
        let sent = self.per_node(|node| node.bytes_sent.read());
        let received = self.per_node(|node| node.bytes_received.read());
        let sent = sent.into_iter().map(|(name, n)| (["sent".to_owned(), name], n));
        let received = received
            .into_iter()
            .map(|(name, n)| (["received".to_owned(), name], n));
        writer.counters(
            "node",
            "Bytes sent to and received from the node",
            Some(&Unit::Bytes),
            sent.chain(received),
            ["direction", "node"],
        )
    }

    fn latency(&self, writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
        let histograms = self.names().filter_map(|(id, name)| {
            let seen: Vec<&NodeStats> = self.0.stats.iter().filter_map(|stats| stats.seen(id)).collect();
            if seen.is_empty() {
                return None;
            }
            let counts = (0..=LATENCY_BOUNDS_US.len())
                .map(|bucket| seen.iter().map(|node| node.latency.buckets[bucket].read()).sum())
                .collect();
            let sum_us: u64 = seen.iter().map(|node| node.latency.sum_us.read()).sum();
            Some((name, counts, sum_us))
        });
        writer.histograms(
            "node_latency",
            "Time from a command's arrival until its reply was handed on, by node",
            histograms,
        )
    }

    fn group(&self, writer: &mut Writer<'_, '_>) -> Result<(), std::fmt::Error> {
        let report = self.0.report.borrow().clone();
        let version = self.0.topology.borrow().version;
        writer.gauge(
            "topology_version",
            "Snapshots of the group published to the workers",
            None,
            version,
        )?;
        let mut gauge = |name, help, unit, pick: fn(&NodeReport) -> Option<u64>| {
            let values = report
                .nodes
                .iter()
                .filter_map(|node| Some(([node.name.as_str()], pick(node)?)));
            writer.gauges(name, help, unit, values, ["node"])
        };
        gauge("node_usable", "1 when the node may get commands", None, |node| {
            Some(node.usable.into())
        })?;
        gauge(
            "node_offset",
            "What the node has written (master) or applied (replica) of its replication history",
            Some(&Unit::Bytes),
            |node| node.offset,
        )?;
        gauge(
            "node_lag",
            "How far the node is behind the master, both as they were probed last",
            Some(&Unit::Bytes),
            |node| node.lag,
        )?;
        let times = report.nodes.iter();
        writer.gauges(
            "node_lag_time",
            "How far the node is behind the master in time, at most, both as they were probed last",
            Some(&Unit::Seconds),
            times.filter_map(|node| Some(([node.name.as_str()], node.behind?.as_secs_f64()))),
            ["node"],
        )?;
        let clocks = report.nodes.iter();
        writer.gauges(
            "node_clock_skew",
            "By how much the node's clock is ahead of this machine's, as far as a probe can tell",
            Some(&Unit::Seconds),
            clocks.filter_map(|node| Some(([node.name.as_str()], node.skew_us? as f64 / 1e6))),
            ["node"],
        )?;
        let roles = report.nodes.iter().flat_map(|node| {
            let each = [Role::Master, Role::Replica, Role::Unknown];
            each.map(|one| ([node.name.as_str(), role(one)], u64::from(node.role == one)))
        });
        writer.gauges(
            "node_role",
            "1 for the role that the node says it has",
            None,
            roles,
            ["node", "role"],
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::commands::Table;
    use crate::control::{Losses, Report};
    use crate::settings::ReadPolicy;
    use crate::topology::Topology;

    fn exposition(stats: Vec<Arc<WorkerStats>>, names: &[&str]) -> String {
        let topology = Topology {
            version: 7,
            nodes: Vec::new(),
            master: None,
            greeting: None,
            table: Arc::new(Table::default()),
        };
        let report = Report {
            sentinels: Vec::new(),
            nodes: Vec::new(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            losses: Losses::default(),
        };
        let given = State {
            policy: ReadPolicy::Any,
            topology: watch::channel(Arc::new(topology)).1,
            report: watch::channel(Arc::new(report)).1,
            stats,
        };
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry(given)).unwrap();
        text
    }

    #[track_caller]
    fn assert_line(text: &str, line: &str) {
        assert!(
            text.lines().any(|each| each == line),
            "no line {line} in:\n{text}"
        );
    }

    #[test]
    fn workers_are_summed_and_nodes_that_left_still_count() {
        let workers = [Arc::new(WorkerStats::default()), Arc::new(WorkerStats::default())];
        let node = NodeId(1);
        for (worker, n) in workers.iter().zip([2, 3]) {
            worker.clients.add(n);
            worker.errors[Fault::Us as usize].add(n);
            worker.node(node).commands[Class::Read.index()].add(n);
            worker.node(node).links.add(n);
        }
        let text = exposition(workers.to_vec(), &["a:1", "b:2"]);
        assert_line(&text, "redis_ambassador_clients 5");
        assert_line(&text, "redis_ambassador_errors_total{fault=\"ambassador\"} 5");
        assert_line(
            &text,
            "redis_ambassador_commands_total{class=\"read\",node=\"b:2\"} 5",
        );
        assert_line(&text, "redis_ambassador_links{node=\"b:2\"} 5");
        assert!(!text.contains("a:1"), "no worker ever had to do with a");
    }

    #[test]
    fn latencies_are_cumulative_buckets_in_seconds() {
        let worker = Arc::new(WorkerStats::default());
        let latency = &worker.node(NodeId(0)).latency;
        latency.record(25, 1);
        latency.record(26, 10);
        latency.record(9_000_000, 100);
        let text = exposition(vec![worker], &["a:1"]);
        let name = "redis_ambassador_node_latency_seconds";
        assert_line(&text, &format!("{name}_bucket{{le=\"0.000025\",node=\"a:1\"}} 1"));
        assert_line(&text, &format!("{name}_bucket{{le=\"0.00005\",node=\"a:1\"}} 11"));
        assert_line(&text, &format!("{name}_bucket{{le=\"5.0\",node=\"a:1\"}} 11"));
        assert_line(&text, &format!("{name}_bucket{{le=\"+Inf\",node=\"a:1\"}} 111"));
        assert_line(&text, &format!("{name}_count{{node=\"a:1\"}} 111"));
        assert_line(&text, &format!("{name}_sum{{node=\"a:1\"}} 900.000285"));
    }
}
