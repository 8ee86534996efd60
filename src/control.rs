//! The control plane: asks every node what it is, decides who may serve, publishes snapshots.
//!
//! Nothing on the request path waits for it. Decisions are pure (`gate`, `election`, `group`); here
//! they are only fed and their outcome handed on.

mod connection;
mod election;
mod frame;
mod gate;
mod greeting;
mod group;
mod info;
mod probe;
mod registry;
mod report;
mod table;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::settings::Settings;
use crate::topology::{NodeId, Topology};
use crate::worker::{Hint, Mail, WorkerHandle};

pub use connection::{Failure, FailureKind};
pub use report::{NodeReport, Report};

use group::Group;
use probe::Word;

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
pub fn start(settings: Arc<Settings>, hints: mpsc::Receiver<Hint>, workers: Vec<WorkerHandle>) -> Control {
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
    let (word_sender, words) = mpsc::channel(WORDS);
    let plane = Plane {
        settings,
        group,
        workers,
        topology,
        report,
        probes: HashMap::new(),
        tasks: JoinSet::new(),
        word_sender,
        held_until: Instant::now(),
    };
    let mut task = JoinSet::new();
    task.spawn(plane.run(words, hints));
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
    workers: Vec<WorkerHandle>,
    topology: watch::Sender<Arc<Topology>>,
    report: watch::Sender<Arc<Report>>,
    probes: HashMap<NodeId, Probe>,
    tasks: JoinSet<()>,
    word_sender: mpsc::Sender<(NodeId, Word)>,
    /// Until when the master may hold all commands.
    held_until: Instant,
}

struct Probe {
    poke: Arc<Notify>,
    task: AbortHandle,
}

impl Plane {
    async fn run(mut self, mut words: mpsc::Receiver<(NodeId, Word)>, mut hints: mpsc::Receiver<Hint>) {
        let began = Instant::now();
        let mut hints_open = true;
        self.keep_probes();
        loop {
            tokio::select! {
                word = words.recv() => match word {
                    Some((id, word)) if self.is_excused(id, &word) => {}
                    Some((id, word)) => self.group.hear(id, word, began.elapsed()),
                    // Cannot be while `word_sender` is held.
                    None => return,
                },
                hint = hints.recv(), if hints_open => match hint {
                    Some(hint) => self.take_hint(&hint),
                    None => hints_open = false,
                },
            }
            self.keep_probes();
            self.publish();
        }
    }

    /// Whether it is the master that does not answer because a client made it hold all commands.
    fn is_excused(&self, id: NodeId, word: &Word) -> bool {
        let silent = matches!(word, Word::Failed(failure) if failure.kind == FailureKind::Timeout);
        silent && Instant::now() < self.held_until && self.topology.borrow().master == Some(id)
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
        if let Some(probe) = self.probes.get(&id) {
            probe.poke.notify_one();
        }
    }

    fn poke_all(&self) {
        for probe in self.probes.values() {
            probe.poke.notify_one();
        }
    }

    /// One probe for each node of the group, none for others.
    fn keep_probes(&mut self) {
        let targets = self.group.targets();
        self.probes.retain(|id, probe| {
            let stays = targets.iter().any(|target| target.id == *id);
            if !stays {
                probe.task.abort();
            }
            stays
        });
        for target in targets {
            if self.probes.contains_key(&target.id) {
                continue;
            }
            let id = target.id;
            let poke = Arc::new(Notify::new());
            let probe = probe::probe(
                target,
                Arc::clone(&self.settings),
                self.word_sender.clone(),
                Arc::clone(&poke),
            );
            let task = self.tasks.spawn(probe);
            self.probes.insert(id, Probe { poke, task });
        }
        // Probes that were ended.
        while self.tasks.try_join_next().is_some() {}
    }

    fn publish(&mut self) {
        self.report.send_replace(Arc::new(self.group.report()));
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
