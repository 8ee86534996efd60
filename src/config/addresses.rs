//! Addresses as values: of listeners, of the admin listener, of nodes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::raw::{Raw, quoted};
use super::values::{Setting, expected};
use crate::settings::{Listen, Mapped, NodeAddress};

/// The port of Redis, where an address names none.
const REDIS_PORT: u16 = 6379;
/// A sentinel's port, where its address names none.
const SENTINEL_PORT: u16 = 26379;
/// More of them than this are no quorum but a mistake.
const MAX_SENTINELS: usize = 64;
/// The admin listener's port, where its address names none.
const ADMIN_PORT: u16 = 9121;
/// Share of reads of a replica that names none.
const WEIGHT: u32 = 100;
/// Larger weights say nothing that smaller ones cannot; sums stay far from overflow.
const MAX_WEIGHT: u32 = 10_000;

/// The admin listener's address; off is none.
#[derive(Clone)]
pub(super) struct Admin(pub(super) Option<SocketAddr>);

impl Setting for Admin {
    fn parse(raw: &Raw) -> Result<Admin, String> {
        match raw.text() {
            Some("" | "off") => Ok(Admin(None)),
            Some(text) => match socket_addresses(text, ADMIN_PORT).as_slice() {
                [address, ..] => Ok(Admin(Some(*address))),
                [] => expected("IP:PORT, such as \"127.0.0.1:9121\" or \"[::]:9121\", or \"off\""),
            },
            None => expected("IP:PORT in quotes, or \"off\""),
        }
    }

    fn print(&self) -> String {
        self.0
            .map_or_else(|| quoted("off"), |address| quoted(&address.to_string()))
    }
}

impl Setting for Vec<Listen> {
    fn parse(raw: &Raw) -> Result<Vec<Listen>, String> {
        let mut all: Vec<Listen> = Vec::new();
        for element in raw.elements() {
            let Some(found) = element.text().map(listens).filter(|found| !found.is_empty()) else {
                return expected(format!(
                    "IP:PORT, localhost:PORT, /path or unix:path instead of {element}, such as \
                     \"127.0.0.1:6379\" or \"[::1]:6379\""
                ));
            };
            for listen in found {
                let any_port = matches!(listen, Listen::Tcp(address) if address.port() == 0);
                if all.contains(&listen) && !any_port {
                    return expected(format!("each address once, but {listen} is there twice"));
                }
                all.push(listen);
            }
        }
        if all.is_empty() {
            expected("at least one address, such as \"127.0.0.1:6379\"")
        } else {
            Ok(all)
        }
    }

    fn print(&self) -> String {
        let all: Vec<String> = self.iter().map(|listen| quoted(&listen.to_string())).collect();
        format!("[{}]", all.join(", "))
    }
}

fn listens(text: &str) -> Vec<Listen> {
    if let Some(path) = text.strip_prefix("unix:") {
        let some = (!path.is_empty()).then(|| Listen::Unix(PathBuf::from(path)));
        return some.into_iter().collect();
    }
    if text.starts_with('/') {
        return vec![Listen::Unix(PathBuf::from(text))];
    }
    socket_addresses(text, REDIS_PORT)
        .into_iter()
        .map(Listen::Tcp)
        .collect()
}

/// `IP:PORT`, `IP`, or `localhost` with or without a port, which is both loopback addresses; none when it is
/// something else. Other names are not taken: what a name resolves to is no place to listen at by surprise.
fn socket_addresses(text: &str, default_port: u16) -> Vec<SocketAddr> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return vec![address];
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return vec![SocketAddr::new(ip, default_port)];
    }
    let port = match text.split_once(':') {
        Some(("localhost", port)) => port.parse().ok(),
        None if text == "localhost" => Some(default_port),
        _ => None,
    };
    let loopback = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ];
    port.map(|port| loopback.map(|ip| SocketAddr::new(ip, port)).to_vec())
        .unwrap_or_default()
}

/// The master; empty is none.
#[derive(Clone)]
pub(super) struct Master(pub(super) Option<NodeAddress>);

impl Setting for Master {
    fn parse(raw: &Raw) -> Result<Master, String> {
        match raw.text() {
            Some("") => Ok(Master(None)),
            Some(text) => node(text).map(|node| Master(Some(node))),
            None => expected("HOST:PORT in quotes, such as \"10.0.0.5:6379\""),
        }
    }

    fn print(&self) -> String {
        self.0
            .as_ref()
            .map_or_else(|| quoted(""), |node| quoted(&node.to_string()))
    }
}

/// The sentinels; a port that is not given is theirs.
#[derive(Clone)]
pub(super) struct SentinelAddresses(pub(super) Vec<NodeAddress>);

impl Setting for SentinelAddresses {
    fn parse(raw: &Raw) -> Result<SentinelAddresses, String> {
        let mut all: Vec<NodeAddress> = Vec::new();
        for element in raw.elements() {
            let Some(text) = element.text() else {
                return expected(format!("\"HOST:PORT\" instead of {element}"));
            };
            let sentinel = node_with_port(text, SENTINEL_PORT)?;
            if all.iter().any(|other| other.is_same_place(&sentinel)) {
                return expected(format!("each sentinel once, but {sentinel} is there twice"));
            }
            all.push(sentinel);
        }
        if all.len() > MAX_SENTINELS {
            return expected(format!("at most {MAX_SENTINELS} sentinels"));
        }
        Ok(SentinelAddresses(all))
    }

