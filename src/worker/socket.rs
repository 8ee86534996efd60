//! A stream socket of either kind, so that a Unix socket's client is a client like any other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use tracing::debug;

#[cfg(test)]
use super::wire::{self, Wire};
use crate::tcp;

/// A connected stream.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// In the simulation.
    #[cfg(test)]
    Wire(Wire),
}

impl Socket {
    /// Begins to connect.
    pub(super) fn connect(address: SocketAddr) -> io::Result<Socket> {
        #[cfg(test)]
        if let Some(wire) = wire::connect(address) {
            return Ok(Socket::Wire(wire));
        }
        let stream = TcpStream::connect(address)?;
        if let Err(error) = tcp::tune(&stream) {
            debug!(%error, "a link's socket option was not set");
        }
        Ok(Socket::Tcp(stream))
    }

    /// Asks for readiness in both directions, once for the socket's life (edge-triggered).
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Socket::Tcp(stream) => stream.register(registry, token, interest),
            Socket::Unix(stream) => stream.register(registry, token, interest),
            #[cfg(test)]
            Socket::Wire(wire) => {
                wire.register(token);
                Ok(())
            }
        }
    }

    /// `ip:port` or the socket's path, as CLIENT LIST shows it.
    pub(super) fn peer(&self) -> String {
        match self {
            Socket::Tcp(stream) => stream
                .peer_addr()
                .map_or_else(|_| "?:0".to_owned(), |address| address.to_string()),
            Socket::Unix(stream) => Self::path(stream.local_addr()),
            #[cfg(test)]
            Socket::Wire(_) => "?:0".to_owned(),
        }
    }

    /// Where the client connected to, as CLIENT LIST shows it.
    pub(super) fn local(&self) -> String {
        match self {
            Socket::Tcp(stream) => stream
                .local_addr()
                .map_or_else(|_| "?:0".to_owned(), |address| address.to_string()),
            Socket::Unix(_) => self.peer(),
            #[cfg(test)]
            Socket::Wire(_) => self.peer(),
        }
    }

    /// The file descriptor's number.
    pub(super) fn descriptor(&self) -> i32 {
        match self {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
            #[cfg(test)]
            Socket::Wire(_) => -1,
        }
    }

    fn path(address: io::Result<std::os::unix::net::SocketAddr>) -> String {
        let path = address
            .ok()
            .and_then(|address| address.as_pathname().map(|path| path.display().to_string()));
        format!("{}:0", path.unwrap_or_default())
    }

    /// Tells the peer that nothing more will be sent. One that is gone need not know.
    pub(super) fn end(&self) {
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
            #[cfg(test)]
            Socket::Wire(_) => Ok(()),
        };
    }

    /// The pending error of a connect that did not succeed.
    pub(super) fn connect_error(&self) -> Option<io::Error> {
        match self {
            Socket::Tcp(stream) => match stream.take_error() {
                Ok(None) => stream.peer_addr().err(),
                Ok(error) => error,
                Err(error) => Some(error),
            },
            Socket::Unix(_) => None,
            #[cfg(test)]
            Socket::Wire(wire) => wire.connect_error(),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(into),
            Socket::Unix(stream) => stream.read(into),
            #[cfg(test)]
            Socket::Wire(wire) => wire.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(from),
            Socket::Unix(stream) => stream.write(from),
            #[cfg(test)]
            Socket::Wire(wire) => wire.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What one attempt to move bytes came to.
#[derive(Debug)]
pub(super) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// Nothing now; readiness will be told.
    Later,
    /// The peer has closed its end (reads only).
    End,
    /// The connection is broken.
    Broken(io::Error),
}

/// Reads once.
pub(super) fn read(socket: &mut Socket, into: &mut [u8]) -> Moved {
    moved(|| socket.read(into))
}

/// Writes once. Zero bytes written cannot happen for a non-empty slice.
pub(super) fn write(socket: &mut Socket, from: &[u8]) -> Moved {
    moved(|| socket.write(from))
}

fn moved(mut attempt: impl FnMut() -> io::Result<usize>) -> Moved {
    loop {
        return match attempt() {
            Ok(0) => Moved::End,
            Ok(bytes) => Moved::Bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Moved::Later,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Moved::Broken(error),
        };
    }
}
