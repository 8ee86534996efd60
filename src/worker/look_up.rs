//! What only the master knows of clients that have a connection of their own there, for CLIENT LIST: subscriptions,
//! transactions, tracking. The master is asked about those connections, and its lines go into the clients'.

use std::collections::HashMap;

use super::client_filter::number;
use super::client_line::Seen;
use super::question::{Purpose, Roll};
use super::turn::Worker;

/// So many connections are looked up for one CLIENT LIST; of others is said what the ambassador knows.
const MOST: usize = 1024;

/// The master's answer is not looked at when it is larger.
pub(super) const MOST_BYTES: usize = 4 * 1024 * 1024;

impl Worker {
    /// Asks the master about the connections that clients have there for themselves.
    pub(super) fn look_up(&mut self, roll: Roll) {
        let upstream = roll.answer.seen.iter().filter_map(|seen| seen.upstream);
        let ids: Vec<String> = upstream.take(MOST).map(|id| id.to_string()).collect();
        let link = self.route.master.filter(|_| !ids.is_empty());
        let Some(link) = link.and_then(|master| self.shared_link(master, self.plain)) else {
            return self.finish_roll(roll);
        };
        let mut words = vec![&b"CLIENT"[..], b"LIST", b"ID"];
        words.extend(ids.iter().map(String::as_bytes));
        let number = self.next_question();
        self.ask(roll.client, link, number, Purpose::Lines(roll), &words);
    }
}

/// Adds the lines of the master's CLIENT LIST to the clients whose connections they are about.
pub(super) fn tell(seen: &mut [Seen], reply: &[u8]) {
    let with_id = |line: &'_ [u8]| {
        let digits = line.strip_prefix(b"id=")?.split(|byte| *byte == b' ').next()?;
        Some((number(digits)?, line.to_vec()))
    };
    let mut lines: HashMap<u64, Vec<u8>> = reply.split(|byte| *byte == b'\n').filter_map(with_id).collect();
    for client in seen {
        client.told = client.upstream.and_then(|id| lines.remove(&id));
    }
}
