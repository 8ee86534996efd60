//! What really happened to every command: the truth that replies are judged by. Remembers the first rule that is broken.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// A write: its client and its number there.
pub(super) type Id = (u32, u32);

/// The truth.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Writes that the worker handed to a socket whole.
    handed: HashSet<Id>,
    /// EXEC and BLPOP handed over, by client.
    pub(super) special_handed: HashSet<u32>,
    /// Writes that a master ran, each with its place in the order of all.
    applied: HashMap<Id, usize>,
    /// Writes of which a client was told that they were not run.
    refused: HashSet<Id>,
    /// The last acknowledged write of a client, by its place in the order of all.
    acknowledged: HashMap<u32, usize>,
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
        if self.refused.contains(&id) {
            self.breaks(format!(
                "{id:?} is sent after its client was told that it did not run"
            ));
        }
        self.handed.insert(id);
    }

    pub(super) fn apply(&mut self, id: Id) {
        let place = self.applied.len();
        if self.applied.insert(id, place).is_some() {
            self.breaks(format!("{id:?} ran twice"));
        }
        if self.refused.contains(&id) {
            self.breaks(format!("{id:?} ran after its client was told that it did not"));
        }
    }

    /// A client was told that a write ran.
    pub(super) fn acknowledge(&mut self, id: Id) {
        let Some(place) = self.applied.get(&id).copied() else {
            return self.breaks(format!("{id:?} was acknowledged and never ran"));
        };
        if self.acknowledged.get(&id.0).is_some_and(|last| *last > place) {
            self.breaks(format!("{id:?} ran before what its client sent earlier"));
        }
        self.acknowledged.insert(id.0, place);
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
