//! What is known of scripts: their bodies, for the whole process, and which node has which, for one worker.
//!
//! Pure state. The bodies stand behind a lock that a worker takes only for a script that it has not seen yet, or
//! that it does not know to be on a node; whatever it asks again and again it keeps for itself. Both are bounded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxBuildHasher;

use crate::topology::NodeId;

/// A script's name: the SHA-1 of its body.
pub(super) type Sha = [u8; 20];

/// What an entry costs beside its body, roughly; so that many tiny scripts are bounded too.
const OVERHEAD: usize = 192;

/// The most scripts remembered, and the most that one worker keeps notes on.
const MOST: usize = 16 * 1024;

/// The scripts that the process has seen, by name.
#[derive(Debug)]
pub struct ScriptStore {
    /// Bytes that may be held.
    bound: usize,
    /// Goes up with every SCRIPT FLUSH: what workers noted before is void.
    flushes: AtomicU64,
    /// Goes up when bodies were forgotten for want of room: a worker that saw one of them must tell it again.
    evictions: AtomicU64,
    bodies: Mutex<Bodies>,
}

#[derive(Debug, Default)]
struct Bodies {
    by_name: HashMap<Sha, (Arc<[u8]>, u64), FxBuildHasher>,
    /// Names by when they were last asked for.
    by_use: BTreeMap<u64, Sha>,
    clock: u64,
    bytes: usize,
}

impl ScriptStore {
    /// An empty store that holds at most so many bytes.
    pub fn new(bound: usize) -> Self {
        ScriptStore {
            bound,
            flushes: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            bodies: Mutex::default(),
        }
    }

    /// Remembers a script, unless it is larger than all the room there is.
    pub(super) fn learn(&self, body: &[u8]) -> Sha {
        let sha = sha1_smol::Sha1::from(body).digest().bytes();
        let cost = body.len() + OVERHEAD;
        if cost > self.bound || self.find(&sha).is_some() {
            return sha;
        }
        let mut bodies = self.lock();
        let now = bodies.tick();
        if let Some((_, before)) = bodies.by_name.insert(sha, (body.into(), now)) {
            // Another worker was faster.
            bodies.by_use.remove(&before);
        } else {
            bodies.bytes += cost;
        }
        bodies.by_use.insert(now, sha);
        while bodies.bytes > self.bound || bodies.by_name.len() > MOST {
            let Some((_, oldest)) = bodies.by_use.pop_first() else {
                break;
            };
            if let Some((body, _)) = bodies.by_name.remove(&oldest) {
                bodies.bytes -= body.len() + OVERHEAD;
            }
            self.evictions.fetch_add(1, Ordering::Release);
        }
        sha
    }

    /// The body of that name.
    pub(super) fn find(&self, sha: &Sha) -> Option<Arc<[u8]>> {
        let mut bodies = self.lock();
        let now = bodies.tick();
        let (body, used) = bodies.by_name.get_mut(sha)?;
        let (body, before) = (Arc::clone(body), std::mem::replace(used, now));
        bodies.by_use.remove(&before);
        bodies.by_use.insert(now, *sha);
        Some(body)
    }

    /// Forgets one: no server takes it.
    pub(super) fn forget(&self, sha: &Sha) {
        let mut bodies = self.lock();
        if let Some((body, used)) = bodies.by_name.remove(sha) {
            bodies.by_use.remove(&used);
            bodies.bytes -= body.len() + OVERHEAD;
            self.evictions.fetch_add(1, Ordering::Release);
        }
    }

    /// Forgets all, as SCRIPT FLUSH does.
    pub(super) fn flush(&self) {
        *self.lock() = Bodies::default();
        self.flushes.fetch_add(1, Ordering::Release);
    }

