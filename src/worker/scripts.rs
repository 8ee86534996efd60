//! Scripts are known to every node: what a node may lack is told it in front of the command that needs it.
//!
//! Each node has its own cache of scripts, which no replication fills. The bodies are learned from SCRIPT LOAD
//! and EVAL as they go by. EVAL itself does not count as loaded: since Redis 7.4 such a script may be driven out.

use std::collections::HashSet;

use super::client::{Mode, Stall};
use super::edit::Edit;
use super::link::{Kind, Link, Sent};
use super::requests::{Needed, Outcome, Segment, Verdict};
use super::script_store::{Sha, sha_of, writes_nothing};
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::{Class, Handling};
use crate::resp::{Arguments, Request, write};
use crate::topology::NodeId;

/// A node that is so many bytes behind is told nothing beyond what clients ask of it.
const OWN_BACKLOG: usize = 4 * 1024 * 1024;

/// What a server says that lacks a script, on its own and not from within one: Redis, Valkey.
const NO_SCRIPT: [&[u8]; 2] = [
    b"-NOSCRIPT No matching script. Please use EVAL.\r\n",
    b"-NOSCRIPT No matching script.\r\n",
];

impl Worker {
    /// A request about scripts, on shared links.
    pub(super) fn script(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        let mut segment = Segment::default();
        let mut class = verdict.class;
        match verdict.handling {
            Handling::Eval if request.argc > 1 => {
                let body = &bytes[request.second.clone()];
                if self.has_login(key) && !self.scripts.is_told(body) {
                    // Of a user with rules of its own it is not known yet whether it may run this at all: the reply
                    // says so.
                    segment.edit = Edit::Lesson;
                } else {
                    self.scripts.learn(body);
                }
                if verdict.class == Class::Script && writes_nothing(body) {
                    class = Class::Read;
                }
            }
            Handling::EvalSha if request.argc > 1 => {
                let sha = sha_of(&bytes[request.second.clone()]);
                let known = sha.and_then(|sha| Some((sha, self.scripts.reads(&sha)?)));
                let Some((sha, reads)) = known else {
                    return Outcome::Plain;
                };
                if verdict.class == Class::Script && reads {
                    class = Class::Read;
                }
                segment.scripts = Needed::One(sha);
                segment.edit = Edit::Script;
            }
            Handling::ScriptLoad if request.argc == 3 => return self.load_everywhere(key, class, bytes),
            Handling::ScriptKnown => {
                let shas: HashSet<Sha> = Arguments::of(bytes).skip(2).filter_map(sha_of).collect();
                let known = shas.into_iter().filter(|sha| self.scripts.reads(sha).is_some());
                segment.scripts = Needed::Many(known.collect());
            }
            Handling::ScriptFlush if is_flush(request.argc, bytes) => {
                return self.flush_scripts(key, verdict, bytes);
            }
            Handling::Kill if request.argc == 2 => return self.kill_everywhere(key, verdict, bytes),
            _ => return Outcome::Plain,
        }
        segment.add(class, bytes.len());
        if !self.dispatch(key, &segment, bytes) {
            return Outcome::Stalled;
        }
        if segment.edit == Edit::Lesson && class == Class::Read {
            // What follows may need the script on another node. Behind one that runs on the master all goes there too.
            self.stall(key, Stall::Owed);
        }
        Outcome::Done
    }

    /// Whether the client logged in as a user.
    pub(super) fn has_login(&self, key: ClientKey) -> bool {
        self.clients
            .get(key)
            .is_none_or(|client| client.session.login.is_some())
    }

    /// The first reply on a link says that its EVAL was allowed.
    pub(super) fn learn_first(&mut self, key: LinkKey) {
        let Some((_, log)) = self.links.get(key).and_then(Link::first) else {
            return;
        };
        if let Some(body) = Arguments::of(log).nth(1) {
            self.scripts.learn(body);
        }
    }

