//! Who is in the replication group at one moment: a snapshot that the control plane publishes whole.
//!
//! The request path only reads it. A node keeps its `NodeId` for the life of the process.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::commands::Table;

/// The most nodes one process can know; ids index fixed arrays of statistics.
pub const MAX_NODES: usize = 64;

/// A node, by a small number that is never reused for another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The id as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What a node said it is, when it was last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `role:master`.
    Master,
    /// `role:slave`.
    Replica,
    /// Not asked yet, or not reachable.
    Unknown,
}

/// One node of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// `host:port` as configured or discovered; the label in metrics and logs.
    pub name: String,
    /// Where it is reached now; `None` while its name does not resolve.
    pub address: Option<SocketAddr>,
    /// What it last said it is.
    pub role: Role,
    /// Share of reads relative to the others.
    pub weight: u32,
    /// The zone that it is in, as far as anybody says.
    pub zone: Option<String>,
    /// What the cursors of its iterations carry to name it; `None` while its run is not known, and when another
    /// node of the group goes by the same tag.
    pub tag: Option<u16>,
    /// The gate: reachable and, for a replica, in sync. Only usable nodes get commands.
    pub usable: bool,
    /// Why it is not usable; empty when it is.
    pub reason: String,
}

/// What the master says of itself in HELLO, cut around the connection's id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Greeting {
    /// HELLO 2's reply up to and without the digits of the id.
    pub resp2: (Vec<u8>, Vec<u8>),
    /// HELLO 3's reply up to and without the digits of the id.
    pub resp3: (Vec<u8>, Vec<u8>),
    /// The fields of CLIENT INFO as the master has them, with neutral values; empty when it does not say.
    pub client_fields: String,
}

/// The group at one moment.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Counts up with every published snapshot.
    pub version: u64,
    /// All nodes that are part of the group now, in the order of their ids (ids may have gaps).
    pub nodes: Vec<Node>,
    /// The master, while one is known and usable.
    pub master: Option<NodeId>,
    /// HELLO as the master answers it; `None` until it has been asked.
    pub greeting: Option<Arc<Greeting>>,
    /// The command table in force (embedded, merged with the master's `COMMAND`, then the user's).
    pub table: Arc<Table>,
}

impl Topology {
    /// Nobody has been asked yet.
    pub fn unknown() -> Self {
        Topology {
            version: 0,
            nodes: Vec::new(),
            master: None,
            greeting: None,
            table: Arc::default(),
        }
    }

    /// The node with that id, if it is part of the group now.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }
}
