//! The worker and its turn: wait, deal with every socket that is ready, then write each socket once.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustc_hash::FxBuildHasher;
use tracing::error;

use super::client::Client;
use super::events::{Readiness, Target, WAKE, client_token, link_token, target};
use super::gather::Gather;
use super::last_keys::LastKeys;
use super::late::Late;
use super::link::{Cause, Link};
use super::mailbox::{Inbox, Mail, Peer};
use super::no_master::Denied;
use super::outliers::Outliers;
use super::pace::Pace;
use super::profile::{Login, Profile, ProfileId, Profiles};
use super::question::{Ask, Roll};
use super::route::Route;
use super::script_store::{ScriptStore, Scripts};
use super::sent::Parked;
use super::slots::{ClientKey, ClientMark, LinkKey, LinkMark, Slots};
use super::waiting::{Adrift, Held};
use crate::attempts::Attempts;
use crate::resp::Bounds;
use crate::settings::Settings;
use crate::stats::WorkerStats;
use crate::topology::{MAX_NODES, NodeId, Topology};

/// Bytes taken from a client's socket at a time.
const REQUEST_BUFFER: usize = 64 * 1024;

/// Bytes taken from a link's socket at a time.
const REPLY_BUFFER: usize = 128 * 1024;

/// The sweep looks after time-outs this often when something has one, and rarely otherwise.
const SWEEP_BUSY: Duration = Duration::from_millis(50);
const SWEEP_IDLE: Duration = Duration::from_secs(1);

/// Links of one kind to one node.
pub(super) type Index = HashMap<(NodeId, ProfileId), Vec<LinkKey>, FxBuildHasher>;

