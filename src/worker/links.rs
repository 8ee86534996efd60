//! Links are made, found, written to and read from.

use std::time::Duration;

use tracing::debug;

use super::client::Mode;
use super::events::link_token;
use super::link::{Cause, Link, Phase, Use};
use super::profile::ProfileId;
use super::sent::Kind;
use super::slots::{ClientKey, LinkKey};
use super::socket::{self, Moved, Socket};
use super::turn::Worker;
use crate::resp::write;
use crate::topology::NodeId;

/// Reads per link and turn.
const ROUNDS: usize = 4;

/// A client with this many bytes to read makes the link that brings more of them rest.
const REST: usize = 1024 * 1024;

/// How long a link rests for a client that does not read: others behind it wait that long, ...
const REST_SHARED: Duration = Duration::from_millis(250);

/// ... and the client that blocks only itself this long (it may be writing without reading, for ever).
const REST_ALONE: Duration = Duration::from_secs(5);

/// Shared links of one kind beyond `upstream.links_per_node`, made while the others rest.
const EXTRA_LINKS: usize = 3;

/// Own connections that one worker opens to a node at a time: beyond its listen backlog (Redis asks for 511) a server
/// drops them, and the kernel tries again after a second only.
const MOST_OPENING: usize = 64;

impl Worker {
    /// A shared link of that profile to that node, made if there is none. `None`: not now.
    pub(super) fn shared_link(&mut self, node: NodeId, profile: ProfileId) -> Option<LinkKey> {
        let keys = self.shared.get(&(node, profile)).map_or(&[][..], Vec::as_slice);
        let awake = keys
            .iter()
            .filter_map(|key| Some((*key, self.links.get(*key)?)))
            .filter(|(_, link)| link.resting.is_none());
        let best = awake
            .min_by_key(|(_, link)| link.inflight)
            .map(|(key, link)| (key, link.inflight));
        let most = self.settings.upstream.links_per_node;
        match best {
            Some((key, inflight)) if inflight == 0 || keys.len() >= most => Some(key),
            None if keys.len() >= most + EXTRA_LINKS => keys.first().copied(),
            _ => self
                .connect(node, profile, Use::Shared)
                .or(best.map(|(key, _)| key)),
        }
    }

    /// An own connection of that profile to that node: a warm one, or a new one.
    pub(super) fn lease_link(
        &mut self,
        node: NodeId,
        profile: ProfileId,
        owner: ClientKey,
    ) -> Option<LinkKey> {
        while let Some(key) = self.warm.get_mut(&(node, profile)).and_then(Vec::pop) {
            self.stats.node(node).warm.sub(1);
            if let Some(link) = self.links.get_mut(key) {
                link.usage = Use::Leased(owner);
                return Some(key);
            }
        }
        if self.opening[node.index()] >= MOST_OPENING {
            self.crowded = true;
            self.hurried = true;
            return None;
        }
        let key = self.connect(node, profile, Use::Leased(owner))?;
        self.opening[node.index()] += 1;
        Some(key)
    }

    /// An own connection is up, or will not be: a place for the next one is free.
    pub(super) fn opened(&mut self, node: NodeId) {
        let opening = &mut self.opening[node.index()];
        *opening = opening.saturating_sub(1);
        if self.crowded && *opening <= MOST_OPENING / 2 {
            self.crowded = false;
            self.wake_waiting();
            self.unpark_due = true;
        }
    }

    /// A connection of that profile to that node for one command.
    pub(super) fn errand_link(&mut self, node: NodeId, profile: ProfileId) -> Option<LinkKey> {
        self.connect(node, profile, Use::Errand)
    }

