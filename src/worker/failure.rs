//! Links die, nodes refuse: what was under way is asked for elsewhere, waits, or is in doubt.
//!
//! A read may be asked for again. A command that may write is sent again only when no byte of it was handed
//! to the socket; otherwise the client is told that its fate is unknown, on a connection that stays open.

use std::time::Duration;

use rand::RngExt;
use tracing::{debug, info, warn};

use super::ask_again::length_of;
use super::client::Mode;
use super::link::{Cause, Link};
use super::mailbox::Hint;
use super::outliers::Strike;
use super::sent::{Kind, Parked, Sent};
use super::silent::is_script;
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use crate::resp::{RequestScanner, Step, write};
use crate::stats::Fault;
use crate::topology::NodeId;

/// Back-off after a failed connect, doubled each time.
const SHUT_FIRST: Duration = Duration::from_millis(100);
const SHUT_LONGEST: Duration = Duration::from_secs(2);

/// How long a node that refused a login is not asked again with it for reads.
const REFUSED_FOR: Duration = Duration::from_secs(10);

impl Worker {
    /// Ends a dead link and finds a place for everything that was under way on it.
    pub(super) fn fail_link(&mut self, key: LinkKey, cause: &Cause) {
        let Some(mut link) = self.links.remove(key) else {
            return;
        };
        self.unlist(key, &link);
        if !self.was_ended(&link) {
            self.blame(&link, cause);
        }
        // It may have been restarted.
        self.scripts.forget_node(link.node);
        let error = error_line(cause);
        for client in std::mem::take(&mut link.waiters) {
            self.verdict(client, key, Err(error.clone()));
        }
        let middle = link.is_torn();
        let owner = link.owner();
        if let Some(owner) = owner
            && (self.fail_lease(key, owner, &mut link, cause) || self.will_resubscribe(owner, &link))
        {
            self.unpark_due = true;
            return;
        }
        for (index, (sent, requests, handed_over)) in link.take_unanswered().into_iter().enumerate() {
            if self.runs_elsewhere(&sent) {
                continue;
            }
            match (sent.kind, cause) {
                (Kind::Own | Kind::Again | Kind::Loser, _) => continue,
                // Nobody can be asked: it is answered as if it were permitted.
                (Kind::Permission, cause) if !matches!(cause, Cause::Refused(_)) => {
                    self.verdict(sent.client, key, Ok(()));
                    continue;
                }
                (Kind::Proof | Kind::Permission, _) => {
                    self.next_login();
                    self.verdict(sent.client, key, Err(error.clone()));
                    continue;
                }
                (Kind::Confirms, _) => {
                    self.confirmed(key, sent.client, sent.batch, b"");
                    continue;
                }
                (Kind::Load, _) => {
                    self.go_on_after_load(sent.client, key, None);
                    continue;
                }
                (Kind::Gathered(number), Cause::Refused(error)) => {
                    self.gathered(number, Some(error));
                    continue;
                }
                (Kind::Gathered(number), _) => {
                    self.gathered(number, None);
                    continue;
                }
                _ => {}
            }
            if let Kind::Asked(number) = sent.kind {
                self.heard(number, true);
                continue;
            }
            if index == 0 && middle {
                // Part of a reply went to the client already: nothing can mend that.
                self.close_client(sent.client);
                continue;
            }
            match (sent.kind, cause) {
                (_, Cause::Refused(error)) if owner.is_some() || self.route.master == Some(link.node) => {
                    self.fail_batch(&sent, error);
                }
                (Kind::Reads { .. }, _) if handed_over == 0 => self.park(&sent, sent.kind, requests),
                (Kind::Reads { .. }, _) if is_last_attempt(&sent, cause, owner) => {
                    self.fail_batch_with(&sent, texts::READ_FAILED);
                }
                (Kind::Reads { .. }, _) => {
                    let answered = length_of(&requests, sent.done, self.bounds);
                    self.park_again(&sent, requests[answered..].to_vec());
                }
                (_, _) if owner.is_none() => self.settle_each(sent, &requests, handed_over),
                (_, _) if link.was_up() => {
                    self.stats.in_doubt.add(u64::from(sent.left));
                    self.fail_batch_with(&sent, texts::IN_DOUBT);
                }
                (_, _) => self.fail_batch_with(&sent, texts::NO_MASTER),
            }
        }
        if let Some(owner) = owner {
            self.owner_lost_lease(owner);
        }
        self.unpark_due = true;
    }

