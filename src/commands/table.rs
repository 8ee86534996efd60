//! The table itself: from a command's name (and subcommand) to what the router must know of it.

use super::handling::Handling;
use super::names::{MAX_NAME, Names};
use super::specs::KeySpec;
use super::{Class, KeyRange};

/// What the table says of one command or subcommand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Name in lower case, `container|sub` for a subcommand.
    pub name: String,
    /// Its class.
    pub class: Class,
    /// The number of arguments with the name; negative: at least so many; 0: not known.
    pub arity: i32,
    /// Where its keys are.
    pub keys: KeyRange,
    /// Index of the cursor argument for SCAN and its kin; 0 for all others.
    pub cursor: u8,
    /// What the ambassador does beyond forwarding.
    pub handling: Handling,
    /// The name of the command that reads what this one reads and writes nothing, for [`Handling::ReadForm`].
    pub read_form: Option<String>,
    /// With one of these options (upper case) it writes; empty: with any. For [`Handling::ReadForm`].
    pub writes_with: Vec<String>,
    /// For a refused command: what to do instead.
    pub instead: Option<String>,
    /// Where this entry comes from and why the class is what it is, in one sentence for people.
    pub why: String,
}

impl Command {
    /// The class of one request: `arguments` are all of its arguments, the name first. Differs from the entry's
    /// class only for a command that waits when an option says so.
    pub fn class_of<'a>(&self, arguments: impl IntoIterator<Item = &'a [u8]>) -> Class {
        match self.handling {
            _ if self.class == Class::Refused => return self.class,
            Handling::BlockOption => {}
            Handling::ReadForm if self.class == Class::Write && self.only_reads(arguments) => {
                return Class::Read;
            }
            _ => return self.class,
        }
        // What follows STREAMS are keys and ids, not options (t_stream.c, xreadCommand).
        let waits = arguments
            .into_iter()
            .skip(1)
            .take_while(|argument| !argument.eq_ignore_ascii_case(b"streams"))
            .any(|argument| argument.eq_ignore_ascii_case(b"block"));
        if waits { Class::Blocking } else { self.class }
    }

    /// Whether a request of a command with a read-only form writes nothing. A key of an option's name may make it
    /// say no where yes would be right, never the other way round.
    pub fn only_reads<'a>(&self, arguments: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let writes = |option: &[u8]| {
            self.writes_with
                .iter()
                .any(|word| option.eq_ignore_ascii_case(word.as_bytes()))
        };
        let mut count = 0;
        let mut may_write = false;
        for argument in arguments {
            count += 1;
            // Behind the name and the key.
            may_write |= count > 2 && (self.writes_with.is_empty() || writes(argument));
        }
        // With too few arguments it is an error, which names the command.
        let enough = self.arity < 0 && count >= self.arity.unsigned_abs();
        enough && self.read_form.is_some() && !may_write
    }
}

/// The layer that an entry's class comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `config/commands.toml`, built in.
    Embedded,
    /// The master's own `COMMAND`.
    Server,
    /// The user's `[commands]` or `allow_dangerous`.
    User,
}

impl Layer {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Layer::Embedded => "embedded table",
            Layer::Server => "the master's COMMAND",
            Layer::User => "the configuration",
        }
    }
}

/// What a server's flags say of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Flag `write`.
    Writes,
    /// Flag `readonly`.
    Reads,
    /// Neither flag.
    Neither,
}

impl Access {
    /// From the flags of a `COMMAND` entry.
    pub(super) fn of<'a>(flags: impl IntoIterator<Item = &'a [u8]>) -> Access {
        let mut access = Access::Neither;
        for flag in flags {
            if flag.eq_ignore_ascii_case(b"write") {
                return Access::Writes;
            }
            if flag.eq_ignore_ascii_case(b"readonly") {
                access = Access::Reads;
            }
        }
        access
    }
}

