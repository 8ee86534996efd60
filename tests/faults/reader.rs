//! A client that reads what the writers write: it may be late, but never an error, and never what nobody wrote.

use std::time::Instant;

use rand::RngExt;

use crate::load::{Stage, ask};
use crate::support::Reply;
use crate::tally::{Diary, Fate, Tally};
use crate::writer::{REGISTERS, list, own_counter, register};

/// Commands in one write of those that pipeline.
const PIPELINE: usize = 8;

/// What one reader saw.
#[derive(Default)]
pub(crate) struct ReaderLog {
    pub(crate) all: Tally,
    pub(crate) diary: Diary,
    /// Replies that cannot be.
    pub(crate) wrong: Vec<String>,
}

/// Reads until the load stops. Every fourth reader pipelines.
pub(crate) fn run(reader: usize, stage: &Stage) -> ReaderLog {
    let mut log = ReaderLog::default();
    let batch = if reader % 4 == 3 { PIPELINE } else { 1 };
    let mut connection = None;
    while stage.next_turn() {
        let asked: Vec<(usize, Vec<String>)> = (0..batch).map(|_| some_read(stage.writers())).collect();
        let commands: Vec<_> = asked.iter().map(|(_, words)| words.clone()).collect();
        let sent = Instant::now();
        match ask(stage, &mut connection, &commands) {
            Err(error) => {
                log.diary.example(|| format!("connect: {error}"));
                for _ in &asked {
                    log.all.count(Fate::Unsent);
                    log.diary.note(Fate::Unsent, sent);
                }
            }
            Ok(replies) => {
                for ((writer, words), reply) in asked.iter().zip(&replies) {
                    let fate = Fate::of(reply);
                    if fate != Fate::Acknowledged {
                        log.diary.example(|| format!("{}: {reply:?}", words.join(" ")));
                    }
                    log.all.count(fate);
                    log.diary.note(fate, sent);
                    if let Ok(reply) = reply
                        && !reply.is_error()
                        && !can_be(words, reply, stage.used(*writer))
                    {
                        log.wrong.push(format!("{} -> {reply:?}", words.join(" ")));
                    }
                }
            }
        }
    }
    log
}

fn some_read(writers: usize) -> (usize, Vec<String>) {
    let mut random = rand::rng();
    let writer = random.random_range(0..writers);
    let words: Vec<String> = match random.random_range(0..4) {
        0 => vec!["GET".to_owned(), own_counter(writer)],
        1 => vec!["LLEN".to_owned(), list(writer)],
        2 => ["LRANGE", &list(writer), "-1", "-1"].map(str::to_owned).into(),
        _ => vec![
            "GET".to_owned(),
            register(writer, random.random_range(0..REGISTERS)),
        ],
    };
    (writer, words)
}

/// Whether a writer that has used numbers up to `used` may have made this.
fn can_be(words: &[String], reply: &Reply, used: u64) -> bool {
    let is_used = |number: &Reply| {
        let Reply::Bulk(bytes) = number else {
            return None;
        };
        let number: u64 = String::from_utf8_lossy(bytes).parse().ok()?;
        (number <= used).then_some(number)
    };
    match reply {
        Reply::Null => words[0] == "GET",
        Reply::Integer(length) => words[0] == "LLEN" && (0..=used as i64).contains(length),
        Reply::Array(items) => {
            items.len() <= 1
                && items
                    .iter()
                    .all(|item| is_used(item).is_some_and(|it| it % 4 == 2))
        }
        value => is_used(value).is_some_and(|number| {
            let register = words[1].rsplit(':').next().and_then(|slot| slot.parse().ok());
            !words[1].starts_with("register") || (number % 4 == 3 && register == Some(number % REGISTERS))
        }),
    }
}
