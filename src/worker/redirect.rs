//! A client's identity inside a tunnel: its CLIENT ID is its own, although the connection to the master has another,
//! and CLIENT TRACKING ... REDIRECT finds the client that it names.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use rand::RngExt;

use super::client::{Aborted, Mode, Stall, Tunnel};
use super::client_filter;
use super::clients::NEXT_ID;
use super::link::Phase;
use super::mend::Mend;
use super::noted::Noted;
use super::profile::Login;
use super::session::ReplyMode;
use super::slots::{ClientKey, LinkKey};
use super::special::{Hello, login_of};
use super::targets::{self, PATIENCE, Target};
use super::turn::Worker;
use crate::commands::{ClientHandling, Handling};
use crate::resp::{Arguments, write};

/// An id that no connection of any master has.
const NOBODY: u64 = i64::MAX as u64;

/// What is passed on in place of a request that speaks of ids.
pub(super) enum Identity {
    AsItIs,
    Instead(Vec<u8>),
    /// It is not known yet; the client is stalled.
    Wait,
}

impl Worker {
    /// Whether a login has to wait until the client's own connection is set up: from 7.2 on Redis leaves out the reply
    /// to a refused one behind others that it has not sent yet.
    pub(super) fn waits_for_set_up(&mut self, key: ClientKey, handling: Handling) -> bool {
        let waits = matches!(handling, Handling::Auth | Handling::Hello) && self.is_being_set_up(key);
        if waits {
            self.seek(key);
        }
        waits
    }

