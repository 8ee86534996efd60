//! Which nodes belong to the group, and why: named by the user, behind a name, or found from what others say.
//!
//! Pure: what was resolved and listed goes in, the nodes to probe come out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::connection::{Failure, FailureKind};
use super::info::{Facts, MasterLink};
use super::probe::{Identity, Target};
use super::registry::Registry;
use super::standing::Standing;
use crate::settings::{Mapped, NodeAddress, Upstream, Zoned};
use crate::topology::{MAX_NODES, NodeId, Role};

/// How long a node is remembered that nobody lists any more: a replica that reconnects keeps its place, and one
/// that is promoted in that time is known.
const LINGER: Duration = Duration::from_mins(1);
/// Share of reads of a node that was found; that of a named one unless told otherwise.
const WEIGHT: u32 = 100;

/// Why a node is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Because {
    /// The user named it: this entry.
    Named(usize),
    /// It is one of several addresses behind the name that the user gave in this entry.
    Behind(usize),
    /// Others said so.
    Found,
}

/// A node.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) place: NodeAddress,
    /// `host:port`: the label in metrics and logs.
    pub(super) name: String,
    pub(super) because: Because,
    /// When it was last behind its name or listed by others.
    listed: Duration,
    /// Where it is now; `None` while its name has no address.
    pub(super) address: Option<SocketAddr>,
    /// `run_id`: one for each start of the server.
    pub(super) run_id: Option<String>,
    /// That of the process that was heard as a replica last.
    obeyed: Option<String>,
    /// That of the process that was heard as a master that loads its data, and not as a replica since.
    loaded: Option<String>,
    /// The zone that it says it is in.
    pub(super) zone: Option<String>,
    pub(super) facts: Option<Facts>,
    pub(super) failure: Option<Failure>,
    pub(super) identity: Option<Arc<Identity>>,
    /// Whether it is trusted, if it is a replica.
    pub(super) standing: Standing,
}

impl Member {
    /// Its last answer, unless it does not answer any more.
    pub(super) fn current(&self) -> Option<&Facts> {
        self.facts.as_ref().filter(|_| self.failure.is_none())
    }

    /// Takes in its answer.
    pub(super) fn hear(&mut self, facts: Facts) {
        if facts.role == Role::Replica {
            self.obeyed.clone_from(&self.run_id);
            self.loaded = None;
        } else if facts.loading {
            self.loaded.clone_from(&self.run_id);
        }
        self.failure = None;
        self.facts = Some(facts);
    }

    /// It was a replica, and its process began anew since: as a master by its configuration, not by a promotion.
    pub(super) fn began_anew(&self) -> bool {
        self.obeyed.is_some() && self.obeyed != self.run_id
    }

    /// Its process began as a master, whoever it was before: none is promoted while it loads its data.
    pub(super) fn began_as_master(&self) -> bool {
        self.loaded.is_some() && self.loaded == self.run_id
    }

    pub(super) fn role(&self) -> Role {
        self.current().map_or(Role::Unknown, |facts| facts.role)
    }

    /// The user named it, or a name that stands for it.
    pub(super) fn is_configured(&self) -> bool {
        self.because != Because::Found
    }

    fn is_at(&self, host: &str, port: u16) -> bool {
        let same_host = self.place.host.eq_ignore_ascii_case(host)
            || (self.address).is_some_and(|address| host.parse() == Ok(address.ip()));
        self.place.port == port && same_host
    }

    /// Its name stands for these addresses. When its own is not among them it has moved, and nothing is known of the
    /// server there.
    fn moves_among(&mut self, addresses: &[IpAddr], first: IpAddr) {
        if self
            .address
            .is_none_or(|address| !addresses.contains(&address.ip()))
        {
            self.address = Some(SocketAddr::new(first, self.place.port));
            (self.run_id, self.facts, self.identity, self.failure) = (None, None, None, None);
            (self.zone, self.obeyed, self.loaded) = (None, None, None);
        }
    }
}

/// All nodes that belong to the group now.
#[derive(Debug)]
pub(super) struct Members {
    registry: Registry,
    all: BTreeMap<NodeId, Member>,
    /// What the user named: the master, if any, then the replicas.
    named: Vec<NodeAddress>,
    /// The first of them is called the master.
    master_named: bool,
    address_map: Vec<Mapped>,
    zones: Vec<Zoned>,
    full: bool,
}

