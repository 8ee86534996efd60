//! The control plane as it is, but for its sockets: probes, name look-ups and sentinels are asked of the world, what they
//! answer goes into the real [`Group`], and what that publishes is checked.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::connection::Failure;
use super::super::council::Told;
use super::super::group::Group;
use super::super::info::Facts;
use super::super::probe::{Server, Target, Word};
use super::super::table::Layers;
use super::authority::Authority;
use super::blind::{Blind, blinded};
use super::checks::Checks;
use super::named::{Named, TIMEOUT, addresses, upstream};
use super::pasts::Heard;
use super::server::{Place, Position, Process};
use super::world::World;
use crate::control::FailureKind;
use crate::topology::{NodeId, Topology};

const BETWEEN: Duration = Duration::from_millis(25);

/// A probe's connection.
#[derive(Debug)]
struct Session {
    /// The server at the other end, its process, and how often its connections had been cut.
    up: Option<(usize, u32, u32)>,
    asked: Duration,
    next: Duration,
    pause: Duration,
    /// What will be heard, and when.
    coming: Option<(Duration, Coming)>,
}

#[derive(Debug)]
enum Coming {
    Failure(FailureKind),
    /// The server looks only when its answer leaves.
    Late(usize),
    Answer(usize, Box<(Facts, Position)>),
}

/// The control plane.
#[derive(Debug)]
pub(super) struct Ambassador {
    group: Group,
    named: Named,
    blind: Blind,
    pub(super) interval: Duration,
    pub(super) topology: Topology,
    sessions: BTreeMap<(NodeId, std::net::SocketAddr), Session>,
    /// When names are looked up, and each sentinel is asked, the next time.
    looks_up: Duration,
    asks: Vec<(Duration, Option<Told>)>,
    pub(super) checks: Checks,
}

impl Ambassador {
    pub(super) fn new(world: &World, authority: &Authority, named: Named, blind: Blind) -> Self {
        let mut group = Group::of(&upstream(world, named), Layers::new(Vec::new(), false));
        let topology = group.snapshot(None).expect("there is no last one");
        Ambassador {
            group,
            named,
            blind,
            interval: Duration::from_millis(250),
            topology,
            sessions: BTreeMap::new(),
            looks_up: Duration::ZERO,
            asks: vec![(Duration::ZERO, None); authority.sentinels.len()],
            checks: Checks::default(),
        }
    }

    pub(super) fn step(&mut self, world: &mut World, authority: &mut Authority) -> Result<(), String> {
        self.ask_sentinels(world, authority)?;
        if world.now >= self.looks_up {
            self.looks_up = world.now + Duration::from_secs(1);
            for name in self.group.hosts() {
                let found = addresses(world, &name);
                self.group.resolved(&name, Ok(found), world.now);
                self.publish(world)?;
            }
        }
        self.keep_asking(world.now);
        let targets: Vec<_> = self.sessions.keys().copied().collect();
        for target in targets {
            self.ask(target, world);
            self.hear(target, world)?;
        }
        self.checks.waited(&self.topology, world.now)
    }

    fn keep_asking(&mut self, now: Duration) {
        let targets = self.group.targets();
        let wanted = |key: &(NodeId, std::net::SocketAddr)| {
            targets.contains(&Target {
                id: key.0,
                address: key.1,
            })
        };
        self.sessions.retain(|key, _| wanted(key));
        for target in &targets {
            self.sessions
                .entry((target.id, target.address))
                .or_insert_with(|| Session {
                    up: None,
                    asked: now,
                    next: now,
                    pause: Duration::from_millis(100),
                    coming: None,
                });
        }
    }

    /// Everybody is asked as soon as may be.
    fn poke_all(&mut self) {
        for session in self.sessions.values_mut() {
            session.next = session.next.min(session.asked + BETWEEN);
        }
    }

