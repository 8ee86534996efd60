//! Which of the writes that were acknowledged a failover lost: at least so many, at most so many, and from when.
//!
//! A write is counted in its master's offset before its reply leaves. So what had been acknowledged when a probe was sent
//! lies at or below the offset that the probe came back with, and what was sent after it had come back lies above. A
//! successor says up to where it has its predecessor's history (`second_repl_offset`, the first offset that it has not).
//! Pure: counts, offsets and times go in.

use std::collections::VecDeque;
use std::time::Duration;

use super::info::{Facts, Line};
use super::report::{Loss, Losses as Told};
use crate::topology::{NodeId, Role};

/// Probes remembered, those of one offset as one: of some five minutes at the usual intervals. Behind them a successor may
/// have lost all that its predecessor acknowledged.
const MOST: usize = 4096;

/// Failovers that are not answered for, at most.
const MOST_OPEN: usize = 8;

/// How long a former master is waited for, to say where its history ended.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the workers have counted.
pub(super) trait Counts {
    /// Writes that a node may have acknowledged by now.
    fn acknowledged(&self, node: NodeId) -> u64;
    /// Of those that it acknowledged, at least so many were sent after that moment.
    fn sent_since(&self, node: NodeId, since: Duration) -> u64;
    /// When it acknowledged the last one.
    fn last(&self, node: NodeId) -> Option<Duration>;
    /// Every worker goes by this version of the topology, or a later one.
    fn all_know(&self, version: u64) -> bool;
}

/// Probes of a master that came back with one offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    offset: u64,
    /// When the first of them had come back.
    heard: Duration,
    /// When the last of them was sent.
    sent: Duration,
    /// What had been acknowledged then.
    acknowledged: u64,
}

/// The time of one master with one history.
#[derive(Debug)]
struct Era {
    node: NodeId,
    replid: String,
    run_id: Option<String>,
    /// When it began, and what its node had acknowledged before.
    since: Duration,
    before: u64,
    marks: VecDeque<Mark>,
}

impl Era {
    fn note(&mut self, mark: Mark) {
        match self.marks.back_mut() {
            // Not of this history, whatever it says.
            Some(last) if mark.offset < last.offset => {}
            Some(last) if mark.offset == last.offset => {
                if mark.sent > last.sent {
                    (last.sent, last.acknowledged) = (mark.sent, mark.acknowledged);
                }
            }
            _ => {
                if self.marks.len() == MOST {
                    self.marks.pop_front();
                }
                self.marks.push_back(mark);
            }
        }
    }

    /// What is safe with a successor whose history begins at that offset: when and how much was acknowledged by then.
    fn safe(&self, from: u64) -> (Duration, u64) {
        let last = self.marks.iter().rev().find(|mark| mark.offset < from);
        last.map_or((self.since, self.before), |mark| (mark.sent, mark.acknowledged))
    }

    /// From when on what was sent is lost.
    fn lost_since(&self, from: u64) -> Option<Duration> {
        let first = self.marks.iter().find(|mark| mark.offset >= from);
        first.map(|mark| mark.heard)
    }
}

/// How a new history comes from the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Descent {
    /// It goes on from there; this is the first offset that it has not.
    From(u64),
    /// It does not say, or is another.
    Unknown,
    /// It is the same process with the same data, by another name.
    Same,
}

/// An era that has ended, while it is found out what was lost with it.
#[derive(Debug)]
struct Inquest {
    era: Era,
    descent: Descent,
    successor: NodeId,
    opened: Duration,
    /// The topology that names the successor.
    version: Option<u64>,
    /// Where the former master's history ended, once it takes no more writes in it.
    ended_at: Option<u64>,
    /// It will say nothing more.
    silent: bool,
    /// It is not waited for any longer.
    hurried: bool,
    /// What was acknowledged when the next one began, where that counts on.
    handed_on: Option<u64>,
}

