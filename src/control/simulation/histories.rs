//! What every replication history really holds: the truth that checks rest on, which no server tells.

use std::time::Duration;

use super::server::Position;

#[derive(Debug)]
struct History {
    /// The history that it goes on from, and up to which offset that one belongs to it.
    parent: Option<(u32, u64)>,
    /// When its master had written up to which offset.
    written: Vec<(Duration, u64)>,
}

/// All histories, by number.
#[derive(Debug, Default)]
pub(super) struct Histories(Vec<History>);

impl Histories {
    /// A history that begins now; its number.
    pub(super) fn begin(&mut self, parent: Option<(u32, u64)>, now: Duration) -> u32 {
        let from = parent.map_or(0, |(_, offset)| offset);
        self.0.push(History {
            parent,
            written: vec![(now, from)],
        });
        self.0.len() as u32 - 1
    }

    pub(super) fn write(&mut self, replid: u32, now: Duration, offset: u64) {
        self.0[replid as usize].written.push((now, offset));
    }

    /// Whether `replid` is a later one of `of`'s line.
    pub(super) fn descends(&self, replid: u32, of: u32) -> bool {
        let parent = |replid: &u32| self.0[*replid as usize].parent.map(|(parent, _)| parent);
        std::iter::successors(parent(&replid), parent).any(|ancestor| ancestor == of)
    }

    /// Whether all that is at `position` belongs to the history `replid`.
    pub(super) fn holds(&self, replid: u32, position: &Position) -> bool {
        self.walk(replid, position).0
    }

    /// When the history first held more than what is at `position`; `None`: never, or it is of another history.
    pub(super) fn overtook(&self, replid: u32, position: &Position) -> Option<Duration> {
        self.walk(replid, position).1
    }

    fn walk(&self, replid: u32, position: &Position) -> (bool, Option<Duration>) {
        let (mut replid, mut most, mut overtaken) = (replid, u64::MAX, None);
        loop {
            let history = &self.0[replid as usize];
            let first = history
                .written
                .partition_point(|(_, offset)| *offset <= position.offset);
            if let Some((when, _)) = history.written.get(first).filter(|(_, offset)| *offset <= most) {
                overtaken = Some(*when);
            }
            if replid == position.replid {
                return if position.offset <= most {
                    (true, overtaken)
                } else {
                    (false, None)
                };
            }
            let Some((parent, at)) = history.parent else {
                return (false, None);
            };
            (replid, most) = (parent, most.min(at));
        }
    }
}
