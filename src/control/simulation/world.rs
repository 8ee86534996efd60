//! The servers and what lies between them, in steps of time that nothing but the simulation moves.

use std::time::Duration;

use super::super::info::{Attached, Facts};
use super::histories::Histories;
use super::server::{Link, PORT, Place, Position, Process, Server, host};
use crate::simulation::Dice;

pub(super) const STEP: Duration = Duration::from_millis(25);
/// A connection over which nothing comes is given up after this (`repl-timeout`, shorter than the real one).
const SILENCE: Duration = Duration::from_secs(3);

/// Until when somebody cannot reach a server, or not well.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cut {
    pub(super) ambassador: Duration,
    pub(super) authority: Duration,
    /// It refuses every second connection or so.
    pub(super) shaky: Duration,
}

/// The world.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) dice: Dice,
    pub(super) servers: Vec<Server>,
    pub(super) cuts: Vec<Cut>,
    /// Pairs of servers that cannot reach each other, until when.
    pub(super) apart: Vec<(usize, usize, Duration)>,
    pub(super) histories: Histories,
    /// Most bytes that a master writes in a step.
    pub(super) writes: u64,
    /// Masters that take no writes until then.
    pub(super) paused: Duration,
    last_place: Place,
    last_run: u32,
    tell: bool,
}

impl World {
    /// `count` servers: the first is master, the others follow it, or one another where `chained`.
    pub(super) fn new(mut dice: Dice, count: usize, chained: bool, tell: bool) -> Self {
        let mut histories = Histories::default();
        let first = histories.begin(None, Duration::ZERO);
        let writes = [1, 40, 400][dice.index(3)];
        let mut world = World {
            now: Duration::ZERO,
            dice,
            servers: Vec::new(),
            cuts: vec![Cut::default(); count],
            apart: Vec::new(),
            histories,
            writes,
            paused: Duration::ZERO,
            last_place: 0,
            last_run: 0,
            tell,
        };
        for index in 0..count {
            let place = world.new_place();
            let of = match index {
                0 => None,
                3.. if chained => Some(world.servers[1].place),
                _ => Some(world.servers[0].place),
            };
            let replid = match index {
                0 => first,
                _ => world.histories.begin(None, Duration::ZERO),
            };
            let at = Position {
                replid,
                before: None,
                offset: 0,
            };
            let mut server = Server::new(place, of, at);
            server.run = world.new_run();
            world.servers.push(server);
        }
        world
    }

