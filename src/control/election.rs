//! Decides which node is the group's master when the nodes were asked. Pure.
//!
//! Roles are what nodes say, never what the configuration calls them. Full lineage (tokens of
//! acknowledged writes, Sentinel) is not its business; it only never leaves a master that still says
//! so for one that does not continue its history.

use super::info::Line;
use crate::topology::NodeId;

/// What became of the master adopted last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It still says master.
    Reigns,
    /// It says that it is a replica now.
    Deposed,
    /// It does not answer.
    Lost,
}

/// The master adopted last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incumbent<'a> {
    /// Which node.
    pub(super) id: NodeId,
    /// Its history when it was last heard.
    pub(super) line: &'a Line,
    /// What became of it.
    pub(super) fate: Fate,
}

/// A node that says master.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Which node.
    pub(super) id: NodeId,
    /// Its history.
    pub(super) line: &'a Line,
    /// Replicas connected to it.
    pub(super) replicas: usize,
    /// Other nodes of the group that name it as their master.
    pub(super) named: usize,
    /// It is the node that the configuration calls master.
    pub(super) configured: bool,
}

/// The master to adopt; `None`: there is none now, and the one adopted last stays in memory.
pub(super) fn elect(incumbent: Option<Incumbent<'_>>, candidates: &[Candidate<'_>]) -> Option<NodeId> {
    let Some(incumbent) = incumbent else {
        return best(candidates);
    };
    let successors: Vec<Candidate<'_>> = candidates
        .iter()
        .filter(|candidate| candidate.id != incumbent.id)
        .filter(|candidate| candidate.line.continues(incumbent.line))
        .copied()
        .collect();
    if let Some(successor) = best(&successors) {
        return Some(successor);
    }
    match incumbent.fate {
        Fate::Reigns => Some(incumbent.id),
        Fate::Deposed => best(candidates),
        // A node that others follow is a master by someone's decision; a lone one may just have lost its data.
        Fate::Lost => {
            let followed: Vec<Candidate<'_>> = candidates
                .iter()
                .filter(|candidate| candidate.replicas > 0 || candidate.named > 0)
                .copied()
                .collect();
            best(&followed)
        }
    }
}

fn best(candidates: &[Candidate<'_>]) -> Option<NodeId> {
    candidates
        .iter()
        .max_by_key(|candidate| {
            (
                candidate.named,
                candidate.replicas,
                candidate.configured,
                candidate.line.offset,
                // The last word is a stable one, so that two equals do not alternate.
                std::cmp::Reverse(candidate.id),
            )
        })
        .map(|candidate| candidate.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(replid: &str, before: Option<&str>, offset: u64) -> Line {
        Line {
            replid: replid.to_owned(),
            before: before.map(|id| (id.to_owned(), offset)),
            offset,
        }
    }

    fn candidate(id: u16, line: &Line, replicas: usize) -> Candidate<'_> {
        Candidate {
            id: NodeId(id),
            line,
            replicas,
            named: 0,
            configured: id == 0,
        }
    }

    #[test]
    fn at_first_the_node_that_is_followed_wins_then_the_configured_one() {
        let x = line("X", None, 5);
        assert_eq!(elect(None, &[]), None);
        assert_eq!(
            elect(None, &[candidate(0, &x, 0), candidate(1, &x, 0)]),
            Some(NodeId(0))
        );
        assert_eq!(
            elect(None, &[candidate(0, &x, 0), candidate(1, &x, 2)]),
            Some(NodeId(1))
        );
    }

    #[test]
    fn a_reigning_master_yields_to_its_successor_only() {
        let (x, y, stranger) = (
            line("X", None, 100),
            line("Y", Some("X"), 90),
            line("Z", None, 9000),
        );
        let reigning = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Reigns,
        });
        let old = candidate(0, &x, 0);
        assert_eq!(
            elect(reigning, &[old, candidate(1, &stranger, 5)]),
            Some(NodeId(0))
        );
        assert_eq!(elect(reigning, &[old, candidate(1, &y, 0)]), Some(NodeId(1)));
    }

    #[test]
    fn a_lost_master_is_not_replaced_by_a_lone_node_that_lost_its_data() {
        let (x, y, empty) = (line("X", None, 100), line("Y", Some("X"), 90), line("E", None, 0));
        let lost = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Lost,
        });
        assert_eq!(elect(lost, &[candidate(2, &empty, 0)]), None);
        assert_eq!(
            elect(lost, &[candidate(2, &empty, 0), candidate(1, &y, 0)]),
            Some(NodeId(1))
        );
        assert_eq!(elect(lost, &[candidate(2, &empty, 1)]), Some(NodeId(2)));
    }

    #[test]
    fn a_deposed_master_gives_way_to_any() {
        let (x, z) = (line("X", None, 100), line("Z", None, 0));
        let deposed = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Deposed,
        });
        assert_eq!(elect(deposed, &[candidate(1, &z, 0)]), Some(NodeId(1)));
        assert_eq!(elect(deposed, &[]), None);
    }

    #[test]
    fn a_master_that_restarted_with_a_new_history_stays_master() {
        let (x, again) = (line("X", None, 100), line("R", None, 0));
        let reigning = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Reigns,
        });
        assert_eq!(elect(reigning, &[candidate(0, &again, 0)]), Some(NodeId(0)));
    }
}
