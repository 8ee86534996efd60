//! The group as it is known: what probes say goes in, snapshots come out. No clock, no sockets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Failure;
use super::council::{Council, Told};
use super::election::{self, Candidate, Fate, Incumbent, Word as Sentinels};
use super::gate::{self, Bounds};
use super::info::{Line, MasterLink};
use super::members::{Member, Members};
use super::names::Addresses;
use super::probe::{Identity, Target, Word};
use super::report::{NodeReport, Report, SentinelReport};
use super::table::Layers;
use crate::commands::Table;
use crate::settings::{Settings, Upstream};
use crate::topology::{Greeting, Node, NodeId, Role, Topology};

/// A failover that a sentinel has begun is believed in for so long.
const FAILOVER_MOST: Duration = Duration::from_secs(4);

/// The group.
#[derive(Debug)]
pub(super) struct Group {
    members: Members,
    /// The sentinels, where there are any.
    council: Option<Council>,
    sentinel_names: Vec<String>,
    discover: bool,
    bounds: Bounds,
    /// The master adopted last, with where it was when it last said so.
    adopted: Option<(NodeId, Line)>,
    /// The adopted one is master now.
    reigns: bool,
    /// Former masters, each with the replid that it had then.
    deposed: Vec<(NodeId, String)>,
    /// The sentinel that makes another node the master just now, and until when that is believed.
    changing: Option<(usize, Duration)>,
    /// The time of the last word.
    now: Duration,
    /// The sentinels' epoch when the adopted one was adopted.
    adopted_in: Option<(NodeId, u64)>,
    layers: Layers,
    /// Whose identity the table and greeting below are made of.
    identity: Option<Arc<Identity>>,
    table: Arc<Table>,
    greeting: Option<Arc<Greeting>>,
    version: u64,
}

impl Group {
    /// The configured nodes, none of them heard yet.
    pub(super) fn new(settings: &Settings) -> Self {
        let layers = Layers::new(settings.commands.clone(), settings.allow_dangerous);
        Group::of(&settings.upstream, layers)
    }

    fn of(upstream: &Upstream, layers: Layers) -> Self {
        Group {
            members: Members::new(upstream),
            sentinel_names: (upstream.sentinels.iter())
                .flat_map(|sentinels| sentinels.addresses.iter().map(ToString::to_string))
                .collect(),
            council: (upstream.sentinels.as_ref()).map(|sentinels| Council::new(sentinels.addresses.len())),
            discover: upstream.discover,
            bounds: Bounds {
                link_down: upstream.max_link_down,
                lag_bytes: upstream.max_lag_bytes,
            },
            adopted: None,
            reigns: false,
            deposed: Vec::new(),
            adopted_in: None,
            changing: None,
            now: Duration::ZERO,
            table: Arc::new(layers.table(None)),
            layers,
            identity: None,
            greeting: None,
            version: 0,
        }
    }

    /// Takes in what a name stands for. `now` only ever grows.
    pub(super) fn resolved(&mut self, host: &str, addresses: Addresses, now: Duration) {
        self.now = now;
        match addresses {
            Ok(addresses) => self.members.resolved(host, addresses, now),
            Err(failure) => self.members.unresolved(host, &failure),
        }
    }

    /// Takes in what a sentinel said. True when together they say something else than before.
    pub(super) fn told(&mut self, sentinel: usize, told: Result<Told, Failure>, now: Duration) -> bool {
        self.now = now;
        let Some(council) = &mut self.council else {
            return false;
        };
        let before = council.verdict();
        council.hear(sentinel, told);
        let verdict = council.verdict();
        if let Some(verdict) = &verdict {
            let nodes = council.nodes(verdict);
            self.members.list(&nodes, now);
        }
        self.elect();
        verdict != before
    }

