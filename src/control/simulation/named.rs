//! The ways in which a configuration names the group, and what the name server says.

use std::net::IpAddr;
use std::time::Duration;

use super::checks::{MAX_LAG, MAX_LAG_TIME, MAX_LINK_DOWN};
use super::server::{PORT, Place, host};
use super::world::World;
use crate::settings::{NodeAddress, Sentinels, Upstream};

/// How the group was named in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// All nodes by their addresses.
    All,
    /// One by its address.
    One,
    /// All behind one name.
    Headless,
    /// Each by a name of its own.
    Hosts,
    /// By sentinels.
    Sentinels,
}

/// How long a probe waits for its answer.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn upstream(world: &World, named: Named) -> Upstream {
    let node = |host: String| NodeAddress {
        host,
        port: PORT,
        weight: 100,
    };
    let (master, replicas) = match named {
        Named::All | Named::Hosts => {
            let mut all = world.servers.iter().enumerate().map(|(index, server)| {
                node(match named {
                    Named::All => host(server.place),
                    _ => format!("redis-{index}"),
                })
            });
            (all.next(), all.collect())
        }
        Named::One => (
            world.servers.last().map(|last| node(host(last.place))),
            Vec::new(),
        ),
        Named::Headless => (Some(node("redis".to_owned())), Vec::new()),
        Named::Sentinels => (None, Vec::new()),
    };
    let second = Duration::from_secs(1);
    Upstream {
        master,
        replicas,
        discover: matches!(named, Named::One | Named::Sentinels),
        sentinels: (named == Named::Sentinels).then(|| Sentinels {
            addresses: (1..=3).map(|index| node(format!("10.0.1.{index}"))).collect(),
            master: "mymaster".to_owned(),
            username: None,
            password: None,
        }),
        address_map: Vec::new(),
        zone: None,
        zones: Vec::new(),
        resolve_interval: second,
        username: None,
        password: None,
        connect_timeout: second,
        connects_per_second: 20,
        start_timeout: second,
        reply_timeout: second,
        probe_interval: second,
        probe_timeout: TIMEOUT,
        mark_interval: second,
        max_link_down: MAX_LINK_DOWN,
        max_lag_bytes: MAX_LAG,
        max_lag_time: MAX_LAG_TIME,
        hold_emptied: false,
        links_per_node: 1,
        warm_leases: 1,
        max_leases: 1,
        idle_timeout: second,
    }
}

/// What the name server says.
pub(super) fn addresses(world: &World, name: &str) -> Vec<IpAddr> {
    let ip = |place: Place| IpAddr::from([10, 0, 0, place]);
    match name
        .strip_prefix("redis-")
        .and_then(|index| index.parse::<usize>().ok())
    {
        Some(index) => vec![ip(world.servers[index].place)],
        None => world.servers.iter().map(|server| ip(server.place)).collect(),
    }
}
