//! Runs a program on both sides in lock-step and stops at the first difference.
//!
//! How many replies a step has is the plain server's to say: what came there once it has nothing more to do is
//! what has to come from the other side. So nothing here models subscriptions, CLIENT REPLY or blocking.

use std::collections::VecDeque;
use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use redis_ambassador::commands::{Class, Table};

use crate::compare::same;
use crate::program::{Program, Step, Words, line};
use crate::scan::scan;
use crate::wire::{PATIENCE, Wire, encode, show};

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
    /// The master first.
    nodes: Vec<Wire>,
}

/// One client on both sides.
struct Connection {
    plain: Wire,
    other: Wire,
    /// Commands whose replies have not come. Not kept for a step whose replies are not one for each command.
    owed: VecDeque<Words>,
    one_to_one: bool,
    /// What is queued since MULTI.
    queued: Vec<Words>,
}

/// Users that programs may become, made once on every server: name, password and rules.
const USERS: [(&str, &[&str]); 4] = [
    (
        "reader",
        &[
            "on",
            ">readpass",
            "~*",
            "&*",
            "+@read",
            "+@connection",
            "-@dangerous",
        ],
    ),
    (
        "narrow",
        &[
            "on",
            ">narrowpass",
            "~s*",
            "~l*",
            "resetchannels",
            "&news*",
            "+@all",
            "-@dangerous",
        ],
    ),
    ("nobody", &["on", ">nobodypass", "~*", "+@connection"]),
    // May run nothing at all, what the ambassador answers itself included.
    ("stranger", &["on", ">strangerpass", "~*"]),
];

impl Pair {
    /// `nodes` are those behind `other_port`, the master first.
    pub(crate) fn new(plain_port: u16, other_port: u16, nodes: &[u16]) -> Self {
        let control = |port: u16| {
            let mut wire = Wire::connect(port).expect("a server takes a connection");
            for (name, rules) in USERS {
                wire.ask(&[&["ACL", "SETUSER", name], rules].concat());
            }
            wire
        };
        Self {
            plain_port,
            other_port,
            plain: control(plain_port),
            nodes: nodes.iter().map(|port| control(*port)).collect(),
        }
    }