    /// SCRIPT LOAD: the master answers, and the others are told as well.
    fn load_everywhere(&mut self, key: ClientKey, class: Class, bytes: &[u8]) -> Outcome {
        let Some(body) = Arguments::of(bytes).nth(2) else {
            return Outcome::Plain;
        };
        let mut segment = Segment::default();
        segment.add(class, bytes.len());
        if !self.dispatch(key, &segment, bytes) {
            return Outcome::Stalled;
        }
        let sha = self.scripts.store.learn(body);
        if self.scripts.reads(&sha).is_some() {
            for link in self.other_links(key) {
                self.load_in_front(key, link, &[sha]);
            }
        }
        Outcome::Done
    }

    /// Sends a client's request to all nodes but the master, as one of the ambassador's own.
    pub(super) fn tell_others(&mut self, key: ClientKey, request: &[u8]) {
        for link in self.other_links(key) {
            self.put_script(key, link, Kind::Own, request);
        }
    }

    /// Shared links of the client's kind to all usable nodes but the master.
    fn other_links(&mut self, key: ClientKey) -> Vec<LinkKey> {
        let Some(profile) = self.clients.get(key).map(|client| client.session.profile) else {
            return Vec::new();
        };
        let master = self.route.master;
        let others = self
            .topology
            .nodes
            .iter()
            .filter(|node| node.usable && Some(node.id) != master);
        let others: Vec<NodeId> = others.map(|node| node.id).collect();
        let mut links = Vec::new();
        for node in others {
            let refused = self.refused.get(&(node, profile));
            if refused.is_none_or(|until| self.now >= *until)
                && let Some(link) = self.shared_link(node, profile)
                && self.links.get(link).is_some_and(|link| link.held() < OWN_BACKLOG)
            {
                links.push(link);
            }
        }
        links
    }

    /// Puts those scripts on a link that its node is not known to have.
    pub(super) fn load_in_front(&mut self, key: ClientKey, link: LinkKey, shas: &[Sha]) {
        for sha in shas {
            let Some(found) = self.links.get(link) else {
                return;
            };
            let needless =
                found.loads_refused || self.scripts.is_on(sha, found.node) || found.loading.contains(sha);
            if !needless {
                self.load(key, link, sha);
            }
        }
    }

    /// Puts a script on a link. False: its body is not known.
    pub(super) fn load(&mut self, key: ClientKey, link: LinkKey, sha: &Sha) -> bool {
        let Some(body) = self.scripts.store.find(sha) else {
            return false;
        };
        let mut request = Vec::with_capacity(body.len() + 64);
        write::request(&mut request, [&b"SCRIPT"[..], b"LOAD", &body]);
        self.put_script(key, link, Kind::Load, &request);
        if let Some(found) = self.links.get_mut(link) {
            found.loading.push_back(*sha);
        }
        true
    }

    fn put_script(&mut self, key: ClientKey, link: LinkKey, kind: Kind, request: &[u8]) {
        let sent = Sent {
            client: key,
            batch: 0,
            left: 1,
            done: 0,
            bytes: request.len(),
            kind,
            edit: Edit::Whole,
            at: self.now,
        };
        self.put(link, request, sent);
    }

