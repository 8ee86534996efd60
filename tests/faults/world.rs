//! A replication group and its sentinels as real processes, every link between them through a relay.
//!
//! Nodes and sentinels announce their relays' addresses, so nobody but this harness knows their own ports; each
//! connects from an address of its own, by which a relay tells the links apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::relay::{Party, Relay, Relays};
use crate::support::{Ambassador, Client, Flavor, Reply, Sentinel, Server, WATCHED, eventually};

/// How long a failover and what follows it may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Milliseconds of silence after which sentinels call a node down.
const DOWN_AFTER: &str = "2000";

/// Where this harness writes to see whether a node takes writes. No client uses it.
const HARNESS_KEY: &str = "harness";

/// Processes and relays; all end with it.
pub(crate) struct World {
    pub(crate) nodes: Vec<Server>,
    pub(crate) sentinels: Vec<Sentinel>,
    /// One for each node.
    pub(crate) to_node: Vec<Relay>,
    /// One for each sentinel.
    pub(crate) to_sentinel: Vec<Relay>,
    relays: Relays,
}

impl World {
    /// One master, two replicas, and so many sentinels, all in good order.
    #[track_caller]
    pub(crate) fn start(flavor: Flavor, sentinels: usize) -> Self {
        let relays = Relays::start();
        let to_node: Vec<Relay> = (0..3).map(|_| relays.relay()).collect();
        let nodes: Vec<Server> = (0..3)
            .map(|index| {
                let follows = (index > 0).then(|| to_node[0].port());
                let args = node_args(index, to_node[index].port(), follows);
                let node = Server::start(flavor, &args.iter().map(String::as_str).collect::<Vec<_>>());
                to_node[index].point_at(node.port());
                node
            })
            .collect();
        let mut world = Self {
            nodes,
            sentinels: Vec::new(),
            to_node,
            to_sentinel: Vec::new(),
            relays,
        };
        // Sentinels find replicas in what the master says of them.
        world.wait_settled();
        for index in 0..sentinels {
            let relay = world.relays.relay();
            let more = format!(
                "bind-source-addr {}\nsentinel announce-ip 127.0.0.1\nsentinel announce-port {}",
                Party::Sentinel(index).source(),
                relay.port(),
            );
            let quorum = sentinels / 2 + 1;
            let sentinel = Sentinel::watching(flavor, world.to_node[0].port(), quorum, &more);
            relay.point_at(sentinel.port());
            // It asks and tells more often, so that a run of failovers takes minutes; how it fails over is the same.
            let periods = [
                "SENTINEL",
                "DEBUG",
                "info-period",
                "1000",
                "publish-period",
                "1000",
            ];
            // A machine with much to do leaves processes alone for a second.
            let down = ["SENTINEL", "SET", WATCHED, "down-after-milliseconds", DOWN_AFTER];
            for words in [&periods[..], &down] {
                assert_eq!(sentinel.command(words), Reply::ok());
            }
            world.sentinels.push(sentinel);
            world.to_sentinel.push(relay);
        }
        world.wait_settled();
        world
    }

    /// The ambassador before this group, which it finds through the sentinels where there are any.
    #[track_caller]
    pub(crate) fn ambassador(&self) -> Ambassador {
        let addresses: Vec<String> = self
            .to_sentinel
            .iter()
            .map(|relay| format!("{:?}", relay.address()))
            .collect();
        let found = if addresses.is_empty() {
            format!("master = \"{}\"\n", self.to_node[0].address())
        } else {
            format!("[sentinel]\naddresses = [{}]\n", addresses.join(", "))
        };
        // A loaded machine's failover may take longer than the default of 5 s. What is idle goes soon, so that what is
        // left behind shows.
        let config = format!(
            "[upstream]\nidle_timeout = \"5s\"\n{found}[limits]\nhold = \"30s\"\n\
             [log]\nfilter = \"info,redis_ambassador::control=debug\"\n"
        );
        Ambassador::with_config(&config, &[])
    }

    /// Whether a node takes writes now.
    pub(crate) fn takes_writes(&self, node: usize) -> bool {
        let Ok(mut client) = Client::try_connect(self.nodes[node].port()) else {
            return false;
        };
        client.set_timeout(Duration::from_millis(500));
        client
            .try_command(&["SET", HARNESS_KEY, "1"])
            .is_ok_and(|reply| reply == Reply::ok())
    }

    /// Waits until a node other than that one takes writes; which, and when that was.
    #[track_caller]
    pub(crate) fn wait_for_another_master(&self, old: usize) -> (usize, Instant) {
        let new = eventually(PATIENCE, || {
            (0..3).find(|&node| node != old && self.takes_writes(node))
        });
        (new, Instant::now())
    }

    /// Makes a node follow another, as its sentinel would at last.
    #[track_caller]
    pub(crate) fn follow(&self, node: usize, master: usize) {
        let port = self.to_node[master].port().to_string();
        let reply = self.nodes[node].command(&["REPLICAOF", "127.0.0.1", &port]);
        assert!(!reply.is_error(), "REPLICAOF: {reply:?}");
    }

