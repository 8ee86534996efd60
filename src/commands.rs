//! The command classification table: what each command is, where it may run, where its keys are.
//!
//! Layers: the embedded `config/commands.toml` < the master's own `COMMAND` < the user's `[commands]`.
//! Looking a command up allocates nothing.

mod dangerous;
mod embedded;
mod explain;
mod handling;
mod names;
mod overrides;
mod server;
mod specs;
mod table;

pub use explain::Explanation;
pub use handling::{Asking, ClientHandling, Handling};
pub use overrides::{CommandOverride, OverrideError};
pub use table::{Command, Layer, Table};

/// What a command is to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Only reads: may run on a replica.
    Read,
    /// Changes data: the master.
    Write,
    /// Neither, or unknown: the master.
    Master,
    /// Says nothing about a node (PING, ECHO): goes wherever its neighbours go.
    Any,
    /// May wait: an own connection to the master while it does.
    Blocking,
    /// MULTI, EXEC, DISCARD, WATCH, UNWATCH: an own connection to the master while the transaction lasts.
    Transaction,
    /// SUBSCRIBE and its kin: an own connection from then on.
    Pubsub,
    /// MONITOR: an own connection from then on.
    Stream,
    /// State of the client's connection: answered by the ambassador or turned into the choice of a link.
    Session,
    /// EVAL and its kin: the master.
    Script,
    /// Acts on a node or turns the connection into something else: refused unless the config allows it.
    Refused,
}

impl Class {
    /// Every class, in the order of [`Class::index`].
    pub const ALL: [Class; 11] = [
        Class::Read,
        Class::Write,
        Class::Master,
        Class::Any,
        Class::Blocking,
        Class::Transaction,
        Class::Pubsub,
        Class::Stream,
        Class::Session,
        Class::Script,
        Class::Refused,
    ];

    /// The classes that `[commands]` may give. The others belong to commands whose state the ambassador keeps.
    pub const OVERRIDES: [Class; 7] = [
        Class::Read,
        Class::Write,
        Class::Master,
        Class::Any,
        Class::Blocking,
        Class::Script,
        Class::Refused,
    ];

    /// Position in [`Class::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The word used in config, metrics and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Class::Read => "read",
            Class::Write => "write",
            Class::Master => "master",
            Class::Any => "any",
            Class::Blocking => "blocking",
            Class::Transaction => "transaction",
            Class::Pubsub => "pubsub",
            Class::Stream => "stream",
            Class::Session => "session",
            Class::Script => "script",
            Class::Refused => "refused",
        }
    }

    /// The class of that name.
    pub fn from_name(name: &str) -> Option<Class> {
        Class::ALL.into_iter().find(|class| class.name() == name)
    }
}

/// Where keys stand among the arguments, as `COMMAND` says it (the name is argument 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyRange {
    /// Index of the first key; 0: no keys.
    pub first: i32,
    /// Index of the last key; negative counts from the end.
    pub last: i32,
    /// Distance between keys.
    pub step: i32,
}
