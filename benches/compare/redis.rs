//! The Redis behind the contenders: a master, optionally with replicas, filled with the keys of all workloads.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::process::{Process, ask, free_ports, loopback};
use super::workload::WORKLOADS;

/// How long replicas may take until they are in sync.
const SYNC_LIMIT: Duration = Duration::from_secs(20);

/// A running replication group, filled.
pub(crate) struct Group {
    servers: Vec<(Process, SocketAddr)>,
}

impl Group {
    pub(crate) fn start(
        name: &str,
        binary: &Path,
        replicas: usize,
        directory: &Path,
    ) -> Result<Self, Box<dyn Error>> {
        let mut group = Self { servers: Vec::new() };
        group.add(&format!("{name}-master"), binary, directory)?;
        for index in 0..replicas {
            group.add(&format!("{name}-replica-{index}"), binary, directory)?;
        }
        group.fill()?;
        group.synchronise(replicas)?;
        Ok(group)
    }

    pub(crate) fn master(&self) -> SocketAddr {
        self.servers[0].1
    }

    pub(crate) fn replicas(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers[1..].iter().map(|(_, address)| *address)
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.iter().map(|(process, _)| process.pid()).collect()
    }

    fn add(&mut self, name: &str, binary: &Path, directory: &Path) -> Result<(), Box<dyn Error>> {
        let [port] = free_ports()?;
        let mut arguments = words(&format!(
            "--port {port} --bind 127.0.0.1 --appendonly no --maxclients 10000"
        ));
        arguments.extend(["--save".to_owned(), String::new()]);
        arguments.extend(["--dbfilename".to_owned(), format!("{name}.rdb")]);
        if let Some((_, master)) = self.servers.first() {
            arguments.extend(words(&format!("--replicaof 127.0.0.1 {}", master.port())));
        }
        let address = loopback(port);
        let mut process = Process::start(name, binary, &arguments, directory)?;
        process.wait_until(address, &["PING"], "+PONG")?;
        self.servers.push((process, address));
        Ok(())
    }

    fn fill(&self) -> Result<(), Box<dyn Error>> {
        for workload in [
            WORKLOADS[0],
            WORKLOADS
                .into_iter()
                .find(|workload| workload.large)
                .ok_or("no large workload")?,
        ] {
            let keys = workload.keys();
            let mut stream = std::net::TcpStream::connect(self.master())?;
            for key in 0..keys.count() {
                std::io::Write::write_all(&mut stream, keys.request(key, true))?;
                let mut reply = [0; 5];
                std::io::Read::read_exact(&mut stream, &mut reply)?;
                if reply != *keys.reply(key, true) {
                    return Err(format!("SET answered {:?}", String::from_utf8_lossy(&reply)).into());
                }
            }
        }
        Ok(())
    }

    /// Waits until every replica is online and has all that the master has.
    fn synchronise(&self, replicas: usize) -> Result<(), Box<dyn Error>> {
        let deadline = Instant::now() + SYNC_LIMIT;
        if replicas == 0 {
            return Ok(());
        }
        loop {
            let info = ask(self.master(), &["INFO", "replication"])?;
            if info.matches("state=online").count() == replicas {
                let reached = ask(self.master(), &["WAIT", &replicas.to_string(), "5000"])?;
                if reached == format!(":{replicas}\r\n") {
                    return Ok(());
                }
            }
            if Instant::now() > deadline {
                return Err(
                    format!("{replicas} replicas are not in sync after {SYNC_LIMIT:?}: {info}").into(),
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `line` cut at its spaces.
pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_ascii_whitespace().map(str::to_owned).collect()
}