    /// Starts a node that was killed, as a replica of another; empty, or with what it had saved.
    #[track_caller]
    pub(crate) fn restart(&mut self, node: usize, master: usize, with_data: bool) {
        if !with_data {
            self.nodes[node].forget_data();
        }
        let args = node_args(node, self.to_node[node].port(), Some(self.to_node[master].port()));
        self.nodes[node].restart_with(&args.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// Waits until the group is in sync below one master, and every sentinel sees it so; gives the master. It need not
    /// be the one that was promoted last: sentinels that starve make failovers of their own.
    #[track_caller]
    pub(crate) fn wait_settled(&self) -> usize {
        eventually(PATIENCE, || {
            let master = (0..3).find(|&node| self.is_master_of_all(node))?;
            let port = self.to_node[master].port().to_string();
            self.sentinels
                .iter()
                .all(|sentinel| self.agrees(sentinel, &port))
                .then_some(master)
        })
    }

    /// Whether the other two follow this node, and have all that it had a moment ago.
    fn is_master_of_all(&self, master: usize) -> bool {
        let written = self.offset(master, "master_repl_offset");
        let port = self.to_node[master].port().to_string();
        let state = self.replication(master);
        let online = state
            .iter()
            .filter(|(key, value)| key.starts_with("slave") && value.contains("state=online"));
        let follows = |node: usize| {
            let state = self.replication(node);
            let is = |field: &str, value: &str| state.get(field).is_some_and(|found| found == value);
            is("role", "slave")
                && is("master_port", &port)
                && is("master_link_status", "up")
                && is("master_sync_in_progress", "0")
                && self.offset(node, "slave_repl_offset") >= written
        };
        state.get("role").is_some_and(|role| role == "master")
            && online.count() == 2
            && (0..3).filter(|&node| node != master).all(follows)
    }

    /// What INFO replication says; nothing when the node hangs up, as one that changes its role does.
    fn replication(&self, node: usize) -> BTreeMap<String, String> {
        let said = Client::try_connect(self.nodes[node].port())
            .and_then(|mut client| client.try_command(&["INFO", "replication"]));
        let text = match said {
            Ok(Reply::Bulk(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
            _ => String::new(),
        };
        text.lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(field, value)| (field.to_owned(), value.to_owned()))
            .collect()
    }

    fn agrees(&self, sentinel: &Sentinel, master: &str) -> bool {
        let others = self.sentinels.len() - 1;
        sentinel.about("port") == master
            && sentinel.about("flags") == "master"
            && sentinel.about("num-other-sentinels") == others.to_string()
            && replicas_are_well(sentinel, master)
    }

    fn offset(&self, node: usize, field: &str) -> u64 {
        let state = self.replication(node);
        state.get(field).and_then(|value| value.parse().ok()).unwrap_or(0)
    }

    /// Waits until this node is the ambassador's master.
    #[track_caller]
    pub(crate) fn wait_adopted(&self, ambassador: &Ambassador, master: usize) {
        let address = self.to_node[master].address();
        eventually(PATIENCE, || {
            let topology: Value = serde_json::from_str(&ambassador.admin_get("/topology").1).ok()?;
            (topology["master"] == address).then_some(())
        });
    }

    /// Waits until the ambassador uses all nodes, and this one as the master.
    #[track_caller]
    pub(crate) fn wait_seen(&self, ambassador: &Ambassador, master: usize) {
        let address = self.to_node[master].address();
        eventually(PATIENCE, || {
            let topology: Value = serde_json::from_str(&ambassador.admin_get("/topology").1).ok()?;
            let usable = topology["nodes"]
                .as_array()?
                .iter()
                .filter(|node| node["usable"] == true);
            (topology["master"] == address && usable.count() == 3).then_some(())
        });
    }
}

impl World {
    /// Prints what nodes and sentinels logged.
    pub(crate) fn tell(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let (address, log) = (self.to_node[index].address(), node.log());
            println!("--- node {index}, {address} ---\n{log}");
        }
        for (index, sentinel) in self.sentinels.iter().enumerate() {
            println!("--- sentinel {index} ---\n{}", sentinel.log());
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
    }
}

/// Whether a sentinel has two replicas that follow this port and could be promoted.
fn replicas_are_well(sentinel: &Sentinel, master: &str) -> bool {
    let replicas = sentinel.command(&["SENTINEL", "REPLICAS", WATCHED]);
    let Reply::Array(replicas) = replicas else {
        return false;
    };
    let well = replicas.iter().filter(|replica| {
        let is = |field: &str, value: &str| replica.field(field).is_some_and(|found| found.text() == value);
        is("flags", "slave") && is("master-link-status", "ok") && is("master-port", master)
    });
    well.count() == 2
}

fn node_args(index: usize, announced: u16, follows: Option<u16>) -> Vec<String> {
    let source = Party::Node(index).source().to_string();
    let announced = announced.to_string();
    let mut args = vec![
        "--bind-source-addr",
        &source,
        "--replica-announce-ip",
        "127.0.0.1",
    ];
    args.extend(["--replica-announce-port", &announced]);
    // A replica that lost its link tries again every second in any case.
    args.extend(["--repl-timeout", "10"]);
    let follows = follows.map(|port| port.to_string());
    if let Some(port) = &follows {
        args.extend(["--replicaof", "127.0.0.1", port]);
    }
    args.into_iter().map(str::to_owned).collect()
}