    /// What becomes of a batch with commands that may write, of which so many bytes were handed to a socket that is
    /// dead now: the first that were not handed over whole did not run, and wait with all that follow; reads are asked
    /// for again; the others are in doubt.
    pub(super) fn settle_each(&mut self, mut sent: Sent, requests: &[u8], handed_over: usize) {
        let mut at = length_of(requests, sent.done, self.bounds);
        sent.done = 0;
        while sent.left > 0 {
            let rest = &requests[at..];
            let Ok(Step::Complete(found)) = RequestScanner::default().scan(rest, self.bounds) else {
                break;
            };
            if at + found.len > handed_over {
                return self.park(&sent, sent.kind, rest.to_vec());
            }
            let request = &rest[..found.len];
            let retries = self.settings.reads.retries;
            let asked_again = retries > 0 && self.reads(&found, request);
            let cut = asked_again
                .then(|| self.clients.get_mut(sent.client)?.owed.split(sent.batch))
                .flatten();
            if let Some((one, others)) = cut {
                let read = Sent {
                    batch: one,
                    left: 1,
                    edit: sent.edit.clone(),
                    ..sent
                };
                let kind = Kind::Reads { retries: retries - 1 };
                self.park(&read, kind, request.to_vec());
                sent.batch = others.unwrap_or(sent.batch);
            } else {
                self.stats.in_doubt.add(1);
                self.fail_one(&sent, texts::IN_DOUBT);
            }
            sent.left -= 1;
            at += found.len;
        }
        self.stats.in_doubt.add(u64::from(sent.left));
        self.fail_batch_with(&sent, texts::IN_DOUBT);
    }

    /// Whether a client's own connection ends because of its client.
    fn was_ended(&self, link: &Link) -> bool {
        let owner = link.owner().and_then(|owner| self.clients.get(owner));
        owner.is_some_and(|client| {
            client.closing || matches!(&client.mode, Mode::Tunnel(tunnel) if tunnel.ended)
        })
    }

    /// Logs, counts, and decides how soon the node is tried again.
    fn blame(&mut self, link: &Link, cause: &Cause) {
        let node = link.node;
        self.stats.node(node).failures.add(1);
        let name = self.topology.node(node).map_or("?", |node| node.name.as_str());
        match cause {
            Cause::Refused(error) => {
                let error = String::from_utf8_lossy(error);
                let error = error.trim_end();
                // A client can ask for a database that is not there as often as it likes.
                if link.profile == self.plain {
                    info!(node = name, error, "node refused a connection's set-up");
                } else {
                    debug!(node = name, error, "node refused a connection's set-up");
                }
            }
            Cause::NotResp | Cause::Unasked(_) | Cause::Defect => warn!(node = name, %cause, "link closed"),
            _ => debug!(node = name, %cause, inflight = link.inflight, "link lost"),
        }
        let came_to_nothing = !matches!(
            cause,
            Cause::Refused(_) | Cause::Lost | Cause::Silent | Cause::Defect
        );
        if came_to_nothing && !link.answers {
            self.attempts.fail(node, self.now);
        }
        if came_to_nothing && !link.is_lease() && (!link.answers || !link.pipeline.is_empty()) {
            let stalled = matches!(cause, Cause::TimedOut) && link.was_up();
            self.strike(node, if stalled { Strike::Out } else { Strike::One });
        }
        match cause {
            Cause::Connect(_) | Cause::TimedOut | Cause::Unasked(_) => {
                self.shut_out(node);
                self.hint(Hint::Lost(node));
            }
            Cause::Refused(_) => {
                self.refused.insert((node, link.profile), self.now + REFUSED_FOR);
            }
            Cause::Closed | Cause::Broken(_) | Cause::NotResp => {
                // Another replica answers sooner than one that has just gone. The master has no stand-in: it
                // may only have closed an idle connection, and is tried again at once, if it ever answered on it.
                if self.route.master != Some(node) || !link.answers {
                    self.shut_out(node);
                }
                self.hint(Hint::Lost(node));
            }
            Cause::Lost | Cause::Silent | Cause::Defect => {}
        }
    }

