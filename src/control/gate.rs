//! Decides from a node's answer whether it may serve, and why not.
//!
//! Pure: what was heard and the bounds go in, a verdict comes out. Reasons carry no numbers that
//! change with every probe, so a verdict that stays the same is the same value.

use std::fmt;
use std::time::Duration;

use super::info::{Facts, Line};
use crate::topology::Role;

/// Why a node gets no commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It is loading its data set.
    Loading,
    /// It says master, and another node was adopted.
    OtherMaster,
    /// It came back without its data, and `upstream.hold_emptied` says that it is not used.
    Emptied,
    /// It says master, and nobody was adopted yet.
    NotYet,
    /// It says slave where only a master will do.
    NotAMaster,
    /// It answers reads from an empty data set: it never completed a sync.
    NeverSynced,
    /// It is taking over the master's data set just now.
    Syncing,
    /// Its link to the master is down for longer than `upstream.max_link_down`.
    LinkDown,
    /// Its data belong to a history that is not the master's.
    OtherHistory,
    /// It is behind by more than `upstream.max_lag`.
    Behind,
    /// It is behind by more than `upstream.max_lag_time`.
    Late,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Loading => "it is loading its data set",
            Reason::OtherMaster => "it says master, but another node is the group's master",
            Reason::Emptied => "it is the master, and came back without its data (upstream.hold_emptied)",
            Reason::NotYet => "it says master, but whether it is the group's master is not clear yet",
            Reason::NotAMaster => "it says that it is a replica",
            Reason::NeverSynced => "it was never in sync with its master",
            Reason::Syncing => "it is syncing with its master",
            Reason::LinkDown => "its link to the master is down for longer than upstream.max_link_down",
            Reason::OtherHistory => "its data are not of the master's history",
            Reason::Behind => "it is behind the master by more than upstream.max_lag",
            Reason::Late => "it is behind the master by more than upstream.max_lag_time",
        })
    }
}

/// How far a replica may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// `upstream.max_link_down`.
    pub(super) link_down: Duration,
    /// `upstream.max_lag`.
    pub(super) lag_bytes: u64,
    /// `upstream.max_lag_time`; zero: none.
    pub(super) lag_time: Duration,
}

impl Bounds {
    /// A replica that is out has to come nearer than it has to stay, so that one at the edge does not come and go.
    pub(super) fn for_one_that(self, is_in: bool) -> Bounds {
        if is_in {
            return self;
        }
        Bounds {
            lag_bytes: self.lag_bytes / 2,
            lag_time: self.lag_time / 2,
            ..self
        }
    }
}

/// Whether the adopted master may serve.
pub(super) fn master(facts: &Facts) -> Result<(), Reason> {
    match facts.role {
        Role::Master if facts.loading => Err(Reason::Loading),
        Role::Master => Ok(()),
        Role::Replica | Role::Unknown => Err(Reason::NotAMaster),
    }
}

/// Whether a node that is not the adopted master may serve reads. `master` is where the master was
/// when it was last heard; `None`: no master was ever heard, and nothing can be compared.
/// `behind`: by how much it is late at most, as far as that is known.
pub(super) fn replica(
    facts: &Facts,
    master: Option<&Line>,
    behind: Option<Duration>,
    bounds: &Bounds,
) -> Result<(), Reason> {
    let Some(link) = &facts.link else {
        return Err(master.map_or(Reason::NotYet, |_| Reason::OtherMaster));
    };
    if facts.loading {
        return Err(Reason::Loading);
    }
    if !link.up {
        match link.down_for {
            None => {
                return Err(if link.syncing {
                    Reason::Syncing
                } else {
                    Reason::NeverSynced
                });
            }
            Some(_) if link.syncing => return Err(Reason::Syncing),
            // A failover takes every link down at once, so a short while is tolerated.
            Some(down_for) if down_for > bounds.link_down => return Err(Reason::LinkDown),
            Some(_) => {}
        }
    }
    let Some(master) = master else { return Ok(()) };
    // A promoted master counts on from its predecessor's offsets, so those may be compared too.
    if !master.holds(&facts.line) {
        return Err(Reason::OtherHistory);
    }
    match lag(facts, Some(master)) {
        Some(lag) if lag > bounds.lag_bytes => return Err(Reason::Behind),
        _ => {}
    }
    match behind {
        Some(behind) if !bounds.lag_time.is_zero() && behind > bounds.lag_time => Err(Reason::Late),
        _ => Ok(()),
    }
}

/// Bytes between what the master had written when it was last heard and what this node has applied.
/// A replica heard later than its master may be ahead of that: no lag.
pub(super) fn lag(facts: &Facts, master: Option<&Line>) -> Option<u64> {
    let master = master?;
    master
        .holds(&facts.line)
        .then(|| master.offset.saturating_sub(facts.line.offset))
}

#[cfg(test)]
mod tests {
    use super::super::info::MasterLink;
    use super::*;

    const BOUNDS: Bounds = Bounds {
        link_down: Duration::from_secs(10),
        lag_bytes: 1000,
        lag_time: Duration::from_secs(10),
    };

    fn line(replid: &str, offset: u64) -> Line {
        Line {
            replid: replid.to_owned(),
            before: None,
            offset,
        }
    }

