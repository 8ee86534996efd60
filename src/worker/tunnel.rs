//! An own connection for good: SUBSCRIBE and its kin, MONITOR, CLIENT TRACKING, and state changes inside a
//! transaction.
//!
//! Both directions are passed on as they are, so that order and content are the server's own. Replies are scanned to
//! see RESET's, and for those that are not to be the server's own (`mend`).

use super::acknowledged::settled;
use super::client::{Lane, Listens, Mode, Stall, Tunnel};
use super::mend::{Mends, Reply};
use super::requests::Outcome;
use super::session::ReplyMode;
use super::slots::{ClientKey, LinkKey};
use super::subscriptions::Came;
use super::targets::Target;
use super::turn::Worker;
use super::writes::Count;
use crate::resp::{ReplyScanner, write};

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
        if !multi {
            self.tell_own_names(key, link);
        }
        let subscriptions = self.subscriptions();
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
                judging: None,
                leaving: false,
                subscriptions,
                lost: None,
                ended: false,
                muddled: false,
                count: Count::starting(node, queued),
            }));
        }
        self.announce_target(key);
    }

    /// Tells the client's own connection its names.
    pub(super) fn tell_own_names(&mut self, key: ClientKey, link: LinkKey) {
        let client = self.clients.get(key);
        let names = client.and_then(|client| client.session.names.clone());
        for command in names.iter().flat_map(|names| names.commands()) {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            self.put_own(key, link, &[&words]);
        }
    }

    pub(super) fn pass(&mut self, link: LinkKey, bytes: &[u8]) {
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
        let (mut reset, mut forgets, mut last) = (false, false, false);
        while at < data.len() && !reset && !last && !tunnel.opaque {
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
                        tunnel.forget();
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
                    let resp3 = client.session.resp3;
                    let changed = tunnel.look(begins, scanned.complete, &data[start..at], resp3);
                    match &changed {
                        Some(Reply::AsItIs) => {}
                        Some(Reply::Instead(reply) | Reply::Last(reply)) => {
                            client.out.extend_from_slice(&data[given..start]);
                            client.out.extend_from_slice(reply);
                            given = at;
                        }
                        None => {
                            link.scanner = ReplyScanner::default();
                            at = start;
                        }
                    }
                    last = matches!(changed, Some(Reply::Last(_)));
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
        if let Some(login) = tunnel.mends.take_login() {
            client.session.login = Some(login);
            let wanted = client.session.wants(self.own_login.as_ref());
            client.session.profile = self.profiles.intern(&wanted);
        }
        let caught_up = client.stall == Stall::Lease && !tunnel.mends.is_full();
        let word = tunnel.mends.take_word();
        let judged = word.and_then(|word| Some((word, tunnel.judging.take()?)));
        self.grown += at;
        self.soil_client(owner);
        if let Some((word, roll)) = judged {
            self.judged(roll, &word);
        }
        if caught_up {
            self.unstall(owner, Stall::None);
        }
        if last {
            self.close_when_flushed(owner);
            return data.len();
        }
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

impl Tunnel {
    /// What becomes of what came of a reply, in the client's version of RESP; `None`: it must be seen whole. `begins`: it
    /// is the beginning of one, and with `complete` all of it.
    fn look(&mut self, begins: bool, complete: bool, came: &[u8], resp3: bool) -> Option<Reply> {
        if !begins {
            return Some(self.mends.go_on(complete));
        }
        if let Some(first) = came.first() {
            self.count.reply_begins(*first);
        }
        if let Some(subscriptions) = &mut self.subscriptions {
            match subscriptions.came(came, complete) {
                Came::ForClient => {}
                Came::ForUs => return Some(Reply::Instead(Vec::new())),
                Came::Last => {
                    self.lost = None;
                    return Some(Reply::Instead(subscriptions.notice(resp3)));
                }
                Came::Refused => return Some(Reply::Last(Vec::new())),
                Came::Unclear => return None,
            }
        }
        // A user may not be permitted it, and a subscribed client is not: then nothing has changed.
        if self.reply != ReplyMode::On && complete && is_reply_refused(came) {
            self.reply = ReplyMode::On;
        }
        if !self.mends.waits() {
            Some(Reply::AsItIs)
        } else if complete {
            Some(self.mends.look(came))
        } else if self.mends.wants_whole(came) {
            None
        } else {
            Some(self.mends.pass(came))
        }
    }
}

/// Whether an error says that CLIENT REPLY was not run.
fn is_reply_refused(reply: &[u8]) -> bool {
    let refused = reply.starts_with(b"-NOPERM") || reply.starts_with(b"-ERR Can't execute");
    refused && memchr::memmem::find(reply, b"'client|reply'").is_some()
}
