//! Clients come, send bytes, and go.

use std::sync::atomic::{AtomicU64, Ordering};

use mio::net::{TcpStream, UnixStream};
use tracing::{debug, warn};

use super::client::{Client, Mode, Stall};
use super::events::client_token;
use super::sent::Kind;
use super::session::Session;
use super::slots::ClientKey;
use super::socket::{self, Moved, Socket};
use super::turn::Worker;
use crate::stats::{Fault, Limit};

/// Reads per client and turn; who has more to say goes on in the next turn.
const ROUNDS: usize = 4;

/// Buffers kept for clients that will need one.
const SPARE_BUFFERS: usize = 64;

/// A buffer that grew beyond this is not kept.
const SPARE_CAPACITY: usize = 64 * 1024;

/// CLIENT ID, unique over the process's life.
pub(super) static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The CLIENT ID of the next client. Given as clients are accepted, whichever worker gets them, so that the order of
/// ids is that of the connections, as on one server.
pub fn next_client_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

impl Worker {
    pub(super) fn accept_tcp(&mut self, stream: std::net::TcpStream, id: u64) {
        self.accept(Socket::Tcp(TcpStream::from_std(stream)), id);
    }

    pub(super) fn accept_unix(&mut self, stream: std::os::unix::net::UnixStream, id: u64) {
        self.accept(Socket::Unix(UnixStream::from_std(stream)), id);
    }

    /// A client is there.
    pub(super) fn accept(&mut self, socket: Socket, id: u64) {
        let session = Session::new(id, self.plain);
        let key = self.clients.insert(Client::new(socket, session, self.now));
        self.stats.accepted.add(1);
        self.stats.clients.set(self.clients.len() as u64);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if let Err(error) = client.socket.register(self.poll.registry(), client_token(key)) {
            warn!(%error, "a client's socket cannot be watched");
            self.close_client(key);
        }
    }

