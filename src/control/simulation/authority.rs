//! Who decides on failovers: three sentinels, or an operator without any. What it decides is the truth.
//!
//! It works as Sentinel does in what the ambassador can see of it: a replica is promoted first, the sentinels hear of
//! it one after the other, and the old master is told last.

use std::time::Duration;

use super::super::council::Told;
use super::server::{Link, PORT, Place, host};
use super::world::World;

/// A sentinel as the ambassador may meet it.
#[derive(Debug, Clone, Default)]
pub(super) struct Sentinel {
    /// Whom it calls master, and in which epoch.
    pub(super) view: (Place, u64),
    /// When it hears of something newer.
    hears: Option<Duration>,
    /// Until when the others and the ambassador cannot reach it.
    pub(super) cut_from_peers: Duration,
    pub(super) cut_from_ambassador: Duration,
    /// It tells this until then.
    pub(super) lie: Option<(Place, u64, Duration)>,
    /// It says again and again until then that it begins a failover.
    pub(super) cries: Duration,
}

#[derive(Debug)]
struct Failover {
    candidate: usize,
    leader: Option<usize>,
    promotes: Duration,
}

/// The authority.
#[derive(Debug)]
pub(super) struct Authority {
    /// The master that it decided on last, where that is, and its history when it was last seen.
    pub(super) master: usize,
    place: Place,
    line: u32,
    epoch: u64,
    pub(super) sentinels: Vec<Sentinel>,
    missed: Option<Duration>,
    down_after: Duration,
    failover: Option<Failover>,
    /// When servers that are not what they should be are told so.
    tells: Vec<Option<Duration>>,
    /// What sentinels published: who begins a failover or gives up.
    pub(super) events: Vec<(usize, bool)>,
    /// Patience with an old master, in milliseconds.
    pub(super) slowness: u64,
    /// Whoever is made master before that cannot be reached by the ambassador until then.
    pub(super) hides: Duration,
}

impl Authority {
    pub(super) fn new(world: &mut World, with_sentinels: bool) -> Self {
        let place = world.servers[0].place;
        let sentinel = Sentinel {
            view: (place, 1),
            ..Sentinel::default()
        };
        Authority {
            master: 0,
            place,
            line: world.servers[0].at.replid,
            epoch: 1,
            sentinels: vec![sentinel; if with_sentinels { 3 } else { 0 }],
            missed: None,
            down_after: world.dice.milliseconds(500..3000),
            failover: None,
            tells: vec![None; world.servers.len()],
            events: Vec::new(),
            slowness: 6000,
            hides: Duration::ZERO,
        }
    }

    fn reaches(world: &World, index: usize) -> bool {
        world.servers[index].is_up() && world.now >= world.cuts[index].authority
    }

    pub(super) fn step(&mut self, world: &mut World) {
        self.promote(world);
        let there = Self::reaches(world, self.master);
        if there {
            self.missed = None;
            self.line = world.servers[self.master].at.replid;
            if world.servers[self.master].place != self.place {
                (self.place, self.epoch) = (world.servers[self.master].place, self.epoch + 1);
            }
        } else if world.now.saturating_sub(*self.missed.get_or_insert(world.now)) > self.down_after {
            self.begin(world);
        }
        if self.failover.is_none() {
            self.correct(world);
        }
        self.spread(world);
    }

    /// Begins to make another server master, if there is one that could be.
    pub(super) fn begin(&mut self, world: &mut World) {
        if self.failover.is_some() {
            return;
        }
        let now = world.now;
        let leaders: Vec<usize> = (0..self.sentinels.len())
            .filter(|index| now >= self.sentinels[*index].cut_from_peers)
            .filter(|index| self.sentinels[*index].lie.is_none())
            .collect();
        if !self.sentinels.is_empty() && leaders.len() < 2 {
            return;
        }
        let candidates = (0..world.servers.len()).filter(|index| {
            let server = &world.servers[*index];
            *index != self.master
                && Self::reaches(world, *index)
                && !server.is_loading(now)
                && !server.is_master()
                && matches!(server.link, Link::Up | Link::Down(_))
                && world.histories.holds(self.line, &server.at)
        });
        let Some(candidate) = candidates.max_by_key(|index| world.servers[*index].at.offset) else {
            return;
        };
        let leader = (!leaders.is_empty()).then(|| leaders[world.dice.index(leaders.len())]);
        if let Some(leader) = leader {
            self.events.push((leader, true));
        }
        self.failover = Some(Failover {
            candidate,
            leader,
            promotes: now + world.dice.milliseconds(100..250),
        });
        world.say(|| format!("failover to {candidate} begins, led by {leader:?}"));
    }

