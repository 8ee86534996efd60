//! What becomes of the first command on a link, as its reply says: whether the client gets that, or the command is asked
//! for again.

use super::aborted::is_touched;
use super::ask_again::refuses_form;
use super::client::Mode;
use super::edit::Edit;
use super::learn::is_of_script;
use super::mailbox::Hint;
use super::no_master::{Refused, is_no_master, is_no_replicas};
use super::script_store::Sha;
use super::sent::Kind;
use super::slots::LinkKey;
use super::turn::Worker;

/// How a command is asked for again that did not run.
pub(super) enum Again {
    /// On another own connection.
    OnNewLease,
    /// Not at all: the client is told this.
    Instead(&'static [u8]),
    /// On the next master.
    Later,
    /// The same, if that node says of another command too that it takes none: until then it may have run.
    Perhaps,
    /// On the next master: it ran, and reads, but behind one that waits, or on a master that was deposed meanwhile.
    Behind,
    /// Not at all: it ran on a master that was deposed meanwhile, and may be lost.
    Never,
    /// On another node.
    Elsewhere,
    /// On the same node, after this script.
    WithScript(Sha),
}

impl Worker {
    /// What becomes of the first command on a link whose replies are looked at, though the reply is no error.
    pub(super) fn withheld(&self, key: LinkKey, reply: &[u8]) -> Option<Again> {
        if self.is_late(key) {
            return match self.links.get(key)?.owner() {
                None if self.first_reads(key) => Some(Again::Behind),
                // A watched key was touched, and nothing ran.
                Some(_) if is_touched(reply) => None,
                _ => Some(Again::Never),
            };
        }
        self.overtakes(key).then(|| self.behind(key))
    }

    /// The same, though the reply is an error: what a read was told is as old as what it was shown.
    pub(super) fn withheld_error(&self, key: LinkKey) -> Option<Again> {
        let owned = self.links.get(key)?.is_lease();
        let old = !owned && (self.is_late(key) && self.first_reads(key) || self.overtakes(key));
        old.then(|| self.behind(key))
    }

    /// What becomes of a command on a shared link with an error that may say that the node is no master that takes commands.
    fn refused_on_link(&self, key: LinkKey, kind: Kind, error: &[u8]) -> Option<Again> {
        let reads = match kind {
            Kind::Reads { retries: 1.. } => true,
            Kind::Writes | Kind::Script { .. } => false,
            _ => return None,
        };
        match self.first_was_refused(key, error) {
            Refused::Surely => Some(Again::Later),
            Refused::Perhaps if reads => Some(Again::Later),
            Refused::Perhaps => Some(Again::Perhaps),
            // A script's own, which says in libraries' ears that it may be sent again; and what it wrote may be lost.
            Refused::No if !reads && is_no_master(error) && self.is_late(key) => Some(Again::Never),
            Refused::No => None,
        }
    }

    /// The first reply on a link came, and is not what its client gets.
    pub(super) fn deal_with_first(&mut self, key: LinkKey, again: &Again, reply: &[u8]) {
        match again {
            Again::Elsewhere => self.ask_again(key, reply),
            Again::WithScript(sha) => self.ask_again_with_script(key, sha),
            Again::Later => self.hold_first(key, true),
            Again::Perhaps => self.hold_unproven(key, reply),
            Again::Behind => self.hold_first(key, false),
            Again::Never => self.doubt_first(key),
            Again::OnNewLease => self.set_first_adrift(key),
            Again::Instead(reply) => self.answer_first(key, reply),
        }
    }

    /// Looks at an error: whether it says that a command did not run here and may be asked for again.
    pub(super) fn asked_again(&mut self, key: LinkKey, error: &[u8]) -> Option<Again> {
        let link = self.links.get(key)?;
        let first = link.pipeline.front()?;
        let (node, kind, owner) = (link.node, first.kind, link.owner());
        let read_form = first.edit == Edit::ReadForm;
        let multi = first.edit == Edit::Multi;
        if let Some(Mode::Leased(lease)) = owner
            .and_then(|owner| self.clients.get_mut(owner))
            .map(|client| &mut client.mode)
        {
            // Whatever was refused may be what would have ended the transaction or the watch.
            lease.spoiled = true;
            lease.multi &= !multi;
            if multi {
                lease.transcripts.clear();
            }
            if matches!(kind, Kind::Exec { .. }) {
                lease.bodies.clear();
            }
        }
        self.stats.node(node).error_replies.add(1);
        let state = is_state(error);
        if state {
            self.hint(Hint::Refused(node));
        }
        if matches!(kind, Kind::Reads { .. }) {
            self.read_was_refused(node, error);
        }
        if let Some(sha) = self.missing_script(key, error) {
            return Some(Again::WithScript(sha));
        }
        if read_form && refuses_form(error) {
            return Some(Again::Elsewhere);
        }
        // What this node has not seen may be known to the master: a script that was loaded there, a function that
        // has not been replicated yet.
        let unknown = error.starts_with(b"-NOSCRIPT") || error.starts_with(b"-ERR Function not found");
        let elsewhere = state || (unknown && self.route.master != Some(node));
        let again = elsewhere && matches!(kind, Kind::Reads { retries: 1.. }) && self.can_ask_elsewhere(node);
        if again {
            return Some(Again::Elsewhere);
        }
        if owner.is_some() {
            if let Some(again) = self.refused_on_lease(key, error) {
                return Some(again);
            }
        } else if state && let Some(again) = self.refused_on_link(key, kind, error) {
            if matches!(again, Again::Later) && !is_no_replicas(error) {
                self.was_denied(key);
            }
            return Some(again);
        }
        if let Some(first) = self.links.get_mut(key)?.pipeline.front_mut()
            && matches!(&first.edit, Edit::Teaches { body, .. } if !is_of_script(error, body))
        {
            first.edit = Edit::None;
        }
        self.is_no_acknowledgement(key);
        None
    }
}

/// Whether an error says that the node's state kept the command from running.
fn is_state(error: &[u8]) -> bool {
    [
        &b"-READONLY"[..],
        b"-LOADING",
        b"-MASTERDOWN",
        b"-CLUSTERDOWN",
        b"-TRYAGAIN",
        b"-NOREPLICAS",
    ]
    .iter()
    .any(|code| error.starts_with(code))
}
