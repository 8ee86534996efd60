//! What the sentinels say, taken together: a majority of those that are configured, so that one which lies or is cut
//! off is outvoted. Pure.

use super::connection::Failure;
use super::report::SentinelReport;
use crate::settings::NodeAddress;

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
    /// The epoch that so many of those who say so have reached as make a majority: no single one can bring it forward. 0:
    /// they are none.
    pub(super) epoch: u64,
    /// More than half of all sentinels say so.
    pub(super) sure: bool,
}

/// The configured sentinels and their last words.
#[derive(Debug)]
pub(super) struct Council {
    sentinels: Vec<Sentinel>,
}

#[derive(Debug)]
struct Sentinel {
    name: String,
    /// What it said last; `None`: it has not been heard.
    word: Option<Result<Told, Failure>>,
}

impl Sentinel {
    fn told(&self) -> Option<&Told> {
        self.word.as_ref()?.as_ref().ok()
    }
}

impl Council {
    /// These sentinels, none of them heard.
    pub(super) fn new(addresses: &[NodeAddress]) -> Self {
        let sentinel = |address: &NodeAddress| Sentinel {
            name: address.to_string(),
            word: None,
        };
        Council {
            sentinels: addresses.iter().map(sentinel).collect(),
        }
    }

    /// Takes in what a sentinel says now, or why it cannot be asked: then what it said before counts no more.
    pub(super) fn hear(&mut self, sentinel: usize, word: Result<Told, Failure>) {
        if let Some(sentinel) = self.sentinels.get_mut(sentinel) {
            sentinel.word = Some(word);
        }
    }

    /// The verdict of the most, with the highest epoch among equals; `None` while none says anything.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        let best = self
            .told()
            .max_by_key(|told| (self.votes(&told.master), told.epoch))?;
        let of_it = self.told().filter(|told| told.master == best.master);
        let mut epochs: Vec<u64> = of_it.map(|told| told.epoch).collect();
        epochs.sort_unstable_by(|one, other| other.cmp(one));
        let majority = self.sentinels.len() / 2 + 1;
        Some(Verdict {
            master: best.master.clone(),
            epoch: epochs.get(majority - 1).copied().unwrap_or_default(),
            sure: epochs.len() >= majority,
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
        self.sentinels.iter().all(|sentinel| sentinel.word.is_some())
    }

    /// Whether that sentinel is of the verdict's opinion.
    pub(super) fn is_of_the_verdict(&self, sentinel: usize) -> bool {
        let told = self.sentinels.get(sentinel).and_then(Sentinel::told);
        told.is_some_and(|told| {
            self.verdict()
                .is_some_and(|verdict| told.master == verdict.master)
        })
    }

    /// What each said last, for people.
    pub(super) fn report(&self) -> Vec<SentinelReport> {
        let report = |sentinel: &Sentinel| SentinelReport {
            name: sentinel.name.clone(),
            master: sentinel
                .told()
                .map(|told| format!("{}:{}", told.master.0, told.master.1)),
            epoch: sentinel.told().map(|told| told.epoch),
            failure: sentinel
                .word
                .as_ref()
                .and_then(|word| word.as_ref().err().cloned()),
        };
        self.sentinels.iter().map(report).collect()
    }

    fn votes(&self, master: &Announced) -> usize {
        self.told().filter(|told| told.master == *master).count()
    }

    fn told(&self) -> impl Iterator<Item = &Told> {
        self.sentinels.iter().filter_map(Sentinel::told)
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

    /// Whom they name, the epoch that a majority has reached, and whether they are one.
    fn verdict(words: &[Option<Told>]) -> Option<(String, u64, bool)> {
        let silent = || Failure {
            kind: FailureKind::Timeout,
            message: String::new(),
        };
        let address = |port| NodeAddress {
            host: "sentinel".to_owned(),
            port,
            weight: 0,
        };
        let mut council = Council::new(&[1, 2, 3].map(address));
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
                Some((a.clone(), 1, true)),
            ),
            // The liar has the higher epoch and no majority.
            (
                vec![told("b", 9), told("a", 1), told("a", 1)],
                Some((a.clone(), 1, true)),
            ),
            (vec![told("a", 1), None, told("a", 1)], Some((a.clone(), 1, true))),
            // One that has not heard of the failover lends the liar its voice, and no epoch.
            (vec![told("a", 9), None, told("a", 1)], Some((a.clone(), 1, true))),
            (vec![told("a", 1), None, None], Some((a, 0, false))),
            // Halfway through a failover, with the third cut off.
            (vec![told("a", 1), told("b", 2), None], Some((b, 0, false))),
            (vec![None, None, None], None),
            (vec![], None),
        ] {
            assert_eq!(verdict(&words), expected, "{words:?}");
        }
    }
}
