//! A replication group of real servers: one master and its replicas, in sync when it is handed out.

use super::{Flavor, PATIENCE, Reply, Server, eventually};

/// A master and its replicas. All end with it.
pub struct Group {
    /// The node that takes writes.
    pub master: Server,
    /// Its replicas.
    pub replicas: Vec<Server>,
}

impl Group {
    /// Starts a master with that many replicas and waits until all of them are in sync.
    #[track_caller]
    pub fn start(flavor: Flavor, replicas: usize) -> Self {
        let master = Server::start(flavor, &[]);
        let replicas = (0..replicas).map(|_| Server::replica_of(&master)).collect();
        let group = Self { master, replicas };
        group.wait_in_sync();
        group
    }

    /// Waits until every replica is linked to the master and has applied all that is written there now.
    ///
    /// It asks for no more than INFO, on the nodes themselves: commandstats of other commands are untouched.
    #[track_caller]
    pub fn wait_in_sync(&self) {
        for replica in &self.replicas {
            eventually(PATIENCE, || {
                let state = replica.info("replication");
                let is = |field: &str, value: &str| state.get(field).is_some_and(|found| found == value);
                (is("master_link_status", "up") && is("master_sync_in_progress", "0")).then_some(())
            });
        }
        eventually(PATIENCE, || {
            let state = self.master.info("replication");
            let online = state
                .iter()
                .filter(|(key, value)| key.starts_with("slave") && value.contains("state=online"));
            (online.count() == self.replicas.len()).then_some(())
        });
        let written = offset(&self.master, "master_repl_offset");
        for replica in &self.replicas {
            // slave_repl_offset is what the replica has applied.
            eventually(PATIENCE, || {
                (offset(replica, "slave_repl_offset") >= written).then_some(())
            });
        }
    }

    /// Master and replicas.
    pub fn nodes(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.master).chain(&self.replicas)
    }

    /// Sets all counters of INFO back to zero, on every node.
    #[track_caller]
    pub fn reset_stats(&self) {
        for node in self.nodes() {
            node.command(&["CONFIG", "RESETSTAT"]);
        }
    }

    /// Makes every node forget all scripts, behind the ambassador's back.
    #[track_caller]
    pub fn flush_scripts(&self) {
        for node in self.nodes() {
            assert_eq!(node.command(&["SCRIPT", "FLUSH"]), Reply::ok());
        }
    }

    /// How often a command ran on the replicas, one figure for each.
    #[track_caller]
    pub fn replica_calls(&self, command: &str) -> Vec<u64> {
        self.replicas
            .iter()
            .map(|replica| replica.calls(command))
            .collect()
    }
}

#[track_caller]
fn offset(node: &Server, field: &str) -> u64 {
    let state = node.info("replication");
    state
        .get(field)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("no {field} in {state:?}"))
}
