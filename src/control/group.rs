//! The group as it is known: what probes say goes in, snapshots come out. No clock, no sockets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Failure;
use super::council::Told;
use super::gate::{self, Bounds};
use super::history::History;
use super::losses::{Counts, Losses};
use super::members::{Member, Members};
use super::names::Addresses;
use super::probe::{Identity, Target, Word};
use super::reign::Reign;
use super::report::{Loss, NodeReport, Report};
use super::table::Layers;
use crate::commands::Table;
use crate::settings::{NodeAddress, Settings, Upstream};
use crate::topology::{Greeting, Node, NodeId, Role, Topology};

/// The group.
#[derive(Debug)]
pub(super) struct Group {
    members: Members,
    reign: Reign,
    discover: bool,
    bounds: Bounds,
    /// Where the master was when.
    history: History,
    /// What failovers lost.
    losses: Losses,
    /// The time of the last word.
    now: Duration,
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

    /// The same without the rest of the settings.
    pub(super) fn of(upstream: &Upstream, layers: Layers) -> Self {
        Group {
            members: Members::new(upstream),
            reign: Reign::new(upstream),
            discover: upstream.discover,
            bounds: Bounds {
                link_down: upstream.max_link_down,
                lag_bytes: upstream.max_lag_bytes,
                lag_time: upstream.max_lag_time,
            },
            history: History::default(),
            losses: Losses::default(),
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
        // It may have been all that the first adoption waited for.
        if self.reign.adopted().is_none() {
            self.reign.elect(&self.members, now);
            self.note_reign();
        }
    }

    /// Takes in what a sentinel said. True when together they say something else than before.
    pub(super) fn told(&mut self, sentinel: usize, told: Result<Told, Failure>, now: Duration) -> bool {
        self.now = now;
        let news = self.reign.told(sentinel, told);
        self.members.list(&self.reign.nodes(), now);
        self.reign.elect(&self.members, now);
        self.note_reign();
        news
    }

    /// A sentinel begins to make another node the master, or has given up on that.
    pub(super) fn failover(&mut self, sentinel: usize, begins: bool, now: Duration) {
        self.now = now;
        self.reign.failover(sentinel, begins, now);
    }

    /// Takes in what a probe said. `now` only ever grows.
    pub(super) fn hear(&mut self, id: NodeId, word: Word, now: Duration) {
        self.now = now;
        if let Word::Marked(facts) = word {
            return self.losses.heard(id, &facts, now.saturating_sub(facts.took), now);
        }
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let took = match &word {
            Word::Heard(facts) => Some(facts.took),
            _ => None,
        };
        match word {
            Word::Reached(server) => (member.run_id, member.zone) = (server.run_id, server.zone),
            Word::Identified(identity) => member.identity = Some(identity),
            Word::Marked(_) => {}
            Word::Failed(failure) => {
                member.failure = Some(failure);
                self.losses.failed(id);
            }
            Word::Heard(facts) => member.hear(facts),
        }
        if self.discover && self.reign.reigning().is_none() {
            // Without a master the group is where replicas point; who is there may be the one.
            let listed: Vec<_> = self.members.links().map(|link| link.master.clone()).collect();
            self.members.list(&listed, now);
        }
        self.reign.elect(&self.members, now);
        if let Some(took) = took
            && let Some((reigning, line)) = self.reign.reigning()
            && reigning == id
        {
            self.history.note(line, now.saturating_sub(took));
        }
        self.note_reign();
        if let Some(took) = took
            && let Some(facts) = self.members.get(id).and_then(Member::current)
        {
            self.losses.heard(id, facts, now.saturating_sub(took), now);
        }
        self.judge();
        if self.discover {
            self.discover(now);
        }
        self.identify();
    }

    /// Whose history is written now.
    fn note_reign(&mut self) {
        if let Some((id, _)) = self.reign.reigning()
            && let Some(member) = self.members.get(id)
            && let Some(facts) = member.current()
        {
            self.losses.reigns(id, member.run_id.as_deref(), facts, self.now);
        }
    }

    /// The workers go by this topology. What a failover lost, once that is known.
    pub(super) fn settle(
        &mut self,
        topology: &Topology,
        counts: &impl Counts,
        now: Duration,
    ) -> Option<Loss> {
        self.losses.published(topology.version, topology.master);
        self.losses.settle(counts, now)
    }

    /// Keeps the record of every replica.
    fn judge(&mut self) {
        let well: Vec<(NodeId, bool)> = self
            .members
            .iter()
            .map(|(id, member)| (id, self.condition(id, member).is_ok()))
            .collect();
        for (id, well) in well {
            if let Some(member) = self.members.get_mut(id) {
                member.standing.judge(well, self.now);
            }
        }
    }

    /// Takes in that a replica refused a command of class read. True when that is news.
    pub(super) fn learn_write(&mut self, name: &str) -> bool {
        let news = self.layers.learn_write(name);
        if news {
            self.rebuild_table();
        }
        news
    }

    /// Keeps the nodes that were found as the master and its replicas list them.
    fn discover(&mut self, now: Duration) {
        // Without a master nobody lists anybody, which says nothing.
        let Some((master, line)) = self.reign.reigning() else {
            return;
        };
        let group = self.members.iter().filter_map(|(_, member)| member.current());
        // Replicas may have replicas of their own.
        let group = group.filter(|facts| facts.line.continues(line));
        let lists = group.flat_map(|facts| &facts.replicas);
        let listed: Vec<_> = lists
            .map(|replica| (replica.host.clone(), replica.port))
            .collect();
        self.members.list(&listed, now);
        self.members.retire(master, now);
    }

    /// Takes over the master's greeting and commands when it is another one, or another process.
    fn identify(&mut self) {
        let master = self.reign.adopted().and_then(|(id, _)| self.members.get(id));
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

    /// Whether a node may serve.
    fn verdict(&self, id: NodeId, member: &Member) -> Result<(), String> {
        self.condition(id, member)?;
        let reigns = self.reign.reigning().is_some_and(|(reigning, _)| reigning == id);
        if reigns || member.standing.is_trusted() {
            Ok(())
        } else {
            Err("it came and went lately, and has to stay well for a while".to_owned())
        }
    }

    /// Whether a node could serve now.
    fn condition(&self, id: NodeId, member: &Member) -> Result<(), String> {
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
        let reigns = self.reign.reigning().is_some_and(|(reigning, _)| reigning == id);
        let verdict = match self.reign.adopted() {
            Some((adopted, _)) if adopted == id && self.reign.is_emptied() => Err(gate::Reason::Emptied),
            Some(_) if reigns => gate::master(facts),
            Some((_, line)) => {
                let was_in = member.standing.is_trusted();
                let behind = self.history.behind(&facts.line);
                gate::replica(facts, Some(line), behind, &self.bounds.for_one_that(was_in))
            }
            None => gate::replica(facts, None, None, &self.bounds),
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
                    zone: self.members.zone_of(member).map(str::to_owned),
                    tag: self.tag(member),
                    usable: verdict.is_ok(),
                    reason: verdict.err().unwrap_or_default(),
                }
            })
            .collect();
        let reigning = self
            .reign
            .reigning()
            .filter(|_| !self.reign.is_changing(self.now));
        let master = reigning
            .map(|(id, _)| id)
            .filter(|id| nodes.iter().any(|node| node.id == *id && node.usable));
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

    /// The same for people, with what changes at every probe.
    pub(super) fn report(&self) -> Report {
        let master = self.reign.adopted().map(|(_, line)| line);
        let nodes = self.members.iter().map(|(id, member)| {
            let verdict = self.verdict(id, member);
            let facts = member.current();
            let link = facts.and_then(|facts| facts.link.as_ref());
            NodeReport {
                id,
                name: member.name.clone(),
                address: member.address,
                role: member.role(),
                weight: member.place.weight,
                zone: self.members.zone_of(member).map(str::to_owned),
                usable: verdict.is_ok(),
                reason: verdict.err().unwrap_or_default(),
                configured: member.is_configured(),
                replid: facts.map(|facts| facts.line.replid.clone()),
                offset: facts.map(|facts| facts.line.offset),
                lag: facts.and_then(|facts| gate::lag(facts, master)),
                behind: facts
                    .filter(|facts| facts.role == Role::Replica)
                    .and_then(|facts| self.history.behind(&facts.line)),
                skew_us: facts.and_then(|facts| facts.skew_us),
                link_up: link.map(|link| link.up),
                follows: link.map(|link| name_of(&link.master)),
                master: self.members.master_of(id),
                failure: member.failure.clone(),
            }
        });
        Report {
            nodes: nodes.collect(),
            sentinels: self.reign.sentinels(),
            names: self.members.names().to_vec(),
            losses: self.losses.told(),
        }
    }
}

/// `host:port`.
fn name_of((host, port): &(String, u16)) -> String {
    let place = NodeAddress {
        host: host.clone(),
        port: *port,
        weight: 0,
    };
    place.to_string()
}

/// 16 bits of 40 hexadecimal digits.
fn tag_of(run_id: &str) -> Option<u16> {
    run_id
        .get(..4)
        .and_then(|digits| u16::from_str_radix(digits, 16).ok())
}

#[cfg(test)]
mod tests;
