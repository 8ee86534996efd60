//! Servers and sentinels on hosts of a network, each at the usual port of its own address.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::net::Net;
use crate::support::{Client, Flavor, PATIENCE, Reply, WATCHED, eventually};

/// A process on a host; it ends with this.
pub(crate) struct Host {
    pub(crate) number: usize,
    address: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Host {
    /// A server; `follows` is its master's host.
    #[track_caller]
    pub(crate) fn server(net: &Net, number: usize, flavor: Flavor, follows: Option<usize>) -> Self {
        let mut args: Vec<String> = [
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
            "--repl-timeout",
            "5",
            "--repl-ping-replica-period",
            "1",
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(master) = follows {
            args.extend([
                "--replicaof".to_owned(),
                net.address(master).to_string(),
                "6379".to_owned(),
            ]);
        }
        Self::start(net, number, flavor.program("server"), 6379, &args, directory())
    }

    /// A sentinel that watches the master on that host.
    #[track_caller]
    pub(crate) fn sentinel(net: &Net, number: usize, flavor: Flavor, master: usize) -> Self {
        let address = net.address(master);
        let config = format!(
            "port 26379\nprotected-mode no\nsentinel monitor {WATCHED} {address} 6379 2\n\
             sentinel down-after-milliseconds {WATCHED} 1000\nsentinel failover-timeout {WATCHED} 4000\n"
        );
        let dir = directory();
        let path = dir.path().join("sentinel.conf");
        std::fs::write(&path, config).expect("the configuration can be written");
        let path = path.display().to_string();
        Self::start(net, number, flavor.program("sentinel"), 26379, &[path], dir)
    }

    fn start(net: &Net, number: usize, program: PathBuf, port: u16, args: &[String], dir: TempDir) -> Self {
        let child = net
            .on(number, program)
            .args(args)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it can be started");
        let host = Self {
            number,
            address: SocketAddr::from((net.address(number), port)),
            child,
            _dir: dir,
        };
        eventually(PATIENCE, || host.try_command(&["PING"]).ok());
        host
    }

    /// `ADDRESS:PORT`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// One command on a connection of its own.
    #[track_caller]
    pub(crate) fn command(&self, words: &[&str]) -> Reply {
        self.try_command(words)
            .unwrap_or_else(|error| panic!("{words:?} to {}: {error}", self.address))
    }

    fn try_command(&self, words: &[&str]) -> std::io::Result<Reply> {
        let mut client = Client::try_connect_to(self.address)?;
        client.set_timeout(Duration::from_secs(5));
        client.try_command(words)
    }

    /// A field of INFO replication. A sentinel that gives a node another role cuts whoever asks at that moment; asked again,
    /// it answers.
    #[track_caller]
    pub(crate) fn replication(&self, field: &str) -> String {
        let words = ["INFO", "replication"];
        let asked = self.try_command(&words);
        let info = asked.unwrap_or_else(|_| self.command(&words)).text();
        let found = info
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        found.unwrap_or_default().to_owned()
    }

    /// Waits until a replica is in sync with its master.
    #[track_caller]
    pub(crate) fn wait_in_sync(&self) {
        eventually(PATIENCE, || {
            (self.replication("master_link_status") == "up").then_some(())
        });
    }
}

fn directory() -> TempDir {
    TempDir::with_prefix("ambassador-test-").expect("a temporary directory can be made")
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
