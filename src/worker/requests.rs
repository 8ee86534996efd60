//! What clients sent: where requests end, what each is, and what becomes of it.

use std::ops::Range;

use super::client::{Aborted, Mode, Stall};
use super::edit::Edit;
use super::script_store::Sha;
use super::session::ReplyMode;
use super::slots::ClientKey;
use super::texts;
use super::turn::Worker;
use crate::commands::{Class, Command, Handling};
use crate::resp::{Arguments, ProtocolError, Request, Step, split_inline, write};
use crate::stats::{Fault, Limit};
use crate::topology::NodeId;

/// A request that is incomplete at this size is passed on as it comes, rather than gathered.
pub(super) const CUT_THROUGH: usize = 256 * 1024;

/// A request that must be understood whole may have this size.
pub(super) const GATHER: usize = 16 * 1024 * 1024;

/// What the table says of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) class: Class,
    pub(super) handling: Handling,
    /// A browser was tricked into talking to Redis; Redis closes such a connection, and would close a shared link.
    pub(super) attack: bool,
}

/// Neighbouring requests that travel together.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// Where they stand in the bytes at hand.
    pub(super) range: Range<usize>,
    pub(super) replies: u32,
    /// One of them is not a mere read: it has to go to the master, and may change something.
    pub(super) to_master: bool,
    pub(super) classes: [u32; Class::ALL.len()],
    /// The node that it has to go to, where that is not a matter of choice.
    pub(super) home: Option<NodeId>,
    /// What is done to the reply of a segment of one request.
    pub(super) edit: Edit,
    /// Scripts that the node has to know.
    pub(super) scripts: Needed,
}

/// Scripts that a request needs.
#[derive(Debug, Default)]
pub(super) enum Needed {
    #[default]
    None,
    /// To run it.
    One(Sha),
    /// To say whether they are there.
    Many(Vec<Sha>),
}

impl Segment {
    fn starting(at: usize) -> Self {
        Segment {
            range: at..at,
            ..Segment::default()
        }
    }

    /// Takes in a request that ends at `end`.
    pub(super) fn add(&mut self, class: Class, end: usize) {
        self.range.end = end;
        self.replies += 1;
        self.to_master |= !matches!(class, Class::Read | Class::Any);
        self.classes[class.index()] += 1;
    }
}

/// Where a request's name and its second word stand.
type Names = (Range<usize>, Option<Range<usize>>);

/// What became of a request that is not simply sent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Dealt with.
    Done,
    /// It has to wait; the client is stalled.
    Stalled,
    /// Nothing special after all: send it on.
    Plain,
    /// The client is now in a state in which the same request means something else: read it again.
    Again,
}

impl Worker {
    /// Deals with as many requests as are whole. Returns how many bytes are dealt with; the rest is to be shown
    /// again.
    pub(super) fn process(&mut self, key: ClientKey, data: &[u8]) -> usize {
        let mut last = None;
        let dealt_with = self.process_each(key, data, &mut last);
        if let Some((name, second)) = last {
            self.remember_command(key, &data[name], second.map(|second| &data[second]));
        }
        dealt_with
    }

    /// As [`Worker::process`]; `last` is where the names of the last request stand.
    fn process_each(&mut self, key: ClientKey, data: &[u8], last: &mut Option<Names>) -> usize {
        let mut segment = Segment::starting(0);
        let mut at = 0;
        loop {
            let Some(client) = self.clients.get_mut(key) else {
                return data.len();
            };
            if client.closing {
                return data.len();
            }
            if client.stall == Stall::Owed {
                // What came last has to be answered before anything else.
                return at;
            }
            match &mut client.mode {
                Mode::Tunnel(_) => {
                    // There it is remembered already.
                    *last = None;
                    return at + self.tunnel_requests(key, &data[at..]);
                }
                Mode::Leased(lease) if lease.adrift => {
                    // Behind what waits for a connection.
                    self.stall(key, Stall::Owed);
                    return segment.range.start;
                }
                Mode::Leased(lease) if lease.upload.is_some() => {
                    match self.go_on_uploading(key, &data[at..]) {
                        Some(taken) => at += taken,
                        None => return at,
                    }
                    segment = Segment::starting(at);
                    if at == data.len() || self.is_uploading(key) {
                        return at;
                    }
                    continue;
                }
                _ => {}
            }
            match client.scanner.scan(&data[at..], self.bounds) {
                Ok(Step::Complete(request)) => {
                    let bytes = &data[at..at + request.len];
                    let of_data = |range: &Range<usize>| at + range.start..at + range.end;
                    let second = (request.argc > 1).then(|| of_data(&request.second));
                    *last = Some((of_data(&request.name), second));
                    let verdict = self.judge(&request, bytes);
                    if self.is_plain(key, verdict) {
                        segment.add(verdict.class, at + request.len);
                        at += request.len;
                        continue;
                    }
                    if !self.dispatch(key, &segment, data) {
                        return segment.range.start;
                    }
                    segment = Segment::starting(at);
                    match self.special(key, verdict, &request, bytes) {
                        Outcome::Done => {
                            at += request.len;
                            segment = Segment::starting(at);
                        }
                        Outcome::Stalled => return at,
                        Outcome::Again => {}
                        Outcome::Plain => {
                            segment.add(verdict.class, at + request.len);
                            if !self.dispatch(key, &segment, data) {
                                return at;
                            }
                            at += request.len;
                            segment = Segment::starting(at);
                        }
                    }
                }
                Ok(Step::Empty(len)) => {
                    if !self.dispatch(key, &segment, data) {
                        return segment.range.start;
                    }
                    at += len;
                    segment = Segment::starting(at);
                }
                Ok(Step::Inline(len, line)) => {
                    if !self.dispatch(key, &segment, data) {
                        return segment.range.start;
                    }
                    if !self.inline(key, &data[at..at + line]) {
                        return at;
                    }
                    at += len;
                    segment = Segment::starting(at);
                }
                Ok(Step::Incomplete) => return self.incomplete(key, data, at, &segment),
                Err(error) => {
                    if !self.dispatch(key, &segment, data) {
                        self.forget_scan(key);
                        return segment.range.start;
                    }
                    self.refuse_protocol(key, error);
                    return data.len();
                }
            }
        }
    }

