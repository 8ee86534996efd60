//! Subscribers whose node is lost or no master any more, where the configuration wants them to be subscribed anew rather
//! than closed.

use std::time::Instant;

use super::client::{Client, Listens, Mode, Stall, Tunnel};
use super::link::Link;
use super::session::ReplyMode;
use super::slots::ClientKey;
use super::subscriptions::Subscriptions;
use super::targets::Target;
use super::turn::Worker;
use super::writes::Count;
use crate::commands::{Class, Handling};
use crate::settings::OnFailover;
use crate::stats::Limit;

impl Worker {
    /// Whether what a new tunnel's client subscribes to is kept in mind.
    pub(super) fn subscriptions(&self) -> Option<Box<Subscriptions>> {
        let again = self.settings.subscriptions.on_failover == OnFailover::Resubscribe;
        again.then(Box::default)
    }

    /// A client's own connection was lost. True: it is subscribed anew when there is another one.
    pub(super) fn will_resubscribe(&mut self, owner: ClientKey, link: &Link) -> bool {
        let now = self.now;
        let Some(client) = self.clients.get_mut(owner).filter(|client| !client.closing) else {
            return false;
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return false;
        };
        // Between two replies: a part of one that went to the client cannot be taken back.
        if !link.scanner.at_start() || !may_move(tunnel) {
            return false;
        }
        tunnel.lost = tunnel.lost.or(Some(now));
        self.unsubscribed.push(owner);
        self.hurried = true;
        true
    }

    /// Subscribes clients anew for whom there is a connection now, and gives up on those that waited too long.
    pub(super) fn resubscribe(&mut self) {
        for key in std::mem::take(&mut self.unsubscribed) {
            let Some(since) = self.clients.get(key).and_then(lost_since) else {
                continue;
            };
            if self.now >= since + self.settings.limits.hold {
                self.stats.limits[Limit::Hold as usize].add(1);
                self.close_when_flushed(key);
            } else if !self.resubscribe_one(key) {
                self.unsubscribed.push(key);
            }
        }
    }

    fn resubscribe_one(&mut self, key: ClientKey) -> bool {
        let Some(profile) = self.clients.get(key).map(|client| client.session.profile) else {
            return true;
        };
        let Some(link) = self.lease_to_master(key, profile) else {
            return false;
        };
        self.tell_own_names(key, link);
        let node = self.links.get(link).map(|link| link.node);
        let Some(client) = self.clients.get_mut(key) else {
            return true;
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return true;
        };
        tunnel.link = link;
        tunnel.target = None;
        tunnel.count = Count::starting(node, 0);
        let again = tunnel.subscriptions.as_mut().map(|all| all.again());
        self.stats.resubscribed.add(1);
        let waits = client.stall == Stall::Lease;
        self.count_passed(key, Class::Pubsub, Handling::Forward, None);
        self.pass(link, &again.unwrap_or_default());
        if waits {
            self.unstall(key, Stall::None);
        }
        true
    }
}

fn lost_since(client: &Client) -> Option<Instant> {
    match &client.mode {
        Mode::Tunnel(tunnel) if !client.closing => tunnel.lost,
        _ => None,
    }
}

/// Whether a tunnel is nothing but a subscriber's, to whom nothing but messages is to come.
fn may_move(tunnel: &Tunnel) -> bool {
    let only_listens = tunnel.listens == Listens::Channels && tunnel.redirect.is_none();
    let quiet = tunnel.upload.is_none() && tunnel.judging.is_none() && !tunnel.mends.waits();
    let ends = tunnel.resetting || tunnel.leaving || tunnel.ended || tunnel.opaque;
    let as_it_began = !tunnel.multi && !tunnel.muddled && tunnel.reply == ReplyMode::On;
    only_listens
        && quiet
        && !ends
        && as_it_began
        && !tunnel.target.as_ref().is_some_and(Target::is_aimed)
        && tunnel.subscriptions.as_ref().is_some_and(|all| all.may_move())
}
