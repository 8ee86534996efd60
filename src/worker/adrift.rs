//! What a client was owed on an own connection that is of no more use, and provably did not run there, waits for
//! another one: commands behind a connection that never came up, blocked commands that a demoted master let go, and
//! transactions that it refused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::client::{Lane, Mode, Stall};
use super::edit::Edit;
use super::lease::WAIT_MARK;
use super::link::{Cause, Link};
use super::reissue::with_time_left;
use super::sent::{Kind, Promise, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::transcript::{Transcript, Transcripts};
use super::turn::Worker;
use super::waiting::Adrift;
use crate::commands::Handling;
use crate::resp::{RequestScanner, Step};
use crate::stats::Limit;
use crate::topology::NodeId;

/// How long a node that is no master any more is left alone while it is still taken for one.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);

impl Worker {
    /// The first command on an own connection did not run: it waits for another one.
    pub(super) fn set_first_adrift(&mut self, key: LinkKey) {
        let Some((first, _)) = self.links.get(key).and_then(Link::first) else {
            return;
        };
        let at = first.at;
        let Some(taken) = self.take_first(key, None) else {
            return;
        };
        let (owner, sent) = (taken.client, taken.sent(at));
        if let Some(link) = self.links.get_mut(key) {
            link.refusing = true;
        }
        let transcript = match taken.kind {
            Kind::Exec { .. } => self.transaction_is_over(owner),
            _ => None,
        };
        let refused = Some((taken.node, self.now));
        self.set_adrift(owner, refused, transcript, sent, taken.request);
        if taken.kind == Kind::Waits && self.links.get(key).is_some_and(|link| link.closes) {
            let watching = matches!(
                self.clients.get(owner).map(|client| &client.mode),
                Some(Mode::Leased(lease)) if lease.watching
            );
            self.move_rest(key, owner, watching);
        }
    }

    /// The node closes an own connection and looks at nothing more on it: all that is there goes elsewhere.
    /// `watching`: what it watches is lost with it.
    fn move_rest(&mut self, key: LinkKey, owner: ClientKey, watching: bool) {
        let Some(mut link) = self.links.remove(key) else {
            return;
        };
        self.unlist(key, &link);
        for (sent, requests, _) in link.take_unanswered() {
            self.move_one(key, owner, sent, requests);
        }
        if !watching {
            self.take_state_along(owner);
        }
    }

    fn move_one(&mut self, key: LinkKey, owner: ClientKey, sent: Sent, requests: Vec<u8>) {
        match sent.kind {
            Kind::Load => self.go_on_after_load(sent.client, key, None),
            Kind::Again => self.set_adrift(owner, None, None, sent, requests),
            kind if kind.is_own() => {}
            _ => self.set_adrift(owner, None, None, sent, requests),
        }
    }

    /// What the client had begun on its connection goes on on the next one.
    fn take_state_along(&mut self, owner: ClientKey) {
        let Some(Mode::Leased(lease)) = self.clients.get_mut(owner).map(|client| &mut client.mode) else {
            return;
        };
        if let Some(adrift) = self.adrift.iter_mut().find(|adrift| adrift.client == owner) {
            adrift.whole = true;
            adrift.transcripts = std::mem::take(&mut lease.transcripts);
        }
    }

    /// Puts a batch behind what waits already for another connection of its client.
    fn set_adrift(
        &mut self,
        owner: ClientKey,
        refused: Option<(NodeId, Instant)>,
        transcript: Option<Transcript>,
        sent: Sent,
        requests: Vec<u8>,
    ) {
        let (now, hold) = (self.now, self.settings.limits.hold);
        let again = transcript
            .as_ref()
            .map_or(0, |transcript| transcript.requests.len());
        let (commands, bytes) = match sent.kind {
            Kind::Again => (0, requests.len()),
            _ => (sent.left as usize, requests.len() + again),
        };
        let crowded = !self.is_adrift(owner) && self.room_for(commands, bytes).is_err();
        let Some(client) = self.clients.get_mut(owner) else {
            return;
        };
        let Mode::Leased(lease) = &mut client.mode else {
            return;
        };
        if !lease.adrift {
            lease.adrift = true;
            client.parked += 1;
            // A connection that is lost again does not give what waits more time.
            let since = lease.since.filter(|since| now < *since + hold).unwrap_or(now);
            self.adrift.push(Adrift {
                client: owner,
                pipeline: VecDeque::new(),
                transcripts: Transcripts::default(),
                whole: false,
                since,
                crowded,
                refused: None,
            });
            self.hurried = true;
        }
        let Some(adrift) = self.adrift.iter_mut().find(|adrift| adrift.client == owner) else {
            return;
        };
        adrift.refused = refused.or(adrift.refused);
        if let Some(transcript) = transcript {
            let again = Sent {
                left: transcript.replies,
                ..Sent::own(owner, &transcript.requests, Kind::Again, Edit::None, now)
            };
            adrift.pipeline.push_back((again, transcript.requests.clone()));
            adrift.transcripts.push(transcript);
        }
        adrift.pipeline.push_back((sent, requests));
        self.hold_adrift(owner, commands, bytes);
    }

    /// The first transaction on a client's own connection is over.
    pub(super) fn transaction_is_over(&mut self, key: ClientKey) -> Option<Transcript> {
        match self.clients.get_mut(key).map(|client| &mut client.mode) {
            Some(Mode::Leased(lease)) => lease.transcripts.end_first(),
            _ => None,
        }
    }

    /// The transaction that a client queues cannot be sent again.
    pub(super) fn cannot_repeat(&mut self, key: ClientKey) {
        if let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode)
            && lease.multi
        {
            lease.transcripts.spoil_last();
        }
    }

    /// An own connection died: finds out what becomes of all that was on it. False: nothing but closing its client
    /// says what happened.
    pub(super) fn fail_lease(
        &mut self,
        key: LinkKey,
        owner: ClientKey,
        link: &mut Link,
        cause: &Cause,
    ) -> bool {
        let Some(Mode::Leased(lease)) = self.clients.get(owner).map(|client| &client.mode) else {
            return false;
        };
        let watched = lease.watched;
        let middle = link.is_torn() && link.was_up();
        if lease.upload.is_some() || middle || matches!(cause, Cause::Refused(_) | Cause::Defect) {
            return false;
        }
        if !link.was_up() {
            if !link.keeps {
                return false;
            }
            for (sent, requests, _) in link.take_unanswered() {
                self.move_one(key, owner, sent, requests);
            }
            self.take_state_along(owner);
            return true;
        }
        self.abort(owner);
        let mut again = None;
        for (sent, requests, handed_over) in link.take_unanswered() {
            // Requests on an own connection for which this is asked travel alone.
            let unsent = handed_over < requests.len();
            match sent.kind {
                Kind::Load => self.go_on_after_load(sent.client, key, None),
                Kind::Again => {
                    // All of it is sent again, the part that was answered too.
                    let (left, done) = (sent.left + sent.done, 0);
                    again = Some((Sent { left, done, ..sent }, requests));
                }
                kind if kind.is_own() => {}
                Kind::Promised(promise) => self.keep_promise(&sent, promise),
                Kind::Exec { .. } if unsent => match again.take() {
                    Some((before, log)) => {
                        self.set_adrift(owner, None, None, before, log);
                        self.set_adrift(owner, None, None, sent, requests);
                    }
                    None => self.fail_batch_with(&sent, texts::CUT_OFF),
                },
                Kind::Waits if unsent && !watched => {
                    self.set_adrift(owner, None, None, sent, requests);
                }
                Kind::Exec { .. } | Kind::Waits => {
                    again = None;
                    self.stats.in_doubt.add(u64::from(sent.left));
                    self.fail_batch_with(&sent, texts::IN_DOUBT);
                }
                _ if self.is_adrift(owner) && unsent && sent.left == 1 => {
                    self.set_adrift(owner, None, None, sent, requests);
                }
                _ => self.settle_each(sent, &requests, handed_over),
            }
        }
        let adrift = self.is_adrift(owner);
        if let Some(client) = self.clients.get_mut(owner)
            && !adrift
        {
            client.mode = Mode::Shared;
        }
        self.call_again(owner);
        true
    }

    /// Answers what may be answered without a node.
    pub(super) fn keep_promise(&mut self, sent: &Sent, promise: Promise) {
        for _ in 0..sent.left {
            self.deliver(sent.client, sent.batch, promise.reply(), 1);
        }
    }

    /// Queues a client's only transaction, of which all was answered, on another connection.
    pub(super) fn requeue(&mut self, owner: ClientKey) {
        let Some(Mode::Leased(lease)) = self.clients.get_mut(owner).map(|client| &mut client.mode) else {
            return;
        };
        let Some(only) = lease.transcripts.last() else {
            return;
        };
        let requests = only.requests.clone();
        let again = Sent {
            left: only.replies,
            ..Sent::own(owner, &requests, Kind::Again, Edit::None, self.now)
        };
        self.set_adrift(owner, None, None, again, requests);
        self.take_state_along(owner);
    }

    /// Nothing of a client's waits for another connection any more: it goes on on the one that it has.
    pub(super) fn is_adrift_no_more(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.parked = client.parked.saturating_sub(1);
            if let Mode::Leased(lease) = &mut client.mode {
                (lease.adrift, lease.since) = (false, None);
            }
        }
    }

    fn is_adrift(&self, key: ClientKey) -> bool {
        let client = self.clients.get(key);
        client.is_some_and(|client| matches!(&client.mode, Mode::Leased(lease) if lease.adrift))
    }

    /// Puts what waits for an own connection on one, where there is one to be had now, and gives up on what waited too
    /// long.
    pub(super) fn land(&mut self) {
        for mut adrift in std::mem::take(&mut self.adrift) {
            if !self.is_adrift(adrift.client) {
                // It has gone.
                self.hold_adrift_no_more(&adrift);
            } else if self.waits_for_nobody(&adrift) {
                self.hold_adrift_no_more(&adrift);
                self.close_client(adrift.client);
            } else if adrift.crowded || self.now >= adrift.since + self.settings.limits.hold {
                self.give_up(adrift);
            } else if !self.may_land(&adrift) || !self.land_one(&mut adrift) {
                self.adrift.push(adrift);
            }
        }
    }

    /// Whether the next command would wait, and its client has gone since it was sent the first time.
    fn waits_for_nobody(&self, adrift: &Adrift) -> bool {
        let first = adrift.pipeline.iter().find(|(sent, _)| sent.kind != Kind::Again);
        first.is_some_and(|(sent, _)| sent.kind == Kind::Waits)
            && self.clients.get(adrift.client).is_some_and(|client| client.hup)
    }

    /// Whether nothing of the client is under way that comes before, or that is still to be judged.
    fn may_land(&self, adrift: &Adrift) -> bool {
        let Some(client) = self.clients.get(adrift.client) else {
            return false;
        };
        let first = adrift.pipeline.iter().find(|(sent, _)| sent.kind != Kind::Again);
        let next = first.is_none_or(|(sent, _)| client.owed.is_next(sent.batch));
        let old = client.lease().and_then(|link| self.links.get(link));
        let other = adrift
            .refused
            .is_none_or(|(by, at)| self.route.master != Some(by) || self.now >= at + REFUSED_AGAIN);
        next && other && old.is_none_or(|link| link.pipeline.is_empty())
    }

    fn land_one(&mut self, adrift: &mut Adrift) -> bool {
        let key = adrift.client;
        let Some(client) = self.clients.get(key) else {
            return true;
        };
        let (old, profile) = (client.lease(), client.session.profile);
        let Some(link) = self.lease_to_master(key, profile) else {
            return false;
        };
        self.hold_adrift_no_more(adrift);
        if let Some(old) = old {
            self.drop_link(old);
        }
        if !adrift.whole {
            self.abort(key);
        }
        let elsewhere = adrift
            .refused
            .is_some_and(|(by, _)| self.route.master != Some(by));
        let Some(client) = self.clients.get_mut(key) else {
            return true;
        };
        client.parked = client.parked.saturating_sub(1);
        (client.lane, client.master_link) = (Lane::Master, None);
        let Mode::Leased(lease) = &mut client.mode else {
            return true;
        };
        (lease.link, lease.adrift, lease.spoiled) = (link, false, false);
        lease.since = (!elsewhere).then_some(adrift.since);
        lease.transcripts = std::mem::take(&mut adrift.transcripts);
        let scripts = lease.scripts.clone();
        self.load_in_front(key, link, &scripts);
        for (mut sent, mut requests) in adrift.pipeline.drain(..) {
            if sent.kind == Kind::Waits {
                let handling = self.handling_of(&requests);
                let waited = self.now.saturating_duration_since(sent.at);
                requests = with_time_left(&requests, handling, waited);
                if handling == Handling::Wait {
                    self.put_own(key, link, &[&WAIT_MARK]);
                }
            }
            requests = self.readdressed(link, requests, &mut sent.edit);
            (sent.bytes, sent.at) = (requests.len(), self.now);
            self.put(link, &requests, sent);
        }
        self.go_on_reading(key);
        true
    }

    fn handling_of(&self, request: &[u8]) -> Handling {
        let Ok(Step::Complete(found)) = RequestScanner::default().scan(request, self.bounds) else {
            return Handling::Forward;
        };
        self.entry(&found, request)
            .map_or(Handling::Forward, |command| command.handling)
    }

    /// There was no connection in time.
    fn give_up(&mut self, adrift: Adrift) {
        let key = adrift.client;
        self.hold_adrift_no_more(&adrift);
        let (lost, not_begun) = if adrift.crowded {
            (texts::HELD_ENOUGH, texts::NOT_BEGUN_CROWDED)
        } else {
            self.stats.limits[Limit::Hold as usize].add(1);
            (texts::NO_MASTER, texts::NOT_BEGUN)
        };
        let old = self.clients.get(key).and_then(super::client::Client::lease);
        let alive = old.filter(|old| self.links.get(*old).is_some());
        if alive.is_none() {
            self.abort(key);
        }
        self.is_adrift_no_more(key);
        for (sent, _) in adrift.pipeline {
            match sent.kind {
                Kind::Again => {}
                Kind::Promised(promise) => self.keep_promise(&sent, promise),
                Kind::Exec { .. } => self.fail_batch_with(&sent, not_begun),
                _ => self.fail_batch_with(&sent, lost),
            }
        }
        if let Some(old) = alive {
            // What it has not answered by now has no master to answer it either.
            self.failed.push((old, Cause::Lost));
        } else if let Some(client) = self.clients.get_mut(key) {
            client.mode = Mode::Shared;
            self.call_again(key);
        }
        self.go_on_reading(key);
    }

    /// The client waited for the connection alone: nothing is owed to it.
    fn go_on_reading(&mut self, key: ClientKey) {
        let client = self.clients.get(key);
        if client.is_some_and(|client| client.owed.is_empty() && client.stall == Stall::Owed) {
            self.unstall(key, Stall::None);
        }
    }
}