    /// A panic of another worker cannot have left more than a count out of step.
    fn lock(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bodies {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// What one worker knows, without a lock.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) store: Arc<ScriptStore>,
    flushes: u64,
    evictions: u64,
    notes: HashMap<Sha, Note, FxBuildHasher>,
    /// Bodies that were told to the store already, by their hash: an EVAL costs no SHA-1. Two bodies of one hash
    /// only mean that the second is not remembered.
    told: HashSet<u64, FxBuildHasher>,
    /// Nodes that any note speaks of.
    noted: u64,
}

/// What a worker knows of one script.
#[derive(Debug, Clone, Copy)]
struct Note {
    /// It says of itself that it writes nothing.
    reads: bool,
    /// Nodes that have it, a bit each.
    nodes: u64,
}

impl Scripts {
    pub(super) fn new(store: Arc<ScriptStore>) -> Self {
        Scripts {
            store,
            flushes: 0,
            evictions: 0,
            notes: HashMap::default(),
            told: HashSet::default(),
            noted: 0,
        }
    }

    /// A script's body went by.
    pub(super) fn learn(&mut self, body: &[u8]) {
        if !self.is_told(body) {
            self.told.insert(hash(body));
            self.store.learn(body);
        }
    }

    /// Whether this worker told the store of that body.
    pub(super) fn is_told(&mut self, body: &[u8]) -> bool {
        self.catch_up();
        let evictions = self.store.evictions.load(Ordering::Acquire);
        if evictions != self.evictions || self.told.len() >= MOST {
            self.evictions = evictions;
            self.told.clear();
        }
        self.told.contains(&hash(body))
    }

    /// Whether the script is known and, if so, whether it says of itself that it writes nothing.
    pub(super) fn reads(&mut self, sha: &Sha) -> Option<bool> {
        self.catch_up();
        if let Some(note) = self.notes.get(sha) {
            return Some(note.reads);
        }
        let reads = writes_nothing(&self.store.find(sha)?);
        self.note(*sha, Note { reads, nodes: 0 });
        Some(reads)
    }

    /// Whether the node is known to have the script.
    pub(super) fn is_on(&self, sha: &Sha, node: NodeId) -> bool {
        self.notes
            .get(sha)
            .is_some_and(|note| note.nodes & bit(node) != 0)
    }

    /// The node took the script.
    pub(super) fn took(&mut self, sha: &Sha, node: NodeId) {
        if let Some(note) = self.notes.get_mut(sha) {
            note.nodes |= bit(node);
            self.noted |= bit(node);
        }
    }

    /// The node may have lost all its scripts.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        if self.noted & bit(node) == 0 {
            return;
        }
        self.noted &= !bit(node);
        for note in self.notes.values_mut() {
            note.nodes &= !bit(node);
        }
    }

    fn note(&mut self, sha: Sha, note: Note) {
        if self.notes.len() >= MOST {
            self.notes.clear();
        }
        self.notes.insert(sha, note);
    }

    /// Forgets what a SCRIPT FLUSH made void.
    fn catch_up(&mut self) {
        let flushes = self.store.flushes.load(Ordering::Acquire);
        if flushes != self.flushes {
            self.flushes = flushes;
            self.notes.clear();
            self.told.clear();
        }
    }
}

fn bit(node: NodeId) -> u64 {
    1 << (node.index() % 64)
}

fn hash(body: &[u8]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    body.hash(&mut hasher);
    std::hash::Hasher::finish(&hasher)
}

/// A name as EVALSHA takes it: 40 hexadecimal digits of either case.
pub(super) fn sha_of(digits: &[u8]) -> Option<Sha> {
    let mut sha = Sha::default();
    if digits.len() != 2 * sha.len() {
        return None;
    }
    for (byte, pair) in sha.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| (pair[at] as char).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(sha)
}

