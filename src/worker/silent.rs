//! Nodes that say nothing: when what was sent to one is not waited for any longer.
//!
//! One that is slow to answer may be busy with just that, so a read leaves it where another node can answer, and a command
//! that may write only where another node is the master. A connection whose other end vanished is ended by the kernel
//! (`tcp`), whatever is under way on it.

use std::collections::HashSet;
use std::time::Duration;

use super::ask_again::{is_lost_when_late, length_of};
use super::client::Lane;
use super::edit::Edit;
use super::link::{Cause, Link, Use};
use super::sent::{Kind, Race, Sent};
use super::slots::LinkKey;
use super::turn::Worker;
use crate::topology::{NodeId, Role};

impl Worker {
    /// What is under way on nodes that the control plane has lost: reads go elsewhere. Commands that may write are left
    /// alone while no other node is the master; with another one they are in doubt, whatever the lost one may still say.
    pub(super) fn leave_lost_nodes(&mut self) {
        for key in self.links.keys() {
            let Some(link) = self.links.get(key) else {
                continue;
            };
            let lost = self.is_lost(link.node);
            let deposed = link.usage == Use::Warm && self.route.master != Some(link.node);
            if deposed {
                self.drop_link(key);
            } else if !lost || link.is_lease() {
                // Own connections: `deposed`.
            } else if self.owes_as_former_master(link) {
                self.failed.push((key, Cause::Lost));
            } else if !self.is_another_usable(link.node) {
                // It may only be slow.
            } else if link.pipeline.iter().all(can_go_elsewhere) {
                self.failed.push((key, Cause::Lost));
            } else {
                self.leave_with_reads(key);
            }
        }
    }

    /// Reads on a lost node go elsewhere from among what stays there.
    fn leave_with_reads(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let begun = link.is_torn() || !link.held.is_empty();
        let clients = &self.clients;
        let leaves = |index: usize, sent: &Sent| {
            let client = clients.get(sent.client);
            matches!(sent.kind, Kind::Reads { .. })
                && can_go_elsewhere(sent)
                && sent.race == Race::None
                && !(index == 0 && begun)
                // In the master's lane it stands behind what is not answered.
                && client.is_some_and(|client| client.lane == Lane::Reading)
        };
        let pipeline = link.pipeline.iter().enumerate();
        // What its client sent later must not go to the master before all that it read was answered.
        let stay: HashSet<usize> = pipeline
            .filter(|(index, sent)| !leaves(*index, sent))
            .map(|(_, sent)| sent.client.index())
            .collect();
        let reads = link.lose_all(|sent| !stay.contains(&sent.client.index()));
        for (sent, requests) in reads {
            let answered = length_of(&requests, sent.done, self.bounds);
            self.park_again(&sent, requests[answered..].to_vec());
            self.unpark_due = true;
        }
    }

    /// Whether nothing came on a link for too long, and what it ends for then.
    pub(super) fn silenced(&self, link: &Link) -> Option<Cause> {
        if link.resting.is_some() || !self.is_silent(link, self.silence()) {
            return None;
        }
        if self.owes_as_former_master(link) {
            // A late answer, or a refusal, is better than a doubt: it got its time to come.
            return Some(Cause::Lost);
        }
        let writes = link.pipeline.iter().any(|sent| sent.kind.may_write());
        if link.is_lease() || writes || self.paused.is_some() || !self.is_another_usable(link.node) {
            return None;
        }
        // A server that is busy, or gone, would have missed a probe by now, and been taken out.
        let well = self.topology.node(link.node).is_some_and(|node| node.usable);
        if well && link.pipeline.iter().all(can_go_elsewhere) {
            return Some(Cause::TimedOut);
        }
        // There is a last attempt among them, or a script: it is left to wait, but not for ever.
        let patience = self.silence() + self.settings.limits.hold;
        self.is_silent(link, patience).then_some(Cause::Silent)
    }

    /// Whether writes are under way on a link to a node whose place as the master another one has taken.
    fn owes_as_former_master(&self, link: &Link) -> bool {
        let former = self.route.master.is_some_and(|master| master != link.node);
        former && link.pipeline.iter().any(|sent| is_lost_when_late(link, sent))
    }

    /// Whether the control plane knows nothing of a node: it is gone, or so busy that it answers nobody.
    pub(super) fn is_lost(&self, node: NodeId) -> bool {
        let node = self.topology.node(node);
        node.is_none_or(|node| !node.usable && node.role == Role::Unknown)
    }

    fn is_another_usable(&self, node: NodeId) -> bool {
        let mut nodes = self.topology.nodes.iter();
        nodes.any(|other| other.usable && other.id != node)
    }

    /// How long nothing may come: a probe would have been missed by then, and a second one.
    pub(super) fn silence(&self) -> Duration {
        let upstream = &self.settings.upstream;
        upstream.probe_interval + 2 * upstream.probe_timeout
    }

    /// Whether something is waited for on a link, and nothing came for so long.
    pub(super) fn is_silent(&self, link: &Link, time: Duration) -> bool {
        let first = link.pipeline.front();
        first.is_some_and(|first| self.now >= first.at.max(link.heard) + time)
    }
}

/// Whether a batch may leave a node that gives no sign of life: not for an error, as the node may only be slow. A script
/// may be what keeps it busy, and would do the same to the next one.
fn can_go_elsewhere(sent: &Sent) -> bool {
    matches!(
        sent.kind,
        Kind::Reads { retries: 1.. } | Kind::Own | Kind::Load | Kind::Loser
    ) && !is_script(sent)
}

/// Whether a batch runs a script.
pub(super) fn is_script(sent: &Sent) -> bool {
    matches!(sent.edit, Edit::Script | Edit::Teaches { .. })
}
