//! A node that is the master by all that its probes say, and refuses writes on a link as a replica does: its address leads to
//! several nodes (a balancer over all of them), and the link sits on another one than the probe.
//!
//! Such a link is used no more. What is on it is answered there, and the next one may land on the master.

use tracing::warn;

use super::link::Use;
use super::no_master::Denied;
use super::slots::LinkKey;
use super::turn::Worker;

impl Worker {
    /// The node of a shared link refused a command as a replica does.
    pub(super) fn was_denied(&mut self, key: LinkKey) {
        let Some(link) = self.links.get(key) else { return };
        let by = link.node;
        if self.route.master != Some(by) {
            return;
        }
        let mut denied = Denied::once_more(self.denied, by, self.now);
        // By then it was probed again, at once, and found to be the master.
        if denied.lasts() >= 2 * self.settings.upstream.probe_interval {
            if !denied.told {
                let node = self.topology.node(by).map_or("?", |node| node.name.as_str());
                warn!(
                    node,
                    "the master refuses writes on a connection though its probes say that it is the master: the address seems to lead to several nodes; connecting anew"
                );
            }
            denied.told = true;
            self.leave_link(key);
        }
        self.denied = Some(denied);
    }

    /// Nothing more is put on a shared link. It ends when what is on it is answered.
    pub(super) fn leave_link(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(key).filter(|link| link.usage == Use::Shared) else {
            return;
        };
        link.usage = Use::Retired;
        let (node, place) = (link.node, (link.node, link.profile));
        if let Some(keys) = self.shared.get_mut(&place) {
            keys.retain(|other| *other != key);
        }
        self.shut_out(node);
    }
}