/// Whether a script's first line says `flags=...no-writes...` (`evalExtractShebangFlags` in Redis's eval.c).
pub(super) fn writes_nothing(body: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', body).filter(|_| body.starts_with(b"#!lua")) else {
        return false;
    };
    let mut words = body[..end]
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    words.next() == Some(b"#!lua")
        && words
            .filter_map(|word| word.strip_prefix(b"flags="))
            .any(|flags| flags.split(|byte| *byte == b',').any(|flag| flag == b"no-writes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(3);

    fn scripts(bound: usize) -> Scripts {
        Scripts::new(Arc::new(ScriptStore::new(bound)))
    }

    #[test]
    fn names_are_what_redis_makes_of_bodies() {
        let sha = ScriptStore::new(1 << 20).learn(b"return 1");
        assert_eq!(sha_of(b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db"), Some(sha));
        assert_eq!(sha_of(b"E0E1F9FABFC9D4800C877A703B823AC0578FF8DB"), Some(sha));
        for wrong in [
            &b""[..],
            b"e0e1",
            &[b'g'; 40],
            &[b'+'; 40],
            &[0xff; 40],
            &[b'0'; 42],
        ] {
            assert_eq!(sha_of(wrong), None);
        }
    }

    #[test]
    fn the_first_line_says_whether_a_script_writes() {
        for (body, reads) in [
            (&b"#!lua flags=no-writes\nreturn 1"[..], true),
            (b"#!lua flags=allow-stale,no-writes name=x\nreturn 1", true),
            (b"#!lua  name=x  flags=no-writes\n", true),
            (b"#!lua\nreturn 1", false),
            (b"#!lua flags=allow-stale\nreturn 1", false),
            (b"#!lua flags=no-writes-at-all\nreturn 1", false),
            (b"#!lua flags=no-writes", false),
            (b"#!luaflags=no-writes\n", false),
            (b"#!js flags=no-writes\n", false),
            (b"-- #!lua flags=no-writes\n", false),
            (b"return '\n#!lua flags=no-writes\n'", false),
            (b"", false),
        ] {
            assert_eq!(writes_nothing(body), reads, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn the_store_holds_no_more_than_its_bound_and_forgets_what_was_used_longest_ago() {
        let store = ScriptStore::new(10 * (1000 + OVERHEAD));
        let body = |number: u8| vec![number; 1000];
        let first = store.learn(&body(0));
        let second = store.learn(&body(1));
        for number in 2..10 {
            store.learn(&body(number));
        }
        assert!(store.find(&first).is_some());
        let last = store.learn(&body(10));
        assert!(store.find(&first).is_some() && store.find(&last).is_some());
        assert!(store.find(&second).is_none(), "it was the one used longest ago");
        for number in 0..u8::MAX {
            store.learn(&body(number));
            let bodies = store.lock();
            let held: usize = bodies
                .by_name
                .values()
                .map(|(body, _)| body.len() + OVERHEAD)
                .sum();
            assert!(held == bodies.bytes && held <= store.bound);
            assert_eq!(bodies.by_name.len(), bodies.by_use.len());
        }
        let huge = store.learn(&vec![0; store.bound]);
        assert!(store.find(&huge).is_none(), "too large to be kept");
        assert_eq!(store.lock().by_name.len(), 10, "and it drove nobody out");
    }

    #[test]
    fn many_tiny_scripts_are_bounded_too() {
        let store = ScriptStore::new(usize::MAX);
        for number in 0..MOST as u32 + 100 {
            store.learn(&number.to_le_bytes());
        }
        assert_eq!(store.lock().by_name.len(), MOST);
    }

    #[test]
    fn a_worker_notes_who_has_what_until_the_node_fails_or_the_scripts_are_flushed() {
        let mut scripts = scripts(1 << 20);
        scripts.learn(b"return 1");
        let sha = sha_of(b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db").unwrap();
        assert_eq!(scripts.reads(&sha), Some(false));
        scripts.took(&sha, NODE);
        assert!(scripts.is_on(&sha, NODE) && !scripts.is_on(&sha, NodeId(4)));
        scripts.forget_node(NODE);
        assert!(!scripts.is_on(&sha, NODE));
        scripts.took(&sha, NODE);
        scripts.store.flush();
        assert_eq!(scripts.reads(&sha), None);
        assert!(!scripts.is_on(&sha, NODE));
        scripts.learn(b"return 1");
        assert_eq!(scripts.reads(&sha), Some(false), "learned anew");
    }

    #[test]
    fn a_body_that_was_driven_out_is_learned_again_when_it_goes_by() {
        let mut scripts = scripts(1000 + OVERHEAD);
        let sha = sha_of(b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db").unwrap();
        scripts.learn(b"return 1");
        scripts.learn(&[b'x'; 1000]);
        assert_eq!(scripts.reads(&sha), None);
        scripts.learn(b"return 1");
        assert_eq!(scripts.reads(&sha), Some(false));
    }
}