impl Members {
    /// What the configuration names, nothing resolved or heard yet.
    pub(super) fn new(upstream: &Upstream) -> Self {
        let mut members = Members {
            registry: Registry::default(),
            all: BTreeMap::new(),
            named: upstream
                .master
                .iter()
                .chain(&upstream.replicas)
                .cloned()
                .collect(),
            master_named: upstream.master.is_some(),
            address_map: upstream.address_map.clone(),
            zones: upstream.zones.clone(),
            full: false,
        };
        for (index, place) in members.named.clone().into_iter().enumerate() {
            members.add(place, Because::Named(index), Duration::ZERO);
        }
        members
    }

    fn add(&mut self, place: NodeAddress, because: Because, now: Duration) {
        let name = place.to_string();
        let Some(id) = self.registry.id(&name) else {
            if !self.full {
                tracing::error!(
                    node = name,
                    most = MAX_NODES,
                    "too many nodes in this process's life; it gets no commands"
                );
                self.full = true;
            }
            return;
        };
        let address = place.host.parse().ok().map(|ip| SocketAddr::new(ip, place.port));
        let member = self.all.entry(id).or_insert_with(|| Member {
            place,
            name,
            because,
            listed: now,
            address,
            run_id: None,
            obeyed: None,
            loaded: None,
            zone: None,
            facts: None,
            failure: None,
            identity: None,
            standing: Standing::default(),
        });
        member.listed = now;
        if because != Because::Found {
            member.because = because;
        }
    }

