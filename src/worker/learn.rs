//! Scripts are learned from the requests that bring their bodies, once the reply shows that the server took them: not
//! from one that its user may not run, that does not compile, or that a transaction did not come to.

use super::client::Mode;
use super::edit::Edit;
use super::requests::{Outcome, Verdict};
use super::sent::Kind;
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::Handling;
use crate::resp::{Arguments, Request};

impl Worker {
    /// The body that a request brings.
    pub(super) fn body<'a>(verdict: Verdict, request: &Request, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match verdict.handling {
            Handling::Eval if request.argc > 1 => Some(&bytes[request.second.clone()]),
            Handling::ScriptLoad if request.argc == 3 => Arguments::of(bytes).nth(2),
            _ => None,
        }
    }

    /// What is to be done when the reply to a request with that body comes.
    pub(super) fn teaches(&mut self, body: &[u8], everywhere: bool) -> Edit {
        if self.scripts.is_told(body) {
            return Edit::None;
        }
        Edit::Teaches {
            body: body.into(),
            everywhere,
        }
    }

    /// A request that brings a body, on a client's own connection. `None`: it brings none that is new.
    pub(super) fn learn_on_lease(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        verdict: Verdict,
        body: &[u8],
        bytes: &[u8],
    ) -> Option<Outcome> {
        let mut edit = self.teaches(body, false);
        if edit == Edit::None {
            return None;
        }
        let bound = self.settings.limits.scripts;
        let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return None;
        };
        if lease.multi {
            lease.queued += 1;
            let held: usize = lease.bodies.iter().map(|body| body.len()).sum();
            if lease.bodies.len() < MOST_BODIES && held + body.len() <= bound {
                lease.bodies.push(body.into());
            }
            edit = Edit::None;
        }
        self.count_on(link, verdict.class);
        self.send_own(key, link, Kind::Writes, 1, bytes, edit);
        Some(Outcome::Done)
    }

    /// The reply to a request with that body is no error, or one of the script's own.
    pub(super) fn learn(&mut self, key: ClientKey, body: &[u8], everywhere: bool) {
        self.scripts.learn(body);
        if everywhere {
            self.load_on_others(key, body);
        }
    }

    /// The last line of EXEC's reply, which is no error, came on a client's own connection.
    pub(super) fn learn_from_transaction(&mut self, key: ClientKey, end: &[u8]) {
        let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return;
        };
        let bodies = std::mem::take(&mut lease.bodies);
        // A null: what was watched was touched, and nothing ran.
        if end != b"*-1\r\n" && end != b"_\r\n" {
            for body in bodies {
                self.scripts.learn(&body);
            }
        }
    }
}

/// Bodies in one transaction that are learned at most.
const MOST_BODIES: usize = 256;

/// Whether an error came from within a script rather than in place of it: those name the script.
pub(super) fn is_of_script(error: &[u8], body: &[u8]) -> bool {
    let name = sha1_smol::Sha1::from(body).digest().to_string();
    memchr::memmem::find(error, name.as_bytes()).is_some()
}
