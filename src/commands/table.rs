//! The table itself: from a command's name (and subcommand) to what the router must know of it.

use std::collections::HashMap;

use super::{Class, KeyRange};

/// Names longer than this are no command of any server; they are classified as unknown.
const MAX_NAME: usize = 64;

/// How the ambassador treats a command beyond sending it to a node of its class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Handling {
    /// Sent as it is.
    #[default]
    Forward,
    /// SELECT.
    Select,
    /// AUTH.
    Auth,
    /// HELLO.
    Hello,
    /// RESET.
    Reset,
    /// QUIT.
    Quit,
    /// CLIENT and its subcommands.
    Client,
    /// READONLY, READWRITE, ASKING: state of a cluster connection.
    Cluster,
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
    /// WAIT, WAITAOF: count from the client's own writes.
    Wait,
    /// XREAD, XREADGROUP: wait only with the BLOCK option.
    BlockOption,
}

/// What the table says of one command or subcommand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Name in lower case, `container|sub` for a subcommand.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// Where its keys are.
    pub keys: KeyRange,
    /// Index of the cursor argument for SCAN and its kin; 0 for all others.
    pub cursor: u8,
    /// What the ambassador does beyond forwarding.
    pub handling: Handling,
    /// Where this entry comes from and why the class is what it is, in one sentence for people.
    pub why: String,
}

/// From names to commands. Cheap to share, never changed in place.
#[derive(Debug, Clone, Default)]
pub struct Table {
    commands: HashMap<Box<[u8]>, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    command: Command,
    subcommands: HashMap<Box<[u8]>, Command>,
}

impl Table {
    /// The command that a request names, in any case of letters; `None` when no layer knows it.
    /// `second` is the request's second argument, which selects a subcommand where there are some.
    pub fn lookup(&self, name: &[u8], second: Option<&[u8]>) -> Option<&Command> {
        let mut folded = [0u8; MAX_NAME];
        let entry = self.commands.get(fold(name, &mut folded)?)?;
        if entry.subcommands.is_empty() {
            return Some(&entry.command);
        }
        let sub = second.and_then(|second| entry.subcommands.get(fold(second, &mut folded)?));
        Some(sub.unwrap_or(&entry.command))
    }

    /// Puts a command in, replacing what was there under its name.
    pub fn insert(&mut self, command: Command) {
        let name = command.name.clone();
        match name.split_once('|') {
            None => match self.commands.get_mut(name.as_bytes()) {
                Some(entry) => entry.command = command,
                None => {
                    let entry = Entry {
                        command,
                        subcommands: HashMap::new(),
                    };
                    self.commands.insert(name.into_bytes().into(), entry);
                }
            },
            Some((container, sub)) => {
                let entry = self
                    .commands
                    .entry(container.as_bytes().into())
                    .or_insert_with(|| Entry {
                        command: Command {
                            name: container.to_owned(),
                            ..command.clone()
                        },
                        subcommands: HashMap::new(),
                    });
                entry.subcommands.insert(sub.as_bytes().into(), command);
            }
        }
    }

    /// Every command and subcommand, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.commands
            .values()
            .flat_map(|entry| std::iter::once(&entry.command).chain(entry.subcommands.values()))
    }
}

fn fold<'a>(name: &[u8], into: &'a mut [u8; MAX_NAME]) -> Option<&'a [u8]> {
    let folded = into.get_mut(..name.len())?;
    folded.copy_from_slice(name);
    folded.make_ascii_lowercase();
    Some(folded)
}