    /// The host names that have to be resolved.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        let named = self.named.iter().map(|place| &place.host);
        let found = self.all.values().map(|member| &member.place.host);
        named
            .chain(found)
            .filter(|host| host.parse::<IpAddr>().is_err())
            .cloned()
            .collect()
    }

    /// A name stands for these addresses now; never none.
    pub(super) fn resolved(&mut self, host: &str, mut addresses: Vec<IpAddr>, now: Duration) {
        addresses.sort_unstable();
        addresses.dedup();
        let Some(first) = addresses.first().copied() else {
            return;
        };
        for index in 0..self.named.len() {
            if self.named[index].host != host {
                continue;
            }
            let own = self
                .all
                .iter_mut()
                .find(|(_, member)| member.because == Because::Named(index));
            // The first answer decides whether a name stands for one node, which may move, or for several.
            let several = own
                .as_ref()
                .filter(|(_, member)| member.address.is_none() && addresses.len() > 1)
                .map(|(id, _)| **id);
            if let Some(id) = several {
                self.all.remove(&id);
            } else if let Some((_, member)) = own {
                member.moves_among(&addresses, first);
            }
            self.add_behind(index, &addresses, now);
        }
        let found = self
            .all
            .values_mut()
            .filter(|member| member.because == Because::Found);
        for member in found.filter(|member| member.place.host == host) {
            member.moves_among(&addresses, first);
        }
    }

    fn add_behind(&mut self, index: usize, addresses: &[IpAddr], now: Duration) {
        let place = self.named[index].clone();
        let own = self
            .all
            .values()
            .find(|member| member.because == Because::Named(index))
            .and_then(|member| member.address);
        for ip in addresses {
            if own.is_some_and(|own| own.ip() == *ip) {
                continue;
            }
            let place = NodeAddress {
                host: ip.to_string(),
                ..place.clone()
            };
            self.add(place, Because::Behind(index), now);
        }
        // Who is not behind the name any more, and does not answer, has gone. A server that answers may only be
        // marked as not ready; it stays for a while.
        self.all.retain(|_, member| {
            member.because != Because::Behind(index)
                || member.listed == now
                || (member.failure.is_none() && now.saturating_sub(member.listed) < LINGER)
        });
    }

    /// A name could not be resolved; what it stood for stays.
    pub(super) fn unresolved(&mut self, host: &str, failure: &Failure) {
        for member in self.all.values_mut() {
            if member.place.host == host && member.address.is_none() {
                member.failure = Some(failure.clone());
            }
        }
    }

    /// An announced address as it is reached from here.
    fn mapped<'a>(&'a self, host: &'a str, port: u16) -> (&'a str, u16) {
        let mapped = self
            .address_map
            .iter()
            .find(|mapped| mapped.announced.port == port && mapped.announced.host.eq_ignore_ascii_case(host));
        mapped.map_or((host, port), |mapped| {
            (mapped.reached.host.as_str(), mapped.reached.port)
        })
    }

    /// The node that is announced by that address.
    pub(super) fn announced(&self, host: &str, port: u16) -> Option<NodeId> {
        let (host, port) = self.mapped(host, port);
        self.all
            .iter()
            .find(|(_, member)| member.is_at(host, port))
            .map(|(id, _)| *id)
    }

    /// What the replicas say of their links.
    pub(super) fn links(&self) -> impl Iterator<Item = &MasterLink> {
        self.all
            .values()
            .filter_map(|member| member.current()?.link.as_ref())
    }

    /// Whom that node calls its master.
    pub(super) fn master_of(&self, id: NodeId) -> Option<NodeId> {
        let link = self.all.get(&id)?.current()?.link.as_ref()?;
        self.used(&link.master.0, link.master.1)
    }

    /// The node that is announced so, under the address by which it is used.
    pub(super) fn used(&self, host: &str, port: u16) -> Option<NodeId> {
        let id = self.announced(host, port)?;
        Some(self.alias_of(id).unwrap_or(id))
    }

    /// How many nodes name that one as their master, under whatever address.
    pub(super) fn followers(&self, master: NodeId) -> usize {
        self.links()
            .filter_map(|link| self.announced(&link.master.0, link.master.1))
            .filter(|named| self.alias_of(*named).unwrap_or(*named) == master)
            .count()
    }

    /// How many nodes have neither answered nor failed to.
    pub(super) fn unheard(&self) -> usize {
        self.all
            .values()
            .filter(|member| member.facts.is_none() && member.failure.is_none())
            .count()
    }

    /// Somebody who should know lists these.
    pub(super) fn list(&mut self, announced: &[(String, u16)], now: Duration) {
        for (host, port) in announced {
            if let Some(member) = self.announced(host, *port).and_then(|id| self.all.get_mut(&id)) {
                member.listed = now;
                continue;
            }
            let (host, port) = self.mapped(host, *port);
            let place = NodeAddress {
                host: host.to_owned(),
                port,
                weight: WEIGHT,
            };
            self.add(place, Because::Found, now);
        }
    }

    /// Those leave that were found once and nobody lists any more, except that one.
    pub(super) fn retire(&mut self, master: NodeId, now: Duration) {
        self.all.retain(|id, member| {
            member.is_configured() || *id == master || now.saturating_sub(member.listed) < LINGER
        });
    }

    /// The nodes to probe.
    pub(super) fn targets(&self) -> Vec<Target> {
        let target = |(id, member): (&NodeId, &Member)| {
            Some(Target {
                id: *id,
                address: member.address?,
            })
        };
        self.all.iter().filter_map(target).collect()
    }

    /// Of a server that is known under several addresses, the one under which it is used; `None`: this one.
    pub(super) fn alias_of(&self, id: NodeId) -> Option<NodeId> {
        let member = self.all.get(&id)?;
        let run_id = member.run_id.as_ref().filter(|_| member.current().is_some())?;
        let first = self
            .all
            .iter()
            .filter(|(_, other)| other.run_id.as_ref() == Some(run_id) && other.current().is_some())
            .min_by_key(|(id, other)| (!other.is_configured(), **id))?;
        (*first.0 != id).then_some(*first.0)
    }

    /// The user called it the master.
    pub(super) fn is_called_master(&self, member: &Member) -> bool {
        self.master_named && matches!(member.because, Because::Named(0) | Because::Behind(0))
    }

    /// The zone that a node is in: what the user says, or else what it says itself.
    pub(super) fn zone_of<'a>(&'a self, member: &'a Member) -> Option<&'a str> {
        let told = self
            .zones
            .iter()
            .find(|zoned| member.is_at(&zoned.node.host, zoned.node.port));
        told.map(|zoned| zoned.zone.as_str()).or(member.zone.as_deref())
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Member> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: NodeId) -> Option<&mut Member> {
        self.all.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.all.iter().map(|(id, member)| (*id, member))
    }

    /// Every label ever given a number, in the order of the numbers.
    pub(super) fn names(&self) -> &[String] {
        self.registry.names()
    }
}

/// Why a name has no address.
pub(super) fn unknown_name(error: impl std::fmt::Display) -> Failure {
    Failure {
        kind: FailureKind::Resolve,
        message: format!("its name does not resolve: {error}"),
    }
}
