//! Compares what the master has at the end with what the clients were told.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::load::Logs;
use crate::support::{Client, Reply};
use crate::tally::{Fate, Tally};
use crate::transactor::{self, TransactorLog};
use crate::writer::{self, Appended, WriterLog};

/// What is not as the clients were told.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What must never be: a write that ran twice, or after it was refused, or out of order, or that nobody made.
    pub(crate) wrong: Vec<String>,
    /// Counters above what was asked for; part of `wrong`.
    pub(crate) too_high: u64,
    /// Appends that were acknowledged and are not there: when each was answered.
    pub(crate) missing_appends: Vec<Instant>,
    /// By how much counters are below what was acknowledged.
    pub(crate) missing_counts: u64,
    /// Registers that have an older number than the last that was acknowledged.
    pub(crate) missing_registers: u64,
    /// The same of transactions, which are a class of their own.
    pub(crate) transactions_wrong: Vec<String>,
    /// Acknowledged transactions that are not there.
    pub(crate) transactions_missing: u64,
}

impl Findings {
    /// Acknowledged writes that are not there, as far as they can be told apart.
    pub(crate) fn missing(&self) -> u64 {
        self.missing_appends.len() as u64 + self.missing_counts + self.missing_registers
    }
}

/// Reads everything from the master itself; all clients have stopped.
#[track_caller]
pub(crate) fn check(logs: &Logs, master: &mut Client) -> Findings {
    let mut findings = Findings::default();
    let mut shared = [Tally::default(); writer::SHARED];
    for log in &logs.writers {
        findings.wrong.extend(log.wrong.iter().cloned());
        findings.counter(master, &writer::own_counter(log.writer), &log.own);
        findings.list(master, log);
        findings.registers(master, log);
        for (sum, tally) in shared.iter_mut().zip(&log.shared) {
            sum.add(tally);
        }
    }
    for (number, sum) in shared.iter().enumerate() {
        findings.counter(master, &writer::shared_counter(number), sum);
    }
    for log in &logs.readers {
        findings.wrong.extend(log.wrong.iter().cloned());
    }
    for log in &logs.transactors {
        findings.transactions(master, log);
    }
    findings
}

impl Findings {
    fn counter(&mut self, master: &mut Client, key: &str, tally: &Tally) {
        let found = number(&master.command(&["GET", key]));
        let most = tally.acknowledged + tally.unknown();
        if found > most {
            self.too_high += 1;
            self.wrong.push(format!(
                "{key} is {found}, of at most {most} INCR that ran: {tally:?}"
            ));
        }
        self.missing_counts += tally.acknowledged.saturating_sub(found);
    }

    fn list(&mut self, master: &mut Client, log: &WriterLog) {
        let key = writer::list(log.writer);
        let found = numbers(&master.command(&["LRANGE", &key, "0", "-1"]));
        self.wrong.extend(out_of_order(&key, &found));
        let found: BTreeSet<u64> = found.into_iter().collect();
        let mut known = BTreeSet::new();
        for &Appended {
            number,
            fate,
            answered,
            ..
        } in &log.appended
        {
            known.insert(number);
            match (fate, found.contains(&number)) {
                (Fate::Acknowledged, false) => self.missing_appends.push(answered),
                (Fate::Refused | Fate::Failed | Fate::Unsent, true) => {
                    self.wrong.push(format!("{key} has {number}, which was {fate:?}"));
                }
                _ => {}
            }
        }
        let strangers: Vec<_> = found.difference(&known).collect();
        if !strangers.is_empty() {
            self.wrong
                .push(format!("{key} has {strangers:?}, which nobody appended"));
        }
    }

    fn registers(&mut self, master: &mut Client, log: &WriterLog) {
        for (slot, register) in log.registers.iter().enumerate() {
            let key = writer::register(log.writer, slot as u64);
            let found = number(&master.command(&["GET", &key]));
            if found < register.acknowledged {
                self.missing_registers += 1;
            } else if found != register.acknowledged && !register.unknown.contains(&found) {
                self.wrong.push(format!("{key} is {found}, of {register:?}"));
            }
        }
    }

    fn transactions(&mut self, master: &mut Client, log: &TransactorLog) {
        let key = transactor::list(log.index);
        let found = numbers(&master.command(&["LRANGE", &key, "0", "-1"]));
        let counted = number(&master.command(&["GET", &transactor::counter(log.index)]));
        if counted != found.len() as u64 {
            self.transactions_wrong.push(format!(
                "{key} has {} numbers, and {counted} were counted",
                found.len()
            ));
        }
        self.transactions_wrong.extend(out_of_order(&key, &found));
        let found: BTreeSet<u64> = found.into_iter().collect();
        let known: BTreeSet<u64> = log.acknowledged.iter().chain(&log.unknown).copied().collect();
        let strangers: Vec<_> = found.difference(&known).collect();
        if !strangers.is_empty() {
            self.transactions_wrong
                .push(format!("{key} has {strangers:?}, which were refused"));
        }
        self.transactions_missing += log
            .acknowledged
            .iter()
            .filter(|number| !found.contains(number))
            .count() as u64;
    }
}

/// A client that sends one thing after the other finds it in that order, and once.
fn out_of_order(key: &str, found: &[u64]) -> Vec<String> {
    let pairs = found.windows(2).filter(|pair| pair[0] >= pair[1]);
    pairs
        .map(|pair| format!("{key} has {} before {}", pair[0], pair[1]))
        .collect()
}

fn numbers(reply: &Reply) -> Vec<u64> {
    reply.items().iter().map(number).collect()
}

fn number(reply: &Reply) -> u64 {
    match reply {
        Reply::Null => 0,
        other => other.text().parse().expect("only numbers were written"),
    }
}
