//! What a client has subscribed to, so that it can be subscribed anew where its node is lost. Pure: what is sent and what
//! comes goes in.
//!
//! Only confirmations count, not requests. Where it cannot be told for sure that nothing else is to come to the client, or
//! that its connection is nothing but subscribed, it says so, and the client is closed as ever.

use std::collections::BTreeSet;

use crate::resp::write;

/// Who subscribes to this channel gets a message there each time that it was subscribed anew, and may have missed others.
pub(super) const NOTICE: &[u8] = b"__redis_ambassador__:resubscribed";

/// More bytes of names are not kept.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// So many names are put in one request.
const AT_ONCE: usize = 512;

/// A confirmation or a message is known by so many bytes.
const HEAD: usize = 64;

/// What SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE are about, and the verbs that they are confirmed with.
const KINDS: [[&str; 2]; 3] = [
    ["subscribe", "unsubscribe"],
    ["psubscribe", "punsubscribe"],
    ["ssubscribe", "sunsubscribe"],
];

/// What is pushed to a subscriber without its asking.
const MESSAGES: [&[u8]; 3] = [b"message", b"pmessage", b"smessage"];

/// A connection's subscriptions.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    names: [BTreeSet<Box<[u8]>>; KINDS.len()],
    bytes: usize,
    /// Answers still to come to what the client sent.
    awaited: u64,
    /// It cannot be told what the connection is, or what is still to come.
    unsure: bool,
    /// Confirmations still to come to what the ambassador sent for it.
    anew: u64,
}

/// What becomes of something that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It is the client's.
    ForClient,
    /// It answers the ambassador.
    ForUs,
    /// The same, and with it the client is subscribed to everything anew.
    Last,
    /// A node refused to subscribe it anew.
    Refused,
    /// So far it may be either.
    Unclear,
}

impl Subscriptions {
    /// The client sent a command of so many words. `plain`: it says nothing of the connection.
    pub(super) fn sent(&mut self, name: &[u8], words: usize, plain: bool) {
        let arguments = words as u64 - 1;
        let verb = |verb: usize| {
            KINDS
                .iter()
                .position(|kind| name.eq_ignore_ascii_case(kind[verb].as_bytes()))
        };
        self.awaited += match (verb(0), verb(1)) {
            (Some(_), _) => arguments.max(1),
            (_, Some(_)) if arguments > 0 => arguments,
            (_, Some(kind)) => {
                // Of everything that there is then.
                self.unsure |= self.awaited > 0;
                (self.names[kind].len() as u64).max(1)
            }
            _ => {
                self.unsure |= !plain;
                1
            }
        };
    }

    /// The connection is more than subscribed.
    pub(super) fn is_more(&mut self) {
        self.unsure = true;
    }

    /// A frame came, or (not `whole`) begins.
    pub(super) fn came(&mut self, frame: &[u8], whole: bool) -> Came {
        if !whole && frame.len() < HEAD {
            return Came::Unclear;
        }
        let said = said(frame);
        let kind_of = |verb: usize| {
            said.and_then(|(word, _)| KINDS.iter().position(|kind| word == kind[verb].as_bytes()))
        };
        if said.is_some_and(|(word, _)| MESSAGES.contains(&word)) {
            return Came::ForClient;
        }
        let (adds, removes) = (kind_of(0), kind_of(1));
        if adds.is_none() && removes.is_none() {
            if self.anew > 0 && frame.starts_with(b"-") {
                return Came::Refused;
            }
            self.awaited = self.awaited.saturating_sub(u64::from(!frame.starts_with(b">")));
            return Came::ForClient;
        }
        if !whole {
            return Came::Unclear;
        }
        if self.anew > 0 {
            self.anew -= 1;
            return if self.anew == 0 { Came::Last } else { Came::ForUs };
        }
        self.awaited = self.awaited.saturating_sub(1);
        if let Some(name) = said.and_then(|(_, rest)| bulk(rest)) {
            self.note(adds, removes, name.0);
        }
        Came::ForClient
    }

    fn note(&mut self, adds: Option<usize>, removes: Option<usize>, name: &[u8]) {
        if let Some(kind) = adds
            && self.names[kind].insert(name.into())
        {
            self.bytes += name.len();
            self.unsure |= self.bytes > MOST_BYTES;
        }
        if let Some(kind) = removes
            && self.names[kind].remove(name)
        {
            self.bytes -= name.len();
        }
    }

    /// Whether nothing is to come to the client but messages, and nothing is known of its connection but this.
    pub(super) fn may_move(&self) -> bool {
        !self.unsure && self.awaited == 0 && self.names.iter().any(|names| !names.is_empty())
    }

    /// The requests that subscribe it to everything anew.
    pub(super) fn again(&mut self) -> Vec<u8> {
        let mut requests = Vec::new();
        self.anew = 0;
        for ([verb, _], names) in KINDS.iter().zip(&self.names) {
            let names: Vec<&[u8]> = names.iter().map(|name| &**name).collect();
            self.anew += names.len() as u64;
            for some in names.chunks(AT_ONCE) {
                let mut words = vec![verb.as_bytes()];
                words.extend_from_slice(some);
                write::request(&mut requests, words);
            }
        }
        requests
    }

    /// What the client is told when it was subscribed anew, where it wants to know.
    pub(super) fn notice(&self, resp3: bool) -> Vec<u8> {
        let mut message = Vec::new();
        if self.names[0].contains(NOTICE) {
            message.extend_from_slice(if resp3 { b">3\r\n" } else { b"*3\r\n" });
            for part in [b"message", NOTICE, b"messages may have been missed"] {
                write::bulk(&mut message, part);
            }
        }
        message
    }
}

/// The first word of an array or a push of three or four, and what stands behind it.
fn said(frame: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = frame.strip_prefix(b"*").or_else(|| frame.strip_prefix(b">"))?;
    let rest = rest
        .strip_prefix(b"3\r\n")
        .or_else(|| rest.strip_prefix(b"4\r\n"))?;
    bulk(rest)
}

/// The bulk string that stands there, and what is behind it; `None`: there is none, or not all of it.
fn bulk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = bytes.strip_prefix(b"$")?;
    let end = memchr::memchr(b'\r', rest)?;
    let length: usize = std::str::from_utf8(&rest[..end]).ok()?.parse().ok()?;
    let from = end + 2;
    let to = from.checked_add(length)?;
    Some((rest.get(from..to)?, rest.get(to + 2..)?))
}

#[cfg(test)]
mod tests;
