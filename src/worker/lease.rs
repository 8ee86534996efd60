//! Own connections: for transactions, commands that wait, WAIT, and (`upload`) requests too large to gather.

use super::client::{Lease, Mode, Stall};
use super::edit::Edit;
use super::link::{Link, Phase, Use};
use super::profile::ProfileId;
use super::requests::{Outcome, Verdict};
use super::sent::{Kind, Promise, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::transcript::Transcripts;
use super::turn::Worker;
use crate::commands::{Class, Handling};
use crate::resp::{Request, write};
use crate::stats::{Fault, Limit};

/// A shard channel that nobody subscribes to. Publishing there moves the replication offset and is seen by no
/// pattern: it raises the mark from which WAIT counts on this connection up to now, and so over whatever the
/// client wrote on other connections. Redis raises that mark with any command, Valkey 8 only with one that
/// moves the offset.
pub(super) const WAIT_MARK: [&[u8]; 3] = [b"SPUBLISH", b"__redis_ambassador__:wait", b""];

impl Worker {
    /// An own connection to the master for the client, warm if there is one. `Err`: not now, and the client has
    /// been stalled (`Stalled`) or told (`Done`).
    pub(super) fn take_lease(&mut self, key: ClientKey) -> Result<LinkKey, Outcome> {
        let Some(profile) = self.clients.get(key).map(|client| client.session.profile) else {
            return Err(Outcome::Done);
        };
        if self.owes(key) {
            return Err(self.stall(key, Stall::Owed));
        }
        if self.leases >= self.settings.upstream.max_leases {
            self.stats.limits[Limit::Leases as usize].add(1);
            self.answer_error(key, texts::NO_LEASE);
            return Err(Outcome::Done);
        }
        let Some(link) = self.lease_to_master(key, profile) else {
            let told = self.without_node(key, 1, true);
            return Err(if told { Outcome::Done } else { Outcome::Stalled });
        };
        if let Some(client) = self.clients.get_mut(key) {
            client.node_since = None;
        }
        Ok(link)
    }

    /// An own connection to the master, if one is to be had now.
    pub(super) fn lease_to_master(&mut self, key: ClientKey, profile: ProfileId) -> Option<LinkKey> {
        if self.leases >= self.settings.upstream.max_leases {
            return None;
        }
        let master = self.route.master?;
        let link = self.lease_link(master, profile, key)?;
        self.leases += 1;
        self.stats.node(master).leases.add(1);
        Some(link)
    }

    /// Puts the client on an own connection, for what `set` says of it. `Err` as in [`Worker::take_lease`].
    pub(super) fn lease(&mut self, key: ClientKey, set: impl FnOnce(&mut Lease)) -> Result<LinkKey, Outcome> {
        let link = self.take_lease(key)?;
        if let Some(client) = self.clients.get_mut(key) {
            let mut lease = Lease {
                link,
                multi: false,
                queued: 0,
                writes: 0,
                changes: Vec::new(),
                bodies: Vec::new(),
                watching: false,
                watched: false,
                transcripts: Transcripts::default(),
                adrift: false,
                aside: 0,
                since: None,
                spoiled: false,
                upload: None,
                scripts: Vec::new(),
            };
            set(&mut lease);
            client.mode = Mode::Leased(Box::new(lease));
        }
        Ok(link)
    }

    pub(super) fn begin_transaction(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        argc: usize,
        bytes: &[u8],
    ) -> Outcome {
        let multi = verdict.handling == Handling::Multi;
        if !changes_transaction(verdict.handling, argc) {
            // The server says what is wrong with it, and nothing begins.
            return Outcome::Plain;
        }
        let lease = self.lease(key, |lease| {
            lease.multi = multi;
            lease.watching = !multi;
            lease.watched = !multi;
        });
        let edit = if multi { Edit::Multi } else { Edit::None };
        self.send_special(key, lease, verdict.class, edit, bytes)
    }

    pub(super) fn begin_blocking(&mut self, key: ClientKey, bytes: &[u8]) -> Outcome {
        let lease = self.lease(key, |_| ());
        self.send_special(key, lease, Class::Blocking, Edit::None, bytes)
    }

    pub(super) fn begin_wait(&mut self, key: ClientKey, bytes: &[u8]) -> Outcome {
        let lease = self.lease(key, |_| ());
        if let Ok(link) = lease {
            self.put_own(key, link, &[&WAIT_MARK]);
        }
        self.send_special(key, lease, Class::Blocking, Edit::None, bytes)
    }

    fn send_special(
        &mut self,
        key: ClientKey,
        lease: Result<LinkKey, Outcome>,
        class: Class,
        edit: Edit,
        bytes: &[u8],
    ) -> Outcome {
        match lease {
            Ok(link) => {
                self.count_on(link, class);
                let kind = match class {
                    Class::Blocking => Kind::Waits,
                    _ => Kind::Promised(Promise::Done),
                };
                self.send_own(key, link, kind, 1, bytes, edit);
                Outcome::Done
            }
            Err(outcome) => outcome,
        }
    }

    /// Counts a command for the node of an own connection.
    pub(super) fn count_on(&self, link: LinkKey, class: Class) {
        if let Some(found) = self.links.get(link) {
            self.stats.node(found.node).commands[class.index()].add(1);
        }
    }

    /// Sends commands of the ambassador's own, whose replies are dropped.
    pub(super) fn put_own(&mut self, key: ClientKey, link: LinkKey, commands: &[&[&[u8]]]) {
        for command in commands {
            let mut request = Vec::new();
            write::request(&mut request, command.iter().copied());
            let own = Sent::own(key, &request, Kind::Own, Edit::None, self.now);
            self.put(link, &request, own);
        }
    }

    /// A request of a client that has an own connection under way.
    pub(super) fn special_on_lease(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return Outcome::Plain;
        };
        let link = lease.link;
        let (multi, held) = (lease.multi, lease.multi || lease.watching);
        // A request with too many arguments is refused by the server and ends nothing.
        let effective = changes_transaction(verdict.handling, request.argc);
        match (verdict.class, verdict.handling) {
            (class, handling) if multi && (class == Class::Refused || handling.stays_here()) => {
                return self.refuse_in_transaction(key, link, verdict, request, bytes);
            }
            (Class::Refused, _) => {
                self.refuse(key, request, bytes);
                return self.counted(verdict);
            }
            (_, Handling::Multi) if effective && !multi => {
                (lease.multi, lease.queued, lease.writes) = (true, 0, 0);
                lease.changes.clear();
                lease.bodies.clear();
                return self.send_special(key, Ok(link), verdict.class, Edit::Multi, bytes);
            }
            // Without MULTI both are errors, and what is watched stays watched.
            (_, Handling::Exec | Handling::Discard) if effective && multi => {
                (lease.multi, lease.watching) = (false, false);
                let changes = std::mem::take(&mut lease.changes);
                let teaches = !lease.bodies.is_empty();
                if verdict.handling == Handling::Exec {
                    return self.exec_with_changes(key, link, changes, teaches, bytes);
                }
                lease.bodies.clear();
                self.count_on(link, verdict.class);
                self.send_own(
                    key,
                    link,
                    Kind::Promised(Promise::Discarded),
                    1,
                    bytes,
                    Edit::None,
                );
                return Outcome::Done;
            }
            (_, Handling::Multi | Handling::Watch) if multi => {}
            (_, Handling::Cursor) => return self.iterate_on_lease(key, link, request, bytes),
            (_, Handling::Watch) if effective => {
                (lease.watching, lease.watched) = (true, true);
                return self.send_special(key, Ok(link), verdict.class, Edit::None, bytes);
            }
            (_, Handling::Unwatch) if effective && !multi => {
                lease.watching = false;
                return self.send_special(key, Ok(link), verdict.class, Edit::None, bytes);
            }
            (Class::Blocking, handling) if !multi => {
                if handling == Handling::Wait {
                    self.put_own(key, link, &[&WAIT_MARK]);
                }
                return self.send_special(key, Ok(link), Class::Blocking, Edit::None, bytes);
            }
            (_, Handling::Quit) => return self.quit(key, verdict),
            // What changes the connection itself cannot be done on a lease that goes back to the pool: either
            // the lease is over as soon as nothing is owed, or the client keeps it for good.
            (_, Handling::Reset) if request.argc == 1 => {
                if self.owes(key) {
                    return self.stall(key, Stall::Owed);
                }
                self.end_lease(key);
                return Outcome::Again;
            }
            (Class::Pubsub | Class::Stream, _) | (_, Handling::Select | Handling::Auth | Handling::Hello)
                if held =>
            {
                return self.open_tunnel(key);
            }
            (_, Handling::Client(of_client)) if multi => {
                return self.client_command_in_transaction(key, link, verdict, of_client, bytes);
            }
            (_, Handling::Client(of_client)) => return self.client_command(key, verdict, of_client, bytes),
            (Class::Pubsub | Class::Stream, _) | (_, Handling::Select | Handling::Auth | Handling::Hello) => {
                if self.owes(key) {
                    return self.stall(key, Stall::Owed);
                }
                return Outcome::Plain;
            }
            _ => lease.queued += u32::from(multi),
        }
        Outcome::Plain
    }

    /// Refuses a command that would be queued. Only the server can make the transaction fail as it should: it is sent a
    /// name that it does not know.
    fn refuse_in_transaction(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        let mut error = Vec::new();
        match self.entry(request, bytes) {
            Some(command) if verdict.class != Class::Refused => {
                write::error(&mut error, texts::not_queued(&command.name));
            }
            _ => write::error(&mut error, self.refusal_of(request, bytes)),
        }
        self.stats.errors[Fault::Us as usize].add(1);
        let edit = Edit::Refused(error.into());
        self.send_own(key, link, Kind::Writes, 1, &texts::unknown_command(), edit);
        self.counted(verdict)
    }

    /// Gives the client's own connection back to the pool, or ends it when it is not clean.
    pub(super) fn release_lease(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Mode::Leased(lease) = std::mem::replace(&mut client.mode, Mode::Shared) else {
            return;
        };
        let clean = lease.is_over() && !lease.spoiled;
        let (node, warm) = match self.links.get(lease.link) {
            Some(link) => (
                (link.node, link.profile),
                clean
                    && is_clean(link)
                    && self.route.master == Some(link.node)
                    && self.topology.node(link.node).and_then(|node| node.address) == Some(link.address),
            ),
            None => return,
        };
        let room = self.warm.get(&node).map_or(0, Vec::len) < self.settings.upstream.warm_leases;
        if !warm || !room {
            return self.drop_link(lease.link);
        }
        self.leases -= 1;
        self.stats.node(node.0).leases.sub(1);
        self.stats.node(node.0).warm.add(1);
        if let Some(link) = self.links.get_mut(lease.link) {
            link.usage = Use::Warm;
            link.keeps = true;
            link.used = self.now;
        }
        self.warm.entry(node).or_default().push(lease.link);
    }

    /// Ends the client's own connection with whatever state it has.
    pub(super) fn end_lease(&mut self, key: ClientKey) {
        self.settle_tunnel(key);
        if let Some(client) = self.clients.get_mut(key)
            && let Some(link) = client.lease()
        {
            client.mode = Mode::Shared;
            self.drop_link(link);
        }
    }
}

/// Whether a request of that kind with so many arguments gets as far as changing the transaction's state: EXEC
/// refused for its arguments still discards (`rejectCommand` in Redis's server.c), the others change nothing.
fn changes_transaction(handling: Handling, argc: usize) -> bool {
    match handling {
        Handling::Multi | Handling::Discard | Handling::Unwatch => argc == 1,
        Handling::Watch => argc > 1,
        _ => true,
    }
}

/// Whether nothing is under way on a link.
fn is_clean(link: &Link) -> bool {
    link.phase == Phase::Up && link.pipeline.is_empty() && link.scanner.at_start() && link.carry.is_empty()
}
