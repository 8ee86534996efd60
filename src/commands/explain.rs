//! Why a request goes where it goes, in words.

use std::fmt;

use super::handling::{ClientHandling, Handling};
use super::table::{Command, Known, Layer, Table};
use super::{Class, KeyRange};

/// What the table makes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The entry that was found, or the request's own name in lower case.
    pub name: String,
    /// The request's class.
    pub class: Class,
    /// Where requests of this class go.
    pub target: &'static str,
    /// The keys among the arguments.
    pub keys: Vec<String>,
    /// Why the class is what it is.
    pub why: String,
    /// What the ambassador does beyond sending it there.
    pub handling: Handling,
    /// For a refused command: what to do instead.
    pub instead: Option<String>,
    /// The layer that says so; `None` when no layer knows the command.
    pub layer: Option<Layer>,
}

impl Table {
    /// What this table makes of a request; `arguments` are all of its arguments, the name first.
    pub fn explain(&self, arguments: &[&str]) -> Explanation {
        let name = arguments.first().copied().unwrap_or_default();
        let second = arguments.get(1).map(|argument| argument.as_bytes());
        let Some(known) = self.find(name.as_bytes(), second) else {
            return Explanation {
                name: name.to_ascii_lowercase(),
                class: Class::Master,
                target: Class::Master.target(),
                keys: Vec::new(),
                why: "no layer of the table knows it, so it may write".to_owned(),
                handling: Handling::Forward,
                instead: None,
                layer: None,
            };
        };
        let command = &known.command;
        let class = command.class_of(arguments.iter().map(|argument| argument.as_bytes()));
        let why = if class == command.class {
            command.why.clone()
        } else {
            let way = match command.handling {
                Handling::BlockOption => "with the option BLOCK it may wait".to_owned(),
                _ => format!(
                    "this request is sent as {}",
                    command.read_form.as_deref().unwrap_or("a read").to_uppercase()
                ),
            };
            format!("{}; {way}", command.why)
        };
        Explanation {
            name: command.name.clone(),
            class,
            target: if class == command.class {
                command.target()
            } else {
                class.target()
            },
            keys: known
                .key_positions(arguments)
                .map(|position| arguments[position].to_owned())
                .collect(),
            why,
            handling: command.handling,
            instead: command.instead.clone().filter(|_| class == Class::Refused),
            layer: Some(known.layer),
        }
    }
}

impl Known {
    fn key_positions(&self, arguments: &[&str]) -> impl Iterator<Item = usize> {
        let mut positions: Vec<usize> = if self.specs.is_empty() {
            self.command.keys.positions(arguments.len()).collect()
        } else {
            self.specs
                .iter()
                .flat_map(|spec| spec.positions(arguments))
                .collect()
        };
        positions.sort_unstable();
        positions.dedup();
        positions.into_iter()
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = if self.keys.is_empty() {
            "none".to_owned()
        } else {
            self.keys.join(" ")
        };
        writeln!(f, "command  {}", self.name)?;
        writeln!(f, "class    {}", self.class.name())?;
        writeln!(f, "target   {}", self.target)?;
        if self.handling != Handling::Forward {
            writeln!(f, "handling {}", self.handling.name())?;
        }
        writeln!(f, "keys     {keys}")?;
        writeln!(f, "why      {}", self.why)?;
        if let Some(instead) = &self.instead {
            writeln!(f, "instead  {instead}")?;
        }
        writeln!(f, "layer    {}", self.layer.map_or("none", Layer::name))
    }
}

impl Command {
    /// Where requests of this command go, in words: its class's target, unless its handling says another.
    pub fn target(&self) -> &'static str {
        match (self.class, self.handling) {
            (Class::Refused, _) => self.class.target(),
            (Class::Read, Handling::Cursor) => {
                "the node that the cursor names; a new iteration goes where reads go"
            }
            (Class::Write, Handling::ReadForm) => {
                "the master; in its read-only form, when it only reads, where reads go"
            }
            (_, Handling::ScriptLoad | Handling::ScriptFlush) => {
                "every node; the master's reply is the answer"
            }
            (_, Handling::Kill) => "every node; OK if any of them says so",
            (Class::Session, Handling::Client(ClientHandling::Other | ClientHandling::Capa))
            | (_, Handling::Cluster) => "the master, which answers it in its own words",
            (Class::Session, Handling::Client(ClientHandling::Tracking | ClientHandling::Caching)) => {
                "the master, on an own connection from then on"
            }
            _ => self.class.target(),
        }
    }
}

impl Class {
    /// Where commands of this class go, in words.
    pub fn target(self) -> &'static str {
        match self {
            Class::Read => "a replica, or what reads.policy says",
            Class::Write | Class::Master | Class::Script => "the master, on a shared link",
            Class::Any => "the node of the commands around it",
            Class::Blocking => "the master, on an own connection while it waits",
            Class::Transaction => "the master, on an own connection until the transaction ends",
            Class::Pubsub => "the master, on an own connection from then on",
            Class::Stream => "the master, on an own connection until the client leaves",
            Class::Session => "the ambassador itself, which keeps it as the client's state",
            Class::Refused => {
                "none: an error, unless allow_dangerous is set or [commands] gives it another class"
            }
        }
    }
}

impl KeyRange {
    /// The positions of the keys in a request of so many arguments, the name counted.
    pub fn positions(self, arguments: usize) -> impl Iterator<Item = usize> {
        let count = i64::try_from(arguments).unwrap_or(i64::MAX);
        let first = i64::from(self.first);
        let last = if self.last < 0 {
            count + i64::from(self.last)
        } else {
            i64::from(self.last)
        };
        let last = last.min(count - 1);
        // An empty range where there are no keys.
        let end = if first > 0 { last + 1 } else { first };
        let step = usize::try_from(self.step.max(1)).unwrap_or(1);
        (first..end).step_by(step).map(|position| position as usize)
    }
}
