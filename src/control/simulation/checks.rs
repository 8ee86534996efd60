//! What has to hold of everything that is published, judged by what the servers said and by the truth behind it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::council::Told;
use super::pasts::{Heard, Pasts};
use super::server::{Position, host};
use super::waits::Waits;
use super::world::World;
use crate::topology::{Node, NodeId, Role, Topology};

pub(super) const MAX_LINK_DOWN: Duration = Duration::from_secs(5);
pub(super) const MAX_LAG: u64 = 20_000;
pub(super) const MAX_LAG_TIME: Duration = Duration::from_secs(4);
/// By how much lateness may be misjudged: what happened between two probes of the master is not known.
const UNCERTAIN: Duration = Duration::from_millis(2500);
/// How often a replica may be put out in a minute.
const MOST_OUTS: usize = 13;
const MINUTE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, Copy)]
struct Reign {
    node: NodeId,
    server: usize,
    at: Position,
}

/// What is remembered in order to judge.
#[derive(Debug, Default)]
pub(super) struct Checks {
    heard: BTreeMap<NodeId, Heard>,
    told: Vec<Option<Told>>,
    /// The latest epoch that a majority has reached.
    reached: u64,
    /// Everyone who was published as master, in order, with the sentinels' epoch then.
    reigns: Vec<(Reign, u64)>,
    /// A master was heard and none is published.
    unclear: bool,
    /// The last of them was away when nobody was published, or the next one was loading its data: another one may have been
    /// adopted unseen.
    vacant: bool,
    /// Since when the history of the last of them is known.
    since: Duration,
    outs: BTreeMap<NodeId, Vec<Duration>>,
    pasts: Pasts,
    pub(super) waits: Waits,
    /// How much was judged, so that a simulation in which nothing happens is found out.
    pub(super) adoptions: usize,
}

impl Checks {
    pub(super) fn heard(&mut self, id: NodeId, heard: Heard) {
        self.unclear |= heard.facts.role == Role::Master;
        self.pasts.heard(id, &heard);
        self.heard.insert(id, heard);
    }

    pub(super) fn lost(&mut self, id: NodeId) {
        self.heard.remove(&id);
    }

    pub(super) fn told(&mut self, sentinel: usize, told: Option<Told>, of: usize) {
        self.told.resize(of, None);
        self.told[sentinel] = told;
        let reached = self.majority().map_or(0, |(_, reached)| reached);
        self.reached = self.reached.max(reached);
    }

    /// Whom a majority of all sentinels names, and the epoch that a majority has reached.
    fn majority(&self) -> Option<(String, u64)> {
        let told = || self.told.iter().flatten();
        let votes = |name: &str| told().filter(|told| told.master.0 == name).count();
        let name = told()
            .map(|told| told.master.0.clone())
            .find(|name| 2 * votes(name) > self.told.len())?;
        let named = told().filter(|told| told.master.0 == name);
        let mut epochs: Vec<u64> = named.map(|told| told.epoch).collect();
        epochs.sort_unstable_by(|one, other| other.cmp(one));
        Some((name, epochs[self.told.len() / 2]))
    }

