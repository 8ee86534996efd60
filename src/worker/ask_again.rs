//! A read that did not run where it was sent, as the node's error says, is asked for again on the master.

use super::edit::Edit;
use super::link::{Kind, Link, Sent};
use super::mailbox::Hint;
use super::slots::LinkKey;
use super::turn::Worker;
use crate::commands::Handling;
use crate::resp::{Bounds, RequestScanner, Step};
use crate::topology::NodeId;

impl Worker {
    /// Whether there is another node than this one for a read.
    pub(super) fn can_ask_elsewhere(&self, node: NodeId) -> bool {
        self.route.master.is_some_and(|master| master != node)
    }

    /// The first reply on a link is an error that says the read did not run: asks the master.
    pub(super) fn ask_again(&mut self, key: LinkKey, error: &[u8]) {
        let bounds = self.bounds;
        let Some((link, (first, log))) = self.links.get(key).and_then(|link| Some((link, link.first()?)))
        else {
            return;
        };
        let (client, batch, kind, node) = (first.client, first.batch, first.kind, link.node);
        let mut edit = first.edit.clone();
        let skipped = length_of(log, first.done, bounds);
        let request = &log[skipped..];
        let len = match RequestScanner::default().scan(request, bounds) {
            Ok(Step::Complete(found)) => {
                // What a script does says nothing of the command that runs it.
                let plain = self
                    .entry(&found, request)
                    .is_none_or(|command| command.handling == Handling::Forward);
                if error.starts_with(b"-READONLY") && plain {
                    let name = String::from_utf8_lossy(&request[found.name.clone()]).to_lowercase();
                    self.stats.reclassified.add(1);
                    self.hint(Hint::NotARead(name));
                }
                found.len
            }
            _ => request.len(),
        };
        let mut request = request[..len].to_vec();
        let formerly_read_form = edit == Edit::ReadForm && refuses_form(error);
        if formerly_read_form {
            // Once: what is refused then is the answer.
            edit = Edit::None;
            request = self.original_form(&request, bounds).unwrap_or(request);
        }
        let load = &mut self.load[node.index()];
        *load = load.saturating_sub(1);
        let cut = self
            .clients
            .get_mut(client)
            .and_then(|client| client.owed.split(batch));
        let rest = match cut {
            Some((_, rest)) => rest,
            // The client has gone; the rest of its batch is still to come.
            None => (first_left(self.links.get(key)) > 1).then_some(batch),
        };
        if let Some(link) = self.links.get_mut(key) {
            link.cut_first(skipped + len, rest);
        }
        let (Some((one, _)), Some(master)) = (cut, self.route.master) else {
            return;
        };
        let retries = match kind {
            Kind::Reads { retries } => retries.saturating_sub(1),
            _ => 0,
        };
        self.stats.reads_retried.add(1);
        // A write by its flags: only the master may get it.
        let kind = if formerly_read_form {
            Kind::Writes
        } else {
            Kind::Reads { retries }
        };
        let mut sent = Sent {
            client,
            batch: one,
            left: 1,
            done: 0,
            bytes: request.len(),
            kind,
            edit,
            at: self.now,
        };
        let profile = self.clients.get(client).map(|client| client.session.profile);
        match profile.and_then(|profile| self.shared_link(master, profile)) {
            Some(link) => {
                let request = self.readdressed(link, request, &mut sent.edit);
                sent.bytes = request.len();
                self.put(link, &request, sent);
            }
            None => self.fail_batch(&sent, error),
        }
    }
}

/// Whether an error is about the read-only form and not about what was asked for: an ACL may permit the command
/// and not its form.
pub(super) fn refuses_form(error: &[u8]) -> bool {
    error.starts_with(b"-NOPERM") || error.starts_with(b"-ERR unknown command")
}

fn first_left(link: Option<&Link>) -> u32 {
    link.and_then(|link| link.pipeline.front())
        .map_or(0, |first| first.left)
}

/// The length of the first so many requests.
pub(super) fn length_of(requests: &[u8], count: u32, bounds: Bounds) -> usize {
    let mut at = 0;
    for _ in 0..count {
        match RequestScanner::default().scan(&requests[at..], bounds) {
            Ok(Step::Complete(request)) => at += request.len,
            _ => break,
        }
    }
    at
}
