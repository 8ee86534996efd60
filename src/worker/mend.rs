//! Replies inside a tunnel that would tell the upstream connection's id where the client's own belongs.
//!
//! In front of such a command goes a PING with a nonce. When the nonce comes back, whatever was sent before has
//! been answered, and the reply whose place it is in is known: order is right by construction, whatever pushes and
//! messages come in between. Pure state.

use std::collections::VecDeque;

use super::cursor;
use crate::resp::write;

/// Marks under way at most; beyond it commands are passed on as they are.
const MOST: usize = 8 * 1024;

/// How `processCommand` in Redis's server.c begins to refuse what a subscribed RESP2 client may not say.
const SUBSCRIBED: &[u8] = b"-ERR Can't execute";

/// Longest reply to a mark: `*2`, `$4 pong`, and the nonce.
const LONGEST: usize = 64;

/// Longest reply that has a number changed: HELLO's, with its modules.
const LONGEST_CHANGED: usize = 16 * 1024;

/// The cursor stands in so many bytes at the beginning of a reply to a SCAN.
const HEAD: usize = 64;

/// What becomes of the reply in a mark's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mend {
    /// The next reply that is a number becomes this one; an error stays.
    Id(u64),
    /// The next reply is to MULTI, the client's so many-th here: where it is an error no transaction has begun.
    Multi(u32),
    /// The number that follows this text in the next reply is changed: `from`, or whatever it is, becomes `to`.
    Number {
        after: &'static [u8],
        from: Option<u64>,
        to: u64,
    },
    /// The cursor at the head of the next reply gets this tag.
    Cursor(u16),
    /// The next reply, which is `+OK` or an error, is to a command of the ambassador's own.
    Drop,
}

/// What is done with one whole reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    AsItIs,
    Instead(Vec<u8>),
}

/// Marks under way in one tunnel.
#[derive(Debug, Default)]
pub(super) struct Mends {
    marks: VecDeque<([u8; 32], Mend)>,
    /// The next reply that is no push is changed so.
    next: Option<Mend>,
    /// What was refused since it was last looked at.
    refused: Option<Refused>,
}

/// A command that the server refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The client's so many-th MULTI.
    Multi(u32),
    /// What the connection was told of the client's names.
    Names,
}

impl Mends {
    /// The request that marks the place of a reply; `None` when there are too many.
    pub(super) fn mark(&mut self, nonce: u128, mend: Mend) -> Option<Vec<u8>> {
        if self.marks.len() >= MOST {
            return None;
        }
        let mut name = [0; 32];
        for (index, digit) in name.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(nonce >> (4 * index)) as usize & 15];
        }
        let mut request = Vec::new();
        write::request(&mut request, [&b"PING"[..], &name]);
        self.marks.push_back((name, mend));
        Some(request)
    }

    /// What was refused since this was last asked.
    pub(super) fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// Whether replies have to be looked at.
    pub(super) fn waits(&self) -> bool {
        self.next.is_some() || !self.marks.is_empty()
    }

    /// Whether the beginning of a reply may be one that is changed, so that it must be seen whole.
    pub(super) fn wants_whole(&self, beginning: &[u8]) -> bool {
        match self.next {
            Some(Mend::Cursor(_)) => beginning.first() != Some(&b'>') && beginning.len() < HEAD,
            Some(_) => beginning.first() != Some(&b'>') && beginning.len() < LONGEST_CHANGED,
            None => beginning.len() < LONGEST,
        }
    }

    /// A reply is passed on before it is whole: changes its head where that is all there is to change, and expects
    /// nothing of the reply behind it.
    pub(super) fn pass(&mut self, beginning: &[u8]) -> Reply {
        if beginning.first() == Some(&b'>') || self.waits_for_a_line() {
            return Reply::AsItIs;
        }
        match self.next.take() {
            Some(Mend::Cursor(tag)) => cursor::tag_head(beginning, tag).map_or(Reply::AsItIs, Reply::Instead),
            _ => Reply::AsItIs,
        }
    }

    /// Whether the next reply that is looked for is a line: messages and pushes may come in between.
    fn waits_for_a_line(&self) -> bool {
        matches!(self.next, Some(Mend::Id(_) | Mend::Multi(_) | Mend::Drop))
    }

    /// Looks at a line where one is looked for.
    fn look_at_line(&mut self, reply: &[u8]) -> Reply {
        let is_error = reply.starts_with(b"-");
        match self.next {
            Some(Mend::Id(id)) if reply.starts_with(b":") => {
                self.next = None;
                let mut reply = Vec::new();
                write::integer(&mut reply, id);
                Reply::Instead(reply)
            }
            Some(Mend::Id(_)) if is_error => {
                self.next = None;
                Reply::AsItIs
            }
            Some(Mend::Multi(number)) if is_error || reply.starts_with(b"+") => {
                self.next = None;
                if is_error {
                    self.refused = Some(Refused::Multi(number));
                }
                Reply::AsItIs
            }
            Some(Mend::Drop) if is_error || reply.starts_with(b"+") => {
                self.next = None;
                if reply.starts_with(SUBSCRIBED) {
                    self.refused = Some(Refused::Names);
                }
                Reply::Instead(Vec::new())
            }
            _ => Reply::AsItIs,
        }
    }

    /// Looks at a whole reply.
    pub(super) fn look(&mut self, reply: &[u8]) -> Reply {
        if let Some(Mend::Number { after, from, to }) = self.next {
            if reply.starts_with(b">") {
                return Reply::AsItIs;
            }
            self.next = None;
            return change(reply, after, from, to).map_or(Reply::AsItIs, Reply::Instead);
        }
        if let Some(Mend::Cursor(tag)) = self.next {
            if reply.starts_with(b">") {
                return Reply::AsItIs;
            }
            self.next = None;
            return cursor::tag_head(reply, tag).map_or(Reply::AsItIs, Reply::Instead);
        }
        if self.waits_for_a_line() {
            return self.look_at_line(reply);
        }
        let (nonce, subscribed) = match reply.strip_prefix(b"*2\r\n$4\r\npong\r\n") {
            Some(rest) => (rest, true),
            None => (reply, false),
        };
        let nonce = nonce
            .strip_prefix(b"$32\r\n")
            .and_then(|rest| rest.strip_suffix(b"\r\n"));
        let place = nonce.and_then(|nonce| self.marks.iter().position(|(name, _)| name == nonce));
        // A user without the right to PING is refused the mark, which says as much.
        let place = place.or_else(|| (!self.marks.is_empty() && is_ping_refused(reply)).then_some(0));
        let Some(place) = place else {
            return Reply::AsItIs;
        };
        // Marks before it were silenced (CLIENT REPLY) or refused.
        let Some((_, mend)) = self.marks.drain(..=place).next_back() else {
            return Reply::AsItIs;
        };
        Reply::Instead(match mend {
            Mend::Id(_) | Mend::Multi(_) | Mend::Drop => {
                self.next = Some(mend);
                Vec::new()
            }
            Mend::Number { .. } | Mend::Cursor(_) => {
                // A subscribed RESP2 client is refused, and the next reply may be a message.
                self.next = Some(mend).filter(|_| !subscribed);
                Vec::new()
            }
        })
    }
}

