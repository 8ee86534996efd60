//! A connection of the worker's to a simulated server: what is on its way in both directions, and whose it is.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::super::wire::Wire;
use super::ledger::{Answer, Id, Ledger};
use crate::resp::{Arguments, Bounds, RequestScanner, Step};

const BOUNDS: Bounds = Bounds {
    arguments: 100,
    bulk: 1 << 20,
};

/// What it is made to wait for.
#[derive(Debug)]
pub(super) enum Waits {
    No,
    /// BLPOP of that client, until then.
    Pop(u32, Duration),
}

/// A connection of the worker's.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) wire: Wire,
    pub(super) id: u64,
    /// What the worker handed over and this node has not looked at.
    pub(super) input: Vec<u8>,
    /// What of `input` the ledger knows already.
    pub(super) seen: usize,
    /// Answers under way.
    pub(super) output: Vec<u8>,
    /// Bytes that have left, and where in all of them answers end.
    gone: usize,
    answers: VecDeque<(usize, Answer)>,
    pub(super) queued: Option<Vec<Vec<u8>>>,
    pub(super) spoiled: bool,
    pub(super) waits: Waits,
    pub(super) closes: bool,
    /// It asked for its id: it is a client's own.
    pub(super) own: bool,
    /// The last write of each client that was refused here.
    pub(super) refused: HashMap<u32, Id>,
}

impl Conn {
    pub(super) fn new(wire: Wire, id: u64) -> Self {
        Conn {
            wire,
            id,
            input: Vec::new(),
            seen: 0,
            output: Vec::new(),
            gone: 0,
            answers: VecDeque::new(),
            queued: None,
            spoiled: false,
            waits: Waits::No,
            closes: false,
            own: false,
            refused: HashMap::new(),
        }
    }

    /// The last of its answers is this.
    pub(super) fn answers(&mut self, answer: Answer) {
        self.answers.push_back((self.gone + self.output.len(), answer));
    }

    /// So many bytes of its answers leave that node.
    pub(super) fn answer(&mut self, bytes: usize, node: usize, ledger: &mut Ledger) {
        self.wire.send(&self.output[..bytes]);
        self.gone += bytes;
        while let Some((_, answer)) = self.answers.pop_front_if(|(end, _)| *end <= self.gone) {
            ledger.answer(answer, node);
        }
        self.output.drain(..bytes);
    }

    /// Takes what the worker wrote.
    pub(super) fn receive(&mut self, ledger: &mut Ledger) {
        self.input.extend(self.wire.take());
        while let Some(length) = complete(&self.input[self.seen..]) {
            let request = &self.input[self.seen..self.seen + length];
            let words = words(request);
            match words[0] {
                b"RPUSH" | b"PUBLISH" => ledger.hand(id_of(words[2])),
                b"EXEC" | b"BLPOP" => ledger.special_handed.extend(self.wire_owner(&words)),
                _ => {}
            }
            self.seen += length;
        }
    }

    /// Whose special command it is.
    fn wire_owner(&self, words: &[&[u8]]) -> Option<u32> {
        if words[0] == b"BLPOP" {
            return Some(client_of(words[1]));
        }
        let queued = self.queued.iter().flatten().map(|id| id_of(id).0).next();
        queued.or_else(|| {
            let before = &self.input[..self.seen];
            let mut at = 0;
            let mut owner = None;
            while let Some(length) = complete(&before[at..]) {
                let earlier = self::words(&before[at..at + length]);
                if earlier[0] == b"RPUSH" {
                    owner = Some(id_of(earlier[2]).0);
                }
                at += length;
            }
            owner
        })
    }
}

/// The length of the first request, if it is all there.
pub(super) fn complete(bytes: &[u8]) -> Option<usize> {
    match RequestScanner::default().scan(bytes, BOUNDS) {
        Ok(Step::Complete(request)) => Some(request.len),
        _ => None,
    }
}

pub(super) fn words(request: &[u8]) -> Vec<&[u8]> {
    Arguments::of(request).collect()
}

fn numbers(text: &[u8]) -> Vec<u32> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    text.split('.').filter_map(|number| number.parse().ok()).collect()
}

/// Of `3.17`.
pub(super) fn id_of(text: &[u8]) -> (u32, u32) {
    match numbers(text)[..] {
        [client, number] => (client, number),
        _ => (u32::MAX, 0),
    }
}

/// Of `queue.3`.
pub(super) fn client_of(key: &[u8]) -> u32 {
    numbers(key).first().copied().unwrap_or(u32::MAX)
}
