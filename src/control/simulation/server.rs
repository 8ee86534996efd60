//! A simulated Redis: what of it a probe can see, and how it keeps its history over links, promotions and restarts.
//!
//! It knows only itself. Who reaches whom, and what every history really holds, is the world's business.

use std::time::Duration;

use super::super::info::{Attached, Facts, Line, MasterLink};
use crate::topology::Role;

/// The number of an address; an address belongs to one server at a time.
pub(super) type Place = u8;

/// The process behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Process {
    Up,
    /// Stopped by SIGSTOP: the kernel accepts, nobody answers.
    Frozen,
    Down,
}

/// Where a data set is: a history by its number, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) replid: u32,
    pub(super) before: Option<(u32, u64)>,
    pub(super) offset: u64,
}

/// The link to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    /// Never up since the process began or since it was made a replica.
    Never,
    Down(Duration),
    /// A full synchronization that ends then; since when the link was down before, if it ever was up.
    Syncing(Duration, Option<Duration>),
    Up,
}

/// A server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) place: Place,
    pub(super) process: Process,
    /// When a frozen process goes on, or one that is down comes back.
    pub(super) back: Duration,
    /// One for each start.
    pub(super) run: u32,
    /// Counts the times that all its connections were cut.
    pub(super) cuts: u32,
    pub(super) of: Option<Place>,
    pub(super) link: Link,
    pub(super) at: Position,
    pub(super) loading_until: Duration,
    /// Its master cannot be heard although the connection is there; since when.
    pub(super) silent: Option<Duration>,
    /// The link is up and nothing is applied until then.
    pub(super) stalled_until: Duration,
    /// Bytes that it applies in one step.
    pub(super) speed: u64,
    /// It was a replica and is a master because its process began so: nobody promoted it.
    pub(super) unbidden: bool,
}

impl Server {
    pub(super) fn new(place: Place, of: Option<Place>, at: Position) -> Self {
        Server {
            place,
            process: Process::Up,
            back: Duration::ZERO,
            run: 0,
            cuts: 0,
            of,
            link: Link::Never,
            at,
            loading_until: Duration::ZERO,
            silent: None,
            stalled_until: Duration::ZERO,
            speed: u64::MAX,
            unbidden: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.process == Process::Up
    }

    pub(super) fn is_master(&self) -> bool {
        self.of.is_none()
    }

    pub(super) fn is_loading(&self, now: Duration) -> bool {
        now < self.loading_until
    }

    /// Whether it could be asked for its data by a replica of its own.
    pub(super) fn serves_replicas(&self, now: Duration) -> bool {
        self.is_up() && !self.is_loading(now) && (self.is_master() || self.link == Link::Up)
    }

    /// REPLICAOF NO ONE: `shiftReplicationId` in replication.c.
    pub(super) fn promote(&mut self, replid: u32) {
        self.at = Position {
            replid,
            before: Some((self.at.replid, self.at.offset + 1)),
            offset: self.at.offset,
        };
        (self.of, self.link, self.silent) = (None, Link::Never, None);
        self.unbidden = false;
    }

    /// REPLICAOF: a master's own data count as if it had got them from another one, a replica changes masters.
    pub(super) fn follow(&mut self, master: Place, now: Duration) {
        self.link = match (self.of, self.link) {
            (Some(_), Link::Up) => Link::Down(now),
            (Some(_), Link::Syncing(_, Some(since))) => Link::Down(since),
            (Some(_), link @ Link::Down(_)) => link,
            _ => Link::Never,
        };
        (self.of, self.silent) = (Some(master), None);
        self.unbidden = false;
    }

    /// The link ends.
    pub(super) fn lose_link(&mut self, now: Duration) {
        self.silent = None;
        self.link = match self.link {
            Link::Up => Link::Down(now),
            Link::Syncing(_, since) => since.map_or(Link::Never, Link::Down),
            link => link,
        };
    }

    /// Whether it can go on where it is with what that master has (`masterTryPartialResynchronization`).
    pub(super) fn goes_on_with(&self, master: &Position) -> bool {
        let same = self.at.replid == master.replid && self.at.offset <= master.offset;
        let earlier = |(replid, from): (u32, u64)| self.at.replid == replid && self.at.offset < from;
        same || master.before.is_some_and(earlier)
    }

    /// The answer to +CONTINUE with that history.
    pub(super) fn go_on(&mut self, replid: u32) {
        if self.at.replid != replid {
            self.at.before = Some((self.at.replid, self.at.offset + 1));
            self.at.replid = replid;
        }
        (self.link, self.silent) = (Link::Up, None);
    }

    /// What INFO says; `replicas` are those in sync with it.
    pub(super) fn info(&self, replicas: Vec<Attached>, now: Duration, took: Duration) -> Facts {
        let link = self.of.map(|master| MasterLink {
            up: self.link == Link::Up,
            down_for: match self.link {
                Link::Down(since) | Link::Syncing(_, Some(since)) => {
                    Some(Duration::from_secs(now.saturating_sub(since).as_secs()))
                }
                Link::Never | Link::Syncing(_, None) | Link::Up => None,
            },
            syncing: matches!(self.link, Link::Syncing(..)),
            master: (host(master), PORT),
        });
        Facts {
            role: if self.is_master() {
                Role::Master
            } else {
                Role::Replica
            },
            line: Line {
                replid: history(self.at.replid),
                before: self.at.before.map(|(replid, from)| (history(replid), from)),
                offset: self.at.offset,
            },
            link,
            replicas,
            loading: self.is_loading(now),
            took,
            skew_us: None,
            acknowledged: 0,
            asked: None,
        }
    }
}

pub(super) const PORT: u16 = 6379;

pub(super) fn host(place: Place) -> String {
    format!("10.0.0.{place}")
}

pub(super) fn history(replid: u32) -> String {
    format!("history-{replid}")
}
