//! Commands that are more than a message to a node: they change what the client's connection is.

use std::rc::Rc;

use super::client::{Mode, Stall};
use super::profile::Login;
use super::proof::Needs;
use super::requests::{Outcome, Verdict};
use super::session::{ReplyMode, Session, is_name};
use super::slots::ClientKey;
use super::texts;
use super::turn::Worker;
use crate::commands::{Class, Handling};
use crate::resp::{Arguments, Request};
use crate::stats::Fault;

impl Worker {
    /// Deals with a request that is not simply put on a shared link.
    pub(super) fn special(
        &mut self,
        key: ClientKey,
        verdict: Verdict,
        request: &Request,
        bytes: &[u8],
    ) -> Outcome {
        if verdict.attack {
            self.stats.errors[Fault::Client as usize].add(1);
            self.close_client(key);
            return Outcome::Done;
        }
        if let Some(outcome) = self.in_aborted(key, verdict, request) {
            return outcome;
        }
        if let Some(outcome) = self.asks_first(key, verdict, bytes) {
            return outcome;
        }
        let Some(client) = self.clients.get(key) else {
            return Outcome::Done;
        };
        if let Mode::Leased(lease) = &client.mode {
            if !lease.is_over() || !client.owed.is_empty() {
                if let Some(outcome) = self.script_on_lease(key, verdict, request, bytes) {
                    return outcome;
                }
                return self.special_on_lease(key, verdict, request, bytes);
            }
            self.release_lease(key);
        }
        match (verdict.class, verdict.handling) {
            (Class::Refused, _) => {
                self.refuse(key, request, bytes);
                self.counted(verdict)
            }
            (Class::Blocking, Handling::Wait) => self.begin_wait(key, bytes),
            (Class::Blocking, _) => self.begin_blocking(key, bytes),
            (Class::Transaction, Handling::Multi | Handling::Watch) => {
                self.begin_transaction(key, verdict, request.argc, bytes)
            }
            (Class::Pubsub | Class::Stream, _) => self.open_tunnel(key),
            (_, Handling::Select) => self.select(key, verdict, bytes),
            (_, Handling::Auth) => self.auth(key, verdict, bytes),
            (_, Handling::Hello) => self.hello(key, verdict, bytes),
            (_, Handling::Reset) if request.argc == 1 => self.reset(key, verdict),
            (_, Handling::Quit) => self.quit(key, verdict),
            (_, Handling::Cursor) => self.iterate(key, verdict, request, bytes),
            (_, Handling::ReadForm) => self.read_in_read_only_form(key, verdict, request, bytes),
            (_, Handling::Client(of_client)) => self.client_command(key, verdict, of_client, bytes),
            (
                _,
                Handling::Eval
                | Handling::EvalSha
                | Handling::ScriptLoad
                | Handling::ScriptFlush
                | Handling::ScriptKnown
                | Handling::FunctionRead
                | Handling::Kill,
            ) => self.script(key, verdict, request, bytes),
            _ => Outcome::Plain,
        }
    }

    /// Says that a command is refused, and what to do instead.
    pub(super) fn refuse(&mut self, key: ClientKey, request: &Request, bytes: &[u8]) {
        let text = self.refusal_of(request, bytes);
        self.answer_error(key, &text);
    }

    /// What is said of a refused command.
    pub(super) fn refusal_of(&self, request: &Request, bytes: &[u8]) -> String {
        match self.entry(request, bytes) {
            Some(command) => texts::refused(&command.name, command.instead.as_deref()),
            None => texts::refused(&String::from_utf8_lossy(&bytes[request.name.clone()]), None),
        }
    }

    /// Counts a command that the ambassador answered itself.
    pub(super) fn counted(&self, verdict: Verdict) -> Outcome {
        self.stats.local[verdict.class.index()].add(1);
        Outcome::Done
    }

    pub(super) fn quit(&mut self, key: ClientKey, verdict: Verdict) -> Outcome {
        self.answer(key, b"+OK\r\n");
        self.close_when_flushed(key);
        self.counted(verdict)
    }

    fn reset(&mut self, key: ClientKey, verdict: Verdict) -> Outcome {
        if self.owes(key) {
            return self.stall(key, Stall::Owed);
        }
        // OFF ends with it, and SKIP is about it.
        let skipped = self
            .clients
            .get(key)
            .is_some_and(|client| client.session.reply == ReplyMode::Skip);
        self.forget_session(key);
        if !skipped {
            self.answer(key, b"+RESET\r\n");
        }
        self.counted(verdict)
    }

    /// Puts a client back to what it was when it connected.
    pub(super) fn forget_session(&mut self, key: ClientKey) {
        let (plain, is_old) = (self.plain, self.is_old_master());
        if let Some(client) = self.clients.get_mut(key) {
            client.session.reset(plain, is_old);
        }
    }

