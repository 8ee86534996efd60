//! The ambassador's own binary as a process: started with arguments, asked over its ports, ended by its pid.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tempfile::TempDir;

use super::server::signal;
use super::{Client, Group, PATIENCE, eventually, free_port};

/// A running ambassador; killed with its value, which adds its log to the output of a test that fails.
pub struct Ambassador {
    child: Child,
    port: u16,
    admin_port: u16,
    dir: TempDir,
}

impl Ambassador {
    /// Starts it and waits until `/ready` says 200. Listener and admin port are given by this module.
    #[track_caller]
    pub fn start(args: &[&str]) -> Self {
        let mut ambassador = Self::spawn(args);
        ambassador.wait_ready();
        ambassador
    }

    /// Starts it with a configuration file of this text, and further arguments, and waits until it is ready.
    #[track_caller]
    pub fn with_config(config: &str, args: &[&str]) -> Self {
        let mut ambassador = Self::spawn_in(private_dir(), Some(config), args);
        ambassador.wait_ready();
        ambassador
    }

    /// Starts it in front of a group, every node named.
    #[track_caller]
    pub fn over(group: &Group) -> Self {
        Self::over_with(group, &[])
    }

    /// Starts it in front of a group, every node named, with further arguments.
    #[track_caller]
    pub fn over_with(group: &Group, args: &[&str]) -> Self {
        let nodes = node_args(group);
        let all: Vec<&str> = nodes
            .iter()
            .map(String::as_str)
            .chain(args.iter().copied())
            .collect();
        Self::start(&all)
    }

    /// Starts it and does not wait for anything.
    #[track_caller]
    pub fn spawn(args: &[&str]) -> Self {
        Self::spawn_in(private_dir(), None, args)
    }

    /// Starts it where `hosts` is what `/etc/hosts` says, and does not wait for anything. `None`: this user may not
    /// do that.
    #[track_caller]
    pub fn spawn_with_hosts(hosts: &Path, config: &str, args: &[&str]) -> Option<Self> {
        let may = Command::new("unshare").args(["--mount", "true"]).output();
        if !may.is_ok_and(|output| output.status.success()) {
            return None;
        }
        let mut command = Command::new("unshare");
        command.args([
            "--mount",
            "sh",
            "-c",
            "mount --bind \"$0\" /etc/hosts && exec \"$@\"",
        ]);
        command.arg(hosts).arg(env!("CARGO_BIN_EXE_redis-ambassador"));
        Some(Self::spawn_by(command, private_dir(), Some(config), args))
    }

    #[track_caller]
    fn spawn_in(dir: TempDir, config: Option<&str>, args: &[&str]) -> Self {
        let command = Command::new(env!("CARGO_BIN_EXE_redis-ambassador"));
        Self::spawn_by(command, dir, config, args)
    }

    #[track_caller]
    fn spawn_by(mut command: Command, dir: TempDir, config: Option<&str>, args: &[&str]) -> Self {
        let (port, admin_port) = two_free_ports();
        command.args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--admin",
            &format!("127.0.0.1:{admin_port}"),
        ]);
        if let Some(text) = config {
            let path = dir.path().join("ambassador.toml");
            fs::write(&path, text).expect("the configuration can be written");
            command.arg("--config").arg(path);
        }
        let output = File::create(dir.path().join("ambassador.log")).expect("the log can be made");
        let child = command
            .args(args)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be copied"))
            .stderr(output)
            .spawn()
            .expect("the binary that cargo built can be started");
        Self {
            child,
            port,
            admin_port,
            dir,
        }
    }

    /// Waits until `/ready` says 200; fails when it ends before that or takes too long.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be asked") {
                panic!("the ambassador ended with {status} before it was ready");
            }
            let answer = self.try_admin_get("/ready");
            if matches!(answer, Ok((200, _))) {
                return;
            }
            assert!(
                std::time::Instant::now() < end,
                "the ambassador was not ready within {PATIENCE:?}, /ready said {answer:?}",
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The port for Redis clients on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the admin listener on 127.0.0.1.
    pub fn admin_port(&self) -> u16 {
        self.admin_port
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A directory of its own, gone with it; `ambassador.toml` and `ambassador.log` lie there.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file that [`Ambassador::with_config`] wrote, to be changed under it.
    pub fn config_path(&self) -> PathBuf {
        self.dir.path().join("ambassador.toml")
    }

    /// What it wrote to stdout and stderr so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("ambassador.log")).unwrap_or_default()
    }

    /// A new client connection.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::try_connect(self.port)
            .unwrap_or_else(|error| panic!("the ambassador takes no connection: {error}"))
    }

    /// Status and body of a GET on the admin port.
    #[track_caller]
    pub fn admin_get(&self, path: &str) -> (u16, String) {
        self.try_admin_get(path)
            .unwrap_or_else(|error| panic!("GET {path} failed: {error}"))
    }

    /// Status and body of a GET on the admin port.
    pub fn try_admin_get(&self, path: &str) -> io::Result<(u16, String)> {
        self.admin_request("GET", path)
    }

    /// Status and body of a POST without a body on the admin port.
    #[track_caller]
    pub fn admin_post(&self, path: &str) -> (u16, String) {
        self.admin_request("POST", path)
            .unwrap_or_else(|error| panic!("POST {path} failed: {error}"))
    }

    fn admin_request(&self, method: &str, path: &str) -> io::Result<(u16, String)> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.admin_port));
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // HTTP/1.0: the answer ends with the connection and is never chunked.
        stream.write_all(format!("{method} {path} HTTP/1.0\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(malformed)?;
        Ok((status, body.to_owned()))
    }

    /// The sum of a metric's samples whose line starts with `prefix` (`name{label="x"` narrows it).
    #[track_caller]
    pub fn metric(&self, prefix: &str) -> f64 {
        let (_, text) = self.admin_get("/metrics");
        let samples = text.lines().filter(|line| line.starts_with(prefix));
        samples
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .sum()
    }

    /// Resident memory in KiB.
    #[track_caller]
    pub fn rss_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it is running");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .expect("Linux tells VmRSS in kB")
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    #[track_caller]
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(PATIENCE)
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, which: Signal) {
        signal(self.pid(), which);
    }

    /// Waits until it has ended.
    #[track_caller]
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        eventually(deadline, || self.child.try_wait().expect("a child can be asked"))
    }
}

impl Drop for Ambassador {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // The test has failed: what the ambassador said belongs to the failure.
            eprintln!("--- the ambassador's log ---\n{}", self.log());
        }
    }
}

fn private_dir() -> TempDir {
    TempDir::with_prefix("ambassador-test-").expect("a temporary directory can be made")
}

fn two_free_ports() -> (u16, u16) {
    let first = free_port();
    let second = eventually(PATIENCE, || Some(free_port()).filter(|port| *port != first));
    (first, second)
}

/// `--master ADDR --replica ADDR ...` for a group.
fn node_args(group: &Group) -> Vec<String> {
    let mut args = vec!["--master".to_owned(), group.master.address()];
    for replica in &group.replicas {
        args.extend(["--replica".to_owned(), replica.address()]);
    }
    args
}
