//! Decides which node is the group's master when the nodes and the sentinels were asked. Pure.
//!
//! Roles are what nodes say, never what the configuration calls them. In this order: the successor that the adopted
//! master's history names (it is there before anybody else says so); the word of the sentinels; the adopted master
//! itself, as long as it says so; whom the others follow. A deposed master is never gone back to.

mod first;

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
    /// Whom it calls its master now.
    pub(super) follows: Option<NodeId>,
    /// It has not answered for longer than a failover takes that sentinels may have begun.
    pub(super) gone: bool,
}

/// A node that says master.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a node")]
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
    /// It was adopted once, and another one after it, whom it has not followed since.
    pub(super) deposed: bool,
    /// It was a replica, and its process has begun anew: it says master because nobody told it whom to follow. What it
    /// loaded makes its history look like a promotion's.
    pub(super) began_anew: bool,
    /// Its group seems to be elsewhere, with a node that does not answer. It counts only while nobody was ever adopted.
    pub(super) doubtful: bool,
}

/// What the sentinels say, where there are any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// There are none, or none can be asked.
    Silent,
    /// Those that answered are no majority, and others have not been heard yet.
    Pending,
    /// The most of those that can be asked name this node (`None`: one that is not known yet); they are no majority.
    Some(Option<NodeId>),
    /// A majority names this node.
    Most {
        /// The node; `None`: one that is not known yet.
        node: Option<NodeId>,
        /// In a later epoch than that in which the adopted master became it.
        late: bool,
    },
}

impl Word {
    fn names(self, id: NodeId) -> bool {
        matches!(self, Word::Some(node) | Word::Most { node, .. } if node == Some(id))
    }
}