    fn select(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> Outcome {
        let mut arguments = Arguments::of(bytes).skip(1);
        let (Some(Some(db)), None) = (arguments.next().map(database), arguments.next()) else {
            // Not a database's number: the server says so better than we could, and changes nothing.
            return Outcome::Plain;
        };
        let before = self.clients.get(key).map(|client| client.session.db);
        let needs = match self.is_other_user(key) {
            // A link is in that database already: there the request changes nothing.
            true => Needs::Answer(bytes),
            false if before == Some(db) => Needs::Nothing,
            false => Needs::Link,
        };
        self.transform(
            key,
            verdict,
            needs,
            |session| session.db = db,
            |_, _| b"+OK\r\n".to_vec(),
        )
    }

    fn auth(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> Outcome {
        let Some(login) = login_of(bytes) else {
            return Outcome::Plain;
        };
        let change = |session: &mut Session| session.login = Some(Rc::clone(&login));
        self.transform(key, verdict, Needs::Login(&login), change, |_, _| {
            b"+OK\r\n".to_vec()
        })
    }

    fn hello(&mut self, key: ClientKey, verdict: Verdict, bytes: &[u8]) -> Outcome {
        let wish = match Hello::parse(bytes) {
            Ok(wish) => wish,
            Err(text) => {
                self.answer_error(key, &text);
                return self.counted(verdict);
            }
        };
        let Some(greeting) = self.topology.greeting.clone() else {
            if self.topology.master.is_none() && !self.clients.get(key).is_some_and(|client| client.expired) {
                return self.stall_without_node(key);
            }
            self.answer_error(key, texts::NO_HELLO);
            return self.counted(verdict);
        };
        self.transform(
            key,
            verdict,
            wish.login.as_deref().map_or(Needs::Nothing, Needs::Login),
            |session| {
                session.resp3 = wish.resp3.unwrap_or(session.resp3);
                if let Some(login) = &wish.login {
                    session.login = Some(Rc::clone(login));
                }
                if let Some(name) = &wish.name {
                    session.names().name.clone_from(name);
                }
            },
            |id, resp3| {
                let (before, after) = if resp3 { &greeting.resp3 } else { &greeting.resp2 };
                [before, id.to_string().as_bytes(), after].concat()
            },
        )
    }

    /// Whether replies are owed to the client.
    pub(super) fn owes(&self, key: ClientKey) -> bool {
        self.clients
            .get(key)
            .is_some_and(|client| !client.owed.is_empty())
    }
}

/// A database's number, written as Redis wants it.
fn database(digits: &[u8]) -> Option<u32> {
    let canonical = digits == b"0" || (!digits.starts_with(b"0") && digits.iter().all(u8::is_ascii_digit));
    let number: u32 = std::str::from_utf8(digits)
        .ok()
        .filter(|_| canonical)?
        .parse()
        .ok()?;
    // Redis reads an int.
    i32::try_from(number).ok().map(|_| number)
}

/// Who an AUTH is about; `None`: only the server can say what is wrong with it.
pub(super) fn login_of(request: &[u8]) -> Option<Rc<Login>> {
    let arguments: Vec<&[u8]> = Arguments::of(request).skip(1).take(3).collect();
    let (user, password) = match arguments[..] {
        [password] => (None, password),
        [user, password] => (Some(user.to_vec()), password),
        _ => return None,
    };
    let password = password.to_vec();
    Some(Rc::new(Login { user, password }))
}

/// What a HELLO asks for.
#[derive(Debug, Default)]
pub(super) struct Hello {
    resp3: Option<bool>,
    pub(super) login: Option<Rc<Login>>,
    name: Option<Vec<u8>>,
}

impl Hello {
    /// The texts and their order are those of `helloCommand` in networking.c.
    pub(super) fn parse(bytes: &[u8]) -> Result<Hello, Vec<u8>> {
        let mut arguments = Arguments::of(bytes).skip(1);
        let mut hello = Hello::default();
        let Some(version) = arguments.next() else {
            return Ok(hello);
        };
        // As `string2ll` in Redis's util.c has it: no plus sign, no zeros in front.
        let number = |digits: &str| {
            digits
                .parse::<i64>()
                .ok()
                .filter(|number| number.to_string() == digits)
        };
        hello.resp3 = match std::str::from_utf8(version).ok().and_then(number) {
            Some(2) => Some(false),
            Some(3) => Some(true),
            Some(_) => return Err(b"NOPROTO unsupported protocol version".to_vec()),
            None => return Err(b"ERR Protocol version is not an integer or out of range".to_vec()),
        };
        let rest: Vec<&[u8]> = arguments.collect();
        let mut rest = rest.as_slice();
        loop {
            rest = match rest {
                [] => return Ok(hello),
                [option, user, password, after @ ..] if option.eq_ignore_ascii_case(b"auth") => {
                    hello.login = Some(Rc::new(Login {
                        user: Some(user.to_vec()),
                        password: password.to_vec(),
                    }));
                    after
                }
                [option, name, after @ ..] if option.eq_ignore_ascii_case(b"setname") => {
                    if !is_name(name) {
                        return Err(
                            b"ERR Client names cannot contain spaces, newlines or special characters."
                                .to_vec(),
                        );
                    }
                    hello.name = Some(name.to_vec());
                    after
                }
                [option, ..] => {
                    // As C prints it: up to the first NUL.
                    let shown = option.split(|byte| *byte == 0).next().unwrap_or_default();
                    return Err([b"ERR Syntax error in HELLO option '", shown, b"'"].concat());
                }
            }
        }
    }
}
