//! Runs a program on both sides in lock-step and stops at the first difference.
//!
//! How many replies a step has is the plain server's to say: what came there once it has nothing more to do is
//! what has to come from the other side. So nothing here models subscriptions, CLIENT REPLY or blocking.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use redis_ambassador::commands::{Class, Table};

use crate::connection::{Connection, Ids, is_monitored, with_ids};
use crate::follow::Followers;
use crate::program::{Program, Step, Words};
use crate::scan::scan;
use crate::users;
use crate::wire::{PATIENCE, Wire, encode};

/// What is a difference.
#[derive(Debug, Clone)]
pub(crate) struct Difference {
    /// The step that showed it; the program's length when it was the look at the end.
    pub(crate) step: usize,
    text: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}: {}", self.step + 1, self.text)
    }
}

/// A plain server, the side that should be the same, and the nodes behind that side.
pub(crate) struct Pair {
    plain_port: u16,
    other_port: u16,
    plain: Wire,
    other: Wire,
    master: Wire,
    /// Replicas, to which nothing else is sent.
    replicas: Vec<Wire>,
    followers: Followers,
}

/// A program that runs.
struct Run {
    connections: Vec<Connection>,
    ids: Ids,
    /// A connection may be told something that is no reply to what it sent.
    crossing: bool,
}

impl Pair {
    /// `nodes` are those behind `other_port`, the master first.
    pub(crate) fn new(plain_port: u16, other_port: u16, nodes: &[u16]) -> Self {
        let connect = |port: u16| Wire::connect(port).expect("a server takes a connection");
        let control = |port: u16| {
            let mut wire = connect(port);
            users::make(&mut wire);
            wire
        };
        let (master, replicas) = nodes.split_first().expect("there is a master");
        Self {
            plain_port,
            other_port,
            plain: control(plain_port),
            other: connect(other_port),
            master: control(*master),
            replicas: replicas.iter().map(|port| control(*port)).collect(),
            followers: Followers::new(replicas.iter().map(|port| connect(*port)).collect()),
        }
    }

