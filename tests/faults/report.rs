//! The figures of a run, as rows of a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime};

use crate::check::Findings;
use crate::load::Logs;
use crate::support::Losses;
use crate::tally::{Diary, Stall, Tally};
use crate::writer;

/// One failover.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failover {
    /// When it was asked for, or the master killed.
    pub(crate) at: Instant,
    /// Until another node took a write from this harness.
    pub(crate) took: Duration,
    /// The longest that this process waited for a CPU in that time, where it did so for long.
    pub(crate) starved: Duration,
}

/// What a run of failovers came to.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) name: String,
    pub(crate) failovers: Vec<Failover>,
    pub(crate) reads: Tally,
    pub(crate) writes: Tally,
    pub(crate) transactions: Tally,
    /// Writes and transactions that clients can have under way at one moment.
    pub(crate) under_way: [u64; 2],
    pub(crate) findings: Findings,
    /// The longest stall of any client around each failover.
    pub(crate) stalls: Vec<Duration>,
    pub(crate) read_stalls: Vec<Duration>,
    /// Errors by example.
    pub(crate) examples: Vec<String>,
    /// What the ambassador told of lost writes, where it is the one.
    pub(crate) told: Option<Losses>,
}

impl Figures {
    pub(crate) fn of(name: String, failovers: Vec<Failover>, logs: &Logs, findings: Findings) -> Self {
        let mut figures = Self {
            name,
            reads: Tally::default(),
            writes: Tally::default(),
            transactions: Tally::default(),
            under_way: [
                logs.writers.len() as u64 * writer::PIPELINE,
                logs.transactors.len() as u64,
            ],
            findings,
            stalls: worst(&failovers, logs.writers.iter().map(|log| &log.diary)),
            read_stalls: worst(&failovers, logs.readers.iter().map(|log| &log.diary)),
            examples: Vec::new(),
            told: None,
            failovers,
        };
        for log in &logs.readers {
            figures.reads.add(&log.all);
            figures.example("read", &log.diary);
        }
        for log in &logs.writers {
            figures.writes.add(&log.all);
            figures.example("write", &log.diary);
        }
        for log in &logs.transactors {
            figures.transactions.add(&log.all);
            figures.example("transaction", &log.diary);
        }
        figures
    }

    fn example(&mut self, kind: &str, diary: &Diary) {
        self.examples
            .extend(diary.examples.iter().map(|text| format!("{kind}: {text}")));
    }

    /// The bars that every run has to meet, as far as it does not.
    pub(crate) fn missed(&self, is_planned: bool) -> Vec<String> {
        let mut missed = self.findings.wrong.clone();
        missed.extend(self.findings.transactions_wrong.iter().cloned());
        let mut bar = |what: &str, count: u64| {
            if count > 0 {
                missed.push(format!("{count} {what}"));
            }
        };
        bar("errors on reads", self.reads.errors() + self.reads.in_doubt);
        bar("errors on writes other than INDOUBT", self.writes.errors());
        // One whose connection a kill cut before EXEC is told that nothing of it ran.
        let aborted = if is_planned { 0 } else { self.transactions.refused };
        bar(
            "errors on transactions other than INDOUBT",
            self.transactions.errors() - aborted,
        );
        if is_planned {
            bar("writes in doubt", self.writes.in_doubt);
            bar("transactions in doubt", self.transactions.in_doubt);
            if !self.machine_lost_them() {
                bar("acknowledged writes missing", self.findings.missing());
                bar(
                    "acknowledged transactions missing",
                    self.findings.transactions_missing,
                );
            }
        } else if !self.failovers.is_empty() {
            // Only what was under way when a master was killed is in doubt, not what came after.
            let kills = self.failovers.len() as u64;
            let [writes, transactions] = self.under_way.map(|under_way| under_way * kills);
            bar(
                "writes in doubt more than were under way",
                self.writes.in_doubt.saturating_sub(writes),
            );
            bar(
                "transactions in doubt or aborted more than were under way",
                (self.transactions.in_doubt + aborted).saturating_sub(transactions),
            );
        }
        missed.extend(self.told_too_few());
        missed
    }

    /// What is missing beyond what the ambassador told.
    pub(crate) fn told_too_few(&self) -> Option<String> {
        let told = self.told?;
        let missing = self.findings.missing() + self.findings.transactions_missing;
        (missing > told.most)
            .then(|| format!("{missing} acknowledged writes are missing, and told was {told:?}"))
    }

    /// When missing appends had been answered, in milliseconds from the failover nearest to them, by its place.
    fn losses(&self) -> BTreeMap<usize, Vec<i64>> {
        let from = |answered: Instant, at: Instant| match answered.checked_duration_since(at) {
            Some(after) => after.as_millis() as i64,
            None => -((at - answered).as_millis() as i64),
        };
        let mut losses: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for answered in &self.findings.missing_appends {
            let all = self.failovers.iter().map(|failover| from(*answered, failover.at));
            if let Some((index, distance)) = all.enumerate().min_by_key(|(_, distance)| distance.abs()) {
                losses.entry(index).or_default().push(distance);
            }
        }
        losses
    }

