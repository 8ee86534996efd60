//! Processes that the benchmark starts: each on ports of its own, each ended by its pid when its owner goes.

use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::workload::command;

/// How long a process may take until it answers: Envoy needs a second or two.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long to wait between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running child. Dropping it ends it, so a panic on the way does too.
pub(crate) struct Process {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

impl Process {
    /// Starts `binary` with its output in `directory`/`name`.log.
    pub(crate) fn start(
        name: &str,
        binary: &Path,
        arguments: &[String],
        directory: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log)?;
        // The kernel ends the child when this process dies in a way that runs no destructor (SIGKILL, SIGTERM).
        let mut command = if Path::new("/usr/bin/setpriv").exists() {
            let mut command = Command::new("/usr/bin/setpriv");
            command.args(["--pdeathsig", "KILL", "--"]).arg(binary);
            command
        } else {
            Command::new(binary)
        };
        let child = command
            .args(arguments)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .map_err(|error| format!("{name}: cannot start {}: {error}", binary.display()))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns when `address` answers `request` with `expected`; an error when it does not in time.
    pub(crate) fn wait_until(
        &mut self,
        address: SocketAddr,
        request: &[&str],
        expected: &str,
    ) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let seen = match ask(address, request) {
                Ok(reply) if reply.contains(expected) => return Ok(()),
                Ok(reply) => format!("answered {reply:?}"),
                Err(error) => error.to_string(),
            };
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let state = ended.map_or("is running".to_owned(), |status| format!("ended with {status}"));
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!(
                    "{} {state}, but {address} {seen}; expected {expected:?}. It said:\n{}",
                    self.name,
                    last_lines(&log, 15)
                )
                .into());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own; the first piece of its reply.
pub(crate) fn ask(address: SocketAddr, request: &[&str]) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(6)))?;
    stream.write_all(&command(request))?;
    let mut reply = vec![0; 16 * 1024];
    let length = stream.read(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply[..length]).into_owned())
}

pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Ports that nothing listened on a moment ago, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], Box<dyn Error>> {
    let mut held = Vec::with_capacity(N);
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind(loopback(0))?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
