//! The contenders: where their binaries are, how each is started with one thread, what its version is.
//!
//! Their configurations are the templates in `benches/peers/`.

use std::env;
use std::error::Error;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, free_ports, loopback};
use super::redis::{Group, words};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contender {
    Direct,
    Haproxy,
    Twemproxy,
    Envoy,
    Ambassador,
    /// The ambassador before a master and two replicas: reads go to the replicas.
    AmbassadorReplicas,
}

use Contender::{Ambassador, AmbassadorReplicas, Direct, Envoy, Haproxy, Twemproxy};

pub(crate) const CONTENDERS: [Contender; 6] =
    [Direct, Haproxy, Twemproxy, Envoy, Ambassador, AmbassadorReplicas];

impl Contender {
    /// Its name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Direct => "direct",
            Haproxy => "haproxy",
            Twemproxy => "twemproxy",
            Envoy => "envoy",
            Ambassador => "ambassador",
            AmbassadorReplicas => "ambassador-2r",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Direct => "direct",
            Haproxy => "HAProxy TCP",
            Twemproxy => "twemproxy",
            Envoy => "Envoy",
            Ambassador => "ambassador",
            AmbassadorReplicas => "ambassador, 2 replicas",
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let name = if name == "nutcracker" { "twemproxy" } else { name };
        CONTENDERS.into_iter().find(|contender| contender.name() == name)
    }

    pub(crate) fn wants_replicas(self) -> bool {
        self == AmbassadorReplicas
    }
}

/// Where the binaries are.
pub(crate) struct Binaries {
    pub(crate) redis: Option<PathBuf>,
    pub(crate) ambassador: PathBuf,
    /// `scripts/install-peers` put the peers here.
    peers: PathBuf,
}

impl Binaries {
    pub(crate) fn find(redis: Option<PathBuf>, ambassador: Option<PathBuf>) -> Self {
        let cache = env::var_os("AMBASSADOR_CACHE").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache"),
            PathBuf::from,
        );
        let private = cache.join("servers/redis-7.0/bin/server");
        Self {
            redis: redis
                .or_else(|| private.exists().then_some(private))
                .or_else(|| on_path("redis-server"))
                .map(absolute),
            ambassador: ambassador.map_or_else(|| env!("CARGO_BIN_EXE_redis-ambassador").into(), absolute),
            peers: absolute(cache.join("peers/bin")),
        }
    }

    /// The binary of `contender`; `None` when this machine has none, and for direct, which needs none.
    pub(crate) fn of(&self, contender: Contender) -> Option<PathBuf> {
        let peer = |name: &str| {
            let private = self.peers.join(name);
            private.exists().then_some(private).or_else(|| on_path(name))
        };
        match contender {
            Direct => None,
            Haproxy => peer("haproxy"),
            Twemproxy => peer("nutcracker"),
            Envoy => peer("envoy"),
            Ambassador | AmbassadorReplicas => self.ambassador.exists().then(|| self.ambassador.clone()),
        }
    }

    /// What `contender` says of its version, in a few words; of Redis for direct.
    pub(crate) fn version(&self, contender: Contender) -> String {
        let (binary, flag) = match contender {
            Direct => (self.redis.clone(), "--version"),
            Haproxy => (self.of(contender), "-v"),
            Twemproxy => (self.of(contender), "-V"),
            Envoy | Ambassador | AmbassadorReplicas => (self.of(contender), "--version"),
        };
        let output = binary.and_then(|binary| Command::new(binary).arg(flag).output().ok());
        let said = output.map(|output| {
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).trim().to_owned()
        });
        version_in(&said.unwrap_or_default()).unwrap_or_else(|| "unknown".to_owned())
    }
}