    /// Whether all losses belong to failovers in which the machine let processes wait: a sentinel does not wait for
    /// anybody, and tells the old master last.
    fn machine_lost_them(&self) -> bool {
        let losses = self.losses();
        !losses.is_empty()
            && losses
                .keys()
                .all(|&index| !self.failovers[index].starved.is_zero())
    }
}

/// The time of day, in UTC, as the servers log it.
pub(crate) fn time_of_day(at: Instant) -> String {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let then = now.saturating_sub(at.elapsed());
    let seconds = then.as_secs() % 86_400;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        then.subsec_millis()
    )
}

/// The longest stall of any of these clients around each failover.
fn worst<'a>(failovers: &[Failover], diaries: impl Iterator<Item = &'a Diary>) -> Vec<Duration> {
    let stalls: Vec<Stall> = diaries.flat_map(|diary| diary.stalls.iter().copied()).collect();
    failovers
        .iter()
        .map(|failover| longest(&stalls, failover))
        .collect()
}

/// The longest that overlaps a failover and the second after it.
pub(crate) fn longest(stalls: &[Stall], failover: &Failover) -> Duration {
    let until = failover.at + failover.took + Duration::from_secs(1);
    let near = stalls
        .iter()
        .filter(|stall| stall.since < until && stall.since + stall.lasted > failover.at);
    near.map(|stall| stall.lasted).max().unwrap_or_default()
}

/// All runs as a table in Markdown, and what errors said below it.
pub(crate) fn table(runs: &[Figures]) -> String {
    let mut text = String::from(
        "| run | failovers | reads: commands, errors | writes: commands, in doubt, errors | transactions: commands, in doubt, errors \
         | counters too high | acknowledged writes missing | the failover itself: median, longest | a write's longest stall: median, longest | a read's: median, longest |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for run in runs {
        let took: Vec<Duration> = run.failovers.iter().map(|failover| failover.took).collect();
        let commands = |tally: &Tally| tally.acknowledged + tally.in_doubt + tally.errors();
        let findings = &run.findings;
        let _ = writeln!(
            text,
            "| {} | {} | {}, {} | {}, {}, {} | {}, {}, {} | {} | {} | {} | {} | {} |",
            run.name,
            run.failovers.len(),
            commands(&run.reads),
            run.reads.errors() + run.reads.in_doubt,
            commands(&run.writes),
            run.writes.in_doubt,
            run.writes.errors(),
            commands(&run.transactions),
            run.transactions.in_doubt,
            run.transactions.errors(),
            findings.too_high,
            findings.missing(),
            two(&took),
            two(&run.stalls),
            two(&run.read_stalls),
        );
    }
    text
}

/// What a table has no room for.
pub(crate) fn details(run: &Figures) -> String {
    let mut text = format!(
        "{}: reads {:?}\n  writes {:?}\n  transactions {:?}\n",
        run.name, run.reads, run.writes, run.transactions
    );
    let findings = &run.findings;
    let _ = writeln!(
        text,
        "  missing: {} appends, {} counts, {} registers, {} transactions",
        findings.missing_appends.len(),
        findings.missing_counts,
        findings.missing_registers,
        findings.transactions_missing,
    );
    if let Some(told) = run.told {
        let _ = writeln!(text, "  the ambassador told: {told:?}");
    }
    for (index, distances) in run.losses() {
        let failover = &run.failovers[index];
        let _ = writeln!(
            text,
            "  {} appends from {:?} to {:?} ms of the failover at {}, which took {} ms; longest wait for a CPU {} ms",
            distances.len(),
            distances.iter().min().unwrap_or(&0),
            distances.iter().max().unwrap_or(&0),
            time_of_day(failover.at),
            failover.took.as_millis(),
            failover.starved.as_millis(),
        );
    }
    let starved = run
        .failovers
        .iter()
        .filter(|failover| !failover.starved.is_zero());
    let _ = writeln!(
        text,
        "  the machine let this process wait in {} of {} failovers",
        starved.count(),
        run.failovers.len()
    );
    for wrong in findings.wrong.iter().chain(&findings.transactions_wrong).take(20) {
        let _ = writeln!(text, "  wrong: {wrong}");
    }
    let mut examples = run.examples.clone();
    examples.sort();
    examples.dedup();
    for example in examples.iter().take(20) {
        let _ = writeln!(text, "  {example}");
    }
    text
}

/// The middle one and the longest.
fn two(times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    match (sorted.get(sorted.len() / 2), sorted.last()) {
        (Some(middle), Some(longest)) => format!("{} ms, {} ms", middle.as_millis(), longest.as_millis()),
        _ => "-".to_owned(),
    }
}
