//! A connection of the control plane's own to a node: opened by name, authenticated, asked and answered.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use redis_protocol::resp2::types::OwnedFrame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::Boundary;
use crate::settings::Password;
use crate::tcp;

/// Bound on the replies to INFO and HELLO; a real one has some kilobytes.
pub(super) const SMALL_REPLY: usize = 1 << 20;
/// Bound on the reply to COMMAND; a real one has some hundred kilobytes, modules add to it.
pub(super) const LARGE_REPLY: usize = 16 << 20;
/// What is kept of a server's error text in messages and logs.
const ERROR_TEXT: usize = 200;

/// What went wrong with a node, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which kind of thing.
    pub kind: FailureKind,
    /// One clause without the node's name; the same failure again has the same text.
    pub message: String,
}

/// Kinds of failures, by what a person would check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The host name has no address.
    Resolve,
    /// No connection, or it broke.
    Connect,
    /// The server refuses the credentials or the user's permissions.
    Auth,
    /// No answer in time.
    Timeout,
    /// An answer that a Redis would not give.
    Protocol,
    /// It answers, but is not what it should be.
    Role,
}

impl Failure {
    fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure {
            kind,
            message: message.into(),
        }
    }

    /// An answer that a Redis would not give.
    pub(super) fn protocol(message: impl fmt::Display) -> Self {
        Failure::new(FailureKind::Protocol, format!("unexpected reply: {message}"))
    }

    /// What an error reply says of the node. The text is the server's, cut.
    pub(super) fn from_reply(asked: &str, text: &str) -> Self {
        let text: String = text
            .chars()
            .filter(|c| !c.is_control())
            .take(ERROR_TEXT)
            .collect();
        let refused = ["NOAUTH", "WRONGPASS", "NOPERM", "DENIED"];
        let kind = if refused.iter().any(|prefix| text.starts_with(prefix)) {
            FailureKind::Auth
        } else if text.starts_with("ERR max number of clients") {
            FailureKind::Connect
        } else {
            FailureKind::Protocol
        };
        Failure::new(kind, format!("{asked} is answered {text}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a connection logs in with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Login<'a> {
    /// ACL user; `None`: the default user.
    pub(super) username: Option<&'a str>,
    pub(super) password: &'a Password,
}

impl<'a> Login<'a> {
    /// As the configuration has it; without a password there is none.
    pub(super) fn of(username: Option<&'a String>, password: Option<&'a Password>) -> Option<Login<'a>> {
        Some(Login {
            username: username.map(String::as_str),
            password: password?,
        })
    }
}

/// An authenticated connection in RESP2.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    received: BytesMut,
}

impl Connection {
    /// Connects and logs in, within `bound`.
    pub(super) async fn open(
        address: SocketAddr,
        login: Option<Login<'_>>,
        bound: Duration,
    ) -> Result<Connection, Failure> {
        let opened = async {
            let stream = TcpStream::connect(address).await.map_err(|error| {
                Failure::new(FailureKind::Connect, format!("cannot connect: {}", plain(&error)))
            })?;
            // A matter of latency and of who vanishes while nothing is asked; the probes work without it.
            let _ = tcp::tune(&stream);
            let mut connection = Connection {
                stream,
                received: BytesMut::new(),
            };
            if let Some(login) = login {
                connection.log_in(login).await?;
            }
            Ok(connection)
        };
        match timeout(bound, opened).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::new(
                FailureKind::Timeout,
                "no connection within upstream.connect_timeout",
            )),
        }
    }

    async fn log_in(&mut self, login: Login<'_>) -> Result<(), Failure> {
        let mut request: Vec<&[u8]> = vec![b"AUTH"];
        request.extend(login.username.map(str::as_bytes));
        request.push(login.password.as_bytes());
        self.send(&[&request]).await?;
        match decode(&self.receive(SMALL_REPLY).await?)? {
            OwnedFrame::SimpleString(_) => Ok(()),
            OwnedFrame::Error(text) => {
                let mut failure = Failure::from_reply("AUTH", &text);
                // Whatever else the server says to AUTH, trying again with the same words will not help.
                if failure.kind == FailureKind::Protocol {
                    failure.kind = FailureKind::Auth;
                }
                Err(failure)
            }
            _ => Err(Failure::protocol(
                "AUTH is answered with neither a status nor an error",
            )),
        }
    }

    /// Sends requests in one write and gives the reply to each as it came; all within `bound`.
    pub(super) async fn ask(
        &mut self,
        requests: &[&[&[u8]]],
        max_bytes: usize,
        bound: Duration,
    ) -> Result<Vec<Bytes>, Failure> {
        let asked = async {
            self.send(requests).await?;
            let mut replies = Vec::with_capacity(requests.len());
            for _ in requests {
                replies.push(self.receive(max_bytes).await?);
            }
            // A buffer that grew for COMMAND is not kept for INFO.
            self.received = BytesMut::from(&self.received[..]);
            Ok(replies)
        };
        match timeout(bound, asked).await {
            Ok(replies) => replies,
            Err(_) => Err(Failure::new(
                FailureKind::Timeout,
                "no answer within upstream.probe_timeout",
            )),
        }
    }

    /// Waits until something comes unasked: the end of the connection, nearly always.
    pub(super) async fn stirs(&self) {
        // Peeking takes nothing away; whatever it is, the next question meets it.
        let _ = self.stream.peek(&mut [0]).await;
    }

    /// Waits for what comes unasked, such as a message to a subscriber. Nothing is lost when the wait is given up.
    pub(super) async fn hear(&mut self, max_bytes: usize) -> Result<Bytes, Failure> {
        self.receive(max_bytes).await
    }

    pub(super) async fn send(&mut self, requests: &[&[&[u8]]]) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for request in requests {
            encode(request, &mut bytes);
        }
        self.stream
            .write_all(&bytes)
            .await
            .map_err(|error| broken(&error))
    }

    async fn receive(&mut self, max_bytes: usize) -> Result<Bytes, Failure> {
        let mut boundary = Boundary::default();
        loop {
            if let Some(end) = boundary
                .find(&self.received, max_bytes)
                .map_err(Failure::protocol)?
            {
                return Ok(self.received.split_to(end).freeze());
            }
            if self
                .stream
                .read_buf(&mut self.received)
                .await
                .map_err(|error| broken(&error))?
                == 0
            {
                return Err(Failure::new(
                    FailureKind::Connect,
                    "the node closed the connection",
                ));
            }
        }
    }
}

/// Decodes one whole reply in RESP2.
pub(super) fn decode(reply: &[u8]) -> Result<OwnedFrame, Failure> {
    match redis_protocol::resp2::decode::decode(reply) {
        Ok(Some((frame, used))) if used == reply.len() => Ok(frame),
        Ok(_) => Err(Failure::protocol("it is not one RESP2 value")),
        Err(error) => Err(Failure::protocol(error)),
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(
        FailureKind::Connect,
        format!("the connection broke: {}", plain(error)),
    )
}

/// `connection refused` rather than `Connection refused (os error 111)`.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

fn encode(request: &[&[u8]], into: &mut Vec<u8>) {
    into.extend_from_slice(format!("*{}\r\n", request.len()).as_bytes());
    for argument in request {
        into.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        into.extend_from_slice(argument);
        into.extend_from_slice(b"\r\n");
    }
}