    /// The oldest script on a link was taken, or refused with an error.
    pub(super) fn loaded(&mut self, key: LinkKey, client: ClientKey, reply: &[u8]) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        // Its user may not: the commands' own answers decide, on this link, from here on.
        link.loads_refused |= reply.starts_with(b"-NOPERM");
        let (node, sha) = (link.node, link.loading.pop_front());
        if let Some(sha) = sha.filter(|_| !reply.starts_with(b"-")) {
            self.scripts.took(&sha, node);
        }
        self.go_on_after_load(client, key, sha);
    }

    /// The client goes on whose transaction waited for a script on that link.
    pub(super) fn go_on_after_load(&mut self, key: ClientKey, link: LinkKey, sha: Option<Sha>) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Stall::Script(awaited, on) = client.stall else {
            return;
        };
        if on != link || sha.is_some_and(|sha| sha != awaited) {
            return;
        }
        if let Mode::Leased(lease) = &mut client.mode {
            lease.scripts.push(awaited);
        }
        self.unstall(key, Stall::None);
    }

    /// A request about scripts of a client with an own connection under way. `None`: it is simply sent there.
    pub(super) fn script_on_lease(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Option<Outcome> {
        // What is queued may be discarded, and what a user with rules of its own asks for may be refused.
        let multi = matches!(&self.clients.get(key)?.mode, Mode::Leased(lease) if lease.multi);
        let learns = !multi && !self.has_login(key);
        match verdict.handling {
            Handling::Eval if learns && request.argc > 1 => {
                self.scripts.learn(&bytes[request.second.clone()]);
            }
            Handling::ScriptLoad if learns && request.argc == 3 => {
                if let Some(body) = Arguments::of(bytes).nth(2) {
                    self.scripts.learn(body);
                }
            }
            Handling::ScriptFlush if !multi && is_flush(request.argc, bytes) => self.scripts.store.flush(),
            Handling::EvalSha if request.argc > 1 => {
                let sha = sha_of(&bytes[request.second.clone()])?;
                self.scripts.reads(&sha)?;
                let client = self.clients.get_mut(key)?;
                let Mode::Leased(lease) = &mut client.mode else {
                    return None;
                };
                if lease.scripts.contains(&sha) {
                    return None;
                }
                let (own, multi, profile) = (lease.link, lease.multi, client.session.profile);
                if multi {
                    // On the own connection it would become a part of the transaction.
                    let master = self.links.get(own)?.node;
                    let link = self.shared_link(master, profile)?;
                    if !self.load(key, link, &sha) {
                        return None;
                    }
                    return Some(self.stall(key, Stall::Script(sha, link)));
                }
                lease.scripts.push(sha);
                self.load(key, own, &sha);
            }
            _ => {}
        }
        None
    }

    /// The script whose absence a node's error speaks of, when it is known and the request may be sent again: no
    /// script ran then, so nothing was written.
    pub(super) fn missing_script(&mut self, key: LinkKey, error: &[u8]) -> Option<Sha> {
        if !NO_SCRIPT.contains(&error) {
            return None;
        }
        let (first, log) = self.links.get(key)?.first()?;
        let again = matches!(
            first.kind,
            Kind::Script { retries: 1.. } | Kind::Reads { retries: 1.. }
        );
        // A script's request travels alone.
        if !again || first.left != 1 || first.done != 0 || first.edit != Edit::Script {
            return None;
        }
        let sha = sha_of(Arguments::of(log).nth(1)?)?;
        let body = self.scripts.store.find(&sha)?;
        // A script can say this itself, and may have written before.
        let says_it = memchr::memmem::find(&body, b"NOSCRIPT").is_some();
        (!says_it).then_some(sha)
    }

    /// The first reply on a link says that the node lacks a known script: the script and the request go again.
    pub(super) fn ask_again_with_script(&mut self, key: LinkKey, sha: &Sha) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let node = link.node;
        let Some((first, log)) = link.first() else {
            return;
        };
        let kind = match first.kind {
            Kind::Reads { retries } => Kind::Reads {
                retries: retries.saturating_sub(1),
            },
            Kind::Script { retries } => Kind::Script {
                retries: retries.saturating_sub(1),
            },
            kind => kind,
        };
        let request = log[..first.bytes].to_vec();
        let sent = Sent {
            client: first.client,
            batch: first.batch,
            left: 1,
            done: 0,
            bytes: request.len(),
            kind,
            edit: Edit::Script,
            at: first.at,
        };
        link.cut_first(request.len(), None);
        let load = &mut self.load[node.index()];
        *load = load.saturating_sub(1);
        // Whoever flushed this one flushed them all.
        self.scripts.forget_node(node);
        self.scripts.reads(sha);
        self.load_in_front(sent.client, key, &[*sha]);
        self.put(key, &request, sent);
    }
}

/// Whether the arguments of a SCRIPT FLUSH are right (`scriptCommand` in Redis's script.c).
pub(super) fn is_flush(argc: usize, bytes: &[u8]) -> bool {
    let mode = Arguments::of(bytes).nth(2);
    argc == 2
        || argc == 3
            && mode
                .is_some_and(|mode| mode.eq_ignore_ascii_case(b"async") || mode.eq_ignore_ascii_case(b"sync"))
}
