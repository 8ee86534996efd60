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
    /// What failovers lost.
    pub losses: Losses,
}

/// What all failovers so far lost.
#[derive(Debug, Clone, Default)]
pub struct Losses {
    /// Failovers that lost no acknowledged write.
    pub without: u64,
    /// Those that may have lost some, or have.
    pub with: u64,
    /// Those of which it cannot be told.
    pub unknown: u64,
    /// Acknowledged writes lost, at least.
    pub at_least: u64,
    /// Acknowledged writes lost, at most.
    pub at_most: u64,
    /// The last one.
    pub last: Option<Loss>,
}

impl Losses {
    pub(super) fn add(&mut self, loss: &Loss) {
        self.at_least += loss.at_least;
        self.at_most += loss.at_most;
        if loss.late {
            // Of the same failover.
            if let Some(last) = &mut self.last {
                last.at_most += loss.at_most;
                last.until = last.until.max(loss.until);
            }
            return;
        }
        *match (loss.is_known, loss.at_most) {
            (false, _) => &mut self.unknown,
            (true, 0) => &mut self.without,
            (true, _) => &mut self.with,
        } += 1;
        self.last = Some(loss.clone());
    }
}

/// What one failover lost of the writes that had been acknowledged. Times are those of the control plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The node that was master.
    pub former: NodeId,
    /// The node that is; the same where it came back with another history.
    pub master: NodeId,
    /// So many at least, of those of class write.
    pub at_least: u64,
    /// So many at most.
    pub at_most: u64,
    /// The new master's history goes on from the former one's; otherwise it cannot be told, and `at_most` is all that was
    /// ever acknowledged.
    pub is_known: bool,
    /// They were acknowledged between this moment
    pub since: Duration,
    /// and this one.
    pub until: Duration,
    /// When the new master was adopted.
    pub adopted: Duration,
    /// The former master acknowledged them after this failover had been answered for.
    pub late: bool,
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
    /// Whom a replica calls its master, `host:port`.
    pub follows: Option<String>,
    /// The same, if it is one of these nodes.
    pub master: Option<NodeId>,
    /// Why it cannot be probed at the moment.
    pub failure: Option<Failure>,
}

impl NodeReport {
    /// It has answered, or failed to, at least once.
    pub fn heard(&self) -> bool {
        self.failure.is_some() || self.role != Role::Unknown
    }
}