    /// Runs a program on empty servers.
    pub(crate) fn run(&mut self, program: &Program) -> Result<(), Difference> {
        self.reset();
        let connections = (0..program.connections())
            .map(|_| Connection::open(self.plain_port, self.other_port))
            .collect();
        let mut run = Run {
            connections,
            ids: Ids::default(),
            crossing: program.any(crosses),
        };
        if program.any(is_about_clients) {
            let id = |wire: &mut Wire| number(&wire.ask(&["CLIENT", "ID"]), b":");
            let connections = &mut run.connections;
            run.ids.plain = connections.iter_mut().map(|each| id(&mut each.plain)).collect();
            run.ids.other = connections.iter_mut().map(|each| id(&mut each.other)).collect();
        }
        for (index, step) in program.steps.iter().enumerate() {
            self.step(&mut run, step)
                .map_err(|text| Difference { step: index, text })?;
        }
        // A reply too many shows when the next one is awaited.
        for number in 1..=run.connections.len() {
            let ping = Step::Send(number, vec![vec![b"PING".to_vec()]]);
            self.step(&mut run, &ping).map_err(|text| Difference {
                step: program.steps.len(),
                text: format!("in the end, {text}"),
            })?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        // Not FUNCTION FLUSH: Redis 8.0 crashes on it once in some hundred times.
        let commands: &[&[&str]] = &[
            &["FLUSHALL"],
            &["FUNCTION", "DELETE", "lib"],
            &["SCRIPT", "FLUSH"],
            &["CONFIG", "SET", "notify-keyspace-events", ""],
        ];
        self.plain.ask_all(commands);
        self.other.ask_all(commands);
        for node in [&mut self.master].into_iter().chain(&mut self.replicas) {
            node.ask(&["SCRIPT", "FLUSH"]);
        }
        self.followers.fall_behind();
        // The clients of the program before are gone, and are seen to be gone.
        let end = Instant::now() + PATIENCE;
        for wire in [&mut self.plain, &mut self.master] {
            while !is_left_alone(wire) {
                assert!(
                    Instant::now() < end,
                    "clients of the program before are still there"
                );
                thread::yield_now();
            }
        }
    }

    fn step(&mut self, run: &mut Run, step: &Step) -> Result<(), String> {
        let at = step.connection() - 1;
        let connection = &mut run.connections[at];
        if connection.plain.closed {
            return Ok(());
        }
        let (mut bytes, mut bytes_of_other) = (Vec::new(), None);
        match step {
            Step::Await(_) => return self.wait_unblocked(run),
            Step::Scan(_, words) => {
                self.followers.catch_up(&mut self.master);
                let found = scan(&mut connection.plain, &mut connection.other, words)?;
                if found.contains(&b"+QUEUED\r\n"[..]) {
                    connection.follow_transaction(Some(words.clone()), b"+QUEUED\r\n");
                }
                return Ok(());
            }
            Step::Raw(_, raw) => {
                self.followers.catch_up(&mut self.master);
                connection.untrack();
                bytes.extend_from_slice(raw);
            }
            Step::Send(_, commands) => {
                if commands.iter().any(|words| class(words) == Some(Class::Read)) {
                    self.followers.catch_up(&mut self.master);
                }
                for words in commands {
                    encode(&mut bytes, &with_ids(words, &run.ids.plain));
                    if makes_replies_uneven(words) {
                        connection.untrack();
                    }
                }
                if !run.ids.other.is_empty() {
                    let mut mapped = Vec::new();
                    for words in commands {
                        encode(&mut mapped, &with_ids(words, &run.ids.other));
                    }
                    bytes_of_other = Some(mapped);
                }
                if connection.one_to_one {
                    connection.owed.extend(commands.iter().cloned());
                }
            }
        }
        connection.plain.send(&bytes);
        connection.other.send(bytes_of_other.as_deref().unwrap_or(&bytes));
        self.settle(run, at, bytes.len())?;
        if !is_harmless(step) {
            self.followers.fall_behind();
        }
        Ok(())
    }

    /// Reads what the step has brought on the plain side, and expects it on the other.
    fn settle(&mut self, run: &mut Run, sender: usize, size: usize) -> Result<(), String> {
        let connections = &mut run.connections;
        let end = Instant::now() + PATIENCE;
        let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); connections.len()];
        let answered = answered(&mut connections[sender], &mut expected[sender], end);
        let alone = !run.crossing
            && connections
                .iter()
                .all(|one| one.owed.is_empty() || one.one_to_one);
        let others_owe = |(index, one): (usize, &Connection)| index != sender && !one.owed.is_empty();
        let others_owe = connections.iter().enumerate().any(others_owe);
        let mut is_blocked = false;
        if !answered || !alone || others_owe {
            // The server reads from sockets in rounds and writes at the end of each: once it has answered two
            // requests sent later, it has answered this one, unless that is large, or blocks. One is enough when
            // it has answered: what that brought to others was written in the same round.
            let mut rounds = if answered { 1 } else { 2 + size / 8192 };
            loop {
                for _ in 0..rounds {
                    self.plain.ask(&["PING"]);
                }
                let mut whole = true;
                for (connection, frames) in connections.iter_mut().zip(&mut expected) {
                    connection.plain.pull_now();
                    take_frames(connection, frames);
                    whole &= connection.plain.rest().is_empty();
                }
                let connection = &connections[sender];
                let all = has_all(connection, &expected[sender]);
                // FLUSHDB blocks its client for a moment too (Redis 8), which is no reason to go on without it.
                is_blocked =
                    !all && is_at_blocking(connection, &expected[sender]) && blocked(&mut self.plain) > 0;
                if (whole && (all || is_blocked)) || Instant::now() > end {
                    break;
                }
                rounds = 1;
            }
        }
        for (index, (connection, frames)) in connections.iter_mut().zip(expected).enumerate() {
            if index == sender || !frames.is_empty() || connection.plain.closed || run.crossing {
                connection
                    .expect(frames, &run.ids)
                    .map_err(|text| format!("connection {}: {text}", index + 1))?;
            }
        }
        if Instant::now() > end {
            // A server may owe a reply for good (see `races`), which is not waited for with every step from here on.
            connections[sender].untrack();
        }
        connections[sender].one_to_one = true;
        if is_blocked {
            // Asked again each time: a short time-out may end meanwhile, on one side first.
            while blocked(&mut self.master) != blocked(&mut self.plain) {
                if Instant::now() > end {
                    return Err("not as many clients are blocked as on a plain server".to_owned());
                }
                thread::yield_now();
            }
        }
        Ok(())
    }

    fn wait_unblocked(&mut self, run: &mut Run) -> Result<(), String> {
        let begun = Instant::now();
        // The master is asked too: a server that has nothing to do looks at its time-outs ten times a second only.
        while blocked(&mut self.plain) + blocked(&mut self.master) > 0 && begun.elapsed() < PATIENCE {
            if begun.elapsed() > LONG {
                // Whom nobody has released would go on waiting for seconds. The reply is that of a time-out.
                unblock(&mut self.plain);
                unblock(&mut self.master);
            }
            thread::sleep(Duration::from_micros(200));
        }
        let was = std::mem::replace(&mut run.crossing, true);
        let settled = self.settle(run, 0, 0);
        run.crossing = was;
        settled
    }
}

/// Waits for the replies to what a connection sent; false when that does not say that all has been said.
fn answered(connection: &mut Connection, frames: &mut Vec<Vec<u8>>, end: Instant) -> bool {
    if !connection.one_to_one {
        return false;
    }
    loop {
        take_frames(connection, frames);
        if has_all(connection, frames) {
            return connection.plain.rest().is_empty();
        }
        if is_at_blocking(connection, frames) || Instant::now() > end {
            return false;
        }
        connection.plain.pull();
    }
}

