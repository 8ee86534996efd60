//! A small deterministic server: writes go into a log, reads name their key, some commands wait. It answers in pieces.

use std::collections::HashMap;
use std::time::Duration;

use super::super::wire::Wire;
use super::conn::{Conn, Waits, client_of, complete, id_of, words};
use super::ledger::{Answer, Id, Ledger};
use crate::resp::write;
use crate::simulation::Dice;

const READONLY: &str = "READONLY You can't write against a read only replica.";
const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

/// A server.
#[derive(Debug)]
pub(super) struct Node {
    number: usize,
    pub(super) master: bool,
    pub(super) down_until: Duration,
    pub(super) frozen_until: Duration,
    /// Until when its answers are on their way.
    pub(super) slow_until: Duration,
    pub(super) conns: Vec<Conn>,
    /// Connections that it has ended.
    pub(super) ended: Vec<Conn>,
    log: Vec<Vec<u8>>,
    /// Elements for clients that do not wait yet.
    queues: HashMap<u32, Vec<u32>>,
    next_id: u64,
}

impl Node {
    pub(super) fn new(number: usize) -> Self {
        Node {
            number,
            master: number == 0,
            down_until: Duration::ZERO,
            frozen_until: Duration::ZERO,
            slow_until: Duration::ZERO,
            conns: Vec::new(),
            ended: Vec::new(),
            log: Vec::new(),
            queues: HashMap::new(),
            next_id: 1,
        }
    }

    pub(super) fn accept(&mut self, wire: Wire) {
        wire.grant(64);
        self.conns.push(Conn::new(wire, self.next_id));
        self.next_id += 1;
    }

    /// Takes what the worker wrote into the kernel's buffers, whatever the process does.
    pub(super) fn receive(&mut self, ledger: &mut Ledger) {
        self.conns.retain_mut(|conn| {
            conn.receive(ledger);
            !conn.wire.is_left()
        });
    }

    /// Runs what was received, at most so many commands on each connection.
    pub(super) fn work(&mut self, most: usize, now: Duration, ledger: &mut Ledger) {
        for index in 0..self.conns.len() {
            for _ in 0..most {
                let conn = &mut self.conns[index];
                if let Waits::Pop(_, until) = conn.waits {
                    if now < until {
                        break;
                    }
                    conn.waits = Waits::No;
                    conn.output.extend_from_slice(b"*-1\r\n");
                }
                if conn.closes {
                    break;
                }
                let Some(length) = complete(&conn.input) else {
                    break;
                };
                let request: Vec<u8> = conn.input.drain(..length).collect();
                conn.seen -= length;
                self.run(index, &request, now, ledger);
            }
        }
    }

