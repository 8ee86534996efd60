//! The group as it is known: what probes say goes in, snapshots come out. No clock, no sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Failure;
use super::election::{self, Candidate, Fate, Incumbent};
use super::gate::{self, Bounds};
use super::info::{Facts, Line, MasterLink};
use super::probe::{Identity, Target, Word};
use super::registry::Registry;
use super::report::{NodeReport, Report};
use super::table::Layers;
use crate::commands::Table;
use crate::settings::{NodeAddress, Settings, Upstream};
use crate::topology::{Greeting, MAX_NODES, Node, NodeId, Role, Topology};

/// How long a discovered node is remembered after the master stopped listing it: a replica that
/// reconnects keeps its place, and one that is promoted in that time is known.
const LINGER: Duration = Duration::from_mins(1);
/// Share of reads of a discovered replica; that of a configured one unless told otherwise.
const WEIGHT: u32 = 100;

/// The group.
#[derive(Debug)]
pub(super) struct Group {
    registry: Registry,
    members: BTreeMap<NodeId, Member>,
    discover: bool,
    bounds: Bounds,
    /// The master adopted last, with where it was when it last said so.
    adopted: Option<(NodeId, Line)>,
    /// The adopted one is master now.
    reigns: bool,
    layers: Layers,
    /// Whose identity the table and greeting below are made of.
    identity: Option<Arc<Identity>>,
    table: Arc<Table>,
    greeting: Option<Arc<Greeting>>,
    version: u64,
    full: bool,
}

#[derive(Debug)]
struct Member {
    place: NodeAddress,
    name: String,
    configured: bool,
    /// When a master listed it last; only discovered ones care.
    listed: Duration,
    address: Option<SocketAddr>,
    /// `run_id`: one for each start of the server.
    run_id: Option<String>,
    facts: Option<Facts>,
    failure: Option<Failure>,
    identity: Option<Arc<Identity>>,
}

impl Member {
    /// Its last answer, unless it does not answer any more.
    fn current(&self) -> Option<&Facts> {
        self.facts.as_ref().filter(|_| self.failure.is_none())
    }

    fn role(&self) -> Role {
        self.current().map_or(Role::Unknown, |facts| facts.role)
    }

    fn is_at(&self, host: &str, port: u16) -> bool {
        let same_host = self.place.host.eq_ignore_ascii_case(host)
            || (self.address).is_some_and(|address| host.parse() == Ok(address.ip()));
        self.place.port == port && same_host
    }
}

