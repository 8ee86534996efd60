//! A TCP relay before one server, whose faults a test sets per link: a link is who connects, told by the address
//! that it connects from.
//!
//! It knows nothing of what it carries. All connections of one [`Relays`] are tasks on one thread, and end with it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Handle};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::pump::pump;

/// Who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    /// Whoever uses no address of its own: the ambassador, applications.
    Outside,
    /// A node of the group: replication.
    Node(usize),
    /// A sentinel.
    Sentinel(usize),
}

impl Party {
    /// The address that it connects from; all of 127/8 is the loopback interface.
    pub(crate) fn source(self) -> Ipv4Addr {
        match self {
            Self::Outside => Ipv4Addr::LOCALHOST,
            Self::Node(index) => Ipv4Addr::new(127, 0, 1, index as u8 + 1),
            Self::Sentinel(index) => Ipv4Addr::new(127, 0, 2, index as u8 + 1),
        }
    }

    fn of(peer: SocketAddr) -> Self {
        match peer {
            SocketAddr::V4(peer) => match peer.ip().octets() {
                [127, 0, 1, number] if number > 0 => Self::Node(usize::from(number) - 1),
                [127, 0, 2, number] if number > 0 => Self::Sentinel(usize::from(number) - 1),
                _ => Self::Outside,
            },
            SocketAddr::V6(_) => Self::Outside,
        }
    }
}

/// What happens to the bytes of a link, those of connections that are there and of those to come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    Pass,
    /// They come that much later, in both directions.
    Delay(Duration),
    /// Nothing is read any more; the connections stay, and go on when this is over.
    Stall,
    /// What the server says disappears, and so does that it hung up: half open. The connections end with this fault.
    SwallowReplies,
    /// What the client says disappears, in the same way.
    SwallowRequests,
    /// That many bytes a second, in each direction.
    Throttle(u32),
    /// Connections are reset, those to come too.
    Refuse,
}

/// How a link's connections are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// RST.
    Reset,
    /// FIN.
    End,
}

/// What a connection has to know of its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State {
    pub(crate) fault: Fault,
    /// How often the link was cut; a connection ends when it changes.
    pub(crate) cuts: u64,
    pub(crate) cut: Cut,
}

impl State {
    const CALM: Self = Self {
        fault: Fault::Pass,
        cuts: 0,
        cut: Cut::End,
    };

    fn set(&mut self, fault: Fault) {
        // A stream that lost bytes cannot go on: TCP would not let it.
        let is_torn =
            matches!(self.fault, Fault::SwallowReplies | Fault::SwallowRequests) && self.fault != fault;
        self.fault = fault;
        if is_torn || fault == Fault::Refuse {
            self.cut = Cut::Reset;
            self.cuts += 1;
        }
    }
}

/// The thread that all relays of a test run on; it ends with this.
pub(crate) struct Relays {
    tasks: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Relays {
    pub(crate) fn start() -> Self {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime needs no more than file descriptors");
        let tasks = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            let _ = runtime.block_on(ended);
        });
        Self {
            tasks,
            end: Some(end),
            thread: Some(thread),
        }
    }

    /// A relay to a server whose port is told later.
    pub(crate) fn relay(&self) -> Relay {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let port = listener.local_addr().expect("it is bound").port();
        listener.set_nonblocking(true).expect("a socket takes the option");
        let relay = Relay {
            port,
            target: Arc::default(),
            links: Arc::default(),
        };
        self.tasks.spawn(accept(listener, relay.clone()));
        relay
    }
}

impl Drop for Relays {
    fn drop(&mut self) {
        // The thread waits for no more than this.
        self.end = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A port that stands for a server.
#[derive(Clone)]
pub(crate) struct Relay {
    port: u16,
    target: Arc<AtomicU16>,
    links: Arc<Mutex<BTreeMap<Party, watch::Sender<State>>>>,
}

impl Relay {
    /// Its own port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Its own address.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Tells the port of the server that it stands for.
    pub(crate) fn point_at(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }

    /// What happens to this link from now on.
    pub(crate) fn set(&self, from: Party, fault: Fault) {
        self.change(from, |state| state.set(fault));
    }

    /// Ends the connections of this link; new ones may come.
    pub(crate) fn cut(&self, from: Party, cut: Cut) {
        self.change(from, |state| {
            state.cut = cut;
            state.cuts += 1;
        });
    }

    /// No fault on any link from now on.
    pub(crate) fn calm(&self) {
        for link in self.links().values() {
            link.send_modify(|state| state.set(Fault::Pass));
        }
    }

    fn change(&self, from: Party, change: impl FnOnce(&mut State)) {
        let mut links = self.links();
        let link = links
            .entry(from)
            .or_insert_with(|| watch::Sender::new(State::CALM));
        link.send_modify(change);
    }

    fn watch(&self, from: Party) -> watch::Receiver<State> {
        let mut links = self.links();
        let link = links
            .entry(from)
            .or_insert_with(|| watch::Sender::new(State::CALM));
        link.subscribe()
    }

    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<Party, watch::Sender<State>>> {
        self.links.lock().expect("nobody panics with this lock")
    }
}

async fn accept(listener: std::net::TcpListener, relay: Relay) {
    let listener = TcpListener::from_std(listener).expect("it is a socket that does not block");
    loop {
        match listener.accept().await {
            Ok((client, peer)) => {
                let state = relay.watch(Party::of(peer));
                let target = relay.target.load(Ordering::Relaxed);
                tokio::spawn(carry(client, target, state));
            }
            // Out of file descriptors: the next one may go away soon.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Carries one connection until it ends or its link is cut.
async fn carry(client: TcpStream, target: u16, state: watch::Receiver<State>) {
    if state.borrow().fault == Fault::Refuse {
        reset(&client);
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        reset(&client);
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let mut cut = state.clone();
    let begun = cut.borrow().cuts;
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = server.into_split();
    let requests = pump(
        &mut client_reads,
        &mut server_writes,
        state.clone(),
        Fault::SwallowRequests,
    );
    let replies = pump(
        &mut server_reads,
        &mut client_writes,
        state,
        Fault::SwallowReplies,
    );
    let is_reset = tokio::select! {
        // One direction may end before the other.
        both = async { tokio::try_join!(requests, replies) } => both.is_err(),
        cut = cut.wait_for(|state| state.cuts != begun) => cut.is_ok_and(|state| state.cut == Cut::Reset),
    };
    if is_reset {
        reset(client_reads.as_ref());
        reset(server_reads.as_ref());
        // Dropped, these would say FIN first.
        client_writes.forget();
        server_writes.forget();
    }
}

/// Makes the end of a connection a RST.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