fn take_frames(connection: &mut Connection, frames: &mut Vec<Vec<u8>>) {
    while let Some(frame) = connection.plain.next_frame() {
        frames.push(frame);
    }
}

/// Whether as much has come as was asked for, as far as that can be told.
fn has_all(connection: &Connection, frames: &[Vec<u8>]) -> bool {
    !connection.one_to_one || connection.plain.closed || replies(frames) >= connection.owed.len()
}

/// Whether the next reply is one that may take its time.
fn is_at_blocking(connection: &Connection, frames: &[Vec<u8>]) -> bool {
    let next = connection.owed.get(replies(frames));
    next.is_some_and(|words| class(words) == Some(Class::Blocking))
}

/// Whether a step changes nothing that a replica has to follow.
fn is_harmless(step: &Step) -> bool {
    let harmless = [Some(Class::Read), Some(Class::Any), Some(Class::Session)];
    match step {
        Step::Send(_, commands) => commands.iter().all(|words| harmless.contains(&class(words))),
        Step::Scan(..) => true,
        Step::Raw(..) | Step::Await(_) => false,
    }
}

/// Whether a command brings something to a connection that did not ask for it now.
fn crosses(words: &Words) -> bool {
    match words[0].to_ascii_lowercase().as_slice() {
        b"subscribe" | b"psubscribe" | b"ssubscribe" | b"monitor" => true,
        b"client" => words.get(1).is_some_and(|second| {
            [&b"tracking"[..], b"kill", b"unblock", b"reply"]
                .contains(&second.to_ascii_lowercase().as_slice())
        }),
        _ => false,
    }
}

fn is_about_clients(words: &Words) -> bool {
    words.iter().any(|word| word.starts_with(b"@id")) || {
        let second = words.get(1).map(|word| word.to_ascii_lowercase());
        words[0].eq_ignore_ascii_case(b"client") && matches!(second.as_deref(), Some(b"info" | b"list"))
    }
}

/// Whether nobody else is blocked there or subscribed to anything.
fn is_left_alone(wire: &mut Wire) -> bool {
    let replies = wire.ask_all(&[
        &["INFO", "clients"],
        &["PUBSUB", "CHANNELS"],
        &["PUBSUB", "SHARDCHANNELS"],
        &["PUBSUB", "NUMPAT"],
    ]);
    let none: [&[u8]; 3] = [b"*0\r\n", b"*0\r\n", b":0\r\n"];
    number(&replies[0], BLOCKED) == 0 && replies[1..] == none
}

pub(crate) fn class(words: &Words) -> Option<Class> {
    let table = Table::embedded();
    let command = table.lookup(&words[0], words.get(1).map(Vec::as_slice))?;
    Some(command.class_of(words.iter().map(Vec::as_slice)))
}

/// Replies are no longer one for each command, or may be none.
pub(crate) fn makes_replies_uneven(words: &Words) -> bool {
    let name = words[0].to_ascii_lowercase();
    let second = words.get(1).map(|word| word.to_ascii_lowercase());
    match name.as_slice() {
        // Without a channel it is one error.
        b"subscribe" | b"psubscribe" | b"ssubscribe" => second.is_some(),
        b"unsubscribe" | b"punsubscribe" | b"sunsubscribe" => true,
        b"client" => second.as_deref() == Some(b"reply"),
        _ => false,
    }
}

/// Frames that are replies, not pushes nor what MONITOR shows.
fn replies(frames: &[Vec<u8>]) -> usize {
    let is_reply = |frame: &&Vec<u8>| frame[0] != b'>' && !is_monitored(frame);
    frames.iter().filter(is_reply).count()
}

const BLOCKED: &[u8] = b"\r\nblocked_clients:";

/// As long as any short time-out takes.
const LONG: Duration = Duration::from_millis(30);

/// Ends the blocked commands of a server's clients.
fn unblock(wire: &mut Wire) {
    let list = String::from_utf8_lossy(&wire.ask(&["CLIENT", "LIST"])).into_owned();
    let is_blocked = |line: &&str| {
        let flags = line.split(' ').find_map(|field| field.strip_prefix("flags="));
        flags.is_some_and(|flags| flags.contains('b'))
    };
    let id = |line: &str| {
        line.split(' ')
            .find_map(|field| field.strip_prefix("id=").map(str::to_owned))
    };
    let ids: Vec<String> = list.lines().filter(is_blocked).filter_map(id).collect();
    for id in ids {
        wire.ask(&["CLIENT", "UNBLOCK", &id]);
    }
}

/// How many clients a server holds blocked.
fn blocked(wire: &mut Wire) -> u64 {
    number(&wire.ask(&["INFO", "clients"]), BLOCKED)
}

fn number(text: &[u8], field: &[u8]) -> u64 {
    let at = text
        .windows(field.len())
        .position(|window| window == field)
        .expect("INFO has the field");
    let digits = text[at + field.len()..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}
