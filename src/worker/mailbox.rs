//! What the rest of the process tells a worker, and what a worker tells back.

use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use mio::Waker;

use super::question::{Answer, Call};
use crate::settings::Settings;
use crate::stats::WorkerStats;
use crate::topology::{NodeId, Topology};

/// A message to a worker.
#[derive(Debug)]
pub enum Mail {
    /// A client accepted over TCP, non-blocking already, and its CLIENT ID.
    Tcp(std::net::TcpStream, u64),
    /// A client accepted over a Unix socket, non-blocking already, and its CLIENT ID.
    Unix(std::os::unix::net::UnixStream, u64),
    /// The group changed.
    Topology(Arc<Topology>),
    /// The configuration changed.
    Settings(Arc<Settings>),
    /// Every worker, and at which place the one that is told stands.
    Peers {
        /// Its own place.
        place: usize,
        /// All of them.
        peers: Vec<Peer>,
    },
    /// The master holds all commands for so long, or (`None`) none any more.
    Paused(Option<Duration>),
    /// Writes that this node acknowledged since then may be lost.
    Lost {
        /// The former master.
        node: NodeId,
        /// From when on.
        since: Instant,
    },
    /// Another worker asks about clients.
    Call(Arc<Call>),
    /// Another worker answers.
    Answer(Answer),
    /// Finish what is in flight, close clients as they fall idle, stop after the given time at the latest.
    Drain(Duration),
}

/// Something a worker saw that the control plane should look at now rather than at its next probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A connection to the node broke or could not be made.
    Lost(NodeId),
    /// The node answered READONLY, LOADING, MASTERDOWN or the like.
    Refused(NodeId),
    /// A client has made the master hold all commands for so long, the probe's included; zero: it does not any more.
    Paused(Duration),
    /// A command of class read was answered READONLY: its class is wrong. Lower-case name.
    NotARead(String),
}

/// The rest of the process's end of a worker.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    /// Its counters.
    pub stats: Arc<WorkerStats>,
    sender: Arc<Sender<Mail>>,
    waker: Arc<Waker>,
}

impl WorkerHandle {
    /// A handle whose messages arrive at the other end of `sender`, after a wake-up by `waker`.
    pub fn new(stats: Arc<WorkerStats>, sender: Sender<Mail>, waker: Arc<Waker>) -> Self {
        WorkerHandle {
            stats,
            sender: Arc::new(sender),
            waker,
        }
    }

    /// Sends a message and wakes the worker. False when the worker has ended.
    pub fn send(&self, mail: Mail) -> bool {
        self.sender.send(mail).is_ok() && self.waker.wake().is_ok()
    }
}

impl WorkerHandle {
    /// What another worker needs of it.
    pub fn peer(&self) -> Peer {
        Peer {
            sender: Arc::downgrade(&self.sender),
            waker: Arc::clone(&self.waker),
        }
    }
}

/// One worker's end of another. It keeps none of them going: they end when every [`WorkerHandle`] is gone.
#[derive(Debug, Clone)]
pub struct Peer {
    sender: Weak<Sender<Mail>>,
    waker: Arc<Waker>,
}

impl Peer {
    /// Sends a message and wakes the worker. False when the worker has ended.
    pub fn send(&self, mail: Mail) -> bool {
        self.sender
            .upgrade()
            .is_some_and(|sender| sender.send(mail).is_ok() && self.waker.wake().is_ok())
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Inbox {
    /// Messages.
    pub mail: Receiver<Mail>,
    /// Where hints go; full means that the control plane is looking already.
    pub hints: tokio::sync::mpsc::Sender<Hint>,
}
