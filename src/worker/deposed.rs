//! Own connections to a node that is no master any more, but may not know it yet: what is under way there must not be
//! written where it will be lost, nor wait where nothing will come.

use super::client::{Mode, Stall};
use super::link::{Cause, Link};
use super::sent::Kind;
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;

/// What becomes of an own connection to a deposed master.
enum Fate {
    /// Its answer is still to come, and decides.
    Stays,
    /// It ends, with what is said of a connection that was cut.
    Ends,
    /// The command that waits there is let go, and waits on the new master.
    LetGo,
    /// The transaction goes on on the new master.
    Moves,
}

impl Worker {
    /// Takes clients with own connections off nodes that are not the master, when there is another one.
    pub(super) fn leave_deposed(&mut self) {
        let Some(master) = self.route.master else {
            return;
        };
        for key in self.links.keys() {
            let Some(link) = self.links.get(key).filter(|link| link.node != master) else {
                continue;
            };
            let Some(owner) = link.owner() else {
                continue;
            };
            match self.fate(link, owner) {
                Fate::Stays => {}
                Fate::Ends => self.failed.push((key, Cause::Lost)),
                Fate::LetGo => self.let_go(key, owner),
                Fate::Moves => self.move_transaction(key, owner),
            }
        }
    }

    fn fate(&self, link: &Link, owner: ClientKey) -> Fate {
        let lease = match self.clients.get(owner).map(|client| &client.mode) {
            Some(Mode::Leased(lease)) => lease,
            // Messages would go on coming, as a replica gets them too, but not those about its keys; a closed
            // connection makes every library subscribe again.
            Some(Mode::Tunnel(_)) => return Fate::Ends,
            _ => return Fate::Stays,
        };
        let waits = |kind| kind == Kind::Waits;
        let promised = |kind| matches!(kind, Kind::Promised(_) | Kind::Own | Kind::Load | Kind::Again);
        let mut kinds = link.pipeline.iter().map(|sent| sent.kind);
        if self.is_lost(link.node) || !link.was_up() {
            Fate::Ends
        } else if lease.upload.is_some() || lease.adrift {
            Fate::Stays
        } else if link.pipeline.front().is_some_and(|sent| waits(sent.kind)) {
            // What came behind it would run there once it is let go.
            let alone = link.pipeline.len() == 1 && link.upstream_id.is_some();
            if alone { Fate::LetGo } else { Fate::Ends }
        } else if !lease.is_over() && kinds.all(promised) {
            let moves = lease.multi && lease.transcripts.moves();
            if moves { Fate::Moves } else { Fate::Ends }
        } else {
            Fate::Stays
        }
    }

    /// Has a deposed master say of a blocked command that it did not run.
    fn let_go(&mut self, key: LinkKey, owner: ClientKey) {
        let Some(link) = self.links.get_mut(key).filter(|link| !link.moving) else {
            return;
        };
        let (node, id) = (link.node, link.upstream_id.unwrap_or_default().to_string());
        link.moving = true;
        self.hold_input(owner);
        if let Some(shared) = self.shared_link(node, self.plain) {
            self.put_own(
                owner,
                shared,
                &[&[b"CLIENT", b"UNBLOCK", id.as_bytes(), b"ERROR"]],
            );
        } else {
            self.failed.push((key, Cause::Lost));
        }
    }

    /// Nothing of the client's is put behind what moves.
    fn hold_input(&mut self, owner: ClientKey) {
        if let Some(client) = self.clients.get_mut(owner)
            && client.stall == Stall::None
            && !client.owed.is_empty()
        {
            client.stall = Stall::Owed;
        }
    }

    /// Nothing of a transaction has run before its EXEC: it is queued anew where EXEC will come.
    fn move_transaction(&mut self, key: LinkKey, owner: ClientKey) {
        let Some(mut link) = self.links.remove(key) else {
            return;
        };
        self.unlist(key, &link);
        for (sent, ..) in link.take_unanswered() {
            match sent.kind {
                Kind::Promised(promise) => self.keep_promise(&sent, promise),
                Kind::Load => self.go_on_after_load(sent.client, key, None),
                _ => {}
            }
        }
        self.requeue(owner);
    }
}