    /// Runs a program on empty servers.
    pub(crate) fn run(&mut self, program: &Program) -> Result<(), Difference> {
        self.reset();
        let mut connections: Vec<Connection> = (0..program.connections())
            .map(|_| Connection {
                plain: connect(self.plain_port, false),
                other: connect(self.other_port, true),
                owed: VecDeque::new(),
                one_to_one: true,
                queued: Vec::new(),
            })
            .collect();
        let mut dirty = true;
        for (index, step) in program.steps.iter().enumerate() {
            self.step(&mut connections, step, &mut dirty)
                .map_err(|text| Difference { step: index, text })?;
        }
        // A reply too many shows when the next one is awaited.
        for number in 1..=connections.len() {
            let ping = Step::Send(number, vec![vec![b"PING".to_vec()]]);
            self.step(&mut connections, &ping, &mut dirty)
                .map_err(|text| Difference {
                    step: program.steps.len(),
                    text: format!("in the end, {text}"),
                })?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        let mut client = connect(self.other_port, true);
        // Not FUNCTION FLUSH: Redis 8.0 crashes on it once in some hundred times.
        for command in [
            &["FLUSHALL"][..],
            &["FUNCTION", "DELETE", "lib"],
            &["SCRIPT", "FLUSH"],
        ] {
            self.plain.ask(command);
            client.ask(command);
        }
        for node in &mut self.nodes {
            node.ask(&["SCRIPT", "FLUSH"]);
        }
        // The clients of the program before are gone, and are seen to be gone.
        let end = Instant::now() + PATIENCE;
        let (plain, nodes) = (&mut self.plain, &mut self.nodes);
        for wire in [plain, &mut nodes[0]] {
            while blocked(wire) > 0
                || wire.ask(&["PUBSUB", "CHANNELS"]) != b"*0\r\n"
                || wire.ask(&["PUBSUB", "NUMPAT"]) != b":0\r\n"
            {
                assert!(
                    Instant::now() < end,
                    "clients of the program before are still there"
                );
                thread::yield_now();
            }
        }
    }

    fn step(&mut self, connections: &mut [Connection], step: &Step, dirty: &mut bool) -> Result<(), String> {
        let at = step.connection() - 1;
        let connection = &mut connections[at];
        if connection.plain.closed {
            return Ok(());
        }
        let mut bytes = Vec::new();
        match step {
            Step::Await(_) => return self.wait_unblocked(connections),
            Step::Scan(_, words) => {
                self.wait_in_sync(dirty);
                return scan(&mut connection.plain, &mut connection.other, words);
            }
            Step::Raw(_, raw) => {
                self.wait_in_sync(dirty);
                *dirty = true;
                connection.untrack();
                bytes.extend_from_slice(raw);
            }
            Step::Send(_, commands) => {
                let classes: Vec<Option<Class>> = commands.iter().map(class).collect();
                if classes.contains(&Some(Class::Read)) {
                    self.wait_in_sync(dirty);
                }
                let harmless = [Some(Class::Read), Some(Class::Any), Some(Class::Session)];
                *dirty |= !classes.iter().all(|class| harmless.contains(class));
                for words in commands {
                    encode(&mut bytes, words);
                    if makes_replies_uneven(words) {
                        connection.untrack();
                    }
                }
                if connection.one_to_one {
                    connection.owed.extend(commands.iter().cloned());
                }
            }
        }
        connection.plain.send(&bytes);
        connection.other.send(&bytes);
        self.settle(connections, at, bytes.len())
    }

    /// Reads what the step has brought on the plain side, and expects it on the other.
    fn settle(&mut self, connections: &mut [Connection], sender: usize, size: usize) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let mut expected: Vec<Vec<Vec<u8>>> = vec![Vec::new(); connections.len()];
        let mut rounds = 2 + size / 8192;
        let mut is_blocked;
        loop {
            // The server reads from sockets in rounds and writes at the end of each: once it has answered two
            // requests sent later, it has answered this one, unless that is large, or blocks.
            for _ in 0..rounds {
                self.plain.ask(&["PING"]);
            }
            let mut whole = true;
            for (connection, frames) in connections.iter_mut().zip(&mut expected) {
                while connection.plain.pull() {}
                while let Some(frame) = connection.plain.next_frame() {
                    frames.push(frame);
                }
                whole &= connection.plain.rest().is_empty();
            }
            let connection = &connections[sender];
            let all = !connection.one_to_one
                || connection.plain.closed
                || replies(&expected[sender]) >= connection.owed.len();
            // FLUSHDB blocks its client for a moment too (Redis 8), which is no reason to go on without its reply.
            let next = connection.owed.get(replies(&expected[sender]));
            is_blocked = !all
                && next.is_some_and(|words| class(words) == Some(Class::Blocking))
                && blocked(&mut self.plain) > 0;
            if (whole && (all || is_blocked)) || Instant::now() > end {
                break;
            }
            rounds = 1;
        }
        for (index, (connection, frames)) in connections.iter_mut().zip(expected).enumerate() {
            connection
                .expect(frames)
                .map_err(|text| format!("connection {}: {text}", index + 1))?;
        }
        connections[sender].one_to_one = true;
        if is_blocked {
            // Asked again each time: a short time-out may end meanwhile, on one side first.
            while blocked(&mut self.nodes[0]) != blocked(&mut self.plain) {
                if Instant::now() > end {
                    return Err("not as many clients are blocked as on a plain server".to_owned());
                }
                thread::yield_now();
            }
        }
        Ok(())
    }

