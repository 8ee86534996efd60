//! CLIENT LIST, KILL and UNBLOCK: about the clients of every worker.
//!
//! First the master judges the request, in the client's name and in a form that can hit nobody: permission, syntax and
//! unknown users are answered in its own words, whatever its version. Then every worker is asked by mail, since they
//! share nothing, and the answers are merged. The client's later requests wait for that.

use std::sync::Arc;
use std::time::Duration;

use super::client::{Mode, Stall};
use super::edit::Edit;
use super::judged::Put;
use super::look_up;
use super::mailbox::Mail;
use super::owed::BatchId;
use super::question::{Answer, Ask, Call, Purpose, Question, Roll};
use super::requests::{Outcome, Verdict};
use super::sent::{Kind, Sent};
use super::slots::{ClientKey, LinkKey};
use super::texts;
use super::turn::Worker;
use crate::commands::ClientHandling;
use crate::resp::{Arguments, write};

/// A worker answers within a turn; one that takes this long has ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of a reply that is no error nothing is needed but its beginning.
const LOOK: usize = 64;

impl Worker {
    /// Begins with CLIENT LIST, KILL or UNBLOCK.
    pub(super) fn call_roll(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        of_client: ClientHandling,
        bytes: &[u8],
    ) -> Outcome {
        if self.owes(key) {
            return self.stall(key, Stall::Owed);
        }
        let arguments: Vec<&[u8]> = Arguments::of(bytes).skip(2).collect();
        let Some(put) = Put::of(of_client, &arguments) else {
            return Outcome::Plain;
        };
        let Some(profile) = self.clients.get(key).map(|client| client.session.profile) else {
            return Outcome::Done;
        };
        let link = self
            .route
            .master
            .and_then(|master| self.shared_link(master, profile));
        let Some(link) = link else {
            let told = self.without_node(key, 1, true);
            return if told { Outcome::Done } else { Outcome::Stalled };
        };
        let Some(client) = self.clients.get_mut(key) else {
            return Outcome::Done;
        };
        client.node_since = None;
        let silent = client.session.takes_silence();
        let batch = client.owed.expect(1, silent);
        // What follows waits: it may be that the client is closed by this.
        client.stall = Stall::Owed;
        let roll = self.roll(key, batch, put.question, put.old_form);
        self.ask(key, link, roll.number, Purpose::Judge(roll), &put.judged);
        self.counted(verdict)
    }

    /// A request's question that nobody has answered yet.
    pub(super) fn roll(
        &mut self,
        client: ClientKey,
        batch: BatchId,
        question: Option<Question>,
        old_form: bool,
    ) -> Roll {
        Roll {
            number: self.next_question(),
            client,
            batch,
            question,
            looked_up: false,
            old_form,
            resp3: false,
            left: 0,
            answer: Answer::default(),
            until: self.now + PATIENCE,
        }
    }

    /// A number that no other question under way has.
    pub(super) fn next_question(&mut self) -> u32 {
        self.questions = self.questions.wrapping_add(1);
        self.questions
    }

    /// Asks the master something of the ambassador's own; the reply comes to `heard`.
    pub(super) fn ask(
        &mut self,
        client: ClientKey,
        link: LinkKey,
        number: u32,
        purpose: Purpose,
        words: &[&[u8]],
    ) {
        let mut request = Vec::new();
        write::request(&mut request, words.iter().copied());
        self.asks.push(Ask {
            number,
            reply: Vec::new(),
            purpose,
        });
        let sent = Sent::own(client, &request, Kind::Asked(number), Edit::None, self.now);
        self.put(link, &request, sent);
    }

    /// A part of a reply came to something that was asked.
    pub(super) fn hear(&mut self, number: u32, bytes: &[u8]) {
        if let Some(ask) = self.asks.iter_mut().find(|ask| ask.number == number) {
            let most = match ask.purpose {
                Purpose::Lines(_) => look_up::MOST_BYTES,
                _ if ask.reply.starts_with(b"-") => usize::MAX,
                _ => LOOK,
            };
            if ask.reply.len() < most {
                ask.reply.extend_from_slice(bytes);
            }
        }
    }

    /// The whole reply came, or (`lost`) none will.
    pub(super) fn heard(&mut self, number: u32, lost: bool) {
        let Some(at) = self.asks.iter().position(|ask| ask.number == number) else {
            return;
        };
        let ask = self.asks.swap_remove(at);
        match ask.purpose {
            Purpose::Judge(roll) if lost => self.answer_roll(&roll, &error(texts::NO_MASTER)),
            Purpose::Judge(roll) => self.judged(roll, &ask.reply),
            Purpose::Lines(mut roll) => {
                if !lost && ask.reply.len() < look_up::MOST_BYTES {
                    look_up::tell(&mut roll.answer.seen, &ask.reply);
                }
                self.finish_roll(roll);
            }
            Purpose::Unblock { question, from } => {
                let answer = Answer {
                    number: question,
                    count: u64::from(!lost && ask.reply.starts_with(b":1")),
                    ..Answer::default()
                };
                self.say(from, answer);
            }
        }
    }

    /// The master has judged the request: its error is the client's, else every worker is asked.
    pub(super) fn judged(&mut self, mut roll: Roll, reply: &[u8]) {
        roll.resp3 = reply.starts_with(b"=");
        // The old form says that nobody has that address, which is as meant.
        let good = if roll.old_form {
            reply.starts_with(b"-ERR No such client\r\n")
        } else {
            !reply.starts_with(b"-")
        };
        if !good {
            return self.answer_roll(&roll, reply);
        }
        let Some(question) = roll.question.clone() else {
            return self.answer_roll(&roll, &error(texts::NO_FILTER));
        };
        let Some(asker) = self.clients.get(roll.client).map(|client| client.session.id) else {
            return;
        };
        let call = Arc::new(Call {
            number: roll.number,
            from: self.own_place,
            asker,
            question,
        });
        let asked = self
            .peers
            .iter()
            .enumerate()
            .filter(|(place, peer)| *place != self.own_place && peer.send(Mail::Call(Arc::clone(&call))))
            .count();
        roll.left = 1 + asked;
        roll.until = self.now + PATIENCE;
        self.rolls.push(roll);
        self.hurried = true;
        self.called(&call, None);
    }

