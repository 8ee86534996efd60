//! What was heard of every node's past, as far as who may be master now rests on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::info::Facts;
use super::server::{Place, Position};
use crate::topology::{NodeId, Role};

/// The last answer of a server.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) facts: Facts,
    /// The same by numbers.
    pub(super) at: Position,
    pub(super) server: usize,
    /// Its process and where it was.
    pub(super) run: u32,
    pub(super) place: Place,
    /// When it was asked.
    pub(super) when: Duration,
}

/// All nodes' pasts.
#[derive(Debug, Default)]
pub(super) struct Pasts {
    /// Who was replaced as the master and not heard as a replica since.
    deposed: BTreeSet<NodeId>,
    /// The process that was last heard as a replica, and where that was.
    obeyed: BTreeMap<NodeId, (u32, Place)>,
    /// The process that was heard as a master that loads its data, and not as a replica since.
    loaded: BTreeMap<NodeId, u32>,
}

impl Pasts {
    pub(super) fn heard(&mut self, id: NodeId, heard: &Heard) {
        if heard.facts.role == Role::Replica {
            self.deposed.remove(&id);
            self.obeyed.insert(id, (heard.run, heard.place));
            self.loaded.remove(&id);
        } else if heard.facts.loading {
            self.loaded.insert(id, heard.run);
        }
    }

    /// Another one is master.
    pub(super) fn replaces(&mut self, id: NodeId, before: NodeId) {
        self.deposed.insert(before);
        self.deposed.remove(&id);
    }

    pub(super) fn is_deposed(&self, id: NodeId) -> bool {
        self.deposed.contains(&id)
    }

    /// Whether its process must have begun as a master: it was another one that was heard as a replica there, or it said
    /// so while it loaded its data.
    pub(super) fn began_as_master(&self, id: NodeId, heard: &Heard) -> bool {
        let obeyed = self.obeyed.get(&id);
        let anew = obeyed.is_some_and(|(run, place)| *place == heard.place && *run != heard.run);
        anew || self.loaded.get(&id) == Some(&heard.run)
    }

    /// Whether its process may have begun as a master, as far as anybody can tell.
    pub(super) fn may_have_begun_as_master(&self, id: NodeId, heard: &Heard) -> bool {
        self.began_as_master(id, heard) || self.obeyed.get(&id).is_some_and(|(run, _)| *run != heard.run)
    }
}
