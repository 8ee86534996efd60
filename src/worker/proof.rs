//! What the master has to say before something is answered here: that it takes a login or a link, and that a client's
//! user may run the command at all.

use std::rc::Rc;

use super::client::{Mode, Stall};
use super::edit::Edit;
use super::link::Phase;
use super::profile::{Login, Profile, ProfileId};
use super::requests::{Outcome, Verdict};
use super::sent::{Kind, Sent};
use super::session::Session;
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::Asking;
use crate::resp::{Arguments, write};

/// What is needed before a client's links are set up to something else.
#[derive(Debug, Clone, Copy)]
pub(super) enum Needs<'a> {
    /// Nothing that is not known. RESP3 is: the master has said HELLO 3 to the control plane.
    Nothing,
    /// A link of the new kind, as what it carries out while it is set up is known to work once it is up.
    Link,
    /// The master takes this login.
    Login(&'a Login),
    /// The master says OK to this on a link of the new kind, where it changes nothing.
    Answer(&'a [u8]),
}

/// Whether the master takes links of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proof {
    /// It does.
    Given,
    /// The client is stalled until that is known.
    Awaited,
    /// It could not be asked, and the client has been told.
    Refused,
}

impl Worker {
    /// Changes what the client's links are set up to: waits until nothing is owed, gets what that needs, then changes
    /// the session and answers.
    pub(super) fn transform(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        needs: Needs,
        change: impl Fn(&mut Session),
        reply: impl FnOnce(u64, bool) -> Vec<u8>,
    ) -> Outcome {
        if self.owes(key) {
            return self.stall(key, Stall::Owed);
        }
        let own_login = self.own_login.clone();
        let Some(client) = self.clients.get_mut(key) else {
            return Outcome::Done;
        };
        let stall = std::mem::replace(&mut client.stall, Stall::None);
        if let Stall::Verdict(Err(error)) = stall {
            self.answer(key, &error);
            return self.counted(verdict);
        }
        let session = &mut client.session;
        let before = (
            session.db,
            session.resp3,
            session.login.clone(),
            session.names.clone(),
        );
        change(session);
        let profile = self.profiles.intern(&session.wants(own_login.as_ref()));
        if stall == Stall::None {
            let proof = match needs {
                Needs::Nothing => Proof::Given,
                Needs::Link => self.prove(key, profile),
                Needs::Login(login) => self.prove_login(key, login),
                Needs::Answer(request) => self.prove_by(key, profile, request),
            };
            if proof != Proof::Given {
                if let Some(client) = self.clients.get_mut(key) {
                    (
                        client.session.db,
                        client.session.resp3,
                        client.session.login,
                        client.session.names,
                    ) = before;
                }
                return if proof == Proof::Awaited {
                    Outcome::Stalled
                } else {
                    self.counted(verdict)
                };
            }
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.session.profile = profile;
            client.node_since = None;
            let reply = reply(client.session.id, client.session.resp3);
            self.answer(key, &reply);
        }
        self.counted(verdict)
    }

    /// Asks the master whether a login is right. A link that logged in with it long ago proves nothing: the
    /// password may have changed since.
    fn prove_login(&mut self, key: ClientKey, login: &Login) -> Proof {
        let profile = self.profiles.intern(&Profile {
            login: self.own_login.clone(),
            asks_logins: true,
            ..Profile::default()
        });
        let Some(link) = self.link_to_master(profile) else {
            return self.without_proof(key);
        };
        // From 7.2 on Redis leaves out the reply to a refused login behind others that it has not sent yet: on this
        // link there is never more than one to come.
        if self.links.get(link).is_some_and(|link| !link.pipeline.is_empty()) {
            self.logins.push_back(key);
            self.hurried = true;
            self.stall(key, Stall::Turn);
            return Proof::Awaited;
        }
        self.put_asked(key, link, Kind::Proof, &login.request());
        Proof::Awaited
    }