    fn run(&mut self, index: usize, request: &[u8], now: Duration, ledger: &mut Ledger) {
        let words = words(request);
        ledger.say(|| {
            format!(
                "node {} runs on {}: {}",
                self.number,
                self.conns[index].id,
                String::from_utf8_lossy(&words.join(&b' '))
            )
        });
        let mut reply = Vec::new();
        // What is told late on a client's own connection is told all the same: it goes on until its EXEC is answered.
        let mut answer = None;
        let writes = matches!(words[0], b"RPUSH" | b"BLPOP");
        match words[0] {
            _ if writes && !self.master => {
                self.conns[index].spoiled |= self.conns[index].queued.is_some();
                if let [b"RPUSH", b"log", id] = words[..] {
                    self.conns[index].refused.insert(id_of(id).0, id_of(id));
                }
                write::error(&mut reply, READONLY);
            }
            b"GET" => answer = Some(Answer::Read(self.read(index, words[1], &mut reply, ledger))),
            b"RPUSH" if words[1] == b"string" => {
                // It does nothing, and is answered for all that: nobody may ask for it again.
                ledger.run(id_of(words[2]), self.number);
                write::error(&mut reply, WRONGTYPE);
            }
            b"RPUSH" => {
                let conn = &mut self.conns[index];
                if let Some(queued) = &mut conn.queued {
                    queued.push(words[2].to_vec());
                    reply.extend_from_slice(b"+QUEUED\r\n");
                } else {
                    answer = (!conn.own).then(|| Answer::Write(id_of(words[2])));
                    self.append(words[2], &mut reply, ledger);
                }
            }
            // A replica takes it as well.
            b"PUBLISH" => {
                ledger.run(id_of(words[2]), self.number);
                write::integer(&mut reply, 1);
            }
            b"MULTI" => {
                (self.conns[index].queued, self.conns[index].spoiled) = (Some(Vec::new()), false);
                reply.extend_from_slice(b"+OK\r\n");
            }
            b"EXEC" => self.exec(index, &mut reply, ledger),
            b"BLPOP" => {
                let client = client_of(words[1]);
                let element = self.queues.get_mut(&client).and_then(Vec::pop);
                if let Some(element) = element {
                    let answered = self.conns[index].output.is_empty();
                    give(element, client, &mut reply, answered, ledger);
                } else {
                    let seconds = std::str::from_utf8(words[2])
                        .ok()
                        .and_then(|text| text.parse().ok());
                    let until = now + Duration::from_secs_f64(seconds.unwrap_or(1.0));
                    self.conns[index].waits = Waits::Pop(client, until);
                }
            }
            b"CLIENT" if words[1] == b"ID" => {
                self.conns[index].own = true;
                write::integer(&mut reply, self.conns[index].id);
            }
            b"CLIENT" if words[1] == b"UNBLOCK" => {
                let id = std::str::from_utf8(words[2])
                    .ok()
                    .and_then(|text| text.parse::<u64>().ok());
                let waiting = self
                    .conns
                    .iter_mut()
                    .find(|conn| Some(conn.id) == id && matches!(conn.waits, Waits::Pop(..)));
                write::integer(&mut reply, u64::from(waiting.is_some()));
                if let Some(conn) = waiting {
                    conn.waits = Waits::No;
                    write::error(&mut conn.output, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
                }
            }
            _ => ledger.breaks(format!("unexpected: {}", String::from_utf8_lossy(request))),
        }
        let conn = &mut self.conns[index];
        conn.output.extend(reply);
        if let Some(answer) = answer {
            conn.answers(answer);
        }
    }

    fn read(&self, index: usize, key: &[u8], reply: &mut Vec<u8>, ledger: &mut Ledger) -> u64 {
        let name = key.strip_prefix(b"list.").unwrap_or(key);
        let refused = self.conns[index].refused.get(&id_of(name).0);
        let when = ledger.read(id_of(name), refused.copied());
        if name.len() < key.len() {
            write::error(reply, format!("{WRONGTYPE} at {when}"));
        } else {
            let value = format!("value of {} at {when}", String::from_utf8_lossy(key));
            write::bulk(reply, value.as_bytes());
        }
        when
    }

    fn append(&mut self, id: &[u8], reply: &mut Vec<u8>, ledger: &mut Ledger) {
        ledger.write(id_of(id), self.number);
        self.log.push(id.to_vec());
        write::integer(reply, self.log.len() as u64);
    }

    fn exec(&mut self, index: usize, reply: &mut Vec<u8>, ledger: &mut Ledger) {
        let conn = &mut self.conns[index];
        let Some(queued) = conn.queued.take() else {
            return write::error(reply, "ERR EXEC without MULTI");
        };
        if conn.spoiled {
            return write::error(
                reply,
                "EXECABORT Transaction discarded because of previous errors.",
            );
        }
        if !self.master && !queued.is_empty() {
            return write::error(
                reply,
                format!("EXECABORT Transaction discarded because of: {READONLY}"),
            );
        }
        reply.extend_from_slice(format!("*{}\r\n", queued.len()).as_bytes());
        for id in queued {
            self.append(&id, reply, ledger);
        }
    }

    /// Somebody else pushes an element.
    pub(super) fn push(&mut self, element: u32, client: u32, ledger: &mut Ledger) {
        let waits = |conn: &&mut Conn| {
            !conn.wire.is_left() && matches!(conn.waits, Waits::Pop(of, _) if of == client)
        };
        match self.conns.iter_mut().find(waits) {
            Some(conn) => {
                conn.waits = Waits::No;
                let answered = conn.output.is_empty();
                give(element, client, &mut conn.output, answered, ledger);
            }
            None => self.queues.entry(client).or_default().push(element),
        }
    }

    /// It is a replica from now on (`disconnectAllBlockedClients` in blocked.c).
    pub(super) fn demote(&mut self) {
        self.master = false;
        for conn in &mut self.conns {
            if matches!(conn.waits, Waits::Pop(..)) {
                (conn.waits, conn.closes) = (Waits::No, true);
                write::error(
                    &mut conn.output,
                    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
                );
            }
        }
    }

    /// It is master from now on, with what it had got of another one.
    pub(super) fn promote(&mut self, other: &Node, all: bool, missing: usize) {
        self.master = true;
        let got = if all {
            other.log.len()
        } else {
            other.log.len().saturating_sub(missing)
        };
        self.log = other.log[..got].to_vec();
        self.queues.clone_from(&other.queues);
    }

    /// The writes that its history holds.
    pub(super) fn history(&self) -> impl Iterator<Item = Id> {
        self.log.iter().map(|id| id_of(id))
    }

    /// The process ends; connections break.
    pub(super) fn crash(&mut self, ledger: &mut Ledger) {
        self.receive(ledger);
        for conn in self.conns.drain(..) {
            conn.wire.cut();
            self.ended.push(conn);
        }
    }

    /// One of its connections breaks or ends, wherever it is. False: it has none.
    pub(super) fn lose_one(&mut self, dice: &mut Dice, ledger: &mut Ledger) -> bool {
        self.receive(ledger);
        if self.conns.is_empty() {
            return false;
        }
        let mut conn = self.conns.swap_remove(dice.index(self.conns.len()));
        // A reset takes with it what has not been read.
        let bytes = dice.index(conn.output.len() + 1);
        conn.answer(bytes, self.number, ledger);
        if dice.once_in(2) {
            conn.wire.cut();
        } else {
            conn.wire.end();
        }
        self.ended.push(conn);
        true
    }

    /// The kernel takes more of what the worker writes.
    pub(super) fn open_windows(&mut self, dice: &mut Dice) {
        for conn in &self.conns {
            if !conn.wire.has_room() {
                conn.wire.grant(dice.index(400) + 1);
            }
        }
    }

    /// Answers leave, so many bytes of each connection at most.
    pub(super) fn answer(&mut self, ledger: &mut Ledger, mut most: impl FnMut(usize) -> usize) {
        for conn in &mut self.conns {
            let bytes = most(conn.output.len());
            conn.answer(bytes, self.number, ledger);
        }
        let over = |conn: &mut Conn| conn.closes && conn.output.is_empty();
        for conn in self.conns.extract_if(.., over) {
            conn.wire.end();
            self.ended.push(conn);
        }
    }
}

fn give(element: u32, client: u32, reply: &mut Vec<u8>, answered: bool, ledger: &mut Ledger) {
    ledger.pop(element, client, answered);
    reply.extend_from_slice(b"*2\r\n");
    write::bulk(reply, format!("queue.{client}").as_bytes());
    write::bulk(reply, element.to_string().as_bytes());
}
