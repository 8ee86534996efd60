//! Notes the keys of acknowledged writes, only where `log.lost_keys` asks for it: when a failover may have lost some, the log
//! names them.
//!
//! As far as they are known: not of what went through a tunnel, or of large requests.

use std::time::Instant;

use tracing::warn;

use super::client::Mode;
use super::link::Link;
use super::sent::Kind;
use super::slots::LinkKey;
use super::turn::Worker;
use super::writes::Writes;
use crate::commands::{Class, Command};
use crate::resp::{Arguments, RequestScanner, Step};
use crate::topology::NodeId;

/// Keys in one line of the log.
const IN_A_LINE: usize = 100;

impl Worker {
    /// A reply to the first batch on a link came: where it is the last one, notes the keys of the batch.
    pub(super) fn note_keys(&mut self, key: LinkKey) {
        let Some(link) = self.links.get(key) else { return };
        let Some((first, log)) = link.first().filter(|(first, _)| first.left == 1) else {
            return;
        };
        if first.writes.may == 0 {
            return;
        }
        let owner = link.owner().and_then(|owner| self.clients.get(owner));
        let queued = match (first.kind, owner.map(|client| &client.mode)) {
            (Kind::Exec { .. }, Some(Mode::Leased(lease))) => lease.transcripts.oldest(),
            _ => None,
        };
        let requests = match queued {
            Some(transcript) => &transcript.requests[..],
            None => &log[..first.bytes.min(log.len())],
        };
        let (node, keys) = (link.node, self.keys_in(requests, u32::MAX));
        self.add_keys(node, &keys);
    }

    /// The keys of what was acknowledged so far of the first batch on a link.
    pub(super) fn first_keys(&self, link: &Link) -> Vec<Vec<u8>> {
        let first = link.first().filter(|_| self.last_keys.is_on());
        first.map_or(Vec::new(), |(first, log)| self.keys_in(log, first.done))
    }

    /// Notes keys of writes that a node acknowledged.
    pub(super) fn add_keys(&mut self, node: NodeId, keys: &[Vec<u8>]) {
        for key in keys {
            self.last_keys.add(node, self.now, key);
        }
    }

    /// The keys of the writes among the first so many requests.
    fn keys_in(&self, requests: &[u8], most: u32) -> Vec<Vec<u8>> {
        let (mut at, mut keys) = (0, Vec::new());
        for _ in 0..most {
            let Ok(Step::Complete(found)) = RequestScanner::default().scan(&requests[at..], self.bounds)
            else {
                break;
            };
            let request = &requests[at..at + found.len];
            if let Some(command) = self.entry(&found, request) {
                keys.extend(written_keys(command, request).into_iter().map(<[u8]>::to_vec));
            }
            at += found.len;
        }
        keys
    }

    /// What that node acknowledged since then may be lost: names it.
    pub(super) fn tell_lost_keys(&self, node: NodeId, since: Instant) {
        let former = self.topology.node(node).map_or("?", |node| node.name.as_str());
        let keys: Vec<&[u8]> = self.last_keys.since(node, since).collect();
        for keys in keys.chunks(IN_A_LINE) {
            let keys: Vec<String> = keys.iter().map(|key| key.escape_ascii().to_string()).collect();
            warn!(
                former,
                keys = keys.join(" "),
                "keys of acknowledged writes that may be lost"
            );
        }
    }
}

/// The keys of a request that may write.
fn written_keys<'a>(command: &Command, request: &'a [u8]) -> Vec<&'a [u8]> {
    if Writes::of_one(command.class_of(Arguments::of(request))).may == 0 {
        return Vec::new();
    }
    let arguments: Vec<&[u8]> = Arguments::of(request).collect();
    if command.class == Class::Script {
        // EVAL script numkeys key ...
        let count = arguments
            .get(2)
            .and_then(|count| std::str::from_utf8(count).ok()?.parse::<usize>().ok());
        return arguments.into_iter().skip(3).take(count.unwrap_or(0)).collect();
    }
    let positions = command.keys.positions(arguments.len());
    positions
        .filter_map(|position| arguments.get(position).copied())
        .collect()
}
