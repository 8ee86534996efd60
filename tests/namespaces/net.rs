//! A network of the test's own: hosts that are network namespaces on a bridge, each with an address, whose cable can be
//! pulled. Nobody says that a host is gone then: packets disappear, as with a machine that lost its power.

use std::net::Ipv4Addr;
use std::process::Command;

/// Hosts on one bridge; all of it goes with it.
pub(crate) struct Net {
    /// Tells its subnet and its interfaces from others'.
    number: u8,
    hosts: usize,
}

impl Net {
    /// Lays cables to so many hosts. `None`: this machine does not let us, and says why.
    pub(crate) fn with_hosts(hosts: usize) -> Option<Self> {
        for number in 1..=u8::MAX {
            let bridge = format!("ambassador{number}");
            match ip(&format!("link add {bridge} type bridge")) {
                Ok(_) => return Some(Self { number, hosts: 0 }.with(hosts)),
                // Another test's, or what one left behind that was killed.
                Err(why) if why.contains("exists") => {}
                Err(why) => {
                    eprintln!("not run, as this machine does not allow network namespaces: {why}");
                    return None;
                }
            }
        }
        panic!(
            "every number is taken: `ip link del ambassador1` and so on removes what killed tests left behind"
        );
    }

    fn with(mut self, hosts: usize) -> Self {
        let (bridge, address) = (self.bridge(), self.address(0));
        for line in [
            format!("addr add {address}/24 dev {bridge}"),
            format!("link set {bridge} up"),
        ] {
            ip(&line).unwrap_or_else(|why| panic!("ip {line}: {why}"));
        }
        for host in 1..=hosts {
            self.hosts = host;
            let (name, cable, bridge) = (self.name(host), self.cable(host), self.bridge());
            for line in [
                format!("netns add {name}"),
                format!("link add {cable} type veth peer name eth0 netns {name}"),
                format!("link set {cable} master {bridge} up"),
                format!("-n {name} addr add {}/24 dev eth0", self.address(host)),
                format!("-n {name} link set eth0 up"),
                format!("-n {name} link set lo up"),
            ] {
                ip(&line).unwrap_or_else(|why| panic!("ip {line}: {why}"));
            }
        }
        self
    }

    /// Where a host is reached; host 0 is the test itself.
    pub(crate) fn address(&self, host: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 177, self.number, host as u8 + 1)
    }

    /// A program on a host.
    pub(crate) fn on(&self, host: usize, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(host)]).arg(program);
        command
    }

    /// Pulls a host's cable.
    pub(crate) fn pull(&self, host: usize) {
        self.set(host, "down");
    }

    /// From now on what a host sends to that port, wherever, is lost, acknowledgements too; what is sent to it arrives.
    pub(crate) fn lose_sent_to(&self, host: usize, port: u16) {
        let name = self.name(host);
        ip(&format!("-n {name} rule add ipproto tcp dport {port} blackhole")).expect("packets can be lost");
    }

    /// Plugs it in again.
    pub(crate) fn plug(&self, host: usize) {
        self.set(host, "up");
    }

    fn set(&self, host: usize, state: &str) {
        ip(&format!("link set {} {state}", self.cable(host))).expect("a cable can be pulled");
    }

    fn bridge(&self) -> String {
        format!("ambassador{}", self.number)
    }

    fn cable(&self, host: usize) -> String {
        format!("amb{}-{host}", self.number)
    }

    fn name(&self, host: usize) -> String {
        format!("ambassador-{}-{host}", self.number)
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in 1..=self.hosts {
            let _ = ip(&format!("link del {}", self.cable(host)));
            let _ = ip(&format!("netns del {}", self.name(host)));
        }
        let _ = ip(&format!("link del {}", self.bridge()));
    }
}

/// What `ip` says, or what is wrong.
fn ip(line: &str) -> Result<String, String> {
    let output = Command::new("ip")
        .args(line.split(' '))
        .output()
        .map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}
