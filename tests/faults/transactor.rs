//! A client whose writes are transactions: a counter and a list that always tell the same.

use std::time::Instant;

use crate::load::{Stage, ask};
use crate::tally::{Diary, Fate, Tally};

/// What one of them did.
#[derive(Default)]
pub(crate) struct TransactorLog {
    pub(crate) index: usize,
    /// Of whole transactions.
    pub(crate) all: Tally,
    pub(crate) acknowledged: Vec<u64>,
    pub(crate) unknown: Vec<u64>,
    pub(crate) diary: Diary,
}

pub(crate) fn counter(index: usize) -> String {
    format!("transaction:{index}:count")
}

pub(crate) fn list(index: usize) -> String {
    format!("transaction:{index}:list")
}

/// One transaction after the other until the load stops.
pub(crate) fn run(index: usize, stage: &Stage) -> TransactorLog {
    let mut log = TransactorLog {
        index,
        ..TransactorLog::default()
    };
    let (mut connection, mut number) = (None, 0_u64);
    while stage.next_turn() {
        number += 1;
        let commands = [
            vec!["MULTI".to_owned()],
            vec!["INCR".to_owned(), counter(index)],
            vec!["RPUSH".to_owned(), list(index), number.to_string()],
            vec!["EXEC".to_owned()],
        ];
        let sent = Instant::now();
        let fate = match ask(stage, &mut connection, &commands) {
            Err(error) => {
                log.diary.example(|| format!("connect: {error}"));
                Fate::Unsent
            }
            Ok(replies) => {
                // EXEC's reply is the transaction's.
                let fate = replies.last().map_or(Fate::Cut, Fate::of);
                if fate != Fate::Acknowledged {
                    log.diary.example(|| format!("{replies:?}"));
                }
                fate
            }
        };
        log.all.count(fate);
        log.diary.note(fate, sent);
        if fate == Fate::Acknowledged {
            log.acknowledged.push(number);
        } else if fate.is_unknown() {
            log.unknown.push(number);
        }
    }
    log
}