/// A thread's worth of data plane.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about one thread")]
pub(super) struct Worker {
    pub(super) poll: Poll,
    pub(super) inbox: Inbox,
    pub(super) stats: Arc<WorkerStats>,
    pub(super) settings: Arc<Settings>,
    pub(super) bounds: Bounds,
    pub(super) topology: Arc<Topology>,
    pub(super) route: Route,
    /// When the master has had the time to gather its replicas; `None`: there was none yet.
    pub(super) gathers_until: Option<Instant>,
    /// The master refused something lately.
    pub(super) denied: Option<Denied>,
    /// As whom the ambassador itself logs in.
    pub(super) own_login: Option<Rc<Login>>,
    pub(super) clients: Slots<ClientMark, Client>,
    pub(super) links: Slots<LinkMark, Link>,
    pub(super) profiles: Profiles,
    /// The profile of a client that has said nothing about itself.
    pub(super) plain: ProfileId,
    /// Shared links.
    pub(super) shared: Index,
    /// Own connections that wait warm.
    pub(super) warm: Index,
    /// Own connections in use.
    pub(super) leases: usize,
    /// Of them, those per node that are not up yet.
    pub(super) opening: [usize; MAX_NODES],
    /// A client waits because there were too many of those.
    pub(super) crowded: bool,
    /// Replies to come per node.
    pub(super) load: [u32; MAX_NODES],
    /// Nodes that could not be connected to, until when they are left alone, and for how long the last time.
    pub(super) shut: [Option<(Instant, Duration)>; MAX_NODES],
    /// How long nodes take to answer reads.
    pub(super) pace: Pace,
    /// Reads that take too long.
    pub(super) late: Late,
    /// Nodes that fail at reads.
    pub(super) outliers: Outliers,
    /// Attempts to connect, of the whole process.
    pub(super) attempts: Arc<Attempts>,
    /// Nodes that refused a profile (an ACL user that a replica does not know), until when.
    pub(super) refused: HashMap<(NodeId, ProfileId), Instant, FxBuildHasher>,
    /// Batches taken back from dead links that wait for a node.
    pub(super) parked: VecDeque<Parked>,
    /// All that waits for a node, these batches among it.
    pub(super) held: Held,
    /// What waits for a new own connection.
    pub(super) adrift: Vec<Adrift>,
    /// Subscribers that wait for another connection.
    pub(super) unsubscribed: Vec<ClientKey>,
    /// There may be a place for what waits: it is looked at before the turn ends.
    pub(super) unpark_due: bool,
    /// Keys of the writes acknowledged last, where they are asked for.
    pub(super) last_keys: LastKeys,
    /// Which node has which script.
    pub(super) scripts: Scripts,
    /// Answers of several nodes that clients wait for.
    pub(super) gathers: Vec<Gather>,
    /// Every worker, this one included, at its place; empty until the process is put together.
    pub(super) peers: Vec<Peer>,
    pub(super) own_place: usize,
    /// What the master was asked on clients' behalf and has not answered.
    pub(super) asks: Vec<Ask>,
    /// Questions of clients that not every worker has answered.
    pub(super) rolls: Vec<Roll>,
    /// Numbers of both.
    pub(super) questions: u32,
    pub(super) dirty_links: Vec<LinkKey>,
    pub(super) dirty_clients: Vec<ClientKey>,
    /// Clients and links that can go on without a new event.
    pub(super) again_clients: Vec<ClientKey>,
    pub(super) again_links: Vec<LinkKey>,
    /// Links whose reading rests.
    pub(super) resting: Vec<LinkKey>,
    /// Clients in tunnels that wait for an id of an upstream connection.
    pub(super) seekers: Vec<ClientKey>,
    /// Clients that wait until their logins can be asked for, in their order.
    pub(super) logins: VecDeque<ClientKey>,
    /// Links found dead in this turn, and why.
    pub(super) failed: Vec<(LinkKey, Cause)>,
    pub(super) request_buffer: Vec<u8>,
    pub(super) reply_buffer: Vec<u8>,
    /// Buffers that clients gave back.
    pub(super) spare: Vec<Vec<u8>>,
    /// Bytes put into clients' buffers since they were last counted.
    pub(super) grown: usize,
    pub(super) random: SmallRng,
    /// The time of this turn.
    pub(super) now: Instant,
    /// Until when the master holds all commands, as far as is known.
    pub(super) paused: Option<Instant>,
    /// When this worker must be gone; set by [`Mail::Drain`].
    pub(super) draining: Option<Instant>,
    /// Something waits for time to pass: the sweep comes round often.
    pub(super) hurried: bool,
    swept: Instant,
    stopped: bool,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: Inbox,
        stats: Arc<WorkerStats>,
        settings: Arc<Settings>,
        scripts: Arc<ScriptStore>,
        attempts: Arc<Attempts>,
    ) -> Self {
        let now = Instant::now();
        let mut profiles = Profiles::default();
        let mut worker = Worker {
            poll,
            inbox,
            stats,
            bounds: Bounds {
                arguments: settings.limits.arguments,
                bulk: settings.limits.bulk,
            },
            topology: Arc::new(Topology::unknown()),
            route: Route::default(),
            gathers_until: None,
            denied: None,
            own_login: None,
            clients: Slots::new(),
            links: Slots::new(),
            plain: profiles.intern(&Profile::default()),
            profiles,
            shared: Index::default(),
            warm: Index::default(),
            leases: 0,
            opening: [0; MAX_NODES],
            crowded: false,
            load: [0; MAX_NODES],
            shut: [None; MAX_NODES],
            pace: Pace::new(now),
            late: Late::new(),
            outliers: Outliers::new(),
            attempts,
            refused: HashMap::default(),
            parked: VecDeque::new(),
            held: Held::default(),
            adrift: Vec::new(),
            unsubscribed: Vec::new(),
            unpark_due: false,
            last_keys: LastKeys::default(),
            scripts: Scripts::new(scripts),
            gathers: Vec::new(),
            peers: Vec::new(),
            own_place: 0,
            asks: Vec::new(),
            rolls: Vec::new(),
            questions: 0,
            dirty_links: Vec::new(),
            dirty_clients: Vec::new(),
            again_clients: Vec::new(),
            again_links: Vec::new(),
            resting: Vec::new(),
            seekers: Vec::new(),
            logins: VecDeque::new(),
            failed: Vec::new(),
            request_buffer: vec![0; REQUEST_BUFFER],
            reply_buffer: vec![0; REPLY_BUFFER],
            spare: Vec::new(),
            grown: 0,
            random: SmallRng::from_rng(&mut rand::rng()),
            now,
            paused: None,
            draining: None,
            hurried: false,
            swept: now,
            stopped: false,
            settings: Arc::clone(&settings),
        };
        worker.configure(settings);
        worker
    }

    /// Serves until drained.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        while !self.stopped {
            if let Err(error) = self.poll.poll(&mut events, Some(self.patience())) {
                if error.kind() == std::io::ErrorKind::Interrupted {
                    continue;
                }
                error!(%error, "worker cannot wait for events and ends");
                return;
            }
            self.now = Instant::now();
            for event in &events {
                self.ready(event.token(), Readiness::of(event));
            }
            self.end_turn();
        }
    }

    /// Goes on with everything that the events of this turn have set going, and writes what came of it.
    pub(super) fn end_turn(&mut self) {
        self.settle();
        if self.now >= self.swept + self.sweep_interval() {
            self.swept = self.now;
            self.sweep();
            self.settle();
        }
        if self.late.due().is_some_and(|due| self.now >= due) {
            self.guarded(Worker::hedge_overdue, WAKE);
        }
        self.finish();
    }

    /// How long to sleep when no socket is ready.
    fn patience(&self) -> Duration {
        if !self.again_clients.is_empty() || !self.again_links.is_empty() || !self.failed.is_empty() {
            return Duration::ZERO;
        }
        let sweep = self.swept + self.sweep_interval();
        let next = self.late.due().map_or(sweep, |due| due.min(sweep));
        next.saturating_duration_since(Instant::now())
    }

    fn sweep_interval(&self) -> Duration {
        if self.hurried { SWEEP_BUSY } else { SWEEP_IDLE }
    }

    /// Runs a part of the turn so that a panic in it costs what it was about and nothing else.
    fn guarded(&mut self, act: impl FnOnce(&mut Self), about: Token) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_ok() {
            return;
        }
        self.stats.panics.add(1);
        self.request_buffer.resize(REQUEST_BUFFER, 0);
        self.reply_buffer.resize(REPLY_BUFFER, 0);
        error!("a defect in the ambassador cost a connection; please report the panic above");
        match target(about) {
            Some(Target::Client(index)) => {
                if let Some(key) = self.clients.key_at(index) {
                    self.close_client(key);
                }
            }
            Some(Target::Link(index)) => {
                if let Some(key) = self.links.key_at(index) {
                    self.failed.push((key, Cause::Defect));
                }
            }
            None => {}
        }
    }

    /// A socket is ready, or there is mail.
    pub(super) fn ready(&mut self, token: Token, readiness: Readiness) {
        self.guarded(|worker| worker.event(token, readiness), token);
    }

    fn event(&mut self, token: Token, readiness: Readiness) {
        let Readiness {
            readable,
            writable,
            closed,
        } = readiness;
        match target(token) {
            Some(Target::Client(index)) => {
                if let Some(key) = self.clients.key_at(index) {
                    self.client_ready(key, readable, writable, closed);
                }
            }
            Some(Target::Link(index)) => {
                if let Some(key) = self.links.key_at(index) {
                    self.link_ready(key, readable, writable, closed);
                }
            }
            None => {
                self.serve_wanted();
                self.open_mail();
            }
        }
    }

    /// Goes on with whatever does not need a new event: dead links, stalled clients, unread bytes. Bounded:
    /// who is not done after one round goes on in the next turn, after others had theirs.
    fn settle(&mut self) {
        self.wake_resting();
        while let Some((key, cause)) = self.failed.pop() {
            self.guarded(|worker| worker.fail_link(key, &cause), WAKE);
        }
        let mut links = std::mem::take(&mut self.again_links);
        for key in links.drain(..) {
            self.guarded(|worker| worker.read_link_again(key), link_token(key));
        }
        give_back(&mut self.again_links, links);
        let mut clients = std::mem::take(&mut self.again_clients);
        for key in clients.drain(..) {
            self.guarded(|worker| worker.go_on(key), client_token(key));
        }
        give_back(&mut self.again_clients, clients);
        while let Some((key, cause)) = self.failed.pop() {
            self.guarded(|worker| worker.fail_link(key, &cause), WAKE);
        }
        if std::mem::take(&mut self.unpark_due) {
            self.guarded(Worker::unpark, WAKE);
        }
    }

    /// Writes what the turn produced.
    fn finish(&mut self) {
        let mut links = std::mem::take(&mut self.dirty_links);
        for key in links.drain(..) {
            self.guarded(|worker| worker.flush_link(key), link_token(key));
        }
        give_back(&mut self.dirty_links, links);
        let mut clients = std::mem::take(&mut self.dirty_clients);
        for key in clients.drain(..) {
            self.guarded(|worker| worker.flush_client(key), client_token(key));
        }
        give_back(&mut self.dirty_clients, clients);
        self.bound_buffers();
        if self.again_links.is_empty() {
            // What had come by the former one is counted.
            self.stats.topology.set(self.topology.version);
        }
        if self.draining.is_some() {
            self.drain();
        }
    }

    fn open_mail(&mut self) {
        loop {
            match self.inbox.mail.try_recv() {
                Ok(Mail::Tcp(stream, id)) => self.accept_tcp(stream, id),
                Ok(Mail::Unix(stream, id)) => self.accept_unix(stream, id),
                Ok(Mail::Topology(topology)) => self.adopt(topology),
                Ok(Mail::Settings(settings)) => self.configure(settings),
                Ok(Mail::Peers { place, peers }) => (self.own_place, self.peers) = (place, peers),
                Ok(Mail::Paused(time)) => self.pause(time),
                Ok(Mail::Lost { node, since }) => self.tell_lost_keys(node, since),
                Ok(Mail::Call(call)) => self.called_by_peer(&call),
                Ok(Mail::Answer(answer)) => self.answered_by(answer),
                Ok(Mail::Drain(patience)) => self.draining = Some(self.now + patience),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    // Nobody can tell us to stop any more: the process is ending.
                    self.draining.get_or_insert(self.now);
                    return;
                }
            }
        }
    }

    /// Ends the worker when nothing is left, or when its time is up.
    fn drain(&mut self) {
        self.close_idle_clients();
        if self.clients.len() == 0 || self.draining.is_some_and(|until| self.now >= until) {
            self.stopped = true;
        }
    }
}

/// Puts an emptied list back for its room, unless something was listed anew meanwhile.
fn give_back<T>(list: &mut Vec<T>, emptied: Vec<T>) {
    if list.is_empty() {
        *list = emptied;
    }
}
