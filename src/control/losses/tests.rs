//! Random schedules: a model of a master that writes, a successor that has a part of it, probes in between. What is told
//! always holds the truth.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

/// The counters of one node, as the workers keep them.
#[derive(Debug, Default)]
struct Counted {
    acknowledged: u64,
    /// When each acknowledged write was sent.
    sent: Vec<Duration>,
    last: Duration,
    known: u64,
}

impl Counts for Counted {
    fn acknowledged(&self, node: NodeId) -> u64 {
        if node == OLD { self.acknowledged } else { 0 }
    }

    fn sent_since(&self, _: NodeId, since: Duration) -> u64 {
        self.sent.iter().filter(|sent| **sent >= since).count() as u64
    }

    fn last(&self, _: NodeId) -> Option<Duration> {
        (self.acknowledged > 0).then_some(self.last)
    }

    fn all_know(&self, version: u64) -> bool {
        self.known >= version
    }
}

const OLD: NodeId = NodeId(0);
const NEW: NodeId = NodeId(1);

fn facts(role: Role, replid: &str, before: Option<(&str, u64)>, offset: u64, acknowledged: u64) -> Facts {
    Facts {
        role,
        line: Line {
            replid: replid.to_owned(),
            before: before.map(|(replid, from)| (replid.to_owned(), from)),
            offset,
        },
        link: None,
        replicas: Vec::new(),
        loading: false,
        acknowledged,
        asked: None,
        took: Duration::ZERO,
        skew_us: None,
    }
}

/// A write on its way.
#[derive(Debug, Clone, Copy)]
struct Write {
    sent: Duration,
    /// The offset after it, once it ran.
    ran: Option<u64>,
}

/// A probe on its way.
#[derive(Debug, Clone, Copy)]
struct Probe {
    sent: Duration,
    acknowledged: u64,
    offset: Option<u64>,
}

/// One master's life until another one is adopted.
struct Model {
    random: SmallRng,
    now: Duration,
    offset: u64,
    /// What the replica has.
    applied: u64,
    /// Offsets after commands: a replica has whole ones.
    commands: Vec<u64>,
    /// In order: one connection.
    writes: VecDeque<Write>,
    probe: Option<Probe>,
    counted: Counted,
    /// Offsets of those that were acknowledged.
    acknowledged: Vec<u64>,
    losses: Losses,
    deposed: bool,
}

impl Model {
    fn start(seed: u64) -> Self {
        let mut model = Model {
            random: SmallRng::seed_from_u64(seed),
            now: MILLISECOND,
            offset: 100,
            applied: 100,
            commands: vec![100],
            writes: VecDeque::new(),
            probe: None,
            counted: Counted::default(),
            acknowledged: Vec::new(),
            losses: Losses::default(),
            deposed: false,
        };
        let first = facts(Role::Master, "X", None, 100, 0);
        model.losses.reigns(OLD, Some("run"), &first, model.now);
        model.losses.heard(OLD, &first, model.now, model.now);
        model.losses.published(1, Some(OLD));
        model
    }

    fn run_one(&mut self) {
        if let Some(write) = self.writes.iter_mut().find(|write| write.ran.is_none()) {
            self.offset += self.random.random_range(20..60);
            write.ran = Some(self.offset);
            self.commands.push(self.offset);
        }
    }

    fn acknowledge_one(&mut self) {
        if let Some(Write {
            sent,
            ran: Some(offset),
        }) = self.writes.front().copied()
        {
            self.writes.pop_front();
            self.acknowledged.push(offset);
            self.counted.acknowledged += 1;
            self.counted.sent.push(sent);
            self.counted.last = self.now;
        }
    }

    fn replicate(&mut self) {
        let ahead: Vec<u64> = self
            .commands
            .iter()
            .copied()
            .filter(|at| *at > self.applied)
            .collect();
        if !ahead.is_empty() {
            self.applied = ahead[self.random.random_range(0..ahead.len())];
        }
    }

    fn probe(&mut self) {
        match self.probe {
            None => {
                self.probe = Some(Probe {
                    sent: self.now,
                    acknowledged: self.counted.acknowledged,
                    offset: None,
                });
            }
            Some(Probe { offset: None, .. }) => {
                if let Some(probe) = &mut self.probe {
                    probe.offset = Some(self.offset);
                }
            }
            Some(Probe {
                sent,
                acknowledged,
                offset: Some(offset),
            }) => {
                self.probe = None;
                let heard = facts(Role::Master, "X", None, offset, acknowledged);
                if !self.deposed {
                    self.losses.reigns(OLD, Some("run"), &heard, self.now);
                }
                self.losses.heard(OLD, &heard, sent, self.now);
            }
        }
    }