    /// Of what changes.
    pub(super) fn changes(&mut self, last: &Topology, next: &Topology, world: &World) -> Result<(), String> {
        for node in &next.nodes {
            let served = |was: &Node| was.usable && was.role == Role::Replica;
            if last.node(node.id).is_some_and(served) && !node.usable {
                let outs = self.outs.entry(node.id).or_default();
                outs.retain(|out| world.now.saturating_sub(*out) < MINUTE);
                outs.push(world.now);
                if outs.len() > MOST_OUTS {
                    return Err(format!(
                        "{} was put out {} times in a minute",
                        node.name,
                        outs.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Of all that is in force now.
    pub(super) fn holds(&mut self, topology: &Topology, world: &World) -> Result<(), String> {
        if let Some(master) = topology.master {
            self.master_is_right(master, topology, world)?;
        } else if let Some((last, _)) = self.reigns.last() {
            self.vacant |= self.says_master(last.node).is_none();
        }
        let master = self.reigns.last().map(|(reign, _)| *reign);
        for node in &topology.nodes {
            if node.usable && Some(node.id) != topology.master && node.role == Role::Replica {
                let known = topology.master.is_some();
                self.replica_is_right(node.id, master, known, world)
                    .map_err(|broken| format!("{} serves, and {broken}", node.name))?;
            }
        }
        Ok(())
    }

    fn master_is_right(&mut self, id: NodeId, topology: &Topology, world: &World) -> Result<(), String> {
        let Some(heard) = self.heard.get(&id) else {
            return Err(format!("the master {} does not answer", id.0));
        };
        let Heard {
            facts, at, server, ..
        } = heard;
        if facts.role != Role::Master || facts.loading {
            return Err(format!("the master {} is none: {facts:?}", id.0));
        }
        let (server, at) = (*server, *at);
        let reign = Reign { node: id, server, at };
        let majority = self.majority();
        let place = host(heard.place);
        let named = majority.is_some_and(|(name, _)| name == place);
        let newest = self.reigns.last();
        let same = newest.is_some_and(|(last, _)| last.node == id && last.at.replid == at.replid);
        if !same {
            self.may_be_adopted(reign, heard, topology, world)?;
            // One that came back with another history may have been adopted unseen.
            let goes_on = newest.is_some_and(|(last, _)| {
                let is_other = |now: Position| now.replid != last.at.replid;
                at.before.is_some_and(|(replid, _)| replid == last.at.replid)
                    && !self.says_master(last.node).is_some_and(is_other)
            });
            if !goes_on {
                self.since = world.now;
            }
            if let Some((last, _)) = newest
                && last.node != id
            {
                self.pasts.replaces(id, last.node);
            }
            // One that comes back with another history is still the one adopted then.
            let again = newest.filter(|(last, _)| last.node == id);
            let epoch = again.map_or(self.reached, |(_, epoch)| *epoch);
            self.waits = Waits::default();
            self.adoptions += 1;
            self.reigns.push((reign, epoch));
        } else if let Some((last, _)) = self.reigns.last_mut() {
            last.at = at;
        }
        (self.unclear, self.vacant) = (false, false);
        // Who goes on from the one they name comes after it; it may have been adopted for a moment in between.
        let goes_on = self
            .named()
            .is_some_and(|of| world.histories.descends(at.replid, of.replid));
        let reached = self.reached;
        if let Some((_, epoch)) = self.reigns.last_mut().filter(|_| goes_on) {
            *epoch = reached;
        }
        let adopted_in = self.reigns.last().map_or(0, |(_, epoch)| *epoch);
        if self.outvoted(&place, adopted_in) {
            return Err(format!(
                "{reign:?} of epoch {adopted_in} is written to, and sentinels have agreed on another one since"
            ));
        }
        let successor = self.heard.iter().find(|(other, heard)| {
            let goes_on = heard.at.before.is_some_and(|(replid, _)| replid == at.replid);
            // A promotion of a process that was never heard as a replica looks like one that began as a master.
            let says_so =
                heard.facts.role == Role::Master && !self.pasts.may_have_begun_as_master(**other, heard);
            **other != id && heard.server != server && says_so && goes_on
        });
        match successor {
            Some((other, _)) if !named => {
                Err(format!("{} is master though {} goes on from it", id.0, other.0))
            }
            _ => Ok(()),
        }
    }

    /// Of a master that was not the last one with this history.
    fn may_be_adopted(
        &self,
        reign: Reign,
        heard: &Heard,
        topology: &Topology,
        world: &World,
    ) -> Result<(), String> {
        let Reign { node: id, server, at } = reign;
        let place = host(heard.place);
        let (named, since) = self
            .majority()
            .map_or((false, 0), |(name, reached)| (name == place, reached));
        let newest = self.reigns.last();
        let went_back = self.reigns.iter().find(|(earlier, _)| {
            (earlier.node != id && world.histories.descends(earlier.at.replid, at.replid))
                || (earlier.node == id && earlier.at.replid == at.replid)
        });
        let later = newest.is_none_or(|(_, epoch)| since > *epoch);
        // Without sentinels, whoever took its place may follow it.
        let yields = |heard: &Heard| {
            let link = heard.facts.link.as_ref();
            link.is_some_and(|link| link.master.0 == place)
        };
        let yielded = newest
            .and_then(|(last, _)| self.heard.get(&last.node))
            .is_some_and(yields);
        if let Some((earlier, _)) = went_back
            && !(named && later)
            && !yielded
        {
            return Err(format!(
                "{reign:?} is adopted again after {earlier:?}, without a later word"
            ));
        }
        if let Some((last, _)) = newest
            && self.pasts.is_deposed(id)
            && last.server != server
            && last.at.replid != at.replid
            && !world.histories.descends(at.replid, last.at.replid)
            && !(named && later)
            && !yielded
        {
            return Err(format!(
                "{reign:?} is adopted again after {last:?}, and has not followed it"
            ));
        }
        // Nobody promoted it: it looks like a successor by what it loaded.
        let forgot = world.servers[server].unbidden && self.pasts.began_as_master(id, heard);
        if let Some((last, _)) = newest
            && !named
            && !self.vacant
            && last.node != id
            && topology.node(last.node).is_some()
            && let Some(now) = self.says_master(last.node)
            && (forgot
                || ![last.at.replid, now.replid]
                    .iter()
                    .any(|of| world.histories.descends(at.replid, *of)))
        {
            return Err(format!(
                "{reign:?} is adopted though {last:?} reigns, without a majority"
            ));
        }
        Ok(())
    }

    /// Whether a majority of the sentinels has agreed on another one than who is there, after that epoch.
    fn outvoted(&self, place: &str, epoch: u64) -> bool {
        let majority = self.majority();
        majority.is_some_and(|(name, reached)| name != place && reached > epoch)
    }

    /// Where the one is whom a majority names, if it says that it is a master.
    fn named(&self) -> Option<Position> {
        let (name, _) = self.majority()?;
        let mut heard = self.heard.values();
        let named = heard.find(|heard| host(heard.place) == name)?;
        (named.facts.role == Role::Master).then_some(named.at)
    }

    /// Whether a majority names another one than who is there, and that one cannot be written to yet.
    fn is_next_loading(&self, place: &str) -> bool {
        let named = self.majority().filter(|(name, _)| name != place);
        let is_it = |heard: &Heard| named.as_ref().is_some_and(|(name, _)| host(heard.place) == *name);
        self.heard
            .values()
            .any(|heard| heard.facts.loading && is_it(heard))
    }

    /// Of every step: a master that is there is written to, unless sentinels say otherwise.
    pub(super) fn waited(&mut self, topology: &Topology, now: Duration) -> Result<(), String> {
        let Some((last, epoch)) = self.reigns.last() else {
            return Ok(());
        };
        let there = self.heard.get(&last.node);
        let there = there.filter(|heard| heard.facts.role == Role::Master && !heard.facts.loading);
        let Some(place) = there.map(|heard| host(heard.place)) else {
            return Ok(());
        };
        let well = !self.outvoted(&place, *epoch);
        if topology.master.is_none() {
            self.vacant |= self.is_next_loading(&place);
        }
        if topology.master.is_none() && well && !self.vacant {
            return self.waits.more(now);
        }
        Ok(())
    }

    /// Where a node is, if it is there and says that it is a master.
    fn says_master(&self, id: NodeId) -> Option<Position> {
        let heard = self.heard.get(&id)?;
        (heard.facts.role == Role::Master).then_some(heard.at)
    }

    fn replica_is_right(
        &self,
        id: NodeId,
        master: Option<Reign>,
        known: bool,
        world: &World,
    ) -> Result<(), String> {
        let Some(heard) = self.heard.get(&id) else {
            return Err("does not answer".to_owned());
        };
        let Some(link) = &heard.facts.link else {
            return Err("is none".to_owned());
        };
        if heard.facts.loading {
            return Err("is loading".to_owned());
        }
        let down_well = link.down_for.is_some_and(|down| down <= MAX_LINK_DOWN) && !link.syncing;
        if !link.up && !down_well {
            return Err(format!("its link is {link:?}"));
        }
        let Some(master) = master else { return Ok(()) };
        // One that is not published, as it is loading or a failover goes on, may be adopted already.
        let master_heard = self.heard.values().any(|heard| heard.facts.role == Role::Master);
        if !known && (self.unclear || master_heard) {
            return Ok(());
        }
        if !world.histories.holds(master.at.replid, &heard.at) {
            return Err(format!("it has {:?}, the master {:?}", heard.at, master.at));
        }
        if master.at.offset.saturating_sub(heard.at.offset) > MAX_LAG {
            return Err(format!("lags: {:?} behind {:?}", heard.at, master.at));
        }
        let overtook = world.histories.overtook(master.at.replid, &heard.at);
        let fresh = self
            .heard
            .get(&master.node)
            .is_some_and(|heard| world.now.saturating_sub(heard.when) < Duration::from_secs(1));
        let late = overtook.map_or(Duration::ZERO, |when| {
            heard.when.saturating_sub(when.max(self.since))
        });
        if known && fresh && late > MAX_LAG_TIME + UNCERTAIN {
            return Err(format!(
                "is late by {late:?}: {:?} behind {:?}",
                heard.at, master.at
            ));
        }
        Ok(())
    }
}