    /// Another worker's question.
    pub(super) fn called_by_peer(&mut self, call: &Call) {
        self.called(call, Some(call.from));
    }

    fn called(&mut self, call: &Call, from: Option<usize>) {
        let mut answer = Answer {
            number: call.number,
            ..Answer::default()
        };
        match &call.question {
            Question::List(filter) | Question::Kill(filter) => {
                let kill = matches!(call.question, Question::Kill(_));
                for key in self.clients.keys() {
                    let Some(seen) = self.seen(key).filter(|seen| filter.matches(seen, call.asker)) else {
                        continue;
                    };
                    answer.count += 1;
                    if !kill {
                        answer.seen.push(seen);
                    } else if seen.id == call.asker {
                        // It is told first.
                        self.leave(key);
                    } else {
                        self.close_client(key);
                    }
                }
            }
            Question::Unblock { id, error } => {
                if self.unblock(*id, *error, call.number, from) {
                    return;
                }
            }
        }
        self.say(from, answer);
    }

    /// Asks the master to unblock a client's own connection. False: no client with that id can be blocked here.
    fn unblock(&mut self, id: u64, error: bool, question: u32, from: Option<usize>) -> bool {
        let found = self
            .clients
            .keys()
            .into_iter()
            .find(|key| {
                self.clients
                    .get(*key)
                    .is_some_and(|client| client.session.id == id)
            })
            .filter(|key| self.is_blocked(*key) || self.is_tunnelled(*key));
        let lease = found
            .and_then(|key| self.clients.get(key)?.lease())
            .and_then(|lease| self.links.get(lease))
            .and_then(|link| Some((link.node, link.upstream_id?)));
        let (Some(key), Some((node, upstream))) = (found, lease) else {
            return false;
        };
        let Some(link) = self.shared_link(node, self.plain) else {
            return false;
        };
        let reason: &[u8] = if error { b"ERROR" } else { b"TIMEOUT" };
        let number = self.next_question();
        let upstream = upstream.to_string();
        self.ask(
            key,
            link,
            number,
            Purpose::Unblock { question, from },
            &[b"CLIENT", b"UNBLOCK", upstream.as_bytes(), reason],
        );
        true
    }

    fn say(&mut self, to: Option<usize>, answer: Answer) {
        match to {
            None => self.answered_by(answer),
            Some(place) => {
                if let Some(peer) = self.peers.get(place) {
                    peer.send(Mail::Answer(answer));
                }
            }
        }
    }

    /// A worker's answer, this one's own included.
    pub(super) fn answered_by(&mut self, answer: Answer) {
        let Some(at) = self.rolls.iter().position(|roll| roll.number == answer.number) else {
            return;
        };
        let roll = &mut self.rolls[at];
        roll.left = roll.left.saturating_sub(1);
        roll.answer.count += answer.count;
        roll.answer.seen.extend(answer.seen);
        if roll.left == 0 {
            self.close_roll(at);
        }
    }

    /// Answers with what there is where a worker has not answered for too long.
    pub(super) fn expire_rolls(&mut self) {
        while let Some(at) = self.rolls.iter().position(|roll| self.now >= roll.until) {
            self.close_roll(at);
        }
    }

    fn close_roll(&mut self, at: usize) {
        let mut roll = self.rolls.swap_remove(at);
        let is_list = matches!(roll.question, Some(Question::List(_)));
        if is_list && !std::mem::replace(&mut roll.looked_up, true) {
            return self.look_up(roll);
        }
        self.finish_roll(roll);
    }

    /// Answers the client.
    pub(super) fn finish_roll(&mut self, mut roll: Roll) {
        let mut reply = Vec::new();
        match &roll.question {
            Some(Question::List(filter)) => {
                // Valkey 8.1, which brought the field, lists each client once.
                let as_asked = !self.client_fields().contains(" capa=");
                let mut lines = Vec::new();
                for seen in filter.listed(&mut roll.answer.seen, as_asked) {
                    seen.line(self.client_fields(), &mut lines);
                    lines.push(b'\n');
                }
                write::text(&mut reply, roll.resp3, &lines);
            }
            Some(Question::Kill(_)) if roll.old_form => {
                if roll.answer.count > 0 {
                    reply.extend_from_slice(b"+OK\r\n");
                } else {
                    reply = error("ERR No such client");
                }
            }
            _ => write::integer(&mut reply, roll.answer.count),
        }
        self.answer_roll(&roll, &reply);
    }

    /// Closes a client that has still to be told that it did so itself.
    fn leave(&mut self, key: ClientKey) {
        match self.clients.get_mut(key).map(|client| &mut client.mode) {
            Some(Mode::Tunnel(tunnel)) => tunnel.leaving = true,
            _ => self.close_when_flushed(key),
        }
    }

    fn answer_roll(&mut self, roll: &Roll, reply: &[u8]) {
        if self.is_tunnelled(roll.client) {
            return self.answer_in_tunnel(roll.client, reply.to_vec());
        }
        self.deliver(roll.client, roll.batch, reply, 1);
    }
}

fn error(text: &str) -> Vec<u8> {
    let mut reply = Vec::new();
    write::error(&mut reply, text);
    reply
}