    fn step(&mut self, replicates: bool) {
        self.now += MILLISECOND * self.random.random_range(0..10);
        match self.random.random_range(0..10) {
            0..3 => self.writes.push_back(Write {
                sent: self.now,
                ran: None,
            }),
            3 | 4 => self.run_one(),
            5 | 6 => self.acknowledge_one(),
            7 if replicates => self.replicate(),
            _ => self.probe(),
        }
    }

    /// Acknowledged writes that a successor with that much of the history has not.
    fn lost(&self) -> u64 {
        self.acknowledged
            .iter()
            .filter(|offset| **offset > self.applied)
            .count() as u64
    }

    fn adopt(&mut self) {
        self.deposed = true;
        let successor = facts(Role::Master, "Y", Some(("X", self.applied + 1)), self.applied, 0);
        self.losses.reigns(NEW, Some("other"), &successor, self.now);
        self.losses.heard(NEW, &successor, self.now, self.now);
        self.losses.published(2, Some(NEW));
    }

    fn settle(&mut self) -> Option<Loss> {
        self.losses.settle(&self.counted, self.now)
    }
}

#[test]
fn what_is_told_always_holds_the_truth() {
    let first: u64 = rand::random();
    let (mut lossy, mut exact) = (0, 0);
    for seed in (0..4_000).map(|n| first.wrapping_add(n)) {
        let mut model = Model::start(seed);
        let before = model.random.random_range(0..200);
        let held_up = model.random.random_range(0..100);
        for _ in 0..before {
            model.step(true);
        }
        for _ in 0..held_up {
            model.step(false);
        }
        // The successor has taken over; workers hear of it later, and the old one may go on meanwhile.
        model.adopt();
        for _ in 0..model.random.random_range(0..20) {
            model.step(false);
            assert_eq!(model.settle(), None, "seed {seed}: the workers do not know yet");
        }
        model.counted.known = 2;
        match model.random.random_range(0..3) {
            // It died.
            0 => model.losses.failed(OLD),
            // It follows the successor: from where its history ended.
            1 => {
                let (offset, acknowledged) = (model.offset, model.counted.acknowledged);
                let follows = facts(Role::Replica, "X", None, offset, acknowledged);
                model.losses.heard(OLD, &follows, model.now, model.now);
            }
            // It says nothing for too long.
            _ => model.now += PATIENCE,
        }
        let truth = model.lost();
        let loss = model
            .settle()
            .unwrap_or_else(|| panic!("seed {seed}: nothing is told"));
        assert!(
            loss.at_least <= truth && truth <= loss.at_most,
            "seed {seed}: {truth} lost, told {loss:?}"
        );
        assert!(loss.is_known && loss.since <= loss.until, "seed {seed}: {loss:?}");
        lossy += u64::from(truth > 0);
        exact += u64::from(loss.at_most == truth);
        assert_eq!(model.settle(), None, "seed {seed}: told once");
    }
    assert!(lossy > 1_000 && exact > 500, "{lossy} lossy, {exact} exact");
}

/// The test of the test: counts that are taken a moment later would be too low.
#[test]
fn counts_taken_after_the_probe_would_be_caught() {
    let caught = (0..4_000).any(|seed| {
        let mut model = Model::start(seed);
        for _ in 0..300 {
            model.step(model.offset < 1_000);
            // As if the count were read when the answer is there.
            if let Some(probe) = &mut model.probe {
                probe.acknowledged = model.counted.acknowledged;
            }
        }
        model.adopt();
        model.counted.known = 2;
        model.losses.failed(OLD);
        let truth = model.lost();
        model.settle().is_some_and(|loss| loss.at_most < truth)
    });
    assert!(caught);
}

#[test]
fn a_clean_hand_over_lost_nothing_however_much_was_acknowledged_since_the_last_probe() {
    let mut losses = Losses::default();
    let mut counted = Counted::default();
    losses.reigns(OLD, None, &facts(Role::Master, "X", None, 100, 0), MILLISECOND);
    losses.heard(
        OLD,
        &facts(Role::Master, "X", None, 100, 0),
        MILLISECOND,
        MILLISECOND,
    );
    counted.acknowledged = 50;
    let successor = facts(Role::Master, "Y", Some(("X", 501)), 510, 0);
    losses.reigns(NEW, None, &successor, 2 * MILLISECOND);
    losses.published(2, Some(NEW));
    counted.known = 2;
    assert_eq!(
        losses.settle(&counted, 2 * MILLISECOND),
        None,
        "the former one is to be asked"
    );
    // It went on to the new history from where its own ended.
    let follower = facts(Role::Replica, "Y", Some(("X", 501)), 520, 50);
    losses.heard(OLD, &follower, 3 * MILLISECOND, 3 * MILLISECOND);
    let loss = losses.settle(&counted, 3 * MILLISECOND).expect("it is known");
    assert_eq!((loss.at_least, loss.at_most), (0, 0));
    assert_eq!(losses.told().without, 1);
}

