//! What nodes sent: where replies end, and whose they are.

use super::client::{Lane, Mode, Stall};
use super::edit::Edit;
use super::link::{Cause, Use};
use super::owed::BatchId;
use super::sent::{Kind, Promise, Race, Sent};
use super::slots::{ClientKey, LinkKey};
use super::socket::{self, Moved};
use super::turn::Worker;
use crate::resp::ReplyError;
use crate::stats::Limit;

/// Replies of this size are handed to the client's socket as they come, without a copy.
const DIRECT: usize = 4 * 1024;

/// Nothing of a reply goes on before the whole is there, up to this size: where the link dies in the middle of it, it can
/// still be asked for again, or be in doubt, and where it is a refusal, nothing was shown.
const HELD_BACK: usize = 64 * 1024;

impl Worker {
    /// Finds the replies in what came, and hands them to the clients they belong to. Returns how many bytes are
    /// dealt with; the rest is the beginning of a reply, or of a line of a long one.
    pub(super) fn replies(&mut self, key: LinkKey, bytes: &[u8]) -> Result<usize, ReplyError> {
        let mut at = 0;
        // Neighbouring replies of one batch are handed over in one piece.
        let (mut start, mut ended) = (0, 0);
        while at < bytes.len() {
            let Some(link) = self.links.get_mut(key) else {
                return Ok(bytes.len());
            };
            if link.pipeline.is_empty() {
                let owner = link.owner();
                if let Some(owner) = owner.filter(|owner| self.is_tunnel(key, *owner)) {
                    return Ok(at + self.tunnel_replies(key, owner, &bytes[at..]));
                }
                let text = String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 200)])
                    .trim_end()
                    .to_owned();
                self.failed.push((key, Cause::Unasked(text)));
                return Ok(bytes.len());
            }
            let seen = std::mem::take(&mut link.seen);
            let begins = (seen > 0 || link.scanner.at_start()).then(|| bytes[at]);
            let scanned = match link.scanner.scan(&bytes[at + seen..]) {
                Ok(scanned) => scanned,
                Err(error) => {
                    // What came before is whole, and counted as answered already.
                    self.hand_over(key, &bytes[start..at], ended);
                    return Err(error);
                }
            };
            let reply = at..at + seen + scanned.taken;
            if !scanned.complete && begins.is_some() && reply.len() < HELD_BACK {
                link.seen = reply.len();
                break;
            }
            if scanned.taken == 0 {
                break;
            }
            at = reply.end;
            let link = match begins {
                Some(begins) if link.races > 0 => {
                    self.decide_race(key, begins);
                    let Some(link) = self.links.get_mut(key) else {
                        return Ok(bytes.len());
                    };
                    link
                }
                _ => link,
            };
            if !scanned.complete {
                break;
            }
            if link.is_hasty() {
                // An answer to what the node has not heard: it cannot be taken for one.
                return Err(ReplyError);
            }
            let refusing = link.refusing;
            let again = match begins {
                Some(b'-') => {
                    let again = self.asked_again(key, &bytes[reply.clone()]);
                    again.or_else(|| self.withheld_error(key).filter(|_| refusing))
                }
                Some(_) if refusing => self.withheld(key, &bytes[reply.clone()]),
                _ => None,
            };
            if let Some(again) = again {
                self.hand_over(key, &bytes[start..reply.start], ended);
                self.deal_with_first(key, &again, &bytes[reply]);
                (start, ended) = (at, 0);
                continue;
            }
            if refusing && begins != Some(b'-') {
                self.first_ran(key, &bytes[reply.clone()]);
            }
            ended += 1;
            if self.last_keys.is_on() {
                self.note_keys(key);
            }
            let Some(link) = self.links.get_mut(key) else {
                return Ok(bytes.len());
            };
            if !link.answers {
                self.node_answers(key);
            }
            let Some(link) = self.links.get_mut(key) else {
                return Ok(bytes.len());
            };
            let node = link.node;
            let changed = link.is_edited().then(|| link.edited(&bytes[start..at], true));
            if let Some(sent) = link.answered() {
                let shown = changed.as_deref().unwrap_or(&bytes[start..at]);
                self.answered(key, &sent, node, shown, ended);
                (start, ended) = (at, 0);
            }
        }
        self.hand_over(key, &bytes[start..at], ended);
        Ok(at)
    }

    /// Hands over replies of the first batch on a link, which is not wholly answered yet.
    fn hand_over(&mut self, key: LinkKey, bytes: &[u8], ended: u32) {
        if bytes.is_empty() {
            return;
        }
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let load = &mut self.load[link.node.index()];
        *load = load.saturating_sub(ended);
        let changed = link.is_edited().then(|| link.edited(bytes, false));
        let bytes = changed.as_deref().unwrap_or(bytes);
        let Some(first) = link.pipeline.front() else {
            return;
        };
        let (client, batch) = (first.client, first.batch);
        if link.held.len() > self.settings.limits.client_output {
            return self.close_over_limit(client, Limit::ClientOutput);
        }
        match first.kind {
            Kind::Asked(number) => self.hear(number, bytes),
            kind if kind.is_own() => {}
            _ => self.deliver(client, batch, bytes, ended),
        }
    }

    /// The last replies of a batch came.
    fn answered(
        &mut self,
        key: LinkKey,
        sent: &Sent,
        node: crate::topology::NodeId,
        bytes: &[u8],
        ended: u32,
    ) {
        let load = &mut self.load[node.index()];
        *load = load.saturating_sub(ended);
        match sent.kind {
            Kind::Own => return self.wake_seekers(),
            Kind::Permission => {
                let refused = bytes.starts_with(b"-NOPERM");
                let verdict = if refused { Err(bytes.to_vec()) } else { Ok(()) };
                return self.verdict(sent.client, key, verdict);
            }
            Kind::Proof => {
                let right = bytes.starts_with(b"+");
                let verdict = if right { Ok(()) } else { Err(bytes.to_vec()) };
                self.next_login();
                return self.verdict(sent.client, key, verdict);
            }
            Kind::Load => return self.loaded(key, sent.client, bytes),
            Kind::Gathered(number) => {
                if self.links.get(key).is_some_and(|link| link.usage == Use::Errand) {
                    self.drop_link(key);
                }
                return self.gathered(number, Some(bytes));
            }
            Kind::Asked(number) => {
                self.hear(number, bytes);
                return self.heard(number, false);
            }
            Kind::Again => return,
            Kind::Confirms => return self.confirmed(key, sent.client, sent.batch, bytes),
            Kind::Loser => {
                let took = self.now.saturating_duration_since(sent.at);
                return self.read_went_through(node, took, bytes);
            }
            Kind::Exec { teaches } => {
                if teaches {
                    self.learn_from_transaction(sent.client, bytes);
                }
                self.transaction_is_over(sent.client);
            }
            Kind::Promised(Promise::Discarded) => drop(self.transaction_is_over(sent.client)),
            Kind::Promised(_) | Kind::Reads { .. } | Kind::Writes | Kind::Script { .. } | Kind::Waits => {}
        }
        match &sent.edit {
            Edit::Teaches { body, everywhere } => self.learn(sent.client, body, *everywhere),
            Edit::Pause(time) if bytes.starts_with(b"+OK") => self.paused_by_master(*time),
            _ => {}
        }
        self.acknowledge(node, sent, bytes);
        let took = self.now.saturating_duration_since(sent.at);
        if matches!(sent.kind, Kind::Reads { .. }) {
            self.read_went_through(node, took, bytes);
            if sent.race == Race::None {
                self.late.took(took);
            }
        }
        self.stats
            .node(node)
            .latency
            .record(took.as_micros() as u64, u64::from(sent.done));
        if let Some(client) = self.clients.get_mut(sent.client) {
            if client.parked == 0 {
                client.aside = None;
            }
            client.pending = client.pending.saturating_sub(sent.bytes);
        }
        self.deliver(sent.client, sent.batch, bytes, ended);
    }

    /// The first reply on a link came, and its client is told another.
    pub(super) fn answer_first(&mut self, key: LinkKey, reply: &[u8]) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let node = link.node;
        let Some(first) = link.pipeline.front() else {
            return;
        };
        let (client, batch) = (first.client, first.batch);
        if let Some(sent) = link.answered() {
            return self.answered(key, &sent, node, reply, 1);
        }
        let load = &mut self.load[node.index()];
        *load = load.saturating_sub(1);
        self.deliver(client, batch, reply, 1);
    }

    /// Hands bytes of a batch to its client; into the void when the client has gone.
    pub(super) fn deliver(&mut self, key: ClientKey, batch: BatchId, bytes: &[u8], ended: u32) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let mut rest = bytes;
        if bytes.len() >= DIRECT
            && client.out.is_empty()
            && !client.full
            && client.owed.is_next(batch)
            && !client.owed.is_silent(batch)
        {
            match socket::write(&mut client.socket, bytes) {
                Moved::Bytes(written) => {
                    self.stats.bytes_out.add(written as u64);
                    rest = &bytes[written..];
                    client.full = !rest.is_empty();
                }
                Moved::Later | Moved::End => client.full = true,
                Moved::Broken(_) => return self.close_client(key),
            }
        }
        if client.out.capacity() == 0 && !rest.is_empty() {
            client.out = self.spare.pop().unwrap_or_default();
        }
        client.owed.deliver(batch, rest, ended, &mut client.out);
        self.grown += rest.len();
        if client.unread() > self.settings.limits.client_output {
            return self.close_over_limit(key, Limit::ClientOutput);
        }
        if !client.dirty {
            client.dirty = true;
            self.dirty_clients.push(key);
        }
        self.after_replies(key);
    }

    /// Replies were handed over: what waited for them goes on.
    fn after_replies(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let waits = &client.stall;
        if client.owed.is_empty() {
            client.lane = Lane::Idle;
            client.pending = 0;
            client.learns = false;
            let go_on = matches!(waits, Stall::Owed | Stall::Pipeline);
            if let Mode::Leased(lease) = &client.mode
                && lease.is_over()
                && !lease.adrift
            {
                self.release_lease(key);
            }
            if go_on {
                self.unstall(key, Stall::None);
            }
        } else if *waits == Stall::Pipeline && client.pending <= self.settings.limits.client_pipeline / 2 {
            self.unstall(key, Stall::None);
        }
        self.leave_if_blocked(key);
    }
}
