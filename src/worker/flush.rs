//! The end of the turn: each socket that has something to be written gets one write.

use super::client::{Mode, Stall};
use super::link::{Cause, Phase};
use super::slots::{ClientKey, LinkKey};
use super::socket::{self, Moved};
use super::turn::Worker;
use crate::stats::Limit;

/// A client stalled by its own connection goes on when that is behind by less than this.
const CAUGHT_UP: usize = 512 * 1024;

/// What a client has read is cut off its buffer when it is at least this much, and half of it.
const CUT: usize = 1024 * 1024;

impl Worker {
    pub(super) fn flush_link(&mut self, key: LinkKey) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        link.dirty = false;
        if link.full {
            return;
        }
        match link.phase {
            Phase::Connecting(_) => {}
            Phase::Handshake(_) => {
                if link.handshake.is_empty() {
                    return;
                }
                match socket::write(&mut link.socket, &link.handshake) {
                    Moved::Bytes(bytes) => {
                        link.handshake.drain(..bytes);
                        link.full = !link.handshake.is_empty();
                    }
                    Moved::Later | Moved::End => link.full = true,
                    Moved::Broken(error) => self.failed.push((key, Cause::Broken(error.to_string()))),
                }
            }
            Phase::Up => {
                if link.unsent().is_empty() {
                    if link.ends {
                        link.socket.end();
                    }
                    return;
                }
                match link.write() {
                    Moved::Bytes(bytes) => {
                        link.wrote(bytes);
                        link.full = !link.unsent().is_empty();
                        if link.ends && !link.full {
                            link.socket.end();
                        }
                        self.stats.node(link.node).bytes_sent.add(bytes as u64);
                        let owner = link.owner().filter(|_| link.unsent().len() < CAUGHT_UP);
                        if let Some(owner) = owner
                            && self
                                .clients
                                .get(owner)
                                .is_some_and(|client| client.stall == Stall::Lease)
                        {
                            self.unstall(owner, Stall::None);
                        }
                    }
                    Moved::Later | Moved::End => link.full = true,
                    Moved::Broken(error) => self.failed.push((key, Cause::Broken(error.to_string()))),
                }
            }
        }
    }

    pub(super) fn flush_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.dirty = false;
        if client.full {
            return;
        }
        if client.out_at < client.out.len() {
            match socket::write(&mut client.socket, &client.out[client.out_at..]) {
                Moved::Bytes(bytes) => {
                    client.out_at += bytes;
                    self.stats.bytes_out.add(bytes as u64);
                }
                Moved::Later | Moved::End => {}
                Moved::Broken(_) => return self.close_client(key),
            }
        }
        if client.out_at < client.out.len() {
            client.full = true;
            if client.out_at > CUT && client.out_at > client.out.len() / 2 {
                client.out.drain(..client.out_at);
                client.out_at = 0;
            }
            return;
        }
        client.out_at = 0;
        client.overrun = false;
        let out = std::mem::take(&mut client.out);
        let done = client.closing && (client.owed.is_empty() || matches!(client.mode, Mode::Tunnel(_)));
        self.recycle(out);
        if done {
            self.close_client(key);
        }
    }

    /// Keeps all buffers together within `limits.buffers`, counting them whenever they may have grown a lot.
    pub(super) fn bound_buffers(&mut self) {
        let limit = self.settings.limits.buffers / self.settings.workers.max(1);
        if self.grown < limit / 8 {
            return;
        }
        self.grown = 0;
        while self.count_buffers() > limit {
            let weigh = |key: ClientKey| {
                let client = self.clients.get(key);
                (
                    client.map_or(0, |client| {
                        client.unread() + client.input.len() + client.pending + client.kept()
                    }),
                    key,
                )
            };
            let heaviest = self
                .clients
                .keys()
                .into_iter()
                .map(weigh)
                .max_by_key(|(weight, _)| *weight);
            // What is on a shared link goes when it is answered: closing who holds nothing frees nothing.
            let Some((1.., heaviest)) = heaviest else {
                return;
            };
            self.close_over_limit(heaviest, Limit::Buffers);
        }
    }

    /// Bytes held for clients, on links, and of what waits for one.
    pub(super) fn count_buffers(&self) -> usize {
        let clients: usize = self
            .clients
            .iter()
            .map(|client| {
                let queued = match &client.mode {
                    Mode::Leased(lease) => lease.transcripts.kept(),
                    Mode::Shared | Mode::Tunnel(_) => 0,
                };
                client.unread() + client.input.len() + queued
            })
            .sum();
        let links: usize = self.links.iter().map(super::link::Link::held).sum();
        let all = clients + links + self.held_aside();
        self.stats.buffered.set(all as u64);
        all
    }
}
