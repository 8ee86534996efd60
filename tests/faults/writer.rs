//! A client that counts, appends and sets, numbers all it does, and keeps what became of each number.

use std::time::Instant;

use crate::load::{Stage, ask};
use crate::support::Reply;
use crate::tally::{Diary, Fate, Tally};

/// Counters that all writers share.
pub(crate) const SHARED: usize = 4;
/// Registers of each writer.
pub(crate) const REGISTERS: u64 = 49;
/// Commands in one write of those that pipeline.
pub(crate) const PIPELINE: u64 = 8;

pub(crate) fn own_counter(writer: usize) -> String {
    format!("own:{writer}")
}

pub(crate) fn shared_counter(number: usize) -> String {
    format!("shared:{number}")
}

pub(crate) fn list(writer: usize) -> String {
    format!("list:{writer}")
}

pub(crate) fn register(writer: usize, number: u64) -> String {
    format!("register:{writer}:{}", number % REGISTERS)
}

/// A number that was appended, and what became of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) number: u64,
    pub(crate) fate: Fate,
    pub(crate) answered: Instant,
}

/// A register: the last number that it surely had, and those that it may have got since then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Register {
    pub(crate) acknowledged: u64,
    pub(crate) unknown: Vec<u64>,
}

/// What one writer did.
pub(crate) struct WriterLog {
    pub(crate) writer: usize,
    pub(crate) own: Tally,
    pub(crate) shared: [Tally; SHARED],
    pub(crate) appended: Vec<Appended>,
    pub(crate) registers: Vec<Register>,
    /// All of the above.
    pub(crate) all: Tally,
    pub(crate) diary: Diary,
    /// Replies that cannot be.
    pub(crate) wrong: Vec<String>,
}

#[derive(Clone, Copy)]
enum Write {
    Own,
    Shared(usize),
    Append,
    Register,
}

impl Write {
    fn of(number: u64) -> Self {
        match number % 4 {
            0 => Self::Own,
            1 => Self::Shared((number / 4) as usize % SHARED),
            2 => Self::Append,
            _ => Self::Register,
        }
    }

    fn words(self, writer: usize, number: u64) -> Vec<String> {
        match self {
            Self::Own => vec!["INCR".to_owned(), own_counter(writer)],
            Self::Shared(counter) => vec!["INCR".to_owned(), shared_counter(counter)],
            Self::Append => vec!["RPUSH".to_owned(), list(writer), number.to_string()],
            Self::Register => vec!["SET".to_owned(), register(writer, number), number.to_string()],
        }
    }
}

/// Writes until the load stops. Every fourth writer pipelines.
pub(crate) fn run(writer: usize, stage: &Stage) -> WriterLog {
    let mut log = WriterLog {
        writer,
        own: Tally::default(),
        shared: [Tally::default(); SHARED],
        appended: Vec::new(),
        registers: vec![Register::default(); REGISTERS as usize],
        all: Tally::default(),
        diary: Diary::default(),
        wrong: Vec::new(),
    };
    let batch = if writer % 4 == 3 { PIPELINE } else { 1 };
    let (mut connection, mut number) = (None, 0);
    while stage.next_turn() {
        let numbers: Vec<u64> = (number + 1..=number + batch).collect();
        number += batch;
        stage.uses(writer, number);
        let commands: Vec<_> = numbers
            .iter()
            .map(|&number| Write::of(number).words(writer, number))
            .collect();
        let sent = Instant::now();
        match ask(stage, &mut connection, &commands) {
            Err(error) => {
                log.diary.example(|| format!("connect: {error}"));
                for &number in &numbers {
                    log.note(number, Fate::Unsent, sent);
                }
            }
            Ok(replies) => {
                for (&number, reply) in numbers.iter().zip(&replies) {
                    let fate = Fate::of(reply);
                    if fate != Fate::Acknowledged {
                        log.diary.example(|| format!("{reply:?}"));
                    }
                    log.note(number, fate, sent);
                    log.judge(number, reply);
                }
            }
        }
    }
    log
}

impl WriterLog {
    fn note(&mut self, number: u64, fate: Fate, sent: Instant) {
        self.all.count(fate);
        self.diary.note(fate, sent);
        match Write::of(number) {
            Write::Own => self.own.count(fate),
            Write::Shared(counter) => self.shared[counter].count(fate),
            Write::Append => self.appended.push(Appended {
                number,
                fate,
                answered: Instant::now(),
            }),
            Write::Register => {
                let register = &mut self.registers[(number % REGISTERS) as usize];
                if fate == Fate::Acknowledged {
                    register.acknowledged = number;
                    register.unknown.clear();
                } else if fate.is_unknown() {
                    register.unknown.push(number);
                }
            }
        }
    }

    /// No counter that is this writer's own is ever above what it asked for.
    fn judge(&mut self, number: u64, reply: &std::io::Result<Reply>) {
        if let (Write::Own, Ok(Reply::Integer(found))) = (Write::of(number), reply) {
            let most = (self.own.acknowledged + self.own.unknown()) as i64;
            if *found > most {
                self.wrong.push(format!(
                    "{} is {found}, of at most {most} INCR: a write ran twice",
                    own_counter(self.writer)
                ));
            }
        }
    }
}
