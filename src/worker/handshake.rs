//! A fresh connection is set up before it carries commands.

use super::client::Stall;
use super::link::{Cause, Phase};
use super::slots::LinkKey;
use super::turn::Worker;
use crate::resp::ReplyError;

impl Worker {
    /// The TCP connection stands.
    pub(super) fn connected(&mut self, key: LinkKey) {
        let now = self.now;
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        if link.handshake_replies == 0 {
            return self.up(key);
        }
        link.phase = Phase::Handshake(now);
        self.soil_link(key);
    }

    /// Replies to the handshake. Returns how many bytes are dealt with.
    pub(super) fn handshake_replies(&mut self, key: LinkKey, bytes: &[u8]) -> Result<usize, ReplyError> {
        let mut at = 0;
        while let Some(link) = self.links.get_mut(key) {
            if link.handshake_replies == 0 {
                self.node_answers(key);
                self.up(key);
                return Ok(at + self.replies(key, &bytes[at..])?);
            }
            let scanned = link.scanner.scan(&bytes[at..])?;
            if !scanned.complete {
                // A greeting is small: it is looked at whole.
                link.scanner = crate::resp::ReplyScanner::default();
                return Ok(at);
            }
            let reply = &bytes[at..at + scanned.taken];
            at += scanned.taken;
            if link.owner().is_some() && link.handshake_replies == 1 {
                // CLIENT ID; a user who may not ask cannot be unblocked, and nothing else.
                link.upstream_id = integer(reply);
                link.handshake_replies = 0;
                continue;
            }
            if reply.starts_with(b"-") {
                self.failed.push((key, Cause::Refused(reply.to_vec())));
                return Ok(bytes.len());
            }
            link.handshake_replies -= 1;
        }
        Ok(bytes.len())
    }

    /// The link is ready for commands.
    fn up(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.phase = Phase::Up;
        link.handshake = Vec::new();
        self.refused.remove(&(link.node, link.profile));
        if !link.is_lease() {
            self.stats.node(link.node).links.add(1);
        }
        let (owner, node) = (link.owner(), link.node);
        for client in std::mem::take(&mut link.waiters) {
            self.verdict(client, key, Ok(()));
        }
        if let Some(owner) = owner {
            self.opened(node);
            self.announce_target(owner);
        }
        self.soil_link(key);
    }

    /// A Redis answered on this link. That something takes connections proves nothing.
    pub(super) fn node_answers(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.answers = true;
        let node = link.node;
        self.shut[node.index()] = None;
        self.attempts.succeed(node);
    }

    /// Tells a client what became of the link that it waits for.
    pub(super) fn verdict(
        &mut self,
        client: super::slots::ClientKey,
        link: LinkKey,
        verdict: Result<(), Vec<u8>>,
    ) {
        if self
            .clients
            .get(client)
            .is_some_and(|client| client.stall == Stall::Link(link))
        {
            self.unstall(client, Stall::Verdict(verdict));
        }
    }
}

fn integer(reply: &[u8]) -> Option<u64> {
    let digits = reply.strip_prefix(b":")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