    /// A sentinel begins to make another node the master, or has given up on that. Until the new one is there nobody
    /// gets writes: those that the old one takes now are lost.
    pub(super) fn failover(&mut self, sentinel: usize, begins: bool, now: Duration) {
        self.now = now;
        let Some(verdict) = self.council.as_ref().and_then(Council::verdict) else {
            return;
        };
        let word = self
            .council
            .as_ref()
            .and_then(|council| council.words().get(sentinel)?.as_ref());
        let agrees = word.is_some_and(|word| word.as_ref().is_ok_and(|told| told.master == verdict.master));
        if !begins {
            self.changing = self.changing.filter(|(by, _)| *by != sentinel);
        } else if agrees && self.changing.is_none_or(|(_, until)| now > until + FAILOVER_MOST) {
            self.changing = Some((sentinel, now + FAILOVER_MOST));
        }
    }

    /// Whether a failover is under way.
    fn is_changing(&self) -> bool {
        self.changing.is_some_and(|(_, until)| self.now < until)
    }

    /// Takes in what a probe said. `now` only ever grows.
    pub(super) fn hear(&mut self, id: NodeId, word: Word, now: Duration) {
        self.now = now;
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        match word {
            Word::Reached(run_id) => member.run_id = run_id,
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
            .filter_map(|(id, member)| Some((id, member, member.current()?)))
            .filter(|(id, _, facts)| facts.role == Role::Master && self.members.alias_of(*id).is_none())
            .map(|(id, member, facts)| Candidate {
                id,
                line: &facts.line,
                replicas: facts.replicas.len(),
                named: self.followers(id),
                configured: self.members.is_called_master(member),
                deposed: self.is_deposed(id, &facts.line),
            })
            .collect();
        let incumbent = self.adopted.as_ref().map(|(id, line)| Incumbent {
            id: *id,
            line,
            fate: match self.members.get(*id).map(Member::role) {
                Some(Role::Master) => Fate::Reigns,
                Some(Role::Replica) => Fate::Deposed,
                Some(Role::Unknown) | None => Fate::Lost,
            },
        });
        let elected = election::elect(incumbent, &candidates, self.word());
        self.reigns = elected.is_some();
        let Some(id) = elected else { return };
        let Some(facts) = self.members.get(id).and_then(Member::current) else {
            return;
        };
        let adopted = (id, facts.line.clone());
        if let Some((before, line)) = self.adopted.replace(adopted)
            && before != id
        {
            self.deposed
                .retain(|(deposed, _)| *deposed != id && *deposed != before);
            self.deposed.push((before, line.replid));
            self.changing = None;
        }
        if self.adopted_in.is_none_or(|(by, _)| by != id) {
            // Sentinels that have not heard of it yet go on naming its predecessor, in no later epoch than this.
            let verdict = self.council.as_ref().and_then(Council::verdict);
            self.adopted_in = Some((id, verdict.map_or(0, |verdict| verdict.epoch)));
        }
    }

    fn is_deposed(&self, id: NodeId, line: &Line) -> bool {
        let mut deposed = self.deposed.iter();
        deposed.any(|(node, replid)| *node == id && *replid == line.replid)
    }

    /// Whom the sentinels name.
    fn word(&self) -> Sentinels {
        let Some(council) = &self.council else {
            return Sentinels::Silent;
        };
        let Some(verdict) = council.verdict() else {
            return if council.is_complete() {
                Sentinels::Silent
            } else {
                Sentinels::Pending
            };
        };
        let (host, port) = &verdict.master;
        let node = self.members.announced(host, *port);
        if verdict.sure {
            let epoch = self.adopted_in.map_or(0, |(_, epoch)| epoch);
            Sentinels::Most {
                node,
                late: verdict.epoch > epoch,
            }
        } else if council.is_complete() {
            Sentinels::Some(node)
        } else {
            Sentinels::Pending
        }
    }

    /// How many nodes name that one as their master.
    fn followers(&self, master: NodeId) -> usize {
        self.links()
            .filter(|link| self.members.announced(&link.master.0, link.master.1) == Some(master))
            .count()
    }

    /// What the replicas say of their links.
    fn links(&self) -> impl Iterator<Item = &MasterLink> {
        self.members
            .iter()
            .filter_map(|(_, member)| member.current()?.link.as_ref())
    }

    /// Keeps the nodes that were found as the master and its replicas list them; without a master, looks where
    /// replicas point.
    fn discover(&mut self, now: Duration) {
        let master = self.adopted.as_ref().filter(|_| self.reigns);
        let listed: Vec<(String, u16)> = match master {
            Some((_, line)) => {
                let group = self.members.iter().filter_map(|(_, member)| member.current());
                // Replicas may have replicas of their own.
                let group = group.filter(|facts| facts.line.continues(line));
                let lists = group.flat_map(|facts| &facts.replicas);
                lists
                    .map(|replica| (replica.host.clone(), replica.port))
                    .collect()
            }
            None => self.links().map(|link| link.master.clone()).collect(),
        };
        let master = master.map(|(id, _)| *id);
        self.members.list(&listed, now);
        // Without a master nobody lists anybody, which says nothing.
        if let Some(master) = master {
            self.members.retire(master, now);
        }
    }

    /// Takes over the master's greeting and commands when it is another one, or another process.
    fn identify(&mut self) {
        let master = self.adopted.as_ref().and_then(|(id, _)| self.members.get(*id));
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
        self.members.targets()
    }

    /// The host names to resolve.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        self.members.hosts()
    }

