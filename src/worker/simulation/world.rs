//! Clients, the worker, nodes, and what goes wrong between them.

mod faults;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mio::Poll;
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::super::events::{Readiness, WAKE};
use super::super::mailbox::{Inbox, Mail};
use super::super::script_store::ScriptStore;
use super::super::socket::Socket;
use super::super::turn::Worker;
use super::super::wire::{self, Wire};
use super::client::Client;
use super::conn::Conn;
use super::ledger::{Ledger, NODES};
use super::node::Node;
use crate::attempts::Attempts;
use crate::commands::Table;
use crate::config::{Sources, load_without_master};
use crate::settings::Settings;
use crate::simulation::Dice;
use crate::stats::WorkerStats;
use crate::topology::{Node as Known, NodeId, Role, Topology};

const HOLD: Duration = Duration::from_secs(1);

/// The world.
pub(super) struct World {
    pub(super) now: Duration,
    dice: Dice,
    began: Instant,
    worker: Worker,
    mail: Sender<Mail>,
    clients: Vec<Client>,
    clients_ever: u32,
    nodes: Vec<Node>,
    /// Connects that nobody has answered.
    knocking: Vec<(usize, Wire)>,
    /// Connections that nodes have ended and the worker still has.
    ended: Vec<Conn>,
    /// Former masters that do not know it yet, until when.
    unaware: Vec<(usize, Duration)>,
    awake: [bool; NODES],
    /// Who is master in truth, and when the worker hears of what there is now.
    master: usize,
    publishes: Option<Duration>,
    version: u64,
    published: [bool; NODES],
    /// Since when a node is well and known to be.
    well: [Option<Duration>; NODES],
    faults: Vec<Duration>,
    next_fault: Duration,
    elements: u32,
    ledger: Ledger,
    tell: bool,
}

fn settings() -> Arc<Settings> {
    static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();
    let settings = SETTINGS.get_or_init(|| {
        let resolved = load_without_master(&Sources::default()).expect("the defaults are right");
        let mut settings = resolved.settings;
        settings.limits.hold = HOLD;
        Arc::new(settings)
    });
    Arc::clone(settings)
}

fn table() -> Arc<Table> {
    static TABLE: OnceLock<Arc<Table>> = OnceLock::new();
    Arc::clone(TABLE.get_or_init(|| Arc::new(Table::embedded().clone())))
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 9, 0, node as u8], 6379))
}

impl World {
    pub(super) fn new(mut dice: Dice, tell: bool) -> Self {
        wire::begin();
        let (mail, inbox) = mpsc::channel();
        // Nobody looks at hints.
        let (hints, _) = tokio::sync::mpsc::channel(1);
        let poll = Poll::new().expect("there are file descriptors");
        let inbox = Inbox { mail: inbox, hints };
        let stats = Arc::new(WorkerStats::default());
        let scripts = Arc::new(ScriptStore::new(1 << 20));
        // More than any seed connects: what the cap does is tested elsewhere.
        let attempts = Arc::new(Attempts::new(1_000_000, Instant::now()));
        let mut worker = Worker::new(poll, inbox, stats, settings(), scripts, attempts);
        worker.random = SmallRng::seed_from_u64(dice.roll());
        let began = worker.now;
        let mut world = World {
            now: Duration::ZERO,
            began,
            worker,
            mail,
            clients: Vec::new(),
            clients_ever: 0,
            nodes: (0..NODES).map(Node::new).collect(),
            knocking: Vec::new(),
            ended: Vec::new(),
            unaware: Vec::new(),
            awake: [true; NODES],
            master: 0,
            publishes: Some(Duration::ZERO),
            version: 0,
            published: [false; NODES],
            well: [None; NODES],
            faults: Vec::new(),
            next_fault: Duration::ZERO,
            elements: 0,
            ledger: Ledger::new(tell),
            dice,
            tell,
        };
        for _ in 0..world.dice.of(1..5) {
            world.join();
        }
        world
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.tell {
            eprintln!("{:>8.3} {}", self.now.as_secs_f64(), text());
        }
    }