    /// Sends a probe, if it is time.
    fn ask(&mut self, key: (NodeId, std::net::SocketAddr), world: &mut World) {
        let now = world.now;
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        let place = place_of(key.1);
        let server = place.and_then(|place| world.at(place));
        let cut = session.up.is_some_and(|(index, run, cuts)| {
            let server = &world.servers[index];
            server.process == Process::Down || (server.run, server.cuts) != (run, cuts)
        });
        if cut {
            // Found at once, whatever is under way.
            (session.up, session.asked) = (None, now);
            session.coming = Some((now, Coming::Failure(FailureKind::Connect)));
            return;
        }
        if session.coming.is_some() || now < session.next {
            return;
        }
        session.asked = now;
        let alive = server.filter(|server| world.servers[*server].process != Process::Down);
        let Some(index) = alive else {
            session.coming = Some((now, Coming::Failure(FailureKind::Connect)));
            return;
        };
        let server = &world.servers[index];
        if !server.is_up() || now < world.cuts[index].ambassador {
            session.coming = Some((now + TIMEOUT, Coming::Failure(FailureKind::Timeout)));
            return;
        }
        if now < world.cuts[index].shaky && world.dice.once_in(2) {
            session.coming = Some((now, Coming::Failure(FailureKind::Connect)));
            return;
        }
        if session.up.is_none() {
            session.up = Some((index, server.run, server.cuts));
            let server = Server {
                run_id: Some(format!("{:04x}-run", server.run)),
                zone: None,
            };
            self.group.hear(key.0, Word::Reached(server), now);
        }
        let takes = match world.dice.of(0..10) {
            0..6 => Duration::ZERO,
            6..9 => world.dice.milliseconds(0..50),
            _ => world.dice.milliseconds(0..450),
        };
        let coming = if world.dice.once_in(2) {
            Coming::Late(index)
        } else {
            let answer = (world.info(index, takes), world.servers[index].at);
            Coming::Answer(index, Box::new(answer))
        };
        session.coming = Some((now + takes, coming));
    }

    /// Takes in what a probe heard, if it is time.
    fn hear(&mut self, key: (NodeId, std::net::SocketAddr), world: &mut World) -> Result<(), String> {
        let now = world.now;
        let Some(session) = self.sessions.get_mut(&key) else {
            return Ok(());
        };
        let due = |(when, _): &mut (Duration, Coming)| *when <= now;
        let Some((_, coming)) = session.coming.take_if(due) else {
            return Ok(());
        };
        let took = now.saturating_sub(session.asked);
        let answer = match coming {
            Coming::Failure(kind) => Err(kind),
            // It was cut off or froze on the way.
            Coming::Late(index) if !world.servers[index].is_up() || now < world.cuts[index].ambassador => {
                Err(FailureKind::Timeout)
            }
            Coming::Late(index) => Ok((
                index,
                Box::new((world.info(index, took), world.servers[index].at)),
            )),
            Coming::Answer(index, answer) => Ok((index, answer)),
        };
        match answer {
            Err(kind) => {
                session.up = None;
                session.next = now + session.pause;
                session.pause = (2 * session.pause).min(Duration::from_secs(2));
                let message = format!("{kind:?}");
                self.checks.lost(key.0);
                self.group
                    .hear(key.0, Word::Failed(Failure { kind, message }), now);
                self.looks_up = self.looks_up.min(now + Duration::from_millis(200));
            }
            Ok((index, answer)) => {
                session.next = session.asked + self.interval;
                session.pause = Duration::from_millis(100);
                let (facts, at) = *answer;
                let seen = blinded(facts.clone(), self.blind);
                self.checks.heard(
                    key.0,
                    Heard {
                        facts,
                        at,
                        server: index,
                        run: world.servers[index].run,
                        place: world.servers[index].place,
                        when: now.saturating_sub(took),
                    },
                );
                self.group.hear(key.0, Word::Heard(seen), now);
            }
        }
        self.publish(world)
    }

