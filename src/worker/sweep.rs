//! Everything that happens because time has passed.

use std::time::{Duration, Instant};

use super::client::{Client, Lane, Mode, Stall};
use super::link::{Cause, Link, Phase, Use};
use super::sent::Kind;
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::stats::Limit;

/// A client that is to be closed gets this long to take what it is owed.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Profiles kept without asking whether anybody uses them.
const PROFILES: usize = 64;

impl Worker {
    /// Looks after every time-out.
    pub(super) fn sweep(&mut self) {
        self.unpark();
        self.expire_rolls();
        let mut hurried = self.sweep_pause()
            || !self.parked.is_empty()
            || !self.adrift.is_empty()
            || !self.unsubscribed.is_empty()
            || !self.rolls.is_empty()
            || !self.resting.is_empty()
            || self.draining.is_some();
        for key in self.links.keys() {
            hurried |= self.sweep_link(key);
        }
        for key in self.clients.keys() {
            hurried |= self.sweep_client(key);
        }
        self.hurried = hurried | self.sweep_gathers() || !self.seekers.is_empty() || !self.logins.is_empty();
        self.serve_wanted();
        // One that was called and did not ask has called nobody.
        for _ in 0..self.logins.len() {
            self.next_login();
        }
        let now = self.now;
        self.refused.retain(|_, until| now < *until);
        if self.profiles.len() > PROFILES {
            let clients = self.clients.iter().map(|client| client.session.profile);
            let links = self.links.iter().map(|link| link.profile);
            let used: std::collections::HashSet<_> = clients.chain(links).chain([self.plain]).collect();
            self.profiles.retain(|id| used.contains(&id));
        }
        self.count_buffers();
    }

    /// True: something about this link waits for time to pass.
    fn sweep_link(&mut self, key: LinkKey) -> bool {
        let upstream = &self.settings.upstream;
        let Some(link) = self.links.get(key) else {
            return false;
        };
        match link.phase {
            Phase::Connecting(since) | Phase::Handshake(since) => {
                // A set-up is held as well when everything is.
                let held = self.paused.is_some() && matches!(link.phase, Phase::Handshake(_));
                if !held && self.now >= since + upstream.connect_timeout {
                    self.failed.push((key, Cause::TimedOut));
                }
                true
            }
            Phase::Up => {
                let limit = upstream.reply_timeout;
                if !limit.is_zero() && self.is_overdue(link, limit) {
                    self.stats.limits[Limit::ReplyTimeout as usize].add(1);
                    self.failed.push((key, Cause::TimedOut));
                    return true;
                }
                if let Some(cause) = self.silenced(link) {
                    self.failed.push((key, cause));
                    return true;
                }
                if link.usage == Use::Errand && self.now >= link.used + upstream.connect_timeout {
                    // It was not waited for any longer.
                    self.drop_link(key);
                    return false;
                }
                if link.usage == Use::Retired && link.pipeline.is_empty() {
                    self.drop_link(key);
                    return false;
                }
                let unused = link.pipeline.is_empty() && link.owner().is_none() && link.waiters.is_empty();
                let kept = link.usage == Use::Shared && link.profile == self.plain;
                if unused && !kept && self.now >= link.used + upstream.idle_timeout {
                    self.drop_link(key);
                    return false;
                }
                // Whoever is silent is to be found out in time.
                self.is_silent(link, self.silence() / 2)
            }
        }
    }

    /// Whether the oldest batch on a link waits longer than it may. A blocked command may.
    fn is_overdue(&self, link: &Link, limit: Duration) -> bool {
        link.pipeline
            .front()
            .is_some_and(|sent| sent.kind != Kind::Waits && self.now >= sent.at + limit)
    }

    /// True: something about this client waits for time to pass.
    fn sweep_client(&mut self, key: ClientKey) -> bool {
        let limits = &self.settings.limits;
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        if client.stall == Stall::Node {
            if client
                .node_since
                .is_some_and(|since| self.now >= since + limits.hold)
            {
                client.expired = true;
                client.node_since = None;
                self.stats.limits[Limit::Hold as usize].add(1);
            }
            // There may be a node again; if there is none the client stalls again.
            self.unstall(key, Stall::None);
            return true;
        }
        let ended = matches!(&client.mode, Mode::Tunnel(tunnel) if tunnel.ended);
        if (client.closing || ended && client.hup) && self.now >= client.heard + LAST_WORDS {
            self.close_client(key);
            return false;
        }
        let over = |limit: Duration, since: Instant| !limit.is_zero() && self.now >= since + limit;
        if client.began.is_some_and(|began| over(limits.request, began)) {
            self.close_over_limit(key, Limit::Request);
        } else if over(limits.idle, client.heard) && is_quiet(client) {
            self.close_over_limit(key, Limit::Idle);
        }
        false
    }

    /// Clients that wait for a node try again.
    pub(super) fn wake_waiting(&mut self) {
        for key in self.clients.keys() {
            if self
                .clients
                .get(key)
                .is_some_and(|client| client.stall == Stall::Node)
            {
                self.unstall(key, Stall::None);
            }
        }
    }

    /// While draining: closes every client that is owed nothing, and those whose command may wait for ever.
    pub(super) fn close_idle_clients(&mut self) {
        for key in self.clients.keys() {
            let Some(client) = self.clients.get(key) else {
                continue;
            };
            let waits_for_ever = matches!(client.mode, Mode::Tunnel(_)) || self.is_blocked(key);
            let idle = client.owed.is_empty() && client.unread() == 0 && !is_in_transaction(client);
            if waits_for_ever && client.unread() == 0 || idle && client.input.is_empty() && !client.readable {
                self.close_client(key);
            }
        }
    }
}

/// Redis never times out subscribers and blocked clients.
fn is_quiet(client: &Client) -> bool {
    client.owed.is_empty() && client.lane == Lane::Idle && matches!(client.mode, Mode::Shared)
}

fn is_in_transaction(client: &Client) -> bool {
    matches!(&client.mode, Mode::Leased(lease) if lease.multi)
}
