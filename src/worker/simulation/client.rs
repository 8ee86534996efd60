//! An application's connection: what it sends, and whether what it gets is what it may get, in order and one for one.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::wire::Wire;
use super::ledger::{Effect, Id, Ledger};
use crate::resp::{ReplyScanner, write};
use crate::simulation::Dice;

/// What the next reply has to be about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expect {
    /// Sent then; alone, so that no master is needed for it.
    Read(String, Duration, bool),
    Write(u32),
    /// Of a key that holds something else.
    Wrong(u32),
    Publish(u32),
    Multi,
    Queued(u32),
    /// Of these writes.
    Exec(Vec<u32>),
    Pop,
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) number: u32,
    pub(super) wire: Wire,
    next: u32,
    expected: VecDeque<Expect>,
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// The MULTI before was refused, so what follows it runs by itself.
    unqueued: bool,
    pub(super) gone: bool,
}

impl Client {
    pub(super) fn new(number: u32) -> Self {
        let wire = Wire::default();
        wire.grant(usize::MAX);
        Client {
            number,
            wire,
            next: 0,
            expected: VecDeque::new(),
            unsent: Vec::new(),
            received: Vec::new(),
            unqueued: false,
            gone: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.expected.is_empty() && self.unsent.is_empty()
    }

    /// What it still waits for, for people.
    pub(super) fn waits_for(&self) -> String {
        format!("client {}: {:?}", self.number, self.expected)
    }

    /// Thinks of something to ask.
    pub(super) fn ask(&mut self, dice: &mut Dice, now: Duration) {
        if self.expected.len() > 10 {
            return;
        }
        match dice.of(0..12) {
            0..4 => self.read(dice, now),
            4..7 => self.write(dice),
            7 => {
                for _ in 0..dice.of(2..6) {
                    if dice.once_in(2) {
                        self.write(dice);
                    } else {
                        self.read(dice, now);
                    }
                }
            }
            8 | 9 => self.transaction(dice),
            _ => {
                let seconds = format!("0.{}", dice.of(1..9));
                let key = format!("queue.{}", self.number);
                self.send(&["BLPOP", &key, &seconds], Expect::Pop);
            }
        }
    }

    fn send(&mut self, words: &[&str], expect: Expect) {
        write::request(
            &mut self.unsent,
            words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>(),
        );
        self.expected.push_back(expect);
        // A pipeline in which something writes goes to the master.
        if self
            .expected
            .iter()
            .any(|expect| !matches!(expect, Expect::Read(..)))
        {
            for expect in &mut self.expected {
                if let Expect::Read(_, _, alone) = expect {
                    *alone = false;
                }
            }
        }
    }

    fn number_next(&mut self) -> (u32, String) {
        self.next += 1;
        (self.next, format!("{}.{}", self.number, self.next))
    }

    fn read(&mut self, dice: &mut Dice, now: Duration) {
        let (_, mut key) = self.number_next();
        if dice.once_in(5) {
            key = format!("list.{key}");
        }
        self.send(&["GET", &key], Expect::Read(key.clone(), now, true));
    }

    /// Something that only a master may get.
    fn write(&mut self, dice: &mut Dice) {
        let (number, id) = self.number_next();
        match dice.of(0..8) {
            0 => self.send(&["RPUSH", "string", &id], Expect::Wrong(number)),
            1 => self.send(&["PUBLISH", "news", &id], Expect::Publish(number)),
            _ => self.send(&["RPUSH", "log", &id], Expect::Write(number)),
        }
    }

    fn transaction(&mut self, dice: &mut Dice) {
        self.send(&["MULTI"], Expect::Multi);
        let mut numbers = Vec::new();
        for _ in 0..dice.of(1..4) {
            let (number, id) = self.number_next();
            self.send(&["RPUSH", "log", &id], Expect::Queued(number));
            numbers.push(number);
        }
        self.send(&["EXEC"], Expect::Exec(numbers));
    }

    /// Some of what it has to say leaves.
    pub(super) fn talk(&mut self, dice: &mut Dice) {
        let bytes = match dice.of(0..4) {
            0 => dice.index(self.unsent.len() + 1),
            _ => self.unsent.len(),
        };
        self.wire.send(&self.unsent[..bytes]);
        self.unsent.drain(..bytes);
    }

    /// It closes its connection, whatever is under way.
    pub(super) fn leave(&mut self) {
        self.wire.end();
        self.gone = true;
    }

    /// Judges what it got. `excused`: whether a read sent at that time may fail.
    pub(super) fn listen(&mut self, ledger: &mut Ledger, excused: impl Fn(Duration) -> bool) {
        self.received.extend(self.wire.take());
        if self.gone {
            return;
        }
        if self.wire.is_left() {
            self.gone = true;
            ledger.breaks(format!("client {} was closed", self.number));
            return;
        }
        loop {
            match ReplyScanner::default().scan(&self.received) {
                Ok(scanned) if scanned.complete => {
                    let reply: Vec<u8> = self.received.drain(..scanned.taken).collect();
                    self.judge(&String::from_utf8_lossy(&reply), ledger, &excused);
                }
                Ok(_) => return,
                Err(_) => return ledger.breaks(format!("client {} got no RESP", self.number)),
            }
        }
    }

    fn judge(&mut self, reply: &str, ledger: &mut Ledger, excused: &impl Fn(Duration) -> bool) {
        let Some(expect) = self.expected.pop_front() else {
            return ledger.breaks(format!("client {} got {reply:?} for nothing", self.number));
        };
        ledger.say(|| format!("client {} is told {reply:?} of {expect:?}", self.number));
        let id = |number: u32| (self.number, number);
        let right = match &expect {
            Expect::Read(key, sent, alone) => {
                let value = format!("\r\nvalue of {key} at ");
                let wrong = key.starts_with("list.") && reply.starts_with("-WRONGTYPE");
                let is_value = reply.starts_with('$') && reply.contains(&value);
                if wrong || is_value {
                    ledger.saw(self.number, when(reply), wrong);
                }
                wrong || is_value || (reply.starts_with('-') && (!alone || excused(*sent)))
            }
            Expect::Wrong(number) if reply.starts_with("-WRONGTYPE") => {
                ledger.ran(id(*number), Effect::Message);
                true
            }
            Expect::Publish(number) if reply == ":1\r\n" => {
                ledger.ran(id(*number), Effect::Message);
                true
            }
            Expect::Wrong(number) | Expect::Publish(number) => told_of_failure(reply, id(*number), ledger),
            Expect::Write(number) => told_of_write(reply, id(*number), ledger),
            Expect::Queued(number) if self.unqueued => told_of_write(reply, id(*number), ledger),
            Expect::Exec(_) if self.unqueued => {
                reply.starts_with("-ERR EXEC without MULTI") || reply.starts_with("-TRYAGAIN")
            }
            Expect::Multi => {
                self.unqueued = reply.starts_with("-TRYAGAIN");
                reply == "+OK\r\n" || self.unqueued
            }
            Expect::Queued(_) => reply == "+QUEUED\r\n",
            Expect::Exec(numbers) => {
                let ran = reply.starts_with(&format!("*{}\r\n:", numbers.len()));
                let aborted = reply.starts_with("-EXECABORT");
                for number in numbers {
                    if ran {
                        ledger.acknowledge(id(*number));
                    } else if aborted {
                        ledger.refuse(id(*number));
                    } else {
                        ledger.doubt(id(*number));
                    }
                }
                ran || aborted
                    || (reply.starts_with("-INDOUBT") && ledger.special_handed.contains(&self.number))
            }
            Expect::Pop => {
                let nothing = reply == "*-1\r\n" || reply.starts_with("-TRYAGAIN");
                let unclear = reply.starts_with("-INDOUBT") && ledger.special_handed.contains(&self.number);
                let element = reply.lines().nth(4).and_then(|element| element.parse().ok());
                if let Some(element) = element {
                    ledger.receive(element, self.number);
                }
                nothing || unclear || element.is_some()
            }
        };
        if !right {
            ledger.breaks(format!("client {} got {reply:?} for {expect:?}", self.number));
        }
    }
}

fn told_of_write(reply: &str, id: Id, ledger: &mut Ledger) -> bool {
    if reply.starts_with(':') {
        ledger.acknowledge(id);
        return true;
    }
    told_of_failure(reply, id, ledger)
}

fn told_of_failure(reply: &str, id: Id, ledger: &mut Ledger) -> bool {
    if reply.starts_with("-INDOUBT") {
        ledger.doubt(id);
    } else if reply.starts_with("-TRYAGAIN") {
        ledger.refuse(id);
    } else {
        return false;
    }
    true
}

/// When it ran, as nodes say at the end of some replies.
fn when(reply: &str) -> u64 {
    let words = reply.split_whitespace();
    words
        .last()
        .and_then(|when| when.parse().ok())
        .unwrap_or_default()
}