    fn ask_sentinels(&mut self, world: &mut World, authority: &mut Authority) -> Result<(), String> {
        let now = world.now;
        for (sentinel, begins) in std::mem::take(&mut authority.events) {
            if now >= authority.sentinels[sentinel].cut_from_ambassador {
                if begins {
                    self.checks.waits.alarmed(sentinel, now);
                }
                self.group.failover(sentinel, begins, now);
                self.publish(world)?;
                self.poke_all();
            }
        }
        for index in 0..self.asks.len() {
            let cut = now < authority.sentinels[index].cut_from_ambassador;
            let told = (!cut).then(|| authority.told(world, index));
            let (next, last) = &mut self.asks[index];
            // It publishes what changes.
            let news = told.as_ref().map(|told| (&told.master, told.epoch))
                != last.as_ref().map(|told| (&told.master, told.epoch));
            if now < *next && !(news && world.dice.once_in(4)) {
                continue;
            }
            *next = now + Duration::from_secs(1);
            last.clone_from(&told);
            let seen = told.map(|told| match self.blind {
                Blind::Epochs => Told {
                    epoch: now.as_millis() as u64,
                    ..told
                },
                _ => told,
            });
            let answer = seen.ok_or_else(|| Failure {
                kind: FailureKind::Timeout,
                message: "no answer".to_owned(),
            });
            self.checks.told(index, last.clone(), self.asks_len());
            let voices = match (self.blind, &answer) {
                (Blind::Votes, Ok(_)) => 0..self.asks_len(),
                _ => index..index + 1,
            };
            for voice in voices {
                if self.group.told(voice, answer.clone(), now) {
                    self.poke_all();
                }
            }
            self.publish(world)?;
        }
        Ok(())
    }

    fn asks_len(&self) -> usize {
        self.asks.len()
    }

    fn publish(&mut self, world: &mut World) -> Result<(), String> {
        if let Some(next) = self.group.snapshot(Some(&self.topology)) {
            let lost = self.topology.master.is_some() && next.master != self.topology.master;
            self.checks.changes(&self.topology, &next, world)?;
            self.topology = next;
            world.say(|| picture(&self.topology));
            if lost {
                self.poke_all();
            }
        }
        self.checks.holds(&self.topology, world)
    }

    /// Whether the group is known as it is: its master, who serves, and nobody else.
    pub(super) fn is_settled(&self, world: &World, authority: &Authority) -> Result<(), String> {
        let place = |id: NodeId| self.topology.node(id)?.address.and_then(place_of);
        let master = self.topology.master.and_then(place);
        if master != Some(world.servers[authority.master].place) {
            return Err(format!(
                "the master is {}, adopted is {master:?}",
                authority.master
            ));
        }
        for server in &world.servers {
            let of_it = |address| place_of(address) == Some(server.place);
            let mut nodes = self.topology.nodes.iter();
            match nodes.find(|node| node.address.is_some_and(of_it)) {
                Some(node) if node.usable => {}
                Some(node) => return Err(format!("{} does not serve: {}", node.name, node.reason)),
                None => return Err(format!("10.0.0.{} is not known", server.place)),
            }
        }
        Ok(())
    }

    /// Whether nobody is known who is not there any more, but for the one whom the user named.
    pub(super) fn has_forgotten(&self, world: &World) -> Result<(), String> {
        for node in &self.topology.nodes {
            let place = node.address.and_then(place_of);
            let named = self.named == Named::One && node.id == NodeId(0);
            if !named && place.and_then(|place| world.at(place)).is_none() {
                return Err(format!("{} is not forgotten", node.name));
            }
        }
        Ok(())
    }
}

fn place_of(address: std::net::SocketAddr) -> Option<Place> {
    match address.ip() {
        std::net::IpAddr::V4(ip) => Some(ip.octets()[3]),
        std::net::IpAddr::V6(_) => None,
    }
}

fn picture(topology: &Topology) -> String {
    let nodes = topology.nodes.iter().map(|node| {
        let star = if topology.master == Some(node.id) { "*" } else { "" };
        let address = node.address.map(|address| address.to_string());
        let address = address.unwrap_or_default();
        format!(
            "{}{star} {address} {:?} {}",
            node.id.0,
            node.role,
            if node.usable { "serves" } else { &node.reason }
        )
    });
    format!("    published: {}", nodes.collect::<Vec<_>>().join("; "))
}
