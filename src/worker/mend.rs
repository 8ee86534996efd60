//! Replies inside a tunnel that are not the server's own: one that would tell the upstream connection's id where the
//! client's own belongs, and one that the ambassador gives itself.
//!
//! In front of a command whose reply changes goes a PING with a nonce; in the place of one that the ambassador answers
//! goes an unknown command whose name is the nonce. When the nonce comes back, whatever was sent before has been
//! answered, and the reply whose place it is in is known: order is right by construction, whatever pushes and messages
//! come in between. Pure state.

use std::collections::VecDeque;
use std::rc::Rc;

use super::cursor;
use super::profile::Login;
use crate::resp::write;

/// Marks under way at most; beyond it commands are passed on as they are.
const MOST: usize = 8 * 1024;

/// So many of which it is not known whether they will come back are remembered.
const DOUBTFUL: usize = 64;

/// How `processCommand` in Redis's server.c begins to refuse what a subscribed RESP2 client may not say.
const SUBSCRIBED: &[u8] = b"-ERR Can't execute";

/// How `commandCheckExistence` in Redis's server.c refuses a command that there is not.
const UNKNOWN: &[u8] = b"-ERR unknown command '";

/// Longest reply to a mark, roughly: an unknown command's.
const LONGEST: usize = 128;

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
    /// The next reply is the master's word on a request that the ambassador answers: [`Mends::take_word`].
    Word,
}

/// What is done with one whole reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    AsItIs,
    Instead(Vec<u8>),
    /// The same, and nothing comes after it.
    Last(Vec<u8>),
}

/// What a nonce that comes back stands for.
#[derive(Debug)]
enum Place {
    /// It is in front of the reply that is changed so.
    Before(Mend),
    /// It is where this goes; `last`: the client is closed behind it.
    Of { reply: Vec<u8>, last: bool },
    /// It is behind the reply to this login.
    Behind(Rc<Login>),
}

