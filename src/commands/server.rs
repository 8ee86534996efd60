//! The layer above the embedded table: what the master itself says of its commands.

use redis_protocol::resp2::types::OwnedFrame;

use super::handling::Handling;
use super::table::{Access, Command, Known, Layer, Table};
use super::{Class, KeyRange};

/// A `COMMAND` entry's subcommands stand at this index (since Redis 7.0).
const SUBCOMMANDS: usize = 9;

impl Table {
    /// This table with what a server's reply to `COMMAND` adds or corrects. The reply comes from the network:
    /// entries that do not look like one are skipped.
    ///
    /// - A command that is not in this table comes in by the server's own flags.
    /// - Where the server's flags contradict those that this entry was made from, the server's win: it is the
    ///   server that will run the command, or refuse it.
    /// - Everything else stays, because it was judged by people.
    #[must_use]
    pub fn with_server(&self, reply: &OwnedFrame) -> Table {
        let mut table = self.clone();
        let OwnedFrame::Array(entries) = reply else {
            return table;
        };
        let mut named = std::collections::HashSet::new();
        for fields in entries.iter().filter_map(array) {
            let Some(container) = Said::read(fields) else {
                continue;
            };
            if container.name.contains('|') {
                continue;
            }
            named.insert(container.name.clone());
            let prefix = format!("{}|", container.name);
            merge(&mut table, container);
            let subcommands = fields.get(SUBCOMMANDS).and_then(array).unwrap_or_default();
            for said in subcommands.iter().filter_map(array).filter_map(Said::read) {
                if said.name.starts_with(&prefix) {
                    named.insert(said.name.clone());
                    merge(&mut table, said);
                }
            }
        }
        table.forget_unknown(|name| named.contains(name));
        table
    }

    /// Nothing is done here for what the server does not know: it shall say so in its own words. That is a
    /// subcommand where it lists the others, and the read-only form of a command that it lists.
    fn forget_unknown(&mut self, knows: impl Fn(&str) -> bool) {
        for entry in self.commands.values_mut() {
            let command = &mut entry.known.command;
            if command.read_form.as_deref().is_some_and(|form| !knows(form)) && knows(&command.name) {
                command.read_form = None;
                command.handling = Handling::Forward;
            }
            let lists = entry.subcommands.values().any(|known| knows(&known.command.name));
            for known in entry.subcommands.values_mut() {
                let command = &mut known.command;
                if lists && !knows(&command.name) && command.handling != Handling::Forward {
                    command.handling = Handling::Forward;
                    command.class = Class::Master;
                    "the master does not know it, and says so".clone_into(&mut command.why);
                    known.layer = Layer::Server;
                }
            }
        }
    }
}

/// What one entry of the reply says.
struct Said {
    name: String,
    access: Access,
    blocking: bool,
    arity: i32,
    keys: KeyRange,
}

impl Said {
    /// Name, arity, flags, first key, last key, step, ...
    fn read(fields: &[OwnedFrame]) -> Option<Said> {
        let [name, arity, flags, first, last, step, ..] = fields else {
            return None;
        };
        let name = std::str::from_utf8(text(name)?).ok()?.to_ascii_lowercase();
        let flags: Vec<&[u8]> = array(flags)?.iter().filter_map(text).collect();
        let number = |frame: &OwnedFrame| match frame {
            OwnedFrame::Integer(number) => i32::try_from(*number).ok(),
            _ => None,
        };
        let keys = KeyRange {
            first: number(first)?,
            last: number(last)?,
            step: number(step)?,
        };
        let sane = keys.first > 0 && keys.step > 0 && (keys.last < 0 || keys.last >= keys.first);
        Some(Said {
            name,
            arity: number(arity).unwrap_or(0),
            blocking: flags.iter().any(|flag| flag.eq_ignore_ascii_case(b"blocking")),
            access: Access::of(flags),
            keys: if sane { keys } else { KeyRange::default() },
        })
    }

    fn class(&self) -> (Class, &'static str) {
        match self.access {
            _ if self.blocking => (Class::Blocking, "it has the flag blocking"),
            Access::Writes => (Class::Write, "it has the flag write"),
            Access::Reads => (Class::Read, "it has the flag readonly"),
            Access::Neither => (
                Class::Master,
                "it has neither the flag write nor the flag readonly",
            ),
        }
    }
}

fn merge(table: &mut Table, said: Said) {
    let Some(known) = table.known_mut(&said.name) else {
        let (class, reason) = said.class();
        let why = format!("known from the master's own COMMAND: {reason}");
        let Said {
            name,
            access,
            arity,
            keys,
            ..
        } = said;
        let command = Command {
            name,
            class,
            arity,
            keys,
            cursor: 0,
            handling: Handling::Forward,
            read_form: None,
            writes_with: Vec::new(),
            instead: None,
            why,
        };
        table.put(Known {
            command,
            layer: Layer::Server,
            access,
            specs: Vec::new(),
        });
        return;
    };
    let corrected = match (known.command.class, known.access, said.access) {
        // Whatever it was judged from, a replica refuses it.
        (Class::Read, _, Access::Writes) => Class::Write,
        (Class::Write, Access::Writes, Access::Reads) => Class::Read,
        _ => {
            known.access = said.access;
            return;
        }
    };
    let flag = if corrected == Class::Write {
        "write"
    } else {
        "readonly"
    };
    known.command.why = format!(
        "the table said {}, but on the master it has the flag {flag}: corrected",
        known.command.class.name()
    );
    known.command.class = corrected;
    known.access = said.access;
    known.layer = Layer::Server;
}

fn array(frame: &OwnedFrame) -> Option<&[OwnedFrame]> {
    match frame {
        OwnedFrame::Array(items) => Some(items),
        _ => None,
    }
}

fn text(frame: &OwnedFrame) -> Option<&[u8]> {
    match frame {
        OwnedFrame::SimpleString(text) | OwnedFrame::BulkString(text) => Some(text),
        _ => None,
    }
}