    /// Decides about one request in a tunnel.
    pub(super) fn identify(
        &mut self,
        key: ClientKey,
        handling: Handling,
        noted: Noted,
        second: Option<&[u8]>,
        bytes: &[u8],
    ) -> Identity {
        let other_user = self.is_other_user(key);
        let Some(client) = self.clients.get_mut(key) else {
            return Identity::AsItIs;
        };
        let id = client.session.id;
        // Otherwise MULTI is not refused.
        let uncertain = other_user || !client.session.resp3;
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return Identity::AsItIs;
        };
        let link = tunnel.link;
        let silent = noted.is_silent() || noted.cached;
        if noted.begins && uncertain && !silent {
            let mark = tunnel.mends.mark(rand::rng().random(), Mend::Multi(tunnel.begun));
            return mark.map_or(Identity::AsItIs, |mark| {
                Identity::Instead([&mark, bytes].concat())
            });
        }
        // What it is told here is newer.
        tunnel.unnamed &= handling != Handling::Client(ClientHandling::SetName);
        if tunnel.unnamed && !tunnel.multi && !tunnel.muddled {
            return self.tell_names(key, bytes);
        }
        let multi = tunnel.multi;
        if handling == Handling::Cursor {
            return self.iterate_in_tunnel(key, link, !multi && !silent, second, bytes);
        }
        let Some(client) = self.clients.get_mut(key) else {
            return Identity::AsItIs;
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return Identity::AsItIs;
        };
        if tunnel.multi {
            return match handling {
                // It will be told when the transaction is over; until then it does not know better.
                Handling::Client(ClientHandling::GetName) if tunnel.unnamed => match client.session.name() {
                    [] => Identity::AsItIs,
                    name => {
                        let mut request = Vec::new();
                        write::request(&mut request, [&b"ECHO"[..], name]);
                        Identity::Instead(request)
                    }
                },
                // The same.
                Handling::Hello => {
                    tunnel.unnamed = false;
                    Identity::AsItIs
                }
                _ => Identity::AsItIs,
            };
        }
        let mend = match (handling, second.map(<[u8]>::to_ascii_lowercase).as_deref()) {
            // The same with a login in it behind a mark, so that the mark goes behind it.
            (Handling::Auth, _) => return behind(tunnel, login_of(bytes), silent, bytes),
            (Handling::Hello, _) if Arguments::of(bytes).nth(4).is_some() => {
                let login = Hello::parse(bytes).ok().and_then(|hello| hello.login);
                return behind(tunnel, login, silent, bytes);
            }
            (Handling::Hello, _) => Mend::Number {
                after: b"$2\r\nid\r\n",
                from: None,
                to: id,
            },
            (Handling::Client(ClientHandling::Tracking), _) => return self.redirect(key, bytes),
            (Handling::Client(ClientHandling::Id), _) if Arguments::of(bytes).count() == 2 => Mend::Id(id),
            (Handling::Client(ClientHandling::TrackingState), Some(name)) => {
                let Some((to, from)) = tunnel.redirect else {
                    return Identity::AsItIs;
                };
                let after: &[u8] = if name == b"getredir" {
                    b""
                } else {
                    b"$8\r\nredirect\r\n"
                };
                Mend::Number {
                    after,
                    from: Some(from),
                    to,
                }
            }
            _ => return Identity::AsItIs,
        };
        if silent {
            // No reply comes, and a mark would take the silence of CLIENT REPLY SKIP upon itself.
            return Identity::AsItIs;
        }
        let nonce = rand::rng().random();
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return Identity::AsItIs;
        };
        match tunnel.mends.mark(nonce, mend) {
            None => Identity::AsItIs,
            Some(mark) => Identity::Instead([&mark, bytes].concat()),
        }
    }

    /// One step of an iteration; with `marked` the cursor that comes back names the node.
    fn iterate_in_tunnel(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        marked: bool,
        second: Option<&[u8]>,
        bytes: &[u8],
    ) -> Identity {
        let name = Arguments::of(bytes).next().unwrap_or_default();
        let index = self
            .topology
            .table
            .lookup(name, second)
            .map(|command| command.cursor);
        let node = self.links.get(link).map(|link| link.node);
        let (Some(index), Some(node)) = (index, node) else {
            return Identity::AsItIs;
        };
        let tag = self.tag_of(node);
        let request = self.own_step(bytes, index, tag);
        let mark = if marked { self.mark_cursor(key, tag) } else { None };
        Identity::Instead([mark.unwrap_or_default(), request.into_owned()].concat())
    }

    fn mark_cursor(&mut self, key: ClientKey, tag: u16) -> Option<Vec<u8>> {
        let Mode::Tunnel(tunnel) = &mut self.clients.get_mut(key)?.mode else {
            return None;
        };
        tunnel.mends.mark(rand::rng().random(), Mend::Cursor(tag))
    }

    /// The end of a transaction in which a tunnel began: now the connection can be told the client's names.
    fn tell_names(&mut self, key: ClientKey, end: &[u8]) -> Identity {
        let Some(client) = self.clients.get_mut(key) else {
            return Identity::AsItIs;
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return Identity::AsItIs;
        };
        tunnel.unnamed = false;
        let mut requests = end.to_vec();
        let names = client.session.names.iter();
        for command in names.flat_map(|names| names.commands()) {
            if tunnel.reply != ReplyMode::Off {
                let Some(mark) = tunnel.mends.mark(rand::rng().random(), Mend::Drop) else {
                    break;
                };
                requests.extend_from_slice(&mark);
            }
            write::request(&mut requests, command.iter().map(Vec::as_slice));
        }
        Identity::Instead(requests)
    }

    /// Whether the client's own connection is not set up yet: its id is still to come, or the reply to a name.
    fn is_being_set_up(&self, key: ClientKey) -> bool {
        let link = self.clients.get(key).and_then(super::client::Client::lease);
        link.and_then(|link| self.links.get(link))
            .is_some_and(|link| link.phase != Phase::Up || !link.pipeline.is_empty())
    }

    /// CLIENT TRACKING: puts the target's id on the master where the client wrote the target's own.
    fn redirect(&mut self, key: ClientKey, bytes: &[u8]) -> Identity {
        let mut words: Vec<&[u8]> = Arguments::of(bytes).collect();
        let mut found = Vec::new();
        let mut at = 3;
        while at + 1 < words.len() {
            if words[at].eq_ignore_ascii_case(b"redirect") {
                if let Some(id) = client_filter::number(words[at + 1]) {
                    match self.target(key, id) {
                        Some(upstream) => found.push((at + 1, id, upstream)),
                        None => return self.seek(key),
                    }
                }
                at += 1;
            } else if words[at].eq_ignore_ascii_case(b"prefix") {
                at += 1;
            }
            at += 1;
        }
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return Identity::AsItIs;
        };
        tunnel.seeking = None;
        if found.is_empty() {
            return Identity::AsItIs;
        }
        let mut numbers = Vec::new();
        for (_, id, upstream) in &found {
            if *upstream != NOBODY {
                targets::aim(*id);
                tunnel.redirect = Some((*id, *upstream));
            }
            numbers.push(upstream.to_string());
        }
        for ((place, _, _), number) in found.iter().zip(&numbers) {
            words[*place] = number.as_bytes();
        }
        let mut request = Vec::new();
        write::request(&mut request, words);
        Identity::Instead(request)
    }

    /// The id on the master of a client's own connection; `None`: not known yet.
    fn target(&mut self, key: ClientKey, id: u64) -> Option<u64> {
        if let Some(upstream) = targets::find(id) {
            return Some(upstream);
        }
        if id == 0 || id >= NEXT_ID.load(Ordering::Relaxed) {
            return Some(NOBODY);
        }
        let now = self.now;
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return Some(NOBODY);
        };
        match tunnel.seeking {
            Some(until) if now >= until => Some(NOBODY),
            Some(_) => None,
            None => {
                tunnel.seeking = Some(now + PATIENCE);
                targets::want(id, now);
                None
            }
        }
    }

    fn seek(&mut self, key: ClientKey) -> Identity {
        self.seekers.push(key);
        self.hurried = true;
        self.stall(key, Stall::Owed);
        Identity::Wait
    }

    /// Gives clients that others redirect to a connection of their own, and lets those look again that wait for
    /// one.
    pub(super) fn serve_wanted(&mut self) {
        let wanted = targets::wanted(self.now);
        if !wanted.is_empty() {
            for key in self.clients.keys() {
                let fits = self.clients.get(key).is_some_and(|client| {
                    let free = match &client.mode {
                        Mode::Shared => true,
                        // In a transaction too: its id on the master is known.
                        Mode::Leased(lease) => lease.upload.is_none() && !lease.adrift,
                        Mode::Tunnel(_) => false,
                    };
                    free && wanted.contains(&client.session.id)
                        && client.owed.is_empty()
                        && client.aborted == Aborted::No
                        && client.stall == Stall::None
                        && !client.closing
                });
                if fits {
                    self.lend_tunnel(key);
                }
            }
        }
        self.wake_seekers();
    }

    /// Clients in tunnels that waited for something may look at it again.
    pub(super) fn wake_seekers(&mut self) {
        for key in std::mem::take(&mut self.seekers) {
            self.unstall(key, Stall::None);
        }
    }

    /// A client's tunnel has begun, or its connection is up: where its id on the master is known, others may
    /// redirect to it.
    pub(super) fn announce_target(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return;
        };
        let upstream = self.links.get(tunnel.link).and_then(|link| link.upstream_id);
        tunnel.target = upstream.map(|upstream| Target::new(client.session.id, upstream));
        self.wake_seekers();
    }
}

/// A login with a mark behind it.
fn behind(tunnel: &mut Tunnel, login: Option<Rc<Login>>, silent: bool, bytes: &[u8]) -> Identity {
    let login = login.filter(|_| !silent);
    let mark = login.and_then(|login| tunnel.mends.mark_behind(rand::rng().random(), login));
    mark.map_or(Identity::AsItIs, |mark| {
        Identity::Instead([bytes, &mark].concat())
    })
}
