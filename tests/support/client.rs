//! A blocking RESP2/RESP3 client that hides nothing: raw bytes out, one reply in, every wait bounded.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::Reply;

/// How long a reply may take unless a test says otherwise.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection. Methods without `try_` fail the test when the connection does not do what they say.
pub struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    last: Vec<u8>,
}

impl Client {
    /// Connects to a loopback port.
    #[track_caller]
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).unwrap_or_else(|error| panic!("cannot connect to 127.0.0.1:{port}: {error}"))
    }

    /// Connects to a loopback port.
    pub fn try_connect(port: u16) -> io::Result<Self> {
        Self::try_connect_to(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Connects to any address.
    pub fn try_connect_to(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, REPLY_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        let reader = BufReader::with_capacity(64 * 1024, stream.try_clone()?);
        Ok(Self {
            stream,
            reader,
            last: Vec::new(),
        })
    }

    /// How long a reply may take from now on.
    pub fn set_timeout(&self, timeout: Duration) {
        self.stream
            .set_read_timeout(Some(timeout))
            .expect("a timeout above zero is valid");
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.try_send_raw(bytes)
            .expect("the connection takes what is sent");
    }

    /// Sends bytes as they are.
    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends a command and does not wait for its reply.
    #[track_caller]
    pub fn send(&mut self, words: &[impl AsRef<[u8]>]) {
        self.send_raw(&encode(words));
    }

    /// Sends a command and reads one reply.
    #[track_caller]
    pub fn command(&mut self, words: &[impl AsRef<[u8]>]) -> Reply {
        self.send(words);
        match self.try_read_reply() {
            Ok(reply) => reply,
            Err(error) => {
                let words: Vec<_> = words
                    .iter()
                    .map(|word| word.as_ref().escape_ascii().to_string())
                    .collect();
                panic!("no reply to {}: {error}", words.join(" "))
            }
        }
    }

    /// Sends a command and reads one reply.
    pub fn try_command(&mut self, words: &[impl AsRef<[u8]>]) -> io::Result<Reply> {
        self.try_send_raw(&encode(words))?;
        self.try_read_reply()
    }

    /// Sends commands in one write and reads as many replies.
    #[track_caller]
    pub fn pipeline(&mut self, commands: &[&[&str]]) -> Vec<Reply> {
        let bytes: Vec<u8> = commands.iter().flat_map(|words| encode(words)).collect();
        self.send_raw(&bytes);
        commands.iter().map(|_| self.read_reply()).collect()
    }

    /// Switches the protocol version.
    #[track_caller]
    pub fn hello(&mut self, version: u8) -> Reply {
        let reply = self.command(&["HELLO", &version.to_string()]);
        assert!(!reply.is_error(), "HELLO {version}: {reply:?}");
        reply
    }

    /// Reads one reply.
    #[track_caller]
    pub fn read_reply(&mut self) -> Reply {
        self.try_read_reply().expect("a reply comes")
    }

    /// Reads one reply. A closed connection is `UnexpectedEof`, none in time is `WouldBlock` or `TimedOut`
    /// (after which the connection is of no more use, as a reply may have been half read).
    pub fn try_read_reply(&mut self) -> io::Result<Reply> {
        self.last.clear();
        self.read_value()
    }

    /// The bytes of the reply that was read last, to compare two servers' byte for byte.
    pub fn last_bytes(&self) -> &[u8] {
        &self.last
    }

    /// Whether nothing comes within `wait`: for replies that must *not* come.
    pub fn is_silent(&mut self, wait: Duration) -> bool {
        self.stream
            .set_read_timeout(Some(wait))
            .expect("a timeout above zero is valid");
        let silent = matches!(self.reader.fill_buf(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut));
        self.set_timeout(REPLY_TIMEOUT);
        silent
    }

    /// Reads until the other side closes and gives what came before; an error when it does not close in time.
    /// A reset counts as a close.
    pub fn read_to_close(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.reader.read_to_end(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
            _ => Ok(bytes),
        }
    }

    /// Reads until these bytes have come and gives everything up to them; an error when they do not come in time.
    pub fn read_up_to(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end) {
            let mut byte = [0];
            self.reader.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok(bytes)
    }

    /// The same connection once more, to send on while this one reads.
    #[track_caller]
    pub fn second(&self) -> Self {
        let stream = self.stream.try_clone().expect("a socket can be cloned");
        let reader = BufReader::new(stream.try_clone().expect("a socket can be cloned"));
        Self {
            stream,
            reader,
            last: Vec::new(),
        }
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub fn close_sending(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn read_line(&mut self) -> io::Result<String> {
        let start = self.last.len();
        self.reader.read_until(b'\n', &mut self.last)?;
        match self.last[start..].strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the connection was closed",
            )),
        }
    }

    fn read_blob(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let start = self.last.len();
        self.last.resize(start + length + 2, 0);
        self.reader.read_exact(&mut self.last[start..])?;
        let blob = self.last[start..].strip_suffix(b"\r\n");
        blob.map(<[u8]>::to_vec)
            .ok_or_else(|| malformed("a bulk without CR LF at its end"))
    }

    fn read_items(&mut self, count: usize) -> io::Result<Vec<Reply>> {
        (0..count).map(|_| self.read_value()).collect()
    }

    fn read_value(&mut self) -> io::Result<Reply> {
        let line = self.read_line()?;
        let Some((kind, rest)) = line.split_at_checked(1) else {
            return Err(malformed("an empty line"));
        };
        let length = || rest.parse::<i64>().map_err(|_| malformed(&line));
        // Redis writes -1 for null; anything else below zero is none of its replies.
        let sized = || match length()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| malformed(&line)),
        };
        let text = rest.to_owned();
        Ok(match kind {
            "+" => Reply::Simple(text),
            "-" => Reply::Error(text),
            ":" => Reply::Integer(length()?),
            "," => Reply::Double(text),
            "(" => Reply::BigNumber(text),
            "#" => Reply::Boolean(rest == "t"),
            "_" => Reply::Null,
            "$" | "!" | "=" => {
                let Some(length) = sized()? else {
                    return Ok(Reply::Null);
                };
                let blob = self.read_blob(length)?;
                match kind {
                    "$" => Reply::Bulk(blob),
                    "!" => Reply::Error(String::from_utf8_lossy(&blob).into_owned()),
                    _ => Reply::Verbatim(blob.get(4..).unwrap_or_default().to_vec()),
                }
            }
            "*" | "~" | ">" => {
                let Some(count) = sized()? else {
                    return Ok(Reply::Null);
                };
                let items = self.read_items(count)?;
                match kind {
                    "*" => Reply::Array(items),
                    "~" => Reply::Set(items),
                    _ => Reply::Push(items),
                }
            }
            "%" | "|" => {
                let count = sized()?.ok_or_else(|| malformed(&line))?;
                let mut pairs = Vec::new();
                for _ in 0..count {
                    pairs.push((self.read_value()?, self.read_value()?));
                }
                // An attribute describes the reply that follows it.
                if kind == "|" {
                    self.read_value()?
                } else {
                    Reply::Map(pairs)
                }
            }
            _ => return Err(malformed(&line)),
        })
    }
}

fn encode(words: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        format!("not a reply: {}", what.escape_debug()),
    )
}