    /// The host name behind a node, if it goes by one.
    pub(super) fn host_of(&self, id: NodeId) -> Option<&str> {
        self.members.get(id).map(|member| member.place.host.as_str())
    }

    fn verdict(&self, id: NodeId, member: &Member) -> Result<(), String> {
        if let Some(failure) = &member.failure {
            return Err(failure.message.clone());
        }
        let Some(facts) = &member.facts else {
            return Err("it has not answered yet".to_owned());
        };
        if let Some(other) = self
            .members
            .alias_of(id)
            .and_then(|other| self.members.get(other))
        {
            return Err(format!("it is the same server as {}", other.name));
        }
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
                let verdict = self.verdict(id, member);
                Node {
                    id,
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
        let reigns = self.reigns && !self.is_changing();
        let adopted = self.adopted.as_ref().filter(|_| reigns).map(|(id, _)| *id);
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
        let others = self
            .members
            .iter()
            .filter_map(|(_, other)| other.run_id.as_deref());
        let first = others.filter(|other| tag_of(other) == Some(tag)).min();
        first.is_none_or(|first| first == run_id).then_some(tag)
    }

    fn sentinels(&self) -> Vec<SentinelReport> {
        let words = self.council.iter().flat_map(Council::words);
        let report = |(name, word): (&String, &Option<Result<Told, Failure>>)| {
            let told = word.as_ref().and_then(|word| word.as_ref().ok());
            SentinelReport {
                name: name.clone(),
                master: told.map(|told| format!("{}:{}", told.master.0, told.master.1)),
                epoch: told.map(|told| told.epoch),
                failure: word.as_ref().and_then(|word| word.as_ref().err().cloned()),
            }
        };
        self.sentinel_names.iter().zip(words).map(report).collect()
    }

    /// The same for people, with what changes at every probe.
    pub(super) fn report(&self) -> Report {
        let master = self.adopted.as_ref().map(|(_, line)| line);
        let nodes = self.members.iter().map(|(id, member)| {
            let verdict = self.verdict(id, member);
            let facts = member.current();
            NodeReport {
                id,
                name: member.name.clone(),
                address: member.address,
                role: member.role(),
                weight: member.place.weight,
                usable: verdict.is_ok(),
                reason: verdict.err().unwrap_or_default(),
                configured: member.is_configured(),
                replid: facts.map(|facts| facts.line.replid.clone()),
                offset: facts.map(|facts| facts.line.offset),
                lag: facts.and_then(|facts| gate::lag(facts, master)),
                link_up: facts.and_then(|facts| facts.link.as_ref()).map(|link| link.up),
                failure: member.failure.clone(),
            }
        });
        Report {
            nodes: nodes.collect(),
            sentinels: self.sentinels(),
            names: self.members.names().to_vec(),
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