/// Keeps the account of what failovers lose.
#[derive(Debug, Default)]
pub(super) struct Losses {
    era: Option<Era>,
    inquests: VecDeque<Inquest>,
    /// Acknowledged in former eras and not known to be lost: with all its data a master may lose these too.
    earlier: u64,
    /// When the first of them may have been.
    began: Option<Duration>,
    /// Where what is acknowledged late is seen: a former master, and what it had acknowledged when that was settled.
    late: Option<(NodeId, u64)>,
    told: Told,
}

impl Losses {
    /// A node answered a probe that was sent at that time.
    pub(super) fn heard(&mut self, node: NodeId, facts: &Facts, sent: Duration, now: Duration) {
        let mark = Mark {
            offset: facts.line.offset,
            heard: now,
            sent,
            acknowledged: facts.acknowledged,
        };
        if let Some(era) = &mut self.era
            && era.node == node
            && era.replid == facts.line.replid
        {
            era.note(mark);
        }
        for inquest in &mut self.inquests {
            if inquest.era.node == node {
                inquest.heard(facts, mark);
            }
        }
    }

    /// A node could not be asked.
    pub(super) fn failed(&mut self, node: NodeId) {
        for inquest in &mut self.inquests {
            inquest.silent |= inquest.era.node == node;
        }
    }

    /// This node is the master, with this to say of itself when it was last asked.
    pub(super) fn reigns(&mut self, node: NodeId, run_id: Option<&str>, facts: &Facts, now: Duration) {
        let line = &facts.line;
        if let Some(era) = &self.era
            && era.replid == line.replid
            && era.node == node
        {
            return;
        }
        self.began.get_or_insert(now);
        let begins = Era {
            node,
            replid: line.replid.clone(),
            run_id: run_id.map(str::to_owned),
            since: now,
            before: facts.acknowledged,
            marks: VecDeque::new(),
        };
        let Some(era) = self.era.replace(begins) else {
            return;
        };
        if self.inquests.len() >= MOST_OPEN
            && let Some(oldest) = self.inquests.front_mut()
        {
            // Masters come and go faster than they can be asked: it is answered for with what is known.
            oldest.hurried = true;
        }
        self.inquests.push_back(Inquest {
            descent: descent(&era, run_id, line),
            hurried: false,
            handed_on: (era.node == node).then_some(facts.acknowledged),
            silent: era.node == node,
            era,
            successor: node,
            opened: now,
            version: None,
            ended_at: None,
        });
    }

    /// The workers are told of this master with that version.
    pub(super) fn published(&mut self, version: u64, master: Option<NodeId>) {
        for inquest in &mut self.inquests {
            if inquest.version.is_none()
                && master.is_some_and(|master| master == inquest.successor || master != inquest.era.node)
            {
                inquest.version = Some(version);
            }
        }
    }

    /// What the oldest failover that was not answered for lost, once that is known as well as it will be.
    pub(super) fn settle(&mut self, counts: &impl Counts, now: Duration) -> Option<Loss> {
        if let Some(loss) = self.late(counts) {
            return Some(loss);
        }
        let inquest = self.inquests.front()?;
        if !inquest.is_over(counts, now) {
            return None;
        }
        let inquest = self.inquests.pop_front()?;
        if inquest.descent == Descent::Same {
            let until = inquest.handed_on;
            let until = until.unwrap_or_else(|| counts.acknowledged(inquest.era.node));
            self.earlier += until.saturating_sub(inquest.era.before);
            return self.settle(counts, now);
        }
        let loss = self.judge(&inquest, counts);
        self.told.add(&loss);
        Some(loss)
    }

