//! CLIENT and its subcommands: about the ambassador's clients, answered here.

use super::requests::{Outcome, Verdict};
use super::session::{ReplyMode, is_name};
use super::slots::ClientKey;
use super::turn::Worker;
use crate::commands::ClientHandling;
use crate::resp::{Arguments, write};

/// What Redis says of a name with blanks (`clientSetNameOrReply` in networking.c).
const NO_NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

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
            (ClientHandling::Id, []) => {
                let mut reply = Vec::new();
                write::integer(&mut reply, client.session.id);
                self.answer(key, &reply);
            }
            (ClientHandling::GetName, []) => {
                let mut reply = Vec::new();
                match client.session.name() {
                    [] => write::null(&mut reply, client.session.resp3),
                    name => write::bulk(&mut reply, name),
                }
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
                self.answer(key, b"+OK\r\n");
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
            (ClientHandling::Info, []) => self.client_info(key),
            (ClientHandling::List | ClientHandling::Kill | ClientHandling::Unblock, _) => {
                return self.call_roll(key, verdict, of_client, bytes);
            }
            _ => return Outcome::Plain,
        }
        self.counted(verdict)
    }

    fn client_info(&mut self, key: ClientKey) {
        let Some(seen) = self.seen(key) else {
            return;
        };
        let mut line = Vec::new();
        seen.line(self.client_fields(), &mut line);
        line.push(b'\n');
        let mut reply = Vec::new();
        write::text(&mut reply, seen.resp3, &line);
        self.answer(key, &reply);
    }
}

fn is_no_touch(request: &[u8]) -> bool {
    let second = Arguments::of(request).nth(1);
    second.is_some_and(|name| name.eq_ignore_ascii_case(b"no-touch"))
}
