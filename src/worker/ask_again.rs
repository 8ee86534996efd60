//! A command that did not run where it was sent, as the node's error says, is asked for again: a read on the master at
//! once, what may write on the next master when there is one.

use std::time::Instant;

use super::edit::Edit;
use super::link::Link;
use super::mailbox::Hint;
use super::owed::BatchId;
use super::sent::{Kind, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use super::writes::Writes;
use crate::commands::{Class, Handling};
use crate::resp::{Arguments, Bounds, Request, RequestScanner, Step};
use crate::topology::NodeId;

/// The first request on a link, cut out of its batch.
pub(super) struct Taken {
    pub(super) client: ClientKey,
    /// The name of its reply.
    pub(super) batch: BatchId,
    pub(super) kind: Kind,
    pub(super) edit: Edit,
    pub(super) request: Vec<u8>,
    pub(super) node: NodeId,
    /// What of it counts as writes.
    pub(super) writes: Writes,
}

impl Taken {
    /// What it is on the next link, or to its client; sent at that time.
    pub(super) fn sent(&self, at: Instant) -> Sent {
        Sent {
            batch: self.batch,
            writes: self.writes,
            ..Sent::own(self.client, &self.request, self.kind, self.edit.clone(), at)
        }
    }
}

impl Worker {
    /// Whether there is another node than this one for a read.
    pub(super) fn can_ask_elsewhere(&self, node: NodeId) -> bool {
        self.route.master.is_some_and(|master| master != node)
    }

    /// The first reply on a link is an error that says the read did not run: asks the master.
    pub(super) fn ask_again(&mut self, key: LinkKey, error: &[u8]) {
        let Some(mut taken) = self.take_first(key, Some(error)) else {
            return;
        };
        let formerly_read_form = taken.edit == Edit::ReadForm && refuses_form(error);
        if formerly_read_form {
            // Once: what is refused then is the answer.
            taken.edit = Edit::None;
            let original = self.original_form(&taken.request, self.bounds);
            taken.request = original.unwrap_or(taken.request);
        }
        let retries = match taken.kind {
            Kind::Reads { retries } => retries.saturating_sub(1),
            _ => 0,
        };
        self.stats.reads_retried.add(1);
        // A write by its flags: only the master may get it.
        taken.kind = if formerly_read_form {
            Kind::Writes
        } else {
            Kind::Reads { retries }
        };
        if formerly_read_form || error.starts_with(b"-READONLY") {
            taken.writes = Writes::perhaps(1);
        }
        let mut sent = taken.sent(self.now);
        let profile = self
            .clients
            .get(taken.client)
            .map(|client| client.session.profile);
        let master = self.route.master;
        let link = profile.and_then(|profile| self.shared_link(master?, profile));
        match link {
            Some(link) => {
                let request = self.readdressed(link, taken.request, &mut sent.edit);
                sent.bytes = request.len();
                self.put(link, &request, sent);
            }
            None => self.fail_batch(&sent, error),
        }
    }

    /// The first reply on a link says that its command did not run, as the node is no master (any more), or comes
    /// behind such a one: the command waits for the next master, and what its client sends from now on waits for it.
    pub(super) fn hold_first(&mut self, key: LinkKey, refused: bool) {
        let Some(mut taken) = self.take_first(key, None) else {
            return;
        };
        if let Kind::Reads { retries } = &mut taken.kind {
            *retries = retries.saturating_sub(u32::from(refused));
        }
        if refused && self.route.master != Some(taken.node) {
            self.pass_over(taken.node);
        }
        let by = refused.then_some(taken.node);
        self.put_first_aside(key, taken, by, None);
    }

    /// Whether a reply that is no refusal came behind one to the same client, on a node that may not be the master any
    /// more, and is to a command that may be asked for again: it must not show an older state than what waits for the
    /// next master.
    pub(super) fn overtakes(&self, key: LinkKey) -> bool {
        let Some((first, _)) = self.links.get(key).and_then(Link::first) else {
            return false;
        };
        let may_read = matches!(
            first.kind,
            Kind::Reads { .. } | Kind::Writes | Kind::Script { .. }
        );
        if !may_read
            || self
                .clients
                .get(first.client)
                .is_none_or(|client| client.parked == 0)
        {
            return false;
        }
        self.first_reads(key)
    }

    /// Whether what a link waits for went there when its node was the master, and another one is known now: what the
    /// old one still says of a write is true there, and lost, unless the new one got it in time.
    pub(super) fn is_late(&self, key: LinkKey) -> bool {
        self.links.get(key).is_some_and(|link| {
            let deposed = self.route.master.is_some_and(|master| master != link.node);
            deposed
                && link
                    .pipeline
                    .front()
                    .is_some_and(|sent| is_lost_when_late(link, sent))
        })
    }

    /// Another master is known: what the former one has not answered yet is not passed on as it comes.
    pub(super) fn suspect_former_master(&mut self) {
        let Some(master) = self.route.master else { return };
        for key in self.links.keys() {
            if let Some(link) = self.links.get_mut(key)
                && link.node != master
            {
                link.refusing |= link.pipeline.iter().any(|sent| is_lost_when_late(link, sent));
            }
        }
    }

    /// The first command on a link ran too late to be sure of.
    pub(super) fn doubt_first(&mut self, key: LinkKey) {
        let Some(taken) = self.take_first(key, None) else {
            return;
        };
        if matches!(taken.kind, Kind::Exec { .. }) {
            self.transaction_is_over(taken.client);
        }
        self.stats.in_doubt.add(1);
        let sent = taken.sent(self.now);
        self.fail_one(&sent, texts::IN_DOUBT_LATE);
    }

    /// Whether the first command on a link reads.
    pub(super) fn first_reads(&self, key: LinkKey) -> bool {
        matches!(self.class_of_first(key), Some(Class::Read | Class::Any))
    }

    /// The class of the first command on a link that is not answered yet.
    pub(super) fn class_of_first(&self, key: LinkKey) -> Option<Class> {
        let (found, request) = self.first_request(key)?;
        self.class_of(&found, request)
    }

    /// The first request on a link that is not answered yet, where requests are kept.
    pub(super) fn first_request(&self, key: LinkKey) -> Option<(Request, &[u8])> {
        let (first, log) = self.links.get(key).and_then(Link::first)?;
        let request = &log[length_of(log, first.done, self.bounds)..];
        let Ok(Step::Complete(found)) = RequestScanner::default().scan(request, self.bounds) else {
            return None;
        };
        let len = found.len;
        Some((found, &request[..len]))
    }

    /// Whether a request reads and does nothing else.
    pub(super) fn reads(&self, found: &Request, request: &[u8]) -> bool {
        matches!(self.class_of(found, request), Some(Class::Read | Class::Any))
    }

    fn class_of(&self, found: &Request, request: &[u8]) -> Option<Class> {
        let command = self.entry(found, request)?;
        Some(command.class_of(Arguments::of(request)))
    }

    /// Cuts the first request out of its batch. `None`: its client has gone, or nobody can be asked.
    pub(super) fn take_first(&mut self, key: LinkKey, error: Option<&[u8]>) -> Option<Taken> {
        let bounds = self.bounds;
        self.acknowledge_first(key);
        let link = self.links.get(key)?;
        let (first, log) = link.first()?;
        let (client, batch, kind, node) = (first.client, first.batch, first.kind, link.node);
        let edit = first.edit.clone();
        let skipped = length_of(log, first.done, bounds);
        let request = &log[skipped..];
        let len = match RequestScanner::default().scan(request, bounds) {
            Ok(Step::Complete(found)) => {
                // What a script does says nothing of the command that runs it.
                let plain = self
                    .entry(&found, request)
                    .is_none_or(|command| command.handling == Handling::Forward);
                if error.is_some_and(|error| error.starts_with(b"-READONLY")) && plain {
                    let name = String::from_utf8_lossy(&request[found.name.clone()]).to_lowercase();
                    self.stats.reclassified.add(1);
                    self.hint(Hint::NotARead(name));
                }
                found.len
            }
            _ => request.len(),
        };
        let request = request[..len].to_vec();
        let writes = if first.left + first.done == 1 {
            first.writes
        } else {
            self.writes_among(&request, 1)
        };
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
        self.links.get_mut(key)?.cut_first(skipped + len, rest, writes);
        let (batch, _) = cut?;
        Some(Taken {
            client,
            batch,
            kind,
            edit,
            request,
            node,
            writes,
        })
    }
}

/// Whether what a former master still says of it may be lost. What a blocked command got there is passed on: it is lost
/// for certain when it is not.
pub(super) fn is_lost_when_late(link: &Link, sent: &Sent) -> bool {
    match link.owner() {
        None => sent.kind.may_write(),
        Some(_) => matches!(sent.kind, Kind::Exec { .. }),
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