    /// The verdict on a login came, or none will: the next client's can be asked for.
    pub(super) fn next_login(&mut self) {
        while let Some(key) = self.logins.pop_front() {
            if self
                .clients
                .get(key)
                .is_some_and(|client| client.stall == Stall::Turn)
            {
                return self.unstall(key, Stall::None);
            }
        }
    }

    /// The master's answer to a request on a link of that profile is the proof.
    fn prove_by(&mut self, key: ClientKey, profile: ProfileId, request: &[u8]) -> Proof {
        let Some(link) = self.link_to_master(profile) else {
            return self.without_proof(key);
        };
        self.put_asked(key, link, Kind::Proof, request);
        Proof::Awaited
    }

    fn without_proof(&mut self, key: ClientKey) -> Proof {
        if self.without_node(key, 1, true) {
            Proof::Refused
        } else {
            Proof::Awaited
        }
    }

    /// Makes sure that the master takes links of that profile.
    fn prove(&mut self, key: ClientKey, profile: ProfileId) -> Proof {
        let link = self.link_to_master(profile);
        let Some((link, found)) = link.and_then(|link| Some((link, self.links.get_mut(link)?))) else {
            return self.without_proof(key);
        };
        if found.phase == Phase::Up {
            return Proof::Given;
        }
        found.waiters.push(key);
        self.stall(key, Stall::Link(link));
        Proof::Awaited
    }

    /// Asks the master, in the client's name and in a form that does nothing, whether its user may run a command that
    /// is answered here. `None`: it may, or it is not asked for, as the client is the ambassador's own user.
    pub(super) fn asks_first(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> Option<Outcome> {
        let asking = verdict.handling.asking()?;
        if !self.is_other_user(key) {
            return None;
        }
        let client = self.clients.get(key)?;
        if matches!(&client.mode, Mode::Leased(lease) if lease.multi) {
            // There it is the server that answers.
            return None;
        }
        if self.owes(key) {
            return Some(self.stall(key, Stall::Owed));
        }
        let client = self.clients.get_mut(key)?;
        let profile = client.session.profile;
        match std::mem::replace(&mut client.stall, Stall::None) {
            Stall::Verdict(Ok(())) => return None,
            Stall::Verdict(Err(error)) => {
                self.answer(key, &error);
                return Some(self.counted(verdict));
            }
            _ => {}
        }
        // With nobody to ask it is answered as if it were permitted.
        let link = self.link_to_master(profile)?;
        match asking {
            Asking::AsItIs => self.put_asked(key, link, Kind::Permission, bytes),
            Asking::WithBlanks => self.put_asked(key, link, Kind::Permission, &with_blanks(bytes)),
        }
        Some(Outcome::Stalled)
    }

    /// Whether the client logged in as somebody else than the ambassador does.
    pub(super) fn is_other_user(&self, key: ClientKey) -> bool {
        let login = self
            .clients
            .get(key)
            .and_then(|client| client.session.login.as_ref());
        login.is_some() && login.map(Rc::as_ref) != self.own_login.as_deref()
    }

    fn link_to_master(&mut self, profile: ProfileId) -> Option<LinkKey> {
        self.route
            .master
            .and_then(|master| self.shared_link(master, profile))
    }

    /// Puts a request on a link, whose answer the client waits for as a [`Stall::Verdict`].
    fn put_asked(&mut self, key: ClientKey, link: LinkKey, kind: Kind, request: &[u8]) {
        let sent = Sent::own(key, request, kind, Edit::Whole, self.now);
        self.put(link, request, sent);
        self.stall(key, Stall::Link(link));
    }
}

/// A request with a subcommand, with a blank in the place of each of its arguments.
pub(super) fn with_blanks(request: &[u8]) -> Vec<u8> {
    let words = Arguments::of(request).enumerate();
    let words: Vec<&[u8]> = words
        .map(|(index, word)| if index < 2 { word } else { b" " })
        .collect();
    let mut blank = Vec::new();
    write::request(&mut blank, words);
    blank
}
