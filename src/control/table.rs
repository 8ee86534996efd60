//! The command table in force: the embedded one, the master's own, the user's, what replicas taught.

use std::collections::BTreeSet;

use super::connection::decode;
use crate::commands::{Class, CommandOverride, Table};

/// Names learned from READONLY replies are bounded: a client can make the ambassador see any name.
const MAX_LEARNED: usize = 1024;

/// What goes into the table besides the embedded one.
#[derive(Debug)]
pub(super) struct Layers {
    overrides: Vec<CommandOverride>,
    allow_dangerous: bool,
    learned: BTreeSet<String>,
}

impl Layers {
    /// The user's changes, and nothing learned yet.
    pub(super) fn new(overrides: Vec<CommandOverride>, allow_dangerous: bool) -> Self {
        Layers {
            overrides,
            allow_dangerous,
            learned: BTreeSet::new(),
        }
    }

    /// Notes that a replica refused a command of class read. True when that is news.
    pub(super) fn learn_write(&mut self, name: &str) -> bool {
        self.learned.len() < MAX_LEARNED && self.learned.insert(name.to_owned())
    }

    /// Puts the layers together; `commands` is the master's reply to COMMAND as it came.
    pub(super) fn table(&self, commands: Option<&[u8]>) -> Table {
        let embedded = Table::embedded();
        // It was decoded when it came, so it can be now.
        let merged = match commands.and_then(|commands| decode(commands).ok()) {
            Some(commands) => embedded.with_server(&commands),
            None => embedded.clone(),
        };
        // Under the user's changes, so that one of them can still be refused.
        let merged = if self.allow_dangerous {
            merged.with_dangerous()
        } else {
            merged
        };
        // The configuration was checked against the embedded table, and READONLY comes only for commands that a
        // server knows; should one fail all the same, the table without that layer is still a right one.
        let chosen = with(merged, &self.overrides);
        let learned: Vec<CommandOverride> = self.learned.iter().map(|name| as_write(name)).collect();
        with(chosen, &learned)
    }
}

fn with(table: Table, changes: &[CommandOverride]) -> Table {
    table.with_overrides(changes).unwrap_or_else(|error| {
        tracing::warn!(
            command = error.name,
            expected = error.expected,
            "a change to the command table does not fit"
        );
        table
    })
}

fn as_write(name: &str) -> CommandOverride {
    CommandOverride {
        name: name.to_owned(),
        class: Some(Class::Write),
        keys: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(table: &Table, name: &str) -> Class {
        table.lookup(name.as_bytes(), None).unwrap().class
    }

    #[test]
    fn what_a_replica_refused_is_a_write_from_then_on_whatever_the_user_said() {
        let sort = CommandOverride {
            name: "sort".to_owned(),
            class: Some(Class::Read),
            keys: None,
        };
        let mut layers = Layers::new(vec![sort], false);
        assert_eq!(class(&layers.table(None), "get"), Class::Read);
        assert_eq!(class(&layers.table(None), "sort"), Class::Read);
        assert!(layers.learn_write("sort"));
        assert!(!layers.learn_write("sort"), "that is no news");
        assert_eq!(class(&layers.table(None), "sort"), Class::Write);
        assert_eq!(class(&layers.table(None), "get"), Class::Read);
    }

    #[test]
    fn refused_commands_are_let_through_when_the_configuration_says_so() {
        let class_when = |allowed| class(&Layers::new(Vec::new(), allowed).table(None), "shutdown");
        assert_eq!(class_when(false), Class::Refused);
        assert_eq!(class_when(true), Class::Master);
    }

    #[test]
    fn a_client_cannot_make_it_remember_without_end() {
        let mut layers = Layers::new(Vec::new(), false);
        let learned = (0..10_000).filter(|n| layers.learn_write(&n.to_string())).count();
        assert_eq!(learned, MAX_LEARNED);
    }
}
