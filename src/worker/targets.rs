//! Which connection to the master is which client's, for CLIENT TRACKING ... REDIRECT.
//!
//! The target may live on another worker. This is the one thing that workers share beside mail: a small map behind
//! a lock, touched when a tunnel begins or ends and when somebody redirects, never on the path of other commands.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use mio::Waker;

/// How long a target is waited for that has no connection of its own yet.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// Targets looked for at one time, over all workers.
const MOST_WANTED: usize = 1024;

#[derive(Default)]
struct Targets {
    /// Upstream ids by client id.
    upstream: HashMap<u64, u64>,
    /// Clients that somebody redirects to.
    aimed: HashSet<u64>,
    /// Clients that need a connection of their own, until when.
    wanted: Vec<(u64, Instant)>,
    wakers: Vec<Weak<Waker>>,
}

/// How many are wanted, so that a worker that is woken for other reasons takes no lock.
static WANTED: AtomicUsize = AtomicUsize::new(0);

fn targets() -> MutexGuard<'static, Targets> {
    static TARGETS: OnceLock<Mutex<Targets>> = OnceLock::new();
    // Each change is one call that cannot leave it half done.
    TARGETS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// A client's connection to the master under the id that it has there, as long as this value lives.
#[derive(Debug)]
pub(super) struct Target {
    client: u64,
}

impl Target {
    pub(super) fn new(client: u64, upstream: u64) -> Self {
        let mut targets = targets();
        targets.upstream.insert(client, upstream);
        if targets.wanted.iter().any(|(wanted, _)| *wanted == client) {
            targets.wanted.retain(|(wanted, _)| *wanted != client);
            WANTED.store(targets.wanted.len(), Ordering::Relaxed);
            wake(&mut targets);
        }
        Target { client }
    }

    /// Whether somebody redirects to it, or once did.
    pub(super) fn is_aimed(&self) -> bool {
        targets().aimed.contains(&self.client)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let mut targets = targets();
        targets.upstream.remove(&self.client);
        targets.aimed.remove(&self.client);
    }
}

/// A worker's waker, to be called when a target is wanted or found.
pub(super) fn enroll(waker: &Arc<Waker>) {
    targets().wakers.push(Arc::downgrade(waker));
}

/// The id that a client's own connection has on the master.
pub(super) fn find(client: u64) -> Option<u64> {
    targets().upstream.get(&client).copied()
}

/// Somebody redirects to that client, whose connection has to last as long as the client: the master knows no other.
pub(super) fn aim(client: u64) {
    let mut targets = targets();
    if targets.upstream.contains_key(&client) {
        targets.aimed.insert(client);
    }
}

/// Asks whichever worker has this client to give it a connection of its own.
pub(super) fn want(client: u64, now: Instant) {
    let mut targets = targets();
    targets
        .wanted
        .retain(|(wanted, until)| *wanted != client && now < *until);
    if targets.wanted.len() < MOST_WANTED {
        targets.wanted.push((client, now + PATIENCE));
    }
    WANTED.store(targets.wanted.len(), Ordering::Relaxed);
    wake(&mut targets);
}

/// Clients that need a connection of their own.
pub(super) fn wanted(now: Instant) -> Vec<u64> {
    if WANTED.load(Ordering::Relaxed) == 0 {
        return Vec::new();
    }
    let mut targets = targets();
    targets.wanted.retain(|(_, until)| now < *until);
    WANTED.store(targets.wanted.len(), Ordering::Relaxed);
    targets.wanted.iter().map(|(client, _)| *client).collect()
}

fn wake(targets: &mut Targets) {
    targets.wakers.retain(|waker| {
        // A worker that cannot be woken looks at its next sweep.
        waker.upgrade().map(|waker| waker.wake()).is_some()
    });
}
