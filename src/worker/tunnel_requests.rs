//! What a client in a tunnel sends: it is passed on as it is, but for what must not reach the server, or reads
//! otherwise there.

use super::client::{Listens, Mode, Stall, Upload};
use super::redirect::Identity;
use super::requests::{CUT_THROUGH, GATHER};
use super::session::ReplyMode;
use super::slots::{ClientKey, LinkKey};
use super::subscriptions::Subscriptions;
use super::texts;
use super::turn::Worker;
use crate::commands::{Class, ClientHandling, Command, Handling};
use crate::resp::{ProtocolError, Request, Step, split_inline, write};

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
pub(super) enum Next {
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
            if tunnel.ended {
                return data.len();
            }
            let link = tunnel.link;
            let full = tunnel.mends.is_full();
            if full
                || self
                    .links
                    .get(link)
                    .is_none_or(|link| link.unsent().len() > BACKLOG)
            {
                self.stall(key, Stall::Lease);
                return at;
            }
            if let Some(upload) = &mut tunnel.upload {
                let dropped = upload.dropped;
                match upload.passage.advance(&data[at..], bounds) {
                    Ok((taken, complete)) => {
                        if complete {
                            tunnel.upload = None;
                        }
                        if !dropped {
                            self.pass(link, &data[at..at + taken]);
                        }
                        at += taken;
                        if !complete {
                            return at;
                        }
                        continue;
                    }
                    Err((taken, error)) => {
                        if !dropped {
                            self.pass(link, &data[at..at + taken]);
                        }
                        self.end_requests(key, link, error, !dropped);
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
                Ok(Step::Incomplete) => match self.begin_passage(key, link, &data[at..]) {
                    0 => return at,
                    taken => at += taken,
                },
                Err(error) => {
                    self.end_requests(key, link, error, false);
                    return data.len();
                }
            }
        }
        at
    }

    /// Begins to pass on a request that is too large to gather; one that must not be passed on is dropped as it
    /// comes. Returns how many bytes are dealt with.
    fn begin_passage(&mut self, key: ClientKey, link: LinkKey, bytes: &[u8]) -> usize {
        let Some(client) = self.clients.get(key) else {
            return bytes.len();
        };
        let position = client.scanner.position();
        if position == 0 || bytes.len() < CUT_THROUGH {
            return 0;
        }
        let request = client.scanner.partial().cloned().unwrap_or_default();
        let passed = Passed::of(&request, bytes);
        let command = self.topology.table.lookup(passed.name, passed.second);
        let handling = command.map_or(Handling::Forward, |command| command.handling);
        let refusal = match handling.stays_here() {
            true if bytes.len() <= GATHER => return 0,
            true => Some(texts::TOO_LARGE.to_owned()),
            false => command.and_then(|command| self.refusal(key, command)),
        };
        let dropped = refusal.is_some();
        let noted = self.note_request(key, handling, None);
        if let Some(subscriptions) = self.subscriptions_of(key) {
            subscriptions.is_more();
        }
        if let Some(text) = refusal {
            self.say_in_tunnel(key, link, &text, noted.is_silent());
        } else {
            // It may be anything.
            self.count_passed(key, Class::Master, Handling::Forward, None);
            self.pass(link, &bytes[..position]);
        }
        let Some(client) = self.clients.get_mut(key) else {
            return bytes.len();
        };
        let passage = client.scanner.passage();
        client.scanner.reset();
        if let Mode::Tunnel(tunnel) = &mut client.mode {
            tunnel.upload = Some(Upload { passage, dropped });
        }
        position
    }