    /// What the table says of a request.
    fn judge(&self, request: &Request, bytes: &[u8]) -> Verdict {
        let second = (request.argc > 1).then(|| &bytes[request.second.clone()]);
        let name = &bytes[request.name.clone()];
        let Some(command) = self.topology.table.lookup(name, second) else {
            // `securityWarningCommand` in Redis's networking.c.
            let attack = name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:");
            return Verdict {
                class: Class::Master,
                handling: Handling::Forward,
                attack,
            };
        };
        if command.handling == Handling::BlockOption {
            let class = command.class_of(Arguments::of(bytes));
            return Verdict {
                class,
                handling: Handling::Forward,
                attack: false,
            };
        }
        Verdict {
            class: command.class,
            handling: command.handling,
            attack: false,
        }
    }

    /// The table's entry for a request.
    pub(super) fn entry(&self, request: &Request, bytes: &[u8]) -> Option<&Command> {
        let second = (request.argc > 1).then(|| &bytes[request.second.clone()]);
        self.topology.table.lookup(&bytes[request.name.clone()], second)
    }

    /// Whether a request needs nothing but to be put on a link.
    fn is_plain(&self, key: ClientKey, verdict: Verdict) -> bool {
        let sent_on = matches!(
            verdict.class,
            Class::Read | Class::Write | Class::Master | Class::Any | Class::Script
        );
        sent_on
            && !verdict.attack
            && verdict.handling == Handling::Forward
            && self.clients.get(key).is_some_and(|client| {
                matches!(client.mode, Mode::Shared)
                    && client.session.reply == ReplyMode::On
                    && client.aborted == Aborted::No
            })
    }

    /// The last request is not whole yet: sends on what came before it, and decides whether to wait for the rest.
    fn incomplete(&mut self, key: ClientKey, data: &[u8], at: usize, segment: &Segment) -> usize {
        if !self.dispatch(key, segment, data) {
            self.forget_scan(key);
            return segment.range.start;
        }
        let waiting = data.len() - at;
        if waiting < CUT_THROUGH {
            return at;
        }
        let Some(request) = self
            .clients
            .get(key)
            .and_then(|client| client.scanner.partial())
            .cloned()
        else {
            return at;
        };
        // The second argument may not be there yet: then it cannot be looked at.
        let bytes = &data[at..];
        let verdict = self.judge(
            &Request {
                argc: if request.second.is_empty() { 1 } else { 2 },
                ..request
            },
            bytes,
        );
        let sent_on = matches!(
            verdict.class,
            Class::Read | Class::Write | Class::Master | Class::Any | Class::Script
        );
        let aborted = self
            .clients
            .get(key)
            .is_some_and(|client| matches!(client.aborted, Aborted::Multi { .. }));
        if sent_on && verdict.handling.may_be_forwarded() && !aborted {
            return at + self.begin_upload(key, verdict, bytes);
        }
        if waiting > GATHER {
            self.answer_error(key, texts::TOO_LARGE);
            self.stats.limits[Limit::Protocol as usize].add(1);
            self.close_when_flushed(key);
            return data.len();
        }
        at
    }

    fn forget_scan(&mut self, key: ClientKey) {
        if let Some(client) = self.clients.get_mut(key) {
            client.scanner.reset();
        }
    }

    /// An inline command is what its words say; it goes the way of every other. False: it has to wait.
    fn inline(&mut self, key: ClientKey, line: &[u8]) -> bool {
        let Ok(words) = split_inline(line) else {
            self.refuse_protocol(key, ProtocolError::UnbalancedQuotes);
            return true;
        };
        if words.is_empty() {
            return true;
        }
        let mut request = Vec::new();
        write::request(&mut request, words.iter().map(Vec::as_slice));
        self.process(key, &request) == request.len()
    }

    /// Answers a protocol error as Redis does, and closes the client.
    pub(super) fn refuse_protocol(&mut self, key: ClientKey, error: ProtocolError) {
        let mut reply = Vec::new();
        error.write(&mut reply);
        if let Some(client) = self.clients.get_mut(key) {
            client.answer(&reply);
        }
        self.count_protocol_error();
        self.close_when_flushed(key);
    }

    /// Counts what is no request.
    pub(super) fn count_protocol_error(&self) {
        self.stats.errors[Fault::Client as usize].add(1);
        self.stats.limits[Limit::Protocol as usize].add(1);
    }

    /// Puts an error of the ambassador's own in its place among the replies.
    pub(super) fn answer_error(&mut self, key: ClientKey, text: impl AsRef<[u8]>) {
        let mut reply = Vec::new();
        write::error(&mut reply, text);
        self.stats.errors[Fault::Us as usize].add(1);
        self.answer(key, &reply);
    }

    /// Puts a reply of the ambassador's own in its place among the replies.
    pub(super) fn answer(&mut self, key: ClientKey, reply: &[u8]) {
        if let Some(client) = self.clients.get_mut(key) {
            client.answer(reply);
            self.soil_client(key);
        }
    }

    /// Nothing more of this client's requests is looked at until the reason has gone.
    pub(super) fn stall(&mut self, key: ClientKey, stall: Stall) -> Outcome {
        if let Some(client) = self.clients.get_mut(key) {
            client.stall = stall;
        }
        Outcome::Stalled
    }
}
