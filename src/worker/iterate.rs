//! SCAN and its kin: an iteration goes on at the node that began it.

use std::borrow::Cow;

use super::client::Mode;
use super::cursor::{self, Cursor};
use super::edit::{Edit, Exec, Within};
use super::requests::{Outcome, Segment, Verdict};
use super::sent::Kind;
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::Class;
use crate::resp::{Arguments, Request};
use crate::topology::NodeId;

impl Worker {
    /// Sends one step of an iteration to the node that its cursor names; a new one, and one whose node is gone, to
    /// any. Beginning anew elsewhere keeps SCAN's promise: elements may come twice, none is left out.
    pub(super) fn iterate(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        let Some((index, argument)) = self.cursor_argument(request, bytes) else {
            return Outcome::Plain;
        };
        if self.tagged_reader().is_none() {
            // No node told its run: as without replicas, one node serves all iterations.
            let mut segment = Segment::default();
            segment.add(Class::Master, bytes.len());
            return if self.dispatch(key, &segment, bytes) {
                Outcome::Done
            } else {
                Outcome::Stalled
            };
        }
        let at_master = verdict.class != Class::Read;
        let (home, request) = match Cursor::parse(argument) {
            Cursor::Start | Cursor::Invalid => (None, Cow::Borrowed(bytes)),
            Cursor::At { tag, own } => match self.home(tag, at_master) {
                Some(node) => (Some(node), with_cursor(bytes, index, own)),
                None => (None, with_cursor(bytes, index, 0)),
            },
        };
        let restarts = home.is_none() && matches!(request, Cow::Owned(_));
        let mut segment = Segment::default();
        segment.add(verdict.class, request.len());
        segment.home = home;
        segment.edit = Edit::Cursor {
            index,
            tag: home.map(|node| self.tag_of(node)).unwrap_or_default(),
        };
        if !self.dispatch(key, &segment, &request) {
            return Outcome::Stalled;
        }
        self.stats.scans_restarted.add(u64::from(restarts));
        Outcome::Done
    }

    /// The same on the client's own connection to the master.
    pub(super) fn iterate_on_lease(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        let node = self.links.get(link).map(|link| link.node);
        let (Some((index, _)), Some(node)) = (self.cursor_argument(request, bytes), node) else {
            return Outcome::Plain;
        };
        let tag = self.tag_of(node);
        let request = self.own_step(bytes, index, tag);
        let edit = Edit::Cursor { index, tag };
        if let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode)
            && lease.multi
        {
            // The reply to this is QUEUED; the cursor is in EXEC's.
            lease.changes.push((lease.queued, Within::Cursor));
            lease.queued += 1;
        }
        self.stats.node(node).commands[Class::Read.index()].add(1);
        self.send_own(key, link, Kind::Writes, 1, &request, edit);
        // The cursor means nothing to another node.
        self.cannot_repeat(key);
        Outcome::Done
    }

    /// One step of an iteration as the node of that tag understands it.
    pub(super) fn own_step<'a>(&self, bytes: &'a [u8], index: u8, tag: u16) -> Cow<'a, [u8]> {
        let argument = Arguments::of(bytes).nth(usize::from(index)).unwrap_or_default();
        match Cursor::parse(argument) {
            Cursor::Start | Cursor::Invalid => Cow::Borrowed(bytes),
            Cursor::At { tag: home, own } if home == tag => with_cursor(bytes, index, own),
            Cursor::At { .. } => {
                self.stats.scans_restarted.add(1);
                with_cursor(bytes, index, 0)
            }
        }
    }

    /// Sends an EXEC in whose reply there is something to be changed.
    pub(super) fn exec_with_changes(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        places: Vec<(u32, Within)>,
        teaches: bool,
        bytes: &[u8],
    ) -> Outcome {
        let node = self.links.get(link).map(|link| link.node);
        let tag = node.map(|node| self.tag_of(node)).unwrap_or_default();
        if let Some(node) = node {
            self.stats.node(node).commands[Class::Transaction.index()].add(1);
        }
        let edit = if places.is_empty() {
            Edit::None
        } else {
            Edit::Exec(Box::new(Exec::new(places, tag)))
        };
        self.send_own(key, link, Kind::Exec { teaches }, 1, bytes, edit);
        Outcome::Done
    }

    /// For a request that is sent to a node again: where that is another one than before, an iteration begins anew.
    pub(super) fn readdressed(&self, link: LinkKey, request: Vec<u8>, edit: &mut Edit) -> Vec<u8> {
        let Edit::Cursor { index, tag } = edit else {
            return request;
        };
        let Some(now) = self.links.get(link).map(|link| self.tag_of(link.node)) else {
            return request;
        };
        if now == *tag {
            return request;
        }
        *tag = now;
        if Arguments::of(&request).nth(usize::from(*index)) == Some(b"0") {
            return request;
        }
        self.stats.scans_restarted.add(1);
        cursor::with_argument(&request, usize::from(*index), b"0")
    }

    /// What is put into the cursors that a node gives. One that goes by no tag of its own gets one that is nobody's,
    /// so that the next step begins anew elsewhere.
    pub(super) fn tag_of(&self, node: NodeId) -> u16 {
        let free = |tag: &u16| self.topology.nodes.iter().all(|node| node.tag != Some(*tag));
        self.tag(node)
            .unwrap_or_else(|| (0..=u16::MAX).find(free).unwrap_or_default())
    }

    /// What cursors carry to name a node.
    pub(super) fn tag(&self, node: NodeId) -> Option<u16> {
        self.topology.node(node)?.tag
    }

    /// A node on which an iteration may begin although the one that was chosen has no tag.
    pub(super) fn tagged_reader(&self) -> Option<NodeId> {
        let mut nodes = self.topology.nodes.iter();
        nodes
            .find(|node| node.usable && node.tag.is_some() && !self.is_shut(node.id))
            .map(|node| node.id)
    }

    /// The node of that tag, while it can be asked.
    fn home(&self, tag: u16, at_master: bool) -> Option<NodeId> {
        let mut nodes = self.topology.nodes.iter();
        nodes
            .find(|node| node.tag == Some(tag) && node.usable && !self.is_shut(node.id))
            .map(|node| node.id)
            .filter(|node| !at_master || self.route.master == Some(*node))
    }

    /// Whether this worker leaves the node alone for now.
    fn is_shut(&self, node: NodeId) -> bool {
        self.shut[node.index()].is_some_and(|(until, _)| self.now < until)
    }

    fn cursor_argument<'a>(&self, request: &Request, bytes: &'a [u8]) -> Option<(u8, &'a [u8])> {
        let index = self.entry(request, bytes)?.cursor;
        let argument = Arguments::of(bytes).nth(usize::from(index))?;
        (index > 0).then_some((index, argument))
    }
}

fn with_cursor(request: &[u8], index: u8, cursor: u64) -> Cow<'static, [u8]> {
    Cow::Owned(cursor::with_argument(
        request,
        usize::from(index),
        cursor.to_string().as_bytes(),
    ))
}