    fn promote(&mut self, world: &mut World) {
        let Some(Failover {
            candidate,
            leader,
            promotes,
        }) = self.failover
        else {
            return;
        };
        if world.now < promotes {
            return;
        }
        self.failover = None;
        let server = &world.servers[candidate];
        if !Self::reaches(world, candidate) || !matches!(server.link, Link::Up | Link::Down(_)) {
            self.events.extend(leader.map(|leader| (leader, false)));
            return;
        }
        world.promote(candidate);
        // Sentinel cuts all connections of the server that it promotes (CLIENT KILL TYPE normal).
        world.servers[candidate].cuts += 1;
        self.appoint(world, candidate);
        if let Some(leader) = leader {
            self.sentinels[leader].view = (self.place, self.epoch);
        }
    }

    fn appoint(&mut self, world: &mut World, master: usize) {
        if world.now < self.hides {
            world.cuts[master].ambassador = self.hides;
        }
        (self.master, self.place) = (master, world.servers[master].place);
        self.line = world.servers[master].at.replid;
        self.epoch += 1;
        self.missed = None;
    }

    /// The command FAILOVER: both change at the same time and nothing is lost. Not with sentinels.
    pub(super) fn swap(&mut self, world: &mut World, successor: usize) {
        let (old, new) = (&world.servers[self.master], &world.servers[successor]);
        let ready = old.is_up()
            && new.is_up()
            && new.link == Link::Up
            && new.of == Some(old.place)
            && new.at.replid == old.at.replid
            && !world.are_apart(self.master, successor)
            && new.stalled_until <= world.now;
        if !ready || self.failover.is_some() || !self.sentinels.is_empty() {
            return;
        }
        let before = self.master;
        world.servers[successor].at.offset = world.servers[before].at.offset;
        world.promote(successor);
        world.follow(before, successor);
        self.appoint(world, successor);
    }

    /// Until then nobody corrects that server: sentinels leave a replica alone for ten seconds that says master.
    pub(super) fn leaves_alone(&mut self, index: usize, until: Duration) {
        self.tells[index] = Some(until);
    }

    /// From now on it has little patience.
    pub(super) fn hurries(&mut self, now: Duration) {
        self.slowness = 2000;
        let soon = now + Duration::from_millis(self.slowness);
        for when in self.tells.iter_mut().flatten() {
            *when = soon.min(*when);
        }
    }

    /// Servers that are not what they should be are told so, each in its time.
    fn correct(&mut self, world: &mut World) {
        if !Self::reaches(world, self.master) {
            return;
        }
        for index in 0..world.servers.len() {
            if index == self.master || !Self::reaches(world, index) {
                continue;
            }
            if self.is_right(world, index) {
                self.tells[index] = None;
                continue;
            }
            let most = if world.servers[index].is_master() {
                self.slowness
            } else {
                2000
            };
            let when = match self.tells[index] {
                Some(when) => when,
                None => world.now + world.dice.milliseconds(0..most),
            };
            self.tells[index] = Some(when);
            if world.now >= when {
                self.tells[index] = None;
                world.follow(index, self.master);
            }
        }
    }

    /// It follows the master, or one that does.
    fn is_right(&self, world: &World, index: usize) -> bool {
        let Some(of) = world.servers[index].of else {
            return false;
        };
        of == self.place
            || world.at(of).is_some_and(|middle| {
                middle != index
                    && world.servers[middle].of == Some(self.place)
                    && world.servers[middle].link == Link::Up
            })
    }

    fn spread(&mut self, world: &mut World) {
        let truth = (self.place, self.epoch);
        for (index, sentinel) in self.sentinels.iter_mut().enumerate() {
            if world.now < sentinel.cries && world.dice.once_in(8) {
                self.events.push((index, true));
            }
            sentinel.lie = sentinel.lie.filter(|(_, _, until)| world.now < *until);
            if sentinel.view == truth || world.now < sentinel.cut_from_peers {
                sentinel.hears = None;
                continue;
            }
            let when = match sentinel.hears {
                Some(when) => when,
                None => world.now + world.dice.milliseconds(0..1500),
            };
            sentinel.hears = Some(when);
            if world.now >= when {
                (sentinel.view, sentinel.hears) = (truth, None);
            }
        }
    }

    /// What a sentinel says.
    pub(super) fn told(&self, world: &World, sentinel: usize) -> Told {
        let sentinel = &self.sentinels[sentinel];
        let (master, epoch) = sentinel
            .lie
            .map_or(sentinel.view, |(place, epoch, _)| (place, epoch));
        let others = world.servers.iter().filter(|server| server.place != master);
        Told {
            master: (host(master), PORT),
            epoch,
            replicas: others.map(|server| (host(server.place), PORT)).collect(),
        }
    }
}