    fn judge(&mut self, inquest: &Inquest, counts: &impl Counts) -> Loss {
        let Inquest { era, descent, .. } = inquest;
        let total = counts.acknowledged(era.node);
        let of_era = total.saturating_sub(era.before);
        let last = counts.last(era.node).unwrap_or(era.since);
        let (mut at_least, at_most, since) = match *descent {
            Descent::From(from) if inquest.ended_at.is_some_and(|end| end < from) => (0, 0, last),
            Descent::From(from) => {
                let (since, safe) = era.safe(from);
                let at_least = era
                    .lost_since(from)
                    .map_or(0, |since| counts.sent_since(era.node, since));
                (at_least, total.saturating_sub(safe), since)
            }
            Descent::Unknown | Descent::Same => {
                let at_most = self.earlier + of_era;
                (0, at_most, self.began.unwrap_or(era.since))
            }
        };
        // Where it is master again its counts are of both times.
        let again = self.era.as_ref().is_some_and(|now| now.node == era.node);
        at_least = if again { 0 } else { at_least.min(at_most) };
        if *descent == Descent::Unknown {
            // What was lost with this cannot be lost again.
            self.earlier = 0;
        } else {
            self.earlier += of_era.saturating_sub(at_least);
        }
        let ended = inquest.ended_at.is_some();
        self.late = (!ended && era.node != inquest.successor).then_some((era.node, total));
        Loss {
            former: era.node,
            master: inquest.successor,
            at_least,
            at_most,
            is_known: *descent != Descent::Unknown,
            since,
            until: last.max(since),
            adopted: inquest.opened,
            late: false,
        }
    }

    /// What a former master acknowledged after its loss was settled is lost too, at most.
    fn late(&mut self, counts: &impl Counts) -> Option<Loss> {
        let (node, settled) = self.late?;
        let era = self.era.as_ref()?;
        if era.node == node || self.inquests.iter().any(|inquest| inquest.era.node == node) {
            self.late = None;
            return None;
        }
        let total = counts.acknowledged(node);
        if total <= settled {
            return None;
        }
        self.late = Some((node, total));
        let last = counts.last(node).unwrap_or_default();
        let loss = Loss {
            former: node,
            master: era.node,
            at_least: 0,
            at_most: total - settled,
            is_known: true,
            since: era.since.min(last),
            until: last,
            adopted: era.since,
            late: true,
        };
        self.told.add(&loss);
        Some(loss)
    }

    /// All that was told so far.
    pub(super) fn told(&self) -> Told {
        self.told.clone()
    }
}

impl Inquest {
    /// The former master says something more.
    fn heard(&mut self, facts: &Facts, mark: Mark) {
        let line = &facts.line;
        let follows = facts.role == Role::Replica;
        if line.replid == self.era.replid {
            // One that has given up its data says 1 (`genRedisInfoString` in Redis's server.c).
            let last = self.era.marks.back().map_or(1, |mark| mark.offset);
            if follows && line.offset > 1 && line.offset >= last {
                // It takes no writes any more, and nothing of another history yet.
                self.ended_at = Some(line.offset);
            }
            self.era.note(mark);
            return;
        }
        match &line.before {
            // It went on to the new history from where its own ended: it was not ahead of it.
            Some((replid, from)) if follows && *replid == self.era.replid => {
                self.ended_at.get_or_insert(from.saturating_sub(1));
            }
            // It has other data now.
            _ => self.silent = true,
        }
    }

    fn is_over(&self, counts: &impl Counts, now: Duration) -> bool {
        if self.hurried || self.descent == Descent::Same || now >= self.opened + PATIENCE {
            return true;
        }
        let known = self.version.is_some_and(|version| counts.all_know(version));
        let Descent::From(from) = self.descent else {
            return known;
        };
        let (_, safe) = self.era.safe(from);
        let nothing_lost = counts.acknowledged(self.era.node) <= safe;
        let ahead = self.era.marks.back().is_some_and(|mark| mark.offset >= from);
        known && (self.ended_at.is_some() || self.silent || nothing_lost || ahead)
    }
}

/// How a history comes from that of an era.
fn descent(era: &Era, run_id: Option<&str>, line: &Line) -> Descent {
    let same_process = era.run_id.is_some() && era.run_id.as_deref() == run_id;
    // The first replica came, or none for a long time (`changeReplicationId` in Redis's replication.c).
    let renewed = line.before.is_none() && era.marks.back().is_none_or(|mark| mark.offset <= line.offset);
    if same_process && (renewed || era.replid == line.replid) {
        return Descent::Same;
    }
    match &line.before {
        Some((replid, from)) if *replid == era.replid => Descent::From(*from),
        _ => Descent::Unknown,
    }
}

#[cfg(test)]
mod tests;
