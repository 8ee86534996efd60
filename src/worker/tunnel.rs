//! An own connection for good: SUBSCRIBE and its kin, MONITOR, CLIENT TRACKING, and state changes inside a
//! transaction.
//!
//! Both directions are passed on as they are, so that order and content are the server's own. Requests are
//! still scanned, because some must not reach the server; replies are scanned only to see RESET's.

use super::client::{Lane, Mode, Stall, Tunnel};
use super::owed::Owed;
use super::requests::{CUT_THROUGH, Outcome};
use super::session::ReplyMode;
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use crate::commands::{Class, Handling};
use crate::resp::{ProtocolError, Step, split_inline, write};

/// Bytes that the server may be behind before the client is not read any more.
const BACKLOG: usize = 1024 * 1024;

impl Worker {
    /// Turns the client's connection into a tunnel; the request that asked for it is then read again.
    pub(super) fn open_tunnel(&mut self, key: ClientKey) -> Outcome {
        if self.owes(key) {
            return self.stall(key, Stall::Owed);
        }
        let fresh = match self.clients.get(key).map(|client| &client.mode) {
            Some(Mode::Leased(lease)) => Ok((lease.link, false)),
            Some(Mode::Shared) => self.take_lease(key).map(|link| (link, true)),
            _ => return Outcome::Again,
        };
        let (link, fresh) = match fresh {
            Ok(taken) => taken,
            Err(outcome) => return outcome,
        };
        let names = self
            .clients
            .get(key)
            .and_then(|client| client.session.names.clone())
            .filter(|_| fresh);
        if let Some(names) = names {
            let commands: [(&[&[u8]], &[u8]); 3] = [
                (&[b"CLIENT", b"SETNAME", &names.name], &names.name),
                (
                    &[b"CLIENT", b"SETINFO", b"LIB-NAME", &names.library],
                    &names.library,
                ),
                (
                    &[b"CLIENT", b"SETINFO", b"LIB-VER", &names.version],
                    &names.version,
                ),
            ];
            for (command, _) in commands.iter().filter(|(_, value)| !value.is_empty()) {
                self.put_own(key, link, &[command]);
            }
        }
        if self
            .clients
            .get(key)
            .is_some_and(|client| client.session.reply == ReplyMode::Off)
        {
            let mut silence = Vec::new();
            write::request(&mut silence, [&b"CLIENT"[..], b"REPLY", b"OFF"]);
            self.pass(link, &silence);
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.owed = Owed::default();
            client.lane = Lane::Idle;
            client.mode = Mode::Tunnel(Box::new(Tunnel {
                link,
                upload: None,
                resetting: false,
                opaque: false,
            }));
        }
        Outcome::Again
    }

    /// Passes requests on. Returns how many bytes are dealt with.
    pub(super) fn tunnel_requests(&mut self, key: ClientKey, data: &[u8]) -> usize {
        let mut at = 0;
        while at < data.len() {
            let bounds = self.bounds;
            let Some(client) = self.clients.get_mut(key) else {
                return data.len();
            };
            let Mode::Tunnel(tunnel) = &mut client.mode else {
                return at;
            };
            let link = tunnel.link;
            if self
                .links
                .get(link)
                .is_none_or(|link| link.unsent().len() > BACKLOG)
            {
                self.stall(key, Stall::Lease);
                return at;
            }
            if let Some(passage) = &mut tunnel.upload {
                match passage.advance(&data[at..], bounds) {
                    Ok((taken, complete)) => {
                        if complete {
                            tunnel.upload = None;
                        }
                        self.pass(link, &data[at..at + taken]);
                        at += taken;
                        continue;
                    }
                    Err(error) => {
                        self.refuse_protocol(key, error);
                        return data.len();
                    }
                }
            }
            match client.scanner.scan(&data[at..], bounds) {
                Ok(Step::Complete(request)) => {
                    let bytes = &data[at..at + request.len];
                    at += request.len;
                    if self.tunnel_request(key, link, &bytes[request.name.clone()], bytes) {
                        return at;
                    }
                }
                Ok(Step::Empty(len)) => at += len,
                Ok(Step::Inline(len, line)) => {
                    let line = &data[at..at + line];
                    at += len;
                    let Ok(words) = split_inline(line) else {
                        self.refuse_protocol(key, ProtocolError::UnbalancedQuotes);
                        return data.len();
                    };
                    if let Some(name) = words.first() {
                        let mut request = Vec::new();
                        write::request(&mut request, words.iter().map(Vec::as_slice));
                        if self.tunnel_request(key, link, name, &request) {
                            return at;
                        }
                    }
                }
                Ok(Step::Incomplete) => {
                    let position = client.scanner.position();
                    if data.len() - at < CUT_THROUGH || position == 0 {
                        return at;
                    }
                    tunnel.upload = Some(client.scanner.passage());
                    client.scanner.reset();
                    self.pass(link, &data[at..at + position]);
                    at += position;
                }
                Err(error) => {
                    self.refuse_protocol(key, error);
                    return data.len();
                }
            }
        }
        at
    }

    /// Passes one request on. True: nothing more for now.
    fn tunnel_request(&mut self, key: ClientKey, link: LinkKey, name: &[u8], bytes: &[u8]) -> bool {
        let command = self.topology.table.lookup(name, None);
        let class = command.map_or(Class::Master, |command| command.class);
        let handling = command.map_or(Handling::Forward, |command| command.handling);
        if let Some(node) = self.links.get(link).map(|link| link.node) {
            self.stats.node(node).commands[class.index()].add(1);
        }
        if class == Class::Refused {
            let mut unknown = Vec::new();
            write::request(&mut unknown, [texts::refused_name(name).as_slice()]);
            self.pass(link, &unknown);
            return false;
        }
        self.pass(link, bytes);
        if handling != Handling::Reset {
            return false;
        }
        if let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) {
            tunnel.resetting = true;
        }
        self.stall(key, Stall::Owed);
        true
    }

    fn pass(&mut self, link: LinkKey, bytes: &[u8]) {
        if let Some(found) = self.links.get_mut(link) {
            found.push_more(bytes);
            found.used = self.now;
        }
        self.soil_link(link);
    }

    /// Passes replies on as they come. Returns how many bytes are dealt with.
    pub(super) fn tunnel_replies(&mut self, key: LinkKey, owner: ClientKey, data: &[u8]) -> usize {
        let (Some(link), Some(client)) = (self.links.get_mut(key), self.clients.get_mut(owner)) else {
            return data.len();
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return data.len();
        };
        let mut at = 0;
        let mut reset = false;
        while at < data.len() && !reset && !tunnel.opaque {
            let start = at;
            let begins = link.scanner.at_start();
            match link.scanner.scan(&data[at..]) {
                Ok(scanned) => {
                    at += scanned.taken;
                    reset =
                        tunnel.resetting && begins && scanned.complete && &data[start..at] == b"+RESET\r\n";
                    if !scanned.complete {
                        break;
                    }
                }
                Err(_) => tunnel.opaque = true,
            }
        }
        if tunnel.opaque {
            at = data.len();
        }
        if client.out.capacity() == 0 {
            client.out = self.spare.pop().unwrap_or_default();
        }
        client.out.extend_from_slice(&data[..at]);
        self.grown += at;
        self.soil_client(owner);
        if reset {
            self.end_lease(owner);
            self.forget_session(owner);
            self.unstall(owner, Stall::None);
            return data.len();
        }
        at
    }
}
