//! A private replication group: one master and its replicas on free loopback ports in a temporary directory.
//!
//! It keeps nothing on disk and ends with its owner; the guard sees to that when the owner cannot.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::guard::Guard;
use super::info::Inquiry;
use crate::topology::MAX_NODES;

/// Names the server has in its projects, in the order in which they are looked for.
const BINARIES: [&str; 2] = ["redis-server", "valkey-server"];

/// A server starts in some 10 ms and a replica syncs within a second; a busy machine may need far longer.
const START_BOUND: Duration = Duration::from_secs(30);

const POLL: Duration = Duration::from_millis(20);

/// Somebody else may take a port between our finding it free and the server's listening on it.
const PORT_TRIES: usize = 5;

/// Lines of a server's log that an error shows.
const LOG_TAIL: usize = 8;

/// The running group.
#[derive(Debug)]
pub(super) struct Group {
    /// Master first.
    servers: Vec<Server>,
    version: String,
    guard: Guard,
}

/// One server of the group.
#[derive(Debug)]
pub(super) struct Server {
    /// `master`, `replica-1` ...: what it was started as.
    pub(super) name: String,
    /// Where it listens.
    pub(super) address: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Group {
    /// Starts the servers and waits until every replica is in sync. Dropping the future ends what was started.
    pub(super) async fn start(binary: &Path, replicas: usize) -> Result<Self, String> {
        if replicas >= MAX_NODES {
            return Err(format!(
                "replicas = {replicas}: expected at most {}",
                MAX_NODES - 1
            ));
        }
        let mut group = Group {
            servers: Vec::with_capacity(1 + replicas),
            version: String::new(),
            guard: Guard::start()?,
        };
        let deadline = Instant::now() + START_BOUND;

        let mut master = group.serve(binary, "master", None, deadline).await?;
        group.version = master.version(deadline).await?;
        let master_address = master.address;
        group.servers.push(master);
        // All are started before the first is waited for: they sync side by side.
        for number in 1..=replicas {
            let name = format!("replica-{number}");
            let replica = group.serve(binary, &name, Some(master_address), deadline).await?;
            group.servers.push(replica);
        }
        for replica in &mut group.servers[1..] {
            replica.synced(deadline).await?;
        }
        Ok(group)
    }

    /// The servers, master first.
    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The servers, to ask after each one's process.
    pub(super) fn servers_mut(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// The server's product and version, such as `Redis 7.0.15`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Where the servers keep what they must: logs, and a replica's copy while it syncs.
    pub(super) fn directory(&self) -> &Path {
        self.guard.directory()
    }

    /// Whether the servers would still be ended if this process were killed now.
    pub(super) fn is_guarded(&mut self) -> bool {
        self.guard.is_alive()
    }

    async fn serve(
        &self,
        binary: &Path,
        name: &str,
        master: Option<SocketAddr>,
        deadline: Instant,
    ) -> Result<Server, String> {
        let mut tries = 1;
        loop {
            let mut server = Server::start(binary, self.guard.directory(), name, master, self.guard.group())?;
            match server.listening(deadline).await {
                Err(_) if tries < PORT_TRIES && server.lost_its_port() => tries += 1,
                outcome => return outcome.map(|()| server),
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.guard.release();
        // The guard has done all this, unless somebody had ended the guard.
        for server in &mut self.servers {
            server.end();
        }
        let _ = fs::remove_dir_all(self.guard.directory());
    }
}

impl Server {
    fn start(
        binary: &Path,
        directory: &Path,
        name: &str,
        master: Option<SocketAddr>,
        group: i32,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("cannot start {} as {name}: {error}", binary.display());
        let home = directory.join(name);
        fs::create_dir_all(&home).map_err(failed)?;
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).map_err(failed)?;
        let port = free_port().map_err(failed)?;

        let mut command = Command::new(binary);
        command
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--daemonize",
                "no",
            ])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ])
            .arg("--dir")
            .arg(&home)
            .process_group(group)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(output);
        if let Some(master) = master {
            command.args([
                "--replicaof",
                &master.ip().to_string(),
                &master.port().to_string(),
            ]);
        }
        let child = command.spawn().map_err(failed)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Server {
            name: name.to_owned(),
            address,
            log,
            child,
        })
    }

    /// How the process ended, if it did.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Where it writes its log.
    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
        tail.iter().flat_map(|line| ["\n  | ", line]).collect()
    }

    /// Whether its log says that its port was taken (server.c, `listenToPort`).
    fn lost_its_port(&self) -> bool {
        self.log_tail().contains("Address already in use")
    }

    async fn listening(&mut self, deadline: Instant) -> Result<(), String> {
        let mut inquiry = Inquiry::new(self.address);
        self.wait(deadline, "did not answer", async || {
            inquiry.info("server").await.is_ok()
        })
        .await
    }

    async fn synced(&mut self, deadline: Instant) -> Result<(), String> {
        let mut inquiry = Inquiry::new(self.address);
        self.wait(deadline, "did not get in sync with the master", async || {
            let info = inquiry.info("replication").await;
            info.is_ok_and(|info| info.field("master_link_status") == Some("up"))
        })
        .await
    }

    async fn version(&mut self, deadline: Instant) -> Result<String, String> {
        let mut inquiry = Inquiry::new(self.address);
        let mut version = String::new();
        self.wait(deadline, "did not say its version", async || {
            let Ok(info) = inquiry.info("server").await else {
                return false;
            };
            // Valkey keeps `redis_version` at 7.2.4 for old clients and says its own beside it.
            version = match (info.field("valkey_version"), info.field("redis_version")) {
                (Some(version), _) => format!("Valkey {version}"),
                (None, Some(version)) => format!("Redis {version}"),
                (None, None) => "a server of unknown version".to_owned(),
            };
            true
        })
        .await?;
        Ok(version)
    }

    async fn wait(
        &mut self,
        deadline: Instant,
        what: &str,
        mut done: impl AsyncFnMut() -> bool,
    ) -> Result<(), String> {
        loop {
            // Asked first: after its end its port may be somebody else's.
            if let Some(status) = self.ended() {
                let how = describe(status);
                return Err(format!(
                    "the private {} ({}) {how}; its log ends with:{}",
                    self.name,
                    self.address,
                    self.log_tail()
                ));
            }
            if done().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let bound = START_BOUND.as_secs();
                return Err(format!(
                    "the private {} ({}) {what} within {bound} s; its log ends with:{}",
                    self.name,
                    self.address,
                    self.log_tail()
                ));
            }
            sleep(POLL).await;
        }
    }

    fn end(&mut self) {
        // Both fail only when it has ended already. Killing is safe until the process has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// How a process ended, in words: `exited with 1`, `was killed by signal 9`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The server to start: the one that was named, or the first of [`BINARIES`] on PATH.
pub(super) fn find_server(named: Option<PathBuf>) -> Result<PathBuf, String> {
    if let Some(path) = named {
        // Absolute, because a bare name would be looked for on PATH when it is started.
        return if let Ok(path) = std::path::absolute(&path)
            && is_executable(&path)
        {
            Ok(path)
        } else {
            Err(format!(
                "server = {}: expected a program that can be run",
                path.display()
            ))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect();
    // The path is not resolved further: Debian's redis-server is a link to a program that acts by its name.
    BINARIES
        .iter()
        .find_map(|name| {
            folders
                .iter()
                .map(|folder| folder.join(name))
                .find(|file| is_executable(file))
        })
        .ok_or_else(|| {
            format!(
                "found neither {} on PATH; install one (Debian, Ubuntu: apt-get install redis-server; \
                 macOS: brew install redis) or say where it is with --server FILE",
                BINARIES.join(" nor ")
            )
        })
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