impl Group {
    /// The configured nodes, none of them heard yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let layers = Layers::new(settings.commands.clone(), settings.allow_dangerous);
        Group::of(&settings.upstream, layers)
    }

    fn of(upstream: &Upstream, layers: Layers) -> Self {
        let mut group = Group {
            registry: Registry::default(),
            members: BTreeMap::new(),
            discover: upstream.discover_replicas,
            bounds: Bounds {
                link_down: upstream.max_link_down,
                lag_bytes: upstream.max_lag_bytes,
            },
            adopted: None,
            reigns: false,
            table: Arc::new(layers.table(None)),
            layers,
            identity: None,
            greeting: None,
            version: 0,
            full: false,
        };
        for node in std::iter::once(&upstream.master).chain(&upstream.replicas) {
            group.add(node.clone(), true, Duration::ZERO);
        }
        group
    }

    fn add(&mut self, place: NodeAddress, configured: bool, now: Duration) {
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
        self.members.entry(id).or_insert_with(|| Member {
            place,
            name,
            configured,
            listed: now,
            address: None,
            run_id: None,
            facts: None,
            failure: None,
            identity: None,
        });
    }

    /// Takes in what a probe said. `now` only ever grows.
    pub(super) fn hear(&mut self, id: NodeId, word: Word, now: Duration) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        match word {
            Word::Reached(address, run_id) => (member.address, member.run_id) = (Some(address), run_id),
            Word::Identified(identity) => member.identity = Some(identity),
            Word::Failed(failure) => member.failure = Some(failure),
            Word::Heard(facts) => {
                member.failure = None;
                member.facts = Some(facts);
            }
        }
        self.elect();
        if self.discover {
            self.discover(now);
        }
        self.identify();
    }

    /// Takes in that a replica refused a command of class read. True when that is news.
    pub(super) fn learn_write(&mut self, name: &str) -> bool {
        let news = self.layers.learn_write(name);
        if news {
            self.rebuild_table();
        }
        news
    }

    fn elect(&mut self) {
        let candidates: Vec<Candidate<'_>> = self
            .members
            .iter()
            .filter_map(|(id, member)| Some((*id, member, member.current()?)))
            .filter(|(_, _, facts)| facts.role == Role::Master)
            .map(|(id, member, facts)| Candidate {
                id,
                line: &facts.line,
                replicas: facts.replicas.len(),
                named: self.followers(member),
                configured: id == NodeId(0),
            })
            .collect();
        let incumbent = self.adopted.as_ref().map(|(id, line)| Incumbent {
            id: *id,
            line,
            fate: match self.members.get(id).map(Member::role) {
                Some(Role::Master) => Fate::Reigns,
                Some(Role::Replica) => Fate::Deposed,
                Some(Role::Unknown) | None => Fate::Lost,
            },
        });
        let elected = election::elect(incumbent, &candidates);
        self.reigns = elected.is_some();
        if let Some(id) = elected
            && let Some(facts) = self.members.get(&id).and_then(Member::current)
        {
            self.adopted = Some((id, facts.line.clone()));
        }
    }

    /// How many nodes name that one as their master.
    fn followers(&self, master: &Member) -> usize {
        self.links()
            .filter(|link| master.is_at(&link.master.0, link.master.1))
            .count()
    }

    /// What the replicas say of their links.
    fn links(&self) -> impl Iterator<Item = &MasterLink> {
        self.members
            .values()
            .filter_map(|member| member.current()?.link.as_ref())
    }

    /// Keeps the discovered nodes as the master lists them; without a master, looks where replicas point.
    fn discover(&mut self, now: Duration) {
        let master = self.adopted.as_ref().filter(|_| self.reigns).map(|(id, _)| *id);
        let reigning = master.and_then(|id| self.members.get(&id)?.current());
        let listed: Vec<(String, u16)> = if let Some(facts) = reigning {
            let replicas = facts.replicas.iter();
            replicas
                .map(|replica| (replica.host.clone(), replica.port))
                .collect()
        } else {
            self.links().map(|link| link.master.clone()).collect()
        };
        for (host, port) in listed {
            match self.members.values_mut().find(|member| member.is_at(&host, port)) {
                Some(member) => member.listed = now,
                None => self.add(
                    NodeAddress {
                        host,
                        port,
                        weight: WEIGHT,
                    },
                    false,
                    now,
                ),
            }
        }
        // Without a master nobody lists anybody, which says nothing.
        if let Some(master) = master {
            self.members.retain(|id, member| {
                member.configured || *id == master || now.saturating_sub(member.listed) < LINGER
            });
        }
    }

    /// Takes over the master's greeting and commands when it is another one, or another process.
    fn identify(&mut self) {
        let master = self.adopted.as_ref().and_then(|(id, _)| self.members.get(id));
        let Some(identity) = master.and_then(|member| member.identity.clone()) else {
            return;
        };
        if self
            .identity
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &identity))
        {
            return;
        }
        if identity.commands.is_none() {
            tracing::warn!("the master does not tell its COMMAND table; the embedded one is used");
        }
        if self.greeting.as_deref() != identity.greeting.as_ref() {
            self.greeting = identity.greeting.clone().map(Arc::new);
        }
        // The same server again after a reconnect: the table stays the one that workers hold.
        let same = self
            .identity
            .as_ref()
            .is_some_and(|known| known.commands == identity.commands);
        self.identity = Some(identity);
        if !same {
            self.rebuild_table();
        }
    }

    fn rebuild_table(&mut self) {
        let commands = self
            .identity
            .as_ref()
            .and_then(|identity| identity.commands.as_deref());
        self.table = Arc::new(self.layers.table(commands));
    }

    /// The nodes to probe.
    pub(super) fn targets(&self) -> Vec<Target> {
        let target = |(id, member): (&NodeId, &Member)| Target {
            id: *id,
            host: member.place.host.clone(),
            port: member.place.port,
        };
        self.members.iter().map(target).collect()
    }

    fn verdict(&self, id: NodeId, member: &Member) -> Result<(), String> {
        if let Some(failure) = &member.failure {
            return Err(failure.message.clone());
        }
        let Some(facts) = &member.facts else {
            return Err("it has not answered yet".to_owned());
        };
        let verdict = match &self.adopted {
            Some((adopted, _)) if *adopted == id && self.reigns => gate::master(facts),
            Some((_, line)) => gate::replica(facts, Some(line), &self.bounds),
            None => gate::replica(facts, None, &self.bounds),
        };
        verdict.map_err(|reason| reason.to_string())
    }

    /// The snapshot for workers, if it differs from `last`.
    pub(super) fn snapshot(&mut self, last: Option<&Topology>) -> Option<Topology> {
        let nodes: Vec<Node> = self
            .members
            .iter()
            .map(|(id, member)| {
                let verdict = self.verdict(*id, member);
                Node {
                    id: *id,
                    name: member.name.clone(),
                    address: member.address,
                    role: member.role(),
                    weight: member.place.weight,
                    tag: self.tag(member),
                    usable: verdict.is_ok(),
                    reason: verdict.err().unwrap_or_default(),
                }
            })
            .collect();
        let adopted = self.adopted.as_ref().filter(|_| self.reigns).map(|(id, _)| *id);
        let master = adopted.filter(|id| nodes.iter().any(|node| node.id == *id && node.usable));
        let same = last.is_some_and(|last| {
            last.nodes == nodes
                && last.master == master
                && last.greeting == self.greeting
                && Arc::ptr_eq(&last.table, &self.table)
        });
        if same {
            return None;
        }
        self.version += 1;
        Some(Topology {
            version: self.version,
            nodes,
            master,
            greeting: self.greeting.clone(),
            table: Arc::clone(&self.table),
        })
    }

    /// What cursors carry to name a node: the beginning of its `run_id`, which is random. Of several that share it
    /// only one goes by it, the same in every process that knows them.
    fn tag(&self, member: &Member) -> Option<u16> {
        let run_id = member.run_id.as_deref()?;
        let tag = tag_of(run_id)?;
        let others = self.members.values().filter_map(|other| other.run_id.as_deref());
        let first = others.filter(|other| tag_of(other) == Some(tag)).min();
        first.is_none_or(|first| first == run_id).then_some(tag)
    }

    /// The same for people, with what changes at every probe.
    pub(super) fn report(&self) -> Report {
        let master = self.adopted.as_ref().map(|(_, line)| line);
        let nodes = self.members.iter().map(|(id, member)| {
            let verdict = self.verdict(*id, member);
            let facts = member.current();
            NodeReport {
                id: *id,
                name: member.name.clone(),
                address: member.address,
                role: member.role(),
                weight: member.place.weight,
                usable: verdict.is_ok(),
                reason: verdict.err().unwrap_or_default(),
                configured: member.configured,
                replid: facts.map(|facts| facts.line.replid.clone()),
                offset: facts.map(|facts| facts.line.offset),
                lag: facts.and_then(|facts| gate::lag(facts, master)),
                link_up: facts.and_then(|facts| facts.link.as_ref()).map(|link| link.up),
                failure: member.failure.clone(),
            }
        });
        Report {
            nodes: nodes.collect(),
            names: self.registry.names().to_vec(),
        }
    }
}

/// 16 bits of 40 hexadecimal digits.
fn tag_of(run_id: &str) -> Option<u16> {
    run_id
        .get(..4)
        .and_then(|digits| u16::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests;
