//! What really happened to every command: the truth that replies are judged by. Remembers the first rule that is broken.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// How many servers there are.
pub(super) const NODES: usize = 3;

/// A write: its client and its number there.
pub(super) type Id = (u32, u32);

/// What happened to a client's commands last, by the count of all that ran.
#[derive(Debug, Default)]
struct Last {
    write: u64,
    /// Any effect.
    all: u64,
}

/// What an answer is about: a write, or a read that ran at that time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Write(Id),
    Read(u64),
}

/// What a command does that must not run twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    Write,
    Message,
}

/// The truth.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Writes that the worker handed to a socket whole.
    handed: HashSet<Id>,
    /// EXEC and BLPOP handed over, by client.
    pub(super) special_handed: HashSet<u32>,
    /// What ran that must not run twice: which node ran it, and when, by the count of all that ran.
    applied: HashMap<Id, (usize, u64)>,
    ran: u64,
    /// Who is master in truth, and the writes that its history holds.
    master: usize,
    history: HashSet<Id>,
    /// The master that the worker goes by.
    known: Option<usize>,
    /// Writes whose answers left their node when the worker went by another master.
    late: HashSet<Id>,
    /// Writes that clients were told of, by the node that ran them.
    told: [u64; NODES],
    /// Writes of which a client was told that they were not run.
    refused: HashSet<Id>,
    /// When the last of what a client was told of took place.
    last: HashMap<u32, Last>,
    acknowledged: HashSet<Id>,
    /// Reads, by when they ran, behind a write that was refused on the same connection.
    behind: HashMap<u64, Id>,
    /// Reads whose answers left since the worker took its last turn.
    coming: Vec<u64>,
    /// Reads that ran.
    read: HashSet<Id>,
    /// Rules that do not hold yet are judged as well (`AMBASSADOR_SIMULATION_STRICT=1`): no read and no PUBLISH passes a
    /// write that its client sent earlier, wherever that waits; errors are no older than values; a late answer stays one
    /// when its node is master again.
    strict: bool,
    /// Elements that a master gave away, and to whom.
    popped: HashMap<u32, u32>,
    /// Clients of which the worker has been told that they are gone.
    pub(super) gone: HashSet<u32>,
    /// For people who look at one seed.
    tell: bool,
    broken: Option<String>,
}

