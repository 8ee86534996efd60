//! A relay before a real server that is bad at reads: late, silent, in error, or closing. The control plane's probes
//! are always carried, unless it closes.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// What happens to connections that are no probe's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Nothing.
    Pass,
    /// Replies come that much later.
    Delay(Duration),
    /// Replies come up to that much later, in their order.
    Random(Duration),
    /// One reply of so many comes that much later, and with it those behind it.
    Sometimes(u32, Duration),
    /// Requests disappear. A stream that lost bytes cannot go on: nothing comes through it any more, whatever is next.
    Swallow,
    /// Each GET is answered with this, at once: for clients that have no more than one under way.
    Say(&'static str),
    /// Whoever sends a request is hung up on.
    HangUp,
    /// Every connection is closed, probes' too.
    Close,
}

pub(crate) struct Relay {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    mode: Mutex<Mode>,
    accepted: Mutex<Vec<Instant>>,
    gets: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    seed: u64,
}

impl Relay {
    pub(crate) fn before(server: u16, seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared {
            mode: Mutex::new(Mode::Pass),
            accepted: Mutex::default(),
            gets: AtomicU64::new(0),
            open: Mutex::default(),
            seed,
        });
        let relay = Self {
            port,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                lock(&shared.accepted).push(Instant::now());
                if *lock(&shared.mode) != Mode::Close
                    && let Ok(upstream) = TcpStream::connect(("127.0.0.1", server))
                {
                    carry(client, upstream, &shared);
                }
            }
        });
        relay
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, mode: Mode) {
        *lock(&self.shared.mode) = mode;
        if mode == Mode::Close {
            for stream in lock(&self.shared.open).drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// GETs that reached it.
    pub(crate) fn gets(&self) -> u64 {
        self.shared.gets.load(Ordering::Relaxed)
    }

    /// When connections were made to it.
    pub(crate) fn accepted(&self) -> Vec<Instant> {
        lock(&self.shared.accepted).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with it")
}

fn carry(client: TcpStream, upstream: TcpStream, shared: &Arc<Shared>) {
    let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
    let streams = (client.try_clone(), client.try_clone(), upstream.try_clone());
    let (Ok(kept), Ok(back), Ok(from)) = streams else {
        return;
    };
    lock(&shared.open).push(kept);
    let is_probe = Arc::new(AtomicU64::new(0));
    let (sender, late) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || write_late(&late, back));
    {
        let (shared, is_probe, sender) = (Arc::clone(shared), Arc::clone(&is_probe), sender.clone());
        thread::spawn(move || replies(from, &shared, &is_probe, &sender));
    }
    let shared = Arc::clone(shared);
    thread::spawn(move || requests(client, upstream, &shared, &is_probe, &sender));
}

fn requests(
    mut client: TcpStream,
    mut upstream: TcpStream,
    shared: &Shared,
    is_probe: &AtomicU64,
    replies: &mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let (mut first, mut torn) = (true, false);
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..read];
        if std::mem::take(&mut first) && count(bytes, b"INFO") > 0 {
            is_probe.store(1, Ordering::Relaxed);
        }
        let gets = count(bytes, b"$3\r\nGET\r\n");
        let mode = *lock(&shared.mode);
        if is_probe.load(Ordering::Relaxed) == 0 {
            shared.gets.fetch_add(gets as u64, Ordering::Relaxed);
            torn |= mode == Mode::Swallow;
            match mode {
                _ if torn && mode != Mode::HangUp => continue,
                Mode::HangUp => break,
                Mode::Say(text) if gets > 0 => {
                    let _ = replies.send((Instant::now(), text.repeat(gets).into_bytes()));
                    continue;
                }
                _ => {}
            }
        }
        if upstream.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = (client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
}

fn replies(
    mut upstream: TcpStream,
    shared: &Shared,
    is_probe: &AtomicU64,
    late: &mpsc::Sender<(Instant, Vec<u8>)>,
) {
    let mut random = SmallRng::seed_from_u64(shared.seed);
    let mut buffer = vec![0; 64 * 1024];
    let mut last = Instant::now();
    while let Ok(read @ 1..) = upstream.read(&mut buffer) {
        let mode = *lock(&shared.mode);
        let delay = match mode {
            Mode::Delay(delay) => delay,
            Mode::Sometimes(every, delay) if random.random_range(0..every) == 0 => delay,
            Mode::Random(most) => most.mul_f64(random.random_range(0.0..1.0)),
            _ => Duration::ZERO,
        };
        let is_probe = is_probe.load(Ordering::Relaxed) == 1;
        // A line does not change the order of what is on it.
        last = last.max(Instant::now() + if is_probe { Duration::ZERO } else { delay });
        if late.send((last, buffer[..read].to_vec())).is_err() {
            break;
        }
    }
}

fn write_late(late: &mpsc::Receiver<(Instant, Vec<u8>)>, mut client: TcpStream) {
    while let Ok((when, bytes)) = late.recv() {
        thread::sleep(when.saturating_duration_since(Instant::now()));
        if client.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .filter(|window| *window == wanted)
        .count()
}
