//! An own connection for good: SUBSCRIBE and its kin, MONITOR, CLIENT TRACKING, and state changes inside a
//! transaction.
//!
//! Both directions are passed on as they are, so that order and content are the server's own. Requests are
//! still scanned, because some must not reach the server; replies are scanned only to see RESET's.

use super::acknowledged::settled;
use super::client::{Lane, Listens, Mode, Stall, Tunnel};
use super::mend::{Mends, Reply};
use super::owed::Owed;
use super::redirect::Identity;
use super::requests::{CUT_THROUGH, Outcome};
use super::session::ReplyMode;
use super::slots::{ClientKey, LinkKey};
use super::targets::Target;
use super::texts;
use super::turn::Worker;
use super::writes::Count;
use crate::commands::{Class, ClientHandling, Handling};
use crate::resp::{ProtocolError, ReplyScanner, Request, Step, split_inline, write};

/// Bytes that the server may be behind before the client is not read any more.
const BACKLOG: usize = 1024 * 1024;

/// What is looked at of a request before it is passed on.
struct Passed<'a> {
    name: &'a [u8],
    second: Option<&'a [u8]>,
    argc: usize,
}

/// How it goes on after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// With the next one.
    On,
    /// It is dealt with, and nothing more is for now.
    Later,
    /// It has to wait, and is then read again.
    Again,
}

impl<'a> Passed<'a> {
    fn of(request: &Request, bytes: &'a [u8]) -> Self {
        Passed {
            name: &bytes[request.name.clone()],
            second: (request.argc > 1).then(|| &bytes[request.second.clone()]),
            argc: request.argc,
        }
    }
}

impl Worker {
    /// Turns the client's connection into a tunnel; the request that asked for it is then read again.
    pub(super) fn open_tunnel(&mut self, key: ClientKey) -> Outcome {
        if self.owes(key) {
            return self.stall(key, Stall::Owed);
        }
        let taken = match self.clients.get(key).map(|client| &client.mode) {
            Some(Mode::Leased(lease)) => Ok((lease.link, lease.multi)),
            Some(Mode::Shared) => self.take_lease(key).map(|link| (link, false)),
            _ => return Outcome::Again,
        };
        match taken {
            Ok((link, multi)) => self.tunnel_on(key, link, multi),
            Err(outcome) => return outcome,
        }
        Outcome::Again
    }

    /// Gives a client to whom nothing is owed a tunnel without its having asked for one, if one is to be had now.
    pub(super) fn lend_tunnel(&mut self, key: ClientKey) {
        let link = match self.clients.get(key) {
            Some(client) => match &client.mode {
                Mode::Leased(lease) => Some((lease.link, lease.multi)),
                Mode::Shared => self
                    .lease_to_master(key, client.session.profile)
                    .map(|link| (link, false)),
                Mode::Tunnel(_) => None,
            },
            None => None,
        };
        if let Some((link, multi)) = link {
            self.tunnel_on(key, link, multi);
        }
    }

