//! CLIENT and its subcommands: about the ambassador's clients, answered here.

use super::client::Mode;
use super::edit::{Edit, Within};
use super::proof::with_blanks;
use super::requests::{Outcome, Segment, Verdict};
use super::sent::Kind;
use super::session::{ReplyMode, is_name};
use super::slots::{ClientKey, LinkKey};
use super::turn::Worker;
use crate::commands::ClientHandling;
use crate::resp::{Arguments, write};

/// What Redis says of a name with blanks (`clientSetNameOrReply` in networking.c).
const NO_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Replies of one transaction in which a client's own state is put at most; beyond it the server's stands.
const MOST_CHANGES: usize = 4096;

impl Worker {
    /// Deals with a subcommand of CLIENT. What is an error is left to the server, which says so in its own words.
    pub(super) fn client_command(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        of_client: ClientHandling,
        bytes: &[u8],
    ) -> Outcome {
        // One more than any of them takes, so that too many are seen.
        let arguments: Vec<&[u8]> = Arguments::of(bytes).skip(2).take(3).collect();
        self.remember_command(key, b"client", Arguments::of(bytes).nth(1));
        // An older server says itself that it knows neither SETINFO nor NO-TOUCH.
        let is_old = self.is_old_master();
        let Some(client) = self.clients.get_mut(key) else {
            return Outcome::Done;
        };
        match (of_client, &arguments[..]) {
            (ClientHandling::SetInfo, _) if is_old => return Outcome::Plain,
            (ClientHandling::Switch, _) if is_old && is_no_touch(bytes) => return Outcome::Plain,
            (ClientHandling::Id | ClientHandling::GetName | ClientHandling::Info, []) => {
                let reply = self.about_itself(key, of_client).unwrap_or_default();
                self.answer(key, &reply);
            }
            (ClientHandling::SetName, [name]) => {
                if is_name(name) {
                    client.session.names().name = name.to_vec();
                    self.answer(key, b"+OK\r\n");
                } else {
                    self.answer_error(key, NO_NAME);
                }
            }
            (ClientHandling::SetInfo, [what, value]) => {
                let names = client.session.names();
                match what.to_ascii_lowercase().as_slice() {
                    b"lib-name" if is_name(value) => names.library = value.to_vec(),
                    b"lib-ver" if is_name(value) => names.version = value.to_vec(),
                    _ => return Outcome::Plain,
                }
                self.answer(key, b"+OK\r\n");
            }
            (ClientHandling::Switch, [switch])
                if switch.eq_ignore_ascii_case(b"on") || switch.eq_ignore_ascii_case(b"off") =>
            {
                let on = switch.eq_ignore_ascii_case(b"on");
                let names = client.session.names();
                if is_no_touch(bytes) {
                    names.no_touch = on;
                } else {
                    names.no_evict = on;
                }
                self.answer(key, b"+OK\r\n");
            }
            (ClientHandling::Capa, [_, ..]) => {
                let mut capabilities = Arguments::of(bytes).skip(2);
                if capabilities.any(|name| name.eq_ignore_ascii_case(b"redirect")) {
                    client.session.names().redirects = true;
                }
                // Whether there is such a subcommand is the server's to say; no capability has a blank for a name.
                let request = with_blanks(bytes);
                let mut segment = Segment::default();
                segment.add(verdict.class, request.len());
                return if self.dispatch(key, &segment, &request) {
                    Outcome::Done
                } else {
                    Outcome::Stalled
                };
            }
            (ClientHandling::Pause | ClientHandling::Unpause, _) => {
                return self.pause_or_go_on(key, verdict, of_client, bytes);
            }
            (ClientHandling::Reply, [mode]) => match mode.to_ascii_lowercase().as_slice() {
                b"on" => {
                    client.session.reply = ReplyMode::On;
                    self.answer(key, b"+OK\r\n");
                }
                b"off" => client.session.reply = ReplyMode::Off,
                b"skip" if client.session.reply == ReplyMode::Off => {}
                b"skip" => client.session.reply = ReplyMode::Skip,
                _ => return Outcome::Plain,
            },
            (ClientHandling::Tracking, [switch, ..]) if switch.eq_ignore_ascii_case(b"on") => {
                return self.open_tunnel(key);
            }
            (ClientHandling::List | ClientHandling::Kill | ClientHandling::Unblock, _) => {
                return self.call_roll(key, verdict, of_client, bytes);
            }
            _ => return Outcome::Plain,
        }
        self.counted(verdict)
    }

    /// The same inside a transaction, on the client's own connection: the server permits it, queues it and answers it,
    /// and where it speaks of its connection the client's own state stands in EXEC's reply.
    pub(super) fn client_command_in_transaction(
        &mut self,
        key: ClientKey,
        link: LinkKey,
        verdict: Verdict,
        of_client: ClientHandling,
        bytes: &[u8],
    ) -> Outcome {
        let text = match of_client {
            ClientHandling::Id | ClientHandling::GetName | ClientHandling::Info => {
                self.about_itself(key, of_client)
            }
            ClientHandling::List
            | ClientHandling::TrackingState
            | ClientHandling::Pause
            | ClientHandling::Unpause => None,
            // What it does to its connection when EXEC comes must not outlast this client.
            _ => return self.open_tunnel(key),
        };
        if let Some(Mode::Leased(lease)) = self.clients.get_mut(key).map(|client| &mut client.mode) {
            if let Some(text) = &text
                && lease.changes.len() < MOST_CHANGES
            {
                lease.changes.push((lease.queued, Within::Instead(text.clone())));
            }
            lease.queued += 1;
        }
        self.count_on(link, verdict.class);
        let edit = text.map_or(Edit::None, Edit::Instead);
        self.send_own(key, link, Kind::Writes, 1, bytes, edit);
        Outcome::Done
    }

    /// What CLIENT ID, GETNAME or INFO say.
    fn about_itself(&mut self, key: ClientKey, of_client: ClientHandling) -> Option<Box<[u8]>> {
        let client = self.clients.get(key)?;
        let mut reply = Vec::new();
        match of_client {
            ClientHandling::Id => write::integer(&mut reply, client.session.id),
            ClientHandling::GetName => match client.session.name() {
                [] => write::null(&mut reply, client.session.resp3),
                name => write::bulk(&mut reply, name),
            },
            _ => {
                let seen = self.seen(key)?;
                let mut line = Vec::new();
                seen.line(self.client_fields(), &mut line);
                line.push(b'\n');
                write::text(&mut reply, seen.resp3, &line);
            }
        }
        Some(reply.into())
    }
}

fn is_no_touch(request: &[u8]) -> bool {
    let second = Arguments::of(request).nth(1);
    second.is_some_and(|name| name.eq_ignore_ascii_case(b"no-touch"))
}