    fn in_sync(offset: u64) -> Facts {
        Facts {
            role: Role::Replica,
            line: line("X", offset),
            link: Some(MasterLink {
                up: true,
                down_for: None,
                syncing: false,
                master: ("m".to_owned(), 1),
            }),
            replicas: Vec::new(),
            loading: false,
            acknowledged: 0,
            asked: None,
            took: Duration::ZERO,
            skew_us: None,
        }
    }

    fn with_link(change: impl FnOnce(&mut MasterLink)) -> Facts {
        let mut facts = in_sync(5000);
        change(facts.link.as_mut().unwrap());
        facts
    }

    fn down_for(seconds: u64) -> Facts {
        with_link(|link| {
            link.up = false;
            link.down_for = Some(Duration::from_secs(seconds));
        })
    }

    #[test]
    fn every_verdict_on_a_replica() {
        let master = line("X", 5000);
        let table: [(&str, Facts, Result<(), Reason>); 14] = [
            ("in sync", in_sync(5000), Ok(())),
            ("heard after the master", in_sync(6000), Ok(())),
            ("at the bound", in_sync(4000), Ok(())),
            ("beyond the bound", in_sync(3999), Err(Reason::Behind)),
            (
                "loading",
                Facts {
                    loading: true,
                    ..in_sync(5000)
                },
                Err(Reason::Loading),
            ),
            (
                "says master",
                Facts {
                    role: Role::Master,
                    link: None,
                    ..in_sync(5000)
                },
                Err(Reason::OtherMaster),
            ),
            (
                "other history",
                Facts {
                    line: line("Y", 5000),
                    ..in_sync(5000)
                },
                Err(Reason::OtherHistory),
            ),
            ("link just cut", down_for(0), Ok(())),
            ("link cut, at the bound", down_for(10), Ok(())),
            ("link cut too long", down_for(11), Err(Reason::LinkDown)),
            (
                "never synced",
                with_link(|link| link.up = false),
                Err(Reason::NeverSynced),
            ),
            (
                "first sync runs",
                with_link(|link| {
                    link.up = false;
                    link.syncing = true;
                }),
                Err(Reason::Syncing),
            ),
            (
                "full sync after a cut",
                with_link(|link| {
                    link.up = false;
                    link.syncing = true;
                    link.down_for = Some(Duration::from_secs(1));
                }),
                Err(Reason::Syncing),
            ),
            // Redis before 7 counts from 1970 when the link was never up.
            (
                "never synced, old server",
                down_for(1_795_424_826),
                Err(Reason::LinkDown),
            ),
        ];
        for (case, facts, verdict) in table {
            assert_eq!(replica(&facts, Some(&master), None, &BOUNDS), verdict, "{case}");
        }
    }

    #[test]
    fn after_a_promotion_the_siblings_serve_on_while_they_change_over() {
        let promoted = Line {
            before: Some(("X".to_owned(), 5001)),
            ..line("Y", 5100)
        };
        assert_eq!(replica(&in_sync(5000), Some(&promoted), None, &BOUNDS), Ok(()));
        assert_eq!(lag(&in_sync(5000), Some(&promoted)), Some(100));
    }

    #[test]
    fn what_a_sibling_got_of_the_old_master_beyond_the_promotion_is_of_another_history() {
        let promoted = Line {
            before: Some(("X".to_owned(), 5001)),
            ..line("Y", 5100)
        };
        let astray = in_sync(5001);
        assert_eq!(
            replica(&astray, Some(&promoted), None, &BOUNDS),
            Err(Reason::OtherHistory)
        );
        assert_eq!(lag(&astray, Some(&promoted)), None);
    }

    #[test]
    fn without_any_master_heard_a_replica_that_was_in_sync_serves_and_a_fresh_one_does_not() {
        assert_eq!(replica(&down_for(1), None, None, &BOUNDS), Ok(()));
        let fresh = with_link(|link| link.up = false);
        assert_eq!(replica(&fresh, None, None, &BOUNDS), Err(Reason::NeverSynced));
        assert_eq!(lag(&down_for(1), None), None);
    }

    #[test]
    fn one_that_is_out_has_to_come_nearer_than_it_had_to_stay() {
        let (out, seconds) = (BOUNDS.for_one_that(false), Duration::from_secs);
        let at_the_edge = line("X", 5800);
        let verdict = |behind, bounds| replica(&in_sync(5000), Some(&at_the_edge), behind, bounds);
        assert_eq!(verdict(Some(seconds(10)), &BOUNDS), Ok(()));
        assert_eq!(verdict(Some(seconds(11)), &BOUNDS), Err(Reason::Late));
        assert_eq!(verdict(None, &out), Err(Reason::Behind));
        let near = line("X", 5500);
        let verdict = |behind| replica(&in_sync(5000), Some(&near), behind, &out);
        assert_eq!(verdict(Some(seconds(5))), Ok(()));
        assert_eq!(verdict(Some(seconds(6))), Err(Reason::Late));
    }

    #[test]
    fn a_master_serves_unless_it_loads_or_is_none() {
        let facts = Facts {
            role: Role::Master,
            link: None,
            ..in_sync(1)
        };
        assert_eq!(master(&facts), Ok(()));
        assert_eq!(
            master(&Facts {
                loading: true,
                ..facts
            }),
            Err(Reason::Loading)
        );
        assert_eq!(master(&in_sync(1)), Err(Reason::NotAMaster));
    }
}
