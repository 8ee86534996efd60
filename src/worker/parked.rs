//! What was taken back from links that died or nodes that refused waits for a node, in the order in which each client
//! sent it.
//!
//! On its way it may be refused once more, by a node that is no master yet or any more; nothing overtakes it meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use super::client::Lane;
use super::profile::ProfileId;
use super::sent::{Kind, Parked, Race, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use crate::stats::Limit;
use crate::topology::NodeId;

/// How long a command waits before a node that refused it is asked again although nothing is known to have changed.
const REFUSED_AGAIN: Duration = Duration::from_millis(100);

impl Worker {
    /// Sends parked batches for which there is a node, and gives up on those that waited too long.
    pub(super) fn unpark(&mut self) {
        // What a client sent in order goes on in order: nothing of it before what still waits.
        let mut waiting: Vec<ClientKey> = Vec::new();
        let elsewhere = self.written_to_others();
        for mut parked in std::mem::take(&mut self.parked) {
            let Some(profile) = self
                .clients
                .get(parked.client)
                .map(|client| client.session.profile)
            else {
                self.hold_no_more(&parked);
                continue;
            };
            let reads = matches!(parked.kind, Kind::Reads { .. });
            let writers = if reads { 0 } else { parked.left };
            let mut sent = Sent {
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
            };
            let goes = !waiting.contains(&parked.client) && self.may_go(&parked);
            let link = goes.then(|| self.link_for(parked.client, parked.kind, profile));
            if let Some(link) = link
                .flatten()
                .filter(|link| self.keeps_order(&parked, *link, &elsewhere))
            {
                self.hold_no_more(&parked);
                self.unparked(parked.client, Some(link));
                let requests = std::mem::take(&mut parked.requests);
                let requests = self.readdressed(link, requests, &mut sent.edit);
                sent.bytes = requests.len();
                self.put(link, &requests, sent);
            } else if self.now >= parked.since + self.settings.limits.hold {
                self.hold_no_more(&parked);
                self.unparked(parked.client, None);
                self.stats.limits[Limit::Hold as usize].add(1);
                let read = matches!(parked.kind, Kind::Reads { .. });
                self.fail_batch_with(&sent, if read { texts::NO_READER } else { texts::NO_MASTER });
            } else {
                waiting.push(parked.client);
                self.parked.push_back(parked);
            }
        }
        self.land();
        self.resubscribe();
    }

    /// Lists a parked batch before those that its client sent later.
    pub(super) fn keep_parked(&mut self, parked: Parked) {
        let owed = self.clients.get(parked.client).map(|client| &client.owed);
        let place = |batch| owed.and_then(|owed| owed.place(batch));
        let later =
            |other: &Parked| other.client == parked.client && place(other.batch) > place(parked.batch);
        let at = self.parked.iter().position(later).unwrap_or(self.parked.len());
        self.parked.insert(at, parked);
    }

    /// Whether what a node refused is to be tried: not there again until it is known to be something else now, or for a
    /// while has not been.
    fn may_go(&self, parked: &Parked) -> bool {
        parked.refused.is_none_or(|refusal| {
            self.route.master != Some(refusal.by)
                || self.topology.version != refusal.version
                || self.now >= refusal.at + REFUSED_AGAIN
        })
    }

    /// The places of clients that have writes under way on nodes that are not the master (any more).
    fn written_to_others(&self) -> HashSet<usize> {
        if self.parked.is_empty() {
            return HashSet::new();
        }
        let others = self
            .links
            .iter()
            .filter(|link| self.route.master != Some(link.node));
        let written = others.flat_map(|link| &link.pipeline);
        let written = written.filter(|sent| sent.kind.may_write());
        written.map(|sent| sent.client.index()).collect()
    }

    /// Whether a batch does not overtake on that link what its client sent before it and has not been answered: that may
    /// be on its way to the former master once more.
    fn keeps_order(&self, parked: &Parked, link: LinkKey, elsewhere: &HashSet<usize>) -> bool {
        let Some(client) = self.clients.get(parked.client) else {
            return true;
        };
        let same = client.master_link == Some(link) && !elsewhere.contains(&parked.client.index());
        !parked.kind.may_write() || same || client.owed.is_next(parked.batch)
    }

    fn unparked(&mut self, client: ClientKey, link: Option<LinkKey>) {
        let node = link.and_then(|key| self.links.get(key)).map(|link| link.node);
        let on_master = node.is_some() && node == self.route.master;
        if let Some(client) = self.clients.get_mut(client) {
            client.parked = client.parked.saturating_sub(1);
            // A read that went elsewhere leaves the master's lane: what writes then waits for it.
            client.master_link = link.filter(|_| on_master);
            client.lane = if on_master { Lane::Master } else { Lane::Reading };
        }
    }

    fn link_for(&mut self, client: ClientKey, kind: Kind, profile: ProfileId) -> Option<LinkKey> {
        let node = match kind {
            // The last attempt goes where the answer is surest.
            Kind::Reads { retries: 0 } => self.route.last_resort().or_else(|| self.reader(profile)),
            Kind::Reads { .. } => self.reader(profile),
            _ => self.route.master,
        }?;
        // What a client sent in order goes on in order: on the link that took what came before it.
        let before = self.clients.get(client).and_then(|client| client.master_link);
        let same = before.filter(|key| self.links.get(*key).is_some_and(|link| link.node == node));
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
