//! What the sentinels say, taken together: a majority of those that are configured, so that one which lies or is cut
//! off is outvoted. Pure.

use super::connection::Failure;

/// An announced address: host and port.
pub(super) type Announced = (String, u16);

/// What one sentinel says of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// Who is master, also while a failover is under way.
    pub(super) master: Announced,
    /// Counts the failovers that the sentinels agreed on (`config-epoch`).
    pub(super) epoch: u64,
    /// The replicas that it knows, those that are down included.
    pub(super) replicas: Vec<Announced>,
}

/// What they say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Who is master.
    pub(super) master: Announced,
    /// The highest epoch among those that say so.
    pub(super) epoch: u64,
    /// More than half of all sentinels say so.
    pub(super) sure: bool,
}

/// The configured sentinels and their last words.
#[derive(Debug)]
pub(super) struct Council {
    words: Vec<Option<Result<Told, Failure>>>,
}

impl Council {
    /// So many sentinels, none of them heard.
    pub(super) fn new(sentinels: usize) -> Self {
        Council {
            words: vec![None; sentinels],
        }
    }

    /// Takes in what a sentinel says now, or why it cannot be asked: then what it said before counts no more.
    pub(super) fn hear(&mut self, sentinel: usize, word: Result<Told, Failure>) {
        if let Some(place) = self.words.get_mut(sentinel) {
            *place = Some(word);
        }
    }

    /// The verdict of the most, with the highest epoch among equals; `None` while none says anything.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let best = self
            .told()
            .max_by_key(|told| (self.votes(&told.master), told.epoch))?;
        let epoch = self.told().filter(|told| told.master == best.master);
        Some(Verdict {
            master: best.master.clone(),
            epoch: epoch.map(|told| told.epoch).max().unwrap_or_default(),
            sure: 2 * self.votes(&best.master) > self.words.len(),
        })
    }

    /// The nodes that those know who are of the verdict's opinion.
    pub(super) fn nodes(&self, verdict: &Verdict) -> Vec<Announced> {
        let mut nodes = vec![verdict.master.clone()];
        for told in self.told().filter(|told| told.master == verdict.master) {
            for replica in &told.replicas {
                if !nodes.contains(replica) {
                    nodes.push(replica.clone());
                }
            }
        }
        nodes
    }

    /// Whether each has answered or failed to.
    pub(super) fn is_complete(&self) -> bool {
        self.words.iter().all(Option::is_some)
    }

    /// What each said last, in the order of the configuration.
    pub(super) fn words(&self) -> &[Option<Result<Told, Failure>>] {
        &self.words
    }

    fn votes(&self, master: &Announced) -> usize {
        self.told().filter(|told| told.master == *master).count()
    }

    fn told(&self) -> impl Iterator<Item = &Told> {
        self.words.iter().filter_map(|word| word.as_ref()?.as_ref().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::FailureKind;

    /// `None`: it cannot be asked.
    fn told(master: &str, epoch: u64) -> Option<Told> {
        (!master.is_empty()).then(|| Told {
            master: (master.to_owned(), 6379),
            epoch,
            replicas: vec![(format!("replica-of-{master}"), 6379)],
        })
    }

    fn verdict(words: &[Option<Told>]) -> Option<(String, u64, bool)> {
        let silent = || Failure {
            kind: FailureKind::Timeout,
            message: String::new(),
        };
        let mut council = Council::new(3);
        for (sentinel, word) in words.iter().enumerate() {
            council.hear(sentinel, word.clone().ok_or_else(silent));
        }
        let verdict = council.verdict()?;
        assert_eq!(council.nodes(&verdict).len(), 2);
        Some((verdict.master.0, verdict.epoch, verdict.sure))
    }

    #[test]
    fn a_majority_of_all_is_sure_and_the_others_are_outvoted() {
        let (a, b) = ("a".to_owned(), "b".to_owned());
        for (words, expected) in [
            (
                vec![told("a", 1), told("a", 2), told("a", 1)],
                Some((a.clone(), 2, true)),
            ),
            // The liar has the higher epoch and no majority.
            (
                vec![told("b", 9), told("a", 1), told("a", 1)],
                Some((a.clone(), 1, true)),
            ),
            (vec![told("a", 1), None, told("a", 1)], Some((a.clone(), 1, true))),
            (vec![told("a", 1), None, None], Some((a, 1, false))),
            // Halfway through a failover, with the third cut off.
            (vec![told("a", 1), told("b", 2), None], Some((b, 2, false))),
            (vec![None, None, None], None),
            (vec![], None),
        ] {
            assert_eq!(verdict(&words), expected, "{words:?}");
        }
    }
}
