//! Puts requests on links: which lane, which node, which link.

use super::acknowledged::writes_of;
use super::client::{Client, Lane, Mode, Stall};
use super::edit::Edit;
use super::link::Use;
use super::profile::ProfileId;
use super::requests::{Needed, Outcome, Segment};
use super::sent::{Kind, Race, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use super::writes::Writes;
use crate::resp::write;
use crate::stats::{Fault, Limit};
use crate::topology::NodeId;

/// How often a command is asked again because its script was missing.
const SCRIPT_RETRIES: u32 = 2;

impl Worker {
    /// Sends a segment of `data` on its way. False: it has to wait, and the client is stalled.
    pub(super) fn dispatch(&mut self, key: ClientKey, segment: &Segment, data: &[u8]) -> bool {
        if segment.replies == 0 {
            return true;
        }
        let Some(client) = self.clients.get(key) else {
            return true;
        };
        if let Mode::Leased(lease) = &client.mode {
            let link = lease.link;
            self.send_on_lease(key, link, segment, data);
            return true;
        }
        let Some(to_master) = self.goes_to_master(client, segment) else {
            self.stall(key, Stall::Owed);
            return false;
        };
        let profile = client.session.profile;
        let link = match client.master_link.filter(|_| client.lane == Lane::Master) {
            Some(link) if self.links.get(link).is_some() => Some(link),
            _ => {
                let node = match segment.home {
                    Some(home) => Some(home),
                    None if to_master => self.route.master,
                    None => self.reader_for(segment, profile),
                };
                node.and_then(|node| self.shared_link(node, profile))
            }
        };
        let link = link.and_then(|link| Some((self.links.get(link)?.node, link)));
        let Some((node, link)) = link else {
            return self.without_node(key, segment.replies, to_master);
        };
        self.count(node, segment);
        let edit = match segment.edit {
            Edit::Cursor { index, .. } => Edit::Cursor {
                index,
                tag: self.tag_of(node),
            },
            ref other => other.clone(),
        };
        let kind = self.kind_of(segment);
        match &segment.scripts {
            Needed::None => {}
            Needed::One(sha) => self.load_in_front(key, link, std::slice::from_ref(sha)),
            Needed::Many(shas) => self.load_in_front(key, link, shas),
        }
        let Some(client) = self.clients.get_mut(key) else {
            return true;
        };
        if client.lane == Lane::Idle {
            let is_master = self.route.master == Some(node);
            client.lane = if is_master { Lane::Master } else { Lane::Reading };
            client.master_link = is_master.then_some(link);
        }
        client.learns |= matches!(edit, Edit::Teaches { .. });
        client.node_since = None;
        let silent = client.session.takes_silence();
        let requests = &data[segment.range.clone()];
        client.pending += requests.len();
        let sent = Sent {
            client: key,
            batch: client.owed.expect(segment.replies, silent),
            left: segment.replies,
            done: 0,
            bytes: requests.len(),
            kind,
            edit,
            race: Race::None,
            at: self.now,
            writes: if segment.to_master {
                Writes::of(&segment.classes)
            } else {
                Writes::default()
            },
        };
        if matches!(kind, Kind::Reads { .. }) {
            self.late.sends(segment.replies, self.now);
        }
        if client.pending > self.settings.limits.client_pipeline {
            client.stall = Stall::Pipeline;
            self.stats.limits[Limit::ClientPipeline as usize].add(1);
        }
        self.put(link, requests, sent);
        true
    }

    /// Whether a segment goes to the master; `None`: not before what the client is owed has come.
    fn goes_to_master(&self, client: &Client, segment: &Segment) -> Option<bool> {
        let may_go = client.parked == 0
            && match client.lane {
                Lane::Idle => true,
                Lane::Reading => !segment.to_master,
                Lane::Master => {
                    // What is owed may come from another node: a former master, or from where the master was before it
                    // moved.
                    let fits = segment
                        .home
                        .is_none_or(|home| Some(home) == self.lane_node(client));
                    fits && !self.is_no_master(client.master_link)
                }
            };
        // Behind commands that the master has not answered yet, everything goes there: it will see them in the order
        // in which they were sent.
        may_go.then_some(client.lane == Lane::Master || segment.to_master)
    }

    /// What a segment is, when it comes to asking again.
    fn kind_of(&self, segment: &Segment) -> Kind {
        let retries = self.settings.reads.retries;
        match (segment.to_master, &segment.scripts) {
            // A node that lacks the script is told it, however seldom reads are asked for again.
            (false, Needed::One(_)) => Kind::Reads {
                retries: retries.max(1),
            },
            (false, _) => Kind::Reads { retries },
            (true, Needed::One(_)) => Kind::Script {
                retries: SCRIPT_RETRIES,
            },
            (true, _) => Kind::Writes,
        }
    }

    /// Whether a link goes to where the master was, or to a node that was it: what is written there now is lost.
    fn is_no_master(&self, link: Option<LinkKey>) -> bool {
        link.and_then(|link| self.links.get(link)).is_some_and(|link| {
            link.usage == Use::Retired || self.route.master.is_some_and(|master| master != link.node)
        })
    }

    /// The node from which a client in the master's lane gets what it is owed.
    fn lane_node(&self, client: &Client) -> Option<NodeId> {
        let link = client.master_link.and_then(|link| self.links.get(link));
        link.map(|link| link.node).or(self.route.master)
    }

    /// A node for a segment of reads. The first step of an iteration needs one that its cursor can name.
    fn reader_for(&mut self, segment: &Segment, profile: ProfileId) -> Option<NodeId> {
        let node = self.reader(profile)?;
        let names = !matches!(segment.edit, Edit::Cursor { .. }) || self.tag(node).is_some();
        if names {
            Some(node)
        } else {
            self.tagged_reader().or(Some(node))
        }
    }

    /// Counts a segment's commands for their node.
    fn count(&self, node: NodeId, segment: &Segment) {
        let stats = self.stats.node(node);
        for (class, commands) in segment
            .classes
            .iter()
            .enumerate()
            .filter(|(_, commands)| **commands > 0)
        {
            stats.commands[class].add(u64::from(*commands));
        }
    }

    /// On an own connection everything goes the same way.
    fn send_on_lease(&mut self, key: ClientKey, link: LinkKey, segment: &Segment, data: &[u8]) {
        if let Some(node) = self.links.get(link).map(|link| link.node) {
            self.count(node, segment);
        }
        let requests = &data[segment.range.clone()];
        self.send_counted(
            key,
            link,
            Kind::Writes,
            segment.replies,
            requests,
            Edit::None,
            Writes::of(&segment.classes),
        );
    }

    /// Puts requests on a client's own connection, with what is to be done to the reply.
    pub(super) fn send_own(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        kind: Kind,
        replies: u32,
        requests: &[u8],
        edit: Edit,
    ) {
        let writes = writes_of(kind, replies);
        self.send_counted(key, link, kind, replies, requests, edit, writes);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of a batch but what is decided here"
    )]
    fn send_counted(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        kind: Kind,
        replies: u32,
        requests: &[u8],
        edit: Edit,
        mut writes: Writes,
    ) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.lane = Lane::Master;
        let kind = match &mut client.mode {
            Mode::Leased(lease) => {
                let kind = lease.kind_of(kind, &edit, replies, requests);
                writes = lease.count(kind, writes);
                kind
            }
            _ => kind,
        };
        let silent = client.session.takes_silence();
        let sent = Sent {
            client: key,
            batch: client.owed.expect(replies, silent),
            left: replies,
            done: 0,
            bytes: requests.len(),
            kind,
            edit,
            race: Race::None,
            at: self.now,
            writes,
        };
        self.put(link, requests, sent);
    }

    /// Puts a batch on a link, to be written when the turn ends.
    pub(super) fn put(&mut self, link: LinkKey, requests: &[u8], sent: Sent) {
        let Some(found) = self.links.get_mut(link) else {
            return;
        };
        self.load[found.node.index()] += sent.left;
        found.push(requests, sent);
        self.grown += requests.len();
        self.soil_link(link);
    }

    /// The client waits for a node, at most as long as `limits.hold` says.
    pub(super) fn stall_without_node(&mut self, key: ClientKey) -> Outcome {
        let now = self.now;
        if let Some(client) = self.clients.get_mut(key) {
            client.node_since.get_or_insert(now);
        }
        self.hurried = true;
        self.stall(key, Stall::Node)
    }

    /// No node is there: waits for one, or gives up on the command when the wait has been too long. False: wait.
    pub(super) fn without_node(&mut self, key: ClientKey, replies: u32, to_master: bool) -> bool {
        let Some(client) = self.clients.get(key) else {
            return true;
        };
        let (expired, held) = (client.expired, client.held.is_some());
        // What waits already goes on waiting. How long a request is that begins to is known a little later.
        let text = if !expired && (held || self.room_for(1, 0).is_ok()) {
            self.stall_without_node(key);
            return false;
        } else if !expired {
            texts::HELD_ENOUGH
        } else if to_master {
            texts::NO_MASTER
        } else {
            texts::NO_READER
        };
        if let Some(client) = self.clients.get_mut(key) {
            // What came behind it must not run where it did not.
            client.expired = true;
        }
        let mut reply = Vec::new();
        write::error(&mut reply, text);
        self.stats.errors[Fault::Upstream as usize].add(u64::from(replies));
        for _ in 0..replies {
            self.answer(key, &reply);
        }
        true
    }
}
