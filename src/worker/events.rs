//! Whose socket an event is about, and what it says of it.

use mio::Token;
use mio::event::Event;

use super::slots::{ClientKey, LinkKey};

/// The token of the waker.
pub(super) const WAKE: Token = Token(usize::MAX);

/// What an event says of a socket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Readiness {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The peer will send nothing more, or the connection is broken.
    pub(super) closed: bool,
}

impl Readiness {
    pub(super) fn of(event: &Event) -> Self {
        Readiness {
            readable: event.is_readable(),
            writable: event.is_writable(),
            closed: event.is_read_closed() || event.is_error(),
        }
    }
}

/// Whose event it is.
pub(super) enum Target {
    Client(usize),
    Link(usize),
}

/// Reads it from a token.
pub(super) fn target(token: Token) -> Option<Target> {
    match token {
        WAKE => None,
        Token(number) if number % 2 == 0 => Some(Target::Client(number / 2)),
        Token(number) => Some(Target::Link(number / 2)),
    }
}

/// The token of a client's socket.
pub(super) fn client_token(key: ClientKey) -> Token {
    Token(key.index() * 2)
}

/// The token of a link's socket.
pub(super) fn link_token(key: LinkKey) -> Token {
    Token(key.index() * 2 + 1)
}