/// The first word of `text` that reads like a version: `v=7.0.15`, `nutcracker-0.5.0`, `hash/1.40.0/Clean`.
fn version_in(text: &str) -> Option<String> {
    let pieces = text.split(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/' | ','));
    let stripped = pieces.map(|piece| piece.strip_prefix("nutcracker-").unwrap_or(piece));
    let mut versions = stripped.filter(|piece| {
        piece.starts_with(|c: char| c.is_ascii_digit())
            && piece
                .split(['-', '+'])
                .next()
                .is_some_and(|numbers| numbers.split('.').count() == 3)
    });
    versions.next().map(str::to_owned)
}

/// Children run in a directory of their own, where a relative path means something else.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let sbin = [PathBuf::from("/usr/sbin")];
    env::split_paths(&path)
        .chain(sbin)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// A contender that answers, and where.
pub(crate) struct Running {
    pub(crate) contender: Contender,
    pub(crate) address: SocketAddr,
    /// `None` for direct.
    process: Option<Process>,
    /// The servers behind it.
    pub(crate) redis: Vec<u32>,
}

impl Running {
    /// Starts `contender` before `group`; returns when a key can be read through it.
    pub(crate) fn start(
        contender: Contender,
        binaries: &Binaries,
        group: &Group,
        directory: &Path,
        suffix: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let redis = group.pids();
        if contender == Direct {
            return Ok(Self {
                contender,
                address: group.master(),
                process: None,
                redis,
            });
        }
        let binary = binaries
            .of(contender)
            .ok_or_else(|| format!("{} is not installed", contender.title()))?;
        let [listen, admin] = free_ports()?;
        let name = format!("{}{suffix}", contender.name());
        let config = |template: &str, extension: &str| -> Result<String, Box<dyn Error>> {
            let text = template
                .replace("@LISTEN@", &listen.to_string())
                .replace("@MASTER@", &group.master().port().to_string());
            let file = directory.join(format!("{name}.{extension}"));
            fs::write(&file, text)?;
            Ok(file.display().to_string())
        };
        let arguments = match contender {
            Direct => Vec::new(),
            // -db: in the foreground.
            Haproxy => {
                let file = config(include_str!("../peers/haproxy.cfg"), "cfg")?;
                words(&format!("-db -f {file}"))
            }
            Twemproxy => {
                let file = config(include_str!("../peers/nutcracker.yml"), "yml")?;
                // Debian's build would log below /var/log; above level 4 it looks up the peer's name for every request.
                words(&format!(
                    "-c {file} -v 4 -o {name}.own.log -a 127.0.0.1 -s {admin}"
                ))
            }
            Envoy => {
                let file = config(include_str!("../peers/envoy.yaml"), "yaml")?;
                words(&format!(
                    "-c {file} --concurrency 1 --disable-hot-restart -l warning"
                ))
            }
            Ambassador | AmbassadorReplicas => {
                let mut line = words(&format!(
                    "--workers 1 --listen 127.0.0.1:{listen} --admin 127.0.0.1:{admin}"
                ));
                line.extend(["--master".to_owned(), group.master().to_string()]);
                line.extend(
                    group
                        .replicas()
                        .flat_map(|replica| ["--replica".to_owned(), replica.to_string()]),
                );
                line
            }
        };
        let mut process = Process::start(&name, &binary, &arguments, directory)?;
        let address = loopback(listen);
        process.wait_until(address, &["GET", "small:00000000"], "$64\r\n00000000xx")?;
        Ok(Self {
            contender,
            address,
            process: Some(process),
            redis,
        })
    }

    /// The process that stands between the client and Redis.
    pub(crate) fn proxy_pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_each_peer_says() {
        let says = |text, version: &str| assert_eq!(version_in(text).as_deref(), Some(version));
        says(
            "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64",
            "7.0.15",
        );
        says(
            "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/",
            "2.6.12-1+deb12u4",
        );
        says("This is nutcracker-0.5.0\nasync event backend: epoll", "0.5.0");
        says(
            "envoy  version: 9e5580933739775e/1.40.0/Clean/RELEASE/BoringSSL",
            "1.40.0",
        );
        assert_eq!(version_in("no version here, v1.2"), None);
    }

    #[test]
    fn contenders_are_found_by_name_and_by_the_name_of_their_package() {
        for contender in CONTENDERS {
            assert_eq!(Contender::by_name(contender.name()), Some(contender));
        }
        assert_eq!(Contender::by_name("nutcracker"), Some(Twemproxy));
        assert_eq!(Contender::by_name("varnish"), None);
    }
}