/// A command with where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) command: Command,
    pub(super) layer: Layer,
    pub(super) access: Access,
    /// Where keys stand when `command.keys` alone does not say it.
    pub(super) specs: Vec<KeySpec>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) known: Known,
    pub(super) subcommands: Names<Known>,
}

/// From names to commands. Cheap to share, never changed in place.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub(super) commands: Names<Entry>,
}

impl Table {
    /// Whether commands of that name are told apart by a second word.
    pub fn is_container(&self, name: &[u8]) -> bool {
        self.commands
            .get(name)
            .is_some_and(|entry| !entry.subcommands.is_empty())
    }

    /// The command that a request names, in any case of letters; `None` when no layer knows it.
    /// `second` is the request's second argument, which selects a subcommand where there are some.
    #[inline]
    pub fn lookup(&self, name: &[u8], second: Option<&[u8]>) -> Option<&Command> {
        self.find(name, second).map(|known| &known.command)
    }

    #[inline]
    pub(super) fn find(&self, name: &[u8], second: Option<&[u8]>) -> Option<&Known> {
        let entry = self.commands.get(name)?;
        if entry.subcommands.is_empty() {
            return Some(&entry.known);
        }
        let sub = second.and_then(|second| entry.subcommands.get(second));
        Some(sub.unwrap_or(&entry.known))
    }

    /// Puts a command in, replacing what was there under its name. A name that no server could know (empty, or
    /// beyond 64 bytes) is left out.
    pub fn insert(&mut self, command: Command) {
        let access = match command.class {
            Class::Write => Access::Writes,
            Class::Read => Access::Reads,
            _ => Access::Neither,
        };
        self.put(Known {
            command,
            layer: Layer::Embedded,
            access,
            specs: Vec::new(),
        });
    }

    pub(super) fn put(&mut self, known: Known) {
        let name = known.command.name.to_ascii_lowercase();
        let (container, sub) = match name.split_once('|') {
            Some((container, sub)) => (container, Some(sub)),
            None => (name.as_str(), None),
        };
        let fits = |part: &str| !part.is_empty() && part.len() <= MAX_NAME;
        if !fits(container) || sub.is_some_and(|sub| !fits(sub)) {
            return;
        }
        match (self.commands.get_mut(container.as_bytes()), sub) {
            (Some(entry), None) => entry.known = known,
            (Some(entry), Some(sub)) => entry.subcommands.insert(sub, known),
            (None, None) => {
                self.commands.insert(
                    container,
                    Entry {
                        known,
                        subcommands: Names::default(),
                    },
                );
            }
            (None, Some(sub)) => {
                // The container answers for the subcommands that are not named: nothing is known of those.
                let command = Command {
                    name: container.to_owned(),
                    class: Class::Master,
                    arity: 0,
                    keys: KeyRange::default(),
                    cursor: 0,
                    handling: Handling::Forward,
                    read_form: None,
                    writes_with: Vec::new(),
                    instead: None,
                    why: "a subcommand that no layer knows: the master".to_owned(),
                };
                let of_container = Known {
                    command,
                    access: Access::Neither,
                    specs: Vec::new(),
                    ..known.clone()
                };
                let mut subcommands = Names::default();
                subcommands.insert(sub, known);
                self.commands.insert(
                    container,
                    Entry {
                        known: of_container,
                        subcommands,
                    },
                );
            }
        }
    }

    /// The entry of exactly that name, `container|sub` for a subcommand.
    pub(super) fn known_mut(&mut self, name: &str) -> Option<&mut Known> {
        match name.split_once('|') {
            None => self
                .commands
                .get_mut(name.as_bytes())
                .map(|entry| &mut entry.known),
            Some((container, sub)) => self
                .commands
                .get_mut(container.as_bytes())?
                .subcommands
                .get_mut(sub.as_bytes()),
        }
    }

    /// Every command and subcommand, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &Command> {
        self.commands
            .values()
            .flat_map(|entry| std::iter::once(&entry.known).chain(entry.subcommands.values()))
            .map(|known| &known.command)
    }
}
