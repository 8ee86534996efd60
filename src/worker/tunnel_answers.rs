//! What the ambassador itself answers in a tunnel, in its place among the server's replies: what is refused, and CLIENT
//! LIST, INFO, KILL and UNBLOCK, which are about the ambassador's clients.

use rand::RngExt;

use super::client::{Mode, Stall};
use super::judged::Put;
use super::mend::Mend;
use super::question::Purpose;
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::tunnel_requests::Next;
use super::turn::Worker;
use crate::commands::{Class, ClientHandling, Handling};
use crate::resp::{Arguments, write};
use crate::stats::Fault;

impl Worker {
    /// Tells the client an error. `silent`: the server would not answer now, and no reply is expected.
    pub(super) fn say_in_tunnel(&mut self, key: ClientKey, link: LinkKey, text: &str, silent: bool) {
        let mut error = Vec::new();
        write::error(&mut error, text);
        self.stats.errors[Fault::Us as usize].add(1);
        self.put_in_place(key, link, error, silent);
    }

    /// Answers what the client waits for.
    pub(super) fn answer_in_tunnel(&mut self, key: ClientKey, reply: Vec<u8>) {
        if let Some(link) = self.clients.get(key).and_then(super::client::Client::lease) {
            self.put_in_place(key, link, reply, false);
            self.unstall(key, Stall::None);
        }
    }

    fn put_in_place(&mut self, key: ClientKey, link: LinkKey, reply: Vec<u8>, silent: bool) {
        let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) else {
            return;
        };
        let nonce = rand::rng().random();
        // Whether it is silent is for the server to say, which may have refused CLIENT REPLY.
        let expected = !silent || !tunnel.mends.is_doubtful();
        let placeholder = expected.then(|| tunnel.mends.placeholder(nonce, reply, tunnel.leaving));
        self.count_passed(key, Class::Refused, Handling::Forward, None);
        self.pass(
            link,
            &placeholder.flatten().unwrap_or_else(texts::unknown_command),
        );
    }

    /// Begins with CLIENT LIST, INFO, KILL or UNBLOCK, once the master has judged it on the client's own connection: who it is
    /// there, and whether it may say so now, only that knows. `None`: the request is another one, or the server's.
    pub(super) fn roll_in_tunnel(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        handling: Handling,
        silent: bool,
        bytes: &[u8],
    ) -> Option<Next> {
        let Handling::Client(of_client) = handling else {
            return None;
        };
        let client = self.clients.get_mut(key)?;
        let arguments: Vec<&[u8]> = Arguments::of(bytes).skip(2).collect();
        let put = match of_client {
            ClientHandling::Info if arguments.is_empty() => Put::info(client.session.id),
            _ => Put::of(of_client, &arguments)?,
        };
        let Mode::Tunnel(tunnel) = &mut client.mode else {
            return None;
        };
        if tunnel.multi {
            return None;
        }
        let nonce = rand::rng().random();
        let mark = if silent {
            None
        } else {
            tunnel.mends.mark(nonce, Mend::Word)
        };
        let Some(mut request) = mark else {
            self.judge_elsewhere(key, put);
            return Some(Next::Later);
        };
        write::request(&mut request, put.judged);
        self.count_passed(key, Class::Any, handling, Some(&request));
        self.pass(link, &request);
        let roll = self.roll(key, 0, put.question, put.old_form);
        if let Some(Mode::Tunnel(tunnel)) = self.clients.get_mut(key).map(|client| &mut client.mode) {
            tunnel.judging = Some(roll);
        }
        self.stall(key, Stall::Owed);
        Some(Next::Later)
    }

    /// The client's own connection does not say what it thinks of the request: the master is asked on another one.
    fn judge_elsewhere(&mut self, key: ClientKey, put: Put) {
        self.stall(key, Stall::Owed);
        let profile = self.clients.get(key).map(|client| client.session.profile);
        let link = self
            .route
            .master
            .zip(profile)
            .and_then(|(master, profile)| self.shared_link(master, profile));
        let roll = self.roll(key, 0, put.question, put.old_form);
        if let Some(link) = link {
            self.ask(key, link, roll.number, Purpose::Judge(roll), &put.judged);
        } else {
            let mut error = Vec::new();
            write::error(&mut error, texts::NO_MASTER);
            self.answer_in_tunnel(key, error);
        }
    }
}