    fn connect(&mut self, node: NodeId, profile: ProfileId, usage: Use) -> Option<LinkKey> {
        if self.shut[node.index()].is_some_and(|(until, _)| self.now < until) {
            return None;
        }
        let address = self.topology.node(node)?.address?;
        if !self.attempts.take(node, self.now) {
            self.hurried = true;
            if self.route.master != Some(node) {
                // A read goes elsewhere.
                self.pass_over(node);
            }
            return None;
        }
        self.stats.node(node).connects.add(1);
        self.hurried = true;
        let socket = match Socket::connect(address) {
            Ok(socket) => socket,
            Err(error) => {
                debug!(%error, %address, "cannot connect");
                self.attempts.fail(node, self.now);
                self.shut_out(node);
                return None;
            }
        };
        let mut link = Link::new((node, address), profile, socket, usage, self.now);
        let replies = self.profiles.get(profile).handshake(&mut link.handshake);
        link.handshake_replies = replies;
        if matches!(usage, Use::Leased(_)) {
            write::request(&mut link.handshake, [&b"CLIENT"[..], b"ID"]);
            link.handshake_replies += 1;
        }
        let key = self.links.insert(link);
        let link = self.links.get_mut(key)?;
        if let Err(error) = link.socket.register(self.poll.registry(), link_token(key)) {
            debug!(%error, "a link's socket cannot be watched");
            self.links.remove(key);
            return None;
        }
        if usage == Use::Shared {
            self.shared.entry((node, profile)).or_default().push(key);
        }
        Some(key)
    }