    fn print(&self) -> String {
        list(&self.0)
    }
}

impl Setting for Vec<Mapped> {
    fn parse(raw: &Raw) -> Result<Vec<Mapped>, String> {
        let mut all: Vec<Mapped> = Vec::new();
        for element in raw.elements() {
            let parts = element.text().and_then(|text| text.split_once('='));
            let Some((announced, reached)) = parts else {
                return expected(format!(
                    "\"ANNOUNCED=REACHED\", such as \"10.0.0.5:6379=127.0.0.1:7005\", instead of {element}"
                ));
            };
            let mapped = Mapped {
                announced: node(announced.trim())?,
                reached: node(reached.trim())?,
            };
            if all
                .iter()
                .any(|other| other.announced.is_same_place(&mapped.announced))
            {
                return expected(format!(
                    "each announced address once, but {} is there twice",
                    mapped.announced
                ));
            }
            all.push(mapped);
        }
        Ok(all)
    }

    fn print(&self) -> String {
        list(self)
    }
}

pub(super) fn list(all: &[impl std::fmt::Display]) -> String {
    let all: Vec<String> = all.iter().map(|one| quoted(&one.to_string())).collect();
    format!("[{}]", all.join(", "))
}

/// Whether nodes are found from what others say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discover {
    /// When no replica is named.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Setting for Discover {
    fn parse(raw: &Raw) -> Result<Discover, String> {
        match (raw, raw.text()) {
            (_, Some("auto")) => Ok(Discover::Auto),
            (_, Some("on" | "true")) | (Raw::Boolean(true), _) => Ok(Discover::On),
            (_, Some("off" | "false")) | (Raw::Boolean(false), _) => Ok(Discover::Off),
            _ => expected("\"auto\", \"on\" or \"off\""),
        }
    }

    fn print(&self) -> String {
        quoted(match self {
            Discover::Auto => "auto",
            Discover::On => "on",
            Discover::Off => "off",
        })
    }
}

impl Setting for Vec<NodeAddress> {
    fn parse(raw: &Raw) -> Result<Vec<NodeAddress>, String> {
        let mut all: Vec<NodeAddress> = Vec::new();
        for element in raw.elements() {
            let node = weighted_node(&element)?;
            if all.iter().any(|other| other.is_same_place(&node)) {
                return expected(format!("each replica once, but {node} is there twice"));
            }
            all.push(node);
        }
        Ok(all)
    }

    fn print(&self) -> String {
        let one = |node: &NodeAddress| match node.weight {
            WEIGHT => quoted(&node.to_string()),
            weight => format!("{{ address = {}, weight = {weight} }}", quoted(&node.to_string())),
        };
        format!("[{}]", self.iter().map(one).collect::<Vec<_>>().join(", "))
    }
}

fn weighted_node(raw: &Raw) -> Result<NodeAddress, String> {
    let form = "\"HOST:PORT\" or { address = \"HOST:PORT\", weight = 50 }";
    match raw {
        Raw::Text(text) => node(text.trim()),
        Raw::Table(entries) => {
            let mut found = None;
            let mut weight = WEIGHT;
            for (key, value) in entries {
                match (key.as_str(), value) {
                    ("address", Raw::Text(text)) => found = Some(node(text.trim())?),
                    ("weight", value) => {
                        weight = match u64::parse(value) {
                            Ok(number) if number <= u64::from(MAX_WEIGHT) => number as u32,
                            _ => {
                                return expected(format!(
                                    "a weight from 0 to {MAX_WEIGHT} instead of {value}"
                                ));
                            }
                        };
                    }
                    _ => return expected(format!("{form} instead of {raw}")),
                }
            }
            let Some(node) = found else {
                return expected(format!("{form} instead of {raw}"));
            };
            Ok(NodeAddress { weight, ..node })
        }
        other => expected(format!("{form} instead of {other}")),
    }
}

pub(super) fn node(text: &str) -> Result<NodeAddress, String> {
    node_with_port(text, REDIS_PORT)
}

/// `HOST:PORT`, or `HOST` and that port.
fn node_with_port(text: &str, default_port: u16) -> Result<NodeAddress, String> {
    let bad = || {
        let shown = text
            .rsplit_once('@')
            .map_or(text.to_owned(), |(_, rest)| format!("***@{rest}"));
        let example = "such as \"10.0.0.5:6379\", \"redis-0.redis:6379\" or \"[fd00::5]:6379\"";
        format!("expected HOST:PORT instead of {}, {example}", quoted(&shown))
    };
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, port) = rest.split_once(']').ok_or_else(bad)?;
        host.parse::<Ipv6Addr>().map_err(|_| bad())?;
        (
            host,
            if port.is_empty() {
                None
            } else {
                Some(port.strip_prefix(':').ok_or_else(bad)?)
            },
        )
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?,
    };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    // RFC 1035: a name has at most 255 octets on the wire, which is 253 letters.
    if host.is_empty() || host.len() > 253 || !host.bytes().all(letter) {
        return Err(bad());
    }
    Ok(NodeAddress {
        host: host.to_ascii_lowercase(),
        port,
        weight: WEIGHT,
    })
}
