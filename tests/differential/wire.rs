//! Connections of the two sides: bytes in, whole replies out, and nothing decoded that need not be.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::program::Words;

/// How long a reply may take on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One connection and what came on it.
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    taken: usize,
    /// Whether the other side has closed it.
    pub(crate) closed: bool,
}

impl Wire {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            taken: 0,
            closed: false,
        })
    }

    /// Sends bytes; a connection that breaks under it is closed, not an error.
    pub(crate) fn send(&mut self, mut bytes: &[u8]) {
        let end = Instant::now() + PATIENCE;
        while !bytes.is_empty() && !self.closed {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                // The other side may want to be read first.
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    self.pull_now();
                }
                // What the other side said before it closed is still to be read.
                Err(_) => return,
            }
        }
    }

    /// Takes what has come, without waiting.
    pub(crate) fn pull_now(&mut self) {
        let told = self.stream.set_nonblocking(true);
        told.expect("a socket can be told not to wait");
        while self.pull() {}
        let told = self.stream.set_nonblocking(false);
        told.expect("a socket can be told to wait");
    }

    /// Takes what has come, and waits a moment where nothing has; false when nothing came.
    pub(crate) fn pull(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.closed = true,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                return true;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.closed = true,
        }
        false
    }

    /// The next whole reply among what has come.
    pub(crate) fn next_frame(&mut self) -> Option<Vec<u8>> {
        let end = frame_end(&self.buffer[self.taken..])?;
        let frame = self.buffer[self.taken..self.taken + end].to_vec();
        self.taken += end;
        if self.taken == self.buffer.len() {
            self.buffer.clear();
            self.taken = 0;
        }
        Some(frame)
    }

    /// What has come and is no whole reply.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Waits for the next whole reply; none when it does not come in time, or the connection ends before it.
    pub(crate) fn wait_frame(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let end = Instant::now() + patience;
        loop {
            if let Some(frame) = self.next_frame() {
                return Some(frame);
            }
            if self.closed || Instant::now() > end {
                return None;
            }
            self.pull();
        }
    }

    /// One command and its reply.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Vec<u8> {
        self.begin(words);
        self.answer()
    }

    /// Commands in one write, and their replies.
    pub(crate) fn ask_all(&mut self, commands: &[&[&str]]) -> Vec<Vec<u8>> {
        for words in commands {
            self.begin(words);
        }
        commands.iter().map(|_| self.answer()).collect()
    }

    /// A command whose reply is awaited later.
    pub(crate) fn begin(&mut self, words: &[&str]) {
        let words: Words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let mut bytes = Vec::new();
        encode(&mut bytes, &words);
        self.send(&bytes);
    }

    /// The next reply.
    pub(crate) fn answer(&mut self) -> Vec<u8> {
        self.wait_frame(PATIENCE)
            .expect("a server answers its control connection")
    }
}

/// Writes a command as clients do.
pub(crate) fn encode(bytes: &mut Vec<u8>, words: &Words) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// Where the reply that begins here ends; none while it is not whole. The replies are those of a server that
/// this test started, so that a depth that overflows the stack does not come.
pub(crate) fn frame_end(bytes: &[u8]) -> Option<usize> {
    let line_end = memchr::memmem::find(bytes, b"\r\n")? + 2;
    let count = || {
        std::str::from_utf8(&bytes[1..line_end - 2])
            .ok()
            .and_then(|digits| digits.parse::<i64>().ok())
            .and_then(|count| usize::try_from(count).ok())
    };
    let items = match bytes[0] {
        b'$' | b'!' | b'=' => {
            let end = line_end + count().map_or(0, |length| length + 2);
            return (bytes.len() >= end).then_some(end);
        }
        b'*' | b'~' | b'>' => count().unwrap_or(0),
        b'%' => count().unwrap_or(0) * 2,
        // An attribute belongs to the reply that follows it.
        b'|' => count().unwrap_or(0) * 2 + 1,
        _ => 0,
    };
    let mut end = line_end;
    for _ in 0..items {
        end += frame_end(&bytes[end..])?;
    }
    Some(end)
}

/// A reply as it is printed.
pub(crate) fn show(frame: &[u8]) -> String {
    let shown = frame[..frame.len().min(600)].escape_ascii();
    format!("{shown}{}", if frame.len() > 600 { "..." } else { "" })
}

#[test]
fn replies_end_where_they_end() {
    for whole in [
        "+OK\r\n",
        "$-1\r\n",
        "$2\r\n\r\n\r\n",
        "*2\r\n:1\r\n*1\r\n$1\r\na\r\n",
        "%1\r\n+a\r\n,1.5\r\n",
        "*-1\r\n",
        "_\r\n",
    ] {
        assert_eq!(
            frame_end(format!("{whole}+more\r\n").as_bytes()),
            Some(whole.len())
        );
        for end in 0..whole.len() {
            assert_eq!(frame_end(&whole.as_bytes()[..end]), None, "{whole:?} at {end}");
        }
    }
}
