//! Options of the connections to servers: small packets go at once, and a peer that vanished without a word is noticed.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// How long the other end's kernel may acknowledge nothing that was sent before the connection breaks. It acknowledges for
/// a server that is busy, frozen or holds its commands, so this tells a network that loses everything from such a server;
/// only once that server's buffers are full does nothing more get through to either. So it is longer than a server should
/// be busy, and shorter than the quarter of an hour that Linux goes on for by itself.
const VANISHED: Duration = Duration::from_secs(15);

/// An idle connection's other end is asked after so long, and again ...
const ASKED_AFTER: Duration = Duration::from_secs(9);

/// ... this often until [`VANISHED`] has passed since it was heard: on Linux that bound takes the place of a count, and
/// one lost packet must not be enough.
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// Sets the options; the first error, though all are tried.
pub(crate) fn tune(stream: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new()
        .with_time(ASKED_AFTER)
        .with_interval(ASKED_EVERY)
        .with_retries(3);
    let nodelay = socket.set_tcp_nodelay(true);
    let keepalive = socket.set_tcp_keepalive(&keepalive);
    nodelay
        .and(keepalive)
        .and(socket.set_tcp_user_timeout(Some(VANISHED)))
}