    /// Leaves a node alone for a while, longer each time, each worker a little differently.
    pub(super) fn shut_out(&mut self, node: NodeId) {
        let before = self.shut[node.index()].map(|(_, pause)| pause * 2);
        let pause = before.unwrap_or(SHUT_FIRST).min(SHUT_LONGEST);
        let jitter = self.random.random_range(0.75..1.25);
        self.shut[node.index()] = Some((self.now + pause.mul_f64(jitter), pause));
        self.hurried = true;
    }

    /// Tells the control plane; when it cannot listen now it is busy with the same thing.
    pub(super) fn hint(&self, hint: Hint) {
        let _ = self.inbox.hints.try_send(hint);
    }

    /// A client's own connection died under it. What was on it is answered already.
    fn owner_lost_lease(&mut self, owner: ClientKey) {
        let Some(client) = self.clients.get_mut(owner) else {
            return;
        };
        let stateless = match &client.mode {
            Mode::Leased(lease) => lease.is_over(),
            // Given up already, when the last reply that it owed became an error.
            Mode::Shared => true,
            Mode::Tunnel(_) => false,
        };
        client.mode = Mode::Shared;
        if stateless {
            self.call_again(owner);
        } else {
            // The transaction, the watch or the subscription is gone, and only a closed connection says so
            // to every client library.
            self.close_when_flushed(owner);
        }
    }

    /// Every reply that a batch still owes is this error.
    pub(super) fn fail_batch(&mut self, sent: &Sent, error: &[u8]) {
        self.stats.errors[Fault::Upstream as usize].add(u64::from(sent.left));
        for _ in 0..sent.left {
            self.deliver(sent.client, sent.batch, error, 1);
        }
    }

    pub(super) fn fail_one(&mut self, sent: &Sent, text: &str) {
        let mut error = Vec::new();
        write::error(&mut error, text);
        self.stats.errors[Fault::Upstream as usize].add(1);
        self.deliver(sent.client, sent.batch, &error, 1);
    }

    pub(super) fn fail_batch_with(&mut self, sent: &Sent, text: &str) {
        let mut error = Vec::new();
        write::error(&mut error, text);
        self.fail_batch(sent, &error);
    }

    /// Keeps reads until there is a node for them; they were asked once already.
    pub(super) fn park_again(&mut self, sent: &Sent, requests: Vec<u8>) {
        let kind = match sent.kind {
            Kind::Reads { retries } => Kind::Reads {
                retries: retries.saturating_sub(1),
            },
            kind => kind,
        };
        self.park(sent, kind, requests);
    }

    /// Keeps a batch until there is a node for it.
    fn park(&mut self, sent: &Sent, kind: Kind, requests: Vec<u8>) {
        if self.clients.get(sent.client).is_none() {
            return;
        }
        if self.room_for(sent.left as usize, requests.len()).is_err() {
            return self.fail_batch_with(sent, texts::HELD_ENOUGH);
        }
        let since = self.put_aside(sent.client);
        self.hurried = true;
        if matches!(kind, Kind::Reads { .. }) {
            self.stats.reads_retried.add(u64::from(sent.left));
        }
        let (client, batch, left) = (sent.client, sent.batch, sent.left);
        let edit = sent.edit.clone();
        self.hold(Parked {
            client,
            batch,
            left,
            kind,
            edit,
            requests,
            since,
            refused: None,
            unproven: None,
        });
    }
}

/// Whether a read whose link died is not asked for again. Of a former master it is: the next one is the last resort now.
fn is_last_attempt(sent: &Sent, cause: &Cause, owner: Option<ClientKey>) -> bool {
    match cause {
        Cause::Lost if owner.is_none() => false,
        Cause::Silent if is_script(sent) => true,
        _ => sent.kind == Kind::Reads { retries: 0 },
    }
}

/// What a client is told that waited for the link.
fn error_line(cause: &Cause) -> Vec<u8> {
    if let Cause::Refused(error) = cause {
        return error.clone();
    }
    let mut error = Vec::new();
    write::error(&mut error, texts::NO_MASTER);
    error
}