    /// A client's socket is ready.
    pub(super) fn client_ready(&mut self, key: ClientKey, readable: bool, writable: bool, closed: bool) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.readable |= readable || closed;
        client.hup |= closed;
        let goes_on = client.again;
        if writable && client.full {
            client.full = false;
            self.soil_client(key);
        }
        if closed && (self.is_blocked(key) || self.is_held(key)) {
            // Nobody is there to take what the blocked command would pop, or to learn that a command which
            // waits for a node ran after all.
            return self.close_client(key);
        }
        // Where it goes on in this turn anyway, what it sent before comes before what is read now, and before its end.
        if (readable || closed) && !goes_on {
            self.read_client(key);
        }
    }

    /// Goes on with a client that was stalled, or that had more to say than one turn allows.
    pub(super) fn go_on(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.again = false;
        if !matches!(client.stall, Stall::None | Stall::Verdict(_)) {
            return;
        }
        if !client.input.is_empty() {
            self.feed(key, &[]);
        }
        self.read_client(key);
    }

    /// Lifts a stall; the client goes on before the turn ends.
    pub(super) fn unstall(&mut self, key: ClientKey, stall: Stall) {
        if let Some(client) = self.clients.get_mut(key) {
            client.stall = stall;
        }
        self.call_again(key);
    }

    /// Puts a client in the list of those that can go on.
    pub(super) fn call_again(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.again
        {
            client.again = true;
            self.again_clients.push(key);
        }
    }

    fn read_client(&mut self, key: ClientKey) {
        for _ in 0..ROUNDS {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            if !client.readable || client.closing || !matches!(client.stall, Stall::None) {
                return;
            }
            match socket::read(&mut client.socket, &mut self.request_buffer) {
                Moved::Bytes(bytes) => {
                    // A short read has emptied the socket: the next bytes bring an event. Only the end of
                    // the stream, once told, is not told again.
                    client.readable = bytes == self.request_buffer.len() || client.hup;
                    client.heard = self.now;
                    self.stats.bytes_in.add(bytes as u64);
                    let buffer = std::mem::take(&mut self.request_buffer);
                    self.feed(key, &buffer[..bytes]);
                    self.request_buffer = buffer;
                }
                Moved::Later => client.readable = false,
                Moved::End => {
                    client.readable = false;
                    return self.client_ended(key);
                }
                Moved::Broken(error) => {
                    debug!(%error, "a client's connection broke");
                    return self.close_client(key);
                }
            }
        }
        self.call_again(key);
    }

    /// Deals with what was left over and `fresh` bytes behind it; keeps what cannot be dealt with yet.
    fn feed(&mut self, key: ClientKey, fresh: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let mut input = std::mem::take(&mut client.input);
        let dealt_with = if input.is_empty() {
            let dealt_with = self.process(key, fresh);
            if dealt_with < fresh.len() {
                input = self.spare.pop().unwrap_or_default();
                input.extend_from_slice(&fresh[dealt_with..]);
            }
            0
        } else {
            input.extend_from_slice(fresh);
            self.process(key, &input)
        };
        input.drain(..dealt_with);
        if input.is_empty() {
            self.recycle(std::mem::take(&mut input));
        }
        let now = self.now;
        if let Some(client) = self.clients.get_mut(key) {
            client.expired &= !input.is_empty();
            if client.stall == Stall::None && input.is_empty() {
                client.node_since = None;
            }
            client.began = match (&client.stall, input.is_empty()) {
                (Stall::None, false) => Some(client.began.unwrap_or(now)),
                _ => None,
            };
            client.input = input;
            let hup = client.hup;
            if client.stall == Stall::Node || client.held.is_some() {
                self.hold_client(key);
            }
            if hup {
                self.leave_if_blocked(key);
            }
        }
    }

    /// The client will send nothing more. What it is owed it still gets.
    fn client_ended(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.hup = true;
        if matches!(&client.mode, Mode::Leased(lease) if lease.upload.is_some()) {
            // The rest of its request will never come.
            return self.close_client(key);
        }
        if let Mode::Tunnel(tunnel) = &mut client.mode {
            // The server answers what came before, closes, and with that the client is closed.
            (tunnel.ended, client.heard) = (true, self.now);
            let link = tunnel.link;
            return self.end_link(link);
        }
        client.closing = true;
        if client.owed.is_empty() {
            self.soil_client(key);
        }
        self.leave_if_blocked(key);
    }

    /// Ends a client that has gone while its next reply is that of a command that waits: nobody is there to
    /// take what the command would pop. What came before it is handed over as far as the socket takes it.
    pub(super) fn leave_if_blocked(&mut self, key: ClientKey) {
        // What it sent behind that command has not been read, perhaps, and would not run on a server either.
        let gone = self.clients.get(key).is_some_and(|client| client.hup);
        if gone && self.is_blocked(key) {
            self.flush_client(key);
            self.close_client(key);
        }
    }

    /// Closes a client once it has been handed what it is owed; at once where nothing is.
    pub(super) fn close_when_flushed(&mut self, key: ClientKey) {
        let now = self.now;
        if let Some(client) = self.clients.get_mut(key) {
            client.heard = if client.closing { client.heard } else { now };
            client.closing = true;
            self.soil_client(key);
        }
    }

    /// Whether a command of the client waits that must not be left to wait for nobody.
    pub(super) fn is_blocked(&self, key: ClientKey) -> bool {
        let Some(Mode::Leased(lease)) = self.clients.get(key).map(|client| &client.mode) else {
            return false;
        };
        let first = self
            .links
            .get(lease.link)
            .and_then(|link| link.pipeline.iter().find(|sent| !sent.kind.is_own()));
        first.is_some_and(|sent| sent.kind == Kind::Waits)
    }

    /// Whether the client has an own connection for good, of which only the server knows what it does.
    pub(super) fn is_tunnelled(&self, key: ClientKey) -> bool {
        let client = self.clients.get(key);
        client.is_some_and(|client| matches!(client.mode, Mode::Tunnel(_)))
    }

    /// Whether a command of the client waits for a node.
    fn is_held(&self, key: ClientKey) -> bool {
        self.clients
            .get(key)
            .is_some_and(|client| client.stall == Stall::Node || client.parked > 0)
    }

    /// Ends a client. What is under way for it on shared links is answered into the void; its own connection
    /// goes with it.
    pub(super) fn close_client(&mut self, key: ClientKey) {
        self.settle_tunnel(key);
        let Some(mut client) = self.clients.remove(key) else {
            return;
        };
        self.stats.clients.set(self.clients.len() as u64);
        self.drop_held(key, &client);
        if let Some(link) = client.lease() {
            self.drop_link(link);
        }
        self.rolls.retain(|roll| roll.client != key);
        if client.stall == Stall::Turn {
            self.logins.retain(|waits| *waits != key);
        }
        self.recycle(std::mem::take(&mut client.input));
        self.recycle(std::mem::take(&mut client.out));
    }

    /// Ends a client because of a bound of the config.
    pub(super) fn close_over_limit(&mut self, key: ClientKey, limit: Limit) {
        if let Some(client) = self.clients.get(key) {
            warn!(
                client = %client.socket.peer(),
                id = client.session.id,
                limit = limit.name(),
                unread = client.unread(),
                "client closed: it ran into a limit"
            );
        }
        self.stats.limits[limit as usize].add(1);
        self.stats.errors[Fault::Client as usize].add(1);
        self.close_client(key);
    }

    /// Puts a client in the list of those to be written to at the end of the turn.
    pub(super) fn soil_client(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key)
            && !client.dirty
        {
            client.dirty = true;
            self.dirty_clients.push(key);
        }
    }

    /// Keeps a buffer for the next client that needs one.
    pub(super) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if (1..=SPARE_CAPACITY).contains(&buffer.capacity()) && self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}
