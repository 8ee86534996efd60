//! A transaction or a watch whose connection was cut: the client stays, and is answered as a server would that has
//! already decided against its EXEC.

use super::client::{Aborted, Mode};
use super::requests::{Outcome, Verdict};
use super::slots::ClientKey;
use super::texts;
use super::turn::Worker;
use crate::commands::{Class, ClientHandling, Handling};
use crate::resp::Request;

/// The reply to an EXEC whose watched keys were touched.
pub(super) fn touched(resp3: bool) -> &'static [u8] {
    if resp3 { b"_\r\n" } else { b"*-1\r\n" }
}

/// Whether that is what EXEC was answered: nothing of it ran.
pub(super) fn is_touched(reply: &[u8]) -> bool {
    [false, true].iter().any(|resp3| reply == touched(*resp3))
}

impl Worker {
    /// A connection is gone with what its client had begun on it.
    pub(super) fn abort(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Mode::Leased(lease) = &mut client.mode else {
            return;
        };
        if lease.multi {
            let guarded = lease.transcripts.last().is_some_and(|last| last.guarded);
            client.aborted = Aborted::Multi { guarded };
        } else if lease.watching {
            client.aborted = Aborted::Watch;
        }
        (lease.multi, lease.watching) = (false, false);
        lease.transcripts.clear();
        lease.changes.clear();
        lease.bodies.clear();
    }

    /// A request of a client whose transaction or watch is gone. `None`: it is treated like any other.
    pub(super) fn in_aborted(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
    ) -> Option<Outcome> {
        let client = self.clients.get_mut(key)?;
        let (resp3, argc) = (client.session.resp3, request.argc);
        let (state, reply): (Aborted, &[u8]) = match (client.aborted, verdict.handling) {
            (Aborted::No, _) | (_, Handling::Quit) => return None,
            (_, Handling::Reset) if argc == 1 => {
                client.aborted = Aborted::No;
                return None;
            }
            (Aborted::Watch, Handling::Multi) if argc == 1 => (Aborted::Multi { guarded: true }, b"+OK\r\n"),
            (Aborted::Watch, Handling::Watch) if argc > 1 => (Aborted::Watch, b"+OK\r\n"),
            (Aborted::Watch, Handling::Unwatch) | (Aborted::Multi { .. }, Handling::Discard) if argc == 1 => {
                (Aborted::No, b"+OK\r\n")
            }
            (Aborted::Watch, handling) => {
                let tunnel = matches!(verdict.class, Class::Pubsub | Class::Stream)
                    || handling == Handling::Client(ClientHandling::Tracking);
                if !tunnel {
                    return None;
                }
                // There the server would answer EXEC, and knows of no watch.
                self.close_when_flushed(key);
                return Some(Outcome::Done);
            }
            (Aborted::Multi { guarded: true }, Handling::Exec) => (Aborted::No, touched(resp3)),
            (Aborted::Multi { .. }, Handling::Exec) => {
                client.aborted = Aborted::No;
                self.answer_error(key, texts::CUT_OFF);
                return Some(self.counted(verdict));
            }
            // As multiCommand and watchCommand do in Redis's multi.c.
            (state, Handling::Multi) => (state, b"-ERR MULTI calls can not be nested\r\n"),
            (state, Handling::Watch) => (state, b"-ERR WATCH inside MULTI is not allowed\r\n"),
            (state, _) => (state, b"+QUEUED\r\n"),
        };
        client.aborted = state;
        self.answer(key, reply);
        Some(self.counted(verdict))
    }
}
