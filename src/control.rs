//! The control plane: asks every node what it is, decides who may serve, publishes snapshots.
//!
//! Nothing on the request path waits for it. Decisions are pure (`gate`, `election`, `group`); here
//! they are only fed and their outcome handed on.

mod acknowledged;
mod back_off;
mod connection;
mod council;
mod election;
mod frame;
mod gate;
mod greeting;
mod group;
mod history;
mod info;
mod losses;
mod members;
mod names;
mod probe;
mod registry;
mod reign;
mod report;
mod sentinel;
#[cfg(test)]
mod simulation;
mod standing;
mod table;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::attempts::Attempts;
use crate::settings::Settings;
use crate::topology::{NodeId, Topology};
use crate::worker::{Hint, Mail, WorkerHandle};

pub use connection::{Failure, FailureKind};
pub use report::{Loss, Losses, NodeReport, Report, SentinelReport};

use acknowledged::Acknowledgements;
use council::Told;
use group::Group;
use names::Addresses;
use probe::{Target, Word};
use sentinel::Sentinel;

/// Words of probes not taken in yet; a probe waits when it is full.
const WORDS: usize = 128;

/// The running control plane. Dropping it ends it.
#[derive(Debug)]
pub struct Control {
    topology: watch::Receiver<Arc<Topology>>,
    report: watch::Receiver<Arc<Report>>,
    /// Held so that the task ends with this value.
    _task: JoinSet<()>,
}

impl Control {
    /// What the workers were told last.
    pub fn topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.topology.clone()
    }

    /// What is known of the nodes, renewed at every probe.
    pub fn report(&self) -> watch::Receiver<Arc<Report>> {
        self.report.clone()
    }
}

/// Starts probing the configured nodes. The workers get a first snapshot at once.
pub fn start(
    settings: Arc<Settings>,
    hints: mpsc::Receiver<Hint>,
    workers: Vec<WorkerHandle>,
    attempts: Arc<Attempts>,
) -> Control {
    let mut group = Group::new(&settings);
    let first = Arc::new(
        group
            .snapshot(None)
            .expect("there is no last one that it could equal"),
    );
    for worker in &workers {
        worker.send(Mail::Topology(Arc::clone(&first)));
    }
    let (topology, topology_receiver) = watch::channel(first);
    let (report, report_receiver) = watch::channel(Arc::new(group.report()));
    let (heard_sender, heard) = mpsc::channel(WORDS);
    let began = Instant::now();
    let stats = workers.iter().map(|worker| Arc::clone(&worker.stats));
    let plane = Plane {
        settings,
        group,
        acknowledged: Acknowledgements::new(stats, began),
        began,
        workers,
        attempts,
        topology,
        report,
        probes: HashMap::new(),
        names: HashMap::new(),
        sentinels: HashMap::new(),
        tasks: JoinSet::new(),
        heard_sender,
        held_until: Instant::now(),
    };
    let mut task = JoinSet::new();
    task.spawn(plane.run(heard, hints));
    Control {
        topology: topology_receiver,
        report: report_receiver,
        _task: task,
    }
}

/// What the control task owns.
struct Plane {
    settings: Arc<Settings>,
    group: Group,
    acknowledged: Acknowledgements,
    /// What times count from.
    began: Instant,
    workers: Vec<WorkerHandle>,
    attempts: Arc<Attempts>,
    topology: watch::Sender<Arc<Topology>>,
    report: watch::Sender<Arc<Report>>,
    probes: HashMap<Target, Asked>,
    names: HashMap<String, Asked>,
    sentinels: HashMap<Sentinel, Asked>,
    tasks: JoinSet<()>,
    heard_sender: mpsc::Sender<Heard>,
    /// Until when the master may hold all commands.
    held_until: Instant,
}

/// What the tasks of the control plane hear.
#[derive(Debug)]
enum Heard {
    /// Of a node.
    Node(Target, Word),
    /// Of a host name.
    Name(String, Addresses),
    /// Of the sentinel at that place in the configuration.
    Sentinel(usize, Result<Told, Failure>),
    /// That sentinel begins to make another node the master, or has given up on that.
    Failover(usize, bool),
}

/// A task that asks again and again, and at once when it is poked.
struct Asked {
    poke: Arc<Notify>,
    task: AbortHandle,
}