    fn join(&mut self) {
        self.clients_ever += 1;
        let client = Client::new(self.clients_ever);
        let socket = Socket::Wire(client.wire.clone());
        self.worker.accept(socket, u64::from(self.clients_ever));
        self.clients.push(client);
    }

    fn is_up(&self, node: usize) -> bool {
        self.now >= self.nodes[node].down_until
    }

    fn is_awake(&self, node: usize) -> bool {
        self.is_up(node) && self.now >= self.nodes[node].frozen_until
    }

    /// Time goes on, everybody does something, and the worker takes its turn.
    pub(super) fn turn(&mut self, asks: bool) -> Result<(), String> {
        self.now += self.dice.milliseconds(1..20);
        self.clients_act(asks);
        self.nodes_act();
        self.publish();
        self.worker_acts();
        self.clients_listen();
        self.ledger.verdict(self.now)
    }

    fn clients_act(&mut self, asks: bool) {
        if asks && self.dice.once_in(60) {
            self.join();
        }
        let (dice, now) = (&mut self.dice, self.now);
        for client in self.clients.iter_mut().filter(|client| !client.gone) {
            if asks && dice.once_in(6) {
                client.ask(dice, now);
            }
            client.talk(dice);
            if !client.wire.has_room() && dice.once_in(3) {
                client.wire.grant(dice.index(300) + 1);
            }
            if asks && dice.once_in(150) {
                self.ledger.say(|| format!("client {} leaves", client.number));
                client.leave();
            }
        }
        if self.dice.once_in(10) && self.is_awake(self.master) {
            self.elements += 1;
            let client = self.dice.of(1..u64::from(self.clients_ever) + 1) as u32;
            self.nodes[self.master].push(self.elements, client, &mut self.ledger);
        }
    }

    fn nodes_act(&mut self) {
        for (to, wire) in wire::connects() {
            let node = (0..NODES).find(|node| address(*node) == to);
            self.knocking.extend(node.map(|node| (node, wire)));
        }
        for (node, wire) in std::mem::take(&mut self.knocking) {
            if wire.is_left() {
                // Not waited for any longer.
            } else if !self.is_up(node) {
                wire.refuse();
                self.ended.push(Conn::new(wire, 0));
            } else if self.is_awake(node) && !self.dice.once_in(3) {
                self.nodes[node].accept(wire);
            } else {
                self.knocking.push((node, wire));
            }
        }
        for index in 0..NODES {
            let awake = self.is_awake(index);
            let (dice, now) = (&mut self.dice, self.now);
            let node = &mut self.nodes[index];
            node.receive(&mut self.ledger);
            if awake {
                let most = dice.index(8);
                node.open_windows(dice);
                node.work(most, now, &mut self.ledger);
            }
            if awake && now >= node.slow_until {
                node.answer(&mut self.ledger, |bytes| match dice.of(0..4) {
                    0 => dice.index(bytes + 1),
                    _ => bytes,
                });
            }
            self.ended.append(&mut node.ended);
        }
        self.ended.retain_mut(|conn| {
            conn.receive(&mut self.ledger);
            !conn.wire.is_left()
        });
    }

    /// The worker hears of the group as it is, unless that is still on its way.
    fn publish(&mut self) {
        if self.publishes.is_none_or(|when| self.now < when) {
            return;
        }
        self.publishes = None;
        self.version += 1;
        let nodes = (0..NODES).map(|index| {
            let (node, awake) = (&self.nodes[index], self.is_awake(index));
            Known {
                id: NodeId(index as u16),
                name: format!("node-{index}"),
                address: Some(address(index)),
                role: match (awake, node.master) {
                    (false, _) => Role::Unknown,
                    (true, true) => Role::Master,
                    (true, false) => Role::Replica,
                },
                weight: 100,
                tag: None,
                zone: None,
                usable: awake && (!node.master || index == self.master),
                reason: String::new(),
            }
        });
        let master = self.is_awake(self.master).then_some(NodeId(self.master as u16));
        let topology = Arc::new(Topology {
            version: self.version,
            nodes: nodes.collect(),
            master,
            greeting: None,
            table: table(),
        });
        self.say(|| format!("published: master {master:?}"));
        self.published = std::array::from_fn(|index| topology.nodes[index].usable);
        let _ = self.mail.send(Mail::Topology(topology));
    }

