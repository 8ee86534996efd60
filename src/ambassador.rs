//! The whole process put together: listeners, workers, control plane, admin listener, signals, end.
//!
//! `run` is the program; `start` is the same without signals and logging, for whoever embeds it.
//! Everything async lives on one current-thread runtime; what clients wait for lives on the workers.

mod accept;
mod files;
mod listen;
mod logging;
mod start_line;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use crate::admin;
use crate::attempts::Attempts;
use crate::control::{self, Control, FailureKind, Report};
use crate::settings::{Listen, Settings};
use crate::stats::WorkerStats;
use crate::topology::Topology;
use crate::worker::{self, Mail, ScriptStore, WorkerHandle};

pub use logging::init as init_logging;

/// Hints waiting for the control plane; when it is full, the control plane is looking already.
const HINTS: usize = 256;
/// How often a start that waits for its master says so.
const START_REMINDER: Duration = Duration::from_secs(5);
/// How long the start line waits for the first word from every replica.
const SETTLE: Duration = Duration::from_secs(1);
/// What a drain may take beyond its own bound before the process stops waiting for the threads.
const JOIN_SLACK: Duration = Duration::from_secs(2);
/// How often threads are looked at; one that ended on its own is a defect, and rare.
const WORKER_CHECK: Duration = Duration::from_millis(500);

/// Runs the ambassador until a signal ends it. An error is a sentence for the person who started it.
pub fn run(settings: Settings) -> Result<(), String> {
    logging::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the async runtime: {error}"))?;
    let outcome = runtime.block_on(serve(settings));
    // A worker that did not end in time must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn serve(settings: Settings) -> Result<(), String> {
    let mut signals = Signals::new()?;
    files::raise_limit(settings.limits.clients);
    let running = start(settings).await?;
    let ready = tokio::select! {
        ready = running.ready() => ready,
        () = signals.end() => return leave(running, signals).await,
    };
    if let Err(error) = ready {
        running.shutdown_within(Duration::ZERO).await;
        return Err(error);
    }
    running.settle().await;
    start_line::log(&running);
    tokio::select! {
        () = signals.end() => leave(running, signals).await,
        error = running.worker_ended() => Err(error),
    }
}

async fn leave(running: Running, mut signals: Signals) -> Result<(), String> {
    info!(
        drain_timeout_s = running.settings.drain_timeout.as_secs_f64(),
        "stopping: no new clients, finishing what is in flight; a second signal stops at once"
    );
    tokio::select! {
        () = running.shutdown() => {}
        () = signals.end() => {
            warn!("stopped at once by a second signal");
            return Ok(());
        }
    }
    info!("stopped");
    Ok(())
}

/// A started ambassador. Dropping it stops accepting and probing; `shutdown` also ends the workers.
#[derive(Debug)]
pub struct Running {
    settings: Arc<Settings>,
    listening: Vec<Listen>,
    admin: Option<SocketAddr>,
    control: Control,
    workers: Vec<WorkerHandle>,
    threads: Vec<std::thread::JoinHandle<()>>,
    refused: Arc<WorkerStats>,
    acceptors: JoinSet<()>,
    services: JoinSet<()>,
}

/// Binds everything, starts workers, control plane and admin listener, and accepts clients at once
/// (their commands wait for a master, within `limits.hold`). Does not wait for a master: see
/// [`Running::ready`]. Must be called in a tokio runtime with time and IO; a current-thread one will do.
pub async fn start(settings: Settings) -> Result<Running, String> {
    let settings = Arc::new(settings);
    let bound = listen::bind_all(&settings.listen).await?;
    let admin_listener = match settings.admin {
        Some(address) => Some(listen::bind_admin(address)?),
        None => None,
    };
    let (hint_sender, hints) = tokio::sync::mpsc::channel(HINTS);
    let scripts = Arc::new(ScriptStore::new(settings.limits.scripts));
    let attempts = Arc::new(Attempts::new(
        settings.upstream.connects_per_second,
        std::time::Instant::now(),
    ));
    let mut workers = Vec::with_capacity(settings.workers);
    let mut threads = Vec::with_capacity(settings.workers);
    for index in 0..settings.workers {
        let (handle, thread) = worker::spawn(
            index,
            Arc::clone(&settings),
            hint_sender.clone(),
            Arc::clone(&scripts),
            Arc::clone(&attempts),
        )
        .map_err(|error| format!("cannot start worker {index}: {error}"))?;
        workers.push(handle);
        threads.push(thread);
    }
    let peers: Vec<_> = workers.iter().map(WorkerHandle::peer).collect();
    for (place, worker) in workers.iter().enumerate() {
        let peers = peers.clone();
        worker.send(Mail::Peers { place, peers });
    }
    let control = control::start(Arc::clone(&settings), hints, workers.clone(), attempts);
    let refused = Arc::new(WorkerStats::default());
    let mut running = Running {
        listening: bound.iter().map(|bound| bound.place.clone()).collect(),
        admin: admin_listener
            .as_ref()
            .and_then(|listener| listener.local_addr().ok()),
        settings,
        control,
        workers,
        threads,
        refused,
        acceptors: JoinSet::new(),
        services: JoinSet::new(),
    };
    let crew = accept::Crew::new(
        running.workers.clone(),
        running.settings.limits.clients,
        Arc::clone(&running.refused),
    );
    for bound in bound {
        running.acceptors.spawn(accept::accept(bound, Arc::clone(&crew)));
    }
    if let Some(listener) = admin_listener {
        let state = admin::State {
            policy: running.settings.reads.policy,
            topology: running.topology(),
            report: running.report(),
            stats: running.stats(),
        };
        running.services.spawn(admin::serve(listener, state));
    }
    Ok(running)
}

