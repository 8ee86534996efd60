//! Faults drawn from a seed: the same seed draws the same ones.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::relay::{Cut, Fault, Party};

/// A server behind a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The master at that time, or one of those that follow it, by 0 or 1.
    Master,
    Replica(usize),
    Sentinel(usize),
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    /// `SENTINEL FAILOVER`.
    FailOver,
    /// `kill -9`; it comes back as a replica.
    Kill { place: Place, with_data: bool },
    /// SIGSTOP, and SIGCONT after that time.
    Freeze { place: Place, lasts: Duration },
    /// Connections end.
    Cut { to: Place, from: Party, cut: Cut },
    /// A link is bad for that time.
    Link {
        to: Place,
        from: Party,
        fault: Fault,
        lasts: Duration,
    },
}

/// What goes wrong, one after the other.
pub(crate) struct Plan {
    random: StdRng,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
        }
    }

    pub(crate) fn next_step(&mut self) -> Step {
        match self.random.random_range(0..10) {
            0 => Step::FailOver,
            1 => Step::Kill {
                place: Place::Master,
                with_data: self.random.random(),
            },
            2 => Step::Kill {
                place: Place::Replica(self.random.random_range(0..2)),
                with_data: self.random.random(),
            },
            3 | 4 => Step::Freeze {
                place: self.place(),
                lasts: self.while_it_lasts(),
            },
            5 | 6 => Step::Cut {
                to: self.place(),
                from: self.party(),
                cut: if self.random.random() {
                    Cut::Reset
                } else {
                    Cut::End
                },
            },
            _ => Step::Link {
                to: self.place(),
                from: self.party(),
                fault: self.fault(),
                lasts: self.while_it_lasts(),
            },
        }
    }

    fn place(&mut self) -> Place {
        match self.random.random_range(0..6) {
            0..=2 => Place::Master,
            3 => Place::Replica(0),
            4 => Place::Replica(1),
            _ => Place::Sentinel(self.random.random_range(0..3)),
        }
    }

    /// Most often the ambassador.
    fn party(&mut self) -> Party {
        match self.random.random_range(0..4) {
            0 => Party::Node(self.random.random_range(0..3)),
            1 => Party::Sentinel(self.random.random_range(0..3)),
            _ => Party::Outside,
        }
    }

    fn fault(&mut self) -> Fault {
        match self.random.random_range(0..6) {
            0 => Fault::Delay(Duration::from_millis(self.random.random_range(1..100))),
            1 => Fault::Stall,
            2 => Fault::SwallowReplies,
            3 => Fault::SwallowRequests,
            4 => Fault::Throttle(self.random.random_range(2_000..200_000)),
            _ => Fault::Refuse,
        }
    }

    /// From less than anybody notices to longer than a failover takes.
    fn while_it_lasts(&mut self) -> Duration {
        Duration::from_millis(self.random.random_range(50..6_000))
    }
}
