//! Counters of the request path: one writer each, read by whoever likes.
//!
//! A worker owns its `WorkerStats`; adding is a load and a store, never a locked instruction.

mod acknowledged;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

pub use acknowledged::Acknowledged;

use crate::commands::Class;
use crate::topology::{MAX_NODES, NodeId};

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Adds; only the owning worker may call this.
    pub fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes away; only the owning worker may call this.
    pub fn sub(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }

    /// Replaces the number; only the owning worker may call this.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The number now.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of the latency histogram's buckets, in microseconds; the last bucket has none.
pub const LATENCY_BOUNDS_US: [u64; 20] = [
    25, 50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000,
    200_000, 500_000, 1_000_000, 5_000_000,
];

/// Time from a command's arrival until its reply was handed on.
#[derive(Debug, Default)]
pub struct Latency {
    /// Commands per bucket of [`LATENCY_BOUNDS_US`], the last one without a bound.
    pub buckets: [Tally; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all latencies, in microseconds.
    pub sum_us: Tally,
}

impl Latency {
    /// Counts `n` commands that took `us` microseconds.
    pub fn record(&self, us: u64, n: u64) {
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].add(n);
        self.sum_us.add(us.saturating_mul(n));
    }
}

/// What one worker did with one node.
#[derive(Debug, Default)]
pub struct NodeStats {
    /// Commands sent, by class.
    pub commands: [Tally; Class::ALL.len()],
    /// Error replies received.
    pub error_replies: Tally,
    /// Writes that it acknowledged.
    pub acknowledged: Acknowledged,
    /// Latency of commands answered.
    pub latency: Latency,
    /// Shared links that are up (a gauge).
    pub links: Tally,
    /// Own connections in use by a client (a gauge).
    pub leases: Tally,
    /// Own connections that wait warm for a client (a gauge).
    pub warm: Tally,
    /// Connections opened.
    pub connects: Tally,
    /// Connections that failed or broke.
    pub failures: Tally,
    /// Times that the node was left out of the choice for reads, as it failed at them.
    pub ejections: Tally,
    /// Bytes sent to the node.
    pub bytes_sent: Tally,
    /// Bytes received from the node.
    pub bytes_received: Tally,
}

/// A bound of the config that a client or a link ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// `limits.clients`.
    Clients,
    /// `limits.client_output`.
    ClientOutput,
    /// `limits.client_pipeline`: reading from the client was paused.
    ClientPipeline,
    /// `limits.buffers`.
    Buffers,
    /// `limits.idle`.
    Idle,
    /// `limits.request`.
    Request,
    /// `limits.hold`.
    Hold,
    /// `limits.hold_commands`.
    HoldCommands,
    /// `limits.hold_bytes`.
    HoldBytes,
    /// `upstream.max_leases`.
    Leases,
    /// `limits.bulk`, `limits.arguments` and other protocol errors of clients.
    Protocol,
    /// `upstream.reply_timeout`.
    ReplyTimeout,
}

impl Limit {
    /// Every limit, in the order of the counters.
    pub const ALL: [Limit; 12] = [
        Limit::Clients,
        Limit::ClientOutput,
        Limit::ClientPipeline,
        Limit::Buffers,
        Limit::Idle,
        Limit::Request,
        Limit::Hold,
        Limit::HoldCommands,
        Limit::HoldBytes,
        Limit::Leases,
        Limit::Protocol,
        Limit::ReplyTimeout,
    ];

    /// The word used in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Limit::Clients => "clients",
            Limit::ClientOutput => "client_output",
            Limit::ClientPipeline => "client_pipeline",
            Limit::Buffers => "buffers",
            Limit::Idle => "idle",
            Limit::Request => "request",
            Limit::Hold => "hold",
            Limit::HoldCommands => "hold_commands",
            Limit::HoldBytes => "hold_bytes",
            Limit::Leases => "leases",
            Limit::Protocol => "protocol",
            Limit::ReplyTimeout => "reply_timeout",
        }
    }
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client sent something that cannot be.
    Client,
    /// A node failed, or answered with an error of its own state.
    Upstream,
    /// The ambassador: a limit, a refusal, a defect.
    Us,
}

impl Fault {
    /// Every fault, in the order of the counters.
    pub const ALL: [Fault; 3] = [Fault::Client, Fault::Upstream, Fault::Us];

    /// The word used in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Client => "client",
            Fault::Upstream => "upstream",
            Fault::Us => "ambassador",
        }
    }
}

/// What one worker did.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Clients connected (a gauge).
    pub clients: Tally,
    /// Clients taken over from the acceptor.
    pub accepted: Tally,
    /// Commands answered by the ambassador itself, by class.
    pub local: [Tally; Class::ALL.len()],
    /// Errors that clients saw and that did not come from a node's own reply, by fault.
    pub errors: [Tally; Fault::ALL.len()],
    /// Times each limit was hit.
    pub limits: [Tally; Limit::ALL.len()],
    /// Reads sent again to another node.
    pub reads_retried: Tally,
    /// Reads sent to a second node because the first one took long.
    pub reads_hedged: Tally,
    /// Batches of them that the second node answered first.
    pub hedges_won: Tally,
    /// Iterations (SCAN and its kin) begun anew because the node they were on is gone.
    pub scans_restarted: Tally,
    /// Subscribers subscribed anew on another node.
    pub resubscribed: Tally,
    /// Writes whose fate is unknown.
    pub in_doubt: Tally,
    /// Commands whose class a READONLY reply corrected.
    pub reclassified: Tally,
    /// Bytes received from clients.
    pub bytes_in: Tally,
    /// Bytes sent to clients.
    pub bytes_out: Tally,
    /// Bytes held in buffers (a gauge).
    pub buffered: Tally,
    /// Commands that wait for a node (a gauge).
    pub held: Tally,
    /// Their bytes (a gauge).
    pub held_bytes: Tally,
    /// The version of the topology that the last whole turn went by.
    pub topology: Tally,
    /// Panics caught; each cost one client.
    pub panics: Tally,
    nodes: PerNode,
}

#[derive(Debug)]
struct PerNode([OnceLock<Box<NodeStats>>; MAX_NODES]);

impl Default for PerNode {
    fn default() -> Self {
        acknowledged::begin();
        PerNode(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl WorkerStats {
    /// The counters for a node, made at first use.
    pub fn node(&self, id: NodeId) -> &NodeStats {
        self.nodes.0[id.index() % MAX_NODES].get_or_init(Box::default)
    }

    /// The counters for a node, if the worker ever had to do with it.
    pub fn seen(&self, id: NodeId) -> Option<&NodeStats> {
        self.nodes.0[id.index() % MAX_NODES].get().map(Box::as_ref)
    }
}