    fn tunnel_on(&mut self, key: ClientKey, link: LinkKey, multi: bool) {
        let names = self
            .clients
            .get(key)
            .and_then(|client| client.session.names.clone())
            .filter(|_| !multi);
        if let Some(names) = names {
            for command in names.commands() {
                let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
                self.put_own(key, link, &[&words]);
            }
        }
        let silence: Option<&[u8]> = match self.clients.get(key).map(|client| client.session.reply) {
            Some(ReplyMode::Off) => Some(b"OFF"),
            Some(ReplyMode::Skip) => Some(b"SKIP"),
            _ => None,
        };
        if let Some(mode) = silence {
            // From here on the server keeps silent itself. This has no reply.
            let mut request = Vec::new();
            write::request(&mut request, [&b"CLIENT"[..], b"REPLY", mode]);
            self.pass(link, &request);
        }
        let node = self.links.get(link).map(|link| link.node);
        if let Some(client) = self.clients.get_mut(key) {
            let queued = match &client.mode {
                Mode::Leased(lease) => lease.writes,
                _ => 0,
            };
            if let Some(node) = node.filter(|_| queued > 0) {
                self.stats.node(node).acknowledged.open(u64::from(queued));
            }
            client.owed = Owed::default();
            client.lane = Lane::Idle;
            client.mode = Mode::Tunnel(Box::new(Tunnel {
                link,
                upload: None,
                resetting: false,
                opaque: false,
                listens: Listens::No,
                multi,
                begun: 0,
                unnamed: multi && client.session.names.is_some(),
                caching: false,
                reply: client.session.reply,
                target: None,
                redirect: None,
                seeking: None,
                told: false,
                mends: Mends::default(),
                count: Count::starting(node, queued),
            }));
        }
        self.announce_target(key);
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
                    match self.tunnel_request(key, link, &Passed::of(&request, bytes), bytes) {
                        Next::Again => return at,
                        Next::Later => return at + request.len,
                        Next::On => at += request.len,
                    }
                }
                Ok(Step::Empty(len)) => at += len,
                Ok(Step::Inline(len, line)) => match self.tunnel_inline(key, link, &data[at..at + line]) {
                    Next::Again => return at,
                    Next::Later => return at + len,
                    Next::On => at += len,
                },
                Ok(Step::Incomplete) => {
                    // Before a part of it is passed on, it must be clear that the whole of it may be.
                    let position = client.scanner.position();
                    if position == 0 || data.len() - at < CUT_THROUGH {
                        return at;
                    }
                    let partial = client.scanner.partial().cloned().unwrap_or_default();
                    if self.is_refused(&Passed::of(&partial, &data[at..])) {
                        self.close_client(key);
                        return data.len();
                    }
                    let Some(client) = self.clients.get_mut(key) else {
                        return data.len();
                    };
                    let Mode::Tunnel(tunnel) = &mut client.mode else {
                        return at;
                    };
                    tunnel.upload = Some(client.scanner.passage());
                    client.scanner.reset();
                    // It may be anything.
                    self.count_passed(key, Class::Master, Handling::Forward, None);
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

    /// Passes an inline command on, as the request that it means.
    fn tunnel_inline(&mut self, key: ClientKey, link: LinkKey, line: &[u8]) -> Next {
        let Ok(words) = split_inline(line) else {
            self.refuse_protocol(key, ProtocolError::UnbalancedQuotes);
            return Next::Later;
        };
        let Some(name) = words.first() else {
            return Next::On;
        };
        let passed = Passed {
            name,
            second: words.get(1).map(Vec::as_slice),
            argc: words.len(),
        };
        let mut request = Vec::new();
        write::request(&mut request, words.iter().map(Vec::as_slice));
        self.tunnel_request(key, link, &passed, &request)
    }

    fn is_refused(&self, passed: &Passed) -> bool {
        let command = self.topology.table.lookup(passed.name, passed.second);
        command.is_some_and(|command| command.class == Class::Refused || command.handling.stays_here())
    }

    /// Passes one request on.
    fn tunnel_request(&mut self, key: ClientKey, link: LinkKey, passed: &Passed, bytes: &[u8]) -> Next {
        let command = self.topology.table.lookup(passed.name, passed.second);
        let class = command.map_or(Class::Master, |command| command.class);
        let handling = command.map_or(Handling::Forward, |command| command.handling);
        if self.script_in_tunnel(key, link, handling, bytes) {
            return Next::Again;
        }
        let instead = match self.identify(key, handling, passed.second, bytes) {
            Identity::AsItIs => None,
            Identity::Instead(request) => Some(request),
            Identity::Wait => return Next::Again,
        };
        if let Some(node) = self.links.get(link).map(|link| link.node) {
            self.stats.node(node).commands[class.index()].add(1);
        }
        if class == Class::Refused || handling.stays_here() {
            let mut unknown = Vec::new();
            write::request(&mut unknown, [texts::refused_name(passed.name).as_slice()]);
            self.count_passed(key, Class::Refused, handling, None);
            self.pass(link, &unknown);
            return Next::On;
        }
        self.count_passed(key, class, handling, instead.as_deref());
        self.pass(link, instead.as_deref().unwrap_or(bytes));
        self.remember_in_tunnel(key, class, handling, passed);
        if handling == Handling::Client(ClientHandling::SetInfo) {
            self.remember_library(key, bytes);
        }
        // With arguments RESET is an error, and the tunnel goes on.
        if handling != Handling::Reset || passed.argc != 1 {
            return Next::On;
        }
        if let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) {
            tunnel.resetting = true;
        }
        self.stall(key, Stall::Owed);
        Next::Later
    }