    fn wait_unblocked(&mut self, connections: &mut [Connection]) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        // The master is asked too: a server that has nothing to do looks at its time-outs ten times a second only.
        while blocked(&mut self.plain) + blocked(&mut self.nodes[0]) > 0 && Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        self.settle(connections, 0, 0)
    }

    /// Waits until the replicas have applied what the master has written.
    fn wait_in_sync(&mut self, dirty: &mut bool) {
        if !std::mem::take(dirty) {
            return;
        }
        let (master, replicas) = self.nodes.split_first_mut().expect("there is a master");
        if replicas.is_empty() {
            return;
        }
        let written = number(&master.ask(&["INFO", "replication"]), b"\r\nmaster_repl_offset:");
        let end = Instant::now() + Duration::from_secs(20);
        for replica in replicas {
            while number(&replica.ask(&["INFO", "replication"]), b"\r\nslave_repl_offset:") < written {
                assert!(Instant::now() < end, "a replica does not follow");
                thread::yield_now();
            }
        }
    }
}

impl Connection {
    /// It is not known which command a reply of this step belongs to, so that the allow-list does not apply.
    fn untrack(&mut self) {
        self.one_to_one = false;
        self.owed.clear();
    }

    /// Reads what the plain side has said from the other side.
    fn expect(&mut self, frames: Vec<Vec<u8>>) -> Result<(), String> {
        for plain in frames {
            let words = if plain[0] == b'>' {
                None
            } else {
                self.owed.pop_front()
            };
            let shown = words.as_ref().map_or_else(|| "(some command)".to_owned(), line);
            let Some(other) = self.other.wait_frame(PATIENCE) else {
                return Err(format!(
                    "{shown}\n  plain      {}\n  ambassador nothing{}, after {:?}",
                    show(&plain),
                    if self.other.closed { ", and closed" } else { "" },
                    self.other.rest().escape_ascii().to_string(),
                ));
            };
            if !same(words.as_ref(), &self.queued, &plain, &other) {
                return Err(format!(
                    "{shown}\n  plain      {}\n  ambassador {}",
                    show(&plain),
                    show(&other)
                ));
            }
            self.follow_transaction(words, &plain);
        }
        if self.plain.closed {
            let end = Instant::now() + PATIENCE;
            while !self.other.closed && Instant::now() < end {
                self.other.pull();
            }
            if !self.other.closed {
                return Err("a plain server closes, the ambassador does not".to_owned());
            }
        }
        // The end of a blocking command may come on this side first.
        if !self.owed.is_empty() {
            return Ok(());
        }
        match self.other.next_frame() {
            Some(more) => Err(format!("the ambassador says more: {}", show(&more))),
            None => Ok(()),
        }
    }

    fn follow_transaction(&mut self, words: Option<Words>, reply: &[u8]) {
        let words = words.unwrap_or_default();
        let name = words
            .first()
            .map(|name| name.to_ascii_lowercase())
            .unwrap_or_default();
        if reply == b"+QUEUED\r\n" {
            self.queued.push(words);
        } else if matches!(name.as_slice(), b"exec" | b"discard" | b"reset")
            || name == b"multi" && reply == b"+OK\r\n"
        {
            self.queued.clear();
        }
    }
}

fn connect(port: u16, waiting: bool) -> Wire {
    let wire = Wire::connect(port).expect("both sides take connections");
    wire.set_waiting(waiting);
    wire
}

fn class(words: &Words) -> Option<Class> {
    let table = Table::embedded();
    let command = table.lookup(&words[0], words.get(1).map(Vec::as_slice))?;
    Some(command.class_of(words.iter().map(Vec::as_slice)))
}

/// Replies are no longer one for each command, or may be none.
fn makes_replies_uneven(words: &Words) -> bool {
    let name = words[0].to_ascii_lowercase();
    let second = words.get(1).map(|word| word.to_ascii_lowercase());
    match name.as_slice() {
        // Without a channel it is one error.
        b"subscribe" | b"psubscribe" | b"ssubscribe" => second.is_some(),
        b"unsubscribe" | b"punsubscribe" | b"sunsubscribe" | b"monitor" => true,
        b"client" => second.as_deref() == Some(b"reply"),
        _ => false,
    }
}

/// Frames that are replies and not pushes.
fn replies(frames: &[Vec<u8>]) -> usize {
    frames.iter().filter(|frame| frame[0] != b'>').count()
}

/// How many clients a server holds blocked.
fn blocked(wire: &mut Wire) -> u64 {
    number(&wire.ask(&["INFO", "clients"]), b"\r\nblocked_clients:")
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