impl Plane {
    async fn run(mut self, mut heard: mpsc::Receiver<Heard>, mut hints: mpsc::Receiver<Hint>) {
        let began = self.began;
        let mut hints_open = true;
        self.keep_asking();
        loop {
            tokio::select! {
                heard = heard.recv() => match heard {
                    Some(heard) => self.take_in(heard, began.elapsed()),
                    // Cannot be while `heard_sender` is held.
                    None => return,
                },
                hint = hints.recv(), if hints_open => match hint {
                    Some(hint) => self.take_hint(&hint),
                    None => hints_open = false,
                },
            }
            self.keep_asking();
            self.publish();
        }
    }

    /// Whether it is the master that does not answer because a client made it hold all commands.
    fn is_excused(&self, id: NodeId, word: &Word) -> bool {
        let silent = matches!(word, Word::Failed(failure) if failure.kind == FailureKind::Timeout);
        silent && Instant::now() < self.held_until && self.topology.borrow().master == Some(id)
    }

    fn take_in(&mut self, heard: Heard, now: Duration) {
        match heard {
            // Of a place where that node was once.
            Heard::Node(target, _) if !self.probes.contains_key(&target) => {}
            Heard::Node(target, word) if self.is_excused(target.id, &word) => {}
            Heard::Node(target, mut word) => {
                if let Word::Heard(facts) | Word::Marked(facts) = &mut word {
                    // The word may have waited.
                    facts.took = facts.asked.map_or(facts.took, |asked| asked.elapsed());
                }
                if matches!(word, Word::Failed(_)) {
                    // It may have moved.
                    self.poke_name_of(target.id);
                }
                self.group.hear(target.id, word, now);
            }
            Heard::Name(host, addresses) => self.group.resolved(&host, addresses, now),
            Heard::Sentinel(index, told) => {
                if self.group.told(index, told, now) {
                    // What the nodes themselves say decides.
                    self.poke_all();
                }
            }
            Heard::Failover(index, begins) => {
                self.group.failover(index, begins, now);
                self.poke_all();
            }
        }
    }

    fn take_hint(&mut self, hint: &Hint) {
        match hint {
            // What was asked while it lasted may still be found missing a little later.
            Hint::Paused(time) => {
                self.held_until = Instant::now() + *time + self.settings.upstream.connect_timeout;
            }
            Hint::Lost(id) => self.poke(*id),
            // It is not what we think it is, so the others may not be either.
            Hint::Refused(_) => self.poke_all(),
            Hint::NotARead(name) => {
                if self.group.learn_write(name) {
                    warn!(
                        command = name,
                        "a replica answered READONLY to a command of class read: it goes to the master from now on; correct it under [commands]"
                    );
                }
            }
        }
    }

    fn poke(&self, id: NodeId) {
        for (_, probe) in self.probes.iter().filter(|(target, _)| target.id == id) {
            probe.poke.notify_one();
        }
    }

    fn poke_all(&self) {
        for probe in self.probes.values().chain(self.sentinels.values()) {
            probe.poke.notify_one();
        }
    }

    fn poke_name_of(&self, id: NodeId) {
        if let Some(name) = self.group.host_of(id).and_then(|host| self.names.get(host)) {
            name.poke.notify_one();
        }
    }

    /// One probe for each node of the group, one resolver for each name, one who asks each sentinel; none for others.
    fn keep_asking(&mut self) {
        let (settings, heard, tasks) = (&self.settings, &self.heard_sender, &mut self.tasks);
        let (acknowledged, attempts, topology) = (&self.acknowledged, &self.attempts, &self.topology);
        keep(&mut self.probes, self.group.targets(), |target, poke| {
            let acknowledged = acknowledged.clone();
            let (settings, attempts) = (Arc::clone(settings), Arc::clone(attempts));
            tasks.spawn(probe::probe(
                target,
                settings,
                attempts,
                heard.clone(),
                poke,
                acknowledged,
                topology.subscribe(),
            ))
        });
        keep(&mut self.names, self.group.hosts(), |host, poke| {
            let interval = settings.upstream.resolve_interval;
            tasks.spawn(names::resolve(host, interval, heard.clone(), poke))
        });
        if let Some(all) = &settings.upstream.sentinels {
            let places = all.addresses.iter().cloned().enumerate();
            let wanted = places.map(|(index, place)| Sentinel { index, place });
            keep(&mut self.sentinels, wanted, |sentinel, poke| {
                tasks.spawn(sentinel::ask(sentinel, Arc::clone(settings), heard.clone(), poke))
            });
        }
        // Those that were ended.
        while self.tasks.try_join_next().is_some() {}
    }