impl Running {
    /// The group as the workers see it, whenever it changes.
    pub fn topology(&self) -> watch::Receiver<Arc<Topology>> {
        self.control.topology()
    }

    /// What the probes know of each node (offset, lag, last failure), at every probe.
    pub fn report(&self) -> watch::Receiver<Arc<Report>> {
        self.control.report()
    }

    /// Every worker's counters, and those of the acceptor (which only counts clients turned away).
    pub fn stats(&self) -> Vec<Arc<WorkerStats>> {
        let workers = self.workers.iter().map(|worker| Arc::clone(&worker.stats));
        workers.chain([Arc::clone(&self.refused)]).collect()
    }

    /// Where applications connect, with the port that port 0 became.
    pub fn listening(&self) -> &[Listen] {
        &self.listening
    }

    /// Where the admin listener is, with the port that port 0 became.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What it was started with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Waits until a master is usable. Fails when the master refuses the credentials, and after
    /// `upstream.start_timeout`; the error says what to check.
    pub async fn ready(&self) -> Result<(), String> {
        let mut topology = self.topology();
        let mut report = self.report();
        let began = Instant::now();
        let limit = self.settings.upstream.start_timeout;
        let mut reminded = None::<Instant>;
        loop {
            if topology.borrow_and_update().master.is_some() {
                return Ok(());
            }
            let trouble = start_line::master_trouble(&report.borrow_and_update());
            if let Some(trouble) = &trouble {
                if trouble.failure().kind == FailureKind::Auth {
                    return Err(start_line::explain(&self.settings, Some(trouble)));
                }
                if reminded.is_none_or(|last| last.elapsed() >= START_REMINDER) {
                    error!(
                        "{}; still trying",
                        start_line::explain(&self.settings, Some(trouble))
                    );
                    reminded = Some(Instant::now());
                }
            }
            if !limit.is_zero() && began.elapsed() >= limit {
                return Err(start_line::explain(&self.settings, trouble.as_ref()));
            }
            let pause = if limit.is_zero() {
                START_REMINDER
            } else {
                START_REMINDER.min(limit.saturating_sub(began.elapsed()))
            };
            tokio::select! {
                changed = topology.changed() => changed.map_err(|_| "the control plane ended".to_owned())?,
                changed = report.changed() => changed.map_err(|_| "the control plane ended".to_owned())?,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Waits a moment until every node has said something, so that the start line can tell.
    async fn settle(&self) {
        let mut report = self.report();
        let heard = report.wait_for(|report| report.nodes.iter().all(control::NodeReport::heard));
        // Either way the line is written; it says which nodes have not answered.
        let _ = timeout(SETTLE, heard).await;
    }

    /// Stops accepting, lets the workers finish what is in flight within `drain_timeout`, ends everything.
    pub async fn shutdown(self) {
        let within = self.settings.drain_timeout;
        self.shutdown_within(within).await;
    }

    async fn shutdown_within(mut self, within: Duration) {
        self.acceptors.shutdown().await;
        listen::unlink(&self.listening);
        for worker in &self.workers {
            worker.send(Mail::Drain(within));
        }
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    error!("a worker panicked");
                }
            }
        });
        if timeout(within + JOIN_SLACK, joined).await.is_err() {
            warn!("workers did not end in time; their clients are closed with the process");
        }
        self.services.shutdown().await;
    }

    /// Resolves when a worker thread ended by itself, which is a defect: better to be restarted.
    pub async fn worker_ended(&self) -> String {
        loop {
            if let Some(index) = self.threads.iter().position(std::thread::JoinHandle::is_finished) {
                return format!("worker {index} ended unexpectedly; see the log before this line");
            }
            tokio::time::sleep(WORKER_CHECK).await;
        }
    }
}

/// The signals that end the process. SIGHUP is caught so that it does not.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => warn!("SIGHUP ignored: the configuration is read at start only"),
            }
        }
    }
}
