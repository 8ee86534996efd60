//! Commands that are meant for whichever node it concerns: asked on own connections, the answers merged.
//!
//! The client waits meanwhile, like for any other answer, but never longer than a connect may take.

use super::client::Stall;
use super::edit::Edit;
use super::gather::Gather;
use super::profile::Profile;
use super::requests::{Outcome, Verdict};
use super::sent::{Kind, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use crate::resp::write;
use crate::stats::Fault;

impl Worker {
    /// SCRIPT KILL, FUNCTION KILL: a shared link may be stuck behind the very script that is to be killed, and
    /// a node that runs one for long answers nothing else, so that it does not count as usable: every node is
    /// asked, each on a connection of its own.
    pub(super) fn kill_everywhere(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> Outcome {
        if let Some(outcome) = self.gathered_before(key) {
            return outcome;
        }
        let Some(client) = self.clients.get(key) else {
            return Outcome::Done;
        };
        // A busy node takes AUTH and HELLO, but no SELECT.
        let wanted = client.session.wants(self.own_login.as_ref());
        let profile = self.profiles.intern(&Profile { db: 0, ..wanted });
        let nodes: Vec<_> = self.topology.nodes.iter().map(|node| node.id).collect();
        let number = self.next_question();
        let mut asked = 0;
        for node in nodes {
            let Some(link) = self.errand_link(node, profile) else {
                continue;
            };
            self.stats.node(node).commands[verdict.class.index()].add(1);
            self.put_gathered(key, link, number, bytes);
            asked += 1;
        }
        if asked == 0 {
            self.answer_error(key, texts::NO_MASTER);
            return self.counted(verdict);
        }
        let until = self.now + self.settings.upstream.connect_timeout;
        self.gathers.push(Gather::new(key, number, asked, Some(until)));
        self.hurried = true;
        self.stall(key, Stall::Answers)
    }

    /// SCRIPT FLUSH: once the master has said that it did, its scripts are forgotten here and on every other node.
    pub(super) fn flush_scripts(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> Outcome {
        let stalled = self.clients.get(key).map(|client| client.stall.clone());
        if let Some(outcome) = self.gathered_before(key) {
            if matches!(stalled, Some(Stall::Verdict(Err(reply))) if reply.starts_with(b"+")) {
                self.scripts.store.flush();
                self.tell_others(key, bytes);
            }
            return outcome;
        }
        let Some(profile) = self.clients.get(key).map(|client| client.session.profile) else {
            return Outcome::Done;
        };
        let master = self.route.master;
        let Some((master, link)) = master.and_then(|node| Some((node, self.shared_link(node, profile)?)))
        else {
            return if self.without_node(key, 1, true) {
                Outcome::Done
            } else {
                Outcome::Stalled
            };
        };
        if let Some(client) = self.clients.get_mut(key) {
            client.node_since = None;
        }
        self.stats.node(master).commands[verdict.class.index()].add(1);
        let number = self.next_question();
        self.put_gathered(key, link, number, bytes);
        self.gathers.push(Gather::new(key, number, 1, None));
        self.stall(key, Stall::Answers)
    }

    /// What becomes of the request now, unless it is to be sent: it waits until nothing else is owed, and its
    /// answer is there when it is looked at again.
    fn gathered_before(&mut self, key: ClientKey) -> Option<Outcome> {
        if self.owes(key) {
            return Some(self.stall(key, Stall::Owed));
        }
        let client = self.clients.get_mut(key)?;
        match std::mem::replace(&mut client.stall, Stall::None) {
            Stall::Verdict(Err(reply)) => {
                if reply.starts_with(b"-") {
                    self.stats.errors[Fault::Upstream as usize].add(1);
                }
                self.answer(key, &reply);
                Some(Outcome::Done)
            }
            _ => None,
        }
    }

    fn put_gathered(&mut self, key: ClientKey, link: LinkKey, number: u32, request: &[u8]) {
        let sent = Sent::own(key, request, Kind::Gathered(number), Edit::Whole, self.now);
        self.put(link, request, sent);
    }

    /// A node answered, or will not: `None`. What comes after the gathering has ended is for nobody.
    pub(super) fn gathered(&mut self, number: u32, reply: Option<&[u8]>) {
        if let Some(at) = self.gathers.iter().position(|gather| gather.number == number)
            && self.gathers[at].add(reply)
        {
            self.end_gathering(at);
        }
    }

    fn end_gathering(&mut self, at: usize) {
        let mut gather = self.gathers.swap_remove(at);
        let waits = self
            .clients
            .get(gather.client)
            .is_some_and(|client| client.stall == Stall::Answers);
        if !waits {
            return;
        }
        let reply = gather.answer().unwrap_or_else(|| {
            let mut error = Vec::new();
            write::error(&mut error, texts::NO_ANSWER);
            error
        });
        self.unstall(gather.client, Stall::Verdict(Err(reply)));
    }

    /// Ends what has been waited for too long. True: something is still waited for.
    pub(super) fn sweep_gathers(&mut self) -> bool {
        let mut at = 0;
        while at < self.gathers.len() {
            let gather = &self.gathers[at];
            let late = gather.until.is_some_and(|until| self.now >= until);
            if late || self.clients.get(gather.client).is_none() {
                self.end_gathering(at);
            } else {
                at += 1;
            }
        }
        !self.gathers.is_empty()
    }
}