    fn publish(&mut self) {
        self.publish_topology();
        let now = self.began.elapsed();
        let topology = self.topology.borrow().clone();
        while let Some(loss) = self.group.settle(&topology, &self.acknowledged, now) {
            let report = self.group.report();
            tell_loss(&loss, &report.names);
            self.ask_for_keys(&loss);
        }
        self.report.send_replace(Arc::new(self.group.report()));
    }

    /// Has the workers name the keys of what may be lost, where that is asked for.
    fn ask_for_keys(&self, loss: &Loss) {
        if loss.at_most == 0 || self.settings.log.lost_keys == 0 {
            return;
        }
        let (node, since) = (loss.former, (self.began + loss.since).into_std());
        for worker in &self.workers {
            worker.send(Mail::Lost { node, since });
        }
    }

    fn publish_topology(&mut self) {
        let last = self.topology.borrow().clone();
        let Some(next) = self.group.snapshot(Some(&last)) else {
            return;
        };
        tell(&last, &next);
        let next = Arc::new(next);
        for worker in &self.workers {
            worker.send(Mail::Topology(Arc::clone(&next)));
        }
        // Where one master was lost, another may be found at once.
        let master_gone = last.master.is_some() && next.master != last.master;
        self.topology.send_replace(next);
        if master_gone {
            self.poke_all();
        }
    }
}

/// One task for each of the wanted, none for others.
fn keep<T: Clone + Eq + std::hash::Hash>(
    asked: &mut HashMap<T, Asked>,
    wanted: impl IntoIterator<Item = T>,
    mut start: impl FnMut(T, Arc<Notify>) -> AbortHandle,
) {
    let mut kept = HashMap::new();
    for one in wanted {
        let task = asked.remove(&one).unwrap_or_else(|| {
            let poke = Arc::new(Notify::new());
            let task = start(one.clone(), Arc::clone(&poke));
            Asked { poke, task }
        });
        kept.insert(one, task);
    }
    for (_, gone) in std::mem::replace(asked, kept) {
        gone.task.abort();
    }
}

/// Logs what a failover lost of the writes that had been acknowledged.
fn tell_loss(loss: &Loss, names: &[String]) {
    let name = |id: NodeId| names.get(id.index()).map_or("?", String::as_str);
    let (former, master) = (name(loss.former), name(loss.master));
    let before = |moment: Duration| loss.adopted.saturating_sub(moment).as_millis() as u64;
    let (from_ms, until_ms) = (before(loss.since), before(loss.until));
    let (at_least, at_most) = (loss.at_least, loss.at_most);
    match (loss.is_known, at_most) {
        _ if loss.late => warn!(
            former,
            master,
            at_most,
            "the former master acknowledged writes after another one was adopted: they may be lost"
        ),
        (true, 0) => info!(former, master, "the failover lost no acknowledged write"),
        (true, _) => warn!(
            former,
            master,
            at_least,
            at_most,
            acknowledged_from_ms_before_adoption = from_ms,
            acknowledged_until_ms_before_adoption = until_ms,
            "the failover may have lost acknowledged writes"
        ),
        (false, _) => warn!(
            former,
            master,
            at_most,
            acknowledged_from_ms_before_adoption = from_ms,
            acknowledged_until_ms_before_adoption = until_ms,
            "the new master does not continue the former one's history: what was lost cannot be told, at most all that \
             was ever acknowledged"
        ),
    }
}

/// Logs what a person would act on, one line per thing that changed.
fn tell(last: &Topology, next: &Topology) {
    for node in &next.nodes {
        let was = last.node(node.id);
        if was.is_none() {
            info!(node = node.name, "node joined the group");
            continue;
        }
        match (was.is_some_and(|was| was.usable), node.usable) {
            (false, true) => info!(node = node.name, role = ?node.role, "node usable"),
            (true, false) => warn!(node = node.name, reason = node.reason, "node not usable"),
            (false, false) if was.is_some_and(|was| was.reason != node.reason) => {
                info!(node = node.name, reason = node.reason, "node not usable");
            }
            _ => {}
        }
    }
    for node in last.nodes.iter().filter(|node| next.node(node.id).is_none()) {
        info!(node = node.name, "node left the group");
    }
    if last.master != next.master {
        if let Some(master) = next.master.and_then(|id| next.node(id)) {
            info!(master = master.name, "master adopted");
        } else {
            warn!("no usable master; writes wait");
        }
    }
    debug!(version = next.version, "topology published");
}
