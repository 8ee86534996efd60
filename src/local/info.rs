//! Asks one of the private servers for its INFO, over a connection that is kept from question to question.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A loopback server that has not answered by then is stuck or starved.
const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// A section of INFO has one or two kilobytes; more than this is no INFO.
const LONGEST: usize = 1024 * 1024;

/// A connection for questions to one server.
#[derive(Debug)]
pub(super) struct Inquiry {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Inquiry {
    /// Connects at the first question.
    pub(super) fn new(address: SocketAddr) -> Self {
        Inquiry {
            address,
            stream: None,
        }
    }

    /// A section of INFO.
    pub(super) async fn info(&mut self, section: &str) -> io::Result<Info> {
        let answer = timeout(ANSWER_BOUND, self.ask(section)).await;
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    async fn ask(&mut self, section: &str) -> io::Result<Info> {
        // Taken, and put back when the answer is whole: a question given up half-way leaves no stale answer.
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(TcpStream::connect(self.address).await?),
        };
        stream.write_all(format!("INFO {section}\r\n").as_bytes()).await?;

        let mut header = String::new();
        (&mut stream).take(256).read_line(&mut header).await?;
        let length = header
            .strip_prefix('$')
            .and_then(|digits| digits.trim_end().parse::<usize>().ok());
        let Some(length) = length.filter(|length| *length <= LONGEST) else {
            return Err(io::Error::other(match header.trim_end() {
                "" => "closed the connection",
                refusal => refusal,
            }));
        };
        let mut body = vec![0; length + 2];
        stream.read_exact(&mut body).await?;
        body.truncate(length);
        self.stream = Some(stream);
        Ok(Info(String::from_utf8_lossy(&body).into_owned()))
    }
}

/// A server's answer.
#[derive(Debug)]
pub(super) struct Info(String);

impl Info {
    /// The value of the field by that name.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let info = Info(
            "# Replication\r\nrole:master\r\nmaster_repl_offset2:7\r\nmaster_repl_offset:42\r\n".to_owned(),
        );

        assert_eq!(info.field("role"), Some("master"));
        assert_eq!(info.field("master_repl_offset"), Some("42"));
        assert_eq!(info.field("slave_repl_offset"), None);
    }
}