/// Marks under way in one tunnel.
#[derive(Debug, Default)]
pub(super) struct Mends {
    marks: VecDeque<([u8; 32], Place)>,
    /// The next reply that is no push is changed so.
    next: Option<Mend>,
    /// What was refused since it was last looked at.
    refused: Option<Refused>,
    /// The master's word, once it has come: all of an error, the beginning of anything else.
    word: Option<Vec<u8>>,
    /// The rest of a reply is dropped.
    dropping: bool,
    /// The last reply was none to a login that was refused.
    good: bool,
    /// Who the client has become.
    login: Option<Rc<Login>>,
    /// The client is shown what everybody sends (MONITOR), marks too.
    monitors: bool,
    /// The mark that it is shown next.
    shown: Option<[u8; 32]>,
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
        self.ping(nonce, Place::Before(mend))
    }

    /// The request that goes behind a login; `None` when there are too many.
    pub(super) fn mark_behind(&mut self, nonce: u128, login: Rc<Login>) -> Option<Vec<u8>> {
        self.ping(nonce, Place::Behind(login))
    }

    fn ping(&mut self, nonce: u128, place: Place) -> Option<Vec<u8>> {
        let name = self.expect(nonce, place)?;
        let mut request = Vec::new();
        write::request(&mut request, [&b"PING"[..], &name]);
        Some(request)
    }

    /// The request whose reply becomes this one; `None` when there are too many.
    pub(super) fn placeholder(&mut self, nonce: u128, reply: Vec<u8>, last: bool) -> Option<Vec<u8>> {
        let name = self.expect(nonce, Place::Of { reply, last })?;
        let mut request = Vec::new();
        write::request(&mut request, [&name[..]]);
        Some(request)
    }

    fn expect(&mut self, nonce: u128, place: Place) -> Option<[u8; 32]> {
        if self.marks.len() >= MOST {
            return None;
        }
        let mut name = [0; 32];
        for (index, digit) in name.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(nonce >> (4 * index)) as usize & 15];
        }
        self.marks.push_back((name, place));
        Some(name)
    }

    /// The master's word, if it has come since this was last asked.
    pub(super) fn take_word(&mut self) -> Option<Vec<u8>> {
        self.word.take()
    }

    /// Who the client has become since this was last asked.
    pub(super) fn take_login(&mut self) -> Option<Rc<Login>> {
        self.login.take()
    }

    /// More of a reply that has begun; `ends`: it ends with that.
    pub(super) fn go_on(&mut self, ends: bool) -> Reply {
        let drops = self.dropping;
        self.dropping &= !ends;
        if drops {
            Reply::Instead(Vec::new())
        } else {
            Reply::AsItIs
        }
    }

    /// What was refused since this was last asked.
    pub(super) fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// Whether replies have to be looked at.
    pub(super) fn waits(&self) -> bool {
        self.next.is_some() || !self.marks.is_empty() || self.shown.is_some()
    }

    /// Whether there is no room for another mark.
    pub(super) fn is_full(&self) -> bool {
        self.marks.len() >= MOST
    }

    /// Whether there are many of which nobody knows whether they will come back.
    pub(super) fn is_doubtful(&self) -> bool {
        self.marks.len() >= DOUBTFUL
    }

    /// From here on the client is shown what everybody sends.
    pub(super) fn shows(&mut self) {
        self.monitors = true;
    }

    /// Whether a line is one of MONITOR's: `+1700000000.123456 [0 ...`.
    fn is_shown(&self, line: &[u8]) -> bool {
        self.monitors && line.first() == Some(&b'+') && line.get(1).is_some_and(u8::is_ascii_digit)
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
        if beginning.first() == Some(&b'>') || self.is_shown(beginning) {
            return Reply::AsItIs;
        }
        self.good = is_welcome(beginning);
        if self.next == Some(Mend::Word) && is_word(beginning) {
            self.next = None;
            self.word = Some(beginning[..beginning.len().min(HEAD)].to_vec());
            self.dropping = true;
            return Reply::Instead(Vec::new());
        }
        if self.waits_for_a_line() {
            return Reply::AsItIs;
        }
        match self.next.take() {
            Some(Mend::Cursor(tag)) => cursor::tag_head(beginning, tag).map_or(Reply::AsItIs, Reply::Instead),
            _ => Reply::AsItIs,
        }
    }

    /// Whether the next reply that is looked for is a line: messages and pushes may come in between.
    fn waits_for_a_line(&self) -> bool {
        matches!(
            self.next,
            Some(Mend::Id(_) | Mend::Multi(_) | Mend::Drop | Mend::Word)
        )
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
            Some(Mend::Word) if is_word(reply) => {
                self.next = None;
                let looked_at = if is_error {
                    reply
                } else {
                    &reply[..reply.len().min(HEAD)]
                };
                self.word = Some(looked_at.to_vec());
                Reply::Instead(Vec::new())
            }
            _ => Reply::AsItIs,
        }
    }

    /// Looks at a whole reply.
    pub(super) fn look(&mut self, reply: &[u8]) -> Reply {
        if self.is_shown(reply) {
            let is_mark = |nonce: &mut [u8; 32]| memchr::memmem::find(reply, &*nonce).is_some();
            return match self.shown.take_if(is_mark) {
                Some(_) => Reply::Instead(Vec::new()),
                None => Reply::AsItIs,
            };
        }
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
            .and_then(|rest| rest.strip_suffix(b"\r\n"))
            .or_else(|| reply.strip_prefix(UNKNOWN)?.get(..32));
        let place = nonce.and_then(|nonce| self.marks.iter().position(|(name, _)| name == nonce));
        // A user without the right to PING is refused the mark, which says as much.
        let place = place.or_else(|| is_ping_refused(reply).then(|| self.first_mark()).flatten());
        let Some(place) = place else {
            self.good = is_welcome(reply) || self.good && reply.starts_with(b">");
            return Reply::AsItIs;
        };
        // Marks before it were silenced (CLIENT REPLY) or refused.
        let Some((nonce, place)) = self.marks.drain(..=place).next_back() else {
            return Reply::AsItIs;
        };
        // Servers show what they ran, right behind the reply; an unknown command they do not run.
        let ran = self.monitors && !matches!(place, Place::Of { .. });
        self.shown = Some(nonce).filter(|_| ran);
        match place {
            Place::Before(mend) => {
                // A subscribed RESP2 client is refused, and the next reply may be a message.
                let refused = subscribed && matches!(mend, Mend::Number { .. } | Mend::Cursor(_));
                self.next = Some(mend).filter(|_| !refused);
                Reply::Instead(Vec::new())
            }
            Place::Behind(login) => {
                self.login = Some(login).filter(|_| self.good);
                Reply::Instead(Vec::new())
            }
            Place::Of { reply, last: true } => Reply::Last(reply),
            Place::Of { reply, last: false } => Reply::Instead(reply),
        }
    }

    /// The mark that a refused PING may be.
    fn first_mark(&self) -> Option<usize> {
        self.marks
            .iter()
            .position(|(_, place)| !matches!(place, Place::Of { .. }))
    }
}

/// Whether a reply may be the master's word on something, which no message and no array is.
fn is_word(reply: &[u8]) -> bool {
    matches!(reply.first(), Some(b'-' | b'+' | b':' | b'$' | b'='))
}

/// Whether a reply may be that to an AUTH or a HELLO which was taken.
fn is_welcome(reply: &[u8]) -> bool {
    reply == b"+OK\r\n" || reply.starts_with(b"%") || reply.starts_with(b"*1")
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
mod tests;
