//! One real sentinel on a free loopback port, in a private directory, gone with its value.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use super::server::signal;
use super::{Client, Flavor, Group, PATIENCE, Reply, Server, eventually, free_port};

/// The name under which sentinels watch a master here.
pub const WATCHED: &str = "mymaster";

/// A running sentinel.
pub struct Sentinel {
    port: u16,
    child: Child,
    dir: TempDir,
}

impl Sentinel {
    /// Starts three that watch a group, and waits until they know each other and every replica.
    #[track_caller]
    pub fn three_over(group: &Group) -> Vec<Sentinel> {
        let flavor = group.master.flavor();
        let three: Vec<Sentinel> = (0..3)
            .map(|_| Sentinel::start(flavor, &group.master, 2, ""))
            .collect();
        for sentinel in &three {
            eventually(PATIENCE, || {
                let knows = |field, count: usize| sentinel.about(field) == count.to_string();
                (knows("num-other-sentinels", 2) && knows("num-slaves", group.replicas.len())).then_some(())
            });
        }
        three
    }

    /// Starts one that watches `master`; `more` are further lines of its configuration.
    #[track_caller]
    pub fn start(flavor: Flavor, master: &Server, quorum: usize, more: &str) -> Sentinel {
        Self::watching(flavor, master.port(), quorum, more)
    }

    /// Starts one that watches the master at that port of 127.0.0.1.
    #[track_caller]
    pub fn watching(flavor: Flavor, master: u16, quorum: usize, more: &str) -> Sentinel {
        let dir = TempDir::with_prefix("ambassador-sentinel-").expect("a temporary directory can be made");
        let port = free_port();
        // Down after half a second, so that a failover is a matter of seconds.
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {WATCHED} 127.0.0.1 {master} {quorum}\n\
             sentinel down-after-milliseconds {WATCHED} 500\nsentinel failover-timeout {WATCHED} 2000\n{more}\n",
            dir.path().display(),
        );
        let path = dir.path().join("sentinel.conf");
        fs::write(&path, config).expect("the configuration can be written");
        let output = File::create(dir.path().join("sentinel.log")).expect("the log can be made");
        let child = Command::new(flavor.program("sentinel"))
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start a sentinel of {flavor}: {error}"));
        let sentinel = Sentinel { port, child, dir };
        eventually(PATIENCE, || Client::try_connect(port).ok().map(|_| ()));
        sentinel
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// One command on a connection of its own.
    #[track_caller]
    pub fn command(&self, words: &[&str]) -> Reply {
        Client::connect(self.port).command(words)
    }

    /// A field of what it says of the master; empty when there is none.
    #[track_caller]
    pub fn about(&self, field: &str) -> String {
        let about = self.command(&["SENTINEL", "MASTER", WATCHED]);
        let words: Vec<String> = about.items().iter().map(Reply::text).collect();
        let pair = words.chunks_exact(2).find(|pair| pair[0] == field);
        pair.map(|pair| pair[1].clone()).unwrap_or_default()
    }

    /// Stops it in the middle of whatever it does; its connections stay open.
    pub fn freeze(&self) {
        signal(self.child.id(), Signal::STOP);
    }

    /// Lets a frozen one go on.
    pub fn thaw(&self) {
        signal(self.child.id(), Signal::CONT);
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("sentinel.log")).unwrap_or_default()
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- a sentinel's log ---\n{}", self.log());
        }
    }
}
