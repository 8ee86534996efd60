//! What became of the commands that a client sent, and how long it waited for the worst of them.

use std::io;
use std::time::{Duration, Instant};

use crate::support::Reply;

/// Texts of errors kept of each client.
const EXAMPLES: usize = 5;
/// Shorter waits are none.
const STALL: Duration = Duration::from_millis(20);

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was answered.
    Acknowledged,
    /// `-INDOUBT`: the client was told that nobody knows.
    InDoubt,
    /// Refused as something that did not run and may be tried again.
    Refused,
    /// Another error; it did not run.
    Failed,
    /// The connection was lost; nobody knows.
    Cut,
    /// It was never sent: no connection could be made.
    Unsent,
}

impl Fate {
    /// Of a reply that is no error unless it is one.
    pub(crate) fn of(reply: &io::Result<Reply>) -> Self {
        match reply {
            Ok(Reply::Error(text)) if text.starts_with("INDOUBT") => Self::InDoubt,
            Ok(Reply::Error(text)) if text.starts_with("TRYAGAIN") || text.starts_with("EXECABORT") => {
                Self::Refused
            }
            Ok(Reply::Error(_)) => Self::Failed,
            Ok(_) => Self::Acknowledged,
            Err(_) => Self::Cut,
        }
    }

    /// Whether it may have run although nobody said so.
    pub(crate) fn is_unknown(self) -> bool {
        matches!(self, Self::InDoubt | Self::Cut)
    }
}

/// How many commands of one kind came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) in_doubt: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) cut: u64,
    pub(crate) unsent: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, fate: Fate) {
        *match fate {
            Fate::Acknowledged => &mut self.acknowledged,
            Fate::InDoubt => &mut self.in_doubt,
            Fate::Refused => &mut self.refused,
            Fate::Failed => &mut self.failed,
            Fate::Cut => &mut self.cut,
            Fate::Unsent => &mut self.unsent,
        } += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.in_doubt += other.in_doubt;
        self.refused += other.refused;
        self.failed += other.failed;
        self.cut += other.cut;
        self.unsent += other.unsent;
    }

    /// Those that may have run although nobody said so.
    pub(crate) fn unknown(&self) -> u64 {
        self.in_doubt + self.cut
    }

    /// Errors other than the one that says that nobody knows.
    pub(crate) fn errors(&self) -> u64 {
        self.refused + self.failed + self.cut + self.unsent
    }
}

/// A time in which a client tried and got nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) since: Instant,
    pub(crate) lasted: Duration,
}

/// What one client went through: its errors by example, and its stalls.
#[derive(Debug, Default)]
pub(crate) struct Diary {
    pub(crate) examples: Vec<String>,
    pub(crate) stalls: Vec<Stall>,
    trying: Option<Instant>,
}

impl Diary {
    /// A command that was sent at `sent` has come to its end now.
    pub(crate) fn note(&mut self, fate: Fate, sent: Instant) {
        let since = *self.trying.get_or_insert(sent);
        if fate != Fate::Acknowledged {
            return;
        }
        let lasted = since.elapsed();
        if lasted >= STALL {
            self.stalls.push(Stall { since, lasted });
        }
        self.trying = None;
    }

    /// Keeps what an error said.
    pub(crate) fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }
}
