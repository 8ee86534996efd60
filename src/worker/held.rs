//! What waits for a node, bounded by `limits.hold_commands` and `limits.hold_bytes`: beyond them a command that finds no
//! node fails at once, and has not run.
//!
//! Each worker has its share of both bounds, as clients do not move.

use super::client::{Client, Mode, Stall};
use super::sent::Parked;
use super::slots::ClientKey;
use super::turn::Worker;
use super::waiting::{Adrift, Held};
use crate::stats::Limit;

impl Worker {
    /// Whether so many commands more may wait. `Err`: which bound forbids it, counted.
    pub(super) fn room_for(&self, commands: usize, bytes: usize) -> Result<(), Limit> {
        let (limits, workers) = (&self.settings.limits, self.settings.workers.max(1));
        let over = if self.held.commands + commands > (limits.hold_commands / workers).max(1) {
            Limit::HoldCommands
        } else if self.held.bytes + bytes > limits.hold_bytes / workers {
            Limit::HoldBytes
        } else {
            return Ok(());
        };
        self.stats.limits[over as usize].add(1);
        Err(over)
    }

    /// A batch waits from now on.
    pub(super) fn hold(&mut self, parked: Parked) {
        self.grown += parked.requests.len();
        self.held.add((&parked).into());
        self.keep_parked(parked);
        self.tell_held();
    }

    /// A batch waits no more.
    pub(super) fn hold_no_more(&mut self, parked: &Parked) {
        self.held.take_off(parked.into());
        self.tell_held();
    }

    /// So many bytes more wait for an own connection.
    pub(super) fn hold_adrift(&mut self, key: ClientKey, commands: usize, bytes: usize) {
        self.grown += bytes;
        self.held.add(Held { commands, bytes });
        if let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode) {
            lease.aside += bytes;
        }
        self.tell_held();
    }

    /// What waited for an own connection does so no more.
    pub(super) fn hold_adrift_no_more(&mut self, adrift: &Adrift) {
        self.held.take_off(adrift.into());
        if let Some(Mode::Leased(lease)) = self.clients.get_mut(adrift.client).map(|client| &mut client.mode)
        {
            lease.aside = 0;
        }
        self.tell_held();
    }

    /// The next request of a client waits for a node, or does not any more.
    pub(super) fn hold_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let waits = client.stall == Stall::Node;
        let held = waits.then_some(Held {
            commands: 1,
            bytes: client.input.len(),
        });
        let before = std::mem::replace(&mut client.held, held);
        self.held.take_off(before.unwrap_or_default());
        self.held.add(held.unwrap_or_default());
        self.tell_held();
    }

    /// A client is gone, and what it has waiting goes with it.
    pub(super) fn drop_held(&mut self, key: ClientKey, client: &Client) {
        if let Some(held) = client.held {
            self.held.take_off(held);
            self.tell_held();
        }
        if client.parked == 0 {
            return;
        }
        for parked in std::mem::take(&mut self.parked) {
            if parked.client == key {
                self.hold_no_more(&parked);
            } else {
                self.parked.push_back(parked);
            }
        }
        for adrift in std::mem::take(&mut self.adrift) {
            if adrift.client == key {
                self.hold_adrift_no_more(&adrift);
            } else {
                self.adrift.push(adrift);
            }
        }
    }

    /// Bytes that wait beside those in clients' own buffers.
    pub(super) fn held_aside(&self) -> usize {
        let parked: usize = self.parked.iter().map(|parked| parked.requests.len()).sum();
        let adrift = self
            .adrift
            .iter()
            .map(|adrift| Held::from(adrift).bytes + adrift.transcripts.kept());
        parked + adrift.sum::<usize>()
    }

    fn tell_held(&self) {
        self.stats.held.set(self.held.commands as u64);
        self.stats.held_bytes.set(self.held.bytes as u64);
    }
}