    /// What CLIENT LIST says of the client.
    fn remember_in_tunnel(&mut self, key: ClientKey, class: Class, handling: Handling, passed: &Passed) {
        self.remember_command(key, passed.name, passed.second);
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return;
        };
        let ends = passed.name.to_ascii_lowercase().ends_with(b"unsubscribe");
        match (class, handling) {
            (Class::Pubsub, _) if !ends => tunnel.listens = Listens::Channels,
            (Class::Stream, _) => tunnel.listens = Listens::Monitor,
            (_, Handling::Client(ClientHandling::Tracking)) => tunnel.listens = Listens::Keys,
            _ => {}
        }
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
        if client.out.capacity() == 0 {
            client.out = self.spare.pop().unwrap_or_default();
        }
        // Handed over up to `given`, looked at up to `at`.
        let (mut given, mut at) = (0, 0);
        let (mut reset, mut forgets) = (false, false);
        while at < data.len() && !reset && !tunnel.opaque {
            let start = at;
            let begins = link.scanner.at_start();
            match link.scanner.scan(&data[at..]) {
                Ok(scanned) => {
                    at += scanned.taken;
                    let whole = tunnel.resetting && begins && scanned.complete;
                    reset = whole && &data[start..at] == b"+RESET\r\n";
                    if reset && tunnel.target.as_ref().is_some_and(Target::is_aimed) {
                        // Others redirect to this connection, which RESET does not change.
                        (reset, forgets) = (false, true);
                        (tunnel.resetting, tunnel.multi, tunnel.unnamed) = (false, false, false);
                        (tunnel.listens, tunnel.reply, tunnel.redirect) = (Listens::No, ReplyMode::On, None);
                    }
                    if whole && data[start..at].starts_with(b"-NOPERM") {
                        // The user may not: the tunnel goes on, and the client with it.
                        tunnel.resetting = false;
                        client.stall = Stall::None;
                        if !client.again {
                            client.again = true;
                            self.again_clients.push(owner);
                        }
                    }
                    if begins {
                        tunnel.count.reply_begins(data[start]);
                    }
                    if begins && tunnel.mends.waits() {
                        if scanned.complete {
                            if let Reply::Instead(reply) = tunnel.mends.look(&data[start..at]) {
                                client.out.extend_from_slice(&data[given..start]);
                                client.out.extend_from_slice(&reply);
                                given = at;
                            }
                        } else if tunnel.mends.wants_whole(&data[start..]) {
                            link.scanner = ReplyScanner::default();
                            at = start;
                        } else if let Reply::Instead(head) = tunnel.mends.pass(&data[start..at]) {
                            client.out.extend_from_slice(&data[given..start]);
                            client.out.extend_from_slice(&head);
                            given = at;
                        }
                    }
                    if !scanned.complete {
                        break;
                    }
                    tunnel.count.reply_ends();
                }
                Err(_) => tunnel.opaque = true,
            }
        }
        if tunnel.opaque {
            at = data.len();
        }
        let settled = settled(tunnel);
        if settled > 0 {
            let acknowledged = &self.stats.node(link.node).acknowledged;
            acknowledged.settle(settled, self.now);
        }
        client.out.extend_from_slice(&data[given..at]);
        self.grown += at;
        self.soil_client(owner);
        if reset {
            self.end_lease(owner);
        }
        if reset || forgets {
            self.forget_session(owner);
            self.unstall(owner, Stall::None);
        }
        if reset { data.len() } else { at }
    }
}
