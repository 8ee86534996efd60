//! What the configuration means once everything is resolved; the rest of the program asks only this.
//!
//! How it was written, layered and checked is the business of `config`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::commands::CommandOverride;

/// Everything the process was told, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where applications connect. Never empty.
    pub listen: Vec<Listen>,
    /// Worker threads; at least 1.
    pub workers: usize,
    /// The admin HTTP listener; `None` when it is switched off.
    pub admin: Option<SocketAddr>,
    /// The replication group behind the ambassador.
    pub upstream: Upstream,
    /// How reads are spread.
    pub reads: Reads,
    /// What becomes of subscribers.
    pub subscriptions: Subscriptions,
    /// The bounds within which clients and links live.
    pub limits: Limits,
    /// How the process speaks of itself.
    pub log: Log,
    /// The user's changes to the command table.
    pub commands: Vec<CommandOverride>,
    /// Commands that are refused by default (SHUTDOWN, REPLICAOF ...) go to the master instead.
    pub allow_dangerous: bool,
    /// How long SIGTERM waits for what is in flight before it closes what is left.
    pub drain_timeout: Duration,
}

/// A place where applications connect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Listen {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

/// As the configuration writes it.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => address.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The nodes of the replication group, and how to reach them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The master; any node of the group where nodes are discovered; `None`: the sentinels tell.
    pub master: Option<NodeAddress>,
    /// The replicas that the user named.
    pub replicas: Vec<NodeAddress>,
    /// Follow what nodes say of each other in `INFO replication` to those that nobody named.
    pub discover: bool,
    /// Whom to ask for the group's nodes, and which of two masters is the right one.
    pub sentinels: Option<Sentinels>,
    /// Where a node is reached under another address than the one it is announced by.
    pub address_map: Vec<Mapped>,
    /// The zone that this process runs in: nodes of it serve reads before others. `None`: all are alike.
    pub zone: Option<String>,
    /// In which zone nodes are that do not say it themselves.
    pub zones: Vec<Zoned>,
    /// How often names are resolved anew.
    pub resolve_interval: Duration,
    /// ACL user of the ambassador's own connections; `None`: the default user.
    pub username: Option<String>,
    /// Password of the ambassador's own connections.
    pub password: Option<Password>,
    /// Bound on a TCP connect with its handshake.
    pub connect_timeout: Duration,
    /// Attempts to connect to a node that does not answer, per second, of all workers and probes together; 2 or more.
    pub connects_per_second: u32,
    /// How long a start waits for a usable master before it gives up; zero: for ever.
    pub start_timeout: Duration,
    /// Bound on the reply to a command that is not a blocking one; zero: none.
    pub reply_timeout: Duration,
    /// How often each node is asked for its role, offset and health.
    pub probe_interval: Duration,
    /// How often a master is asked for its offset alone while it acknowledges writes; zero: only with each probe.
    pub mark_interval: Duration,
    /// A probe not answered within this makes its node unusable.
    pub probe_timeout: Duration,
    /// A replica whose link to the master is down longer than this gets no reads.
    pub max_link_down: Duration,
    /// A replica further behind the master than this many bytes gets no reads.
    pub max_lag_bytes: u64,
    /// A replica that is late by more than this gets no reads; zero: no such bound.
    pub max_lag_time: Duration,
    /// A master that comes back in its place without its data is not used.
    pub hold_emptied: bool,
    /// Shared links per worker, node, database, RESP version and user.
    pub links_per_node: usize,
    /// Warm own connections kept per worker for MULTI, blocking commands and subscriptions.
    pub warm_leases: usize,
    /// The most own connections at one time per worker.
    pub max_leases: usize,
    /// How long a link or warm lease may stay unused before it is closed.
    pub idle_timeout: Duration,
}

/// The sentinels that watch the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sentinels {
    /// Where they are. Never empty.
    pub addresses: Vec<NodeAddress>,
    /// The name under which they watch the master.
    pub master: String,
    /// ACL user for the sentinels themselves; `None`: the default user.
    pub username: Option<String>,
    /// Password for the sentinels themselves.
    pub password: Option<Password>,
}

/// An address as nodes and sentinels announce it, and where that node is reached from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// As it is announced.
    pub announced: NodeAddress,
    /// Where to connect instead.
    pub reached: NodeAddress,
}

/// `ANNOUNCED=REACHED`, as the configuration writes it.
impl fmt::Display for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.announced, self.reached)
    }
}

/// In which zone a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zoned {
    /// The node, where it is reached.
    pub node: NodeAddress,
    /// Its zone. Never empty.
    pub zone: String,
}

