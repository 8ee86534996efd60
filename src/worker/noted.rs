//! What requests in a tunnel mean for those after them: transactions, CLIENT REPLY and CLIENT CACHING, which the server
//! keeps to itself there.

use super::client::{Mode, Tunnel};
use super::mend::Refused;
use super::session::ReplyMode;
use super::slots::ClientKey;
use super::turn::Worker;
use crate::commands::{ClientHandling, Handling};
use crate::resp::Arguments;

/// What a request in a tunnel is to the server.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    /// A transaction begins here, unless it is refused.
    pub(super) begins: bool,
    /// Whether a reply comes to it.
    pub(super) mode: ReplyMode,
    /// Where a reply begins cannot be told.
    muddled: bool,
    /// It comes right behind CLIENT CACHING, which is about the very next command: a mark must not be that.
    pub(super) cached: bool,
}

impl Noted {
    /// Whether no reply comes to it, or none whose beginning can be told.
    pub(super) fn is_silent(self) -> bool {
        self.mode != ReplyMode::On || self.muddled
    }
}

impl Worker {
    /// Keeps in mind what one request in a tunnel means for those after it. `whole`: its bytes; `None`: it is too large
    /// to be gathered, and so has more arguments than those take that mean anything.
    pub(super) fn note_request(&mut self, key: ClientKey, handling: Handling, whole: Option<&[u8]>) -> Noted {
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return Noted::default();
        };
        let begins = note_transaction(tunnel, handling, whole);
        let caching = handling == Handling::Client(ClientHandling::Caching) && whole.is_some_and(is_switch);
        let noted = Noted {
            begins,
            mode: tunnel.reply,
            muddled: tunnel.muddled,
            cached: std::mem::replace(&mut tunnel.caching, caching),
        };
        if tunnel.reply == ReplyMode::Skip {
            tunnel.reply = ReplyMode::On;
        }
        if handling == Handling::Client(ClientHandling::Reply)
            && let Some(request) = whole
        {
            note_reply_mode(tunnel, request);
        }
        noted
    }
}

/// Keeps in mind whether what follows is queued. True: a transaction begins here, unless it is refused.
fn note_transaction(tunnel: &mut Tunnel, handling: Handling, whole: Option<&[u8]>) -> bool {
    match tunnel.mends.take_refused() {
        Some(Refused::Multi(number)) if number == tunnel.begun => tunnel.multi = false,
        Some(Refused::Names) => tunnel.unnamed = true,
        _ => {}
    }
    let alone = whole.is_some_and(|request| Arguments::of(request).take(2).count() == 1);
    match handling {
        Handling::Multi if alone && !tunnel.multi => {
            tunnel.multi = true;
            tunnel.begun = tunnel.begun.wrapping_add(1);
            return true;
        }
        Handling::Discard if alone => tunnel.multi = false,
        // With arguments it still ends the transaction (`rejectCommand` in Redis's server.c).
        Handling::Exec => tunnel.multi = false,
        _ => {}
    }
    false
}

/// Whether a CLIENT CACHING says yes or no, and nothing else.
fn is_switch(request: &[u8]) -> bool {
    let mut arguments = Arguments::of(request).skip(2);
    let switch = arguments.next().map(<[u8]>::to_ascii_lowercase);
    matches!(switch.as_deref(), Some(b"yes" | b"no")) && arguments.next().is_none()
}

/// Keeps in mind whether the server answers what comes next. In a transaction that is not known before EXEC, whose
/// reply then has fewer parts than it says.
fn note_reply_mode(tunnel: &mut Tunnel, request: &[u8]) {
    let mode = Arguments::of(request).nth(2).map(<[u8]>::to_ascii_lowercase);
    match mode.as_deref() {
        Some(b"on" | b"off" | b"skip") if tunnel.multi => tunnel.muddled = true,
        Some(b"on") => tunnel.reply = ReplyMode::On,
        Some(b"off") => tunnel.reply = ReplyMode::Off,
        Some(b"skip") if tunnel.reply == ReplyMode::On => tunnel.reply = ReplyMode::Skip,
        _ => {}
    }
}