    /// A link's socket is ready.
    pub(super) fn link_ready(&mut self, key: LinkKey, readable: bool, writable: bool, closed: bool) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.readable |= readable || closed;
        link.hup |= closed;
        if matches!(link.phase, Phase::Connecting(_)) {
            if !writable && !closed {
                return;
            }
            if let Some(error) = link.socket.connect_error() {
                return self.failed.push((key, Cause::Connect(error.to_string())));
            }
            self.connected(key);
        } else if writable && link.full {
            link.full = false;
            self.soil_link(key);
        }
        if readable || closed {
            self.read_link(key);
        }
    }

    /// Goes on reading a link that had more than one turn allows, or that rested.
    pub(super) fn read_link_again(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key) {
            link.again = false;
            self.read_link(key);
        }
    }

    fn read_link(&mut self, key: LinkKey) {
        for _ in 0..ROUNDS {
            if self.must_rest(key) {
                return;
            }
            let Some(link) = self.links.get_mut(key) else {
                return;
            };
            if !link.readable {
                return;
            }
            let carried = link.carry.len();
            self.reply_buffer[..carried].copy_from_slice(&link.carry);
            match socket::read(&mut link.socket, &mut self.reply_buffer[carried..]) {
                Moved::Bytes(bytes) => {
                    link.readable = carried + bytes == self.reply_buffer.len() || link.hup;
                    link.carry.clear();
                    link.heard = self.now;
                    self.stats.node(link.node).bytes_received.add(bytes as u64);
                    let buffer = std::mem::take(&mut self.reply_buffer);
                    self.received(key, &buffer[..carried + bytes]);
                    self.reply_buffer = buffer;
                }
                Moved::Later => link.readable = false,
                Moved::End => {
                    link.readable = false;
                    return self.failed.push((key, Cause::Closed));
                }
                Moved::Broken(error) => {
                    link.readable = false;
                    return self.failed.push((key, Cause::Broken(error.to_string())));
                }
            }
        }
        self.call_link_again(key);
    }

    /// Bytes came from a node.
    fn received(&mut self, key: LinkKey, bytes: &[u8]) {
        let dealt_with = match self.links.get(key).map(|link| (link.phase, link.owner())) {
            Some((Phase::Handshake(..), _)) => self.handshake_replies(key, bytes),
            Some((_, Some(owner))) if self.is_tunnel(key, owner) => {
                Ok(self.tunnel_replies(key, owner, bytes))
            }
            Some(_) => self.replies(key, bytes),
            None => return,
        };
        match dealt_with {
            Ok(dealt_with) => {
                if let Some(link) = self.links.get_mut(key) {
                    link.carry.extend_from_slice(&bytes[dealt_with..]);
                }
            }
            Err(_) => self.failed.push((key, Cause::NotResp)),
        }
    }

    /// Whether what comes on this own connection is passed on as it is: it is a tunnel, and replies to the
    /// ambassador's own commands are not to come any more.
    pub(super) fn is_tunnel(&self, key: LinkKey, owner: ClientKey) -> bool {
        matches!(
            self.clients.get(owner).map(|client| &client.mode),
            Some(Mode::Tunnel(_))
        ) && self.links.get(key).is_some_and(|link| link.pipeline.is_empty())
    }

    /// Nothing more is put on this own connection, and the node is told so.
    pub(super) fn end_link(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key) {
            link.ends = true;
        }
        self.soil_link(key);
    }

    pub(super) fn call_link_again(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key)
            && link.readable
            && !link.again
        {
            link.again = true;
            self.again_links.push(key);
        }
    }

    /// Puts a link in the list of those to be written to at the end of the turn.
    pub(super) fn soil_link(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key)
            && !link.dirty
        {
            link.dirty = true;
            self.dirty_links.push(key);
        }
    }

    /// Whether reading has to rest, because the client whose reply comes next does not take what it has.
    fn must_rest(&mut self, key: LinkKey) -> bool {
        let Some(link) = self.links.get_mut(key) else {
            return false;
        };
        // Nobody gets what a race was lost with.
        let first = link.pipeline.front().filter(|sent| sent.kind != Kind::Loser);
        let head = link.owner().or(first.map(|sent| sent.client));
        let slow = head
            .and_then(|head| self.clients.get_mut(head))
            .filter(|client| client.unread() > REST);
        let Some(client) = slow else {
            link.resting = None;
            return false;
        };
        if matches!(client.mode, Mode::Tunnel(_)) {
            // The server has its own bound for subscribers that do not read.
        } else if client.overrun {
            return false;
        } else if let Some(since) = link.resting {
            let patience = if link.pipeline.len() > 1 {
                REST_SHARED
            } else {
                REST_ALONE
            };
            if self.now >= since + patience {
                client.overrun = true;
                link.resting = None;
                return false;
            }
        }
        if link.resting.is_none() {
            link.resting = Some(self.now);
            self.resting.push(key);
            self.hurried = true;
        }
        true
    }

    /// Reads on links whose clients have caught up, or have been waited for long enough.
    pub(super) fn wake_resting(&mut self) {
        for key in std::mem::take(&mut self.resting) {
            if self.must_rest(key) {
                self.resting.push(key);
            } else {
                self.call_link_again(key);
            }
        }
    }

    /// Ends a link under which nothing is left that anybody waits for.
    pub(super) fn drop_link(&mut self, key: LinkKey) {
        let Some(link) = self.links.remove(key) else {
            return;
        };
        self.unlist(key, &link);
    }

    /// Links to where a node was before it moved are used no more: those that wait end, those with something on them
    /// end when that is answered.
    pub(super) fn retire_moved_links(&mut self) {
        for key in self.links.keys() {
            let Some(link) = self.links.get_mut(key) else {
                continue;
            };
            let moved = self
                .topology
                .node(link.node)
                .is_some_and(|node| node.address.is_some_and(|address| address != link.address));
            if !moved {
                continue;
            }
            let (place, usage) = ((link.node, link.profile), link.usage);
            match usage {
                Use::Warm => self.drop_link(key),
                Use::Shared => {
                    link.usage = Use::Retired;
                    let done = link.pipeline.is_empty() && link.waiters.is_empty();
                    if let Some(keys) = self.shared.get_mut(&place) {
                        keys.retain(|other| *other != key);
                    }
                    if done {
                        self.drop_link(key);
                    }
                }
                Use::Leased(_) | Use::Retired | Use::Errand => {}
            }
        }
    }

    /// Takes a link that is gone out of every list and count.
    pub(super) fn unlist(&mut self, key: LinkKey, link: &Link) {
        self.acknowledge_of(link);
        let keys = self.first_keys(link);
        self.add_keys(link.node, &keys);
        if let Some(owner) = link.owner() {
            self.settle_tunnel(owner);
        }
        let place = (link.node, link.profile);
        let stats = self.stats.node(link.node);
        let load = &mut self.load[link.node.index()];
        *load = load.saturating_sub(link.inflight);
        let index = match link.usage {
            Use::Shared => {
                if link.phase == Phase::Up {
                    stats.links.sub(1);
                }
                &mut self.shared
            }
            Use::Warm => {
                stats.warm.sub(1);
                &mut self.warm
            }
            Use::Retired => {
                if link.phase == Phase::Up {
                    stats.links.sub(1);
                }
                return;
            }
            Use::Errand => return,
            Use::Leased(_) => {
                stats.leases.sub(1);
                self.leases -= 1;
                if link.phase != Phase::Up {
                    self.opened(link.node);
                }
                &mut self.warm
            }
        };
        if let Some(keys) = index.get_mut(&place) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                index.remove(&place);
            }
        }
    }
}
