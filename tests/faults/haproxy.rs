//! `HAProxy` before the group, which finds the master by the usual role check, and plain clients behind it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{Client, PATIENCE, eventually, free_port};
use crate::world::World;

/// The program, as `scripts/install-peers` installs it.
pub(crate) fn program() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = std::env::var_os("AMBASSADOR_CACHE").map_or_else(|| root.join(".cache"), PathBuf::from);
    Some(cache.join("peers/bin/haproxy")).filter(|program| program.exists())
}

/// The process; killed with this.
pub(crate) struct HaProxy {
    child: Child,
    pub(crate) port: u16,
    _dir: TempDir,
}

impl HaProxy {
    #[track_caller]
    pub(crate) fn start(program: &Path, world: &World) -> Self {
        let dir = TempDir::with_prefix("ambassador-haproxy-").expect("a temporary directory can be made");
        let port = free_port();
        // Its documentation's example, with sessions shut down when their node is no master any more.
        let mut config = format!(
            "global\n  maxconn 1000\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n\
             listen redis\n  bind 127.0.0.1:{port}\n  option tcp-check\n  tcp-check connect\n  tcp-check send PING\\r\\n\n  \
             tcp-check expect string +PONG\n  tcp-check send info\\ replication\\r\\n\n  tcp-check expect string role:master\n  \
             tcp-check send QUIT\\r\\n\n  tcp-check expect string +OK\n  \
             default-server check inter 1s on-marked-down shutdown-sessions\n"
        );
        for (index, relay) in world.to_node.iter().enumerate() {
            let _ = writeln!(config, "  server node{index} {}", relay.address());
        }
        let path = dir.path().join("haproxy.cfg");
        fs::write(&path, config).expect("the configuration can be written");
        let child = Command::new(program)
            .args(["-db", "-q", "-f"])
            .arg(&path)
            .stdin(Stdio::null())
            .spawn()
            .expect("haproxy can be started");
        let haproxy = Self {
            child,
            port,
            _dir: dir,
        };
        eventually(PATIENCE, || {
            let mut client = Client::try_connect(port).ok()?;
            client.try_command(&["PING"]).ok()
        });
        haproxy
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