fn is_ping_refused(reply: &[u8]) -> bool {
    reply.starts_with(b"-NOPERM") && memchr::memmem::find(reply, b"'ping'").is_some()
}

/// The reply with the number behind `after` changed; `None` when it is not there.
fn change(reply: &[u8], after: &[u8], from: Option<u64>, to: u64) -> Option<Vec<u8>> {
    let mut wanted = after.to_vec();
    match from {
        Some(from) => write::integer(&mut wanted, from),
        None => wanted.push(b':'),
    }
    let at = memchr::memmem::find(reply, &wanted)? + after.len();
    let end = at + memchr::memchr(b'\n', &reply[at..])? + 1;
    let mut changed = reply[..at].to_vec();
    write::integer(&mut changed, to);
    changed.extend_from_slice(&reply[end..]);
    Some(changed)
}

#[cfg(test)]
mod tests {
    use super::{Mend, Mends, Refused, Reply, SUBSCRIBED};

    fn echoed(request: &[u8]) -> Vec<u8> {
        request
            .strip_prefix(b"*2\r\n$4\r\nPING\r\n")
            .expect("a PING")
            .to_vec()
    }

    #[test]
    fn the_id_comes_in_the_place_of_its_mark_and_nothing_else_is_touched() {
        let mut mends = Mends::default();
        let mark = mends.mark(7, Mend::Id(42)).expect("room");
        assert_eq!(mends.look(b":9\r\n"), Reply::AsItIs);
        assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
        assert_eq!(mends.look(b">2\r\n$2\r\nid\r\n:9\r\n"), Reply::AsItIs);
        assert_eq!(mends.look(b":9\r\n"), Reply::Instead(b":42\r\n".to_vec()));
        assert!(!mends.waits());
        assert_eq!(mends.look(&echoed(&mark)), Reply::AsItIs);
    }

    #[test]
    fn a_subscribed_client_is_refused_and_marks_without_a_reply_are_passed_over() {
        let mut mends = Mends::default();
        mends.mark(1, Mend::Id(42));
        let mark = mends.mark(2, Mend::Id(42)).expect("room");
        let pong = [&b"*2\r\n$4\r\npong\r\n"[..], &echoed(&mark)].concat();
        assert_eq!(mends.look(&pong), Reply::Instead(Vec::new()));
        assert_eq!(mends.look(b"*3\r\n$7\r\nmessage\r\n"), Reply::AsItIs);
        assert_eq!(mends.look(SUBSCRIBED), Reply::AsItIs);
        assert!(!mends.waits());
    }

    #[test]
    fn what_is_refused_is_told_once_and_a_refused_mark_is_as_good_as_another() {
        let mut mends = Mends::default();
        mends.mark(1, Mend::Multi(7));
        let no = b"-NOPERM User x has no permissions to run the 'ping' command\r\n";
        assert_eq!(mends.look(no), Reply::Instead(Vec::new()));
        assert_eq!(mends.look(b"-NOPERM ...\r\n"), Reply::AsItIs);
        assert_eq!(mends.take_refused(), Some(Refused::Multi(7)));
        assert_eq!(mends.take_refused(), None);
        let mark = mends.mark(2, Mend::Drop).expect("room");
        assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
        assert_eq!(mends.look(SUBSCRIBED), Reply::Instead(Vec::new()));
        assert_eq!(mends.take_refused(), Some(Refused::Names));
        assert_eq!(mends.look(no), Reply::AsItIs, "the client's own");
    }

    #[test]
    fn a_number_is_changed_in_the_reply_behind_the_mark_and_not_in_a_push() {
        let mut mends = Mends::default();
        let mend = Mend::Number {
            after: b"$2\r\nid\r\n",
            from: Some(9),
            to: 42,
        };
        let mark = mends.mark(3, mend).expect("room");
        assert_eq!(mends.look(&echoed(&mark)), Reply::Instead(Vec::new()));
        assert_eq!(mends.look(b">2\r\n$2\r\nid\r\n:9\r\n"), Reply::AsItIs);
        assert_eq!(
            mends.look(b"%1\r\n$2\r\nid\r\n:9\r\n"),
            Reply::Instead(b"%1\r\n$2\r\nid\r\n:42\r\n".to_vec())
        );
        assert!(!mends.waits());
    }
}
