//! Whom to adopt to begin with, when nobody has been adopted yet. Pure.
//!
//! Who is adopted now stays until a history or the sentinels name another one: so it is not the first that says master, but
//! the one that the others follow.

use super::{Candidate, Word, best};
use crate::topology::NodeId;

/// The first master; `None`: there is none, or it is not clear who it is. `unheard` nodes have neither answered nor failed to.
pub(super) fn first(candidates: &[Candidate<'_>], word: Word, unheard: usize) -> Option<NodeId> {
    let named = candidates.iter().filter(|candidate| word.names(candidate.id));
    let sound = |candidate: &&Candidate<'_>| !candidate.doubtful;
    let chosen = match word {
        Word::Pending => None,
        Word::Most { .. } => return best(named, word),
        Word::Some(_) => best(named.filter(sound), word),
        Word::Silent => best(candidates.iter().filter(sound), word),
    }?;
    let chosen = candidates.iter().find(|candidate| candidate.id == chosen)?;
    // One that goes on from its history succeeds it at once, and one from which it goes on has been succeeded.
    let mut rivals = candidates.iter().filter(|other| {
        other.id != chosen.id && !other.line.continues(chosen.line) && !chosen.line.continues(other.line)
    });
    // Each of the others may follow a rival, or be one that those beside it follow.
    let beats = |rival: &Candidate<'_>| chosen.named > rival.named + unheard;
    let is_clear = unheard == 0 || (chosen.named >= unheard && rivals.clone().all(beats));
    // Any sentinel's word is better than none, but not better than what the nodes do.
    let is_more = |rival: &Candidate<'_>| (chosen.named, chosen.replicas) > (rival.named, rival.replicas);
    let agrees = word == Word::Silent || rivals.all(is_more);
    (is_clear && agrees).then_some(chosen.id)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{candidate, line};
    use super::*;

    fn some(node: u16) -> Word {
        Word::Some(Some(NodeId(node)))
    }

    #[test]
    fn the_node_that_is_followed_wins_then_the_configured_one() {
        let x = line("X", None, 5);
        assert_eq!(first(&[], Word::Silent, 0), None);
        for (replicas, expected) in [(0, 0), (2, 1)] {
            let both = [candidate(0, &x, 0), candidate(1, &x, replicas)];
            assert_eq!(first(&both, Word::Silent, 0), Some(NodeId(expected)));
        }
    }

    #[test]
    fn nobody_is_adopted_before_those_who_could_tell_better_have_been_heard() {
        let (x, lone) = (line("X", None, 5), line("L", None, 0));
        let followed = |named| Candidate {
            named,
            ..candidate(1, &x, 2)
        };
        let lone = candidate(0, &lone, 0);
        // Who says master, how many are unheard, who is adopted.
        let stories: [(&[Candidate<'_>], usize, Option<u16>); 9] = [
            (&[lone], 0, Some(0)),
            (&[lone], 1, None),
            (&[lone], 2, None),
            (&[followed(0)], 1, None),
            // Whoever is left is alone.
            (&[followed(1)], 1, Some(1)),
            (&[followed(1)], 2, None),
            (&[lone, followed(1)], 1, None),
            (&[lone, followed(2)], 1, Some(1)),
            (&[lone, followed(0)], 0, Some(1)),
        ];
        for (candidates, unheard, expected) in stories {
            let adopted = first(candidates, Word::Silent, unheard);
            assert_eq!(adopted, expected.map(NodeId), "{candidates:?} {unheard}");
        }
        let doubtful = Candidate {
            doubtful: true,
            ..lone
        };
        assert_eq!(
            first(&[doubtful], Word::Silent, 0),
            None,
            "its group is elsewhere"
        );
        assert_eq!(first(&[doubtful, followed(1)], Word::Silent, 0), Some(NodeId(1)));
    }

    #[test]
    fn a_minority_of_sentinels_is_not_believed_against_what_the_nodes_do() {
        let (x, y, stranger) = (
            line("X", None, 100),
            line("Y", Some("X"), 90),
            line("Z", None, 9000),
        );
        let stale = candidate(0, &stranger, 0);
        let followed = Candidate {
            named: 1,
            ..candidate(1, &x, 1)
        };
        let both = [stale, followed];
        assert_eq!(
            first(&[stale], some(0), 0),
            Some(NodeId(0)),
            "nobody says otherwise"
        );
        assert_eq!(first(&[stale], some(0), 1), None, "somebody may yet");
        assert_eq!(first(&both, some(0), 0), None);
        assert_eq!(first(&both, some(1), 0), Some(NodeId(1)));
        assert_eq!(
            first(&[stale, candidate(1, &x, 0)], some(0), 0),
            None,
            "who knows"
        );
        // A predecessor is named: who goes on from it is adopted at the next turn.
        let successor = candidate(2, &y, 0);
        assert_eq!(first(&[followed, successor], some(1), 0), Some(NodeId(1)));
        assert_eq!(first(&[followed, successor], some(2), 0), Some(NodeId(2)));
        // The majority is believed.
        let most = Word::Most {
            node: Some(NodeId(0)),
            late: true,
        };
        assert_eq!(first(&both, most, 3), Some(NodeId(0)));
        assert_eq!(first(&both, Word::Pending, 0), None);
    }
}
