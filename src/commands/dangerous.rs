//! What `allow_dangerous` does: the commands that are refused because they act on a node are let through.

use super::Class;
use super::table::{Command, Layer, Table};

/// These turn their connection into something that no longer answers request by request, so they may never share
/// one: they get an own connection from then on.
const TAKES_CONNECTION: [&str; 4] = ["sync", "psync", "replconf", "script|debug"];

impl Table {
    /// This table with the refused commands going to the master. Laid under the user's changes, so that one of them
    /// can still be refused.
    #[must_use]
    pub fn with_dangerous(&self) -> Table {
        let mut table = self.clone();
        for entry in table.commands.values_mut() {
            for known in std::iter::once(&mut entry.known).chain(entry.subcommands.values_mut()) {
                if known.command.class == Class::Refused {
                    known.command.class = if takes_connection(&known.command) {
                        Class::Stream
                    } else {
                        Class::Master
                    };
                    known.command.why = format!("{}; allow_dangerous lets it through", known.command.why);
                    known.layer = Layer::User;
                }
            }
        }
        table
    }
}

/// Whether a command must have its connection to itself.
pub(super) fn takes_connection(command: &Command) -> bool {
    TAKES_CONNECTION.contains(&command.name.as_str())
}