/// The master to adopt; `None`: there is none now, and the one adopted last stays in memory. `unheard` nodes have neither
/// answered nor failed to, which counts only while nobody was ever adopted.
pub(super) fn elect(
    incumbent: Option<Incumbent<'_>>,
    candidates: &[Candidate<'_>],
    word: Word,
    unheard: usize,
) -> Option<NodeId> {
    let Some(incumbent) = incumbent else {
        return first::first(candidates, word, unheard);
    };
    let others = || candidates.iter().filter(|other| other.id != incumbent.id);
    let rivals = || others().filter(|other| !other.deposed);
    let successors = rivals().filter(|rival| !rival.began_anew && rival.line.continues(incumbent.line));
    if let Some(successor) = best(successors, word) {
        return Some(successor);
    }
    if let Word::Most { late, .. } = word
        && let Some(named) = others().find(|other| word.names(other.id) && (late || !other.deposed))
    {
        return Some(named.id);
    }
    let follows = |node: NodeId| incumbent.follows == Some(node);
    match (incumbent.fate, word) {
        // They have agreed on another one since, which cannot be reached: this one is written to in vain.
        (Fate::Reigns, Word::Most { node, late: true }) if node != Some(incumbent.id) => None,
        (Fate::Reigns, _) => Some(incumbent.id),
        // A promotion that the sentinels did not make, and undid.
        (Fate::Deposed, Word::Most { node: Some(node), .. })
            if follows(node) && others().any(|other| other.id == node) =>
        {
            Some(node)
        }
        // It is not coming back, and they have not agreed on another one than before: a promotion by hand came to nothing.
        (Fate::Lost, Word::Most { node: Some(node), .. })
            if incumbent.gone && others().any(|other| other.id == node) =>
        {
            Some(node)
        }
        // The sentinels will say who is next.
        (_, Word::Most { .. }) => None,
        // It may have been adopted only because its own master was out of reach.
        (Fate::Deposed, _) => best(rivals(), word).or_else(|| {
            let mut others = others();
            others.find(|other| follows(other.id)).map(|other| other.id)
        }),
        // A node that others follow is a master by someone's decision; a lone one may just have lost its data.
        (Fate::Lost, _) => best(
            rivals().filter(|rival| rival.replicas > 0 || rival.named > 0),
            word,
        ),
    }
}

fn best<'a>(candidates: impl Iterator<Item = &'a Candidate<'a>>, word: Word) -> Option<NodeId> {
    candidates
        .max_by_key(|candidate| {
            (
                word.names(candidate.id),
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

    fn elect(incumbent: Option<Incumbent<'_>>, candidates: &[Candidate<'_>], word: Word) -> Option<NodeId> {
        super::elect(incumbent, candidates, word, 0)
    }

    pub(super) fn line(replid: &str, before: Option<&str>, offset: u64) -> Line {
        Line {
            replid: replid.to_owned(),
            before: before.map(|id| (id.to_owned(), offset)),
            offset,
        }
    }

    pub(super) fn candidate(id: u16, line: &Line, replicas: usize) -> Candidate<'_> {
        Candidate {
            id: NodeId(id),
            line,
            replicas,
            named: 0,
            configured: id == 0,
            deposed: false,
            began_anew: false,
            doubtful: false,
        }
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
            follows: None,
            gone: false,
        });
        let old = candidate(0, &x, 0);
        assert_eq!(
            elect(reigning, &[old, candidate(1, &stranger, 5)], Word::Silent),
            Some(NodeId(0))
        );
        assert_eq!(
            elect(reigning, &[old, candidate(1, &y, 0)], Word::Silent),
            Some(NodeId(1))
        );
    }

    #[test]
    fn a_lost_master_is_not_replaced_by_a_lone_node_that_lost_its_data() {
        let (x, y, empty) = (line("X", None, 100), line("Y", Some("X"), 90), line("E", None, 0));
        let lost = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Lost,
            follows: None,
            gone: false,
        });
        assert_eq!(elect(lost, &[candidate(2, &empty, 0)], Word::Silent), None);
        assert_eq!(
            elect(
                lost,
                &[candidate(2, &empty, 0), candidate(1, &y, 0)],
                Word::Silent
            ),
            Some(NodeId(1))
        );
        assert_eq!(
            elect(lost, &[candidate(2, &empty, 1)], Word::Silent),
            Some(NodeId(2))
        );
    }

    #[test]
    fn a_deposed_master_gives_way_to_any() {
        let (x, z) = (line("X", None, 100), line("Z", None, 0));
        let deposed = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Deposed,
            follows: None,
            gone: false,
        });
        assert_eq!(
            elect(deposed, &[candidate(1, &z, 0)], Word::Silent),
            Some(NodeId(1))
        );
        assert_eq!(elect(deposed, &[], Word::Silent), None);
    }

    #[test]
    fn a_master_that_restarted_with_a_new_history_stays_master() {
        let (x, again) = (line("X", None, 100), line("R", None, 0));
        let reigning = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Reigns,
            follows: None,
            gone: false,
        });
        assert_eq!(
            elect(reigning, &[candidate(0, &again, 0)], Word::Silent),
            Some(NodeId(0))
        );
    }

    #[test]
    fn the_word_of_the_sentinels_decides_between_two_masters_and_the_history_comes_before_it() {
        let (x, y, stranger) = (
            line("X", None, 100),
            line("Y", Some("X"), 90),
            line("Z", None, 9000),
        );
        let most = |node: u16, late| Word::Most {
            node: Some(NodeId(node)),
            late,
        };
        let (a, b) = (candidate(0, &x, 2), candidate(1, &stranger, 0));
        // To begin with.
        assert_eq!(elect(None, &[a, b], most(1, true)), Some(NodeId(1)));
        assert_eq!(
            elect(None, &[a, b], most(7, true)),
            None,
            "it does not say that it is master"
        );
        // With a master that still says so.
        let reigning = |line| {
            Some(Incumbent {
                id: NodeId(0),
                line,
                fate: Fate::Reigns,
                follows: None,
                gone: false,
            })
        };
        assert_eq!(elect(reigning(&x), &[a, b], most(1, true)), Some(NodeId(1)));
        assert_eq!(
            elect(reigning(&x), &[a, b], Word::Some(Some(NodeId(1)))),
            Some(NodeId(0))
        );
        let successor = candidate(2, &y, 0);
        assert_eq!(
            elect(reigning(&x), &[a, b, successor], most(0, false)),
            Some(NodeId(2)),
            "the sentinels have not heard of it yet"
        );
        // Once deposed, it is gone back to only when the sentinels agreed on that later.
        let old = Candidate { deposed: true, ..a };
        let new = Some(Incumbent {
            id: NodeId(2),
            line: &y,
            fate: Fate::Reigns,
            follows: None,
            gone: false,
        });
        assert_eq!(elect(new, &[old, successor], most(0, false)), Some(NodeId(2)));
        assert_eq!(elect(new, &[old, successor], most(0, true)), Some(NodeId(0)));
    }

    #[test]
    fn one_that_was_replaced_by_hand_is_gone_back_to_when_its_successor_stays_away() {
        let (x, y) = (line("X", None, 100), line("Y", Some("X"), 90));
        let named = Word::Most {
            node: Some(NodeId(0)),
            late: false,
        };
        let old = Candidate {
            deposed: true,
            ..candidate(0, &x, 2)
        };
        for (gone, expected) in [(false, None), (true, Some(NodeId(0)))] {
            let lost = Some(Incumbent {
                id: NodeId(1),
                line: &y,
                fate: Fate::Lost,
                follows: None,
                gone,
            });
            assert_eq!(elect(lost, &[old], named), expected);
            assert_eq!(elect(lost, &[old], Word::Silent), None, "nobody says so");
        }
    }

    #[test]
    fn a_lost_master_is_waited_for_while_the_sentinels_decide() {
        let (x, z) = (line("X", None, 100), line("Z", None, 0));
        let lost = Some(Incumbent {
            id: NodeId(0),
            line: &x,
            fate: Fate::Lost,
            follows: None,
            gone: false,
        });
        let followed = candidate(1, &z, 2);
        let most = Word::Most {
            node: Some(NodeId(0)),
            late: false,
        };
        assert_eq!(elect(lost, &[followed], most), None);
        assert_eq!(elect(lost, &[followed], Word::Silent), Some(NodeId(1)));
        let deposed = Candidate {
            deposed: true,
            ..followed
        };
        assert_eq!(
            elect(lost, &[deposed], Word::Silent),
            None,
            "when in doubt, writes wait"
        );
    }
}
