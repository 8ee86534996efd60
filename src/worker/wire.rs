//! A connection in memory, both ends of it in one thread: what the simulation puts in the place of a socket. Tests only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use mio::Token;

thread_local! {
    /// Where links are connected to in this thread, if that is simulated.
    static CONNECTS: RefCell<Option<Vec<(SocketAddr, Wire)>>> = const { RefCell::new(None) };
}

/// From now on this thread's links are wires.
pub(super) fn begin() {
    CONNECTS.set(Some(Vec::new()));
}

/// The connects since this was asked last.
pub(super) fn connects() -> Vec<(SocketAddr, Wire)> {
    CONNECTS.with_borrow_mut(|connects| connects.as_mut().map(std::mem::take).unwrap_or_default())
}

/// A wire to there; `None`: nothing is simulated in this thread.
pub(super) fn connect(address: SocketAddr) -> Option<Wire> {
    CONNECTS.with_borrow_mut(|connects| {
        let wire = Wire::default();
        connects.as_mut()?.push((address, wire.clone()));
        Some(wire)
    })
}

/// Either end. What the worker's end is told of readiness is as with epoll's edges: only what is new.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    token: Option<Token>,
    to_worker: VecDeque<u8>,
    from_worker: Vec<u8>,
    /// Bytes that the worker may still write.
    room: usize,
    /// The peer has ended its direction.
    ended: bool,
    broken: bool,
    refused: bool,
    news: News,
}

/// What the worker is to be told: readable, writable, closed.
pub(super) type News = (bool, bool, bool);

/// The worker's end.
impl Wire {
    pub(super) fn register(&self, token: Token) {
        self.0.borrow_mut().token = Some(token);
    }

    pub(super) fn connect_error(&self) -> Option<io::Error> {
        let refused = self.0.borrow().refused;
        refused.then(|| io::ErrorKind::ConnectionRefused.into())
    }

    pub(super) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if state.broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let bytes = into.len().min(state.to_worker.len());
        if bytes == 0 && !state.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (place, byte) in into.iter_mut().zip(state.to_worker.drain(..bytes)) {
            *place = byte;
        }
        Ok(bytes)
    }

    pub(super) fn write(&self, from: &[u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if state.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let bytes = from.len().min(state.room);
        if bytes == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.room -= bytes;
        state.from_worker.extend_from_slice(&from[..bytes]);
        Ok(bytes)
    }
}

/// The other end.
impl Wire {
    /// What is new for the worker, with the token under which it wants to hear it.
    pub(super) fn news(&self) -> Option<(Token, News)> {
        let mut state = self.0.borrow_mut();
        let token = state.token?;
        let news = std::mem::take(&mut state.news);
        (news != News::default()).then_some((token, news))
    }

    /// The connection stands, or there is room for more.
    pub(super) fn grant(&self, room: usize) {
        let mut state = self.0.borrow_mut();
        state.room = state.room.max(room);
        state.news.1 = true;
    }

    pub(super) fn refuse(&self) {
        let mut state = self.0.borrow_mut();
        state.refused = true;
        state.news.2 = true;
    }

    pub(super) fn send(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.to_worker.extend(bytes);
        state.news.0 |= !bytes.is_empty();
    }

    /// What the worker wrote since.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().from_worker)
    }

    pub(super) fn has_room(&self) -> bool {
        self.0.borrow().room > 0
    }

    /// An end as by `close`: what was sent before still arrives.
    pub(super) fn end(&self) {
        let mut state = self.0.borrow_mut();
        state.ended = true;
        (state.news.0, state.news.2) = (true, true);
    }

    /// An end as by a reset: what was not read is lost.
    pub(super) fn cut(&self) {
        let mut state = self.0.borrow_mut();
        state.broken = true;
        state.news.2 = true;
    }

    /// The worker has dropped its end.
    pub(super) fn is_left(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }
}
