//! Hedged reads: what takes longer than 19 of 20 reads do is asked of a second node as well, and the first success is
//! what the client gets.
//!
//! Both are batches on links like any other, tied to each other until the first of them is answered. The one that begins
//! with an error while the other runs, or second, becomes a [`Kind::Loser`]: its replies are counted off its link and
//! dropped. Nothing of either has gone to the client before that is decided.

use std::time::Instant;

use super::client::{Lane, Mode};
use super::edit::Edit;
use super::link::Link;
use super::owed::BatchId;
use super::profile::ProfileId;
use super::sent::{Kind, Race, Sent};
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use super::writes::Writes;
use crate::commands::Class;
use crate::topology::NodeId;

/// Larger batches are a client's own load more than anybody's tail.
const MOST_COMMANDS: u32 = 32;
const MOST_BYTES: usize = 64 * 1024;

/// Batches looked at on one link at a time: what is behind so many that wait is looked at later.
const LOOKED_AT: usize = 64;

/// A batch that takes too long.
struct Overdue {
    link: LinkKey,
    node: NodeId,
    profile: ProfileId,
    client: ClientKey,
    batch: BatchId,
}

impl Worker {
    /// Sends reads that take too long to a second node, as far as the budget goes.
    pub(super) fn hedge_overdue(&mut self) {
        let now = self.now;
        self.late.rest();
        let Some(delay) = self.late.delay().filter(|_| self.paused.is_none()) else {
            return;
        };
        let mut overdue = Vec::new();
        let mut next: Option<Instant> = None;
        for key in self.shared.values().flatten() {
            let Some(link) = self.links.get(*key) else {
                continue;
            };
            let open = link
                .pipeline
                .iter()
                .enumerate()
                .filter(|(_, sent)| matches!(sent.kind, Kind::Reads { .. }) && sent.race == Race::None);
            for (index, sent) in open.take(LOOKED_AT) {
                let is_late = now >= sent.at + delay;
                // Of those that are late some may be left, for want of budget.
                let again = if is_late { now } else { sent.at } + delay;
                next = Some(next.map_or(again, |next| next.min(again)));
                if !is_late {
                    break;
                }
                if self.may_be_hedged(link, index, sent) {
                    overdue.push(Overdue {
                        link: *key,
                        node: link.node,
                        profile: link.profile,
                        client: sent.client,
                        batch: sent.batch,
                    });
                }
            }
        }
        if let Some(next) = next {
            self.late.look_at(next, now);
        }
        for one in overdue {
            if !self.hedge_one(&one) {
                return;
            }
        }
    }

    /// Whether a batch reads and does nothing else, wherever it is asked, and nothing of its reply has gone out.
    fn may_be_hedged(&self, link: &Link, index: usize, sent: &Sent) -> bool {
        let untouched = sent.done == 0 && (index > 0 || !link.is_torn() && link.held.is_empty());
        // A cursor means something to its node only, and a script may be what takes long.
        sent.edit == Edit::None
            && sent.race == Race::None
            && untouched
            && link.keeps
            && sent.left <= MOST_COMMANDS
            && sent.bytes <= MOST_BYTES
            && self.clients.get(sent.client).is_some_and(|client| {
                // In the master's lane what comes behind it does not wait for it: another node may have seen that.
                client.lane == Lane::Reading && matches!(client.mode, Mode::Shared) && !client.closing
            })
    }

    /// False: no more can be hedged now.
    fn hedge_one(&mut self, one: &Overdue) -> bool {
        let Some(target) = self.reader_beside(one.node, one.profile) else {
            return true;
        };
        let Some(second) = self
            .shared_link(target, one.profile)
            .filter(|key| *key != one.link)
        else {
            return true;
        };
        let Some(link) = self.links.get_mut(one.link) else {
            return true;
        };
        let Some(requests) = link.requests_of(one.client, one.batch) else {
            return true;
        };
        let Some(first) = link.find(one.client, one.batch) else {
            return true;
        };
        if !self.late.spend(first.left) {
            return false;
        }
        let sent = Sent {
            client: one.client,
            batch: one.batch,
            left: first.left,
            done: 0,
            bytes: requests.len(),
            kind: first.kind,
            edit: Edit::None,
            race: Race::Open {
                rival: one.link,
                hedge: true,
            },
            at: self.now,
            writes: Writes::default(),
        };
        first.race = Race::Open {
            rival: second,
            hedge: false,
        };
        link.races += 1;
        if let Some(second) = self.links.get_mut(second) {
            second.races += 1;
        }
        let commands = u64::from(sent.left);
        self.stats.reads_hedged.add(commands);
        self.stats.node(target).commands[Class::Read.index()].add(commands);
        self.put(second, &requests, sent);
        true
    }

    /// The first reply to the first batch on a link begins: where another node was asked as well, this decides which of
    /// both the client gets. Errors never win.
    pub(super) fn decide_race(&mut self, key: LinkKey, begins: u8) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let Some(first) = link.pipeline.front_mut() else {
            return;
        };
        let Race::Open { rival, hedge } = first.race else {
            return;
        };
        let (client, batch, mut since) = (first.client, first.batch, first.at);
        let success = begins != b'-';
        first.race = Race::Decided;
        link.races -= 1;
        let other = self
            .links
            .get_mut(rival)
            .filter(|link| link.is_racing(client, batch));
        match other {
            Some(other) if success => {
                let sent = other.lose(client, batch);
                // What the client has waited for it began with the first.
                since = sent.filter(|_| hedge).unwrap_or(since);
            }
            Some(_) => {
                // The other may still do better.
                if let Some(first) = self.links.get_mut(key).and_then(|link| link.pipeline.front_mut()) {
                    first.kind = Kind::Loser;
                }
                return;
            }
            None => {}
        }
        if success {
            self.stats.hedges_won.add(u64::from(hedge));
            self.late.took(self.now.saturating_duration_since(since));
        }
    }

    /// Whether a batch taken back from a dead link is being asked of another node as well, which goes on.
    pub(super) fn runs_elsewhere(&self, sent: &Sent) -> bool {
        let Race::Open { rival, .. } = sent.race else {
            return false;
        };
        self.links
            .get(rival)
            .is_some_and(|link| link.is_racing(sent.client, sent.batch))
    }
}

/// What of a race can be found out on one link.
impl Link {
    fn find(&mut self, client: ClientKey, batch: BatchId) -> Option<&mut Sent> {
        self.pipeline
            .iter_mut()
            .find(|sent| sent.batch == batch && sent.client == client && sent.kind != Kind::Loser)
    }

    /// Whether that batch is on it and its race is open.
    fn is_racing(&self, client: ClientKey, batch: BatchId) -> bool {
        let mut all = self.pipeline.iter();
        all.any(|sent| sent.batch == batch && sent.client == client && matches!(sent.race, Race::Open { .. }))
    }

    /// Another node's answer to that batch is taken. Returns when it was sent.
    fn lose(&mut self, client: ClientKey, batch: BatchId) -> Option<Instant> {
        let lost = self.find(client, batch)?;
        lost.kind = Kind::Loser;
        lost.race = Race::Decided;
        let since = lost.at;
        self.races -= 1;
        Some(since)
    }
}
