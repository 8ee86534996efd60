//! What the control plane knows of the nodes at one moment, for people and metrics; workers do not see it.

use std::net::SocketAddr;
use std::time::Duration;

use super::connection::Failure;
use crate::topology::{NodeId, Role};

/// All nodes at one moment.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The nodes that are part of the group, the configured master first.
    pub nodes: Vec<NodeReport>,
    /// The sentinels, in the order of the configuration.
    pub sentinels: Vec<SentinelReport>,
    /// The name behind every [`NodeId`] ever given, also of nodes that left.
    pub names: Vec<String>,
}

/// One sentinel.
#[derive(Debug, Clone)]
pub struct SentinelReport {
    /// `host:port` as configured.
    pub name: String,
    /// Whom it calls master; `None` while it has not answered.
    pub master: Option<String>,
    /// The failovers that it knows to have been agreed on.
    pub epoch: Option<u64>,
    /// Why it cannot be asked at the moment.
    pub failure: Option<Failure>,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// Its number.
    pub id: NodeId,
    /// `host:port`.
    pub name: String,
    /// Where it was reached last.
    pub address: Option<SocketAddr>,
    /// What it says it is.
    pub role: Role,
    /// Share of reads relative to the others.
    pub weight: u32,
    /// The zone that it is in, as far as anybody says.
    pub zone: Option<String>,
    /// It may get commands.
    pub usable: bool,
    /// Why not; empty when it may.
    pub reason: String,
    /// It was named in the configuration, not discovered.
    pub configured: bool,
    /// Its replication id.
    pub replid: Option<String>,
    /// What it has written or applied, in bytes of its history.
    pub offset: Option<u64>,
    /// Bytes behind the master when both were last heard.
    pub lag: Option<u64>,
    /// How far a replica is behind the master in time, at most, when both were last heard.
    pub behind: Option<Duration>,
    /// By how many microseconds its clock is ahead of this machine's, as far as a probe can tell.
    pub skew_us: Option<i64>,
    /// A replica's link to its master is up.
    pub link_up: Option<bool>,
    /// Why it cannot be probed at the moment.
    pub failure: Option<Failure>,
}

impl NodeReport {
    /// It has answered, or failed to, at least once.
    pub fn heard(&self) -> bool {
        self.failure.is_some() || self.role != Role::Unknown
    }
}
