//! A script's error in the words in which its node refuses what writes: whether it is the node's.
//!
//! What the script can have them from is looked through, where it is known. Where it is not, or where they are in there, the
//! node is asked on the same link: it gets a write that changes nothing. If it refuses that as well the script did not run,
//! and waits for the next master like any other write; if not, its error is its answer.

use super::ask_again::Taken;
use super::edit::Edit;
use super::no_master::{self, Refused, is_no_master, is_no_replicas};
use super::owed::BatchId;
use super::script_store::sha_of;
use super::sent::{Kind, Parked, Refusal, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use crate::commands::{Class, Handling};
use crate::resp::{Arguments, Request, write};
use crate::topology::NodeId;

/// A write that changes nothing: nobody has such a key.
const NOTHING: [&[u8]; 2] = [b"UNLINK", b"__redis_ambassador__:nothing"];

impl Worker {
    /// Whether an error says of the first command on a link that it did not run, as the node is no master that takes commands.
    pub(super) fn first_was_refused(&self, key: LinkKey, error: &[u8]) -> Refused {
        let node = self.links.get(key).map(|link| link.node);
        if !node.is_some_and(|node| self.takes_nothing(node, error)) {
            return Refused::No;
        }
        let Some((found, request)) = self.first_request(key) else {
            return Refused::No;
        };
        if !self.runs_script(&found, request) {
            return Refused::Surely;
        }
        let second = (found.argc > 1).then(|| &request[found.second.clone()]);
        match self.entry(&found, request).map(|command| command.handling) {
            Some(Handling::Eval) => no_master::of_script(error, Some(&[request])),
            Some(Handling::EvalSha) => {
                let sha = second.and_then(sha_of);
                let body = sha.and_then(|sha| self.scripts.store.find(&sha));
                let texts = body.as_deref().map(|body| [body, request]);
                no_master::of_script(error, texts.as_ref().map(|texts| &texts[..]))
            }
            _ => no_master::of_script(error, None),
        }
    }

    /// Whether an error says of a node that it takes nothing that writes for the time being. A master that has only just taken
    /// over may lack the replicas that it wants; one that lacks them for longer has really lost them.
    pub(super) fn takes_nothing(&self, node: NodeId, error: &[u8]) -> bool {
        let is_new = || self.gathers_until.is_some_and(|until| self.now < until);
        is_no_master(error)
            || is_no_replicas(error) && (is_new() || self.route.master.is_some_and(|master| master != node))
    }

    /// Whether what the client is told of a request may be what a script of somebody's wanted it to be told.
    pub(super) fn runs_script(&self, found: &Request, request: &[u8]) -> bool {
        // A configuration may put them in another class.
        let name = &request[found.name.clone()];
        let function = [&b"FCALL"[..], b"FCALL_RO"]
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        self.entry(found, request).is_none_or(|command| {
            function
                || command.class_of(Arguments::of(request)) == Class::Script
                || matches!(command.handling, Handling::Eval | Handling::EvalSha)
        })
    }

    /// The first reply on a shared link may be its node's refusal, or what a script says: the command waits until the node
    /// has told which.
    pub(super) fn hold_unproven(&mut self, key: LinkKey, error: &[u8]) {
        let Some(taken) = self.take_first(key, None) else {
            return;
        };
        let mut request = Vec::new();
        write::request(&mut request, NOTHING);
        let question = Sent {
            batch: taken.batch,
            ..Sent::own(taken.client, &request, Kind::Confirms, Edit::Whole, self.now)
        };
        let by = Some(taken.node);
        if self.put_first_aside(key, taken, by, Some(error.into())) {
            self.put(key, &request, question);
        }
    }

    /// What was the first command on a link waits: because that node refused it, or did perhaps, with that error. False:
    /// there is no room for it.
    pub(super) fn put_first_aside(
        &mut self,
        key: LinkKey,
        taken: Taken,
        refused: Option<NodeId>,
        unproven: Option<Box<[u8]>>,
    ) -> bool {
        if let Some(link) = self.links.get_mut(key) {
            link.refusing = true;
        }
        if self.room_for(1, taken.request.len()).is_err() {
            let sent = taken.sent(self.now);
            match unproven {
                Some(error) => self.fail_batch(&sent, &error),
                None => self.fail_one(&sent, texts::HELD_ENOUGH),
            }
            return false;
        }
        let since = self.put_aside(taken.client);
        self.hurried = true;
        self.hold(Parked {
            client: taken.client,
            batch: taken.batch,
            left: 1,
            kind: taken.kind,
            edit: taken.edit,
            requests: taken.request,
            since,
            refused: refused.map(|by| Refusal {
                by,
                version: self.topology.version,
                at: self.now,
            }),
            unproven,
        });
        true
    }

    /// Whether the node took a write that came right behind a script of which it was not known whether it ran.
    pub(super) fn confirmed(&mut self, key: LinkKey, client: ClientKey, batch: BatchId, reply: &[u8]) {
        let refuses = is_no_master(reply) || is_no_replicas(reply);
        let asked = |parked: &Parked| parked.client == client && parked.batch == batch;
        let Some(at) = self.parked.iter().position(asked) else {
            return;
        };
        if refuses {
            if is_no_master(reply) {
                self.was_denied(key);
            }
            self.parked[at].unproven = None;
            self.unpark_due = true;
        } else if let Some(parked) = self.parked.remove(at) {
            self.hold_no_more(&parked);
            if let Some(client) = self.clients.get_mut(client) {
                client.parked = client.parked.saturating_sub(1);
            }
            self.give_up_waiting(&parked, texts::NO_MASTER);
        }
    }

    /// Tells the client of what waited and does so no more, and did not run as far as that is known.
    pub(super) fn give_up_waiting(&mut self, parked: &Parked, not_run: &str) {
        let sent = Sent {
            batch: parked.batch,
            left: parked.left,
            ..Sent::own(parked.client, &[], parked.kind, Edit::None, self.now)
        };
        let Some(error) = &parked.unproven else {
            return self.fail_batch_with(&sent, not_run);
        };
        let by = parked.refused.as_ref().map(|refusal| refusal.by);
        if parked.kind.may_write() && self.route.master.is_some_and(|master| Some(master) != by) {
            // Libraries send again by themselves what is answered so.
            self.stats.in_doubt.add(1);
            self.fail_batch_with(&sent, texts::IN_DOUBT_LATE);
        } else {
            self.fail_batch(&sent, error);
        }
    }
}