    /// What came is no request, and nothing more is taken from the client. It is the server that says so, behind the
    /// replies to what it was sent before, and closes the connection. `within`: a part of a request was passed on.
    fn end_requests(&mut self, key: ClientKey, link: LinkKey, error: ProtocolError, within: bool) {
        if within && error == ProtocolError::ExpectedLineEnd {
            // A server does not look at what is behind an argument: it would run what it has.
            return self.refuse_protocol(key, error);
        }
        let mut request = Vec::new();
        error.provoke(within, &mut request);
        self.pass(link, &request);
        self.count_protocol_error();
        if let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) {
            tunnel.ended = true;
        }
    }

    /// Passes an inline command on, as the request that it means.
    fn tunnel_inline(&mut self, key: ClientKey, link: LinkKey, line: &[u8]) -> Next {
        let Ok(words) = split_inline(line) else {
            self.end_requests(key, link, ProtocolError::UnbalancedQuotes, false);
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

    /// What the client is told of a command that is refused here.
    fn refusal(&self, key: ClientKey, command: &Command) -> Option<String> {
        if command.class == Class::Refused {
            return Some(texts::refused(&command.name, command.instead.as_deref()));
        }
        let Some(Mode::Tunnel(tunnel)) = self.clients.get(key).map(|client| &client.mode) else {
            return None;
        };
        (tunnel.multi && command.handling.stays_here()).then(|| texts::not_queued(&command.name))
    }

    /// Passes one request on.
    fn tunnel_request(&mut self, key: ClientKey, link: LinkKey, passed: &Passed, bytes: &[u8]) -> Next {
        let command = self.topology.table.lookup(passed.name, passed.second);
        let class = command.map_or(Class::Master, |command| command.class);
        let handling = command.map_or(Handling::Forward, |command| command.handling);
        let refusal = command.and_then(|command| self.refusal(key, command));
        if self.script_in_tunnel(key, link, handling, bytes) || self.waits_for_set_up(key, handling) {
            return Next::Again;
        }
        let noted = self.note_request(key, handling, Some(bytes));
        let refused = refusal.is_some();
        if let Some(subscriptions) = self.subscriptions_of(key).filter(|_| refused) {
            subscriptions.is_more();
        }
        if let Some(text) = refusal {
            self.stats.local[class.index()].add(1);
            self.say_in_tunnel(key, link, &text, noted.is_silent());
            return Next::On;
        }
        if let Some(next) = self.roll_in_tunnel(key, link, handling, noted.is_silent(), bytes) {
            self.stats.local[class.index()].add(1);
            self.remember_in_tunnel(key, class, handling, passed);
            return next;
        }
        let instead = match self.identify(key, handling, noted, passed.second, bytes) {
            Identity::AsItIs => None,
            Identity::Instead(request) => Some(request),
            Identity::Wait => return Next::Again,
        };
        if let Some(node) = self.links.get(link).map(|link| link.node) {
            self.stats.node(node).commands[class.index()].add(1);
        }
        self.count_passed(key, class, handling, instead.as_deref());
        self.pass(link, instead.as_deref().unwrap_or(bytes));
        self.remember_in_tunnel(key, class, handling, passed);
        let plain = handling == Handling::Forward && !matches!(class, Class::Transaction | Class::Stream);
        if let Some(subscriptions) = self.subscriptions_of(key) {
            subscriptions.sent(passed.name, passed.argc, plain);
        }
        if handling == Handling::Client(ClientHandling::SetInfo) {
            self.remember_library(key, bytes);
        }
        // With arguments RESET is an error, and the tunnel goes on.
        if handling == Handling::Reset && passed.argc == 1 {
            return self.await_reset(key, noted.mode == ReplyMode::Skip);
        }
        Next::On
    }

    /// A RESET was passed on: its reply ends the tunnel.
    fn await_reset(&mut self, key: ClientKey, skipped: bool) -> Next {
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return Next::On;
        };
        if tunnel.muddled || skipped {
            // Its reply will not come, or not be seen as one: the tunnel goes on.
            tunnel.forget();
            self.forget_session(key);
            return Next::On;
        }
        tunnel.resetting = true;
        self.stall(key, Stall::Owed);
        Next::Later
    }

    fn subscriptions_of(&mut self, key: ClientKey) -> Option<&mut Subscriptions> {
        match &mut self.clients.get_mut(key)?.mode {
            Mode::Tunnel(tunnel) => tunnel.subscriptions.as_deref_mut(),
            _ => None,
        }
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
            (Class::Stream, _) => {
                tunnel.listens = Listens::Monitor;
                tunnel.mends.shows();
            }
            (_, Handling::Client(ClientHandling::Tracking)) => tunnel.listens = Listens::Keys,
            _ => {}
        }
    }
}