impl Ledger {
    pub(super) fn new(tell: bool) -> Self {
        Ledger {
            tell,
            strict: std::env::var_os("AMBASSADOR_SIMULATION_STRICT").is_some(),
            ..Ledger::default()
        }
    }

    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        if self.tell {
            eprintln!("          {}", text());
        }
    }

    pub(super) fn breaks(&mut self, rule: String) {
        self.broken.get_or_insert(rule);
    }

    pub(super) fn verdict(&self, now: Duration) -> Result<(), String> {
        match &self.broken {
            Some(rule) => Err(format!("at {:.3}: {rule}", now.as_secs_f64())),
            None => Ok(()),
        }
    }

    pub(super) fn hand(&mut self, id: Id) {
        self.say(|| format!("{id:?} is handed over"));
        if self.refused.contains(&id) {
            self.breaks(format!(
                "{id:?} is sent after its client was told that it did not run"
            ));
        }
        self.handed.insert(id);
    }

    /// Something runs: when that is, by the count of all that ran.
    pub(super) fn tick(&mut self) -> u64 {
        self.ran += 1;
        self.ran
    }

    /// A node runs a write.
    pub(super) fn write(&mut self, id: Id, node: usize) {
        self.run(id, node);
        if node == self.master {
            self.history.insert(id);
        }
    }

    /// A node runs what must not run twice.
    pub(super) fn run(&mut self, id: Id, node: usize) {
        let when = self.tick();
        if self.applied.insert(id, (node, when)).is_some() {
            self.breaks(format!("{id:?} ran twice"));
        }
        if self.refused.contains(&id) {
            self.breaks(format!("{id:?} ran after its client was told that it did not"));
        }
    }

    /// Another node is master, with these writes.
    pub(super) fn reign(&mut self, master: usize, history: impl Iterator<Item = Id>) {
        self.master = master;
        self.history = history.collect();
    }

    /// The worker has taken its turn with this master.
    pub(super) fn know(&mut self, master: Option<usize>) {
        if self.known != master && !self.strict {
            // What it still has to say from before it was deposed passes.
            let applied = &self.applied;
            let of_it = |id: &Id| applied.get(id).map(|(node, _)| *node) == master;
            self.late.retain(|id| !of_it(id));
        }
        for read in std::mem::take(&mut self.coming) {
            if self.known != master {
                self.came_late(read);
            }
        }
        self.known = master;
    }

    /// An answer has left its node.
    pub(super) fn answer(&mut self, answer: Answer, node: usize) {
        let deposed = self.known.is_some_and(|known| known != node);
        match answer {
            Answer::Write(id) if deposed => drop(self.late.insert(id)),
            Answer::Read(when) if deposed => self.came_late(when),
            Answer::Read(when) => self.coming.push(when),
            Answer::Write(_) => {}
        }
    }

    /// The write before it may have gone on to the next master when the answer to a read came.
    fn came_late(&mut self, read: u64) {
        if !self.strict {
            self.behind.remove(&read);
        }
    }

    /// A client was told that a write ran.
    pub(super) fn acknowledge(&mut self, id: Id) {
        if self.late.contains(&id) && !self.history.contains(&id) {
            self.breaks(format!(
                "{id:?} was acknowledged though a deposed master answered, and it is lost"
            ));
        }
        if let Some((node, _)) = self.applied.get(&id) {
            self.told[*node] += 1;
        }
        self.ran(id, Effect::Write);
    }

    /// A client was told that this ran: after all that it sent before.
    pub(super) fn ran(&mut self, id: Id, effect: Effect) {
        let Some((_, when)) = self.applied.get(&id).copied() else {
            return self.breaks(format!("{id:?} was acknowledged and never ran"));
        };
        let last = self.last.entry(id.0).or_default();
        let (after_write, after_all) = (last.write > when, last.all > when);
        last.all = when;
        if effect == Effect::Write {
            last.write = when;
            self.acknowledged.insert(id);
        }
        let checked = effect == Effect::Write || self.strict;
        if checked && after_write || self.strict && after_all {
            self.breaks(format!("{id:?} ran before what its client sent earlier"));
        }
    }

    /// A node runs a read: when that is. `refused`: the last write of the same client that it refused on the same
    /// connection.
    pub(super) fn read(&mut self, read: Id, refused: Option<Id>) -> u64 {
        let when = self.tick();
        // Asked for again it may have gone to a replica at the same time as the write to the master: not in order, but
        // not what was passed on behind the refusal either.
        let first = self.read.insert(read);
        let waits = refused.filter(|refused| !self.applied.contains_key(refused));
        if let Some(refused) = waits.filter(|_| first || self.strict) {
            self.behind.insert(when, refused);
        }
        when
    }

    /// A client was shown what was there at that time, or (`error`) told what was wrong with it.
    pub(super) fn saw(&mut self, client: u32, when: u64, error: bool) {
        let refused = self.behind.get(&when);
        let older = refused.is_some_and(|refused| self.acknowledged.contains(refused));
        let earlier = self.last.get(&client).is_some_and(|last| last.all > when);
        if older && !error || earlier && self.strict {
            self.breaks(format!("client {client} was shown what was before its own write"));
        }
    }

    /// What is told of lost writes rests on the worker's own count: once it goes by another master, that has all writes
    /// that clients were told of. Before that, those of a batch that is not wholly answered may be missing.
    pub(super) fn is_counted(&mut self, node: usize, counted: u64) {
        if self.known.is_some_and(|known| known != node) && self.told[node] > counted {
            let told = self.told[node];
            self.breaks(format!(
                "{told} writes of node {node} were acknowledged, {counted} are counted"
            ));
        }
    }

    /// A client was told that a write did not run.
    pub(super) fn refuse(&mut self, id: Id) {
        if self.applied.contains_key(&id) {
            self.breaks(format!("{id:?} ran, and its client was told that it did not"));
        }
        self.refused.insert(id);
    }

    /// A client was told that nobody knows.
    pub(super) fn doubt(&mut self, id: Id) {
        if !self.handed.contains(&id) {
            self.breaks(format!(
                "{id:?} is in doubt though it was never handed to a socket"
            ));
        }
    }

    /// `answered`: the worker has the replies to all that came before, so it knows that this command waits.
    pub(super) fn pop(&mut self, element: u32, client: u32, answered: bool) {
        if answered && self.gone.contains(&client) {
            self.breaks(format!("{element} was popped for client {client}, who is gone"));
        }
        self.popped.insert(element, client);
    }

    pub(super) fn receive(&mut self, element: u32, client: u32) {
        if self.popped.get(&element) != Some(&client) {
            self.breaks(format!(
                "client {client} got {element}, which was not popped for it"
            ));
        }
    }
}
