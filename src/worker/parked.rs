//! What was taken back from links that died or nodes that refused waits for a node, in the order in which each client
//! sent it.
//!
//! On its way it may be refused once more, by a node that is no master yet or any more; nothing overtakes it meanwhile.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::aborted::is_touched;
use super::client::Lane;
use super::link::{Link, Use};
use super::owed::{BatchId, Owed};
use super::profile::ProfileId;
use super::sent::{Kind, Parked, Race, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use super::waiting::Held;
use crate::commands::Class;
use crate::stats::Limit;
use crate::topology::NodeId;

/// How long a command waits before a node that refused it is asked again although nothing is known to have changed.
const REFUSED_AGAIN: Duration = Duration::from_millis(100);

impl Worker {
    /// Sends parked batches for which there is a node, and gives up on those that waited too long.
    pub(super) fn unpark(&mut self) {
        // What a client sent in order goes on in order: nothing of it before what still waits.
        let mut waiting: HashSet<usize> = HashSet::new();
        // What goes out below was sent before what still waits: who writes by now is all that counts.
        let (writing, elsewhere) = self.writers();
        for mut parked in std::mem::take(&mut self.parked) {
            let Some(profile) = self
                .clients
                .get(parked.client)
                .map(|client| client.session.profile)
            else {
                self.hold_no_more(&parked);
                continue;
            };
            let index = parked.client.index();
            let goes = !waiting.contains(&index) && self.may_go(&parked);
            let link = goes.then(|| self.link_for(&parked, profile));
            let in_order = |link: &LinkKey| {
                let elsewhere = elsewhere.contains(&index);
                self.keeps_order(&parked, *link, elsewhere, writing.contains(&index))
            };
            if let Some(link) = link.flatten().filter(in_order) {
                self.hold_no_more(&parked);
                self.unparked(&parked, Some(link));
                let mut sent = self.sent_again(&parked);
                let requests = std::mem::take(&mut parked.requests);
                let requests = self.readdressed(link, requests, &mut sent.edit);
                sent.bytes = requests.len();
                self.put(link, &requests, sent);
            } else if self.now >= parked.since + self.settings.limits.hold {
                self.hold_no_more(&parked);
                self.unparked(&parked, None);
                self.stats.limits[Limit::Hold as usize].add(1);
                let read = matches!(parked.kind, Kind::Reads { .. });
                self.give_up_waiting(&parked, if read { texts::NO_READER } else { texts::NO_MASTER });
            } else {
                waiting.insert(index);
                self.parked.push_back(parked);
            }
        }
        self.land();
        self.resubscribe();
    }

    /// Something of a client's has to wait: since when, as one that is put aside again gets no more time.
    pub(super) fn put_aside(&mut self, key: ClientKey) -> Instant {
        let now = self.now;
        self.clients.get_mut(key).map_or(now, |client| {
            client.parked += 1;
            *client.aside.get_or_insert(now)
        })
    }

    /// What is put on a link of a batch that waited.
    fn sent_again(&self, parked: &Parked) -> Sent {
        let reads = matches!(parked.kind, Kind::Reads { .. });
        let writers = if reads { 0 } else { parked.left };
        Sent {
            client: parked.client,
            batch: parked.batch,
            left: parked.left,
            done: 0,
            bytes: parked.requests.len(),
            kind: parked.kind,
            edit: parked.edit.clone(),
            race: Race::None,
            at: self.now,
            writes: self.writes_among(&parked.requests, writers),
        }
    }

    /// Lists a parked batch before those that its client sent later.
    pub(super) fn keep_parked(&mut self, parked: Parked) {
        let client = self.clients.get(parked.client);
        let Some(owed) = client
            .filter(|client| client.parked > 1)
            .map(|client| &client.owed)
        else {
            return self.parked.push_back(parked);
        };
        let place = |batch| owed.place(batch);
        let later =
            |other: &Parked| other.client == parked.client && place(other.batch) > place(parked.batch);
        let at = self.parked.iter().position(later).unwrap_or(self.parked.len());
        self.parked.insert(at, parked);
    }

    /// Whether what a node refused is to be tried: not there again until it is known to be something else now, or for a
    /// while has not been.
    fn may_go(&self, parked: &Parked) -> bool {
        let is_known = parked.unproven.is_none();
        is_known
            && parked.refused.is_none_or(|refusal| {
                self.route.master != Some(refusal.by)
                    || self.topology.version != refusal.version
                    || self.now >= refusal.at + REFUSED_AGAIN
            })
    }

    /// The places of clients that have writes under way, and of those that have some on a node that is not the master, or may
    /// lead to one.
    fn writers(&self) -> (HashSet<usize>, HashSet<usize>) {
        let (mut all, mut elsewhere) = (HashSet::new(), HashSet::new());
        if self.parked.is_empty() {
            return (all, elsewhere);
        }
        for link in self.links.iter() {
            let written = link.pipeline.iter().filter(|sent| sent.kind.may_write());
            let writers = written.map(|sent| sent.client.index());
            if self.route.master == Some(link.node) && link.usage != Use::Retired {
                all.extend(writers);
            } else {
                elsewhere.extend(writers);
            }
        }
        all.extend(&elsewhere);
        (all, elsewhere)
    }

    /// Whether a batch does not overtake on that link what its client sent before it and has not been answered: that may
    /// be on its way to the former master once more. `elsewhere`: the client has writes under way on nodes that are not
    /// the master; `writing`: it has any.
    fn keeps_order(&self, parked: &Parked, link: LinkKey, elsewhere: bool, writing: bool) -> bool {
        let Some(client) = self.clients.get(parked.client) else {
            return true;
        };
        let next = client.owed.is_next(parked.batch) || client.master_link == Some(link) && !elsewhere;
        let overtaken = || writing && self.is_overtaken(parked, link, elsewhere);
        !parked.kind.may_write() || next && !overtaken()
    }

    /// Whether a write that its client sent later is under way, on that link or (`elsewhere`) on any: a node may have
    /// become the master between the two.
    fn is_overtaken(&self, parked: &Parked, link: LinkKey, elsewhere: bool) -> bool {
        let owed = self.clients.get(parked.client).map(|client| &client.owed);
        let place = |batch| owed.and_then(|owed| owed.place(batch));
        let own = place(parked.batch);
        let is_later =
            |sent: &Sent| sent.client == parked.client && sent.kind.may_write() && place(sent.batch) > own;
        let has_later = |link: &Link| link.pipeline.iter().any(is_later);
        self.links.get(link).is_some_and(has_later) || elsewhere && self.links.iter().any(has_later)
    }

    /// The first command on a link ran, on a node that refused others before: where it writes, what its client sent
    /// before it and was refused cannot run in order any more.
    pub(super) fn first_ran(&mut self, key: LinkKey, reply: &[u8]) {
        let first = self.links.get(key).and_then(Link::first);
        let Some((client, batch, kind)) = first.map(|(first, _)| (first.client, first.batch, first.kind))
        else {
            return;
        };
        let waits = self.clients.get(client).is_some_and(|client| client.parked > 0);
        let writes = || match kind {
            Kind::Exec { .. } => !is_touched(reply),
            _ => matches!(self.class_of_first(key), Some(Class::Write | Class::Script)),
        };
        if waits && writes() {
            self.give_up_overtaken(client, batch);
        }
    }

    fn give_up_overtaken(&mut self, key: ClientKey, batch: BatchId) {
        let Some(client) = self.clients.get(key).filter(|client| client.parked > 0) else {
            return;
        };
        let ran = client.owed.place(batch);
        let overtaken = |parked: &Parked, owed: &Owed| {
            parked.client == key && parked.kind.may_write() && owed.place(parked.batch) < ran
        };
        let (gone, stay): (Vec<Parked>, Vec<Parked>) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|parked| overtaken(parked, &client.owed));
        self.parked = stay.into();
        for parked in gone {
            self.hold_no_more(&parked);
            if let Some(client) = self.clients.get_mut(key) {
                client.parked = client.parked.saturating_sub(1);
            }
            self.give_up_waiting(&parked, texts::OVERTAKEN);
        }
        self.give_up_adrift(key);
    }

    /// The same on the client's own connection: what was put aside was sent before.
    fn give_up_adrift(&mut self, key: ClientKey) {
        let Some(at) = self.adrift.iter().position(|adrift| adrift.client == key) else {
            return;
        };
        let mut adrift = self.adrift.swap_remove(at);
        self.hold_adrift_no_more(&adrift);
        let (gone, stay): (Vec<_>, Vec<_>) =
            std::mem::take(&mut adrift.pipeline)
                .into_iter()
                .partition(|(sent, _)| match sent.kind {
                    Kind::Writes | Kind::Script { .. } | Kind::Exec { .. } => true,
                    kind => kind == Kind::Again,
                });
        adrift.pipeline = stay.into();
        adrift.transcripts.clear();
        if adrift.pipeline.is_empty() {
            self.is_adrift_no_more(key);
        } else {
            let left = Held::from(&adrift);
            self.hold_adrift(key, left.commands, left.bytes);
            self.adrift.push(adrift);
        }
        for (sent, _) in gone {
            match sent.kind {
                Kind::Again => {}
                Kind::Exec { .. } => self.fail_batch_with(&sent, texts::NOT_BEGUN_OVERTAKEN),
                _ => self.fail_batch_with(&sent, texts::OVERTAKEN),
            }
        }
    }

    fn unparked(&mut self, parked: &Parked, link: Option<LinkKey>) {
        let node = link.and_then(|key| self.links.get(key)).map(|link| link.node);
        let on_master = node.is_some() && node == self.route.master;
        if let Some(client) = self.clients.get_mut(parked.client) {
            client.parked = client.parked.saturating_sub(1);
            client.master_link = link.filter(|_| on_master);
            client.lane = match parked.kind {
                // Others of its reads may be on their way to replicas: what writes then still waits for them.
                Kind::Reads { .. } if on_master => client.lane,
                // A read that went elsewhere leaves the master's lane: what writes then waits for it.
                _ if !on_master => Lane::Reading,
                _ => Lane::Master,
            };
        }
    }

    fn link_for(&mut self, parked: &Parked, profile: ProfileId) -> Option<LinkKey> {
        let client = self.clients.get(parked.client)?;
        let before = client.master_link;
        let behind = client.lane == Lane::Master && !client.owed.is_next(parked.batch);
        let node = match parked.kind {
            // What is before it went to the master and is not answered: only there it is seen.
            Kind::Reads { .. } if behind => self.route.master,
            // The last attempt goes where the answer is surest.
            Kind::Reads { retries: 0 } => self.route.last_resort().or_else(|| self.reader(profile)),
            Kind::Reads { .. } => self.reader(profile),
            _ => self.route.master,
        }?;
        // What a client sent in order goes on in order: on the link that took what came before it.
        let takes = |link: &Link| link.node == node && link.usage != Use::Retired;
        let same = before.filter(|key| self.links.get(*key).is_some_and(takes));
        same.or_else(|| self.shared_link(node, profile))
    }

    /// Leaves a node that refused a read out for a moment, so that the next one goes elsewhere.
    pub(super) fn pass_over(&mut self, node: NodeId) {
        let until = self.now + REFUSED_AGAIN;
        let shut = &mut self.shut[node.index()];
        if shut.is_none_or(|(shut, _)| shut < until) {
            *shut = Some((until, REFUSED_AGAIN));
        }
    }
}
