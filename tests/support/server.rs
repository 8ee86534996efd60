//! One real Redis or Valkey on a free loopback port, in a private directory, gone with its value.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{Client, PATIENCE, Reply, eventually, free_port};

/// The servers that every behaviour is tested on, as `scripts/install-servers` installs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavor {
    /// Redis 7.0, Debian bookworm's.
    Redis7,
    /// Redis 8.0, Debian trixie's.
    Redis8,
    /// Valkey 8.1, Debian trixie's.
    Valkey8,
}

impl Flavor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Redis7, Self::Redis8, Self::Valkey8];

    /// The name of its directory, which is how the command table calls it too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Redis7 => "redis-7.0",
            Self::Redis8 => "redis-8.0",
            Self::Valkey8 => "valkey-8.1",
        }
    }

    /// What it says of a script that it does not know, without the dash.
    pub fn no_script(self) -> &'static str {
        match self {
            Self::Redis7 | Self::Redis8 => "NOSCRIPT No matching script. Please use EVAL.",
            Self::Valkey8 => "NOSCRIPT No matching script.",
        }
    }

    /// One of its programs: `server`, `cli`, `benchmark` or `sentinel`.
    #[track_caller]
    pub fn program(self, tool: &str) -> PathBuf {
        let cache = std::env::var_os("AMBASSADOR_CACHE").map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache"),
            PathBuf::from,
        );
        let program = cache.join("servers").join(self.name()).join("bin").join(tool);
        assert!(
            program.exists(),
            "{} is not installed ({} is missing): run `make test`, or scripts/install-servers once",
            self.name(),
            program.display(),
        );
        program
    }
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A running server, or one that was killed and may be started again on its port.
pub struct Server {
    flavor: Flavor,
    port: u16,
    args: Vec<String>,
    dir: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Starts a server and waits until it answers. `extra_args` are its own (`--maxmemory`, `1mb`).
    #[track_caller]
    pub fn start(flavor: Flavor, extra_args: &[&str]) -> Self {
        let mut server = Self::prepare(flavor, extra_args);
        // Another process may have taken the port in between; no second reason is tried away.
        while !server.launch() {
            server.port = free_port();
        }
        server
    }

    /// Starts a replica of `master`, of the same flavor; it may not be in sync yet.
    #[track_caller]
    pub fn replica_of(master: &Self) -> Self {
        Self::start(
            master.flavor,
            &["--replicaof", "127.0.0.1", &master.port.to_string()],
        )
    }

    fn prepare(flavor: Flavor, extra_args: &[&str]) -> Self {
        Self {
            flavor,
            port: free_port(),
            args: extra_args.iter().map(|&arg| arg.to_owned()).collect(),
            dir: TempDir::with_prefix("ambassador-test-").expect("a temporary directory can be made"),
            child: None,
        }
    }

    /// Starts the process; false when its port is taken.
    #[track_caller]
    fn launch(&mut self) -> bool {
        let output = File::create(self.log_path()).expect("the server's log can be made");
        let child = Command::new(self.flavor.program("server"))
            .args([
                "--port",
                &self.port.to_string(),
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
                "--enable-debug-command",
                "yes",
            ])
            // A full synchronisation starts at once rather than after five seconds.
            .args(["--repl-diskless-sync", "yes", "--repl-diskless-sync-delay", "0"])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", self.flavor));
        let child = self.child.insert(child);
        let pid = child.id().to_string();
        let log_path = self.dir.path().join("server.log");
        let (port, flavor) = (self.port, self.flavor);
        let started = eventually(PATIENCE, || {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                let log = fs::read_to_string(&log_path).unwrap_or_default();
                assert!(
                    log.contains("in use"),
                    "{flavor} ended at once with {status}:\n{log}"
                );
                return Some(false);
            }
            // Only the process that was started counts, not another one that has the port.
            let info = Client::try_connect(port)
                .ok()?
                .try_command(&["INFO", "server"])
                .ok()?;
            fields(&info)
                .get("process_id")
                .filter(|&id| *id == pid)
                .map(|_| true)
        });
        if !started {
            self.child = None;
        }
        started
    }

    /// Which server it is.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process id.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// A new connection to it.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.port)
    }

    /// One command on a connection of its own.
    #[track_caller]
    pub fn command(&self, words: &[impl AsRef<[u8]>]) -> Reply {
        self.client().command(words)
    }

    /// The fields of a section of INFO. A sentinel that makes a node another's replica cuts whoever asks at that moment;
    /// asked again, it answers.
    #[track_caller]
    pub fn info(&self, section: &str) -> BTreeMap<String, String> {
        let words = ["INFO", section];
        let cut = |error: &io::Error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe
            )
        };
        match self.client().try_command(&words) {
            Ok(reply) => fields(&reply),
            Err(error) if cut(&error) => fields(&self.command(&words)),
            Err(error) => panic!("no reply to INFO {section}: {error}"),
        }
    }

    /// How often each command ran here (`get`, `config|set`), this module's own INFO among them.
    #[track_caller]
    pub fn commandstats(&self) -> BTreeMap<String, u64> {
        self.info("commandstats")
            .into_iter()
            .filter_map(|(key, value)| {
                let name = key.strip_prefix("cmdstat_")?.to_owned();
                let calls = value.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
                Some((name, calls))
            })
            .collect()
    }

    /// How often one command ran here.
    #[track_caller]
    pub fn calls(&self, command: &str) -> u64 {
        self.commandstats().get(command).copied().unwrap_or(0)
    }

    /// Kills it without a chance to say goodbye. Its port stays known.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again on the same port, empty, with the same arguments; kills it first if it runs.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        eventually(PATIENCE, || self.launch().then_some(()));
    }

    /// As [`Server::restart`], with other arguments of its own, and with the data that was saved if there is any.
    #[track_caller]
    pub fn restart_with(&mut self, extra_args: &[&str]) {
        self.args = extra_args.iter().map(|&arg| arg.to_owned()).collect();
        self.restart();
    }

    /// Removes the data that it would load at its next start.
    pub fn forget_data(&self) {
        // None was saved: there is nothing to forget.
        let _ = fs::remove_file(self.dir.path().join("dump.rdb"));
    }

    /// Stops it in the middle of whatever it does; its connections stay open.
    pub fn freeze(&self) {
        signal(self.pid(), Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        signal(self.pid(), Signal::CONT);
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal to a process that this test started.
#[track_caller]
pub(super) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a child's pid is above zero");
    kill_process(pid, signal).expect("a child can be signalled");
}

fn fields(info: &Reply) -> BTreeMap<String, String> {
    let text = if info.is_error() {
        String::new()
    } else {
        info.text()
    };
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}
