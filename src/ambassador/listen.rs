//! Binds the places where applications connect, all of them before anything else happens.
//!
//! A place that cannot be bound ends the start with a sentence that says what to do.

use std::io::{Error, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tracing::warn;

use crate::settings::Listen;

/// Connections the kernel keeps for us until we accept them.
const BACKLOG: i32 = 1024;
const ADMIN_BACKLOG: i32 = 64;

/// A bound listener.
#[derive(Debug)]
pub(super) struct Bound {
    /// Where it is, with its real port.
    pub(super) place: Listen,
    pub(super) socket: Acceptor,
}

#[derive(Debug)]
pub(super) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds every place. A machine without IPv6 loses `[::1]` with a warning as long as another place is left.
pub(super) async fn bind_all(places: &[Listen]) -> Result<Vec<Bound>, String> {
    let mut bound = Vec::with_capacity(places.len());
    let mut without_ipv6 = None;
    for place in places {
        match place {
            Listen::Tcp(address) => match bind_tcp(*address, BACKLOG) {
                Ok(listener) => bound.push(Bound {
                    place: Listen::Tcp(listener.local_addr().unwrap_or(*address)),
                    socket: Acceptor::Tcp(listener),
                }),
                Err(error) if address.ip() == Ipv6Addr::LOCALHOST && is_without_ipv6(&error) => {
                    warn!(%address, %error, "this machine has no IPv6: not listening there");
                    without_ipv6 = Some(explain_tcp(*address, &error, "--listen"));
                }
                Err(error) => return Err(explain_tcp(*address, &error, "--listen")),
            },
            Listen::Unix(path) => bound.push(Bound {
                place: place.clone(),
                socket: Acceptor::Unix(bind_unix(path).await?),
            }),
        }
    }
    match without_ipv6 {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// Binds the admin listener.
pub(super) fn bind_admin(address: SocketAddr) -> Result<TcpListener, String> {
    bind_tcp(address, ADMIN_BACKLOG).map_err(|error| explain_tcp(address, &error, "--admin"))
}

/// Removes the socket files that were bound.
pub(super) fn unlink(places: &[Listen]) {
    for place in places {
        if let Listen::Unix(path) = place
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != ErrorKind::NotFound
        {
            warn!(path = %path.display(), %error, "cannot remove the socket file");
        }
    }
}

fn bind_tcp(address: SocketAddr, backlog: i32) -> Result<TcpListener, Error> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the TIME_WAIT of the clients of the last run.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // [::]:6379 beside 0.0.0.0:6379 is two listeners, not a conflict.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

fn is_without_ipv6(error: &Error) -> bool {
    // EAFNOSUPPORT has no kind of its own: no IPv6 in the kernel. The other: none on this interface.
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

fn explain_tcp(address: SocketAddr, error: &Error, option: &str) -> String {
    let port = address.port();
    match error.kind() {
        ErrorKind::AddrInUse => format!(
            "cannot listen on {address}: the port is taken. Stop what listens there \
             (`ss -ltnp 'sport = :{port}'` shows it) or choose another with {option} ADDR"
        ),
        ErrorKind::PermissionDenied => format!(
            "cannot listen on {address}: not permitted (ports below 1024 need privileges). \
             Choose another with {option} ADDR"
        ),
        ErrorKind::AddrNotAvailable => format!(
            "cannot listen on {address}: this machine does not have that address. \
             Choose one of its own (`ip address` lists them) with {option} ADDR"
        ),
        _ => format!("cannot listen on {address}: {error}. Choose another address with {option} ADDR"),
    }
}

async fn bind_unix(path: &Path) -> Result<UnixListener, String> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(format!(
                    "cannot listen on unix:{shown}: another process answers there. \
                     Stop it or choose another path with --listen unix:PATH"
                ));
            }
            // Left behind by a process that did not end in order.
            std::fs::remove_file(path)
                .map_err(|error| format!("cannot remove the stale socket file {shown}: {error}"))?;
        }
        Ok(_) => {
            return Err(format!(
                "cannot listen on unix:{shown}: a file that is not a socket is there. \
                 Choose another path with --listen unix:PATH"
            ));
        }
        Err(_) => {}
    }
    UnixListener::bind(path).map_err(|error| {
        format!(
            "cannot listen on unix:{shown}: {error}. \
             The directory must exist and be writable; choose another path with --listen unix:PATH"
        )
    })
}