#[test]
fn a_former_master_that_gave_up_its_data_is_not_taken_to_have_written_nothing() {
    let mut losses = Losses::default();
    let mut counted = Counted::default();
    for (offset, now) in [(100, 1), (900, 2)] {
        let heard = facts(Role::Master, "X", None, offset, counted.acknowledged);
        losses.reigns(OLD, None, &heard, now * MILLISECOND);
        losses.heard(OLD, &heard, now * MILLISECOND, now * MILLISECOND);
        counted.acknowledged = 50;
    }
    losses.reigns(
        NEW,
        None,
        &facts(Role::Master, "Y", Some(("X", 501)), 510, 0),
        3 * MILLISECOND,
    );
    losses.published(2, Some(NEW));
    counted.known = 2;
    losses.heard(
        OLD,
        &facts(Role::Replica, "X", None, 1, 50),
        4 * MILLISECOND,
        4 * MILLISECOND,
    );
    let loss = losses.settle(&counted, 4 * MILLISECOND).expect("it was ahead");
    assert_eq!(loss.at_most, 50);
}

#[test]
fn a_master_that_comes_back_with_another_history_may_have_lost_all() {
    let mut losses = Losses::default();
    let mut counted = Counted {
        acknowledged: 70,
        known: 9,
        ..Counted::default()
    };
    losses.reigns(
        OLD,
        Some("a"),
        &facts(Role::Master, "X", None, 100, 0),
        MILLISECOND,
    );
    // The first replica came: the same process, another history.
    losses.reigns(
        OLD,
        Some("a"),
        &facts(Role::Master, "Z", None, 101, 30),
        MILLISECOND,
    );
    assert_eq!(
        losses.settle(&counted, MILLISECOND),
        None,
        "nothing was lost by that"
    );
    losses.reigns(
        OLD,
        Some("b"),
        &facts(Role::Master, "W", None, 0, 70),
        MILLISECOND,
    );
    losses.published(2, Some(OLD));
    let loss = losses
        .settle(&counted, MILLISECOND)
        .expect("it is another process");
    assert_eq!((loss.is_known, loss.at_least, loss.at_most), (false, 0, 70));
    // What was lost with this cannot be lost again.
    counted.acknowledged = 75;
    losses.reigns(
        OLD,
        Some("c"),
        &facts(Role::Master, "V", None, 0, 75),
        MILLISECOND,
    );
    losses.published(3, Some(OLD));
    let loss = losses.settle(&counted, MILLISECOND).expect("another one");
    assert_eq!(loss.at_most, 5);
    assert_eq!((losses.told().unknown, losses.told().at_most), (2, 75));
}

#[test]
fn a_master_that_comes_back_with_what_it_had_saved_lost_what_came_later() {
    let mut losses = Losses::default();
    let mut counted = Counted::default();
    for (offset, acknowledged) in [(100, 0), (200, 10), (300, 20)] {
        let heard = facts(Role::Master, "X", None, offset, acknowledged);
        losses.reigns(OLD, Some("a"), &heard, MILLISECOND);
        losses.heard(OLD, &heard, MILLISECOND, MILLISECOND);
    }
    counted.acknowledged = 25;
    // Saved at 250 (`loadDataFromDisk` in Redis's server.c).
    let back = facts(Role::Master, "Y", Some(("X", 251)), 250, 25);
    losses.reigns(OLD, Some("b"), &back, MILLISECOND);
    losses.published(2, Some(OLD));
    counted.known = 2;
    let loss = losses.settle(&counted, MILLISECOND).expect("it is there again");
    assert_eq!((loss.is_known, loss.at_most), (true, 15));
}

#[test]
fn what_a_former_master_acknowledges_late_is_told_as_well() {
    let mut model = Model::start(7);
    model.counted.acknowledged = 5;
    model.adopt();
    model.counted.known = 2;
    model.losses.failed(OLD);
    assert_eq!(model.settle().map(|loss| loss.at_most), Some(5));
    model.counted.acknowledged = 7;
    let late = model.settle().expect("two more");
    assert_eq!((late.late, late.at_most), (true, 2));
    assert_eq!((model.losses.told().with, model.losses.told().at_most), (1, 7));
}
