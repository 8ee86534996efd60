//! Counts the writes that a node acknowledged, once their replies have come and before they are handed on: after a
//! failover that tells how many of them may be lost.
//!
//! A batch counts when its last reply comes. One that ends before that counts the writes among the replies that came.

use super::client::{Listens, Mode, Tunnel};
use super::link::Link;
use super::sent::{Kind, Sent};
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use super::writes::Writes;
use crate::commands::{Class, Handling};
use crate::resp::{Arguments, RequestScanner, Step};
use crate::topology::NodeId;

impl Worker {
    /// The last reply to a batch came, no error where it is the only one.
    pub(super) fn acknowledge(&self, node: NodeId, sent: &Sent, reply: &[u8]) {
        if sent.writes.may == 0 || did_nothing(sent.kind, reply) {
            return;
        }
        let acknowledged = &self.stats.node(node).acknowledged;
        acknowledged.add(u64::from(sent.writes.may), self.now);
        if sent.writes.sure > 0 {
            acknowledged.add_sent(u64::from(sent.writes.sure), sent.at);
        }
    }

    /// The first reply on a link is an error: it acknowledges nothing.
    pub(super) fn is_no_acknowledgement(&mut self, key: LinkKey) {
        if let Some(first) = self.links.get_mut(key).and_then(|link| link.pipeline.front_mut()) {
            if first.left + first.done == 1 {
                first.writes.may = 0;
            }
            // Of several it is not known which one; those that write for certain are fewer at most by this.
            first.writes.sure = first.writes.sure.saturating_sub(1);
        }
    }

    /// The first batch on a link does not go on as it is, or may not: what was acknowledged of it counts now.
    pub(super) fn acknowledge_first(&mut self, key: LinkKey) {
        let Some(link) = self.links.get(key) else {
            return;
        };
        let part = self.acknowledge_of(link);
        let (node, keys) = (link.node, self.first_keys(link));
        self.add_keys(node, &keys);
        if let Some(first) = self.links.get_mut(key).and_then(|link| link.pipeline.front_mut()) {
            first.writes.count(first.done, part);
        }
    }

    /// Counts what was acknowledged of the first batch on a link and was not counted: how much that is.
    pub(super) fn acknowledge_of(&self, link: &Link) -> u32 {
        let Some((first, log)) = link.first() else {
            return 0;
        };
        let (done, counted) = (first.done, first.writes.counted);
        if done <= counted || first.writes.may == 0 {
            return 0;
        }
        let part = if log.is_empty() {
            first.writes.may.min(done - counted)
        } else {
            self.writes_among(log, done).may - self.writes_among(log, counted).may
        };
        let acknowledged = &self.stats.node(link.node).acknowledged;
        acknowledged.add(u64::from(part), self.now);
        part
    }

    /// The writes among the first so many requests.
    pub(super) fn writes_among(&self, requests: &[u8], count: u32) -> Writes {
        let mut classes = [0; Class::ALL.len()];
        let mut at = 0;
        for _ in 0..count {
            let Ok(Step::Complete(found)) = RequestScanner::default().scan(&requests[at..], self.bounds)
            else {
                break;
            };
            let request = &requests[at..at + found.len];
            let class = self
                .entry(&found, request)
                .map_or(Class::Master, |command| command.class_of(Arguments::of(request)));
            classes[class.index()] += 1;
            at += found.len;
        }
        Writes::of(&classes)
    }

    /// Another node is the master: what former ones acknowledged so far counts before anybody is told that this worker
    /// knows.
    pub(super) fn acknowledge_former(&mut self) {
        for key in self.links.keys() {
            let link = self.links.get(key);
            if link.is_some_and(|link| self.route.master != Some(link.node)) {
                self.acknowledge_first(key);
            }
        }
    }

    /// Requests are passed on in a client's tunnel: the one that it sent, perhaps with others of the ambassador's own in
    /// front.
    pub(super) fn count_passed(
        &mut self,
        key: ClientKey,
        class: Class,
        handling: Handling,
        instead: Option<&[u8]>,
    ) {
        let requests = instead.map_or(1, |instead| self.requests_in(instead));
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let resp3 = client.session.resp3;
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return;
        };
        let writes = tunnel.count.pass(class, handling, resp3, requests);
        if let Some(node) = tunnel.count.node.filter(|_| writes > 0) {
            self.stats.node(node).acknowledged.open(writes);
        }
    }

    /// A client's own connection goes: what was acknowledged in its tunnel, if that is what it is, was so before now.
    pub(super) fn settle_tunnel(&mut self, key: ClientKey) {
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return;
        };
        let open = tunnel.count.take_open();
        if let Some(node) = tunnel.count.node.filter(|_| open > 0) {
            self.stats.node(node).acknowledged.settle(open, self.now);
        }
    }

    fn requests_in(&self, bytes: &[u8]) -> u32 {
        let (mut at, mut requests) = (0, 0);
        while let Ok(Step::Complete(found)) = RequestScanner::default().scan(&bytes[at..], self.bounds) {
            at += found.len;
            requests += 1;
        }
        requests
    }
}

/// Writes in a tunnel that have been answered by now and were not before.
pub(super) fn settled(tunnel: &mut Tunnel) -> u64 {
    let blind = tunnel.opaque || tunnel.listens == Listens::Monitor;
    tunnel.count.settled(tunnel.multi || blind)
}

/// What a batch of that kind counts for on a client's own connection, where nothing better is known.
pub(super) fn writes_of(kind: Kind, replies: u32) -> Writes {
    match kind {
        Kind::Writes | Kind::Script { .. } => Writes::perhaps(replies),
        Kind::Waits => Writes::perhaps(1),
        _ => Writes::default(),
    }
}

/// Whether a reply says that a command which waits, or a guarded transaction, did nothing. What WAIT says is a number.
fn did_nothing(kind: Kind, reply: &[u8]) -> bool {
    let null = matches!(reply, b"*-1\r\n" | b"$-1\r\n" | b"_\r\n");
    match kind {
        Kind::Waits => null || reply.starts_with(b":"),
        Kind::Exec { .. } => null,
        _ => false,
    }
}