/// `HOST:PORT=ZONE`, as the configuration writes it.
impl fmt::Display for Zoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.node, self.zone)
    }
}

/// A password: a text that says `***` where a debugger, a log line or a panic would show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl From<String> for Password {
    fn from(text: String) -> Self {
        Password(text)
    }
}

impl std::ops::Deref for Password {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A node as it was named, resolved to addresses when it is connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// Host name, IPv4 or IPv6 address (without brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Share of reads relative to other replicas; 0 = none. 100 unless told otherwise.
    pub weight: u32,
}

impl NodeAddress {
    /// Names the same host and port; the weight does not matter.
    pub fn is_same_place(&self, other: &NodeAddress) -> bool {
        self.host.eq_ignore_ascii_case(&other.host) && self.port == other.port
    }
}

/// `host:port`, an IPv6 address in brackets.
impl fmt::Display for NodeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeAddress { host, port, .. } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Which nodes may serve reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPolicy {
    /// Replicas; the master only when no replica is usable.
    ReplicasFirst,
    /// Replicas; an error when none is usable.
    ReplicasOnly,
    /// Master and replicas alike.
    Any,
    /// The master only.
    MasterOnly,
}

impl ReadPolicy {
    /// Every policy.
    pub const ALL: [ReadPolicy; 4] = [
        ReadPolicy::ReplicasFirst,
        ReadPolicy::ReplicasOnly,
        ReadPolicy::Any,
        ReadPolicy::MasterOnly,
    ];

    /// The word used in config and documentation.
    pub fn name(self) -> &'static str {
        match self {
            ReadPolicy::ReplicasFirst => "replicas-first",
            ReadPolicy::ReplicasOnly => "replicas-only",
            ReadPolicy::Any => "any",
            ReadPolicy::MasterOnly => "master-only",
        }
    }

    /// The policy of that name.
    pub fn from_name(name: &str) -> Option<ReadPolicy> {
        ReadPolicy::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// How reads are spread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reads {
    /// Which nodes may serve them.
    pub policy: ReadPolicy,
    /// How many other nodes a failed read is sent to before the client sees the error.
    pub retries: u32,
    /// A read that takes longer than 19 of 20 do is sent to a second node as well.
    pub hedge: bool,
    /// How many of all reads may be sent to a second node.
    pub hedge_budget: Share,
}

/// A part of a whole, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

/// What becomes of a subscriber whose node is lost, or is no master any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailover {
    /// Its connection is closed, by which it knows that messages may have been missed, and subscribes again itself.
    Close,
    /// It is subscribed anew on the new master, and told so where it asked for that.
    Resubscribe,
}

impl OnFailover {
    /// The words used in config and documentation.
    pub const NAMES: [(&str, OnFailover); 2] = [
        ("close", OnFailover::Close),
        ("resubscribe", OnFailover::Resubscribe),
    ];
}

/// What becomes of subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriptions {
    /// When their node is lost, or is no master any more.
    pub on_failover: OnFailover,
}

/// Bounds; each has a metric that counts how often it was hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Clients connected at one time, over all workers.
    pub clients: usize,
    /// Bytes of replies held for a client that does not read them; beyond it the client is closed.
    pub client_output: usize,
    /// Bytes of requests of one client that are unanswered before the ambassador stops reading from it.
    pub client_pipeline: usize,
    /// Bytes of buffers over all workers; beyond it the client that asks for more is closed.
    pub buffers: usize,
    /// The longest bulk string in a request (Redis: `proto-max-bulk-len`, 512 MiB).
    pub bulk: usize,
    /// The most arguments of one command (Redis: 1,048,576).
    pub arguments: usize,
    /// A client that has sent nothing for this long is closed; zero: never.
    pub idle: Duration,
    /// A client that began a request and did not complete it within this is closed; zero: never.
    pub request: Duration,
    /// How long a command waits for a node that is not connected yet, before it gets an error.
    pub hold: Duration,
    /// Commands that wait so, over all workers; beyond it one more gets an error at once.
    pub hold_commands: usize,
    /// Their bytes, over all workers; beyond it the same.
    pub hold_bytes: usize,
    /// Bytes of script bodies remembered, so that every node can be told them.
    pub scripts: usize,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// How the process speaks of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Line format.
    pub format: LogFormat,
    /// A `tracing` filter, such as `info` or `redis_ambassador::control=debug`.
    pub filter: String,
    /// Keys of acknowledged writes that are remembered, to be named when a failover may have lost them; 0: none.
    pub lost_keys: usize,
}
