//! What a node's refusal on an own connection means: whether the command ran, and what its client is told.

use super::aborted::touched;
use super::again::Again;
use super::client::Mode;
use super::link::Link;
use super::mailbox::Hint;
use super::no_master::{Refused, is_no_replicas, why_aborted};
use super::sent::{Kind, Promise};
use super::slots::LinkKey;
use super::turn::Worker;

/// What a server says to blocked clients when it becomes a replica (`disconnectAllBlockedClients` in Redis's
/// blocked.c), before it closes their connections: nothing that they sent behind is looked at. CLIENT UNBLOCK says
/// something else.
const FORCED: &[u8] = b"-UNBLOCKED force unblock from blocking operation";

/// What it says when the ambassador had it let a command go.
const LET_GO: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK";

impl Worker {
    /// Looks at an error on an own connection: whether it says that a command did not run because of what the node is.
    pub(super) fn refused_on_lease(&mut self, key: LinkKey, error: &[u8]) -> Option<Again> {
        // What a script may have said itself is passed on: nothing else may be put on a connection that is its client's.
        let no_master = self.first_was_refused(key, error) == Refused::Surely;
        let link = self.links.get(key)?;
        let (first, log) = link.first()?;
        let (kind, owner, node, moving) = (first.kind, link.owner()?, link.node, link.moving);
        let kept = !log.is_empty();
        let alone = link.pipeline.len() == 1;
        let why = why_aborted(error);
        let why = why.as_deref().unwrap_or(error);
        let takes_nothing = self.takes_nothing(node, why);
        // A watch that is told for this to be touched would be set again at once, again and again.
        let lacks_replicas = is_no_replicas(why);
        let client = self.clients.get_mut(owner)?;
        let resp3 = client.session.resp3;
        let Mode::Leased(lease) = &mut client.mode else {
            return None;
        };
        let repeats = kept && lease.upload.is_none();
        match kind {
            Kind::Waits => {
                let forced = error.starts_with(FORCED);
                let let_go = moving && error.starts_with(LET_GO);
                // What is watched counts as touched on the next connection, which what came behind would have to be told.
                let moves = alone || !lease.watched;
                let again = repeats && moves && (forced || let_go || no_master);
                if forced {
                    self.hint(Hint::Refused(node));
                    self.links.get_mut(key)?.closes = true;
                }
                again.then_some(Again::OnNewLease)
            }
            Kind::Promised(Promise::Queued) if takes_nothing => {
                let first = lease.transcripts.first()?;
                if first.guarded && lacks_replicas {
                    return None;
                }
                first.refused = true;
                (first.guarded || first.is_whole).then_some(Again::Instead(Promise::Queued.reply()))
            }
            Kind::Exec { .. } => {
                let first = lease.transcripts.first()?;
                let aborted = first.refused && error.starts_with(b"-EXECABORT");
                if !aborted && !takes_nothing {
                    return None;
                }
                if first.guarded {
                    return (!lacks_replicas).then_some(Again::Instead(touched(resp3)));
                }
                (repeats && first.is_whole).then_some(Again::OnNewLease)
            }
            Kind::Writes | Kind::Script { .. } | Kind::Reads { .. } => {
                (repeats && no_master).then_some(Again::OnNewLease)
            }
            _ => None,
        }
    }

    /// What becomes of a reply that came behind one that was refused, and must not overtake it.
    pub(super) fn behind(&self, key: LinkKey) -> Again {
        match self.links.get(key).and_then(Link::owner) {
            Some(_) => Again::OnNewLease,
            None => Again::Behind,
        }
    }
}
