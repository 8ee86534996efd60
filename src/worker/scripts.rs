//! Scripts are known to every node: what a node may lack is told it in front of the command that needs it.
//!
//! Each node has its own cache of scripts, which no replication fills. The bodies are learned from SCRIPT LOAD
//! and EVAL (`learn`). EVAL itself does not count as loaded: since Redis 7.4 such a script may be driven out.

use std::collections::HashSet;

use super::client::{Mode, Stall};
use super::edit::Edit;
use super::requests::{Needed, Outcome, Segment, Verdict};
use super::script_store::{Sha, sha_of, writes_nothing};
use super::sent::{Kind, Race, Sent};
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::{Class, Handling};
use crate::resp::{Arguments, Request, write};
use crate::topology::NodeId;

/// A node that is so many bytes behind is told nothing beyond what clients ask of it.
const OWN_BACKLOG: usize = 4 * 1024 * 1024;

/// What a server says of a body that does not compile (`luaCreateFunction` in Redis's eval.c).
const NOT_LUA: &[u8] = b"-ERR Error compiling script";

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
                segment.edit = self.teaches(body, false);
                if verdict.class == Class::Script && writes_nothing(body) {
                    class = Class::Read;
                }
                if segment.edit == Edit::None {
                    segment.edit = Edit::Script;
                }
            }
            Handling::FunctionRead => segment.edit = Edit::Script,
            Handling::EvalSha if request.argc > 1 => {
                let sha = sha_of(&bytes[request.second.clone()]);
                let known = sha.and_then(|sha| Some((sha, self.scripts.reads(&sha)?)));
                let Some((sha, reads)) = known else {
                    // What is under way may bring it.
                    return if self.learns(key) {
                        self.stall(key, Stall::Owed)
                    } else {
                        Outcome::Plain
                    };
                };
                if verdict.class == Class::Script && reads {
                    class = Class::Read;
                }
                segment.scripts = Needed::One(sha);
                segment.edit = Edit::Script;
            }
            Handling::ScriptLoad if request.argc == 3 => return self.load_everywhere(key, class, bytes),
            Handling::ScriptKnown if self.learns(key) => return self.stall(key, Stall::Owed),
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
        if self.dispatch(key, &segment, bytes) {
            Outcome::Done
        } else {
            Outcome::Stalled
        }
    }

    /// Whether a script of the client's is under way that is learned when its reply comes.
    fn learns(&self, key: ClientKey) -> bool {
        self.clients.get(key).is_some_and(|client| client.learns)
    }

    /// SCRIPT LOAD: the master answers, and the others are told as well.
    fn load_everywhere(&mut self, key: ClientKey, class: Class, bytes: &[u8]) -> Outcome {
        let Some(body) = Arguments::of(bytes).nth(2) else {
            return Outcome::Plain;
        };
        let mut segment = Segment::default();
        segment.add(class, bytes.len());
        segment.edit = self.teaches(body, true);
        if !self.dispatch(key, &segment, bytes) {
            return Outcome::Stalled;
        }
        if segment.edit == Edit::None {
            // It is known already.
            self.load_on_others(key, body);
        }
        Outcome::Done
    }

    /// Tells a known script to all nodes but the master.
    pub(super) fn load_on_others(&mut self, key: ClientKey, body: &[u8]) {
        let sha = self.scripts.store.learn(body);
        if self.scripts.reads(&sha).is_some() {
            for link in self.other_links(key) {
                self.load_in_front(key, link, &[sha]);
            }
        }
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
        let sent = Sent::own(key, request, kind, Edit::Whole, self.now);
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
        if let Some(sha) = sha.filter(|_| reply.starts_with(NOT_LUA)) {
            self.scripts.store.forget(&sha);
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
        // What is queued may be discarded.
        let multi = matches!(&self.clients.get(key)?.mode, Mode::Leased(lease) if lease.multi);
        match verdict.handling {
            Handling::Eval | Handling::ScriptLoad => {
                let link = self.clients.get(key)?.lease()?;
                let body = Self::body(verdict, request, bytes)?;
                return self.learn_on_lease(key, link, verdict, body, bytes);
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
        let request = &log[..first.bytes];
        let sha = sha_of(Arguments::of(request).nth(1)?)?;
        let body = self.scripts.store.find(&sha)?;
        // A script can say this itself, and may have written before.
        let says_it = |text: &[u8]| memchr::memmem::find(text, b"NOSCRIPT").is_some();
        (!says_it(&body) && !says_it(request)).then_some(sha)
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
            race: Race::None,
            at: first.at,
            writes: first.writes,
        };
        link.cut_first(request.len(), None, sent.writes);
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
