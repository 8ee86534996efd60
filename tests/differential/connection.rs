//! One client on both sides: what it sent, what is owed to it, and whether what came is the same.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use crate::compare::same;
use crate::program::{Words, line};
use crate::wire::{PATIENCE, Wire, show};

/// One client on both sides.
pub(crate) struct Connection {
    pub(crate) plain: Wire,
    pub(crate) other: Wire,
    /// Commands whose replies have not come. Not kept for a step whose replies are not one for each command.
    pub(crate) owed: VecDeque<Words>,
    pub(crate) one_to_one: bool,
    /// What is queued since MULTI.
    queued: Vec<Words>,
}

/// What each side calls the program's connections: their CLIENT ID, the first connection's first.
#[derive(Default)]
pub(crate) struct Ids {
    pub(crate) plain: Vec<u64>,
    pub(crate) other: Vec<u64>,
}

impl Connection {
    pub(crate) fn open(plain_port: u16, other_port: u16) -> Self {
        let connect = |port| Wire::connect(port).expect("both sides take connections");
        Self {
            plain: connect(plain_port),
            other: connect(other_port),
            owed: VecDeque::new(),
            one_to_one: true,
            queued: Vec::new(),
        }
    }

    /// It is not known which command a reply of this step belongs to, so that the allow-list does not apply.
    pub(crate) fn untrack(&mut self) {
        self.one_to_one = false;
        self.owed.clear();
    }

    /// Reads what the plain side has said from the other side.
    pub(crate) fn expect(&mut self, frames: Vec<Vec<u8>>, ids: &Ids) -> Result<(), String> {
        for plain in frames {
            if is_monitored(&plain) {
                continue;
            }
            let words = if plain[0] == b'>' {
                None
            } else {
                self.owed.pop_front()
            };
            let shown = words.as_ref().map_or_else(|| "(some command)".to_owned(), line);
            let Some(other) = self.next_of_other() else {
                return Err(format!(
                    "{shown}\n  plain      {}\n  ambassador nothing{}, after {:?}",
                    show(&plain),
                    if self.other.closed { ", and closed" } else { "" },
                    self.other.rest().escape_ascii().to_string(),
                ));
            };
            let named = |frame, ids| with_names_for_ids(words.as_ref(), frame, ids);
            let (plain_named, other_named) = (named(&plain, &ids.plain), named(&other, &ids.other));
            if !same(words.as_ref(), &self.queued, &plain_named, &other_named) {
                return Err(format!(
                    "{shown}\n  plain      {}\n  ambassador {}",
                    show(&plain),
                    show(&other)
                ));
            }
            self.follow_transaction(words, &plain);
        }
        if self.plain.closed {
            let end = Instant::now() + PATIENCE;
            while !self.other.closed && Instant::now() < end {
                self.other.pull();
            }
            if !self.other.closed {
                return Err("a plain server closes, the ambassador does not".to_owned());
            }
        }
        // The end of a blocking command may come on this side first.
        if !self.owed.is_empty() {
            return Ok(());
        }
        match self.other.next_frame().filter(|frame| !is_monitored(frame)) {
            Some(more) => Err(format!("the ambassador says more: {}", show(&more))),
            None => Ok(()),
        }
    }

    fn next_of_other(&mut self) -> Option<Vec<u8>> {
        loop {
            let frame = self.other.wait_frame(PATIENCE)?;
            if !is_monitored(&frame) {
                return Some(frame);
            }
        }
    }

    pub(crate) fn follow_transaction(&mut self, words: Option<Words>, reply: &[u8]) {
        let words = words.unwrap_or_default();
        let name = words
            .first()
            .map(|name| name.to_ascii_lowercase())
            .unwrap_or_default();
        if reply == b"+QUEUED\r\n" {
            self.queued.push(words);
        } else if matches!(name.as_slice(), b"exec" | b"discard" | b"reset")
            || name == b"multi" && reply == b"+OK\r\n"
        {
            self.queued.clear();
        }
    }
}

/// What MONITOR shows of other clients, with times and addresses in it: `+1700000000.123456 [0 ...`.
pub(crate) fn is_monitored(frame: &[u8]) -> bool {
    frame[0] == b'+'
        && frame.get(1).is_some_and(u8::is_ascii_digit)
        && frame.windows(2).any(|pair| pair == b" [")
}

/// A command's words with `@id2` replaced by what a side calls connection 2.
pub(crate) fn with_ids<'a>(words: &'a Words, ids: &[u64]) -> Cow<'a, Words> {
    let number =
        |word: &[u8]| -> Option<usize> { std::str::from_utf8(word.strip_prefix(b"@id")?).ok()?.parse().ok() };
    if !words.iter().any(|word| number(word).is_some()) {
        return Cow::Borrowed(words);
    }
    let replaced = words.iter().map(|word| {
        let id = number(word).and_then(|number| ids.get(number.checked_sub(1)?));
        id.map_or_else(|| word.clone(), |id| id.to_string().into_bytes())
    });
    Cow::Owned(replaced.collect())
}

/// A reply about clients with the numbers of the program's connections in the place of the side's ids.
fn with_names_for_ids<'a>(words: Option<&Words>, frame: &'a [u8], ids: &[u64]) -> Cow<'a, [u8]> {
    let about: &[(&[u8], &[u8])] = match words.and_then(|words| words.get(..2)) {
        Some([name, second]) if name.eq_ignore_ascii_case(b"client") => {
            match second.to_ascii_lowercase().as_slice() {
                b"getredir" => &[(b":", b"\r\n")],
                b"trackinginfo" => &[(b"redirect\r\n:", b"\r\n")],
                b"list" | b"info" => &[(b"id=", b" "), (b"redir=", b" ")],
                _ => return Cow::Borrowed(frame),
            }
        }
        _ => return Cow::Borrowed(frame),
    };
    let mut frame = frame.to_vec();
    for (before, after) in about {
        for (index, id) in ids.iter().enumerate() {
            let wanted = [before, id.to_string().as_bytes(), after].concat();
            let name = [before, format!("@id{}", index + 1).as_bytes(), after].concat();
            while let Some(at) = frame.windows(wanted.len()).position(|window| window == wanted) {
                frame.splice(at..at + wanted.len(), name.iter().copied());
            }
        }
    }
    Cow::Owned(frame)
}
