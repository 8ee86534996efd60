//! The load generator: one thread, a closed loop over many connections, every byte of every reply compared.
//!
//! It is the same for every contender. A reply that differs in one byte, an error reply or a closed connection
//! ends the run: figures of a proxy that answers wrongly mean nothing.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::replies::Replies;
use super::stats::Histogram;
use super::workload::{Keys, Workload};

/// Without a single reply for this long the contender counts as hung.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
/// Holds several replies of 16 KiB.
const READ_BUFFER: usize = 64 * 1024;

/// What one measured window gave.
pub(crate) struct Window {
    pub(crate) latencies: Histogram,
    pub(crate) elapsed: Duration,
}

/// The connections of one workload to one contender.
pub(crate) struct Load<'a> {
    workload: Workload,
    keys: &'a Keys,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    buffer: Vec<u8>,
    /// Off while the last replies are awaited.
    sending: bool,
    last_reply: Instant,
}

struct Client {
    stream: TcpStream,
    replies: Replies,
    output: Vec<u8>,
    written: usize,
    sent_at: Instant,
    asked: u64,
    random: u64,
}

impl<'a> Load<'a> {
    pub(crate) fn connect(
        address: SocketAddr,
        workload: Workload,
        keys: &'a Keys,
    ) -> Result<Self, Box<dyn Error>> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(workload.clients);
        for index in 0..workload.clients {
            let stream = std::net::TcpStream::connect_timeout(&address, SILENCE_LIMIT)
                .map_err(|error| format!("client {index} cannot connect to {address}: {error}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry()
                .register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            clients.push(Client {
                stream,
                replies: Replies::with_capacity(workload.pipeline),
                output: Vec::new(),
                written: 0,
                sent_at: Instant::now(),
                // Clients of a mix are at different places of it.
                asked: index as u64,
                random: 0x9E37_79B9_7F4A_7C15 ^ (index as u64 + 1),
            });
        }
        let events = Events::with_capacity(workload.clients.max(16));
        let buffer = vec![0; READ_BUFFER];
        Ok(Self {
            workload,
            keys,
            poll,
            events,
            clients,
            buffer,
            sending: true,
            last_reply: Instant::now(),
        })
    }

    /// Lets every client ask at least once and all of them for at least `duration`.
    pub(crate) fn warm(&mut self, duration: Duration) -> Result<(), Box<dyn Error>> {
        let mut ignored = Histogram::new();
        for client in &mut self.clients {
            client.send(self.workload, self.keys, Instant::now())?;
        }
        self.last_reply = Instant::now();
        self.drive(Instant::now() + duration, &mut ignored)?;
        // Under a contender that is slow to accept, the first replies may take longer than the warm-up.
        let deadline = Instant::now() + SILENCE_LIMIT;
        while self.unanswered_clients() > 0 {
            if Instant::now() > deadline {
                let waiting = self.unanswered_clients();
                return Err(format!("{waiting} clients got no reply for {SILENCE_LIMIT:?}").into());
            }
            self.drive(Instant::now() + Duration::from_millis(5), &mut ignored)?;
        }
        Ok(())
    }

    /// Clients whose first batch is not answered yet.
    fn unanswered_clients(&self) -> usize {
        let first_batch = self.workload.pipeline as u64;
        let first = |&(index, client): &(usize, &Client)| client.asked == index as u64 + first_batch;
        self.clients.iter().enumerate().filter(first).count()
    }

    pub(crate) fn measure(&mut self, duration: Duration) -> Result<Window, Box<dyn Error>> {
        let mut latencies = Histogram::new();
        let start = Instant::now();
        self.drive(start + duration, &mut latencies)?;
        Ok(Window {
            latencies,
            elapsed: start.elapsed(),
        })
    }

    /// Awaits the replies that are on the way, so that closing leaves nothing behind for the next window.
    pub(crate) fn drain(mut self) -> Result<(), Box<dyn Error>> {
        self.sending = false;
        let mut ignored = Histogram::new();
        while self.clients.iter().any(|client| !client.replies.are_complete()) {
            self.drive(Instant::now() + Duration::from_millis(1), &mut ignored)?;
        }
        Ok(())
    }

    /// Serves the connections until `end`.
    fn drive(&mut self, end: Instant, latencies: &mut Histogram) -> Result<(), Box<dyn Error>> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            match self.poll.poll(&mut self.events, Some(end - now)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &self.events {
                let client = &mut self.clients[event.token().0];
                if client.written < client.output.len() {
                    client.flush()?;
                }
                if client.receive(self.keys, &mut self.buffer)? {
                    let now = Instant::now();
                    let took = (now - client.sent_at).as_nanos() as u64;
                    latencies.record(took, client.replies.clear());
                    self.last_reply = now;
                    if self.sending {
                        client.send(self.workload, self.keys, now)?;
                    }
                }
            }
            if self.last_reply.elapsed() > SILENCE_LIMIT {
                let waiting = self
                    .clients
                    .iter()
                    .filter(|client| !client.replies.are_complete())
                    .count();
                return Err(format!("no reply for {SILENCE_LIMIT:?}; {waiting} clients are waiting").into());
            }
        }
    }
}

impl Client {
    /// Writes the next batch.
    fn send(&mut self, workload: Workload, keys: &Keys, now: Instant) -> Result<(), Box<dyn Error>> {
        self.output.clear();
        self.written = 0;
        for _ in 0..workload.pipeline {
            let set = workload.sets(self.asked);
            let key = self.random_key(keys.count());
            self.output.extend_from_slice(keys.request(key, set));
            self.replies.owe(key, set);
            self.asked += 1;
        }
        self.sent_at = now;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Box<dyn Error>> {
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("a write failed: {error}").into()),
            }
        }
        Ok(())
    }

    /// Reads what is there; true when this completed the batch.
    fn receive(&mut self, keys: &Keys, buffer: &mut [u8]) -> Result<bool, Box<dyn Error>> {
        let mut received = false;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("a read failed: {error}").into()),
            };
            self.replies.compare(keys, &buffer[..count])?;
            received = true;
            // Readiness is edge-triggered: what comes after a short read raises a new event.
            if count < buffer.len() {
                break;
            }
        }
        Ok(received && self.replies.are_complete())
    }

    /// xorshift64: cheap, and the same sequence in every run.
    fn random_key(&mut self, count: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 32) as usize * count) >> 32
    }
}