    fn worker_acts(&mut self) {
        let nodes = self
            .nodes
            .iter()
            .flat_map(|node| &node.conns)
            .map(|conn| &conn.wire);
        let clients = self.clients.iter().map(|client| &client.wire);
        let coming = self.knocking.iter().map(|(_, wire)| wire);
        // One event for each socket, in an order that nobody chose.
        let mut events = BTreeMap::new();
        for wire in nodes
            .chain(clients)
            .chain(coming)
            .chain(self.ended.iter().map(|conn| &conn.wire))
        {
            // A closed socket has no events.
            if !wire.is_left()
                && let Some((token, news)) = wire.news()
            {
                events.insert(self.dice.roll(), (token, news));
            }
        }
        self.worker.now = self.began + self.now;
        self.worker.ready(WAKE, Readiness::default());
        for (token, (readable, writable, closed)) in events.into_values() {
            let readiness = Readiness {
                readable,
                writable,
                closed,
            };
            self.worker.ready(token, readiness);
        }
        self.worker.end_turn();
        self.ledger.know(self.worker.route.master.map(NodeId::index));
    }

    fn clients_listen(&mut self) {
        let (well, faults) = (self.well, &self.faults);
        // A read is asked for again twice: with three mishaps since it may fail.
        let excused = |sent: Duration| {
            let mishaps = faults.iter().filter(|fault| **fault >= sent).count();
            mishaps > 2 || !well.iter().flatten().any(|since| *since <= sent)
        };
        for client in &mut self.clients {
            client.listen(&mut self.ledger, excused);
            if client.gone {
                self.ledger.gone.insert(client.number);
            }
        }
        for node in 0..NODES {
            let counted = self.worker.stats.node(NodeId(node as u16)).acknowledged.read();
            self.ledger.is_counted(node, counted);
        }
        self.clients
            .retain(|client| !client.gone || !client.wire.is_left());
        for index in 0..NODES {
            let now = self.is_awake(index);
            if now != self.awake[index] {
                self.awake[index] = now;
                self.publish_within(500);
            }
            let prompt = self.now >= self.nodes[index].slow_until;
            self.well[index] =
                (now && prompt && self.published[index]).then_some(self.well[index].unwrap_or(self.now));
        }
        let (unaware, now) = (std::mem::take(&mut self.unaware), self.now);
        for (node, until) in unaware {
            if now < until {
                self.unaware.push((node, until));
            } else if node != self.master {
                self.nodes[node].demote();
            }
        }
    }

    fn publish_within(&mut self, milliseconds: u64) {
        let when = self.now + self.dice.milliseconds(0..milliseconds);
        self.publishes = Some(self.publishes.map_or(when, |before| before.min(when)));
    }

    pub(super) fn is_done(&self) -> bool {
        self.clients.iter().all(|client| client.gone || client.is_done())
    }

    pub(super) fn is_answered(&self) -> Result<(), String> {
        match self
            .clients
            .iter()
            .find(|client| !client.gone && !client.is_done())
        {
            Some(stuck) => Err(format!("never answered: {}", stuck.waits_for())),
            None => Ok(()),
        }
    }

    /// All clients go.
    pub(super) fn leave(&mut self) {
        for client in self.clients.iter_mut().filter(|client| !client.gone) {
            client.leave();
        }
    }

    /// Nothing of anybody is left.
    pub(super) fn is_clean(&self) -> Result<(), String> {
        let worker = &self.worker;
        let left = [
            ("clients", worker.clients.len()),
            ("leases", worker.leases),
            ("leases opening", worker.opening.iter().sum()),
            (
                "replies to come",
                worker.load.iter().map(|load| *load as usize).sum(),
            ),
            ("parked", worker.parked.len()),
            ("adrift", worker.adrift.len()),
            ("panics", worker.stats.panics.read() as usize),
        ];
        if let Some((what, count)) = left.iter().find(|(_, count)| *count > 0) {
            return Err(format!("left behind: {count} {what}"));
        }
        Ok(())
    }
}