    /// For people who look at one seed.
    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if self.tell {
            eprintln!("{:>9.3} {}", self.now.as_secs_f64(), text());
        }
    }

    fn new_place(&mut self) -> Place {
        self.last_place += 1;
        self.last_place
    }

    fn new_run(&mut self) -> u32 {
        self.last_run += 1;
        self.last_run
    }

    pub(super) fn at(&self, place: Place) -> Option<usize> {
        self.servers.iter().position(|server| server.place == place)
    }

    pub(super) fn are_apart(&self, one: usize, other: usize) -> bool {
        self.apart
            .iter()
            .any(|(a, b, until)| self.now < *until && ((*a, *b) == (one, other) || (*b, *a) == (one, other)))
    }

    /// The answer of a server to INFO, as it is now.
    pub(super) fn info(&self, index: usize, took: Duration) -> Facts {
        let server = &self.servers[index];
        let attached = self
            .servers
            .iter()
            .filter(|other| other.of == Some(server.place) && other.link == Link::Up);
        let attached = attached.map(|other| Attached {
            host: host(other.place),
            port: PORT,
        });
        server.info(attached.collect(), self.now, took)
    }

    /// Time goes on.
    pub(super) fn step(&mut self) {
        self.now += STEP;
        for index in 0..self.servers.len() {
            let server = &self.servers[index];
            if server.process != Process::Up && server.back <= self.now {
                self.come_back(index);
            }
            self.write(index);
        }
        for index in 0..self.servers.len() {
            if self.servers[index].is_up() {
                self.replicate(index);
            }
        }
    }

    fn write(&mut self, index: usize) {
        let server = &mut self.servers[index];
        if !server.is_up() || !server.is_master() || server.is_loading(self.now) || self.now < self.paused {
            return;
        }
        let bytes = self.dice.of(0..self.writes + 1);
        if bytes > 0 {
            server.at.offset += bytes;
            self.histories.write(server.at.replid, self.now, server.at.offset);
        }
    }

    fn replicate(&mut self, index: usize) {
        let now = self.now;
        let Some(master) = self.servers[index].of else {
            return;
        };
        let master = self.at(master).filter(|master| *master != index);
        let alive = master.filter(|master| self.servers[*master].process != Process::Down);
        let heard = alive.filter(|master| {
            self.servers[*master].is_up()
                && !self.servers[*master].is_loading(now)
                && !self.are_apart(index, *master)
        });
        let of = heard.map(|heard| {
            let of = &self.servers[heard];
            (of.at, of.serves_replicas(now))
        });
        let sync_takes = self.dice.milliseconds(300..2000);
        let tries = self.dice.once_in(8);
        let server = &mut self.servers[index];
        match (server.link, of) {
            (Link::Up | Link::Syncing(..), _) if alive.is_none() => server.lose_link(now),
            (Link::Up | Link::Syncing(..), None) => {
                if now.saturating_sub(*server.silent.get_or_insert(now)) > SILENCE {
                    server.lose_link(now);
                }
            }
            (Link::Up, Some((at, _))) => {
                server.silent = None;
                if at.replid != server.at.replid || at.offset < server.at.offset {
                    server.lose_link(now);
                } else if now >= server.stalled_until && !server.is_loading(now) {
                    server.at.offset = at.offset.min(server.at.offset.saturating_add(server.speed));
                }
            }
            (Link::Syncing(until, _), Some((at, _))) => {
                server.silent = None;
                if now >= until {
                    server.at = Position { before: None, ..at };
                    server.link = Link::Up;
                }
            }
            (Link::Never | Link::Down(_), Some((at, true))) if tries && !server.is_loading(now) => {
                let since = match server.link {
                    Link::Down(since) => Some(since),
                    _ => None,
                };
                if server.goes_on_with(&at) {
                    server.go_on(at.replid);
                } else {
                    server.link = Link::Syncing(now + sync_takes, since);
                }
            }
            (Link::Never | Link::Down(_), _) => {}
        }
    }

    /// A frozen process goes on, a new one begins.
    fn come_back(&mut self, index: usize) {
        if self.servers[index].process == Process::Down {
            let run = self.new_run();
            let loads = self.dice.milliseconds(0..2000);
            let lost = self.dice.of(0..200);
            let server = &mut self.servers[index];
            (server.run, server.cuts) = (run, server.cuts + 1);
            (server.link, server.silent) = (Link::Never, None);
            if server.at.offset > 0 {
                server.loading_until = self.now + loads;
                // What was not saved is gone, but nothing of before it became what it is.
                let least = server.at.before.map_or(0, |(_, from)| from - 1);
                server.at.offset = server.at.offset.saturating_sub(lost).max(least);
                if server.is_master() {
                    // `loadDataFromDisk` in server.c: a new history that goes on from the saved one.
                    let parent = (server.at.replid, server.at.offset);
                    let (replid, unbidden) = (self.histories.begin(Some(parent), self.now), server.unbidden);
                    self.servers[index].promote(replid);
                    self.servers[index].unbidden = unbidden;
                }
            }
        }
        self.servers[index].process = Process::Up;
        self.say(|| format!("server {index} is back: {:?}", self.servers[index].at));
    }

    /// The process ends and comes back then, with what it had saved or empty.
    pub(super) fn kill(&mut self, index: usize, back: Duration, keeps_data: bool) {
        let fresh = (!keeps_data).then(|| self.histories.begin(None, self.now));
        let server = &mut self.servers[index];
        (server.process, server.back) = (Process::Down, back);
        if let Some(replid) = fresh {
            server.at = Position {
                replid,
                before: None,
                offset: 0,
            };
        }
    }

    /// A replica's process ends and comes back as a master: whom it followed was told by hand and not written down.
    pub(super) fn forget_master(&mut self, index: usize, back: Duration) {
        let has_data = self.servers[index].at.offset > 0;
        self.kill(index, back, has_data);
        let server = &mut self.servers[index];
        (server.of, server.link, server.unbidden) = (None, Link::Never, true);
    }

    /// It is somewhere else from now on.
    pub(super) fn relocate(&mut self, index: usize) {
        self.servers[index].place = self.new_place();
    }

    /// REPLICAOF NO ONE.
    pub(super) fn promote(&mut self, index: usize) {
        let at = self.servers[index].at;
        let replid = self.histories.begin(Some((at.replid, at.offset)), self.now);
        self.servers[index].promote(replid);
        self.say(|| format!("server {index} is promoted: {:?}", self.servers[index].at));
    }

    /// REPLICAOF.
    pub(super) fn follow(&mut self, index: usize, master: usize) {
        let place = self.servers[master].place;
        self.servers[index].follow(place, self.now);
        self.say(|| format!("server {index} is told to follow {master}"));
    }
}
